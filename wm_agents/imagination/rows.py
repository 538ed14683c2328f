"""Rows of imagination.

Put some back at their start, join groups imagined apart, refuse what is not finite.
"""

import torch
from torch import Tensor

from wm_agents.errors import NonFiniteError
from wm_agents.protocols import ModelState, Prediction


def replace_rows(state: ModelState, mask: Tensor, fresh: ModelState) -> ModelState:
    """A copy of B rows in which the masked ones are fresh; the model may still hold the original.

    Where the fresh rows carry nothing yet, what the old ones carry stays: the caller knows which
    rows are new.
    """
    hidden = state.hidden
    if len(hidden) == len(fresh.hidden):
        pairs = zip(hidden, fresh.hidden, strict=True)
        hidden = tuple(_replaced(values, mask, new) for values, new in pairs)
    return ModelState(_replaced(state.observations, mask, fresh.observations), hidden)


def join_states(first: ModelState, others: ModelState, order: Tensor) -> ModelState:
    """Two groups of rows as one.

    Row b is row order[b] of the first group followed by the others.
    """
    hidden = zip(first.hidden, others.hidden, strict=True)
    return ModelState(
        torch.cat([first.observations, others.observations])[order],
        tuple(torch.cat([values, more])[order] for values, more in hidden),
    )


def join_predictions(first: Prediction, others: Prediction, order: Tensor) -> Prediction:
    """The same for predictions."""
    disagreement = None
    if first.disagreement is not None and others.disagreement is not None:
        disagreement = torch.cat([first.disagreement, others.disagreement])[order]
    return Prediction(
        torch.cat([first.observations, others.observations])[order],
        torch.cat([first.rewards, others.rewards])[order],
        torch.cat([first.terminations, others.terminations])[order],
        disagreement,
    )


def without_rows(prediction: Prediction, mask: Tensor) -> Prediction:
    """The prediction with the rewards and disagreement of the masked rows set to zero."""
    disagreement = (
        None if prediction.disagreement is None else prediction.disagreement.masked_fill(mask, 0.0)
    )
    rewards = prediction.rewards.masked_fill(mask, 0.0)
    return Prediction(prediction.observations, rewards, prediction.terminations, disagreement)


def check_finite(prediction: Prediction) -> None:
    """Raise NonFiniteError that names the part and the first row."""
    for name in ("observations", "rewards", "terminations", "disagreement"):
        values: Tensor | None = getattr(prediction, name)
        if values is not None and not bool(values.isfinite().all()):
            row = int((~values.isfinite()).reshape(len(values), -1).any(1).nonzero()[0])
            raise NonFiniteError(
                f"the model's {name.rstrip('s')}s are not finite in row {row}: shorten the horizon or fit it longer"
            )


def _replaced(values: Tensor, mask: Tensor, fresh: Tensor) -> Tensor:
    values = values.clone()
    values[mask] = fresh
    return values
