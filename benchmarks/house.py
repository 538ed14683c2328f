"""How large the house is, counted from the source: concepts, loops, circles, tokens, comments.

    python -m benchmarks.house                    # this tree beside the one before the rebuild
    python -m benchmarks.house --before REVISION

Nothing of what is counted is imported; every number is read off the syntax trees.
"""

import argparse
import ast
import io
import re
import statistics
import subprocess
import tarfile
import tempfile
import tokenize
from collections import defaultdict
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

from benchmarks.report import write_result

ROOT = Path(__file__).parent.parent
BEFORE = "83029e2"  # the last commit before the rebuild
ROOMS = ("wm_envs", "wm_agents", "wm_suite", "examples", "benchmarks")
PACKAGES = ("wm_envs", "wm_agents", "wm_suite")
KEPT_SEQUENCES = {"Trajectories", "TrajectoryBatch", "Transitions", "Rollout"}
# Names under which the tree has held a sequence of steps; the four that are meant to stay among
# them.
SEQUENCES = KEPT_SEQUENCES | {
    "Demonstrations",
    "Episode",
    "EpisodeArrays",
    "EpisodeBatch",
    "EvaluationWindows",
    "Experience",
    "Futures",
    "Games",
    "ImaginedSteps",
    "ModelFutures",
    "RecordedEpisode",
    "Recording",
    "RolloutBatch",
    "Samples",
    "Segment",
    "SegmentSource",
    "Steps",
    "Stretches",
    "Trajectory",
    "WindowBatch",
    "Windows",
    "_Batch",
    "_Episode",
    "_Recorder",
    "_Rollout",
    "_Samples",
    "_Steps",
}


class Tree:
    """The Python files of one revision."""

    def __init__(self, root: Path) -> None:
        self.files = {
            path.relative_to(root): path.read_text(encoding="utf-8")
            for room in ROOMS
            for path in sorted((root / room).rglob("*.py"))
        }
        self.trees = {path: ast.parse(text) for path, text in self.files.items()}
        self.modules = {module_name(path): path for path in self.files}

    @cached_property
    def imports(self) -> dict[str, set[str]]:
        """Module -> modules of ours that it imports, lazily and for type checking included."""
        return {name: set(self._imports_of(name)) - {name} for name in self.modules}

    def _imports_of(self, name: str) -> Iterator[str]:
        for node in ast.walk(self.trees[self.modules[name]]):
            if isinstance(node, ast.Import):
                yield from (alias.name for alias in node.names if alias.name in self.modules)
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                for alias in node.names:
                    whole = f"{node.module}.{alias.name}"
                    if whole in self.modules:
                        yield whole
                    elif node.module in self.modules:
                        yield node.module

    def classes(self, rooms: tuple[str, ...]) -> list[ast.ClassDef]:
        """Classes at the top level of modules in these rooms."""
        return [
            node
            for path, tree in self.trees.items()
            if path.parts[0] in rooms
            for node in tree.body
            if isinstance(node, ast.ClassDef)
        ]


def count(tree: Tree) -> dict[str, float]:
    """The table of one tree."""
    public = [node for node in tree.classes(PACKAGES) if not node.name.startswith("_")]
    names = {node.name for node in tree.classes(ROOMS)}
    lines, comments, tokens = _text_counts(tree)
    example_names, example_modules = _imports_of_examples(tree)
    return {
        "notions of a sequence of steps": len(names & SEQUENCES),
        "of them neither the four nor built on them": len(_foreign_sequences(tree)),
        "modules that step an optimizer": len(
            _modules_calling(tree, r"(optimizer|_optimizer|optimiser)\.step\(")
        ),
        # `self.latest` is the checkpoints' own code, which resumes nothing.
        "modules that resume from checkpoints": len(
            _modules_calling(tree, r"(?<!\bself)\.latest(_state)?\(")
        ),
        "signatures of load": len(_load_signatures(tree)),
        "PPOs": len({name for name in names if re.fullmatch(r"\w*PPO", name)}),
        "public classes": len(public),
        "modules with one importer": len(_modules_with_one_importer(tree)),
        "import circles": len(import_circles(tree.imports)),
        "names imported by a median example": example_names,
        "modules imported by a median example": example_modules,
        "files that edit sys.path": sum(
            "sys.path" in text for path, text in tree.files.items() if path.name != "house.py"
        ),
        "nested conditional expressions": _nested_conditionals(tree),
        "code tokens": tokens,
        "tokens per code line": round(tokens / lines, 2),
        "comment-only lines, %": round(100 * comments / (lines + comments), 2),
    }


def _foreign_sequences(tree: Tree) -> set[str]:
    """Notions of a sequence that are none of the four and inherit from none of them."""
    found = set()
    for node in tree.classes(ROOMS):
        # A base may be a generic with its arrays' type: `TrajectoryBatch[NDArray[Any]]`.
        bases = {ast.unparse(base).split("[")[0].split(".")[-1] for base in node.bases}
        if node.name in SEQUENCES - KEPT_SEQUENCES and not bases & KEPT_SEQUENCES:
            found.add(node.name)
    return found


def module_name(path: Path) -> str:
    """The dotted name of a file."""
    parts = path.with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _text_counts(tree: Tree) -> tuple[int, int, int]:
    """Lines that hold code, lines that hold a comment alone, and code tokens.

    Docstrings are neither.
    """
    skipped = {
        tokenize.COMMENT,
        tokenize.NL,
        tokenize.NEWLINE,
        tokenize.INDENT,
        tokenize.DEDENT,
        tokenize.ENDMARKER,
    }
    lines = comments = num_tokens = 0
    for path, text in tree.files.items():
        docstrings = _docstring_lines(tree.trees[path])
        code_lines: set[int] = set()
        comment_lines: set[int] = set()
        for token in tokenize.generate_tokens(io.StringIO(text).readline):
            if token.type == tokenize.COMMENT:
                comment_lines.add(token.start[0])
            elif token.type not in skipped and token.start[0] not in docstrings:
                num_tokens += 1
                code_lines.update(range(token.start[0], token.end[0] + 1))
        lines += len(code_lines)
        comments += len(comment_lines - code_lines)
    return lines, comments, num_tokens


def _docstring_lines(tree: ast.Module) -> set[int]:
    found: set[int] = set()
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list):
            for statement in body:
                is_text = isinstance(statement, ast.Expr) and isinstance(
                    statement.value, ast.Constant
                )
                if is_text and isinstance(statement.value.value, str):
                    found.update(range(statement.lineno, (statement.end_lineno or 0) + 1))
    return found


def _modules_calling(tree: Tree, pattern: str) -> list[Path]:
    # This file names what it looks for.
    return [
        path
        for path, text in tree.files.items()
        if path.name != "house.py" and re.search(pattern, text)
    ]


def _load_signatures(tree: Tree) -> set[str]:
    """Distinct parameters of functions called `load` in the learners, apart from `self` and `cls`."""
    found = set()
    for path, module in tree.trees.items():
        if path.parts[0] != "wm_agents":
            continue
        for node in ast.walk(module):
            if isinstance(node, ast.FunctionDef) and node.name == "load":
                names = [
                    item.arg
                    for item in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)
                ]
                found.add(", ".join(name for name in names if name not in ("self", "cls")))
    return found


def _modules_with_one_importer(tree: Tree) -> list[str]:
    importers: dict[str, set[str]] = defaultdict(set)
    for module, imported in tree.imports.items():
        for name in imported:
            importers[name].add(module)
    packages = {name for name, path in tree.modules.items() if path.name == "__init__.py"}
    in_packages = [
        name for name in tree.modules if name.split(".")[0] in PACKAGES and name not in packages
    ]
    return [name for name in in_packages if len(importers[name]) == 1]


def import_circles(imports: dict[str, set[str]]) -> list[list[str]]:
    """Strongly connected groups of more than one module (Tarjan 1972)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    groups: list[list[str]] = []

    def visit(name: str) -> None:
        index[name] = low[name] = len(index)
        stack.append(name)
        for other in sorted(imports.get(name, ())):
            if other not in index:
                visit(other)
                low[name] = min(low[name], low[other])
            elif other in stack:
                low[name] = min(low[name], index[other])
        if low[name] == index[name]:
            group = []
            while not group or group[-1] != name:
                group.append(stack.pop())
            if len(group) > 1:
                groups.append(sorted(group))

    for name in sorted(imports):
        if name not in index:
            visit(name)
    return groups


def _imports_of_examples(tree: Tree) -> tuple[float, float]:
    """Names and modules of ours that a median example imports."""
    names, modules = [], []
    for path, module in tree.trees.items():
        if path.parts[0] != "examples" or len(path.parts) > 2 or path.name == "__init__.py":
            continue
        found: dict[str, set[str]] = defaultdict(set)
        for node in ast.walk(module):
            if (
                isinstance(node, ast.ImportFrom)
                and node.module
                and node.module.split(".")[0] in ROOMS
            ):
                found[node.module].update(alias.name for alias in node.names)
            elif isinstance(node, ast.Import):
                for alias in node.names:
                    if alias.name.split(".")[0] in ROOMS:
                        found[alias.name].add(alias.name)
        names.append(sum(len(group) for group in found.values()))
        modules.append(len(found))
    return statistics.median(names), statistics.median(modules)


def _nested_conditionals(tree: Tree) -> int:
    return sum(
        isinstance(node, ast.IfExp)
        and any(isinstance(child, ast.IfExp) for child in ast.iter_child_nodes(node))
        for module in tree.trees.values()
        for node in ast.walk(module)
    )


def read_revision(revision: str) -> Tree:
    """The tree of a commit."""
    listing = subprocess.run(
        ["git", "ls-tree", "--name-only", revision], cwd=ROOT, capture_output=True, check=True
    )
    there = [room for room in ROOMS if room in listing.stdout.decode().splitlines()]
    rooms = subprocess.run(
        ["git", "archive", revision, *there], cwd=ROOT, capture_output=True, check=True
    )
    with tempfile.TemporaryDirectory() as folder:
        with tarfile.open(fileobj=io.BytesIO(rooms.stdout)) as archive:
            archive.extractall(folder, filter="data")
        return Tree(Path(folder))


def main() -> None:
    """Print the table and write it beside the other results."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--before", default=BEFORE, help="the revision to compare with")
    parser.add_argument(
        "--verbose", action="store_true", help="name the circles and what else is counted"
    )
    arguments = parser.parse_args()
    present = Tree(ROOT)
    before, after = count(read_revision(arguments.before)), count(present)
    print(f"{'':44} {'before':>9} {'now':>9}")
    for name, value in after.items():
        print(f"{name:44} {before[name]:>9,} {value:>9,}")
    if arguments.verbose:
        print("circles:", *import_circles(present.imports), sep="\n  ")
        print("one importer:", *_modules_with_one_importer(present), sep="\n  ")
        print("load:", *sorted(_load_signatures(present)), sep="\n  ")
        print(
            "optimizers:",
            *_modules_calling(present, r"(optimizer|_optimizer|optimiser)\.step\("),
            sep="\n  ",
        )
    write_result(
        "house", {"before": before, "now": after}, seeds=[], command="python -m benchmarks.house"
    )


if __name__ == "__main__":
    main()
