"""Layers and parameters of networks."""

from __future__ import annotations

from rljob.algorithms import make_algorithm
from rljob.envs.spaces import BoxSpace, Spaces
from rljob.nets import build_networks
from rljob.plan.networks import lines, summaries
from rljob.spec.sections import AlgorithmSpec, NetworkSpec

SPACES = Spaces(BoxSpace((3,)), BoxSpace((1,), low=-1, high=1))


def test_layers_have_their_shapes_and_numbers() -> None:
    nets = make_algorithm(AlgorithmSpec(name="TD3"), SPACES).networks
    network = NetworkSpec(name="mlp", config={"hidden": [8], "layerNorm": True})
    modules = build_networks(network, nets, SPACES, seed=0)
    policy, critic = summaries(modules, nets)
    assert (policy.name, policy.acts, policy.copies) == ("policy", True, 1)
    assert (critic.name, critic.acts, critic.copies) == ("critic", False, 2)
    for found, module in ((policy, modules["policy"]), (critic, modules["critic"])):
        assert found.parameters == sum(each.numel() for each in module.parameters())
        assert found.parameters == sum(layer.parameters for layer in found.layers)
    linear, norm, head = policy.layers
    assert (linear.kind, linear.shapes) == ("Linear", {"weight": [8, 3], "bias": [8]})
    assert (norm.kind, norm.parameters) == ("LayerNorm", 16)
    assert head.shapes["weight"] == [1, 8]
    first, *rest = lines(critic)
    assert first == f"critic: {critic.parameters:,} parameters, 2 copies, of the learner alone"
    assert len(rest) == 6
    assert policy.to_json()["layers"][0]["name"] == linear.name
