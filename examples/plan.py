"""Learn a world model from scratch within a budget of real steps, then act by planning in it.

    python examples/plan.py --env-id Pendulum-v1 --max-real-steps 3000
    python examples/plan.py --env-id wm/PermPuzzle-v0 --planner breadth_first --max-real-steps 1000

Random steps come first, then rounds of fitting, planning with exploration, and refitting. Writes
summary.json (success_rate, mean_return, real_steps, ...), rounds.json and returns.png. Success is what the
environment reports, else a return of at least its registered reward threshold, else null.
"""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch
import tyro

import wm_agents as wma
import wm_envs  # noqa: F401  (registers the ids)
from wm_agents.planning.learning import Learned
from wm_envs.data.specs import spec_of


@dataclass(frozen=True)
class Config:
    """What to learn and how much of the real world it may cost."""

    env_id: str = "Pendulum-v1"
    """Any Gymnasium id with flat Box or Discrete observations.

    "module:id" imports the module first.
    """
    planner: wma.PlannerName = "auto"
    """Which planner; "auto" takes one that suits the spaces."""
    max_real_steps: int = 3000
    """Steps in the real environment before the evaluation."""
    random_share: float = 0.4
    """Share of them that are random, at the beginning."""
    num_rounds: int = 2
    """Rounds of planning and refitting that share the rest."""
    exploration: float = 0.1
    """Action noise while collecting: share of half the range, or probability of a random action."""
    episodes: int = 50
    """Evaluation episodes."""
    seed: int = 0
    """Seed of everything; the evaluation episodes start from seed + 10,000 on."""
    output_dir: Path = Path("runs/plan")
    """Folder for summary.json and rounds.json."""
    num_threads: int = 1
    """Threads of torch."""
    quiet: bool = False
    """No progress, only the closing result."""


def main(config: Config) -> dict[str, Any]:
    """Learn, then evaluate; returns the summary that is written."""
    config = wma.expand_paths(config)
    torch.set_num_threads(config.num_threads)
    wma.make_output_directory(config.output_dir, has_pictures=True)
    started = time.perf_counter()
    learned = learn(config)
    learning_seconds = time.perf_counter() - started
    agent = wma.PlanningAgent(learned.model, learned.planner, seed=config.seed)
    results = wma.evaluate(
        agent,
        config.env_id,
        config.episodes,
        seed=config.seed + 10_000,
        progress=False if config.quiet else None,
    )
    summary = {
        "env_id": config.env_id,
        "planner": type(learned.planner).__name__,
        "model": type(learned.model).__name__,
        "success_rate": success_rate(config.env_id, results),
        "mean_return": results.mean_return,
        "std_return": float(results.returns.std()),
        "real_steps": learned.num_real_steps,
        "evaluation_episodes": len(results.returns),
        "model_steps_per_decision": agent.num_model_steps / max(int(results.lengths.sum()), 1),
        "learning_seconds": learning_seconds,
        "evaluation_seconds": time.perf_counter() - started - learning_seconds,
        "seed": config.seed,
    }
    wma.write_json(config.output_dir / "rounds.json", learned.rounds)
    random = wma.RandomAgent(learned.model.action_space, config.seed)
    chance = wma.evaluate(random, config.env_id, config.episodes, seed=config.seed + 10_000)
    wma.plot_intervals(
        config.output_dir / "returns.png",
        {"planning": results.return_interval, "random actions": chance.return_interval},
        "mean return of an episode",
        title=f"{config.env_id} after {learned.num_real_steps:,} real steps",
    )
    wma.write_summary(config.output_dir, summary, is_printed=True)
    return summary


def learn(config: Config) -> Learned:
    """Model and planner from real steps."""
    budget = wma.LearningConfig(
        max_real_steps=config.max_real_steps,
        random_share=config.random_share,
        num_rounds=config.num_rounds,
        exploration=config.exploration,
    )
    report = None if config.quiet else show
    with gym.make(config.env_id) as env:
        return wma.learn_to_plan(
            env,
            budget,
            seed=config.seed,
            planner=config.planner,
            on_round=report,
            progress=False if config.quiet else None,
        )


def show(figures: dict[str, float]) -> None:
    """One line per round."""
    print("  ".join(f"{name} {value:.6g}" for name, value in figures.items()), flush=True)


def success_rate(env_id: str, results: wma.EpisodeResults) -> float | None:
    """The environment's own word, else returns that reach its registered threshold, else None."""
    if results.success_rate is not None:
        return results.success_rate
    threshold = spec_of(env_id).reward_threshold
    return None if threshold is None else float(np.mean(results.returns >= threshold))


if __name__ == "__main__":
    main(tyro.cli(Config))
