"""Each way of acting alone solves its identity environment, in seconds: one table."""

from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch

from tests.support.small_tasks import Identity, Target, play, spaces_of
from wm_agents.learners.base import Learner
from wm_agents.learners.imagined_policy import ImaginedPolicy, ImaginedPolicyConfig
from wm_agents.learners.memory_policy import MemoryPolicy, MemoryPolicyConfig
from wm_agents.learners.replay_values import ReplayValues, ReplayValuesConfig
from wm_agents.learners.search import Search, SearchLearnerConfig
from wm_agents.learners.table import Table
from wm_agents.training.packing import pack_state, unpack_state

MEMORY = MemoryPolicyConfig(batch_steps=256, minibatch_steps=64, width=32, gamma=0.5)
REPLAY = ReplayValuesConfig(first_steps=100, width=32, batch_size=32, target_every=50)
IMAGINED = ImaginedPolicyConfig(
    first_fit=200,
    fit_updates=400,
    num_windows=150,
    model_width=32,
    width=32,
    num_rows=32,
    horizon=2,
)

# By name: what makes it, the steps that it gets, and those of each of its 4 rows.
LEARNERS: dict[str, tuple[Callable[..., Learner], int]] = {
    "table": (Table, 60),
    "search": (lambda *args: Search(*args, SearchLearnerConfig(first_fit=100)), 100),
    "memory policy": (lambda *args: MemoryPolicy(*args, MEMORY), 600),
    "replay values": (lambda *args: ReplayValues(*args, REPLAY), 200),
}


def learned(name: str, task: type[gym.Env[Any, Any]]) -> Learner:
    make, num_steps = LEARNERS[name]
    learner = make(spaces_of(task), 4, 4 * num_steps, 1)
    play(learner, task, num_steps)
    return learner


@pytest.fixture(scope="module", params=LEARNERS)
def named(request: pytest.FixtureRequest) -> tuple[str, Learner]:
    return request.param, learned(request.param, Identity)


def test_it_solves_the_identity_environment(named: tuple[str, Learner]) -> None:
    _, learner = named
    assert learner.can_act
    obs = torch.eye(3)
    actions, _ = learner.predict(obs, None, np.ones(3, np.bool_))
    assert actions.tolist() == [0, 1, 2]
    assert play(learner, Identity, 16, is_greedy=True).mean() == 1.0


def test_what_is_needed_to_act_acts_the_same(named: tuple[str, Learner]) -> None:
    name, learner = named
    tensors: Any
    tensors, structure = pack_state(learner.acting_state())
    again = LEARNERS[name][0](spaces_of(Identity), 4, 100, 5)
    again.load_state_dict(unpack_state(structure, tensors))
    obs = torch.eye(3)[[0, 1, 2, 1, 0]]
    state = state_again = None
    for number in range(5):
        is_start = np.array([number % 2 == 0] * 5)
        actions, state = learner.predict(obs, state, is_start)
        actions_again, state_again = again.predict(obs, state_again, is_start)
        assert torch.equal(actions, actions_again)


def imagining(*args: Any) -> ImaginedPolicy:
    return ImaginedPolicy(*args, IMAGINED)


@pytest.mark.parametrize("name", ["memory policy", "replay values", "imagined policy"])
def test_vectors_come_near_the_number_shown(name: str) -> None:
    if name == "imagined policy":
        learner: Learner = imagining(spaces_of(Target), 4, 400, 1)
        play(learner, Target, 100)
    else:
        learner = learned(name, Target)
    obs = torch.tensor([[-0.8], [0.0], [0.8]])
    actions, _ = learner.predict(obs, None, np.ones(3, np.bool_))
    # Random actions are 1.2 away on average.
    assert float((actions - obs).abs().max()) < 0.3


@pytest.mark.parametrize("name", ["table", "search"])
def test_vectors_are_left_to_others(name: str) -> None:
    make, _ = LEARNERS[name]
    learner = make(spaces_of(Target), 4, 100, 1)
    assert not learner.can_act
    assert learner.decision() == "actions cannot be counted"
    # A withdrawn learner is still part of every checkpoint.
    again = make(spaces_of(Target), 4, 100, 1)
    again.load_state_dict(learner.state_dict())
    assert again.withdrawal == learner.withdrawal


def test_counted_actions_are_not_imagined() -> None:
    learner = imagining(spaces_of(Identity), 4, 100, 1)
    assert not learner.can_act
    assert learner.decision() == "actions are counted"
    again = imagining(spaces_of(Identity), 4, 100, 1)
    again.load_state_dict(learner.state_dict())
    assert again.withdrawal == learner.withdrawal


def test_what_imagination_learned_acts_the_same_from_its_state() -> None:
    learner = imagining(spaces_of(Target), 4, 400, 1)
    play(learner, Target, 60)
    assert learner.can_act
    tensors: Any
    tensors, structure = pack_state(learner.acting_state())
    again = imagining(spaces_of(Target), 4, 400, 5)
    again.load_state_dict(unpack_state(structure, tensors))
    obs = torch.linspace(-1, 1, 5)[:, None]
    is_start = np.ones(5, np.bool_)
    first, second = (one.predict(obs, None, is_start)[0] for one in (learner, again))
    assert torch.equal(first, second)


def test_imagination_that_is_not_finite_leaves_and_the_rest_goes_on() -> None:
    learner = imagining(spaces_of(Target), 4, 400, 1)
    with torch.no_grad():
        next(learner.policy.parameters()).fill_(torch.nan)
    play(learner, Target, 60)
    assert learner.decision().startswith("imagination failed after 100 steps: ")


def test_imagined_policies_do_not_depend_on_the_unit_of_rewards() -> None:
    shown = torch.tensor([[-0.8], [0.8]])
    is_start = np.ones(2, np.bool_)
    acted, valued = [], []
    for unit in (1.0, 2.0**-40):

        class Scaled(Target):
            scale = unit

            def step(self, action: Any) -> Any:
                obs, reward, *rest = super().step(action)
                return obs, self.scale * reward, *rest

        learner = imagining(spaces_of(Scaled), 4, 400, 1)
        play(learner, Scaled, 60)
        acted.append(learner.predict(shown, None, is_start)[0])
        with torch.no_grad():
            valued.append(learner.values(learner.units.normalize(shown)))
    torch.testing.assert_close(acted[0], acted[1], atol=0.05, rtol=0.0)
    assert float(acted[0][1] - acted[0][0]) > 0.8
    # Values are in units of mean rewards.
    torch.testing.assert_close(valued[0], valued[1], atol=0.002, rtol=0.0)
    assert float(valued[0].abs().max()) > 0.01
