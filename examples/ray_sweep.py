"""Sweep the weight of the world-model loss and the learning rate over seeds with Ray Tune.

    python examples/ray_sweep.py --env-id wm/RuleRecall-v0 --total-timesteps 200000 --seeds 0 1 2 3 4
    python examples/ray_sweep.py --address auto --output-dir /shared/sweep

Each trial is one weight, one learning rate and one seed, in a folder of its own with checkpoints.
The same command again goes on where it was stopped: finished trials are read, unfinished ones
continue from their last checkpoint to the bit, and a trial whose worker dies does so by itself. On
a cluster `--output-dir` is a folder that all machines see, and wm-suite is installed on each.
Writes trials.json, summary.json (the best setting by the interquartile mean over seeds) and
sweep.png. Needs the extra `ray`.
"""

import itertools
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro

import wm_agents as wma
import wm_envs  # noqa: F401  (registers the ids, in a fresh worker too)
from wm_agents.policy_gradient.reinforce import Callback
from wm_agents.training.ray_session import tune_all


@dataclass(frozen=True)
class Config:
    """What to sweep."""

    env_id: str = "wm/RuleRecall-v0"
    """A Gymnasium id with Box or Discrete spaces."""
    world_model_coefs: tuple[float, ...] = (0.0, 1.0, 10.0)
    """Weights of the world-model loss."""
    learning_rates: tuple[float, ...] = (1e-3, 3e-3)
    """Adam's step sizes."""
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    """One trial each."""
    total_timesteps: int = 100_000
    """Environment steps of a trial."""
    checkpoint_every: int = 100
    """Updates between two checkpoints of a trial."""
    evaluation_episodes: int = 500
    """Greedy episodes at the end of a trial."""
    address: str | None = None
    """Of a Ray cluster, such as "auto"; None starts Ray on this machine."""
    num_workers: int = 2
    """Trials at a time."""
    output_dir: Path = Path("runs/ray_sweep")
    """Folder for all trials and the result."""
    quiet: bool = False
    """No progress, only the closing result."""


@dataclass(frozen=True)
class Trial:
    """One point of the sweep."""

    env_id: str
    world_model_coef: float
    learning_rate: float
    seed: int
    total_timesteps: int
    checkpoint_every: int
    evaluation_episodes: int
    folder: str

    @property
    def result_path(self) -> Path:
        """Exists when the trial is finished."""
        return Path(self.folder) / "result.json"


def trials_of(config: Config) -> list[Trial]:
    """All points of the sweep.

    A folder's name says which, so that another sweep does not take it for its own.
    """
    trials = []
    for coef, rate, seed in itertools.product(
        config.world_model_coefs, config.learning_rates, config.seeds
    ):
        name = f"{config.env_id.replace('/', '_').replace(':', '_')}_{config.total_timesteps}"
        folder = (
            config.output_dir.resolve() / "trials" / f"{name}_coef{coef:g}_rate{rate:g}_seed{seed}"
        )
        sizes = (config.total_timesteps, config.checkpoint_every, config.evaluation_episodes)
        trials.append(Trial(config.env_id, coef, rate, seed, *sizes, str(folder)))
    return trials


def run_trial(trial: Trial, callback: Callback | None = None) -> dict[str, float]:
    """Train one agent, from its last checkpoint where there is one, and evaluate it."""
    torch.set_num_threads(1)
    checkpoints = wma.CheckpointManager(
        Path(trial.folder) / "checkpoints", keep=2, kind="reinforce"
    )
    settings = wma.ReinforceConfig(
        weights=wma.LossWeights(world_model=trial.world_model_coef),
        learning_rate=trial.learning_rate,
    )
    agent = wma.Reinforce(trial.env_id, settings, seed=trial.seed)
    agent.learn(
        trial.total_timesteps,
        callback,
        checkpoints=checkpoints,
        checkpoint_every=trial.checkpoint_every,
    )
    batch = agent.evaluate(trial.evaluation_episodes)
    result = {
        "mean_return": float(batch.returns.mean()),
        "real_steps": float(agent.num_steps.mean()),
    }
    if batch.successes is not None:
        result["success_rate"] = float(batch.successes.mean())
    wma.write_json(trial.result_path, {**asdict(trial), **result})
    return result


def trainable(parameters: dict[str, Any]) -> None:
    """What Tune calls in a worker, and is told once in fifty updates how the trial stands."""
    from ray import tune

    def report(_: wma.Reinforce, update: wma.UpdateReport) -> None:
        if update.update % 50 == 0:
            tune.report({"updates": update.update, **update.means(("return", "success"))})

    run_trial(parameters["trial"], report)


def main(config: Config) -> dict[str, float]:
    """Run what is missing and compare; returns the summary that is written."""
    config = wma.expand_paths(config)
    if len(set(config.seeds)) < 2:
        raise SystemExit(f"an interval needs at least two different seeds, got {config.seeds}")
    folder = wma.make_output_directory(config.output_dir, has_pictures=True)
    trials = trials_of(config)
    missing = [trial for trial in trials if not trial.result_path.exists()]
    if not config.quiet:
        print(f"{len(trials)} trials, {len(trials) - len(missing)} of them finished before")
    if missing:
        with wma.ray_session(config.address, config.num_workers):
            tune_all(trainable, missing, folder, num_workers=config.num_workers, quiet=config.quiet)
    results = [json.loads(trial.result_path.read_text(encoding="utf-8")) for trial in trials]
    wma.write_json(folder / "trials.json", results)
    rows = compare(results)
    summary = summarise(rows, len(trials) - len(missing), len(missing))
    wma.write_summary(folder, summary)
    intervals = {
        f"weight {row['world_model_coef']:g}, rate {row['learning_rate']:g}": row["interval"]
        for row in rows
    }
    label = "interquartile mean over seeds"
    wma.plot_intervals(folder / "sweep.png", intervals, label, title=config.env_id)
    print(f"{'setting':32} {label} [95% interval]")
    for setting, interval in intervals.items():
        print(f"{setting:32} {interval}")
    wma.say_where(folder)
    return summary


def compare(results: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """One row for each setting, best first: the interquartile mean over seeds with its interval."""
    rows = []
    for coef, rate in sorted({(r["world_model_coef"], r["learning_rate"]) for r in results}):
        scores = [
            result.get("success_rate", result["mean_return"])
            for result in results
            if (result["world_model_coef"], result["learning_rate"]) == (coef, rate)
        ]
        interval = wma.stratified_bootstrap(np.asarray(scores))
        row = {"world_model_coef": coef, "learning_rate": rate}
        rows.append({**row, "num_seeds": len(scores), "interval": interval})
    return sorted(rows, key=lambda row: -row["interval"].estimate)


def summarise(rows: Sequence[dict[str, Any]], num_finished: int, num_run: int) -> dict[str, float]:
    """The best setting; with fewer than ten seeds it is a hint, not a claim."""
    best = rows[0]
    return {
        "best_world_model_coef": best["world_model_coef"],
        "best_learning_rate": best["learning_rate"],
        **best["interval"].flatten("best_score"),
        "num_seeds": float(best["num_seeds"]),
        "num_trials_run": float(num_run),
        "num_trials_finished_before": float(num_finished),
    }


if __name__ == "__main__":
    main(tyro.cli(Config))
