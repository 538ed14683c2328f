"""The columns of Pong's observation.

Each feature in each frame of the stack, the oldest frame first.
"""

from enum import IntEnum

from wm_envs.rules import Field, ObservationSpec

STACK = 4  # frames in an observation


class PongFeature(IntEnum):
    """Features of a frame; the last two only with `directions=True`."""

    PLAYER_X = 0
    PLAYER_Y = 1
    PLAYER_WIDTH = 2
    PLAYER_HEIGHT = 3
    ENEMY_X = 4
    ENEMY_Y = 5
    ENEMY_WIDTH = 6
    ENEMY_HEIGHT = 7
    BALL_X = 8
    BALL_Y = 9
    BALL_WIDTH = 10
    BALL_HEIGHT = 11
    PLAYER_SCORE = 12
    ENEMY_SCORE = 13
    BALL_DX = 14
    BALL_DY = 15

    def column(self, age: int = 0) -> int:
        """The observation's column of this feature `age` steps ago, 0 to 3."""
        # Frames of one feature side by side, the oldest first.
        return self * STACK + STACK - 1 - age


DIRECTIONS = (PongFeature.BALL_DX, PongFeature.BALL_DY)
NUM_FEATURES = len(PongFeature) - len(DIRECTIONS)

_IN_BOTH = "since the frame before; 0 unless there was a ball in both"
# Lowest, highest and meaning of each feature, in pixels of the 210 x 160 screen from its top left
# corner.
_FEATURES: dict[PongFeature, tuple[int, int, str]] = {
    PongFeature.PLAYER_X: (0, 140, "left edge of the agent's paddle"),
    PongFeature.PLAYER_Y: (25, 190, "its top edge"),
    PongFeature.PLAYER_WIDTH: (0, 4, "its width"),
    PongFeature.PLAYER_HEIGHT: (0, 16, "its height"),
    PongFeature.ENEMY_X: (0, 16, "left edge of the enemy's paddle"),
    PongFeature.ENEMY_Y: (-15, 194, "top edge of the enemy's paddle"),
    PongFeature.ENEMY_WIDTH: (0, 4, "its width"),
    PongFeature.ENEMY_HEIGHT: (0, 16, "its height"),
    PongFeature.BALL_X: (0, 157, "left edge of the ball; 0 without a ball"),
    PongFeature.BALL_Y: (0, 194, "its top edge; 0 without a ball"),
    PongFeature.BALL_WIDTH: (0, 2, "its width"),
    PongFeature.BALL_HEIGHT: (0, 4, "its height"),
    PongFeature.PLAYER_SCORE: (0, 21, "points of the agent"),
    PongFeature.ENEMY_SCORE: (0, 21, "points of the enemy"),
    PongFeature.BALL_DX: (-157, 157, f"change of ball_x {_IN_BOTH}"),
    PongFeature.BALL_DY: (-194, 194, f"change of ball_y {_IN_BOTH}"),
}


def observation_fields(has_directions: bool) -> ObservationSpec:
    """Each feature in each frame of the stack.

    `<feature>_0` is the oldest, `<feature>_3` the newest.
    """
    fields = []
    for feature, (low, high, meaning) in _FEATURES.items():
        if feature in DIRECTIONS and not has_directions:
            continue
        is_score = feature in (PongFeature.PLAYER_SCORE, PongFeature.ENEMY_SCORE)
        unit = "points" if is_score else "px"
        for frame in range(STACK):
            name = f"{feature.name.lower()}_{frame}"
            fields.append(Field(name, unit, low, high, meaning, "integer"))
    return ObservationSpec(fields)
