import json

import pytest

from examples.train_debate import Config, main
from wm_agents.domains.debate import load_world_model


def test_the_guides_run(tmp_path, capsys):
    summary = main(Config(seed=1, persons=2, tensorboard=True, output_dir=tmp_path))
    out = capsys.readouterr().out
    assert out.startswith("EPOCH 1 (lr=0.150)\n  Winner: ")
    assert "Training complete!\nEpochs: 5\nConverged: False\n" in out
    assert json.loads((tmp_path / "summary.json").read_text()) == summary
    assert {"accuracy", "p_value", "spearman_median", "seconds"} <= set(summary)
    assert summary["accuracy"] > 0.5
    assert summary["p_value"] < 0.001
    assert len(json.loads((tmp_path / "training_log.json").read_text())["epochs"]) == 5
    assert json.loads((tmp_path / "history.json").read_text())["epochs_run"] == 5
    assert (tmp_path / "trajectories.png").stat().st_size > 10_000
    assert len(load_world_model(tmp_path / "model.json").observations) == summary["labelled"]
    assert list((tmp_path / "events").iterdir())


def test_one_person_is_too_few_for_an_interval(tmp_path):
    with pytest.raises(SystemExit, match="got 1"):
        main(Config(persons=1, output_dir=tmp_path / "out"))
    assert not (tmp_path / "out").exists()
