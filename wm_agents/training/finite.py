"""Guards against numbers that are not finite.

The tensor is named, and nothing is updated or saved with it.
"""

import math
from collections.abc import Callable, Iterable, Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.optim import Optimizer

from wm_agents.errors import NonFiniteError

_REMEDY = "lower the learning rate or look for extreme values in the data"


def first_non_finite(tensors: Iterable[tuple[str, Tensor]]) -> str | None:
    """The name of the first tensor that holds NaN or infinity; None where all are finite."""
    return next((name for name, tensor in tensors if not bool(tensor.isfinite().all())), None)


def require_finite(tensors: Mapping[str, Tensor], place: str) -> None:
    """Raise NonFiniteError with the tensor's name and the place.

    Args:
        tensors: By name.
        place: What they are and when, for the message, such as "parameters at update 7".
    """
    name = first_non_finite(tensors.items())
    if name is not None:
        raise NonFiniteError(
            f"{name} is not finite: {place}; scale observations and rewards or lower the learning "
            "rate"
        )


def clip_gradient(parameters: Iterable[Tensor], max_norm: float) -> Tensor:
    """Scale the gradients down to a norm, and give the norm before.

    Bitwise as torch's `clip_grad_norm_`. Where the norm is not finite nothing is scaled: scaling by
    NaN would spoil every gradient and hide which one it was.
    """
    with_gradient = [parameter for parameter in parameters if parameter.grad is not None]
    norm = nn.utils.get_total_norm(
        [parameter.grad for parameter in with_gradient if parameter.grad is not None]
    )
    # Clipping by an infinite norm would turn every gradient into zeros or NaN.
    if bool(norm.isfinite()):
        nn.utils.clip_grads_with_norm_(with_gradient, max_norm, norm)
    return norm


def non_finite_gradient(module: nn.Module) -> str:
    """The parameter whose gradient is not finite.

    "all parameters together" where only their common norm overflows.
    """
    gradients = ((name, p.grad) for name, p in module.named_parameters() if p.grad is not None)
    return first_non_finite(gradients) or "all parameters together"


def gradient_step(
    loss: Tensor,
    optimizer: Optimizer,
    parameters: Iterable[tuple[str, Tensor]],
    place: str,
    max_norm: float | None = None,
) -> float:
    """One optimizer step, taken only if the loss and every gradient are finite; gives the loss.

    Args:
        loss: A number that depends on the parameters.
        optimizer: Of the parameters.
        parameters: With names, as `named_parameters()` gives them.
        place: When this is, for the message, such as "at update 7".
        max_norm: Gradients are scaled down to this norm; None leaves them.

    Raises:
        NonFiniteError: The loss or a gradient is not finite; the parameters are as they were.
    """
    # Asked first: the gradients of a loss that is NaN are NaN everywhere and name no culprit.
    value = float(loss.detach())
    named = dict(parameters)
    if not math.isfinite(value):
        raise NonFiniteError(f"the loss is {value} {place}: nothing was updated; {_REMEDY}")
    optimizer.zero_grad()
    loss.backward()
    gradients = {name: tensor.grad for name, tensor in named.items() if tensor.grad is not None}
    # One number tells of all gradients; they are only looked through where it is not finite.
    norm = nn.utils.get_total_norm(list(gradients.values()))
    if not bool(norm.isfinite()):
        name = first_non_finite(gradients.items()) or "all parameters together"
        raise NonFiniteError(
            f"the gradient of {name} is not finite {place}: nothing was updated; {_REMEDY}"
        )
    if max_norm is not None:
        nn.utils.clip_grads_with_norm_(named.values(), max_norm, norm)
    optimizer.step()
    return value


def stacked_gradient_step(
    gradient: Tensor, descend: Callable[[Tensor], None], max_norm: float, place: str
) -> NDArray[np.float64]:
    """The same for S stacked runs, each of which is clipped by a norm of its own.

    Args:
        gradient: Of all parameters [S, P]; changed in place.
        descend: Takes one optimizer step along a gradient.
        max_norm: Each run's gradient is scaled down to this norm.
        place: When this is, for the message.

    Returns:
        The norms [S] before clipping.

    Raises:
        NonFiniteError: The gradient of a run is not finite; all parameters are as they were.
    """
    norms = torch.linalg.vector_norm(gradient, dim=1, keepdim=True)
    reported: NDArray[np.float64] = norms.squeeze(1).cpu().double().numpy()
    if not math.isfinite(reported.sum()):
        run = int(np.flatnonzero(~np.isfinite(reported))[0])
        raise NonFiniteError(
            f"gradient_norm of run {run} is {reported[run]} {place}: nothing was updated; scale "
            "the observations and rewards or lower learning_rate"
        )
    # The small number keeps a gradient of exactly zero from being divided by zero.
    gradient.mul_((max_norm / (norms + 1e-6)).clamp_(max=1.0))
    descend(gradient)
    return reported


descend = gradient_step  # its name in earlier versions
