"""Counts of every configuration are integers, by the rule that holds for environments too."""

from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from wm_agents.agent import WorldModelAgent
from wm_agents.domains.debate import TrainConfig
from wm_agents.domains.resolutions.classifier import ClassifierConfig
from wm_agents.domains.resolutions.spatial import SpatialConfig
from wm_agents.errors import ConfigError
from wm_agents.evaluation import evaluate
from wm_agents.evaluation.episodes import RandomAgent
from wm_agents.evaluation.statistics import stratified_bootstrap
from wm_agents.irl.adversarial import AdversarialConfig
from wm_agents.irl.cloning import BehavioralCloning, CloningConfig
from wm_agents.irl.maxent import MaxEntConfig
from wm_agents.irl.sampled import SampledConfig
from wm_agents.planning import MCTS, CEMConfig
from wm_agents.planning.collector import ActionRepeatAgent
from wm_agents.planning.value import ValueConfig
from wm_agents.policy_gradient.ppo import PPO, PPOConfig
from wm_agents.policy_gradient.reinforce import Reinforce, ReinforceConfig
from wm_agents.policy_gradient.sequence_model import NetworkConfig
from wm_agents.training.config_checks import require_integers
from wm_agents.training.seeding import spawn_seeds
from wm_agents.world_models import DeterministicModel, FitConfig, TokenModel
from wm_agents.world_models.encoding import spaces_of

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


SEEDED = {
    "model": lambda seed: DeterministicModel.for_env("CartPole-v1", seed=seed).seed,
    "token model": lambda seed: TokenModel.for_env("CartPole-v1", seed=seed).seed,
    "fit": lambda seed: FitConfig(seed=seed).seed,
    "MaxEnt": lambda seed: MaxEntConfig(seed=seed).seed,
    "samples": lambda seed: SampledConfig(seed=seed).seed,
    "cloning": lambda seed: BehavioralCloning(*spaces_of("CartPole-v1"), seed=seed).seed,
    "agent": lambda seed: WorldModelAgent("CartPole-v1", seed).seed,
    "PPO": lambda seed: PPO("CartPole-v1", PPOConfig(num_envs=1), seed=seed).seed,
    "Reinforce": lambda seed: Reinforce("CartPole-v1", seed=seed).seed,
    "random": lambda seed: RandomAgent(gym.make("CartPole-v1").action_space, seed) and 3,
    "repeats": lambda seed: ActionRepeatAgent(gym.make("CartPole-v1").action_space, 2, seed) and 3,
    "bootstrap": lambda seed: stratified_bootstrap([1.0, 2.0], num_resamples=9, seed=seed) and 3,
}


@pytest.mark.parametrize("name", SEEDED)
def test_what_is_a_seed_for_environments_is_one_for_models_planners_and_agents(name: str) -> None:
    make = SEEDED[name]
    for seed in (3, np.int64(3), np.uint8(3), np.array(3)):
        assert type(make(seed)) is int
    for wrong in (1.0, True, "3", -1, None):
        with pytest.raises(ConfigError, match=r"seed.* integer"):
            make(wrong)


@pytest.mark.parametrize("name", sorted(set(SEEDED) - {"Reinforce"}))
def test_seeds_that_are_too_large_are_refused_by_the_truth(name: str) -> None:
    for seed in (2**63, 2**70):
        with pytest.raises(ConfigError, match=rf"from 0 to 2\*\*63 - 1, got {seed}"):
            SEEDED[name](seed)
