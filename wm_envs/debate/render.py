"""State row -> picture: allocation bars on the left, the claim trees of the debate on the right."""

from typing import Any

import numpy as np

from wm_envs.debate import dynamics
from wm_envs.debate.dynamics import NOBODY, STRATEGIES
from wm_envs.debate.tendencies import NUM_TENDENCIES, TENDENCIES
from wm_envs.rendering import canvas
from wm_envs.rendering.canvas import Colour, Image


def clock(state: Any, parameters: Any) -> str:
    """Which debate and which round."""
    # After the last debate the counter is one beyond it.
    debate = min(int(state["debate"]) + 1, int(parameters["num_debates"]))
    place = f"round {int(state['round_number'])}/{int(parameters['num_rounds'])}"
    return f"debate {debate}/{int(parameters['num_debates'])} {place}"


def last_winner(state: Any) -> str:
    """Who won the last debate."""
    winner = int(state["winner"])
    return "nobody yet" if winner == NOBODY else str(TENDENCIES[winner])


def describe(state: Any, parameters: Any) -> str:
    """The clock and the last winner, then a line for each tendency.

    A star marks the agent's seat.
    """
    lines = [f"{clock(state, parameters)}, last winner: {last_winner(state)}"]
    for number, tendency in enumerate(TENDENCIES):
        is_seat = number == int(state["seat"])
        player = "agent" if is_seat else STRATEGIES[int(state["strategies"][number])]
        stakes = " ".join(f"{weight:+.2f}" for weight in np.asarray(state["weights"][number]))
        lines.append(
            f"{'*' if is_seat else ' '} {tendency:10} "
            f"{100 * float(state['allocations'][number]):5.1f}%"
            f"  relevance {float(state['relevance'][number]):.2f}  score "
            f"{float(state['scores'][number]):+.3f}"
            f"  {player:10} staked {stakes}"
        )
    return "\n".join(lines)


WIDTH, HEIGHT = 640, 400
PAPER, INK, GREY, PALE = (250, 248, 243), (38, 43, 51), (140, 143, 148), (228, 225, 217)
FOR, AGAINST = (0, 140, 106), (200, 66, 32)
# Told apart by the colour-blind (after Okabe & Ito 2008).
COLOURS: tuple[Colour, ...] = (
    (213, 94, 0),
    (225, 180, 40),
    (120, 94, 200),
    (204, 121, 167),
    (0, 114, 178),
    (0, 158, 115),
    (86, 180, 233),
)
FIRST_LINE, LINE = 66, 43
BARS_LEFT, BARS_WIDTH = 104, 150
TREES_LEFT, TREES_STEP, SCORE_LEFT = 330, 33, 582
MAX_RADIUS = 12.0


def draw(state: Any, parameters: Any) -> Image:
    """The picture of a state row, uint8 [400, 640, 3]."""
    image = canvas.blank(WIDTH, HEIGHT, PAPER)
    canvas.draw_text(image, (16, 12), "Debate", INK, scale=2)
    title = clock(state, parameters)
    canvas.draw_text(image, (WIDTH - 16 - canvas.text_size(title, 2)[0], 12), title, GREY, scale=2)
    canvas.draw_line(image, (16, 34), (WIDTH - 16, 34), PALE)
    canvas.draw_text(image, (BARS_LEFT, 42), "influence", GREY)
    canvas.draw_text(image, (TREES_LEFT - 26, 42), "claims and the stakes of the last round", GREY)
    canvas.draw_text(image, (SCORE_LEFT, 42), "score", GREY)
    for number in range(NUM_TENDENCIES):
        _draw_bar(image, state, parameters, number)
        _draw_tree(image, state, number)
    canvas.draw_line(image, (16, HEIGHT - 32), (WIDTH - 16, HEIGHT - 32), PALE)
    canvas.draw_text(image, (16, HEIGHT - 22), f"last winner: {last_winner(state)}", INK, scale=2)
    return image


def _draw_bar(image: Image, state: Any, parameters: Any, number: int) -> None:
    """A tendency's name and its allocation, with a mark where it began.

    Below is its relevance to the observation.
    """
    top = FIRST_LINE + number * LINE
    is_seat = number == int(state["seat"])
    if is_seat:
        canvas.fill_rectangle(
            image, (8, top - 8), (WIDTH - 16, LINE - 4), (240, 234, 214), radius=6
        )
    canvas.draw_text(image, (16, top + 4), TENDENCIES[number], INK)
    share = float(state["allocations"][number])
    # The full bar is the largest allocation that the rules permit, not 1.
    scale = BARS_WIDTH / float(parameters["max_allocation"])
    canvas.fill_rectangle(image, (BARS_LEFT, top), (BARS_WIDTH, 16), PALE, radius=3)
    canvas.fill_rectangle(
        # Two pixels at least: a tendency at its floor is still there.
        image,
        (BARS_LEFT, top),
        (max(2.0, scale * share), 16),
        COLOURS[number],
        radius=3,
    )
    start = BARS_LEFT + scale * float(parameters["allocations"][number])
    canvas.draw_line(image, (start, top - 2), (start, top + 18), INK, thickness=1.5)
    canvas.draw_text(image, (BARS_LEFT + BARS_WIDTH + 6, top + 5), f"{100 * share:.1f}%", INK)
    relevance = float(state["relevance"][number])
    canvas.fill_rectangle(image, (BARS_LEFT, top + 20), (BARS_WIDTH * relevance, 3), GREY, radius=1)


def _draw_tree(image: Image, state: Any, claim: int) -> None:
    """The root of a claim and one disc for each stake on it.

    Its size is the worth, its rim the staker.
    """
    middle = FIRST_LINE + claim * LINE + 8.0
    root = (float(TREES_LEFT), middle)
    stakes = np.asarray(state["weights"])[:, claim]
    allocations = np.asarray(state["allocations"])
    # Stakes that the scoring leaves out as too light are not drawn either.
    staked = [staker for staker in range(NUM_TENDENCIES) if abs(stakes[staker]) > 1e-3]
    if staked:
        end = (TREES_LEFT + TREES_STEP * (max(staked) + 1), middle)
        canvas.draw_line(image, root, end, GREY, thickness=1.5)
    for staker in staked:
        worth = abs(float(stakes[staker])) * float(allocations[staker])
        centre = (TREES_LEFT + TREES_STEP * (staker + 1.0), middle)
        # Areas in proportion to what the stake is worth, up to a fifth of all influence.
        radius = 3.0 + (MAX_RADIUS - 3.0) * min(1.0, (worth / 0.2) ** 0.5)
        canvas.fill_disc(image, centre, radius + 2, COLOURS[staker])
        canvas.fill_disc(image, centre, radius, FOR if stakes[staker] > 0 else AGAINST)
    canvas.fill_disc(image, root, 9, COLOURS[claim])
    score = float(state["scores"][claim])
    colour = GREY
    if score > 0:
        colour = FOR
    elif score < 0:
        colour = AGAINST
    canvas.draw_text(image, (SCORE_LEFT, middle - 3), f"{score:+.3f}", colour)
    if claim == dynamics.best_claim(np.ascontiguousarray(state["scores"])):
        canvas.draw_ring(image, root, 12, INK)
