"""What planners maximize: functions from imagined futures to one value per row."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from wm_agents.errors import ConfigError
from wm_agents.protocols import ModelState, Objective, Prediction, Rollout, WorldModel
from wm_agents.training.config_checks import renamed_settings
from wm_envs.data.trajectories import Trajectories

RewardFunction = Callable[[Tensor, Tensor], Tensor]
"""(observations [B, H + 1, O], actions [B, H] or [B, H, A]) -> rewards [B, H]."""

ValueFunction = Callable[[Tensor], Tensor]
"""observations [B, O] -> values [B]."""

GoalTest = Callable[[Tensor], Tensor]
"""observations [B, O] -> booleans [B]."""


def survival(terminations: Tensor) -> Tensor:
    """The probability that an episode lasts until each step.

    Args:
        terminations: Probability [B, H] that step h ends the episode given that it lasted until
            then.

    Returns:
        [B, H + 1]: 1 before the first step, then the product of `1 - terminations`; the last column
        is the probability that the episode outlives the horizon.
    """
    alive = torch.ones(
        len(terminations),
        terminations.shape[1] + 1,
        dtype=terminations.dtype,
        device=terminations.device,
    )
    # One more than steps: it begins alive.
    torch.cumprod(1.0 - terminations, 1, out=alive[:, 1:])
    return alive


@renamed_settings(discount="gamma")
@dataclass(frozen=True)
class DiscountedReturn:
    """The expected discounted return of an imagined future, cut short by predicted terminations.

    With survival s_h before step h: sum_h gamma^h s_h (r_h - penalty d_h) + gamma^H s_H
    V(o_H).

    Attributes:
        gamma: Weight of a reward one step later, in (0, 1].
        terminal_value: What follows after the horizon, a function of the last observation [B, O];
            None counts nothing.
        disagreement_penalty: Reward given up per standard deviation of ensemble disagreement
            (pessimism as in MOPO, Yu et al. 2020, equation 6); negative values explore.
        reward_function: Replaces the model's predicted rewards, see `RewardFunction`.

    Raises:
        ConfigError: A discount outside (0, 1], or a penalty for a model without disagreement.
    """

    is_maximum: ClassVar[bool] = False
    """Steps add up; a search over single steps has to know."""

    gamma: float = 0.99
    terminal_value: ValueFunction | None = None
    disagreement_penalty: float = 0.0
    reward_function: RewardFunction | None = None

    def __post_init__(self) -> None:
        if not 0.0 < self.gamma <= 1.0:
            raise ConfigError(f"gamma, the discount, lies in (0, 1], got {self.gamma}")

    def __call__(self, rollout: Rollout, actions: Tensor) -> Tensor:
        """The value [B] of imagined futures and the actions [B, H] or [B, H, A] that led there."""
        rewards = self._rewards(rollout, actions)
        horizon = rewards.shape[1]
        discounts = self.gamma ** torch.arange(
            horizon + 1, dtype=rewards.dtype, device=rewards.device
        )
        # What a step is worth: it must be reached alive, and later is worth less.
        weights = survival(rollout.terminations.to(rewards.dtype)).mul_(discounts)
        values = torch.einsum("bh,bh->b", weights[:, :horizon], rewards)
        if self.terminal_value is None:
            return values
        # The rest of the future counts only as far as the episode got there.
        return values.addcmul_(
            weights[:, -1], self.terminal_value(rollout.observations[:, -1]).to(values.dtype)
        )

    def _rewards(self, rollout: Rollout, actions: Tensor) -> Tensor:
        if self.reward_function is None:
            rewards = rollout.rewards
        else:
            rewards = self.reward_function(rollout.observations, actions)
        if self.disagreement_penalty == 0.0:
            return rewards
        if rollout.disagreement is None:
            raise ConfigError(
                f"disagreement_penalty={self.disagreement_penalty} needs a model that reports "
                "disagreement: use an ensemble, or set the penalty to 0"
            )
        # In units of the reward: what the members do not agree upon is not to be relied upon.
        return rewards - self.disagreement_penalty * rollout.disagreement


@renamed_settings(discount="gamma")
@dataclass(frozen=True)
class GoalReached:
    """One for a future that reaches a goal while it lasts, less the later it does.

    max_h gamma^h s_h [goal(o_h+1)].

    Attributes:
        goal_test: Which observations [B, O] are goals, booleans [B].
        gamma: Worth of a goal one step later, in (0, 1]; below 1 the shortest way is the best.

    Raises:
        ConfigError: A discount outside (0, 1].
    """

    is_maximum: ClassVar[bool] = True
    """The best step counts, and no other: a search must not add them up."""

    goal_test: GoalTest
    gamma: float = 0.99

    def __post_init__(self) -> None:
        if not 0.0 < self.gamma <= 1.0:
            raise ConfigError(f"gamma, the discount, lies in (0, 1], got {self.gamma}")

    def __call__(self, rollout: Rollout, actions: Tensor) -> Tensor:
        """The value [B] in [0, 1] of imagined futures."""
        num_rows, horizon = actions.shape[:2]
        # The start itself is no achievement.
        reached = self.goal_test(rollout.observations[:, 1:].flatten(0, 1)).view(num_rows, horizon)
        discounts = self.gamma ** torch.arange(horizon, device=reached.device)
        weights = survival(rollout.terminations)[:, :horizon] * discounts
        # The best moment counts once; reaching the goal twice is not better.
        return torch.where(reached, weights, 0.0).amax(1)


def discount_of(objective: Objective, default: float) -> float:
    """What an objective says of a reward one step later: its `gamma`.

    Objectives of users that were written for earlier versions call it `discount`.
    """
    gamma = getattr(objective, "gamma", None)
    # Objectives of the first release say `discount`.
    return float(getattr(objective, "discount", default) if gamma is None else gamma)


def of_single_steps(objective: Objective) -> Objective:
    """The objective by which a search judges steps one by one.

    What follows a step comes from the search itself: a terminal value would be counted again at
    every step of a path.
    """
    if isinstance(objective, DiscountedReturn):
        # A search adds the terminal value itself, once and at the leaf.
        return replace(objective, terminal_value=None)
    return objective


def rollout_of_one_step(before: ModelState, prediction: Prediction) -> Rollout:
    """A predicted step as an imagined future of length one, which an objective can judge."""
    disagreement = prediction.disagreement
    return Rollout(
        torch.stack([before.observations, prediction.observations], 1),
        prediction.rewards[:, None],
        prediction.terminations[:, None],
        None if disagreement is None else disagreement[:, None],
    )


def require_sum_of_steps(
    objective: Objective,
    model: WorldModel,
    start: ModelState,
    num_actions: int,
    first_action: int = 0,
) -> None:
    """Refuse an objective that a search over single steps would judge wrongly.

    A search knows a path by its steps. Objectives that say how these make up the whole
    (`is_maximum`) are believed; others are tried on imagined futures of two steps, whose value has
    to be that of the first step plus that of the second one, with or without discount and survival.

    Args:
        objective: Judges.
        model: Imagines; Discrete actions.
        start: From where, B rows.
        num_actions: Each is tried first, and followed by the next one.
        first_action: What the model calls the first of them.

    Raises:
        ConfigError: The steps do not add up.
    """
    if hasattr(objective, "is_maximum"):
        # Who says which of the two it is is believed.
        return
    num_rows = len(start.observations)
    # Pairs of different actions from every start, which is enough to tell a sum from most others.
    numbers = torch.arange(num_actions, device=start.observations.device).repeat(num_rows)
    actions = torch.stack([numbers, (numbers + 1) % num_actions], 1) + first_action  # [B * n, 2]
    whole = model.rollout(start.repeat(num_actions), actions)
    parts = []
    for step in range(2):
        disagreement = whole.disagreement
        part = Rollout(
            whole.observations[:, step : step + 2],
            whole.rewards[:, step : step + 1],
            whole.terminations[:, step : step + 1],
            None if disagreement is None else disagreement[:, step : step + 1],
        )
        parts.append(objective(part, actions[:, step : step + 1]).float())
    value = objective(whole, actions).float()
    gamma = discount_of(objective, 1.0)
    # Relative to the values themselves, and above 0 for values that are all 0.
    tolerance = 1e-4 * torch.stack([*parts, value]).abs().amax(0) + torch.finfo(torch.float32).tiny
    # Either with the probability that the episode lasts, or without.
    for survives in (torch.ones_like(value), 1.0 - whole.terminations[:, 0].float()):
        if bool(((parts[0] + gamma * survives * parts[1] - value).abs() <= tolerance).all()):
            return
    raise ConfigError(
        f"the steps of {objective!r} do not add up to its value, but a search over single steps "
        "adds them up: plan with RandomShooting or CategoricalCEM, or give it the attribute "
        "is_maximum = True if its value is that of the best step, and no step is worth less than 0"
    )


class NoveltyReward:
    """A reward function: 1 for a step that ends outside the recorded range of any feature.

    It stands in for the model's rewards as long as every real step had the same reward and no
    episode ended by itself, when all plans are equal otherwise. A car that rolls further or an arm
    that swings faster than ever is novel.

    Args:
        trajectories: What was recorded.
    """

    def __init__(self, trajectories: Trajectories) -> None:
        observations = torch.as_tensor(trajectories.observations)
        self._low = observations.amin(0)
        self._high = observations.amax(0)

    def __call__(self, observations: Tensor, actions: Tensor) -> Tensor:  # noqa: ARG002
        """Rewards [B, H] of observations [B, H + 1, O]."""
        after = observations[:, 1:]
        is_novel = (after < self._low) | (after > self._high)
        return is_novel.any(-1).to(observations.dtype)


def has_signal(trajectories: Trajectories) -> bool:
    """Whether anything that was recorded tells one future from another: a reward or an end."""
    rewards = trajectories.rewards
    return bool(trajectories.terminations.any() or rewards.min() < rewards.max())
