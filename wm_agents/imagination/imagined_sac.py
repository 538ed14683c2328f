"""SAC trained inside a learned world model, and the same SAC on the real environment beside it.

Model-based policy optimization (Janner et al., "When to Trust Your Model", NeurIPS 2019, algorithm
2) with an ensemble: act for a while in the real environment, fit the ensemble to all real steps so
far, let SAC resume in short imagined branches from real states, repeat.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Self

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode
from numpy.typing import NDArray
from stable_baselines3 import SAC
from stable_baselines3.common.callbacks import BaseCallback

from wm_agents.errors import NotFittedError
from wm_agents.evaluation.episodes import RandomAgent, evaluate
from wm_agents.evaluation.thresholds import LearningCurve, median_steps
from wm_agents.imagination.vector_env import ImaginedVectorEnv
from wm_agents.planning.collector import ActionRepeatAgent, Collector
from wm_agents.training.config_checks import require_at_least, require_integers
from wm_agents.world_models import EnsembleConfig, EnsembleModel, FitConfig
from wm_envs.data.progress import ProgressBar, progress
from wm_envs.data.trajectories import Trajectories


@dataclass(frozen=True, kw_only=True)
class ImaginedSACConfig:
    """How SAC learns in imagination.

    Attributes:
        round_steps: Real steps between two fits of the model; the first round holds random actions.
        max_repeat: Steps for which a random action of the first round is repeated at most; 1 draws
            one at every step.
        gradient_steps: SAC's gradient steps per round.
        gradients_per_step: SAC's gradient steps each time that all rows have imagined one step.
        num_envs: Imagined rows.
        horizon: Steps of an imagined branch.
        disagreement_penalty: Reward lost per standard deviation of disagreement between the
            ensemble's members.
        first_updates: Updates of the model's first fit.
        later_updates: Updates of each later fit, which continues the last one.
        model_width: Units in each hidden layer of the model.
        learning_rate: SAC's.

    Raises:
        ConfigError: A value that cannot work.
    """

    round_steps: int = 200
    max_repeat: int = 20
    gradient_steps: int = 4000
    gradients_per_step: int = 4
    num_envs: int = 16
    horizon: int = 30
    disagreement_penalty: float = 0.0
    first_updates: int = 2000
    later_updates: int = 1000
    model_width: int = 128
    learning_rate: float = 1e-3

    def __post_init__(self) -> None:
        require_integers(1, round_steps=self.round_steps, max_repeat=self.max_repeat)
        require_integers(1, gradients_per_step=self.gradients_per_step, num_envs=self.num_envs)
        require_integers(1, horizon=self.horizon, model_width=self.model_width)
        require_integers(1, first_updates=self.first_updates, later_updates=self.later_updates)
        require_integers(self.gradients_per_step, gradient_steps=self.gradient_steps)
        require_at_least(0, disagreement_penalty=self.disagreement_penalty)


class ImaginedSAC:
    """An agent whose real steps teach a world model, in which SAC learns.

    Args:
        env: An id or an environment with Box actions.
        config: Settings.
        seed: Of the environment, the model, imagination and SAC.

    Attributes:
        model: The ensemble, fitted after the first round.
        sac: Stable-Baselines3's algorithm; None before the first round.

    Raises:
        SpaceError: Spaces that no codec serves.
    """

    def __init__(
        self,
        env: str | gym.Env[Any, Any],
        config: ImaginedSACConfig = ImaginedSACConfig(),
        *,
        seed: int = 0,
    ) -> None:
        self.config = config
        self.sac: SAC | None = None
        self._env = gym.make(env) if isinstance(env, str) else env
        self._seed = seed
        self._collector = Collector(self._env, seed)
        self._explorer = ActionRepeatAgent(self._env.action_space, config.max_repeat, seed)
        widths = (config.model_width, config.model_width)
        self.model = EnsembleModel(
            self._env.observation_space,
            self._env.action_space,
            EnsembleConfig(dynamics_widths=widths),
            seed=seed,
        )

    @property
    def num_timesteps(self) -> int:
        """Real steps so far."""
        return self._collector.num_steps

    def learn(
        self,
        total_timesteps: int,
        callback: Callable[["ImaginedSAC"], bool | None] | None = None,
        progress_bar: bool = False,
    ) -> Self:
        """Act, fit and imagine in rounds.

        Args:
            total_timesteps: Real steps in all, those of earlier calls included.
            callback: Called with the agent after every round; False stops.
            progress_bar: Show one.
        """
        with progress(total_timesteps, "real steps", progress_bar, self.num_timesteps) as bar:
            while self.num_timesteps < total_timesteps:
                num_steps = min(self.config.round_steps, total_timesteps - self.num_timesteps)
                self._collector.collect(num_steps, self.sac or self._explorer)
                trajectories = self._collector.trajectories()
                self._fit(trajectories)
                self._imagine(trajectories)
                bar.advance(num_steps)
                if callback is not None and callback(self) is False:
                    break
        return self

    def predict(
        self,
        observation: Any,
        state: Any = None,
        episode_start: NDArray[np.bool_] | None = None,
        deterministic: bool = False,
    ) -> tuple[Any, Any]:
        """SAC's actions for one observation or a batch.

        Raises:
            NotFittedError: Nothing was learned yet.
        """
        if self.sac is None:
            raise NotFittedError("this ImaginedSAC never learned: call its learn(...) first")
        return self.sac.predict(observation, state, episode_start, deterministic)

    def _fit(self, trajectories: Trajectories) -> None:
        """From scratch at first; later fits continue with the data that came in between."""
        is_first = self.sac is None
        fit = FitConfig(
            num_updates=self.config.first_updates if is_first else self.config.later_updates,
            horizon=4,
            holdout=0.0,
            is_warm_start=not is_first,
            seed=self._seed,
        )
        self.model.fit(trajectories, fit, progress=False)

    def _imagine(self, trajectories: Trajectories) -> None:
        """Let SAC resume in the model as it is now.

        Every real step is a place to branch from. What SAC's replay buffer holds of earlier models
        is overwritten by and by.
        """
        config = self.config
        env = ImaginedVectorEnv(
            self.model,
            trajectories.start_observations,
            config.horizon,
            config.num_envs,
            disagreement_penalty=config.disagreement_penalty,
            autoreset_mode=AutoresetMode.SAME_STEP,
            seed=self._seed + trajectories.num_steps,
        ).as_sb3()
        num_steps = config.gradient_steps // config.gradients_per_step * config.num_envs
        if self.sac is None:
            self.sac = SAC(
                "MlpPolicy",
                env,
                buffer_size=2 * num_steps,
                gradient_steps=config.gradients_per_step,
                **sac_settings(config.learning_rate, self._seed),
            )
        self.sac.set_env(env)
        self.sac.learn(num_steps, reset_num_timesteps=False)


def sac_settings(learning_rate: float, seed: int) -> dict[str, Any]:
    """What SAC has in imagination and on the real environment alike."""
    return {
        "learning_rate": learning_rate,
        "learning_starts": 200,
        "train_freq": 1,
        "seed": seed,
        "device": "cpu",
    }


@dataclass(frozen=True)
class ComparisonConfig:
    """SAC in imagination and SAC on the real environment: what both arms do."""

    env_id: str = "Pendulum-v1"
    """Any Gymnasium id with a flat Box observation and a Box action."""
    real_steps: int = 1000
    """Real steps of the dream arm."""
    round_steps: int = 200
    """Real steps between two fits of the model; the first round holds random actions."""
    longest_hold: int = 20
    """Steps for which a random action of the first round is held at most.

    1 draws one at every step.
    """
    model_free_steps: int = 6000
    """Real steps of the model-free arm."""
    evaluate_every: int = 250
    """Real steps between evaluations of the model-free arm."""
    evaluation_episodes: int = 20
    """Episodes of an evaluation; they are not counted as real steps."""
    gradient_steps: int = 4000
    """SAC's gradient steps per round in the dream."""
    model_free_gradients: int = 1
    """SAC's gradient steps per real step in the model-free arm."""
    dream_envs: int = 16
    """Imagined rows."""
    dream_horizon: int = 30
    """Steps of an imagined branch."""
    gradients_per_step: int = 4
    """SAC's gradient steps each time that all rows have imagined one step."""
    disagreement_penalty: float = 0.0
    """Reward lost per standard deviation of disagreement between the ensemble's members."""
    first_updates: int = 2000
    """Optimizer steps of the model's first fit."""
    later_updates: int = 1000
    """Optimizer steps of each later fit, which continues the last one."""
    model_width: int = 128
    """Units in each hidden layer of the model."""
    learning_rate: float = 1e-3
    """SAC's, in both arms."""
    share: float = 0.9
    """What counts as reached.

    This share of the model-free arm's final return, counted from random actions.
    """

    @property
    def imagined(self) -> ImaginedSACConfig:
        """Settings of the arm that learns in imagination."""
        return ImaginedSACConfig(
            round_steps=self.round_steps,
            max_repeat=self.longest_hold,
            gradient_steps=self.gradient_steps,
            gradients_per_step=self.gradients_per_step,
            num_envs=self.dream_envs,
            horizon=self.dream_horizon,
            disagreement_penalty=self.disagreement_penalty,
            first_updates=self.first_updates,
            later_updates=self.later_updates,
            model_width=self.model_width,
            learning_rate=self.learning_rate,
        )

    def score(self, agent: Any) -> float:
        """Mean return of the deterministic policy, from the same starts every time."""
        return evaluate(agent, self.env_id, self.evaluation_episodes, seed=10_000).mean_return

    def random_return(self, seed: int) -> float:
        """Mean return of uniform actions."""
        agent = RandomAgent(gym.make(self.env_id).action_space, seed)
        return evaluate(agent, self.env_id, 50, seed=seed + 20_000).mean_return


def imagined_curve(config: ComparisonConfig, seed: int, bar: ProgressBar) -> LearningCurve:
    """The arm in imagination, scored after each round."""
    steps: list[int] = []
    returns: list[float] = []

    def note(agent: ImaginedSAC) -> None:
        steps.append(agent.num_timesteps)
        returns.append(config.score(agent))
        bar.advance(config.round_steps, dream_return=returns[-1])

    ImaginedSAC(config.env_id, config.imagined, seed=seed).learn(config.real_steps, callback=note)
    return LearningCurve(np.array(steps), np.array(returns))


def model_free_curve(config: ComparisonConfig, seed: int, bar: ProgressBar) -> LearningCurve:
    """The same SAC on the real environment."""
    agent = SAC(
        "MlpPolicy",
        gym.make(config.env_id),
        gradient_steps=config.model_free_gradients,
        **sac_settings(config.learning_rate, seed),
    )
    evaluations = _Evaluations(config, bar)
    agent.learn(config.model_free_steps, callback=evaluations)
    return LearningCurve(np.array(evaluations.steps), np.array(evaluations.returns))


class _Evaluations(BaseCallback):
    """Evaluates a model-free run every so many steps."""

    def __init__(self, config: ComparisonConfig, bar: ProgressBar) -> None:
        super().__init__()
        self.config = config
        self.bar = bar
        self.steps: list[int] = []
        self.returns: list[float] = []

    def _on_step(self) -> bool:
        if self.num_timesteps % self.config.evaluate_every == 0:
            self.steps.append(self.num_timesteps)
            self.returns.append(self.config.score(self.model))
            self.bar.advance(self.config.evaluate_every, model_free_return=self.returns[-1])
        return True


def comparison_summary(
    config: ComparisonConfig,
    imagined: list[LearningCurve],
    model_free: list[LearningCurve],
    random_return: float,
) -> dict[str, float]:
    """Final returns, real steps to the threshold, and how many times fewer imagination took.

    Medians over seeds.
    """
    final = float(np.mean([curve.returns[-3:].mean() for curve in model_free]))
    threshold = random_return + config.share * (final - random_return)
    summary = {
        "random_return": random_return,
        "model_free_return": final,
        "dream_return": float(np.mean([curve.returns[-1] for curve in imagined])),
        "threshold": threshold,
        "dream_real_steps": float(config.real_steps),
        "model_free_real_steps": float(config.model_free_steps),
    }
    # A run that never got there is counted with infinitely many steps, not left out.
    needed = {}
    for name, curves in (("dream", imagined), ("model_free", model_free)):
        solved = [curve.steps_to(threshold) is not None for curve in curves]
        summary[f"{name}_solved_share"] = float(np.mean(solved))
        needed[name] = median_steps(curves, threshold)
    for name, steps in needed.items():
        if np.isfinite(steps):
            summary[f"{name}_steps_to_threshold"] = steps
    if np.isfinite(needed["dream"]) and np.isfinite(needed["model_free"]):
        summary["times_fewer_real_steps"] = needed["model_free"] / needed["dream"]
    return summary | _flat_curve("dream", imagined) | _flat_curve("model_free", model_free)


def _flat_curve(name: str, curves: list[LearningCurve]) -> dict[str, float]:
    """The mean curve under flat names such as dream_return_at_600."""
    means = np.mean([curve.returns for curve in curves], axis=0)
    return {
        f"{name}_return_at_{step}": float(value)
        for step, value in zip(curves[0].steps, means, strict=True)
    }
