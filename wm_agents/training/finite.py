"""Guards against numbers that are not finite: the tensor is named, and nothing is updated or saved with it."""

from collections.abc import Iterable, Mapping

from torch import Tensor, nn

from wm_agents.errors import NonFiniteError


def first_non_finite(tensors: Iterable[tuple[str, Tensor]]) -> str | None:
    """The name of the first tensor that holds NaN or infinity; None where all are finite."""
    return next((name for name, tensor in tensors if not bool(tensor.isfinite().all())), None)


def require_finite(tensors: Mapping[str, Tensor], place: str) -> None:
    """Raise NonFiniteError with the tensor's name and the place, such as "parameter" and "update 7".

    Args:
        tensors: By name.
        place: What they are and when, for the message.
    """
    name = first_non_finite(tensors.items())
    if name is not None:
        raise NonFiniteError(
            f"{name} is not finite: {place}; scale observations and rewards or lower the learning rate"
        )


def spoilt_gradient(module: nn.Module) -> str:
    """The parameter whose gradient is not finite; "all parameters together" where only their common norm overflows."""
    gradients = ((name, p.grad) for name, p in module.named_parameters() if p.grad is not None)
    return first_non_finite(gradients) or "all parameters together"
