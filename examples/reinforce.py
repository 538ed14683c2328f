"""Train REINFORCE with a world-model loss on any Gymnasium id, several seeds at once.

    python examples/reinforce.py --env-id wm/SequenceNext-v0 --total-timesteps 50000 --seed 7 --output-dir out

Writes summary.json, metrics.jsonl, a learning curve, checkpoints and the trained agent with its
model card (README.md, config.json, model.safetensors). The same command with `--resume` goes on
where a killed run stopped, to the bit.
"""

import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import tyro

import wm_agents as wma
import wm_envs  # noqa: F401  (registers the ids)


@dataclass(frozen=True)
class Config:
    """What to train."""

    env_id: str = "wm/SequenceNext-v0"
    """Any Gymnasium id with Box or Discrete spaces."""
    total_timesteps: int = 50_000
    """Environment steps of each run."""
    seed: int = 0
    """Run k of the stack uses the k-th child of this seed."""
    num_seeds: int = 1
    """Independent runs trained as one batched program."""
    world_model_coef: float = 1.0
    """Weight of the world-model loss; 0 trains without one."""
    entropy_coef: float = 0.01
    """Weight of the entropy bonus."""
    learning_rate: float = 1e-3
    """Adam's step size."""
    episodes_per_update: int = 64
    """Episodes of each run between two updates."""
    discount: float = 1.0
    """Of rewards to go, per step."""
    evaluation_episodes: int = 500
    """Greedy episodes of each run at the end."""
    network: wma.NetworkConfig = field(default_factory=wma.NetworkConfig)
    """Sizes of the network."""
    output_dir: Path = Path("runs/reinforce")
    """Folder for everything that is written."""
    resume: bool = False
    """Go on from the newest good checkpoint in the folder, with the settings that its run had."""
    tensorboard: bool = False
    """Also write TensorBoard events."""
    track: bool = False
    """Also log to Weights & Biases."""
    quiet: bool = False
    """No progress, only the closing result."""


def main(config: Config) -> dict[str, float]:
    """Train, evaluate, write; returns the summary."""
    config = wma.expand_paths(config)
    folder = wma.make_output_directory(config.output_dir, has_pictures=True)
    checkpoints = wma.CheckpointManager(folder / "checkpoints", kind="reinforce")
    agent = make_agent(config, checkpoints)
    curve: list[tuple[float, np.ndarray]] = []

    def record(_: wma.Reinforce, report: wma.UpdateReport) -> None:
        score = report.metrics.get("success", report.metrics["return"])
        curve.append((float(report.num_steps.mean()), score))

    started = time.perf_counter()
    loggers = wma.script_loggers(
        folder,
        f"reinforce {config.env_id}",
        config,
        quiet=config.quiet,
        tensorboard=config.tensorboard,
        track=config.track,
        resume_step=int(agent.num_steps.mean()) if config.resume else None,
    )
    with loggers as logger:
        agent.learn(
            config.total_timesteps,
            record,
            progress_bar=not config.quiet,
            logger=logger,
            checkpoints=checkpoints,
        )
    seconds = time.perf_counter() - started
    summary = evaluate(agent, config.evaluation_episodes)
    summary |= {"seconds": seconds, "updates": agent.num_updates}
    wma.save_with_card(agent, folder, card_of(config, summary))
    wma.write_summary(folder, summary, is_printed=True)
    if curve:
        draw(folder / "learning_curve.png", curve, config)
    return summary


def make_agent(config: Config, checkpoints: wma.CheckpointManager) -> wma.Reinforce:
    """A new agent, which with `resume` takes over the newest good checkpoint of a run with the same settings."""
    if checkpoints.paths() and not config.resume:
        raise wma.ConfigError(
            f"{config.output_dir} holds a run: go on with --resume, or choose another --output-dir"
        )
    weights = wma.LossWeights(entropy=config.entropy_coef, world_model=config.world_model_coef)
    agent = wma.Reinforce(
        config.env_id,
        wma.ReinforceConfig(
            network=config.network,
            weights=weights,
            num_seeds=config.num_seeds,
            episodes_per_update=config.episodes_per_update,
            learning_rate=config.learning_rate,
            gamma=config.discount,
        ),
        seed=config.seed,
    )
    agent.resume(checkpoints)
    return agent


def evaluate(agent: wma.Reinforce, num_episodes: int) -> dict[str, float]:
    """Greedy episodes of every run on seeds that training never used."""
    batch = agent.evaluate(num_episodes)
    summary = {
        "mean_return": float(batch.returns.mean()),
        "real_steps": float(agent.num_steps.mean()),
    }
    if batch.successes is not None:
        rates = batch.successes.mean(1)
        interval = wma.wilson_interval(int(batch.successes.sum()), batch.successes.size)
        summary["success_rate"] = float(rates.mean())
        summary["success_rate_worst_seed"] = float(rates.min())
        summary |= {"success_rate_low": interval.low, "success_rate_high": interval.high}
    return summary


def card_of(config: Config, summary: dict[str, float]) -> wma.Card:
    """What a stranger has to know about the agent."""
    name = "REINFORCE with a world model" if config.world_model_coef else "REINFORCE"
    episodes = f"{config.evaluation_episodes} greedy episodes per run"
    claim = f"Trained with {config.num_seeds} seed(s): no claim about the method."
    return wma.Card(
        title=f"{name} on {config.env_id}",
        env_id=config.env_id,
        scores=summary,
        command=wma.command_line("examples/reinforce.py", config),
        seeds=(config.seed,),
        evaluation=f"{episodes}, from seeds that training never used.",
        limits="" if config.num_seeds >= 10 else claim,
    )


def draw(
    path: Path, curve: list[tuple[float, np.ndarray]], config: Config, num_points: int = 100
) -> None:
    """The learning curve, averaged over stretches of updates so that it can be read."""
    pieces = np.array_split(np.arange(len(curve)), min(num_points, len(curve)))
    steps = [curve[piece[-1]][0] for piece in pieces]
    values = np.stack([np.mean([curve[i][1] for i in piece], 0) for piece in pieces], 1)
    wma.plot_learning_curves(
        path,
        {"REINFORCE": values},
        steps,
        "success or return while training",
        xlabel="Steps",
        title=config.env_id,
    )


if __name__ == "__main__":
    main(tyro.cli(Config))
