"""Running standardisation of observations while an agent trains, by all that it has seen so far.

Numbers in raw units decide by their units what a network can learn: an input of spread 100
saturates its first layer, and a prediction target of spread 10 gets a hundred times the gradient of
one of spread 1.
"""

from copy import deepcopy
from typing import Self

import torch
from torch import Tensor, nn

# spread, as a share of the mean's size, below which float32 columns differ by rounding only
SMALLEST_SHARE = 1e-7


class RunningStandardiser(nn.Module):
    """Shifts and scales columns to mean 0 and standard deviation 1, measured over all rows seen so far.

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

    @torch.no_grad()
    def update(self, rows: Tensor, mask: Tensor | None = None) -> None:
        """Take in more rows; a mean and spread of both parts together (Chan, Golub & LeVeque 1983, eq. 2.1).

        Args:
            rows: [..., N, F], the leading axes those of the statistics.
            mask: [..., N], 0 for rows that do not count; None counts all.
        """
        values = rows.to(self.mean)
        is_counted = (
            torch.ones_like(values[..., :1]) if mask is None else mask.to(self.mean).unsqueeze(-1)
        )
        values = torch.where(is_counted > 0, values, 0.0)
        num_new = is_counted.sum(-2)  # [..., 1]
        new_mean = (values * is_counted).sum(-2) / num_new.clamp(min=1)
        new_squares = ((values - new_mean.unsqueeze(-2)).square() * is_counted).sum(-2)
        total = self.count + num_new
        share = num_new / total.clamp(min=1)
        gap = new_mean - self.mean
        self.squares.add_(new_squares + gap.square() * self.count * share)
        self.mean.add_(gap * share)
        self.count.copy_(total)
        is_binary = (values == 0) | (values == 1)
        self.is_flag.logical_and_(is_binary.all(-2))
        self._measure()

    def _measure(self) -> None:
        spread = (self.squares / self.count.clamp(min=1)).sqrt()
        varies = spread > SMALLEST_SHARE * self.mean.abs()
        self.shift.copy_(torch.where(self.is_flag, 0.0, self.mean))
        self.scale.copy_(torch.where(varies & ~self.is_flag, spread, 1.0))

    def is_far_from(self, other: "RunningStandardiser") -> bool:
        """Whether a column has another unit than before.

        Twice or half the scale, or a mean a deviation away.
        """
        ratio = self.scale / other.scale
        distance = (self.shift - other.shift).abs() / torch.minimum(self.scale, other.scale)
        return bool(((ratio > 2) | (ratio < 0.5) | (distance > 1)).any())

    def normalise(self, values: Tensor) -> Tensor:
        """From the environment's units to standard deviations.

        [..., F], or [S, M, F] for stacked statistics.
        """
        return (values - self._rows(self.shift)) / self._rows(self.scale)

    def restore(self, values: Tensor) -> Tensor:
        """From standard deviations to the environment's units."""
        return values * self._rows(self.scale) + self._rows(self.shift)

    def raw_errors(self, errors: Tensor) -> Tensor:
        """Differences of standardised values, in the environment's units."""
        return errors * self._rows(self.scale)

    def select(self, members: list[int]) -> Self:
        """A copy with the statistics of these stacked runs only."""
        chosen = deepcopy(self)
        for name, buffer in self.named_buffers():
            setattr(chosen, name, buffer[members].clone())
        return chosen

    def _rows(self, statistics: Tensor) -> Tensor:
        """[S, F] as [S, 1, F], so that it stands beside [S, M, F]."""
        return statistics if statistics.ndim == 1 else statistics.unsqueeze(-2)
