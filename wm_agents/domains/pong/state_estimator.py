"""A state estimator for Pong: what a player can remember, from observations and actions alone.

`StateEstimator` starts an estimated state from an observation, updates it step by step, replays
recordings and gives the observation back that a state holds. A state is one row of
`wm_agents.domains.pong.state.ESTIMATE`, seen from outside as integers.

Much of the game is specified here and not learned: how paddles and ball move is run by the rules of
`wm_envs.pong.dynamics` (`tracking`). Their constants are estimated (`calibration`); where a serve
goes, what noise does and what else is left open is learned by a world model. A result that rests on
this module has to say so.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from wm_agents.domains.pong.state import (
    COURT,
    ESTIMATE,
    FEATURE_OF_PART,
    FIRST_WAIT,
    HIGHEST_ENEMY,
    LAST_WAIT,
    MAX_STEPS_ABSENT,
    NO_CONTACT,
    NO_HYPOTHESIS,
    NUM_PARTS,
    NUM_PLACES,
    OBSERVATION_SIZE,
    UNITS_PER_STEP,
    UNKNOWN_ACTION,
    UNKNOWN_PHASE,
    Hypothesis,
    Part,
    as_integers,
    as_rows,
    fill,
    shift,
)
from wm_agents.domains.pong.tracking import (
    Flight,
    add_hypothesis,
    fly_step,
    is_first_wait,
    is_known,
    is_near_wall,
    pause_now,
    select_hypothesis,
    set_first_pauses,
    update_ball,
    update_enemy,
    update_player,
)
from wm_envs.data.display import span
from wm_envs.errors import OptionError
from wm_envs.kernel import Row, kernel
from wm_envs.pong.columns import NUM_FEATURES, STACK, PongFeature

Array = NDArray[Any]

# Where constants begin in the calibration array that kernels take
REACH, MIDDLE, REST_OFFSET, REST_RATE, HIGHEST = range(5)
FIRST_PAUSES = 5
COURT_START = FIRST_PAUSES + 4
BOUNCES_START = COURT_START + len(COURT)
CALIBRATION_SIZE = BOUNCES_START + 2 * NUM_PLACES


class StateEstimator:
    """Estimated states of games with known constants.

    Args:
        calibration: [CALIBRATION_SIZE] integers, as `PongView.calibration` gives them.
        constants: Features of a frame that never change, and their values in pixels.
    """

    def __init__(
        self, calibration: NDArray[np.int64], constants: tuple[tuple[int, int], ...]
    ) -> None:
        self.calibration = calibration
        self.constants = constants

    def initialize(self, observations: Array) -> NDArray[np.int32]:
        """States [B, M] of observations [B, 56] alone.

        Raises:
            OptionError: The constant features are not where they belong, so this is another layout.
        """
        check_layout(observations)
        frames = observations.reshape(len(observations), NUM_FEATURES, STACK)
        for feature, value in self.constants:
            if (frames[:, feature] != value).any():
                raise OptionError(
                    f"feature {feature} of Pong is always {value}: "
                    "these observations have another layout"
                )
        rows = np.zeros(len(observations), ESTIMATE)
        initialize_rows(rows, observations, self.calibration)
        return as_integers(rows)

    def replay(
        self, observations: Array, actions: Array, lengths: Array
    ) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
        """States [S, M] before each step of concatenated episodes, and the values [S, 6] after it.

        Raises:
            OptionError: The recording is of another layout.
        """
        check_recording(observations, actions, lengths)
        num_steps = int(lengths.sum())
        rows = np.zeros(num_steps, ESTIMATE)
        next_values = np.zeros((num_steps, NUM_PARTS), np.int64)
        replay_rows(
            observations, actions.astype(np.int64), lengths, self.calibration, rows, next_values
        )
        return as_integers(rows), next_values

    def update(self, states: Array, actions: Array, next_values: Array) -> NDArray[np.int32]:
        """The states [B, M] after a step; rows with a negative action stay."""
        after = np.array(states, np.int32)
        update_rows(as_rows(after), actions, next_values)
        return after

    def observations(self, states: Array) -> NDArray[np.float32]:
        """The observations [B, 56] that states hold."""
        out = np.zeros((len(states), NUM_FEATURES, STACK), np.float32)
        for feature, value in self.constants:
            out[:, feature] = value
        flat = out.reshape(len(out), OBSERVATION_SIZE)
        observation_rows(as_rows(states), flat)
        return flat


def encode(observations: Array) -> NDArray[np.int64]:
    """The newest values [B, 6] of the parts, from observations [B, 56]."""
    columns = [feature * STACK + STACK - 1 for feature in FEATURE_OF_PART]
    return np.ascontiguousarray(observations[:, columns], dtype=np.int64)


def check_layout(observations: Array) -> None:
    """Raise OptionError unless observations are [B, 56]."""
    if observations.ndim != 2 or observations.shape[1] != OBSERVATION_SIZE:
        raise OptionError(
            f"expected observations [B, {OBSERVATION_SIZE}] of Pong, got shape "
            f"{observations.shape}: this is another layout, such as that of directions=True"
        )


def check_recording(observations: Array, actions: Array, lengths: Array) -> None:
    """Raise OptionError unless the arrays fit together: compiled code reads where they point."""
    check_layout(observations)
    num_steps = int(lengths.sum())
    num_observations = num_steps + len(lengths)
    is_fitting = len(actions) == num_steps and len(observations) == num_observations
    if (lengths < 1).any() or not is_fitting:
        raise OptionError(
            f"{len(lengths)} episodes of {num_steps} steps have as many actions and "
            f"{num_observations} observations, got {len(actions)} and {len(observations)}"
        )
    if num_steps and not 0 <= actions.min() <= actions.max() < UNKNOWN_ACTION:
        raise OptionError(
            f"Pong's actions are 0 to 5, got {span(int(actions.min()), int(actions.max()))}"
        )


@kernel
def calibrate_row(state: Row, calibration: Array) -> None:
    """Put the constants into a row."""
    state.reach = calibration[REACH]
    state.rest_offset = calibration[REST_OFFSET]
    state.rest_rate = calibration[REST_RATE]
    state.highest = calibration[HIGHEST] // UNITS_PER_STEP
    for number in range(4):
        state.first_pauses[number] = calibration[FIRST_PAUSES + number]
    # In the order of COURT
    state.top = calibration[COURT_START]
    state.bottom = calibration[COURT_START + 1]
    state.left_goal = calibration[COURT_START + 2]
    state.right_goal = calibration[COURT_START + 3]
    state.stride = calibration[COURT_START + 4]
    state.aim = calibration[COURT_START + 5]
    state.gain = calibration[COURT_START + 6]
    state.top_speed = calibration[COURT_START + 7]
    for number in range(2 * NUM_PLACES):
        state.bounces[number // NUM_PLACES, number % NUM_PLACES] = calibration[
            BOUNCES_START + number
        ]


@kernel
def update(state: Row, action: int, next_values: Array) -> None:
    """Take a step into account: the action and the values that it led to."""
    flight = Flight(0, 0, 0, 0, NO_CONTACT, 0)
    is_flown = is_known(state)
    is_straight = False
    if is_flown:
        flight = fly_step(state, action, int(next_values[Part.PLAYER_Y]), pause_now(state))
        is_near = is_near_wall(state, int(state.flight_y[0]), int(state.velocity_y))
        is_straight = flight.contact == NO_CONTACT and not is_near
    update_player(state, next_values[Part.PLAYER_Y], action)
    shift(state.action, action)
    update_enemy(state, next_values[Part.ENEMY_Y], is_straight)
    if next_values[Part.BALL_X] > 0 and is_first_wait(state):
        set_first_pauses(state, next_values[Part.BALL_X])
    update_ball(state, next_values[Part.BALL_X], next_values[Part.BALL_Y], flight, is_flown)
    shift(state.ball_x, next_values[Part.BALL_X])
    shift(state.ball_y, next_values[Part.BALL_Y])
    shift(state.player_score, next_values[Part.PLAYER_SCORE])
    shift(state.enemy_score, next_values[Part.ENEMY_SCORE])


@kernel
def is_first_observation(observation: Array) -> bool:
    """Whether all frames are equal, as at the start of an episode."""
    for feature in range(NUM_FEATURES):
        for frame in range(1, STACK):
            if observation[feature * STACK + frame] != observation[feature * STACK]:
                return False
    return True


@kernel
def initialize(state: Row, observation: Array, calibration: Array) -> None:
    """A state of nothing but the four frames of an observation.

    Four equal ones are taken for a new game.
    """
    fill(state.player_y, int(observation[PongFeature.PLAYER_Y * STACK]))
    fill(state.enemy_y, int(observation[PongFeature.ENEMY_Y * STACK]))
    fill(state.player_score, int(observation[PongFeature.PLAYER_SCORE * STACK]))
    fill(state.enemy_score, int(observation[PongFeature.ENEMY_SCORE * STACK]))
    fill(state.action, UNKNOWN_ACTION)
    fill(state.flight_x, 0)
    fill(state.flight_y, 0)
    state.flight_length = 0
    state.velocity_x = 0
    state.velocity_y = 0
    state.is_velocity_known = 0
    state.steps_absent = MAX_STEPS_ABSENT
    state.frames_to_exit = FIRST_WAIT
    state.enemy_phase = UNKNOWN_PHASE
    fill(state.pause_errors, 0)
    state.hypotheses[:, Hypothesis.COST] = NO_HYPOTHESIS
    state.paddle_phase = UNKNOWN_PHASE
    state.setpoint = -1
    state.last_push = 0
    calibrate_row(state, calibration)
    values = np.zeros(NUM_PARTS, np.int64)
    for frame in range(STACK):
        for part in range(NUM_PARTS):
            values[part] = int(observation[FEATURE_OF_PART[part] * STACK + frame])
        update(state, UNKNOWN_ACTION, values)
    if is_first_observation(observation):
        # The wait for the first serve starts here, or frames before it: the enemy is on its way.
        state.steps_absent = 1
        strides = (int(observation[PongFeature.ENEMY_Y * STACK]) - HIGHEST_ENEMY) // state.stride
        state.frames_to_exit = FIRST_WAIT + min(max(strides, 0), LAST_WAIT - FIRST_WAIT)
        for phase in range(2):
            add_hypothesis(state.hypotheses, calibration[MIDDLE], 0, phase, 0)
        select_hypothesis(state)


@kernel
def write_observation(state: Row, out: Array) -> None:
    """The four frames, oldest first, at their interleaved places.

    Constant columns are left alone.
    """
    for frame in range(STACK):
        age = STACK - 1 - frame
        out[PongFeature.PLAYER_Y * STACK + frame] = state.player_y[age]
        out[PongFeature.ENEMY_Y * STACK + frame] = state.enemy_y[age]
        out[PongFeature.BALL_X * STACK + frame] = state.ball_x[age]
        out[PongFeature.BALL_Y * STACK + frame] = state.ball_y[age]
        out[PongFeature.PLAYER_SCORE * STACK + frame] = state.player_score[age]
        out[PongFeature.ENEMY_SCORE * STACK + frame] = state.enemy_score[age]


# All rows


@kernel
def initialize_rows(states: Array, observations: Array, calibration: Array) -> None:
    """States of the frames in observations [B, 56]."""
    for row in range(len(states)):
        initialize(states[row], observations[row], calibration)


@kernel
def update_rows(states: Array, actions: Array, next_values: Array) -> None:
    """Update every row; one whose action is negative has no step to take into account."""
    for row in range(len(states)):
        if actions[row] >= 0:
            update(states[row], actions[row], next_values[row])


@kernel
def observation_rows(states: Array, out: Array) -> None:
    """Observations [B, 56] whose constant columns are set already."""
    for row in range(len(states)):
        write_observation(states[row], out[row])


@kernel
def replay_rows(
    observations: Array,
    actions: Array,
    lengths: Array,
    calibration: Array,
    states: Array,
    next_values: Array,
) -> None:
    """The state [S] before every recorded step, and the values [S, 6] after it."""
    step = 0
    row = 0  # of the observation before the step
    for length in lengths:
        for number in range(length):
            if number == 0:
                initialize(states[step], observations[row], calibration)
            else:
                states[step] = states[step - 1]
                update(states[step], actions[step - 1], next_values[step - 1])
            for part in range(NUM_PARTS):
                column = FEATURE_OF_PART[part] * STACK + STACK - 1
                next_values[step, part] = int(observations[row + 1, column])
            step += 1
            row += 1
        row += 1  # an episode's last observation has no step
