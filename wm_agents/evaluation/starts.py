"""Where open-loop predictions begin.

A fair sample of steps for every horizon, ends of episodes included.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wm_envs.data.trajectories import Trajectories


@dataclass(frozen=True)
class Stretches:
    """W stretches of up to H recorded steps; those that an episode's end cuts short are padded and masked.

    Fitting leaves short stretches out, judging must not: what precedes the end of an episode is the
    hard part.

    Attributes:
        observations: [W, H + 1, O]; after the end the last observation repeats.
        actions: [W, H] or [W, H, A]; after the end the last action repeats.
        rewards: [W, H]; 0 after the end.
        terminations: [W, H]; False after the end.
        previous_observations: [W, O], one step before the start; at the first step of an episode
            the start itself.
        previous_rewards: [W]; 0 at the first step of an episode.
        episodes: The episode number [W].
        positions: The step within its episode [W] at which a stretch begins.
        num_steps: Recorded steps from the start to the end of the episode, at most H [W].
        is_scored: [W, H]; whether step h of a stretch is in the sample of horizon h.
        is_end_scored: [W, H]; whether "has it ended by itself within h steps" is asked of a
            stretch.
    """

    observations: NDArray[np.float32]
    actions: NDArray[Any]
    rewards: NDArray[np.float64]
    terminations: NDArray[np.bool_]
    previous_observations: NDArray[np.float32]
    previous_rewards: NDArray[np.float64]
    episodes: NDArray[np.int64]
    positions: NDArray[np.int64]
    num_steps: NDArray[np.int64]
    is_scored: NDArray[np.bool_]
    is_end_scored: NDArray[np.bool_]

    @property
    def horizon(self) -> int:
        """H."""
        return self.rewards.shape[1]


def sample_stretches(
    trajectories: Trajectories, horizon: int, num_windows: int, seed: int
) -> Stretches:
    """Draw, for every h up to the horizon, `num_windows` of the steps that have h recorded steps before them.

    One random order of all steps serves every h, so that the samples overlap as far as they can.
    Whether an episode ends within h steps is known where h steps were recorded, and where it did
    end earlier; a time limit hides it.
    """
    episode = trajectories.episode_of_step
    remaining = trajectories.lengths[episode] - (
        np.arange(trajectories.num_steps) - trajectories.step_starts[episode]
    )
    is_ended_by_itself = trajectories.terminations[
        trajectories.step_starts + trajectories.lengths - 1
    ][episode]
    order = np.random.default_rng(seed).permutation(trajectories.num_steps)
    steps_ahead = np.arange(1, horizon + 1)
    has_room = remaining[order, None] >= steps_ahead
    is_scored = _first(has_room, num_windows)
    is_end_scored = _first(has_room | is_ended_by_itself[order, None], num_windows)
    is_used = is_scored.any(1) | is_end_scored.any(1)
    return _gather(
        trajectories,
        order[is_used],
        remaining[order[is_used]],
        is_scored[is_used],
        is_end_scored[is_used],
    )


def _first(is_eligible: NDArray[np.bool_], num: int) -> NDArray[np.bool_]:
    """The first `num` True of each column."""
    return is_eligible & (is_eligible.cumsum(axis=0) <= num)


def _gather(
    data: Trajectories,
    starts: NDArray[np.int64],
    remaining: NDArray[np.int64],
    is_scored: NDArray[np.bool_],
    is_end_scored: NDArray[np.bool_],
) -> Stretches:
    horizon = is_scored.shape[1]
    num_steps = np.minimum(remaining, horizon)
    ahead = np.minimum(np.arange(horizon), num_steps[:, None] - 1)
    is_recorded = np.arange(horizon) < num_steps[:, None]
    steps, first = starts[:, None] + ahead, data.observation_of_step[starts]
    episodes = data.episode_of_step[starts]
    positions = starts - data.step_starts[episodes]
    has_previous = positions > 0
    return Stretches(
        observations=data.observations[
            first[:, None] + np.minimum(np.arange(horizon + 1), num_steps[:, None])
        ],
        actions=data.actions[steps],
        rewards=data.rewards[steps] * is_recorded,
        terminations=data.terminations[steps] & is_recorded,
        previous_observations=data.observations[first - has_previous],
        previous_rewards=data.rewards[starts - has_previous] * has_previous,
        episodes=episodes,
        positions=positions,
        num_steps=num_steps,
        is_scored=is_scored,
        is_end_scored=is_end_scored,
    )
