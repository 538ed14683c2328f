"""Recorded experience.

Ragged episodes (`Trajectories`), windows (`TrajectoryBatch`) and flat rows (`Transitions`).
"""

import json
import os
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO, Generic, NamedTuple, TypeVar

import gymnasium as gym
import numpy as np
from numpy.typing import ArrayLike, NDArray

from wm_envs.data.checks import (
    check_length,
    checked_actions,
    checked_flags,
    checked_lengths,
    checked_numbers,
    converted,
    lengths_between,
)
from wm_envs.data.display import counted, data_frame, html_card, short_repr
from wm_envs.data.errors import TrajectoryError
from wm_envs.data.files import replacing
from wm_envs.data.options import as_integer, check_seed
from wm_envs.data.paths import user_path
from wm_envs.data.spaces import ActionCodec, ObservationCodec, space_from_json, space_to_json

Array = NDArray[Any]
AnyArray = TypeVar("AnyArray")
"""A NumPy array, or a tensor: a batch is the same thing in either."""

MAX_BYTES = 16 * 2**30  # of a file's arrays, unpacked


@dataclass(frozen=True)
class Trajectories:
    """K recorded episodes, concatenated; S is the number of steps in all.

    Episode k has `lengths[k]` steps and `lengths[k] + 1` observations: the last one is what its
    final step led to. Arrays are converted to the types below and checked when the value is made;
    TrajectoryError names array and row.

    Observations and actions are the rows of `wm_envs.data.spaces`: whatever the environment's
    spaces, an observation is a vector, and an action is an index or a vector.

    Attributes:
        observations: [S + K, O] float32, each episode's observations in order.
        actions: [S] int64 for indices, [S, A] float32 for vectors.
        rewards: [S] float64.
        terminations: [S] bool, True only at the last step of an episode.
        truncations: [S] bool, True only at the last step of an episode.
        lengths: [K] int64, each at least 1.
        observation_space: What observations are rows of, where it is known.
        action_space: What actions are indices or vectors of, where it is known.
    """

    observations: NDArray[np.float32]
    actions: NDArray[np.int64] | NDArray[np.float32]
    rewards: NDArray[np.float64]
    terminations: NDArray[np.bool_]
    truncations: NDArray[np.bool_]
    lengths: NDArray[np.int64]
    observation_space: gym.Space[Any] | None = field(default=None, kw_only=True)
    action_space: gym.Space[Any] | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        checked = {
            "observations": checked_numbers("observations", self.observations, np.float32, 2),
            "actions": checked_actions(self.actions),
            "rewards": checked_numbers("rewards", self.rewards, np.float64, 1),
            "terminations": checked_flags("terminations", self.terminations),
            "truncations": checked_flags("truncations", self.truncations),
            "lengths": checked_lengths(self.lengths),
        }
        for name, array in checked.items():
            # A frozen dataclass refuses plain assignment, also to its own constructor.
            object.__setattr__(self, name, array)
        self._check_sizes()
        self._check_ends()
        self._check_spaces()

    def __repr__(self) -> str:
        actions = "index" if self.actions.ndim == 1 else f"vector of {self.actions.shape[1]}"
        return (
            f"Trajectories({counted(self.num_episodes, 'episode')}, {counted(self.num_steps, 'step')}, "
            f"observations of size "
            f"{self.observations.shape[1]}, actions: {actions})"
        )

    def _repr_html_(self) -> str:
        facts = {
            "episodes": f"{self.num_episodes:,}",
            "steps": f"{self.num_steps:,}",
            "mean return": f"{self.returns.mean() if self.num_episodes else 0:.4g}",
            "observations": self.observation_space or f"of size {self.observations.shape[1]}",
            "actions": self.action_space or f"{self.actions.shape[1:] or 'an index'}",
        }
        return html_card("Trajectories", facts)

    # --- making them

    @classmethod
    def from_arrays(
        cls,
        observations: "ArrayLike",
        actions: "ArrayLike",
        rewards: "ArrayLike",
        terminations: "ArrayLike",
        truncations: "ArrayLike | None" = None,
        lengths: "ArrayLike | None" = None,
        *,
        observation_space: gym.Space[Any] | None = None,
        action_space: gym.Space[Any] | None = None,
    ) -> "Trajectories":
        """Trajectories from concatenated arrays.

        Args:
            observations: [S + K, O]; a one-dimensional array is read as O = 1.
            actions: [S] or [S, A].
            rewards: [S].
            terminations: [S].
            truncations: [S]; none by default.
            lengths: Episode lengths [K]; by default episodes end where a step terminates or
                truncates, and at the end.
            observation_space: Where it is known.
            action_space: Where it is known.

        Raises:
            TrajectoryError: An array is not finite, of the wrong shape or of a length that does not
                fit the others.
        """
        ended = checked_flags("terminations", terminations)
        cut = (
            np.zeros_like(ended)
            if truncations is None
            else checked_flags("truncations", truncations)
        )
        if lengths is None:
            check_length("truncations", cut, len(ended), "terminations")
            lengths = lengths_between(np.flatnonzero(ended | cut), len(ended))
        rows = converted("observations", observations, np.float32)
        if rows.ndim == 1:
            rows = rows[:, None]
        return cls(
            rows,
            actions,  # type: ignore[arg-type]
            rewards,  # type: ignore[arg-type]
            ended,
            cut,
            lengths,  # type: ignore[arg-type]
            observation_space=observation_space,
            action_space=action_space,
        )

    @classmethod
    def from_transitions(
        cls,
        observations: "ArrayLike",
        actions: "ArrayLike",
        rewards: "ArrayLike",
        next_observations: "ArrayLike",
        terminations: "ArrayLike",
        truncations: "ArrayLike | None" = None,
    ) -> "Trajectories":
        """Trajectories from rows of (observation, action, reward, next observation), the usual replay-buffer layout.

        An episode ends where a step terminates or truncates, and wherever a next observation is not
        the observation of the following row.

        Args:
            observations: [S, O].
            actions: [S] or [S, A].
            rewards: [S].
            next_observations: [S, O].
            terminations: [S].
            truncations: [S]; none by default.
        """
        before = checked_numbers("observations", observations, np.float32, 2)
        after = checked_numbers("next_observations", next_observations, np.float32, 2)
        ended = checked_flags("terminations", terminations)
        cut = (
            np.zeros_like(ended)
            if truncations is None
            else checked_flags("truncations", truncations)
        )
        if after.shape != before.shape:
            raise TrajectoryError(
                f"next_observations has shape {after.shape}, but observations has {before.shape}"
            )
        check_length("terminations", ended, len(before), "observations")
        check_length("truncations", cut, len(before), "observations")
        # A row that does not go on from the row before begins an episode, marked or not.
        is_last = np.append((after[:-1] != before[1:]).any(1), True) | ended | cut
        lasts = np.flatnonzero(is_last)
        # Each episode has one more observation than steps: what its last step led to.
        merged = np.insert(before, lasts + 1, after[lasts], axis=0)
        return cls(merged, actions, rewards, ended, cut, lengths_between(lasts, len(before)))  # type: ignore[arg-type]

    @classmethod
    def concatenate(cls, parts: Sequence["Trajectories"]) -> "Trajectories":
        """All episodes of several trajectories, in order; the first part's spaces are kept."""
        if not parts:
            raise TrajectoryError("no trajectories to concatenate: record at least one episode")
        arrays = {
            name: _concatenated(name, [getattr(part, name) for part in parts])
            for name in ARRAY_NAMES
        }
        return cls(
            **arrays,
            observation_space=parts[0].observation_space,
            action_space=parts[0].action_space,
        )

    # --- what they hold

    @property
    def num_episodes(self) -> int:
        """K."""
        return len(self.lengths)

    @property
    def num_steps(self) -> int:
        """S."""
        return len(self.rewards)

    @cached_property
    def step_starts(self) -> NDArray[np.int64]:
        """The first step [K] of each episode."""
        starts: NDArray[np.int64] = np.cumsum(self.lengths) - self.lengths
        return starts

    @cached_property
    def episode_of_step(self) -> NDArray[np.int64]:
        """The episode number [S] of each step."""
        return np.repeat(np.arange(self.num_episodes), self.lengths)

    @cached_property
    def observation_of_step(self) -> NDArray[np.int64]:
        """The row [S] of `observations` that each step starts from.

        The row after it is what the step led to.
        """
        return np.arange(self.num_steps) + self.episode_of_step

    @property
    def start_observations(self) -> NDArray[np.float32]:
        """The observations [S, O] from which steps were taken: where imagination may begin."""
        return self.observations[self.observation_of_step]

    @property
    def next_observations(self) -> NDArray[np.float32]:
        """What each step led to [S, O]."""
        return self.observations[self.observation_of_step + 1]

    @property
    def returns(self) -> NDArray[np.float64]:
        """The sum of rewards [K] of each episode."""
        return np.add.reduceat(self.rewards, self.step_starts)

    @cached_property
    def is_lattice(self) -> bool:
        """Whether all observations are whole numbers, so that they can be predicted exactly."""
        # From 2**23 on every float32 is a whole number, which then says nothing.
        is_whole = (self.observations == np.round(self.observations)).all()
        return bool(is_whole and np.abs(self.observations).max(initial=0.0) < 2**23)

    def transitions(self) -> "Transitions[Array]":
        """All steps as flat rows."""
        return Transitions(
            self.start_observations,
            self.actions,
            self.rewards,
            self.next_observations,
            self.terminations,
            self.truncations,
        )

    def to_pandas(self) -> Any:
        """One row a step as a `pandas.DataFrame`: episode, step, observation columns, action, reward and ends.

        The observation is the one that the step was taken from; columns are named after the
        observation space where it is known.

        Raises:
            MissingExtraError: pandas is not installed.
        """
        episode = self.episode_of_step
        columns: dict[str, Array] = {
            "episode": episode,
            "step": np.arange(self.num_steps) - self.step_starts[episode],
        }
        columns |= dict(zip(self.observation_names, self.start_observations.T, strict=True))
        if self.actions.ndim == 1:
            columns["action"] = self.actions
        else:
            columns |= {f"action_{number}": column for number, column in enumerate(self.actions.T)}
        ends = {
            "reward": self.rewards,
            "terminated": self.terminations,
            "truncated": self.truncations,
        }
        return data_frame(columns | ends)

    @property
    def observation_names(self) -> tuple[str, ...]:
        """A name [O] for each column of an observation."""
        if self.observation_space is None:
            return tuple(f"observation_{number}" for number in range(self.observations.shape[1]))
        names: list[str] = []
        for group in ObservationCodec(self.observation_space).groups:
            prefix = f"observation.{group.name}" if group.name else "observation"
            width = group.stop - group.start
            names += (
                [prefix]
                if width == 1 and group.name
                else [f"{prefix}_{number}" for number in range(width)]
            )
        return tuple(names)

    # --- taking parts

    def select(self, episodes: "ArrayLike") -> "Trajectories":
        """The episodes of an index [K'], in that order.

        Raises:
            TrajectoryError: An episode that does not exist, or none at all.
        """
        numbers = np.asarray(episodes, np.int64).ravel()
        if not len(numbers):
            raise TrajectoryError("no episodes to select: name at least one")
        outside = numbers[(numbers < 0) | (numbers >= self.num_episodes)]
        if len(outside):
            raise TrajectoryError(
                f"episode {outside[0]} does not exist: there are {self.num_episodes}"
            )
        steps = _ranges(self.step_starts[numbers], self.lengths[numbers])
        rows = _ranges(self.step_starts[numbers] + numbers, self.lengths[numbers] + 1)
        per_step = {name: getattr(self, name)[steps] for name in STEP_ARRAY_NAMES}
        return replace(
            self, observations=self.observations[rows], lengths=self.lengths[numbers], **per_step
        )

    def episode(self, number: int) -> "Trajectories":
        """One episode."""
        return self.select([number])

    def __iter__(self) -> Iterator["Trajectories"]:
        """The episodes, one after the other."""
        return (self.episode(number) for number in range(self.num_episodes))

    def __len__(self) -> int:
        """The number of episodes K."""
        return self.num_episodes

    def split(self, fractions: Sequence[float], seed: int) -> tuple["Trajectories", ...]:
        """Split by episode, never within one.

        Args:
            fractions: Shares of the episodes, positive, with sum 1; each part is rounded to whole
                episodes.
            seed: Draws which episode goes where.

        Raises:
            TrajectoryError: A part would be empty.
        """
        if any(not 0 < fraction <= 1 for fraction in fractions) or abs(sum(fractions) - 1) > 1e-6:
            raise TrajectoryError(f"fractions are positive and sum to 1, got {list(fractions)}")
        order = np.random.default_rng(check_seed(seed)).permutation(self.num_episodes)
        cuts = np.rint(np.cumsum(fractions)[:-1] * self.num_episodes).astype(int)
        parts = np.split(order, cuts)
        for fraction, part in zip(fractions, parts, strict=True):
            if not len(part):
                raise TrajectoryError(
                    f"a share of {fraction} of {self.num_episodes} episodes is empty: record more episodes"
                )
        return tuple(self.select(np.sort(part)) for part in parts)

    def duplicates(self, other: "Trajectories") -> "Duplicates":
        """What of these trajectories also occurs, bitwise, in `other`."""
        # By their bytes, since a set is searched at once where arrays would be compared in pairs.
        theirs = {_episode_key(episode) for episode in other}
        is_shared = [_episode_key(episode) in theirs for episode in self]
        steps = np.isin(_transition_keys(self), _transition_keys(other))
        return Duplicates(np.flatnonzero(is_shared), np.flatnonzero(steps))

    def window_starts(self, horizon: int) -> NDArray[np.int64]:
        """The steps [W] from which `horizon` steps lie within one episode.

        Raises:
            TrajectoryError: No episode is that long.
        """
        steps = as_integer(horizon)
        if steps is None or steps < 1:
            raise TrajectoryError(f"a horizon is an integer of at least 1 step, got {horizon!r}")
        longest = int(self.lengths.max())
        if longest < horizon:
            raise TrajectoryError(
                f"a horizon of {horizon} steps fits in no episode, the longest has {longest}: shorten it"
            )
        position = np.arange(self.num_steps) - self.step_starts[self.episode_of_step]
        has_room = position + horizon <= self.lengths[self.episode_of_step]
        return np.flatnonzero(has_room)

    def windows(self, horizon: int, starts: "ArrayLike | None" = None) -> "TrajectoryBatch[Array]":
        """Windows of `horizon` steps.

        Args:
            horizon: Steps in a window, H.
            starts: The first step [B] of each; where an episode ends before its window does, the
                rest is padded and masked. None takes all windows that lie within one episode.

        Raises:
            TrajectoryError: No episode is that long, or a start is no step.
        """
        first = self.window_starts(horizon) if starts is None else np.asarray(starts, np.int64)
        outside = first[(first < 0) | (first >= self.num_steps)]
        if len(outside):
            raise TrajectoryError(f"step {outside[0]} does not exist: there are {self.num_steps}")
        # Past the end of its episode a window repeats the last row, which the mask leaves out.
        ends = (self.step_starts + self.lengths)[self.episode_of_step[first], None]
        steps = first[:, None] + np.arange(horizon + 1)
        mask = (steps < ends)[:, :horizon]
        rows = np.minimum(steps, ends) + self.episode_of_step[first, None]
        steps = np.minimum(steps, ends - 1)[:, :horizon]
        return TrajectoryBatch(
            self.observations[rows],
            self.actions[steps],
            self.rewards[steps] * mask,
            self.terminations[steps] & mask,
            mask,
        )

    # --- files

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write a compressed .npz file, whole or not at all, and return its path."""
        target = user_path(path)
        target = target if target.suffix == ".npz" else target.with_name(target.name + ".npz")
        arrays = {name: getattr(self, name) for name in ARRAY_NAMES}
        known = {"observation": self.observation_space, "action": self.action_space}
        described = {
            name: space_to_json(space) for name, space in known.items() if space is not None
        }
        with replacing(target, "wb") as file:
            np.savez_compressed(file, **arrays, spaces=np.array(json.dumps(described)))
        return target

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "Trajectories":
        """Read a file that `save` wrote.

        Raises TrajectoryError when it is missing, damaged or malformed.
        """
        path = user_path(path)
        try:
            with open(path, "rb") as file, np.load(_zipped(file), allow_pickle=False) as archive:
                size = sum(member.file_size for member in archive.zip.infolist())
                if size > MAX_BYTES:
                    # A small file can unpack to more than the memory holds.
                    raise ValueError(f"it unpacks to {size} bytes, more than {MAX_BYTES}")
                arrays = {name: archive[name] for name in ARRAY_NAMES}
                # Files of the first release hold no spaces.
                described = json.loads(str(archive["spaces"])) if "spaces" in archive else {}
                known: dict[str, Any] = {
                    f"{name}_space": space_from_json(space) for name, space in described.items()
                }
        except Exception as error:
            # a damaged archive fails in a dozen ways, all of which mean the same
            raise TrajectoryError(f"{path} is no trajectory file: {error}") from error
        try:
            return cls(**arrays, **known)
        except (TrajectoryError, TypeError) as error:
            raise TrajectoryError(f"{path}: {error}") from error

    # --- checks

    def _check_sizes(self) -> None:
        steps, episodes = int(self.lengths.sum()), len(self.lengths)
        for name in STEP_ARRAY_NAMES:
            size = len(getattr(self, name))
            if size != steps:
                raise TrajectoryError(
                    f"{name} has {size} rows, but the lengths of {episodes} episodes sum to {steps}"
                )
        if len(self.observations) != steps + episodes:
            raise TrajectoryError(
                f"observations has {len(self.observations)} rows, but {steps} steps in {episodes} episodes have "
                f"{steps + episodes}: each episode ends with the observation that its last step led to "
                "(rows with their next observations are for from_transitions)"
            )

    def _check_ends(self) -> None:
        is_last = np.zeros(self.num_steps, np.bool_)
        is_last[self.step_starts + self.lengths - 1] = True
        for name in ("terminations", "truncations"):
            inside = np.flatnonzero(getattr(self, name) & ~is_last)
            if len(inside):
                row = int(inside[0])
                raise TrajectoryError(
                    f"{name}, row {row}: an end within episode {self.episode_of_step[row]}; split the episode there"
                )

    def _check_spaces(self) -> None:
        if self.observation_space is not None:
            size = ObservationCodec(self.observation_space).size
            if self.observations.shape[1] != size:
                raise TrajectoryError(
                    f"observations have size {self.observations.shape[1]}, rows of {self.observation_space} have {size}"
                )
        if self.action_space is not None:
            shape = ActionCodec(self.action_space).row_space.shape or ()
            if self.actions.shape[1:] != shape:
                raise TrajectoryError(
                    f"actions have shape {self.actions.shape[1:]}, rows of {self.action_space} have {shape}"
                )


STEP_ARRAY_NAMES = ("actions", "rewards", "terminations", "truncations")
ARRAY_NAMES = ("observations", *STEP_ARRAY_NAMES, "lengths")
"""The arrays of `Trajectories`, in the order of its constructor."""


class Duplicates(NamedTuple):
    """What two trajectories have in common, as positions in the first.

    Attributes:
        episodes: Numbers of whole episodes whose observations and actions both hold.
        steps: Rows of (observation, action, next observation) that both hold.
    """

    episodes: NDArray[np.int64]
    steps: NDArray[np.int64]


@dataclass(frozen=True)
class TrajectoryBatch(Generic[AnyArray]):
    """B windows of H steps; windows that outlast their episode are padded, and masked beyond its end.

    Attributes:
        observations: [B, H + 1, O]; after the end the last observation repeats.
        actions: [B, H] or [B, H, A]; after the end the last action repeats.
        rewards: [B, H]; 0 after the end.
        terminations: [B, H]; False after the end.
        mask: [B, H]; True, or 1 in tensors, where the step was recorded.
    """

    observations: AnyArray
    actions: AnyArray
    rewards: AnyArray
    terminations: AnyArray
    mask: AnyArray

    __repr__ = short_repr

    @property
    def horizon(self) -> int:
        """H."""
        shape: tuple[int, ...] = self.mask.shape  # type: ignore[attr-defined]
        return shape[-1]

    def map(self, function: Callable[[AnyArray], Any]) -> "TrajectoryBatch[Any]":
        """Apply a function to every array."""
        return TrajectoryBatch(*(function(getattr(self, item.name)) for item in fields(self)))


@dataclass(frozen=True)
class Transitions(Generic[AnyArray]):
    """S steps as flat rows, in any order; NumPy arrays or tensors.

    Attributes:
        observations: [S, O].
        actions: [S] or [S, A].
        rewards: [S].
        next_observations: [S, O].
        terminations: [S].
        truncations: [S].
    """

    observations: AnyArray
    actions: AnyArray
    rewards: AnyArray
    next_observations: AnyArray
    terminations: AnyArray
    truncations: AnyArray

    __repr__ = short_repr

    def __len__(self) -> int:
        """S."""
        return len(self.rewards)  # type: ignore[arg-type]

    def map(self, function: Callable[[AnyArray], Any]) -> "Transitions[Any]":
        """Apply a function to every array, such as `torch.from_numpy`."""
        return Transitions(*(function(getattr(self, item.name)) for item in fields(self)))

    def select(self, index: Any) -> "Transitions[AnyArray]":
        """The rows of an index or mask."""
        rows = index if hasattr(index, "shape") else np.asarray(index)  # a tensor stays one
        return self.map(lambda values: values[rows])  # type: ignore[index]

    @classmethod
    def concatenate(
        cls, parts: "Sequence[Transitions[AnyArray]]", join: Callable[..., Any] = np.concatenate
    ) -> "Transitions[AnyArray]":
        """All rows of several parts, in order.

        Args:
            parts: At least one.
            join: `torch.cat` for tensors.
        """
        return cls(*(join([getattr(part, item.name) for part in parts]) for item in fields(cls)))


def _concatenated(name: str, parts: Sequence[Array]) -> Array:
    shape = parts[0].shape[1:]
    for number, part in enumerate(parts):
        if part.shape[1:] != shape:
            raise TrajectoryError(
                f"{name}: part {number} has rows of shape {part.shape[1:]}, the first has {shape}"
            )
    return np.concatenate(parts)


def _ranges(starts: NDArray[np.int64], lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    """The numbers from each start on, `lengths` of them, one range after the other."""
    before: NDArray[np.int64] = np.cumsum(lengths) - lengths
    # Without a loop over the episodes, of which there may be many thousands.
    return np.repeat(starts - before, lengths) + np.arange(int(lengths.sum()))


def _episode_key(episode: Trajectories) -> tuple[bytes, bytes]:
    return episode.observations.tobytes(), episode.actions.tobytes()


def _transition_keys(data: Trajectories) -> Array:
    """One opaque value [S] per (observation, action, next observation)."""
    actions = data.actions.reshape(data.num_steps, -1).astype(np.float64)
    rows = np.hstack([data.start_observations.astype(np.float64), actions, data.next_observations])
    keys = np.ascontiguousarray(rows + 0.0)  # -0.0 becomes 0.0, since bytes are compared
    return keys.view(f"S{keys.shape[1] * keys.itemsize}").ravel()


def _zipped(file: BinaryIO) -> BinaryIO:
    """A file that is an archive; for any other NumPy would advise to unpickle it."""
    if not zipfile.is_zipfile(file):
        raise ValueError("it is no archive of NumPy")
    file.seek(0)
    return file
