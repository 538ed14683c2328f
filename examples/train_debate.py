"""Calibrate a person's tendencies by debate, validate on labels, check on generated persons.

    python examples/train_debate.py --seed 1 --output-dir out
    python examples/train_debate.py --observations my_observations.json --persons 0 --output-dir out

By default the observations are those of the five held-out autobiographers: neither the scorer nor
the training has seen their labels. Writes observations.json, training_log.json (configuration and
every epoch), history.json, trajectories.png, model.json and summary.json (accuracy, p_value,
spearman_median, CPU seconds, ...).
"""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro

import wm_agents as wma
from wm_agents.domains.debate import (
    DebateConfig,
    DebateJSONLogger,
    DebateModel,
    DebateTrainer,
    TensorBoardLogger,
    TrainHistory,
    ValidationResult,
    Validator,
    plot_trajectories,
)
from wm_agents.domains.debate.studies import adapted_relevance, recovery_study
from wm_envs.debate.claims import DebateResult
from wm_envs.debate.observations import load_corpus


@dataclass(frozen=True)
class Config:
    """Whom to train on, and how."""

    observations: Path | None = None
    """A file {source, count, observations: [...]}.

    None takes the five held-out persons of the corpus.
    """
    name: str = "Person"
    """Whom the model is about."""
    max_epochs: int = 5
    """Debates at most."""
    min_epochs: int = 2
    """Debates before training may stop early."""
    convergence_threshold: float = 0.01
    """Allocations are stable when their changes add up to less."""
    initial_lr: float = 0.15
    """First learning rate."""
    lr_decay: float = 0.85
    """Factor after each epoch."""
    validation_split: float = 0.2
    """Share of the observations held out while training."""
    persons: int = 100
    """Generated persons on which the learned allocations are compared with the true drives.

    0 leaves that out.
    """
    tensorboard: bool = False
    """Write TensorBoard events too."""
    seed: int = 1
    """Seed of the split and of the generated persons."""
    output_dir: Path = Path("runs/train_debate")
    """Folder for everything that is written."""


def main(config: Config) -> dict[str, Any]:
    """Train, validate, compare; returns the summary that is written."""
    config = wma.expand_paths(config)
    if config.persons == 1 or config.persons < 0:
        raise SystemExit(
            f"persons is 0 or at least 2, which an interval needs, got {config.persons}"
        )
    folder = wma.make_output_directory(config.output_dir, has_pictures=True)
    source = config.observations
    if source is None:
        source = folder / "observations.json"
        load_corpus("held-out").save(source)
    model = DebateModel.create(config.name, source)

    settings = DebateConfig(
        max_epochs=config.max_epochs,
        min_epochs=config.min_epochs,
        convergence_threshold=config.convergence_threshold,
        initial_lr=config.initial_lr,
        lr_decay=config.lr_decay,
        validation_split=config.validation_split,
    )
    loggers: list[Any] = [DebateJSONLogger(folder / "training_log.json")]
    if config.tensorboard:
        loggers.append(TensorBoardLogger(folder / "events"))
    started = time.process_time()
    trainer = DebateTrainer(settings, seed=config.seed)
    history, result = trainer.train(model.observations, model.agents, loggers)
    seconds = time.process_time() - started

    # On all labels, since training never looked at one.
    validation = Validator().validate(model.observations, result.claims, model.agents)
    summary: dict[str, Any] = {
        "epochs_run": history.epochs_run,
        "converged": history.converged,
        "best_epoch": history.best_epoch,
        "winner": None if result.winner is None else result.winner.value,
        "observations": len(model.observations),
        **(validation.summary() if validation is not None else {}),
        "seconds": round(seconds, 3),
        "seed": config.seed,
    }
    print_result(model, history, result, validation)
    model.save(folder / "model.json")
    wma.write_json(folder / "history.json", history.to_plain())
    plot_trajectories(history, folder / "trajectories.png")
    if config.persons:
        study = recovery_study(adapted_relevance(), config.persons, seed=config.seed)
        summary |= study.median.flatten("spearman_median") | {"persons": config.persons}
        print(f"Generated persons: median Spearman {study.median} between drives and allocations")
    wma.write_summary(folder, summary)
    wma.say_where(folder)
    return summary


def print_result(
    model: DebateModel,
    history: TrainHistory,
    result: DebateResult,
    validation: ValidationResult | None,
) -> None:
    """The end of the guide's run."""
    print("\nTraining complete!")
    print(f"Epochs: {history.epochs_run}")
    print(f"Converged: {history.converged}")
    print(f"Winner: {result.winner.value if result.winner else 'None'}")
    print("\nFinal allocations:")
    for agent in sorted(model.agents.all(), key=lambda agent: -agent.allocation):
        print(f"  {agent.tendency.value}: {agent.allocation:.1%}")
    if validation is not None:
        print(f"\nValidation: {validation}")


if __name__ == "__main__":
    main(tyro.cli(Config))
