import numpy as np

import wm_envs  # noqa: F401  (registers the ids)
from wm_agents.evaluation import linear_probe
from wm_agents.policy_gradient.reinforce import Reinforce, ReinforceConfig


def test_a_probe_finds_the_remembered_symbol_in_the_tokens_and_not_in_the_observation():
    agent = Reinforce("wm/DelayedMatch-v0", ReinforceConfig(), seed=3)
    agent.learn(400 * 128)
    batch = agent.evaluate(800)
    assert batch.successes is not None
    assert batch.successes.mean() > 0.9
    tokens = agent.representation(batch)
    assert tokens.shape == (1, 800, 2, 64)
    first, second = batch.inputs[0, :, 0].numpy(), batch.inputs[0, :, 1].numpy()
    shown = first[:, :8].argmax(1)
    result = linear_probe(tokens[0, :, 1].numpy(), shown, np.arange(800), observations=second)
    assert result.score > 0.95
    assert result.observation_score is not None
    assert result.observation_score < 0.3
    assert result.control < 0.3
