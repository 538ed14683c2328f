"""State row -> picture for all symbolic tasks; what the player is to find out stays hidden."""

import math
import re
from collections.abc import Callable
from typing import Any

from wm_envs.data.options import UNLIMITED
from wm_envs.rendering import canvas
from wm_envs.rendering.canvas import Colour, Image, Point
from wm_envs.symbolic import dynamics
from wm_envs.symbolic.structure import MAX_DIGITS, unpack

TASK_NAMES = {
    dynamics.PATTERN_ECHO: "PatternEcho",
    dynamics.SEQUENCE_NEXT: "SequenceNext",
    dynamics.CONDITIONAL: "Conditional",
    dynamics.NAVIGATION: "Navigation",
    dynamics.DELAYED_MATCH: "DelayedMatch",
    dynamics.RULE_RECALL: "RuleRecall",
    dynamics.T_MAZE: "TMaze",
    dynamics.PERM_PUZZLE: "PermPuzzle",
    dynamics.LIGHTS_OUT: "LightsOut",
    dynamics.TOKEN_AUTOMATON: "TokenAutomaton",
}
SHAPE_NAMES = ("disc", "square", "triangle", "diamond", "cross")
COLOUR_NAMES = ("red", "orange", "yellow", "pink", "green", "turquoise", "blue", "violet")


def describe(state: Any, parameters: Any) -> str:
    """A state row as text: what is seen, boards row by row, and how the last action did."""
    task = int(parameters["task"])
    seen = DESCRIPTIONS[task](state, parameters)
    # A board begins on a line of its own.
    gap = "" if seen.startswith("\n") else " "
    title = f"{TASK_NAMES[task]} {clock(state, parameters)}"
    return f"{title}:{gap}{seen}\n{last_action(state, parameters)}"


def clock(state: Any, parameters: Any) -> str:
    """The steps taken, and the time limit if there is one."""
    limit = int(parameters["time_limit"])
    return f"step {state['time']}" if limit == UNLIMITED else f"step {state['time']}/{limit}"


def verdict(state: Any, parameters: Any) -> bool | None:
    """Whether the last action was right; None where it was not judged."""
    task, time = int(parameters["task"]), int(state["time"])
    if state["action"] == dynamics.NO_ACTION:
        return None
    # Planning tasks judge no single answer: only a step that reaches the goal says something.
    if task <= dynamics.CONDITIONAL or state["is_rewarded"]:
        return bool(state["is_rewarded"])
    return False if task < dynamics.PERM_PUZZLE and time == int(parameters["length"]) else None


def last_action(state: Any, parameters: Any) -> str:
    """The last action and how it did."""
    if state["action"] == dynamics.NO_ACTION:
        return "no action yet"
    # Reaching a goal outlasts the step that reached it, which the picture would otherwise forget.
    if int(parameters["task"]) >= dynamics.PERM_PUZZLE and state["is_success"]:
        word = ": solved" if state["is_rewarded"] else ", was solved"
    else:
        word = {None: "", True: ": right", False: ": wrong"}[verdict(state, parameters)]
    return f"last action {state['action']}{word}"


def pattern_echo(state: Any, _: Any) -> str:
    """What PatternEcho shows."""
    return f"symbol {state['current']}"


def sequence_element(state: Any) -> int:
    """The symbol at the current place of the sequence."""
    return unpack(state["mapping"], MAX_DIGITS)[int(state["current"])]


def sequence_next(state: Any, _: Any) -> str:
    """What SequenceNext shows."""
    return f"element {sequence_element(state)}, what comes next?"


def conditional(state: Any, _: Any) -> str:
    """What Conditional shows."""
    return f"{COLOUR_NAMES[int(state['target'])]} {SHAPE_NAMES[int(state['current'])]}"


def navigation(state: Any, parameters: Any) -> str:
    """What Navigation shows."""
    return f"at {state['current']} of {parameters['num_symbols']} places, target {state['target']}"


def delayed_match(state: Any, parameters: Any) -> str:
    """What DelayedMatch shows."""
    if state["time"] == 0:
        return f"remember {state['target']}"
    # The symbol itself is never written after the first step: a reader of the text could not forget
    # it.
    return "which symbol was it?" if is_asked(state, parameters) else "nothing is shown"


def is_asked(state: Any, parameters: Any) -> bool:
    """The answer to a remembered cue is due."""
    return bool(state["time"] == parameters["length"] - 1)


def cue_name(cue: int) -> str:
    """The letter by which pictures and texts call a cue of RuleRecall."""
    return "ABCDEF"[cue]


def shown_responses(state: Any, parameters: Any) -> list[int | None]:
    """The symbol of each cue, None where the response was not shown yet."""
    # A response that was not demonstrated yet stays hidden from the player, as from the agent.
    seen, symbols = int(state["seen"]), unpack(state["mapping"], int(parameters["num_cues"]))
    return [symbol if seen >> cue & 1 else None for cue, symbol in enumerate(symbols)]


def is_over(state: Any, parameters: Any) -> bool:
    """The last judged step was taken."""
    return bool(state["time"] >= parameters["length"])


def rule_recall(state: Any, parameters: Any) -> str:
    """What RuleRecall shows."""
    known = [
        f"{cue_name(c)}={'?' if r is None else r}"
        for c, r in enumerate(shown_responses(state, parameters))
    ]
    if is_over(state, parameters):
        now = f"over, {state['num_right']} of {parameters['num_queries']} right"
    elif state["time"] >= parameters["num_demonstrations"]:
        now = f"query {cue_name(int(state['current']))}"
    else:
        now = f"demonstration {cue_name(int(state['current']))}"
    return f"{now}; shown so far {' '.join(known)}"


def is_cue_shown(state: Any, parameters: Any) -> bool:
    """TMaze: the symbol is the cue and no distractor."""
    return bool(state["time"] == 0 or (parameters["is_revealed"] and is_over(state, parameters)))


def t_maze(state: Any, parameters: Any) -> str:
    """What TMaze shows."""
    if is_cue_shown(state, parameters):
        return f"the cue is {state['current']}"
    shown = f"distractor {state['current']}"
    return f"{shown}, which cue?" if is_asked(state, parameters) else shown


def arrangement(word: Any, parameters: Any) -> list[int]:
    """The token in each place."""
    return unpack(word, int(parameters["num_symbols"]))


def perm_puzzle(state: Any, parameters: Any) -> str:
    """What PermPuzzle shows, the tokens above those that are wanted."""
    now, goal = (arrangement(state[name], parameters) for name in ("current", "target"))
    return f"\n  now   {' '.join(map(str, now))}\n  goal  {' '.join(map(str, goal))}"


def lights_out(state: Any, parameters: Any) -> str:
    """What LightsOut shows, the board beside the one that is wanted."""
    width = math.isqrt(int(parameters["num_symbols"]))
    now, goal = (board_lines(int(cells), width) for cells in (state["current"], state["target"]))
    left = max(len("now"), len(now[0])) + 4
    lines = [f"{'now':{left}}goal"]
    lines += [f"{row:{left}}{wanted}" for row, wanted in zip(now, goal, strict=True)]
    return "".join(f"\n  {line.rstrip()}" for line in lines)


def board_lines(cells: int, width: int) -> list[str]:
    """A square board of bits, # where a light is on."""
    marks = ["#" if cells >> cell & 1 else "." for cell in range(width * width)]
    return [" ".join(marks[row : row + width]) for row in range(0, len(marks), width)]


def token_automaton(state: Any, _: Any) -> str:
    """What TokenAutomaton shows."""
    return f"token {state['current']}, goal {state['target']}"


DESCRIPTIONS: dict[int, Callable[[Any, Any], str]] = {
    dynamics.PATTERN_ECHO: pattern_echo,
    dynamics.SEQUENCE_NEXT: sequence_next,
    dynamics.CONDITIONAL: conditional,
    dynamics.NAVIGATION: navigation,
    dynamics.DELAYED_MATCH: delayed_match,
    dynamics.RULE_RECALL: rule_recall,
    dynamics.T_MAZE: t_maze,
    dynamics.PERM_PUZZLE: perm_puzzle,
    dynamics.LIGHTS_OUT: lights_out,
    dynamics.TOKEN_AUTOMATON: token_automaton,
}


WIDTH, HEIGHT = 400, 300
# Above the middle of the picture: captions take the space below.
MIDDLE = (WIDTH / 2, 140.0)

PAPER, INK, GREY, PALE = (250, 248, 243), (38, 43, 51), (140, 143, 148), (228, 225, 217)
RIGHT, WRONG, LIGHT = (0, 140, 106), (200, 66, 32), (250, 196, 60)
# Told apart by the colour-blind (after Okabe & Ito 2008); each tile carries its number too.
PALETTE: tuple[Colour, ...] = (
    (213, 94, 0),
    (86, 180, 233),
    (0, 158, 115),
    (240, 210, 66),
    (0, 114, 178),
    (204, 121, 167),
    (120, 94, 70),
    (110, 113, 120),
)
# Conditional: red, three warm colours, four cold ones.
SHAPE_COLOURS: tuple[Colour, ...] = (
    (208, 40, 40),
    (240, 140, 30),
    (240, 205, 60),
    (225, 120, 165),
    (70, 160, 90),
    (60, 185, 200),
    (40, 95, 190),
    (120, 80, 180),
)


def draw(state: Any, parameters: Any) -> Image:
    """The picture of a state row, uint8 [300, 400, 3]."""
    image = canvas.blank(WIDTH, HEIGHT, PAPER)
    task = int(parameters["task"])
    title = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", TASK_NAMES[task])
    canvas.draw_text(image, (16, 14), title, INK, scale=2)
    clock_text = clock(state, parameters).upper()
    canvas.draw_text(
        image, (WIDTH - 16 - canvas.text_size(clock_text, 2)[0], 14), clock_text, GREY, scale=2
    )
    canvas.draw_line(image, (16, 38), (WIDTH - 16, 38), PALE)
    PAINTERS[task](image, state, parameters)
    canvas.draw_line(image, (16, HEIGHT - 38), (WIDTH - 16, HEIGHT - 38), PALE)
    _draw_last_action(image, state, parameters)
    return image


# What all tasks show


def _draw_last_action(image: Image, state: Any, parameters: Any) -> None:
    canvas.draw_text(image, (16, HEIGHT - 26), last_action(state, parameters), INK, scale=2)
    is_right = verdict(state, parameters)
    if is_right is not None:
        _draw_mark(image, (WIDTH - 28, HEIGHT - 19), is_right=is_right)


def _draw_mark(image: Image, centre: Point, *, is_right: bool) -> None:
    x, y = centre
    canvas.fill_disc(image, centre, 12, RIGHT if is_right else WRONG)
    if is_right:
        canvas.draw_line(image, (x - 5, y), (x - 1, y + 5), PAPER, thickness=3)
        canvas.draw_line(image, (x - 1, y + 5), (x + 6, y - 5), PAPER, thickness=3)
    else:
        canvas.draw_line(image, (x - 4, y - 4), (x + 4, y + 4), PAPER, thickness=3)
        canvas.draw_line(image, (x - 4, y + 4), (x + 4, y - 4), PAPER, thickness=3)


def _draw_tile(image: Image, centre: Point, size: float, label: str, colour: Colour) -> None:
    """A rounded square with a label, dark or light by the tile's brightness."""
    canvas.fill_rectangle(
        image, (centre[0] - size / 2, centre[1] - size / 2), (size, size), colour, radius=size / 6
    )
    # Rounded weights of perceived brightness: green counts most, blue least.
    brightness = 0.3 * colour[0] + 0.6 * colour[1] + 0.1 * colour[2]
    width, height = canvas.text_size(label)
    scale = max(1, int(min(0.64 * size / max(width, 1), 0.6 * size / height)))
    canvas.draw_centred_text(image, centre, label, INK if brightness > 130 else PAPER, scale=scale)


def _draw_symbol(image: Image, centre: Point, size: float, symbol: int) -> None:
    _draw_tile(image, centre, size, str(symbol), PALETTE[symbol % len(PALETTE)])


def _draw_question(image: Image, centre: Point, size: float) -> None:
    _draw_tile(image, centre, size, "?", PALE)


def _draw_arrow(image: Image, start: Point, end: Point) -> None:
    canvas.draw_line(image, start, end, GREY, thickness=4)
    direction = 1 if end[0] > start[0] else -1
    for side in (-8, 8):
        canvas.draw_line(image, end, (end[0] - 10 * direction, end[1] + side), GREY, thickness=4)


def _draw_caption(image: Image, text: str) -> None:
    canvas.draw_centred_text(image, (WIDTH / 2, 246), text, GREY, scale=2)


# Reactive tasks


def _paint_pattern_echo(image: Image, state: Any, parameters: Any) -> None:
    _draw_symbol(image, MIDDLE, 130, int(state["current"]))
    _draw_caption(image, f"name it: 0 to {int(parameters['num_symbols']) - 1}")


def _paint_sequence_next(image: Image, state: Any, _: Any) -> None:
    _draw_symbol(image, (115, 140), 110, sequence_element(state))
    _draw_arrow(image, (185, 140), (215, 140))
    _draw_question(image, (285, 140), 110)
    _draw_caption(image, "what comes next: 0 to 7")


def _paint_conditional(image: Image, state: Any, parameters: Any) -> None:
    (x, y), radius = MIDDLE, 62.0
    shape, colour = int(state["current"]), SHAPE_COLOURS[int(state["target"])]
    if shape == 0:
        canvas.fill_disc(image, (x, y), radius, colour)
    elif shape == 1:
        canvas.fill_rectangle(image, (x - 55, y - 55), (110, 110), colour, radius=6)
    elif shape == 2:
        canvas.fill_polygon(image, [(x, y - radius), (x + 68, y + 55), (x - 68, y + 55)], colour)
    elif shape == 3:
        canvas.fill_polygon(image, [(x, y - 72), (x + 60, y), (x, y + 72), (x - 60, y)], colour)
    else:
        canvas.fill_rectangle(image, (x - 22, y - radius), (44, 2 * radius), colour, radius=6)
        canvas.fill_rectangle(image, (x - radius, y - 22), (2 * radius, 44), colour, radius=6)
    _draw_caption(image, f"{conditional(state, parameters)}: 0 to 15")


def _paint_navigation(image: Image, state: Any, parameters: Any) -> None:
    num_places = int(parameters["num_symbols"])
    size = 15 if num_places <= 8 else 9
    middle = (WIDTH / 2, HEIGHT / 2)
    for place in range(num_places):
        # From the top and clockwise, as on a clock.
        angle = 2 * math.pi * place / num_places - math.pi / 2
        centre = (middle[0] + 88 * math.cos(angle), middle[1] + 88 * math.sin(angle))
        is_target, is_walker = place == state["target"], place == state["current"]
        canvas.fill_disc(image, centre, size, PALETTE[4] if is_walker else PALE)
        if is_target:
            canvas.draw_ring(image, centre, size + 4, WRONG, thickness=4)
        canvas.draw_centred_text(image, centre, str(place), PAPER if is_walker else GREY)
    canvas.draw_centred_text(image, (middle[0], middle[1] - 10), "move by", GREY, scale=2)
    canvas.draw_centred_text(image, (middle[0], middle[1] + 12), "action - 3", GREY, scale=2)


# Memory tasks


def _paint_delayed_match(image: Image, state: Any, parameters: Any) -> None:
    if state["time"] == 0:
        _draw_symbol(image, MIDDLE, 130, int(state["target"]))
    elif is_asked(state, parameters):
        _draw_question(image, MIDDLE, 130)
    else:
        _draw_tile(image, MIDDLE, 130, "", PALE)
    _draw_caption(image, delayed_match(state, parameters))


def _paint_rule_recall(image: Image, state: Any, parameters: Any) -> None:
    if not is_over(state, parameters):
        is_query = bool(state["time"] >= parameters["num_demonstrations"])
        _draw_tile(image, (130, 105), 84, cue_name(int(state["current"])), INK)
        _draw_arrow(image, (188, 105), (212, 105))
        if is_query:
            _draw_question(image, (270, 105), 84)
        else:
            _draw_tile(image, (270, 105), 84, "", PALE)
    else:
        result = f"{state['num_right']} of {parameters['num_queries']} right"
        canvas.draw_centred_text(image, (MIDDLE[0], 105), result, INK, scale=3)
    _draw_known_responses(image, shown_responses(state, parameters))


def _draw_known_responses(image: Image, responses: list[int | None]) -> None:
    """A column per cue: its letter and what is known of it."""
    spacing = 50.0
    left = MIDDLE[0] - spacing * (len(responses) - 1) / 2
    for cue, response in enumerate(responses):
        x = left + cue * spacing
        _draw_tile(image, (x, 184), 34, cue_name(cue), INK)
        if response is None:
            _draw_tile(image, (x, 228), 38, "", PALE)
        else:
            _draw_symbol(image, (x, 228), 38, response)


def _paint_t_maze(image: Image, state: Any, parameters: Any) -> None:
    if is_cue_shown(state, parameters):
        canvas.fill_rectangle(image, (MIDDLE[0] - 48, 46), (96, 96), LIGHT, radius=18)
    _draw_symbol(image, (MIDDLE[0], 94), 80, int(state["current"]))
    _draw_corridor(image, int(state["time"]), int(parameters["length"]))
    _draw_caption(image, t_maze(state, parameters))


def _draw_corridor(image: Image, time: int, length: int) -> None:
    """A cell per step with the walker in it, and the two arms at the far end."""
    size = min(28.0, 320.0 / (length + 1))
    left, y = MIDDLE[0] - size * (length + 1) / 2, 188.0
    canvas.fill_rectangle(image, (left + length * size, y - 1.5 * size), (size, 3 * size), PALE)
    canvas.fill_rectangle(image, (left, y - size / 2), (length * size + 1, size), PALE)
    # After the last step the walker stays in the arm's cell and does not leave the picture.
    walker = (left + (min(time, length) + 0.5) * size, y)
    canvas.fill_disc(image, walker, 0.34 * size, PALETTE[4])


# Planning tasks


def _paint_perm_puzzle(image: Image, state: Any, parameters: Any) -> None:
    now = arrangement(state["current"], parameters)
    goal = arrangement(state["target"], parameters)
    spacing = 290 / len(now)
    size = 0.86 * spacing
    left = MIDDLE[0] + 26 - spacing * (len(now) - 1) / 2
    canvas.draw_centred_text(image, (left - 56, 105), "now", INK, scale=2)
    canvas.draw_centred_text(image, (left - 56, 195), "goal", GREY, scale=2)
    # A dot between the rows marks each place that is right: seven pairs are hard to compare by eye.
    for place, (token, wanted) in enumerate(zip(now, goal, strict=True)):
        x = left + place * spacing
        _draw_symbol(image, (x, 105), size, token)
        _draw_symbol(image, (x, 195), size, wanted)
        canvas.fill_disc(image, (x, 150), 5, RIGHT if token == wanted else PALE)


def _paint_lights_out(image: Image, state: Any, parameters: Any) -> None:
    width = math.isqrt(int(parameters["num_symbols"]))
    _draw_board(image, (118, 138), 150, width, int(state["current"]))
    _draw_board(image, (292, 138), 100, width, int(state["target"]))
    canvas.draw_centred_text(image, (118, 240), "now", INK, scale=2)
    canvas.draw_centred_text(image, (292, 240), "goal", GREY, scale=2)


def _draw_board(image: Image, centre: Point, size: float, width: int, cells: int) -> None:
    canvas.fill_rectangle(
        image, (centre[0] - size / 2, centre[1] - size / 2), (size, size), INK, radius=10
    )
    pitch = (size - 8) / width
    for cell in range(width * width):
        row, column = divmod(cell, width)
        corner = (
            centre[0] - size / 2 + 4 + column * pitch + 3,
            centre[1] - size / 2 + 4 + row * pitch + 3,
        )
        colour = LIGHT if cells >> cell & 1 else (78, 84, 94)
        canvas.fill_rectangle(image, corner, (pitch - 6, pitch - 6), colour, radius=5)


def _paint_token_automaton(image: Image, state: Any, parameters: Any) -> None:
    width = math.isqrt(int(parameters["num_symbols"]))
    pitch = 200.0 / width
    left, top = 20.0, 50.0
    for token in range(width * width):
        row, column = divmod(token, width)
        colour = PALE
        if token == state["target"]:
            colour = LIGHT
        # After the goal, so that the current token stays visible where both coincide.
        if token == state["current"]:
            colour = PALETTE[4]
        canvas.fill_rectangle(
            image,
            (left + column * pitch + 1, top + row * pitch + 1),
            (pitch - 2, pitch - 2),
            colour,
            radius=pitch / 6,
        )
    _draw_tile(image, (312, 100), 74, str(state["current"]), PALETTE[4])
    _draw_tile(image, (312, 200), 74, str(state["target"]), LIGHT)
    canvas.draw_centred_text(image, (312, 150), "to", GREY, scale=2)


PAINTERS: dict[int, Callable[[Image, Any, Any], None]] = {
    dynamics.PATTERN_ECHO: _paint_pattern_echo,
    dynamics.SEQUENCE_NEXT: _paint_sequence_next,
    dynamics.CONDITIONAL: _paint_conditional,
    dynamics.NAVIGATION: _paint_navigation,
    dynamics.DELAYED_MATCH: _paint_delayed_match,
    dynamics.RULE_RECALL: _paint_rule_recall,
    dynamics.T_MAZE: _paint_t_maze,
    dynamics.PERM_PUZZLE: _paint_perm_puzzle,
    dynamics.LIGHTS_OUT: _paint_lights_out,
    dynamics.TOKEN_AUTOMATON: _paint_token_automaton,
}
