import pytest
from stable_baselines3 import PPO

from wm_agents.errors import ConfigError
from wm_agents.sb3.callbacks import EvaluationCurve


def test_a_curve_has_a_point_before_the_first_round_and_after_the_last():
    scores = iter(range(10))
    curve = EvaluationCurve(lambda: float(next(scores)), every=20)
    PPO("MlpPolicy", "CartPole-v1", n_steps=16, batch_size=16, n_epochs=1, seed=0).learn(64, curve)
    curve.note()
    # Rounds begin at 0, 16, 32 and 48: a point is due at 0, 20 and 40.
    assert curve.points == [(0, 0.0), (32, 1.0), (48, 2.0), (64, 3.0)]


def test_a_spacing_that_is_no_number_of_steps_is_refused():
    with pytest.raises(ConfigError, match="every is at least 1, got 0"):
        EvaluationCurve(lambda: 0.0, every=0)
