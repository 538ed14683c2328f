import gymnasium as gym
import numpy as np
import pytest
import torch

from wm_agents.errors import CheckpointError, SpaceError
from wm_agents.protocols import WorldModel
from wm_agents.world_models import DRIVING, DeterministicConfig, DeterministicModel, FitConfig
from wm_envs.data.trajectories import Trajectories


def record_pendulum(num_episodes, seed):
    env = gym.make("Pendulum-v1")
    env.action_space.seed(seed)
    episodes = []
    for number in range(num_episodes):
        observation, _ = env.reset(seed=seed + number)
        rows = [[observation], [], [], [], []]
        for _ in range(200):
            action = env.action_space.sample()
            outcome = env.step(action)
            for column, value in zip(rows, (outcome[0], action, *outcome[1:4]), strict=True):
                column.append(value)
        episodes.append(Trajectories.from_arrays(*map(np.array, rows), lengths=[200]))
    return Trajectories.concatenate(episodes), env


@pytest.fixture(scope="module")
def fitted():
    torch.set_num_threads(1)
    train, env = record_pendulum(10, 0)
    config = DeterministicConfig(
        dynamics_widths=(128, 128), reward_widths=(64, 64), termination_widths=(16,)
    )
    model = DeterministicModel(env.observation_space, env.action_space, config)
    report = model.fit(train, FitConfig(num_updates=600, horizon=2, learning_rate=2e-3))
    return model, report


def test_it_learns_pendulum(fitted):
    model, report = fitted
    test, _ = record_pendulum(2, 100)
    for horizon, share in ((1, 0.05), (16, 0.1)):
        batch = test.windows(horizon)
        rollout = model.rollout(
            torch.as_tensor(batch.observations[:, 0]), torch.as_tensor(batch.actions)
        )
        errors = np.square(rollout.observations[:, -1].numpy() - batch.observations[:, -1]).mean(0)
        persistence = np.square(batch.observations[:, 0] - batch.observations[:, -1]).mean(0)
        assert (np.sqrt(errors / persistence) < share).all()
        # reward errors stay well below the spread of rewards, though the reward has a crease at the
        # bottom
        assert (
            np.abs(rollout.rewards[:, -1].numpy() - batch.rewards[:, -1]).mean()
            < 0.1 * batch.rewards.std()
        )
    assert report.is_held_out
    assert report.history[-1]["loss"] < report.history[0]["loss"]


def test_the_angle_stays_on_the_circle_and_nothing_carries_a_graph(fitted):
    model, _ = fitted
    assert isinstance(model, WorldModel)
    assert model.layout.circles == ((0, 1),)
    rollout = model.rollout(torch.tensor([[1.0, 0.0, 3.0]]), torch.full((1, 100, 1), 2.0))
    norms = rollout.observations[..., :2].square().sum(-1)
    assert torch.allclose(norms, torch.ones_like(norms), atol=1e-5)
    assert rollout.observations.shape == (1, 101, 3)
    assert rollout.rewards.shape == rollout.terminations.shape == (1, 100)
    assert not rollout.observations.requires_grad
    assert (rollout.terminations == 0).all()  # no recorded step ever ended by itself


def test_predict_is_the_first_step_of_a_rollout(fitted):
    model, _ = fitted
    start, actions = (
        torch.tensor([[0.6, 0.8, -1.0], [0.0, 1.0, 2.0]]),
        torch.tensor([[[0.5]], [[-2.0]]]),
    )
    prediction, rollout = model.predict(start, actions[:, 0]), model.rollout(start, actions)
    assert torch.equal(prediction.observations, rollout.observations[:, 1])
    assert torch.equal(prediction.rewards, rollout.rewards[:, 0])


def test_gradients_reach_the_actions(fitted):
    model, _ = fitted
    actions = torch.zeros(1, 5, 1, requires_grad=True)
    model.rollout(torch.tensor([[1.0, 0.0, 0.0]]), actions).rewards.sum().backward()
    assert (actions.grad != 0).any()


def test_files_keep_the_model(fitted, tmp_path):
    model, _ = fitted
    loaded = DeterministicModel.load(model.save(tmp_path / "model.safetensors"))
    start, actions = torch.tensor([[0.6, 0.8, -1.0]]), torch.ones(1, 20, 1)
    assert torch.equal(
        loaded.rollout(start, actions).observations, model.rollout(start, actions).observations
    )
    assert loaded.config == model.config
    assert loaded.layout == model.layout
    assert loaded.observation_space == model.observation_space
    content = bytearray((tmp_path / "model.safetensors").read_bytes())
    content[-5] ^= 1
    (tmp_path / "model.safetensors").write_bytes(content)
    with pytest.raises(CheckpointError):
        DeterministicModel.load(tmp_path / "model.safetensors")


def test_data_of_another_environment_are_refused(fitted):
    model, _ = fitted
    data = Trajectories.from_arrays(np.zeros((3, 4)), np.zeros((2, 1)), np.zeros(2), [0, 0])
    with pytest.raises(SpaceError, match="size 3"):
        model.fit(data)
    data = Trajectories.from_arrays(np.zeros((3, 3)), np.zeros(2, int), np.zeros(2), [0, 0])
    with pytest.raises(SpaceError, match="needs actions"):
        model.fit(data)
    with pytest.raises(SpaceError, match=r"\[B, 3\]"):
        model.predict(torch.zeros(3), torch.zeros(1, 1))
    with pytest.raises(SpaceError, match="served"):
        DeterministicModel(gym.spaces.Text(3), gym.spaces.Discrete(2))


def test_the_driving_specification_is_one_configuration():
    box, actions = gym.spaces.Box(-1, 1, (34,)), gym.spaces.Box(-1, 1, (3,))
    model = DeterministicModel(box, actions, DRIVING)
    assert model.num_parameters < 1_000_000
    assert [layer.out_features for layer in model.encoder.layers] == [256, 256, 64]
    model.is_fitted = True  # the shapes are those of random weights, too
    assert model.rollout(torch.zeros(2, 34), torch.zeros(2, 16, 3)).observations.shape == (
        2,
        17,
        34,
    )
