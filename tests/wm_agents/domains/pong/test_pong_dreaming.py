import numpy as np
import pytest
import torch

from wm_agents.domains.pong.dreaming import DreamConfig, DreamTraining, points_won
from wm_agents.errors import ConfigError
from wm_agents.policy_gradient.ppo import PPOConfig
from wm_agents.world_models.stacked_search import ForestConfig
from wm_envs.data.trajectories import Trajectories


@pytest.mark.parametrize("num_steps", [13, 1003, 100_000])
def test_rounds_take_no_more_real_steps_than_allowed(num_steps):
    assert sum(DreamConfig(max_real_steps=num_steps).steps_of_rounds()) == num_steps


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dream_updates": (1,)}, "each round has"),
        ({"shares": (0.5, 0.5, 0.5, 0.5)}, "at most 1"),
        ({"max_real_steps": 1}, "max_real_steps, got 1"),
        ({"learning_rate": (1e-3,)}, "a first and a last"),
        ({"num_dreams": 0}, "num_dreams is at least 1"),
    ],
)
def test_what_would_fail_later_is_refused_at_once(options, message):
    with pytest.raises(ConfigError, match=message):
        DreamTraining(DreamConfig(env_id="wm/Pong-v0", **options))


def test_the_points_of_the_last_steps_are_shared():
    rewards = np.array([1.0, 0.0, -1.0, 1.0, 0.0, 1.0])
    games = Trajectories.from_arrays(np.zeros((7, 1)), np.zeros(6, int), rewards, np.zeros(6, bool))
    assert points_won(games, 5) == pytest.approx(2 / 3)
    assert points_won(games, 2) == 1.0


def test_an_interrupted_run_goes_on_with_what_was_selected(tmp_path):
    config = DreamConfig(
        env_id="wm/Pong-v0",
        specified="none",
        max_real_steps=900,
        shares=(0.6, 0.2, 0.2),
        dream_updates=(1, 1, 1),
        num_dreams=4,
        forest=ForestConfig(num_trees=1, search_steps=200, search_trees=1, searches_columns=False),
        ppo=PPOConfig(widths=(8,), n_steps=4),
    )
    whole = DreamTraining(config)
    whole.train()
    DreamTraining(config).train(tmp_path, lambda number, _: number < 2)
    resumed = DreamTraining(config)
    resumed.train(tmp_path)
    assert [row["real_steps"] for row in resumed.rounds] == [540.0, 720.0, 900.0]
    # The second and the third round did not search anew, before the interruption or after it.
    losses = [name for name in whole.rounds[0] if name.endswith("held_out_loss")]
    for name in losses:
        assert len({row[name] for row in resumed.rounds}) == 1
    for mine, other in zip(whole.policy.parameters(), resumed.policy.parameters(), strict=True):
        assert torch.equal(mine, other)
