import gymnasium as gym
import numpy as np
import pytest
import torch

from wm_agents.errors import ConfigError
from wm_agents.imagination.vector_env import ImaginedVectorEnv
from wm_agents.world_models import (
    DeterministicConfig,
    DeterministicModel,
    FitConfig,
    HistoryModel,
    RecurrentConfig,
    RecurrentModel,
)
from wm_agents.world_models.sampling import BatchSampler
from wm_agents.world_models.unrolling import recorded_states
from wm_envs.data.trajectories import Trajectories


def delayed(num_episodes, seed):
    """The observation is the action of two steps ago; the reward is the one of three steps ago."""
    random = np.random.default_rng(seed)
    parts = []
    for _ in range(num_episodes):
        actions = random.uniform(-1, 1, (20, 1))
        seen = np.concatenate([np.zeros((2, 1)), actions[:-1]])
        rewards = np.concatenate([np.zeros(3), actions[:-3, 0]])
        parts.append(Trajectories.from_arrays(seen, actions, rewards, np.zeros(20)))
    return Trajectories.concatenate(parts)


SPACES = gym.spaces.Box(-1, 1, (1,)), gym.spaces.Box(-1, 1, (1,))
SMALL = DeterministicConfig(dynamics_widths=(64,), reward_widths=(64,), termination_widths=(16,))


def with_memory(kind):
    if kind == "history":
        return HistoryModel(DeterministicModel, *SPACES, num_past=2, config=SMALL)
    return RecurrentModel(*SPACES, RecurrentConfig(num_hidden=48, num_context=4))


@pytest.mark.parametrize("kind", ["history", "recurrent"])
def test_memory_learns_what_the_observation_hides(kind):
    model = with_memory(kind)
    model.fit(delayed(60, 0), FitConfig(num_updates=400, learning_rate=5e-3, horizon=2))
    batch = delayed(20, 1).windows(20)
    rollout = model.rollout(
        torch.as_tensor(batch.observations[:, 0]), torch.as_tensor(batch.actions)
    )
    assert (
        np.abs(rollout.observations.numpy() - batch.observations).mean() < 0.08
    )  # a uniform spread is 0.5
    assert np.abs(rollout.rewards.numpy() - batch.rewards).mean() < 0.08


@pytest.mark.parametrize("kind", ["history", "recurrent"])
def test_memory_is_carried_along_a_real_episode(kind):
    """Feeding real observations with the carried memory equals imagination.

    Where imagination is exact by design.
    """
    model = with_memory(kind)
    model.is_fitted = True  # random weights will do
    actions = torch.rand(1, 5, 1)
    rollout = model.rollout(torch.zeros(1, 1), actions)
    state = model.start(torch.zeros(1, 1))
    for step in range(5):
        state, prediction = model.step(state, actions[:, step])
        state = model.start(prediction.observations, state.hidden)
        assert torch.equal(prediction.observations, rollout.observations[:, step + 1])


def test_the_past_moves_up_exactly():
    model = HistoryModel(DeterministicModel, *SPACES, num_past=2, config=SMALL)
    model.is_fitted = True  # random weights will do
    state = model.start(torch.tensor([[0.5]]))
    assert state.hidden[0].tolist() == [[0.5, 0.5, 0.0, 0.0]]
    second, _ = model.step(state, torch.tensor([[0.25]]))
    assert second.hidden[0].tolist() == [[0.5, 0.5, 0.25, 0.0]]
    third, _ = model.step(second, torch.tensor([[-1.0]]))
    assert third.hidden[0].tolist() == [[float(second.observations), 0.5, -1.0, 0.25]]


def test_files_keep_the_history_model(tmp_path):
    model = HistoryModel(DeterministicModel, *SPACES, num_past=2, config=SMALL)
    model.fit(delayed(20, 0), FitConfig(num_updates=10))
    loaded = HistoryModel.load(model.save(tmp_path / "model.safetensors"))
    actions = torch.rand(3, 6, 1)
    mine, theirs = (m.rollout(torch.zeros(3, 1), actions) for m in (model, loaded))
    assert torch.equal(mine.observations, theirs.observations)


def test_a_history_of_nothing_is_refused():
    with pytest.raises(ConfigError, match="num_past"):
        HistoryModel(DeterministicModel, *SPACES, num_past=0)


@pytest.mark.parametrize("changes", [{"num_context": -1}, {"num_hidden": 0}])
def test_recurrent_settings_that_cannot_work_are_refused(changes):
    with pytest.raises(ConfigError, match=next(iter(changes))):
        RecurrentConfig(**changes)


def counting(num_episodes, seed):
    """What shows changes every fifth step: only who counts knows when."""
    rng = np.random.default_rng(seed)
    shown = [(np.arange(61) // 5 + rng.integers(2)) % 2 for _ in range(num_episodes)]
    num_steps = 60 * num_episodes
    return Trajectories.from_arrays(
        np.concatenate(shown).astype(np.float32)[:, None],
        np.zeros((num_steps, 1), np.float32),
        np.zeros(num_steps),
        np.zeros(num_steps, bool),
        lengths=[60] * num_episodes,
    )


def test_memories_of_a_fit_are_those_of_use():
    data = counting(4, 0)
    space = gym.spaces.Box(-1, 2, (1,), np.float32)
    model = RecurrentModel(
        space, gym.spaces.Box(-1, 1, (1,), np.float32), RecurrentConfig(8, 2), seed=0
    )
    model.initialize(data)
    remembered = model.remember(BatchSampler(data, model.device))
    model.is_fitted = True
    states = recorded_states(model, data)
    torch.testing.assert_close(remembered, states.hidden[0])
    assert torch.equal(
        states.observations[:, 0], torch.tensor(data.observations[data.observation_of_step, 0])
    )


def test_windows_of_a_loss_begin_with_what_was_remembered():
    data = counting(4, 0)
    space = gym.spaces.Box(-1, 2, (1,), np.float32)
    config = RecurrentConfig(8, 2, forgetful_share=0.0)
    model = RecurrentModel(space, gym.spaces.Box(-1, 1, (1,), np.float32), config, seed=0)
    seen = []
    loss = model.loss
    model.loss = lambda segment, generator: seen.append(segment.memory) or loss(segment, generator)
    model.fit(
        data, FitConfig(num_updates=3, evaluate_every=2, horizon=2, holdout=0), progress=False
    )
    model.initialize(data)
    training, held_out = seen[0], seen[2]
    assert (training != 0).any(1).float().mean() > 0.9
    first = model.remember(BatchSampler(data, model.device))
    assert torch.equal(
        training.unique(dim=0)[0], first[(first == training.unique(dim=0)[0]).all(1)][0]
    )
    assert not torch.equal(held_out, first[: len(held_out)])


def test_dreams_begin_with_what_preceded_each_step():
    data = counting(2, 0)
    space = gym.spaces.Box(-1, 2, (1,), np.float32)
    model = RecurrentModel(
        space, gym.spaces.Box(-1, 1, (1,), np.float32), RecurrentConfig(8, 2), seed=0
    )
    model.fit(data, FitConfig(num_updates=1, horizon=1, holdout=0), progress=False)
    dreams = ImaginedVectorEnv(model, data, horizon=3, num_envs=20, seed=0)
    dreams.reset(seed=0)
    remembered = model.remember(BatchSampler(data, model.device))
    for memory in dreams._state.hidden[0]:
        assert torch.isclose(remembered, memory, atol=1e-6).all(1).any()
    assert (dreams._state.hidden[0] != 0).any(1).float().mean() > 0.8
