"""Whatever is pickled or copied goes on learning as the original does, bit for bit."""

import copy
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

import wm_envs  # noqa: F401  (registers the ids)
from wm_agents.policy_gradient.ppo import PPO, PPOConfig
from wm_agents.policy_gradient.reinforce import Reinforce, ReinforceConfig
from wm_agents.policy_gradient.sequence_model import NetworkConfig

WAYS: dict[str, Callable[[Any], Any]] = {
    "pickle": lambda agent: pickle.loads(pickle.dumps(agent)),
    "deepcopy": copy.deepcopy,
}
SMALL = ReinforceConfig(
    network=NetworkConfig(width=16, num_layers=1, num_heads=2, feedforward_width=16),
    episodes_per_update=8,
    num_seeds=2,
)


@pytest.mark.parametrize("env_id", ["wm/SequenceNext-v0", "Pendulum-v1"])
@pytest.mark.parametrize("way", WAYS)
def test_a_copy_of_reinforce_goes_on_as_the_original(way: str, env_id: str) -> None:
    config = ReinforceConfig(**{**vars(SMALL), "max_episode_steps": 4})
    agent = Reinforce(env_id, config, seed=1).learn(40)
    before = agent.model.flat.clone()
    twin = WAYS[way](agent)
    more = int(agent.num_steps.min()) + 40
    twin.learn(more)
    assert torch.equal(agent.model.flat, before)
    assert not torch.equal(twin.model.flat, before)
    agent.learn(more)
    assert torch.equal(twin.model.flat, agent.model.flat)
    assert twin.evaluate(5).returns.tolist() == agent.evaluate(5).returns.tolist()


@pytest.mark.parametrize("way", WAYS)
def test_a_copy_of_a_network_learns(way: str) -> None:
    twin = WAYS[way](Reinforce("wm/SequenceNext-v0", SMALL).model)
    with torch.no_grad():
        twin.flat.add_(1.0)
    assert all(
        bool((value.detach() >= 0.5).any())
        for name, value in twin.parameters.items()
        if name.endswith("bias")
    )
    gradient = twin.backward(
        sum((value.sum() for value in twin.parameters.values()), torch.zeros(()))
    )
    assert torch.equal(gradient, torch.ones_like(gradient))


def weights(agent: Any) -> list[Tensor]:
    return [value.clone() for value in agent.state_dict().values()]


@pytest.mark.parametrize("way", WAYS)
def test_a_copy_of_ppo_goes_on_as_the_original(way: str) -> None:
    config = PPOConfig(
        widths=(8,), n_steps=8, batch_size=16, num_envs=4, world_model_coef=1.0, memory_width=4
    )
    agent = PPO("CartPole-v1", config).learn(64)
    before = weights(agent)
    twin = WAYS[way](agent).learn(64)
    assert all(torch.equal(a, b) for a, b in zip(before, weights(agent), strict=True))
    assert not torch.equal(twin.policy.layers[0].weight, agent.policy.layers[0].weight)
    agent.learn(64)
    assert all(torch.equal(a, b) for a, b in zip(weights(twin), weights(agent), strict=True))
