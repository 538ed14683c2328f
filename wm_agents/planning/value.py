"""A value function learned in imagination, so that a planner sees past its horizon.

Approximate value iteration: the model predicts once what every action leads to from many states;
then a network is fitted to max_a r + gamma (1 - termination) V(next), over and over, with a
little of the mean over actions mixed in. States that the greedy policy visits in imagination join
between rounds, since those are where values are asked for. Sources: Ernst et al. 2005 (fitted
iteration) with a slow target network; targets in units that are measured again in every round, van
Hasselt et al. 2016 (Pop-Art, section 2); as a terminal value, POLO (Lowrey et al. 2018); the lowest
value for states that the data do not cover, MOReL (Kidambi et al. 2020, definition 2).
"""

import math
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from hashlib import sha256
from typing import Any, Self

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor, nn

from wm_agents.errors import ConfigError, NotFittedError, SpaceError
from wm_agents.networks import follow_parameters
from wm_agents.observation_rows import float_tensor
from wm_agents.planning.objectives import RewardFunction
from wm_agents.planning.planner import action_bounds, planned_actions
from wm_agents.protocols import WorldModel
from wm_agents.training.checkpoints import Checkpoint, CheckpointManager
from wm_agents.training.config_checks import (
    checked_seed,
    renamed_settings,
    require_between,
    require_integers,
)
from wm_agents.training.finite import descend
from wm_agents.training.saving import Savable
from wm_agents.training.stored_shapes import check_shapes, config_from_json
from wm_agents.training.trainer import FitReport, Trainer
from wm_agents.world_models.encoding import spaces_of
from wm_envs.data.spaces import ObservationCodec
from wm_envs.data.trajectories import Trajectories

_ROUNDING = 1e-6  # a spread below this share of the size of float32 numbers is rounding
_NUM_MEASURED = 4096  # targets from which a round takes its units


@renamed_settings(
    discount="gamma",
    is_cautious="pessimistic",
    longest_hold="max_repeat",
    slip="action_noise",
    target_rate="tau",
)
@dataclass(frozen=True, kw_only=True)
class ValueConfig:
    """Settings of the value iteration.

    Attributes:
        gamma: Weight of a reward one step later, in [0, 1).
        hidden_size: Units in each of the two hidden layers.
        num_rounds: Rounds of imagining states and fitting values.
        num_updates: Gradient steps per round.
        batch_size: States per gradient step.
        learning_rate: Of Adam.
        tau: Share of the way that the target network follows at each step.
        num_drawn_actions: Actions tried per state where they are continuous.
        num_branches: Imagined episodes per round.
        branch_length: Their steps.
        exploration: Share of random actions in them.
        max_repeat: In every other branch a random (Discrete) action is repeated for a random time
            of at most so many steps: a goal that no dithering reaches would never be imagined.
        action_noise: Share of random actions in the policy that is valued: it makes states near a
            danger worth less than safe ones, where the best policy would escape either way and all
            values were equal.
        pessimistic: States outside the recorded range, feature by feature, have a value below all
            that the imagined rewards allow. A model knows no cliff over which nobody fell yet.
            Leave it out where exploring is the aim.

    Raises:
        ConfigError: A value that cannot work.
    """

    gamma: float = 0.99
    hidden_size: int = 128
    num_rounds: int = 20
    num_updates: int = 500
    batch_size: int = 256
    learning_rate: float = 1e-3
    tau: float = 0.02
    num_drawn_actions: int = 8
    num_branches: int = 32
    branch_length: int = 200
    exploration: float = 0.2
    max_repeat: int = 64
    action_noise: float = 0.1
    pessimistic: bool = False

    def __post_init__(self) -> None:
        require_between(0, 0.9999, gamma=self.gamma)
        require_between(0, 1, exploration=self.exploration, action_noise=self.action_noise)
        require_integers(
            1, num_rounds=self.num_rounds, num_updates=self.num_updates, batch_size=self.batch_size
        )
        require_integers(1, num_branches=self.num_branches, branch_length=self.branch_length)
        require_integers(1, max_repeat=self.max_repeat, hidden_size=self.hidden_size)
        require_integers(1, num_drawn_actions=self.num_drawn_actions)
        require_between(0, 1, tau=self.tau)


def as_first_named(settings: dict[str, Any]) -> dict[str, Any]:
    """Settings of a ValueConfig as checkpoints know a run by them, whatever they are called now."""
    return {"discount" if name == "gamma" else name: value for name, value in settings.items()}


class ValueNetwork(nn.Module, Savable):
    """Standardized observations [B, O] -> discounted return [B] in the environment's units.

    Inside, returns are numbers of order one: less `return_mean`, over `return_std`.
    """

    kind = "value network"
    mean: Tensor
    std: Tensor
    bounds: Tensor
    return_mean: Tensor
    return_std: Tensor
    known_low: Tensor
    known_high: Tensor

    def __init__(self, observations: Tensor, hidden_size: int, pessimistic: bool) -> None:
        super().__init__()
        reach = 0.0 if pessimistic else math.inf
        self.register_buffer("known_low", observations.amin(0) - reach)
        self.register_buffer("known_high", observations.amax(0) + reach)
        self.register_buffer("mean", observations.mean(0))
        # A single row has no deviation: 0 stands in for the unbiased estimate, which would be NaN.
        std = observations.std(0, correction=min(1, len(observations) - 1))
        is_varying = std > _ROUNDING * observations.abs().amax(0)
        self.register_buffer("std", torch.where(is_varying, std, 1.0))
        self.register_buffer("bounds", torch.zeros(2))
        self.register_buffer("return_mean", torch.zeros(()))
        self.register_buffer("return_std", torch.ones(()))
        output = nn.Linear(hidden_size, 1)
        nn.init.zeros_(output.weight)
        nn.init.zeros_(output.bias)
        self.layers = nn.Sequential(
            nn.Linear(observations.shape[1], hidden_size),
            nn.SiLU(),
            nn.Linear(hidden_size, hidden_size),
            nn.SiLU(),
            output,
        )

    def _stored(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        return self.state_dict(), {}

    @classmethod
    def _from_stored(cls, stored: Checkpoint, env: Any, device: str, given: Any) -> Self:  # noqa: ARG003
        hidden_size, num_features = stored.tensors["layers.0.weight"].shape
        with torch.device("meta"):  # first without memory
            check_shapes(cls(torch.zeros(1, num_features), hidden_size, False), stored.tensors)
        network = cls(torch.zeros(1, num_features), hidden_size, False)
        network.load_state_dict(stored.tensors)
        return network.requires_grad_(False)

    def _check_env(self, env: Any) -> None:
        size = ObservationCodec(spaces_of(env)[0]).size
        if size != len(self.mean):
            raise SpaceError(
                f"this value reads {len(self.mean)} numbers, the environment gives {size}: load it "
                "for the one that it was learned for"
            )

    def forward(self, observations: Tensor) -> Tensor:
        """Values [B] within the bounds that the rewards allow; arrays are taken as tensors are."""
        observations = float_tensor(observations, "observations [B, O]")
        if observations.ndim < 2 or observations.shape[-1] != len(self.mean):
            raise SpaceError(
                f"expected observations [B, {len(self.mean)}], got shape "
                f"{tuple(observations.shape)}"
            )
        values = self.scaled(observations) * self.return_std + self.return_mean
        is_known = ((observations >= self.known_low) & (observations <= self.known_high)).all(-1)
        return torch.where(is_known, values.clamp(self.bounds[0], self.bounds[1]), self.bounds[0])

    def scaled(self, observations: Tensor) -> Tensor:
        """Values [B] in measured units, not clipped: what the loss compares."""
        # Near 0 asinh is the number itself, far out its logarithm: imagination goes far beyond the
        # first data.
        inputs = torch.asinh((observations - self.mean) / self.std)
        return self.layers(inputs).squeeze(-1)

    @torch.no_grad()
    def start_evenly(self, rewards: Tensor, terminations: Tensor, gamma: float) -> None:
        """Begin with the return of rewards and ends as they are on average, alike in all states.

        It has the unit and the sign of the rewards and never is more than what is possible. A
        multiple of the largest reward may be, and so is 0 where each step costs: values that begin
        too high come down only as fast as the target network does.
        """
        # What a constant reward is worth for ever, ends included.
        self.return_mean.copy_(rewards.mean() / (1.0 - gamma * (1.0 - terminations.mean())))
        self._set_bounds(rewards, gamma, torch.zeros(()))

    def _set_bounds(self, rewards: Tensor, gamma: float, margin: Tensor) -> None:
        """What rewards allow; what was never observed is worse than that by a margin."""
        horizon = 1.0 / (1.0 - gamma)
        # An episode may end at any time, so that 0 lies within the bounds.
        self.bounds[0] = rewards.min().clamp(max=0.0) * horizon - margin
        self.bounds[1] = rewards.max().clamp(min=0.0) * horizon

    @torch.no_grad()
    def measure(self, returns: Tensor, rewards: Tensor, gamma: float) -> None:
        """Take the units from present targets [B] and the bounds from all rewards.

        Values stay as they are.
        """
        mean = returns.mean()
        std = returns.std(correction=0)
        if std <= _ROUNDING * mean.abs():  # all alike: their size is the unit, or 1 where all are 0
            std = torch.where(mean == 0.0, 1.0, mean.abs())
        output = self.layers[-1]
        assert isinstance(output, nn.Linear)
        # Output weights change so that the network says the same in the new units (PopArt, van
        # Hasselt et al. 2016).
        output.weight.mul_(self.return_std / std)
        output.bias.mul_(self.return_std).add_(self.return_mean - mean).div_(std)
        self.return_mean.copy_(mean)
        self.return_std.copy_(std)
        self._set_bounds(rewards, gamma, std)


@dataclass
class _Transitions:
    """What each of n actions leads to from S states: [S, n, O], [S, n], [S, n]."""

    observations: Tensor
    after: Tensor
    rewards: Tensor
    terminations: Tensor

    def __add__(self, other: "_Transitions") -> "_Transitions":
        """The states of both."""
        return _Transitions(
            torch.cat([self.observations, other.observations]),
            torch.cat([self.after, other.after]),
            torch.cat([self.rewards, other.rewards]),
            torch.cat([self.terminations, other.terminations]),
        )


class _RepeatedActions:
    """Which rows of an imagined batch act at random, and the actions that they repeat.

    Args:
        max_repeats: Steps [B] for which a row repeats a random action at most; 1 draws one at every
            step.
        num_actions: Of the Discrete action space.
        exploration: Share of steps, about, that are random; rows with many repeats begin them less
            often.
    """

    def __init__(self, max_repeats: Tensor, num_actions: int, exploration: float) -> None:
        self._actions = torch.zeros(len(max_repeats), dtype=torch.long)
        self._steps_left = torch.zeros(len(max_repeats))
        self._max_repeats = max_repeats.float()
        self._num_actions = num_actions
        # At most m repeats are 1 + 1/2 + ... + 1/m on average.
        means = torch.cumsum(1.0 / torch.arange(1, int(max_repeats.max()) + 1), 0)
        # So that the share of random steps is `exploration`, however long they are repeated.
        self._start_probabilities = exploration / means[max_repeats - 1]

    def replace(self, actions: Tensor, generator: torch.Generator) -> Tensor:
        """The actions [B] to take: those given, but in rows that repeat one."""
        draws = torch.rand(2, len(actions), generator=generator)
        drawn = torch.randint(self._num_actions, (len(actions),), generator=generator)
        begins = (self._steps_left == 0) & (draws[0] < self._start_probabilities)
        self._actions = torch.where(begins, drawn, self._actions)
        # The heavy tail of `ActionRepeatAgent`.
        durations = (1.0 / (1.0 - draws[1])).floor().minimum(self._max_repeats)
        self._steps_left = torch.where(begins, durations, self._steps_left)
        is_repeating = self._steps_left > 0
        self._steps_left = (self._steps_left - 1).clamp(min=0)
        return torch.where(is_repeating, self._actions, actions)


class ValueIteration(Savable):
    """Fits a value network to a world model whose state is its observation.

    `load` takes the model as `given`, or (model, reward function), which no file of a value holds.

    Args:
        model: Imagines; models with memory begin without any.
        config: Settings.
        reward_function: Replaces the model's rewards.
        seed: Draws weights, batches and actions.

    Attributes:
        value: What the last `fit` learned; None before the first.
        report: Of the last `fit`.

    Raises:
        SpaceError: Actions that no planner serves.
    """

    kind = "value iteration"

    def __init__(
        self,
        model: WorldModel,
        config: ValueConfig = ValueConfig(),
        *,
        reward_function: RewardFunction | None = None,
        seed: int = 0,
    ) -> None:
        planned_actions(model.action_space, "ValueIteration")
        self.value: ValueNetwork | None = None
        self.report: FitReport | None = None
        self._model = model
        self._config = config
        self._reward_function = reward_function
        self._seed = checked_seed(seed)

    def fit(
        self,
        trajectories: Trajectories | Tensor,
        config: ValueConfig | None = None,
        *,
        checkpoints: CheckpointManager | str | os.PathLike[str] | None = None,
        progress: bool = False,
    ) -> ValueNetwork:
        """A value function for the states around what was recorded.

        Args:
            trajectories: Imagination begins from the observations of their steps; or such
                observations [S, O].
            config: Settings in place of those of the constructor.
            checkpoints: Where to save and resume bitwise: a manager, or the path of a folder.
            progress: Show a progress bar.

        Returns:
            The value function, also kept as `value`; `report` says how the fit went.

        Raises:
            CheckpointError: The checkpoints are of another run.
            NonFiniteError: What the model imagines is not finite.
        """
        config = config or self._config
        if isinstance(trajectories, Trajectories):
            # Starts of steps are where planners will ask.
            observations = torch.as_tensor(trajectories.start_observations)
        else:
            observations = trajectories
        run = _ValueRun(self._model, config, observations, self._reward_function, self._seed)
        self.report = Trainer(
            run,
            config.num_rounds * config.num_updates,
            description="value",
            evaluate_every=config.num_updates,
            checkpoints=checkpoints,
            checkpoint_every=config.num_updates,
            progress=progress,
        ).train()
        # The slow network: it is the mean of many updates.
        self.value = run.target.requires_grad_(False)
        return self.value

    def _stored(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        if self.value is None:
            raise NotFittedError("this ValueIteration was never fitted: call its fit(...) first")
        return self.value.state_dict(), {"config": asdict(self._config), "seed": self._seed}

    @classmethod
    def _check_request(cls, path: str | os.PathLike[str], device: str, given: Any) -> None:
        if given is None:
            raise ConfigError(f"{path} holds no world model: pass it as given=")
        super()._check_request(path, device, given)

    @classmethod
    def _from_stored(cls, stored: Checkpoint, env: Any, device: str, given: Any) -> Self:
        model, reward_function = given if isinstance(given, tuple) else (given, None)
        config = config_from_json(ValueConfig, stored.metadata["config"])
        seed = int(stored.metadata["seed"])
        iteration = cls(model, config, reward_function=reward_function, seed=seed)
        iteration.value = ValueNetwork._from_stored(stored, env, device, None)
        return iteration

    def _settle(self, env: Any, device: str, given: Any) -> None:
        assert self.value is not None
        self.value._settle(env, device, given)


class _ValueRun:
    """Rounds of fitting values to imagined steps and of imagining where they lead."""

    def __init__(
        self,
        model: WorldModel,
        config: ValueConfig,
        observations: Tensor,
        reward_function: RewardFunction | None,
        seed: int,
    ) -> None:
        self._model = model
        self._config = config
        self._observations = observations
        self._reward_function = reward_function
        self._seed = seed
        self._actions = planned_actions(model.action_space, "ValueIteration")
        self._generator = torch.Generator().manual_seed(seed)
        # Imagined once: a model does not change during the fit.
        self._data = self._imagine(observations)
        self._value = self._network()
        self.target = self._network()
        for network in (self._value, self.target):
            network.start_evenly(self._data.rewards, self._data.terminations, config.gamma)
        self._optimizer = torch.optim.Adam(self._value.parameters(), config.learning_rate)

    # --- what the training loop asks for

    def step(self, update: int) -> dict[str, float]:
        """One gradient step; a round begins with new units and ends with new states."""
        config = self._config
        number, position = divmod(update, config.num_updates)
        if position == 0:
            self._measure()
        loss = self._descend(position)
        is_last_round = number == config.num_rounds - 1
        # What is imagined after the last round would teach nothing any more.
        if position == config.num_updates - 1 and not is_last_round:
            self._data = self._data + self._imagine(self._branch())
        return {"loss": loss}

    def state_dict(self) -> dict[str, Any]:
        """Networks, optimizer, generator and all that was imagined."""
        return {
            "value": self._value.state_dict(),
            "target": self.target.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "generator": self._generator.get_state(),
            # Earlier networks led to these states, so that they cannot be imagined again.
            "data": vars(self._data).copy(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over a state of the same run."""
        self._value.load_state_dict(state["value"])
        self.target.load_state_dict(state["target"])
        self._optimizer.load_state_dict(state["optimizer"])
        self._generator.set_state(state["generator"])
        self._data = _Transitions(**state["data"])

    def fingerprint(self) -> dict[str, Any]:
        """The configuration, the seed, the spaces and a hash of where imagination begins."""
        observations = self._observations.detach().cpu().numpy()
        return {
            "kind": "value iteration",
            "config": as_first_named(asdict(self._config)),
            "seed": self._seed,
            "spaces": [str(self._model.observation_space), str(self._model.action_space)],
            "observations": sha256(np.ascontiguousarray(observations).tobytes()).hexdigest(),
        }

    # --- fitting

    def _network(self) -> ValueNetwork:
        # torch's layers draw from the global generator, which is the user's.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self._seed)
            config = self._config
            network = ValueNetwork(self._observations, config.hidden_size, config.pessimistic)
            return network.to(self._observations.device)

    def _measure(self) -> None:
        """Take the units of the round from what the target network holds at its beginning."""
        returns = self._returns(self._rows(_NUM_MEASURED))
        for network in (self._value, self.target):
            network.measure(returns, self._data.rewards, self._config.gamma)

    def _descend(self, position: int) -> float:
        config = self._config
        value = self._value
        rows = self._rows(config.batch_size)
        # No return beyond what the rewards allow, or networks that learn from each other climb for ever.
        returns = self._returns(rows).clamp(value.bounds[0], value.bounds[1])
        goal = (returns - value.return_mean) / value.return_std
        loss = nn.functional.mse_loss(value.scaled(self._data.observations[rows]), goal)
        place = (
            f"at update {position} of the value function, which learns from what the model imagines"
        )
        figure = descend(loss, self._optimizer, value.named_parameters(), place)
        # Units and bounds are buffers, which `measure` sets in both.
        follow_parameters(self.target, value, config.tau)
        return figure

    def _rows(self, count: int) -> Tensor:
        return torch.randint(len(self._data.rewards), (count,), generator=self._generator)

    @torch.no_grad()
    def _returns(self, rows: Tensor) -> Tensor:
        """What the rows [B] are worth, one step ahead of the target network."""
        config = self._config
        data = self._data
        follow = self.target(data.after[rows].flatten(0, 1)).view(len(rows), -1)  # [B, n]
        returns = data.rewards[rows] + config.gamma * (1.0 - data.terminations[rows]) * follow
        # Partly the mean: a value that relies on the best action at every step is too hopeful of a
        # policy that slips.
        return returns.amax(1).lerp(returns.mean(1), config.action_noise)

    # --- imagining

    @torch.no_grad()
    def _imagine(self, observations: Tensor) -> _Transitions:
        """What every action, or a few drawn ones, leads to from each observation [S, O]."""
        num_rows = len(observations)
        num_choices = self._num_choices
        actions = self._choices(num_rows).flatten(0, 1).unsqueeze(1)  # [S * n, 1, ...]
        # Every action of every state as one batch.
        state = self._model.start(observations).repeat(num_choices)
        rollout = self._model.rollout(state, actions)
        rewards = rollout.rewards
        if self._reward_function is not None:
            rewards = self._reward_function(rollout.observations, actions)
        after = rollout.observations[:, 1].reshape(num_rows, num_choices, -1)
        shape = (num_rows, num_choices)
        return _Transitions(
            observations, after, rewards.reshape(shape), rollout.terminations.reshape(shape)
        )

    @property
    def _num_choices(self) -> int:
        """Actions that are compared in each state."""
        if isinstance(self._actions, spaces.Discrete):
            return int(self._actions.n)
        return self._config.num_drawn_actions

    def _choices(self, num_rows: int) -> Tensor:
        """All Discrete actions [S, n], or drawn Box actions [S, n, A], the extremes among them."""
        if isinstance(self._actions, spaces.Discrete):
            first = int(self._actions.start)
            return torch.arange(first, first + int(self._actions.n)).expand(num_rows, -1)
        low, high = action_bounds(self._actions)
        num_drawn = self._config.num_drawn_actions
        drawn = torch.rand(num_rows, num_drawn, len(low), generator=self._generator)
        # Half of them are corners of the box, since the best action often is one.
        drawn[:, : num_drawn // 2] = drawn[:, : num_drawn // 2].round()
        return low + drawn * (high - low)

    @torch.no_grad()
    def _branch(self) -> Tensor:
        """States [num_branches * branch_length, O] that the greedy policy visits in imagination."""
        config = self._config
        generator = self._generator
        starts = self._observations
        rows = torch.randint(len(starts), (config.num_branches,), generator=generator)
        current = starts[rows]
        visited = []
        # Every other branch repeats single actions, the rest long ones.
        max_repeats = torch.where(torch.arange(len(rows)) % 2 == 0, config.max_repeat, 1)
        random = _RepeatedActions(max_repeats, self._num_choices, config.exploration)
        for _ in range(config.branch_length):
            options = self._imagine(current)
            follow = self.target(options.after.flatten(0, 1)).view(options.rewards.shape)
            scores = options.rewards + config.gamma * (1.0 - options.terminations) * follow
            actions = random.replace(scores.argmax(1), generator)
            each = torch.arange(len(actions))
            # More likely over than not.
            ended = options.terminations[each, actions] > 0.5
            # Ended branches begin somewhere else, so that each step has as many states.
            restarts = starts[torch.randint(len(starts), (len(actions),), generator=generator)]
            current = torch.where(ended[:, None], restarts, options.after[each, actions])
            visited.append(current)
        return torch.cat(visited)
