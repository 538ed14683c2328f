"""Recording.

Every call of `reset` and `step` with a copy of what it gave, and the same story row by row.
"""

import copy
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import iterate
from numpy.typing import NDArray

Array = NDArray[Any]

FINAL_KEYS = frozenset({"final_obs", "final_info"})


@dataclass(frozen=True)
class Moment:
    """One call and what it gave.

    Attributes:
        actions: The batch of actions, None for a reset.
        mask: Rows [B] that a reset started, all False for a step.
        was_ended: Rows [B] whose episode was over before the call.
        observations: A batch of the observation space.
        rewards: Rewards [B], zeros for a reset.
        terminated: Flags [B], False for a reset.
        truncated: Flags [B], False for a reset.
        infos: Gymnasium's dict of arrays with masks.
    """

    actions: Any
    mask: Array
    was_ended: Array
    observations: Any
    rewards: Array
    terminated: Array
    truncated: Array
    infos: dict[str, Any]

    @property
    def is_reset(self) -> bool:
        """Whether the call was `reset`."""
        return self.actions is None

    @property
    def ended(self) -> Array:
        """Rows [B] whose episode this call ended."""
        return np.asarray(np.logical_or(self.terminated, self.truncated))

    def concerns(self, row: int) -> bool:
        """Whether the call did something to a row: all but a reset of other rows."""
        return not self.is_reset or bool(self.mask[row])


class Recorder:
    """Calls a vector environment and keeps every answer, as a copy and as it came."""

    def __init__(self, env: VectorEnv[Any, Any, Any], mode: AutoresetMode) -> None:
        self.env, self.mode = env, mode
        self.moments: list[Moment] = []
        self.originals: list[Moment] = []
        self._ended = np.zeros(env.num_envs, np.bool_)

    def reset(self, seed: Any = None, mask: Array | None = None) -> "Recorder":
        """Reset all rows, or the masked ones; a seed is an integer or a list of one per row."""
        options = None if mask is None else {"reset_mask": mask.copy()}
        observations, infos = self.env.reset(seed=seed, options=options)
        mask = np.ones(self.env.num_envs, np.bool_) if mask is None else mask
        zeros, no_flags = np.zeros(self.env.num_envs), np.zeros(self.env.num_envs, np.bool_)
        self._keep(
            Moment(None, mask, self._ended, observations, zeros, no_flags, no_flags.copy(), infos)
        )
        self._ended = self._ended & ~mask
        return self

    def step(self, actions: Any, resets_ended: bool = True) -> "Recorder":
        """Step; with autoreset disabled, reset the rows that have ended in a call of its own."""
        # A copy, since an environment may change what it is given.
        answer = self.env.step(copy.deepcopy(actions))
        no_rows = np.zeros(self.env.num_envs, np.bool_)
        self._keep(Moment(actions, no_rows, self._ended, *answer))
        self._ended = self.moments[-1].ended
        # Rows that ended have begun anew already.
        if self.mode == AutoresetMode.SAME_STEP:
            self._ended = no_rows
        if self.mode == AutoresetMode.DISABLED and resets_ended and self._ended.any():
            self.reset(mask=self._ended)
        return self

    def steps(self, actions: Sequence[Any]) -> "Recorder":
        """Step through a list of action batches."""
        for batch in actions:
            self.step(batch)
        return self

    @property
    def has_pending_rows(self) -> bool:
        """Whether the next call has to start some rows anew."""
        return bool(self._ended.any())

    def _keep(self, moment: Moment) -> None:
        # As they came and as copies: a later call may overwrite what an earlier one gave.
        self.originals.append(moment)
        self.moments.append(copy.deepcopy(moment))


@dataclass(frozen=True)
class RowOutcome:
    """What one call gave to one row.

    `info` holds the keys whose masks are set, `final` those of a same-step end.
    """

    observation: Any
    reward: Any
    terminated: bool
    truncated: bool
    info: dict[str, Any]
    final: dict[str, Any]


ALL_FIELDS = ("observation", "reward", "terminated", "truncated", "info", "final")


def row_outcome(env: VectorEnv[Any, Any, Any], moment: Moment, row: int) -> RowOutcome:
    """A moment as one row sees it."""
    observation = list(iterate(env.observation_space, moment.observations))[row]
    info = row_info(moment.infos, row)
    final = {key: info.pop(key) for key in FINAL_KEYS if key in info}
    return RowOutcome(
        observation, moment.rewards[row], moment.terminated[row], moment.truncated[row], info, final
    )


def row_history(recorder: Recorder, row: int) -> list[RowOutcome]:
    """What happened to one row, whatever was done to the others meanwhile."""
    return [
        row_outcome(recorder.env, moment, row)
        for moment in recorder.moments
        if moment.concerns(row)
    ]


def row_info(infos: dict[str, Any], row: int) -> dict[str, Any]:
    """The info dict of one row out of Gymnasium's arrays with masks."""
    info = {}
    for key, value in infos.items():
        mask = infos.get(f"_{key}")
        if key.startswith("_") or (mask is not None and not mask[row]):
            continue
        info[key] = row_info(value, row) if isinstance(value, dict) else value[row]
    return info


def difference(one: Any, other: Any, where: str = "") -> str | None:
    """The first difference between two nested values, or None.

    Floats are compared bit for bit but for NaN.
    """
    if isinstance(one, dict) and isinstance(other, dict):
        if one.keys() != other.keys():
            return (
                f"{where} has the keys {sorted(map(str, one))}, expected {sorted(map(str, other))}"
            )
        return _first(difference(one[key], other[key], f"{where}[{key!r}]") for key in one)
    if isinstance(one, tuple | list) and isinstance(other, tuple | list) and len(one) == len(other):
        return _first(
            difference(a, b, f"{where}[{i}]")
            for i, (a, b) in enumerate(zip(one, other, strict=True))
        )
    left, right = np.asarray(one), np.asarray(other)
    if left.dtype == right.dtype == object and left.shape == right.shape != ():
        return difference(list(left), list(right), where)
    # `equal_nan` is refused for integers and texts.
    has_nan = left.dtype.kind in "fc" and right.dtype.kind in "fc"
    if left.shape == right.shape and np.array_equal(left, right, equal_nan=has_nan):
        return None
    return f"{where} is {_short(one)}, expected {_short(other)}"


def outcome_difference(
    one: RowOutcome, other: RowOutcome, fields: Sequence[str] = ALL_FIELDS
) -> str | None:
    """The first of these fields in which two outcomes of a row differ, or None."""
    return _first(difference(getattr(one, name), getattr(other, name), name) for name in fields)


def history_difference(one: Sequence[RowOutcome], other: Sequence[RowOutcome]) -> str | None:
    """The first call at which two histories of a row differ, as far as the shorter reaches."""
    for call, (left, right) in enumerate(zip(one, other, strict=False)):
        if message := outcome_difference(left, right):
            return f"call {call}: {message}"
    return None


def trace_differences(one: Recorder, other: Recorder) -> Iterator[str]:
    """The first difference of each row between two traces with the same calls."""
    for row in range(one.env.num_envs):
        if message := history_difference(row_history(one, row), row_history(other, row)):
            yield f"row {row}, {message}"


def _first(messages: Iterable[str | None]) -> str | None:
    return next((message for message in messages if message), None)


def _short(value: Any) -> str:
    text = np.array2string(np.asarray(value), threshold=12, edgeitems=4).replace("\n", "")
    return text if len(text) <= 120 else text[:117] + "..."


OTHER_SEED = 1000  # far from the seeds of the rows


@dataclass
class Trial:
    """A vector environment in one mode, with the seed and the actions that every trace uses."""

    env: VectorEnv[Any, Any, Any]
    mode: AutoresetMode
    num_envs: int
    num_steps: int
    seed: int
    make_single: Callable[[], gym.Env[Any, Any]] | None
    actions: list[Any] = field(init=False)

    def __post_init__(self) -> None:
        self.actions = self.draw_actions(self.seed)

    def draw_actions(self, seed: int) -> list[Any]:
        """Batches of random actions."""
        # A copy, so that the environment's own random stream is left alone.
        space = copy.deepcopy(self.env.action_space)
        space.seed(seed)
        return [space.sample() for _ in range(self.num_steps)]

    def recorder(self) -> Recorder:
        """A new trace of the same environment."""
        return Recorder(self.env, self.mode)

    @cached_property
    def trace(self) -> Recorder:
        """The main trace: a seeded reset and all actions."""
        return self.recorder().reset(self.seed).steps(self.actions)

    @property
    def num_episodes(self) -> Array:
        """Episodes that ended in the main trace, by row [B]."""
        return np.sum([moment.ended for moment in self.trace.moments], axis=0)
