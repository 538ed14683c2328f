"""Learn to act in any environment with one configuration that is told nothing but the spaces.

    python examples/agent.py --env-id CartPole-v1 --total-timesteps 20000 --seed 3 --output-dir out

Writes summary.json (mean_return, success_rate, normalised_score, real_steps, cpu_seconds,
decisions), learning_curve.png, agent.safetensors, which `wma.load` reads, and scorecard.html and
scorecard.json of a world model that is fitted to what the agent saw. Killed, the same command goes
on from its newest checkpoint.
"""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro

import wm_agents as wma
import wm_envs  # noqa: F401  (registers the ids)

SLOW_EVALUATION_SECONDS = 60.0

# Success rates of random play, from benchmarks/results/one_agent_scale.json; the best is 1.
RANDOM_SUCCESS = {
    "wm/PatternEcho-v0": 0.12,
    "wm/SequenceNext-v0": 0.14,
    "wm/Conditional-v0": 0.06,
    "wm/Navigation-v0": 0.13,
    "wm/DelayedMatch-v0": 0.06,
    "wm/RuleRecall-v0": 0.03,
    "wm/TMaze-v0": 0.08,
    "wm/PermPuzzle-v0": 0.05,
    "wm/LightsOut-v0": 0.03,
    "wm/TokenAutomaton-v0": 0.21,
}
# Returns of random play, and the best known: benchmarks/one_agent_tasks/table.py names its source.
RETURNS = {
    "wm/UNResolution-v0": (0.2, 0.998),
    "wm/Debate-v0": (-0.0674, 5.578),
    "CartPole-v1": (23.36, 500.0),
    "Acrobot-v1": (-497.87, -63.6),
    "MountainCar-v0": (-200.0, -110.0),
    "Pendulum-v1": (-1222.9, -144.5),
    "MountainCarContinuous-v0": (-33.25, 90.0),
    "LunarLander-v3": (-188.7, 200.0),
    "LunarLanderContinuous-v3": (-201.8, 200.0),
    "FrozenLake-v1": (0.02, 0.7442),
    "CliffWalking-v1": (-1999.99, -13.0),
    "Taxi-v4": (-777.26, 7.93),
    "Blackjack-v1": (-0.388, -0.0431),
}


@dataclass(frozen=True)
class Config:
    """What to learn."""

    env_id: str = "CartPole-v1"
    """Any Gymnasium id; "module:id" imports the module first."""
    total_timesteps: int = 20_000
    """Real steps; the same command resumes, and another number needs another folder."""
    seed: int = 0
    """Seed of everything."""
    output_dir: Path = Path("runs/agent")
    """Folder for all that is written, checkpoints included."""
    episodes: int = 100
    """Evaluation episodes; half of them where the first half takes more than a minute."""
    scorecard: bool = True
    """Also fit a world model and judge it."""
    scorecard_steps: int = 4000
    """Real steps that it is fitted to, and as many that are held out; they do not count above."""
    num_threads: int = 1
    """Threads of torch."""
    quiet: bool = False
    """No progress, only the closing result."""


def main(config: Config) -> dict[str, Any]:
    """Learn, evaluate, write; returns the summary."""
    config = wma.expand_paths(config)
    torch.set_num_threads(config.num_threads)
    folder = wma.make_output_directory(config.output_dir, has_pictures=True)
    began = time.process_time()
    agent = wma.WorldModelAgent(config.env_id, seed=config.seed)
    agent.learn(
        config.total_timesteps,
        progress_bar=not config.quiet,
        checkpoints=folder / "checkpoints",
    )
    cpu_seconds = time.process_time() - began
    shown = False if config.quiet else None
    returns, success_rate = evaluate(agent, config.episodes, shown)
    mean_return = float(np.mean(returns))
    summary = {
        "env_id": config.env_id,
        "mean_return": mean_return,
        "success_rate": success_rate,
        "normalised_score": normalised(config.env_id, mean_return, success_rate),
        "evaluation_episodes": len(returns),
        "real_steps": agent.num_timesteps,
        "cpu_seconds": cpu_seconds,
        "decisions": agent.decisions,
        "seed": config.seed,
    }
    agent.save(folder / "agent")
    draw(folder / "learning_curve.png", agent, config)
    if config.scorecard:
        try:
            print(agent.scorecard(folder, config.scorecard_steps).verdict)
        except wma.TrajectoryError as error:
            print(f"No scorecard: {error}.")
    wma.write_summary(folder, summary, is_printed=True)
    return summary


def evaluate(
    agent: wma.WorldModelAgent, episodes: int, progress: bool | None = False
) -> tuple[list[float], float | None]:
    """Returns and success rate of fresh episodes, in two halves if there is time for both."""
    first = max(1, episodes // 2)
    began = time.perf_counter()
    halves = [agent.evaluate(first, progress=progress)]
    if episodes > first and time.perf_counter() - began < SLOW_EVALUATION_SECONDS:
        halves.append(agent.evaluate(episodes - first, seed=1_500_000, progress=progress))
    returns = [float(total) for half in halves for total in half.returns]
    flags = [half.successes for half in halves if half.successes is not None]
    return returns, float(np.concatenate(flags).mean()) if flags else None


def normalised(env_id: str, mean_return: float, success_rate: float | None) -> float | None:
    """0 for random play and 1 for the best known; None where these were not measured."""
    if env_id in RANDOM_SUCCESS and success_rate is not None:
        score, low, high = success_rate, RANDOM_SUCCESS[env_id], 1.0
    elif env_id in RETURNS:
        score, (low, high) = mean_return, RETURNS[env_id]
    else:
        return None
    return (score - low) / (high - low)


def draw(path: Path, agent: wma.WorldModelAgent, config: Config) -> None:
    """Mean return of the newest hundred episodes while learning, all ways of acting together."""
    assert agent.report is not None
    # Updates take the same number of steps each, but for the last one.
    steps_of_update = agent.num_timesteps / agent.report.num_updates
    points = [
        (row["update"] * steps_of_update, row["return"])
        for row in agent.report.history
        if "return" in row
    ]
    if not points:
        print("No learning curve: no episode ended.")
        return
    where, values = np.array(points).T
    wma.plot_learning_curves(
        path,
        {"return while learning": values[None]},
        where,
        "mean return of 100 episodes",
        xlabel="Real steps",
        title=config.env_id,
    )


if __name__ == "__main__":
    main(tyro.cli(Config))
