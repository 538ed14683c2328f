"""Which commands the benchmarks are.

Found by looking, with a table of what cannot be seen from outside.

Every module of this folder that can be run is a benchmark, so that a new one needs no registration.
`SPECIAL` says what else it takes: other parts, packages beyond the usual extras, or peers that live
in a Python of their own.
"""

import ast
from dataclasses import dataclass, field
from pathlib import Path

FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class Special:
    """What the command line of one benchmark module needs.

    Attributes:
        parts: Argument lists, one run each.
        needs: Modules without which it cannot run.
        peers: Modules that a peer's Python has to have.
        peers_by: "argument" hands that Python over as `--peer-python`, "interpreter" runs the
            benchmark itself on it; without such a Python the benchmark runs on this one and says
            which peers it left out.
        is_measurement: False for the scripts that others call.
    """

    parts: tuple[tuple[str, ...], ...] = ((),)
    needs: tuple[str, ...] = ()
    peers: tuple[str, ...] = ()
    peers_by: str = ""
    is_measurement: bool = True


SPECIAL = {
    "compare": Special(is_measurement=False),
    "run": Special(is_measurement=False),
    "page": Special(is_measurement=False),
    "driving_peers": Special(is_measurement=False),
    "irl_gridworld_peer": Special(is_measurement=False),
    "driving_speed": Special(peers=("envpool", "highway_env"), peers_by="argument"),
    "irl_gridworld": Special(peers=("imitation",), peers_by="argument"),
    "planning_speed": Special(
        peers=("stable_worldmodel", "torchrl", "pytorch_mppi"), peers_by="interpreter"
    ),
    "pong_fidelity": Special(needs=("ale_py",)),
    "pong_throughput": Special(needs=("ale_py",)),
    "pong_models": Special(needs=("ale_py",)),
    "ray_scaling": Special(needs=("ray",)),
    "one_agent": Special(needs=("bsuite", "popgym", "Box2D", "sb3_contrib")),
    "take_away": Special(needs=("onnxruntime", "onnxscript")),
    "open_questions": Special(
        parts=tuple(
            ("--question", question)
            for question in ("scaling", "structure", "scalarization", "parents", "targets")
        )
    ),
    "symbolic_learning": Special(
        parts=tuple(
            ("--part", part) for part in ("simple", "recall", "solved", "nulls", "hard", "quick")
        )
    ),
}


@dataclass(frozen=True)
class Benchmark:
    """One command.

    Attributes:
        module: Its name in this folder.
        arguments: What follows it on the command line.
        special: See `Special`.
    """

    module: str
    arguments: tuple[str, ...] = ()
    special: Special = field(default_factory=Special)

    @property
    def name(self) -> str:
        """The module with its part."""
        return "_".join(
            (self.module, *(word for word in self.arguments if not word.startswith("-")))
        )


def benchmarks() -> list[Benchmark]:
    """All of them, by name."""
    found = []
    for path in sorted(FOLDER.glob("*.py")):
        special = SPECIAL.get(path.stem, Special())
        if special.is_measurement and is_runnable(path):
            found += [Benchmark(path.stem, arguments, special) for arguments in special.parts]
    return found


def is_runnable(path: Path) -> bool:
    """Whether a module does something when it is run.

    An `if __name__ == "__main__":` at its top level.
    """
    tree = ast.parse(path.read_text(encoding="utf-8"))
    tests = [ast.unparse(node.test) for node in tree.body if isinstance(node, ast.If)]
    return "__name__ == '__main__'" in tests


def summary(benchmark: Benchmark) -> str:
    """The first line of its docstring."""
    tree = ast.parse((FOLDER / f"{benchmark.module}.py").read_text(encoding="utf-8"))
    return (ast.get_docstring(tree) or "").split("\n")[0]
