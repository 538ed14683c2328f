import json

import numpy as np
import pytest

from examples.record_pong import Config, main
from wm_envs.data.trajectories import Trajectories

SHORT = {"steps": 400, "episode_steps": 200}


def test_it_writes_arrays_that_a_world_model_takes(tmp_path):
    summary = main(
        Config(
            output_dir=tmp_path,
            players=("explorer", "planner"),
            repeat_action_probability=0.25,
            **SHORT,
        )
    )
    assert json.loads((tmp_path / "summary.json").read_text()) == summary
    assert summary["explorer_steps"] == summary["planner_steps"] == 400
    assert summary["planner_mean_player_score"] >= 1
    assert summary["planner_mean_enemy_score"] == 0
    trajectories = Trajectories.load(tmp_path / "explorer.npz")
    assert trajectories.observations.shape[-1] == 56


def test_equal_seeds_give_equal_arrays(tmp_path):
    for name, seed in (("one", 1), ("same", 1), ("other", 2)):
        main(Config(output_dir=tmp_path / name, players=("tracker",), seed=seed, **SHORT))
    one, same, other = (
        np.load(tmp_path / name / "tracker.npz")["actions"] for name in ("one", "same", "other")
    )
    np.testing.assert_array_equal(one, same)
    assert not np.array_equal(one, other)


def test_the_original_is_recorded_as_its_copy(tmp_path):
    pytest.importorskip(
        "ale_py", reason='the original game needs ale-py: pip install "wm-suite[atari]"'
    )
    for env_id in ("wm/Pong-v0", "wm/PongAtari-v0"):
        main(
            Config(
                env_id=env_id,
                output_dir=tmp_path / env_id,
                players=("interceptor", "planner"),
                **SHORT,
            )
        )
    for player in ("interceptor", "planner"):
        native, original = (
            np.load(tmp_path / "wm" / name / f"{player}.npz")
            for name in ("Pong-v0", "PongAtari-v0")
        )
        assert all(np.array_equal(native[name], original[name]) for name in native.files)


def test_minari_datasets_are_stored_by_player(tmp_path, monkeypatch):
    minari = pytest.importorskip("minari")
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "datasets"))
    main(Config(output_dir=tmp_path, players=("holder",), minari="wm/pong/{player}-v0", **SHORT))
    assert list(minari.list_local_datasets()) == ["wm/pong/holder-v0"]


@pytest.mark.parametrize("options", [{"steps": 0}, {"episode_steps": 0}, {"minari": "wm/pong-v0"}])
def test_bad_numbers_and_names_are_refused(tmp_path, options):
    with pytest.raises(SystemExit, match=r"at least 1|needs \{player\}"):
        main(Config(output_dir=tmp_path, **options))
