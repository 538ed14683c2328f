"""Every trainer at its smallest: run in a folder of checkpoints, it goes on from what lies there and says what it is.

Each function trains to the end and gives a SHA-256 over parameters, optimiser, random states,
counters and metrics.
"""

import json
import warnings
from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch

import wm_envs  # noqa: F401
from tests.support.marble import ACTIONS, OBSERVATIONS, MarbleView, play
from wm_agents.domains.debate import DebateConfig, DebateTrainer, Observations
from wm_agents.domains.debate.model import Debaters
from wm_agents.irl import AdversarialConfig, AdversarialIRL
from wm_agents.planning import DiscountedReturn, RandomShooting
from wm_agents.planning.learning import LearningConfig, learn_to_plan
from wm_agents.planning.shooting import RandomShootingConfig
from wm_agents.policy_gradient.ppo import PPO, PPOConfig
from wm_agents.policy_gradient.reinforce import Reinforce, ReinforceConfig
from wm_agents.policy_gradient.sequence_model import NetworkConfig
from wm_agents.training.checkpoints import CheckpointManager, pack_state, refusing_misfits
from wm_agents.training.loggers import JSONLLogger
from wm_agents.world_models import (
    DeterministicConfig,
    DeterministicModel,
    EnsembleConfig,
    EnsembleModel,
    FitConfig,
    LatentModel,
    RecurrentModel,
    TokenModel,
)
from wm_agents.world_models.object_fitting import ObjectConfig
from wm_agents.world_models.objects import ObjectModel
from wm_agents.world_models.token import TokenConfig
from wm_envs.data.trajectories import Trajectories
from wm_envs.debate.observations import load_corpus

KEEP = 2


def digest(*states) -> str:
    """Of nested states, by the checkpoint format's own packing."""
    total = sha256()
    for number, state in enumerate(states):
        tensors, structure = pack_state(state, f"state{number}")
        total.update(json.dumps(structure).encode())
        for name in sorted(tensors):
            tensor = tensors[name].contiguous()
            total.update(name.encode() + tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return total.hexdigest()


def reinforce(folder: Path) -> str:
    network = NetworkConfig(
        width=8, num_layers=1, num_heads=2, feedforward_width=16, value_width=8, context_length=8
    )
    config = ReinforceConfig(
        network=network, num_seeds=2, episodes_per_update=8, max_episode_steps=8, device="cpu"
    )
    levels = ({"delay": 1}, {"delay": 2})
    checkpoints = CheckpointManager(folder, keep=KEEP)
    latest = checkpoints.latest()
    with refusing_misfits(folder):
        steps = -1 if latest is None else int(np.mean(latest.metadata["num_steps"]))
    agent = Reinforce("wm/DelayedMatch-v0", config, seed=3, levels=levels, mastery=0.2, window=10)
    with JSONLLogger(folder / "log.jsonl", resume_step=steps) as logger:
        agent.learn(240, logger=logger, checkpoints=checkpoints, checkpoint_every=2)
    return digest(*agent._state(), (folder / "log.jsonl").read_text())


def world_model_ppo(folder: Path) -> str:
    return _ppo(folder, "CartPole-v1", world_model_coef=1.0, memory_width=4)


def vector_ppo(folder: Path) -> str:
    return _ppo(folder, "wm/Navigation-v0")


def _ppo(folder: Path, env_id: str, **options: Any) -> str:
    config = PPOConfig(
        widths=(8,), num_envs=8, n_steps=8, n_epochs=2, batch_size=32,
        learning_rate=(1e-2, 1e-3), ent_coef=(0.01, 0.0), **options,
    )  # fmt: skip
    agent = PPO(env_id, config, seed=2)
    agent.learn(640, checkpoints=CheckpointManager(folder, keep=KEEP), checkpoint_every=2)
    return digest(
        agent.state_dict(),
        agent.optimizer.state_dict(),
        agent.generator.get_state(),
        agent.report.history,
        agent.num_timesteps,
    )


def world_model(folder: Path) -> str:
    model = _model(gym.spaces.Box(-np.inf, np.inf, (1,)), gym.spaces.Box(-1, 1, (1,)))
    config = FitConfig(num_updates=40, evaluate_every=5, horizon=2, batch_size=32, input_noise=0.01)
    report = model.fit(walk(), config, checkpoints=CheckpointManager(folder, keep=KEEP))
    return digest(model.state_dict(), report.history, report.best_update, report.best_loss)


def _fitted_kind(name: str, folder: Path) -> str:
    """A world model of another class, by the same loop.

    Its noise, its masks and its hidden states are repeated too.
    """
    model_class, config = MODELS[name]
    spaces = gym.spaces.Box(-np.inf, np.inf, (1,)), gym.spaces.Box(-1, 1, (1,))
    if model_class is TokenModel:
        spaces = gym.spaces.Box(-99, 99, (1,)), gym.spaces.Discrete(3)
    model = model_class(*spaces, config, seed=1)
    data = walk() if model_class is not TokenModel else strides()
    settings = FitConfig(
        num_updates=30, evaluate_every=5, horizon=2, batch_size=32, input_noise=0.01
    )
    if model_class is TokenModel:
        settings = replace(settings, input_noise=0.0)
    report = model.fit(data, settings, checkpoints=CheckpointManager(folder, keep=KEEP))
    return digest(model.state_dict(), report.history, report.best_update, report.best_loss)


def ensemble(folder: Path) -> str:
    return _fitted_kind("ensemble", folder)


def recurrent(folder: Path) -> str:
    return _fitted_kind("recurrent", folder)


def latent(folder: Path) -> str:
    return _fitted_kind("latent", folder)


def token(folder: Path) -> str:
    return _fitted_kind("token", folder)


def object_model(folder: Path) -> str:
    config = ObjectConfig(
        width=8, num_layers=1, dropout=0.2, num_updates=30, batch_size=64, min_purity=2.0
    )
    model = ObjectModel(OBSERVATIONS, ACTIONS, MarbleView(), config, seed=2)
    manager = CheckpointManager(folder, keep=KEEP)
    report = model.fit(play(4, 0), checkpoints=manager, checkpoint_every=10)
    return digest(model.state_dict(), report.metrics)


def adversarial_irl(folder: Path) -> str:
    from stable_baselines3.common.env_util import make_vec_env

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        envs = make_vec_env("CartPole-v1", 2, seed=4)
    config = AdversarialConfig(
        widths=(8,), num_steps=16, num_discriminator_updates=3, batch_size=16, num_epochs=2, has_absorbing_state=True,
        starts_from_clone=False, normalizes_rewards=True, num_replay_rounds=3, anneals=True,
    )  # fmt: skip
    airl = AdversarialIRL(balanced(), envs, config, seed=4)
    airl.learn(
        32 * 8,
        progress_bar=False,
        checkpoints=CheckpointManager(folder, keep=KEEP),
        checkpoint_every=2,
    )
    learner = airl.learner
    state = [
        learner.policy.state_dict(),
        learner.policy.optimizer.state_dict(),
        torch.get_rng_state(),
    ]
    networks = [
        airl.reward_network.state_dict(),
        airl.potential.state_dict(),
        airl.optimizer.state_dict(),
    ]
    return digest(
        state, networks, airl.generator.get_state(), airl.loss, airl.accuracy, learner.num_timesteps
    )


def planning(folder: Path) -> str:
    env = gym.make("CartPole-v1")
    left = learn_to_plan(
        env,
        LearningConfig(max_real_steps=40, num_rounds=4, max_repeat=4),
        lambda trajectories, number: _fitted(env, trajectories, number),
        lambda model, trajectories, is_exploring: RandomShooting(
            model, DiscountedReturn(), RandomShootingConfig(horizon=2, num_samples=4)
        ),
        seed=5,
        checkpoints=CheckpointManager(folder, keep=KEEP),
    )
    seen = left.trajectories
    return digest(
        left.model.state_dict(), left.rounds, seen.observations, seen.actions, seen.rewards
    )


class Hashed:
    """A scorer that costs nothing."""

    def score(self, texts):
        rows = [list(sha256(text.encode()).digest()[:7]) for text in texts]
        return np.array(rows).reshape(-1, 7) / 255


def debate(folder: Path) -> str:
    corpus = load_corpus()
    observations = Observations(corpus[i] for i in range(40))
    agents = Debaters()
    trainer = DebateTrainer(DebateConfig(min_epochs=40, max_epochs=40), relevance=Hashed(), seed=1)
    history, result = trainer.train(
        observations, agents, verbose=False, checkpoints=CheckpointManager(folder, KEEP)
    )
    return digest(
        json.dumps(history.to_plain()), [agent.allocation for agent in agents], result.winning_score
    )


def balanced() -> Trajectories:
    """Two episodes of a cart that is pushed to where its pole leans."""
    env, columns = gym.make("CartPole-v1", max_episode_steps=20), [[], [], [], []]
    for seed in range(2):
        seen, _ = env.reset(seed=seed)
        for step in range(20):
            columns[0].append(seen)
            columns[1].append(int(seen[2] + seen[3] > 0))
            seen, reward, terminated, _, _ = env.step(columns[1][-1])
            columns[2].append(reward)
            columns[3].append(terminated)
            if terminated or step == 19:
                break
        columns[0].append(seen)
    assert not any(columns[3])
    observations, actions, rewards, ends = (np.array(column) for column in columns)
    return Trajectories.from_arrays(
        observations.astype(np.float32), actions, rewards, ends, lengths=[20, 20]
    )


def strides() -> Trajectories:
    """Six walks on whole numbers with a stride that nothing tells, so that no rule holds."""
    random = np.random.default_rng(1)
    parts = []
    for _ in range(6):
        actions = random.integers(0, 3, 12)
        seen = np.append(0, np.cumsum((actions - 1) * random.integers(1, 3, 12)))[:, None]
        parts.append(Trajectories.from_arrays(seen, actions, seen[1:, 0], np.zeros(12)))
    return Trajectories.concatenate(parts)


def walk() -> Trajectories:
    """Eight walks along a line."""
    random = np.random.default_rng(0)
    parts = []
    for _ in range(8):
        actions = random.uniform(-1, 1, (20, 1))
        seen = np.append(0, np.cumsum(actions))[:, None]
        parts.append(Trajectories.from_arrays(seen, actions, seen[1:, 0], np.zeros(20)))
    return Trajectories.concatenate(parts)


def _model(observation_space, action_space, seed=0):
    config = DeterministicConfig(dynamics_widths=(8,), reward_widths=(8,), termination_widths=(8,))
    return DeterministicModel(observation_space, action_space, config, seed=seed)


def _fitted(env, trajectories, number):
    model = _model(env.observation_space, env.action_space, seed=number)
    model.fit(
        trajectories,
        FitConfig(num_updates=5, evaluate_every=5, horizon=1, batch_size=16, seed=number),
    )
    return model


MODELS: dict[str, Any] = {
    "ensemble": (EnsembleModel, EnsembleConfig(dynamics_widths=(8, 8), num_members=2)),
    "recurrent": (RecurrentModel, None),
    "latent": (LatentModel, None),
    "token": (TokenModel, TokenConfig(widths=(8,), reward_widths=(8,), termination_widths=(8,))),
}
FITS = (world_model, ensemble, recurrent, latent, token, object_model)
TRAINERS: dict[str, Callable[[Path], str]] = {
    trainer.__name__: trainer
    for trainer in (
        reinforce,
        world_model_ppo,
        vector_ppo,
        *FITS,
        planning,
        adversarial_irl,
        debate,
    )
}
