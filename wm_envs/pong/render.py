"""State row -> the console's screen, and text."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from wm_envs.data.options import UNLIMITED
from wm_envs.pong import dynamics
from wm_envs.rendering.canvas import Colour, Image

HEIGHT, WIDTH = 210, 160
FLOOR = (144, 72, 17)
WALL = (236, 236, 236)
PLAYER = (92, 186, 92)
ENEMY = (213, 130, 74)
BLACK = (0, 0, 0)
COURT_TOP, COURT_BOTTOM, WALL_HEIGHT = 34, 194, 10
# Of the black line that the console leaves at the top left.
BLANK_WIDTH = 8

# Of a character of the court as text, in pixels.
TEXT_WIDTH, TEXT_HEIGHT = 4, 8

CELL, GLYPH_WIDTH, SCORE_TOP, ENEMY_SCORE_LEFT, PLAYER_SCORE_LEFT = 4, 3, 1, 20, 100
# The digits 0 to 9 of the console's score, three cells wide.
FONT = """
    ### .#. ### ### #.# ### #.. ### ### ###
    #.# .#. ..# ..# #.# #.. #.. ..# #.# #.#
    #.# .#. ### .## ### ### ### ..# ### ###
    #.# .#. #.. ..# ..# ..# #.# ..# #.# ..#
    ### .#. ### ### ..# ### ### ..# ### ..#
"""
GLYPHS = np.array(
    [
        [[mark == "#" for mark in glyph] for glyph in line.split()]
        for line in FONT.split("\n")
        if line.split()
    ]
)


class _Scene(NamedTuple):
    """What a frame shows: top left corners in pixels, a ball that is not there as None."""

    player_y: int
    enemy_y: int
    ball: tuple[int, int] | None
    player_score: int
    enemy_score: int


def scene(state: Any) -> _Scene:
    """The newest frame of a state row."""
    player_y, enemy_y, ball_x, ball_y, player_score, enemy_score = int(state["seen_0"]).to_bytes(
        6, "little"
    )
    ball = (ball_x - dynamics.BALL_LEFT, ball_y - dynamics.BALL_TOP) if ball_x > 0 else None
    return _Scene(
        player_y - dynamics.PLAYER_TOP,
        enemy_y - dynamics.ENEMY_TOP,
        ball,
        player_score,
        enemy_score,
    )


def draw(state: Any) -> Image:
    """The screen of a state row, uint8 [210, 160, 3]."""
    shown = scene(state)
    image: Image = np.full((HEIGHT, WIDTH, 3), FLOOR, np.uint8)
    image[0, :BLANK_WIDTH] = BLACK
    _draw_score(image, ENEMY_SCORE_LEFT, shown.enemy_score, ENEMY)
    _draw_score(image, PLAYER_SCORE_LEFT, shown.player_score, PLAYER)
    image[COURT_TOP - WALL_HEIGHT : COURT_TOP] = WALL
    image[COURT_BOTTOM:] = WALL
    paddle = (dynamics.PADDLE_WIDTH, dynamics.PADDLE_HEIGHT)
    _fill(image, (dynamics.ENEMY_X, shown.enemy_y), paddle, ENEMY)
    _fill(
        image, (dynamics.PLAYER_X, shown.player_y // 2 * 2), paddle, PLAYER
    )  # drawn on every second line
    if shown.ball is not None:
        _fill(image, shown.ball, (dynamics.BALL_WIDTH, dynamics.BALL_HEIGHT), WALL)
    return image


def describe(state: Any, parameters: Any) -> str:
    """The score, where everything is, and the court in characters of 4 x 8 pixels."""
    shown, limit = scene(state), int(parameters["time_limit"])
    clock = f"step {state['time']}" if limit == UNLIMITED else f"step {state['time']}/{limit}"
    ball = "no ball" if shown.ball is None else f"ball at {shown.ball[0]}, {shown.ball[1]}"
    score = f"enemy {shown.enemy_score} : {shown.player_score} player"
    places = f"{ball}, enemy at {shown.enemy_y}, player at {shown.player_y}"
    return "\n".join([f"Pong {clock}: {score}", places, *_court_lines(shown)])


def _court_lines(shown: _Scene) -> list[str]:
    """The court between its walls, ] the enemy, [ the player, o the ball."""
    rows = (COURT_BOTTOM - COURT_TOP) // TEXT_HEIGHT
    columns = WIDTH // TEXT_WIDTH
    court = np.full((rows, columns), " ")
    for left, top, mark in (
        (dynamics.ENEMY_X, shown.enemy_y, "]"),
        (dynamics.PLAYER_X, shown.player_y, "["),
    ):
        # Rows of which the paddle covers at least half.
        first, end = (
            np.clip(round((y - COURT_TOP) / TEXT_HEIGHT), 0, rows)
            for y in (top, top + dynamics.PADDLE_HEIGHT)
        )
        court[first:end, left // TEXT_WIDTH] = mark
    if shown.ball is not None:
        row = np.clip((shown.ball[1] - COURT_TOP) // TEXT_HEIGHT, 0, rows - 1)
        court[row, np.clip(shown.ball[0] // TEXT_WIDTH, 0, columns - 1)] = "o"
    wall = "-" * columns
    return [wall, *("".join(row).rstrip() for row in court), wall]


def _fill(image: Image, corner: tuple[int, int], size: tuple[int, int], colour: Colour) -> None:
    """A rectangle as far as it lies within the court."""
    (left, top), (width, height) = corner, size
    image[
        # The court's walls hide what is above or below them, as on the console.
        max(COURT_TOP, top) : max(COURT_TOP, min(COURT_BOTTOM, top + height)), left : left + width
    ] = colour


def _draw_score(image: Image, left: int, score: int, colour: Colour) -> None:
    """One or two digits; a leading zero is not shown."""
    tens, ones = divmod(score, 10)
    if tens > 0:
        _stamp(image, left, GLYPHS[:, tens], colour)
    _stamp(image, left + (GLYPH_WIDTH + 1) * CELL, GLYPHS[:, ones], colour)


def _stamp(image: Image, left: int, glyph: NDArray[np.bool_], colour: Colour) -> None:
    # Digits are drawn from cells of several pixels, as the console does.
    pixels = np.kron(glyph, np.ones((CELL, CELL), np.bool_))
    window = image[SCORE_TOP : SCORE_TOP + pixels.shape[0], left : left + pixels.shape[1]]
    window[pixels] = colour
