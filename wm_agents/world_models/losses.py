"""Named loss terms of world models and their weighted sum."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class PredictionWeights:
    """Weights of the terms that every predicting model has.

    Dimensionless, since targets are standardised.

    Attributes:
        state: Next observation.
        reward: Reward.
        termination: Termination.
    """

    state: float = 1.0
    reward: float = 0.5
    termination: float = 0.1


def weighted_sum(terms: Mapping[str, Tensor], weights: Any) -> Tensor:
    """The sum of the terms times the weights of the same names.

    Args:
        terms: Scalars by name.
        weights: A dataclass with one field per term.

    Raises:
        AssertionError: A term has no weight or a weight no term, which is a mistake in the model.
    """
    by_name = asdict(weights)
    # A term that no weight names would silently count for nothing.
    assert by_name.keys() == terms.keys(), (
        f"loss terms {sorted(terms)} and weights {sorted(by_name)} differ"
    )
    return torch.stack([by_name[name] * term for name, term in terms.items()]).sum()


def column_mean(values: Tensor) -> Tensor:
    """The mean over the last axis, and 0 where it has no column.

    Nothing is left to predict where steps never change the observation, as in a contextual bandit.
    """
    return values.mean(-1) if values.shape[-1] else values.sum(-1)


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """The mean of values [..., *mask.shape] over the steps that the mask [B, H] keeps."""
    # At least 1, so that a batch whose windows all lie beyond an end divides by no zero.
    return (values * mask).sum() / (mask.expand_as(values).sum().clamp_min(1.0))


def huber(predictions: Tensor, targets: Tensor) -> Tensor:
    """Huber's loss with delta 1, elementwise: large reward errors count linearly."""
    return F.smooth_l1_loss(predictions, targets, reduction="none")


def weighted_cross_entropy(logits: Tensor, targets: Tensor, positive_weight: Tensor) -> Tensor:
    """Binary cross-entropy on logits, elementwise.

    Where a positive target counts `positive_weight` times.
    """
    # Ends are rare: without the weight "never" would be a good answer.
    return F.binary_cross_entropy_with_logits(
        logits, targets, pos_weight=positive_weight, reduction="none"
    )
