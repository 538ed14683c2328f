"""SAC in the learned car: both arms in miniature."""

import json

import pytest

from examples import dream_driving
from wm_agents.errors import ConfigError


@pytest.mark.parametrize(
    "mistake",
    [{"rounds": 0}, {"evaluation_episodes": 0}, {"evaluate_every": 20_001}, {"dream_gradients": 3}],
)
def test_settings_that_leave_nothing_to_compare_are_refused_at_once(mistake, tmp_path, monkeypatch):
    monkeypatch.setattr(
        dream_driving, "train_in_imagination", lambda _: pytest.fail("minutes were spent")
    )
    with pytest.raises(ConfigError, match=f"{next(iter(mistake))}={next(iter(mistake.values()))}"):
        dream_driving.main(dream_driving.Config(output_dir=tmp_path, **mistake))


def test_dreaming_of_driving_from_end_to_end(tmp_path):
    config = dream_driving.Config(
        recorded_episodes=2,
        rounds=2,
        round_steps=30,
        dream_gradients=20,
        model_free_decisions=20,
        evaluate_every=10,
        evaluation_episodes=1,
        episode_decisions=5,
        dream_envs=2,
        num_updates=10,
        output_dir=tmp_path,
    )
    summary = dream_driving.main(config)
    written = json.loads((tmp_path / "summary.json").read_text())
    assert written["dream_real_steps"] == summary["dream_real_steps"]
    assert summary["dream_curve"][0][1] - summary["dream_curve"][0][0] in range(30, 34)
    assert (tmp_path / "learning_curves.png").stat().st_size > 5000
