"""What is known about an observation before learning: angles, copies, derived features.

A `FeatureLayout` sits between the environment's observation and a network. It decides what the
network sees, what it has to predict and how that becomes the next observation, so that what is
known holds exactly and costs nothing to learn.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from wm_agents.errors import ConfigError
from wm_envs.data.trajectories import Trajectories


@dataclass(frozen=True)
class DerivedFeature:
    """Columns that are a given function of the rest.

    Such as the curvature ahead of the track position.

    Attributes:
        columns: The observation columns that it fills.
        function: (observations [B, O], next observations [B, O] with these columns still unset) ->
            values [B, columns].
    """

    columns: tuple[int, ...]
    function: Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class FeatureLayout:
    """How each observation column is predicted.

    Columns that are named nowhere change by a learned difference.

    Attributes:
        num_features: O.
        circles: Pairs of columns that hold cosine and sine of one angle: the network predicts the
            angle turned, and the pair stays on the unit circle.
        angles: Columns in radians that wrap to [-pi, pi): the network sees cosine and sine.
        copies: (column, source): the next value of the column is the present value of the source,
            exactly.
        absolutes: Columns that are predicted as they are instead of as a difference.
        actions: (column, action input): the next value of the column is that number of the action
            just taken, as the network sees it; this is how an observation remembers actions.
        derived: Columns that a given function fills.
        ignored: Columns that no network sees, such as the place on a map or constants.
        for_heads: Columns that only the heads for reward and termination see, since motion does
            not depend on them.
    """

    num_features: int
    circles: tuple[tuple[int, int], ...] = ()
    angles: tuple[int, ...] = ()
    copies: tuple[tuple[int, int], ...] = ()
    absolutes: tuple[int, ...] = ()
    actions: tuple[tuple[int, int], ...] = ()
    derived: tuple[DerivedFeature, ...] = ()
    ignored: tuple[int, ...] = ()
    for_heads: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        named = [
            *(column for pair in self.circles for column in pair),
            *self.angles,
            *(column for column, _ in self.copies),
            *self.absolutes,
            *(column for column, _ in self.actions),
            *(column for derived in self.derived for column in derived.columns),
        ]
        # A source may be copied by several columns, but each column comes from one rule.
        sources = [source for _, source in self.copies]
        if any(not 0 <= column < self.num_features for column in [*named, *sources]):
            raise ConfigError(
                f"a layout names columns {sorted({*named, *sources})} of {self.num_features}"
            )
        if len(set(named)) < len(named):
            raise ConfigError(f"each column has one rule, got {sorted(named)}")
        hidden = [*self.ignored, *self.for_heads]
        # A hidden angle would be split into a sine and a cosine that nobody sees.
        if len({*hidden, *self.angles}) < len(hidden) + len(self.angles):
            raise ConfigError(f"a column is hidden once, and an angle never, got {sorted(hidden)}")
        if any(not 0 <= column < self.num_features for column in hidden):
            raise ConfigError(f"a layout hides columns {sorted(hidden)} of {self.num_features}")

    @cached_property
    def differences(self) -> tuple[int, ...]:
        """The columns without a rule."""
        named = {column for pair in self.circles for column in pair} | {
            *self.angles,
            *self.absolutes,
        }
        named |= {column for column, _ in (*self.copies, *self.actions)}
        named |= {column for derived in self.derived for column in derived.columns}
        return tuple(column for column in range(self.num_features) if column not in named)

    @property
    def num_inputs(self) -> int:
        """Length of `inputs`."""
        return self.num_features + len(self.angles) - len(self.ignored) - len(self.for_heads)

    @property
    def num_targets(self) -> int:
        """Length of `targets`."""
        return len(self.differences) + len(self.absolutes) + len(self.circles) + len(self.angles)

    def inputs(self, observations: Tensor) -> Tensor:
        """What a network sees [..., num_inputs] of observations [..., O]."""
        # The usual case costs no copy.
        if not (self.angles or self.ignored or self.for_heads):
            return observations
        index = self._index(observations.device)
        if not self.angles:
            return observations[..., index.plain_inputs]
        return torch.cat(
            [
                # An angle is read by its sine and cosine, in which -pi and pi are the same.
                observations[..., index.plain_inputs],
                torch.cos(observations[..., index.angles]),
                torch.sin(observations[..., index.angles]),
            ],
            -1,
        )

    def head_columns(self, observations: Tensor) -> Tensor:
        """What only the heads for reward and termination see [..., len(for_heads)]."""
        return observations[..., self._index(observations.device).for_heads]

    def turns(self, observations: Tensor) -> Tensor:
        """The angles of the circles [..., C] in radians, -pi to pi.

        Rewards often are functions of an angle with a crease where it wraps, which a network sees
        badly in cosine and sine. Motion has no crease there, so that predicting the next
        observation does better without.
        """
        index = self._index(observations.device)
        return torch.atan2(observations[..., index.sines], observations[..., index.cosines])

    @property
    def plain_inputs(self) -> tuple[int, ...]:
        """The columns that a network sees as they are, first among `inputs`."""
        not_plain = {*self.angles, *self.ignored, *self.for_heads}
        # In the order of the columns: standardization and files rely on it.
        return tuple(column for column in range(self.num_features) if column not in not_plain)

    @property
    def target_columns(self) -> tuple[tuple[str, int], ...]:
        """What each of `targets` says, as (kind, first column)."""
        named = [("difference", column) for column in self.differences]
        named += [("absolute", column) for column in self.absolutes]
        named += [("circle", column) for column, _ in self.circles]
        return (*named, *(("angle", column) for column in self.angles))

    def target_sizes(self, observations: Tensor) -> Tensor:
        """The size of the recorded numbers [num_targets] from which `targets` are computed.

        Of observations [N, O].
        """
        sizes = observations.double().abs().amax(0)
        # Turns are computed from numbers on the unit circle, whatever the data's size is.
        fixed = {"circle": 1.0, "angle": torch.pi}
        return torch.stack(
            [sizes.new_tensor(fixed[k]) if k in fixed else sizes[c] for k, c in self.target_columns]
        )

    def targets(self, before: Tensor, after: Tensor) -> Tensor:
        """What a network has to predict [..., num_targets] between two observations [..., O]."""
        if self._is_plain:
            return after - before
        index = self._index(before.device)
        parts = [(after - before)[..., index.differences], after[..., index.absolutes]]
        if self.circles:
            a, b = before[..., index.cosines], before[..., index.sines]
            c, d = after[..., index.cosines], after[..., index.sines]
            # The angle from (a, b) to (c, d): the arctangent of their cross and dot product.
            parts.append(torch.atan2(a * d - b * c, a * c + b * d))
        if self.angles:
            # The shorter way around.
            parts.append(wrap((after - before)[..., index.angles]))
        return torch.cat(parts, -1)

    def decode(self, before: Tensor, targets: Tensor, acts: Tensor) -> Tensor:
        """The next observations [..., O] from the present ones.

        What a network predicted and the encoded actions.
        """
        if self._is_plain:
            return before + targets
        index = self._index(before.device)
        difference, absolute, turn, angle = torch.split(targets, self._target_sizes, -1)
        parts = [before[..., index.differences] + difference, absolute]
        if self.circles:
            parts += _rotate(before[..., index.cosines], before[..., index.sines], turn)
        if self.angles:
            parts.append(wrap(before[..., index.angles] + angle))
        if self.copies:
            parts.append(before[..., index.sources])
        if self.actions:
            parts.append(acts[..., index.actions])
        if self.derived:
            parts.append(before[..., index.derived])
        # Parts were laid one behind the other; this brings them back into the order of the columns.
        decoded = torch.cat(parts, -1)[..., index.order]
        # Last, since they may read what has just been decoded.
        for derived in self.derived:
            values = derived.function(before, decoded)
            decoded = decoded.index_copy(
                -1, torch.tensor(derived.columns, device=decoded.device), values
            )
        return decoded

    def to_json(self) -> dict[str, Any]:
        """The layout as JSON.

        Functions of `derived` cannot be stored and are given again on loading.
        """
        # The names of the first release stay in files, whatever the fields are called now.
        return {
            "num_features": self.num_features,
            "circles": self.circles,
            "angles": self.angles,
            "copies": self.copies,
            "absolutes": self.absolutes,
            "actions": self.actions,
            "has_known": bool(self.derived),
            "unseen": self.ignored,
            "for_outcomes": self.for_heads,
        }

    @classmethod
    def from_json(
        cls, description: dict[str, Any], derived: tuple[DerivedFeature, ...] = ()
    ) -> "FeatureLayout":
        """The layout of `to_json`."""
        if description["has_known"] and not derived:
            raise ConfigError(
                "this model was fitted with derived features, whose functions no file holds: load "
                "it "
                "with given=layout.derived"
            )
        return cls(
            num_features=description["num_features"],
            circles=tuple((a, b) for a, b in description["circles"]),
            angles=tuple(description["angles"]),
            copies=tuple((a, b) for a, b in description["copies"]),
            absolutes=tuple(description["absolutes"]),
            actions=tuple((a, b) for a, b in description["actions"]),
            derived=derived,
            ignored=tuple(description.get("unseen", ())),
            for_heads=tuple(description.get("for_outcomes", ())),
        )

    @cached_property
    def _is_plain(self) -> bool:
        return len(self.differences) == self.num_features

    @property
    def _target_sizes(self) -> list[int]:
        return [len(self.differences), len(self.absolutes), len(self.circles), len(self.angles)]

    @cached_property
    def _indices(self) -> dict[torch.device, "_Index"]:
        return {}

    # Made once a device: indexing by a tuple would copy it there at every step.
    def _index(self, device: torch.device) -> "_Index":
        if device not in self._indices:
            self._indices[device] = _Index.of(self, device)
        return self._indices[device]


@dataclass(frozen=True)
class _Index:
    """The columns of a layout as index tensors on one device."""

    differences: Tensor
    absolutes: Tensor
    cosines: Tensor
    sines: Tensor
    angles: Tensor
    plain_inputs: Tensor
    sources: Tensor
    actions: Tensor
    derived: Tensor
    order: Tensor
    for_heads: Tensor

    @classmethod
    def of(cls, layout: FeatureLayout, device: torch.device) -> "_Index":
        cosines, sines = [a for a, _ in layout.circles], [b for _, b in layout.circles]
        copied, sources = [a for a, _ in layout.copies], [b for _, b in layout.copies]
        acted, actions = [a for a, _ in layout.actions], [b for _, b in layout.actions]
        derived = [column for derived in layout.derived for column in derived.columns]
        filled = [
            *layout.differences,
            *layout.absolutes,
            *cosines,
            *sines,
            *layout.angles,
            *copied,
            *acted,
            *derived,
        ]
        plain_inputs = layout.plain_inputs
        # The place of each column in the concatenated parts.
        order = np.argsort(filled).tolist()
        lists = [
            layout.differences,
            layout.absolutes,
            cosines,
            sines,
            layout.angles,
            plain_inputs,
            sources,
            actions,
        ]
        return cls(
            *(
                torch.tensor(columns, dtype=torch.long, device=device)
                for columns in (*lists, derived, order, layout.for_heads)
            )
        )


def frame_stack(num_frames: int, frame_size: int, *, is_interleaved: bool = False) -> FeatureLayout:
    """The layout of a stack of frames, oldest first.

    The newest is predicted, the others move up exactly.

    Args:
        num_frames: Frames in the stack.
        frame_size: Numbers in a frame.
        is_interleaved: Columns run over the frames of feature 0, then of feature 1, ...; else frame
            after frame.
    """
    if num_frames < 2 or frame_size < 1:
        raise ConfigError(
            f"a stack has at least 2 frames of at least 1 number, got {num_frames} of {frame_size}"
        )
    columns = np.arange(num_frames * frame_size)
    frames = (
        columns.reshape(frame_size, num_frames).T
        if is_interleaved
        else columns.reshape(num_frames, frame_size)
    )
    copies = zip(frames[:-1].ravel().tolist(), frames[1:].ravel().tolist(), strict=True)
    return FeatureLayout(num_frames * frame_size, copies=tuple(copies))


def detect_layout(trajectories: Trajectories, min_steps: int = 100) -> FeatureLayout:
    """The layout that recorded data show: unit circles and exact copies.

    A neighbouring pair of columns is a circle when it lies on one in every row and takes values
    inside -1..1. A column is a copy when it equals one and the same present column in every
    recorded step; it must take at least two values, or be constant throughout. Fewer than
    `min_steps` steps show nothing.
    """
    seen = trajectories.observations
    layout = FeatureLayout(seen.shape[1])
    # Few steps copy or lie on a circle by chance.
    if trajectories.num_steps < min_steps:
        return layout
    circles = _detect_circles(seen)
    taken = {column for pair in circles for column in pair}
    before, after = seen[trajectories.observation_of_step], trajectories.next_observations
    return replace(layout, circles=circles, copies=_detect_copies(before, after, taken))


def revise_layout(layout: FeatureLayout, trajectories: Trajectories) -> FeatureLayout:
    """The layout without the circles and copies that recorded data contradict.

    A column that was constant in the first data is a copy of itself until it changes.
    """
    seen = trajectories.observations
    before, after = seen[trajectories.observation_of_step], trajectories.next_observations
    circles = tuple((a, b) for a, b in layout.circles if _is_on_circle(seen[:, [a, b]]))
    copies = tuple((a, b) for a, b in layout.copies if np.array_equal(after[:, a], before[:, b]))
    return replace(layout, circles=circles, copies=copies)


def wrap(angles: Tensor) -> Tensor:
    """Angles in radians as their equals in [-pi, pi)."""
    return torch.remainder(angles + torch.pi, 2 * torch.pi) - torch.pi


def _rotate(cosine: Tensor, sine: Tensor, turn: Tensor) -> list[Tensor]:
    """Turn unit vectors.

    Dividing by the length keeps rounding errors from adding up over a long rollout.
    """
    c, s = torch.cos(turn), torch.sin(turn)
    x, y = cosine * c - sine * s, sine * c + cosine * s
    # Rounding leaves the circle step by step; the length keeps imagination on it.
    length = torch.sqrt(x * x + y * y).clamp_min(1e-12)
    return [x / length, y / length]


def _detect_circles(rows: NDArray[np.float32]) -> tuple[tuple[int, int], ...]:
    circles: list[tuple[int, int]] = []
    column = 0
    while column + 1 < rows.shape[1]:
        pair = rows[:, column : column + 2]
        # A one-hot of two lies on the circle, too.
        if _is_on_circle(pair) and np.mean(np.abs(pair[:, 0]) % 1 > 1e-6) > 0.5:
            circles.append((column, column + 1))
            # A column belongs to one circle: its partner is skipped.
            column += 1
        column += 1
    return tuple(circles)


def _is_on_circle(pair: NDArray[np.float32]) -> bool:
    """Whether rows [N, 2] lie on the unit circle."""
    return bool(np.abs((pair.astype(np.float64) ** 2).sum(1) - 1).max() < 1e-4)


def _detect_copies(
    before: NDArray[np.float32], after: NDArray[np.float32], taken: set[int]
) -> tuple[tuple[int, int], ...]:
    copies = []
    for column in (c for c in range(after.shape[1]) if c not in taken):
        # The column itself first: what does not change is called constant and not a copy of another
        # one.
        candidates = [column, *(c for c in range(before.shape[1]) if c != column)]
        candidates = [
            # Two comparisons rule out nearly all candidates before whole columns are compared.
            c
            for c in candidates
            if after[0, column] == before[0, c] and after[-1, column] == before[-1, c]
        ]
        source = next(
            (c for c in candidates if np.array_equal(after[:, column], before[:, c])), None
        )
        if source is not None:
            copies.append((column, source))
    return tuple(copies)
