"""Recorded windows, and what a model or a simple rule predicts for them.

A fair sample of steps for every horizon, ends of episodes included, and rollouts from there.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from wm_agents.protocols import ModelState, Rollout, WorldModel
from wm_agents.training.config_checks import checked_seed
from wm_agents.world_models.normalization import ROUNDING
from wm_envs.data.display import short_repr
from wm_envs.data.trajectories import Trajectories, TrajectoryBatch


@dataclass(frozen=True)
class EvaluationWindows(TrajectoryBatch[NDArray[Any]]):
    """W windows of up to H recorded steps, with what baselines and scores need to know of them.

    Fitting leaves short windows out, evaluation must not: what precedes the end of an episode is
    the hard part.

    Attributes:
        previous_observations: [W, O], one step before the start; at the first step of an episode
            the start itself.
        previous_rewards: [W]; 0 at the first step of an episode.
        episodes: The episode number [W].
        positions: The step within its episode [W] at which a window begins.
        is_scored: [W, H]; whether step h of a window is in the sample of horizon h.
        is_end_scored: [W, H]; whether "has it ended by itself within h steps" is asked of a
            window.
    """

    previous_observations: NDArray[np.float32]
    previous_rewards: NDArray[np.float64]
    episodes: NDArray[np.int64]
    positions: NDArray[np.int64]
    is_scored: NDArray[np.bool_]
    is_end_scored: NDArray[np.bool_]

    __repr__ = short_repr

    @property
    def num_steps(self) -> NDArray[np.int64]:
        """Recorded steps from the start to the end of the episode, at most H [W]."""
        # Windows are cut at the end of their episode.
        return self.mask.sum(axis=1)

    def select(self, rows: NDArray[np.int64]) -> "EvaluationWindows":
        """Some of the windows."""
        return EvaluationWindows(**{name: array[rows] for name, array in vars(self).items()})


def sample_windows(
    trajectories: Trajectories, horizon: int, num_windows: int, seed: int
) -> EvaluationWindows:
    """Draw, for every h up to the horizon, `num_windows` steps that have h recorded steps ahead.

    One random order of all steps serves every h, so that the samples overlap as far as they can.
    Whether an episode ends within h steps is known where h steps were recorded, and where it did
    end earlier; a time limit hides it.
    """
    episode = trajectories.episode_of_step
    position = np.arange(trajectories.num_steps) - trajectories.step_starts[episode]
    remaining = trajectories.lengths[episode] - position
    last_steps = trajectories.step_starts + trajectories.lengths - 1
    is_ended_by_itself = trajectories.terminations[last_steps][episode]
    order = np.random.default_rng(checked_seed(seed)).permutation(trajectories.num_steps)
    # Step h of a window exists where so many steps were recorded.
    has_room = remaining[order, None] >= np.arange(1, horizon + 1)
    is_scored = _first(has_room, num_windows)
    # An end that was seen answers the question for all later steps, too.
    is_end_scored = _first(has_room | is_ended_by_itself[order, None], num_windows)
    is_used = is_scored.any(1) | is_end_scored.any(1)
    return _windows_at(
        trajectories, horizon, order[is_used], is_scored[is_used], is_end_scored[is_used]
    )


def episode_windows(
    trajectories: Trajectories, horizon: int, starts_per_episode: int, seed: int
) -> EvaluationWindows:
    """Up to so many steps of every episode, drawn without replacement, as windows.

    Windows that reach the end of their episode are cut there. No episode is left out, so that the
    episodes are as exchangeable as they were recorded.
    """
    generator = np.random.default_rng(checked_seed(seed))
    starts = np.concatenate(
        [
            first + generator.permutation(length)[:starts_per_episode]
            for first, length in zip(trajectories.step_starts, trajectories.lengths, strict=True)
        ]
    )
    mask = trajectories.windows(horizon, starts).mask > 0
    return _windows_at(trajectories, horizon, starts, mask, np.zeros_like(mask))


def _windows_at(
    trajectories: Trajectories,
    horizon: int,
    starts: NDArray[np.int64],
    is_scored: NDArray[np.bool_],
    is_end_scored: NDArray[np.bool_],
) -> EvaluationWindows:
    """The windows that begin at steps [W], with what precedes each."""
    episode = trajectories.episode_of_step[starts]
    position = starts - trajectories.step_starts[episode]
    first = trajectories.observation_of_step[starts]
    has_previous = position > 0
    return EvaluationWindows(
        **vars(trajectories.windows(horizon, starts)),
        # A boolean as 0 or 1: at the first step the start itself.
        previous_observations=trajectories.observations[first - has_previous],
        previous_rewards=trajectories.rewards[starts - has_previous] * has_previous,
        episodes=episode,
        positions=position,
        is_scored=is_scored,
        is_end_scored=is_end_scored,
    )


def _first(is_eligible: NDArray[np.bool_], num: int) -> NDArray[np.bool_]:
    """The first `num` True of each column."""
    return is_eligible & (is_eligible.cumsum(axis=0) <= num)


_ROWS_AT_ONCE = 2048


@torch.no_grad()
def start_states(
    model: WorldModel, trajectories: Trajectories, windows: EvaluationWindows
) -> ModelState:
    """The model's state at the start of each window.

    A model that carries more than the observation is led through the episode from its beginning: it
    imagines each recorded action and is then shown what was really observed, so that its memory is
    what it would be in use.
    """
    device = getattr(model, "device", None)
    state = model.start(torch.as_tensor(windows.observations[:, 0], device=device))
    # An ensemble's members are drawn anew: they are no memory of the episode.
    if not state.hidden or not getattr(model, "has_memory", True):
        return state
    hidden = [values.clone() for values in state.hidden]
    # One walk per episode serves all of its windows.
    order = np.argsort(-trajectories.lengths, kind="stable")
    walk = model.start(
        torch.as_tensor(trajectories.observations[_first_rows(trajectories, order)], device=device)
    )
    for position in range(int(windows.positions.max()) + 1):
        for place, row in _places(order, windows, position):
            for values, walked in zip(hidden, walk.hidden, strict=True):
                values[row] = walked[place]
        # Episodes that are over leave the walk.
        num_going = int((trajectories.lengths[order] > position + 1).sum())
        if num_going == 0:
            break
        walk = _advanced(model, walk, trajectories, order[:num_going], position)
        order = order[:num_going]
    return ModelState(state.observations, tuple(hidden))


def _first_rows(trajectories: Trajectories, episodes: NDArray[np.int64]) -> NDArray[np.int64]:
    rows: NDArray[np.int64] = trajectories.observation_of_step[trajectories.step_starts[episodes]]
    return rows


def _places(
    order: NDArray[np.int64], windows: EvaluationWindows, position: int
) -> Iterator[tuple[int, int]]:
    """(row of the walk, window) for the windows that begin at this position."""
    place_of = {int(episode): place for place, episode in enumerate(order)}
    for row in np.flatnonzero(windows.positions == position):
        yield place_of[int(windows.episodes[row])], int(row)


def _advanced(
    model: WorldModel,
    walk: ModelState,
    trajectories: Trajectories,
    episodes: NDArray[np.int64],
    position: int,
) -> ModelState:
    """One step on, for the episodes that go on.

    With the imagined observation replaced by the recorded one.
    """
    device = walk.observations.device
    rows = walk.select(torch.arange(len(episodes), device=device))
    actions = torch.as_tensor(
        trajectories.actions[trajectories.step_starts[episodes] + position], device=device
    )
    state, _ = model.step(rows, actions)
    seen = trajectories.observations[_first_rows(trajectories, episodes) + position + 1]
    return model.start(torch.as_tensor(seen, device=device), state.hidden)


@torch.no_grad()
def model_rollout(
    model: WorldModel,
    starts: ModelState,
    windows: EvaluationWindows,
    generator: torch.Generator | None = None,
) -> Rollout:
    """Roll the model out open loop: its best guess, or one sample where a generator is given.

    Returns:
        Observations, rewards and terminations as float64 on the CPU, in which errors are summed.
    """
    device = starts.observations.device
    parts: list[Rollout] = []
    # Bounds the memory of a model that keeps much for each row.
    for first in range(0, len(windows.actions), _ROWS_AT_ONCE):
        rows = slice(first, first + _ROWS_AT_ONCE)
        index = torch.arange(len(windows.actions), device=device)[rows]
        actions = torch.as_tensor(windows.actions[rows], device=device)
        parts.append(model.rollout(starts.select(index), actions, generator))
    return Rollout(
        _joined([part.observations for part in parts]),
        _joined([part.rewards for part in parts]),
        _joined([part.terminations for part in parts]),
    )


def _joined(parts: list[torch.Tensor]) -> torch.Tensor:
    # In double precision, in which errors are added up.
    return torch.cat(parts).double().cpu()


BaselineRollout = tuple[NDArray[np.float64], NDArray[np.float64]]
"""Observations [W, H + 1, O] and rewards [W, H]."""


class Baseline(Protocol):
    """A prediction without a world model."""

    name: str

    def predict(self, windows: EvaluationWindows) -> BaselineRollout:
        """Observations [W, H + 1, O] and rewards [W, H] from what each window's start shows."""
        ...


class Persistence:
    """Everything stays as it is, and the reward too."""

    name = "persistence"

    def predict(self, windows: EvaluationWindows) -> BaselineRollout:
        """Repeat the start's observation and the reward before it."""
        starts = windows.observations[:, :1].astype(np.float64)
        observations = np.repeat(starts, windows.horizon + 1, axis=1)
        return observations, np.repeat(windows.previous_rewards[:, None], windows.horizon, axis=1)


class ConstantVelocity:
    """The last change repeats.

    At the first step of an episode nothing is known of it and it is taken as zero.
    """

    name = "constant_velocity"

    def predict(self, windows: EvaluationWindows) -> BaselineRollout:
        """Go on in a straight line; the reward is that before the start."""
        starts = windows.observations[:, 0].astype(np.float64)
        steps = np.arange(windows.horizon + 1)[None, :, None]
        observations = starts[:, None] + steps * (starts - windows.previous_observations)[:, None]
        return observations, np.repeat(windows.previous_rewards[:, None], windows.horizon, axis=1)


class Mean:
    """Every observation and reward is the mean of the recorded ones.

    Args:
        reference: What to take the mean of.
    """

    name = "mean"

    def __init__(self, reference: Trajectories) -> None:
        self._observation = reference.observations.mean(axis=0, dtype=np.float64)
        self._reward = float(reference.rewards.mean())

    def predict(self, windows: EvaluationWindows) -> BaselineRollout:
        """The mean at every step after the start."""
        observations = np.empty(
            (len(windows.episodes), windows.horizon + 1, len(self._observation))
        )
        observations[:, 0], observations[:, 1:] = windows.observations[:, 0], self._observation
        return observations, np.full((len(windows.episodes), windows.horizon), self._reward)


class RidgeRegression:
    """Next observation and reward as a linear function of observation and action.

    Hoerl and Kennard 1970.

    Inputs are standardised, and the penalty is `penalty` per sample; discrete actions enter as
    one-hots. Predictions are held within the recorded range and half its width beyond, since linear
    dynamics may explode.

    Args:
        train: What to fit.
        penalty: Weight of the squared coefficients, relative to the number of samples.
    """

    name = "ridge"

    def __init__(self, train: Trajectories, penalty: float = 1e-4) -> None:
        before = train.observations[train.observation_of_step].astype(np.float64)
        # Which discrete actions the regression knows.
        self._tried = np.unique(train.actions) if train.actions.ndim == 1 else np.zeros(0, np.int64)
        inputs = np.concatenate([before, self._encode(train.actions)], axis=1)
        # Differences, since most features hardly change.
        targets = np.concatenate([train.next_observations - before, train.rewards[:, None]], axis=1)
        self._mean, self._std = inputs.mean(0), inputs.std(0)
        # A constant column has a coefficient of nothing.
        # Divided by infinity it is 0.
        self._std = np.where(self._std > ROUNDING * np.abs(inputs).max(0), self._std, np.inf)
        self._centre = targets.mean(0)
        scaled = (inputs - self._mean) / self._std
        gram = scaled.T @ scaled + penalty * len(scaled) * np.eye(scaled.shape[1])
        self._weights = np.linalg.solve(gram, scaled.T @ (targets - self._centre))
        low, high = (
            train.observations.min(0).astype(np.float64),
            train.observations.max(0).astype(np.float64),
        )
        # Half of the range on either side: unrolled linear models explode.
        self._low, self._high = low - (high - low) / 2, high + (high - low) / 2

    def predict(self, windows: EvaluationWindows) -> BaselineRollout:
        """Unroll the linear model open loop."""
        actions = windows.actions
        observations, rewards = [windows.observations[:, 0].astype(np.float64)], []
        for step in range(windows.horizon):
            inputs = np.concatenate([observations[-1], self._encode(actions[:, step])], axis=1)
            outputs = (inputs - self._mean) / self._std @ self._weights + self._centre
            observations.append(np.clip(observations[-1] + outputs[:, :-1], self._low, self._high))
            rewards.append(outputs[:, -1])
        return np.stack(observations, 1), np.stack(rewards, 1)

    def _encode(self, actions: NDArray[np.int64] | NDArray[np.float32]) -> NDArray[np.float64]:
        if actions.ndim > 1:
            return actions.astype(np.float64)
        # An action that was never tried gets the zero vector.
        return (actions[:, None] == self._tried).astype(np.float64)


def baselines(train: Trajectories | None) -> list[Baseline]:
    """All baselines but the mean; ridge regression only where there is something to fit it to."""
    return [Persistence(), ConstantVelocity(), *([] if train is None else [RidgeRegression(train)])]
