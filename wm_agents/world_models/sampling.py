"""Windows of recorded episodes as tensors on a device: what the losses of world models take."""

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor

from wm_envs.data.trajectories import Trajectories, TrajectoryBatch


@dataclass(frozen=True)
class TrainingBatch(TrajectoryBatch[Tensor]):
    """B windows of H steps, with where imagination begins; all tensors, flags as 0 and 1.

    Attributes:
        inputs: The first observation [B, O], with noise if asked for.
        memory: What a model with memory remembers before the first step [B, M]; None where it
            begins with nothing.
    """

    inputs: Tensor
    memory: Tensor | None = None

    def map(self, function: Callable[[Tensor], Tensor]) -> "TrainingBatch":
        """Apply a function to every tensor."""
        tensors = {item.name: getattr(self, item.name) for item in fields(self)}
        return TrainingBatch(
            **{name: function(value) for name, value in tensors.items() if value is not None}
        )


class BatchSampler:
    """Trajectories as tensors on a device, from which batches are gathered.

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
        # The row behind each episode's last step, for every step of it.
        self.end_of_step = to(ends[trajectories.episode_of_step])

    def gather(self, starts: Tensor, horizon: int) -> TrainingBatch:
        """The windows that start at steps [B]."""
        # One more than steps: H steps lead through H + 1 observations.
        offsets = torch.arange(horizon + 1, device=starts.device)
        ends = self.end_of_step[starts, None]
        steps = starts[:, None] + offsets
        mask = (steps < ends)[:, :horizon].float()
        # Each episode has one observation more than steps, hence two ways of counting.
        rows = torch.minimum(steps, ends) - starts[:, None] + self.observation_of_step[starts, None]
        # Beyond the end of an episode its last step is repeated, which the mask leaves out.
        steps = torch.minimum(steps, ends - 1)[:, :horizon]
        observations = self.observations[rows]  # [B, H + 1, O]
        memory = None if self.memories is None else self.memories[starts]
        return TrainingBatch(
            observations=observations,
            actions=self.actions[steps],
            rewards=self.rewards[steps] * mask,
            terminations=self.terminations[steps] * mask,
            mask=mask,
            inputs=observations[:, 0],
            memory=memory,
        )

    def sample(self, num_windows: int, horizon: int, generator: torch.Generator) -> TrainingBatch:
        """Windows that start at random steps."""
        # Drawn on the CPU: the same windows on every device.
        starts = torch.randint(self.num_steps, (num_windows,), generator=generator)
        return self.gather(starts.to(self.observations.device), horizon)

    def spread(self, num_windows: int, horizon: int) -> TrainingBatch:
        """At most this many windows, evenly spaced over all steps."""
        count = min(num_windows, self.num_steps)
        # Evenly spaced and not drawn: two evaluations differ by the weights alone.
        starts = torch.linspace(0, self.num_steps - 1, count).round().long()
        return self.gather(starts.to(self.observations.device), horizon)
