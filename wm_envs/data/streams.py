"""Standard streams where there may be none.

`sys.stderr` can be None, closed, or an object that only has `write`.
"""

import contextlib
import sys
import warnings
from typing import Any


def is_terminal(stream: Any) -> bool:
    """Whether somebody looks at this stream."""
    try:
        return bool(stream.isatty())
    except (AttributeError, ValueError, OSError, TypeError):  # None, a bare object, a closed file
        return False


def is_notebook() -> bool:
    """Whether this is the kernel of a notebook: somebody looks, and it is no terminal."""
    if "ipykernel" not in sys.modules or "IPython" not in sys.modules:
        return False
    shell = sys.modules["IPython"].get_ipython()
    return getattr(shell, "kernel", None) is not None


def warn(message: str, stacklevel: int = 1) -> None:
    """Give a RuntimeWarning.

    Python fails to where it would be written to a closed stream, or to what is none.
    """
    with contextlib.suppress(ValueError, AttributeError):
        warnings.warn(message, RuntimeWarning, stacklevel=stacklevel + 1)


def can_write(stream: Any) -> bool:
    """Whether there is such a stream, and it is open."""
    return hasattr(stream, "write") and not getattr(stream, "closed", False)
