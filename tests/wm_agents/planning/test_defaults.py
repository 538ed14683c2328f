"""Models by name, and those that suit the data."""

import pytest

from wm_agents.errors import ConfigError
from wm_agents.planning.defaults import fit_model
from wm_envs import record

ECHO = record("wm/PatternEcho-v0", episodes=20, seed=0)
CART = record("CartPole-v1", episodes=4, seed=0)


@pytest.mark.parametrize(
    ("trajectories", "name", "kind"),
    [
        (ECHO, "auto", "TokenModel"),
        (ECHO, "tabular", "TabularModel"),
        (CART, "auto", "DeterministicModel"),
        (CART, "recurrent", "RecurrentModel"),
    ],
)
def test_the_model_is_what_its_name_says_and_fitted(trajectories, name, kind):
    spaces = trajectories.observation_space, trajectories.action_space
    model = fit_model(*spaces, trajectories, 0, name=name, num_updates=3)
    assert type(model).__name__ == kind
    assert model.is_fitted


def test_an_unknown_name_is_refused_with_those_that_are_known():
    with pytest.raises(ConfigError, match="no model 'perceptron': known are auto, deterministic"):
        fit_model(CART.observation_space, CART.action_space, CART, 0, name="perceptron")
