"""What the model adds in Pong: the dream beside all that it has but the model, tuned alike.

    python -m benchmarks.pong_arms
    python -m benchmarks.pong_arms --arms rule
    python -m benchmarks.pong_arms --arms ppo rule dream "linear dream"

All arms play the compiled game, which is equal to the original, with sticky actions, and read the
same features of the same view, estimated from the same scripted first steps:

* `dream`: PPO in the world model, as `benchmarks.pong_dream`;
* `linear dream`: the same with a policy and a value that are linear in the features;
* `ppo`: PPO on the real game with the dream's shaping, points as ends and scripted first steps, and
  up to as many passes over its steps as take the dream's CPU;
* `rule`: no learning; it moves until one feature, where the ball will arrive less where the paddle
  will rest, is near a number.

Each arm has the same number of trials on the same tuning seeds; a rule has its number to choose. A
dream that is left out is a reference, and tuned less than the others: the committed runs of
`benchmarks.pong_dream`, all with one configuration. Where dreams are run, their updates and those of
their models are as many per real step as there. A finished trial or run is a line in the output
folder: the command goes on where it was stopped.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro
from numpy.typing import NDArray

from benchmarks.report import RESULTS, append_row, read_figures, read_rows, write_result
from benchmarks.tuning import Settings, tuned_rows
from wm_agents.domains.pong.dreaming import DREAM_PPO, EVALUATION_SEED, DreamConfig, DreamTraining
from wm_agents.domains.pong.object_view import PongView
from wm_agents.domains.pong.sb3_baseline import BaselineConfig, run_baseline
from wm_agents.evaluation.episodes import evaluate
from wm_agents.evaluation.statistics import stratified_bootstrap
from wm_agents.imagination.features import FeatureAgent
from wm_envs.data.paths import expand_paths
from wm_envs.pong.dynamics import LEFT, NOOP, RIGHT
from wm_envs.pong.players import WITH_FIRE

NAME = "pong_arms"
ENV_ID = "wm/Pong-v0"
VELOCITY_X, FROM_REST = 11, 17  # columns of the features that the rule reads
PIXELS = 40.0  # of one unit of `FROM_REST`
SCRIPTED_SHARE = 0.2
DREAM: dict[str, list[Any]] = {
    "learning_rate": [7e-4, 3e-4, 1.5e-3],
    "entropy": [0.01, 0.003, 0.03],
    "shaping": [0.2, 0.0, 0.5],
    "dream_horizon": [192, 96],
}
CHOICES: dict[str, dict[str, list[Any]]] = {
    "dream": DREAM,
    "linear dream": DREAM,
    "ppo": {
        "learning_rate": [3e-4, 1e-3, 7e-4],
        "ent_coef": [0.01, 0.003, 0.03],
        "shaping": [0.2, 0.0, 0.5],
        "n_epochs": [20, 10, 40],
        "gamma": [0.99, 0.97],
    },
    "rule": {"aim": [7.0, 5.0, 3.0, 0.0], "margin": [2.0, 1.0, 4.0], "fires": [True, False]},
}
COMMITTED = "dream, committed"
LONGER = "ppo, more real steps"
SPECIFIED = {
    LONGER: "PongView: features",
    COMMITTED: "PongView: features, and much of the rules",
    "dream": "PongView: features, and much of the rules",
    "linear dream": "PongView: features, and much of the rules",
    "ppo": "PongView: features",
    "rule": "PongView: features; where to meet a ball, and which actions go there",
}


@dataclass(frozen=True)
class Config:
    """What to run."""

    arms: tuple[str, ...] = ("ppo", "rule")
    """Names in CHOICES; a result needs two."""
    seeds: tuple[int, ...] = (10, 11)
    """One run of every arm each; none of those on which anything was ever tuned."""
    tuning_seeds: tuple[int, ...] = (1000,)
    """What the trials run on."""
    num_trials: int = 6
    """Settings that are tried for each arm."""
    max_real_steps: int = 100_000
    """Of each run, the scripted first fifth included."""
    tuning_real_steps: int = 20_000
    """Of each trial."""
    repeat_action_probability: float = 0.25
    """Sticky actions."""
    longer_real_steps: int = 200_000
    """Of PPO with the same settings and more real steps, where its CPU is still below the dream's."""
    longer_seeds: tuple[int, ...] = (10, 11)
    """Runs of that."""
    games: int = 10
    """Full games of each evaluation; the committed dreams played 20."""
    output_dir: Path = Path("runs/pong_arms")
    """Folder of finished trials and rows."""
    results_dir: Path = RESULTS
    """Folder of pong_arms.json, and of pong_dream.json."""


class Rule:
    """Moves until the ball's arrival is `aim` px below the place where the paddle's top will rest."""

    def __init__(self, aim: float, margin: float, *, fires: bool) -> None:
        self.aim = aim
        self.margin = margin
        self.fires = fires

    def predict(self, features: NDArray[np.float32], **_: Any) -> tuple[NDArray[np.int64], None]:
        """Actions [B] from features [B, F]; none while the ball flies away."""
        error = PIXELS * features[:, FROM_REST] - self.aim
        is_coming = features[:, VELOCITY_X] > 0
        actions = np.where(error > self.margin, LEFT, RIGHT)
        actions = np.where(is_coming & (np.abs(error) > self.margin), actions, NOOP)
        return (WITH_FIRE[actions] if self.fires else actions), None


def main(config: Config) -> dict[str, Any]:
    """Tune and run what is missing; returns the figures, or nothing where an arm is missing."""
    torch.set_num_threads(1)
    config = expand_paths(config)
    arms = {arm: CHOICES[arm] for arm in CHOICES if arm in config.arms}
    trial_config = replace(config, max_real_steps=config.tuning_real_steps)

    def run_once(arm: str, settings: Settings, seed: int, is_trial: bool) -> dict[str, Any]:
        return run(arm, settings, seed, trial_config if is_trial else config)

    # One arm can be tried alone; equal trials need two.
    if len(arms) < 2:
        (arm,) = arms
        settings = {name: values[0] for name, values in arms[arm].items()}
        rows = [run(arm, settings, seed, config) for seed in config.seeds]
        print(arm, [row["mean_score"] for row in rows], flush=True)
        return {}
    tuning, rows = tuned_rows(
        arms,
        run_once,
        lambda row: float(row["mean_score"]),
        num_trials=config.num_trials,
        tuning_seeds=config.tuning_seeds,
        seeds=config.seeds,
        budget=lambda _: {"max_real_steps": config.max_real_steps},
        trial_budget={"max_real_steps": config.tuning_real_steps},
        folder=config.output_dir,
    )
    references = {}
    if "dream" not in arms:
        references[COMMITTED] = (
            "one configuration, found on other seeds before; nothing was tuned here"
        )
        rows = [*rows, *committed_dreams(config)]
    if "ppo" in arms:
        references[LONGER] = "the settings of the arm of which it is a longer run"
        rows = [*rows, *longer_rows(tuning["ppo"]["best"], config)]
    figures = {"summary": summarize(rows), "references": references, "tuning": tuning, "rows": rows}
    command = f"python -m benchmarks.{NAME} --seeds {' '.join(map(str, config.seeds))}"
    write_result(NAME, figures, seeds=config.seeds, command=command, folder=config.results_dir)
    print(figures["summary"], flush=True)
    return figures


def longer_rows(settings: Settings, config: Config) -> list[dict[str, Any]]:
    """PPO with more real steps; rows that are in the folder are not run again."""
    longer = replace(config, max_real_steps=config.longer_real_steps)
    rows = []
    for seed in config.longer_seeds:
        key = {
            "arm": LONGER,
            "seed": seed,
            "settings": settings,
            "max_real_steps": longer.max_real_steps,
        }
        finished = read_rows(config.output_dir, "longer")
        found = [row for row in finished if all(row[name] == key[name] for name in key)]
        if not found:
            found = [key | run("ppo", settings, seed, longer)]
            append_row(config.output_dir, found[0], "longer")
            print(found[0], flush=True)
        rows.append(found[0])
    return rows


def committed_dreams(config: Config) -> list[dict[str, Any]]:
    """The dreams of `benchmarks.pong_dream` with as many real steps and the same sticky actions."""
    rows = read_figures(config.results_dir / "pong_dream.json")["rows"]
    return [
        {
            "arm": COMMITTED,
            "seed": row["seed"],
            "max_real_steps": row["real_steps"],
            "mean_score": row["mean_score"],
            "worst_game": row["worst_game"],
            "real_steps": row["real_steps"],
            "cpu_seconds": row["total_cpu_seconds"],
        }
        for row in rows
        if row["arm"] == "dream"
        and row["repeat_action_probability"] == config.repeat_action_probability
    ]


def run(arm: str, settings: Settings, seed: int, config: Config) -> dict[str, Any]:
    """Learn and play; CPU is that of both."""
    began = time.process_time()
    figures = RUNS[arm](settings, seed, config)
    kept = {name: figures[name] for name in ("mean_score", "worst_game", "real_steps")}
    return kept | {"cpu_seconds": time.process_time() - began}


def run_dream(
    settings: Settings, seed: int, config: Config, widths: tuple[int, ...] = DREAM_PPO.widths
) -> dict[str, Any]:
    """PPO in the world model."""
    first_rate, first_entropy = settings["learning_rate"], settings["entropy"]
    usual = DreamConfig()
    share = config.max_real_steps / usual.max_real_steps
    training = DreamTraining(
        DreamConfig(
            dream_updates=tuple(max(1, round(share * updates)) for updates in usual.dream_updates),
            model=replace(usual.model, num_updates=max(1, round(share * usual.model.num_updates))),
            env_id=ENV_ID,
            seed=seed,
            max_real_steps=config.max_real_steps,
            repeat_action_probability=config.repeat_action_probability,
            learning_rate=(first_rate, first_rate / 3.5),
            entropy=(first_entropy, first_entropy / 5),
            shaping=settings["shaping"],
            dream_horizon=settings["dream_horizon"],
            ppo=replace(DREAM_PPO, widths=widths),
        )
    )
    for _ in training.train():
        pass
    return training.evaluate(config.games)


def run_linear_dream(settings: Settings, seed: int, config: Config) -> dict[str, Any]:
    """The same with nothing between features and policy."""
    return run_dream(settings, seed, config, widths=())


def run_ppo(settings: Settings, seed: int, config: Config) -> dict[str, Any]:
    """PPO on the real game with what the dream has beside the model."""
    return run_baseline(
        BaselineConfig(
            env_id=ENV_ID,
            seed=seed,
            max_real_steps=config.max_real_steps,
            repeat_action_probability=config.repeat_action_probability,
            games=config.games,
            scripted_steps=round(SCRIPTED_SHARE * config.max_real_steps),
            ends_at_points=True,
            widths=DREAM_PPO.widths,
            # As many steps an update as eight games of 256, in half the time.
            num_envs=16,
            num_steps=128,
            **settings,
        )
    )


def run_rule(settings: Settings, seed: int, config: Config) -> dict[str, Any]:
    """The rule, which takes no steps to learn from."""
    results = evaluate(
        FeatureAgent(Rule(**settings), PongView()),
        ENV_ID,
        config.games,
        seed=seed + EVALUATION_SEED,
        env_kwargs={"repeat_action_probability": config.repeat_action_probability},
        deterministic=False,
    )
    return {
        "mean_score": results.mean_return,
        "worst_game": float(results.returns.min()),
        "real_steps": 0,
    }


RUNS: dict[str, Callable[[Settings, int, Config], dict[str, Any]]] = {
    "dream": run_dream,
    "linear dream": run_linear_dream,
    "ppo": run_ppo,
    "rule": run_rule,
}


def summarize(rows: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Each arm's mean over seeds with its interval, and what it took."""
    summary = {}
    for arm in dict.fromkeys(row["arm"] for row in rows):
        mine = [row for row in rows if row["arm"] == arm]
        scores = [row["mean_score"] for row in mine]
        interval = stratified_bootstrap(scores, np.mean)
        summary[arm] = {
            **interval.flatten("mean_score"),
            "worst_seed": min(scores),
            "num_seeds": len(scores),
            "real_steps": max(row["real_steps"] for row in mine),
            "cpu_seconds": float(np.mean([row["cpu_seconds"] for row in mine])),
            "specified": SPECIFIED[arm],
        }
    return summary


if __name__ == "__main__":
    main(tyro.cli(Config))
