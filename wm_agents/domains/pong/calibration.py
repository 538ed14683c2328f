"""The constants of a `PongView`, estimated from recorded games: paddle, court, bounces and pauses.

How actions move the player's paddle is known in form, not in size: each step of a push adds one to
a setpoint, which ends at 0 and at `reach`, and the paddle comes to rest at the pair of pixels
floor(offset + rate * setpoint). The rate and the places of start and ends are those that explain
most of the places where it rested after n pushes from either end, or from the start of a game.
Sticky actions begin late as often as they end late, so that this holds with them, too.

Of the court it is known in form that a ball is thrown back at two lines, stands when it is behind a
paddle and becomes faster by FIRE, and that the enemy follows it by equal strides. The numbers are
those with which a state explains most of the recorded steps, sought one after the other from what
can be seen directly.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wm_agents.domains.pong.state import (
    COURT,
    ESTIMATE,
    HIGHEST_PLACE,
    NO_CONTACT,
    NUM_PLACES,
    PUSHES,
    UNITS_PER_STEP,
    UNKNOWN_PHASE,
    Part,
    shift,
)
from wm_agents.domains.pong.state_estimator import initialize
from wm_agents.domains.pong.tracking import (
    contact_frame,
    fly_step,
    height_on_paddle,
    is_first_wait,
    is_known,
    pause_frame,
    pause_now,
    update_player,
)
from wm_envs.errors import OptionError
from wm_envs.kernel import kernel
from wm_envs.pong import dynamics
from wm_envs.pong.columns import NUM_FEATURES, STACK, PongFeature

Array = NDArray[Any]

# The player's paddle
START, UPPER, LOWER = 0, 1, 2  # anchors, from which pushes are counted
MAX_PUSHES = 12  # that are told apart
LONG_PUSH = 12  # steps that take the setpoint to an end from anywhere
QUIET_STEPS = 4  # without a push after which the paddle rests
NEAR_END = 48  # px: a push towards an end that is so near may be cut short
MIN_RESTS = 20  # that are counted from each anchor
RATES = np.arange(4.0, 20.0, 0.0025)  # pairs of pixels per step of push
CELLS = 64  # into which a pair is divided where a place is sought
NUM_STRETCHES = 40  # of RATES, from each of which one rate is refined
NUM_REFINEMENTS = 400
REFINEMENT_STEPS = 20_000  # that a refinement is tried on, at most
CHANGED_FRACTION = 0.5  # of the constants, in each refinement
SPREAD = np.array([0.05, 0.3, 0.3, 0.3])  # of rate, start and ends in the first refinement

# Bounces and pauses
MAX_SPEED = 4  # px per frame down, of a ball that is taken for one
MIN_BOUNCES = 3
MIN_GAMES = 3  # that tell when the enemy pauses after the first serve
MIN_AGREEMENT = 0.7  # of them

# The court
SEARCH_RADIUS = 3  # px or so, from what is seen directly to the number
MAX_SWEEPS = 4
COMMON_FRACTION = 0.02  # of the steps in which a movement is no accident

NEWEST_PLAYER_Y = PongFeature.PLAYER_Y * STACK + STACK - 1


@dataclass(frozen=True)
class Court:
    """In pixels of the screen and pixels per frame; the numbers are the game's own.

    Args:
        top: A ball that rises turns where it is at most so low.
        bottom: A ball that falls turns where it is at least so low.
        left_goal: A ball that is at most so far right stands, and is a point.
        right_goal: A ball that is at least so far right stands, and is a point.
        stride: How far the enemy moves in a frame.
        aim: How far below the enemy's top edge the ball is when the enemy rests.
        gain: What FIRE adds to the speed of a ball that the player meets.
        top_speed: The fastest that a ball flies across.
    """

    top: int = dynamics.TOP_WALL - dynamics.BALL_TOP
    bottom: int = dynamics.BOTTOM_WALL - dynamics.BALL_TOP
    left_goal: int = dynamics.ENEMY_GOAL - dynamics.BALL_LEFT
    right_goal: int = dynamics.PLAYER_GOAL - dynamics.BALL_LEFT
    stride: int = 2
    aim: int = dynamics.ENEMY_TOP - dynamics.BALL_TOP
    gain: int = 1
    top_speed: int = dynamics.MAX_SPEED


@dataclass(frozen=True)
class PaddleConstants:
    """What moves the player's paddle; `PongView` says what each is."""

    reach: float
    middle: float
    rest_offset: float
    rest_rate: float
    highest: float

    def as_calibration(self) -> NDArray[np.int64]:
        """As the kernels take it, in millionths; pauses, court and bounces are unknown."""
        values = [self.reach, self.middle, self.rest_offset, self.rest_rate, self.highest]
        unknown_pauses = np.full(4, -1)
        some_court = np.ones(len(COURT))  # a stride of 0 would be divided by
        no_bounces = np.zeros(2 * NUM_PLACES)
        numbers = [np.rint(UNITS_PER_STEP * np.array(values)), unknown_pauses]
        return np.concatenate([*numbers, some_court, no_bounces]).astype(np.int64)


# The player's paddle


def estimate_paddle(
    observations: Array, actions: Array, lengths: Array, *, seed: int = 0
) -> PaddleConstants:
    """The constants of the player's paddle.

    Args:
        observations: [S + E, 56] of E concatenated episodes, each from a reset to its end.
        actions: [S].
        lengths: [E].
        seed: Of the refinement.

    Raises:
        OptionError: Rests after pushes from the start or from an end are missing.
    """
    places = observations[:, NEWEST_PLAYER_Y].astype(np.int64)
    upper = int(places.min())
    lower = int(places.max())
    counts = np.zeros((3, 2 * MAX_PUSHES + 1, lower // 2 + 1), np.int64)
    count_rests(places, PUSHES[actions], lengths, upper, lower, counts)
    counts[:, :, upper // 2] = 0  # the paddle is held there, whatever the setpoint
    if (counts.sum((1, 2)) < MIN_RESTS).any():
        raise OptionError(
            "too few rests of the player's paddle after pushes from start and ends: record more"
        )
    explained = np.zeros(len(RATES), np.int64)
    anchors = np.zeros((len(RATES), 3))
    explain_rests(counts, RATES, explained, anchors)
    candidates = [np.array([RATES[row], *anchors[row]]) for row in _best_of_each(explained)]
    recording = (observations, actions.astype(np.int64), lengths)
    return _refined(candidates, float(upper), recording, seed)


def _best_of_each(explained: Array) -> list[int]:
    """Of each stretch of RATES the middle of those that explain most.

    Chance may favor a rate that is far off.
    """
    rows = []
    for stretch in np.array_split(np.arange(len(RATES)), NUM_STRETCHES):
        best = stretch[explained[stretch] == explained[stretch].max()]
        rows.append(int(best[len(best) // 2]))
    return rows


def _refined(
    candidates: list[Array], highest: float, recording: tuple[Array, Array, Array], seed: int
) -> PaddleConstants:
    """Constants near the best candidate that explain the paddle's way best, not only its rest."""
    generator = np.random.default_rng(seed)
    rows = np.zeros(1, ESTIMATE)

    def cost(constants: Array) -> float:
        numbers = _paddle_constants(constants, highest).as_calibration()
        return float(paddle_error(*recording, numbers, REFINEMENT_STEPS, rows))

    best = min(candidates, key=cost)
    lowest_cost = cost(best)
    for shrink in np.geomspace(1.0, 0.02, NUM_REFINEMENTS):
        noise = generator.normal(size=4)
        is_changed = generator.random(4) < CHANGED_FRACTION
        candidate = best + shrink * SPREAD * noise * is_changed
        candidate_cost = cost(candidate)
        if candidate_cost <= lowest_cost:
            best = candidate
            lowest_cost = candidate_cost
    return _paddle_constants(best, highest)


def _paddle_constants(constants: Array, highest: float) -> PaddleConstants:
    rate, start, top, bottom = map(float, constants)
    return PaddleConstants((bottom - top) / rate, (start - top) / rate, top, rate, highest)


@kernel
def paddle_error(
    observations: Array,
    actions: Array,
    lengths: Array,
    calibration: Array,
    max_steps: int,
    rows: Array,
) -> float:
    """Late frames and pixels of error per step that the player's paddle needs."""
    step = 0
    first = 0  # observation of an episode
    cost = 0
    state = rows[0]
    for length in lengths:
        initialize(state, observations[first], calibration)
        for number in range(min(length, max_steps - step)):
            place = int(observations[first + number + 1, NEWEST_PLAYER_Y])
            cost += update_player(state, place, actions[step + number])
            shift(state.action, actions[step + number])
        step += length
        first += length + 1
        if step >= max_steps:
            break
    return cost / min(step, max_steps)


@kernel
def explain_rests(counts: Array, rates: Array, explained: Array, anchors: Array) -> None:
    """For each rate, how many rests it explains at most, and with which places of the anchors.

    Each rest votes for the cells, parts of a pair of pixels, where its anchor may be.
    """
    num_pairs = counts.shape[2]
    votes = np.zeros(3 * num_pairs * CELLS, np.int64)
    for row in range(len(rates)):
        for anchor in range(3):
            votes[:] = 0
            for column in range(counts.shape[1]):
                moved = rates[row] * (column - MAX_PUSHES)
                for pair in range(num_pairs):
                    if counts[anchor, column, pair] > 0:
                        first = round((num_pairs + pair - moved) * CELLS)
                        if 0 <= first < len(votes) - CELLS:
                            votes[first : first + CELLS] += counts[anchor, column, pair]
            most = votes.max()
            cells = np.flatnonzero(votes == most)
            explained[row] += most
            anchors[row, anchor] = (cells[len(cells) // 2] + 0.5) / CELLS - num_pairs


@kernel
def count_rests(
    places: Array, pushes: Array, lengths: Array, upper: int, lower: int, counts: Array
) -> None:
    """Count at which pair of pixels the paddle rested after how many net pushes from an anchor."""
    step = 0
    first = 0
    for length in lengths:
        anchor = START
        net = 0
        num_same = 0
        num_quiet = 0
        last = 0
        for number in range(length):
            push = pushes[step + number]
            place = places[first + number]
            num_same = num_same + 1 if push == last and push != 0 else 0
            num_quiet = num_quiet + 1 if push == 0 else 0
            is_near_upper = push < 0 and place - upper < NEAR_END
            is_near_lower = push > 0 and lower - place < NEAR_END
            if is_near_upper or is_near_lower:
                anchor = -1
            if num_same >= LONG_PUSH:
                anchor = LOWER if push > 0 else UPPER
                net = 0
            elif anchor >= 0:
                net += push
            last = push
            if anchor >= 0 and num_quiet >= QUIET_STEPS and abs(net) <= MAX_PUSHES:
                counts[anchor, net + MAX_PUSHES, places[first + number + 1] // 2] += 1
        step += length
        first += length + 1


# Bounces


def estimate_bounces(
    states: Array, actions: Array, lengths: Array, next_values: Array
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """For either paddle the commonest speed down of a ball that it met, by place, in px per frame.

    Args:
        states: Rows [S] of recorded games, made with bounces of which nothing is known.
        actions: [S].
        lengths: [E].
        next_values: [S, 6].

    Raises:
        OptionError: A paddle hardly meets a ball.
    """
    votes = np.zeros((2, NUM_PLACES, 2 * MAX_SPEED + 1), np.int64)
    count_bounces(states, actions.astype(np.int64), lengths, next_values, votes)
    return _commonest(votes[0]), _commonest(votes[1])


def _commonest(votes: Array) -> tuple[int, ...]:
    """Of places where too few balls were met, the nearest other counts."""
    recorded = np.flatnonzero(votes.sum(1) >= MIN_BOUNCES)
    if not len(recorded):
        raise OptionError(
            "a paddle hardly meets a ball in this recording: record more, with players that play"
        )
    speeds = votes.argmax(1) - MAX_SPEED
    nearest = [recorded[np.abs(recorded - place).argmin()] for place in range(NUM_PLACES)]
    return tuple(int(speeds[place]) for place in nearest)


@kernel
def count_bounces(
    states: Array, actions: Array, lengths: Array, next_values: Array, votes: Array
) -> None:
    """Count the speeds of balls after they were met, by paddle and place."""
    step = 0
    for length in lengths:
        for number in range(step, step + length - 1):
            state = states[number]
            after = states[number + 1]
            if is_known(state) and is_known(after) and state.velocity_x * after.velocity_x < 0:
                frame = contact_frame(state, actions[number], next_values[number])
                height = height_on_paddle(state, actions[number], next_values[number], frame)
                place = height - HIGHEST_PLACE
                side = 0 if state.velocity_x > 0 else 1
                speed = after.velocity_y // 4 + MAX_SPEED
                is_place = 0 <= place < NUM_PLACES
                if frame < NO_CONTACT and is_place and 0 <= speed < votes.shape[2]:
                    votes[side, place, speed] += 1
        step += length


# The enemy's pauses


def estimate_first_pauses(states: Array, lengths: Array) -> tuple[int, ...]:
    """When the enemy pauses after a game's first serve, by the ball's first place across modulo 4.

    The frame of the pauses plus 4 if the next one is a step further off; -1 where games disagree or
    too few tell.

    Args:
        states: Rows [S] of recorded games, made without this.
        lengths: [E].
    """
    votes = np.zeros((4, 8), np.int64)
    count_first_pauses(states, lengths, votes)
    num_votes = votes.sum(1)
    is_clear = (num_votes >= MIN_GAMES) & (votes.max(1) >= MIN_AGREEMENT * num_votes)
    codes = np.where(is_clear, votes.argmax(1), -1)
    return tuple(int(code) for code in codes)


@kernel
def count_first_pauses(states: Array, lengths: Array, votes: Array) -> None:
    """Count by the first place of a game's first ball which pauses explain the enemy's way."""
    step = 0
    for length in lengths:
        first = -1  # step with a ball
        last = -1  # step in which the pauses are known
        for number in range(step, step + length):
            state = states[number]
            was_waiting = number > step and is_first_wait(states[number - 1])
            if first < 0 and was_waiting and state.steps_absent == 0:
                first = number
            if pause_frame(state) < 4 and state.enemy_phase < UNKNOWN_PHASE:
                last = number
        if first >= 0 and last >= first:
            phase = (states[last].enemy_phase + last - first) % 2
            votes[states[first].flight_x[0] % 4, pause_frame(states[last]) + 4 * phase] += 1
        step += length


# The court


def visible_court(observations: Array) -> Court:
    """What the extremes of observations [N, 56] say directly.

    Raises OptionError where no ball flies in them.
    """
    frames = _frames(observations)[:, :, -2:].astype(np.int64)
    is_there = (frames[:, PongFeature.BALL_X] > 0).all(1)
    if not is_there.any():
        raise OptionError("there is no ball in this recording: record more, with players that play")
    x = frames[is_there, PongFeature.BALL_X]
    y = frames[is_there, PongFeature.BALL_Y, -1]
    moved_x = _largest(np.abs(np.diff(x)).ravel())
    moved_enemy = _largest(np.abs(np.diff(frames[is_there, PongFeature.ENEMY_Y])).ravel())
    return Court(
        top=int(y.min()),
        bottom=int(y.max()),
        left_goal=int(x[:, -1].min()),
        right_goal=int(x[:, -1].max()),
        stride=max(moved_enemy // 4, 1),
        aim=0,
        gain=0,
        top_speed=max(moved_x // 4, 1),
    )


def _largest(movements: Array) -> int:
    """The largest movement that is no accident, such as a ball that is served."""
    values, counts = np.unique(movements, return_counts=True)
    return int(values[counts >= COMMON_FRACTION * len(movements)].max(initial=0))


def estimate_court(first: Court, cost: Callable[[Court], int]) -> Court:
    """The court near the first one that leaves least unexplained, changed one number at a time."""
    best = first
    lowest_cost = cost(first)
    for _ in range(MAX_SWEEPS):
        before = best
        for field in fields(Court):
            value = getattr(before, field.name)
            for changed in range(value - SEARCH_RADIUS, value + SEARCH_RADIUS + 1):
                candidate = replace(best, **{field.name: changed})
                if changed == value or candidate.stride <= 0:
                    continue
                candidate_cost = cost(candidate)
                if candidate_cost < lowest_cost:
                    best = candidate
                    lowest_cost = candidate_cost
        if best == before:
            break
    return best


@kernel
def count_unexplained(states: Array, actions: Array, next_values: Array) -> int:
    """Steps in which the ball is not where it was expected, and those without a fitting pause."""
    count = 0
    for step in range(len(states)):
        state = states[step]
        values = next_values[step]
        if state.steps_absent > 0 or state.flight_length < 2 or values[Part.BALL_X] == 0:
            continue
        if not is_known(state):
            count += 2
            continue
        next_player = values[Part.PLAYER_Y]
        flight = fly_step(state, actions[step], next_player, pause_now(state))
        if flight.x != values[Part.BALL_X] or flight.y != values[Part.BALL_Y]:
            count += 1
        is_explained = False
        for pause in range(5):
            if fly_step(state, actions[step], next_player, pause).enemy_y == values[Part.ENEMY_Y]:
                is_explained = True
        if not is_explained:
            count += 1
    return count


# What is seen directly


def ball_extremes(observations: Array) -> tuple[float, float]:
    """The highest and the lowest place of the ball."""
    frames = _frames(observations)
    ball = frames[:, PongFeature.BALL_Y][frames[:, PongFeature.BALL_X] > 0]
    return float(ball.min()), float(ball.max())


def constant_features(observations: Array) -> tuple[tuple[int, int], ...]:
    """The features of a frame that never change, and their values."""
    frames = _frames(observations)
    low = frames.min((0, 2))
    high = frames.max((0, 2))
    return tuple((int(feature), int(low[feature])) for feature in np.flatnonzero(low == high))


def _frames(observations: Array) -> Array:
    """Observations [N, 56] as frames [N, 14, 4]."""
    return observations.reshape(len(observations), NUM_FEATURES, STACK)
