"""Counts of every configuration are integers, by the rule that holds for environments too."""

from typing import Any

import numpy as np
import pytest

from wm_agents.domains.debate import TrainConfig
from wm_agents.domains.resolutions.classifier import ClassifierConfig
from wm_agents.domains.resolutions.spatial import SpatialConfig
from wm_agents.errors import ConfigError
from wm_agents.evaluation import evaluate
from wm_agents.evaluation.episodes import RandomAgent
from wm_agents.irl.adversarial import AdversarialConfig
from wm_agents.irl.cloning import CloningConfig
from wm_agents.irl.maxent import MaxEntConfig
from wm_agents.irl.sampled import SampledConfig
from wm_agents.planning import MCTS, CEMConfig
from wm_agents.planning.value import ValueConfig
from wm_agents.policy_gradient.ppo import PPOConfig
from wm_agents.policy_gradient.reinforce import ReinforceConfig
from wm_agents.policy_gradient.sequence_model import NetworkConfig
from wm_agents.training.config_checks import require_integers
from wm_agents.training.seeding import spawn_seeds
from wm_agents.world_models import FitConfig

COUNTS = [
    (FitConfig, "num_updates"),
    (CEMConfig, "horizon"),
    (ValueConfig, "num_rounds"),
    (ReinforceConfig, "num_seeds"),
    (NetworkConfig, "width"),
    (PPOConfig, "n_epochs"),
    (CloningConfig, "batch_size"),
    (SampledConfig, "horizon"),
    (MaxEntConfig, "max_iterations"),
    (SpatialConfig, "num_steps"),
    (ClassifierConfig, "num_epochs"),
    (TrainConfig, "patience"),
]


@pytest.mark.parametrize(
    ("config", "name"), COUNTS, ids=lambda part: getattr(part, "__name__", part)
)
def test_a_count_is_an_integer(config: Any, name: str) -> None:
    for wrong in (8.0, True, "8", np.float64(8)):
        with pytest.raises(ConfigError, match=name):
            config(**{name: wrong})
    config(**{name: np.int64(8)})


def test_the_message_names_the_value() -> None:
    with pytest.raises(ConfigError, match=r"horizon is an integer, got 4\.0"):
        require_integers(1, horizon=4.0)
    with pytest.raises(ConfigError, match="horizon is at least 1, got 0"):
        require_integers(1, horizon=0)
    require_integers(None, horizon=-3)


@pytest.mark.parametrize(
    ("config", "old", "value", "new"),
    [
        (ReinforceConfig, "discount", 0.5, "gamma"),
        (ReinforceConfig, "max_gradient_norm", 2.0, "max_grad_norm"),
        (AdversarialConfig, "learner_rate", 0.01, "learning_rate"),
        (AdversarialConfig, "largest_change", 0.5, "target_kl"),
        (PPOConfig, "clip", 0.3, "clip_range"),
        (MaxEntConfig, "standardise", False, "standardize"),
        (ValueConfig, "slip", 0.3, "action_noise"),
        (ValueConfig, "target_rate", 0.3, "tau"),
        (ValueConfig, "longest_hold", 3, "max_repeat"),
    ],
)
def test_an_earlier_setting_serves_with_a_warning(
    config: Any, old: str, value: Any, new: str
) -> None:
    assert value != getattr(config(), new)
    with pytest.warns(DeprecationWarning, match=f"{old} of {config.__name__} is now {new}"):
        made = config(**{old: value})
    assert made == config(**{new: value})


def test_planners_take_earlier_settings_as_their_configurations_do() -> None:
    with pytest.warns(DeprecationWarning, match="discount of MCTSConfig is now gamma"):
        planner = MCTS(discount=0.5)
    assert planner.config.gamma == 0.5
    with pytest.raises(ConfigError, match="MCTS has no setting 'discounts'"):
        MCTS(discounts=0.5)


def test_evaluation_takes_numpy_integers_for_environments_that_do_not() -> None:
    import gymnasium as gym

    agent = RandomAgent(gym.make("CartPole-v1").action_space)
    returns = [
        evaluate(
            RandomAgent(gym.make("CartPole-v1").action_space), "CartPole-v1", count, seed=seed
        ).returns.tolist()
        for count, seed in ((2, 3), (np.int64(2), np.int64(3)))
    ]
    assert returns[0] == returns[1]
    for wrong in ({"episodes": 3.0}, {"num_envs": 2.0}, {"seed": 0.5}, {"seed": -1}):
        with pytest.raises(ConfigError, match=next(iter(wrong))):
            evaluate(agent, "CartPole-v1", **{"episodes": 1, **wrong})


def test_seeds_are_spawned_from_numpy_integers() -> None:
    assert spawn_seeds(np.int64(3), np.int32(2)) == spawn_seeds(3, 2)  # type: ignore[arg-type]
