"""Driving from scratch: the script in miniature, and what it refuses before it learns."""

import json

import numpy as np
import pytest

from examples import drive_from_scratch
from tests.wm_agents.domains.driving.test_from_scratch import TINY
from wm_agents.errors import ConfigError
from wm_envs.errors import TrackError


@pytest.mark.parametrize(
    ("mistake", "error"),
    [
        ({"laps": 0}, ConfigError),
        ({"num_random": 0}, ConfigError),
        ({"round_steps": 100_000}, ConfigError),
        ({"circuits": ("no_such_circuit.csv",)}, TrackError),
    ],
)
def test_what_cannot_be_driven_is_refused_before_learning(mistake, error, tmp_path, monkeypatch):
    monkeypatch.setattr(
        drive_from_scratch, "learn_to_drive", lambda *_: pytest.fail("minutes were spent")
    )
    with pytest.raises(error):
        drive_from_scratch.main(drive_from_scratch.Config(output_dir=tmp_path, **mistake))


def test_driving_from_scratch_from_end_to_end(tmp_path):
    angle = np.linspace(0.0, 2 * np.pi, 60, endpoint=False)
    points = np.stack([90 * np.cos(angle), 60 * np.sin(angle), 6 + 0 * angle, 6 + 0 * angle], 1)
    given = tmp_path / "given.csv"
    np.savetxt(given, points, delimiter=",", header="x_m,y_m,w_tr_right_m,w_tr_left_m")
    summary = drive_from_scratch.main(
        drive_from_scratch.Config(
            **TINY, circuits=(given,), num_random=1, laps=1, output_dir=tmp_path / "out"
        )
    )
    written = json.loads((tmp_path / "out" / "summary.json").read_text(encoding="utf-8"))
    assert written["results"]["given"]["policy"]["circuits"] == 1
    assert set(summary["results"]["random"]) == {"policy", "with foresight"}
    assert summary["real_steps"] == written["real_steps"]
    assert (tmp_path / "out" / "learning_curves.png").stat().st_size > 5000
