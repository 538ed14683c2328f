"""The sweep's trials without Ray; tests/ecosystem has them under Tune."""

import json

import pytest

from examples.ray_sweep import Config, compare, run_trial, summarise, trials_of

SMALL = {
    "env_id": "wm/PatternEcho-v0",
    "total_timesteps": 640,
    "checkpoint_every": 2,
    "evaluation_episodes": 20,
}


def test_every_point_has_a_folder_of_its_own(tmp_path):
    config = Config(
        output_dir=tmp_path,
        world_model_coefs=(0.0, 1.0),
        learning_rates=(1e-3,),
        seeds=(0, 1, 2),
        **SMALL,
    )
    trials = trials_of(config)
    assert len({trial.folder for trial in trials}) == len(trials) == 6
    other = trials_of(Config(**{**vars(config), "total_timesteps": 1280}))
    assert not {trial.folder for trial in trials} & {trial.folder for trial in other}


class KilledError(Exception):
    pass


def test_an_interrupted_trial_ends_as_if_nothing_had_been(tmp_path):
    def kill(_, update):
        if update.update == 5:
            raise KilledError

    def only(folder):
        return trials_of(
            Config(
                output_dir=folder,
                world_model_coefs=(1.0,),
                learning_rates=(1e-3,),
                seeds=(3,),
                **SMALL,
            )
        )[0]

    whole, broken = only(tmp_path / "whole"), only(tmp_path / "broken")
    result = run_trial(whole)
    with pytest.raises(KilledError):
        run_trial(broken, kill)
    assert not broken.result_path.exists()
    updates = []
    assert run_trial(broken, lambda _, update: updates.append(update.update)) == result
    assert updates[0] == 5  # from the checkpoint of update 4
    stored = json.loads(broken.result_path.read_text(encoding="utf-8"))
    assert {**stored, "folder": ""} == {
        **json.loads(whole.result_path.read_text(encoding="utf-8")),
        "folder": "",
    }


def test_the_best_setting_comes_first():
    results = [
        {"world_model_coef": coef, "learning_rate": 0.1, "mean_return": 0.0, "success_rate": rate}
        for coef, rates in ((0.0, (0.1, 0.3)), (1.0, (0.8, 0.8)))
        for rate in rates
    ]
    rows = compare(results)
    assert [row["world_model_coef"] for row in rows] == [1.0, 0.0]
    summary = summarise(rows, 3, 1)
    assert summary["best_world_model_coef"] == 1.0
    assert summary["best_score"] == pytest.approx(0.8)
    assert summary["num_seeds"] == 2
