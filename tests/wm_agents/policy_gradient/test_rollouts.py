"""What is computed of rollouts."""

import numpy as np
import torch

from wm_agents.policy_gradient.rollouts import lambda_returns


def test_lambda_returns_mix_what_all_numbers_of_steps_say():
    rewards = torch.tensor([[1.0], [2.0], [4.0]])
    values = torch.tensor([[9.0], [10.0], [20.0], [30.0]])
    discounts = torch.tensor([[0.5], [0.5], [0.0]])
    one = lambda_returns(rewards, values, discounts, 0.0)
    np.testing.assert_allclose(one[:, 0], [1 + 5, 2 + 10, 4])
    all_steps = lambda_returns(rewards, values, discounts, 1.0)
    np.testing.assert_allclose(all_steps[:, 0], [1 + 0.5 * (2 + 0.5 * 4), 2 + 0.5 * 4, 4])
    half = lambda_returns(rewards, values, discounts, 0.5)
    np.testing.assert_allclose(half[1, 0], 2 + 0.5 * (0.5 * 20 + 0.5 * 4))
