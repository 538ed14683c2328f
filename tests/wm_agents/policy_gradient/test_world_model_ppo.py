"""PPO with a world-model loss.

SB3's own bits at weight 0, true next observations, guards, files.
"""

import pickle
import zipfile
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.vec_env import DummyVecEnv

from wm_agents.errors import CheckpointError, ConfigError, NonFiniteError, SpaceError
from wm_agents.policy_gradient.world_model_policy import WorldModelPolicy
from wm_agents.policy_gradient.world_model_ppo import TransitionBuffer, WorldModelPPO
from wm_agents.sb3.vec_env import SB3VecEnv

NUM_SYMBOLS = 5


class Shift(gym.Env[Any, Any]):
    """Shows a symbol; the action moves it.

    Every episode starts from a fresh draw, so that reset tells nothing.
    """

    def __init__(
        self, num_steps: int = 1, is_indexed: bool = False, is_terminated: bool = False
    ) -> None:
        self.num_steps, self.is_indexed, self.is_terminated = num_steps, is_indexed, is_terminated
        self.action_space = spaces.Discrete(NUM_SYMBOLS)
        one_hot = spaces.Box(0, 1, (NUM_SYMBOLS,))
        self.observation_space = spaces.Discrete(NUM_SYMBOLS) if is_indexed else one_hot

    def _observe(self) -> Any:
        return (
            self.symbol if self.is_indexed else np.eye(NUM_SYMBOLS, dtype=np.float32)[self.symbol]
        )

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.symbol, self.time = int(self.np_random.integers(NUM_SYMBOLS)), 0
        return self._observe(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        reward = float(action == self.symbol)
        self.symbol = (self.symbol + int(action) + 1) % NUM_SYMBOLS
        self.time += 1
        is_over = self.time == self.num_steps
        return (
            self._observe(),
            reward,
            is_over and self.is_terminated,
            is_over and not self.is_terminated,
            {},
        )


class Slide(gym.Env[Any, Any]):
    """A point on a line that a bounded push moves, with given faults."""

    observation_space = spaces.Box(-10, 10, (1,))
    action_space = spaces.Box(-1, 1, (1,))

    def __init__(self, faulty_observation_at: int = -1, faulty_reward_at: int = -1) -> None:
        self.faults, self.count = (faulty_observation_at, faulty_reward_at), 0

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.place, self.time = self.np_random.uniform(-1, 1, 1).astype(np.float32), 0
        return self.place * np.float32(np.nan if self.faults[0] == 0 else 1), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        assert self.action_space.contains(action)
        self.count, self.time = self.count + 1, self.time + 1
        self.place = self.place + action
        observation = self.place * np.float32(np.nan if self.count == self.faults[0] else 1)
        reward = np.inf if self.count == self.faults[1] else -float(abs(self.place[0]))
        return observation, reward, False, self.time == 4, {}


def make(env: Any, **options: Any) -> WorldModelPPO:
    settings: dict[str, Any] = {
        "n_steps": 32,
        "batch_size": 64,
        "n_epochs": 4,
        "seed": 1,
        "device": "cpu",
    }
    return WorldModelPPO("MlpPolicy", env, **{**settings, **options})


def rows(maker: Any, num_envs: int = 4) -> DummyVecEnv:
    return DummyVecEnv([maker] * num_envs)


def parameters_of(agent: PPO) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in agent.policy.state_dict().items()}


def assert_same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> None:
    assert first.keys() <= second.keys()
    for name in first:
        assert torch.equal(first[name], second[name]), name


@pytest.mark.parametrize("env_id", ["CartPole-v1", "Pendulum-v1", "FrozenLake-v1"])
def test_weight_zero_is_ppo_bit_for_bit(env_id: str) -> None:
    options: dict[str, Any] = {
        "n_steps": 32,
        "batch_size": 32,
        "n_epochs": 3,
        "ent_coef": 0.01,
        "clip_range_vf": 0.2,
    }

    def trained(algorithm: Any, **more: Any) -> PPO:
        env = DummyVecEnv([lambda: gym.make(env_id)] * 2)
        return algorithm("MlpPolicy", env, seed=5, device="cpu", **options, **more).learn(256)

    theirs = trained(PPO)
    ours = trained(WorldModelPPO, world_model_coef=0.0)
    assert_same(parameters_of(theirs), parameters_of(ours))
    assert np.array_equal(theirs.rollout_buffer.actions, ours.rollout_buffer.actions)
    logged, expected = ours.logger.name_to_value, theirs.logger.name_to_value
    assert {name for name in expected if name.startswith("train/")} <= logged.keys()
    assert "train/world_model_loss" not in logged
    for name in expected:
        if name.startswith("train/"):
            assert logged[name] == pytest.approx(expected[name], rel=1e-5), name


def test_early_stopping_is_that_of_ppo() -> None:
    def trained(algorithm: Any, **more: Any) -> PPO:
        env = DummyVecEnv([lambda: gym.make("CartPole-v1")])
        options = {"n_steps": 64, "batch_size": 16, "target_kl": 1e-4, "learning_rate": 1e-2}
        return algorithm("MlpPolicy", env, seed=5, device="cpu", **options, **more).learn(256)

    theirs, ours = trained(PPO), trained(WorldModelPPO, world_model_coef=0.0)
    assert theirs._n_updates == ours._n_updates < 40  # of 4 rollouts with 10 passes
    assert_same(parameters_of(theirs), parameters_of(ours))


@pytest.mark.parametrize("is_terminated", [False, True])
@pytest.mark.parametrize("num_steps", [1, 3])
@pytest.mark.parametrize("is_indexed", [False, True])
def test_the_buffer_keeps_what_each_step_led_to(
    num_steps: int, is_indexed: bool, is_terminated: bool
) -> None:
    kept: dict[str, Any] = {}

    class Keep(BaseCallback):
        def _on_step(self) -> bool:
            return True

        def _on_rollout_end(self) -> None:
            buffer = self.model.rollout_buffer
            kept.update(
                {name: getattr(buffer, name).copy() for name in ("observations", "actions")}
            )
            kept["next"] = buffer.next_observations.copy()
            kept["starts"] = buffer.episode_starts.copy()

    agent = make(rows(lambda: Shift(num_steps, is_indexed, is_terminated)), n_epochs=1)
    agent.learn(128, callback=Keep())
    symbols, followed = (
        kept[n][..., 0] if is_indexed else kept[n].argmax(-1) for n in ("observations", "next")
    )
    assert (followed == (symbols + kept["actions"][..., 0] + 1) % NUM_SYMBOLS).all()
    is_next_a_start = kept["starts"][1:] == 1
    assert is_next_a_start.mean() == pytest.approx(1 / num_steps, abs=0.05)
    assert (followed[:-1][~is_next_a_start] == symbols[1:][~is_next_a_start]).all()
    assert (followed[:-1][is_next_a_start] != symbols[1:][is_next_a_start]).any()


@pytest.mark.parametrize("is_indexed", [False, True])
def test_the_world_model_learns_one_step_episodes_and_the_placebo_cannot(is_indexed: bool) -> None:
    floor = 0.8 / NUM_SYMBOLS  # variance of a uniform one-hot, a mean over its numbers

    def loss(target: Any) -> float:
        env = rows(lambda: Shift(is_indexed=is_indexed), 8)
        agent = make(env, batch_size=256, world_model_target=target, learning_rate=1e-2)
        return float(agent.learn(256 * 12).logger.name_to_value["train/world_model_loss"])

    assert loss("next") < 0.5 * floor
    assert loss("shuffled") > 0.9 * floor


def test_a_transition_alone_in_its_minibatch_is_no_placebo() -> None:
    agent = make(rows(Shift), world_model_target="shuffled", n_epochs=1, batch_size=128)
    agent.learn(128)
    samples = next(agent.rollout_buffer.get(1))
    assert agent._losses(samples, 0)[0]["world_model"].item() == 0.0


def test_losses_equal_their_formulas() -> None:
    agent = make(
        rows(Slide), world_model_coef=0.5, ent_coef=0.1, vf_coef=0.3, n_epochs=1, batch_size=128
    )
    agent.learn(128)
    samples = next(agent.rollout_buffer.get(128))
    terms, diagnostics = agent._losses(samples, 0)
    policy = agent.policy
    values, log_probability, entropy = policy.evaluate_actions(
        samples.observations, samples.actions
    )
    ratio = (log_probability - samples.old_log_prob).exp().detach().numpy()
    advantages = samples.advantages.numpy()
    advantages = (advantages - advantages.mean()) / advantages.std(ddof=1)
    clipped = np.minimum(advantages * ratio, advantages * np.clip(ratio, 0.8, 1.2))
    assert entropy is not None
    # The push that the environment took, and where it truly led.
    executed = np.clip(samples.actions.numpy(), -1, 1)
    places = samples.observations.numpy() + executed
    assert (abs(samples.actions) > 1).any()
    latents = policy.mlp_extractor.forward_actor(samples.observations)
    units = policy.target_units
    assert units.scale.item() == pytest.approx(places.std(), rel=1e-4)
    predicted = (
        units.restore(policy.world_model(latents, torch.from_numpy(executed))).detach().numpy()
    )
    features = policy.predict_next(samples.observations, samples.actions)
    assert np.array_equal(features.detach().numpy(), predicted)
    expected = {
        "policy": -clipped.mean(),
        "entropy": -entropy.mean().item(),
        "value": np.square(samples.returns.numpy() - values.flatten().detach().numpy()).mean(),
        "world_model": np.square((predicted - places) / units.scale.numpy()).mean(),
    }
    assert diagnostics["world_model_mse"] == pytest.approx(
        np.square(predicted - places).mean(), rel=1e-4
    )
    assert {name: term.item() for name, term in terms.items()} == pytest.approx(
        expected, rel=1e-4, abs=1e-6
    )
    assert diagnostics["clip_fraction"] == pytest.approx((abs(ratio - 1) > 0.2).mean())
    assert diagnostics["approx_kl"] == pytest.approx((ratio - 1 - np.log(ratio)).mean(), abs=1e-6)
    assert agent.loss_weights == {"policy": 1.0, "entropy": 0.1, "value": 0.3, "world_model": 0.5}


def test_the_world_model_shapes_the_actor_and_not_the_critic() -> None:
    agent = make(rows(Shift), n_epochs=1)
    agent.learn(128)
    samples = next(agent.rollout_buffer.get(64))
    agent.policy.optimizer.zero_grad()
    agent._losses(samples, 0)[0]["world_model"].backward()
    touched = {
        name for name, parameter in agent.policy.named_parameters() if parameter.grad is not None
    }
    assert any(name.startswith("mlp_extractor.policy_net") for name in touched)
    assert sum(name.startswith("world_model") for name in touched) == 5
    assert not any("value" in name or name.startswith("action_net") for name in touched)


def test_equal_seeds_give_equal_agents() -> None:
    first, second, other = (make(rows(Shift), seed=seed).learn(256) for seed in (1, 1, 2))
    assert_same(parameters_of(first), parameters_of(second))
    assert not torch.equal(first.policy.action_net.weight, other.policy.action_net.weight)


def test_it_learns_through_the_adapter_and_sb3_evaluates_it() -> None:
    env = SB3VecEnv(SyncVectorEnv([Shift] * 8, autoreset_mode=AutoresetMode.SAME_STEP))
    agent = make(env, batch_size=256, learning_rate=3e-3, n_epochs=8)
    before, _ = evaluate_policy(agent, env, 64, warn=False)
    agent.learn(256 * 15)
    after, _ = evaluate_policy(agent, env, 64, warn=False)
    assert before < 0.8
    assert after == 1.0
    single, _ = evaluate_policy(agent, Shift(), 20, warn=False)
    assert single == 1.0


@pytest.mark.parametrize("fault", ["faulty_observation_at", "faulty_reward_at"])
def test_a_number_that_is_not_finite_stops_before_the_update(fault: str) -> None:
    agent = make(DummyVecEnv([Slide, lambda: Slide(**{fault: 40})]), n_epochs=1)
    snapshots: list[dict[str, torch.Tensor]] = []
    with pytest.raises(NonFiniteError, match=r"of environment 1 is not finite at step 80: repair"):
        agent.learn(256, callback=lambda *_: snapshots.append(parameters_of(agent)) or True)
    assert_same(snapshots[-1], parameters_of(agent))
    assert len(snapshots) == 39


def test_a_first_observation_that_is_not_finite_is_refused() -> None:
    agent = make(DummyVecEnv([lambda: Slide(faulty_observation_at=0)] * 2))
    with pytest.raises(
        NonFiniteError, match="the observation of environment 0 is not finite at step 0: repair"
    ):
        agent.learn(64)


@pytest.mark.parametrize("name", ["advantages", "returns", "next_observations"])
def test_a_loss_that_is_not_finite_is_named_and_not_descended(name: str) -> None:
    agent = make(rows(Slide), n_epochs=1, batch_size=128)
    agent.learn(128)
    before, moments = (
        parameters_of(agent),
        agent.policy.optimizer.state_dict()["state"][0]["exp_avg"].clone(),
    )
    getattr(agent.rollout_buffer, name).flat[7] = np.inf
    loss = {"advantages": "policy", "returns": "value", "next_observations": "world_model"}[name]
    with pytest.raises(NonFiniteError, match=f"^{loss} is .* lower learning_rate"):
        agent.train()
    assert_same(before, parameters_of(agent))
    assert torch.equal(moments, agent.policy.optimizer.state_dict()["state"][0]["exp_avg"])


def test_a_gradient_that_is_not_finite_is_not_descended() -> None:
    agent = make(rows(Slide), n_epochs=1, batch_size=128)
    agent.learn(128)
    before = parameters_of(agent)
    agent.policy.world_model.output.weight.register_hook(lambda gradient: gradient * np.inf)
    with pytest.raises(NonFiniteError, match=r"^the gradient of world_model\.output\.weight is"):
        agent.train()
    assert_same(before, parameters_of(agent))


def test_files_bring_back_the_agent_that_goes_on_alike(tmp_path: Any) -> None:
    agent = make(rows(Shift), policy_kwargs={"world_model_width": 16}, world_model_coef=0.7)
    agent.learn(128)
    agent.save(tmp_path / "new" / "agent")
    copy = WorldModelPPO.load(tmp_path / "new" / "agent.zip", rows(Shift), trust=True, device="cpu")
    assert [file.name for file in (tmp_path / "new").iterdir()] == ["agent.zip"]
    assert_same(parameters_of(agent), parameters_of(copy))
    assert copy.loss_weights == agent.loss_weights
    assert copy.policy.world_model.hidden.out_features == 16
    observations = np.eye(NUM_SYMBOLS, dtype=np.float32)
    assert (
        agent.predict(observations, deterministic=True)[0]
        == copy.predict(observations, deterministic=True)[0]
    ).all()
    for each in (agent, copy):
        each.set_env(rows(Shift))
        each.set_random_seed(3)
        each.learn(128, reset_num_timesteps=False)
    assert_same(parameters_of(agent), parameters_of(copy))


def test_the_policy_alone_can_be_saved_and_loaded(tmp_path: Any) -> None:
    policy = make(rows(Shift), policy_kwargs={"world_model_width": 16}).policy
    policy.save(tmp_path / "policy.pt")
    copy = WorldModelPolicy.load(tmp_path / "policy.pt")
    assert_same(policy.state_dict(), copy.state_dict())


class Bomb:
    def __reduce__(self) -> Any:
        return (pytest.fail, ("code of an untrusted file was run",))


def test_files_are_not_read_without_trust(tmp_path: Any) -> None:
    with zipfile.ZipFile(tmp_path / "hostile.zip", "w") as archive:
        archive.writestr("data", pickle.dumps(Bomb()))
    (tmp_path / "hostile.pkl").write_bytes(pickle.dumps(Bomb()))
    for name in ("hostile.zip", "hostile.pkl"):
        with pytest.raises(CheckpointError, match="pass trust=True if you know who wrote it"):
            WorldModelPPO.load(tmp_path / name)


@pytest.mark.parametrize("damage", ["missing", "empty", "text", "truncated", "flipped", "foreign"])
def test_damaged_and_foreign_files_give_one_error(tmp_path: Any, damage: str) -> None:
    path = tmp_path / "agent.zip"
    make(rows(Shift)).save(path)
    data = path.read_bytes()
    if damage == "missing":
        path.unlink()
    elif damage == "foreign":
        PPO("MlpPolicy", rows(Shift), device="cpu").save(path)
    else:
        middle = len(data) // 2
        flipped = data[:middle] + bytes([data[middle] ^ 255]) + data[middle + 1 :]
        path.write_bytes(
            {"empty": b"", "text": b"no", "truncated": data[:middle], "flipped": flipped}[damage]
        )
    with pytest.raises(
        CheckpointError, match=r"agent\.zip is no agent that WorldModelPPO\.save wrote, or damaged"
    ):
        WorldModelPPO.load(path, trust=True, device="cpu")


def test_a_folder_that_cannot_be_written_is_refused_and_the_old_file_stays(tmp_path: Any) -> None:
    (tmp_path / "file").write_text("kept")
    with pytest.raises(CheckpointError, match="give a writable folder"):
        make(rows(Shift)).save(tmp_path / "file" / "agent.zip")
    assert (tmp_path / "file").read_text() == "kept"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"world_model_coef": -1.0}, r"world_model_coef .* got -1\.0"),
        ({"world_model_coef": float("nan")}, "world_model_coef .* got nan"),
        ({"world_model_target": "none"}, "world_model_target .* got 'none'"),
        ({"rollout_buffer_class": dict}, "subclass of TransitionBuffer, got .*dict"),
        ({"policy_kwargs": {"world_model_width": 0}}, "world_model_width is at least 1, got 0"),
    ],
)
def test_bad_settings_name_the_value(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make(rows(Shift), **options)


def test_policies_without_a_head_are_refused() -> None:
    from stable_baselines3.common.policies import ActorCriticPolicy

    policy: Any = ActorCriticPolicy
    with pytest.raises(ConfigError, match=r"subclass of WorldModelPolicy, got .*ActorCriticPolicy"):
        WorldModelPPO(policy, rows(Shift))
    with pytest.raises(ConfigError, match="total_timesteps is at least 1, got 0"):
        make(rows(Shift)).learn(0)


class Odd(Shift):
    def __init__(self, observation_space: Any = None, action_space: Any = None) -> None:
        super().__init__()
        self.observation_space = observation_space or self.observation_space
        self.action_space = action_space or self.action_space


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"observation_space": spaces.MultiBinary(4)},
            r"observations are Box or Discrete, got MultiBinary\(4\): wrap",
        ),
        (
            {"action_space": spaces.MultiDiscrete([2, 2])},
            r"actions are Box or Discrete, got MultiDiscrete\(.*: wrap",
        ),
        (
            {"action_space": spaces.Discrete(3, start=1)},
            r"counts Discrete actions from 0, got Discrete\(3, start=1\)",
        ),
        (
            {"observation_space": spaces.Dict({"x": spaces.Discrete(2)})},
            r"observations are Box or Discrete, got Dict",
        ),
        (
            {"action_space": spaces.Box(-np.inf, np.inf, (1,))},
            r"finite bounds, got Box\(-inf, inf.*: wrap the env",
        ),
        (
            {"action_space": spaces.Box(-2, 2, (1,), np.int64)},
            r"fractions where actions are Box\(-2, 2.*Reinforce",
        ),
        (
            {"observation_space": spaces.Box(-1, 1, ())},
            r"no observations of shape \(\), got Box.*give them the shape",
        ),
        (
            {"observation_space": spaces.Box(-1, 1, (0,))},
            r"observations of Box\(.* hold no numbers",
        ),
    ],
)
def test_other_spaces_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(SpaceError, match=message):
        make(rows(lambda: Odd(**options)))


class Pushed(Slide):
    action_space = spaces.Box(
        np.array([[-0.1, -5], [0, 0.2]]), np.array([[0.1, 5], [0.3, 0.4]]), dtype=np.float64
    )

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.time += 1
        return self.place, 0.0, False, self.time == 4, {}


def test_actions_of_other_shapes_and_types_are_flattened_and_clipped() -> None:
    agent = make(rows(Pushed))
    agent.learn(128)
    given = torch.tensor([[[-9.0, 4.0], [0.1, 9.0]]], dtype=torch.float64)
    torch.testing.assert_close(
        agent.policy.action_features(given), torch.tensor([[-0.1, 4.0, 0.1, 0.4]])
    )
    assert agent.policy.predict_next(torch.zeros(1, 1), given).shape == (1, 1)


def test_callbacks_in_every_form_can_stop() -> None:
    class Stop(BaseCallback):
        def _on_step(self) -> bool:
            return self.n_calls < 5

    for callback in (Stop(), [Stop()], lambda variables, _: variables["n_steps"] < 4):
        assert make(rows(Shift)).learn(1000, callback=callback).num_timesteps == 20


def test_a_subclass_of_the_buffer_is_taken() -> None:
    class Own(TransitionBuffer):
        pass

    assert isinstance(make(rows(Shift), rollout_buffer_class=Own).rollout_buffer, Own)


class Hit(gym.Env[Any, Any]):
    """One step: the reward is minus the squared distance from 70% of the range, in half ranges."""

    observation_space = spaces.Box(-1, 1, (1,))

    def __init__(self, low: float, high: float) -> None:
        self.action_space = spaces.Box(low, high, (1,), np.float32)
        self.best, self.half = low + 0.7 * (high - low), (high - low) / 2

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        return np.zeros(1, np.float32), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        return (
            np.zeros(1, np.float32),
            -float(((action[0] - self.best) / self.half) ** 2),
            True,
            False,
            {},
        )


@pytest.mark.parametrize("bounds", [(5.0, 10.0), (-0.01, 0.01)])
def test_box_actions_are_learned_in_any_unit(bounds: tuple[float, float]) -> None:
    env = rows(lambda: Hit(*bounds), 8)
    agent = make(env, n_steps=32, batch_size=64, learning_rate=3e-3).learn(4000)
    assert evaluate_policy(agent, env, 8, warn=False)[0] > -0.03


def test_state_dependent_noise_is_in_units_of_the_bounds() -> None:
    def draws(low: float, high: float) -> Any:
        policy = make(rows(lambda: Hit(low, high)), use_sde=True).policy
        policy.reset_noise(4)
        return policy(torch.linspace(-1, 1, 4)[:, None])[0].detach().numpy()

    np.testing.assert_allclose(draws(5, 10), 7.5 + 1.25 * draws(-2, 2), rtol=1e-5)


def test_the_loss_is_the_same_whatever_the_unit_of_a_target() -> None:
    class Scaled(Slide):
        observation_space = spaces.Box(-np.inf, np.inf, (1,))
        unit = 1e4

        def reset(self, **arguments: Any) -> tuple[Any, dict[str, Any]]:
            observation, info = super().reset(**arguments)
            return observation * np.float32(self.unit), info

        def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
            observation, *rest = super().step(action)
            return observation * np.float32(self.unit), *rest

    agent = make(rows(Scaled), n_epochs=1)
    agent.learn(128)
    logged = agent.logger.name_to_value
    assert logged["train/world_model_loss"] < 3
    assert logged["train/world_model_mse"] > 1e6
    observations = torch.zeros(4, 1)
    assert agent.policy.predict_next(observations, torch.zeros(4, 1)).abs().max() > 10
