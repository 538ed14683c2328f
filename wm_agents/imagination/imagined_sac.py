"""SAC trained inside a learned world model, and the same SAC on the real environment beside it.

Model-based policy optimization (Janner et al., "When to Trust Your Model", NeurIPS 2019, algorithm
2) with an ensemble: act for a while in the real environment, fit the ensemble to all real steps so
far, let SAC resume in short imagined branches from real states, repeat.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

import gymnasium as gym
import numpy as np
import torch
from gymnasium.vector import AutoresetMode
from numpy.typing import NDArray
from stable_baselines3 import SAC
from stable_baselines3.common.callbacks import BaseCallback
from torch import Tensor

from wm_agents.errors import CheckpointError, NotFittedError
from wm_agents.evaluation.episodes import RandomAgent, evaluate
from wm_agents.evaluation.thresholds import LearningCurve, median_steps
from wm_agents.imagination.vector_env import ImaginedVectorEnv
from wm_agents.planning.collector import ActionRepeatAgent, Collector
from wm_agents.sb3.vec_env import SB3VecEnv
from wm_agents.training.checkpoints import Checkpoint
from wm_agents.training.config_checks import checked_seed, require_at_least, require_integers
from wm_agents.training.packing import pack_state, unpack_state
from wm_agents.training.saving import Savable
from wm_agents.training.stored_shapes import check_shapes, config_from_json, own_id
from wm_agents.world_models.ensemble import EnsembleConfig, EnsembleModel
from wm_agents.world_models.fitting import FitConfig
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
        sac_width: Units in each of the two hidden layers of SAC's networks.

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
    sac_width: int = 256

    def __post_init__(self) -> None:
        require_integers(1, round_steps=self.round_steps, max_repeat=self.max_repeat)
        require_integers(1, gradients_per_step=self.gradients_per_step, num_envs=self.num_envs)
        require_integers(1, horizon=self.horizon, model_width=self.model_width)
        require_integers(1, sac_width=self.sac_width)
        require_integers(1, first_updates=self.first_updates, later_updates=self.later_updates)
        require_integers(self.gradients_per_step, gradient_steps=self.gradient_steps)
        require_at_least(0, disagreement_penalty=self.disagreement_penalty)


class ImaginedSAC(Savable):
    """An agent whose real steps teach a world model, in which SAC learns.

    Files hold the model, SAC's networks and the actions that were taken; `learn` after `load`
    takes them again in the environment, and goes on with new optimizers and an empty buffer.

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

    kind = "imagined sac"
    is_cpu_only = True  # networks as small as these

    def __init__(
        self,
        env: str | gym.Env[Any, Any],
        config: ImaginedSACConfig = ImaginedSACConfig(),
        *,
        seed: int = 0,
    ) -> None:
        seed = checked_seed(seed)
        self.config = config
        self.sac: SAC | None = None
        self._env_id = env if isinstance(env, str) else None
        self._env = gym.make(env) if isinstance(env, str) else env
        # Of a file: steps of the real environment that are still to be repeated here.
        self._unplayed: dict[str, Any] | None = None
        self._num_unplayed = 0
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
        return self._collector.num_steps + self._num_unplayed

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

        Raises:
            CheckpointError: The agent was loaded, and its environment does not repeat itself.
        """
        if self._unplayed is not None:
            # A file holds what was played and no environment: the same steps bring this one to
            # where it was.
            self._collector.replay(self._unplayed)
            self._unplayed = None
            self._num_unplayed = 0
        with progress(total_timesteps, "real steps", progress_bar, self.num_timesteps) as bar:
            while self.num_timesteps < total_timesteps:
                num_steps = min(self.config.round_steps, total_timesteps - self.num_timesteps)
                # Until something is learned, repeated random actions reach further than independent
                # ones.
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
            # Another seed in every round, or each would imagine the same draws.
            seed=self._seed + trajectories.num_steps,
        ).as_sb3()
        if self.sac is None:
            # Twice the steps of a round: what the model of two rounds ago imagined is forgotten.
            self.sac = self._make_sac(env, 2 * self._imagined_steps)
        elif self.sac.n_envs != env.num_envs:  # loaded: one row and no buffer serve to predict
            sac = self._make_sac(env, 2 * self._imagined_steps)
            self._take_networks(sac, self.sac.policy.state_dict(), self.sac.log_ent_coef)
            sac.num_timesteps = self.sac.num_timesteps
            self.sac = sac
        self.sac.set_env(env)
        self.sac.learn(self._imagined_steps, reset_num_timesteps=False)

    @property
    def _imagined_steps(self) -> int:
        """Steps of SAC in a round."""
        config = self.config
        return config.gradient_steps // config.gradients_per_step * config.num_envs

    @staticmethod
    def _take_networks(sac: SAC, policy: Mapping[str, Tensor], log_ent_coef: Tensor | None) -> None:
        sac.policy.load_state_dict(policy)
        assert sac.log_ent_coef is not None and log_ent_coef is not None  # noqa: PT018
        with torch.no_grad():
            sac.log_ent_coef.copy_(log_ent_coef)

    def _make_sac(self, env: SB3VecEnv, buffer_size: int) -> SAC:
        return SAC(
            "MlpPolicy",
            env,
            buffer_size=buffer_size,
            gradient_steps=self.config.gradients_per_step,
            policy_kwargs={"net_arch": [self.config.sac_width] * 2},
            **sac_settings(self.config.learning_rate, self._seed),
        )

    def _stored(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        if self.sac is None:
            raise NotFittedError("this ImaginedSAC never learned: call its learn(...) first")
        steps = self._collector.state() if self._unplayed is None else self._unplayed
        state = {
            "model": self.model.state_dict(),
            "policy": self.sac.policy.state_dict(),
            "log_ent_coef": self.sac.log_ent_coef,
            "steps": steps,
        }
        tensors, structure = pack_state(state)
        description = {
            "config": asdict(self.config),
            "seed": self._seed,
            "env_id": self._env_id,
            "num_timesteps": self.num_timesteps,
            "imagined_timesteps": self.sac.num_timesteps,
            "model": self.model.description(),
            "structure": structure,
        }
        return tensors, description

    @classmethod
    def _from_stored(cls, stored: Checkpoint, env: Any, device: str, given: Any) -> Self:  # noqa: ARG003
        metadata = stored.metadata
        environment = env if env is not None else own_id(metadata["env_id"])
        if environment is None:
            raise CheckpointError("it was not made from an environment id: give load() env")
        config = config_from_json(ImaginedSACConfig, metadata["config"])
        state = unpack_state(metadata["structure"], stored.tensors)
        # Built of the file's own tensors, before anything of a described size takes memory.
        model = EnsembleModel.of_checkpoint(Checkpoint(state["model"], metadata["model"]), None)
        # The agent below makes a model of this width, whatever a file says of it.
        if set(model.config.dynamics_widths) != {config.model_width}:
            raise CheckpointError(f"its model is not {config.model_width} units wide")
        agent = cls(environment, config, seed=metadata["seed"])
        own = (agent.model.raw_observation_space, agent.model.raw_action_space)
        if (model.raw_observation_space, model.raw_action_space) != own:
            raise CheckpointError(f"it learned in spaces other than {own}: give load() another env")
        agent.model = model
        starts = np.zeros((1, model.num_features), np.float32)
        env = ImaginedVectorEnv(model, starts, 1, 1, autoreset_mode=AutoresetMode.SAME_STEP)
        agent.sac = agent._make_sac(env.as_sb3(), buffer_size=1)
        check_shapes(agent.sac.policy, state["policy"])
        agent._take_networks(agent.sac, state["policy"], state["log_ent_coef"])
        agent.sac.num_timesteps = int(metadata["imagined_timesteps"])
        agent._unplayed = state["steps"]
        agent._num_unplayed = int(metadata["num_timesteps"])
        return agent

    def _settle(self, env: Any, device: str, given: Any) -> None:
        """Nothing: it was built in the environment."""


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
