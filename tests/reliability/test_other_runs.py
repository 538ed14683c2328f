"""The folder of another run is refused with the setting that differs.

Its results are never taken for this run's.
"""

import gymnasium as gym
import numpy as np
import pytest

import wm_envs  # noqa: F401
from tests.reliability.trainers import Hashed, balanced, walk
from wm_agents.domains.debate import DebateConfig, DebateTrainer, Observations
from wm_agents.errors import CheckpointError, NonFiniteError
from wm_agents.irl import AdversarialConfig, AdversarialIRL
from wm_agents.policy_gradient.ppo import PPO, PPOConfig
from wm_agents.policy_gradient.reinforce import Reinforce, ReinforceConfig
from wm_agents.training.checkpoints import CheckpointManager
from wm_agents.world_models import DeterministicConfig, DeterministicModel, EnsembleModel, FitConfig
from wm_envs.debate.observations import load_corpus


def ppo(folder, *, seed=1, env_id="wm/TMaze-v0", every=1, **changed):
    options = {"widths": (8,), "num_envs": 4, "n_steps": 4, "n_epochs": 1, "batch_size": 16}
    options["learning_rate"] = (1e-2, 1e-3)
    agent = PPO(env_id, PPOConfig(**{**options, **changed}), seed=seed)
    agent.learn(32, checkpoints=CheckpointManager(folder), checkpoint_every=every)


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"seed": 2}, "seed=1, this one has 2"),
        ({"env_id": "wm/DelayedMatch-v0"}, "spaces="),
        ({"widths": (16,)}, "config.widths="),
        ({"learning_rate": 1e-3}, "config.learning_rate="),
        ({"world_model_coef": 0.5}, "config.world_model_coef="),
        ({"every": 2}, "checkpoint_every=1, this one has 2"),
    ],
)
def test_ppo(changed, named, tmp_path):
    ppo(tmp_path)
    with pytest.raises(CheckpointError, match=named):
        ppo(tmp_path, **changed)


def test_a_finished_run_says_that_nothing_is_left(tmp_path, caplog):
    ppo(tmp_path)
    assert not caplog.records
    ppo(tmp_path)
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == 1
    assert said[0].startswith("PPO.learn has nothing left to do: 2 of 2 updates")


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
    agent = Reinforce("wm/TMaze-v0", ReinforceConfig(**small, gamma=0.9))
    with pytest.raises(
        CheckpointError, match=r"a run with config.gamma=1.0, this one has 0.9; repeat"
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
def test_the_guards_of_ppo_say_when(reward, culprit):
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
    config = PPOConfig(widths=(8,), n_steps=4, n_epochs=1, batch_size=16)
    with pytest.raises(NonFiniteError, match=f"({culprit}).* at update 1"):
        PPO(env, config).learn(48)
