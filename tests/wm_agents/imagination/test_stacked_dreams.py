"""Fits go on with what was found; branches are those of the model, in a learner's own unit."""

import numpy as np
import pytest
from gymnasium import spaces

from wm_agents.imagination.stacked_dreams import ForestRefits, between, imagined_branches
from wm_agents.world_models.stacked_search import ForestConfig
from wm_envs.data.trajectories import Trajectories

CONFIG = ForestConfig(num_trees=1, search_steps=200, search_trees=1, searches_columns=False)
BOX, ACTIONS = spaces.Box(0, 50, (5,), np.float32), spaces.Discrete(2)


def rounds(num_steps: int, mark: int = 0) -> Trajectories:
    """A place that goes round three, and a count of the rounds, which the reward doubles."""
    places = np.arange(num_steps + 2)
    now, old = places[1:], places[:-1]
    rows = np.column_stack([now % 3, now // 3, old % 3, old // 3, np.full(len(now), mark)])
    rows[0, 4] = 0
    return Trajectories.from_arrays(
        rows.astype(np.float32),
        np.arange(num_steps) % 2,
        2.0 * np.diff(now // 3),
        np.zeros(num_steps, np.bool_),
        lengths=[num_steps],
        observation_space=BOX,
        action_space=ACTIONS,
    )


def test_a_structure_stays_until_something_new_changes() -> None:
    refits = ForestRefits(BOX, ACTIONS, CONFIG, seed=0)
    _, _, is_new = refits.fit(rounds(60))
    assert is_new
    view = refits.view
    assert view is not None
    assert view.frames == ((0, 2), (1, 3))
    again = ForestRefits(BOX, ACTIONS, CONFIG, seed=0)
    again.load_state_dict(refits.state_dict(), view)
    for one in (refits, again):
        model, _, is_new = one.fit(rounds(80))
        assert not is_new
        assert model.view == view
        # Not twice as much was recorded: nothing was searched again.
        assert one.state_dict()["selected_steps"] == 60
    _, _, is_new = refits.fit(rounds(90, mark=1))
    assert is_new
    assert refits.view != view


@pytest.mark.parametrize("name", ["", "ends_at_rewards", "cuts_at_rewards"])
def test_branches_stop_at_rewards_as_asked_and_are_in_their_unit(name: str) -> None:
    refits = ForestRefits(BOX, ACTIONS, CONFIG, seed=0)
    recorded = rounds(90)
    model, _, _ = refits.fit(recorded)
    env = imagined_branches(
        model,
        model.view,
        recorded,
        horizon=5,
        num_rows=8,
        seed=1,
        gamma=0.9,
        reward_scale=0.5,
        **{"ends_at_rewards": False, name or "ends_at_rewards": bool(name)},
    )
    env.reset()
    _, rewards, terminated, truncated, _ = env.step(np.zeros(8, np.int64))
    assert set(rewards.tolist()) == {0.0, 1.0}
    assert (terminated == ((rewards > 0) & (name == "ends_at_rewards"))).all()
    assert (truncated == ((rewards > 0) & (name == "cuts_at_rewards"))).all()


def test_the_way_between_two_values() -> None:
    assert between((1.0, 0.0), (0.25, 0.5)) == (0.75, 0.5)
