"""Per-feature standardization that is part of a model.

Fitted on training data, saved with the weights.
"""

import torch
from torch import Tensor, nn

from wm_agents.networks import Affine

# The spread of a constant column is not 0 but what rounding makes of it; what lies below is a
# constant.
ROUNDING = 2 * torch.finfo(torch.float32).eps
"""Relative error of a recorded float32 number, with some room for the arithmetic that led to it."""

MAX_GROWTH = 20.0
"""How many times wider a feature may become at once.

Lest weights that were right close by explode far away.
"""


def spread(rows: Tensor, mean: Tensor, sizes: Tensor | None = None) -> Tensor:
    """Standard deviations [F] of rows [N, F] about a float64 mean [F].

    0 where they are but rounding.

    Args:
        rows: [N, F].
        mean: [F].
        sizes: The size [F] of the recorded numbers that the rows were computed from, which is what
            rounding is relative to: the difference of two large numbers is small. None takes the
                rows' own.
    """
    exact = rows.double()  # the float32 variance of a large constant is not 0
    std = ((exact - mean).square().mean(0)).sqrt()
    sizes = exact.abs().amax(0) if sizes is None else sizes
    # Relative to the numbers that were subtracted: a difference of large numbers has their rounding
    # error.
    return torch.where(std > ROUNDING * sizes, std, torch.zeros_like(std))


def divisors(spreads: Tensor) -> Tensor:
    """What to divide features [F] of these spreads by: 1 for a constant, which is only shifted."""
    return torch.where(spreads > 0, spreads, torch.ones_like(spreads))


def units(rows: Tensor) -> tuple[Tensor, Tensor]:
    """What to take from float32 rows [N, F] and what to divide them by, both [F]."""
    return rows.mean(0), divisors(spread(rows, rows.double().mean(0))).float()


class Standardizer(nn.Module):
    """Shifts and scales the last axis to mean 0 and standard deviation 1.

    A feature that is constant in the data is only shifted: dividing by its standard deviation of
    (almost) 0 would blow up the first value that differs. Restored, it is that constant whatever a
    network says.

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

    def fit(self, rows: Tensor, is_centred: bool = True, sizes: Tensor | None = None) -> None:
        """Measure mean and standard deviation of rows [N, F].

        Args:
            rows: [N, F].
            is_centred: False keeps 0 as the mean.
            sizes: See `spread`.
        """
        mean = (
            # Differences are scaled about 0: no change has to stay 0 in standard deviations, too.
            rows.double().mean(0) if is_centred else torch.zeros_like(rows[0], dtype=torch.float64)
        )
        self.mean.copy_(mean)
        spreads = spread(rows, mean, sizes)
        self.span.copy_(spreads)
        self.std.copy_(divisors(spreads))

    def refit(self, rows: Tensor, is_centred: bool = True, sizes: Tensor | None = None) -> None:
        """Measure again for a warm start, on top of what was measured before.

        What does not vary in these rows but did before keeps its units, and what varies far less
        than before is not magnified: the new rows may be few and show but a part of the world.
        """
        mean, std, span = self.mean.clone(), self.std.clone(), self.span.clone()
        self.fit(rows, is_centred, sizes)
        # A feature that did not move in new data did not lose its unit.
        is_quiet = (self.span == 0) & (span > 0)
        self.mean.copy_(torch.where(is_quiet, mean, self.mean))
        for new, old in ((self.std, std), (self.span, span)):
            # A unit that shrank at once by more than this would turn small old errors into large
            # ones.
            smallest = torch.where(span > 0, old / MAX_GROWTH, torch.zeros_like(old))
            new.copy_(torch.where(is_quiet, old, torch.maximum(new, smallest)))

    def normalize(self, values: Tensor) -> Tensor:
        """From units to standard deviations."""
        return (values - self.mean) / self.std

    def restore(self, values: Tensor) -> Tensor:
        """From standard deviations to units."""
        # By the span and not by the divisor: a constant feature is restored as a constant, whatever
        # the network says.
        return values * self.span + self.mean


def reading(old: Standardizer, new: Standardizer) -> Affine:
    """From what `new.normalize` gives to what `old.normalize` gave.

    What was constant before, or next to it, is read as that constant: no weight has learned
    anything about it.
    """
    return change_of_units((old.mean, old.std), (new.mean, new.std), old.span > 0)


def change_of_units(
    old: tuple[Tensor, Tensor], new: tuple[Tensor, Tensor], is_learned: Tensor
) -> Affine:
    """From (x - mean) / std in new units to the same in old ones, both (mean [F], std [F]).

    Args:
        old: What the weights were learned with.
        new: What they are to read.
        is_learned: Features [F] that varied before; others are read as their old mean.
    """
    (old_mean, old_std), (new_mean, new_std) = (
        (mean.double(), std.double()) for mean, std in (old, new)
    )
    # In float64: the weights that are changed by this are products of large and small numbers.
    ratio = new_std / old_std
    # What was constant before has taught its weights nothing; they are set to zero and not
    # rescaled.
    is_kept = is_learned & (ratio <= MAX_GROWTH)
    zero = torch.zeros_like(ratio)
    shift = torch.where(is_kept, (new_mean - old_mean) / old_std, zero)
    return Affine(torch.diag(torch.where(is_kept, ratio, zero)), shift)


def writing(
    old: Standardizer, new: Standardizer, sources: list[int | None] | None = None
) -> Affine:
    """From outputs that `old.restore` read to outputs that `new.restore` reads as the same values.

    Args:
        old: Of F outputs.
        new: Of G outputs.
        sources: Which old output each new one was; None for one that was not there, which begins at
            0.
    """
    sources = list(range(len(old.mean))) if sources is None else sources
    matrix = torch.zeros(len(sources), len(old.mean), dtype=torch.float64, device=old.mean.device)
    shift = torch.zeros(len(sources), dtype=torch.float64, device=old.mean.device)
    mean, std = new.mean.double(), new.std.double()
    # Targets may have moved to other places, or be new: those start at zero.
    for place, source in enumerate(sources):
        if source is not None:
            matrix[place, source] = old.span[source].double() / std[place]
            shift[place] = (old.mean[source].double() - mean[place]) / std[place]
    return Affine(matrix, shift)
