"""Recurrent memories that may take the place of attention: a gated unit and a state space.

Each is stacked over seeds as the rest of the network is. A step is cut in three, so that the two
parts without a recurrence run over all steps of an episode at once.

Letters: S seeds, R rows, T time, M any number of tokens, D width.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

Linear = Callable[[str, Tensor], Tensor]
"""A named affine map of each seed: [S, M, in] to [S, M, out]."""
Shapes = Iterator[tuple[str, tuple[int, ...]]]

# Steps after which the fastest and the slowest state has faded to 1 / e when training begins.
SHORTEST_SPAN, LONGEST_SPAN = 1.0, 100.0


class RecurrentMemory(Protocol):
    """How a block remembers by a state [S, R, D]."""

    def shapes(self, name: str, width: int) -> Shapes:
        """The parameters of the block `name`."""
        ...

    def project(self, name: str, tokens: Tensor, linear: Linear) -> Tensor:
        """What the recurrence takes in of tokens [S, M, D]."""
        ...

    def advance(
        self,
        name: str,
        projected: Tensor,
        state: Tensor,
        linear: Linear,
        parameters: Mapping[str, Tensor],
    ) -> Tensor:
        """The state [S, R, D] after one more step, whose projection is [S, R, ...]."""
        ...

    def read(self, name: str, tokens: Tensor, states: Tensor, linear: Linear) -> Tensor:
        """What the block adds to its tokens [S, M, D], whose states are [S, M, D]."""
        ...


@dataclass(frozen=True)
class GatedRecurrence:
    """A gated recurrent unit (Cho et al. 2014, eq. 5 to 8, its reset after the product)."""

    def shapes(self, name: str, width: int) -> Shapes:
        """Maps of input and state to reset gate, update gate and candidate."""
        yield f"{name}.input.weight", (width, 3 * width)
        yield f"{name}.input.bias", (1, 3 * width)
        yield f"{name}.hidden.weight", (width, 3 * width)
        yield f"{name}.hidden.bias", (1, 3 * width)

    def project(self, name: str, tokens: Tensor, linear: Linear) -> Tensor:
        """The input's part [S, M, 3 D] of the gates and the candidate."""
        return linear(f"{name}.input", tokens)

    def advance(
        self,
        name: str,
        projected: Tensor,
        state: Tensor,
        linear: Linear,
        parameters: Mapping[str, Tensor],  # noqa: ARG002  (all of it is in the affine maps)
    ) -> Tensor:
        """Between the state and a candidate, as the update gate says."""
        reset_in, update_in, new_in = projected.chunk(3, -1)
        reset_state, update_state, new_state = linear(f"{name}.hidden", state).chunk(3, -1)
        update = torch.sigmoid(update_in + update_state)
        candidate = torch.tanh(new_in + torch.sigmoid(reset_in + reset_state) * new_state)
        return torch.lerp(candidate, state, update)

    def read(self, name: str, tokens: Tensor, states: Tensor, linear: Linear) -> Tensor:  # noqa: ARG002
        """A map of the state."""
        return linear(f"{name}.out", states)


@dataclass(frozen=True)
class DiagonalStateSpace:
    """A linear recurrence whose states do not mix, read through a gate.

    Each of D states decays at a rate of its own that is learned and does not depend on the input
    (Gupta et al. 2022, "Diagonal state spaces are as effective as structured state spaces", with
    real numbers); inputs are scaled so that states keep unit variance (Orvieto et al. 2023,
    sec. 3.4).
    """

    def shapes(self, name: str, width: int) -> Shapes:
        """The input's map, the gate's, and the decay of each state."""
        for part in ("value", "gate"):
            yield f"{name}.{part}.weight", (width, width)
            yield f"{name}.{part}.bias", (1, width)
        yield f"{name}.decay", (1, width)

    def project(self, name: str, tokens: Tensor, linear: Linear) -> Tensor:
        """What enters each state [S, M, D]."""
        return linear(f"{name}.value", tokens)

    def advance(
        self,
        name: str,
        projected: Tensor,
        state: Tensor,
        linear: Linear,  # noqa: ARG002  (states do not mix)
        parameters: Mapping[str, Tensor],
    ) -> Tensor:
        """What is left of the state, and the input."""
        kept = torch.sigmoid(parameters[f"{name}.decay"])  # [S, 1, D]
        return kept * state + (1 - kept.square()).sqrt() * projected

    def read(self, name: str, tokens: Tensor, states: Tensor, linear: Linear) -> Tensor:
        """The states that the gate lets through."""
        gate = linear(f"{name}.gate", tokens)
        return linear(f"{name}.out", states * torch.sigmoid(gate))


RECURRENT: dict[str, RecurrentMemory] = {
    "gru": GatedRecurrence(),
    "state_space": DiagonalStateSpace(),
}
"""By their names in `NetworkConfig.memory`."""


def initial_decay(width: int) -> Tensor:
    """Decays [1, D], before their sigmoid, whose spans lie evenly between the two on a log scale."""
    spans = torch.logspace(math.log10(SHORTEST_SPAN), math.log10(LONGEST_SPAN), width)
    return torch.logit(torch.exp(-1 / spans)).unsqueeze(0)
