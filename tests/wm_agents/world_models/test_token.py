from collections import Counter
from types import SimpleNamespace

import gymnasium as gym
import numpy as np
import pytest
import torch

import wm_envs  # noqa: F401
from wm_agents.errors import TrajectoryError
from wm_agents.world_models import FitConfig, TokenConfig, TokenModel
from wm_agents.world_models.lattice import TokenCodec, detect_features
from wm_envs import record
from wm_envs.data.trajectories import Trajectories


def recorded(env_id, num_steps, length, seed, **options):
    return record(env_id, episodes=num_steps // length, seed=seed, env_kwargs=options)


def fitted(env_id, data, config=None, fit=None, **options):
    env = gym.make(env_id, **options)
    model = TokenModel(env.observation_space, env.action_space, config)
    model.fit(data, fit)
    return model


def open_loop(model, data, horizon):
    batch = data.windows(horizon)
    rollout = model.rollout(
        torch.as_tensor(batch.observations[:, 0]), torch.as_tensor(batch.actions)
    )
    return rollout, batch


@pytest.mark.parametrize(
    ("env_id", "num_steps", "length", "options"),
    [
        ("wm/PermPuzzle-v0", 100, 20, {}),
        ("wm/PermPuzzle-v0", 160, 20, {"level": 2, "instance": 5}),
        ("wm/LightsOut-v0", 288, 16, {"instance": 3}),
    ],
)
def test_puzzles_are_identified_exactly_from_few_steps(env_id, num_steps, length, options):
    model = fitted(env_id, recorded(env_id, num_steps, length, 0, **options), **options)
    assert model.is_exact
    test = recorded(env_id, 100 * length, length, 10_000, **options)
    rollout, batch = open_loop(model, test, length)
    assert np.array_equal(rollout.observations.numpy(), batch.observations)
    assert batch.rewards.sum() > 0  # the reward is foreseen, though random play hardly ever met it
    assert np.array_equal(rollout.rewards.numpy(), batch.rewards)
    assert (rollout.terminations == 0).all()


def test_a_pessimist_expects_no_reward_before_seeing_one():
    data = recorded("wm/PermPuzzle-v0", 100, 20, 0)
    assert data.rewards.sum() == 0
    model = fitted("wm/PermPuzzle-v0", data, TokenConfig(is_optimistic=False))
    rollout, _ = open_loop(model, recorded("wm/PermPuzzle-v0", 2000, 20, 10_000), 20)
    assert (rollout.rewards == 0).all()


def test_without_structure_a_table_keeps_what_it_has_not_seen():
    """TokenAutomaton: every (token, action) must be seen by itself; the rest stays as it is."""
    data = recorded("wm/TokenAutomaton-v0", 400, 20, 0)
    model = fitted("wm/TokenAutomaton-v0", data)
    seen = {
        (int(row[:64].argmax()), int(a))
        for row, a in zip(data.observations[data.observation_of_step], data.actions, strict=True)
    }
    rollout, batch = open_loop(model, recorded("wm/TokenAutomaton-v0", 400, 20, 10_000), 1)
    before = batch.observations[:, 0, :64].argmax(1)
    is_known = np.array(
        [(int(t), int(a)) in seen for t, a in zip(before, batch.actions[:, 0], strict=True)]
    )
    after, predicted = (
        batch.observations[:, 1, :64].argmax(1),
        rollout.observations[:, 1, :64].argmax(1).numpy(),
    )
    assert 0.5 < is_known.mean() < 0.95
    assert np.array_equal(predicted[is_known], after[is_known])
    assert np.array_equal(predicted[~is_known], before[~is_known])


def moved(x, y, action):
    """Up by one, or to the larger or smaller of two numbers.

    No rule of one feature covers the latter two.
    """
    return ((x + 1) % 7, max(x, y), min(x, y))[action]


def test_the_network_learns_what_has_no_rule():
    random = np.random.default_rng(0)
    parts, visits = [], Counter()
    for episode in range(60):
        actions, rows = random.integers(3, size=30), [(random.integers(7), episode % 7)]
        for action in actions:
            visits[(*map(int, rows[-1]), int(action))] += 1
            rows.append((moved(*rows[-1], action), episode % 7))
        parts.append(Trajectories.from_arrays(np.array(rows), actions, np.zeros(30), np.zeros(30)))
    space = gym.spaces.Box(0, 6, (2,))
    model = TokenModel(space, gym.spaces.Discrete(3), TokenConfig(widths=(128,)))
    report = model.fit(
        Trajectories.concatenate(parts), FitConfig(num_updates=500, learning_rate=3e-3, horizon=1)
    )
    assert model.structure.unresolved == (0,)
    assert report.num_updates == 500
    cases = sorted(case for case, times in visits.items() if times > 1)
    assert len(cases) > 100
    start, actions = (
        torch.tensor([case[:2] for case in cases]).float(),
        torch.tensor([case[2] for case in cases]),
    )
    expected = torch.tensor([[moved(*case), case[1]] for case in cases]).float()
    predicted = model.predict(start, actions).observations
    assert (predicted == expected).all(1).float().mean() > 0.97
    assert torch.equal(
        predicted[actions == 0], expected[actions == 0]
    )  # a rule covers the first action
    drawn = model.predict(start, actions, torch.Generator().manual_seed(0)).observations
    assert (drawn == expected).all(1).float().mean() > 0.85


def test_a_difference_that_training_never_showed_counts_as_the_nearest_the_shorter_way_round():
    ten_tokens = SimpleNamespace(num_values=10)
    structure = SimpleNamespace(classes=((1, 4, 8),), features=(ten_tokens,), unresolved=(0,))
    before = torch.full((10,), 3)
    after = (before + torch.arange(10)) % 10
    found = TokenModel._category_of(SimpleNamespace(structure=structure), 0, before, after)
    assert found.tolist() == [0, 0, 0, 1, 1, 1, 1, 2, 2, 2]  # 6 is as far from 4 as from 8


def test_observations_survive_the_codec():
    data = recorded("wm/Navigation-v0", 300, 3, 0)
    features = detect_features(data, gym.make("wm/Navigation-v0").observation_space)
    assert [len(feature.columns) for feature in features][:2] == [8, 8]
    codec = TokenCodec(features)
    rows = torch.as_tensor(data.observations)
    assert torch.equal(codec.decode(codec.encode(rows)), rows)


def test_numbers_on_a_lattice_are_tokens_and_others_are_refused():
    random = np.random.default_rng(0)
    rows = np.stack(
        [
            random.integers(-3, 9, 200) * 0.25,
            random.integers(0, 2, 200),
            random.integers(100, 140, 200),
        ],
        1,
    )
    data = Trajectories.from_arrays(rows, np.zeros(199, int), np.zeros(199), np.zeros(199))
    features = detect_features(data, gym.spaces.Box(-np.inf, np.inf, (3,)))
    assert [feature.quantum for feature in features] == [0.25, 1, 1]
    codec = TokenCodec(features)
    assert torch.equal(
        codec.decode(codec.encode(torch.as_tensor(data.observations))),
        torch.as_tensor(data.observations),
    )
    rows[:, 1] = random.normal(size=200)
    data = Trajectories.from_arrays(rows, np.zeros(199, int), np.zeros(199), np.zeros(199))
    with pytest.raises(TrajectoryError, match="column 1"):
        detect_features(data, gym.spaces.Box(-np.inf, np.inf, (3,)))


@pytest.mark.parametrize(("env_id", "length"), [("wm/LightsOut-v0", 16), ("wm/Navigation-v0", 3)])
def test_files_keep_rules_and_network(env_id, length, tmp_path):
    data = recorded(env_id, 300, length, 0)
    model = fitted(env_id, data, fit=FitConfig(num_updates=20))
    loaded = TokenModel.load(model.save(tmp_path / "model.safetensors"))
    assert loaded.structure == model.structure
    (mine, _), (theirs, _) = open_loop(model, data, length), open_loop(loaded, data, length)
    assert torch.equal(mine.observations, theirs.observations)
    assert torch.equal(mine.rewards, theirs.rewards)
