from functools import partial

import gymnasium as gym
import numpy as np
import pytest
import torch

from wm_agents.errors import ConfigError
from wm_agents.planning import (
    BestFirstSearch,
    BestFirstSearchConfig,
    BreadthFirstSearch,
    DiscountedReturn,
    OracleModel,
    PlanningAgent,
)
from wm_agents.protocols import ModelState, WorldModel
from wm_envs.oracle import rollout

PUZZLE = "wm/PermPuzzle-v0"


def oracle_of(env_id: str, env, **options) -> OracleModel:
    return OracleModel(partial(rollout, env_id), env.observation_space, env.action_space, **options)


@pytest.fixture
def puzzle():
    env = gym.make(PUZZLE)
    env.reset(seed=3)
    return env


def start(env) -> tuple[OracleModel, ModelState]:
    model = oracle_of(PUZZLE, env)
    state = env.unwrapped.clone_state()
    observation = env.unwrapped.restore_state(state)
    return model, model.start(
        torch.as_tensor(observation[None]), model.hidden_of(np.stack([state]))
    )


def test_single_steps_are_the_environments_own(puzzle):
    model, state = start(puzzle)
    assert isinstance(model, WorldModel)
    for action in [0, 2, 1, 1, 0, 2]:
        state, prediction = model.step(state, torch.tensor([action]))
        observation, reward, terminated, _, _ = puzzle.step(action)
        assert np.array_equal(prediction.observations[0].numpy(), observation)
        assert prediction.rewards.item() == reward
        assert prediction.terminations.item() == float(terminated)


def test_rollouts_go_on_from_where_single_steps_led(puzzle):
    model, state = start(puzzle)
    actions = torch.tensor([[0, 1, 2, 0, 1]])
    whole = model.rollout(state, actions)
    for action in actions[0, :2]:
        state, _ = model.step(state, action[None])
    rest = model.rollout(state, actions[:, 2:])
    assert torch.equal(rest.observations, whole.observations[:, 2:])
    assert torch.equal(rest.rewards, whole.rewards[:, 2:])


def test_search_on_the_oracle_solves_the_puzzle():
    envs = gym.make_vec(PUZZLE, num_envs=8)
    model = oracle_of(PUZZLE, gym.make(PUZZLE))
    for planner in (
        BreadthFirstSearch(model, DiscountedReturn()),
        BestFirstSearch(model, DiscountedReturn(), BestFirstSearchConfig(num_expansions=64)),
    ):
        agent = PlanningAgent(model, planner, env=envs)
        observations, _ = envs.reset(seed=0)
        state, solved = None, np.zeros(8, np.bool_)
        for _ in range(20):
            actions, state = agent.predict(observations, state, deterministic=True)
            observations, _, _, _, infos = envs.step(actions)
            solved |= infos["is_success"]
        assert solved.all()


def test_the_oracle_does_not_start_from_observations(puzzle):
    model = oracle_of(PUZZLE, puzzle)
    with pytest.raises(ConfigError, match="hidden_of"):
        model.predict(torch.zeros(1, 72), torch.tensor([0]))
    with pytest.raises(ConfigError, match="hidden_of"):
        model.rollout(torch.zeros(1, 72), torch.zeros(1, 2, dtype=torch.int64))


def test_what_the_oracle_cannot_do_is_said(puzzle):
    model, state = start(puzzle)
    with pytest.raises(ConfigError, match=r"expected states \[B\]"):
        model.hidden_of(puzzle.unwrapped.clone_state()[None, None])
    without_states = OracleModel(
        lambda states, actions: rollout(PUZZLE, states, actions),
        puzzle.observation_space,
        puzzle.action_space,
    )
    with pytest.raises(ConfigError, match="no states"):
        without_states.step(state, torch.tensor([0]))
    without_states.hidden_of(np.stack([puzzle.unwrapped.clone_state()]))
    with pytest.raises(ConfigError, match="return_states=True"):
        without_states.step(state, torch.tensor([0]))


def test_a_step_costs_the_same_however_deep_it_is(puzzle):
    depths = []

    def counted(states, actions, **options):
        depths.append(actions.shape[1])
        return rollout(PUZZLE, states, actions, **options)

    model = OracleModel(counted, puzzle.observation_space, puzzle.action_space)
    state = model.start(
        torch.zeros(1, 72), model.hidden_of(np.stack([puzzle.unwrapped.clone_state()]))
    )
    for action in [0, 2, 1] * 30:
        predicted = model.predict(state, torch.tensor([action]))
        state, prediction = model.step(state, torch.tensor([action]))
        assert torch.equal(predicted.observations, prediction.observations)
    assert set(depths) == {1}
    assert [tensor.shape[0] for tensor in state.hidden] == [1]


def test_rows_of_different_depth_are_one_rollout(puzzle):
    model, state = start(puzzle)
    later, _ = model.step(state, torch.tensor([1]))
    both = ModelState(
        torch.cat([state.observations, later.observations]),
        (torch.cat([state.hidden[0], later.hidden[0]]),),
    )
    actions = torch.tensor([[0, 2, 1], [2, 0, 0]])
    together = model.rollout(both, actions)
    assert torch.equal(together.observations[0], model.rollout(state, actions[:1]).observations[0])
    assert torch.equal(together.observations[1], model.rollout(later, actions[1:]).observations[0])
