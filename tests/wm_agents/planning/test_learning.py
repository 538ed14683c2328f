import itertools

import gymnasium as gym
import numpy as np
import pytest
import torch

from tests.support.counting_env import CountingEnv
from wm_agents.errors import ConfigError, SpaceError
from wm_agents.planning import BreadthFirstSearch, CategoricalCEM, DiscountedReturn, RandomShooting
from wm_agents.planning.collector import Collector
from wm_agents.planning.learning import LearningConfig, learn_to_plan


def test_what_cannot_work_is_refused():
    with pytest.raises(ConfigError, match="max_real_steps"):
        LearningConfig(max_real_steps=0)
    with pytest.raises(ConfigError, match="random_share"):
        LearningConfig(max_real_steps=10, random_share=1.5)


@pytest.mark.parametrize("num_rounds", [0, 1, 3])
@pytest.mark.parametrize("steps", [1, 10, 101])
def test_the_budget_is_spent_exactly(steps, num_rounds):
    config = LearningConfig(max_real_steps=steps, num_rounds=num_rounds, random_share=0.3)
    assert sum(config.schedule) == steps
    assert min(config.schedule) >= 0


def test_rounds_fit_plan_and_refit():
    sizes, kinds = [], []

    class Model:
        observation_space, action_space = CountingEnv.observation_space, gym.spaces.Discrete(2)

        def start(self, observations, hidden=()):
            from wm_agents.protocols import ModelState

            return ModelState(observations, hidden)

        def rollout(self, start, actions, generator=None):
            from wm_agents.protocols import Rollout

            zeros = torch.zeros(actions.shape)
            return Rollout(
                start.observations[:, None].repeat(1, actions.shape[1] + 1, 1), zeros, zeros
            )

    def fit(trajectories, number):
        sizes.append((trajectories.num_steps, number))
        return Model()

    def plan(model, trajectories, is_exploring):
        kinds.append(is_exploring)
        return RandomShooting(model, DiscountedReturn())

    config, shown = LearningConfig(max_real_steps=20, random_share=0.5, num_rounds=2), []
    learned = learn_to_plan(CountingEnv(), config, fit, plan, seed=0, on_round=shown.append)
    assert sizes == [(10, 0), (15, 1), (20, 2)]
    assert kinds == [True, True, False]
    assert learned.num_real_steps == learned.trajectories.num_steps == 20
    assert [figures["real_steps"] for figures in shown] == [15, 20]
    assert learned.rounds == shown


def trajectories_of(env: gym.Env, steps: int):
    experience = Collector(env, 0)
    experience.collect(steps)
    return experience.trajectories()


def test_defaults_follow_the_spaces_and_the_data():
    from wm_agents.planning.defaults import planner_for, reward_to_reach

    lake, cart = gym.make("FrozenLake-v1", is_slippery=False), gym.make("CartPole-v1")
    walked, balanced = trajectories_of(lake, 3000), trajectories_of(cart, 100)
    assert walked.is_lattice
    assert reward_to_reach(walked) == 0.5
    assert planner_for(lake.action_space, walked) == "breadth_first"
    assert not balanced.is_lattice
    assert reward_to_reach(balanced) is None
    assert planner_for(cart.action_space, balanced) == "categorical_cem"
    assert planner_for(gym.make("Pendulum-v1").action_space, balanced) == "icem"


def test_planners_are_made_by_name():
    from wm_agents.planning.defaults import make_planner

    lake = gym.make("FrozenLake-v1", is_slippery=False)
    walked = trajectories_of(lake, 200)
    from tests.support.analytic_models import GridModel

    assert isinstance(
        make_planner("breadth_first", GridModel(), walked, seed=0), BreadthFirstSearch
    )
    made = make_planner(
        "categorical_cem", GridModel(), walked, seed=0, value=lambda seen: seen[:, 0]
    )
    assert isinstance(made, CategoricalCEM)
    with pytest.raises(ConfigError, match="no planner 'guess'"):
        make_planner("guess", GridModel(), walked, seed=0)
    with pytest.raises(SpaceError, match="ICEM plans for Box"):
        make_planner("icem", GridModel(), walked, seed=0)


@pytest.mark.parametrize("space", [gym.spaces.Box(-np.inf, np.inf, (2,)), gym.spaces.Text(3)])
def test_spaces_that_no_planner_serves_are_refused_before_any_step(space):
    env = CountingEnv()
    env.action_space = space
    with pytest.raises(SpaceError, match=r"learn_to_plan|action is Text"):
        learn_to_plan(
            env, LearningConfig(max_real_steps=5), lambda *_: None, lambda *_: None, seed=0
        )
    env.observation_space, env.action_space = space, gym.spaces.Discrete(2)
    if isinstance(space, gym.spaces.Text):
        with pytest.raises(SpaceError, match="observation is Text"):
            learn_to_plan(
                env, LearningConfig(max_real_steps=5), lambda *_: None, lambda *_: None, seed=0
            )
    assert env.seeds == []


def test_random_actions_are_held_but_on_tokens():
    def random_actions(env_id: str, num_steps: int) -> np.ndarray:
        env, budget = gym.make(env_id), LearningConfig(max_real_steps=num_steps, num_rounds=0)
        learned = learn_to_plan(env, budget, lambda *_: None, lambda *_: None, seed=0)
        return learned.trajectories.actions

    def longest_run(actions: np.ndarray) -> int:
        return max(len(list(group)) for _, group in itertools.groupby(actions.tolist()))

    held = random_actions("Acrobot-v1", 1200)
    assert longest_run(held[600:]) >= 20 > 12 > longest_run(held[:600])
    assert longest_run(random_actions("FrozenLake-v1", 1200)) < 12


@pytest.mark.parametrize("unit", [1e-6, 1.0, 1e6])
def test_goals_of_the_default_searches_follow_the_unit_of_rewards(unit):
    from tests.support.analytic_models import GridModel
    from wm_agents.planning.defaults import make_planner
    from wm_envs.data.trajectories import Trajectories

    def walked(rewards):
        observations = np.arange(5, dtype=np.float32)[:, None]
        return Trajectories.from_arrays(
            observations, np.zeros(4, np.int64), unit * np.array(rewards), [False] * 4
        )

    for rewards, goal in (([-1, -1, -1, 1], 0.0), ([0, 0, 0, 1], 0.5)):
        for name in ("breadth_first", "best_first"):
            config = make_planner(name, GridModel(), walked(rewards), seed=0).config
            assert config.goal_value == pytest.approx(goal * unit)
        assert config.step_price == pytest.approx(0.01 * unit * (max(rewards) - min(rewards)))


@pytest.mark.parametrize(
    ("reward", "goal"), [(0.0, 0.5), (-1.0, -0.5), (-1e-4, -5e-5), (1e4, 1.5e4)]
)
def test_while_no_reward_stands_out_a_goal_is_above_in_the_same_unit(reward, goal):
    from wm_agents.planning.defaults import reward_to_reach
    from wm_envs.data.trajectories import Trajectories

    observations = np.arange(5, dtype=np.float32)[:, None]
    data = Trajectories.from_arrays(
        observations, np.zeros(4, np.int64), np.full(4, reward), [False] * 4
    )
    assert reward_to_reach(data) == pytest.approx(goal)


@pytest.mark.parametrize("reward", [0.0, -1.0, -1e-4, -50.0, 1e4])
def test_a_hoped_for_goal_counts_as_one_in_any_unit(reward):
    """What a token model hopes for while all rewards are the same has to be what the search takes for a goal."""
    from wm_agents.planning.defaults import reward_to_reach
    from wm_agents.world_models.structure import TokenSteps, find_outcome
    from wm_envs.data.trajectories import Trajectories

    before = np.array([[0, 3], [1, 3], [2, 3], [1, 3]])
    after = np.array([[1, 3], [2, 3], [1, 3], [0, 3]])
    copied = np.array([False, True])
    outcome = find_outcome(
        np.full(4, reward), TokenSteps(before, after, np.array([0, 0, 1, 1]), 2, copied), True, True
    )
    assert outcome is not None
    assert outcome.kind == "goal"
    data = Trajectories.from_arrays(
        np.arange(5, dtype=np.float32)[:, None],
        np.zeros(4, np.int64),
        np.full(4, reward),
        [False] * 4,
    )
    assert max(outcome.values) >= reward_to_reach(data) > reward
