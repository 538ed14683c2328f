"""The window of render_mode="human"; the only place that imports pygame."""

import os
import textwrap
import weakref
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from wm_envs.errors import MissingExtraError, OptionError
from wm_envs.rendering import canvas
from wm_envs.rendering.canvas import Image

# Pixels that a picture comes near to.
PICTURE_HEIGHT = 720
MARGIN, LINE_HEIGHT, TEXT_SCALE, CARD_SCALE = 10, 20, 2, 4
PANEL, INK = (28, 31, 37), (236, 236, 232)
# The driver of SDL that draws into memory.
HIDDEN = "offscreen"
# Of the stick of a gamepad, which never rests at exactly 0.
DEAD_ZONE = 0.3


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

    def show(
        self, frame: NDArray[np.uint8], legend: Sequence[str] = (), card: Sequence[str] = ()
    ) -> None:
        """Show a frame [height, width, 3], enlarged if it is small.

        The window stays responsive meanwhile.

        Args:
            frame: What an environment renders.
            legend: Lines of text beneath the picture.
            card: Lines of text in a box on it.
        """
        picture_size = self._enlarged(frame)
        footer = _legend_picture(tuple(legend), picture_size[0])
        size = (picture_size[0], picture_size[1] + footer.shape[0])
        display = self._pygame.display
        _open_windows.add(self)
        if not self._shows((self._title, size)):
            try:
                display.set_mode(size)
            except self._pygame.error as error:
                raise _no_display(error) from error
            display.set_caption(self._title)
        Window._last_shown = (self._title, size)
        self._pygame.event.pump()
        surface = display.get_surface()
        self._paint(surface, frame, picture_size)
        if len(footer):
            self._pygame.surfarray.blit_array(
                surface.subsurface((0, picture_size[1], size[0], footer.shape[0])),
                footer.swapaxes(0, 1),
            )
        if card:
            box = _card_picture(tuple(card))
            corner = ((size[0] - box.shape[1]) // 2, (picture_size[1] - box.shape[0]) // 2)
            surface.blit(self._pygame.surfarray.make_surface(box.swapaxes(0, 1)), corner)
        display.flip()
        self._clock.tick(self._frames_per_second)

    def _start_display(self) -> None:
        """Raises OptionError where there is no display."""
        display = self._pygame.display
        try:
            display.init()
        except self._pygame.error as error:
            raise _no_display(error) from error
        # SDL's last resort, which nobody sees and which no key reaches: a game would wait forever.
        if display.get_driver() == HIDDEN and os.environ.get("SDL_VIDEODRIVER") != HIDDEN:
            display.quit()
            raise _no_display("SDL found none")

    def _enlarged(self, frame: NDArray[np.uint8]) -> tuple[int, int]:
        """Width and height at which a frame is shown; small ones by a whole number, for sharpness."""
        height, width = frame.shape[:2]
        self._start_display()
        display = self._pygame.display
        # A title bar and a task bar want their place, too.
        room = min(desktop_height for _, desktop_height in display.get_desktop_sizes()) - 160
        factor = min(PICTURE_HEIGHT, room) / height
        # A little larger is only less sharp; from twice as large on whole pixels are repeated.
        if factor < 1.2:
            factor = 1.0
        elif factor >= 2:
            factor = int(factor)
        return round(width * factor), round(height * factor)

    def _paint(self, surface: Any, frame: NDArray[np.uint8], size: tuple[int, int]) -> None:
        height, width = frame.shape[:2]
        picture = self._pygame.image.frombuffer(
            np.ascontiguousarray(frame).tobytes(), (width, height), "RGB"
        )
        is_whole = size[0] % width == 0 and size[1] % height == 0
        transform = self._pygame.transform
        scale = transform.scale if is_whole else transform.smoothscale
        surface.blit(scale(picture, size), (0, 0))

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


def _no_display(error: object) -> OptionError:
    return OptionError(
        f"no display to open a window on ({error}): use render_mode='ansi' or 'rgb_array', or set "
        "DISPLAY"
    )


@lru_cache(maxsize=8)
def _legend_picture(lines: tuple[str, ...], width: int) -> Image:
    """Lines of text on a strip as wide as the window; of no height without lines."""
    per_line = max(1, (width - 2 * MARGIN) // (canvas.GLYPH_ADVANCE * TEXT_SCALE))
    wrapped = [part for line in lines for part in textwrap.wrap(line, per_line)]
    height = LINE_HEIGHT * len(wrapped) + (2 * MARGIN if wrapped else 0)
    strip = canvas.blank(width, height, PANEL)
    for row, line in enumerate(wrapped):
        place = (MARGIN, MARGIN + row * LINE_HEIGHT)
        canvas.draw_text(strip, place, line, INK, scale=TEXT_SCALE)
    return strip


@lru_cache(maxsize=2)
def _card_picture(lines: tuple[str, ...]) -> Image:
    """A box with a title and lines of text."""
    sizes = [canvas.text_size(line, CARD_SCALE if i == 0 else 2) for i, line in enumerate(lines)]
    width = max(width for width, _ in sizes) + 4 * MARGIN
    height = sum(height + MARGIN for _, height in sizes) + 3 * MARGIN
    box = canvas.blank(width, height, PANEL)
    y = 2 * MARGIN
    for row, (line, (_, text_height)) in enumerate(zip(lines, sizes, strict=True)):
        middle = (width / 2, y + text_height / 2)
        scale = CARD_SCALE if row == 0 else 2
        canvas.draw_centred_text(box, middle, line, INK, scale=scale)
        y += text_height + MARGIN
    return box


def held_keys(quit_key: str) -> Iterator[frozenset[str]]:
    """The arrow keys and the space bar that are held down, once for each time that it is asked.

    A gamepad that is plugged in when this is first asked counts as keys: its stick as the arrows,
    its first button as "up", its second as "down", and any other as "space". Ends when the quit key
    is pressed or the window is closed.
    """
    import pygame

    names = {
        pygame.K_LEFT: "left",
        pygame.K_RIGHT: "right",
        pygame.K_UP: "up",
        pygame.K_DOWN: "down",
        pygame.K_SPACE: "space",
    }
    pad = _first_gamepad()
    while True:
        for event in pygame.event.get():
            is_quit_key = event.type == pygame.KEYDOWN and event.unicode == quit_key
            if event.type == pygame.QUIT or is_quit_key:
                return
        pressed = pygame.key.get_pressed()
        keys = {name for key, name in names.items() if pressed[key]}
        if pad is not None:
            keys |= gamepad_keys(pad)
        yield frozenset(keys)


def has_gamepad() -> bool:
    """Whether pygame finds one."""
    return _first_gamepad() is not None


def _first_gamepad() -> Any:
    import pygame

    try:
        pygame.joystick.init()
        if pygame.joystick.get_count() == 0:
            return None
        return pygame.joystick.Joystick(0)
    except pygame.error:  # a system without joysticks
        return None


def gamepad_keys(pad: Any) -> set[str]:
    """What a gamepad presses, in the words of `held_keys`."""
    sideways, forward = pad.get_axis(0), 0.0
    if pad.get_numaxes() > 1:
        forward = pad.get_axis(1)
    buttons = [pad.get_button(i) for i in range(pad.get_numbuttons())]
    held = {
        "left": sideways < -DEAD_ZONE,
        "right": sideways > DEAD_ZONE,
        "up": forward < -DEAD_ZONE or any(buttons[:1]),
        "down": forward > DEAD_ZONE or any(buttons[1:2]),
        "space": any(buttons[2:]),
    }
    return {name for name, is_held in held.items() if is_held}


def wait_for_key() -> str | None:
    """The next key or button that is pressed, as a character if it has one; None to close."""
    import pygame

    while True:
        event = pygame.event.wait()
        if event.type == pygame.QUIT:
            return None
        if event.type == pygame.KEYDOWN:
            return str(event.unicode)
        if event.type == pygame.JOYBUTTONDOWN:
            return ""


def key_presses() -> Iterator[str]:
    """The characters typed into the window, until it is closed."""
    while (character := wait_for_key()) is not None:
        if character.strip():
            yield character
