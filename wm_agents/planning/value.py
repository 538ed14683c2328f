"""A value function learned in imagination, so that a planner sees past its horizon.

Approximate value iteration: the model predicts once what every action leads to from many states;
then a network is fitted to max_a r + discount (1 - termination) V(next), over and over, with a
little of the mean over actions mixed in. States that the greedy policy visits in imagination join
between rounds, since those are where values are asked for. Sources: Ernst et al. 2005 (fitted
iteration) with a slow target network; targets in units that are measured again in every round, van
Hasselt et al. 2016 (Pop-Art, section 2); as a terminal value, POLO (Lowrey et al. 2018); the lowest
value for states that experience does not cover, MOReL (Kidambi et al. 2020, definition 2).
"""

import math
from dataclasses import dataclass

import gymnasium as gym
import torch
from torch import Tensor, nn

from wm_agents.observation_rows import float_tensor
from wm_agents.planning.holding import HeldRows
from wm_agents.planning.objectives import RewardFunction
from wm_agents.planning.spaces import action_bounds, check_action_space
from wm_agents.protocols import WorldModel
from wm_agents.training.config_checks import require_between, require_integers
from wm_agents.training.finite import descend

_ROUNDING = 1e-6  # a spread below this share of the size of float32 numbers is rounding
_NUM_MEASURED = 4096  # targets from which a round takes its units


@dataclass(frozen=True, kw_only=True)
class ValueConfig:
    """Settings of the value iteration.

    Attributes:
        discount: Weight of a reward one step later, in [0, 1).
        hidden_size: Units in each of the two hidden layers.
        num_rounds: Rounds of imagining states and fitting values.
        num_updates: Gradient steps per round.
        batch_size: States per gradient step.
        learning_rate: Of Adam.
        target_rate: Share of the way that the target network follows at each step.
        num_drawn_actions: Actions tried per state where they are continuous.
        num_branches: Imagined episodes per round.
        branch_length: Their steps.
        exploration: Share of random actions in them.
        longest_hold: In every other branch a random (Discrete) action is held for a random time of
            at most so many steps: a goal that no dithering reaches would never be imagined.
        slip: Share of random actions in the policy that is valued: it makes states near a danger
            worth less than safe ones, where the best policy would escape either way and all values
            were equal.
        is_cautious: States outside the range of what was experienced, feature by feature, have a
            value below all that the imagined rewards allow. A model knows no cliff over which
            nobody fell yet. Leave it out where exploring is the aim.

    Raises:
        ConfigError: A value that cannot work.
    """

    discount: float = 0.99
    hidden_size: int = 128
    num_rounds: int = 20
    num_updates: int = 500
    batch_size: int = 256
    learning_rate: float = 1e-3
    target_rate: float = 0.02
    num_drawn_actions: int = 8
    num_branches: int = 32
    branch_length: int = 200
    exploration: float = 0.2
    longest_hold: int = 64
    slip: float = 0.1
    is_cautious: bool = False

    def __post_init__(self) -> None:
        require_between(0, 0.9999, discount=self.discount)
        require_between(0, 1, exploration=self.exploration, slip=self.slip)
        require_integers(
            1, num_rounds=self.num_rounds, num_updates=self.num_updates, batch_size=self.batch_size
        )
        require_integers(1, num_branches=self.num_branches, branch_length=self.branch_length)
        require_integers(1, longest_hold=self.longest_hold, hidden_size=self.hidden_size)
        require_integers(1, num_drawn_actions=self.num_drawn_actions)
        require_between(0, 1, target_rate=self.target_rate)


class ValueNetwork(nn.Module):
    """Standardised observations [B, O] -> discounted return [B] in the environment's units.

    Inside, returns are numbers of order one: less `return_mean`, over `return_std`. All values are
    0 at first, which favours no state whatever the unit and the sign of the rewards.
    """

    mean: Tensor
    std: Tensor
    bounds: Tensor
    return_mean: Tensor
    return_std: Tensor
    known_low: Tensor
    known_high: Tensor

    def __init__(self, observations: Tensor, hidden_size: int, is_cautious: bool) -> None:
        super().__init__()
        reach = 0.0 if is_cautious else math.inf
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

    def forward(self, observations: Tensor) -> Tensor:
        """Values [B] within the bounds that the rewards allow; arrays are taken as tensors are."""
        observations = float_tensor(observations, "observations [B, O]")
        values = self.scaled(observations) * self.return_std + self.return_mean
        is_known = ((observations >= self.known_low) & (observations <= self.known_high)).all(-1)
        return torch.where(is_known, values.clamp(self.bounds[0], self.bounds[1]), self.bounds[0])

    def scaled(self, observations: Tensor) -> Tensor:
        """Values [B] in measured units, not clipped: what the loss compares."""
        inputs = torch.asinh(
            (observations - self.mean) / self.std
        )  # imagination goes far beyond the first data
        return self.layers(inputs).squeeze(-1)

    @torch.no_grad()
    def measure(self, returns: Tensor, rewards: Tensor, discount: float) -> None:
        """Take the units from present targets [B] and the bounds from all rewards.

        Values stay as they are.
        """
        mean, std = returns.mean(), returns.std(correction=0)
        if std <= _ROUNDING * mean.abs():  # all alike: their size is the unit, or 1 where all are 0
            std = torch.where(mean == 0.0, 1.0, mean.abs())
        output = self.layers[-1]
        assert isinstance(output, nn.Linear)
        output.weight.mul_(self.return_std / std)
        output.bias.mul_(self.return_std).add_(self.return_mean - mean).div_(std)
        self.return_mean.copy_(mean)
        self.return_std.copy_(std)
        horizon = 1.0 / (1.0 - discount)
        # An episode may end at any time, so that 0 lies within the bounds. What nobody has seen is
        # worse than that.
        self.bounds[0] = rewards.min().clamp(max=0.0) * horizon - std
        self.bounds[1] = rewards.max().clamp(min=0.0) * horizon


@dataclass
class _Transitions:
    """What each of n actions leads to from S states: [S, n, O], [S, n], [S, n]."""

    observations: Tensor
    after: Tensor
    rewards: Tensor
    terminations: Tensor

    @classmethod
    def join(cls, parts: list["_Transitions"]) -> "_Transitions":
        names = ("observations", "after", "rewards", "terminations")
        return cls(*(torch.cat([getattr(part, name) for part in parts]) for name in names))


class ValueIteration:
    """Fits a value network to a world model whose state is its observation.

    Args:
        model: Imagines; models with memory begin without any.
        config: Settings.
        reward_function: Replaces the model's rewards.
        seed: Draws weights, batches and actions.

    Raises:
        SpaceError: Actions that are neither a flat finite Box nor a Discrete that counts from 0.
    """

    def __init__(
        self,
        model: WorldModel,
        config: ValueConfig = ValueConfig(),
        *,
        reward_function: RewardFunction | None = None,
        seed: int = 0,
    ) -> None:
        check_action_space(model.action_space, "ValueIteration")
        self._model = model
        self._config = config
        self._reward_function = reward_function
        self._generator = torch.Generator().manual_seed(seed)
        self._seed = seed

    def fit(self, observations: Tensor) -> ValueNetwork:
        """A value function for the states around observations [S, O]."""
        parts = [self._imagine(observations)]
        value, target = self._network(observations), self._network(observations)
        optimizer = torch.optim.Adam(value.parameters(), self._config.learning_rate)
        for _ in range(self._config.num_rounds):
            self._update(value, target, optimizer, _Transitions.join(parts))
            parts.append(self._imagine(self._branch(target, observations)))
        return target.requires_grad_(False)

    def _network(self, observations: Tensor) -> ValueNetwork:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self._seed)
            network = ValueNetwork(observations, self._config.hidden_size, self._config.is_cautious)
            return network.to(observations.device)

    def _update(
        self,
        value: ValueNetwork,
        target: ValueNetwork,
        optimizer: torch.optim.Optimizer,
        data: _Transitions,
    ) -> None:
        """One round of updates, in units that are measured on what the target network holds at its beginning."""
        config = self._config
        returns = self._returns(target, data, self._rows(data, _NUM_MEASURED))
        for network in (value, target):
            network.measure(returns, data.rewards, config.discount)
        for update in range(config.num_updates):
            rows = self._rows(data, config.batch_size)
            returns = self._returns(target, data, rows).clamp(value.bounds[0], value.bounds[1])
            goal = (returns - value.return_mean) / value.return_std
            loss = nn.functional.mse_loss(value.scaled(data.observations[rows]), goal)
            place = f"at update {update} of the value function, which learns from what the model imagines"
            descend(loss, optimizer, value.named_parameters(), place)
            with torch.no_grad():
                for slow, fast in zip(target.parameters(), value.parameters(), strict=True):
                    slow.lerp_(fast, config.target_rate)

    def _rows(self, data: _Transitions, count: int) -> Tensor:
        return torch.randint(len(data.rewards), (count,), generator=self._generator)

    @torch.no_grad()
    def _returns(self, target: ValueNetwork, data: _Transitions, rows: Tensor) -> Tensor:
        """What the rows [B] are worth, one step ahead of the target network."""
        config = self._config
        follow = target(data.after[rows].flatten(0, 1)).view(len(rows), -1)
        returns = data.rewards[rows] + config.discount * (1.0 - data.terminations[rows]) * follow
        return returns.amax(1).lerp(returns.mean(1), config.slip)

    @torch.no_grad()
    def _imagine(self, observations: Tensor) -> _Transitions:
        """What every action, or a few drawn ones, leads to from each observation [S, O]."""
        actions, num_choices = self._actions(len(observations)), self._num_choices
        state = self._model.start(observations).repeat(num_choices)
        rollout = self._model.rollout(state, actions.flatten(0, 1).unsqueeze(1))
        rewards = rollout.rewards
        if self._reward_function is not None:
            rewards = self._reward_function(
                rollout.observations, actions.flatten(0, 1).unsqueeze(1)
            )
        after = rollout.observations[:, 1].reshape(len(observations), num_choices, -1)
        shape = (len(observations), num_choices)
        return _Transitions(
            observations, after, rewards.reshape(shape), rollout.terminations.reshape(shape)
        )

    @property
    def _num_choices(self) -> int:
        """Actions that are compared in each state."""
        space = self._model.action_space
        return (
            int(space.n)
            if isinstance(space, gym.spaces.Discrete)
            else self._config.num_drawn_actions
        )

    def _actions(self, num_rows: int) -> Tensor:
        """All Discrete actions [S, n], or drawn Box actions [S, n, A] among which are the extremes."""
        space = self._model.action_space
        if isinstance(space, gym.spaces.Discrete):
            return torch.arange(int(space.n)).expand(num_rows, -1)
        low, high = action_bounds(space, "ValueIteration", torch.device("cpu"))
        drawn = torch.rand(
            num_rows, self._config.num_drawn_actions, len(low), generator=self._generator
        )
        drawn[:, : self._config.num_drawn_actions // 2] = drawn[
            :, : self._config.num_drawn_actions // 2
        ].round()
        return low + drawn * (high - low)

    @torch.no_grad()
    def _branch(self, value: ValueNetwork, observations: Tensor) -> Tensor:
        """States [num_branches * branch_length, O] that the greedy policy visits in imagination."""
        config = self._config
        rows = torch.randint(len(observations), (config.num_branches,), generator=self._generator)
        current, visited = observations[rows], []
        longest_holds = torch.where(torch.arange(len(rows)) % 2 == 0, config.longest_hold, 1)
        held = HeldRows(longest_holds, self._num_choices, config.exploration)
        for _ in range(config.branch_length):
            options = self._imagine(current)
            follow = value(options.after.flatten(0, 1)).view(options.rewards.shape)
            scores = options.rewards + config.discount * (1.0 - options.terminations) * follow
            chosen = held.replace(scores.argmax(1), self._generator)
            each = torch.arange(len(chosen))
            ended = options.terminations[each, chosen] > 0.5
            restart = observations[
                torch.randint(len(observations), (len(chosen),), generator=self._generator)
            ]
            current = torch.where(ended[:, None], restart, options.after[each, chosen])
            visited.append(current)
        return torch.cat(visited)
