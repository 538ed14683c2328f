"""`wm/PongAtari-v0`: the Atari game itself, run by the Arcade Learning Environment.

Seen through the same shells.

A row keeps what the agent may see and its random stream; the console lives in an emulator beside
it, is written into the row before a clone and taken out of it after a restore. The noise of the
actions is drawn here, from the row, and not in the emulator, so that a clone carries its own
future.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wm_envs.environment import KernelEnv, KernelVectorEnv, make_rules
from wm_envs.errors import StateError
from wm_envs.kernel import state_dtype
from wm_envs.pong import dynamics, render
from wm_envs.pong.env import PongEnv
from wm_envs.pong.workers import Emulators
from wm_envs.rules import Array, Rules

# Bytes; ale-py 0.12 writes 7,717 for this game.
# A little more than needed: a row of a fixed size is what makes states arrays.
SAVED_CAPACITY = 8192

STATE = state_dtype(
    [
        *dynamics.SEEN,
        ("slot", np.int64),  # the row's emulator among those of its environment
        ("saved_size", np.int64),  # bytes of the saved console, 0 before the first reset
        ("saved", np.uint8, (SAVED_CAPACITY,)),
    ]
)


class _EmulatorKernels:
    """The rules that play on consoles, called as the kernels of a native domain are."""

    def __init__(self) -> None:
        self.emulators = Emulators()

    def save_rows(self, states: Array) -> None:
        """Write the consoles into their rows."""
        rows = [row for row, slot in enumerate(states["slot"].tolist()) if slot in self.emulators]
        for row, saved in zip(
            rows, self.emulators.call("save", states["slot"][rows].tolist()), strict=True
        ):
            # A later emulator may save more; cut off, it would be restored as another state.
            if len(saved) > SAVED_CAPACITY:
                raise StateError(
                    f"a console takes {len(saved)} bytes, a row has room for {SAVED_CAPACITY}"
                )
            # The rest of the row's room keeps what it held, which `saved_size` leaves out.
            states["saved"][row, : len(saved)] = np.frombuffer(saved, np.uint8)
            states["saved_size"][row] = len(saved)

    def load_rows(self, states: Array) -> None:
        """Give each row a console and bring it into the state that the row saved."""
        # Emulators belong to an environment, not to a state: row i plays on emulator i.
        states["slot"] = np.arange(len(states))
        # A row that was never reset has saved nothing.
        rows = np.flatnonzero(states["saved_size"]).tolist()
        sizes = states["saved_size"][rows].tolist()
        saved = [
            (states["saved"][row, :size].tobytes(),) for row, size in zip(rows, sizes, strict=True)
        ]
        self.emulators.call("load", rows, saved)

    def reset_rows(self, states: Array, parameters: Array, mask: Array) -> None:
        """Start the masked rows anew."""
        self._start(states, parameters, np.flatnonzero(mask))

    def step_rows(
        self,
        states: Array,
        parameters: Array,
        actions: Array,
        observations: Array,
        outcomes: Array,
        is_autoreset: bool,
    ) -> None:
        """Advance all rows.

        One that has ended is reset when `is_autoreset` and else holds still with no reward.
        """
        # Before the play below changes which rows have ended.
        ended = np.flatnonzero(states["ended"])
        # Rows that have ended stand still, and their consoles are not asked.
        self._play(states, parameters, actions, outcomes, np.flatnonzero(~states["ended"]))
        if len(ended) > 0:
            dynamics.rest_rows(outcomes, ended, is_autoreset)
        if len(ended) > 0 and is_autoreset:
            self._start(states, parameters, ended)
        dynamics.observe_rows(states, parameters, observations)

    def _play(
        self, states: Array, parameters: Array, actions: Array, outcomes: Array, rows: Array
    ) -> None:
        executed = np.zeros((len(rows), int(parameters["frame_skip"][0])), np.int64)
        dynamics.execute_rows(states, parameters, rows, actions, executed)
        memories = self.emulators.play(states["slot"][rows].tolist(), executed)
        dynamics.see_steps(states, parameters, rows, memories, outcomes)

    def _start(self, states: Array, parameters: Array, rows: Array) -> None:
        num_noops = np.zeros(len(rows), np.int64)
        dynamics.start_rows(states, parameters, rows, num_noops)
        # The wait is played by the emulator, with numbers of the row's own stream.
        memories = self.emulators.start(states["slot"][rows].tolist(), num_noops.tolist())
        dynamics.see_first_frames(states, rows, memories)


@dataclass(frozen=True, kw_only=True)
class _AtariRules(Rules):
    """Rules whose states live partly in consoles."""

    kernels: _EmulatorKernels

    def save_rows(self, states: Array) -> None:
        """Write the consoles into their rows."""
        self.kernels.save_rows(states)

    def load_rows(self, states: Array) -> None:
        """Bring the consoles into the states that the rows saved."""
        self.kernels.load_rows(states)

    def use_threads(self, slices: Sequence[slice]) -> None:
        """Let worker processes emulate all slices but the first."""
        self.kernels.emulators = Emulators(slices)

    def close(self) -> None:
        """Stop the workers."""
        self.kernels.emulators.close()

    def picture(self, state: Any, draw: Any) -> Array:
        """The console's screen.

        A console that was just restored has none, and then the state is drawn.
        """
        # Only the emulator that the picture is of is asked, wherever it works.
        # The emulator draws only what it has played; after a restore the picture is drawn from the
        # state.
        (screen,) = self.kernels.emulators.call("screen", [int(state["slot"])])
        return super().picture(state, draw) if screen is None else screen


class PongAtariEnv(KernelEnv):
    """Atari's Pong in the Arcade Learning Environment, seen as the positions of its objects.

    ## Description
    ALE/Pong-v5 run by `ale-py` (extra `atari`; the game comes with it). The features are read from
    the console's memory alone; `render` shows the real screen. `wm/Pong-v0` is a compiled copy with
    the same spaces and options, a thousand times faster: equal seeds and actions give equal
    episodes in both.

    A clone holds the whole console and the random stream of the action noise, so that
    `wm_envs.oracle.rollout` on cloned states gives the environment's own future.
    `gym.make_vec("wm/PongAtari-v0", 16, num_threads=2)` emulates in two processes, one for each
    thread, since ale-py holds the interpreter's lock.

    Observations are the positions of the objects, an easier input than pixels: scores are not
    comparable with those of agents that see the screen. See `wm/Pong-v0` for how the game works and
    what of its state is hidden.

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
    ACTION_NAMES = PongEnv.ACTION_NAMES
    KEYS = PongEnv.KEYS
    action_of_keys = staticmethod(PongEnv.action_of_keys)

    @classmethod
    def rules(cls, **options: Any) -> _AtariRules:
        """The game with these options, those of `PongEnv.rules`.

        Raises OptionError and MissingExtraError.
        """
        # All options are checked by the native game, so that both take the same ones.
        native, kernels = vars(make_rules(PongEnv, options)), _EmulatorKernels()
        replaced = {
            "state_dtype": STATE,
            "reset_rows": kernels.reset_rows,
            "step_rows": kernels.step_rows,
        }
        # A new emulator holder with every environment: consoles are never shared.
        return _AtariRules(**{**native, **replaced, "kernels": kernels})

    @staticmethod
    def draw(state: Any, parameters: Any) -> NDArray[Any]:  # noqa: ARG004
        """The game's screen as far as the state tells, uint8 [210, 160, 3]."""
        return render.draw(state)

    @staticmethod
    def describe(state: Any, parameters: Any) -> str:
        """The score, where everything is, and the court, as text."""
        return render.describe(state, parameters)


class PongAtariVectorEnv(KernelVectorEnv):
    """A batch of `wm/PongAtari-v0`.

    With `num_threads` n above 1, n - 1 further processes emulate beside this one; on Windows this
    process emulates all rows, after a warning.
    """

    env_class = PongAtariEnv

    def _step_rows(self, actions: Array, observations: Array, is_autoreset: bool) -> None:
        """All rows in one call: workers play side by side, and threads would only wait for them."""
        parameters = self._rules.parameters
        self._rules.step_rows(
            self._states, parameters, actions, observations, self._outcomes, is_autoreset
        )
