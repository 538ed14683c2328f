"""Running standardization of observations while an agent trains, by all that it has seen so far.

Numbers in raw units decide by their units what a network can learn: an input of spread 100
saturates its first layer, and a prediction target of spread 10 gets a hundred times the gradient of
one of spread 1.
"""

from typing import Any, Self

import torch
from torch import Tensor, nn

# spread, as a share of the mean's size, below which float32 columns differ by rounding only
SMALLEST_SHARE = 1e-7


class RunningStandardizer(nn.Module):
    """Shifts and scales columns to mean 0 and standard deviation 1 over all rows seen so far.

    A column that only ever held 0 and 1, such as one of a one-hot, has a unit already and stays as
    it is. A column that was constant so far is only shifted. Before the first `update` nothing is
    changed.

    Args:
        *shape: Of the statistics, the columns last: (F,), or (S, F) for S stacked runs with
            statistics of their own.
    """

    count: Tensor
    mean: Tensor
    squares: Tensor
    is_flag: Tensor
    shift: Tensor
    scale: Tensor

    def __init__(self, *shape: int) -> None:
        super().__init__()
        # Sums over a long training outgrow float32.
        self.register_buffer("count", torch.zeros(*shape[:-1], 1, dtype=torch.float64))
        self.register_buffer("mean", torch.zeros(shape, dtype=torch.float64))
        self.register_buffer("squares", torch.zeros(shape, dtype=torch.float64))
        self.register_buffer("is_flag", torch.ones(shape, dtype=torch.bool))
        self.register_buffer("shift", torch.zeros(shape))
        self.register_buffer("scale", torch.ones(shape))
        self._is_identity: bool | None = None  # known once it was asked for

    @torch.no_grad()
    def update(self, rows: Tensor, mask: Tensor | None = None) -> None:
        """Take in more rows, in place; see `updated`."""
        for name, value in self.updated(rows, mask).named_buffers():
            getattr(self, name).copy_(value)
        self._is_identity = None

    @torch.no_grad()
    def updated(self, rows: Tensor, mask: Tensor | None = None) -> Self:
        """Statistics of all rows so far and of these.

        Mean and spread of both parts together are those of Chan, Golub & LeVeque (1983, eq. 2.1).

        Args:
            rows: [..., N, F], the leading axes those of the statistics.
            mask: [..., N], 0 for rows that do not count; None counts all.
        """
        values = rows.to(self.mean)
        if mask is None:
            # Bitwise as with a mask of ones, in two thirds of the operations: an update of a small
            # policy is short enough for that to show.
            num_new = torch.full_like(self.count, values.shape[-2])  # [..., 1]
            new_mean = values.sum(-2) / num_new.clamp(min=1)
            new_squares = (values - new_mean.unsqueeze(-2)).square().sum(-2)
        else:
            is_counted = mask.to(self.mean).unsqueeze(-1)
            values = torch.where(is_counted > 0, values, 0.0)
            num_new = is_counted.sum(-2)
            new_mean = (values * is_counted).sum(-2) / num_new.clamp(min=1)
            new_squares = ((values - new_mean.unsqueeze(-2)).square() * is_counted).sum(-2)
        total = self.count + num_new
        share = num_new / total.clamp(min=1)
        gap = new_mean - self.mean
        is_binary = (values == 0) | (values == 1)
        is_flag = self.is_flag & is_binary.all(-2)
        mean = self.mean + gap * share
        squares = self.squares + (new_squares + gap.square() * self.count * share)
        buffers = {"count": total, "mean": mean, "squares": squares, "is_flag": is_flag}
        # Flags keep their unit, so that one-hots need no more than this.
        if not self.is_identity or not bool(is_flag.all()):
            spread = (squares / total.clamp(min=1)).sqrt()
            varies = spread > SMALLEST_SHARE * mean.abs()
            buffers["shift"] = torch.where(is_flag, 0.0, mean).float()
            buffers["scale"] = torch.where(varies & ~is_flag, spread, 1.0).float()
        return self._with(buffers)

    def _with(self, buffers: dict[str, Tensor]) -> Self:
        """A copy with other statistics.

        Not by `copy`, whose way through pickling takes as long as all the sums.
        """
        twin = type(self).__new__(type(self))
        vars(twin).update(vars(self))
        twin._buffers = {**self._buffers, **buffers}
        twin._is_identity = None if "shift" in buffers else self._is_identity
        return twin

    @property
    def is_identity(self) -> bool:
        """Whether nothing is changed, as of one-hots."""
        if self._is_identity is None:
            self._is_identity = bool((self.shift == 0).all() and (self.scale == 1).all())
        return self._is_identity

    def _load_from_state_dict(self, *arguments: Any, **named: Any) -> None:
        super()._load_from_state_dict(*arguments, **named)
        self._is_identity = None

    def is_far_from(self, other: "RunningStandardizer") -> bool:
        """Whether a column has another unit than before.

        Twice or half the scale, or a mean a deviation away.
        """
        if self.is_identity and other.is_identity:
            return False
        ratio = self.scale / other.scale
        distance = (self.shift - other.shift).abs() / torch.minimum(self.scale, other.scale)
        return bool(((ratio > 2) | (ratio < 0.5) | (distance > 1)).any())

    def normalize(self, values: Tensor) -> Tensor:
        """From the environment's units to standard deviations.

        [..., F], or [S, M, F] for stacked statistics.
        """
        if self.is_identity:
            return values
        return (values - self._rows(self.shift)) / self._rows(self.scale)

    def restore(self, values: Tensor) -> Tensor:
        """From standard deviations to the environment's units."""
        return values * self._rows(self.scale) + self._rows(self.shift)

    def raw_errors(self, errors: Tensor) -> Tensor:
        """Differences of standardized values, in the environment's units."""
        return errors * self._rows(self.scale)

    def select(self, members: list[int]) -> Self:
        """A copy with the statistics of these stacked runs only."""
        return self._with({name: buffer[members] for name, buffer in self.named_buffers()})

    def _rows(self, statistics: Tensor) -> Tensor:
        """[S, F] as [S, 1, F], so that it stands beside [S, M, F]."""
        return statistics if statistics.ndim == 1 else statistics.unsqueeze(-2)
