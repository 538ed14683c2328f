"""The checks: each is a generator of messages about one promise.

All judge the main trace of a `Trial` or vary it.
"""

import copy
from collections.abc import Callable, Iterator
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space, concatenate, create_empty_array, iterate

from wm_envs.testing.trace import (
    FINAL_KEYS,
    OTHER_SEED,
    Array,
    Moment,
    Recorder,
    RowOutcome,
    Trial,
    difference,
    history_difference,
    outcome_difference,
    row_history,
    row_outcome,
    trace_differences,
)


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
            actual = row_outcome(trial.env, moment, row)
            if message := outcome_difference(actual, expected, judged):
                yield f"row {row}, call {call}, episode {episode}: {message}"
                break
            if outcome_difference(actual, expected, ends_at):
                break
            episode += bool(moment.ended[row])
        single.close()


def _replay_row(
    single: gym.Env[Any, Any], trial: Trial, row: int
) -> Iterator[tuple[int, RowOutcome]]:
    """The single environment under Gymnasium's autoreset semantics, for one row of the trace."""
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


Messages = Iterator[str]


def spaces(trial: Trial) -> Messages:
    """The spaces are batches of the single ones, and the metadata name the autoreset mode."""
    env = trial.env
    if env.num_envs != trial.num_envs:
        yield f"num_envs is {env.num_envs}, expected {trial.num_envs}"
    if env.metadata.get("autoreset_mode") != trial.mode:
        yield (
            f"metadata['autoreset_mode'] is {env.metadata.get('autoreset_mode')!r}, expected "
            f"{trial.mode}"
        )
    # Without one there is nothing to compare the single spaces with.
    single = trial.make_single() if trial.make_single else None
    for name in ("observation_space", "action_space"):
        batched, one = getattr(env, name), getattr(env, f"single_{name}")
        if batched != batch_space(one, env.num_envs):
            yield f"{name} is {batched}, expected the batch of {one}"
        if single is not None and one != getattr(single, name):
            yield f"single_{name} is {one}, but the single environment has {getattr(single, name)}"
    if single is not None:
        single.close()


def calls(trial: Trial) -> Messages:
    """Reset and step give observations of the space, rewards [B] as floats, flags [B] as booleans.

    Infos as a dict.
    """
    for call, moment in enumerate(trial.trace.moments):
        if not trial.env.observation_space.contains(moment.observations):
            yield f"call {call}: the observations are not in {trial.env.observation_space}"
        for name, kind in (("rewards", "f"), ("terminated", "b"), ("truncated", "b")):
            array = getattr(moment, name)
            if (
                not isinstance(array, np.ndarray)
                or array.shape != (trial.num_envs,)
                or array.dtype.kind != kind
            ):
                expected = f"an array of shape ({trial.num_envs},) and dtype kind {kind!r}"
                yield f"call {call}: {name} is {array!r}, expected {expected}"
        if not isinstance(moment.infos, dict):
            yield f"call {call}: infos is a {type(moment.infos).__name__}, expected a dict"


def coverage(trial: Trial) -> Messages:
    """At least two episodes of each row end, without which the other checks would say little."""
    if trial.num_episodes.min() < 2:
        remedy = (
            "raise num_steps or shorten the episodes (for example "
            "env_kwargs={'max_episode_steps': 20})"
        )
        yield (
            f"episodes ended per row: {trial.num_episodes.tolist()} in {trial.num_steps} steps, "
            f"expected 2: {remedy}"
        )


def info_masks(trial: Trial) -> Messages:
    """Each info entry is an array of length B with a boolean `_key` mask [B], at every depth."""
    for call, moment in enumerate(trial.trace.moments):
        yield from (
            f"call {call}: {message}" for message in _mask_messages(moment.infos, trial.num_envs)
        )


def _mask_messages(infos: dict[str, Any], num_envs: int) -> Messages:
    for key, value in infos.items():
        # Masks are judged with the entries that they belong to.
        if key.startswith("_"):
            if key[1:] not in infos:
                yield f"infos has the mask {key!r} without {key[1:]!r}"
            continue
        mask = infos.get(f"_{key}")
        if not isinstance(mask, np.ndarray) or mask.dtype != np.bool_ or mask.shape != (num_envs,):
            yield (
                f"infos[{'_' + key!r}] is {mask!r}, expected a boolean mask of shape ({num_envs},)"
            )
        if isinstance(value, dict):
            yield from _mask_messages(value, num_envs)
        elif len(value) != num_envs:
            yield f"infos[{key!r}] has length {len(value)}, expected {num_envs}"


def info_keys(trial: Trial) -> Messages:
    """Reset and step give the same info keys, as recorders such as Minari need."""
    first, *others = (_keys(moment.infos) for moment in trial.trace.moments)
    for call, keys in enumerate(others, start=1):
        if keys != first:
            yield f"call {call}: the infos have the keys {sorted(keys)}, at reset {sorted(first)}"


def _keys(infos: dict[str, Any], prefix: str = "") -> set[str]:
    keys = {prefix + key for key in infos if not key.startswith("_") and key not in FINAL_KEYS}
    nested = [
        _keys(infos[key], f"{prefix}{key}/")
        for key in infos
        if prefix + key in keys and isinstance(infos[key], dict)
    ]
    return keys.union(*nested)


def autoreset(trial: Trial) -> Messages:
    """In next-step mode the call after an end is the reset.

    Reward 0, neither terminated nor truncated.
    """
    if trial.mode != AutoresetMode.NEXT_STEP:
        return
    for call, moment in enumerate(trial.trace.moments):
        # A reset by mask is no autoreset.
        for row in np.flatnonzero(moment.was_ended & ~moment.mask):
            if moment.rewards[row] != 0 or moment.ended[row]:
                actual = (
                    float(moment.rewards[row]),
                    bool(moment.terminated[row]),
                    bool(moment.truncated[row]),
                )
                yield (
                    f"row {row}, call {call}: the call after the end gave {actual}, expected (0.0, "
                    "False, False)"
                )


def final_observations(trial: Trial) -> Messages:
    """Same-step mode gives ended rows, and no others, final_obs and final_info.

    They are equal to the single environment's last.
    """
    if trial.mode != AutoresetMode.SAME_STEP:
        return
    for call, moment in enumerate(trial.trace.moments):
        yield from (f"call {call}: {message}" for message in _final_messages(trial, moment))
    if trial.make_single is not None:
        yield from differences_from_single(trial, judged=("final",), ends_at=("observation",))


def _final_messages(trial: Trial, moment: Moment) -> Messages:
    no_rows = np.zeros(trial.num_envs, np.bool_)
    for key in sorted(FINAL_KEYS):
        mask = moment.infos.get(f"_{key}", no_rows)
        if not np.array_equal(mask, moment.ended):
            actual = np.asarray(mask).tolist()
            expected = moment.ended.tolist()
            yield f"infos[{'_' + key!r}] is {actual}, expected the ended rows {expected}"
        elif moment.ended.any() and key not in moment.infos:
            yield f"infos has a mask for {key!r}, but not the entry itself"
        elif key == "final_obs":
            for row in np.flatnonzero(moment.ended):
                if not trial.env.single_observation_space.contains(moment.infos[key][row]):
                    yield (
                        f"row {row}: final_obs is {moment.infos[key][row]!r}, which is not in the "
                        "observation space"
                    )


def outputs_kept(trial: Trial) -> Messages:
    """Later calls do not overwrite what earlier calls gave."""
    for call, (kept, original) in enumerate(
        zip(trial.trace.moments, trial.trace.originals, strict=True)
    ):
        for name in ("observations", "rewards", "terminated", "truncated", "infos"):
            if message := difference(getattr(original, name), getattr(kept, name), name):
                yield f"call {call}, seen again after the last call: {message}"


def matches_single(trial: Trial) -> Messages:
    """Row i seeded with s is the single environment seeded with s + i, over all episodes."""
    yield from differences_from_single(
        trial, judged=("observation", "reward", "terminated", "truncated", "info")
    )


def reproducible(trial: Trial) -> Messages:
    """The same seed and actions give the same trace, later episodes included."""
    yield from trace_differences(
        trial.recorder().reset(trial.seed).steps(trial.actions), trial.trace
    )


def reset_discards_ends(trial: Trial) -> Messages:
    """A reset while rows wait for their autoreset starts all rows anew.

    The next call is a plain step.
    """
    # Another seed, so that nothing of this part can look like the main trace by chance.
    trial.env.reset(seed=trial.seed + OTHER_SEED)
    recorder = trial.recorder()
    for actions in trial.actions:
        if recorder.step(actions, resets_ended=False).moments[-1].ended.any():
            break
    yield from trace_differences(
        trial.recorder().reset(trial.seed).steps(trial.actions), trial.trace
    )


def episodes_vary(trial: Trial) -> Messages:
    """Where seeds change the start.

    Rows differ from each other and later episodes from the first.
    """
    starts = [_starts(trial, row) for row in range(trial.num_envs)]
    # Some environments start alike whatever the seed; of those nothing can be asked.
    seeded = [_first_observation(trial, trial.seed + OTHER_SEED * (i + 1)) for i in range(8)]
    if all(difference(one, seeded[0]) is None for one in seeded):
        # The start does not depend on the seed.
        return
    for row, episodes in enumerate(starts):
        # Six starts drawn from a few may agree by chance.
        if len(episodes) > 6 and all(difference(one, episodes[0]) is None for one in episodes):
            yield (
                f"row {row}: all {len(episodes)} episodes start alike, although seeds change the "
                "start"
            )
    histories = [row_history(trial.trace, row) for row in range(trial.num_envs)]
    same = [
        difference([o.observation for o in h], [o.observation for o in histories[0]]) is None
        for h in histories
    ]
    if all(same):
        yield "all rows see the same observations, although seeds change the start"


def _starts(trial: Trial, row: int) -> list[Any]:
    """The first observations of a row's episodes."""
    is_same_step = trial.mode == AutoresetMode.SAME_STEP
    moments = trial.trace.moments
    begun = [
        m for m in moments if m.mask[row] or m.was_ended[row] or (is_same_step and m.ended[row])
    ]
    return [row_outcome(trial.env, moment, row).observation for moment in begun]


def _first_observation(trial: Trial, seed: int) -> Any:
    moment = trial.recorder().reset(seed).moments[0]
    return row_outcome(trial.env, moment, 0).observation


def seed_list(trial: Trial) -> Messages:
    """A list of seeds [s, s + 1, ...] gives what the integer s gives.

    With a mask, the chosen row takes its own.
    """
    seeds: list[int | None] = [trial.seed + row for row in range(trial.num_envs)]
    yield from trace_differences(trial.recorder().reset(seeds).steps(trial.actions), trial.trace)
    other = trial.seed + OTHER_SEED
    recorder, call, num_steps = _with_first_row_restarted(
        trial, [other] + [None] * (trial.num_envs - 1)
    )
    fresh = trial.recorder().reset(other).steps(trial.actions[num_steps:])
    recorder.moments = recorder.moments[call:]
    if message := history_difference(row_history(recorder, 0), row_history(fresh, 0)):
        yield (
            "row 0, restarted alone with a seed, differs from a full reset with that seed; "
            f"{message}"
        )


def ended_actions(trial: Trial) -> Messages:
    """In next-step mode the action of a row that is being reset changes nothing."""
    if trial.mode != AutoresetMode.NEXT_STEP:
        return
    recorder = trial.recorder().reset(trial.seed)
    # Other actions than in the main trace, for the rows whose action must not count.
    others = trial.draw_actions(trial.seed + OTHER_SEED)
    for moment, actions, other in zip(trial.trace.moments[1:], trial.actions, others, strict=True):
        recorder.step(_replace_rows(trial.env, actions, other, moment.was_ended))
    yield from trace_differences(recorder, trial.trace)


def _replace_rows(env: VectorEnv[Any, Any, Any], actions: Any, others: Any, mask: Array) -> Any:
    pairs = zip(
        iterate(env.action_space, actions), iterate(env.action_space, others), mask, strict=True
    )
    rows = [other if is_replaced else action for action, other, is_replaced in pairs]
    empty: Any = create_empty_array(env.single_action_space, len(rows))
    return concatenate(env.single_action_space, rows, empty)


def partial_reset(trial: Trial) -> Messages:
    """`options["reset_mask"]` restarts one row.

    The others, and their later episodes, are left untouched.
    """
    recorder, call, _ = _with_first_row_restarted(trial, None)
    before, moment = recorder.moments[call - 1 : call + 1]
    yield from _partial_reset_messages(trial, before, moment, moment.mask)
    for row in range(1, trial.num_envs):
        if message := history_difference(row_history(recorder, row), row_history(trial.trace, row)):
            yield f"row {row} was not in the mask, but {message}"


def _with_first_row_restarted(
    trial: Trial, seed: list[int | None] | None
) -> tuple[Recorder, int, int]:
    """The main trace with a partial reset of row 0 in between.

    Its call, and the number of steps before it.
    """
    last = _call_in_mid_episode(trial)
    num_steps = sum(not moment.is_reset for moment in trial.trace.moments[: last + 1])
    # Up to there the same as the main trace, so that what follows can be compared with it.
    recorder = trial.recorder().reset(trial.seed).steps(trial.actions[:num_steps])
    call = len(recorder.moments)
    recorder.reset(seed, np.arange(trial.num_envs) == 0)
    return recorder.steps(trial.actions[num_steps:]), call, num_steps


def _partial_reset_messages(trial: Trial, before: Moment, moment: Moment, mask: Array) -> Messages:
    for row in np.flatnonzero(~mask).tolist():
        actual, expected = row_outcome(trial.env, moment, row), row_outcome(trial.env, before, row)
        if message := outcome_difference(actual, expected, ("observation",)):
            yield f"row {row} was not in the mask, but the reset gave: {message}"
        if actual.info:
            yield (
                f"row {row} was not in the mask, but the reset's infos have entries for it: "
                f"{sorted(actual.info)}"
            )


def _call_in_mid_episode(trial: Trial) -> int:
    """A call after which no row waits for its reset.

    In mid-episode where episodes are long enough.
    """
    moments = trial.trace.moments
    settled = [
        call
        for call, moment in enumerate(moments[: len(moments) // 2])
        if trial.mode == AutoresetMode.SAME_STEP or not moment.ended.any()
    ]
    plain = [call for call in settled if not (moments[call].is_reset or moments[call].ended.any())]
    inside = [call for call in plain if not moments[call].was_ended.any()]
    return (inside or plain or settled)[-1]


def close(trial: Trial) -> Messages:
    """Closing twice is harmless."""
    trial.env.close()
    trial.env.close()
    # The `yield` makes this a generator, as all checks are.
    return
    yield


Check = Callable[[Trial], Messages]

CHECKS: dict[str, Check] = {
    check.__name__: check
    for check in (
        spaces,
        calls,
        coverage,
        info_masks,
        info_keys,
        outputs_kept,
        autoreset,
        final_observations,
        matches_single,
        reproducible,
        reset_discards_ends,
        episodes_vary,
        seed_list,
        ended_actions,
        partial_reset,
        close,
    )
}
