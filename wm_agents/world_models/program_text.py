"""The grammar of rule programs: from text to a checked tree that is interpreted, never executed.

A program declares named features of an observation and says, in conditions and integer arithmetic,
what each is after a step. Its lines look like Python, whose parser reads them; every node of the
tree must be one of those below, and nothing is compiled or run.

    feature place[6]: one of 6 at column 0
    feature fuel: 0..40 at column 36, step 0.25 from 0
    table next: 1 2 0

    if action == 0:
        place[0:2] = place[1], place[0]
    fuel = max(fuel - 1, 0)
    reward = 1 if all(after.place == 3) else 0
    terminated = after.fuel == 0
"""

import ast
import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from wm_agents.errors import ProgramError
from wm_agents.world_models.lattice import Feature

# Bounds for programs that strangers or language models wrote.
MAX_TEXT = 200_000  # characters
MAX_NODES = 200_000  # of the tree, after families and slices are written out
MAX_DEPTH = 60  # of one expression
MAX_BRANCHES = 150  # inside each other, elif counted
MAX_COLUMNS = 1 << 16
MAX_NUMBER = 2**31

Node = tuple[Any, ...]
"""A scalar expression: a kind and its parts. See `Reader.scalar`."""

RESERVED = ("action", "after", "reward", "terminated", "unknown")
FUNCTIONS = ("all", "any", "sum", "min", "max", "abs")

_FEATURE = re.compile(
    r"feature (?P<name>[A-Za-z_]\w*)(\[(?P<size>\d+)\])?\s*:\s*"
    r"(one of (?P<choices>\d+)|(?P<low>-?\d+)\s*\.\.\s*(?P<high>-?\d+)) at column (?P<column>\d+)"
    r"(, step (?P<step>\S+) from (?P<origin>\S+))?\s*$"
)
_TABLE = re.compile(r"table (?P<name>[A-Za-z_]\w*)\s*:(?P<numbers>[-+.\deE\s]+)$")
_OPERATORS = {ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.FloorDiv: "//", ast.Mod: "%"}
_COMPARISONS = {
    ast.Eq: "==",
    ast.NotEq: "!=",
    ast.Lt: "<",
    ast.LtE: "<=",
    ast.Gt: ">",
    ast.GtE: ">=",
}


@dataclass(frozen=True)
class Family:
    """Features of one name and shape.

    Attributes:
        name: What the program calls it.
        first: The number of its first feature.
        size: How many.
        is_single: Whether it was declared without a size.
    """

    name: str
    first: int
    size: int
    is_single: bool


@dataclass(frozen=True)
class Assignment:
    """One scalar value for one target.

    Attributes:
        line: Where it stands in the text, from 1.
        target: A feature's number, or the name of a local, "reward" or "terminated".
        value: None for "unknown".
    """

    line: int
    target: int | str
    value: Node | None


@dataclass(frozen=True)
class Branch:
    """An `if`, or a `while` where `is_loop`."""

    line: int
    condition: Node
    body: tuple[Any, ...]
    otherwise: tuple[Any, ...]
    is_loop: bool


@dataclass(frozen=True)
class Program:
    """A program that was read and checked.

    Attributes:
        text: As it was written.
        features: Where each feature is in an observation.
        lows: The number that a program reads where a feature's token is 0.
        names: Of the features, such as "place[3]".
        tables: Numbers by name.
        statements: `Assignment` and `Branch`.
    """

    text: str
    features: tuple[Feature, ...]
    lows: tuple[int, ...]
    names: tuple[str, ...]
    tables: dict[str, tuple[float, ...]]
    statements: tuple[Any, ...]

    @property
    def num_lines(self) -> int:
        """Lines that are neither empty nor a comment."""
        return sum(
            bool(line.strip()) and not line.strip().startswith("#")
            for line in self.text.splitlines()
        )

    @property
    def num_columns(self) -> int:
        """Numbers of the observation that the features cover."""
        return sum(len(feature.columns) for feature in self.features)


def read_program(text: str) -> Program:
    """Read and check a program.

    Raises:
        ProgramError: It is outside the grammar; the line and the remedy are named.
    """
    if not isinstance(text, str):
        raise ProgramError(f"a program is text, got {type(text).__name__}")
    # Declarations are no Python: they are taken out, and empty lines keep the numbering.
    if len(text) > MAX_TEXT:
        raise ProgramError(f"a program has at most {MAX_TEXT} characters, got {len(text)}")
    reader = Reader()
    rules = []
    for number, line in enumerate(text.splitlines(), 1):
        is_declaration = reader.declare(number, line.split("#")[0].rstrip())
        rules.append("" if is_declaration else line)
    reader.check_columns()
    statements = reader.block(_parsed("\n".join(rules)).body)
    return Program(
        text,
        tuple(reader.features),
        tuple(reader.lows),
        tuple(reader.names),
        reader.tables,
        statements,
    )


def _parsed(text: str) -> ast.Module:
    # Warnings are errors here: a program that Python wonders about is not one that we meant.
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            return ast.parse(text)
    except SyntaxError as error:
        raise ProgramError(f"line {error.lineno}: {error.msg}") from error
    except (ValueError, RecursionError, MemoryError, Warning) as error:
        raise ProgramError(f"this is no program: {error}") from error


@dataclass
class Reader:
    """What was declared so far, and the statements in terms of it."""

    features: list[Feature] = field(default_factory=list)
    lows: list[int] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    families: dict[str, Family] = field(default_factory=dict)
    tables: dict[str, tuple[float, ...]] = field(default_factory=dict)
    locals: set[str] = field(default_factory=set)
    num_nodes: int = 0

    # --- declarations

    def declare(self, number: int, line: str) -> bool:
        """Whether a line is a declaration, which is then taken over."""
        if line.startswith("feature "):
            match = _FEATURE.match(line)
            if match is None:
                raise ProgramError(
                    f"line {number}: a feature is declared as `feature name: 0..4 at column 7`, "
                    "`feature name[9]: 0..1 at column 0` or `feature name: one of 6 at column 0`, "
                    f"got {line!r}"
                )
            self._declare_feature(number, match)
            return True
        if line.startswith("table "):
            match = _TABLE.match(line)
            if match is None:
                raise ProgramError(
                    f"line {number}: a table is declared as `table name: 1 0 2`, got {line!r}"
                )
            self._new_name(number, match["name"])
            entries = match["numbers"].split()
            if not entries:
                raise ProgramError(f"line {number}: the table {match['name']} has no numbers")
            self.tables[match["name"]] = tuple(_number(number, entry) for entry in entries)
            return True
        return False

    def _declare_feature(self, number: int, match: re.Match[str]) -> None:
        self._new_name(number, match["name"])
        size = int(match["size"] or 1)
        low, high = int(match["low"] or 0), int(match["high"] or 0)
        if match["choices"]:
            low, high = 0, int(match["choices"]) - 1
        width = high - low + 1 if match["choices"] else 1
        origin, step = float(low), 1.0
        # Decimal steps: column values are origin + step * token.
        if match["step"]:
            origin, step = (float(_number(number, match[part])) for part in ("origin", "step"))
        first = int(match["column"])
        is_wrong = (
            size < 1
            or high < low
            or (match["choices"] and high < 1)
            or (match["step"] and (match["choices"] or low != 0 or step <= 0))
        )
        if is_wrong:
            raise ProgramError(
                f"line {number}: {match[0]!r} has no values: give a range that rises, at least 2 "
                "choices, and steps above 0 only to ranges from 0"
            )
        if first + size * width > MAX_COLUMNS or high - low >= MAX_COLUMNS:
            raise ProgramError(f"line {number}: more than {MAX_COLUMNS} columns or values")
        is_single = match["size"] is None
        self.families[match["name"]] = Family(match["name"], len(self.features), size, is_single)
        for place in range(size):
            columns = tuple(range(first + place * width, first + (place + 1) * width))
            self.features.append(Feature(columns, high - low + 1, origin, step))
            self.lows.append(low)
            self.names.append(match["name"] if is_single else f"{match['name']}[{place}]")

    # One name, one meaning, in declarations and expressions alike.
    def _new_name(self, number: int, name: str) -> None:
        if name in (*RESERVED, *FUNCTIONS) or name in self.families or name in self.tables:
            raise ProgramError(f"line {number}: the name {name!r} is taken: give another")

    def check_columns(self) -> None:
        """Raise ProgramError unless the features cover columns 0 to O - 1 once each."""
        columns = sorted(column for feature in self.features for column in feature.columns)
        if not columns:
            raise ProgramError("a program declares at least one feature of the observation")
        if columns != list(range(len(columns))):
            twice = sorted({a for a, b in pairwise(columns) if a == b})
            missing = sorted(set(range(columns[-1] + 1)) - set(columns))
            raise ProgramError(
                f"features cover every column of the observation once: {missing[:10]} are missing "
                f"and {twice[:10]} are there twice"
            )

    # --- statements

    def block(self, statements: list[ast.stmt], depth: int = 0) -> tuple[Any, ...]:
        """The statements of one indentation, inside so many branches."""
        return tuple(part for statement in statements for part in self._statement(statement, depth))

    def _statement(self, statement: ast.stmt, depth: int) -> Iterator[Any]:
        line = statement.lineno
        if depth > MAX_BRANCHES:
            raise ProgramError(
                f"line {line}: more than {MAX_BRANCHES} branches inside each other: use a table"
            )
        if isinstance(statement, ast.Pass):
            return
        if isinstance(statement, ast.Assign) and len(statement.targets) == 1:
            yield from self._assignments(line, statement.targets[0], statement.value)
        elif isinstance(statement, ast.If | ast.While):
            is_loop = isinstance(statement, ast.While)
            if is_loop and statement.orelse:
                raise ProgramError(f"line {line}: a while has no else: write an if behind it")
            condition = self.one(statement.test)
            body = self.block(statement.body, depth + 1)
            otherwise = self.block(statement.orelse, depth + 1)
            yield Branch(line, condition, body, otherwise, is_loop)
        else:
            raise ProgramError(
                f"line {line}: {type(statement).__name__} is outside the grammar, which has "
                "assignments with =, if, elif, else, while and pass"
            )

    def _assignments(self, line: int, target: ast.expr, value: ast.expr) -> Iterator[Assignment]:
        targets = list(self._targets(target))
        if isinstance(value, ast.Name) and value.id == "unknown":
            nodes: list[Node | None] = [None] * len(targets)
        # `unknown` may stand for some of several targets.
        elif isinstance(value, ast.Tuple) and any(_is_unknown(part) for part in value.elts):
            nodes = [None if _is_unknown(part) else self.one(part) for part in value.elts]
        else:
            nodes = list(self.vector(value))
        # One value serves all targets.
        if len(nodes) == 1:
            nodes *= len(targets)
        if len(nodes) != len(targets):
            raise ProgramError(f"line {line}: {len(nodes)} values for {len(targets)} targets")
        for place, node in zip(targets, nodes, strict=True):
            is_outcome = place in ("reward", "terminated")
            # Features are tokens, and tokens are whole.
            if not is_outcome and node is not None and self._is_real(node):
                raise ProgramError(
                    f"line {line}: decimal numbers are for reward and terminated alone: give whole "
                    "ones"
                )
            if node is None and isinstance(place, str) and not is_outcome:
                raise ProgramError(f"line {line}: {place} is no feature and cannot be unknown")
            yield Assignment(line, place, node)

    def _targets(self, target: ast.expr) -> Iterator[int | str]:
        if isinstance(target, ast.Tuple):
            for part in target.elts:
                yield from self._targets(part)
            return
        if isinstance(target, ast.Name) and target.id not in self.families:
            name = target.id
            is_taken = name in self.tables or name in (*FUNCTIONS, "action", "after", "unknown")
            if is_taken:
                raise ProgramError(f"line {target.lineno}: {name} cannot be assigned to")
            # From here on the name may be read.
            if name not in ("reward", "terminated"):
                self.locals.add(name)
            yield name
            return
        for node in self._family(target):
            yield node[1]

    # --- expressions

    def one(self, expression: ast.expr, depth: int = 0) -> Node:
        """An expression that is one number."""
        nodes = self.vector(expression, depth)
        if len(nodes) != 1:
            raise ProgramError(
                f"line {expression.lineno}: {len(nodes)} numbers where one is needed: use all(), "
                "any() or sum()"
            )
        return nodes[0]

    def vector(self, expression: ast.expr, depth: int = 0) -> list[Node]:
        """An expression as the scalars that it stands for, one for each member of its families."""
        if depth > MAX_DEPTH:
            raise ProgramError(f"line {expression.lineno}: nested more than {MAX_DEPTH} deep")
        nodes = self._vector(expression, depth + 1)
        # Counted after families are written out: `all(a == b)` over a thousand members is a
        # thousand nodes.
        self.num_nodes += len(nodes)
        if self.num_nodes > MAX_NODES:
            raise ProgramError(f"the program stands for more than {MAX_NODES} operations")
        return nodes

    def _vector(self, expression: ast.expr, depth: int) -> list[Node]:
        line = expression.lineno
        if isinstance(expression, ast.Constant):
            return [("const", _constant(line, expression.value))]
        if isinstance(expression, ast.Tuple):
            return [node for part in expression.elts for node in self.vector(part, depth)]
        if isinstance(expression, ast.Name | ast.Attribute | ast.Subscript):
            return self._named(expression, depth)
        if isinstance(expression, ast.UnaryOp) and isinstance(expression.op, ast.USub | ast.Not):
            kind = "neg" if isinstance(expression.op, ast.USub) else "not"
            return [(kind, line, node) for node in self.vector(expression.operand, depth)]
        if isinstance(expression, ast.BinOp) and type(expression.op) in _OPERATORS:
            operator = _OPERATORS[type(expression.op)]
            left = self.vector(expression.left, depth)
            right = self.vector(expression.right, depth)
            return [("bin", line, operator, a, b) for a, b in _paired(line, left, right)]
        if isinstance(expression, ast.BoolOp):
            kind = "and" if isinstance(expression.op, ast.And) else "or"
            # Scalars here: the truth of a family has to be asked for with all() or any().
            parts = [self.one(part, depth) for part in expression.values]
            return [(kind, line, *parts)]
        if isinstance(expression, ast.Compare):
            return self._compared(expression, depth)
        if isinstance(expression, ast.IfExp):
            condition = self.one(expression.test, depth)
            left = self.vector(expression.body, depth)
            right = self.vector(expression.orelse, depth)
            return [("if", line, condition, a, b) for a, b in _paired(line, left, right)]
        if isinstance(expression, ast.Call):
            return self._called(expression, depth)
        raise ProgramError(
            f"line {line}: {type(expression).__name__} is outside the grammar, which has numbers, "
            "names, + - * // %, comparisons, and, or, not, in {...}, `a if b else c`, "
            f"{', '.join(FUNCTIONS)}"
        )

    def _named(self, expression: ast.expr, depth: int) -> list[Node]:
        line = expression.lineno
        if isinstance(expression, ast.Name):
            if expression.id == "action":
                return [("action",)]
            if expression.id in self.locals:
                return [("local", expression.id)]
        is_table = (
            isinstance(expression, ast.Subscript)
            and isinstance(expression.value, ast.Name)
            and expression.value.id in self.tables
        )
        if is_table and isinstance(expression, ast.Subscript):
            name = expression.value.id  # type: ignore[attr-defined]
            return [("table", line, name, node) for node in self.vector(expression.slice, depth)]
        return self._family(expression)

    def _family(self, expression: ast.expr) -> list[Node]:
        """The features that a name, an index, a slice, or one of them behind `after.`, means."""
        line, index = expression.lineno, None
        named = expression
        if isinstance(named, ast.Subscript):
            index, named = named.slice, named.value
        kind = "feature"
        if isinstance(named, ast.Attribute):
            is_after = isinstance(named.value, ast.Name) and named.value.id == "after"
            name, kind = (named.attr if is_after else ""), "after"
        else:
            name = named.id if isinstance(named, ast.Name) else ""
        family = self.families.get(name)
        if family is None:
            raise ProgramError(
                f"line {line}: {ast.unparse(expression)} is not known: the program has features "
                f"{list(self.families)[:12]}, tables {list(self.tables)[:12]}, action and after"
            )
        # A name without an index means every member of its family.
        if index is None:
            places = range(family.size)
        elif isinstance(index, ast.Slice):
            places = range(
                _bound(line, index.lower, 0),
                _bound(line, index.upper, family.size),
                _bound(line, index.step, 1) or 1,
            )
        else:
            place = _bound(line, index, 0)
            places = range(place, place + 1)
        outside = [place for place in places if not 0 <= place < family.size]
        if outside or not len(places) or (family.is_single and index is not None):
            raise ProgramError(
                f"line {line}: {ast.unparse(expression)} names nothing: {name} has "
                f"{family.size} member(s)"
            )
        return [(kind, family.first + place) for place in places]

    def _compared(self, expression: ast.Compare, depth: int) -> list[Node]:
        line = expression.lineno
        left = self.vector(expression.left, depth)
        results: list[list[Node]] = []
        for operator, compared in zip(expression.ops, expression.comparators, strict=True):
            if isinstance(operator, ast.In | ast.NotIn):
                if not isinstance(compared, ast.Set):
                    raise ProgramError(f"line {line}: `in` takes numbers in braces, as in {{1, 2}}")
                members = tuple(_literal(line, part) for part in compared.elts)
                nodes: list[Node] = [("in", line, members, node) for node in left]
                if isinstance(operator, ast.NotIn):
                    nodes = [("not", line, node) for node in nodes]
                results.append(nodes)
                continue
            if type(operator) not in _COMPARISONS:
                raise ProgramError(f"line {line}: compare with == != < <= > >= or in")
            right = self.vector(compared, depth)
            name = _COMPARISONS[type(operator)]
            results.append([("cmp", line, name, a, b) for a, b in _paired(line, left, right)])
            # A chain such as 0 <= a < b compares neighbors.
            left = right
        if len(results) == 1:
            return results[0]
        return [("and", line, *parts) for parts in zip(*results, strict=True)]

    def _called(self, expression: ast.Call, depth: int) -> list[Node]:
        line = expression.lineno
        name = expression.func.id if isinstance(expression.func, ast.Name) else ""
        if name not in FUNCTIONS or expression.keywords or not expression.args:
            raise ProgramError(
                f"line {line}: {ast.unparse(expression.func)}() is outside the grammar, which has "
                f"{', '.join(FUNCTIONS)}"
            )
        parts = [node for part in expression.args for node in self.vector(part, depth)]
        if name == "abs":
            return [("abs", line, node) for node in parts]
        kinds = {"all": "and", "any": "or", "sum": "sum", "min": "min", "max": "max"}
        return [(kinds[name], line, *parts)]

    def _is_real(self, node: Any) -> bool:
        """Whether an expression may be no whole number."""
        if not isinstance(node, tuple) or not node:
            return False
        if node[0] == "const":
            return isinstance(node[1], float)
        if node[0] == "table":
            return any(not float(entry).is_integer() for entry in self.tables[node[2]])
        if node[0] in ("cmp", "in", "and", "or", "not"):
            # Comparisons give 0 or 1, whatever they compare.
            return False
        return any(self._is_real(part) for part in node[1:])


def _is_unknown(expression: ast.expr) -> bool:
    return isinstance(expression, ast.Name) and expression.id == "unknown"


def _paired(line: int, left: list[Node], right: list[Node]) -> list[tuple[Node, Node]]:
    """Members of equal number side by side; a single one serves all."""
    if len(left) == 1:
        left = left * len(right)
    if len(right) == 1:
        right = right * len(left)
    if len(left) != len(right):
        raise ProgramError(f"line {line}: {len(left)} numbers do not pair with {len(right)}")
    return list(zip(left, right, strict=True))


def _constant(line: int, value: Any) -> int | float:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not abs(value) <= MAX_NUMBER:
        raise ProgramError(f"line {line}: numbers go up to {MAX_NUMBER}, got {value!r}")
    number: int | float = value
    return number


def _literal(line: int, expression: ast.expr) -> int:
    """A whole number, perhaps with a minus."""
    is_negative = isinstance(expression, ast.UnaryOp) and isinstance(expression.op, ast.USub)
    inner = expression.operand if isinstance(expression, ast.UnaryOp) else expression
    value = inner.value if isinstance(inner, ast.Constant) else None
    if not isinstance(value, int) or isinstance(value, bool):
        raise ProgramError(f"line {line}: {ast.unparse(expression)} is no whole number")
    return int(_constant(line, -value if is_negative else value))


def _bound(line: int, expression: ast.expr | None, default: int) -> int:
    return default if expression is None else _literal(line, expression)


def _number(line: int, text: str) -> int | float:
    try:
        value: int | float = int(text)
    except ValueError:
        try:
            value = float(text)
        except ValueError as error:
            raise ProgramError(f"line {line}: {text!r} is no number") from error
    return _constant(line, value)
