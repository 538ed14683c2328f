"""How a policy network reads and acts on an environment: codecs of its spaces, units of actions."""

import functools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from torch import Tensor

from wm_agents.observation_rows import observation_rows, require_finite_rows
from wm_envs.data.errors import SpaceError
from wm_envs.data.spaces import ActionCodec, ObservationCodec

# Squares of such numbers leave float32; spaces without bounds often name the largest float.
NO_BOUND = 1e18
# Of bounds around 0 for which centre 0 and unit 1 do as well.
PLAIN_HALF_RANGES = 0.5, 4.0


@dataclass(frozen=True)
class ActionUnits:
    """In which numbers a Gaussian policy acts on A numbers: an action is centre + unit * output.

    Attributes:
        centre: [A], where the policy starts.
        unit: [A], the standard deviation with which it starts.
    """

    centre: NDArray[np.float32]
    unit: NDArray[np.float32]

    @classmethod
    def of(cls, space: gym.spaces.Box) -> "ActionUnits":
        """The middle between finite bounds, and a quarter of their distance.

        So 95% of first draws lie inside. Numbers without bounds have centre 0 and unit 1; with one
        bound the centre is 0 or a unit inside it.
        """
        low, high = (np.asarray(bound, np.float64).ravel() for bound in (space.low, space.high))
        low = np.where(low > -NO_BOUND, low, -np.inf)
        high = np.where(high < NO_BOUND, high, np.inf)
        is_bounded = np.isfinite(low) & np.isfinite(high)
        # Halves first: the distance between the largest bounds overflows.
        low_half, high_half = (np.where(is_bounded, bound, 0.0) / 2 for bound in (low, high))
        inside = np.clip(0.0, low + 1, np.maximum(low + 1, high - 1))
        centre = np.where(is_bounded, low_half + high_half, inside)
        unit = np.where(is_bounded & (high > low), (high_half - low_half) / 2, 1.0)
        return cls(centre.astype(np.float32), unit.astype(np.float32))

    def or_plain(self, space: gym.spaces.Box) -> "ActionUnits":
        """Centre 0 and unit 1 for bounds around 0 whose half range is of order one."""
        is_plain = space.high.ravel() == -space.low.ravel()
        is_plain &= space.high.ravel() >= PLAIN_HALF_RANGES[0]
        is_plain &= space.high.ravel() <= PLAIN_HALF_RANGES[1]
        return ActionUnits(self.centre, np.where(is_plain, np.float32(1), self.unit))

    @property
    def are_plain(self) -> bool:
        """Whether outputs are actions as they are."""
        return bool((self.centre == 0).all() and (self.unit == 1).all())


@dataclass(frozen=True)
class PolicySpaces:
    """An environment's spaces as a policy network sees them.

    Observations are rows [B, O]. Actions are indices that count from 0 [B], or vectors [B, A] as
    they are drawn, before they are clipped to the bounds.

    Attributes:
        observation_space: Of a single environment; any that `wm_envs.data.spaces` serves.
        action_space: Likewise.

    Raises:
        SpaceError: A space of another kind, or one that holds no numbers.
    """

    observation_space: gym.Space[Any]
    action_space: gym.Space[Any]

    def __post_init__(self) -> None:
        assert self.observations.size > 0
        if self.num_actions == 0:
            raise SpaceError(f"actions of {self.action_space} hold no numbers: give at least one")

    @functools.cached_property
    def observations(self) -> ObservationCodec:
        """Observations to rows and back."""
        return ObservationCodec(self.observation_space)

    @functools.cached_property
    def actions(self) -> ActionCodec:
        """Actions to indices or vectors and back."""
        return ActionCodec(self.action_space)

    @property
    def is_continuous(self) -> bool:
        """Whether actions are vectors of numbers."""
        return not self.actions.is_discrete

    @functools.cached_property
    def num_actions(self) -> int:
        """Number of indices, or the length A of a vector."""
        rows = self.actions.row_space
        return int(rows.n) if isinstance(rows, spaces.Discrete) else int(np.prod(rows.shape))

    @functools.cached_property
    def action_units(self) -> ActionUnits | None:
        """In which numbers a Gaussian policy acts; None for indices."""
        rows = self.actions.row_space
        return ActionUnits.of(rows) if isinstance(rows, spaces.Box) else None

    def encode_observations(self, observations: Any) -> Tensor:
        """Float rows [B, O] from a batch of observations; always a copy."""
        return torch.from_numpy(self.observations.encode(observations))

    def encode_final(self, infos: Mapping[str, Any], rows: NDArray[np.intp]) -> Tensor:
        """Float rows [N, O] of the last observations that same-step resets report of N rows."""
        final = infos["final_obs"]
        observations = [_row_of(final, int(row)) for row in rows]
        # Shapes that differ are refused one by one, by what each of them should be.
        is_ragged = (
            len({np.shape(one) for one in observations if not isinstance(one, dict | tuple)}) > 1
        )
        if is_ragged or isinstance(observations[0], dict | tuple):
            return torch.from_numpy(np.stack(list(map(self.observations.encode_one, observations))))
        return self.encode_observations(np.stack(observations))

    def with_final(
        self, next_obs: Tensor, ended: NDArray[np.bool_], infos: Mapping[str, Any]
    ) -> Tensor:
        """What steps led to [B, O], where ended rows of `next_obs` were reset in the same step."""
        if not ended.any():
            return next_obs
        next_obs = next_obs.clone()
        next_obs[torch.from_numpy(ended)] = self.encode_final(infos, np.flatnonzero(ended))
        return next_obs

    def checked_rows(self, observation: Any) -> tuple[Tensor, bool]:
        """What a user hands to `predict` as rows [B, O], and whether it was but one observation.

        Raises:
            SpaceError: Neither an observation of the space nor a batch of them.
        """
        if isinstance(self.observation_space, spaces.Box | spaces.Discrete):
            values, is_single = observation_rows(observation, self.observation_space)
            return self.encode_observations(values), is_single
        try:
            rows, is_single = self.observations.encode_one(observation)[None], True
        except SpaceError as error:
            try:
                rows, is_single = self.observations.encode(observation), False
            except SpaceError:
                # The shapes of a single observation are what the caller is to be told.
                raise error from None
        if not len(rows):
            raise SpaceError(f"expected observations of {self.observation_space}, got no rows")
        require_finite_rows(rows)
        return torch.from_numpy(rows), is_single

    def decode_actions(self, actions: Tensor) -> Any:
        """A batch of actions that the environment takes, clipped to its bounds."""
        array = actions.cpu().numpy()
        if isinstance(self.action_space, spaces.Discrete):
            array = array + int(self.action_space.start)
        return self.actions.decode(array)

    def predicted_actions(self, actions: Tensor, is_single: bool) -> Any:
        """What `predict` returns: a batch of actions, or the only one."""
        batch = self.decode_actions(actions)
        return _row_of(batch, 0) if is_single else batch

    def action_features(self, actions: Tensor) -> Tensor:
        """Actions [...] or [..., A] as the environment executes them [..., A].

        One-hot, or within the bounds.
        """
        if not self.is_continuous:
            return torch.nn.functional.one_hot(actions, self.num_actions).float()
        is_box = isinstance(self.action_space, spaces.Box)
        # The rows of a Box of integers are floats with the same bounds.
        box: Any = self.action_space if is_box else self.actions.row_space
        if np.issubdtype(box.dtype, np.integer):
            actions = actions.round()
        low, high = (
            torch.from_numpy(bound.reshape(-1)).to(actions) for bound in (box.low, box.high)
        )
        return actions.clamp(low, high)

    def action_inputs(self, actions: Tensor) -> Tensor:
        """Executed actions as a network reads them [..., A].

        One-hot, or in units of the bounds.
        """
        features = self.action_features(actions)
        if self.action_units is None:
            return features
        centre = torch.from_numpy(self.action_units.centre).to(features)
        unit = torch.from_numpy(self.action_units.unit).to(features)
        return (features - centre) / unit


def _row_of(batch: Any, row: int) -> Any:
    """One row of a batch of any space; batches of object arrays hold whole observations."""
    if isinstance(batch, dict):
        return {name: _row_of(part, row) for name, part in batch.items()}
    if isinstance(batch, tuple):
        return tuple(_row_of(part, row) for part in batch)
    return batch[row]


def gaussian_log_probs(
    actions: Tensor, mean: Tensor, spread: Tensor, log_std: Tensor
) -> tuple[Tensor, Tensor]:
    """Log probability [...] of vectors [..., A], and the entropy that all of a spread share.

    Both in units of the bounds.

    Args:
        actions: In the environment's units.
        mean: Likewise.
        spread: Standard deviations, likewise.
        log_std: Their logarithms in units of the bounds.
    """
    squares = ((actions - mean) / spread).square()
    log_probs = -0.5 * (squares + 2 * log_std + math.log(2 * math.pi)).sum(-1)
    entropy = (log_std + 0.5 * math.log(2 * math.pi * math.e)).sum(-1)
    return log_probs, entropy


def categorical_log_probs(actions: Tensor, outputs: Tensor) -> tuple[Tensor, Tensor]:
    """Log probability of indices [...] under logits [..., A], and entropy [...]."""
    logits = outputs.log_softmax(-1)
    chosen = logits.gather(-1, actions.unsqueeze(-1)).squeeze(-1)
    return chosen, -(logits.exp() * logits).sum(-1)
