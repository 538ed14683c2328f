"""The constants of a `PongView`, measured from recorded games instead of told.

How actions move the player's paddle is known in form, not in size: each step of a push adds one to
a pull, which ends at 0 and at `reach`, and the paddle comes to rest at the pair of pixels
floor(offset + rate * pull). The rate and the places of start and ends are those that explain most
of the places where it rested after n pushes from either end, or from the start of a game. Sticky
actions begin late as often as they end late, so that this holds with them, too.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wm_agents.domains.pong.ball import height, is_known, meeting
from wm_agents.domains.pong.enemy import pause_frame
from wm_agents.domains.pong.layout import (
    BALL_X,
    BALL_Y,
    COURT,
    HIGHEST_PLACE,
    MEMORY,
    MOST_SPEED,
    NUM_FEATURES,
    NUM_PLACES,
    PLAYER_Y,
    PULLS,
    STACK,
    STEP,
    shift,
)
from wm_agents.domains.pong.memory import begin, is_first_wait
from wm_agents.domains.pong.paddle import follow_player
from wm_envs.errors import OptionError
from wm_envs.kernel import kernel

Array = NDArray[Any]

START, UPPER, LOWER = 0, 1, 2  # where pushes are counted from
MOST_PUSHES = 12  # that are told apart
LONG_PUSH = 12  # steps that take the pull to an end from anywhere
QUIET = 4  # steps without a push after which the paddle rests
NEAR_END = 48  # px: a push towards an end that is so near may be cut short
FEWEST = 20  # rests that are counted from each anchor, at least
RATES = np.arange(4.0, 20.0, 0.0025)  # pairs of pixels per step of push
NUM_REFINEMENTS, MOST_STEPS, SHARE_CHANGED = 400, 20_000, 0.5
SPREAD = np.array(
    [0.05, 0.3, 0.3, 0.3]
)  # of the rate and of the places of start and ends in the first refinement
NUM_STRETCHES = 40
FEWEST_BOUNCES = 3
FEWEST_GAMES, PURITY = (
    3,
    0.7,
)  # that tell when the enemy pauses after the first serve; share that agrees
CELLS = 64  # into which a pair is divided where a place is sought
NEWEST_PLAYER_Y = PLAYER_Y * STACK + STACK - 1


@dataclass(frozen=True)
class Pull:
    """What moves the player's paddle; `PongView` says what each is."""

    reach: float
    middle: float
    rest_offset: float
    rest_rate: float
    highest: float

    def charge(self) -> NDArray[np.int64]:
        """As the kernels take it, in millionths; of pauses, court and bounces nothing is known."""
        values = [self.reach, self.middle, self.rest_offset, self.rest_rate, self.highest]
        unknown, court, nothing = np.full(4, -1), np.ones(len(COURT)), np.zeros(2 * NUM_PLACES)
        return np.concatenate([np.rint(STEP * np.array(values)), unknown, court, nothing]).astype(
            np.int64
        )


def measure_pull(observations: Array, actions: Array, lengths: Array, *, seed: int = 0) -> Pull:
    """The constants of the player's paddle.

    Args:
        observations: [S + E, 56] of E episodes end to end, each from a reset to its end.
        actions: [S].
        lengths: [E].
        seed: Of the refinement.

    Raises:
        OptionError: Rests after pushes from the start or from an end are missing.
    """
    places = observations[:, NEWEST_PLAYER_Y].astype(np.int64)
    ends = int(places.min()), int(places.max())
    counts = np.zeros((3, 2 * MOST_PUSHES + 1, ends[1] // 2 + 1), np.int64)
    count_rests(places, PULLS[actions], lengths, ends[0], ends[1], counts)
    counts[:, :, ends[0] // 2] = 0  # the paddle is held there, whatever the pull
    if (counts.sum((1, 2)) < FEWEST).any():
        raise OptionError(
            "too few rests of the player's paddle after pushes from start and ends: record more"
        )
    explained, anchors = np.zeros(len(RATES), np.int64), np.zeros((len(RATES), 3))
    explain_rests(counts, RATES, explained, anchors)
    firsts = [np.array([RATES[row], *anchors[row]]) for row in best_of_each(explained)]
    return refined(firsts, float(ends[0]), (observations, actions.astype(np.int64), lengths), seed)


def best_of_each(explained: Array) -> list[int]:
    """Of each stretch of RATES the middle of those that explain most.

    Chance may favour a rate that is far off.
    """
    rows = []
    for stretch in np.array_split(np.arange(len(RATES)), NUM_STRETCHES):
        best = stretch[explained[stretch] == explained[stretch].max()]
        rows.append(int(best[len(best) // 2]))
    return rows


def refined(
    firsts: list[Array], highest: float, recording: tuple[Array, Array, Array], seed: int
) -> Pull:
    """Constants near the best of the first ones, with which the paddle's way, not only its rest, is explained best."""
    generator, rows = np.random.default_rng(seed), np.zeros(1, MEMORY)

    def cost(tried: Array) -> float:
        return float(misfit(*recording, _pull(tried, highest).charge(), MOST_STEPS, rows))

    best = min(firsts, key=cost)
    least = cost(best)
    for shrink in np.geomspace(1.0, 0.02, NUM_REFINEMENTS):
        tried = best + shrink * SPREAD * generator.normal(size=4) * (
            generator.random(4) < SHARE_CHANGED
        )
        now = cost(tried)
        if now <= least:
            best, least = tried, now
    return _pull(best, highest)


def _pull(constants: Array, highest: float) -> Pull:
    rate, start, top, bottom = map(float, constants)
    return Pull((bottom - top) / rate, (start - top) / rate, top, rate, highest)


@kernel
def misfit(
    observations: Array, actions: Array, lengths: Array, charge: Array, most: int, rows: Array
) -> float:
    """Late frames and pixels of error per step that the player's paddle needs, over at most so many steps."""
    step, seen, cost, memory = 0, 0, 0, rows[0]
    for length in lengths:
        begin(memory, observations[seen], charge)
        for number in range(min(length, most - step)):
            place = int(observations[seen + number + 1, NEWEST_PLAYER_Y])
            cost += follow_player(memory, place, actions[step + number])
            shift(memory.action, actions[step + number])
        step, seen = step + length, seen + length + 1
        if step >= most:
            break
    return cost / min(step, most)


@kernel
def explain_rests(counts: Array, rates: Array, explained: Array, anchors: Array) -> None:
    """For each rate, how many rests it explains at most, with which places of start and ends, in pairs of pixels."""
    num_pairs = counts.shape[2]
    votes = np.zeros(3 * num_pairs * CELLS, np.int64)
    for row in range(len(rates)):
        for anchor in range(3):
            votes[:] = 0
            for column in range(counts.shape[1]):
                for pair in range(num_pairs):
                    if counts[anchor, column, pair] > 0:
                        first = round(
                            (num_pairs + pair - rates[row] * (column - MOST_PUSHES)) * CELLS
                        )
                        if 0 <= first < len(votes) - CELLS:
                            votes[first : first + CELLS] += counts[anchor, column, pair]
            most = votes.max()
            cells = np.flatnonzero(votes == most)
            explained[row] += most
            anchors[row, anchor] = (cells[len(cells) // 2] + 0.5) / CELLS - num_pairs


@kernel
def count_rests(
    places: Array, pushes: Array, lengths: Array, high: int, low: int, counts: Array
) -> None:
    """Count at which pair of pixels the paddle rested after how many pushes down, less up, from which anchor."""
    step, seen = 0, 0
    for length in lengths:
        anchor, net, same, quiet, last = START, 0, 0, 0, 0
        for number in range(length):
            push, place = pushes[step + number], places[seen + number]
            same = same + 1 if push == last and push != 0 else 0
            quiet = quiet + 1 if push == 0 else 0
            if (push < 0 and place - high < NEAR_END) or (push > 0 and low - place < NEAR_END):
                anchor = -1
            if same >= LONG_PUSH:
                anchor, net = (LOWER if push > 0 else UPPER), 0
            elif anchor >= 0:
                net += push
            last = push
            if anchor >= 0 and quiet >= QUIET and abs(net) <= MOST_PUSHES:
                counts[anchor, net + MOST_PUSHES, places[seen + number + 1] // 2] += 1
        step, seen = step + length, seen + length + 1


def measure_bounces(
    memories: Array, actions: Array, lengths: Array, decided: Array
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """For either paddle the commonest speed of a ball after it was met at each of its places, in pixels down a frame.

    Args:
        memories: Rows [S] of recorded games, made with bounces of which nothing is known.
        actions: [S].
        lengths: [E].
        decided: [S, 6].
    """
    votes = np.zeros((2, NUM_PLACES, 2 * MOST_SPEED + 1), np.int64)
    count_bounces(memories, actions.astype(np.int64), lengths, decided, votes)
    return _commonest(votes[0]), _commonest(votes[1])


def _commonest(votes: Array) -> tuple[int, ...]:
    """Of places where too few balls were met, the nearest other counts."""
    seen = np.flatnonzero(votes.sum(1) >= FEWEST_BOUNCES)
    if not len(seen):
        raise OptionError(
            "a paddle hardly meets a ball in this recording: record more, with players that play"
        )
    speeds = votes.argmax(1) - MOST_SPEED
    return tuple(int(speeds[seen[np.abs(seen - place).argmin()]]) for place in range(NUM_PLACES))


@kernel
def count_bounces(
    memories: Array, actions: Array, lengths: Array, decided: Array, votes: Array
) -> None:
    """Count the speeds of balls after they were met, by paddle and place."""
    step = 0
    for length in lengths:
        for number in range(step, step + length - 1):
            memory, after = memories[number], memories[number + 1]
            is_met = is_known(memory) and is_known(after) and memory.step_x * after.step_x < 0
            if is_met:
                frame = meeting(memory, actions[number], decided[number])
                place = height(memory, actions[number], decided[number], frame) - HIGHEST_PLACE
                side = 0 if memory.step_x > 0 else 1
                speed = after.step_y // 4 + MOST_SPEED
                if frame < 4 and 0 <= place < NUM_PLACES and 0 <= speed < votes.shape[2]:
                    votes[side, place, speed] += 1
        step += length


def measure_first_pauses(memories: Array, lengths: Array) -> tuple[int, ...]:
    """When the enemy pauses after a game's first serve, by the ball's first place across modulo 4.

    The frame of the pauses plus 4 if the next one is a step further off; -1 where games disagree or
    too few tell.

    Args:
        memories: Rows [S] of recorded games, made without this.
        lengths: [E].
    """
    votes = np.zeros((4, 8), np.int64)
    count_first_pauses(memories, lengths, votes)
    num_votes = votes.sum(1)
    is_clear = (num_votes >= FEWEST_GAMES) & (votes.max(1) >= PURITY * num_votes)
    return tuple(
        int(code) if clear else -1 for code, clear in zip(votes.argmax(1), is_clear, strict=True)
    )


@kernel
def count_first_pauses(memories: Array, lengths: Array, votes: Array) -> None:
    """Count by the first place of a game's first ball which pauses explain the enemy's way to the game's end."""
    step = 0
    for length in lengths:
        first, last = -1, -1
        for number in range(step, step + length):
            memory = memories[number]
            if (
                first < 0
                and number > step
                and memory.absence == 0
                and is_first_wait(memories[number - 1])
            ):
                first = number
            if pause_frame(memory) < 4 and memory.beat < 2:
                last = number
        if first >= 0 and last >= first:
            beat = (memories[last].beat + last - first) % 2
            votes[memories[first].flight_x[0] % 4, pause_frame(memories[last]) + 4 * beat] += 1
        step += length


def measure_walls(observations: Array) -> tuple[float, float]:
    """The highest and the lowest place of the ball."""
    frames = observations.reshape(len(observations), NUM_FEATURES, STACK)
    ball = frames[:, BALL_Y][frames[:, BALL_X] > 0]
    return float(ball.min()), float(ball.max())


def measure_constants(observations: Array) -> tuple[tuple[int, int], ...]:
    """The features of a frame that never change, and their values."""
    frames = observations.reshape(len(observations), NUM_FEATURES, STACK)
    low, high = frames.min((0, 2)), frames.max((0, 2))
    return tuple((int(feature), int(low[feature])) for feature in np.flatnonzero(low == high))
