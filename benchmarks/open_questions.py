"""The open questions of the symbolic tasks: scale, structure, reward weights, erring parents, targets.

    python -m benchmarks.open_questions --question scaling
    python -m benchmarks.open_questions --question structure
    python -m benchmarks.open_questions --question scalarization
    python -m benchmarks.open_questions --question parents
    python -m benchmarks.open_questions --question targets

Each question sets arms side by side on small tasks: every arm has the same number of trials on the
same tuning seeds, then seeds that were never tuned on. All seeds of an arm train as one program. A
finished trial or cell is a line in the output folder, and the command goes on where it was stopped.
Each writes open_questions_<question>.json and a picture. A cell's training ends early once all of
its runs are at 95%.
"""

import functools
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import gymnasium as gym
import numpy as np
import torch
import tyro
from gymnasium.vector import VectorEnv
from numpy.typing import NDArray

import wm_envs  # noqa: F401  (registers the ids)
from benchmarks.open_questions_summary import draw, summarize
from benchmarks.parent_noise import (
    AnsweringParents,
    Noise,
    NoisyParent,
    erring_language_models,
)
from benchmarks.report import RESULTS, append_row, read_rows, write_result
from benchmarks.reward_balance import Balance, BalancedReinforce, vector_returns
from benchmarks.tuning import Settings, random_search
from wm_agents.evaluation.ablation import success_rates
from wm_agents.policy_gradient.reinforce import (
    LossWeights,
    Reinforce,
    ReinforceConfig,
    UpdateReport,
)
from wm_agents.policy_gradient.sequence_model import NetworkConfig
from wm_envs.data.paths import expand_paths

Question = Literal["scaling", "structure", "scalarization", "parents", "targets"]
TUNING_SEED, EVALUATION_SEED = 1, 2
"""Parents of the seeds; run k of parent p is called seed 100 p + k."""
EPISODES_PER_UPDATE = 32
EVALUATE_EVERY = 20
CURVE_EPISODES, FINAL_EPISODES = 100, 500
STOP_AT = 0.95
PICTURES = Path(__file__).parents[1] / "docs" / "images"
NETWORK = NetworkConfig(width=32, feedforward_width=64, value_width=16)
WORLD_MODEL_WEIGHT = 10.0
CHOICES: dict[str, list[Any]] = {
    "learning_rate": [4e-3, 2e-3, 8e-3, 1e-3],
    "entropy": [0.02, 0.005],
}
"""Of every arm; the first are the defaults."""
WEIGHTS = [10.0, 1.0, 3.0, 30.0]
"""Of the loss, where the question is what it predicts: other targets have other units."""


@dataclass(frozen=True)
class Task:
    """An id with options that make it small, and the training episodes of a run."""

    env_id: str
    options: Mapping[str, Any]
    episodes: int


TASKS = {
    # Chance 1/3; knowing the responses but not whose they are gives 1/2.
    "recall": Task(
        "wm/RuleRecall-v0",
        {"num_symbols": 3, "num_cues": 2, "num_demonstrations": 5, "num_queries": 1},
        9_600,
    ),
    # The same with two observations a token, which leaves room for harder cells.
    "paired recall": Task(
        "wm/RuleRecall-v0",
        {"num_symbols": 3, "num_cues": 2, "num_demonstrations": 5, "num_queries": 1},
        9_600,
    ),
    "delayed match": Task("wm/DelayedMatch-v0", {}, 12_800),
    "maze": Task("wm/TMaze-v0", {"num_cues": 4, "length": 4}, 12_800),
    # Twenty steps an episode: about what the leaderboard gives, and no more.
    "puzzle": Task("wm/PermPuzzle-v0", {}, 3_200),
    "navigation": Task("wm/Navigation-v0", {}, 6_400),
    "sequence": Task("wm/SequenceNext-v0", {}, 6_400),
}


@dataclass(frozen=True)
class Arm:
    """What learns.

    Attributes:
        task: A name in TASKS.
        world_model: Weight of the world-model loss.
        changes: Of the training's settings.
        network: Of the network's sizes.
        balance: Rule and fixed weights of the reward components; None keeps the agent's own.
    """

    task: str
    world_model: float = WORLD_MODEL_WEIGHT
    changes: Mapping[str, Any] = field(default_factory=dict)
    network: Mapping[str, Any] = field(default_factory=dict)
    balance: tuple[str, tuple[float, float]] | None = None


@dataclass(frozen=True)
class Cell:
    """A task that differs from its base in one respect.

    Attributes:
        axis: What differs; "base" where nothing does.
        value: Its value.
        options: Options of the environment for it.
        noise: Of the parent.
        language_model: The share of questions that a language model's stub answers wrongly; None
            asks no language model.
    """

    axis: str = "base"
    value: float = 0.0
    options: Mapping[str, Any] = field(default_factory=dict)
    noise: Noise = field(default_factory=Noise)
    language_model: float | None = None


BASE = Cell()


def with_and_without(task: str, *, placebo: bool) -> dict[str, Arm]:
    """The arms of a task that tell whether its world model helps."""
    network = {"has_previous_observation": True} if task == "paired recall" else {}
    arms = {
        f"{task}, with": Arm(task, network=network),
        f"{task}, without": Arm(task, 0.0, network=network),
    }
    if placebo:
        shuffled = {"world_model_target": "shuffled"}
        arms[task + PLACEBO] = Arm(task, changes=shuffled, network=network)
    return arms


def option_cells(axis: str, option: str, values: Sequence[int], **fixed: int) -> list[Cell]:
    """A cell for each value of an option of the environment."""
    return [Cell(axis, value, {**fixed, option: value}) for value in values]


SCALING_CELLS = {
    "paired recall": [
        *option_cells("cues", "num_cues", (2, 3, 4), num_symbols=4),
        *option_cells("demonstrations", "num_demonstrations", (5, 10, 20)),
    ],
    "delayed match": [
        *option_cells("symbols", "num_symbols", (4, 8, 16, 64)),
        *option_cells("delay", "delay", (1, 2, 4)),
    ],
    "maze": [
        *option_cells("cues", "num_cues", (4, 8, 16)),
        *option_cells("length", "length", (4, 6, 8)),
    ],
    "puzzle": option_cells("level", "level", (1, 2)),
}
STRUCTURES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "attention": ({}, {}),
    "no memory": ({"memory": "none"}, {}),
    "no positions": ({"has_positions": False}, {}),
    "two observations a token": ({"has_previous_observation": True}, {}),
    "two observations, one layer": ({"has_previous_observation": True, "num_layers": 1}, {}),
    "two observations, one layer, width 16": (
        {
            "has_previous_observation": True,
            "num_layers": 1,
            "width": 16,
            "feedforward_width": 32,
        },
        {},
    ),
    "previous action and reward": ({}, {"has_previous_step": True}),
    "one layer": ({"num_layers": 1}, {}),
    "width 16": ({"width": 16, "feedforward_width": 32}, {}),
    "width 8": ({"width": 8, "feedforward_width": 16}, {}),
    "GRU": ({"memory": "gru"}, {}),
    "GRU, one layer, width 8": (
        {"memory": "gru", "num_layers": 1, "width": 8, "feedforward_width": 16},
        {},
    ),
    "state space": ({"memory": "state_space"}, {}),
}
RULES = {
    "goal alone": ("fixed", (1.0, 0.0)),
    "fixed 1 : 0.1": ("fixed", (1.0, 0.1)),
    "fixed 1 : 1": ("fixed", (1.0, 1.0)),
    "gradient norm": ("gradient norm", (1.0, 0.1)),
    "uncertainty": ("uncertainty", (1.0, 0.1)),
    "constrained": ("constrained", (1.0, 0.1)),
}
TARGETS = {
    "next observation": {},
    "latent": {"world_model_target": "latent"},
    "reward": {"world_model_target": "reward"},
    "next two": {"world_model_target": "next_two"},
    "placebo": {"world_model_target": "shuffled"},
}
RATES = (0.2, 0.4)
PLACEBO = ", placebo"


def arms_of(question: Question) -> dict[str, Arm]:
    """The arms that a question sets side by side."""
    arms: dict[str, Arm] = {}
    if question == "scaling":
        for task in SCALING_CELLS:
            # Of recall the targets' question has the placebo; of the puzzle nothing is learned.
            arms |= with_and_without(task, placebo=task not in ("paired recall", "puzzle"))
    elif question == "structure":
        for name, (network, changes) in STRUCTURES.items():
            arms[f"recall, {name}"] = Arm("recall", changes=changes, network=network)
    elif question == "scalarization":
        for task in ("recall", "maze", "navigation"):
            for name, balance in RULES.items():
                arms[f"{task}, {name}"] = Arm(task, balance=balance)
    elif question == "parents":
        for task in ("recall", "sequence"):
            arms |= with_and_without(task, placebo=False)
    else:
        for name, changes in TARGETS.items():
            arms[f"recall, {name}"] = Arm("recall", changes=changes)
        arms["recall, none"] = Arm("recall", 0.0)
    return arms


def cells_of(question: Question, task: str) -> list[Cell]:
    """The cells that each arm of a task is run in."""
    if question == "scaling":
        return SCALING_CELLS[task]
    if question != "parents":
        return [BASE]
    cells = [BASE]
    # Kinds of errors are told apart on the quicker task.
    for axis in ("transition", "reward", "answer") if task == "sequence" else ("answer",):
        cells += [Cell(axis, rate, noise=Noise(**{axis: rate})) for rate in RATES]
    if task == "sequence":
        cells += [Cell("language model", rate, language_model=rate) for rate in (0.0, *RATES)]
    return cells


@dataclass(frozen=True)
class Config:
    """What to measure."""

    question: Question
    """Which of the questions."""
    tasks: tuple[str, ...] = ()
    """Only these of the question's tasks; none is all. Nothing is written before all are there."""
    num_seeds: int = 10
    """Runs of each arm and cell."""
    num_trials: int = 4
    """Settings that are tried for each arm."""
    num_tuning_seeds: int = 2
    """Runs of each trial."""
    tuning_share: float = 0.4
    """Share of the episodes that a trial gets."""
    episodes_scale: float = 1.0
    """Factor on the budgets, for a try."""
    output_dir: Path = Path("runs/open_questions")
    """Folder of finished trials and cells."""
    results_dir: Path = RESULTS
    """Folder of open_questions_<question>.json."""
    pictures_dir: Path = PICTURES
    """Folder of open_questions_<question>.png."""


def main(config: Config) -> dict[str, Any] | None:
    """Tune and run what is missing; returns the figures, or None where a task was left out."""
    torch.set_num_threads(1)
    config = expand_paths(config)
    arms = arms_of(config.question)
    tasks = list(dict.fromkeys(arm.task for arm in arms.values()))
    tuning: dict[str, Any] = {}
    rows: list[dict[str, Any]] = []
    for task in tasks:
        if config.tasks and task not in config.tasks:
            continue
        own = {name: arm for name, arm in arms.items() if arm.task == task}
        found, own_rows = run_task(task, own, config)
        tuning |= found
        rows += own_rows
    if len(tuning) < len(arms):
        return None
    figures = {"budgets": budgets(tasks, config), **summarize(config.question, rows)}
    figures |= {"tuning": tuning, "rows": rows}
    name = f"open_questions_{config.question}"
    command = f"python -m benchmarks.open_questions --question {config.question}"
    if config.num_seeds != Config.num_seeds:
        command += f" --num-seeds {config.num_seeds}"
    seeds = sorted({row["seed"] for row in rows})
    write_result(name, figures, seeds=seeds, command=command, folder=config.results_dir)
    draw(config.question, figures, config.pictures_dir / f"{name}.png")
    return figures


def choices_of(question: Question, arm: Arm) -> dict[str, list[Any]]:
    """What is tuned of an arm."""
    if question == "targets" and arm.world_model > 0:
        return CHOICES | {"world_model": WEIGHTS}
    return CHOICES


def budgets(tasks: Sequence[str], config: Config) -> dict[str, Any]:
    """Id, options and episodes of each task."""
    return {
        task: {
            "env_id": TASKS[task].env_id,
            "options": dict(TASKS[task].options),
            "episodes": round(config.episodes_scale * TASKS[task].episodes),
        }
        for task in tasks
    }


def run_task(
    task: str, arms: Mapping[str, Arm], config: Config
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The tuning of a task's arms, and a row for each arm, cell and seed."""
    folder = config.output_dir / config.question / task.replace(" ", "_")
    episodes = config.episodes_scale * TASKS[task].episodes

    def score(name: str, settings: Settings, seeds: Sequence[int]) -> Sequence[float]:
        share = round(config.tuning_share * episodes)
        trained = train(arms[name], BASE, settings, TUNING_SEED, len(seeds), share)
        # The area under the curve tells fast from slow where both get there.
        scores: list[float] = trained.curve.mean(1).tolist()
        return scores

    seeds = [100 * EVALUATION_SEED + k for k in range(config.num_seeds)]
    tuning = random_search(
        {name: choices_of(config.question, arm) for name, arm in arms.items()},
        score,
        num_trials=config.num_trials,
        seeds=[100 * TUNING_SEED + k for k in range(config.num_tuning_seeds)],
        evaluation_seeds=seeds,
        folder=folder,
    )
    rows: list[dict[str, Any]] = []
    for number, cell in enumerate(cells_of(config.question, task)):
        for name, arm in arms.items():
            if name.endswith(PLACEBO) and number:
                continue  # once is enough to tell the loss from what it says
            rows += rows_of(name, arm, cell, tuning[name]["best"], seeds, round(episodes), folder)
    return tuning, rows


def rows_of(
    name: str,
    arm: Arm,
    cell: Cell,
    settings: Settings,
    seeds: Sequence[int],
    episodes: int,
    folder: Path,
) -> list[dict[str, Any]]:
    """A row for each seed of an arm in a cell; those in the folder are not run again."""
    place = {
        "arm": name,
        "axis": cell.axis,
        "value": cell.value,
        "settings": settings,
        "num_episodes": episodes,
    }
    finished = {
        row["seed"]: row
        for row in read_rows(folder)
        if all(row[key] == value for key, value in place.items())
    }
    if set(seeds) <= set(finished):
        return [finished[seed] for seed in seeds]
    trained = train(arm, cell, settings, EVALUATION_SEED, len(seeds), episodes)
    rows = []
    for k, seed in enumerate(seeds):
        row = {**place, "seed": seed, **trained.figures(k)}
        append_row(folder, row)
        rows.append(row)
    mean, seconds = trained.final.mean(), trained.cpu_seconds
    print(f"{name}, {cell.axis} {cell.value:g}: {mean:.3f} in {seconds:.0f} s", flush=True)
    return rows


@dataclass(frozen=True)
class Trained:
    """Runs of an arm in a cell.

    Greedy success at the end [S] and on the way [S, K], and what they took; the components'
    returns [S, 2] where they are balanced.
    """

    final: NDArray[np.float64]
    curve: NDArray[np.float64]
    episodes: list[int]
    real_steps: NDArray[np.int64]
    cpu_seconds: float
    num_parameters: int
    returns: NDArray[np.float64] | None

    def figures(self, run: int) -> dict[str, Any]:
        """What is kept of one run."""
        figures = {
            "success": float(self.final[run]),
            "episodes": self.episodes,
            "curve": self.curve[run].round(4).tolist(),
            "real_steps": int(self.real_steps[run]),
            "cpu_seconds": self.cpu_seconds / len(self.final),
            "num_parameters": self.num_parameters,
        }
        if self.returns is not None:
            figures["vector_return"] = self.returns[run].round(5).tolist()
        return figures


def train(
    arm: Arm, cell: Cell, settings: Settings, parent: int, num_seeds: int, episodes: int
) -> Trained:
    """Runs of one arm in one cell on children of a parent seed."""
    with ExitStack() as stack:
        agent = make_agent(arm, cell, settings, parent, num_seeds, stack)
        num_updates = max(EVALUATE_EVERY, episodes // EPISODES_PER_UPDATE)
        counts: list[int] = []
        curve: list[NDArray[np.float64]] = []

        def watch(agent: Reinforce, report: UpdateReport) -> bool:
            if report.update % EVALUATE_EVERY == 0:
                counts.append(report.num_episodes)
                curve.append(success_rates(agent, CURVE_EPISODES, 1))
                if curve[-1].min() >= STOP_AT:
                    return False
            return report.update < num_updates

        began = time.process_time()
        agent.learn(2**62, watch)
        seconds = time.process_time() - began
        final = success_rates(agent, FINAL_EPISODES, 0)
        returns = None if arm.balance is None else vector_returns(agent, FINAL_EPISODES)
    return Trained(
        final,
        np.stack(curve, 1),
        counts,
        agent.num_steps,
        seconds,
        agent.model.num_parameters,
        returns,
    )


def make_agent(
    arm: Arm, cell: Cell, settings: Settings, parent: int, num_seeds: int, stack: ExitStack
) -> Reinforce:
    """The agent of an arm, which is evaluated with a parent that does not err."""
    task = TASKS[arm.task]
    config = ReinforceConfig(
        network=replace(NETWORK, **arm.network),
        weights=LossWeights(
            entropy=settings["entropy"],
            world_model=settings.get("world_model", arm.world_model),
        ),
        num_seeds=num_seeds,
        episodes_per_update=EPISODES_PER_UPDATE,
        learning_rate=settings["learning_rate"],
        **arm.changes,
    )
    make_truth = functools.partial(gym.make_vec, task.env_id, **{**task.options, **cell.options})

    def make(num_envs: int) -> VectorEnv[Any, Any, Any]:
        if cell.language_model is not None:
            return AnsweringParents(make_truth(num_envs), model_parents)
        return NoisyParent(make_truth(num_envs), cell.noise)

    if cell.language_model is not None:
        seeds = [100 * parent + k for k in range(num_seeds)]
        model_parents = stack.enter_context(erring_language_models(cell.language_model, seeds))
    if arm.balance is not None:
        rule, fixed = arm.balance
        return BalancedReinforce(make, config, Balance(rule, fixed), seed=parent)
    agent = Reinforce(make, config, seed=parent)
    # Training plays the first level; evaluation the last one, whose parent tells the truth.
    agent.collector.makers = (make, make_truth)
    return agent


if __name__ == "__main__":
    main(tyro.cli(Config))
