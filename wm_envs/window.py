"""The window of render_mode="human"; the only place that imports pygame."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from wm_envs.errors import MissingExtraError

LEAST_HEIGHT = 500  # pixels that a window comes near to


class Window:
    """Shows RGB arrays at a steady rate.

    Args:
        title: Text of the title bar.
        frames_per_second: `show` waits so that no more frames than these are shown in a second.

    Raises:
        MissingExtraError: pygame is not installed.
    """

    def __init__(self, title: str, frames_per_second: int) -> None:
        try:
            import pygame
        except ImportError as error:
            message = 'a window needs pygame: pip install "wm-suite[window]", or use render_mode="rgb_array"'
            raise MissingExtraError(message) from error
        self._pygame = pygame
        self._title = title
        self._frames_per_second = frames_per_second
        self._screen: Any = None
        self._clock = pygame.time.Clock()

    def show(self, frame: NDArray[np.uint8]) -> None:
        """Show a frame [height, width, 3], enlarged if it is small, and keep the window responsive."""
        scale = max(1, LEAST_HEIGHT // frame.shape[0])
        frame = frame.repeat(scale, axis=0).repeat(scale, axis=1)
        if self._screen is None:
            self._pygame.display.init()
            self._screen = self._pygame.display.set_mode((frame.shape[1], frame.shape[0]))
            self._pygame.display.set_caption(self._title)
        self._pygame.event.pump()
        self._pygame.surfarray.blit_array(self._screen, frame.swapaxes(0, 1))
        self._pygame.display.flip()
        self._clock.tick(self._frames_per_second)

    def close(self) -> None:
        """Close the window; may be called twice."""
        if self._screen is not None:
            self._pygame.display.quit()
            self._screen = None
