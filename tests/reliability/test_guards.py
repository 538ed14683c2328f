"""Numbers that are not finite stop a trainer, with the step and the name, before anything is updated or saved."""

import importlib
import inspect

import gymnasium as gym
import numpy as np
import pytest
import torch

from tests.reliability.trainers import TRAINERS, _model, balanced, walk
from wm_agents.errors import NonFiniteError
from wm_agents.irl import AdversarialConfig, AdversarialIRL
from wm_agents.policy_gradient.ppo import PPO, PPOConfig
from wm_agents.policy_gradient.reinforce import Reinforce, ReinforceConfig
from wm_agents.training.checkpoints import CheckpointManager
from wm_agents.training.finite import (
    first_non_finite,
    gradient_step,
    non_finite_gradient,
    require_finite,
)
from wm_agents.world_models import FitConfig
from wm_agents.world_models.object_fitting import ObjectConfig
from wm_agents.world_models.objects import ObjectModel


def test_the_tensor_is_named():
    good, bad = torch.ones(2), torch.tensor([1.0, float("nan")])
    assert first_non_finite([("a", good), ("b", bad), ("c", bad)]) == "b"
    assert first_non_finite([("a", good), ("n", torch.tensor(3))]) is None
    require_finite({"a": good}, "update 7")
    with pytest.raises(NonFiniteError, match="b is not finite: a parameter after update 7"):
        require_finite({"a": good, "b": bad}, "a parameter after update 7")
    layer = torch.nn.Linear(2, 1)
    layer.weight.grad, layer.bias.grad = torch.full((1, 2), float("inf")), torch.zeros(1)
    assert non_finite_gradient(layer) == "weight"


def spoil_gradient(module, name):
    """The gradient of one parameter becomes NaN from the second backward on."""
    calls = [0]

    def hook(gradient):
        calls[0] += 1
        return gradient * float("nan") if calls[0] > 1 else gradient

    dict(module.named_parameters())[name].register_hook(hook)


@pytest.mark.parametrize(
    ("label", "options", "name"),
    [
        ("vector_ppo", {}, "policy.layers.0.weight"),
        ("world_model_ppo", {"world_model_coef": 1.0}, "world_model.layers.0.weight"),
    ],
)
def test_a_spoilt_gradient_stops_ppo(tmp_path, counted, label, options, name):
    config = PPOConfig(widths=(8,), num_envs=4, n_steps=8, n_epochs=1, batch_size=32, **options)
    agent = PPO("wm/TMaze-v0", config)
    spoil_gradient(agent, name)
    checkpoints = CheckpointManager(tmp_path)
    with pytest.raises(NonFiniteError, match=f"the gradient of {name} is not finite"):
        agent.learn(160, checkpoints=checkpoints, checkpoint_every=1)
    assert first_non_finite(agent.state_dict().items()) is None
    assert checkpoints.latest().metadata["step"] == 1
    counted("a spoilt gradient stops training, the last good state kept", label, tried=1, failed=0)


def test_one_transition_left_over_is_no_division_by_zero():
    config = PPOConfig(widths=(8,), num_envs=3, n_steps=3, n_epochs=1, batch_size=8)
    agent = PPO("wm/TMaze-v0", config).learn(18)
    assert first_non_finite(agent.state_dict().items()) is None


def test_a_spoilt_gradient_stops_a_fit(tmp_path, counted):
    model = _model(gym.spaces.Box(-np.inf, np.inf, (1,)), gym.spaces.Box(-1, 1, (1,)))
    config = FitConfig(num_updates=40, evaluate_every=5, horizon=2, batch_size=32)
    checkpoints = CheckpointManager(tmp_path)

    def spoil(update, figures):
        if update == 10:
            dict(model.named_parameters())[name].register_hook(
                lambda gradient: gradient * float("inf")
            )

    model.initialize(walk())
    name = next(name for name, _ in model.named_parameters())
    with pytest.raises(NonFiniteError, match=r"the gradient of .* is not finite at update 10"):
        model.fit(walk(), config, checkpoints=checkpoints, on_evaluation=spoil)
    assert first_non_finite(model.state_dict().items()) is None
    assert checkpoints.latest().metadata["step"] == 10
    counted(
        "a spoilt gradient stops training, the last good state kept",
        "world_model",
        tried=1,
        failed=0,
    )


def test_spoilt_parameters_are_never_saved(tmp_path, counted):
    config = ReinforceConfig(episodes_per_update=4, device="cpu")
    agent = Reinforce("wm/TMaze-v0", config)
    path = agent.save(tmp_path / "agent")
    before = path.read_bytes()
    agent.model.flat.view(-1)[3] = float("inf")
    with pytest.raises(
        NonFiniteError, match="parameters is not finite: after update 0, so it is not saved"
    ):
        agent.save(path)
    assert path.read_bytes() == before
    counted(
        "a spoilt gradient stops training, the last good state kept", "reinforce", tried=1, failed=0
    )


def test_a_loss_that_is_not_finite_stops_reinforce_before_the_update():
    agent = Reinforce("wm/TMaze-v0", ReinforceConfig(episodes_per_update=4, device="cpu"))
    parameter = agent.model.parameters[next(iter(agent.model.parameters))]
    parameter.register_hook(lambda gradient: gradient * float("nan"))
    before = agent.model.flat.clone()
    with pytest.raises(NonFiniteError, match="gradient_norm of run 0 is nan at update 0"):
        agent.learn(10)
    assert torch.equal(agent.model.flat, before)


def test_a_spoilt_gradient_stops_every_fit_of_parts(tmp_path, counted):
    from tests.support.marble import ACTIONS, OBSERVATIONS, MarbleView, play

    config = ObjectConfig(width=8, num_updates=20, batch_size=32, min_purity=2.0)
    model, checkpoints = (
        ObjectModel(OBSERVATIONS, ACTIONS, MarbleView(), config),
        CheckpointManager(tmp_path),
    )
    arrange = model.arrange

    def arranged(readers):
        arrange(readers)
        spoil_gradient(model.network(1), "bias")

    model.arrange = arranged
    with pytest.raises(
        NonFiniteError, match="the gradient of bias is not finite at update 1 of score: nothing was"
    ):
        model.fit(play(4, 0), progress=False, checkpoints=checkpoints, checkpoint_every=10)
    assert first_non_finite(model.state_dict().items()) is None
    assert checkpoints.latest().metadata["step"] == 20
    counted(
        "a spoilt gradient stops training, the last good state kept",
        "object_model",
        tried=1,
        failed=0,
    )


def adversarial(**settings):
    from stable_baselines3.common.env_util import make_vec_env

    small = {
        "widths": (8,),
        "num_steps": 16,
        "num_discriminator_updates": 2,
        "batch_size": 16,
        "num_epochs": 1,
    }
    config = AdversarialConfig(
        **{**small, "may_vary_in_length": True, "starts_from_clone": False, **settings}
    )
    return AdversarialIRL(balanced(), make_vec_env("CartPole-v1", 2, seed=4), config, seed=4)


def test_a_spoilt_gradient_stops_adversarial_irl(tmp_path, counted):
    airl, checkpoints = adversarial(), CheckpointManager(tmp_path)
    calls = [0]

    def hook(gradient):
        calls[0] += 1
        return gradient * float("nan") if len(checkpoints.paths()) == 1 else gradient

    dict(airl.reward_network.named_parameters())["perceptron.layers.0.weight"].register_hook(hook)
    with pytest.raises(
        NonFiniteError,
        match=r"the gradient of reward.perceptron.layers.0.weight is not finite at upd",
    ):
        airl.learn(32 * 4, progress_bar=False, checkpoints=checkpoints, checkpoint_every=1)
    assert calls[0] > 2
    assert first_non_finite(airl.reward_network.state_dict().items()) is None
    assert checkpoints.latest().metadata["step"] == 1
    counted(
        "a spoilt gradient stops training, the last good state kept",
        "adversarial_irl",
        tried=1,
        failed=0,
    )


def test_rewards_that_are_not_finite_never_reach_the_learner():
    airl = adversarial()
    with torch.no_grad():
        next(airl.potential.parameters()).fill_(float("inf"))
    before = [parameter.clone() for parameter in airl.learner.policy.parameters()]
    with pytest.raises(NonFiniteError, match="the reward f - log pi is not finite: after"):
        airl.learn(64, progress_bar=False)
    assert all(
        torch.equal(a, b) for a, b in zip(before, airl.learner.policy.parameters(), strict=True)
    )


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_first_observation_that_is_not_finite_stops_adversarial_irl(value):
    from stable_baselines3.common.vec_env import DummyVecEnv

    class Spoilt(gym.Wrapper):
        num_resets = 0

        def reset(self, **options):
            self.num_resets += 1
            seen, info = self.env.reset(**options)
            return (seen if self.num_resets < 4 else np.full_like(seen, value)), info

    small = {
        "widths": (8,),
        "num_steps": 16,
        "num_discriminator_updates": 2,
        "batch_size": 16,
        "num_epochs": 1,
    }
    config = AdversarialConfig(**small, may_vary_in_length=True, starts_from_clone=False)
    airl = AdversarialIRL(
        balanced(), DummyVecEnv([lambda: Spoilt(gym.make("CartPole-v1"))]), config, seed=4
    )
    with pytest.raises(NonFiniteError, match=r"an observation is not finite: after \d+ steps"):
        airl.learn(400, progress_bar=False)


def test_a_step_is_taken_only_with_finite_numbers():
    layer = torch.nn.Linear(2, 1)
    optimizer = torch.optim.SGD(layer.parameters(), 0.5)
    inputs, before = torch.ones(1, 2), layer.weight.detach().clone()
    for spoilt, message in (
        (float("inf"), r"the loss is -?inf at update 3"),
        (float("nan"), "the loss is nan"),
    ):
        with pytest.raises(NonFiniteError, match=message):
            gradient_step(
                (layer(inputs) * spoilt).sum(), optimizer, layer.named_parameters(), "at update 3"
            )
    layer.bias.register_hook(lambda gradient: gradient * float("nan"))
    with pytest.raises(NonFiniteError, match="the gradient of bias is not finite at update 4"):
        gradient_step(layer(inputs).sum(), optimizer, layer.named_parameters(), "at update 4")
    assert torch.equal(layer.weight, before)
    layer = torch.nn.Linear(2, 1)
    before, optimizer = layer.weight.detach().clone(), torch.optim.SGD(layer.parameters(), 0.5)
    loss = layer(inputs).sum()
    assert gradient_step(loss, optimizer, layer.named_parameters(), "", max_norm=1.0) == float(
        loss.detach()
    )
    # The gradient is (1, 1) and 1: norm sqrt(3), scaled to 1.
    torch.testing.assert_close(layer.weight, before - 0.5 / 3**0.5)


@pytest.mark.parametrize("spoilt", ["cloning", "classifier", "spatial", "value", "reward_network"])
def test_every_shorter_fit_descends_by_that_step(spoilt):
    """Those that take no checkpoints have the same guard: none calls an optimiser by itself."""
    modules = {
        "cloning": "wm_agents.irl.cloning", "classifier": "wm_agents.domains.resolutions.classifier",
        "value": "wm_agents.planning.value",
        "spatial": "wm_agents.domains.resolutions.spatial", "reward_network": "wm_agents.irl.sampled",
    }  # fmt: skip
    module = importlib.import_module(modules[spoilt])
    step = getattr(module, "gradient_step", None) or module.descend  # its former name
    assert step is gradient_step
    assert "backward()" not in inspect.getsource(module)


def test_every_trainer_is_guarded():
    """A new trainer belongs into `trainers.py` and into a test here.

    Debates and planning have no network.
    """
    guarded = {
        "reinforce",
        "world_model_ppo",
        "vector_ppo",
        "world_model",
        "object_model",
        "adversarial_irl",
    }
    same_loop = {"ensemble", "recurrent", "latent", "token"}  # as the world model's
    assert set(TRAINERS) == guarded | same_loop | {"planning", "debate"}
