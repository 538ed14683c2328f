import json
import runpy
from pathlib import Path

import pytest

from examples.train_debate import Config, main
from wm_agents.domains.debate import load_world_model
from wm_envs.errors import ObservationError


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


def test_labels_are_taken_key_by_key_and_compared(tmp_path, capsys):
    example = runpy.run_path(str(Path(__file__).parents[2] / "examples/label_observations.py"))
    keys = iter(["1", "x", "2", "s", "q"])
    first = tmp_path / "ada.jsonl"
    config = example["Config"](labeller="ada", output=first)
    counts = example["main"](config, lambda _: next(keys))
    assert counts == {"num_new": 3, "num_labels": 3}
    labels = [json.loads(line)["label"] for line in first.read_text().splitlines()]
    assert labels == ["survival", "status", None]
    # It resumes with what is left, and everybody's order is their own.
    asked = []
    again = example["main"](config, lambda text: asked.append(text) or "q")
    assert again == {"num_new": 0, "num_labels": 3}
    second = tmp_path / "ben.jsonl"
    example["main"](example["Config"](labeller="ben", output=second), lambda _: "3")
    figures = example["main"](example["Config"](compare=(first, second)))
    assert set(figures) == {"given / ada", "given / ben", "ada / ben"}
    assert figures["ada / ben"]["num_observations"] == 2
    assert figures["ada / ben"]["equal"] == 0
    assert "kappa" in capsys.readouterr().out
    first.write_text('{"id": "1", "label": "glee"}\n')
    with pytest.raises(ObservationError, match="'glee' is no tendency"):
        example["main"](example["Config"](compare=(first, second)))
