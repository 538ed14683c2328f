"""State row -> text for all symbolic tasks, and what the picture and the text both read off a state."""

import math
from collections.abc import Callable
from typing import Any

from wm_envs.data.options import UNLIMITED
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
    """A state row as two lines of text: what is seen, and how the last action did."""
    task = int(parameters["task"])
    seen = f"{TASK_NAMES[task]} {clock(state, parameters)}: {DESCRIPTIONS[task](state, parameters)}"
    return f"{seen}\n{last_action(state, parameters)}"


def clock(state: Any, parameters: Any) -> str:
    """The steps taken, and the time limit if there is one."""
    limit = int(parameters["time_limit"])
    return f"step {state['time']}" if limit == UNLIMITED else f"step {state['time']}/{limit}"


def verdict(state: Any, parameters: Any) -> bool | None:
    """Whether the last action was right; None where it was not judged."""
    task, time = int(parameters["task"]), int(state["time"])
    if state["action"] == dynamics.NO_ACTION:
        return None
    if task <= dynamics.CONDITIONAL or state["is_rewarded"]:
        return bool(state["is_rewarded"])
    return False if task < dynamics.PERM_PUZZLE and time == int(parameters["length"]) else None


def last_action(state: Any, parameters: Any) -> str:
    """The last action and how it did."""
    if state["action"] == dynamics.NO_ACTION:
        return "no action yet"
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
    return "which symbol was it?" if is_asked(state, parameters) else "nothing is shown"


def is_asked(state: Any, parameters: Any) -> bool:
    """The answer to a remembered cue is due."""
    return bool(state["time"] == parameters["length"] - 1)


def cue_name(cue: int) -> str:
    """The letter by which pictures and texts call a cue of RuleRecall."""
    return "ABCDEF"[cue]


def shown_responses(state: Any, parameters: Any) -> list[int | None]:
    """The symbol of each cue, None where the response was not shown yet."""
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
    """What PermPuzzle shows."""
    now, goal = (arrangement(state[name], parameters) for name in ("current", "target"))
    return f"now {' '.join(map(str, now))}, goal {' '.join(map(str, goal))}"


def lights_out(state: Any, parameters: Any) -> str:
    """What LightsOut shows."""
    size = int(parameters["num_symbols"])
    width = math.isqrt(size)
    boards = []
    for cells in (int(state["current"]), int(state["target"])):
        marks = "".join("#" if cells >> cell & 1 else "." for cell in range(size))
        boards.append(" ".join(marks[row : row + width] for row in range(0, size, width)))
    return f"now {boards[0]}, goal {boards[1]}"


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
