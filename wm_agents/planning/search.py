"""Forward search in exact discrete models: breadth-first for the fewest steps, best-first where a hint is known.

A goal is a step whose value under the objective reaches a threshold: with `DiscountedReturn` the
predicted, learned reward, with `GoalReached` a test of the observation. Source: Russell & Norvig
2020, sections 3.4 and 3.5.
"""

import heapq
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from wm_agents.planning.objectives import ValueFunction, of_single_steps, require_sum_of_steps
from wm_agents.planning.scoring import planning_device, to_device
from wm_agents.planning.search_tree import Expansion, SearchTree, observation_keys
from wm_agents.planning.spaces import num_discrete_actions
from wm_agents.protocols import ModelState, Objective, Plan, WorldModel
from wm_agents.training.config_checks import require_at_least, require_integers, require_positive

_ROUNDING = 1e-6  # totals that differ by a smaller share of their size are equal


@dataclass(frozen=True, kw_only=True)
class SearchConfig:
    """Settings of a forward search.

    Attributes:
        goal_value: A step of at least this value reaches the goal, in the objective's units.
        max_depth: Longest plan, in steps.
        max_nodes: States that one search may reach, on average over the B environments.
        resolution: Observations that round to the same multiples of it are one state, in the
            environment's units.
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
    resolution: float = 0.01
    has_warm_start: bool = True
    device: str = "auto"

    def __post_init__(self) -> None:
        require_integers(1, max_depth=self.max_depth, max_nodes=self.max_nodes)
        require_positive(resolution=self.resolution)


@dataclass(frozen=True, kw_only=True)
class BestFirstSearchConfig(SearchConfig):
    """Settings of the best-first search.

    Attributes:
        step_price: What a step costs in a node's priority, in the objective's units: with 1 and an
            estimate that is minus a lower bound on the steps to go, priorities are those of A*. The
            first way to a state and the first goal seen are kept, so that plans are short;
            `BreadthFirstSearch` has the shortest.
        num_expansions: Nodes of each search that one call of the model expands.
    """

    step_price: float = 0.01
    num_expansions: int = 16

    def __post_init__(self) -> None:
        super().__post_init__()
        require_at_least(0, step_price=self.step_price)
        require_integers(1, num_expansions=self.num_expansions)


@dataclass(frozen=True)
class FoundPath:
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


class ForwardSearch:
    """What both searches share: roots, goals, fallbacks and plans followed to their end.

    The value of a path is the sum of its steps, or that of the best one where the objective has
    `is_maximum`.

    With no goal in reach the plan is the path of the highest total value, drawn at random among
    equals, so that an agent that knows no goal yet wanders.
    """

    def __init__(
        self, model: WorldModel, objective: Objective, config: SearchConfig, name: str
    ) -> None:
        self.config: SearchConfig = config
        self._model = model
        self._objective = objective
        self._device = planning_device(model, config.device)
        self._num_actions = num_discrete_actions(model.action_space, name)
        self._followed: list[tuple[bytes, FoundPath] | None] = []

    @torch.no_grad()
    def plan(self, state: ModelState, generator: torch.Generator) -> Plan:
        """Plan for B environments at once; shorter plans are padded with their last action."""
        state = to_device(state, self._device)
        keys = observation_keys(state.observations, self.config.resolution)
        found = self._continued(keys)
        searched = [row for row, path in enumerate(found) if path is None]
        num_model_steps = 0
        if searched:
            roots = state.select(torch.tensor(searched, device=self._device))
            require_sum_of_steps(
                of_single_steps(self._objective), self._model, roots, self._num_actions
            )
            tree = SearchTree(
                self._model, self._objective, roots, self._num_actions, self.config.resolution
            )
            goals = self._search(tree)
            num_model_steps = tree.num_model_steps
            aimless = self._wander(
                tree, [index for index in range(len(searched)) if index not in goals], generator
            )
            for index, row in enumerate(searched):
                found[row] = goals.get(index) or aimless[index]
        paths = [path for path in found if path is not None]
        num_model_steps += self._follow(state, paths)
        return self._as_plan(paths, num_model_steps)

    def reset(self, mask: NDArray[np.bool_] | None = None) -> None:
        """Forget the plans that are being followed in the masked environments [B], or in all."""
        if mask is None or len(mask) != len(self._followed):
            self._followed = []
        else:
            self._followed = [
                None if m else followed for m, followed in zip(mask, self._followed, strict=True)
            ]

    def _search(self, tree: SearchTree) -> dict[int, FoundPath]:
        """The path to a goal for each search that finds one."""
        raise NotImplementedError

    def _goals(
        self, tree: SearchTree, nodes: Sequence[int], edges: Expansion
    ) -> dict[int, FoundPath]:
        """The first goal of each search among these edges."""
        goals: dict[int, FoundPath] = {}
        for edge in torch.nonzero(edges.edge_values >= self.config.goal_value).flatten().tolist():
            node = nodes[edge // self._num_actions]
            search = tree.searches[node]
            if search not in goals:
                actions = (*tree.path(node), edge % self._num_actions)
                gain = tree.total_after(node, float(edges.edge_values[edge])) - tree.totals[node]
                values = (*tree.step_values(node), gain)
                goals[search] = FoundPath(actions, values, is_goal=True)
        return goals

    def _open(self, tree: SearchTree, edges: Expansion) -> list[int]:
        """The new nodes from which a search may go on."""
        ended = edges.is_end.tolist()
        nodes = [node for edge, node in enumerate(edges.children) if node >= 0 and not ended[edge]]
        return [node for node in nodes if tree.depths[node] < self.config.max_depth]

    def _wander(
        self, tree: SearchTree, searches: list[int], generator: torch.Generator
    ) -> dict[int, FoundPath]:
        """For each search the path to a node of the highest total value, drawn among equals."""
        best: dict[int, list[int]] = {search: [] for search in searches}
        for node in range(tree.num_searches, len(tree)):
            rivals = best.get(tree.searches[node])
            if rivals is None:
                continue
            lead = tree.totals[node] - tree.totals[rivals[0]] if rivals else 0.0
            rounding = (
                _ROUNDING * max(abs(tree.totals[node]), abs(tree.totals[rivals[0]]))
                if rivals
                else 0.0
            )
            if lead > rounding:
                rivals.clear()
            if lead >= -rounding:
                rivals.append(node)
        return {search: self._drawn(tree, rivals, generator) for search, rivals in best.items()}

    def _drawn(self, tree: SearchTree, nodes: list[int], generator: torch.Generator) -> FoundPath:
        """The path to one of the nodes, or any action where every action leads back to the start."""
        number = int(
            torch.randint(
                len(nodes) or self._num_actions, (1,), generator=generator, device=generator.device
            )
        )
        if not nodes:
            return FoundPath((number,), (0.0,), is_goal=False)
        node = nodes[number]
        return FoundPath(tuple(tree.path(node)), tuple(tree.step_values(node)), is_goal=False)

    def _continued(self, keys: list[bytes]) -> list[FoundPath | None]:
        """The rest of each row's plan where its observation is the predicted one, else None."""
        if len(self._followed) != len(keys):
            return [None] * len(keys)
        return [
            followed[1] if followed is not None and followed[0] == key else None
            for key, followed in zip(keys, self._followed, strict=True)
        ]

    def _follow(self, state: ModelState, paths: list[FoundPath]) -> int:
        """Remember what each goal path expects after its first action.

        Returns the model steps that took.
        """
        self._followed = [None] * len(paths)
        rows = [row for row, path in enumerate(paths) if path.is_goal and len(path.actions) > 1]
        if not rows or not self.config.has_warm_start:
            return 0
        first = torch.tensor([paths[row].actions[0] for row in rows], device=self._device)
        after, _ = self._model.step(state.select(torch.tensor(rows, device=self._device)), first)
        for row, key in zip(
            rows, observation_keys(after.observations, self.config.resolution), strict=True
        ):
            rest = FoundPath(paths[row].actions[1:], paths[row].step_values[1:], is_goal=True)
            self._followed[row] = (key, rest)
        return len(rows)

    def _as_plan(self, paths: list[FoundPath], num_model_steps: int) -> Plan:
        horizon = max(len(path.actions) for path in paths)
        padded = [
            path.actions + path.actions[-1:] * (horizon - len(path.actions)) for path in paths
        ]
        values = torch.tensor([path.value for path in paths], device=self._device)
        return Plan(torch.tensor(padded, device=self._device), values, num_model_steps)


class BreadthFirstSearch(ForwardSearch):
    """Expands all states one step further on with one call of the model: its plans have the fewest steps.

    Args:
        model: Imagines; exact and discrete, see `wm_agents.planning.search_tree`.
        objective: Judges single steps.
        config: Settings.

    Raises:
        SpaceError: Actions that are not Discrete from 0.
    """

    def __init__(
        self, model: WorldModel, objective: Objective, config: SearchConfig = SearchConfig()
    ) -> None:
        super().__init__(model, objective, config, "BreadthFirstSearch")

    def _search(self, tree: SearchTree) -> dict[int, FoundPath]:
        goals: dict[int, FoundPath] = {}
        frontier, limit = list(range(tree.num_searches)), self.config.max_nodes * tree.num_searches
        while frontier and len(tree) < limit:
            edges = tree.expand(frontier)
            goals.update(self._goals(tree, frontier, edges))
            frontier = [
                node for node in self._open(tree, edges) if tree.searches[node] not in goals
            ]
        return goals


class BestFirstSearch(ForwardSearch):
    """Expands the most promising states first: total value so far + estimate of what follows - price of the steps.

    Args:
        model: Imagines; exact and discrete, see `wm_agents.planning.search_tree`.
        objective: Judges single steps.
        config: Settings.
        estimate: The value to come from observations [B, O], learned or known; None estimates
            nothing.

    Raises:
        SpaceError: Actions that are not Discrete from 0.
    """

    def __init__(
        self,
        model: WorldModel,
        objective: Objective,
        config: BestFirstSearchConfig = BestFirstSearchConfig(),
        estimate: ValueFunction | None = None,
    ) -> None:
        super().__init__(model, objective, config, "BestFirstSearch")
        self._best_first = config
        self._estimate = estimate

    def _search(self, tree: SearchTree) -> dict[int, FoundPath]:
        goals: dict[int, FoundPath] = {}
        queues: list[list[tuple[float, int]]] = [
            [(0.0, search)] for search in range(tree.num_searches)
        ]
        limit = self.config.max_nodes * tree.num_searches
        while len(tree) < limit:
            chosen = [
                heapq.heappop(queue)[1]
                for search, queue in enumerate(queues)
                if search not in goals
                for _ in range(min(self._best_first.num_expansions, len(queue)))
            ]
            if not chosen:
                break
            edges = tree.expand(chosen)
            goals.update(self._goals(tree, chosen, edges))
            for priority, node in self._ranked(tree, self._open(tree, edges)):
                heapq.heappush(queues[tree.searches[node]], (priority, node))
        return goals

    def _ranked(self, tree: SearchTree, nodes: list[int]) -> list[tuple[float, int]]:
        """Priorities, the lowest first.

        Nodes count up, so equals are taken in the order of their discovery.
        """
        if not nodes:
            return []
        estimates = [0.0] * len(nodes)
        if self._estimate is not None:
            estimates = self._estimate(tree.observations(nodes)).tolist()
        price = self._best_first.step_price
        return [
            (price * tree.depths[node] - tree.totals[node] - estimate, node)
            for node, estimate in zip(nodes, estimates, strict=True)
        ]
