import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.evaluation import evaluate_policy

from tests.support.analytic_models import CodeModel, PointModel
from wm_agents.errors import ConfigError, SpaceError
from wm_agents.planning import (
    CEM,
    CategoricalCEM,
    CEMConfig,
    DiscountedReturn,
    OracleModel,
    PlanningAgent,
)
from wm_agents.protocols import ModelState, Plan, Prediction
from wm_agents.world_models.unrolling import Unrolled

SECRET = (2, 0, 3, 1)


class CodeEnv(gym.Env):
    """CodeModel as an environment of four steps; its state is its time."""

    observation_space = gym.spaces.Box(0.0, 100.0, (1,))
    action_space = gym.spaces.Discrete(4)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.time = 0
        return np.array([0.0], np.float32), {}

    def step(self, action):
        reward = float(action == SECRET[self.time])
        self.time += 1
        return np.array([self.time], np.float32), reward, False, self.time == len(SECRET), {}

    def clone_state(self):
        return np.array((self.time,), [("time", np.int64)])


class PointEnv(gym.Env):
    observation_space = gym.spaces.Box(-100.0, 100.0, (1,))
    action_space = gym.spaces.Box(-1.0, 1.0, (1,))

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.position, self.time = np.zeros(1, np.float32), 0
        return self.position, {}

    def step(self, action):
        assert self.action_space.contains(action)
        self.position, self.time = self.position + action, self.time + 1
        return self.position, float(-((self.position[0] - 2.0) ** 2)), False, self.time == 5, {}


def true_rollout(states, actions):
    """CodeEnv's dynamics in NumPy: observations, rewards, terminations."""
    times = states["time"][:, None] + np.arange(actions.shape[1] + 1)
    rewards = actions == np.array([*SECRET, *[-1] * 40])[times[:, :-1]]
    return (
        times[:, :, None].astype(np.float32),
        rewards.astype(np.float64),
        np.zeros(actions.shape, np.bool_),
    )


def code_agent(**options) -> PlanningAgent:
    model = CodeModel(SECRET)
    return PlanningAgent(model, CategoricalCEM(model, DiscountedReturn()), **options)


class RecordingPlanner:
    """Remembers its resets and the states that it plans from; its plans are zeros."""

    def __init__(self):
        self.resets, self.states = [], []

    def plan(self, state, generator):
        self.states.append(state)
        num_rows = len(state.observations)
        return Plan(torch.zeros(num_rows, 2, dtype=torch.int64), torch.zeros(num_rows), 7)

    def reset(self, mask=None):
        self.resets.append(None if mask is None else mask.tolist())


@pytest.mark.parametrize("deterministic", [True, False])
def test_sb3_evaluates_a_single_environment(deterministic):
    mean, std = evaluate_policy(
        code_agent(), CodeEnv(), n_eval_episodes=2, deterministic=deterministic, warn=False
    )
    assert (mean, std) == (4.0, 0.0)


def test_sb3_evaluates_a_vector_environment():
    mean, std = evaluate_policy(
        code_agent(), make_vec_env(CodeEnv, n_envs=3), n_eval_episodes=6, warn=False
    )
    assert (mean, std) == (4.0, 0.0)


def test_sb3_evaluates_box_actions():
    model = PointModel()
    agent = PlanningAgent(
        model, CEM(model, DiscountedReturn(), CEMConfig(horizon=4, num_samples=100, num_elites=10))
    )
    mean, _ = evaluate_policy(agent, PointEnv(), n_eval_episodes=1, warn=False)
    assert mean > -1.0 - 0.5  # 1 is lost on the way to the goal at 2


def test_gymnasium_vector_environments_give_batches():
    envs = SyncVectorEnv([CodeEnv] * 3, autoreset_mode=AutoresetMode.SAME_STEP)
    observations, _ = envs.reset()
    agent, state, total, starts = code_agent(), None, np.zeros(3), np.ones(3, np.bool_)
    for _ in range(8):
        actions, state = agent.predict(observations, state, starts, deterministic=True)
        observations, rewards, terminated, truncated, _ = envs.step(actions)
        total, starts = total + rewards, terminated | truncated
    assert total.tolist() == [8.0] * 3
    assert agent.num_model_steps > 0


def test_same_seed_same_actions():
    model = PointModel()
    config = CEMConfig(horizon=4, num_samples=20, num_elites=5)
    actions = []
    for seed in (0, 0, 1):
        agent = PlanningAgent(
            model, CEM(model, DiscountedReturn(), config), seed=seed, exploration=0.3
        )
        first, state = agent.predict(np.zeros(1, np.float32))
        actions.append([first.item(), agent.predict(first, state)[0].item()])
    assert actions[0] == actions[1] != actions[2]


def test_warm_starts_are_keyed_on_episode_starts():
    planner = RecordingPlanner()
    agent, seen = PlanningAgent(CodeModel(SECRET), planner), np.zeros((2, 1), np.float32)
    _, state = agent.predict(seen)
    assert state.tolist() == [1, 1]
    _, state = agent.predict(seen, state)
    _, state = agent.predict(seen, state, np.array([False, True]))
    assert state.tolist() == [3, 1]
    agent.predict(seen, np.array([2, 1]))  # row 0 is not where the agent left off
    agent.predict(seen[:1], state[:1])  # another number of environments
    agent.predict(seen)
    assert planner.resets == [None, [False, False], [False, True], [True, False], None, None]
    assert agent.num_model_steps == 6 * 7


def test_exploration_is_left_out_when_deterministic():
    agent = PlanningAgent(CodeModel(SECRET), RecordingPlanner(), exploration=1.0)
    seen = np.zeros((200, 1), np.float32)
    assert set(agent.predict(seen, deterministic=True)[0]) == {0}
    explored, _ = agent.predict(seen)
    assert np.bincount(explored, minlength=4).min() > 25


def test_exploration_keeps_box_actions_within_bounds():
    model = PointModel(goal=50.0)
    agent = PlanningAgent(
        model,
        CEM(model, DiscountedReturn(), CEMConfig(num_samples=10, num_elites=2)),
        exploration=0.5,
    )
    actions, _ = agent.predict(np.zeros((100, 1), np.float32))
    assert actions.dtype == np.float32
    assert actions.std() > 0.1
    assert np.abs(actions).max() <= 1.0


@pytest.mark.parametrize(
    ("space", "planned", "executed"),
    [
        (
            gym.spaces.Box(-0.1, 0.1, (1,), np.float64),
            [0.1, -0.1, 0.05],
            [0.1, -0.1, float(np.float32(0.05))],
        ),
        (gym.spaces.Box(0, 5, (1,), np.int64), [2.9, 0.2, 5.0], [3, 0, 5]),
    ],
)
def test_executed_actions_lie_in_their_space(space, planned, executed):
    planner, model = RecordingPlanner(), PointModel()
    model.action_space = space
    planner.plan = lambda *_: Plan(torch.tensor(planned)[:, None, None], torch.zeros(3), 0)
    actions, _ = PlanningAgent(model, planner).predict(np.zeros((3, 1), np.float32))
    assert all(space.contains(action) for action in actions)
    assert actions[:, 0].tolist() == executed


class RememberingModel(Unrolled):
    """Carries the sum of its actions from step to step."""

    observation_space = gym.spaces.Box(0.0, 100.0, (1,))
    action_space = gym.spaces.Discrete(4)

    def start(self, observations, hidden=()):
        return ModelState(observations, hidden or (torch.zeros(len(observations), 1),))

    def step(self, state, actions, generator=None):
        memory = state.hidden[0] + actions[:, None] + 1.0
        zeros = torch.zeros(len(actions))
        return ModelState(state.observations, (memory,)), Prediction(
            state.observations, zeros, zeros
        )


def test_a_model_with_memory_follows_the_real_episode():
    planner = RecordingPlanner()
    agent, seen = PlanningAgent(RememberingModel(), planner), np.zeros((2, 1), np.float32)
    _, state = agent.predict(seen)
    _, state = agent.predict(seen + 5.0, state)
    _, state = agent.predict(seen, state, np.array([False, True]))
    assert [s.hidden[0].flatten().tolist() for s in planner.states] == [
        [0.0, 0.0],
        [1.0, 1.0],
        [2.0, 0.0],
    ]
    assert planner.states[1].observations.flatten().tolist() == [5.0, 5.0]


def test_discrete_observations_become_one_hots():
    model = RememberingModel()
    model.observation_space = gym.spaces.Discrete(3)
    planner = RecordingPlanner()
    action, _ = PlanningAgent(model, planner).predict(np.int64(2))
    assert np.shape(action) == ()
    PlanningAgent(model, planner).predict(np.array([0, 1]))
    assert planner.states[0].observations.tolist() == [[0.0, 0.0, 1.0]]
    assert planner.states[1].observations.tolist() == [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]


def test_observations_and_actions_of_any_space():
    model = RememberingModel()
    model.observation_space = gym.spaces.Dict(
        place=gym.spaces.Discrete(3, start=1), bits=gym.spaces.MultiBinary(2)
    )
    model.action_space = gym.spaces.MultiDiscrete([2, 2])
    planner = RecordingPlanner()
    planner.plan = lambda state, _: (
        planner.states.append(state),
        Plan(torch.full((len(state.observations), 1), 2), torch.zeros(1), 0),
    )[1]
    agent = PlanningAgent(model, planner)
    single, _ = agent.predict({"place": np.int64(2), "bits": np.array([0, 1], np.int8)})
    assert single.tolist() == [1, 0]
    batch = {"place": np.array([1, 3]), "bits": np.array([[0, 1], [1, 1]], np.int8)}
    actions, state = agent.predict(batch)
    assert actions.tolist() == [[1, 0], [1, 0]]
    assert planner.states[-1].observations.tolist() == [[1, 0, 0, 0, 1], [0, 0, 1, 1, 1]]
    agent.predict(batch, state)
    assert planner.states[-1].hidden[0].flatten().tolist() == [3.0, 3.0]  # of the index 2
    with pytest.raises(SpaceError, match="place"):
        agent.predict({"bits": np.zeros(2, np.int8)})


def test_observations_of_another_shape_are_refused():
    with pytest.raises(SpaceError, match=r"shape \(1,\).*\(2, 5\)"):
        code_agent().predict(np.zeros((2, 5)))


def oracle() -> OracleModel:
    return OracleModel(true_rollout, CodeEnv.observation_space, CodeEnv.action_space)


def oracle_agent(env) -> PlanningAgent:
    model = oracle()
    return PlanningAgent(model, CategoricalCEM(model, DiscountedReturn()), env=env)


def test_oracle_plans_from_the_environment_that_is_acted_in():
    env = CodeEnv()
    assert evaluate_policy(oracle_agent(env), env, n_eval_episodes=2, warn=False) == (4.0, 0.0)
    envs = make_vec_env(CodeEnv, n_envs=2)
    assert evaluate_policy(oracle_agent(envs), envs, n_eval_episodes=4, warn=False) == (4.0, 0.0)


def test_oracle_needs_the_environment():
    model = oracle()
    with pytest.raises(ConfigError, match="pass env="):
        PlanningAgent(model, CategoricalCEM(model, DiscountedReturn()))
    env = CodeEnv()
    env.reset()
    with pytest.raises(ConfigError, match="2 observations"):
        oracle_agent(env).predict(np.zeros((2, 1)))


def test_exploration_is_checked():
    with pytest.raises(ConfigError, match="exploration"):
        code_agent(exploration=1.5)
