"""Carries out a rule program for one step of many rows, as NumPy arrays.

Branches are taken by the rows for which they hold; nothing is ever executed as Python.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from wm_agents.errors import ProgramError
from wm_agents.world_models.program_text import Assignment, Branch, Node, Program

# A loop's end is not decidable, its number of rounds is.
MAX_ROUNDS = 1000  # of all loops together, for one step
# Well below the largest int64, so that one more operation cannot wrap around.
_MAX_SIZE = 2.0**62

Ints = NDArray[Any]


class Interpreter:
    """One step of B rows: the state of the interpreter.

    Attributes:
        before: Numbers of the features [B, F].
        after: What they become [B, F].
        outcomes: "reward" and "terminated" [B].
        lines: The line that set each feature, the reward and the termination [B, F + 2]: 0 for
            none, negative where it said "unknown".
    """

    def __init__(self, program: Program, before: Ints, actions: Ints) -> None:
        self.program = program
        self.before = before
        self.after = before.copy()
        self.actions = actions
        self.outcomes = {"reward": np.zeros(len(before)), "terminated": np.zeros(len(before))}
        # 0 says that no line has set the value.
        self.lines = np.zeros((len(before), before.shape[1] + 2), np.int64)
        self.locals: dict[str, Ints] = {}
        self.num_rounds = 0
        self.tables = {name: np.array(numbers) for name, numbers in program.tables.items()}

    def block(self, statements: tuple[Any, ...], rows: Ints) -> None:
        """Carry out statements for the rows [K] of an index."""
        if not len(rows):
            return
        place = 0
        while place < len(statements):
            statement = statements[place]
            if isinstance(statement, Branch):
                self._branch(statement, rows)
                place += 1
                continue
            # All targets of one line are read before any is written, as in `a, b = b, a`.
            last = place
            while last < len(statements) and _is_of_line(statements[last], statement.line):
                last += 1
            group = statements[place:last]
            # All are computed before the first is assigned.
            values = [
                None if part.value is None else self.value(part.value, rows) for part in group
            ]
            for part, value in zip(group, values, strict=True):
                self._assign(part, value, rows)
            place = last

    def _branch(self, branch: Branch, rows: Ints) -> None:
        is_true = self.value(branch.condition, rows) != 0
        if not branch.is_loop:
            self.block(branch.body, rows[is_true])
            self.block(branch.otherwise, rows[~is_true])
            return
        while len(rows := rows[is_true]):
            self.num_rounds += 1
            if self.num_rounds > MAX_ROUNDS:
                raise ProgramError(
                    f"line {branch.line}: this loop is without end: its condition still holds "
                    f"after {MAX_ROUNDS} rounds of all loops together"
                )
            # Only the rows whose condition holds go on.
            self.block(branch.body, rows)
            is_true = self.value(branch.condition, rows) != 0

    def _assign(self, part: Assignment, value: Ints | None, rows: Ints) -> None:
        target, line = part.target, part.line if value is not None else -part.line
        # The line that gave the value, negative where it said that it does not know.
        if isinstance(target, int):
            self.lines[rows, target] = line
            if value is None:
                return
            low = self.program.lows[target]
            high = low + self.program.features[target].num_values - 1
            is_outside = (value < low) | (value > high)
            if is_outside.any():
                raise ProgramError(
                    f"line {part.line}: {self.program.names[target]} would become "
                    f"{value[is_outside][0]}, outside {low}..{high}: use min, max or %, or declare "
                    "a wider range"
                )
            self.after[rows, target] = value
        elif target in self.outcomes:
            self.lines[rows, -2 if target == "reward" else -1] = line
            if value is None:
                return
            if target == "terminated" and ((value < 0) | (value > 1)).any():
                raise ProgramError(
                    f"line {part.line}: terminated is a probability from 0 to 1, got "
                    f"{value.max() if value.max() > 1 else value.min()}"
                )
            self.outcomes[target][rows] = value
        elif value is not None:
            known = self.locals.setdefault(target, np.zeros(len(self.before), np.int64))
            known[rows] = value

    def value(self, node: Node, rows: Ints) -> Ints:
        """What an expression is in the rows [K]."""
        kind = node[0]
        if kind == "const":
            return np.full(len(rows), node[1])
        if kind == "feature":
            return self.before[rows, node[1]]
        if kind == "after":
            return self.after[rows, node[1]]
        if kind == "action":
            return self.actions[rows]
        if kind == "local":
            known = self.locals.get(node[1])
            # A name that this row has not set yet reads as 0.
            return np.zeros(len(rows), np.int64) if known is None else known[rows]
        if kind in ("and", "or"):
            return self._logical(node, rows)
        if kind == "if":
            return self._conditional(node, rows)
        parts = [self.value(part, rows) for part in node[_FIRST_PART[kind] :]]
        return self._computed(node, parts)

    def _computed(self, node: Node, parts: list[Ints]) -> Ints:
        kind, line = node[0], node[1]
        if kind == "bin":
            return _arithmetic(line, node[2], parts[0], parts[1])
        if kind == "cmp":
            return _COMPARE[node[2]](parts[0], parts[1]).astype(np.int64)
        if kind == "in":
            return np.isin(parts[0], node[2]).astype(np.int64)
        if kind == "not":
            return (parts[0] == 0).astype(np.int64)
        if kind == "neg":
            return -parts[0]
        if kind == "abs":
            return np.abs(parts[0])
        if kind == "table":
            return self._looked_up(line, node[2], parts[0])
        if kind == "sum":
            total = parts[0]
            for part in parts[1:]:
                total = _arithmetic(line, "+", total, part)
            return total
        function = np.minimum if kind == "min" else np.maximum
        return function.reduce(parts)

    def _looked_up(self, line: int, name: str, places: Ints) -> Ints:
        table = self.tables[name]
        is_outside = (places < 0) | (places >= len(table))
        if is_outside.any():
            raise ProgramError(
                f"line {line}: the table {name} has entries 0 to {len(table) - 1}, asked for "
                f"{places[is_outside][0]}"
            )
        return table[places.astype(np.int64)]

    def _logical(self, node: Node, rows: Ints) -> Ints:
        """`and` and `or`, whose later parts are looked at only where they matter."""
        is_and = node[0] == "and"
        result = np.full(len(rows), is_and)
        for part in node[2:]:
            # Rows that are not decided yet: `or` is settled by the first true part, `and` by the
            # first false one.
            open_rows = np.flatnonzero(result == is_and)
            if not len(open_rows):
                break
            result[open_rows] = self.value(part, rows[open_rows]) != 0
        return result.astype(np.int64)

    def _conditional(self, node: Node, rows: Ints) -> Ints:
        is_true = self.value(node[2], rows) != 0
        chosen = self.value(node[3], rows[is_true]), self.value(node[4], rows[~is_true])
        # Whole numbers stay whole unless one side is decimal.
        result = np.zeros(len(rows), np.result_type(*chosen))
        result[is_true], result[~is_true] = chosen
        return result


_FIRST_PART = {
    "bin": 3,
    "cmp": 3,
    "in": 3,
    "table": 3,
    "not": 2,
    "neg": 2,
    "abs": 2,
    "sum": 2,
    "min": 2,
    "max": 2,
}
"""Where the parts of a node begin."""

_COMPARE: dict[str, Any] = {
    "==": np.equal,
    "!=": np.not_equal,
    "<": np.less,
    "<=": np.less_equal,
    ">": np.greater,
    ">=": np.greater_equal,
}


def _arithmetic(line: int, operator: str, left: Ints, right: Ints) -> Ints:
    """+ - * // % of whole numbers as in Python, refused where they would overflow."""
    if operator in ("//", "%"):
        if (right == 0).any():
            raise ProgramError(f"line {line}: a division by 0")
        return np.floor_divide(left, right) if operator == "//" else np.mod(left, right)
    function: Any = {"+": np.add, "-": np.subtract, "*": np.multiply}[operator]
    # In floats first, which do not wrap around.
    rough = np.abs(function(left.astype(np.float64), right.astype(np.float64)))
    if not (rough < _MAX_SIZE).all():
        raise ProgramError(f"line {line}: a number beyond 2**62")
    result: Ints = function(left, right)
    return result


def _is_of_line(statement: Any, line: int) -> bool:
    return isinstance(statement, Assignment) and statement.line == line
