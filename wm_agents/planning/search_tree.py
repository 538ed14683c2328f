"""The states that a search has reached from the current one: nothing is enumerated, everything is imagined.

Two states are the same when their predicted observations are, so a search needs a model whose
observations tell states apart and that predicts them exactly enough to be rounded to the same
numbers.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from wm_agents.planning.objectives import of_single_steps
from wm_agents.protocols import ModelState, Objective, Rollout, WorldModel


def observation_keys(observations: Tensor, resolution: float) -> list[bytes]:
    """One key per observation [B, O].

    Equal for observations that round to the same multiples of the resolution.
    """
    # Whole numbers in float64, since integers overflow where observations are large; + 0.0 makes
    # -0.0 a 0.0.
    rounded = torch.round(observations.detach().double() / resolution) + 0.0
    rows = np.ascontiguousarray(rounded.cpu().numpy())
    keys: list[bytes] = rows.view(f"V{rows.shape[1] * rows.itemsize}").ravel().tolist()
    return keys


@dataclass(frozen=True)
class Expansion:
    """Edges out of K nodes, n per node: node k's action a is edge k * n + a.

    Attributes:
        edge_values: The objective's value of each step [K * n].
        is_end: Whether the step is predicted to end the episode [K * n].
        children: Node index of each edge's new state, -1 where the state was known [K * n]. A step
            that ends the episode leads to a state of its own, from which nothing follows.
    """

    edge_values: Tensor
    is_end: Tensor
    children: list[int]


class SearchTree:
    """Nodes of B searches in one table; the first B are the roots.

    Args:
        model: Imagines.
        objective: Judges each step as an imagined future of length one; a terminal value is left
            out.
        roots: Where the searches begin.
        num_actions: Discrete actions n.
        resolution: See `observation_keys`.
    """

    def __init__(
        self,
        model: WorldModel,
        objective: Objective,
        roots: ModelState,
        num_actions: int,
        resolution: float,
    ) -> None:
        self._model = model
        self._objective = of_single_steps(objective)
        self._num_actions = num_actions
        self._resolution = resolution
        self.num_searches = num_rows = len(roots.observations)
        self._chunks = [roots]
        self._places = [(0, row) for row in range(num_rows)]
        self._parents = [-1] * num_rows
        self._actions = [-1] * num_rows
        self.searches = list(range(num_rows))
        self.depths = [0] * num_rows
        self.totals = [0.0] * num_rows
        self._is_maximum = getattr(objective, "is_maximum", False)
        self._known = [{(key, False)} for key in observation_keys(roots.observations, resolution)]
        self.num_model_steps = 0

    def expand(self, nodes: Sequence[int]) -> Expansion:
        """Imagine every action in these nodes with one call of the model, and add the states that are new."""
        device = self._chunks[0].observations.device
        actions = torch.arange(self._num_actions, device=device).repeat(len(nodes))
        before = self._states(nodes).repeat(self._num_actions)
        after, prediction = self._model.step(before, actions)
        self.num_model_steps += len(actions)
        step = Rollout(
            torch.stack([before.observations, prediction.observations], 1),
            prediction.rewards[:, None],
            prediction.terminations[:, None],
            None if prediction.disagreement is None else prediction.disagreement[:, None],
        )
        values = self._objective(step, actions[:, None])
        is_end = prediction.terminations >= 0.5
        keys = observation_keys(after.observations, self._resolution)
        ends = is_end.tolist()
        # An ended state is not the state of the same observation in which the episode goes on.
        identities = [(key, ended) for key, ended in zip(keys, ends, strict=True)]
        children = self._add(nodes, values.tolist(), identities)
        self._store(after, children)
        return Expansion(values, is_end, children)

    def path(self, node: int) -> list[int]:
        """The actions from the root to a node."""
        actions: list[int] = []
        while self._parents[node] >= 0:
            actions.append(self._actions[node])
            node = self._parents[node]
        return actions[::-1]

    def step_values(self, node: int) -> list[float]:
        """The value of each step from the root to a node."""
        values: list[float] = []
        while (parent := self._parents[node]) >= 0:
            values.append(self.totals[node] - self.totals[parent])
            node = parent
        return values[::-1]

    def observations(self, nodes: Sequence[int]) -> Tensor:
        """Observations [K, O] of nodes."""
        return self._states(nodes).observations

    def __len__(self) -> int:
        return len(self._parents)

    def total_after(self, node: int, value: float) -> float:
        """The value of the path to a node with one step more."""
        return max(self.totals[node], value) if self._is_maximum else self.totals[node] + value

    def _add(
        self, nodes: Sequence[int], values: list[float], identities: list[tuple[bytes, bool]]
    ) -> list[int]:
        children = [-1] * len(identities)
        for edge, identity in enumerate(identities):
            node = nodes[edge // self._num_actions]
            search = self.searches[node]
            if identity in self._known[search]:
                continue
            self._known[search].add(identity)
            children[edge] = len(self._parents)
            self._parents.append(node)
            self._actions.append(edge % self._num_actions)
            self.searches.append(search)
            self.depths.append(self.depths[node] + 1)
            self.totals.append(self.total_after(node, values[edge]))
        return children

    def _store(self, states: ModelState, children: list[int]) -> None:
        """Keep the rows of the new states; the table refers to a row by chunk and place."""
        new = [edge for edge, child in enumerate(children) if child >= 0]
        self._places.extend((len(self._chunks), row) for row in range(len(new)))
        self._chunks.append(
            states.select(torch.tensor(new, dtype=torch.long, device=states.observations.device))
        )

    def _states(self, nodes: Sequence[int]) -> ModelState:
        """The rows of nodes, in their order."""
        device = self._chunks[0].observations.device
        by_chunk: dict[int, list[int]] = {}
        for place, node in enumerate(nodes):
            by_chunk.setdefault(self._places[node][0], []).append(place)
        parts = [
            self._chunks[chunk].select(
                torch.tensor([self._places[nodes[k]][1] for k in orders], device=device)
            )
            for chunk, orders in by_chunk.items()
        ]
        if len(parts) == 1:
            return parts[0]
        order = torch.tensor([k for orders in by_chunk.values() for k in orders], device=device)
        hidden = tuple(
            torch.cat(tensors) for tensors in zip(*[part.hidden for part in parts], strict=True)
        )
        return ModelState(torch.cat([part.observations for part in parts]), hidden).select(
            order.argsort()
        )
