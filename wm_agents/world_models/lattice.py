"""Observations whose numbers lie on a lattice (one-hots, bits, integers) as tokens.

And back exactly.
"""

from dataclasses import dataclass
from functools import cached_property

import gymnasium as gym
import numpy as np
import torch
import torch.nn.functional as F
from gymnasium import spaces
from numpy.typing import NDArray
from torch import Tensor, nn

from wm_agents.errors import TrajectoryError
from wm_agents.world_models.normalization import ROUNDING
from wm_envs.data.trajectories import Trajectories

# Bounds of the tables that are built below; beyond them numbers are continuous for our purposes.
_MOST_VALUES = 4096
_FEW_VALUES = 32
_LARGEST_TABLE = 1 << 26


@dataclass(frozen=True)
class Feature:
    """Columns of an observation that together hold one token.

    Attributes:
        columns: The columns of a one-hot, or the one column of a number.
        num_values: Tokens are 0 .. num_values - 1.
        origin: Value of a number whose token is 0.
        quantum: Step from one token to the next.
    """

    columns: tuple[int, ...]
    num_values: int
    origin: float = 0.0
    quantum: float = 1.0

    @property
    def is_one_hot(self) -> bool:
        """Whether the token is the place of the 1 among several columns."""
        return len(self.columns) > 1


class TokenCodec(nn.Module):
    """Observations [B, O] to tokens [B, F] and back; F features cover all columns."""

    weights: Tensor
    offsets: Tensor
    values: Tensor
    feature_of_column: Tensor
    last_values: Tensor

    def __init__(self, features: tuple[Feature, ...]) -> None:
        super().__init__()
        num_columns = sum(len(feature.columns) for feature in features)
        self.features = features
        if num_columns * max(feature.num_values for feature in features) > _LARGEST_TABLE:
            raise TrajectoryError(
                f"a table of all values of {num_columns} columns has more than {_LARGEST_TABLE} "
                "entries"
            )
        self.max_values = max(feature.num_values for feature in features)
        weights = np.zeros((num_columns, len(features)))
        offsets = np.zeros(len(features))
        values = np.zeros((num_columns, self.max_values))
        feature_of_column = np.zeros(num_columns, np.int64)
        for number, feature in enumerate(features):
            feature_of_column[list(feature.columns)] = number
            if feature.is_one_hot:
                # A one-hot times 0, 1, 2, ... is the place of its 1.
                weights[list(feature.columns), number] = np.arange(len(feature.columns))
                values[list(feature.columns), : feature.num_values] = np.eye(feature.num_values)
            else:
                # A number on a lattice, as multiples of its quantum from its origin.
                weights[feature.columns[0], number] = 1 / feature.quantum
                offsets[number] = -feature.origin / feature.quantum
                values[feature.columns[0]] = feature.origin + feature.quantum * np.arange(
                    self.max_values
                )
        tensors = {
            "weights": torch.tensor(weights),
            "offsets": torch.tensor(offsets),
            "values": torch.tensor(values, dtype=torch.float32),
            "feature_of_column": torch.tensor(feature_of_column),
            "last_values": torch.tensor([feature.num_values - 1 for feature in features]),
        }
        for (
            name,
            tensor,
        ) in tensors.items():  # they follow from the features, so files need not hold them
            self.register_buffer(name, tensor, persistent=False)

    def encode(self, observations: Tensor) -> Tensor:
        """Tokens [..., F] of observations [..., O].

        Numbers off the lattice go to the nearest token.
        """
        # Float64, since a float32 far from 0 cannot tell neighboring lattice points apart.
        tokens = (observations.double() @ self.weights + self.offsets).round().long()
        # What imagination or another recording brings beyond the range goes to its nearest end.
        return torch.minimum(tokens.clamp_min(0), self.last_values)

    def decode(self, tokens: Tensor) -> Tensor:
        """Observations [B, O] of tokens [B, F], exactly as they would be recorded."""
        by_column = tokens[:, self.feature_of_column]
        return torch.gather(
            self.values.expand(len(tokens), -1, -1), 2, by_column[..., None]
        ).squeeze(-1)

    @property
    def num_one_hots(self) -> int:
        """Length of what `one_hots` gives, in all."""
        return sum(self.features[number].num_values for number in self._few_valued)

    @property
    def one_hot_values(self) -> list[tuple[int, float]]:
        """What each number of `one_hots` says, as (column, value)."""
        features = [self.features[number] for number in self._few_valued]
        return [
            (f.columns[0], f.origin + f.quantum * token)
            for f in features
            for token in range(f.num_values)
        ]

    def one_hots(self, observations: Tensor) -> list[Tensor]:
        """One-hots [..., K] of the numbers that take few values.

        Since a network reads places better than sizes.
        """
        if not self._few_valued:
            return []
        tokens = self.encode(observations)
        return [
            F.one_hot(tokens[..., number], self.features[number].num_values).float()
            for number in self._few_valued
        ]

    @cached_property
    def _few_valued(self) -> tuple[int, ...]:
        return tuple(
            number
            for number, feature in enumerate(self.features)
            # Two values need no one-hot: the number itself says as much.
            if not feature.is_one_hot and 2 < feature.num_values <= _FEW_VALUES
        )


def detect_features(trajectories: Trajectories, space: gym.Space[object]) -> tuple[Feature, ...]:
    """Find one-hot groups and lattice-valued numbers.

    Groups of one width that tile the observation are looked for first, then groups from left to
    right, then numbers.

    Raises:
        TrajectoryError: A column takes values on no lattice.
    """
    rows = trajectories.observations
    if isinstance(space, spaces.Discrete):
        return (Feature(tuple(range(int(space.n))), int(space.n)),)
    # Groups of equal width are the usual one-hots of one kind; mixed ones are searched one by one.
    groups = _equal_groups(rows) or _greedy_groups(rows)
    taken = {column for group in groups for column in group}
    features = [Feature(group, len(group)) for group in groups]
    features += [
        _number(column, rows[:, column], space)
        for column in range(rows.shape[1])
        if column not in taken
    ]
    return tuple(sorted(features, key=lambda feature: feature.columns))


def _equal_groups(rows: NDArray[np.float32]) -> list[tuple[int, ...]]:
    num_columns = rows.shape[1]
    if not np.isin(rows, (0, 1)).all():
        return []
    # The narrowest width that fits: a wider one would join two one-hots.
    for width in (w for w in range(2, num_columns + 1) if num_columns % w == 0):
        if (rows.reshape(len(rows), -1, width).sum(2) == 1).all():
            return [tuple(range(first, first + width)) for first in range(0, num_columns, width)]
    return []


def _greedy_groups(rows: NDArray[np.float32]) -> list[tuple[int, ...]]:
    """The shortest runs of 0/1 columns that hold exactly one 1 in every row.

    More than one column of a run is used.

    Columns that are 0 throughout and follow a group belong to it: tokens that were never seen.
    """
    is_bit = np.asarray(np.isin(rows, (0, 1)).all(0))
    is_used = np.asarray((rows != 0).any(0))
    groups: list[tuple[int, ...]] = []
    first = 0
    while first < rows.shape[1]:
        last = _end_of_group(rows, is_bit, first)
        if last is None:
            first += 1
            continue
        # Columns that were never 1 in the recording belong to the group before them.
        while last + 1 < rows.shape[1] and is_bit[last + 1] and not is_used[last + 1]:
            last += 1
        if (
            is_used[first : last + 1].sum() > 1 and last > first + 1
        ):  # two columns may as well be a bit and its opposite
            groups.append(tuple(range(first, last + 1)))
        first = last + 1
    return groups


def _end_of_group(rows: NDArray[np.float32], is_bit: NDArray[np.bool_], first: int) -> int | None:
    total = np.zeros(len(rows), np.float32)
    for column in range(first, rows.shape[1]):
        if not is_bit[column]:
            return None
        total += rows[:, column]
        if (total > 1).any():
            return None
        if (total == 1).all():
            return column
    return None


def _number(column: int, values: NDArray[np.float32], space: gym.Space[object]) -> Feature:
    seen = np.unique(values).astype(np.float64)
    low, high = float(seen[0]), float(seen[-1])
    # The smallest difference that occurs; a coarser lattice would miss one of the values.
    quantum = float(np.diff(seen).min()) if len(seen) > 1 else 1.0
    # Whole numbers are their own lattice, also where 1 was never the smallest step.
    if (seen == np.floor(seen)).all() and high - low < _MOST_VALUES:
        quantum = 1.0
    elif len(seen) > 1:  # the smallest step is the one that rounding has hit most
        quantum = (high - low) / round((high - low) / quantum)
    # Float32 numbers far from 0 lie a little off any lattice.
    tolerance = max(1e-3, ROUNDING * float(np.abs(seen).max()) / quantum)
    if isinstance(space, spaces.Box):  # what was never seen but is allowed has tokens, too
        low = _on_lattice(float(space.low.ravel()[column]), low, quantum)
        high = _on_lattice(float(space.high.ravel()[column]), high, quantum)
    steps = (seen - low) / quantum
    num_values = round((high - low) / quantum) + 1
    if (
        np.abs(steps - np.round(steps)).max() > tolerance
        # A quarter of a quantum of rounding: beyond it rounding to the lattice is guessing.
        or tolerance > 0.25
        or num_values > _MOST_VALUES
    ):
        raise TrajectoryError(
            f"observations, column {column}: {len(seen)} different values on no lattice of at most "
            f"{_MOST_VALUES} "
            "steps; token models predict one-hots, bits and integers, use a DeterministicModel or "
            "EnsembleModel here"
        )
    return Feature((column,), num_values, low, quantum)


def _on_lattice(bound: float, seen: float, quantum: float) -> float:
    """A declared bound where it lies on the lattice and not absurdly far away.

    Else what was seen.
    """
    steps = abs(bound - seen) / quantum
    return bound if steps < _MOST_VALUES / 2 and abs(steps - round(steps)) < 1e-6 else seen
