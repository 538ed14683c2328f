"""`wm/PongAtari-v0`: the Atari game itself, run by the Arcade Learning Environment, seen through the same shells.

A row keeps what the agent may see and its random stream; the console lives in an emulator beside it, is written into
the row before a clone and taken out of it after a restore. The noise of the actions is drawn here, from the row, and
not in the emulator, so that a clone carries its own future.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wm_envs.environment import Array, KernelEnv, KernelVectorEnv, Rules
from wm_envs.errors import MissingExtraError, StateError
from wm_envs.kernel import state_dtype
from wm_envs.pong import dynamics, render
from wm_envs.pong.env import PongEnv

SAVED_CAPACITY = 8192  # bytes; ale-py 0.12 writes 7,717 for this game
MEMORY_SIZE = 128

STATE = state_dtype(
    [
        *dynamics.SEEN,
        ("slot", np.int64),  # the row's emulator among those of its environment
        ("saved_size", np.int64),  # bytes of the saved console, 0 before the first reset
        ("saved", np.uint8, (SAVED_CAPACITY,)),
    ]
)


def import_ale() -> Any:
    """The package ale_py; raises MissingExtraError where it is not installed."""
    try:
        import ale_py
    except ImportError as error:
        message = 'wm/PongAtari-v0 needs ale-py: pip install "wm-suite[atari]", or use wm/Pong-v0'
        raise MissingExtraError(message) from error
    return ale_py


class Console:
    """One emulator with Pong in its slot."""

    def __init__(self) -> None:
        ale_py = import_ale()
        ale_py.ALEInterface.setLoggerMode(ale_py.LoggerMode.Error)
        self._ale = ale_py.ALEInterface()
        self._ale.setFloat("repeat_action_probability", 0.0)
        self._ale.loadROM(ale_py.roms.get_rom_path("pong"))
        self._actions = self._ale.getMinimalActionSet()
        self._make_state = ale_py.ALEState
        self._memory: NDArray[np.uint8] = np.zeros(MEMORY_SIZE, np.uint8)
        self.has_screen = False  # of the present state; a restored console draws with its next frame

    def start(self, num_noops: int) -> NDArray[np.uint8]:
        """Start a game, wait some frames and give the memory [128], a buffer that the next call overwrites."""
        self._ale.reset_game()
        return self.play([dynamics.NOOP] * num_noops)

    def play(self, actions: list[int]) -> NDArray[np.uint8]:
        """Play one frame per action, which takes no effect once the game is over, and give the memory [128]."""
        act, codes = self._ale.act, self._actions
        for action in actions:
            act(codes[action])
        self.has_screen = True
        self._ale.getRAM(self._memory)
        return self._memory

    def screen(self) -> NDArray[np.uint8]:
        """The picture of the last frame, uint8 [210, 160, 3]."""
        picture: NDArray[np.uint8] = self._ale.getScreenRGB()
        return picture

    def save(self) -> bytes:
        """The whole console."""
        saved: bytes = self._ale.cloneState().__getstate__()
        return saved

    def load(self, saved: bytes) -> None:
        """Return to a saved console."""
        self._ale.restoreState(self._make_state(saved))
        self.has_screen = False


class Consoles:
    """The consoles of an environment by their slot, each made when it is first needed, and the rules that use them."""

    def __init__(self) -> None:
        import_ale()
        self._consoles: dict[int, Console] = {}

    def __getstate__(self) -> dict[int, bytes]:
        return {slot: console.save() for slot, console in self._consoles.items()}

    def __setstate__(self, saved: dict[int, bytes]) -> None:
        self._consoles = {}
        for slot, console in saved.items():
            self.at(slot).load(console)

    def at(self, slot: int) -> Console:
        """The console of a slot."""
        if slot not in self._consoles:
            self._consoles[slot] = Console()
        return self._consoles[slot]

    def save_rows(self, states: Array) -> None:
        """Write the consoles into their rows."""
        for row, slot in enumerate(states["slot"].tolist()):
            if slot not in self._consoles:
                continue
            saved = self._consoles[slot].save()
            if len(saved) > SAVED_CAPACITY:
                raise StateError(f"a console takes {len(saved)} bytes, a row has room for {SAVED_CAPACITY}")
            states["saved"][row, : len(saved)] = np.frombuffer(saved, np.uint8)
            states["saved_size"][row] = len(saved)

    def load_rows(self, states: Array) -> None:
        """Give each row a console and bring it into the state that the row saved."""
        for row, size in enumerate(states["saved_size"].tolist()):
            states["slot"][row] = row
            if size > 0:
                self.at(row).load(states["saved"][row, :size].tobytes())

    def reset_rows(self, states: Array, parameters: Array, mask: Array) -> None:
        """Start the masked rows anew."""
        for row in np.flatnonzero(mask).tolist():
            self._reset_row(states, parameters, row)

    def step_rows(
        self,
        states: Array,
        parameters: Array,
        actions: Array,
        observations: Array,
        outcomes: Array,
        is_autoreset: bool,
    ) -> None:
        """Advance all rows; one that has ended is reset when `is_autoreset` and else holds still with no reward."""
        executed = np.zeros(int(parameters["frame_skip"][0]), np.int64)
        for row, has_ended in enumerate(states["ended"].tolist()):
            if not has_ended:
                dynamics.execute_row(states, parameters, row, actions[row], executed)
                memory = self.at(int(states["slot"][row])).play(executed.tolist())
                dynamics.see_step(states, parameters, row, memory, outcomes)
            elif is_autoreset:
                dynamics.clear_row(outcomes, row)
                self._reset_row(states, parameters, row)
            else:
                dynamics.hold_row_still(outcomes, row)
        dynamics.observe_rows(states, parameters, observations)

    def _reset_row(self, states: Array, parameters: Array, row: int) -> None:
        num_noops = dynamics.start_row(states, parameters, row)
        memory = self.at(int(states["slot"][row])).start(int(num_noops))
        dynamics.see_first_frame(states, row, memory)


@dataclass(frozen=True, kw_only=True)
class AtariRules(Rules):
    """Rules whose states live partly in consoles."""

    consoles: Consoles

    def save_rows(self, states: Array) -> None:
        """Write the consoles into their rows."""
        self.consoles.save_rows(states)

    def load_rows(self, states: Array) -> None:
        """Bring the consoles into the states that the rows saved."""
        self.consoles.load_rows(states)

    def picture(self, state: Any, draw: Any) -> Array:
        """The console's screen; a console that was just restored has none, and then the state is drawn."""
        console = self.consoles.at(int(state["slot"]))
        return console.screen() if console.has_screen else super().picture(state, draw)


class PongAtariEnv(KernelEnv):
    """Atari's Pong in the Arcade Learning Environment, seen as the positions of its objects.

    ## Description
    ALE/Pong-v5 run by `ale-py` (extra `atari`; the game comes with it). The features are read from the console's memory
    alone; `render` shows the real screen. `wm/Pong-v0` is a compiled copy with the same spaces and options, a thousand
    times faster: equal seeds and actions give equal episodes in both.

    A clone holds the whole console and the random stream of the action noise, so that `wm_envs.oracle.rollout` on
    cloned states gives the environment's own future. Emulators run in parallel: `gym.make_vec(..., num_threads=2)`.

    Observations are the positions of the objects, an easier input than pixels: scores are not comparable with those of
    agents that see the screen. See `wm/Pong-v0` for how the game works and what of its state is hidden.

    ## Action Space
    `Discrete(6)`: NOOP, FIRE, RIGHT (up), LEFT (down), RIGHT with FIRE, LEFT with FIRE, each for `frame_skip` frames.

    ## Observation Space
    `Box((56,), float32)`: 14 features in pixels, each in the last four steps, the oldest first, so that feature f in
    frame k is number 4 f + k. After a reset the first frame is repeated.

    | Index | Field | Unit | Low | High | Meaning |
    |---|---|---|---|---|---|
    | 0-3 | `player_x_0` ... `player_x_3` | px | 0 | 140 | left edge of the agent's paddle |
    | 4-7 | `player_y_0` ... `player_y_3` | px | 25 | 190 | its top edge |
    | 8-11 | `player_width_0` ... `player_width_3` | px | 0 | 4 | its width |
    | 12-15 | `player_height_0` ... `player_height_3` | px | 0 | 16 | its height |
    | 16-19 | `enemy_x_0` ... `enemy_x_3` | px | 0 | 16 | left edge of the enemy's paddle |
    | 20-23 | `enemy_y_0` ... `enemy_y_3` | px | -15 | 194 | its top edge; above the court while there is no ball |
    | 24-27 | `enemy_width_0` ... `enemy_width_3` | px | 0 | 4 | its width |
    | 28-31 | `enemy_height_0` ... `enemy_height_3` | px | 0 | 16 | its height |
    | 32-35 | `ball_x_0` ... `ball_x_3` | px | 0 | 157 | left edge of the ball; 0 while there is no ball |
    | 36-39 | `ball_y_0` ... `ball_y_3` | px | 0 | 194 | its top edge; 0 while there is no ball |
    | 40-43 | `ball_width_0` ... `ball_width_3` | px | 0 | 2 | its width |
    | 44-47 | `ball_height_0` ... `ball_height_3` | px | 0 | 4 | its height |
    | 48-51 | `player_score_0` ... `player_score_3` | points | 0 | 21 | points of the agent |
    | 52-55 | `enemy_score_0` ... `enemy_score_3` | points | 0 | 21 | points of the enemy |

    `directions=True` adds `ball_dx` and `ball_dy`, the change of the ball's position since the frame before.

    ## Rewards
    `point`: 1 when the agent scores, -1 when the enemy does, weighted by `reward_weights`.

    ## Starting State
    The console's, after 0 to `max_noops` frames without an action, uniformly. The first ball is served 58 frames after
    the console's start.

    ## Episode End
    Terminated when one side has 21 points; truncated after `time_limit` steps. `info["is_success"]`: the agent has won;
    `info["player_score"]` and `info["enemy_score"]` count the points.

    ## Arguments
    | Option | Default | Meaning |
    |---|---|---|
    | `frame_skip` | 4 | frames of the 60 Hz game that an action lasts |
    | `repeat_action_probability` | 0.0 | probability that a frame repeats the last one's action ("sticky") |
    | `max_noops` | 30 | frames without an action before the start, at most; up to 120 |
    | `directions` | `False` | add the ball's velocity to each frame: 64 numbers |
    | `reward_weights` | `{"point": 1.0}` | weight of each reward component |
    | `time_limit` | 108,000 / `frame_skip` | steps of an episode |

    ## Version History
    - v0: first version.
    """

    metadata: dict[str, Any] = {"render_modes": ["rgb_array", "human", "ansi"], "render_fps": 15}

    @classmethod
    def rules(cls, **options: Any) -> AtariRules:
        """The game with these options, those of `pong_parameters`; raises OptionError and MissingExtraError."""
        consoles = Consoles()
        native = vars(PongEnv.rules(**options))
        own = {"state_dtype": STATE, "reset_rows": consoles.reset_rows, "step_rows": consoles.step_rows}
        return AtariRules(**{**native, **own, "consoles": consoles})

    @staticmethod
    def draw(state: Any, parameters: Any) -> NDArray[Any]:  # noqa: ARG004
        """The game's screen as far as the state tells, uint8 [210, 160, 3]."""
        return render.draw(state)

    @staticmethod
    def describe(state: Any, parameters: Any) -> str:
        """The score and where everything is, as two lines of text."""
        return render.describe(state, parameters)


class PongAtariVectorEnv(KernelVectorEnv):
    """A batch of `wm/PongAtari-v0`: one emulator per row, split over `num_threads` threads."""

    env_class = PongAtariEnv
