"""Settings of the built-in networks (`network.config`)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, Strict, model_validator
from pydantic.alias_generators import to_camel

from rljob.errors import InputError
from rljob.nets.activations import Activation
from rljob.nets.candidates import candidates
from rljob.nets.recurrent import GRUEngine, LSTMEngine
from rljob.spec.schema import AS_INTEGER

if TYPE_CHECKING:
    from rljob.envs.spaces import Space
    from rljob.nets.head import Net

Width = Annotated[int, Field(ge=1, le=65536), AS_INTEGER]
Edge = Annotated[int, Field(ge=1, le=1024), AS_INTEGER]
Initialisation = Literal["orthogonal", "xavier", "kaiming", "lecun"]


class NetworkConfig(BaseModel):
    """Base of every built-in network's settings (`network.config`).

    Attributes:
        remembers: whether the network has a memory of each environment.
    """

    remembers: ClassVar[bool] = False

    model_config = ConfigDict(
        alias_generator=to_camel,
        defer_build=True,
        extra="forbid",
        frozen=True,
        populate_by_name=True,
        strict=True,
        use_attribute_docstrings=True,
    )

    def check(self, net: Net, observation: Space) -> None:
        """Raises InputError: the network cannot have these outputs for such observations."""


class HiddenConfig(NetworkConfig):
    """Settings of hidden layers (`network.config`)."""

    hidden: Annotated[tuple[Width, ...], Strict(False)] = (64, 64)
    """Units of each hidden layer; may be empty."""
    activation: Activation = "tanh"
    """Activation of each hidden layer; `gelu` is computed by tanh."""
    layer_norm: bool = False
    """Normalise each hidden layer before its activation."""
    residual: bool = False
    """Add its input to each hidden layer that is as wide as the one before."""
    init: Initialisation = "orthogonal"
    """Distribution of the weights at the start; biases are 0."""


class MLPConfig(HiddenConfig):
    """Settings of the network `mlp` (`network.config`)."""

    shared: bool = False
    """One trunk for all heads; by default policy and value have separate trunks."""


class CNNConfig(NetworkConfig):
    """Settings of the network `cnn` (`network.config`); as published by default."""

    variant: Literal["nature", "impala"] = "nature"
    """`nature`: convolutions alone; `impala`: a residual network."""
    channels: Annotated[tuple[Width, ...], Strict(False), Field(min_length=1)] = (32, 64, 64)
    """Filters of each convolution; with `impala` of each stage, by default 16, 32, 32."""
    kernels: Annotated[tuple[Edge, ...], Strict(False)] = (8, 4, 3)
    """Edge length of each convolution's filters, in pixels; one for each of `channels`. Only of `nature`."""
    strides: Annotated[tuple[Edge, ...], Strict(False)] = (4, 2, 1)
    """Stride of each convolution, in pixels; one for each of `channels`. Only of `nature`."""
    hidden: Annotated[tuple[Width, ...], Strict(False)] = (512,)
    """Units of each layer between the convolutions and the heads; may be empty. With `impala` 256 by default."""
    init: Initialisation = "orthogonal"
    """Distribution of the weights at the start; biases are 0."""

    @model_validator(mode="before")
    @classmethod
    def _published(cls, values: Any) -> Any:
        if isinstance(values, Mapping) and values.get("variant") == "impala":
            return {"channels": (16, 32, 32), "hidden": (256,), **values}
        return values

    @model_validator(mode="after")
    def _one_each(self) -> Self:
        if self.variant == "impala":
            for name in ("kernels", "strides"):
                if name in self.model_fields_set:
                    raise ValueError(f"{name} is a setting of the variant nature, not of impala")
        elif not len(self.channels) == len(self.kernels) == len(self.strides):
            raise ValueError("channels, kernels and strides must have the same length")
        return self


class RecurrentConfig(HiddenConfig):
    """Settings of networks with memory.

    Attributes:
        parts: products of the memory's size, by which a step changes it.
        states: numbers that are remembered for each of `size`.
    """

    remembers: ClassVar[bool] = True
    parts: ClassVar[int]
    states: ClassVar[int]

    hidden: Annotated[tuple[Width, ...], Strict(False)] = (64,)
    """Units of each hidden layer before the memory; may be empty."""
    size: Width = 64
    """Units of the memory."""

    @property
    def core_size(self) -> int:
        """Numbers that the network remembers of each environment."""
        return self.states * self.size


class GRUConfig(RecurrentConfig):
    """Settings of the network `gru` (`network.config`)."""

    parts, states = GRUEngine.parts, GRUEngine.states


class LSTMConfig(RecurrentConfig):
    """Settings of the network `lstm` (`network.config`)."""

    parts, states = LSTMEngine.parts, LSTMEngine.states


class CandidatesConfig(HiddenConfig):
    """Settings of the network `candidates` (`network.config`)."""

    hidden: Annotated[tuple[Width, ...], Strict(False)] = (64, 64)
    """Units of each layer that sees one candidate; may be empty."""
    head_hidden: Annotated[tuple[Width, ...], Strict(False)] = (64,)
    """Units of each layer behind the pooling, of scores and of other outputs; may be empty."""

    def behind_pooling(self) -> HiddenConfig:
        """Settings of the layers behind the pooling."""
        return self.model_copy(update={"hidden": self.head_hidden})

    def check(self, net: Net, observation: Space) -> None:
        """See `NetworkConfig.check`."""
        space = net.inputs_of(observation)[0]
        count, _ = candidates(space)
        sizes = [head.size for head in net.heads.values() if head.per_action]
        problem = ""
        if net.acts and not sizes:
            problem = "scores one candidate for each action, which needs Discrete actions"
        elif any(size != count for size in sizes):
            problem = (
                f"scores {count} candidates, the rows of {space}, and there are {sizes[0]} actions"
            )
        if problem:
            raise InputError(f"candidates {problem}; mlp takes any", path="network.name")
