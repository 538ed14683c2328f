"""What `make demo` runs: train an agent, then see a world model earn its keep. About four minutes on two cores.

    python examples/quickstart.py --output-dir runs/quickstart

1. REINFORCE with a world-model loss learns `wm/SequenceNext-v0` and is evaluated on episodes that
  it never saw.
2. The same agent with and without the world model learns `wm/RuleRecall-v0`, ten seeds at once, one
  process an arm.

Writes summary.json, rule_recall.png and the agent, and prints a table.
"""

import time
from dataclasses import dataclass
from pathlib import Path

import torch
import tyro
from rich.console import Console
from rich.table import Table

import wm_agents as wma
import wm_envs  # noqa: F401  (registers the ids)
from wm_agents.evaluation.ablation import (
    ArmResult,
    Protocol,
    compare,
    ratio_sentence,
    run_arms,
    world_model_arms,
)

EVALUATE_EVERY = 50
"""Updates between two greedy evaluations on wm/RuleRecall-v0."""


@dataclass(frozen=True)
class Config:
    """How much to run."""

    seed: int = 0
    """Parent of all seeds."""
    sequence_steps: int = 50_000
    """Training steps on wm/SequenceNext-v0."""
    recall_updates: int = 1500
    """Updates of 32 episodes on wm/RuleRecall-v0."""
    num_seeds: int = 10
    """Runs of each arm."""
    output_dir: Path = Path("runs/quickstart")
    """Folder for everything that is written."""
    quiet: bool = False
    """No progress bars."""


def main(config: Config) -> dict[str, float]:
    """Train, compare, draw; returns the summary."""
    config = wma.expand_paths(config)
    check(config)
    torch.set_num_threads(
        1
    )  # the networks are small: two processes use two cores better than two threads
    folder = wma.make_output_directory(config.output_dir, has_pictures=True)
    started = time.perf_counter()
    summary = learn_sequence(config)
    arms = compare_on_recall(config)
    summary |= compare(arms["with"], arms["without"])
    summary["seconds"] = time.perf_counter() - started
    wma.write_summary(folder, summary)
    picture = wma.plot_learning_curves(
        folder / "rule_recall.png",
        {"with world model": arms["with"].curve, "without": arms["without"].curve},
        arms["with"].episodes,
        "greedy success rate",
        threshold=0.9,
        title=f"Recalling a rule from context: {config.num_seeds} seeds",
    )
    show(summary, picture)
    return summary


def check(config: Config) -> None:
    """Stop with one line on settings that could not be compared after all the training."""
    if config.num_seeds < 2:
        raise SystemExit(f"an interval needs at least two seeds, got num_seeds={config.num_seeds}")
    if config.recall_updates < EVALUATE_EVERY:
        raise SystemExit(
            f"recall_updates is at least {EVALUATE_EVERY}, one evaluation, got {config.recall_updates}"
        )


def learn_sequence(config: Config) -> dict[str, float]:
    """One agent on the repeating sequence."""
    agent = wma.Reinforce("wm/SequenceNext-v0", seed=config.seed)
    agent.learn(config.sequence_steps, progress_bar=not config.quiet)
    successes = agent.evaluate(500).successes
    assert successes is not None
    interval = wma.wilson_interval(int(successes.sum()), successes.size)
    scores = {"sequence_success_rate": interval.estimate, "sequence_success_low": interval.low}
    title = "REINFORCE with a world model on wm/SequenceNext-v0"
    command = wma.command_line("examples/quickstart.py", config, ("seed",))
    card = wma.Card(title, "wm/SequenceNext-v0", scores, command, seeds=(config.seed,))
    wma.save_with_card(agent, config.output_dir / "sequence_next", card)
    return scores


def compare_on_recall(config: Config) -> dict[str, ArmResult]:
    """Ten stacked seeds with the world model in one process, ten without in another."""
    base = wma.ReinforceConfig(
        network=wma.NetworkConfig(width=32, feedforward_width=64, has_previous_observation=True),
        weights=wma.LossWeights(entropy=0.05, world_model=30.0),
        num_seeds=config.num_seeds,
        episodes_per_update=32,
        learning_rate=4e-3,
        normalize_advantage=True,
        target_kl=0.02,
        mastery_decay=1.0,
    )
    arms = world_model_arms(base)
    protocol = Protocol(
        "wm/RuleRecall-v0",
        seed=config.seed,
        num_updates=config.recall_updates,
        evaluate_every=EVALUATE_EVERY,
        # One query at first: a reward for one answer is found by chance, one for two seldom.
        levels=({"num_queries": 1}, {}),
    )
    with wma.progress(
        2 * config.recall_updates, "rule recall, both arms", False if config.quiet else None
    ) as bar:
        return run_arms(
            {"with": arms["with"], "without": arms["without"]},
            protocol,
            num_workers=2,
            report=lambda label, _update, success: bar.advance(
                protocol.evaluate_every, **{label: success}
            ),
        )


def show(summary: dict[str, float], picture: Path) -> None:
    """The closing table."""
    table = Table(title="wm-suite quick start")
    table.add_column("task")
    table.add_column("agent")
    table.add_column("success [95% interval]", justify="right")
    table.add_row(
        "wm/SequenceNext-v0", "REINFORCE + world model", f"{summary['sequence_success_rate']:.3f}"
    )
    for arm, label in (("with", "REINFORCE + world model"), ("without", "REINFORCE")):
        low, high = summary[f"iqm_{arm}_low"], summary[f"iqm_{arm}_high"]
        table.add_row(
            "wm/RuleRecall-v0", label, f"{summary[f'iqm_{arm}']:.3f} [{low:.3f}, {high:.3f}]"
        )
    console = Console()
    console.print(table)
    console.print(f"Rule recall, chance 1/36 = 0.028; {ratio_sentence(summary)}.")
    console.print(f"Learning curves: {picture} ({summary['seconds']:.0f} s in all)")


if __name__ == "__main__":
    main(tyro.cli(Config))
