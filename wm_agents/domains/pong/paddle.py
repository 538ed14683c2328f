"""How the player's paddle follows the actions: a pull that they charge, a lag, and guesses where noise hides them.

With sticky actions nobody sees which action was executed. A memory row follows a few guesses of how
many frames of a step still went by the action before, as by Viterbi (1967), and the paddle's own
places say which guess is right.
"""

from typing import Any

from numpy.typing import NDArray

from wm_agents.domains.pong.layout import (
    COST,
    DEAREST,
    HELD,
    MOST_PIXELS,
    NEVER,
    NUM_GUESSES,
    PER_PIXEL,
    PHASE,
    PULL,
    PULLS,
    STEP,
    SURE,
    UNKNOWN_ACTION,
    shift,
)
from wm_envs.kernel import Row, kernel

Array = NDArray[Any]


@kernel
def majority(memory: Row) -> int:
    """1: the player's paddle goes on in the first frame of a step and the third, 0.

    Second and fourth, 2: unknown.
    """
    return 2 if memory.phase == 2 else 1 - int(memory.phase)


@kernel
def resting(memory: Row, pull: int) -> int:
    """Where the player's paddle rests at a pull."""
    place = 2 * ((int(memory.rest_offset) + int(memory.rest_rate) * pull // STEP) // STEP) + 1
    return max(place, int(memory.highest))


@kernel
def rest(memory: Row, push: int, quarters: int) -> int:
    """Where the player's paddle would rest after some quarters of a step of a push up (-1), down (1) or none."""
    return resting(
        memory, min(max(int(memory.pull) + push * quarters * STEP // 4, 0), int(memory.reach))
    )


@kernel
def distance_from_rest(memory: Row) -> int:
    """Pixels between the player's paddle and where its pull would let it rest.

    99 if that is unknown.
    """
    return 99 if memory.pull < 0 else memory.player_y[0] - rest(memory, 0, 0)


@kernel
def pulled(memory: Row, pull: int, held: int, push: int, late: int, quarters: int) -> int:
    """Where a pull gets in some quarters of a step.

    In the first few, `late`, the push held before goes on.
    """
    for quarter in range(quarters):
        pull = min(max(pull + (held if quarter < late else push) * STEP // 4, 0), int(memory.reach))
    return pull


@kernel
def led(memory: Row, pull: int, held: int, push: int, late: int, phase: int) -> int:
    """Where the player's paddle is after a step.

    Twice it goes half of the way to where it would rest.
    """
    place = int(memory.player_y[0])
    for number in range(2):
        place = (
            place + resting(memory, pulled(memory, pull, held, push, late, phase + 2 * number))
        ) // 2
    return place


@kernel
def lateness(memory: Row, action: int, following: int) -> int:
    """Frames of a step that still went by the action before, as the player's new place says.

    0 if that is unclear.
    """
    push = PULLS[action] if action < UNKNOWN_ACTION else 0
    best, least = 0, NEVER
    if memory.pull < 0 or memory.phase == 2 or memory.held == push:
        return 0
    for late in range(5):
        place = led(memory, int(memory.pull), int(memory.held), push, late, int(memory.phase))
        if abs(place - following) < least:
            best, least = late, abs(place - following)
    return best


@kernel
def player_at(memory: Row, action: int, following: int, frame: int, late: int) -> int:
    """About where the player's paddle is in a frame of the step: it goes on in every second one."""
    before = int(memory.player_y[0])
    if memory.pull < 0 or memory.phase == 2:
        return before + (following - before) * frame // 4
    if frame <= memory.phase:
        return before
    if memory.phase == 0 and frame == 3:
        return following
    push = PULLS[action] if action < UNKNOWN_ACTION else 0
    pull = pulled(memory, int(memory.pull), int(memory.held), push, late, int(memory.phase))
    return (before + resting(memory, pull)) // 2


@kernel
def propose(guesses: Array, pull: int, held: int, phase: int, cost: int) -> None:
    """Put a guess in its place among the others, best first, unless it is worse than all or there at less."""
    place = 0
    while place < NUM_GUESSES and guesses[place, COST] <= cost:
        guess = guesses[place]
        if guess[PULL] == pull and guess[HELD] == held and guess[PHASE] == phase:
            return
        place += 1
    if place == NUM_GUESSES:
        return
    last = place
    while last < NUM_GUESSES - 1 and guesses[last, COST] < NEVER:
        guess = guesses[last]
        if guess[PULL] == pull and guess[HELD] == held and guess[PHASE] == phase:
            break
        last += 1
    for number in range(last, place, -1):
        guesses[number] = guesses[number - 1]
    guesses[place, PULL], guesses[place, HELD], guesses[place, PHASE], guesses[place, COST] = (
        pull,
        held,
        phase,
        cost,
    )


@kernel
def guess_rest(memory: Row, cost: int) -> None:
    """Guess that the player's paddle is at rest where it is, with no push and either phase."""
    pairs = STEP * (int(memory.player_y[0]) // 2) + STEP // 2 - int(memory.rest_offset)
    pull = min(max(pairs * STEP // int(memory.rest_rate), 0), int(memory.reach))
    for phase in range(2):
        propose(memory.guesses, pull, 0, phase, cost)


@kernel
def settle(memory: Row) -> int:
    """Take the best guess and say what it cost; others are counted from it."""
    best = int(memory.guesses[0, COST])
    if best >= NEVER:
        return 0
    dearer = NEVER
    for number in range(NUM_GUESSES):
        if memory.guesses[number, COST] < NEVER:
            memory.guesses[number, COST] -= best
            if memory.guesses[number, PHASE] != memory.guesses[0, PHASE]:
                dearer = min(dearer, int(memory.guesses[number, COST]))
    memory.pull, memory.held = memory.guesses[0, PULL], memory.guesses[0, HELD]
    memory.phase = memory.guesses[0, PHASE] if dearer >= SURE else 2
    return best


@kernel
def follow_player(memory: Row, player_y: int, action: int) -> int:
    """Guess from the paddle's new place how many frames of the step still went by the action before.

    Sticky actions repeat the action executed last, frame by frame; without them no frame is late.
    Guesses are followed as by Viterbi (1967): each pays one for every late frame, and for the
    pixels between its place and the true one. The cost of the best, which is returned, says how
    well the constants of the paddle explain the recording.
    """
    push = PULLS[action] if action < UNKNOWN_ACTION else 0
    before = memory.guesses.copy()
    memory.guesses[:, COST] = NEVER
    for number in range(NUM_GUESSES):
        pull, held, phase, cost = before[number]
        if cost > DEAREST:
            break
        for late in range(5 if held != push else 1):
            misfit = min(abs(led(memory, pull, held, push, late, phase) - player_y), MOST_PIXELS)
            after = pulled(memory, pull, held, push, late, 4)
            propose(
                memory.guesses,
                after,
                held if late == 4 else push,
                phase,
                cost + late + PER_PIXEL * misfit,
            )
    shift(memory.player_y, player_y)
    is_still = (
        memory.player_y[1] == player_y
        and memory.player_y[2] == player_y
        and memory.player_y[3] == player_y
    )
    if is_still and action < UNKNOWN_ACTION and push == 0 and memory.action[0] < UNKNOWN_ACTION:
        guess_rest(memory, PER_PIXEL * MOST_PIXELS)
    return settle(memory)
