"""The process behind `wm_envs.branches`: rules whose conditions report what they were.

`python -m wm_envs.branch_tracing` reads recordings (JSON) from its input and writes counts. The
modules of the rules are imported by a loader that calls a recorder around every condition of a
kernel and leaves the compiler out. Nothing but this package's own source is loaded so.
"""

import ast
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

import numpy as np

_RECORDER = "__was__"
_DECORATOR = "kernel"
_HERE = Path(__file__).parent
# Names of what holds options inside a kernel.
_OPTIONS = {"rules", "parameters"}


@dataclass
class _Place:
    """Where a condition stands."""

    file: str
    line: int
    function: tuple[str, str]  # module and name
    text: str
    is_whole: bool
    is_fixed: bool
    chain: int


@dataclass
class _Group:
    """The parts of one `and` or `or`, and the whole condition where it is one."""

    is_and: bool
    parts: list[int]
    whole: int | None = None


class _Record:
    """All conditions of the loaded rules, and which outcomes the current step had."""

    def __init__(self) -> None:
        self.places: list[_Place] = []
        self.groups: list[_Group] = []
        self.functions: dict[tuple[str, str], ast.FunctionDef] = {}
        self.seen = bytearray()
        self.called: set[tuple[str, str]] = set()

    def add(self, place: _Place) -> int:
        """The number of a new condition."""
        self.places.append(place)
        self.seen += b"\0\0"
        return len(self.places) - 1

    def was(self, number: int, value: Any) -> Any:
        """Note an outcome, and give it back."""
        self.seen[2 * number + (1 if value else 0)] = 1
        return value


RECORD = _Record()


class _Reporting(ast.NodeTransformer):
    """Wraps the conditions of the kernels of one module."""

    def __init__(self, module: str, file: str) -> None:
        self._module = module
        self._file = file
        self._function = ("", "")
        self._chain = 0
        self._fixed_names: set[str] = set()

    def visit_FunctionDef(self, node: ast.FunctionDef) -> Any:
        """A kernel loses its decorator; anything else stays as it is."""
        names = [name.id for name in node.decorator_list if isinstance(name, ast.Name)]
        if _DECORATOR not in names:
            return node
        if node.name.endswith("_rows"):  # loops over a batch are no rules
            node.decorator_list = []
            return node
        key = (self._module, node.name)
        # A copy as it was written, for the search of what it calls.
        RECORD.functions[key] = ast.parse(ast.unparse(node)).body[0]  # type: ignore[assignment]
        self._function = key
        self._fixed_names = _fixed_locals(node)
        node.decorator_list = []
        self.generic_visit(node)
        call = ast.parse(f"{_RECORDER}(-1, {key!r})").body[0]
        node.body.insert(1 if ast.get_docstring(node) else 0, call)
        return node

    def visit_ClassDef(self, node: ast.ClassDef) -> Any:
        """No kernel lives in a class."""
        return node

    def visit_If(self, node: ast.If) -> Any:
        """A branch; `elif` belongs to the chain of its `if`."""
        chain = getattr(node, "chain", None) or self._new_chain()
        if len(node.orelse) == 1 and isinstance(node.orelse[0], ast.If):
            node.orelse[0].chain = chain  # type: ignore[attr-defined]
        node.test = self._wrapped(node.test, chain, is_whole=True)
        node.body = [self.visit(part) for part in node.body]
        node.orelse = [self.visit(part) for part in node.orelse]
        return node

    def visit_While(self, node: ast.While) -> Any:
        """A loop's condition."""
        node.test = self._wrapped(node.test, self._new_chain(), is_whole=True)
        node.body = [self.visit(part) for part in node.body]
        return node

    def visit_IfExp(self, node: ast.IfExp) -> Any:
        """A conditional expression."""
        node.test = self._wrapped(node.test, self._new_chain(), is_whole=True)
        node.body = self.visit(node.body)
        node.orelse = self.visit(node.orelse)
        return node

    def visit_BoolOp(self, node: ast.BoolOp) -> Any:
        """Each operand of `and` and `or`."""
        chain = self._new_chain()
        group = _Group(isinstance(node.op, ast.And), [])
        RECORD.groups.append(group)
        node.group = group  # type: ignore[attr-defined]
        wrapped = [self._wrapped(value, chain, is_whole=False) for value in node.values]
        group.parts = [call.args[0].value for call in wrapped]  # type: ignore[attr-defined]
        node.values = list(wrapped)
        return node

    def _wrapped(self, test: ast.expr, chain: int, *, is_whole: bool) -> ast.Call:
        place = _Place(
            self._file,
            test.lineno,
            self._function,
            ast.unparse(test),
            is_whole,
            _is_fixed(test, self._fixed_names),
            chain,
        )
        inner = self.visit(test)
        number = RECORD.add(place)
        if isinstance(test, ast.BoolOp):
            test.group.whole = number  # type: ignore[attr-defined]
        function = ast.Name(_RECORDER, ast.Load())
        return ast.copy_location(ast.Call(function, [ast.Constant(number), inner], []), test)

    def _new_chain(self) -> int:
        self._chain += 1
        return self._chain


def _is_fixed(value: ast.expr, fixed_names: set[str]) -> bool:
    """Whether an expression reads nothing but options and constants."""
    names = {part.id for part in ast.walk(value) if isinstance(part, ast.Name)}
    has_calls = any(isinstance(part, ast.Call) for part in ast.walk(value))
    return not has_calls and all(
        name in _OPTIONS or name.isupper() or name in fixed_names for name in names
    )


def _fixed_locals(function: ast.FunctionDef) -> set[str]:
    """Names that are given a value once, and from options alone."""
    stores = [
        part.id
        for part in ast.walk(function)
        if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Store)
    ]
    found: set[str] = set()
    for statement in function.body:
        if isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name):
            name = statement.targets[0].id
            if stores.count(name) == 1 and _is_fixed(statement.value, found):
                found.add(name)
    return found


class _Loader(SourceFileLoader):
    """Loads a module with reporting conditions, past the cache of bytecode."""

    def get_code(self, fullname: str) -> CodeType:
        """Compiled from a changed syntax tree."""
        path = self.get_filename(fullname)
        tree = ast.parse(self.get_data(path), path)
        file = Path(path).relative_to(_HERE).as_posix()
        changed = ast.fix_missing_locations(_Reporting(fullname, file).visit(tree))
        code: CodeType = self.source_to_code(changed, path)
        return code

    def exec_module(self, module: ModuleType) -> None:
        """With the recorder among its names."""
        setattr(module, _RECORDER, _report)
        super().exec_module(module)


class _Finder(MetaPathFinder):
    """Takes the modules of the domains; the random numbers of `kernel.py` are no rules."""

    def find_spec(self, name: str, path: Any, target: Any = None) -> ModuleSpec | None:
        """The module with another loader, None for anything else."""
        if not name.startswith("wm_envs.") or name.count(".") != 2 or ".data." in name:
            return None
        spec = PathFinder.find_spec(name, path, target)
        if spec is None or not isinstance(spec.loader, SourceFileLoader):
            return None
        if b"@kernel" not in Path(spec.loader.path).read_bytes():
            return None
        spec.loader = _Loader(name, spec.loader.path)
        return spec


def _report(number: int, value: Any) -> Any:
    if number < 0:
        RECORD.called.add(value)
        return value
    return RECORD.was(number, value)


def _replay(job: dict[str, Any]) -> dict[str, Any]:
    """What the conditions were, or why the episodes could not be replayed."""
    from wm_envs import oracle
    from wm_envs.data.trajectories import Trajectories
    from wm_envs.errors import OptionError

    try:
        rules = oracle.rules_of(job["env_id"], job["env_kwargs"])
    except (OptionError, TypeError, ValueError) as error:
        return {"error": str(error)}
    RECORD.called.clear()
    trajectories = Trajectories.load(job["path"])
    width = len(rules.observation_fields)
    if trajectories.observations.shape[1] != width:
        return {"error": f"episodes of {job['env_id']} have {width} features"}
    rows: list[np.ndarray[Any, Any]] = []
    limit = job["max_steps"] or trajectories.num_steps
    try:
        for step in _steps(rules, trajectories, job["seed"], job["num_envs"]):
            if step is None:
                return {"error": _foreign(job)}
            rows.append(step)
            if len(rows) >= limit:
                break
    finally:
        rules.close()
    seen = np.zeros((len(rows), len(RECORD.seen)), np.bool_)
    for number, row in enumerate(rows):
        seen[number, : len(row)] = row
    return _summary(job, seen)


def _foreign(job: dict[str, Any]) -> str:
    return (
        f"these episodes of {job['env_id']} were not recorded with seed={job['seed']} and "
        f"num_envs={job['num_envs']}: give what record or Collector was given (num_envs=1 for a "
        "single environment), and all episodes in their order"
    )


def _steps(
    rules: Any, trajectories: Any, seed: int, num_envs: int
) -> Iterator[np.ndarray[Any, Any] | None]:
    """The outcomes of each replayed step; None where the environment answers otherwise."""
    num_episodes = trajectories.num_episodes
    quotas = [num_episodes // num_envs + (row < num_episodes % num_envs) for row in range(num_envs)]
    observations = np.zeros((1, len(rules.observation_fields)), np.float32)
    outcomes = np.zeros(1, rules.outcome_dtype).view(np.recarray)
    episode = 0
    for row, quota in enumerate(quotas):
        states = rules.new_states(1, seed + row)
        for _ in range(quota):
            _forget()
            rules.reset_rows(states, rules.parameters, np.ones(1, np.bool_))
            rules.observe_rows(states, rules.parameters, observations)
            recorded = trajectories.episode(episode)
            if not np.array_equal(observations[0], recorded.observations[0]):
                yield None
            for step, action in enumerate(recorded.actions):
                checked = rules.check_actions(action[None], (1,))
                rules.step_rows(states, rules.parameters, checked, observations, outcomes, False)
                if not np.array_equal(observations[0], recorded.observations[step + 1]):
                    yield None
                yield np.frombuffer(bytes(RECORD.seen), np.uint8).astype(np.bool_)
                _forget()
            episode += 1


def _forget() -> None:
    RECORD.seen[:] = bytes(len(RECORD.seen))


def _summary(job: dict[str, Any], seen: np.ndarray[Any, Any]) -> dict[str, Any]:
    outcomes = np.asarray(seen.any(axis=0))
    left_out = _settled_by_options(outcomes)
    settled = {
        (place.function, place.text): int(outcomes[2 * number] + 2 * outcomes[2 * number + 1])
        for number, place in enumerate(RECORD.places)
        if number in left_out
    }
    functions = _reachable(settled)
    conditions, true_steps, chains = [], [], []
    for number, place in enumerate(RECORD.places):
        if number in left_out or place.function not in functions:
            continue
        is_false, is_true = seen[:, 2 * number], seen[:, 2 * number + 1]
        conditions.append(
            {
                "file": place.file,
                "line": place.line,
                "function": place.function[1],
                "purpose": _purpose(place.function),
                "text": place.text,
                "is_whole": place.is_whole,
                "num_true": int(is_true.sum()),
                "num_false": int(is_false.sum()),
            }
        )
        true_steps.append(np.flatnonzero(is_true).tolist() if is_true.mean() < 0.1 else [])
        chains.append(f"{place.file}:{place.chain}")
    return {
        "env_id": job["env_id"],
        "num_steps": len(seen),
        "conditions": conditions,
        "true_steps": true_steps,
        "chains": chains,
        "idle_functions": {
            key[1]: _purpose(key) for key in sorted(functions) if key not in RECORD.called
        },
    }


def _settled_by_options(outcomes: np.ndarray[Any, Any]) -> set[int]:
    """Conditions that no test can change, since an option of the environment decides them."""
    settled = {number for number, place in enumerate(RECORD.places) if place.is_fixed}
    for group in RECORD.groups:
        for position, part in enumerate(group.parts):
            # `and` is decided by a part that is never true, `or` by one that is never false.
            undecided = outcomes[2 * part + (1 if group.is_and else 0)]
            if part in settled and not undecided:
                settled.update(group.parts[position:])
                settled.update([] if group.whole is None else [group.whole])
                break
    return settled


def _purpose(key: tuple[str, str]) -> str:
    text = ast.get_docstring(RECORD.functions[key]) or ""
    return text.split("\n\n")[0].replace("\n", " ")


_Settled = dict[tuple[tuple[str, str], str], int]
"""Of each settled condition, by function and text: 1 for false alone, 2 for true alone, 0 or 3."""


def _reachable(settled: _Settled) -> set[tuple[str, str]]:
    """Kernels that ran, and those that they could call under these options."""
    functions: set[tuple[str, str]] = set()
    waiting = list(RECORD.called)
    while waiting:
        key = waiting.pop()
        if key in functions or key not in RECORD.functions:
            continue
        functions.add(key)
        module = sys.modules[key[0]]
        for name in _names_in_block(key, RECORD.functions[key].body, settled):
            value = getattr(module, name, None)
            waiting.append((getattr(value, "__module__", ""), getattr(value, "__name__", "")))
    return functions


def _names_in_block(
    key: tuple[str, str], body: Sequence[ast.stmt], settled: _Settled
) -> Iterator[str]:
    """Names in statements that the options do not rule out."""
    for statement in body:
        if not isinstance(statement, ast.If):
            yield from _names(key, statement, settled)
            continue
        outcome = settled.get((key, ast.unparse(statement.test)), 3)
        yield from _names(key, statement.test, settled)
        if outcome != 1:
            yield from _names_in_block(key, statement.body, settled)
        if outcome != 2:
            yield from _names_in_block(key, statement.orelse, settled)
        if outcome == 2 and isinstance(statement.body[-1], ast.Return):
            return


def _names(key: tuple[str, str], node: ast.AST, settled: _Settled) -> Iterator[str]:
    if isinstance(node, ast.Name):
        yield node.id
    if isinstance(node, ast.IfExp):
        outcome = settled.get((key, ast.unparse(node.test)), 3)
        parts: list[ast.AST] = [node.test]
        parts += [node.body] * (outcome != 1) + [node.orelse] * (outcome != 2)
    else:
        parts = list(ast.iter_child_nodes(node))
    for part in parts:
        yield from _names(key, part, settled)


def main() -> None:
    """Answer the request on standard input."""
    np.seterr(over="ignore")  # as compiled uint64 does
    sys.meta_path.insert(0, _Finder())
    jobs = json.loads(sys.stdin.read())
    print(json.dumps([_replay(job) for job in jobs]))


if __name__ == "__main__":
    main()
