"""The folder of another run is refused with the setting that differs.

Its results are never taken for this run's.
"""

import warnings

import gymnasium as gym
import numpy as np
import pytest

import wm_envs  # noqa: F401
from tests.reliability.trainers import Hashed, balanced, walk
from wm_agents.domains.debate import DebateConfig, DebateTrainer, Observations
from wm_agents.errors import CheckpointError, NonFiniteError
from wm_agents.irl import AdversarialConfig, AdversarialIRL
from wm_agents.policy_gradient.reinforce import Reinforce, ReinforceConfig
from wm_agents.policy_gradient.vector_ppo import VectorPPO, VectorPPOConfig
from wm_agents.training.checkpoints import CheckpointManager
from wm_agents.world_models import DeterministicConfig, DeterministicModel, EnsembleModel, FitConfig
from wm_envs.debate.observations import load_corpus


def vector_ppo(folder, *, seed=1, env_id="wm/TMaze-v0", width=8, rate=1e-2, every=1):
    env = gym.make_vec(env_id, 4, autoreset_mode=gym.vector.AutoresetMode.DISABLED)
    config = VectorPPOConfig(widths=(width,), num_steps=4, num_epochs=1, minibatch_size=16)
    agent = VectorPPO(env.single_observation_space, env.single_action_space, config, seed=seed)
    options = {"checkpoints": CheckpointManager(folder), "checkpoint_every": every}
    agent.learn(env, 2, learning_rate=(rate, 1e-3), entropy=(0.0, 0.0), **options)


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"seed": 2}, "seed=1, this one has 2"),
        ({"env_id": "wm/DelayedMatch-v0"}, "spaces="),
        ({"width": 16}, "config.widths="),
        ({"rate": 1e-3}, "learning_rate="),
        ({"every": 2}, "checkpoint_every=1, this one has 2"),
    ],
)
def test_vector_ppo(changed, named, tmp_path):
    vector_ppo(tmp_path)
    with pytest.raises(CheckpointError, match=named):
        vector_ppo(tmp_path, **changed)


def test_a_finished_run_says_that_nothing_is_left(tmp_path, caplog):
    vector_ppo(tmp_path / "vector")
    world_model_ppo(tmp_path / "sb3")
    assert not caplog.records
    vector_ppo(tmp_path / "vector")
    world_model_ppo(tmp_path / "sb3")
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == 2
    assert said[0].startswith("VectorPPO.learn has nothing left to do: 2 of 2 updates")
    assert said[1].startswith("WorldModelPPO.learn has nothing left to do: 64 of 64 steps")


def world_model_ppo(folder, every=1, **changed):
    from stable_baselines3.common.env_util import make_vec_env

    from wm_agents.policy_gradient.world_model_ppo import WorldModelPPO

    options = {
        "n_steps": 16,
        "batch_size": 16,
        "n_epochs": 1,
        "seed": 1,
        "policy_kwargs": {"net_arch": [8]},
        **changed,
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        agent = WorldModelPPO(
            "MlpPolicy", make_vec_env("CartPole-v1", 2, seed=1), device="cpu", **options
        )
    agent.learn(64, checkpoints=CheckpointManager(folder), checkpoint_every=every)


def test_ppo_in_sb3(tmp_path):
    world_model_ppo(tmp_path)
    for changed in (
        {"learning_rate": 1e-3}, {"learning_rate": lambda remaining: 3e-4 * remaining}, {"clip_range": 0.1},
        {"clip_range_vf": 0.2}, {"target_kl": 0.1}, {"normalize_advantage": False}, {"world_model_coef": 0.5},
        {"every": 2},
    ):  # fmt: skip
        name = {"learning_rate": "lr_schedule", "every": "checkpoint_every"}.get(*changed, *changed)
        with pytest.raises(CheckpointError, match=f"a run with {name}="):
            world_model_ppo(tmp_path, **changed)
    world_model_ppo(tmp_path)


def fit(folder, *, kind=DeterministicModel, seed=0, validation=None, warm=None, **changed):
    model = kind(
        gym.spaces.Box(-np.inf, np.inf, (1,)),
        gym.spaces.Box(-1, 1, (1,)),
        changed.get("model"),
        seed=seed,
    )
    if warm is not None:
        model.initialize(walk())
        model.reward_scale.mean.fill_(warm)
    config = FitConfig(
        num_updates=2, evaluate_every=1, horizon=1, batch_size=8, is_warm_start=warm is not None
    )
    model.fit(walk(), config, validation=validation, checkpoints=folder)


@pytest.mark.parametrize(
    ("first", "changed"),
    [
        ({}, {"seed": 7}),
        ({}, {"kind": EnsembleModel}),
        ({}, {"model": DeterministicConfig(dynamics_widths=(8,))}),
        ({}, {"validation": walk().select(np.array([0]))}),
        (
            {"validation": walk().select(np.array([1]))},
            {"validation": walk().select(np.array([0]))},
        ),
        ({"warm": 0.0}, {"warm": 0.5}),
    ],
)
def test_a_fit(first, changed, tmp_path):
    fit(tmp_path, **first)
    fit(tmp_path, **first)
    with pytest.raises(CheckpointError, match=r"belongs to a run with \w+.*=.*, this one has"):
        fit(tmp_path, **changed)


def test_reinforce_names_the_setting_and_not_the_whole_configuration(tmp_path):
    small = {"episodes_per_update": 4, "device": "cpu"}
    Reinforce("wm/TMaze-v0", ReinforceConfig(**small)).learn(
        10, checkpoints=CheckpointManager(tmp_path)
    )
    agent = Reinforce("wm/TMaze-v0", ReinforceConfig(**small, discount=0.9))
    with pytest.raises(
        CheckpointError, match=r"a run with config.discount=1.0, this one has 0.9; repeat"
    ):
        agent.learn(10, checkpoints=CheckpointManager(tmp_path))


def test_adversarial_irl_starts_its_environments_anew_at_each_save(tmp_path):
    from stable_baselines3.common.env_util import make_vec_env

    small = {
        "widths": (8,),
        "num_steps": 16,
        "num_discriminator_updates": 1,
        "batch_size": 16,
        "num_epochs": 1,
    }
    config = AdversarialConfig(**small, may_vary_in_length=True, starts_from_clone=False)
    for every in (1, 2):
        irl = AdversarialIRL(balanced(), make_vec_env("CartPole-v1", 2, seed=4), config, seed=4)
        options = {
            "checkpoints": CheckpointManager(tmp_path),
            "checkpoint_every": every,
            "progress_bar": False,
        }
        if every == 1:
            irl.learn(32, **options)
        else:
            with pytest.raises(CheckpointError, match="checkpoint_every=1, this one has 2"):
                irl.learn(32, **options)


def test_a_debate_with_another_scorer(tmp_path):
    corpus, manager = load_corpus(), CheckpointManager(tmp_path)
    observations = Observations(corpus[i] for i in range(20))
    DebateTrainer(DebateConfig(max_epochs=2), relevance=Hashed()).train(
        observations, verbose=False, checkpoints=manager
    )

    class Constant(Hashed):
        def score(self, texts):
            return np.full((len(texts), 7), 0.5)

    with pytest.raises(
        CheckpointError, match=r"a run with relevance='Hashed', this one has '.*Constant'"
    ):
        DebateTrainer(DebateConfig(max_epochs=2), relevance=Constant()).train(
            observations, verbose=False, checkpoints=manager
        )


@pytest.mark.parametrize(("reward", "culprit"), [(np.inf, "a reward"), (3e38, "gradient|loss")])
def test_the_guards_of_vector_ppo_say_when(reward, culprit):
    class Endless(gym.vector.VectorWrapper):
        num_steps = 0

        def step(self, actions):
            self.num_steps += 1
            seen, rewards, *others = self.env.step(actions)
            return (
                seen,
                np.full_like(rewards, reward) if self.num_steps == 6 else rewards,
                *others,
            )

    env = Endless(gym.make_vec("wm/TMaze-v0", 4, autoreset_mode=gym.vector.AutoresetMode.DISABLED))
    config = VectorPPOConfig(widths=(8,), num_steps=4, num_epochs=1, minibatch_size=16)
    agent = VectorPPO(env.single_observation_space, env.single_action_space, config)
    with pytest.raises(NonFiniteError, match=f"({culprit}).* at update 1"):
        agent.learn(env, 3, learning_rate=(1e-3, 1e-3), entropy=(0.0, 0.0))
