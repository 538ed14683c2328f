from types import SimpleNamespace

import numpy as np
import pytest
import torch

from tests.support.marble import ACTIONS, OBSERVATIONS, MarbleView, play
from wm_agents.errors import CheckpointError, ConfigError, SpaceError
from wm_agents.training.checkpoints import CheckpointManager, load_checkpoint, save_checkpoint
from wm_agents.world_models.object_fitting import (
    ObjectConfig,
    _SituationTable,
    _SymbolTable,
    _ValueCodec,
)
from wm_agents.world_models.objects import ObjectModel

CONFIG = ObjectConfig(width=16, num_updates=400, batch_size=128, learning_rate=1e-2)


@pytest.fixture(scope="module")
def fitted():
    model = ObjectModel(OBSERVATIONS, ACTIONS, MarbleView(), CONFIG, seed=1)
    report = model.fit(play(30, 0))
    return model, report.metrics


def test_imagines_exactly_what_follows(fitted):
    model, figures = fitted
    assert 0.5 < figures["place_known"] < 0.8  # two of three actions lead to one place
    actions = torch.tensor([[1] * 12])
    rollout = model.rollout(torch.tensor([[8.0, 1.0, 7.0]]), actions)
    assert rollout.observations[0, :, 0].tolist() == [8, 9, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0]
    assert rollout.observations[0, :, 1].tolist() == [1, 1, *[2] * 10, 3]
    assert rollout.rewards[0].tolist() == [0, 2, *[0] * 9, 2]
    assert rollout.terminations[0].tolist() == [*[0] * 11, 1]
    assert (rollout.observations[0, :, 2] == 7).all()


def test_draws_chances_as_often_as_they_come(fitted):
    model, _ = fitted
    rows = torch.tensor([[4.0, 0.0, 7.0]]).repeat(2000, 1)
    actions = torch.full((2000,), 2)
    drawn = model.predict(rows, actions, torch.Generator().manual_seed(0)).observations[:, 0]
    assert float(((drawn == 4) | (drawn == 5)).float().mean()) > 0.98
    assert float((drawn == 5).float().mean()) == pytest.approx(0.5, abs=0.1)
    likeliest = model.predict(rows, actions).observations[:, 0]
    assert (likeliest == likeliest[0]).all()


def test_states_of_a_recording_are_those_of_use(fitted):
    model, _ = fitted
    data = play(2, 5)
    starts = model.starts(data)
    state = model.start(torch.as_tensor(data.observations[:1]))
    for step in range(5):
        assert torch.equal(starts.observations[step], state.observations[0])
        following, _ = model.step(state, torch.as_tensor(data.actions[step : step + 1]))
        state = model.start(
            torch.as_tensor(data.observations[step + 1 : step + 2]), following.hidden
        )
    settled = model.view.update(
        state.hidden[0].numpy(), state.hidden[1].numpy(), model.view.values(state.observations)
    )
    assert starts.hidden[0][5].tolist() == settled[0].tolist()


def test_saves_and_loads(fitted, tmp_path):
    model, _ = fitted
    path = model.save(tmp_path / "marble.safetensors")
    other = ObjectModel.load(path, given=MarbleView())
    rows, actions = torch.tensor([[4.0, 0.0, 7.0], [9.0, 2.0, 7.0]]), torch.tensor([[2, 1], [1, 0]])
    mine, theirs = (
        m.rollout(rows, actions, torch.Generator().manual_seed(3)) for m in (model, other)
    )
    assert torch.equal(mine.observations, theirs.observations)
    assert torch.equal(mine.rewards, theirs.rewards)
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(CheckpointError):
        ObjectModel.load(path, given=MarbleView())


def test_refuses_other_layouts(fitted):
    from gymnasium import spaces

    model, _ = fitted
    with pytest.raises(SpaceError, match="third feature"):
        model.start(torch.tensor([[4.0, 0.0, 6.0]]))
    with pytest.raises(SpaceError, match=r"\[B, 3\]"):
        model.start(torch.zeros(1, 4))
    with pytest.raises(SpaceError, match="size 3"):
        ObjectModel(spaces.Box(0, 1, (4,)), ACTIONS, MarbleView())
    with pytest.raises(SpaceError, match="Discrete"):
        ObjectModel(OBSERVATIONS, spaces.Box(0, 1, (1,)), MarbleView())


@pytest.mark.parametrize("action", [-1, 3])
def test_refuses_actions_that_do_not_exist(fitted, action):
    model, _ = fitted
    with pytest.raises(SpaceError, match=f"got {action}$"):
        model.predict(torch.tensor([[8.0, 1.0, 7.0]]), torch.tensor([action]))


def test_equal_seeds_give_equal_models():
    data = play(5, 2)
    config = ObjectConfig(width=8, num_updates=5, dropout=0.2)
    models = [ObjectModel(OBSERVATIONS, ACTIONS, MarbleView(), config, seed=4) for _ in range(2)]
    losses = [model.fit(data).metrics for model in models]
    assert losses[0] == losses[1]


def test_codec_tells_differences_from_jumps():
    before, expected, after = (
        np.array([5, 5, 0, 9]),
        np.array([6, 6, 0, 9]),
        np.array([7, 0, 4, 60]),
    )
    codec = _ValueCodec.of(before, expected, after, absent=0, max_delta=20)
    tokens = codec.encode(before, expected, after)
    assert len(set(tokens.tolist())) == 4
    assert codec.decode(expected, tokens).tolist() == after.tolist()
    assert codec.decode(np.array([30]), tokens[:1]).tolist() == [
        31
    ]  # a difference of 1 to what is expected
    assert codec.decode(np.array([30]), tokens[1:2]).tolist() == [0]  # a value by itself


def test_situations_are_kept_when_they_are_pure():
    situations = np.array([3, 3, 3, 3, 8, 8, 9, 0, 0])
    tokens = np.array([1, 1, 1, 2, 5, 5, 4, 6, 6])
    table = _SituationTable.of(situations, tokens, min_count=2, min_purity=0.9)
    assert table.situations.tolist() == [8]
    found, is_known = _SituationTable.of(situations, tokens, min_count=1, min_purity=0.7).lookup(
        np.array([9, 3, 0, 100])
    )
    assert is_known.tolist() == [True, True, False, False]
    assert found[:2].tolist() == [4, 1]
    assert _SituationTable.of(np.zeros(3), np.zeros(3), min_count=1, min_purity=0.5).lookup(
        np.array([1])
    )[1].tolist() == [False]


def test_rare_symbols_read_as_one():
    table = _SymbolTable.of(np.array([[0, 4], [0, 4], [2, 4]]), 6, min_count=2)
    assert table.known.tolist() == [0, 4]
    assert table.encode(np.array([[0, 4], [2, 5]])).tolist() == [[0, 1], [2, 2]]


def test_a_configuration_of_earlier_files_is_understood():
    old = {"fewest": 2, "fewest_symbols": 3, "purity": 0.5, "known_share": 0.1, "longest_step": 9}
    config = ObjectConfig.from_json({"width": 8, **old})
    assert config == ObjectConfig(
        width=8,
        min_count=2,
        min_symbol_count=3,
        min_purity=0.5,
        memorized_fraction=0.1,
        max_delta=9,
    )


def test_a_file_without_spaces_needs_an_environment(fitted, tmp_path):
    model, _ = fitted
    path = model.save(tmp_path / "marble")
    assert path.suffix == ".safetensors"
    stored = load_checkpoint(path)
    metadata = {
        name: value for name, value in stored.metadata.items() if not name.endswith("_space")
    }
    save_checkpoint(path, stored.tensors, metadata)
    with pytest.raises(CheckpointError, match="pass env"):
        ObjectModel.load(path, given=MarbleView())
    marble = SimpleNamespace(observation_space=OBSERVATIONS, action_space=ACTIONS)
    assert ObjectModel.load(path, marble, given=MarbleView()).config == CONFIG


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({}, ConfigError, "pass it as given="),
        ({"given": MarbleView(), "device": "cuda"}, ConfigError, "live on the CPU"),
        ({"given": MarbleView(), "env": "CartPole-v1"}, SpaceError, "the environment has"),
    ],
)
def test_loading_says_what_does_not_fit(fitted, tmp_path, options, error, message):
    path = fitted[0].save(tmp_path / "marble")
    with pytest.raises(error, match=message):
        ObjectModel.load(path, **options)


def test_a_model_for_an_environment_knows_its_spaces():
    marble = SimpleNamespace(observation_space=OBSERVATIONS, action_space=ACTIONS)
    model = ObjectModel.for_env(marble, CONFIG, view=MarbleView(), seed=3)
    assert (model.observation_space, model.action_space) == (OBSERVATIONS, ACTIONS)
    assert (model.config, model.seed) == (CONFIG, 3)


def test_a_loaded_model_predicts_without_dropout(tmp_path):
    config = ObjectConfig(width=8, num_updates=5, dropout=0.9, min_purity=2.0)
    model = ObjectModel(OBSERVATIONS, ACTIONS, MarbleView(), config, seed=4)
    model.fit(play(5, 2))
    loaded = ObjectModel.load(model.save(tmp_path / "marble"), given=MarbleView())
    rows = torch.tensor([[4.0, 0.0, 7.0]]).repeat(50, 1)
    mine, its = (m.rollout(rows, torch.ones(50, 5, dtype=torch.int64)) for m in (model, loaded))
    assert torch.equal(mine.observations, its.observations)


def test_an_interrupted_fit_resumes_bitwise(tmp_path, monkeypatch):
    config = ObjectConfig(width=8, num_updates=25, batch_size=32, dropout=0.3, min_purity=2.0)

    def fit(folder):
        model = ObjectModel(OBSERVATIONS, ACTIONS, MarbleView(), config, seed=2)
        report = model.fit(play(4, 0), checkpoints=folder, checkpoint_every=10)
        return model, report

    whole, wanted = fit(tmp_path / "whole")
    save = CheckpointManager.save_state

    def interrupted(manager, step, state, run):
        path = save(manager, step, state, run)
        if step == 40:  # within the second part
            raise KeyboardInterrupt
        return path

    with monkeypatch.context() as patch:
        patch.setattr(CheckpointManager, "save_state", interrupted)
        with pytest.raises(KeyboardInterrupt):
            fit(tmp_path / "torn")
    resumed, report = fit(tmp_path / "torn")
    assert report.metrics == wanted.metrics
    assert report.num_updates == 50
    for name, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name
