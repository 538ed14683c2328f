"""The tasks of the one-agent table: environments, budgets, scales and thresholds with their sources."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import gymnasium as gym

import wm_envs  # noqa: F401  (registers the ids)
from benchmarks.one_agent_tasks import bsuite_suite
from benchmarks.one_agent_tasks.adapters import PopgymEnv

Metric = Literal["success_rate", "mean_return", "bsuite"]
ThresholdKind = Literal["score", "normalised", "share_of_best"]

SCALE = Path(__file__).parents[1] / "results" / "one_agent_scale.json"
"""Measured by `python -m benchmarks.one_agent_tasks.scale`: random play, and some of the best."""

CLIFF_STEPS = 200
"""CliffWalking is registered without a time limit, and a greedy policy may walk in circles."""

SYMBOLIC_CPU_SECONDS = 600.0
TRACK_SEEDS = (1, 2)


@dataclass(frozen=True)
class Reference:
    """A score that others reached, in the task's own unit unless it says otherwise.

    Attributes:
        score: The score.
        source: Where it comes from.
        is_normalised: Whether 0 is random play and 1 the best known.
    """

    score: float
    source: str
    is_normalised: bool = False


@dataclass(frozen=True)
class Threshold:
    """What the agent has to reach.

    Attributes:
        value: The bound, which counts as reached when it is met exactly.
        kind: "score" in the task's own unit, "normalised", or "share_of_best" of the best known.
    """

    value: float
    kind: ThresholdKind = "score"


@dataclass(frozen=True)
class Task:
    """One environment of the table.

    Attributes:
        name: How it is called in rows and on the command line.
        make: Builds the environment.
        budget: Real steps that a learner may take.
        metric: What counts: the success rate, the mean return, or bsuite's own score.
        best: The best known score; None where `scale` measures it.
        threshold: What the agent has to reach; None where nothing was set.
        specialised: The agent of this project that was built for the task; None where there is none.
        is_held_out: Whether no setting may ever be chosen on this task.
        episodes: Evaluation episodes of a run.
        max_cpu_seconds: Training time within which the threshold has to be reached.
        needs: Modules without which the task is skipped.
    """

    name: str
    make: Callable[[], gym.Env[Any, Any]]
    budget: int
    metric: Metric = "mean_return"
    best: Reference | None = None
    threshold: Threshold | None = None
    specialised: Reference | None = None
    is_held_out: bool = False
    episodes: int = 100
    max_cpu_seconds: float | None = None
    needs: tuple[str, ...] = ()

    @property
    def suite(self) -> str:
        """The collection that the task belongs to."""
        if self.name.startswith("wm/"):
            return "wm-suite"
        prefix = self.name.split("/")[0].split("-")[0]
        return prefix if prefix in ("bsuite", "popgym") else "gymnasium"

    @property
    def random_score(self) -> float:
        """What uniform actions score; 0 of bsuite's own scale."""
        if self.metric == "bsuite":
            return 0.0
        return float(_measured()["random"][self.name]["score"])

    @property
    def best_known(self) -> Reference:
        """The best known score and where it comes from."""
        if self.best is not None:
            return self.best
        row = _measured()["best_known"][self.name]
        return Reference(row["score"], row["source"])

    def normalise(self, score: float) -> float:
        """The score with random play at 0 and the best known at 1."""
        low = self.random_score
        return (score - low) / (self.best_known.score - low)

    @property
    def threshold_score(self) -> float | None:
        """The threshold in the task's own unit."""
        if self.threshold is None:
            return None
        value = self.threshold.value
        if self.threshold.kind == "normalised":
            low = self.random_score
            return low + value * (self.best_known.score - low)
        if self.threshold.kind == "share_of_best":
            return value * self.best_known.score
        return value

    def missing_packages(self) -> list[str]:
        """The modules that the task needs and that are not installed."""
        return [module for module in self.needs if find_spec(module) is None]


@cache
def _measured() -> dict[str, Any]:
    return dict(json.loads(SCALE.read_text(encoding="utf-8"))["figures"])


def tasks() -> dict[str, Task]:
    """All tasks by name, in the order of the table."""
    everything = [*symbolic(), *domains(), *gymnasium_tasks(), *bsuite_tasks(), *popgym_tasks()]
    return {task.name: task for task in everything}


def symbolic() -> list[Task]:
    """The ten symbolic ids at their default levels."""
    ours = {
        "PatternEcho": ("reinforce", 1.0),
        "SequenceNext": ("learned planner", 1.0),
        "Conditional": ("reinforce", 0.83),
        "Navigation": ("learned planner", 1.0),
        "DelayedMatch": ("reinforce", 1.0),
        "RuleRecall": ("reinforce with its prediction loss", 0.987),
        "TMaze": ("learned planner", 0.03),
        "PermPuzzle": ("learned planner", 1.0),
        "LightsOut": ("learned planner", 1.0),
        "TokenAutomaton": ("learned planner", 1.0),
    }
    # These steps are nearly free, so that time is what limits them: ten CPU-minutes a seed.
    budgets = {"RuleRecall": 1_000_000}
    found = []
    for name, (agent, score) in ours.items():
        result = "symbolic_learning_recall" if name == "RuleRecall" else "leaderboard"
        source = f"{agent}, benchmarks/results/{result}.json"
        found.append(
            Task(
                name=f"wm/{name}-v0",
                make=partial(gym.make, f"wm/{name}-v0"),
                budget=budgets.get(name, 300_000),
                metric="success_rate",
                best=Reference(1.0, "success always: the oracle planner in leaderboard.json"),
                threshold=Threshold(0.95, "normalised"),
                specialised=Reference(score, source, is_normalised=name != "RuleRecall"),
                max_cpu_seconds=SYMBOLIC_CPU_SECONDS,
            )
        )
    return found


def domains() -> list[Task]:
    """Pong, driving, resolutions and debates."""
    circuits: list[tuple[str, dict[str, Any], float]] = [("oval", {"track": "oval"}, 0.95)]
    circuits += [
        (f"random-{seed}", {"track": "random", "track_seed": seed}, 0.8) for seed in TRACK_SEEDS
    ]
    pong = partial(gym.make, "wm/Pong-v0", repeat_action_probability=0.25)
    return [
        Task(
            name="wm/Pong-v0",
            make=pong,
            budget=100_000,
            best=Reference(20.75, "dream, sticky 0.25, benchmarks/results/pong_dream.json"),
            threshold=Threshold(10.0),
            specialised=Reference(20.75, "dream, sticky 0.25, benchmarks/results/pong_dream.json"),
            episodes=20,
        ),
        *(
            Task(
                name=f"wm/Driving-v0:{label}",
                make=partial(gym.make, "wm/Driving-v0", **options),
                budget=50_000,
                threshold=Threshold(share, "share_of_best"),
                episodes=20,
            )
            for label, options, share in circuits
        ),
        Task("wm/UNResolution-v0", partial(gym.make, "wm/UNResolution-v0"), budget=20_000),
        Task(
            name="wm/Debate-v0",
            make=partial(gym.make, "wm/Debate-v0"),
            budget=100_000,
            best=Reference(5.578, "PPO after 803,840 steps, benchmarks/results/debate_seat.json"),
        ),
    ]


def gymnasium_tasks() -> list[Task]:
    """Classic control, Box2D and toy text, in their newest versions."""

    def control(result: str, arm: str) -> Reference:
        path = SCALE.with_name(f"control_{result}.json")
        score = json.loads(path.read_text(encoding="utf-8"))["figures"][arm]["mean_return"]
        return Reference(score, f"{arm} planner, benchmarks/results/{path.name}")

    registered = "the reward threshold that Gymnasium registers"
    asked = "the figure asked for; nothing better was measured here"
    rows: list[tuple[str, float, bool, Reference | None, Reference | None]] = [
        (
            "CartPole-v1",
            500,
            False,
            Reference(500, "the time limit"),
            control("cart_pole", "learned"),
        ),
        (
            "Acrobot-v1",
            -90,
            False,
            control("acrobot", "oracle"),
            control("acrobot", "learned"),
        ),
        (
            "MountainCar-v0",
            -115,
            True,
            Reference(-110, registered),
            control("mountain_car", "learned"),
        ),
        (
            "Pendulum-v1",
            -150,
            False,
            control("pendulum", "oracle"),
            control("pendulum", "learned"),
        ),
        ("MountainCarContinuous-v0", 90, True, Reference(90, asked), None),
        ("LunarLander-v3", 200, True, Reference(200, asked), None),
        ("LunarLanderContinuous-v3", 200, True, Reference(200, asked), None),
        ("FrozenLake-v1", 0.70, False, None, None),
        ("CliffWalking-v1", -15, False, None, None),
        ("Taxi-v4", 7, True, None, None),
        ("Blackjack-v1", -0.06, False, None, None),
    ]
    limits: dict[str, dict[str, Any]] = {"CliffWalking-v1": {"max_episode_steps": CLIFF_STEPS}}
    # A game of cards is mostly luck: 100 of them cannot tell -.06 from -.2.
    episodes = {"Blackjack-v1": 2_000}
    found = []
    for env_id, threshold, is_held_out, best, specialised in rows:
        is_lander = env_id.startswith("LunarLander")
        found.append(
            Task(
                name=env_id,
                make=partial(gym.make, env_id, **limits.get(env_id, {})),
                budget=150_000 if is_lander else 50_000,
                best=best,
                threshold=Threshold(threshold),
                specialised=specialised,
                is_held_out=is_held_out,
                episodes=episodes.get(env_id, 100),
                needs=("Box2D",) if is_lander else (),
            )
        )
    return found


def bsuite_tasks() -> list[Task]:
    """Every fourth setting of bsuite's experiments that run offline."""
    return [
        Task(
            name=f"bsuite/{setting.bsuite_id}",
            make=partial(bsuite_suite.make, setting.bsuite_id),
            budget=setting.budget,
            metric="bsuite",
            best=Reference(1.0, "the best of bsuite's own scale"),
            is_held_out=True,
            needs=bsuite_suite.NEEDS,
        )
        for setting in bsuite_suite.settings()
    ]


def popgym_tasks() -> list[Task]:
    """POPGym's tasks of memory, from observations without the previous action."""
    published = (
        "best of the 13 published models after 15M steps, their mean over the best epoch of a run"
    )
    most = "the most that the rewards allow"
    rows: list[tuple[str, Reference | None, float | None]] = [
        ("RepeatPreviousEasy", Reference(1.0, most), None),
        ("RepeatPreviousMedium", Reference(0.789, published), 0.789),
        ("CountRecallEasy", Reference(0.509, published), 0.509),
        ("AutoencodeEasy", Reference(-0.283, published), -0.283),
        ("HigherLowerEasy", None, None),
        ("NoisyPositionOnlyCartPoleEasy", Reference(1.0, most), None),
    ]
    return [
        Task(
            name=f"popgym-{name}-v0",
            make=partial(_make_popgym, f"popgym-{name}-v0"),
            budget=3_000_000,
            best=best,
            threshold=None if threshold is None else Threshold(threshold),
            is_held_out=True,
            needs=("popgym",),
        )
        for name, best, threshold in rows
    ]


def _make_popgym(env_id: str) -> gym.Env[Any, Any]:
    import popgym  # noqa: F401  (registers the ids)

    # Gymnasium's checker, which would sit inside, warns of what the adapter mends.
    return PopgymEnv(gym.make(env_id, disable_env_checker=True))
