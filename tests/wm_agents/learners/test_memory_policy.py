"""The policy with a memory: advantages by hand, segments, and what it read while it acted."""

import numpy as np
import pytest
import torch

from tests.support.small_tasks import Identity, Target, play, spaces_of
from wm_agents.learners.base import VectorStep
from wm_agents.learners.memory_policy import MemoryPolicy, MemoryPolicyConfig, Segment
from wm_agents.training.packing import pack_state

# Nothing is updated unless a test asks for it.
WAITING = MemoryPolicyConfig(
    batch_steps=10**6, width=16, context_length=3, gamma=0.5, gae_lambda=0.5
)


def policy(config=WAITING, task=Identity, num_rows=2):
    return MemoryPolicy(spaces_of(task), num_rows, 1000, 1, config)


def test_advantages_by_hand():
    rewards = torch.tensor([[1.0, 2.0, 4.0], [1.0, 2.0, 0.0]])
    # The second segment is one step shorter, and nothing comes after it.
    values = torch.tensor([[0.5, 1.0, 1.5, 2.0], [0.5, 1.0, 0.0, 0.0]])
    mask = torch.tensor([[1.0, 1.0, 1.0], [1.0, 1.0, 0.0]])
    # Errors 1, 1.75, 3.5 and 1, 1; each later one counts a quarter.
    expected = torch.tensor([[1.65625, 2.625, 3.5], [1.25, 1.0, 0.0]])
    torch.testing.assert_close(policy()._advantages(rewards, values, mask), expected)


def test_what_follows_has_a_value_only_where_the_segment_was_not_ended():
    learner = policy()
    inputs = torch.rand(2, learner.model.sizes.num_inputs)
    columns = inputs, torch.tensor([1]), torch.tensor([-1.0]), torch.tensor([3.0])
    batch = learner._batch([Segment(*columns, False), Segment(*columns, True)])
    with torch.no_grad():
        following = learner.model.value(learner.model.encode(inputs[None, None]).flatten(1, 2))
    # Rewards are in units of the spread of returns, here from 0 to 3.
    expected = torch.tensor([[1.0], [1.0 + 0.5 * float(following.flatten()[1])]])
    torch.testing.assert_close(batch.returns, expected)


def test_an_episode_is_read_in_segments_of_the_memory():
    learner = policy()
    play(learner, Identity, 8)
    lengths = [len(segment.rewards) for segment in learner._segments]
    assert lengths == [3, 3, 3, 3, 2, 2]
    assert [segment.is_bootstrapped for segment in learner._segments] == [True] * 4 + [False] * 2
    for segment in learner._segments:
        # The memory knows no action before its first step, and each one after it.
        previous = segment.inputs[:, 3:]
        assert previous[0].abs().max() == 0
        torch.testing.assert_close(previous[1:].argmax(1), segment.actions)


@pytest.mark.parametrize("task", [Identity, Target])
def test_a_policy_reads_the_same_while_it_acts_and_while_it_learns(task):
    learner = policy(task=task)
    learner.model.parameters["policy.weight"].data.mul_(100)
    play(learner, task, 8)
    for segment in learner._segments:
        with torch.no_grad():
            tokens = learner.model.encode(segment.inputs[None, None, :-1]).flatten(1, 2)
            outputs = learner.model.policy(tokens)[0]
            log_probs, _ = learner._log_probs(outputs, segment.actions)
        torch.testing.assert_close(log_probs, segment.log_probs, atol=1e-5, rtol=1e-4)


def test_it_learns_from_its_own_steps_and_remembers_no_others():
    learner = policy(num_rows=1)
    obs = torch.eye(3)[:1]
    yes, no = np.array([True]), np.array([False])

    def step(is_start, own, ended):
        learner.act(obs, is_start, own, no)
        learner.observe(one_step(obs, is_start, ended), own)

    step(yes, no, no)
    step(no, yes, no)  # takes over within the episode
    step(no, yes, yes)
    step(yes, no, no)
    step(no, no, yes)
    step(yes, yes, yes)
    assert [len(segment.rewards) for segment in learner._segments] == [2, 1]


def one_step(obs, is_start, ended):
    zero, no = np.zeros(1, np.float32), np.zeros(1, np.bool_)
    return VectorStep(obs, torch.zeros(1, dtype=torch.int64), zero, ended, no, obs, is_start)


def test_a_stored_policy_goes_on_bitwise():
    config = MemoryPolicyConfig(batch_steps=100, minibatch_steps=50, width=16)
    learner, again = policy(config), policy(config)
    # 6 segments of 16 steps wait for the second update.
    play(learner, Identity, 104)
    assert learner.num_updates == 1
    assert learner._num_waiting == 96
    again.load_state_dict(learner.state_dict())
    for one in (learner, again):
        play(one, Identity, 104)
    (tensors, structure), (tensors_again, structure_again) = (
        pack_state(one.state_dict()) for one in (learner, again)
    )
    assert structure == structure_again
    assert all(torch.equal(tensors[name], tensors_again[name]) for name in tensors)
    assert learner.num_updates == 3
