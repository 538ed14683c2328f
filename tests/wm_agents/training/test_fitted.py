"""Models that were never fitted refuse to answer, and those that were fitted or loaded answer."""

import copy
import pickle

import gymnasium as gym
import numpy as np
import pytest
import torch

from wm_agents.domains.resolutions import SpatialModel, VoteModel
from wm_agents.domains.resolutions.classifier import VoteClassifier
from wm_agents.domains.resolutions.world_model import ResolutionModel
from wm_agents.errors import ConfigError, NonFiniteError, NotFittedError
from wm_agents.evaluation.open_loop import open_loop_error
from wm_agents.evaluation.scorecard import scorecard
from wm_agents.imagination.vector_env import ImaginedVectorEnv
from wm_agents.irl.cloning import BehavioralCloning
from wm_agents.irl.sampled import SampledMaxEntIRL
from wm_agents.planning import CategoricalCEM, DiscountedReturn, PlanningAgent
from wm_agents.planning.value import ValueIteration
from wm_agents.training.fitted import check_fitted
from wm_agents.world_models import (
    DeterministicConfig,
    DeterministicModel,
    EnsembleModel,
    FitConfig,
    HistoryModel,
    LatentModel,
    RecurrentModel,
    TabularModel,
    TokenModel,
)
from wm_agents.world_models.unrolling import Unrolled
from wm_envs.data.trajectories import Trajectories

SPACES = gym.spaces.Box(-1, 1, (2,)), gym.spaces.Discrete(2)
OBSERVATIONS, ACTIONS = torch.zeros(3, 2), torch.zeros(3, dtype=torch.int64)
MODELS = {
    "deterministic": lambda: DeterministicModel(*SPACES),
    "ensemble": lambda: EnsembleModel(*SPACES),
    "recurrent": lambda: RecurrentModel(*SPACES),
    "latent": lambda: LatentModel(*SPACES),
    "token": lambda: TokenModel(*SPACES),
    "history": lambda: HistoryModel(DeterministicModel, *SPACES, num_past=2),
    "tabular": lambda: TabularModel(*SPACES),
}


def recorded(seed=0):
    generator = np.random.default_rng(seed)
    observations = generator.uniform(-1, 1, (44, 2)).astype(np.float32)
    actions = generator.integers(2, size=40)
    ends = np.arange(40) % 10 == 9
    return Trajectories(
        observations, actions, np.zeros(40), np.zeros(40, bool), ends, np.full(4, 10)
    )


@pytest.mark.parametrize("name", MODELS)
def test_no_world_model_answers_before_its_fit(name, tmp_path):
    model = MODELS[name]()
    calls = [
        lambda: model.predict(OBSERVATIONS, ACTIONS),
        lambda: model.start(OBSERVATIONS),
        lambda: model.rollout(OBSERVATIONS, ACTIONS[:, None]),
        lambda: ImaginedVectorEnv(model, OBSERVATIONS, 5, 2),
        lambda: ValueIteration(model).fit(OBSERVATIONS),
        lambda: open_loop_error(model, recorded(), (1,)),
        lambda: scorecard(model, recorded(), tmp_path / "card", horizons=(1,)),
        lambda: PlanningAgent(model, CategoricalCEM(model, DiscountedReturn())).predict(
            np.zeros(2, np.float32)
        ),
    ]
    for call in calls:
        with pytest.raises(NotFittedError, match="fit"):
            call()
    assert list(tmp_path.iterdir()) == []


def test_every_neural_model_of_a_user_is_guarded_as_well():
    class Mine(DeterministicModel):
        def step(self, state, actions, generator=None):
            return state, None

    with pytest.raises(NotFittedError, match="this Mine was never fitted: call its fit"):
        Mine(*SPACES).step(None, ACTIONS)


def test_a_model_that_needs_no_fit_works():
    class Own(Unrolled, torch.nn.Module):
        observation_space, action_space = SPACES

        def start(self, observations, hidden=()):
            return observations

    check_fitted(Own())
    assert Own().start(OBSERVATIONS) is OBSERVATIONS


def test_fitted_and_loaded_models_answer(tmp_path):
    config = DeterministicConfig(dynamics_widths=(8,), reward_widths=(8,), termination_widths=(8,))
    model = DeterministicModel(*SPACES, config)
    model.fit(recorded(), FitConfig(num_updates=2))
    model.save(tmp_path / "model")
    others = [
        DeterministicModel.load(tmp_path / "model"),
        copy.deepcopy(model),
        pickle.loads(pickle.dumps(model)),
    ]
    others.append(DeterministicModel(*SPACES, config))
    others[-1].load_state_dict(model.state_dict())
    for other in others:
        other.predict(OBSERVATIONS, ACTIONS)


def test_a_file_of_an_unfitted_model_does_not_make_it_fitted(tmp_path):
    loaded = DeterministicModel.load(DeterministicModel(*SPACES).save(tmp_path / "model"))
    with pytest.raises(NotFittedError):
        loaded.predict(OBSERVATIONS, ACTIONS)


def test_a_fit_that_fails_at_once_leaves_the_model_unfitted():
    class Failing(DeterministicModel):
        def loss(self, segment, generator):
            return {
                name: term * torch.nan for name, term in super().loss(segment, generator).items()
            }

    model = Failing(*SPACES)
    with pytest.raises(NonFiniteError):
        model.fit(recorded(), FitConfig(num_updates=2))
    with pytest.raises(NotFittedError):
        model.predict(OBSERVATIONS, ACTIONS)


def test_other_models_do_not_answer_before_their_fit():
    box = gym.spaces.Box(-1, 1, (2,))
    calls = [
        lambda: BehavioralCloning(box, SPACES[1]).predict(np.zeros(2, np.float32)),
        lambda: VoteClassifier().predict(np.zeros((1, 2), np.float32)),
        lambda: VoteModel().forecast([0]),
        lambda: VoteModel().update(None, None),
        lambda: SpatialModel().probabilities(),
        lambda: SpatialModel().positions,
        lambda: ResolutionModel().predict(torch.zeros(1, 14), torch.zeros(1, dtype=torch.int64)),
        lambda: SampledMaxEntIRL(None, None, ("a",)).fitted,
    ]
    for call in calls:
        with pytest.raises(NotFittedError, match="fit"):
            call()


def test_the_error_is_of_the_family_and_lets_hasattr_ask():
    assert issubclass(NotFittedError, ConfigError)
    assert not hasattr(SpatialModel(), "positions")
    with pytest.raises(AttributeError, match="no attribute 'elsewhere'"):
        SpatialModel().elsewhere  # noqa: B018
