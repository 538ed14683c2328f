"""A policy that learns in imagination where observations are a stack of frames on a lattice.

Whether they are is found from the first steps: a stack shows most of its numbers again one step
later, in another column, and numbers on a lattice can be counted. Where they are, forests of trees
are fitted to all recorded steps, round after round, and PPO learns in branches that they imagine
from recorded states (`wm_agents.imagination.stacked_dreams`, which Pong's dreams call as well).

Letters: B rows (environments side by side), O observation.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import torch
from gymnasium import spaces as gym_spaces
from numpy.typing import NDArray
from torch import Tensor

from wm_agents.errors import NonFiniteError, TrajectoryError
from wm_agents.imagination.features import FeatureAgent
from wm_agents.imagination.stacked_dreams import (
    FOREST,
    FOREST_PPO,
    FOREST_RATES,
    ForestRefits,
    between,
    feature_policy,
    imagined_branches,
    improve_policy,
)
from wm_agents.learners.base import Learner, VectorStep
from wm_agents.learners.replay_buffer import ReplayBuffer
from wm_agents.policy_gradient.ppo import PPO
from wm_agents.policy_gradient.spaces import PolicySpaces
from wm_agents.world_models.stacked import StackedView
from wm_agents.world_models.stacked_forest import StackedForestModel
from wm_agents.world_models.stacked_search import ForestConfig
from wm_envs.data.trajectories import Trajectories

Array = NDArray[Any]

MIN_EXPLAINED = 0.5
"""Of the variance of rewards, by the changes that are shown; with less imagination has no aim."""
RARE_REWARDS = 0.05
"""Of the steps; branches are cut at rewards that are as rare, where the value stands for the rest."""
LEAD_ERRORS = 2.0
"""Standard errors by which it earns less a step than others, from which it asks for no episodes."""
MAX_HELD = 16
"""Steps for which a random action is held at most, before there is a policy."""


@dataclass(frozen=True)
class ImaginedFramesConfig:
    """Settings of `ImaginedFrames`.

    Attributes:
        trial_steps: Steps after which it is judged whether observations are a stack.
        first_share: Of the steps, before the first fit.
        round_share: Of the steps, between two fits.
        updates_per_step: Of the policy in imagination, for each real step between two fits.
        min_updates: After each fit at least.
        max_updates: After each fit at most; three times as many after the last one.
        num_rows: Imagined side by side.
        horizon: Steps after which a branch is cut off.
        learning_rate: Of PPO, in the first round and at the end of the last one.
        ent_coef: Weight of the policy's entropy, likewise.
        gamma: Discount per step.
        width: Hidden units in each of two layers of policy and values.
        lead: Share of the episodes that it asks for while it does not earn clearly less a step than
            others.
        capacity: Steps kept.
        max_features: Numbers of an observation that are searched for a stack.
        forest: Of the world model.
    """

    trial_steps: int = 2000
    first_share: float = 0.1
    round_share: float = 0.1
    updates_per_step: float = 0.004
    min_updates: int = 20
    max_updates: int = 40
    num_rows: int = 256
    horizon: int = 192
    learning_rate: tuple[float, float] = FOREST_RATES
    ent_coef: tuple[float, float] = (0.01, 0.002)
    gamma: float = 0.99
    width: int = 96
    lead: float = 0.9
    capacity: int = 200_000
    max_features: int = 256
    forest: ForestConfig = FOREST


class ImaginedFrames(Learner):
    """Learns from imagined steps alone; the model learns from the steps of all learners."""

    config: ImaginedFramesConfig
    name: ClassVar[str] = "imagined frames"
    needs_counted_actions = True

    def __init__(
        self,
        spaces: PolicySpaces,
        num_rows: int,
        total_steps: int,
        seed: int,
        config: ImaginedFramesConfig | None = None,
    ) -> None:
        super().__init__(spaces, num_rows, total_steps, seed, config or ImaginedFramesConfig())
        space = spaces.observation_space
        if not isinstance(space, gym_spaces.Box) or len(space.shape) != 1:
            self.withdrawal = self.withdrawal or "observations are not a row of numbers"
        elif len(space.low) > self.config.max_features:
            self.withdrawal = f"observations of {len(space.low):,} numbers are too large to search"
        # Actions count from 0 here, whatever the environment's first one is.
        self._actions = gym_spaces.Discrete(max(1, spaces.num_actions))
        per_row = max(64, self.config.capacity // num_rows)
        self.replay = ReplayBuffer(num_rows, min(per_row, total_steps // num_rows + 2))
        self._refits = ForestRefits(space, self._actions, self.config.forest, seed)
        self.policy: PPO | None = None
        self.view: StackedView | None = None
        self.draws = np.random.default_rng([seed, 7])
        self.is_judged = False
        self.num_fits = 0
        self.num_updates = 0
        self._next_fit = max(self.config.first_share * total_steps, self.config.trial_steps)
        self._loss = 0.0  # held out, of all parts together
        # What others and this one earned: rewards, their squares, and steps.
        self._earned = np.zeros((2, 3))
        self._memory: tuple[Array, Array] | None = None
        self._own = np.zeros(num_rows, np.bool_)
        self._held = np.zeros((2, num_rows), np.int64)  # random actions, and how long they last

    @property
    def can_act(self) -> bool:
        """Whether something was learned in imagination."""
        return not self.withdrawal and self.num_updates > 0

    @property
    def lead(self) -> float:
        """Nearly all episodes, unless it clearly earns less a step than others did.

        What the model does not know yet is what its policy seeks; only its own steps show that.
        """
        if not self.can_act:
            return 0.0
        steps = self._earned[:, 2]
        if steps.min() < self.config.trial_steps:
            return self.config.lead
        means = self._earned[:, 0] / steps
        variances = self._earned[:, 1] / steps - means**2
        error = float(np.sqrt((variances / steps).sum()))
        is_less = means[0] - means[1] > LEAD_ERRORS * error
        return 0.0 if is_less else self.config.lead

    # --- acting

    @torch.no_grad()
    def act(
        self,
        obs: Tensor,
        is_start: NDArray[np.bool_],
        own: NDArray[np.bool_],
        greedy: NDArray[np.bool_],
    ) -> Tensor:
        """Draws from the policy, its likeliest action where greedy; random before there is one."""
        self._own = own.copy()
        if not self.can_act:
            return torch.from_numpy(self._random_actions())
        actions, (states, _) = self._player().predict(self._shown(obs), self._memory, is_start)
        # The steps of other learners are remembered as well: an episode may change hands.
        self._memory = states, actions
        if greedy.any():
            assert self.policy is not None
            assert self.view is not None
            likeliest, _ = self.policy.predict(self.view.features(states), deterministic=True)
            actions = np.where(greedy, likeliest, actions)
        return torch.from_numpy(np.asarray(actions, np.int64))

    @torch.no_grad()
    def predict(self, obs: Tensor, state: Any, is_start: NDArray[np.bool_]) -> tuple[Tensor, Any]:
        """The policy's likeliest actions."""
        actions, state = self._player().predict(
            self._shown(obs), state, is_start, deterministic=True
        )
        return torch.from_numpy(np.asarray(actions, np.int64)), state

    def _player(self) -> FeatureAgent:
        assert self.policy is not None
        assert self.view is not None
        return FeatureAgent(self.policy, self.view)

    def _shown(self, obs: Tensor) -> Array:
        """Observations [B, O] in which what never changed is as it was recorded.

        Such a column may change before the next fit finds it, and says nothing to this policy.
        """
        assert self.view is not None
        rows = obs.numpy().copy()
        for column, value in self.view.constants:
            rows[:, column] = value
        return rows

    def _random_actions(self) -> Array:
        """An action [B] for each row, held for random times with a heavy tail."""
        is_over = self._held[1] <= 0
        lengths = np.minimum(1 / (1 - self.draws.random(self.num_rows)), MAX_HELD)
        fresh = self.draws.integers(self._actions.n, size=self.num_rows)
        self._held[0] = np.where(is_over, fresh, self._held[0])
        self._held[1] = np.where(is_over, lengths.astype(np.int64), self._held[1]) - 1
        return self._held[0].copy()

    # --- learning

    def observe(self, step: VectorStep, own: NDArray[np.bool_]) -> dict[str, float]:  # noqa: ARG002
        """Keep the steps; when there are enough new ones fit the forests and imagine."""
        self.num_seen += len(step.rewards)
        if self.withdrawal:
            return {}
        self.replay.keep(step)
        self._count_rewards(step.rewards)
        if self._memory is not None:
            self._memory = self._memory[0], step.actions.numpy().astype(np.int64)
        if not self.is_judged and self.num_seen >= self.config.trial_steps:
            self._judge()
        if self.withdrawal or not (self.is_judged and self.effort) or not self._is_due():
            return {}
        return self._play_round()

    def _count_rewards(self, rewards: Array) -> None:
        values = rewards.astype(np.float64)
        for row, is_counted in enumerate((~self._own, self._own)):
            counted = values[is_counted]
            self._earned[row] += (counted.sum(), (counted**2).sum(), len(counted))

    @property
    def _is_last(self) -> bool:
        """Whether no step of all rows is left."""
        return self.total_steps - self.num_rows < self.num_seen <= self.total_steps

    def _is_due(self) -> bool:
        """Whether it is time for a fit: after a share of the steps, and after the very last one."""
        return self.num_seen >= self._next_fit or self._is_last

    def _trajectories(self) -> Trajectories:
        return self.replay.trajectories(self.spaces.observation_space, self._actions)

    def _judge(self) -> None:
        """Withdraw where observations are no stack of frames on a lattice."""
        self.is_judged = True
        try:
            view = StackedView.found(self._trajectories(), self.spaces.observation_space)
        except TrajectoryError as error:
            self._withdraw(f"no stack of frames on a lattice: {error}")
            return
        num_stacked = sum(len(chain) > 1 for chain in view.frames)
        if 2 * num_stacked <= view.num_parts:
            self._withdraw(
                f"no stack of frames: {num_stacked} of {view.num_parts} numbers that change are "
                "shown again a step later"
            )

    def _withdraw(self, reason: str) -> None:
        self.withdrawal = reason
        self.replay = ReplayBuffer(self.num_rows, 1)

    def _play_round(self) -> dict[str, float]:
        """Fit the forests to everything recorded, and learn in what they imagine."""
        self._next_fit = self.num_seen + self.config.round_share * self.total_steps
        trajectories = self._trajectories()
        if not trajectories.rewards.any():
            return {}  # there is nothing to aim at yet
        try:
            model, report, is_new = self._refits.fit(trajectories)
        except TrajectoryError as error:
            self._withdraw(f"forests failed after {self.num_seen:,} steps: {error}")
            return {}
        explained = self._explained(model, trajectories)
        if explained < MIN_EXPLAINED:
            self._withdraw(
                f"what is shown explains {explained:.0%} of the rewards' variance, after "
                f"{self.num_seen:,} steps"
            )
            return {}
        if is_new:
            self._begin(model.view)
        self._loss = report.best_loss
        try:
            figures = self._dream(model, trajectories)
        except NonFiniteError as error:
            self._withdraw(f"imagination failed after {self.num_seen:,} steps: {error}")
            return {}
        self.num_fits += 1
        # What it earned before it learned this counts half.
        self._earned[1] /= 2
        return figures | {"held_out_loss": report.best_loss}

    def _begin(self, view: StackedView) -> None:
        """A new policy on a structure that was found."""
        config = replace(FOREST_PPO, widths=(self.config.width,) * 2, gamma=self.config.gamma)
        self.view = view
        with torch.random.fork_rng(devices=[]):
            self.policy = feature_policy(view, self._actions, config, self.seed)

    def _explained(self, model: StackedForestModel, trajectories: Trajectories) -> float:
        """Share of the rewards' variance that the model gives; takes over what rows remember."""
        view = model.view
        actions = trajectories.actions.astype(np.int64)
        states, next_values = view.replay(trajectories.observations, actions, trajectories.lengths)
        before = view.values(trajectories.observations[trajectories.observation_of_step])
        imagined, _ = model.outcomes(before, next_values)
        errors = trajectories.rewards - imagined.numpy()
        # Each row's newest step is its last one.
        newest = (np.arange(self.num_rows) + 1) * self.replay.size - 1
        self._memory = states[newest], actions[newest]
        variance = float(trajectories.rewards.var())
        return 1 - float((errors**2).mean()) / variance if variance > 0 else 0.0

    def _dream(self, model: StackedForestModel, trajectories: Trajectories) -> dict[str, float]:
        """PPO in branches from everything recorded."""
        config = self.config
        assert self.policy is not None
        assert self.view is not None
        num_rounds = 1 + round((1 - config.first_share) / config.round_share)
        way = min(self.num_fits, num_rounds - 1) / num_rounds
        wanted = config.updates_per_step * config.round_share * self.total_steps
        num_updates = min(max(wanted, config.min_updates), config.max_updates)
        num_updates *= self.effort * (3 if self._is_last else 1)
        is_rewarded = trajectories.rewards != 0
        env = imagined_branches(
            model,
            self.view,
            trajectories,
            horizon=config.horizon,
            num_rows=config.num_rows,
            seed=self.seed + 1000 * self.num_fits,
            gamma=config.gamma,
            ends_at_rewards=False,
            cuts_at_rewards=bool(is_rewarded.mean() <= RARE_REWARDS),
            reward_scale=1 / float(np.abs(trajectories.rewards[is_rewarded]).mean()),
        )
        num_updates = max(1, round(num_updates))
        with torch.random.fork_rng(devices=[]):
            figures = improve_policy(
                self.policy,
                env,
                num_updates,
                between(config.learning_rate, (way, way + 1 / num_rounds)),
                between(config.ent_coef, (way, way + 1 / num_rounds)),
            )
        self.num_updates += num_updates
        return figures

    # --- files

    def state_dict(self) -> dict[str, Any]:
        """The policy, what it reads, counters and the recorded steps."""
        return {
            "policy": None if self.policy is None else self.policy.state(),
            "view": None if self.view is None else self.view.to_json(),
            "refits": self._refits.state_dict(),
            "draws": self.draws.bit_generator.state,
            "counts": [self.num_seen, self.num_updates, self.num_fits, int(self.is_judged)],
            "numbers": [self._next_fit, self._loss],
            "earned": self._earned.copy(),
            "held": self._held.copy(),
            "withdrawal": self.withdrawal,
            "replay": self.replay.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over a state of a learner for the same spaces."""
        self.policy = self.view = None
        if state["view"] is not None:
            self._begin(StackedView.from_json(state["view"]))
            assert self.policy is not None
            self.policy.restore(state["policy"])
        self._refits.load_state_dict(state["refits"], self.view)
        self.draws.bit_generator.state = state["draws"]
        self.num_seen, self.num_updates, self.num_fits, is_judged = state["counts"]
        self.is_judged = bool(is_judged)
        self._next_fit, self._loss = state["numbers"]
        self._earned = np.array(state["earned"])
        self._held = np.array(state["held"])
        self.withdrawal = state["withdrawal"]
        self.replay.load_state_dict(state["replay"])
        self._memory = None

    def acting_state(self) -> dict[str, Any]:
        """Without the recorded steps."""
        return self.state_dict() | {"replay": self.replay.empty_state()}

    def decision(self) -> str:
        """Whether there is a stack, and what was earned in it."""
        if self.withdrawal:
            return self.withdrawal
        if self.view is None:
            return "no fit yet"
        depth = max(len(chain) for chain in self.view.frames)
        own, others = (self._earned[row, 0] / max(1, self._earned[row, 2]) for row in (1, 0))
        return (
            f"{depth} frames of {self.view.num_parts} numbers on a lattice, {self.num_fits} fits of "
            f"forests (held-out Brier score {self._loss:.3f}), {own:.3g} a step where others earn "
            f"{others:.3g}"
        )
