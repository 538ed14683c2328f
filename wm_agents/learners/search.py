"""Exact rules of an environment of whole numbers, and breadth-first search for a reward in them.

`TokenModel` looks for rules that replay every recorded step. Once they also predict steps that came
afterwards without an error, plans found in them hold in the environment; a step that they do not
explain makes them learn anew.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from gymnasium import spaces as gym_spaces
from numpy.typing import NDArray
from torch import Tensor

from wm_agents.learners.base import Learner, VectorStep
from wm_agents.planning.defaults import reward_to_reach
from wm_agents.planning.objectives import DiscountedReturn
from wm_agents.planning.search import BreadthFirstSearch, SearchConfig
from wm_agents.policy_gradient.spaces import PolicySpaces
from wm_agents.protocols import ModelState
from wm_agents.world_models.token import TokenModel
from wm_envs.data.trajectories import Trajectories

Episode = list[tuple[Any, ...]]
"""Steps of (observation, action, reward, terminated, truncated, next observation)."""


@dataclass(frozen=True)
class SearchLearnerConfig:
    """Settings of `Search`.

    Attributes:
        first_fit: Steps before the first search for rules; each later one waits for twice as many.
        max_fits: After so many without exact rules the learner gives up.
        max_steps: Recorded steps that rules are looked for in, the newest.
        max_plans: Observations whose plans are remembered.
    """

    first_fit: int = 500
    max_fits: int = 6
    max_steps: int = 4000
    max_plans: int = 200_000


class Search(Learner):
    """Learns from the steps of all learners, and acts once its rules are exact."""

    config: SearchLearnerConfig
    name: ClassVar[str] = "search"
    needs_counted_actions = True

    def __init__(
        self,
        spaces: PolicySpaces,
        num_rows: int,
        total_steps: int,
        seed: int,
        config: SearchLearnerConfig | None = None,
    ) -> None:
        super().__init__(spaces, num_rows, total_steps, seed, config or SearchLearnerConfig())
        self.draws = np.random.default_rng([seed, 4])
        size = spaces.observations.size
        self._row_space = gym_spaces.Box(-np.inf, np.inf, (size,), np.float32)
        self._action_space = gym_spaces.Discrete(spaces.num_actions)
        self.model: TokenModel | None = None
        self._planner: BreadthFirstSearch | None = None
        self._generator = torch.Generator().manual_seed(seed)
        self._goal: float | None = None
        self._reward_size = 0.0
        self._open: list[Episode] = [[] for _ in range(num_rows)]
        self._done_episodes: list[Episode] = []
        self._num_kept = 0
        self._next_fit = self.config.first_fit
        self._num_fits = 0
        self._learned_from: list[Episode] = []

    @property
    def can_act(self) -> bool:
        """Whether there are rules to plan with."""
        return not self.withdrawal and self._planner is not None

    # --- acting

    def act(
        self,
        obs: Tensor,
        is_start: NDArray[np.bool_],  # noqa: ARG002
        own: NDArray[np.bool_],
        greedy: NDArray[np.bool_],  # noqa: ARG002
    ) -> Tensor:
        """The first actions of plans; at random while there are no rules."""
        number = len(obs)
        actions = torch.from_numpy(self.draws.integers(self.spaces.num_actions, size=number))
        if self._planner is not None and own.any():
            index = torch.from_numpy(own)
            actions[index] = self._planned(obs[index])
        return actions

    def predict(
        self,
        obs: Tensor,
        state: Any,
        is_start: NDArray[np.bool_],  # noqa: ARG002
    ) -> tuple[Tensor, Any]:
        """The first actions of plans."""
        if self.model is not None and self._planner is None:
            # The newest step was not foreseen; for want of better rules these act.
            self._planner = self._make_planner()
        if self._planner is None:
            return torch.zeros(len(obs), dtype=torch.int64), state
        return self._planned(obs), state

    def _make_planner(self) -> BreadthFirstSearch:
        assert self.model is not None
        assert self._goal is not None
        self._plans: dict[bytes, int] = {}
        config = SearchConfig(goal_value=self._goal)
        return BreadthFirstSearch(self.model, DiscountedReturn(), config)

    @torch.no_grad()
    def _planned(self, obs: Tensor) -> Tensor:
        """First actions [N] of plans from observations, each of which is searched from once.

        Rules that are exact make a plan good for all observations along it.
        """
        assert self._planner is not None
        keys = [row.numpy().tobytes() for row in obs]
        missing = [row for row, key in enumerate(keys) if key not in self._plans]
        found: dict[bytes, int] = {}
        if missing:
            self._planner.reset()
            plan = self._planner.plan(ModelState(obs[missing]), self._generator)
            found = {keys[row]: int(a) for row, a in zip(missing, plan.actions[:, 0], strict=True)}
            self._keep_plans(obs[missing], plan.actions)
        return torch.tensor([self._plans.get(key, found.get(key, 0)) for key in keys])

    def _keep_plans(self, obs: Tensor, actions: Tensor) -> None:
        """Remember the actions of plans [N, H] along what they lead through, up to the reward."""
        assert self.model is not None
        assert self._goal is not None
        state = ModelState(obs)
        passed: list[list[tuple[bytes, int]]] = [[] for _ in obs]
        is_open = np.ones(len(obs), np.bool_)
        for step in actions.T:
            before = state.observations
            state, predicted = self.model.step(state, step)
            for row in np.flatnonzero(is_open):
                passed[row].append((before[row].numpy().tobytes(), int(step[row])))
                if predicted.rewards[row] > self._goal:
                    self._plans.update(passed[row])
                    is_open[row] = False
        if len(self._plans) > self.config.max_plans:
            self._plans.clear()

    # --- learning

    def observe(self, step: VectorStep, own: NDArray[np.bool_]) -> dict[str, float]:  # noqa: ARG002
        """Record the steps; look for rules when it is time, or when the present ones failed."""
        self.num_seen += len(step.rewards)
        if self.withdrawal:
            return {}
        self._record(step)
        if self._planner is not None and not self._explains(step):
            # Acting on rules that are wrong would teach nothing but where they are wrong.
            self._planner = None
        if self._planner is None and self.num_seen >= self._next_fit:
            self._fit()
        return {}

    def _record(self, step: VectorStep) -> None:
        for row in range(self.num_rows):
            if step.is_start[row]:
                # An episode may have been left for a new one without an end.
                self._close(row)
        for row in range(self.num_rows):
            self._open[row].append(
                (
                    step.obs[row].numpy(),
                    int(step.actions[row]),
                    float(step.rewards[row]),
                    bool(step.terminated[row]),
                    bool(step.truncated[row] and not step.terminated[row]),
                    step.next_obs[row].numpy(),
                )
            )
            if step.ended[row] or len(self._open[row]) >= 64:
                self._close(row)
        while self._num_kept > self.config.max_steps:
            self._num_kept -= len(self._done_episodes.pop(0))

    def _close(self, row: int) -> None:
        """Put what is open of a row among the recorded parts of episodes."""
        if self._open[row]:
            self._done_episodes.append(self._open[row])
            self._num_kept += len(self._open[row])
            self._open[row] = []

    @torch.no_grad()
    def _explains(self, step: VectorStep) -> bool:
        """Whether the rules foresaw these steps to the last number."""
        assert self.model is not None
        _, predicted = self.model.step(ModelState(step.obs), step.actions)
        is_same = np.allclose(predicted.observations.numpy(), step.next_obs.numpy(), atol=1e-4)
        atol = 1e-4 * self._reward_size  # rewards have any unit
        is_same &= np.allclose(predicted.rewards.numpy(), step.rewards, atol=atol)
        ends = predicted.terminations.numpy() > 0.5
        return bool(is_same and (ends == step.terminated).all())

    def trajectories(self, episodes: Sequence[Episode]) -> Trajectories:
        """Recorded parts of episodes as one set of trajectories of rows."""
        steps = [step for episode in episodes for step in episode]
        rows = [row for episode in episodes for row in [*(s[0] for s in episode), episode[-1][5]]]
        return Trajectories.from_arrays(
            np.stack(rows),
            np.array([step[1] for step in steps]),
            np.array([step[2] for step in steps]),
            np.array([step[3] for step in steps]),
            np.array([step[4] for step in steps]),
            [len(episode) for episode in episodes],
            observation_space=self._row_space,
            action_space=self._action_space,
        )

    def _fit(self) -> None:
        """Look for rules in what was recorded of late."""
        self._num_fits += 1
        self._next_fit = 2 * self.num_seen
        episodes = [*self._done_episodes, *(list(part) for part in self._open if part)]
        if not self.trajectories(episodes).is_lattice:
            self.withdrawal = "observations are not whole numbers"
        elif not self._learn(episodes) and self._num_fits >= self.config.max_fits:
            self.withdrawal = f"no exact rules in {self.num_seen:,} steps"

    def _learn(self, episodes: list[Episode]) -> bool:
        """Whether there are exact rules, and a reward to look for; they are taken over."""
        trajectories = self.trajectories(episodes)
        goal = reward_to_reach(trajectories)
        model = TokenModel(self._row_space, self._action_space, seed=self.seed)
        if goal is None or not model.find_rules(trajectories):
            return False
        model.fit(trajectories)
        self.model, self._goal, self._learned_from = model, goal, episodes
        self._reward_size = float(np.abs(trajectories.rewards).max())
        self._planner = self._make_planner()
        return True

    # --- files

    def state_dict(self) -> dict[str, Any]:
        """The recorded steps, and those from which the present rules follow."""
        return {
            "episodes": _columns([*self._done_episodes, *(part for part in self._open if part)]),
            "learned_from": _columns(self._learned_from),
            "counts": [self.num_seen, self._next_fit, self._num_fits],
            "is_acting": self._planner is not None,
            "draws": self.draws.bit_generator.state,
            "withdrawal": self.withdrawal,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over recorded steps, and find the rules again."""
        self._done_episodes = _episodes(state["episodes"])
        self._num_kept = sum(len(episode) for episode in self._done_episodes)
        self._open = [[] for _ in range(self.num_rows)]
        self.num_seen, self._next_fit, self._num_fits = state["counts"]
        self.draws.bit_generator.state = state["draws"]
        self.withdrawal = state["withdrawal"]
        self.model = self._planner = None
        learned_from = _episodes(state["learned_from"])
        if learned_from:
            self._learn(learned_from)
        if not state["is_acting"]:
            self._planner = None

    def acting_state(self) -> dict[str, Any]:
        """Only what the rules follow from."""
        return self.state_dict() | {"episodes": _columns([])}

    def decision(self) -> str:
        """Whether exact rules were found."""
        if self.withdrawal:
            return self.withdrawal
        if self._planner is None:
            return "no exact rules yet"
        return f"exact rules after {self._num_fits} searches; a reward above {self._goal:g} is looked for"


def _columns(episodes: Sequence[Episode]) -> dict[str, Any]:
    """All steps behind one another, since there may be thousands of short episodes."""
    steps = [step for episode in episodes for step in episode]
    return {
        "lengths": [len(episode) for episode in episodes],
        "columns": [np.array(column) for column in zip(*steps, strict=True)],
    }


def _episodes(stored: Mapping[str, Any]) -> list[Episode]:
    lengths = stored["lengths"]
    if not lengths:
        return []
    obs, actions, rewards, terminated, truncated, next_obs = stored["columns"]
    plain = [column.tolist() for column in (actions, rewards, terminated, truncated)]
    steps = list(zip(obs, *plain, next_obs, strict=True))
    ends = np.cumsum(lengths).tolist()
    return [steps[end - length : end] for end, length in zip(ends, lengths, strict=True)]
