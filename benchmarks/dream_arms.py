"""What imagination saves: SAC in a world model beside SAC with the same exploration, tuned alike.

    python -m benchmarks.dream_arms
    python -m benchmarks.dream_arms --seeds 0 1 2 --num-trials 4

Both arms begin with the same held random actions, take as many real steps and are evaluated after
the same ones. SAC has the same small networks and learning rate in both. Without a model it has 1,
4 or 20 gradient steps a real step to choose, or 20 with dropout and layer normalization in its
critics (DroQ, Hiraoka et al. 2022, after REDQ, Chen et al. 2021). In the model it has the gradient
steps of a round, 20 or 10 a real step, and the length of branches.

Each arm has four settings, all of which are tried on the same tuning seeds and scored by the mean
of the learning curve. A finished trial or run is a line in the output folder: the command goes on
where it was stopped.
"""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch
import tyro
from numpy.typing import NDArray
from stable_baselines3 import SAC
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import Logger
from stable_baselines3.sac.policies import SACPolicy
from torch import nn

from benchmarks.report import RESULTS, write_result
from benchmarks.tuning import Settings, mean_return, tuned_rows
from wm_agents.evaluation.episodes import RandomAgent, evaluate
from wm_agents.evaluation.statistics import stratified_bootstrap_band
from wm_agents.evaluation.thresholds import CensoredTimes, steps_to_threshold, threshold_ratio
from wm_agents.imagination.imagined_sac import ImaginedSAC, ImaginedSACConfig
from wm_agents.planning.collector import ActionRepeatAgent
from wm_envs.data.paths import expand_paths

NAME = "dream_arms"
EVALUATION_SEED = 10_000
RANDOM_SEED = 20_000
MAX_REPEAT = 20
NUM_RESAMPLES = 2000
LEARNING_RATE = 1e-3
SAC_WIDTH = 64
MODEL_FREE = "no model"
CHOICES: dict[str, dict[str, list[Any]]] = {
    "dream": {"gradient_steps": [4000, 2000], "horizon": [30, 10]},
    MODEL_FREE: {
        # One setting, since dropout is for the ratio of 20 alone: four trials try them all.
        "updates": [
            {"gradient_steps": 20},
            {"gradient_steps": 4},
            {"gradient_steps": 1},
            {"gradient_steps": 20, "dropout": 0.01},
        ]
    },
}
"""Gradient steps are those of a round of real steps in the dream, of one real step elsewhere."""
MODEL_UPDATES = {"first_updates": 1000, "later_updates": 500}


@dataclass(frozen=True)
class Config:
    """What to run."""

    env_id: str = "Pendulum-v1"
    """Any Gymnasium id with a flat Box observation and a Box action."""
    seeds: tuple[int, ...] = (100, 101, 102)
    """One run of every arm each; none of those on which anything was ever tuned."""
    tuning_seeds: tuple[int, ...] = (0,)
    """What the trials run on."""
    num_trials: int = 4
    """Settings that are tried for each arm."""
    real_steps: int = 600
    """Of each run."""
    tuning_real_steps: int = 600
    """Of each trial."""
    evaluate_every: int = 200
    """Real steps between evaluations, the first of which follows the held random actions."""
    evaluation_episodes: int = 20
    """Episodes of each evaluation; no real steps."""
    threshold: float = -234.0
    """The return that is to be reached.

    Fixed before these arms ran: 90% of the way from random actions to SAC's return after 6,000 real
    steps in dream_sac.json.
    """
    output_dir: Path = Path("runs/dream_arms")
    """Folder of finished trials and rows."""
    results_dir: Path = RESULTS
    """Folder of dream_arms.json."""


class DropoutPolicy(SACPolicy):
    """SAC's networks, the critics' hidden layers with dropout and layer normalization."""

    def __init__(self, *args: Any, dropout: float = 0.01, **kwargs: Any) -> None:
        self.dropout = dropout
        super().__init__(*args, **kwargs)

    def make_critic(self, features_extractor: Any = None) -> Any:
        """The ensemble of critics."""
        critic = super().make_critic(features_extractor)
        for number, network in enumerate(critic.q_networks):
            layers: list[nn.Module] = []
            for layer in network:
                layers.append(layer)
                if isinstance(layer, nn.Linear) and layer.out_features > 1:
                    layers += [nn.Dropout(self.dropout), nn.LayerNorm(layer.out_features)]
            replaced = nn.Sequential(*layers).to(self.device)
            critic.q_networks[number] = replaced
            setattr(critic, f"qf{number}", replaced)
        return critic


def main(config: Config) -> dict[str, Any]:
    """Tune and run what is missing; returns the figures."""
    torch.set_num_threads(1)
    config = expand_paths(config)

    def run_once(arm: str, settings: Settings, seed: int, is_trial: bool) -> dict[str, Any]:
        real_steps = config.tuning_real_steps if is_trial else config.real_steps
        return run(arm, settings, seed, real_steps, config)

    tuning, rows = tuned_rows(
        CHOICES,
        run_once,
        mean_return,
        num_trials=config.num_trials,
        tuning_seeds=config.tuning_seeds,
        seeds=config.seeds,
        budget=lambda _: {"real_steps": config.real_steps},
        trial_budget={"real_steps": config.tuning_real_steps},
        folder=config.output_dir,
    )
    random_agent = RandomAgent(gym.make(config.env_id).action_space, 0)
    random_return = evaluate(random_agent, config.env_id, 50, seed=RANDOM_SEED).mean_return
    figures = summarize(rows, random_return, config) | {"tuning": tuning, "rows": rows}
    command = f"python -m benchmarks.{NAME} --env-id {config.env_id} --seeds "
    command += " ".join(map(str, config.seeds))
    write_result(NAME, figures, seeds=config.seeds, command=command, folder=config.results_dir)
    print(figures["times_of_the_dream"], flush=True)
    return figures


def run(arm: str, settings: Settings, seed: int, real_steps: int, config: Config) -> dict[str, Any]:
    """One run; its curve, and its CPU without that of evaluations."""
    watch = _Watch(config)
    began = time.process_time()
    if arm == "dream":
        dream = ImaginedSACConfig(
            round_steps=config.evaluate_every,
            max_repeat=MAX_REPEAT,
            learning_rate=LEARNING_RATE,
            sac_width=SAC_WIDTH,
            **MODEL_UPDATES,
            **settings,
        )
        ImaginedSAC(config.env_id, dream, seed=seed).learn(real_steps, callback=watch)
    else:
        learn_without_model(settings["updates"], seed, real_steps, config, watch)
    seconds = time.process_time() - began - watch.seconds
    return {"steps": watch.steps, "returns": watch.returns, "cpu_seconds": seconds}


class _Watch:
    """Evaluates an agent, and keeps the time that this takes apart."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.steps: list[int] = []
        self.returns: list[float] = []
        self.seconds = 0.0

    def __call__(self, agent: Any, num_steps: int | None = None) -> None:
        began = time.process_time()
        results = evaluate(
            agent, self.config.env_id, self.config.evaluation_episodes, seed=EVALUATION_SEED
        )
        self.steps.append(agent.num_timesteps if num_steps is None else num_steps)
        self.returns.append(results.mean_return)
        self.seconds += time.process_time() - began


class _WatchSAC(BaseCallback):
    """Calls a watch after every so many real steps, the first ones before SAC counted."""

    def __init__(self, watch: _Watch, first_steps: int) -> None:
        super().__init__()
        self.watch = watch
        self.first_steps = first_steps

    def _on_step(self) -> bool:
        num_steps = self.first_steps + self.num_timesteps
        if num_steps % self.watch.config.evaluate_every == 0:
            self.watch(self.model, num_steps)
        return True


def learn_without_model(
    updates: Settings, seed: int, real_steps: int, config: Config, watch: _Watch
) -> None:
    """SAC on the real environment, from a buffer with the same held random actions."""
    policy: str | type[SACPolicy] = "MlpPolicy"
    options: dict[str, Any] = {"net_arch": [SAC_WIDTH, SAC_WIDTH]}
    if "dropout" in updates:
        policy = DropoutPolicy
        options["dropout"] = updates["dropout"]
    env = gym.make(config.env_id)
    agent = SAC(
        policy,
        env,
        learning_rate=LEARNING_RATE,
        learning_starts=0,
        train_freq=1,
        gradient_steps=updates["gradient_steps"],
        buffer_size=real_steps,
        policy_kwargs=options,
        seed=seed,
        device="cpu",
    )
    first_steps = config.evaluate_every
    fill_buffer(agent, gym.make(config.env_id), first_steps, seed)
    # SAC logs what it does, and has no logger before it learns.
    agent.set_logger(Logger(folder=None, output_formats=[]))
    agent.train(first_steps * updates["gradient_steps"], batch_size=agent.batch_size)
    watch(agent, first_steps)
    agent.learn(real_steps - first_steps, callback=_WatchSAC(watch, first_steps))


def fill_buffer(agent: SAC, env: gym.Env[Any, Any], num_steps: int, seed: int) -> None:
    """Real steps with held random actions, as those that the dream begins with."""
    env.action_space.seed(seed)
    explorer = ActionRepeatAgent(env.action_space, MAX_REPEAT, seed)
    observation, _ = env.reset(seed=seed)
    state = None
    for _ in range(num_steps):
        action, state = explorer.predict(observation, state)
        following, reward, terminated, truncated, _ = env.step(action)
        is_over = terminated or truncated
        infos = [{"TimeLimit.truncated": truncated and not terminated}]
        assert agent.replay_buffer is not None
        agent.replay_buffer.add(
            observation[None],
            following[None],
            agent.policy.scale_action(action[None]),
            np.array([reward]),
            np.array([is_over]),
            infos,
        )
        observation = following
        if is_over:
            observation, _ = env.reset()


def summarize(rows: list[dict[str, Any]], random_return: float, config: Config) -> dict[str, Any]:
    """Curves, times to the threshold by median and by the mean curve, and the dream's share."""
    curves = {
        arm: np.array([row["returns"] for row in rows if row["arm"] == arm]) for arm in CHOICES
    }
    steps = np.array(rows[0]["steps"])
    arms = {}
    times: dict[str, CensoredTimes] = {}
    for arm, values in curves.items():
        means, low, high = stratified_bootstrap_band(values, np.mean)
        times[arm] = steps_to_threshold(values, steps, config.threshold)
        arms[arm] = {
            "num_seeds": len(values),
            "median_steps": str(times[arm].median()),
            "seeds_at_threshold": len(values) - times[arm].num_censored,
            "mean_curve_steps": crossing(values, steps, config.threshold),
            "mean_returns": means.tolist(),
            "mean_returns_low": low.tolist(),
            "mean_returns_high": high.tolist(),
            "cpu_seconds": float(
                np.mean([row["cpu_seconds"] for row in rows if row["arm"] == arm])
            ),
            "real_steps": config.real_steps,
            "specified": "nothing",
        }
    found = {}
    for arm in CHOICES:
        if arm != "dream":
            found[f"{arm} over dream, medians"] = str(threshold_ratio(times[arm], times["dream"]))
    return {
        "env_id": config.env_id,
        "random_return": random_return,
        "threshold": config.threshold,
        "times_of_the_dream": found,
        "arms": arms,
    }


def crossing(
    values: NDArray[np.float64], steps: NDArray[np.int64], threshold: float
) -> dict[str, Any]:
    """Real steps at which the mean curve crosses, with an interval over seeds.

    None stands for a mean curve, or a limit, that does not cross within the budget.
    """
    draws = np.random.default_rng(0).integers(len(values), size=(NUM_RESAMPLES, len(values)))

    def first(curve: NDArray[np.float64]) -> float:
        reached = np.flatnonzero(curve >= threshold)
        return float(steps[reached[0]]) if len(reached) else np.inf

    times = np.array([first(values[rows].mean(0)) for rows in draws])
    # Of the sorted times themselves: infinity cannot be interpolated.
    low, high = np.quantile(times, [0.025, 0.975], method="nearest")
    named = {"value": first(values.mean(0)), "low": float(low), "high": float(high)}
    return {name: time if np.isfinite(time) else None for name, time in named.items()}


if __name__ == "__main__":
    main(tyro.cli(Config))
