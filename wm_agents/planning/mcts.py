"""Monte Carlo tree search with PUCT, for B environments at once.

Every simulation is one call of the model. Source: Silver et al. 2017 (PUCT); Schrittwieser et al.
2020, "MuZero", appendix B (learned model, min-max values).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from torch import Tensor

from wm_agents.planning.objectives import (
    ValueFunction,
    discount_of,
    of_single_steps,
    require_sum_of_steps,
    rollout_of_one_step,
)
from wm_agents.planning.planner import ModelPlanner
from wm_agents.protocols import ModelState, Objective, Plan, WorldModel
from wm_agents.training.config_checks import (
    renamed_settings,
    require_at_least,
    require_between,
    require_integers,
)

PriorFunction = Callable[[Tensor], Tensor]
"""observations [B, O] -> action probabilities [B, n]."""

Walk = list[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]]
"""Nodes [B], actions [B] and whether each row is still walking [B], depth by depth."""


@renamed_settings(discount="gamma")
@dataclass(frozen=True, kw_only=True)
class MCTSConfig:
    """Settings of the tree search.

    Attributes:
        num_simulations: Leaves that are added to each environment's tree.
        exploration: Weight of the prior and the visit counts against the values (c of PUCT).
        gamma: Weight of a value one step later, in [0, 1]; unused where the objective has a
            discount of its own.
        rollout_horizon: Steps of the random rollouts that value a leaf; unused with a value
            function.
        num_rollouts: Random rollouts per leaf; unused with a value function.
        device: "auto" plans where the model's parameters lie; a name such as "cuda" moves the model
            there.

    Raises:
        ConfigError: A value that cannot work.
    """

    num_simulations: int = 64
    exploration: float = 1.25
    gamma: float = 0.99
    rollout_horizon: int = 16
    num_rollouts: int = 4
    device: str = "auto"

    def __post_init__(self) -> None:
        counts = {"rollout_horizon": self.rollout_horizon, "num_rollouts": self.num_rollouts}
        require_integers(1, num_simulations=self.num_simulations, **counts)
        require_at_least(0, exploration=self.exploration)
        require_between(0, 1, gamma=self.gamma)


class _Trees:
    """The statistics of B trees of up to M nodes and n actions.

    Node 0 is the root, -1 a child that is not there.
    """

    def __init__(
        # Arrays of all trees side by side: the model is called once for all of them.
        self,
        num_rows: int,
        num_nodes: int,
        num_actions: int,
        is_maximum: bool = False,
    ) -> None:
        shape = (num_rows, num_nodes, num_actions)
        self.is_maximum = is_maximum
        self.rows = np.arange(num_rows)
        # -1: the action was not imagined yet.
        self.children = np.full(shape, -1, np.int64)
        self.visits = np.zeros(shape, np.int64)
        self.value_sums = np.zeros(shape)
        self.priors = np.full(shape, 1.0 / num_actions)
        self.rewards = np.zeros(shape)
        # float64 throughout: sums over many simulations are compared with each other.
        self.continues = np.ones(shape)  # probability that the episode lasts beyond the action
        self.lowest = np.full(num_rows, np.inf)
        self.highest = np.full(num_rows, -np.inf)

    def scores(self, nodes: NDArray[np.int64], exploration: float) -> NDArray[np.float64]:
        """PUCT scores [B, n].

        Q scaled to [0, 1] by the tree's extremes, 0 where unvisited, plus the bonus.
        """
        visits = self.visits[self.rows, nodes]
        # At least 1: an action without a visit has a value of 0 and is kept apart below.
        values = self.value_sums[self.rows, nodes] / np.maximum(visits, 1)
        # Scaled by the extremes that the tree has met, so that one exploration constant serves rewards
        # of every unit (Schrittwieser et al. 2020, eq. 5). Equal values have no spread to divide by.
        spread = np.where(self.highest > self.lowest, self.highest - self.lowest, 1.0)[:, None]
        lowest = np.where(np.isfinite(self.lowest), self.lowest, 0.0)[:, None]
        # Actions without a visit count as the worst so far, so that priors decide among them.
        scaled = np.where(visits > 0, (values - lowest) / spread, 0.0)
        # At least 1, so that priors also count before the first visit.
        root_visits = np.sqrt(np.maximum(visits.sum(1, keepdims=True), 1))
        return scaled + exploration * self.priors[self.rows, nodes] * root_visits / (1 + visits)

    def descend(self, exploration: float) -> Walk:
        """Walk from the roots to edges without a child."""
        nodes = np.zeros(len(self.rows), np.int64)
        walking = np.ones(len(self.rows), np.bool_)
        path = []
        while walking.any():
            actions = self.scores(nodes, exploration).argmax(1)
            path.append((nodes, actions, walking))
            children = self.children[self.rows, nodes, actions]
            walking = walking & (children >= 0)
            # Rows that have arrived wait where they are.
            nodes = np.where(walking, children, nodes)
        return path

    def backup(self, path: Walk, leaf_values: NDArray[np.float64], gamma: float) -> None:
        """Add the value of a simulation to every edge on its path.

        The discounted return, or that of the best step.
        """
        # A sum of steps, or the best of them.
        combine = np.maximum if self.is_maximum else np.add
        returns = leaf_values.copy()
        # From the leaf up. Rows whose walk ended before this edge wait until it is theirs.
        for nodes, actions, walking in reversed(path):
            edge = (self.rows, nodes, actions)
            # What follows counts as far as the episode is likely to go on.
            follow = gamma * self.continues[edge] * returns
            returns = np.where(walking, combine(self.rewards[edge], follow), returns)
            self.value_sums[edge] += np.where(walking, returns, 0.0)
            self.visits[edge] += walking
            # The extremes are of means, with which they are compared.
            means = self.value_sums[edge] / np.maximum(self.visits[edge], 1)
            self.lowest = np.where(walking, np.minimum(self.lowest, means), self.lowest)
            self.highest = np.where(walking, np.maximum(self.highest, means), self.highest)


class _NodeStates:
    """The model states of B trees of up to M nodes.

    Node m of all trees is one row of every buffer.
    """

    def __init__(self, roots: ModelState, num_nodes: int) -> None:
        tensors = (roots.observations, *roots.hidden)
        # Nodes first: a node of all trees is one contiguous block.
        self._buffers = [tensor.new_empty((num_nodes, *tensor.shape)) for tensor in tensors]
        self._rows = torch.arange(len(roots.observations), device=roots.observations.device)
        self.put(0, roots)

    def put(self, node: int, states: ModelState) -> None:
        """Store node `node` of every tree."""
        for buffer, tensor in zip(
            self._buffers, (states.observations, *states.hidden), strict=True
        ):
            buffer[node] = tensor

    def at(self, nodes: NDArray[np.int64]) -> ModelState:
        """Node `nodes[b]` of tree b, for every b."""
        index = torch.as_tensor(nodes, device=self._rows.device)
        observations, *hidden = (buffer[index, self._rows] for buffer in self._buffers)
        return ModelState(observations, tuple(hidden))


class MCTS(ModelPlanner[MCTSConfig]):
    """PUCT search for Discrete actions; the most visited action is the plan, of horizon one.

    It is made as every planner is, see `ModelPlanner`.

    Args:
        model: Imagines.
        objective: Judges single steps and, without a value function, random rollouts, whose
            terminal value it adds. Its value is the sum of its steps, or that of the best one where
            it has `is_maximum`, as `GoalReached`.
        config: Settings.
        value: The value [B] of leaf observations [B, O], learned; None rolls out at random.
        prior: Which actions are promising, learned; None treats all as equal.
        **settings: Single fields of the configuration.

    Raises:
        ConfigError: In `plan`: an objective whose steps do not add up.
    """

    config_class = MCTSConfig
    action_kinds = (spaces.Discrete,)

    def __init__(
        self,
        model: WorldModel | MCTSConfig | None = None,
        objective: Objective | None = None,
        config: MCTSConfig | None = None,
        value: ValueFunction | None = None,
        prior: PriorFunction | None = None,
        **settings: Any,
    ) -> None:
        self._value = value
        self._prior = prior
        super().__init__(model, objective, config, **settings)

    def _prepare(self, actions: spaces.Discrete) -> None:
        self._step_objective = of_single_steps(self.objective)
        self._gamma = discount_of(self.objective, self.config.gamma)
        self._num_actions = int(actions.n)
        self._first_action = int(actions.start)

    def _plan(self, state: ModelState, generator: torch.Generator) -> Plan:
        config = self.config
        num_rows = len(state.observations)
        # Once for each plan: whether steps add up depends on the objective and not on the tree.
        require_sum_of_steps(
            self._step_objective, self._model, state, self._num_actions, self._first_action
        )
        is_maximum = getattr(self.objective, "is_maximum", False)
        trees = _Trees(num_rows, config.num_simulations + 1, self._num_actions, is_maximum)
        self._set_priors(trees, 0, state)
        states = _NodeStates(state, config.num_simulations + 1)
        for simulation in range(1, config.num_simulations + 1):
            path = trees.descend(config.exploration)
            leaves = self._grow(trees, states, path, simulation)
            trees.backup(path, self._leaf_values(leaves, generator), self._gamma)
        steps_per_leaf = 1
        if self._value is None:
            # A rollout from each leaf is what costs, not the node itself.
            steps_per_leaf += config.num_rollouts * config.rollout_horizon
        return self._decide(trees, num_rows * config.num_simulations * steps_per_leaf)

    def _grow(self, trees: _Trees, states: _NodeStates, path: Walk, simulation: int) -> ModelState:
        """Imagine the action that each row's walk ended with, and add the new state to its tree."""
        parents, actions = self._last_edges(path)
        before = states.at(parents)
        taken = torch.as_tensor(actions, device=self._device) + self._first_action
        after, prediction = self._model.step(before, taken)
        step = rollout_of_one_step(before, prediction)
        edge = (trees.rows, parents, actions)
        # Each simulation adds one node to every tree, so that its number names the node in all.
        trees.children[edge] = simulation
        trees.rewards[edge] = self._step_objective(step, taken[:, None]).double().cpu().numpy()
        trees.continues[edge] = 1.0 - prediction.terminations.double().cpu().numpy()
        states.put(simulation, after)
        self._set_priors(trees, simulation, after)
        return after

    def _last_edges(self, path: Walk) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        # The first edge serves rows that never walked any further.
        parents = path[0][0].copy()
        actions = path[0][1].copy()
        for nodes, edges, walking in path:
            parents[walking] = nodes[walking]
            actions[walking] = edges[walking]
        return parents, actions

    def _leaf_values(self, leaves: ModelState, generator: torch.Generator) -> NDArray[np.float64]:
        if self._value is not None:
            return self._value(leaves.observations).double().cpu().numpy()
        num_rollouts = self.config.num_rollouts
        shape = (len(leaves.observations) * num_rollouts, self.config.rollout_horizon)
        drawn = torch.randint(
            self._num_actions, shape, generator=generator, device=generator.device
        )
        actions = drawn.to(self._device) + self._first_action
        # Random futures by the same objective, averaged over the rollouts.
        values = self.objective(self._model.rollout(leaves.repeat(num_rollouts), actions), actions)
        return values.view(-1, num_rollouts).mean(1).double().cpu().numpy()

    def _set_priors(self, trees: _Trees, node: int, state: ModelState) -> None:
        if self._prior is not None:
            trees.priors[:, node] = self._prior(state.observations).double().cpu().numpy()

    def _decide(self, trees: _Trees, num_model_steps: int) -> Plan:
        """The most visited root action, of equals the more valuable."""
        visits = trees.visits[:, 0]
        sums = trees.value_sums[:, 0]
        values = np.where(visits > 0, sums / np.maximum(visits, 1), -np.inf)
        # `lexsort` takes its last key first: visits decide, values break ties.
        best = np.lexsort((values, visits), axis=1)[:, -1]
        # Columns are sorted along the actions, the best one last.
        actions = torch.as_tensor(best[:, None], device=self._device) + self._first_action
        best_values = values[trees.rows, best]
        return Plan(
            actions,
            torch.as_tensor(best_values, dtype=torch.float32, device=self._device),
            num_model_steps,
        )
