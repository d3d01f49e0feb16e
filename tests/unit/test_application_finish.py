"""Fields that actors fill when a segment is over, in programs: segments are short, and rewards come late."""

from __future__ import annotations

import numpy as np
import pytest

from rljob import nets
from rljob.algorithms.base import Algorithm, Arrays
from rljob.algorithms.n_step import n_step
from rljob.algorithms.sequence_priorities import starting_priorities
from rljob.algorithms.value_rescaling import compressed, expanded
from rljob.envs.spaces import DiscreteSpace
from tests.unit.segments import make_algorithm, make_learner
from tests.unit.test_application_episode import Program

LENGTH, PERIOD, STEPS, N_STEP, GAMMA = 8, 2, 3, 2, 0.9
SEQUENCES = {"burnIn": 1, "length": STEPS, "period": PERIOD, "nStep": N_STEP, "gamma": GAMMA}


def of_network(algorithm: Algorithm, network: str) -> Arrays:
    """A policy version that explores."""
    _, module = make_learner(algorithm, network=network)
    found = nets.export({"q": module}, algorithm.networks)
    return {**found, "epsilon": np.array(0.5)}


@pytest.mark.parametrize("late", [False, True])
def test_priorities_of_sequences_are_those_of_the_rows_that_were_acted(late: bool) -> None:
    algorithm = make_algorithm("R2D2", rolloutLength=LENGTH, **SEQUENCES)
    # The dueling network acts with its values, so that they can be asked for again.
    tensors = of_network(algorithm, "mlp")
    program = Program(algorithm=algorithm, tensors=tensors, hidden=(16, 16))
    rng = np.random.default_rng(1)
    for rows in (5, LENGTH + 3, 1):
        episode, decisions = program.episode(), []
        for _ in range(rows):
            decisions.append(episode.decide(rng.standard_normal(4).astype(np.float32)))
            if not late:
                decisions[-1].reward(1.0)
        episode.end()
        for decision in decisions if late else ():
            decision.reward(1.0)
    # A given-up episode forgets its last decision, and the next one is not mistaken for it.
    for _ in range(2):
        episode = program.episode()
        for _ in range(3):
            episode.act(rng.standard_normal(4).astype(np.float32))
        episode.abandon()

    assert [int(a["valid"].sum()) for a, _, _ in program.left] == [5, LENGTH, 3, 1, 2, 2]
    for arrays, _, _ in program.left:
        np.testing.assert_allclose(arrays["priority"], priorities(program, arrays), rtol=1e-4)


def priorities(program: Program, arrays: Arrays) -> np.ndarray:
    """Of a segment, from its rows alone; 0 in the padding."""
    rows = int(arrays["valid"].sum())
    outputs = program.core.policies.newest().networks.engines["q"](arrays["observation"][:rows, 0])
    advantage = outputs["advantage"]
    value = advantage - advantage.mean(axis=-1, keepdims=True) + outputs["value"]
    taken = np.take_along_axis(value, arrays["action"][:rows], axis=1)
    ends = (arrays[name][:rows] for name in ("reward", "terminated", "truncated", "valid"))
    back = n_step(*ends, n=N_STEP, gamma=GAMMA)
    ahead = np.append(expanded(value.max(axis=-1)), 0)[back.next_row]
    known = (back.next_row < rows) | (back.discount == 0)
    error = np.abs(compressed(back.ret + back.discount * ahead) - taken)
    found = starting_priorities(
        error.astype(np.float32), known, burn_in=1, length=STEPS, period=PERIOD, eta=0.9
    )
    return np.concatenate([found, np.zeros((LENGTH - rows, 1), np.float32)])


@pytest.mark.parametrize("flush", [0.0, 1e6])
@pytest.mark.parametrize("name", ["QLAgent57", "SearchDynaQ"])
def test_novelty_is_counted_within_episodes(name: str, flush: float) -> None:
    spaces = DiscreteSpace(2), DiscreteSpace(3)
    algorithm = make_algorithm(name, *spaces, rolloutLength=2)
    shape = (8, 3, 2) if name == "QLAgent57" else (3, 2)
    tensors = {each: np.zeros(shape) for each in ("q", "interest", "score", "tried")}
    program = Program(algorithm=algorithm, tensors=tensors, flush=flush)
    # With a flush each decision is a segment; without, the first episode ends with a full one.
    for states in ([0, 1, 1, 1], [1, 1, 1]):
        episode = program.episode()
        for state in states:
            episode.act(state)
        episode.end(final_observation=1)
    found = [
        round(float(each) ** -2)
        for arrays, _, _ in program.left
        for each in arrays["novelty"][arrays["valid"]]
    ]
    assert found == [1, 2, 3, 4, 1, 2, 3]
