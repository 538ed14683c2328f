"""Does a world model help on this task? The same agent with it, without it, and with a placebo.

    python examples/ablation.py --env-id wm/RuleRecall-v0 --num-seeds 10 --output-dir out

Every arm is run at the same learning rates and judged at its best one. Writes summary.json
(iqm_with, iqm_without, iqm_placebo, probability_of_improvement, episodes_to_90_ratio, ...),
curves.png and intervals.png.
"""

from dataclasses import dataclass, field, replace
from pathlib import Path

import tyro
from rich.console import Console
from rich.table import Table

import wm_agents as wma
import wm_envs  # noqa: F401  (registers the ids)
from wm_agents.evaluation.ablation import (
    ArmResult,
    Protocol,
    best_learning_rate,
    compare,
    draw_arms,
    ratio_sentence,
    run_arms,
    world_model_arms,
)


@dataclass(frozen=True)
class Config:
    """What to compare."""

    env_id: str = "wm/RuleRecall-v0"
    """Any Gymnasium id whose info carries is_success."""
    seed: int = 0
    """Run k of every arm uses the k-th child of this seed."""
    num_seeds: int = 10
    """Runs of each arm, trained as one batched program."""
    num_updates: int = 2000
    """Updates of each run."""
    episodes_per_update: int = 32
    """Episodes between two updates."""
    learning_rates: tuple[float, ...] = (2e-3,)
    """Tried by every arm; the best by curve is kept."""
    world_model_coef: float = 10.0
    """Weight of the world-model loss in the arms that have one."""
    entropy_coef: float = 0.02
    """Weight of the entropy bonus."""
    evaluate_every: int = 50
    """Updates between two greedy evaluations."""
    network: wma.NetworkConfig = field(
        default_factory=lambda: wma.NetworkConfig(feedforward_width=128)
    )
    """Sizes of the network."""
    num_workers: int = 2
    """Processes, of one thread each."""
    output_dir: Path = Path("runs/ablation")
    """Folder for everything that is written."""
    quiet: bool = False
    """No progress bar."""


def main(config: Config) -> dict[str, float]:
    """Run the arms, compare, draw; returns the summary."""
    config = wma.expand_paths(config)
    check(config)
    folder = wma.make_output_directory(config.output_dir, has_pictures=True)
    try:
        results = run(config)
    except wma.ConfigError as error:  # an environment that reports no success, say
        raise SystemExit(str(error)) from error
    best = {
        arm: best_learning_rate([results[arm, rate] for rate in config.learning_rates])
        for arm in LABELS
    }
    summary = compare(best["with"], best["without"], best["placebo"])
    wma.write_summary(folder, summary)
    draw_arms(folder, {LABELS[arm]: result for arm, result in best.items()}, config.env_id)
    show(summary, config)
    wma.say_where(folder)
    return summary


def check(config: Config) -> None:
    """Stop with one line on settings that could not be compared after all the training."""
    if config.num_seeds < 2:
        raise SystemExit(f"an interval needs at least two seeds, got num_seeds={config.num_seeds}")
    if not 1 <= config.evaluate_every <= config.num_updates:
        raise SystemExit(
            f"evaluate_every lies in [1, num_updates={config.num_updates}], got {config.evaluate_every}"
        )
    if not config.learning_rates:
        raise SystemExit("learning_rates is empty: give at least one")


LABELS = {"with": "with world model", "without": "without", "placebo": "shuffled targets"}


def run(config: Config) -> dict[tuple[str, float], ArmResult]:
    """Every arm at every learning rate."""
    base = wma.ReinforceConfig(
        network=config.network,
        weights=wma.LossWeights(entropy=config.entropy_coef, world_model=config.world_model_coef),
        num_seeds=config.num_seeds,
        episodes_per_update=config.episodes_per_update,
    )
    arms = world_model_arms(base)
    names = {f"{arm} at {rate:g}": (arm, rate) for arm in arms for rate in config.learning_rates}
    configs = {name: replace(arms[arm], learning_rate=rate) for name, (arm, rate) in names.items()}
    protocol = Protocol(
        config.env_id,
        seed=config.seed,
        num_updates=config.num_updates,
        evaluate_every=config.evaluate_every,
    )
    with wma.progress(
        config.num_updates * len(configs), config.env_id, False if config.quiet else None
    ) as bar:
        results = run_arms(
            configs,
            protocol,
            num_workers=config.num_workers,
            report=lambda _label, _update, success: bar.advance(
                config.evaluate_every, success=success
            ),
        )
    return {names[name]: result for name, result in results.items()}


def show(summary: dict[str, float], config: Config) -> None:
    """The closing table."""
    table = Table(title=f"{config.env_id}: {config.num_seeds} seeds an arm")
    for column in ("arm", "IQM of success", "95% interval", "learning rate"):
        table.add_column(column)
    for arm, label in LABELS.items():
        low, high = summary[f"iqm_{arm}_low"], summary[f"iqm_{arm}_high"]
        table.add_row(
            label,
            f"{summary[f'iqm_{arm}']:.3f}",
            f"{low:.3f} - {high:.3f}",
            f"{summary[f'learning_rate_{arm}']:g}",
        )
    console = Console()
    console.print(table)
    console.print(
        f"probability of improvement {summary['probability_of_improvement']:.2f}, "
        f"permutation p = {summary['permutation_p_value']:.2g}; {ratio_sentence(summary)}"
    )


if __name__ == "__main__":
    main(tyro.cli(Config))
