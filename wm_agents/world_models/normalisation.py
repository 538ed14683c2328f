"""Per-feature standardisation that is part of a model: fitted once on training data, saved with the weights."""

import torch
from torch import Tensor, nn

_SMALLEST_STD = 1e-6


def spread(rows: Tensor, mean: Tensor) -> Tensor:
    """Standard deviations [F] of rows [N, F] about a float64 mean [F]; 0 where they are but rounding."""
    exact = rows.double()  # the float32 variance of a large constant is not 0
    std = ((exact - mean).square().mean(0)).sqrt()
    scale = exact.abs().amax(0).clamp_min(1.0)
    return torch.where(std > _SMALLEST_STD * scale, std, torch.zeros_like(std))


def divisors(spreads: Tensor) -> Tensor:
    """What to divide features [F] of these spreads by: 1 for a constant, which is only shifted."""
    return torch.where(spreads > 0, spreads, torch.ones_like(spreads))


def units(rows: Tensor) -> tuple[Tensor, Tensor]:
    """What to take from float32 rows [N, F] and what to divide them by, both [F]."""
    return rows.mean(0), divisors(spread(rows, rows.double().mean(0))).float()


class Standardiser(nn.Module):
    """Shifts and scales the last axis to mean 0 and standard deviation 1.

    A feature that is constant in the data is only shifted: dividing by its standard deviation of (almost) 0 would blow
    up the first value that differs. Restored, it is that constant whatever a network says.

    Args:
        num_features: Size of the last axis, F.
    """

    mean: Tensor
    std: Tensor
    span: Tensor

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(num_features))
        self.register_buffer("std", torch.ones(num_features))
        self.register_buffer("span", torch.ones(num_features))

    def fit(self, rows: Tensor, is_centred: bool = True) -> None:
        """Measure mean and standard deviation of rows [N, F]; `is_centred=False` keeps 0 as the mean."""
        mean = rows.double().mean(0) if is_centred else torch.zeros_like(rows[0], dtype=torch.float64)
        self.mean.copy_(mean)
        spreads = spread(rows, mean)
        self.span.copy_(spreads)
        self.std.copy_(divisors(spreads))

    def normalise(self, values: Tensor) -> Tensor:
        """From units to standard deviations."""
        return (values - self.mean) / self.std

    def restore(self, values: Tensor) -> Tensor:
        """From standard deviations to units."""
        return values * self.span + self.mean
