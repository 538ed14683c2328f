"""Numbers that are not finite stop a trainer, with the step and the name, before anything is updated or saved."""

import gymnasium as gym
import numpy as np
import pytest
import torch
from trainers import TRAINERS, _model, walk

from wm_agents.errors import NonFiniteError
from wm_agents.reinforce import Reinforce, ReinforceConfig
from wm_agents.training.checkpoints import CheckpointManager
from wm_agents.training.finite import first_non_finite, require_finite, spoilt_gradient
from wm_agents.vector_ppo import VectorPPO, VectorPPOConfig
from wm_agents.world_models import FitConfig


def test_the_tensor_is_named():
    good, bad = torch.ones(2), torch.tensor([1.0, float("nan")])
    assert first_non_finite([("a", good), ("b", bad), ("c", bad)]) == "b"
    assert first_non_finite([("a", good), ("n", torch.tensor(3))]) is None
    require_finite({"a": good}, "update 7")
    with pytest.raises(NonFiniteError, match="b is not finite: a parameter after update 7"):
        require_finite({"a": good, "b": bad}, "a parameter after update 7")
    layer = torch.nn.Linear(2, 1)
    layer.weight.grad, layer.bias.grad = torch.full((1, 2), float("inf")), torch.zeros(1)
    assert spoilt_gradient(layer) == "weight"


def spoil_gradient(module, name):
    """The gradient of one parameter becomes NaN from the second backward on."""
    calls = [0]

    def hook(gradient):
        calls[0] += 1
        return gradient * float("nan") if calls[0] > 1 else gradient

    dict(module.named_parameters())[name].register_hook(hook)


def test_a_spoilt_gradient_stops_vector_ppo(tmp_path, counted):
    env = gym.make_vec("wm/TMaze-v0", 4, autoreset_mode=gym.vector.AutoresetMode.DISABLED)
    config = VectorPPOConfig(widths=(8,), num_steps=8, num_epochs=1, minibatch_size=32)
    agent = VectorPPO(env.single_observation_space, env.single_action_space, config)
    name = next(name for name, _ in agent.named_parameters())
    spoil_gradient(agent, name)
    checkpoints = CheckpointManager(tmp_path)
    with pytest.raises(NonFiniteError, match=f"the gradient of {name} is not finite"):
        agent.learn(env, 5, learning_rate=(1e-3, 1e-3), entropy=(0.0, 0.0), checkpoints=checkpoints, checkpoint_every=1)
    assert first_non_finite(agent.state_dict().items()) is None
    assert checkpoints.latest().metadata["step"] == 1
    counted("a spoilt gradient stops training, the last good state kept", "vector_ppo", tried=1, failed=0)


def test_one_transition_left_over_is_no_division_by_zero():
    env = gym.make_vec("wm/TMaze-v0", 3, autoreset_mode=gym.vector.AutoresetMode.DISABLED)
    config = VectorPPOConfig(widths=(8,), num_steps=3, num_epochs=1, minibatch_size=8)
    agent = VectorPPO(env.single_observation_space, env.single_action_space, config)
    agent.learn(env, 2, learning_rate=(1e-3, 1e-3), entropy=(0.0, 0.0))
    assert first_non_finite(agent.state_dict().items()) is None


def test_a_spoilt_gradient_stops_ppo_in_sb3(tmp_path, counted):
    from stable_baselines3.common.env_util import make_vec_env

    from wm_agents.world_model_ppo import WorldModelPPO

    options = {"n_steps": 16, "batch_size": 32, "n_epochs": 1, "device": "cpu", "policy_kwargs": {"net_arch": [8]}}
    agent = WorldModelPPO("MlpPolicy", make_vec_env("CartPole-v1", 2, seed=1), seed=1, **options)
    spoil_gradient(agent.policy, "action_net.weight")
    checkpoints = CheckpointManager(tmp_path)
    with pytest.raises(NonFiniteError, match=r"the gradient of action_net.weight is nan after \d+ passes and 64 steps"):
        agent.learn(1000, checkpoints=checkpoints, checkpoint_every=1)
    assert first_non_finite(agent.policy.state_dict().items()) is None
    assert checkpoints.latest().metadata["step"] == 32
    counted("a spoilt gradient stops training, the last good state kept", "world_model_ppo", tried=1, failed=0)


def test_a_spoilt_gradient_stops_a_fit(tmp_path, counted):
    model = _model(gym.spaces.Box(-np.inf, np.inf, (1,)), gym.spaces.Box(-1, 1, (1,)))
    config = FitConfig(num_updates=40, evaluate_every=5, horizon=2, batch_size=32)
    checkpoints = CheckpointManager(tmp_path)

    def spoil(update, figures):
        if update == 10:
            dict(model.named_parameters())[name].register_hook(lambda gradient: gradient * float("inf"))

    model.initialise(walk())
    name = next(name for name, _ in model.named_parameters())
    with pytest.raises(NonFiniteError, match=r"the gradient of .* is not finite at update 10"):
        model.fit(walk(), config, checkpoint=checkpoints, on_evaluation=spoil)
    assert first_non_finite(model.state_dict().items()) is None
    assert checkpoints.latest().metadata["step"] == 10
    counted("a spoilt gradient stops training, the last good state kept", "world_model", tried=1, failed=0)


def test_spoilt_parameters_are_never_saved(tmp_path, counted):
    config = ReinforceConfig(episodes_per_update=4, device="cpu")
    agent = Reinforce("wm/TMaze-v0", config)
    path = agent.save(tmp_path / "agent")
    before = path.read_bytes()
    agent.model.flat.view(-1)[3] = float("inf")
    with pytest.raises(NonFiniteError, match="parameters is not finite: after update 0, so it is not saved"):
        agent.save(path)
    assert path.read_bytes() == before
    counted("a spoilt gradient stops training, the last good state kept", "reinforce", tried=1, failed=0)


def test_a_loss_that_is_not_finite_stops_reinforce_before_the_update():
    agent = Reinforce("wm/TMaze-v0", ReinforceConfig(episodes_per_update=4, device="cpu"))
    parameter = agent.model.parameters[next(iter(agent.model.parameters))]
    parameter.register_hook(lambda gradient: gradient * float("nan"))
    before = agent.model.flat.clone()
    with pytest.raises(NonFiniteError, match="gradient_norm of run 0 is nan at update 0"):
        agent.learn(10)
    assert torch.equal(agent.model.flat, before)


def test_every_trainer_is_guarded():
    """A new trainer belongs into `trainers.py` and into a test here; debates and planning have no network."""
    guarded = {"reinforce", "world_model_ppo", "vector_ppo", "world_model"}
    assert set(TRAINERS) == guarded | {"planning", "debate"}
