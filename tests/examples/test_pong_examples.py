import json
from dataclasses import replace

import numpy as np
import pytest

from examples import dream_pong, sb3_pong, world_model_pong
from wm_agents.domains.pong import dreaming
from wm_agents.domains.pong.object_view import PongView
from wm_agents.errors import CheckpointError
from wm_agents.evaluation.episodes import evaluate
from wm_agents.policy_gradient.ppo import PPOConfig
from wm_agents.training.summary import without_infinities
from wm_agents.world_models.object_fitting import ObjectConfig
from wm_agents.world_models.stacked_search import ForestConfig


def use(folder, monkeypatch):
    """What the lines of the card under "Use" leave behind."""
    lines = (
        (folder / "README.md").read_text(encoding="utf-8").split("```python\n")[1].split("```")[0]
    )
    monkeypatch.chdir(folder)
    names = {}
    exec(lines, names)
    return names


SMALL = ObjectConfig(width=16, num_updates=20, batch_size=64)


@pytest.mark.parametrize("noise", [0.0, 0.25])
def test_world_model(tmp_path, monkeypatch, noise):
    config = world_model_pong.Config(
        env_id="wm/Pong-v0",
        train_steps=6000,
        test_games=1,
        model=SMALL,
        repeat_action_probability=noise,
        output_dir=tmp_path,
        num_threads=1,
        has_pictures=noise == 0,
    )
    summary = world_model_pong.main(config)
    assert json.loads((tmp_path / "summary.json").read_text()) == without_infinities(summary)
    assert summary["mse14_step6_high"] == np.inf  # a single game says nothing of others
    assert summary["is_view_measured"] == 1
    if noise == 0:
        assert summary["exact_share_step1"] > 0.5
        assert summary["mse56_step6"] < summary["persistence_mse56_step6"]
    assert ("spread_mse14_step6" in summary) == (noise > 0)
    assert use(tmp_path, monkeypatch)["model"].config == SMALL
    if noise == 0:
        assert (tmp_path / "open_loop.png").stat().st_size > 10_000
        assert (tmp_path / "play.gif").stat().st_size > 10_000


SMALL_FOREST = ForestConfig(num_trees=1, search_steps=600, search_trees=1, min_leaves=(1,))


def test_world_model_to_which_nothing_is_specified(tmp_path, monkeypatch):
    config = world_model_pong.Config(
        env_id="wm/Pong-v0",
        specified="none",
        train_steps=8000,
        test_games=1,
        forest=SMALL_FOREST,
        own_updates=(1, 1, 1),
        output_dir=tmp_path,
        num_threads=1,
        has_pictures=False,
    )
    summary = world_model_pong.main(config)
    written = json.loads((tmp_path / "summary.json").read_text(encoding="utf-8"))
    assert written["specified_count"] == 0
    assert summary["mse56_step6"] < summary["persistence_mse56_step6"]
    assert use(tmp_path, monkeypatch)["model"].config == SMALL_FOREST


def test_dream_to_which_nothing_is_specified(tmp_path, monkeypatch):
    config = replace(small_dream(tmp_path), specified="none", forest=SMALL_FOREST)
    summary = dream_pong.main(config)
    assert summary["specified_count"] == 0
    assert summary["real_steps"] == config.max_real_steps
    agent = use(tmp_path, monkeypatch)["agent"]
    assert evaluate(agent, "wm/Pong-v0", 1, seed=0).returns.size == 1


def small_dream(folder):
    return dream_pong.Config(
        env_id="wm/Pong-v0",
        max_real_steps=1000,
        dream_updates=(1, 1),
        shares=(0.5, 0.5),
        num_dreams=8,
        is_measured=False,
        games=1,
        model=SMALL,
        ppo=PPOConfig(widths=(16,), n_steps=8),
        output_dir=folder,
    )


@pytest.fixture(scope="module")
def dreamed(tmp_path_factory):
    """The folder and the summary of a dream that nobody interrupted."""
    folder = tmp_path_factory.mktemp("whole")
    return folder, dream_pong.main(small_dream(folder))


def test_an_interrupted_dream_goes_on_to_the_bit(dreamed, tmp_path, monkeypatch):
    torn = small_dream(tmp_path)
    folder, wanted = dreamed
    with monkeypatch.context() as patch:
        patch.setattr(dreaming, "points_won", stopped_at_call(2))
        with pytest.raises(KeyboardInterrupt):
            dream_pong.main(torn)
    with pytest.raises(CheckpointError, match="seed=0, this one has 1"):
        dream_pong.main(replace(torn, seed=1))
    found = dream_pong.main(torn)
    assert found | {"seconds": 0} == wanted | {"seconds": 0}
    first, second = (path / "model.safetensors" for path in (folder, tmp_path))
    assert first.read_bytes() == second.read_bytes()
    assert not (torn.output_dir / "unfinished").exists()


def stopped_at_call(number):
    """`points_won`, which a key interrupts at one of its calls."""
    calls = iter(range(1, number + 1))

    def interrupted(*arguments, won=dreaming.points_won):
        if next(calls) == number:
            raise KeyboardInterrupt
        return won(*arguments)

    return interrupted


def test_dream(dreamed, monkeypatch):
    folder, summary = dreamed
    assert summary["real_steps"] == 1000
    assert summary["games"] == 1
    assert -21 <= summary["mean_score"] <= 21
    assert json.loads((folder / "summary.json").read_text()) == summary
    assert len(json.loads((folder / "rounds.json").read_text())) == 2
    agent = use(folder, monkeypatch)["agent"]
    assert evaluate(agent, "wm/Pong-v0", 1, env_kwargs={"time_limit": 30}).lengths.tolist() == [30]


def test_too_short_a_recording_leaves_the_view_as_the_game_is(tmp_path):
    options = {"env_id": "wm/Pong-v0", "model": SMALL, "output_dir": tmp_path}
    summary = world_model_pong.main(
        world_model_pong.Config(
            train_steps=400, test_games=1, num_threads=1, has_pictures=False, **options
        )
    )
    assert summary["is_view_measured"] == 0
    assert summary["train_steps"] == 400
    dream = {"dream_updates": (1, 1), "shares": (0.5, 0.5), "num_dreams": 8, "games": 1}
    ppo = PPOConfig(widths=(16,), n_steps=8)
    summary = dream_pong.main(dream_pong.Config(max_real_steps=601, ppo=ppo, **dream, **options))
    assert summary["is_view_measured"] is False
    assert summary["real_steps"] == 601
    assert PongView.from_json(json.loads((tmp_path / "view.json").read_text())) == PongView()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dream_updates": (1,)}, "each round has"),
        ({"shares": (0.5, 0.5, 0.5, 0.5)}, "at most 1"),
        ({"max_real_steps": 1}, "max_real_steps, got 1"),
        ({"games": 0}, "games is at least 1"),
    ],
)
def test_dream_refuses_at_once_what_would_fail_later(tmp_path, options, message):
    with pytest.raises(SystemExit, match=message):
        dream_pong.main(dream_pong.Config(env_id="wm/Pong-v0", output_dir=tmp_path, **options))


@pytest.mark.parametrize("num_steps", [13, 1003, 100_000])
def test_rounds_take_no_more_real_steps_than_allowed(num_steps):
    assert sum(dreaming.DreamConfig(max_real_steps=num_steps).steps_of_rounds()) == num_steps


def test_world_model_refuses_at_once_what_would_fail_later(tmp_path):
    with pytest.raises(SystemExit, match="horizon is at least 6, got 5"):
        world_model_pong.main(world_model_pong.Config(horizon=5, output_dir=tmp_path))


def test_sb3(tmp_path):
    config = sb3_pong.Config(
        env_id="wm/Pong-v0",
        max_real_steps=300,
        games=1,
        num_envs=2,
        num_steps=64,
        output_dir=tmp_path,
    )
    summary = sb3_pong.main(config)
    assert summary["real_steps"] >= 300
    assert json.loads((tmp_path / "summary.json").read_text()) == summary
