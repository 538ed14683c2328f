"""State row -> picture or text."""

from typing import Any

import numpy as np
from numpy.typing import NDArray


def draw(state: Any, parameters: Any) -> NDArray[np.uint8]:
    """The picture of a state row, uint8 [height, width, 3]."""
    return np.zeros((64, 64, 3), np.uint8)


def describe(state: Any, parameters: Any) -> str:
    """A state row as text."""
    return f"step {state['time']}"
