"""Refuse answers of what was never fitted: random weights look like predictions and are none."""

import functools
from collections.abc import Callable
from typing import Any, ClassVar

from torch import nn

from wm_agents.errors import NotFittedError


class Fitted:
    """A model with `fit`.

    The methods that `needs_fit` names raise NotFittedError until `is_fitted` is set.

    A subclass names its own methods; those that override an inherited one are guarded as well.
    `fit` sets `is_fitted`, and files keep it. A model of yours that needs no fit does not inherit
    from this, or sets `is_fitted = True`.
    """

    needs_fit: ClassVar[tuple[str, ...]] = ()
    is_fitted = False

    def __repr__(self) -> str:
        return f"{type(self).__name__}({'fitted' if self.is_fitted else 'not fitted'})"

    def __init_subclass__(cls, **options: Any) -> None:
        """Guard the methods that this class defines."""
        super().__init_subclass__(**options)
        # Only methods of the class itself: those that it inherits were guarded where they are
        # defined.
        for name in cls.needs_fit:
            if callable(method := cls.__dict__.get(name)):
                setattr(cls, name, _guarded(method))


class FittedModule(Fitted, nn.Module):
    """The same for torch modules, whose weights may also come from `load_state_dict`.

    What was loaded was fitted.
    """

    def __init__(self) -> None:
        super().__init__()
        self.register_load_state_dict_post_hook(_mark_fitted)


def check_fitted(model: Any) -> None:
    """Raise NotFittedError for a model that has `fit` and was never fitted.

    What knows of no fit passes.
    """
    if not getattr(model, "is_fitted", True):
        name = type(model).__name__
        raise NotFittedError(
            f"this {name} was never fitted: call its fit(...) first, or load a fitted one from a "
            "file"
        )


def _mark_fitted(module: Any, incompatible_keys: Any) -> None:  # noqa: ARG001
    module.is_fitted = True


def _guarded(method: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(method)
    def checked(self: Any, *args: Any, **options: Any) -> Any:
        check_fitted(self)
        return method(self, *args, **options)

    return checked
