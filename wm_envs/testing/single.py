"""The second implementation.

What Gymnasium's autoreset semantics make of the single environment, row by row.
"""

import copy
from collections.abc import Iterator
from typing import Any

import gymnasium as gym
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import iterate

from wm_envs.testing.trace import RowOutcome, outcome_difference, row_outcome
from wm_envs.testing.trial import Trial


def differences_from_single(
    trial: Trial, judged: tuple[str, ...], ends_at: tuple[str, ...] = ()
) -> Iterator[str]:
    """The first difference of each row.

    A row whose `ends_at` fields differ is not followed further.
    """
    assert trial.make_single is not None
    for row in range(trial.num_envs):
        single = trial.make_single()
        episode = 0
        for call, expected in _replay_row(single, trial, row):
            moment = trial.trace.moments[call]
            seen = row_outcome(trial.env, moment, row)
            if message := outcome_difference(seen, expected, judged):
                yield f"row {row}, call {call}, episode {episode}: {message}"
                break
            if outcome_difference(seen, expected, ends_at):
                break
            episode += bool(moment.ended[row])
        single.close()


def _replay_row(
    single: gym.Env[Any, Any], trial: Trial, row: int
) -> Iterator[tuple[int, RowOutcome]]:
    """What Gymnasium's autoreset semantics make of the single environment for one row of the main trace."""
    has_ended = False
    for call, moment in enumerate(trial.trace.moments):
        if not moment.concerns(row):
            continue
        final: dict[str, Any] = {}
        reward, terminated, truncated = 0.0, False, False
        if moment.is_reset or (has_ended and trial.mode == AutoresetMode.NEXT_STEP):
            observation, info = single.reset(seed=trial.seed + row if call == 0 else None)
        else:
            action = list(iterate(trial.env.action_space, moment.actions))[row]
            observation, step_reward, terminated, truncated, info = single.step(action)
            reward = moment.rewards.dtype.type(step_reward)
        has_ended = terminated or truncated
        if has_ended and trial.mode == AutoresetMode.SAME_STEP:
            final = copy.deepcopy({"final_obs": observation, "final_info": dict(info.items())})
            observation, info = single.reset()
        # By `items`, as Gymnasium's vector environments gather infos.
        yield (
            call,
            RowOutcome(observation, reward, terminated, truncated, dict(info.items()), final),
        )
