"""State row -> the console's screen, and text."""

from typing import Any

import numpy as np

from wm_envs.canvas import Colour, Image
from wm_envs.pong import dynamics

HEIGHT, WIDTH = 210, 160
FLOOR, WALL, PLAYER, ENEMY = (144, 72, 17), (236, 236, 236), (92, 186, 92), (213, 130, 74)
COURT_TOP, COURT_BOTTOM, WALL_HEIGHT = 34, 194, 10


def draw(state: Any) -> Image:
    """The screen of a state row, uint8 [210, 160, 3]."""
    image: Image = np.full((HEIGHT, WIDTH, 3), FLOOR, np.uint8)
    image[COURT_TOP - WALL_HEIGHT : COURT_TOP] = WALL
    image[COURT_BOTTOM:] = WALL
    word = int(state["seen_0"])
    player_y, enemy_y, ball_x, ball_y = word & 255, (word >> 8) & 255, (word >> 16) & 255, (word >> 24) & 255
    paddle = (dynamics.PADDLE_WIDTH, dynamics.PADDLE_HEIGHT)
    _fill(image, (dynamics.ENEMY_X, enemy_y - dynamics.ENEMY_TOP), paddle, ENEMY)
    _fill(image, (dynamics.PLAYER_X, player_y - dynamics.PLAYER_TOP), paddle, PLAYER)
    if ball_x > 0:
        corner = (ball_x - dynamics.BALL_LEFT, ball_y - dynamics.BALL_TOP)
        _fill(image, corner, (dynamics.BALL_WIDTH, dynamics.BALL_HEIGHT), WALL)
    return image


def _fill(image: Image, corner: tuple[int, int], size: tuple[int, int], colour: Colour) -> None:
    """A rectangle as far as it lies within the court."""
    (left, top), (width, height) = corner, size
    image[max(COURT_TOP, top) : max(COURT_TOP, min(COURT_BOTTOM, top + height)), left : left + width] = colour


def describe(state: Any, parameters: Any) -> str:
    """The score and where everything is, as two lines of text."""
    word = int(state["seen_0"])
    player_y, enemy_y, ball_x, ball_y = word & 255, (word >> 8) & 255, (word >> 16) & 255, (word >> 24) & 255
    ball = f"ball at {ball_x - dynamics.BALL_LEFT}, {ball_y - dynamics.BALL_TOP}" if ball_x > 0 else "no ball"
    paddles = f"enemy at {enemy_y - dynamics.ENEMY_TOP}, player at {player_y - dynamics.PLAYER_TOP}"
    score = f"enemy {state['enemy_score']} : {state['player_score']} player"
    return f"Pong step {state['time']}/{int(parameters['time_limit'])}: {score}\n{ball}, {paddles}"
