"""Recorded experience as plain arrays: episodes, splits, windows, duplicates."""

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from wm_agents.errors import TrajectoryError
from wm_agents.trajectory_checks import (
    check_length,
    checked_actions,
    checked_flags,
    checked_lengths,
    checked_numbers,
    converted,
    lengths_between,
)
from wm_envs.options import as_integer
from wm_envs.paths import user_path

Array = NDArray[Any]

MAX_BYTES = 16 * 2**30  # of a file's arrays, unpacked


@dataclass(frozen=True)
class Episode:
    """One episode of T steps: observations [T + 1, O], everything else [T, ...]."""

    observations: Array
    actions: Array
    rewards: Array
    terminations: Array
    truncations: Array


@dataclass(frozen=True)
class Trajectories:
    """K episodes, stored end to end; S is the number of steps in all.

    Episode k has `lengths[k]` steps and `lengths[k] + 1` observations: the last one is what its final step led to.
    Arrays are converted to the types below and checked when the value is made; TrajectoryError names array and row.

    Attributes:
        observations: [S + K, O] float32, each episode's observations in order.
        actions: [S] int64 for Discrete, [S, A] float32 for Box.
        rewards: [S] float64.
        terminations: [S] bool, True only at the last step of an episode.
        truncations: [S] bool, True only at the last step of an episode.
        lengths: [K] int64, each at least 1.
    """

    observations: NDArray[np.float32]
    actions: NDArray[np.int64] | NDArray[np.float32]
    rewards: NDArray[np.float64]
    terminations: NDArray[np.bool_]
    truncations: NDArray[np.bool_]
    lengths: NDArray[np.int64]

    def __post_init__(self) -> None:
        converted = {
            "observations": checked_numbers("observations", self.observations, np.float32, 2),
            "actions": checked_actions(self.actions),
            "rewards": checked_numbers("rewards", self.rewards, np.float64, 1),
            "terminations": checked_flags("terminations", self.terminations),
            "truncations": checked_flags("truncations", self.truncations),
            "lengths": checked_lengths(self.lengths),
        }
        for name, array in converted.items():
            object.__setattr__(self, name, array)
        self._check_sizes()
        self._check_ends()

    @classmethod
    def from_arrays(
        cls,
        observations: ArrayLike,
        actions: ArrayLike,
        rewards: ArrayLike,
        terminations: ArrayLike,
        truncations: ArrayLike | None = None,
        lengths: ArrayLike | None = None,
    ) -> "Trajectories":
        """Trajectories from arrays laid end to end.

        Args:
            observations: [S + K, O]; a one-dimensional array is read as O = 1.
            actions: [S] or [S, A].
            rewards: [S].
            terminations: [S].
            truncations: [S]; none by default.
            lengths: Episode lengths [K]; by default episodes end where a step terminates or truncates, and at the end.

        Raises:
            TrajectoryError: An array is not finite, of the wrong shape or of a length that does not fit the others.
        """
        ended = checked_flags("terminations", terminations)
        cut = np.zeros_like(ended) if truncations is None else checked_flags("truncations", truncations)
        if lengths is None:
            check_length("truncations", cut, len(ended), "terminations")
            lengths = lengths_between(np.flatnonzero(ended | cut), len(ended))
        seen = converted("observations", observations, np.float32)
        return cls(seen[:, None] if seen.ndim == 1 else seen, actions, rewards, ended, cut, lengths)  # type: ignore[arg-type]

    @classmethod
    def from_transitions(
        cls,
        observations: ArrayLike,
        actions: ArrayLike,
        rewards: ArrayLike,
        next_observations: ArrayLike,
        terminations: ArrayLike,
        truncations: ArrayLike | None = None,
    ) -> "Trajectories":
        """Trajectories from rows of (observation, action, reward, next observation), the usual replay-buffer layout.

        An episode ends where a step terminates or truncates, and wherever a next observation is not the observation of
        the following row.

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
        cut = np.zeros_like(ended) if truncations is None else checked_flags("truncations", truncations)
        if after.shape != before.shape:
            raise TrajectoryError(f"next_observations has shape {after.shape}, but observations has {before.shape}")
        check_length("terminations", ended, len(before), "observations")
        check_length("truncations", cut, len(before), "observations")
        is_last = np.append((after[:-1] != before[1:]).any(1), True) | ended | cut
        lasts = np.flatnonzero(is_last)
        merged = np.insert(before, lasts + 1, after[lasts], axis=0)
        return cls(merged, actions, rewards, ended, cut, lengths_between(lasts, len(before)))  # type: ignore[arg-type]

    @classmethod
    def from_episodes(cls, episodes: Iterable[Episode]) -> "Trajectories":
        """Lay episodes end to end."""
        episodes = list(episodes)
        if not episodes:
            raise TrajectoryError("no episodes: record at least one")
        for number, episode in enumerate(episodes):
            if len(episode.observations) != len(episode.actions) + 1:
                raise TrajectoryError(
                    f"episode {number}: observations has {len(episode.observations)} rows and actions "
                    f"{len(episode.actions)}, but an episode of T steps has T + 1 observations"
                )
        joined = {
            field.name: _join(field.name, [np.asarray(getattr(e, field.name)) for e in episodes])
            for field in fields(Episode)
        }
        return cls(**joined, lengths=np.array([len(episode.actions) for episode in episodes]))

    @classmethod
    def concatenate(cls, parts: Sequence["Trajectories"]) -> "Trajectories":
        """All episodes of several trajectories, in order."""
        if not parts:
            raise TrajectoryError("no trajectories to concatenate: pass at least one")
        names = [field.name for field in fields(cls)]
        return cls(**{name: _join(name, [getattr(part, name) for part in parts]) for name in names})

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
        """The row [S] of `observations` that each step starts from; the row after it is what the step led to."""
        return np.arange(self.num_steps) + self.episode_of_step

    @property
    def next_observations(self) -> NDArray[np.float32]:
        """What each step led to [S, O]."""
        return self.observations[self.observation_of_step + 1]

    @cached_property
    def is_lattice(self) -> bool:
        """Whether all observations are whole numbers, so that they can be predicted exactly."""
        # From 2**23 on every float32 is a whole number, which then says nothing.
        is_whole = (self.observations == np.round(self.observations)).all()
        return bool(is_whole and np.abs(self.observations).max(initial=0.0) < 2**23)

    @property
    def returns(self) -> NDArray[np.float64]:
        """The sum of rewards [K] of each episode."""
        return np.add.reduceat(self.rewards, self.step_starts)

    def episode(self, number: int) -> Episode:
        """Episode `number`; a view on the arrays."""
        if not 0 <= number < self.num_episodes:
            raise TrajectoryError(f"episode {number} does not exist: there are {self.num_episodes}")
        start, length = int(self.step_starts[number]), int(self.lengths[number])
        steps = slice(start, start + length)
        seen = self.observations[start + number : start + number + length + 1]
        return Episode(
            seen, self.actions[steps], self.rewards[steps], self.terminations[steps], self.truncations[steps]
        )

    def select(self, episodes: ArrayLike) -> "Trajectories":
        """The episodes of an index [K'], in that order."""
        return Trajectories.from_episodes(self.episode(int(number)) for number in np.asarray(episodes).ravel())

    def split(self, fractions: Sequence[float], seed: int) -> tuple["Trajectories", ...]:
        """Split by episode, never within one.

        Args:
            fractions: Shares of the episodes, positive, with sum 1; each part is rounded to whole episodes.
            seed: Draws which episode goes where.

        Raises:
            TrajectoryError: A part would be empty.
        """
        if any(not 0 < fraction <= 1 for fraction in fractions) or abs(sum(fractions) - 1) > 1e-6:
            raise TrajectoryError(f"fractions are positive and sum to 1, got {list(fractions)}")
        order = np.random.default_rng(seed).permutation(self.num_episodes)
        cuts = np.rint(np.cumsum(fractions)[:-1] * self.num_episodes).astype(int)
        parts = np.split(order, cuts)
        for fraction, part in zip(fractions, parts, strict=True):
            if not len(part):
                raise TrajectoryError(
                    f"a share of {fraction} of {self.num_episodes} episodes is empty: record more episodes"
                )
        return tuple(self.select(np.sort(part)) for part in parts)

    def duplicates(self, other: "Trajectories") -> "Duplicates":
        """What of these trajectories also occurs, bit for bit, in `other`."""
        theirs = {_episode_key(other.episode(k)) for k in range(other.num_episodes)}
        mine = [_episode_key(self.episode(k)) in theirs for k in range(self.num_episodes)]
        steps = np.isin(_transition_keys(self), _transition_keys(other))
        return Duplicates(np.flatnonzero(mine), np.flatnonzero(steps))

    def windows(self, horizon: int) -> "Windows":
        """All stretches of `horizon` steps within one episode.

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
        return Windows(self, horizon, np.flatnonzero(has_room))

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write a compressed .npz file and return its path."""
        target = user_path(path)
        target = target if target.suffix == ".npz" else target.with_name(target.name + ".npz")
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = target.with_name(f".{target.name}.{os.getpid()}.partial")
        try:
            with partial.open("wb") as file:
                np.savez_compressed(file, **{field.name: getattr(self, field.name) for field in fields(self)})
            partial.replace(target)  # a killed process leaves the earlier file whole
        finally:
            partial.unlink(missing_ok=True)
        return target

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "Trajectories":
        """Read a file that `save` wrote; raises TrajectoryError when it is missing, damaged or malformed."""
        names = [field.name for field in fields(cls)]
        try:
            with open(user_path(path), "rb") as file, np.load(file, allow_pickle=False) as archive:
                size = sum(member.file_size for member in archive.zip.infolist())
                if size > MAX_BYTES:
                    raise ValueError(f"it unpacks to {size} bytes, more than {MAX_BYTES}")
                arrays = {name: archive[name] for name in names}
        except Exception as error:  # a damaged archive fails in a dozen ways, all of which mean the same
            raise TrajectoryError(f"{path} is no trajectory file: {error}") from error
        try:
            return cls(**arrays)
        except TrajectoryError as error:
            raise TrajectoryError(f"{path}: {error}") from error

    def _check_sizes(self) -> None:
        steps, episodes = int(self.lengths.sum()), len(self.lengths)
        for name in ("actions", "rewards", "terminations", "truncations"):
            size = len(getattr(self, name))
            if size != steps:
                raise TrajectoryError(f"{name} has {size} rows, but the lengths of {episodes} episodes sum to {steps}")
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


@dataclass(frozen=True)
class Duplicates:
    """What two trajectories have in common, as positions in the first.

    Attributes:
        episodes: Numbers of whole episodes whose observations and actions both hold.
        steps: Rows of (observation, action, next observation) that both hold.
    """

    episodes: NDArray[np.int64]
    steps: NDArray[np.int64]


@dataclass(frozen=True)
class WindowBatch:
    """B stretches of H steps.

    Attributes:
        observations: [B, H + 1, O].
        actions: [B, H] or [B, H, A].
        rewards: [B, H].
        terminations: [B, H].
    """

    observations: NDArray[np.float32]
    actions: NDArray[np.int64] | NDArray[np.float32]
    rewards: NDArray[np.float64]
    terminations: NDArray[np.bool_]


@dataclass(frozen=True)
class Windows:
    """Stretches of `horizon` steps that never cross the end of an episode.

    Attributes:
        trajectories: Where they lie.
        horizon: H.
        starts: The first step [W] of each window.
    """

    trajectories: Trajectories
    horizon: int
    starts: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.starts)

    @property
    def episodes(self) -> NDArray[np.int64]:
        """The episode number [W] of each window."""
        return self.trajectories.episode_of_step[self.starts]

    def batch(self, index: ArrayLike | slice = slice(None)) -> WindowBatch:
        """The windows of an index [B] into `starts`; all by default."""
        starts = self.starts[index if isinstance(index, slice) else np.asarray(index)]
        data = self.trajectories
        steps = starts[:, None] + np.arange(self.horizon)
        seen = data.observation_of_step[starts][:, None] + np.arange(self.horizon + 1)
        return WindowBatch(data.observations[seen], data.actions[steps], data.rewards[steps], data.terminations[steps])

    def batches(self, batch_size: int, generator: np.random.Generator) -> Iterator[WindowBatch]:
        """Each window once, in random order; the last batch may be smaller."""
        order = generator.permutation(len(self))
        for first in range(0, len(order), batch_size):
            yield self.batch(order[first : first + batch_size])


def _join(name: str, parts: Sequence[Array]) -> Array:
    shape = parts[0].shape[1:]
    for number, part in enumerate(parts):
        if part.shape[1:] != shape:
            raise TrajectoryError(f"{name}: part {number} has rows of shape {part.shape[1:]}, the first has {shape}")
    return np.concatenate(parts)


def _episode_key(episode: Episode) -> tuple[bytes, bytes]:
    return np.ascontiguousarray(episode.observations).tobytes(), np.ascontiguousarray(episode.actions).tobytes()


def _transition_keys(data: Trajectories) -> Array:
    """One opaque value [S] per (observation, action, next observation)."""
    actions = data.actions.reshape(data.num_steps, -1).astype(np.float64)
    seen = data.observations[data.observation_of_step]
    rows = np.hstack([seen.astype(np.float64), actions, data.next_observations])
    keys = np.ascontiguousarray(rows + 0.0)  # -0.0 becomes 0.0, since bytes are compared
    return keys.view(f"S{keys.shape[1] * keys.itemsize}").ravel()
