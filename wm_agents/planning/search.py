"""Forward search in exact discrete models: breadth-first and best-first.

A goal is a step whose value under the objective reaches a threshold: with `DiscountedReturn` the
predicted, learned reward, with `GoalReached` a test of the observation. Nothing is enumerated,
everything is imagined: two states are the same when their predicted observations are, so a search
needs a model whose observations tell states apart and that predicts them exactly enough to be
rounded to the same numbers. Source: Russell & Norvig 2020, sections 3.4 and 3.5.
"""

import heapq
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, Generic, TypeVar

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from torch import Tensor

from wm_agents.planning.objectives import (
    ValueFunction,
    of_single_steps,
    require_sum_of_steps,
    rollout_of_one_step,
)
from wm_agents.planning.planner import ModelPlanner
from wm_agents.protocols import ModelState, Objective, Plan, WorldModel
from wm_agents.training.config_checks import require_at_least, require_integers, require_positive

_RESOLUTION = 0.01
# Sums of the same steps in another order differ by this.
_ROUNDING = 1e-6  # totals that differ by a smaller share of their size are equal


@dataclass(frozen=True, kw_only=True)
class SearchConfig:
    """Settings of a forward search.

    Attributes:
        goal_value: A step of at least this value reaches the goal, in the objective's units.
        max_depth: Longest plan, in steps.
        max_nodes: States that one search may reach, on average over the B environments.
        resolution: Observations that round to the same multiples of it are one state, in the
            environment's units. None is 0.01, or a hundredth of the largest change that an action
            makes where none makes one of 0.01.
        has_warm_start: Follow a plan that reached its goal without searching again, while what is
            observed is what was predicted.
        device: "auto" plans where the model's parameters lie; a name such as "cuda" moves the model
            there.

    Raises:
        ConfigError: A value that cannot work.
    """

    goal_value: float = 0.5
    max_depth: int = 64
    max_nodes: int = 10_000
    resolution: float | None = None
    has_warm_start: bool = True
    device: str = "auto"

    def __post_init__(self) -> None:
        require_integers(1, max_depth=self.max_depth, max_nodes=self.max_nodes)
        if self.resolution is not None:
            require_positive(resolution=self.resolution)


@dataclass(frozen=True, kw_only=True)
class BestFirstSearchConfig(SearchConfig):
    """Settings of the best-first search.

    Attributes:
        step_price: What a step costs in a node's priority, in the objective's units: with 1 and an
            estimate that is minus a lower bound on the steps to go, priorities are those of A*. The
            first way to a state and the first goal found are kept, so that plans are short;
            `BreadthFirstSearch` has the shortest.
        num_expansions: Nodes of each search that one call of the model expands.
    """

    step_price: float = 0.01
    num_expansions: int = 16

    def __post_init__(self) -> None:
        super().__post_init__()
        require_at_least(0, step_price=self.step_price)
        require_integers(1, num_expansions=self.num_expansions)


SearchConfigT = TypeVar("SearchConfigT", bound=SearchConfig)


@dataclass(frozen=True)
class _FoundPath:
    """A path from the current state.

    Its actions, the value of each step, and whether it ends in a goal.
    """

    actions: tuple[int, ...]
    step_values: tuple[float, ...]
    is_goal: bool

    @property
    def value(self) -> float:
        """In total."""
        return sum(self.step_values)


class _ForwardSearch(ModelPlanner[SearchConfigT], Generic[SearchConfigT]):
    """What both searches share: roots, goals, fallbacks and plans followed to their end.

    The value of a path is the sum of its steps, or that of the best one where the objective has
    `is_maximum`.

    With no goal in reach the plan is the path of the highest total value, drawn at random among
    equals, so that an agent that knows no goal yet wanders.
    """

    action_kinds = (spaces.Discrete,)

    def _prepare(self, actions: spaces.Discrete) -> None:
        self._num_actions = int(actions.n)
        self._first_action = int(actions.start)
        self._resolution = self.config.resolution or _RESOLUTION  # of plans that are followed
        self._followed: list[tuple[bytes, _FoundPath] | None] = []

    def _plan(self, state: ModelState, generator: torch.Generator) -> Plan:
        """Shorter plans are padded with their last action."""
        # A plan that was followed to here and came true needs no new search.
        keys = observation_keys(state.observations, self._resolution)
        paths = self._continued(keys)
        searched = [row for row, path in enumerate(paths) if path is None]
        num_model_steps = 0
        if searched:
            roots = state.select(torch.tensor(searched, device=self._device))
            tree = self._tree(roots)
            goals = self._search(tree)
            num_model_steps = tree.num_model_steps
            self._resolution = tree.resolution or self._resolution
            without_goal = [index for index in range(len(searched)) if index not in goals]
            # Without a goal within reach: to the best place that was found.
            wanderings = self._wander(tree, without_goal, generator)
            for index, row in enumerate(searched):
                paths[row] = goals.get(index) or wanderings[index]
        complete = [path for path in paths if path is not None]
        # Only now are all paths known, old and new.
        num_model_steps += self._follow(state, complete)
        return self._as_plan(complete, num_model_steps)

    def reset(self, mask: NDArray[np.bool_] | None = None) -> None:
        """Forget the plans that are being followed in the masked environments [B], or in all."""
        if not self.is_bound:
            return
        if mask is None or len(mask) != len(self._followed):
            self._followed = []
        else:
            self._followed = [
                None if is_reset else followed
                for is_reset, followed in zip(mask, self._followed, strict=True)
            ]

    def _tree(self, roots: ModelState) -> "_SearchTree":
        require_sum_of_steps(
            of_single_steps(self.objective),
            self._model,
            roots,
            self._num_actions,
            self._first_action,
        )
        return _SearchTree(
            self._model,
            self.objective,
            roots,
            self._num_actions,
            self.config.resolution,
            first_action=self._first_action,
        )

    @abstractmethod
    def _search(self, tree: "_SearchTree") -> dict[int, _FoundPath]:
        """The path to a goal for each search that finds one."""

    def _goals(
        self, tree: "_SearchTree", nodes: Sequence[int], edges: "_Expansion"
    ) -> dict[int, _FoundPath]:
        """The first goal of each search among these edges."""
        goals: dict[int, _FoundPath] = {}
        for edge in torch.nonzero(edges.edge_values >= self.config.goal_value).flatten().tolist():
            node = nodes[edge // self._num_actions]
            search = tree.searches[node]
            if search not in goals:
                actions = (*tree.path(node), edge % self._num_actions)
                # By the difference of totals: for a maximum a step adds nothing unless it is the
                # best so far.
                gain = tree.total_after(node, float(edges.edge_values[edge])) - tree.totals[node]
                values = (*tree.step_values(node), gain)
                goals[search] = _FoundPath(actions, values, is_goal=True)
        return goals

    def _open(self, tree: "_SearchTree", edges: "_Expansion") -> list[int]:
        """The new nodes from which a search may go on."""
        ended = edges.is_end.tolist()
        nodes = [node for edge, node in enumerate(edges.children) if node >= 0 and not ended[edge]]
        return [node for node in nodes if tree.depths[node] < self.config.max_depth]

    def _wander(
        self, tree: "_SearchTree", searches: list[int], generator: torch.Generator
    ) -> dict[int, _FoundPath]:
        """For each search the path to a node of the highest total value, drawn among equals."""
        best: dict[int, list[int]] = {search: [] for search in searches}
        # The roots themselves are no destination.
        for node in range(tree.num_searches, len(tree)):
            rivals = best.get(tree.searches[node])
            if rivals is None:  # a search that has its goal
                continue
            if rivals:
                total = tree.totals[node]
                best_total = tree.totals[rivals[0]]
                # Relative to the totals, which may be large.
                rounding = _ROUNDING * max(abs(total), abs(best_total))
                if total < best_total - rounding:
                    continue
                if total > best_total + rounding:
                    rivals.clear()
            rivals.append(node)
        return {search: self._drawn(tree, rivals, generator) for search, rivals in best.items()}

    def _drawn(
        self, tree: "_SearchTree", nodes: list[int], generator: torch.Generator
    ) -> _FoundPath:
        """The path to one of the nodes; any action where every action leads back to the start."""
        number = int(
            torch.randint(
                len(nodes) or self._num_actions, (1,), generator=generator, device=generator.device
            )
        )
        if not nodes:
            return _FoundPath((number,), (0.0,), is_goal=False)
        node = nodes[number]
        return _FoundPath(tuple(tree.path(node)), tuple(tree.step_values(node)), is_goal=False)

    def _continued(self, keys: list[bytes]) -> list[_FoundPath | None]:
        """The rest of each row's plan where its observation is the predicted one, else None."""
        # Another number of rows is another set of environments.
        if len(self._followed) != len(keys):
            return [None] * len(keys)
        return [
            followed[1] if followed is not None and followed[0] == key else None
            for key, followed in zip(keys, self._followed, strict=True)
        ]

    def _follow(self, state: ModelState, paths: list[_FoundPath]) -> int:
        # A single step leads to the goal and leaves nothing to follow.
        """Remember what each goal path expects after its first action.

        Returns the model steps that took.
        """
        self._followed = [None] * len(paths)
        rows = [row for row, path in enumerate(paths) if path.is_goal and len(path.actions) > 1]
        if not rows or not self.config.has_warm_start:
            return 0
        first = torch.tensor([paths[row].actions[0] for row in rows], device=self._device)
        before = state.select(torch.tensor(rows, device=self._device))
        after, _ = self._model.step(before, first + self._first_action)
        for row, key in zip(
            rows, observation_keys(after.observations, self._resolution), strict=True
        ):
            rest = _FoundPath(paths[row].actions[1:], paths[row].step_values[1:], is_goal=True)
            self._followed[row] = (key, rest)
        return len(rows)

    def _as_plan(self, paths: list[_FoundPath], num_model_steps: int) -> Plan:
        horizon = max(len(path.actions) for path in paths)
        padded = [
            # The last action again: a plan of one length for all rows.
            path.actions + path.actions[-1:] * (horizon - len(path.actions))
            for path in paths
        ]
        values = torch.tensor([path.value for path in paths], device=self._device)
        actions = torch.tensor(padded, device=self._device) + self._first_action
        return Plan(actions, values, num_model_steps)


class BreadthFirstSearch(_ForwardSearch[SearchConfig]):
    """Expands all states of a depth with one call of the model: its plans have the fewest steps.

    It is made as every planner is, see `ModelPlanner`; the model is exact and discrete.
    """

    config_class = SearchConfig

    def _search(self, tree: "_SearchTree") -> dict[int, _FoundPath]:
        goals: dict[int, _FoundPath] = {}
        nodes = list(range(tree.num_searches))
        # A limit for all searches together, which share the model's calls.
        limit = self.config.max_nodes * tree.num_searches
        while nodes and len(tree) < limit:
            edges = tree.expand(nodes)
            goals.update(self._goals(tree, nodes, edges))
            # A search that has its goal stops; the others go on at their depth.
            nodes = [node for node in self._open(tree, edges) if tree.searches[node] not in goals]
        return goals


class BestFirstSearch(_ForwardSearch[BestFirstSearchConfig]):
    """Expands the most promising states first.

    These are the ones of the highest total value + estimate of what follows - price of the steps.
    It is made as every planner is, see `ModelPlanner`; the model is exact and discrete.

    Args:
        model: Imagines.
        objective: Judges single steps.
        config: Settings.
        estimate: The value to come from observations [B, O], learned or known; None estimates
            nothing.
        **settings: Single fields of the configuration.
    """

    config_class = BestFirstSearchConfig

    def __init__(
        self,
        model: WorldModel | BestFirstSearchConfig | None = None,
        objective: Objective | None = None,
        config: BestFirstSearchConfig | None = None,
        estimate: ValueFunction | None = None,
        **settings: Any,
    ) -> None:
        self._estimate = estimate
        super().__init__(model, objective, config, **settings)

    def _search(self, tree: "_SearchTree") -> dict[int, _FoundPath]:
        goals: dict[int, _FoundPath] = {}
        queues: list[list[tuple[float, int]]] = [
            [(0.0, search)] for search in range(tree.num_searches)
        ]
        limit = self.config.max_nodes * tree.num_searches
        while len(tree) < limit:
            nodes: list[int] = []
            for search, queue in enumerate(queues):
                if search not in goals:
                    num_popped = min(self.config.num_expansions, len(queue))
                    nodes += [heapq.heappop(queue)[1] for _ in range(num_popped)]
            if not nodes:
                break
            # One call of the model for the best nodes of all searches.
            edges = tree.expand(nodes)
            goals.update(self._goals(tree, nodes, edges))
            for priority, node in self._ranked(tree, self._open(tree, edges)):
                heapq.heappush(queues[tree.searches[node]], (priority, node))
        return goals

    def _ranked(self, tree: "_SearchTree", nodes: list[int]) -> list[tuple[float, int]]:
        """Priorities, the lowest first.

        Nodes count up, so equals are taken in the order of their discovery.
        """
        if not nodes:
            return []
        estimates = [0.0] * len(nodes)
        if self._estimate is not None:
            estimates = self._estimate(tree.observations(nodes)).tolist()
        price = self.config.step_price
        return [
            # Lowest first: price so far, less what was gained and what is still expected.
            (price * tree.depths[node] - tree.totals[node] - estimate, node)
            for node, estimate in zip(nodes, estimates, strict=True)
        ]


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


def _resolution_for(before: Tensor, after: Tensor) -> float:
    """The resolution that tells observations [B, O] before steps from those after, in any unit."""
    change = float((after - before).abs().max())
    return _RESOLUTION * change if 0 < change < _RESOLUTION else _RESOLUTION


@dataclass(frozen=True)
class _Expansion:
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


class _SearchTree:
    """Nodes of B searches in one table; the first B are the roots.

    Args:
        model: Imagines.
        objective: Judges each step as an imagined future of length one; a terminal value is left
            out.
        roots: Where the searches begin.
        num_actions: Discrete actions n.
        resolution: See `observation_keys`; None takes it from what the first actions change.
        first_action: What the model calls the first of them.
    """

    def __init__(
        self,
        model: WorldModel,
        objective: Objective,
        roots: ModelState,
        num_actions: int,
        resolution: float | None,
        *,
        first_action: int = 0,
    ) -> None:
        self._model = model
        self._objective = of_single_steps(objective)
        self._num_actions = num_actions
        self._first_action = first_action
        self.resolution = resolution
        num_rows = len(roots.observations)
        self.num_searches = num_rows
        self._chunks = [roots]
        self._places = [(0, row) for row in range(num_rows)]
        self._parents = [-1] * num_rows
        self._actions = [-1] * num_rows
        self.searches = list(range(num_rows))
        self.depths = [0] * num_rows
        self.totals = [0.0] * num_rows
        self._is_maximum = getattr(objective, "is_maximum", False)
        self._known: list[set[tuple[bytes, bool]]] = []
        self.num_model_steps = 0

    def expand(self, nodes: Sequence[int]) -> _Expansion:
        """Imagine every action in these nodes with one call of the model; add the new states."""
        device = self._chunks[0].observations.device
        actions = torch.arange(self._num_actions, device=device).repeat(len(nodes))
        actions += self._first_action
        before = self._states(nodes).repeat(self._num_actions)
        after, prediction = self._model.step(before, actions)
        self.num_model_steps += len(actions)
        step = rollout_of_one_step(before, prediction)
        values = self._objective(step, actions[:, None])
        # Exact models give 0 or 1; learned ones are taken by the more likely answer.
        is_end = prediction.terminations >= 0.5
        if self.resolution is None:
            self.resolution = _resolution_for(before.observations, after.observations)
        if not self._known:
            roots = observation_keys(self._chunks[0].observations, self.resolution)
            # A root is a state that goes on.
            self._known = [{(key, False)} for key in roots]
        keys = observation_keys(after.observations, self.resolution)
        ends = is_end.tolist()
        # An ended state is not the state of the same observation in which the episode continues.
        identities = [(key, ended) for key, ended in zip(keys, ends, strict=True)]
        children = self._add(nodes, values.tolist(), identities)
        self._store(after, children)
        return _Expansion(values, is_end, children)

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
            # The first way to a state is kept: breadth-first it is the shortest one.
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
        # The usual case: nodes of one chunk, already in their order.
        if len(parts) == 1:
            return parts[0]
        order = torch.tensor(list(chain.from_iterable(by_chunk.values())), device=device)
        hidden = tuple(
            torch.cat(tensors) for tensors in zip(*[part.hidden for part in parts], strict=True)
        )
        return ModelState(torch.cat([part.observations for part in parts]), hidden).select(
            # Back into the order that was asked for.
            order.argsort()
        )
