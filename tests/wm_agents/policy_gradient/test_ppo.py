"""PPO: it learns, its losses by their formulas, all spaces and autoreset modes, guards, files."""

import functools
from dataclasses import replace
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, SyncVectorEnv, VectorEnv
from gymnasium.vector.utils import batch_space

import wm_envs  # noqa: F401
from wm_agents.errors import CheckpointError, ConfigError, NonFiniteError, SpaceError
from wm_agents.policy_gradient.actor_critic import PPOConfig, scheduled
from wm_agents.policy_gradient.ppo import PPO
from wm_agents.policy_gradient.rollouts import RolloutBuffer, RolloutCollector, advantage_estimates
from wm_agents.policy_gradient.vector_ppo import VectorPPO, VectorPPOConfig
from wm_agents.training.checkpoints import load_checkpoint, save_checkpoint

NUM_SYMBOLS = 5
SMALL = PPOConfig(
    widths=(16,),
    n_steps=8,
    batch_size=64,
    n_epochs=3,
    learning_rate=(1e-2, 1e-3),
    activation="relu",
)


class Identity(VectorEnv):
    """The right action is shown; every step ends the episode."""

    scale = 1.0
    gain, offset = 1.0, 0.0

    def __init__(self, num_envs, autoreset_mode=AutoresetMode.DISABLED):
        self.num_envs = num_envs
        self.metadata = {"autoreset_mode": autoreset_mode}
        self.single_observation_space = spaces.Box(0, 1, (3,))
        self.single_action_space = spaces.Discrete(3, start=1)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self.generator = np.random.default_rng(0)

    def reset(self, *, seed=None, options=None):
        self.shown = self.generator.integers(3, size=self.num_envs)
        return self.observed(), {}

    def step(self, actions):
        rewards = (actions == self.shown + 1) * self.scale
        ended = np.ones(self.num_envs, bool)
        return self.observed(), rewards, ended, ~ended, {}

    def observed(self):
        return np.eye(3, dtype=np.float32)[self.shown] * self.gain + self.offset


class Shift(gym.Env[Any, Any]):
    """Shows a symbol; the action moves it. Every episode starts from a fresh draw."""

    def __init__(self, num_steps=1, is_terminated=False):
        self.num_steps = num_steps
        self.is_terminated = is_terminated
        self.action_space = spaces.Discrete(NUM_SYMBOLS)
        self.observation_space = spaces.Discrete(NUM_SYMBOLS, start=2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.symbol = int(self.np_random.integers(NUM_SYMBOLS))
        self.time = 0
        return self.symbol + 2, {}

    def step(self, action):
        reward = float(action == self.symbol)
        self.symbol = (self.symbol + int(action) + 1) % NUM_SYMBOLS
        self.time += 1
        is_over = self.time == self.num_steps
        truncated = is_over and not self.is_terminated
        return self.symbol + 2, reward, is_over and self.is_terminated, truncated, {}


class Slide(gym.Env[Any, Any]):
    """A point on a line that a bounded push moves."""

    unit = 1.0
    observation_space = spaces.Box(-np.inf, np.inf, (1,))
    action_space = spaces.Box(-1, 1, (1,))

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.place = self.np_random.uniform(-1, 1, 1).astype(np.float32)
        self.time = 0
        return self.place * np.float32(self.unit), {}

    def step(self, action):
        assert self.action_space.contains(action)
        self.time += 1
        self.place = self.place + action
        reward = -float(abs(self.place[0]))
        return self.place * np.float32(self.unit), reward, False, self.time == 4, {}


def vector(make, num_envs=8, mode=AutoresetMode.SAME_STEP):
    return SyncVectorEnv([make] * num_envs, autoreset_mode=mode)


def learn(seed, config=SMALL):
    return PPO(Identity(32), config, seed=seed).learn(20 * 8 * 32)


@functools.cache
def learned(seed):
    """The same for several tests, which change nothing of it."""
    return learn(seed)


def mean(agent, name):
    history = agent.report.history
    return np.mean([row[name] for row in history[len(history) // 2 :]])


def rollout_of(agent, num_steps=16):
    collector = RolloutCollector(agent.env, agent.spaces, agent.config.memory_width, 0)
    return collector.collect(num_steps, agent._act, agent._evaluate_step)


def test_learns_to_repeat_what_is_shown():
    agent = learned(0)
    assert mean(agent, "reward") > 0.9
    actions, state = agent.predict(np.eye(3), deterministic=True)
    assert actions.tolist() == [1, 2, 3]
    assert state is None
    assert agent.predict(np.eye(3)[1], deterministic=True)[0] == 2
    assert agent.num_timesteps == 20 * 8 * 32
    assert "\n" not in repr(agent)


def test_equal_seeds_learn_the_same():
    assert learned(3).report.history == learn(3).report.history
    assert learned(3).report.history != learned(0).report.history


def test_the_earlier_names_learn_the_same(tmp_path):
    env = Identity(32)
    config = VectorPPOConfig(widths=(16,), num_steps=8, minibatch_size=64)
    with pytest.warns(DeprecationWarning, match="num_steps of PPOConfig is now n_steps"):
        assert config.num_steps == 8
    with pytest.warns(DeprecationWarning, match="use PPO"):
        agent = VectorPPO(env.single_observation_space, env.single_action_space, config, seed=3)
    figures = agent.learn(env, 20, learning_rate=(1e-2, 1e-3), entropy=(0.0, 0.0))
    assert figures["reward"] == mean(learned(3), "reward")
    again = VectorPPO.load(agent.save(tmp_path / "agent"))
    assert torch.equal(again.policy.layers[0].weight, agent.policy.layers[0].weight)


def test_the_arguments_of_world_model_ppo_say_how_to_convert():
    with pytest.raises(ConfigError, match=r"is now PPO\(env, PPOConfig\(world_model_coef=1.0\)\)"):
        PPO("MlpPolicy", "CartPole-v1")


def test_advantages_by_hand():
    zeros = torch.zeros(2, 1)
    rollout = RolloutBuffer(
        zeros, zeros, zeros,
        values=torch.tensor([[1.0], [2.0]]),
        rewards=torch.tensor([[0.5], [1.0]]),
        next_values=torch.tensor([[2.0], [3.0]]),
        ended=torch.tensor([[False], [True]]),
        next_observations=zeros, is_start=zeros, mask=zeros, memory=zeros, returns=[], successes=[],
    )  # fmt: skip
    # last: 1 + 0.5 * 3 - 2 = 0.5; first: 0.5 + 0.5 * 2 - 1 = 0.5, and 0.5 * 0.5 * 0.5 of the last
    assert advantage_estimates(rollout, 0.5, 0.5).flatten().tolist() == [0.625, 0.5]


def test_schedules_are_linear():
    assert scheduled(0.5, 0.3) == 0.5
    assert scheduled((1.0, 0.0), 0.25) == 0.75


@pytest.mark.parametrize("is_terminated", [False, True])
@pytest.mark.parametrize("num_steps", [1, 3])
@pytest.mark.parametrize("mode", list(AutoresetMode))
def test_a_rollout_keeps_what_each_step_led_to(mode, num_steps, is_terminated):
    env = vector(lambda: Shift(num_steps, is_terminated), 4, mode)
    agent = PPO(env, PPOConfig(widths=(8,)), seed=1)
    rollout = rollout_of(agent, 24)
    mask = rollout.mask
    symbols, followed = rollout.observations.argmax(-1), rollout.next_observations.argmax(-1)
    assert torch.equal(followed[mask], ((symbols + rollout.actions + 1) % NUM_SYMBOLS)[mask])
    if mode == AutoresetMode.NEXT_STEP:
        assert mask.float().mean() == num_steps / (num_steps + 1)
        assert not rollout.rewards[~mask].any()
    else:
        assert mask.all()
    goes_on = (~rollout.ended & mask)[:-1]
    assert torch.equal(followed[:-1][goes_on], symbols[1:][goes_on])
    assert torch.equal(rollout.is_start[1:][goes_on], torch.zeros(int(goes_on.sum())).bool())
    if is_terminated:
        assert not rollout.next_values[rollout.ended].any()
    else:
        assert rollout.next_values[rollout.ended].all()
    assert len(rollout.returns) == int(rollout.ended.sum())
    first = rollout.is_start & mask
    assert int(first.sum()) == pytest.approx(int(mask.sum()) / num_steps, abs=4)


@pytest.mark.parametrize("mode", list(AutoresetMode))
def test_it_learns_in_every_autoreset_mode(mode):
    agent = PPO(vector(Shift, 16, mode), replace(SMALL, n_steps=16), seed=1).learn(16 * 16 * 30)
    actions = agent.predict(np.arange(2, 2 + NUM_SYMBOLS), deterministic=True)[0]
    assert actions.tolist() == list(range(NUM_SYMBOLS))


def test_the_world_model_learns_one_step_episodes_and_the_placebo_cannot():
    floor = 0.8 / NUM_SYMBOLS  # variance of a uniform one-hot, a mean over its numbers

    def loss(target):
        config = PPOConfig(
            widths=(64,), n_steps=32, learning_rate=1e-2,
            world_model_coef=1.0, world_model_target=target,
        )  # fmt: skip
        return (
            PPO(vector(Shift), config, seed=1)
            .learn(256 * 12)
            .report.history[-1]["world_model_loss"]
        )

    assert loss("next") < 0.5 * floor
    assert loss("shuffled") > 0.9 * floor


def test_losses_equal_their_formulas():
    config = PPOConfig(widths=(8, 8), world_model_coef=0.5, ent_coef=0.1, vf_coef=0.3)
    agent = PPO(vector(Slide, 8), config, seed=1)
    rollout = rollout_of(agent)
    agent.target_units.update(rollout.next_observations.flatten(0, 1))
    with torch.no_grad():
        agent.log_std += 0.3  # so that the ratio is not 1
        batch = agent._transitions(rollout)
        terms, figures = agent.losses(batch)
        outputs, values = agent.policy(batch.features), agent.value(batch.features)
    spread = np.exp(0.3)
    actions = batch.actions.numpy()
    # Bounds -1..1 have the middle 0 and half a half range as their unit.
    deviations = (actions - 0.5 * outputs.numpy()) / (0.5 * spread)
    log_probs = (-0.5 * deviations**2 - 0.3 - 0.5 * np.log(2 * np.pi))[:, 0]
    ratio = np.exp(log_probs - batch.log_probs.numpy())
    gains = batch.advantages.numpy()
    gains = (gains - gains.mean()) / gains.std(ddof=1)
    clipped = np.minimum(gains * ratio, gains * np.clip(ratio, 0.8, 1.2))
    # The push that the environment took, and where it truly led.
    executed = np.clip(actions, -1, 1)
    places = rollout.observations.flatten(0, 1).numpy() + executed
    assert (abs(actions) > 1).any()
    assert agent.target_units.scale.item() == pytest.approx(places.std(), rel=1e-4)
    predicted = agent.predict_next(rollout.observations.flatten(0, 1).numpy(), executed)
    expected = {
        "policy": -clipped.mean(),
        "entropy": -(0.3 + 0.5 * np.log(2 * np.pi * np.e)),
        "value": np.square(batch.returns.numpy() - values[:, 0].numpy()).mean(),
        "world_model": np.square((predicted - places) / places.std()).mean(),
    }
    assert {name: term.item() for name, term in terms.items()} == pytest.approx(
        expected, rel=1e-4, abs=1e-6
    )
    raw = np.square(predicted - places).mean()
    assert figures["world_model_mse"] == pytest.approx(raw, rel=1e-4)
    assert figures["clip_fraction"] == pytest.approx((abs(ratio - 1) > 0.2).mean())
    assert figures["approx_kl"] == pytest.approx((ratio - 1 - np.log(ratio)).mean(), abs=1e-5)


def test_the_world_model_shapes_the_actor_and_not_the_critic():
    agent = PPO(vector(Shift), PPOConfig(widths=(8,), world_model_coef=1.0), seed=1)
    agent.losses(agent._transitions(rollout_of(agent)))[0]["world_model"].backward()
    touched = {name.split(".")[0] for name, p in agent.named_parameters() if p.grad is not None}
    assert touched == {"policy", "world_model"}
    # The head of the policy itself takes no part in the prediction.
    assert agent.policy.layers[-1].weight.grad is None


def test_a_transition_alone_in_its_minibatch_is_no_placebo():
    config = PPOConfig(widths=(8,), world_model_coef=1.0, world_model_target="shuffled")
    agent = PPO(vector(Shift), config, seed=1)
    batch = agent._transitions(rollout_of(agent))
    alone = type(batch)(*(column[:1] for column in batch))
    assert agent.losses(alone)[0]["world_model"].item() == 0.0


def test_the_policy_starts_alike_with_and_without_a_world_model():
    plain = PPO(vector(Shift), SMALL, seed=1)
    with_model = PPO(vector(Shift), replace(SMALL, world_model_coef=1.0), seed=1)
    for name, tensor in plain.state_dict().items():
        assert torch.equal(tensor, with_model.state_dict()[name])


def test_epochs_stop_at_the_target_divergence():
    kwargs = {"learning_rate": 1e-2, "batch_size": 16, "n_steps": 64, "num_envs": 1}
    free = PPO("CartPole-v1", PPOConfig(**kwargs), seed=5).learn(256)
    near = PPO("CartPole-v1", PPOConfig(target_kl=1e-3, **kwargs), seed=5).learn(256)
    assert mean(near, "approx_kl") < 0.5 * mean(free, "approx_kl")


class Recall(gym.Env[Any, Any]):
    """A symbol is shown at the first step only and asked for at the last."""

    observation_space = spaces.Discrete(3)
    action_space = spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.symbol = int(self.np_random.integers(2))
        self.time = 0
        return self.symbol, {}

    def step(self, action):
        self.time += 1
        is_over = self.time == 3
        return 2, float(is_over and action == self.symbol), is_over, False, {}


@pytest.mark.parametrize("mode", list(AutoresetMode))
def test_a_memory_remembers(mode):
    config = PPOConfig(
        widths=(16,), n_steps=12, learning_rate=1e-2, memory_width=8, batch_size=192, n_epochs=3
    )
    agent = PPO(vector(Recall, 32, mode), config, seed=0).learn(12 * 32 * 40)
    right = []
    for symbol in (0, 1):
        state = None
        for observation in (symbol, 2, 2):
            action, state = agent.predict(observation, state, deterministic=True)
        right.append(action == symbol)
        again, _ = agent.predict([symbol], state, np.array([True]), deterministic=True)
        first, _ = agent.predict([symbol], deterministic=True)
        assert again == first
    assert all(right)
    if mode == AutoresetMode.NEXT_STEP:  # what no memory can do, it cannot in any mode
        forgetful = PPO(vector(Recall, 32, mode), replace(config, memory_width=0), seed=0)
        assert mean(forgetful.learn(12 * 32 * 20), "return") < 0.75


class Odd(gym.Env[Any, Any]):
    """Any spaces; the episode is two steps long."""

    def __init__(self, observation_space, action_space):
        self.observation_space = observation_space
        self.action_space = action_space

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.observation_space.seed(seed)
        self.time = 0
        return self.observation_space.sample(), {}

    def step(self, action):
        assert self.action_space.contains(action), action
        self.time += 1
        return self.observation_space.sample(), 1.0, False, self.time == 2, {}


ODD = {
    "dict": (
        spaces.Dict({"x": spaces.Box(-1, 1, (2,)), "mode": spaces.Discrete(3, start=1)}),
        spaces.MultiDiscrete([2, 3]),
    ),
    "tuple": (
        spaces.Tuple((spaces.Discrete(2), spaces.MultiBinary(2))),
        spaces.Dict({"a": spaces.Discrete(2), "b": spaces.Box(0, 5, (2,))}),
    ),
    "integers": (spaces.Box(0, 255, (2, 2), np.uint8), spaces.Box(-2, 3, (2, 1), np.int64)),
    "bits": (spaces.MultiBinary(3), spaces.MultiBinary([2, 2])),
    "scalar": (spaces.Box(-1, 1, ()), spaces.Discrete(3, start=2)),
}


@pytest.mark.parametrize("mode", list(AutoresetMode))
@pytest.mark.parametrize("kind", ODD)
def test_every_space_is_served(kind, mode, tmp_path):
    config = PPOConfig(widths=(4,), n_steps=5, n_epochs=1, world_model_coef=1.0)
    agent = PPO(vector(lambda: Odd(*ODD[kind]), 3, mode), config, seed=0).learn(30)
    observation_space, action_space = ODD[kind]
    observation_space.seed(0)
    observation = observation_space.sample()
    action, _ = agent.predict(observation)
    assert action_space.contains(action)
    again = PPO.load(agent.save(tmp_path / "agent"))
    np.testing.assert_equal(
        again.predict(observation, deterministic=True)[0],
        agent.predict(observation, deterministic=True)[0],
    )


class Hit(gym.Env[Any, Any]):
    """One step: the reward is minus the squared distance from 70% of the range, in half ranges."""

    observation_space = spaces.Box(-1, 1, (1,))

    def __init__(self, low, high):
        self.action_space = spaces.Box(low, high, (1,), np.float32)
        self.best = low + 0.7 * (high - low)
        self.half = (high - low) / 2

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return np.zeros(1, np.float32), {}

    def step(self, action):
        reward = -float(((action[0] - self.best) / self.half) ** 2)
        return np.zeros(1, np.float32), reward, True, False, {}


@pytest.mark.parametrize("bounds", [(5.0, 10.0), (-0.01, 0.01)])
def test_box_actions_are_learned_in_any_unit(bounds):
    config = PPOConfig(n_steps=32, batch_size=64, learning_rate=3e-3)
    agent = PPO(vector(lambda: Hit(*bounds)), config, seed=1).learn(4000)
    action, _ = agent.predict(np.zeros(1, np.float32), deterministic=True)
    low, high = bounds
    assert (action[0] - low) / (high - low) == pytest.approx(0.7, abs=0.08)


def test_the_loss_is_the_same_whatever_the_unit_of_a_target():
    class Scaled(Slide):
        unit = 1e4

    config = PPOConfig(n_steps=16, n_epochs=1, world_model_coef=1.0)
    row = PPO(vector(Scaled), config).learn(128).report.history[-1]
    assert row["world_model_loss"] < 3
    assert row["world_model_mse"] > 1e6


def test_refuses_what_it_cannot_serve():
    agent = PPO(Identity(2), SMALL)
    with pytest.raises(ConfigError, match="total_timesteps is at least 1, got 0"):
        agent.learn(0)
    with pytest.raises(SpaceError, match="the environment has"):
        agent.set_env("CartPole-v1")
    with pytest.raises(ConfigError, match="call set_env first"):
        PPO((spaces.Discrete(2), spaces.Discrete(2))).learn(1)
    with pytest.raises(ConfigError, match="env is an id"):
        PPO(lambda num_envs: num_envs)
    with pytest.raises(ConfigError, match="env_kwargs are of an id"):
        PPO(Identity(2), env_kwargs={"a": 1})
    with pytest.raises(SpaceError, match="is Text"):
        PPO((spaces.Text(3), spaces.Discrete(2)))
    with pytest.raises(SpaceError, match="hold no numbers"):
        PPO((spaces.Box(0, 1, (0,)), spaces.Discrete(2)))
    with pytest.raises(ConfigError, match="predict_next needs world_model_coef"):
        agent.predict_next(np.zeros(3), 1)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("widths", (4, 0)),
        ("gamma", 1.5),
        ("gae_lambda", -0.1),
        ("clip_range", 0.0),
        ("max_grad_norm", 0.0),
        ("target_kl", 0.0),
        ("learning_rate", (1e-3, 0.0)),
        ("ent_coef", -1.0),
        ("world_model_coef", float("nan")),
        ("world_model_target", "none"),
        ("n_steps", 0),
    ],
)
def test_bad_settings_name_the_value(name, value):
    with pytest.raises(ConfigError, match=name):
        PPOConfig(**{name: value})


def test_an_environment_whose_rewards_are_not_finite_is_what_to_repair():
    env = Identity(8)
    env.scale = np.nan
    with pytest.raises(
        NonFiniteError, match="a reward is not finite at update 0: nothing was updated; repair the"
    ):
        PPO(env, SMALL).learn(1)


def test_a_gradient_that_is_not_finite_is_not_descended():
    agent = PPO(vector(Slide), replace(SMALL, world_model_coef=1.0))
    before = {name: tensor.clone() for name, tensor in agent.named_parameters()}
    agent.world_model.layers[-1].weight.register_hook(lambda gradient: gradient * np.inf)
    with pytest.raises(NonFiniteError, match=r"the gradient of world_model\.layers\.1\.weight is"):
        agent.learn(64)
    assert all(torch.equal(before[name], tensor) for name, tensor in agent.named_parameters())


def test_a_callback_can_stop():
    agent = PPO(Identity(2), SMALL).learn(1000, lambda agent, _: agent.num_timesteps < 32)
    assert agent.num_timesteps == 32


@pytest.mark.parametrize("memory_width", [0, 4])
def test_a_killed_run_resumes_bitwise(tmp_path, memory_width):
    config = replace(SMALL, world_model_coef=0.5, memory_width=memory_width)

    def run(folder, stop_at=None):
        agent = PPO("wm/Navigation-v0", replace(config, num_envs=4), seed=2)

        def kill(_, figures):
            if agent.num_timesteps == stop_at:
                raise KeyboardInterrupt

        return agent.learn(32 * 8, kill, checkpoints=folder, checkpoint_every=2)

    whole = run(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "parts", 32 * 5)
    parts = run(tmp_path / "parts")
    assert whole.report.history == parts.report.history
    for name, tensor in whole.state_dict().items():
        assert torch.equal(tensor, parts.state_dict()[name])
    with pytest.raises(CheckpointError, match="seed"):
        PPO("wm/Navigation-v0", replace(config, num_envs=4), seed=3).learn(
            32 * 8, checkpoints=tmp_path / "parts", checkpoint_every=2
        )


def test_a_saved_policy_acts_as_it_did(tmp_path):
    agent = learned(3)
    path = agent.save(tmp_path / "agent")
    assert path.name == "agent.safetensors"
    again = PPO.load(tmp_path / "agent", Identity(4))
    observations = np.random.default_rng(0).normal(size=(50, 3))
    np.testing.assert_array_equal(
        agent.predict(observations, deterministic=True)[0],
        again.predict(observations, deterministic=True)[0],
    )
    assert again.config == agent.config
    again.learn(32)
    with pytest.raises(CheckpointError):
        PPO.load(tmp_path / "none")
    with pytest.raises(CheckpointError, match="which holds pickles"):
        PPO.load(tmp_path / "agent.zip")
    with pytest.raises(SpaceError, match="the environment has"):
        PPO.load(path, "CartPole-v1")


@pytest.mark.parametrize(("gain", "offset"), [(1e-4, 0.0), (1.0, 1e4), (1e6, 0.0)])
def test_observations_are_learned_from_in_any_unit(tmp_path, gain, offset):
    env = Identity(32)
    env.gain, env.offset = gain, offset
    agent = PPO(env, SMALL, seed=0).learn(20 * 8 * 32)
    assert mean(agent, "reward") > 0.9
    again = PPO.load(agent.save(tmp_path / "model.safetensors"))
    shown = np.eye(3, dtype=np.float32) * np.float32(gain) + np.float32(offset)
    assert again.predict(shown, deterministic=True)[0].tolist() == [1, 2, 3]


def test_files_of_earlier_versions_are_read(tmp_path):
    """Their settings have other names, and before units there were none."""
    agent = learned(0)
    path = agent.save(tmp_path / "model.safetensors")
    stored = load_checkpoint(path)
    tensors = {
        name: value
        for name, value in stored.tensors.items()
        if not name.startswith("observation_units")
    }
    config = {
        "widths": [16], "activation": "relu", "num_steps": 8, "num_epochs": 3,
        "minibatch_size": 64, "discount": 0.9, "trace": 0.8, "clip": 0.1,
        "value_coefficient": 0.3, "max_gradient_norm": 0.4,
    }  # fmt: skip
    metadata = {key: stored.metadata[key] for key in ("kind", "observation_space", "action_space")}
    again = PPO.load(save_checkpoint(path, tensors, {**metadata, "config": config}))
    assert not again.config.normalize_observations
    assert (again.config.gamma, again.config.gae_lambda, again.config.clip_range) == (0.9, 0.8, 0.1)
    assert again.predict(np.eye(3), deterministic=True)[0].tolist() == [1, 2, 3]
