import gymnasium as gym
import numpy as np
import torch

from wm_agents.planning import PlanningAgent
from wm_agents.planning.defaults import make_planner
from wm_agents.planning.frontier import BeyondExperience, has_signal
from wm_agents.protocols import ModelState, Prediction
from wm_agents.world_models.unrolling import Unrolled
from wm_envs.data.trajectories import Trajectories


def walk(
    positions: list[float], rewards: float | list[float] = -1.0, is_over: bool = False
) -> Trajectories:
    """One episode on a line, its height always 0.5."""
    observations = np.stack([positions, np.full(len(positions), 0.5)], 1).astype(np.float32)
    num_steps = len(positions) - 1
    terminations = np.zeros(num_steps, np.bool_)
    terminations[-1] = is_over
    actions = np.zeros(num_steps, np.int64)
    return Trajectories.from_arrays(
        observations, actions, np.broadcast_to(rewards, num_steps).copy(), terminations
    )


def test_a_step_pays_when_any_feature_leaves_the_range_of_experience():
    reward = BeyondExperience(walk([-1.0, 0.25, 2.0]))
    imagined = torch.tensor([[[9.0, 0.5], [0.0, 0.5], [2.0, 0.5], [2.1, 0.5], [0.0, 0.4]]])
    assert reward(imagined, torch.zeros(1, 4)).tolist() == [
        [0.0, 0.0, 1.0, 1.0]
    ]  # the start is not paid for


def test_a_signal_is_a_reward_that_differs_or_an_end():
    assert not has_signal(walk([0.0, 1.0, 2.0]))
    assert has_signal(walk([0.0, 1.0, 2.0], [-1.0, 0.0]))
    assert has_signal(walk([0.0, 1.0, 2.0], is_over=True))


class Line(Unrolled):
    """Action 1 moves right by 0.1 and action 0 left; all steps pay the same."""

    observation_space = gym.spaces.Box(-10, 10, (2,))
    action_space = gym.spaces.Discrete(2)

    def start(self, observations, hidden=()):
        return ModelState(observations)

    def step(self, state, actions, generator=None):
        moved = state.observations + torch.stack(
            [0.2 * actions - 0.1, torch.zeros(len(actions))], 1
        )
        return ModelState(moved), Prediction(
            moved, -torch.ones(len(actions)), torch.zeros(len(actions))
        )


def test_without_a_signal_exploring_plans_lead_beyond_experience():
    torch.set_num_threads(1)
    model, trajectories = Line(), walk(np.linspace(-3.0, 0.45, 40).tolist())
    agent = PlanningAgent(
        model, make_planner("random_shooting", model, trajectories, seed=0, is_exploring=True)
    )
    position, state, actions = np.array([0.4, 0.5], np.float32), None, []
    for _ in range(5):
        action, state = agent.predict(position, state)
        actions.append(int(action))
        position = position + np.array([0.2 * action - 0.1, 0.0], np.float32)
    assert actions == [1] * 5
