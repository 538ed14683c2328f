"""Demonstrations: trajectories from any source, with names of demonstrators and action masks."""

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from numpy.typing import ArrayLike, NDArray

from wm_agents.errors import DemonstrationError
from wm_envs.data.display import short_repr
from wm_envs.data.errors import MissingExtraError, OptionError, TrajectoryError
from wm_envs.data.minari import load_minari
from wm_envs.data.spaces import ActionCodec, ObservationCodec
from wm_envs.data.trajectories import Trajectories


@dataclass(frozen=True, repr=False)
class Demonstrations(Trajectories):
    """`Trajectories` of demonstrators, with who they are and what they were allowed to do.

    Whatever takes `Trajectories` takes these. K episodes with S steps in all.

    Attributes:
        masks: [S, A] bool, which of the Discrete actions were allowed at each step; None allows all
            of them.
        demonstrators: Who acted in each episode [K]; None where all are by one.

    Raises:
        DemonstrationError: An action that its mask forbids, or masks and names that do not fit the
            episodes.
    """

    masks: NDArray[np.bool_] | None = field(default=None, kw_only=True)
    demonstrators: tuple[str, ...] | None = field(default=None, kw_only=True)

    __repr__ = short_repr

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.masks is not None:
            # The dataclass is frozen; the array replaces what was given.
            object.__setattr__(self, "masks", np.asarray(self.masks).astype(np.bool_))
            self._check_masks()
        if self.demonstrators is not None and len(self.demonstrators) != self.num_episodes:
            raise DemonstrationError(
                f"demonstrators has {len(self.demonstrators)} names for {self.num_episodes} "
                "episodes: name one each"
            )

    @classmethod
    def of(
        cls,
        source: Any,
        *,
        masks: "ArrayLike | None" = None,
        demonstrators: Sequence[str] | None = None,
    ) -> "Demonstrations":
        """Demonstrations from any recording.

        Args:
            source: `Trajectories`; a mapping of arrays (`observations`, `actions` and perhaps
                `rewards`, `terminations`, `truncations`, `lengths`, concatenated as in
                `Trajectories`); the path of a file that `Trajectories.save` wrote; or the id of a
                Minari dataset. Demonstrations pass through.
            masks: [S, A], see above.
            demonstrators: [K], see above.

        Raises:
            DemonstrationError: Nothing in it, or a source of another kind.
            TrajectoryError: Malformed arrays, for example with NaN, or a damaged file.
        """
        if isinstance(source, cls):
            return source
        # Masks and names belong to the steps of this source.
        trajectories = _trajectories(source)
        arrays = {item.name: getattr(trajectories, item.name) for item in fields(Trajectories)}
        return cls(
            **arrays,
            masks=None if masks is None else np.asarray(masks),
            demonstrators=None if demonstrators is None else tuple(demonstrators),
        )

    @classmethod
    def from_states(
        cls,
        states: "ArrayLike",
        actions: "ArrayLike",
        lengths: "ArrayLike | None" = None,
        *,
        demonstrators: Sequence[str] | None = None,
    ) -> "Demonstrations":
        """Demonstrations in a table of states.

        Args:
            states: State numbers [S]; without the state that an episode's last step led to, which
                no reward needs.
            actions: Action numbers [S].
            lengths: Steps [K] of each episode; None makes every step an episode of its own.
            demonstrators: [K], who acted.

        Raises:
            DemonstrationError: No steps, or lengths that do not sum to S.
        """
        numbers = np.asarray(states)
        if numbers.size == 0:
            raise DemonstrationError("no demonstrations: record at least one step")
        each_by_itself = np.ones(len(numbers), np.int64)
        counts = each_by_itself if lengths is None else np.asarray(lengths, np.int64)
        if numbers.ndim != 1 or counts.sum() != len(numbers) or (counts < 1).any():
            raise DemonstrationError(
                f"states have shape {numbers.shape} and lengths sum to {counts.sum()}: give states "
                "[S] and lengths of at least 1 that sum to S"
            )
        # The last state stands in for what the last step led to.
        ends = np.cumsum(counts)
        observations = np.insert(numbers, ends, numbers[ends - 1])
        terminations = np.zeros(len(numbers), np.bool_)
        terminations[ends - 1] = True
        rewards = np.zeros(len(numbers))
        recorded = Trajectories.from_arrays(
            observations, actions, rewards, terminations, lengths=counts
        )
        return cls.of(recorded, demonstrators=demonstrators)

    @cached_property
    def trajectories(self) -> Trajectories:
        """The episodes without masks and names."""
        return Trajectories(
            **{item.name: getattr(self, item.name) for item in fields(Trajectories)}
        )

    @property
    def has_one_length(self) -> bool:
        """Whether all episodes have as many steps."""
        return bool((self.lengths == self.lengths[0]).all())

    @cached_property
    def times(self) -> NDArray[np.int64]:
        """Steps since the episode began [S]."""
        return np.arange(self.num_steps) - self.step_starts[self.episode_of_step]

    @cached_property
    def states(self) -> NDArray[np.int64]:
        """State numbers [S]: the only column of the observations, or where their one-hot is.

        Raises:
            DemonstrationError: The observations are neither.
        """
        return _state_numbers(self.observations)[self.observation_of_step]

    @cached_property
    def next_states(self) -> NDArray[np.int64]:
        """What each step led to [S]; not meaningful after the last step of `from_states`."""
        return _state_numbers(self.observations)[self.observation_of_step + 1]

    def select(self, episodes: "ArrayLike") -> "Demonstrations":
        """The episodes of an index [K'], in that order."""
        index = np.asarray(episodes, np.int64).ravel()
        # Without an episode there is nothing to infer from.
        if not len(index):
            raise DemonstrationError("no episodes selected: give at least one")
        selected = self.trajectories.select(index)
        masks = None
        if self.masks is not None:
            masks = np.concatenate([self._masks_of(int(number)) for number in index])
        names = None
        if self.demonstrators is not None:
            names = [self.demonstrators[number] for number in index]
        return Demonstrations.of(selected, masks=masks, demonstrators=names)

    def _masks_of(self, episode: int) -> NDArray[np.bool_]:
        assert self.masks is not None
        start = self.step_starts[episode]
        return self.masks[start : start + self.lengths[episode]]

    def by_demonstrator(self) -> "dict[str, Demonstrations]":
        """Each demonstrator's episodes by name, in order of first appearance.

        Raises:
            DemonstrationError: Nobody is named.
        """
        if self.demonstrators is None:
            raise DemonstrationError("nobody is named: give demonstrators=, one name per episode")
        names = np.array(self.demonstrators)
        return {
            name: self.select(np.flatnonzero(names == name))
            for name in dict.fromkeys(self.demonstrators)
        }

    def _check_masks(self) -> None:
        assert self.masks is not None
        is_table = self.actions.ndim == 1 and self.masks.ndim == 2
        if not is_table or len(self.masks) != self.num_steps:
            raise DemonstrationError(
                f"masks have shape {self.masks.shape} for {self.num_steps} steps with actions "
                f"{self.actions.shape}: masks [S, A] go with Discrete actions [S]"
            )
        check_allowed(self.masks, self)


def check_allowed(masks: NDArray[np.bool_], demonstrations: Demonstrations) -> None:
    """Raise DemonstrationError for the first action outside 0..A-1 or that masks [S, A] forbid."""
    num_actions = masks.shape[1]
    actions = demonstrations.actions
    outside = (actions < 0) | (actions >= num_actions)
    # Looked up within the table; actions outside are wrong already.
    inside = np.where(outside, 0, actions).astype(np.int64)
    is_wrong = outside | ~masks[np.arange(len(actions)), inside]
    if is_wrong.any():
        step = int(np.flatnonzero(is_wrong)[0])
        place = f"episode {demonstrations.episode_of_step[step]}, t={demonstrations.times[step]}"
        raise DemonstrationError(
            f"step {step} ({place}): action {actions[step]} is not among the allowed "
            f"{np.flatnonzero(masks[step]).tolist()}; correct the mask or leave the episode out"
        )


def check_spaces_fit(
    data: Trajectories, observation_space: gym.Space[Any], action_space: gym.Space[Any]
) -> None:
    """Raise DemonstrationError for trajectories that no environment with these spaces gives.

    Args:
        data: What was recorded.
        observation_space: Any that `ObservationCodec` serves.
        action_space: Any that `ActionCodec` serves.
    """
    actions = data.actions
    rows = ActionCodec(action_space).row_space
    if isinstance(rows, spaces.Discrete):
        first = int(rows.start)
        last = first + int(rows.n) - 1
        # A space may begin at another number than 0.
        do_fit = actions.ndim == 1 and first <= int(actions.min()) and int(actions.max()) <= last
    else:
        do_fit = actions.shape[1:] == (spaces.flatdim(rows),)
    if data.observations.shape[1] != ObservationCodec(observation_space).size or not do_fit:
        raise DemonstrationError(
            f"observations {data.observations.shape} and actions {actions.shape} from "
            f"{actions.min()} to {actions.max()} do not fit the spaces {observation_space} and "
            f"{action_space}"
        )


def content_hash(*arrays: NDArray[Any]) -> str:
    """SHA-256 of arrays, by which a checkpoint knows the data that it belongs to."""
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(str(array.shape).encode() + np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def _trajectories(source: Any) -> Trajectories:
    if isinstance(source, Trajectories):
        return source
    if isinstance(source, Mapping):
        return _from_arrays(source)
    if isinstance(source, os.PathLike) or (isinstance(source, str) and source.endswith(".npz")):
        return Trajectories.load(Path(source))
    if isinstance(source, str):
        return _from_minari(source)
    raise DemonstrationError(
        f"cannot read demonstrations from {type(source).__name__}: give Trajectories, arrays by "
        "name, a .npz file or a Minari id"
    )


def _from_arrays(arrays: "Mapping[str, ArrayLike]") -> Trajectories:
    """Rewards and ends are not needed to infer a reward, so they may be missing.

    An episode whose end is not recorded is not held to be terminated: AIRL's discriminator would
    tell the demonstrations from the learner's steps, which a time limit cuts, by that alone.
    """
    missing = {"observations", "actions"} - set(arrays)
    if missing:
        raise DemonstrationError(f"arrays lack {sorted(missing)}: give observations and actions")
    # None stands for what was not recorded.
    given: dict[str, Any] = {name: values for name, values in arrays.items() if values is not None}
    size = len(np.asarray(given["actions"]))
    if size == 0:
        raise DemonstrationError("no demonstrations: record at least one step")
    given.setdefault("rewards", np.zeros(size))
    given.setdefault("terminations", np.zeros(size, np.bool_))
    return Trajectories.from_arrays(**given)


def _from_minari(dataset_id: str) -> Trajectories:
    try:
        return load_minari(dataset_id)
    except MissingExtraError as error:
        raise DemonstrationError(f"{dataset_id!r} is read as a Minari id: {error}") from error
    except (OptionError, TrajectoryError) as error:
        raise DemonstrationError(
            f"cannot load the Minari dataset {dataset_id!r}: {error}"
        ) from error


def _state_numbers(observations: NDArray[np.float32]) -> NDArray[np.int64]:
    if observations.shape[1] == 1:
        # One column of whole numbers numbers the states.
        numbers = observations[:, 0]
        if (numbers >= 0).all() and (numbers == np.round(numbers)).all():
            return numbers.astype(np.int64)
    elif ((observations == 0) | (observations == 1)).all() and (observations.sum(1) == 1).all():
        return observations.argmax(1)
    raise DemonstrationError(
        f"observations {observations.shape} are neither state numbers nor one-hot: number the "
        "states, or use SampledMaxEntIRL"
    )
