"""Train PPO on any Gymnasium id: Stable-Baselines3's own, or ours with a world-model loss.

    python examples/sb3_ppo.py --env-id wm/SequenceNext-v0 --total-timesteps 50000
    python examples/sb3_ppo.py --env-id wm/Navigation-v0 --world-model-coef 1

With coefficient 0 SB3's PPO learns through `SB3VecEnv`, with the same settings and steps. Writes
summary.json, learning_curve.png, and the agent with its model card (README.md, config.json,
model.safetensors); SB3's also as agent.zip.
"""

import time
from dataclasses import dataclass
from pathlib import Path

import tyro
from stable_baselines3 import PPO as SB3PPO
from stable_baselines3.common.vec_env import VecMonitor

import wm_agents as wma
import wm_envs  # noqa: F401  (registers the ids)
from wm_agents.policy_gradient.ppo import PPOConfig
from wm_agents.sb3.callbacks import EpisodeCurve


@dataclass(frozen=True)
class Config:
    """What to train."""

    env_id: str = "wm/SequenceNext-v0"
    """Any Gymnasium id with Box or Discrete spaces; "module:id" imports the module first."""
    total_timesteps: int = 50_000
    """Environment steps, over all environments; rounded up to whole rollouts."""
    seed: int = 0
    """Seed of the agent, the environments and, apart from those, the evaluation."""
    num_envs: int = 64
    """Environments side by side."""
    world_model_coef: float = 0.0
    """Weight of the world-model loss; 0 is SB3's PPO."""
    rollout_steps: int = 32
    """Steps of each environment between two updates."""
    learning_rate: float = 1e-3
    """Adam's step size."""
    entropy_coef: float = 0.01
    """Weight of the entropy bonus."""
    evaluation_episodes: int = 500
    """Episodes of the closing evaluation, with the likeliest action."""
    output_dir: Path = Path("runs/sb3_ppo")
    """Folder for everything that is written."""
    progress_bar: bool = False
    """Show a progress bar."""


def main(config: Config) -> dict[str, float]:
    """Train and evaluate; returns the summary that is written."""
    config = wma.expand_paths(config)
    for name in ("total_timesteps", "num_envs", "rollout_steps", "evaluation_episodes"):
        if getattr(config, name) < 1:
            raise SystemExit(f"{name} is at least 1, got {getattr(config, name)}")
    if config.num_envs * config.rollout_steps < 2:
        raise SystemExit(
            "num_envs * rollout_steps is at least 2: one transition alone has no advantage"
        )
    if config.world_model_coef < 0:
        raise SystemExit(f"world_model_coef is not negative, got {config.world_model_coef}")
    wma.make_output_directory(config.output_dir, has_pictures=True)
    agent_seed, evaluation_seed = wma.spawn_seeds(config.seed, 2)
    train = train_sb3 if config.world_model_coef == 0 else train_ours
    start = time.perf_counter()
    agent, curve, numbers = train(config, agent_seed)
    numbers["steps_per_second"] = numbers["total_timesteps"] / (time.perf_counter() - start)
    results = wma.evaluate(agent, config.env_id, config.evaluation_episodes, seed=evaluation_seed)
    summary = results.summary() | numbers
    wma.write_summary(config.output_dir, summary, is_printed=True)
    wma.save_with_card(agent, config.output_dir, card_of(config, summary))
    if curve:  # a run too short to finish an episode has none
        steps, scores = zip(*curve, strict=True)
        wma.plot_learning_curves(
            config.output_dir / "learning_curve.png",
            {f"PPO, world model {config.world_model_coef:g}": [scores]},
            steps,
            ylabel="Success or return while training",
            xlabel="Environment steps",
            title=config.env_id,
        )
    return summary


def train_sb3(
    config: Config, seed: int
) -> tuple[SB3PPO, list[tuple[int, float]], dict[str, float]]:
    """SB3's PPO on our vector environments; the minibatch divides the rollout."""
    rollout = config.rollout_steps * config.num_envs
    env = VecMonitor(wma.SB3VecEnv(wma.same_step_envs(config.env_id, config.num_envs, {})))
    agent = SB3PPO(
        "MlpPolicy",
        env,
        n_steps=config.rollout_steps,
        batch_size=next(size for size in range(min(256, rollout), 0, -1) if rollout % size == 0),
        n_epochs=4,
        learning_rate=config.learning_rate,
        ent_coef=config.entropy_coef,
        seed=seed,
        device="cpu",  # these networks are too small for an accelerator
    )
    curve = EpisodeCurve()
    agent.learn(config.total_timesteps, callback=curve, progress_bar=config.progress_bar)
    env.close()
    agent.save(config.output_dir / "agent.zip")
    return agent, curve.points, {"total_timesteps": agent.num_timesteps}


def train_ours(
    config: Config, seed: int
) -> tuple[wma.PPO, list[tuple[int, float]], dict[str, float]]:
    """PPO with a world-model loss, on the same environments."""
    settings = PPOConfig(
        num_envs=config.num_envs,
        n_steps=config.rollout_steps,
        learning_rate=config.learning_rate,
        ent_coef=config.entropy_coef,
        world_model_coef=config.world_model_coef,
    )
    agent = wma.PPO(config.env_id, settings, seed=seed)
    curve: list[tuple[int, float]] = []

    def record(agent: wma.PPO, figures: dict[str, float]) -> None:
        score = figures.get("success", figures.get("return"))
        if score is not None:
            curve.append((agent.num_timesteps, score))

    agent.learn(config.total_timesteps, record, config.progress_bar)
    assert agent.report is not None
    loss = agent.report.history[-1]["world_model_loss"]
    numbers = {"total_timesteps": agent.num_timesteps, "world_model_loss": loss}
    return agent, curve, numbers


def card_of(config: Config, summary: dict[str, float]) -> wma.Card:
    """What a stranger has to know about the agent."""
    name = "PPO" if config.world_model_coef == 0 else "PPO with a world model"
    return wma.Card(
        title=f"{name} on {config.env_id}",
        env_id=config.env_id,
        scores=summary,
        command=wma.command_line("examples/sb3_ppo.py", config),
        seeds=(config.seed,),
        evaluation=f"{config.evaluation_episodes} episodes with the likeliest action.",
        limits="One seed: no claim about the method.",
    )


if __name__ == "__main__":
    main(tyro.cli(Config))
