"""What a domain tells the environments about itself.

Its observation columns, spaces, parameters and kernels, in one value.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import IntEnum
from functools import cached_property
from hashlib import sha256
from typing import Any, Literal

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from wm_envs.data.infos import component_key
from wm_envs.data.options import check_integer
from wm_envs.errors import InvalidActionError, StateError
from wm_envs.kernel import empty_rows, seed_rows
from wm_envs.limits import is_own

Info = dict[str, Any]
Array = NDArray[Any]

OUTCOME_HEADER: list[tuple[str, Any]] = [
    ("reward", np.float64),
    ("terminated", np.bool_),
    ("truncated", np.bool_),
]


def draw_seed() -> int:
    """A seed below 2**64 from the entropy of the machine."""
    return int(np.random.SeedSequence().generate_state(1, np.uint64)[0])


Kind = Literal["number", "integer", "flag", "one-hot"]


@dataclass(frozen=True)
class Field:
    """One column of an observation.

    Attributes:
        name: In lower case with underscores; in upper case it is the column's name in the enum.
        unit: Such as "m/s"; "1" where there is none.
        low: The smallest value.
        high: The largest value.
        meaning: In a few words.
        kind: Any number, a whole one, 0 or 1, or one column of a one-hot group.
    """

    name: str
    unit: str
    low: float
    high: float
    meaning: str
    kind: Kind = "number"


class ObservationSpec(tuple[Field, ...]):
    """The columns of an observation in order, each named once.

    Bounds, documentation, error reports and the enum of the columns come from it.

    >>> fields = [Field("speed", "m/s", 0, 9, "forward"), Field("t", "s", 0, 5, "time")]
    >>> spec = ObservationSpec(fields)
    >>> spec.columns("CarColumn", module="cars").SPEED
    <CarColumn.SPEED: 0>
    >>> print(spec.table())
    | Index | Field | Unit | Low | High | Meaning |
    |---|---|---|---|---|---|
    | 0 | `speed` | m/s | 0 | 9 | forward |
    | 1 | `t` | s | 0 | 5 | time |
    """

    @property
    def names(self) -> tuple[str, ...]:
        """The columns' names."""
        return tuple(field.name for field in self)

    @property
    def low(self) -> NDArray[np.float32]:
        """Smallest values [O]."""
        return np.array([field.low for field in self], np.float32)

    @property
    def high(self) -> NDArray[np.float32]:
        """Largest values [O]."""
        return np.array([field.high for field in self], np.float32)

    @property
    def space(self) -> spaces.Box:
        """A float32 box with the columns' bounds."""
        return spaces.Box(self.low, self.high, dtype=np.float32)

    def columns(self, name: str, *, module: str) -> Any:
        """An IntEnum of the columns, which indexes observations in NumPy and in kernels.

        Args:
            name: Of the enum.
            module: `__name__` of the module that keeps it, for pickles of its members.
        """
        return IntEnum(name, {field.name.upper(): i for i, field in enumerate(self)}, module=module)

    def table(self) -> str:
        """The columns as a Markdown table, one row for each."""
        rows = ["| Index | Field | Unit | Low | High | Meaning |", "|---|---|---|---|---|---|"]
        for i, field in enumerate(self):
            bounds = f"{field.low:g} | {field.high:g}"
            # General format: bounds such as 1e+06 stay short enough for a table.
            rows.append(f"| {i} | `{field.name}` | {field.unit} | {bounds} | {field.meaning} |")
        return "\n".join(rows)


def outcome_dtype(
    reward_components: Sequence[str], info_fields: Sequence[tuple[str, Any]]
) -> np.dtype[Any]:
    """What a step reports.

    Weighted reward, ends, the named reward components, then what goes into the info.
    """
    components = [(name, np.float64) for name in reward_components]
    # The order is a contract: shells read reward and flags by position, see `KernelEnv.step`.
    return np.dtype([*OUTCOME_HEADER, *components, *info_fields], align=True)


@dataclass(frozen=True)
class Rules:
    """A domain with its options chosen, as the shells see it.

    The kernels fill the arrays that they are given, B rows at a time:
    `reset_rows(states, parameters, mask[B])` starts the masked rows anew,
    `step_rows(states, parameters, actions[B, ...], observations[B, O], outcomes[B], is_autoreset)`
    advances the rows; a row that has ended is reset instead when `is_autoreset`, and else holds
    still with reward 0, `observe_rows(states, parameters, observations[B, O])` writes the
    observation, a pure function of the state, `report_rows(states, parameters, outcomes[B],
    mask[B])`, where there is one, writes what the masked rows report right after a reset; without
    it everything that they report is zero. A domain whose state lives partly elsewhere, such as in
    emulators, overrides the methods `save_rows`, `load_rows`, `use_threads`, `close` and `picture`,
    which do nothing of their own here.
    """

    observation_fields: tuple[Field, ...]
    action_space: spaces.Discrete | spaces.Box
    reward_components: tuple[str, ...]
    state_dtype: np.dtype[Any]
    outcome_dtype: np.dtype[Any]
    # one structured row; its field `time_limit` is the step at which an episode is truncated
    parameters: Array
    reset_rows: Callable[..., None]
    step_rows: Callable[..., None]
    observe_rows: Callable[..., None]
    report_rows: Callable[..., None] | None = None

    @property
    def observation_space(self) -> spaces.Box:
        """A float32 box with the bounds of the observation fields."""
        return ObservationSpec(self.observation_fields).space

    @property
    def info_names(self) -> tuple[str, ...]:
        """The outcome fields after the header and the reward components."""
        return (self.outcome_dtype.names or ())[len(OUTCOME_HEADER) + len(self.reward_components) :]

    @cached_property
    def fingerprint(self) -> int:
        """64 bits that differ between parameters but for the time limit.

        A state of other options is recognised by them.
        """
        # The time limit is left out: a state may be restored under another one.
        names = [name for name in self.parameters.dtype.names or () if name != "time_limit"]
        # Field by field, since the padding between them holds anything.
        values = b"".join(self.parameters[name].tobytes() for name in names)
        return int.from_bytes(sha256(values).digest()[:8], "little")

    @property
    def time_limit(self) -> int:
        """Steps after which an episode is truncated."""
        return int(self.parameters["time_limit"][0])

    def limited_to(self, max_episode_steps: int | None) -> "Rules":
        """The same rules with this time limit in place of their own; raises OptionError.

        Args:
            max_episode_steps: Steps, more or fewer than the rules have; None and -1, as for
                `gym.make`, keep the limit that follows from the options.
        """
        if is_own(max_episode_steps):
            return self
        parameters = self.parameters.copy()
        parameters["time_limit"] = check_integer("max_episode_steps", max_episode_steps, 1)
        return replace(self, parameters=parameters)

    def new_states(self, num_rows: int, first_seed: int | None = None) -> Array:
        """Rows that need a reset before their first step; row i has the stream of `first_seed` + i.

        Without a seed the streams are such that no other rows have them.
        """
        states = empty_rows(num_rows, self.state_dtype)
        states["fingerprint"] = self.fingerprint
        # A row without a reset has no position, ball or symbol: stepping it would look like an
        # episode.
        states["ended"] = True
        # Any 64 bits of entropy, so that no other rows share a stream.
        start = draw_seed() if first_seed is None else first_seed
        seed_rows(states, range(start, start + num_rows))
        self.load_rows(states)
        return states

    def save_rows(self, states: Array) -> None:
        """Before rows are copied out.

        Write into them what a domain keeps elsewhere, such as in an emulator.
        """

    def load_rows(self, states: Array) -> None:
        """After rows were copied in: take from them what a domain keeps elsewhere."""

    def use_threads(self, slices: Sequence[slice]) -> None:
        """Before a batch is used.

        The rows of each slice will be stepped by a thread of their own.
        """

    def close(self) -> None:
        """When a batch is closed; may be called twice."""

    def picture(self, state: Any, draw: Callable[[Any, Any], Array]) -> Array:
        """The picture of a state row as the environment draws it.

        Unless the domain has one of its own.
        """
        return draw(state, self.parameters[0])

    def check_states(self, states: Array, shape: tuple[int, ...]) -> None:
        """Raise StateError unless `states` has this shape, this layout and these parameters."""
        if not isinstance(states, np.ndarray | np.void) or states.dtype != self.state_dtype:
            raise StateError(
                "a state of this environment comes from its clone_state(), got "
                f"{type(states).__name__}"
            )
        if states.shape != shape:
            raise StateError(f"expected states of shape {shape}, got {states.shape}")
        # Otherwise a state could point into tables of other sizes, which compiled code does not
        # check.
        if np.any(states["fingerprint"] != self.fingerprint):
            raise StateError(
                "this state belongs to an environment with other options: restore it where it was "
                "cloned"
            )

    def check_actions(self, actions: Any, shape: tuple[int, ...]) -> Array:
        """Return a contiguous array [*shape, ...] of valid actions or raise InvalidActionError.

        Args:
            actions: Integers below n for Discrete(n), finite floats within the bounds for a Box.
            shape: The batch shape, () for one action.
        """
        space = self.action_space
        try:
            # A list of lists of unequal lengths fails here, before any shape can be compared.
            array = np.asarray(actions)
        except (ValueError, TypeError) as error:
            raise InvalidActionError(
                f"expected an array of actions, got {actions!r}: {error}"
            ) from error
        expected = shape + (space.shape or ())
        if array.shape != expected:
            raise InvalidActionError(
                f"expected actions of shape {expected}, got shape {array.shape}: {actions!r}"
            )
        if isinstance(space, spaces.Discrete):
            # Floats are refused also where they are whole: they hint at a policy of another space.
            if array.dtype.kind not in "iu":
                raise InvalidActionError(
                    f"expected integers in [0, {space.n}), got {array.dtype}: {actions!r}"
                )
            if array.size and (array.min() < 0 or array.max() >= space.n):
                raise InvalidActionError(f"expected integers in [0, {space.n}), got {actions!r}")
            # Keeps the shape () of a single action.
            return np.asarray(array, np.int64, order="C")
        if array.dtype.kind not in "fiu":
            raise InvalidActionError(f"expected numbers, got {array.dtype}: {actions!r}")
        # NaN compares as False and is refused with the rest.
        if not np.all((array >= space.low) & (array <= space.high)):  # False for NaN
            raise InvalidActionError(f"expected numbers within {space}, got {actions!r}")
        return np.asarray(array, np.float64, order="C")

    def report_reset(self, states: Array, outcomes: Array, mask: Array) -> None:
        """Write into the outcomes [B] what the masked rows report right after their reset."""
        outcomes[mask] = np.zeros((), self.outcome_dtype)
        if self.report_rows is not None:
            self.report_rows(states, self.parameters, outcomes, mask)

    def batch_infos(self, outcomes: Mapping[str, Any]) -> Info:
        """The infos of a batch from its outcome fields.

        Each reward component under a key of its own.
        """
        infos: Info = {name: outcomes[name] for name in self.info_names}
        for name in self.reward_components:
            infos[component_key(name)] = outcomes[name]
        return infos
