"""Where something ran is not what it is.

Agents load anywhere, and an absent device is refused by its name.
"""

import dataclasses

import gymnasium as gym
import pytest
import torch

import wm_envs  # noqa: F401
from wm_agents.errors import ConfigError
from wm_agents.networks import choose_device
from wm_agents.planning import (
    CEM,
    MCTS,
    MPPI,
    CEMConfig,
    DiscountedReturn,
    MCTSConfig,
    MPPIConfig,
    RandomShooting,
    RandomShootingConfig,
)
from wm_agents.policy_gradient.ppo import PPO
from wm_agents.policy_gradient.reinforce import Reinforce, ReinforceConfig
from wm_agents.training.checkpoints import CheckpointManager
from wm_agents.world_models import DeterministicModel
from wm_agents.world_models.history import HistoryModel

ABSENT = ["cuda:77", "nonsense", "meta", "", "mps:3"]
if not torch.cuda.is_available():
    ABSENT.append("cuda")

ENV_ID = "wm/SequenceNext-v0"


def cartpole_model():
    env = gym.make("CartPole-v1")
    return DeterministicModel(env.observation_space, env.action_space)


@pytest.mark.parametrize("name", ABSENT)
def test_an_absent_device_is_refused_with_its_name_and_the_remedy(name):
    with pytest.raises(ConfigError, match=f"device '{name}'.*'cpu'"):
        choose_device(name)


@pytest.mark.parametrize("name", [None, 3, ["cpu"]])
def test_what_is_no_device_is_refused(name):
    with pytest.raises(ConfigError, match="device"):
        choose_device(name)


def test_devices_that_are_here_are_taken():
    assert choose_device("cpu") == choose_device(torch.device("cpu")) == torch.device("cpu")
    assert choose_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")


@pytest.mark.parametrize("stored", ABSENT)
def test_an_agent_loads_where_its_device_is_not(tmp_path, stored):
    agent = Reinforce(ENV_ID, ReinforceConfig(), seed=0).learn(50)
    agent.config = dataclasses.replace(
        agent.config, device=stored
    )  # what a run on such a machine writes
    path = agent.save(tmp_path / "agent.safetensors")
    assert torch.equal(Reinforce.load(path, device="cpu").model.flat, agent.model.flat.cpu())
    assert torch.equal(Reinforce.load(path).model.flat.cpu(), agent.model.flat.cpu())
    with pytest.raises(ConfigError, match=f"'{ABSENT[0]}'"):
        Reinforce.load(path, device=ABSENT[0])


def test_a_loaded_agent_keeps_the_device_that_is_here(tmp_path):
    agent = Reinforce(ENV_ID, ReinforceConfig(device="cpu"), seed=0)
    assert Reinforce.load(agent.save(tmp_path / "agent.safetensors")).config == agent.config


def test_a_run_goes_on_with_another_name_of_its_device(tmp_path):
    checkpoints = CheckpointManager(tmp_path, kind="reinforce")
    Reinforce(ENV_ID, ReinforceConfig(device="auto"), seed=0).learn(50, checkpoints=checkpoints)
    resumed = Reinforce(ENV_ID, ReinforceConfig(device="cpu"), seed=0)
    resumed.resume(checkpoints)
    assert resumed.num_updates > 0


@pytest.mark.parametrize("device", [ABSENT[0], "nonsense"])
@pytest.mark.parametrize(
    ("planner", "config", "env_id"),
    [
        (CEM, CEMConfig, "Pendulum-v1"),
        (MPPI, MPPIConfig, "Pendulum-v1"),
        (RandomShooting, RandomShootingConfig, "CartPole-v1"),
        (MCTS, MCTSConfig, "CartPole-v1"),
    ],
)
def test_planners_refuse_an_absent_device_and_leave_the_model_where_it_is(
    planner, config, env_id, device
):
    env = gym.make(env_id)
    model = DeterministicModel(env.observation_space, env.action_space)
    with pytest.raises(ConfigError, match=device):
        planner(model, DiscountedReturn(0.9), config(device=device))
    assert model.device == torch.device("cpu")


@pytest.mark.parametrize("device", ABSENT)
def test_every_load_refuses_an_absent_device(tmp_path, device):
    model, past = cartpole_model(), HistoryModel(DeterministicModel, *spaces(), 1)
    path, past_path = model.save(tmp_path / "model"), past.save(tmp_path / "past")
    assert DeterministicModel.load(path, device="cpu").device == torch.device("cpu")
    policy = PPO(spaces())
    policy_path = policy.save(tmp_path / "policy")
    PPO.load(policy_path, device="auto")
    for load in (
        lambda: DeterministicModel.load(path, device=device),
        lambda: HistoryModel.load(past_path, device=device),
        lambda: PPO.load(policy_path, device=device),
    ):
        with pytest.raises(ConfigError, match=f"'{device}'"):
            load()


def spaces():
    env = gym.make("CartPole-v1")
    return env.observation_space, env.action_space
