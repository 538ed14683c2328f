"""A stack of frames is found from the data and learned in; everything else is left to others."""

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces
from numpy.typing import NDArray

from tests.support.small_tasks import Bandit, Chain, Errands, Target, play, spaces_of
from wm_agents.learners.imagined_frames import ImaginedFrames, ImaginedFramesConfig
from wm_agents.training.packing import pack_state, unpack_state
from wm_agents.world_models.stacked_search import ForestConfig

SMALL = ImaginedFramesConfig(
    trial_steps=120,
    first_share=0.4,
    round_share=0.3,
    min_updates=5,
    num_rows=32,
    horizon=24,
    width=32,
    learning_rate=(3e-3, 1e-3),
    forest=ForestConfig(num_trees=1, search_steps=300, search_trees=1, searches_columns=False),
)


def made(task: Any, total_steps: int = 1200, seed: int = 1) -> ImaginedFrames:
    return ImaginedFrames(spaces_of(task), 4, total_steps, seed, SMALL)


@pytest.fixture(scope="module")
def learned() -> ImaginedFrames:
    learner = made(Errands)
    play(learner, Errands, 300)
    return learner


def test_ends_are_reached_by_what_was_learned_in_imagination(
    learned: ImaginedFrames,
) -> None:
    assert learned.num_fits == 3
    assert learned.view is not None
    assert learned.view.frames == ((0, 3), (1, 4), (2, 5))
    assert learned.decision().startswith("2 frames of 3 numbers on a lattice, 3 fits of forests")
    assert learned.lead == SMALL.lead
    rewards = play(learned, Errands, 30, is_greedy=True)
    # Random walks reach less than one end in 30 steps.
    assert rewards.sum(0).mean() >= 4.0


def test_what_is_needed_to_act_acts_the_same(learned: ImaginedFrames) -> None:
    tensors: Any
    tensors, structure = pack_state(learned.acting_state())
    again = made(Errands, 100, seed=5)
    again.load_state_dict(unpack_state(structure, tensors))
    assert again.decision() == learned.decision()
    env = Errands()
    obs = env.reset(seed=3)[0]
    state = state_again = None
    for number in range(8):
        rows = torch.from_numpy(obs)[None]
        is_start = np.array([number == 0])
        actions, state = learned.predict(rows, state, is_start)
        actions_again, state_again = again.predict(rows, state_again, is_start)
        assert torch.equal(actions, actions_again)
        obs, *_ = env.step(int(actions[0]))


def test_an_interrupted_run_goes_on_bitwise_the_same() -> None:
    whole = made(Errands)
    play(whole, Errands, 150)
    tensors: Any
    tensors, structure = pack_state(whole.state_dict())
    parts = made(Errands, seed=5)
    parts.load_state_dict(unpack_state(structure, tensors))
    parts.seed = parts._refits.seed = 1
    for learner in (whole, parts):
        learner._memory = None  # episodes begin anew
        play(learner, Errands, 150)
    assert whole.policy is not None
    assert parts.policy is not None
    for mine, other in zip(whole.policy.parameters(), parts.policy.parameters(), strict=True):
        assert torch.equal(mine, other)


class Drifting(Errands):
    """Shows the time as well, which no later number repeats, and rewards by chance."""

    observation_space = spaces.Box(0, 30, (3,))

    def _shown(self) -> NDArray[np.float32]:
        return np.array([self.frame[0], self.num_steps, self.old[1] / 6], np.float32)


class Arbitrary(Errands):
    """A stack whose rewards nothing shows."""

    def step(self, action: int) -> Any:
        obs, _, *rest = super().step(action)
        return obs, float(self.np_random.normal()), *rest


class Smooth(Errands):
    """A stack of numbers that lie on no lattice."""

    def _shown(self) -> NDArray[np.float32]:
        noise = self.np_random.random(3)
        self.noise, old = noise, getattr(self, "noise", noise)
        return np.concatenate([noise, old]).astype(np.float32)


@pytest.mark.parametrize(
    ("task", "reason"),
    [
        (Bandit, "observations are not a row of numbers"),
        (Chain, "observations are not a row of numbers"),
        (Target, "actions cannot be counted"),
        (Drifting, "no stack of frames: 0 of 3 numbers that change are shown again a step later"),
        (Smooth, "no stack of frames on a lattice: "),
        (Arbitrary, "of the rewards' variance, after 480 steps"),
    ],
)
def test_what_is_no_stack_is_left_to_others(task: type[gym.Env[Any, Any]], reason: str) -> None:
    learner = made(task)
    if not learner.withdrawal:
        play(learner, task, 130)
    assert reason in learner.decision()
    assert not learner.can_act
    assert learner.lead == 0.0
    again = made(task)
    again.load_state_dict(learner.state_dict())
    assert again.withdrawal == learner.withdrawal
