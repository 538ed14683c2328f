"""The structure of a stack is found, forests replay what was recorded, and files are checked."""

from dataclasses import replace
from itertools import pairwise

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces

import wm_agents as wma
from wm_agents.errors import (
    CheckpointError,
    ConfigError,
    NotFittedError,
    SpaceError,
    TrajectoryError,
)
from wm_agents.world_models import stacked_search
from wm_agents.world_models.forest import Forest
from wm_agents.world_models.stacked import BLOCK, DELTA, VALUE, StackedView
from wm_agents.world_models.stacked_forest import StackedForestModel
from wm_agents.world_models.stacked_search import ForestConfig, PartSelection
from wm_agents.world_models.stacked_tables import all_columns, part_table
from wm_envs import record
from wm_envs.data.trajectories import Trajectories

CONFIG = ForestConfig(num_trees=2, search_steps=2000, search_trees=1)
BOX = spaces.Box(0, 20, (7,), np.float32)
CLOCK_BOX = spaces.Box(0, 80, (3,), np.float32)
ACTIONS = spaces.Discrete(3)
EFFECTS = np.array([0, -1, 1])


def ladder(num_episodes: int = 6, length: int = 300) -> Trajectories:
    """A place that actions move between 0 and 8, and one that goes round; two frames of each.

    The columns: a constant, the place now and before, the round now and before, and what is 1 while
    the place is at its top, now and before. Reaching the top is the reward.
    """
    random = np.random.default_rng(0)
    episodes = []
    for _ in range(num_episodes):
        place, turn = int(random.integers(9)), int(random.integers(5))
        frames = [(place, turn, int(place == 8))] * 2
        actions = np.repeat(random.integers(3, size=length), random.integers(1, 6, length))[:length]
        rewards = []
        for action in actions:
            place = int(np.clip(place + EFFECTS[action], 0, 8))
            turn = (turn + 1) % 5
            frames.append((place, turn, int(place == 8)))
            rewards.append(float(frames[-1][2] - frames[-2][2]))
        rows = [
            (3, now[0], old[0], now[1], old[1], now[2], old[2]) for old, now in pairwise(frames)
        ]
        episodes.append(
            Trajectories.from_arrays(
                np.array(rows, np.float32),
                actions,
                np.array(rewards),
                np.zeros(length, np.bool_),
                np.zeros(length, np.bool_),
                lengths=[length],
                observation_space=BOX,
                action_space=ACTIONS,
            )
        )
    return Trajectories.concatenate(episodes)


@pytest.fixture(scope="module")
def fitted() -> StackedForestModel:
    """A model of the ladder."""
    model = StackedForestModel(BOX, ACTIONS, CONFIG, seed=1)
    report = model.fit(ladder())
    assert report.is_held_out
    return model


def test_the_stack_and_what_actions_do_are_found(fitted):
    assert fitted.view.frames == ((1, 2), (3, 4), (5, 6))
    assert fitted.view.constants == ((0, 3.0),)
    assert fitted.view.counters[0].effects == (0, -1, 1)
    assert StackedView.from_json(fitted.view.to_json()) == fitted.view
    np.testing.assert_allclose(fitted.reward_weights, (0.0, 0.0, 1.0))


def test_imagined_steps_are_those_of_the_game(fitted):
    again = ladder(num_episodes=1)
    state = fitted.starts(again)
    first = state.select(torch.tensor([20, 100]))
    actions = torch.as_tensor(np.stack([again.actions[20:30], again.actions[100:110]]))
    rollout = fitted.rollout(first, actions)
    np.testing.assert_array_equal(rollout.observations[0], again.observations[20:31])
    np.testing.assert_array_equal(rollout.rewards[1], again.rewards[100:110])
    drawn = fitted.rollout(first, actions, torch.Generator().manual_seed(0))
    assert drawn.observations.shape == rollout.observations.shape


def test_a_file_brings_it_back_and_a_damaged_one_is_refused(fitted, tmp_path):
    path = fitted.save(tmp_path / "ladder")
    loaded = wma.load(path)
    rows = torch.as_tensor(ladder(1).observations[:50])
    actions = torch.as_tensor(ladder(1).actions[:50])
    before = fitted.step(fitted.start(rows), actions)[1].observations
    assert torch.equal(loaded.step(loaded.start(rows), actions)[1].observations, before)
    forest = fitted.parts[0].forest
    broken = replace(forest, children=forest.children + 1_000_000)
    parts = [replace(fitted.parts[0], forest=broken), *fitted.parts[1:]]
    other = StackedForestModel(BOX, ACTIONS, CONFIG)
    other.__dict__ |= fitted.__dict__ | {"parts": parts}
    with pytest.raises(CheckpointError, match="do not fit together"):
        StackedForestModel.load(other.save(tmp_path / "broken"))


def test_a_longer_recording_is_fitted_with_what_was_selected(fitted):
    selections = tuple(PartSelection.from_json(row.to_json()) for row in fitted.selections)
    again = StackedForestModel(BOX, ACTIONS, CONFIG, view=fitted.view, seed=1)
    report = again.fit(ladder(8), selections=selections)
    assert [model.part for model in again.parts] == [model.part for model in fitted.parts]
    for model, selected in zip(again.parts, fitted.selections, strict=True):
        np.testing.assert_array_equal(model.columns.places, selected.columns.places)
    assert report.best_loss == sum(selected.loss for selected in fitted.selections)


def clock_and_place(num_episodes: int, length: int = 400) -> Trajectories:
    """A round of 80 steps, a place that walks, and a lamp: lit after a round that met a high place.

    One step in 160 lights it, which a sample of a few hundred steps hardly shows.
    """
    random = np.random.default_rng(num_episodes)
    episodes = []
    for _ in range(num_episodes):
        turn, place, lamp = int(random.integers(80)), int(random.integers(9)), 0
        rows = [(turn, place, lamp)]
        actions = random.integers(3, size=length)
        for action in actions:
            lamp = int(turn == 79 and place > 4)
            place = int(np.clip(place + EFFECTS[action], 0, 8))
            turn = (turn + 1) % 80
            rows.append((turn, place, lamp))
        episodes.append(
            Trajectories.from_arrays(
                np.array(rows, np.float32),
                actions,
                np.zeros(length),
                np.zeros(length, np.bool_),
                np.zeros(length, np.bool_),
                lengths=[length],
                observation_space=CLOCK_BOX,
                action_space=ACTIONS,
            )
        )
    return Trajectories.concatenate(episodes)


def test_rare_events_are_not_passed_over():
    config = ForestConfig(num_trees=3, search_steps=300, searches_columns=False)
    model = StackedForestModel(CLOCK_BOX, ACTIONS, config, seed=0)
    model.fit(clock_and_place(25))
    test = clock_and_place(10)
    _, predicted = model.step(model.starts(test), torch.as_tensor(test.actions))
    lit = predicted.observations.numpy()[:, 2]
    after = test.observations[test.observation_of_step + 1, 2]
    assert after.sum() > 10
    assert (lit == after).all()


def test_sharper_votes_are_drawn_nearer_to_the_likeliest():
    table = np.arange(8).repeat(50)[:, None]
    outcomes = np.tile(np.arange(50) < 40, 8).astype(np.int64)  # 0.8 are 1
    forest = Forest.grown(table, outcomes, 2, num_trees=2, min_leaf=50, column_share=1.0, seed=0)
    rows = table[:1].repeat(4000, 0)
    uniforms = np.random.default_rng(0).random((4000, 2))
    shares = [forest.draw(rows, uniforms, agreeing).mean() for agreeing in (1, 2, 4)]
    assert shares[0] == pytest.approx(0.8, abs=0.03)
    assert shares[1] == pytest.approx(0.8**2 / (0.8**2 + 0.2**2), abs=0.02)
    assert shares[2] == pytest.approx(0.8**4 / (0.8**4 + 0.2**4), abs=0.01)


def test_a_ranked_score_counts_how_far_a_number_was_missed():
    numbers = np.array([[3, 0, 1]])
    one = stacked_search._ranked_score(np.array([[0.0, 0.0, 2.0]]), numbers, np.array([3]))
    assert one == 2.0
    # Half at 1, half at 3, and 3 came: 1 away on average, less half of the mean distance of 1.
    both = stacked_search._ranked_score(np.array([[0.5, 0.0, 0.5]]), numbers, np.array([3]))
    assert both == 0.5


def test_pairs_are_compared_within_a_step(fitted):
    view = replace(fitted.view, lows=(0, 0, 0), highs=(8, 8, 8))
    assert view.pairs == ((0, 1), (0, 2), (1, 2))
    states = np.zeros((1, view.state_size), np.int32)
    states[0, :BLOCK] = 0
    states[0, VALUE] = 8
    states[0, BLOCK + VALUE] = 2
    states[0, BLOCK + DELTA] = 4
    columns = all_columns(view, 3, [0])
    table = part_table(view, columns, np.arange(3), states, np.zeros(1, np.int64), np.zeros((1, 3)))
    # From 8 to 0, beside what goes on from 2 to 6: 4 times what they are apart after each quarter.
    assert {4 * (6 - 3), 4 * (4 - 4), 4 * (2 - 5)} <= set(table[0].tolist())


def test_a_policy_reads_bounded_numbers_and_tiles(fitted):
    view = fitted.view
    rows = ladder(1).observations[:50]
    features = view.features(view.initialize(rows))
    assert features.shape == (50, view.num_features)
    assert np.abs(features).max() <= 1.5


def test_bad_input_is_refused_by_name(fitted):
    with pytest.raises(NotFittedError):
        StackedForestModel(BOX, ACTIONS).start(torch.zeros(1, 7))
    with pytest.raises(SpaceError, match="column 0 was 3 throughout"):
        fitted.start(torch.zeros(1, 7))
    with pytest.raises(SpaceError, match="Discrete actions"):
        StackedForestModel(BOX, spaces.Box(0, 1, (1,)))
    with pytest.raises(SpaceError, match="one-dimensional Boxes"):
        StackedForestModel(spaces.Discrete(3), ACTIONS)
    with pytest.raises(SpaceError, match="expected actions"):
        fitted.step(fitted.start(torch.as_tensor(ladder(1).observations[:1])), torch.tensor([3]))
    with pytest.raises(TrajectoryError, match="too short"):
        StackedForestModel(BOX, ACTIONS, CONFIG).fit(ladder(1, 20))
    with pytest.raises(ConfigError, match="num_trees"):
        ForestConfig(num_trees=0)


def test_the_same_seed_grows_the_same_trees():
    random = np.random.default_rng(0)
    table = random.integers(0, 9, (300, 4))
    outcomes = (table[:, 1] > 4).astype(np.int64)
    forests = [
        Forest.grown(table, outcomes, 2, num_trees=2, min_leaf=1, column_share=0.5, seed=3)
        for _ in range(2)
    ]
    np.testing.assert_array_equal(forests[0].thresholds, forests[1].thresholds)
    assert (forests[0].votes(table).argmax(1) == outcomes).all()
    assert forests[0].gains.argmax() == 1
    assert (forests[0].draw(table, random.random((300, 2))) == outcomes).all()


def test_pong_is_read_without_knowing_it():
    games = gym.make("wm/Pong-v0")
    recording = record("wm/Pong-v0", episodes=2, seed=0, progress=False)
    view = StackedView.found(recording, games.observation_space)
    states, _ = view.replay(recording.observations, recording.actions, recording.lengths)
    np.testing.assert_array_equal(
        view.observations(states), recording.observations[recording.observation_of_step]
    )
    assert all(len(chain) == 4 for chain in view.frames)
