"""The window of render_mode="human"; the only place that imports pygame."""

import weakref
from collections.abc import Iterator
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from wm_envs.errors import MissingExtraError, OptionError

# Pixels that a window comes near to.
LEAST_HEIGHT = 500


# pygame has one display in a program, which all windows share: it shows the one that drew last.
_open_windows: "weakref.WeakSet[Window]" = weakref.WeakSet()


class Window:
    """Shows RGB arrays at a steady rate; closing one window leaves the others alive.

    Args:
        title: Text of the title bar.
        frames_per_second: `show` waits so that no more frames than these are shown in a second.

    Raises:
        MissingExtraError: pygame is not installed.
    """

    _last_shown: ClassVar[tuple[str, tuple[int, int]]] = ("", (0, 0))

    def __init__(self, title: str, frames_per_second: int) -> None:
        try:
            import pygame
        except ImportError as error:
            message = (
                'a window needs pygame: pip install "wm-suite[window]", or use '
                'render_mode="rgb_array"'
            )
            raise MissingExtraError(message) from error
        self._pygame = pygame
        self._title = title
        self._frames_per_second = frames_per_second
        self._clock = pygame.time.Clock()

    def show(self, frame: NDArray[np.uint8]) -> None:
        """Show a frame [height, width, 3], enlarged if it is small.

        The window stays responsive meanwhile.
        """
        scale = max(1, LEAST_HEIGHT // frame.shape[0])
        frame = frame.repeat(scale, axis=0).repeat(scale, axis=1)
        size = (frame.shape[1], frame.shape[0])
        display = self._pygame.display
        _open_windows.add(self)
        if not self._shows((self._title, size)):
            try:
                display.init()
                display.set_mode(size)
            except self._pygame.error as error:
                raise OptionError(
                    f"no display to open a window on ({error}): use render_mode='ansi' or "
                    "'rgb_array', or set DISPLAY"
                ) from error
            display.set_caption(self._title)
        Window._last_shown = (self._title, size)
        self._pygame.event.pump()
        self._pygame.surfarray.blit_array(display.get_surface(), frame.swapaxes(0, 1))
        display.flip()
        self._clock.tick(self._frames_per_second)

    def close(self) -> None:
        """Close the window; may be called twice."""
        is_open = self in _open_windows
        _open_windows.discard(self)
        if is_open and not _open_windows and self._shows(Window._last_shown):
            self._pygame.display.quit()

    def _shows(self, title_and_size: tuple[str, tuple[int, int]]) -> bool:
        """Whether pygame's display is as we made it.

        An environment of Gymnasium may have taken or ended it since.
        """
        display = self._pygame.display
        if not display.get_init() or display.get_surface() is None:
            return False
        return (display.get_caption()[0], display.get_surface().get_size()) == title_and_size


def held_keys(quit_key: str) -> Iterator[frozenset[str]]:
    """The arrow keys that are held down, once for each time that it is asked.

    Ends when the quit key is pressed or the window is closed.
    """
    import pygame

    arrows = {
        pygame.K_LEFT: "left",
        pygame.K_RIGHT: "right",
        pygame.K_UP: "up",
        pygame.K_DOWN: "down",
    }
    while True:
        for event in pygame.event.get():
            is_quit_key = event.type == pygame.KEYDOWN and event.unicode == quit_key
            if event.type == pygame.QUIT or is_quit_key:
                return
        pressed = pygame.key.get_pressed()
        yield frozenset(name for key, name in arrows.items() if pressed[key])


def key_presses() -> Iterator[str]:
    """The characters typed into the window, until it is closed."""
    import pygame

    while True:
        event = pygame.event.wait()
        if event.type == pygame.QUIT:
            return
        if event.type == pygame.KEYDOWN and event.unicode.strip():
            yield event.unicode
