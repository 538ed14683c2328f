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
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tyro

from wm_agents.evaluation.statistics import stratified_bootstrap
from wm_agents.policy_gradient.reinforce import (
    Callback,
    LossWeights,
    Reinforce,
    ReinforceConfig,
    UpdateReport,
)
from wm_agents.training.checkpoints import CheckpointManager
from wm_agents.training.summary import make_output_directory, write_summary
from wm_envs.data.paths import expand_paths

MAX_FAILURES = 5  # of one trial, each of which costs the time since its last checkpoint


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
    import torch

    import wm_envs  # noqa: F401  (a worker is a fresh process, which knows no id)

    torch.set_num_threads(1)
    checkpoints = CheckpointManager(Path(trial.folder) / "checkpoints", keep=2, kind="reinforce")
    latest = checkpoints.latest()
    agent = new_agent(trial) if latest is None else Reinforce.from_checkpoint(latest)
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
    write_whole(trial.result_path, {**asdict(trial), **result})
    return result


def new_agent(trial: Trial) -> Reinforce:
    """REINFORCE with this trial's weight, learning rate and seed."""
    weights = LossWeights(world_model=trial.world_model_coef)
    return Reinforce(
        trial.env_id,
        ReinforceConfig(weights=weights, learning_rate=trial.learning_rate),
        seed=trial.seed,
    )


def trainable(parameters: dict[str, Any]) -> None:
    """What Tune calls in a worker."""
    run_trial(parameters["trial"], report)


def report(_: Reinforce, update: UpdateReport) -> None:
    """Tell Tune how a trial stands, once in fifty updates."""
    from ray import tune

    if update.update % 50 == 0:
        tune.report({"updates": update.update, **update.means(("return", "success"))})


def write_whole(path: Path, content: dict[str, Any]) -> None:
    """A result is there or not, never half of it."""
    temporary = path.with_suffix(f".{os.getpid()}.tmp")
    temporary.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    temporary.replace(path)


def main(config: Config) -> dict[str, float]:
    """Run what is missing and compare; returns the summary that is written."""
    config = expand_paths(config)
    try:
        import ray  # noqa: F401
    except ImportError as error:
        raise SystemExit("Ray is not installed: pip install 'wm-suite[ray]'") from error
    if len(set(config.seeds)) < 2:
        raise SystemExit(f"an interval needs at least two different seeds, got {config.seeds}")
    folder = make_output_directory(config.output_dir)
    trials = trials_of(config)
    missing = [trial for trial in trials if not trial.result_path.exists()]
    if not config.quiet:
        print(f"{len(trials)} trials, {len(trials) - len(missing)} of them finished before")
    if missing:
        tune_trials(missing, config)
    results = [json.loads(trial.result_path.read_text(encoding="utf-8")) for trial in trials]
    (folder / "trials.json").write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    rows = compare(results)
    summary = summarise(rows, len(trials) - len(missing), len(missing))
    write_summary(folder, summary)
    draw(rows, folder / "sweep.png", config.env_id)
    show(rows)
    return summary


def tune_trials(trials: Sequence[Trial], config: Config) -> None:
    """Let Tune run these trials; raises RuntimeError where one failed for good."""
    import ray
    from ray import tune

    is_ours = not ray.is_initialized()
    if is_ours and config.address is not None:
        ray.init(address=config.address, log_to_driver=False)
    elif is_ours:
        store = 100 * 2**20  # bytes; results are a few numbers
        ray.init(
            num_cpus=config.num_workers,
            include_dashboard=False,
            object_store_memory=store,
            log_to_driver=False,
        )
    try:
        grid = tune.Tuner(
            tune.with_resources(trainable, {"cpu": 1}),
            param_space={"trial": tune.grid_search(list(trials))},
            tune_config=tune.TuneConfig(max_concurrent_trials=config.num_workers),
            run_config=tune.RunConfig(
                name="tune",
                storage_path=str(config.output_dir.resolve()),
                failure_config=tune.FailureConfig(max_failures=MAX_FAILURES),
                verbose=0 if config.quiet else 1,
            ),
        ).fit()
        if grid.errors:
            raise RuntimeError(
                f"{len(grid.errors)} of {len(trials)} trials failed; the first: {grid.errors[0]}"
            )
    finally:
        if is_ours:
            ray.shutdown()


def compare(results: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """One row for each setting, best first: the interquartile mean over seeds with its interval."""
    rows = []
    settings = sorted({(result["world_model_coef"], result["learning_rate"]) for result in results})
    for coef, rate in settings:
        chosen = [r for r in results if (r["world_model_coef"], r["learning_rate"]) == (coef, rate)]
        scores = [result.get("success_rate", result["mean_return"]) for result in chosen]
        interval = stratified_bootstrap(np.asarray(scores))
        rows.append(
            {
                "world_model_coef": coef,
                "learning_rate": rate,
                "num_seeds": len(scores),
                "interval": interval,
            }
        )
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


def draw(rows: Sequence[dict[str, Any]], path: Path, title: str) -> None:
    """Score against the weight, one line for each learning rate, with intervals."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(6, 4), layout="constrained")
    coefs = sorted({row["world_model_coef"] for row in rows})
    for rate in sorted({row["learning_rate"] for row in rows}):
        line = [
            next(r for r in rows if (r["world_model_coef"], r["learning_rate"]) == (c, rate))
            for c in coefs
        ]
        middle = [row["interval"].estimate for row in line]
        limits = [[r["interval"].estimate - r["interval"].low for r in line]]
        limits += [[r["interval"].high - r["interval"].estimate for r in line]]
        axes.errorbar(
            range(len(coefs)),
            middle,
            yerr=limits,
            marker="o",
            capsize=4,
            label=f"learning rate {rate:g}",
        )
    axes.set_xticks(range(len(coefs)), [f"{coef:g}" for coef in coefs])
    axes.set_xlabel("Weight of the world-model loss")
    axes.set_ylabel("Interquartile mean over seeds")
    axes.set_title(title)
    axes.legend()
    figure.savefig(path, dpi=120)
    plt.close(figure)


def show(rows: Sequence[dict[str, Any]]) -> None:
    """The closing table."""
    from rich.console import Console
    from rich.table import Table

    table = Table("world-model weight", "learning rate", "seeds", "interquartile mean")
    for row in rows:
        table.add_row(
            f"{row['world_model_coef']:g}",
            f"{row['learning_rate']:g}",
            str(row["num_seeds"]),
            str(row["interval"]),
        )
    Console().print(table)


if __name__ == "__main__":
    main(tyro.cli(Config))
