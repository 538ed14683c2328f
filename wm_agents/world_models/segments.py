"""Stretches of recorded episodes as tensors: what the losses of world models are computed on."""

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor

from wm_envs.data.trajectories import Trajectories


@dataclass(frozen=True)
class Segment:
    """B windows of H steps as tensors; windows that outlast their episode are masked beyond its end.

    Attributes:
        inputs: Where imagination begins [B, O]: the first observation, with noise if asked for.
        observations: [B, H + 1, O].
        actions: [B, H] or [B, H, A].
        rewards: [B, H].
        terminations: [B, H], 0 or 1.
        mask: [B, H], 1 where the step was recorded.
        memory: What a model with memory remembers before the first step [B, M]; None where it
            begins with nothing.
    """

    inputs: Tensor
    observations: Tensor
    actions: Tensor
    rewards: Tensor
    terminations: Tensor
    mask: Tensor
    memory: Tensor | None = None

    @property
    def horizon(self) -> int:
        """H."""
        return self.mask.shape[-1]

    def map(self, function: Callable[[Tensor], Tensor]) -> "Segment":
        """Apply a function to every tensor."""
        tensors = {item.name: getattr(self, item.name) for item in fields(self)}
        return Segment(
            **{name: function(value) for name, value in tensors.items() if value is not None}
        )


class SegmentSource:
    """Trajectories as tensors on a device, from which segments are gathered.

    Attributes:
        memories: What a model with memory remembers before each step [S, M]; None for models
            without.
    """

    def __init__(self, trajectories: Trajectories, device: torch.device) -> None:
        def to(array: Any, dtype: torch.dtype | None = None) -> Tensor:
            return torch.as_tensor(array, dtype=dtype, device=device)

        self.memories: Tensor | None = None
        self.num_steps = trajectories.num_steps
        self.observations = to(trajectories.observations)
        self.actions = to(trajectories.actions)
        self.rewards = to(trajectories.rewards, torch.float32)
        self.terminations = to(trajectories.terminations, torch.float32)
        self.observation_of_step = to(trajectories.observation_of_step)
        self.step_starts = to(trajectories.step_starts)
        self.lengths = to(trajectories.lengths)
        ends = trajectories.step_starts + trajectories.lengths
        self.end_of_step = to(ends[trajectories.episode_of_step])

    def gather(self, starts: Tensor, horizon: int) -> Segment:
        """The segments that start at steps [B]."""
        offsets = torch.arange(horizon + 1, device=starts.device)
        ends = self.end_of_step[starts, None]
        steps = starts[:, None] + offsets
        mask = (steps < ends)[:, :horizon].float()
        rows = torch.minimum(steps, ends) - starts[:, None] + self.observation_of_step[starts, None]
        steps = torch.minimum(steps, ends - 1)[:, :horizon]
        seen = self.observations[rows]
        memory = None if self.memories is None else self.memories[starts]
        return Segment(
            seen[:, 0],
            seen,
            self.actions[steps],
            self.rewards[steps],
            self.terminations[steps] * mask,
            mask,
            memory,
        )

    def sample(self, num_segments: int, horizon: int, generator: torch.Generator) -> Segment:
        """Segments that start at random steps."""
        starts = torch.randint(self.num_steps, (num_segments,), generator=generator)
        return self.gather(starts.to(self.observations.device), horizon)

    def spread(self, num_segments: int, horizon: int) -> Segment:
        """At most this many segments, evenly spaced over all steps."""
        starts = (
            torch.linspace(0, self.num_steps - 1, min(num_segments, self.num_steps)).round().long()
        )
        return self.gather(starts.to(self.observations.device), horizon)
