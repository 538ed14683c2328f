"""`wm/Pong-v0`, and the options that both games share."""

from collections.abc import Mapping
from typing import Any

from gymnasium import spaces
from numpy.typing import NDArray

from wm_envs.data.options import check_flag, check_integer, check_number, check_reward_weights
from wm_envs.environment import KernelEnv, KernelVectorEnv
from wm_envs.kernel import empty_rows
from wm_envs.pong import dynamics, render
from wm_envs.pong.columns import observation_fields
from wm_envs.pong.planner import plan
from wm_envs.rules import Rules

DEFAULT_REWARD_WEIGHTS = {"point": 1.0}
# Half an hour, as the Arcade Learning Environment has it.
TIME_LIMIT_IN_FRAMES = 108_000
# So that no ball is scored and served again within a step.
MAX_FRAME_SKIP = 60
# So that no point is scored before the agent acts.
MAX_NOOPS = 120


ACTION_NAMES = ("noop", "fire", "up", "down", "up and fire", "down and fire")
KEYS = "up and down move the paddle, space fires"


def action_of_keys(keys: frozenset[str]) -> int:
    """The action of the keys that are held down: "up", "down" and "space"."""
    is_firing = "space" in keys
    if "up" in keys:
        return ACTION_NAMES.index("up and fire" if is_firing else "up")
    if "down" in keys:
        return ACTION_NAMES.index("down and fire" if is_firing else "down")
    return ACTION_NAMES.index("fire" if is_firing else "noop")


class PongEnv(KernelEnv):
    """Return the ball past the enemy: Atari's Pong, exact to the frame, in compiled code.

    ## Description
    The console's Pong, rewritten as rules on integers: complete games are equal to the original's
    in every feature of every frame (`python -m benchmarks.pong_fidelity`), at more than a thousand
    times its speed. `wm/PongAtari-v0` is the original with the same spaces and options; equal seeds
    and actions give equal episodes in both.

    The ball starts slowly and in its last direction. Where it meets a paddle decides its vertical
    speed; FIRE, pressed in the frame before, makes the agent's return faster by one, up to 4 pixels
    a frame, until the point is over. The enemy follows the ball at 7/4 pixels a frame. The agent's
    paddle follows its action with a lag.

    Observations are the positions of the objects, an easier input than pixels: scores are not
    comparable with those of agents that see the screen. Not all of the state is seen: the lag of
    the paddle, the frame counter that slows the enemy, the time until the serve and the last
    direction of the ball are hidden.

    ## Action Space
    `Discrete(6)`: NOOP, FIRE, RIGHT (up), LEFT (down), RIGHT with FIRE, LEFT with FIRE, each for
    `frame_skip` frames.

    ## Observation Space
    `Box((56,), float32)`: 14 features in pixels, each in the last four steps, the oldest first, so
    that feature f in frame k is number 4 f + k. After a reset the first frame is repeated.

    | Index | Field | Unit | Low | High | Meaning |
    |---|---|---|---|---|---|
    | 0-3 | `player_x_0` ... `player_x_3` | px | 0 | 140 | left edge of the agent's paddle |
    | 4-7 | `player_y_0` ... `player_y_3` | px | 25 | 190 | its top edge |
    | 8-11 | `player_width_0` ... `player_width_3` | px | 0 | 4 | its width |
    | 12-15 | `player_height_0` ... `player_height_3` | px | 0 | 16 | its height |
    | 16-19 | `enemy_x_0` ... `enemy_x_3` | px | 0 | 16 | left edge of the enemy's paddle |
    | 20-23 | `enemy_y_0` ... `enemy_y_3` | px | -15 | 194 | top edge of the enemy's paddle |
    | 24-27 | `enemy_width_0` ... `enemy_width_3` | px | 0 | 4 | its width |
    | 28-31 | `enemy_height_0` ... `enemy_height_3` | px | 0 | 16 | its height |
    | 32-35 | `ball_x_0` ... `ball_x_3` | px | 0 | 157 | left edge of the ball; 0 without a ball |
    | 36-39 | `ball_y_0` ... `ball_y_3` | px | 0 | 194 | its top edge; 0 without a ball |
    | 40-43 | `ball_width_0` ... `ball_width_3` | px | 0 | 2 | its width |
    | 44-47 | `ball_height_0` ... `ball_height_3` | px | 0 | 4 | its height |
    | 48-51 | `player_score_0` ... `player_score_3` | points | 0 | 21 | points of the agent |
    | 52-55 | `enemy_score_0` ... `enemy_score_3` | points | 0 | 21 | points of the enemy |

    `directions=True` adds `ball_dx` and `ball_dy`, the change of the ball's position since the
    frame before.

    ## Rewards
    `point`: 1 when the agent scores, -1 when the enemy does, weighted by `reward_weights`.

    ## Starting State
    The console's, after 0 to `max_noops` frames without an action, uniformly. The first ball is
    served 58 frames after the console's start.

    ## Episode End
    Terminated when one side has 21 points; truncated after `time_limit` steps.
    `info["is_success"]`: the agent has won; `info["player_score"]` and `info["enemy_score"]` count
    the points. The console ends a game that is not won after 65,209 frames (18 minutes): there is
    no ball any more, and 1, the number of the game, replaces the enemy's score. The reward of that
    frame changes by the difference. The episode lasts until `time_limit`.

    ## Arguments
    | Option | Default | Meaning |
    |---|---|---|
    | `frame_skip` | 4 | frames of the 60 Hz game that an action lasts |
    | `repeat_action_probability` | 0.0 | probability of a "sticky" action in a frame |
    | `max_noops` | 30 | frames without an action before the start, at most; up to 120 |
    | `directions` | `False` | add the ball's velocity to each frame: 64 numbers |
    | `reward_weights` | `{"point": 1.0}` | weight of each reward component |
    | `time_limit` | 108,000 / `frame_skip` | steps of an episode |

    ## Version History
    - v0: first version.
    """

    metadata: dict[str, Any] = {"render_modes": ["rgb_array", "human", "ansi"], "render_fps": 15}
    ACTION_NAMES = ACTION_NAMES
    KEYS = KEYS
    action_of_keys = staticmethod(action_of_keys)

    @classmethod
    def rules(
        cls,
        *,
        frame_skip: int = 4,
        repeat_action_probability: float = 0.0,
        max_noops: int = 30,
        directions: bool = False,
        reward_weights: Mapping[str, float] | None = None,
        time_limit: int | None = None,
    ) -> Rules:
        """The game with these options; raises OptionError."""
        row = empty_rows(1, dynamics.PARAMETERS)
        row["frame_skip"] = check_integer("frame_skip", frame_skip, 1, MAX_FRAME_SKIP)
        row["max_noops"] = check_integer("max_noops", max_noops, 0, MAX_NOOPS)
        row["has_directions"] = has_directions = check_flag("directions", directions)
        probability = check_number("repeat_action_probability", repeat_action_probability, 0.0, 1.0)
        row["repeat_action_probability"] = probability
        row["point_weight"] = check_reward_weights(reward_weights, DEFAULT_REWARD_WEIGHTS)["point"]
        # In steps, whatever the frame skip: half an hour of play.
        limit = TIME_LIMIT_IN_FRAMES // frame_skip if time_limit is None else time_limit
        row["time_limit"] = check_integer("time_limit", limit, 1)
        # The same functions as the emulator's environment, whose rules replace two of them.
        return Rules(
            observation_fields=observation_fields(has_directions),
            action_space=spaces.Discrete(6),
            reward_components=dynamics.REWARD_COMPONENTS,
            state_dtype=dynamics.STATE,
            outcome_dtype=dynamics.OUTCOME,
            parameters=row,
            reset_rows=dynamics.reset_rows,
            step_rows=dynamics.step_rows,
            observe_rows=dynamics.observe_rows,
        )

    @staticmethod
    def draw(state: Any, parameters: Any) -> NDArray[Any]:  # noqa: ARG004
        """The console's screen, uint8 [210, 160, 3]."""
        return render.draw(state)

    @staticmethod
    def describe(state: Any, parameters: Any) -> str:
        """The score, where everything is, and the court, as text."""
        return render.describe(state, parameters)


class PongVectorEnv(KernelVectorEnv):
    """A batch of `wm/Pong-v0`."""

    env_class = PongEnv

    def expert_actions(self, *, seed: int = 0) -> NDArray[Any]:
        """Actions [B] of a player that looks ahead with the true rules.

        `seed` is that of the futures' noise.
        """
        return plan(self._rules, self._states, seed=seed)
