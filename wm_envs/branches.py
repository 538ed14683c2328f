"""Branch coverage: which branches of the compiled rules recorded episodes have exercised.

A test set that never saw the rare rule says nothing of it. The episodes are replayed by a process
of its own without the compiler, in which every condition of the rules reports what it was (decision
and condition coverage as in Myers, "The Art of Software Testing", 1979, chapter 4).
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from wm_envs.data.options import check_integer, check_seed
from wm_envs.data.trajectories import Trajectories
from wm_envs.errors import OptionError

_MAX_RATE = 0.1
_MIN_EXPECTED = 3.0
"""Two independent events that meet so often on average are missed by 1 sample in 20."""


@dataclass(frozen=True)
class Condition:
    """A condition in the rules, and in how many replayed steps it was true and false.

    Attributes:
        file: Below `wm_envs`.
        line: Of the file.
        function: That holds it.
        purpose: What the function does, the first sentence of its docstring.
        text: The condition.
        is_whole: Whether it decides a branch by itself; else it is a part of `and` or `or`.
        num_true: Steps in which it was true, resets counted with the first step.
        num_false: Steps in which it was false.
    """

    file: str
    line: int
    function: str
    purpose: str
    text: str
    is_whole: bool
    num_true: int
    num_false: int

    @property
    def num_outcomes(self) -> int:
        """Of its two outcomes, those that occurred."""
        return int(self.num_true > 0) + int(self.num_false > 0)

    @property
    def missing(self) -> str:
        """The outcome that never occurred; empty where both did or none."""
        if self.num_outcomes != 1:
            return ""
        return "never true" if self.num_true == 0 else "never false"

    def __str__(self) -> str:
        place = f"{self.file}:{self.line} {self.function}"
        found = self.missing or f"true in {self.num_true}, false in {self.num_false} steps"
        if self.num_outcomes == 0:
            found = "never reached"
        return f"{place}: {self.text}, {found}"


@dataclass(frozen=True)
class BranchCoverage:
    """What replayed episodes exercised of the rules of an environment.

    Conditions that only read the options of the environment are left out: no test can change them.

    Attributes:
        env_id: Of the environment.
        num_steps: Steps replayed.
        conditions: All of the functions that the environment can call.
        idle_functions: Those of these functions that never ran, with what they do.
        apart: Pairs of rare branches that each occurred, but never in one step, and which by chance
            alone would have met less than 3 times: the test was too small to show them together.
    """

    env_id: str
    num_steps: int
    conditions: tuple[Condition, ...]
    idle_functions: dict[str, str] = field(default_factory=dict)
    apart: tuple[tuple[Condition, Condition], ...] = ()

    @property
    def num_exercised(self) -> int:
        """Outcomes of conditions that occurred."""
        return sum(condition.num_outcomes for condition in self.conditions)

    @property
    def num_outcomes(self) -> int:
        """Outcomes of conditions in all, two each."""
        return 2 * len(self.conditions)

    @property
    def missing(self) -> tuple[Condition, ...]:
        """Conditions of which one outcome occurred and the other never did, in source order."""
        return tuple(condition for condition in self.conditions if condition.missing)

    def sentences(self) -> list[str]:
        """What never happened, one line each: functions, then branches, then pairs."""
        lines = [
            f"{name}: never ran ({purpose.rstrip('.')})"
            for name, purpose in self.idle_functions.items()
        ]
        lines += [
            f"{condition} ({condition.purpose.rstrip('.')})"
            for condition in self.missing
            if not self._is_explained(condition)
        ]
        lines += [
            f"never in one step: {first.text} ({first.function}) and {second.text} "
            f"({second.function})"
            for first, second in self.apart
        ]
        # The same condition may stand on several lines of a function.
        return list(dict.fromkeys(lines))

    def _is_explained(self, part: Condition) -> bool:
        """Whether a whole condition around this part already says as much."""
        if part.is_whole:
            return False
        return any(
            whole.is_whole
            and whole.missing == part.missing
            and part.text in whole.text
            and (whole.file, whole.function, whole.line) == (part.file, part.function, part.line)
            for whole in self.missing
        )

    def __str__(self) -> str:
        return (
            f"{self.num_exercised} of {self.num_outcomes} outcomes of the rules' conditions "
            f"occurred in {self.num_steps:,} steps of {self.env_id}"
        )

    def to_json(self) -> dict[str, Any]:
        """Everything as plain lists and numbers."""
        return {
            "env_id": self.env_id,
            "num_steps": self.num_steps,
            "num_exercised": self.num_exercised,
            "num_outcomes": self.num_outcomes,
            "never": self.sentences(),
            "conditions": [vars(condition) for condition in self.conditions],
        }


def branch_coverage(
    env_id: str,
    trajectories: Trajectories,
    *,
    seed: int,
    num_envs: int | None = None,
    env_kwargs: dict[str, Any] | None = None,
    max_steps: int | None = None,
) -> BranchCoverage:
    """Replay recorded episodes without the compiler and count what the rules' conditions were.

    Every replayed observation is compared with the recorded one.

    Args:
        env_id: A native id, such as "wm/Pong-v0".
        trajectories: All episodes of one recording, in their order.
        seed: That the recording was made with.
        num_envs: Environments that were stepped together: 1 for a single environment, such as a
            `Collector` has; None is the default of `record`.
        env_kwargs: Options of the environment.
        max_steps: Replay no more than the first of them; None replays all.

    Raises:
        OptionError: An id without native rules, options that JSON cannot hold, or episodes that
            were not recorded with this seed and these options.
    """
    [coverage] = branch_coverages(
        [(env_id, trajectories, env_kwargs or {})],
        seed=seed,
        num_envs=num_envs,
        max_steps=max_steps,
    )
    return coverage


def branch_coverages(
    recordings: Sequence[tuple[str, Trajectories, dict[str, Any]]],
    *,
    seed: int,
    num_envs: int | None = None,
    max_steps: int | None = None,
) -> list[BranchCoverage]:
    """`branch_coverage` of several recordings in one process: (id, episodes, options) of each."""
    seed = check_seed(seed)
    if num_envs is not None:
        num_envs = check_integer("num_envs", num_envs, 1)
    if max_steps is not None:
        max_steps = check_integer("max_steps", max_steps, 1)
    with tempfile.TemporaryDirectory() as folder:
        jobs = []
        for number, (env_id, trajectories, env_kwargs) in enumerate(recordings):
            path = trajectories.save(Path(folder) / f"{number}.npz")
            together = min(num_envs or 64, trajectories.num_episodes)
            job = {"env_id": env_id, "path": str(path), "env_kwargs": env_kwargs, "seed": seed}
            jobs.append({**job, "num_envs": together, "max_steps": max_steps})
        try:
            request = json.dumps(jobs)
        except TypeError as error:
            raise OptionError(
                f"env_kwargs go to another process as JSON, and one of them cannot: {error}"
            ) from error
        answers = _ask(request)
    return [_read(answer) for answer in answers]


def _ask(request: str) -> list[dict[str, Any]]:
    """The answers of a process that runs `wm_envs.branch_tracing`."""
    root = str(Path(__file__).parents[1])
    search_path = os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH")])])
    run = subprocess.run(
        [sys.executable, "-m", "wm_envs.branch_tracing"],
        input=request,
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
        env={**os.environ, "NUMBA_DISABLE_JIT": "1", "PYTHONPATH": search_path},
    )
    if run.returncode != 0:
        last = run.stderr.strip().splitlines()[-1:] or [f"exit code {run.returncode}"]
        raise OptionError(f"the episodes could not be replayed: {last[0]}")
    answers: list[dict[str, Any]] = json.loads(run.stdout.splitlines()[-1])
    for answer in answers:
        if "error" in answer:
            raise OptionError(answer["error"])
    return answers


def _read(answer: dict[str, Any]) -> BranchCoverage:
    conditions = [Condition(**row) for row in answer["conditions"]]
    return BranchCoverage(
        env_id=answer["env_id"],
        num_steps=answer["num_steps"],
        conditions=tuple(conditions),
        idle_functions=answer["idle_functions"],
        apart=_apart(conditions, answer),
    )


def _apart(
    conditions: Sequence[Condition], answer: dict[str, Any]
) -> tuple[tuple[Condition, Condition], ...]:
    """Rare branches that never occurred in one step, those most likely to do so first."""
    num_steps = answer["num_steps"]
    chains = answer["chains"]  # of each condition the if ... elif ... that it belongs to
    steps = {number: np.array(rows) for number, rows in enumerate(answer["true_steps"])}
    rare = [
        number
        for number, condition in enumerate(conditions)
        if condition.is_whole and 0 < condition.num_true < _MAX_RATE * num_steps
    ]
    found = []
    for first, second in combinations(rare, 2):
        expected = conditions[first].num_true * conditions[second].num_true / num_steps
        is_one_chain = chains[first] == chains[second]
        if is_one_chain or not 0.5 < expected < _MIN_EXPECTED:
            continue
        if not len(np.intersect1d(steps[first], steps[second])):
            found.append((expected, first, second))
    found.sort(reverse=True)
    return tuple((conditions[first], conditions[second]) for _, first, second in found[:5])
