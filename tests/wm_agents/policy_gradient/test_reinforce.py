"""REINFORCE.

Its terms by hand, its guards, resumption bitwise, the interface of Stable-Baselines3, and
learning.
"""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from stable_baselines3.common.evaluation import evaluate_policy
from torch import Tensor

import wm_envs  # noqa: F401  (registers the ids)
from wm_agents.errors import CheckpointError, ConfigError, NonFiniteError
from wm_agents.policy_gradient.collector import StackedBatch
from wm_agents.policy_gradient.prediction_targets import prediction_targets
from wm_agents.policy_gradient.reinforce import (
    LossWeights,
    Reinforce,
    ReinforceConfig,
    UpdateReport,
    other_rows,
    rewards_to_go,
)
from wm_agents.policy_gradient.sequence_model import NetworkConfig
from wm_agents.sb3.vec_env import SB3VecEnv
from wm_agents.training.checkpoints import CheckpointManager, load_checkpoint, save_checkpoint

NETWORK = NetworkConfig(width=16, num_layers=1, num_heads=2, feedforward_width=16, value_width=8)
SMALL = ReinforceConfig(network=NETWORK, episodes_per_update=8, device="cpu")


class Reach(gym.Env[Any, Any]):
    """One step: answer with the number that is shown; pays minus the squared error."""

    observation_space: spaces.Space[Any] = spaces.Box(-1, 1, (1,))
    action_space: spaces.Space[Any] = spaces.Box(-2, 2, (1,))

    def __init__(self, fault: float = 0.0, gain: float = 1.0) -> None:
        self.fault, self.gain = fault, gain

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.goal = self.np_random.uniform(-1, 1, 1).astype(np.float32)
        return self.goal, {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        return (
            self.goal,
            -float((action[0] - self.goal[0]) ** 2) * self.gain + self.fault,
            True,
            False,
            {},
        )


class Narrow(Reach):
    action_space = spaces.Box(4, 5, (1,))


class Endless(gym.Env[Any, Any]):
    """Pays 1 a step; the place grows by one, and nothing or a limit ends the episode."""

    observation_space: spaces.Space[Any] = spaces.Box(-np.inf, np.inf, (2,))
    action_space: spaces.Space[Any] = spaces.Discrete(2)

    def __init__(self, limit: int = 10**9, is_terminated: bool = False, noise: float = 0.0) -> None:
        self.limit, self.is_terminated, self.noise = limit, is_terminated, noise

    def _observe(self) -> Any:
        return np.float32([self.time == 0, self.noise * self.np_random.normal()])

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.time = 0
        return self._observe(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.time += 1
        is_over = self.time >= self.limit
        return (
            self._observe(),
            1.0,
            is_over and self.is_terminated,
            is_over and not self.is_terminated,
            {},
        )


class Lengths(gym.Env[Any, Any]):
    """Episodes of 1 to 3 steps, drawn at the reset and shown.

    Pays the action, and is a success where it was 1.
    """

    observation_space: spaces.Space[Any] = spaces.Discrete(4)
    action_space: spaces.Space[Any] = spaces.Discrete(2)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.left = int(self.np_random.integers(1, 4))
        return self.left, {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.left -= 1
        return self.left, float(action), self.left == 0, False, {"is_success": bool(action)}


def vector(environment: Any, **options: Any) -> Any:
    return lambda num_envs: SyncVectorEnv([lambda: environment(**options)] * num_envs)


def parameters_of(agent: Reinforce) -> Tensor:
    return agent.model.flat.detach().clone()


def batch_of(agent: Reinforce, num_rows: int = 8) -> StackedBatch:
    return agent.collector.collect(agent.model, num_rows, (0, 0))


# --- the terms
# ---------------------------------------------------------------------------------------------------


def test_rewards_to_go_by_hand() -> None:
    rewards = torch.tensor([[1.0, 2.0, 4.0], [0.0, 0.0, 1.0]])
    assert rewards_to_go(rewards, 0.5).tolist() == [[3.0, 4.0, 4.0], [0.25, 0.5, 1.0]]
    assert rewards_to_go(rewards, 1.0).tolist() == [[7.0, 6.0, 4.0], [1.0, 1.0, 1.0]]
    assert rewards_to_go(rewards, 0.0).tolist() == rewards.tolist()
    assert rewards_to_go(rewards[:, :1], 0.5).tolist() == [[1.0], [0.0]]


def test_the_moving_baseline_by_hand() -> None:
    agent = Reinforce(vector(Lengths), replace(SMALL, baseline_decay=0.75, max_episode_steps=4))

    def average(to_go: list[list[float]], mask: list[list[float]]) -> list[float]:
        known = agent._moving_baseline(torch.tensor([to_go]), torch.tensor([mask]))
        agent._baseline = agent._next_baseline
        return known[0, 0].tolist()

    # The first batch is its own baseline, a mean over the episodes that reach the step.
    assert average([[4.0, 2.0], [2.0, 9.0]], [[1, 1], [1, 0]]) == [3.0, 2.0]
    # Then the past counts: before this batch it is 3 and 2, after it 0.75 * 3 + 0.25 * 7 and 0.75 *
    # 2 + 0.25 * 6.
    assert average([[7.0, 6.0, 1.0], [7.0, 6.0, 1.0]], [[1, 1, 1], [1, 1, 1]]) == [3.0, 2.0, 1.0]
    assert average([[0.0, 0.0, 0.0]], [[1, 1, 1]]) == [4.0, 3.0, 1.0]
    assert np.isnan(agent._baseline[0, 3])


def test_updates_move_the_baseline() -> None:
    weights = LossWeights(value=0.0, world_model=0.0)
    agent = Reinforce(vector(Reach), replace(SMALL, weights=weights, baseline_decay=0.5))
    returns: list[float] = []
    agent.learn(16, lambda _, report: returns.append(report.metrics["return"][0]))
    assert len(returns) == 2
    assert agent._baseline[0, 0] == pytest.approx(np.mean(returns), rel=1e-5)
    assert np.isnan(agent._baseline[0, 1:]).all()


def test_stacked_runs_have_baselines_of_their_own() -> None:
    agent = Reinforce(vector(Lengths), replace(SMALL, num_seeds=2))
    to_go = torch.tensor([[[4.0], [2.0]], [[10.0], [20.0]]])
    assert agent._moving_baseline(to_go, torch.ones(2, 2, 1)).flatten().tolist() == [3.0, 15.0]


@pytest.mark.parametrize("baseline", ["moving", "value"])
def test_losses_of_unequal_episodes_equal_their_formulas(baseline: Any) -> None:
    weights = LossWeights(policy=1.0, entropy=0.3, value=0.5, world_model=2.0)
    agent = Reinforce(
        vector(Lengths),
        replace(
            SMALL, weights=weights, baseline=baseline, gamma=0.9, prediction_reward_weight=0.25
        ),
    )
    batch = batch_of(agent, 12)
    terms, bonus = agent._losses(batch)
    logits, values, predicted = outputs_of(agent, batch)
    lengths = batch.mask[0].sum(1).long().tolist()
    assert sorted(set(lengths)) == [1, 2, 3]
    sums = dict.fromkeys(terms, 0.0)
    to_go = [[0.0] * length for length in lengths]
    errors = [[0.0] * length for length in lengths]
    for row, length in enumerate(lengths):
        running = 0.0
        for t in reversed(range(length)):
            target = batch.next_observations[0, row, t]
            errors[row][t] = float((predicted[row, t] - target).square().mean())
            running = float(batch.rewards[0, row, t]) - 0.25 * errors[row][t] + 0.9 * running
            to_go[row][t] = running
    for row, length in enumerate(lengths):
        for t in range(length):
            average = np.mean([to_go[other][t] for other, own in enumerate(lengths) if own > t])
            log_probabilities = logits[row, t].log_softmax(-1)
            reference = average if baseline == "moving" else float(values[row, t])
            chosen = float(log_probabilities[batch.actions[0, row, t]])
            sums["policy"] -= chosen * (to_go[row][t] - reference)
            sums["entropy"] += float((log_probabilities.exp() * log_probabilities).sum())
            sums["value"] += 0.5 * (float(values[row, t]) - to_go[row][t]) ** 2
            sums["world_model"] += errors[row][t]
    expected = {name: total / sum(lengths) for name, total in sums.items()}
    assert {name: term.item() for name, term in terms.items()} == pytest.approx(
        expected, rel=1e-4, abs=1e-6
    )
    assert bonus[0] == pytest.approx(-np.mean([sum(error) for error in errors]), rel=1e-5)


def outputs_of(agent: Reinforce, batch: StackedBatch) -> tuple[Tensor, Tensor, Tensor]:
    """Logits [R, T, A], values [R, T] and predictions [R, T, O] of the only run."""
    tokens = agent.model.encode(batch.inputs).flatten(1, 2)
    features = torch.nn.functional.one_hot(batch.actions.flatten(1), 2).float()
    outputs = (
        agent.model.policy(tokens),
        agent.model.value(tokens),
        agent.model.next_observation(tokens, features),
    )
    shape = batch.mask.shape[1:]
    return tuple(output.detach()[0].unflatten(0, shape) for output in outputs)  # type: ignore[return-value]


def test_gaussian_log_probability_and_entropy_equal_pytorchs() -> None:
    agent = Reinforce(vector(Reach), SMALL)
    with torch.no_grad():
        agent.model.parameters["log_std"].fill_(-0.4)
    batch = batch_of(agent)
    tokens = agent.model.encode_first(batch.inputs.squeeze(2))[0]
    log_probability, entropy = agent._policy_terms(tokens, batch.actions.flatten(1, 2))
    distribution = torch.distributions.Normal(agent.model.policy(tokens), math.exp(-0.4))
    expected = distribution.log_prob(batch.actions.flatten(1, 2)).sum(-1)
    torch.testing.assert_close(log_probability, expected)
    torch.testing.assert_close(entropy, distribution.entropy().sum(-1))


def test_the_world_model_is_told_the_action_that_was_executed() -> None:
    agent = Reinforce(vector(Reach), SMALL)
    batch = batch_of(agent, 200)
    is_beyond = batch.actions.abs() > 2
    assert is_beyond.any()
    tokens = agent.model.encode_first(batch.inputs.squeeze(2))[0]
    predicted = agent.model.next_observation(tokens, batch.actions.flatten(1, 2).clamp(-2, 2))
    expected = (predicted - batch.next_observations.flatten(1, 2)).square().mean(-1)
    errors = agent._prediction_errors(tokens, batch.actions.flatten(1, 2), batch)
    torch.testing.assert_close(errors, expected)


def test_a_normalized_advantage_scales_the_policy_term_and_no_other() -> None:
    config = replace(SMALL, prediction_reward_weight=0.0)
    plain = Reinforce(vector(Lengths), config)
    normal = Reinforce(vector(Lengths), replace(config, normalize_advantage=True))
    batch = batch_of(plain)
    terms, scaled = plain._losses(batch)[0], normal._losses(batch)[0]
    to_go, mask = rewards_to_go(batch.rewards, config.gamma), batch.mask
    means = (to_go * mask).sum(1, keepdim=True) / mask.sum(1, keepdim=True).clamp(min=1)
    spread = (((to_go - means) * mask).square().sum((1, 2)) / mask.sum((1, 2))).sqrt()
    torch.testing.assert_close(scaled["policy"], terms["policy"] / (spread + 0.05))
    for name in terms.keys() - {"policy"}:
        torch.testing.assert_close(scaled[name], terms[name])


def test_the_value_head_is_a_spectator_of_the_moving_baseline() -> None:
    def touched(baseline: Any) -> set[str]:
        agent = Reinforce(vector(Lengths), replace(SMALL, baseline=baseline))
        agent.model.backward(agent._losses(batch_of(agent))[0]["value"].sum())
        gradients = {name: parameter.grad for name, parameter in agent.model.parameters.items()}
        return {
            name
            for name, gradient in gradients.items()
            if gradient is not None and (gradient != 0).any()
        }

    assert {name.split(".")[0] for name in touched("moving")} == {"value"}
    assert {name.split(".")[0] for name in touched("value")} == {"value", "block0", "encoder"}


def test_terms_without_weight_are_not_computed() -> None:
    weights = LossWeights(entropy=0.0, value=0.0, world_model=0.0)
    agent = Reinforce(vector(Lengths), replace(SMALL, weights=weights))
    terms, bonus = agent._losses(batch_of(agent))
    assert terms.keys() == {"policy"}
    assert bonus.tolist() == [0.0]
    reports: list[UpdateReport] = []
    agent.learn(8, lambda _, report: reports.append(report))
    assert reports[0].metrics.keys() == {
        "policy",
        "gradient_norm",
        "return",
        "prediction_reward",
        "success",
    }


def test_each_run_is_clipped_by_its_own_norm() -> None:
    agent = Reinforce(vector(Lengths), replace(SMALL, num_seeds=2, max_grad_norm=0.5))
    gradient = torch.zeros_like(agent.model.flat_gradient)
    gradient[0, 0], gradient[0, 1], gradient[1, 2] = 3.0, 4.0, 0.25
    agent.model.backward = lambda loss: agent.model.flat_gradient.copy_(gradient)  # type: ignore[method-assign]
    norms = agent._descend(torch.zeros(()))
    assert norms.tolist() == [5.0, 0.25]
    assert agent.model.flat_gradient[0, :2].tolist() == pytest.approx([0.3, 0.4], rel=1e-5)
    assert agent.model.flat_gradient[1, 2] == 0.25


# --- the placebo
# -------------------------------------------------------------------------------------------------


def test_no_row_is_its_own_placebo() -> None:
    for seed in range(200):
        others = other_rows(7, np.random.default_rng(seed))
        assert sorted(others) == list(range(7))
        assert (others != np.arange(7)).all()
    firsts = {int(other_rows(7, np.random.default_rng(seed))[0]) for seed in range(200)}
    assert firsts == set(range(1, 7))


def test_placebo_targets_are_those_of_other_episodes_of_the_same_run() -> None:
    agent = Reinforce(
        "wm/PatternEcho-v0", replace(SMALL, num_seeds=3, world_model_target="shuffled")
    )
    batch = batch_of(agent)
    marks = torch.arange(24.0).view(3, 8, 1, 1).expand_as(batch.next_observations)
    batch = replace(batch, observations=torch.cat([marks[:, :, :1], marks], 2))
    tokens = agent.model.encode_first(batch.inputs.squeeze(2))[0]
    agent.model.next_observation = lambda tokens, actions: torch.zeros(3, 8, 8)  # type: ignore[method-assign]

    def targets() -> Tensor:
        return agent._prediction_errors(tokens, batch.actions.flatten(1, 2), batch).sqrt().round()

    first = targets()
    for run in range(3):
        assert sorted(first[run].tolist()) == list(range(8 * run, 8 * run + 8))
        assert (first[run] != marks[run, :, 0, 0]).all()
    assert torch.equal(first, targets())
    agent.num_updates += 1
    assert not torch.equal(first, targets())
    agent.config = replace(agent.config, world_model_target="next")
    assert torch.equal(targets(), marks[:, :, 0, 0])


def test_controls_predict_the_past_the_reward_and_not_the_ignored_columns() -> None:
    def errors(**options: Any) -> Tensor:
        agent = Reinforce("wm/TMaze-v0", replace(SMALL, **options))
        agent.model.next_observation = lambda tokens, actions: torch.zeros(  # type: ignore[method-assign]
            1, 16, 18
        )
        observations = torch.arange(1.0, 10.0).view(1, 1, 9, 1).repeat(1, 2, 1, 18)
        observations[..., 3] = 100.0
        batch = replace(
            agent.collector.collect(agent.model, 2, (0, 0), None),
            observations=observations,
            rewards=torch.full((1, 2, 8), 5.0),
        )
        tokens, actions = torch.zeros(1, 16, 64), batch.actions.flatten(1, 2)
        found = agent._prediction_errors(tokens, actions, batch).sqrt()
        return found.view(2, 8)[0]

    without = {"ignored_targets": (3,), "normalize_observations": False}
    # Approximately, since the order in which a processor sums is its own.
    assert errors(**without).tolist() == pytest.approx([2, 3, 4, 5, 6, 7, 8, 9])
    past = errors(world_model_target="previous", **without)
    assert past.tolist() == pytest.approx([1, 1, 2, 3, 4, 5, 6, 7])
    assert errors(world_model_target="reward").tolist() == pytest.approx([5] * 8)
    with pytest.raises(ConfigError, match=r"ignored_targets=\(18,\).*0 to 17"):
        Reinforce("wm/TMaze-v0", replace(SMALL, ignored_targets=(18,)))
    latent = replace(SMALL, ignored_targets=(3,), world_model_target="latent")
    with pytest.raises(ConfigError, match=r"ignored_targets=\(3,\).*predicts no columns"):
        Reinforce("wm/TMaze-v0", latent)


def test_two_steps_on_is_the_last_observation_again_at_an_episodes_end() -> None:
    agent = Reinforce(vector(Lengths), replace(SMALL, world_model_target="next_two"))
    batch = batch_of(agent, 12)
    size = batch.observations.shape[-1]
    found = prediction_targets("next_two", batch, agent.model, (0,)).unflatten(1, (12, -1))
    assert found.shape[-1] == agent.sizes.num_predictions == 2 * size
    for row, length in enumerate(batch.mask[0].sum(1).long().tolist()):
        shown = batch.observations[0, row]
        for step in range(length):
            assert torch.equal(found[0, row, step, :size], shown[step + 1])
            later = shown[min(step + 2, length)]
            assert torch.equal(found[0, row, step, size:], later)
    assert np.isfinite(agent.prediction_error(batch)).all()


def test_latents_are_the_standardized_tokens_of_the_next_step() -> None:
    agent = Reinforce("wm/TMaze-v0", replace(SMALL, world_model_target="latent"))
    batch = batch_of(agent, 4)
    found = prediction_targets("latent", batch, agent.model, (0,)).view(4, 8, -1)
    tokens = agent.model.encode(batch.observations)[0, :, 1:]
    torch.testing.assert_close(
        found, torch.nn.functional.layer_norm(tokens, (16,)), rtol=1e-4, atol=1e-5
    )
    assert not found.requires_grad
    with pytest.raises(ConfigError, match='not world_model_target="latent"'):
        agent.prediction_error(batch)


# --- steps that are shortened
# ---------------------------------------------------------------------------------------------------


def test_a_trust_region_bounds_the_divergence_of_each_run() -> None:
    eager = replace(SMALL, num_seeds=2, learning_rate=0.1)
    for target, bound in ((None, math.inf), (1e-3, 2e-3)):
        agent = Reinforce("wm/PatternEcho-v0", replace(eager, target_kl=target))
        batch = batch_of(agent)
        old = agent._log_probs(batch)
        agent._train_on(batch)
        divergence = agent._divergence(old, batch)
        assert (divergence < bound).all()
        assert (divergence > 5e-4).all()


def test_mastery_shortens_steps_and_only_that_of_the_last_level_counts() -> None:
    config = replace(SMALL, num_seeds=2, mastery_decay=1.0)
    agent = Reinforce("wm/SequenceNext-v0", config, levels=[{"level": 1}, {"level": 2}])
    agent._record_success(np.array([1.0, 1.0]), [0, 1])
    assert agent._success.tolist() == [0.0, pytest.approx(0.1)]
    agent._success = np.array([0.0, 1.0])
    before = agent.model.flat.clone()
    agent._train_on(batch_of(agent))
    moved = (agent.model.flat - before).abs().amax(1)
    assert moved[0] > 0
    assert moved[1] == 0


def test_mastery_of_what_reports_no_success_is_refused() -> None:
    agent = Reinforce(vector(Reach), replace(SMALL, mastery_decay=1.0))
    with pytest.raises(ConfigError, match="which mastery_decay goes by: set it to 0"):
        agent.learn(1)


# --- bad input
# ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_seeds": 0}, r"ReinforceConfig\.num_seeds is at least 1, got 0"),
        (
            {"episodes_per_update": -3},
            r"ReinforceConfig\.episodes_per_update is at least 1, got -3",
        ),
        ({"max_episode_steps": 0}, r"ReinforceConfig\.max_episode_steps is at least 1, got 0"),
        ({"learning_rate": 0.0}, r"ReinforceConfig\.learning_rate is positive, got 0\.0"),
        ({"learning_rate": math.nan}, r"ReinforceConfig\.learning_rate is positive, got nan"),
        (
            {"max_grad_norm": math.inf},
            r"ReinforceConfig\.max_grad_norm is positive, got inf",
        ),
        ({"gamma": 1.5}, r"ReinforceConfig\.gamma lies in \[0, 1\], got 1\.5"),
        ({"baseline_decay": -0.1}, r"ReinforceConfig\.baseline_decay lies in \[0, 1\], got -0\.1"),
        ({"target_kl": 0.0}, r"ReinforceConfig\.target_kl is positive, got 0\.0"),
        ({"mastery_decay": -1.0}, r"ReinforceConfig\.mastery_decay is at least 0, got -1\.0"),
        ({"baseline": "mean"}, r"ReinforceConfig\.baseline is one of .*'value'.*, got 'mean'"),
        (
            {"world_model_target": "noise"},
            r"ReinforceConfig\.world_model_target is one of .*, got 'noise'",
        ),
        (
            {"weights": LossWeights(entropy=-1.0)},
            r"LossWeights\.entropy is not negative, got -1\.0",
        ),
        (
            {"weights": LossWeights(policy=math.nan)},
            r"LossWeights\.policy is not negative, got nan",
        ),
        (
            {"weights": LossWeights(0.0, 0.0, 0.0, 0.0)},
            "all of LossWeights are 0.*: give one above 0",
        ),
        ({"weights": LossWeights(value=0.0), "baseline": "value"}, r"give weights\.value above 0"),
        (
            {"world_model_target": "shuffled", "episodes_per_update": 1},
            "episodes_per_update is 1: give more",
        ),
    ],
)
def test_bad_settings_name_the_value_and_the_remedy(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ReinforceConfig(**options)


def test_bad_requests_name_the_value_and_the_remedy(tmp_path: Path) -> None:
    agent = Reinforce(vector(Lengths), SMALL)
    with pytest.raises(ConfigError, match="total_timesteps is at least 1, got 0"):
        agent.learn(0)
    with pytest.raises(ConfigError, match="checkpoint_every is at least 1, got 0"):
        agent.learn(8, checkpoints=CheckpointManager(tmp_path), checkpoint_every=0)
    with pytest.raises(ConfigError, match="device 'abacus' is not here: give 'auto' or 'cpu'"):
        Reinforce(vector(Lengths), replace(SMALL, device="abacus"))
    with pytest.raises(ConfigError, match="seed=-1; give an integer"):
        Reinforce(vector(Lengths), SMALL, seed=-1)
    with pytest.raises(ConfigError, match="takes no options"):
        Reinforce(vector(Lengths), SMALL, env_kwargs={"level": 2})
    with pytest.raises(gym.error.NameNotFound, match="Nowhere"):
        Reinforce("wm/Nowhere-v0", SMALL)
    assert agent.num_updates == 0


class Odd(gym.Env[Any, Any]):
    """Any spaces; the episode is two steps long."""

    def __init__(self, observation_space: Any, action_space: Any) -> None:
        self.observation_space = observation_space
        self.action_space = action_space

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.observation_space.seed(seed)
        self.time = 0
        return self.observation_space.sample(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        assert self.action_space.contains(action), action
        self.time += 1
        return self.observation_space.sample(), 1.0, False, self.time == 2, {}


@pytest.mark.parametrize(
    ("observation_space", "action_space"),
    [
        (
            spaces.Dict({"x": spaces.Box(-1, 1, (2,)), "mode": spaces.Discrete(3, start=1)}),
            spaces.MultiDiscrete([2, 3]),
        ),
        (
            spaces.Tuple((spaces.Discrete(2), spaces.MultiBinary(2))),
            spaces.Dict({"a": spaces.Discrete(2), "b": spaces.Box(0, 5, (2,))}),
        ),
        (spaces.Box(0, 255, (2, 2), np.uint8), spaces.Box(-2, 3, (2, 1), np.int64)),
        (spaces.MultiBinary(3), spaces.MultiBinary([2, 2])),
        (spaces.MultiDiscrete([2, 3]), spaces.Discrete(3, start=-1)),
    ],
)
def test_every_space_is_served(observation_space: Any, action_space: Any, tmp_path: Path) -> None:
    make = vector(Odd, observation_space=observation_space, action_space=action_space)
    agent = Reinforce(make, replace(SMALL, has_previous_step=True)).learn(16)
    assert agent.prediction_error(agent.evaluate(2)).shape == (1,)
    agent = Reinforce(make, SMALL).learn(16)
    observation_space.seed(0)
    observation = observation_space.sample()
    action, _ = agent.predict(observation, deterministic=True)
    assert action_space.contains(action)
    again = Reinforce.load(agent.save(tmp_path / "agent"), make)
    np.testing.assert_equal(again.predict(observation, deterministic=True)[0], action)
    rows = agent.spaces.observations.decode(np.zeros((3, agent.spaces.observations.size)))
    actions, _ = agent.predict(rows)
    assert len(agent.spaces.actions.encode(actions)) == 3


def test_what_is_printed_is_short() -> None:
    agent = Reinforce("wm/PatternEcho-v0", SMALL).learn(8)
    for shown in (repr(agent), repr(agent.evaluate(3))):
        assert "\n" not in shown
        assert "object at 0x" not in shown
    assert "3 episodes" in repr(agent.evaluate(3))


def test_levels_without_reported_success_are_refused() -> None:
    levels = [{"sutton_barto_reward": False}, {"sutton_barto_reward": True}]
    agent = Reinforce("CartPole-v1", replace(SMALL, max_episode_steps=3), levels=levels)
    before = parameters_of(agent)
    with pytest.raises(ConfigError, match=r'reports no info\["is_success"\]'):
        agent.learn(24)
    assert torch.equal(before, parameters_of(agent))


@pytest.mark.parametrize(
    ("fault", "remedy"),
    [(math.nan, "repair the environment"), (math.inf, "repair"), (1e38, "scale .* or lower")],
)
def test_numbers_that_are_not_finite_leave_everything_as_it_was(fault: float, remedy: str) -> None:
    agent = Reinforce(vector(Reach), replace(SMALL, num_seeds=2))
    agent.learn(16)
    tensors, metadata = agent._state()
    before = {name: tensor.clone() for name, tensor in tensors.items()}
    agent.collector.makers = [vector(Reach, fault=fault)]
    agent.collector.close()
    with pytest.raises(
        NonFiniteError, match=rf"of run 0 is .* at update 2: nothing was updated; {remedy}"
    ):
        agent.learn(24)
    after, metadata_after = agent._state()
    assert metadata_after == metadata
    assert before.keys() == after.keys()
    for name, tensor in after.items():
        torch.testing.assert_close(tensor, before[name], rtol=0, atol=0, equal_nan=True)


def test_a_gradient_that_is_not_finite_leaves_everything_as_it_was() -> None:
    agent = Reinforce(vector(Reach), replace(SMALL, num_seeds=2))
    agent.learn(16)
    before, baseline = parameters_of(agent), agent._baseline.copy()
    real = agent.model.backward

    def spoilt(loss: Tensor) -> Tensor:
        gradient = real(loss)
        gradient[1, 5] = math.nan
        return gradient

    agent.model.backward = spoilt  # type: ignore[method-assign]
    with pytest.raises(NonFiniteError, match="gradient_norm of run 1 is nan at update 2"):
        agent.learn(24)
    assert torch.equal(before, parameters_of(agent))
    assert np.array_equal(baseline, agent._baseline, equal_nan=True)


# --- files and resumption
# ----------------------------------------------------------------------------------------

LEVELS = [{"level": 1}, {"level": 2}]
# PatternEcho's levels differ in size; those of SequenceNext differ in difficulty only.
RESUMED: dict[str, tuple[str, ReinforceConfig, dict[str, Any]]] = {
    "one step": ("wm/PatternEcho-v0", SMALL, {}),
    "stacked": ("wm/PatternEcho-v0", replace(SMALL, num_seeds=3), {}),
    "value baseline": ("wm/Navigation-v0", replace(SMALL, baseline="value"), {}),
    "many steps": ("wm/TMaze-v0", replace(SMALL, has_previous_step=True), {}),
    "placebo": ("wm/Navigation-v0", replace(SMALL, num_seeds=2, world_model_target="shuffled"), {}),
    "two steps ahead": (
        "wm/Navigation-v0",
        replace(SMALL, world_model_target="next_two", mastery_decay=1.0, target_kl=1e-3),
        {},
    ),
    "a gated memory": (
        "wm/TMaze-v0",
        replace(SMALL, network=replace(NETWORK, memory="gru"), world_model_target="latent"),
        {},
    ),
    "continuous": ("Pendulum-v1", replace(SMALL, max_episode_steps=4, gamma=0.9), {}),
    "curriculum": (
        "wm/SequenceNext-v0",
        replace(SMALL, num_seeds=3, learning_rate=1e-2),
        {"levels": LEVELS, "mastery": 0.3, "window": 10},
    ),
}


def assert_same_state(first: Reinforce, second: Reinforce) -> None:
    (tensors, metadata), (others, other_metadata) = first._state(), second._state()
    assert metadata == other_metadata
    assert tensors.keys() == others.keys() >= {"parameters", "baseline", "adam.first", "adam.step"}
    for name, tensor in tensors.items():
        torch.testing.assert_close(tensor, others[name], rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("name", list(RESUMED))
def test_a_resumed_run_equals_the_uninterrupted_one_to_the_bit(name: str, tmp_path: Path) -> None:
    env_id, config, options = RESUMED[name]

    def update_times(agent: Reinforce, num_updates: int) -> list[dict[str, Any]]:
        reports: list[UpdateReport] = []

        def keep(_: Reinforce, report: UpdateReport) -> bool:
            reports.append(report)
            return agent.num_updates < num_updates

        agent.learn(10**9, keep)
        return [report.metrics for report in reports]

    whole = Reinforce(env_id, config, seed=11, **options)
    expected = update_times(whole, 30)
    first = Reinforce(env_id, config, seed=11, **options)
    metrics = update_times(first, 14)
    path = first.save(tmp_path / "agent.safetensors")
    second = Reinforce.load(path)
    assert_same_state(first, second)
    metrics += update_times(second, 30)
    assert_same_state(whole, second)
    assert len(metrics) == len(expected) == 30
    for ours, theirs in zip(metrics, expected, strict=True):
        assert {n: values.tolist() for n, values in ours.items()} == {
            n: v.tolist() for n, v in theirs.items()
        }
    if name == "curriculum":
        assert whole.curriculum is not None
        assert whole.curriculum.level_indices.max() == 1


def test_a_killed_run_goes_on_from_its_newest_checkpoint_to_the_bit(tmp_path: Path) -> None:
    def agent() -> Reinforce:
        return Reinforce("wm/Navigation-v0", replace(SMALL, num_seeds=2), seed=3)

    def manager(name: str) -> CheckpointManager:
        return CheckpointManager(tmp_path / name, kind="reinforce")

    whole = agent().learn(24 * 12, checkpoints=manager("whole"), checkpoint_every=5)
    killed = manager("killed")

    def kill(_: Reinforce, report: UpdateReport) -> None:
        if report.update == 8:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        agent().learn(24 * 12, kill, checkpoints=killed, checkpoint_every=5)
    latest = killed.latest()
    assert latest is not None
    resumed = Reinforce.from_checkpoint(latest)
    assert resumed.num_updates == 5
    resumed.learn(24 * 12, checkpoints=killed, checkpoint_every=5)
    assert_same_state(whole, resumed)
    assert [path.name for path in killed.paths()] == [
        path.name for path in manager("whole").paths()
    ]
    assert killed.paths()[-1].read_bytes() == manager("whole").paths()[-1].read_bytes()


def test_a_finished_run_has_nothing_left_to_learn(tmp_path: Path) -> None:
    agent = Reinforce("wm/PatternEcho-v0", SMALL).learn(64)
    before = parameters_of(agent)
    Reinforce.learn(agent, 64, checkpoints=CheckpointManager(tmp_path), checkpoint_every=3)
    assert agent.num_updates == 8
    assert torch.equal(before, parameters_of(agent))


def test_a_second_learn_says_that_it_does_nothing_or_goes_on() -> None:
    agent = Reinforce("wm/PatternEcho-v0", SMALL).learn(64)
    with pytest.warns(
        UserWarning, match=r"Reinforce\.learn has nothing left to do: 64 of 64 steps"
    ):
        agent.learn(64)
    num_updates = agent.num_updates
    agent.learn(128)
    assert agent.num_updates == 2 * num_updates


def test_agents_of_functions_need_their_environment_to_load(tmp_path: Path) -> None:
    agent = Reinforce(vector(Reach), SMALL).learn(16)
    path = agent.save(tmp_path / "agent.safetensors")
    with pytest.raises(CheckpointError, match=r"give load\(\) the environment"):
        Reinforce.load(path)
    copy = Reinforce.load(path, vector(Reach))
    assert_same_state(agent, copy)
    with pytest.raises(
        CheckpointError, match=r"trained on spaces of sizes .* this environment has"
    ):
        Reinforce.load(path, vector(Lengths))


def test_foreign_and_damaged_checkpoints_give_one_error(tmp_path: Path) -> None:
    agent = Reinforce("wm/PatternEcho-v0", SMALL).learn(16)
    path = agent.save(tmp_path / "agent.safetensors")
    data = path.read_bytes()
    with pytest.raises(CheckpointError, match="cannot read checkpoint"):
        Reinforce.load(tmp_path / "none.safetensors")
    for place in (100, len(data) // 2, len(data) - 1):
        path.write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
        with pytest.raises(CheckpointError, match="damaged"):
            Reinforce.load(path)
    path.write_bytes(data[:-50])
    with pytest.raises(CheckpointError):
        Reinforce.load(path)
    save_checkpoint(path, {"parameters": torch.zeros(1)}, {"kind": "planner"})
    with pytest.raises(CheckpointError, match="of kind 'planner', not 'reinforce'"):
        Reinforce.load(path)
    with pytest.raises(CheckpointError, match="of kind 'planner', not 'reinforce'"):
        Reinforce.from_checkpoint(load_checkpoint(path))


@pytest.mark.parametrize(
    "change", ["no config", "unknown setting", "bad setting", "no parameters", "other shape"]
)
def test_checkpoints_of_other_versions_give_one_error(tmp_path: Path, change: str) -> None:
    tensors, metadata = Reinforce("wm/PatternEcho-v0", SMALL)._state()
    config = dict(metadata["config"])
    if change == "no config":
        del metadata["config"]
    elif change == "no parameters":
        del tensors["parameters"]
    elif change == "other shape":
        tensors["parameters"] = torch.zeros(1, 7)
    else:
        metadata["config"] = config | (
            {"colour": 3} if change == "unknown setting" else {"discount": 3.0}
        )
    path = save_checkpoint(tmp_path / "agent.safetensors", tensors, metadata)
    with pytest.raises(CheckpointError, match="not a checkpoint of this version's Reinforce"):
        Reinforce.load(path)


def test_an_unwritable_folder_gives_one_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(CheckpointError, match="give a writable folder"):
        Reinforce("wm/PatternEcho-v0", SMALL).save(tmp_path / "file" / "agent.safetensors")


@pytest.mark.parametrize("is_continuous", [False, True])
def test_files_of_before_standardization_act_on_raw_numbers(
    tmp_path: Path, is_continuous: bool
) -> None:
    def make(num_envs: int) -> Any:
        return vector(Reach)(num_envs) if not is_continuous else vector(Narrow)(num_envs)

    agent = Reinforce(make, SMALL).learn(16)
    tensors, metadata = agent._state()
    tensors = {name: value for name, value in tensors.items() if "units." not in name}
    config = {
        name: value
        for name, value in metadata["config"].items()
        if name != "normalize_observations"
    }
    metadata = {name: value for name, value in metadata.items() if name != "acts_in_units"} | {
        "config": config
    }
    path = save_checkpoint(tmp_path / "agent.safetensors", tensors, metadata)
    if is_continuous:
        with pytest.raises(CheckpointError, match="raw numbers"):
            Reinforce.load(path, make)
        return
    old = Reinforce.load(path, make)
    assert not old.config.normalize_observations
    inputs = torch.tensor([[[7.0]]])
    assert torch.equal(old.model.input_units.normalize(inputs), inputs)


# --- predict
# -----------------------------------------------------------------------------------------------------


def test_predict_takes_one_observation_or_a_batch() -> None:
    agent = Reinforce("wm/PatternEcho-v0", SMALL, seed=2)
    symbols = np.eye(8, dtype=np.float32)
    actions, _ = agent.predict(symbols, deterministic=True)
    assert actions.shape == (8,)
    for symbol, action in zip(symbols, actions, strict=True):
        single, _ = agent.predict(symbol, deterministic=True)
        assert np.ndim(single) == 0
        assert single == action
    assert len({int(agent.predict(symbols[0])[0]) for _ in range(60)}) > 1


def test_predict_serves_discrete_observations_and_box_actions() -> None:
    discrete = Reinforce(vector(Lengths), SMALL)
    assert discrete.predict(2, deterministic=True)[0] in (0, 1)
    assert discrete.predict(np.array([1, 2, 3]), deterministic=True)[0].shape == (3,)
    box = Reinforce(vector(Reach), SMALL)
    actions = np.concatenate([box.predict(np.float32([[0.5]] * 50))[0] for _ in range(4)])
    assert actions.shape == (200, 1)
    assert actions.min() == -2
    assert actions.max() == 2
    assert box.predict(np.float32([0.5]))[0].shape == (1,)
    first, second = (box.predict(np.float32([0.5]), deterministic=True)[0] for _ in range(2))
    assert first == second


def test_an_episode_start_is_a_fresh_state() -> None:
    agent = Reinforce("wm/TMaze-v0", SMALL, seed=2)
    rng = np.random.default_rng(0)
    observations = rng.normal(size=(9, 3, *agent.spaces.observation_space.shape)).astype(np.float32)  # type: ignore[misc]
    starts = np.zeros((9, 3), np.bool_)
    starts[0] = starts[4, 1] = starts[7, 2] = starts[8, 2] = True
    logits, cache = [], None
    for observation, start in zip(observations, starts, strict=True):
        tokens, cache = agent._predict_tokens(
            agent.spaces.encode_observations(observation), cache, start, 0
        )
        logits.append(agent.model.policy(tokens)[0])
    for row in range(3):
        begin = 0
        for step in range(9):
            begin = step if starts[step, row] else begin
            alone = torch.from_numpy(observations[begin : step + 1, row])[None, None]
            expected = agent.model.policy(agent.model.encode(alone)[:, :, -1])[0, 0]
            torch.testing.assert_close(logits[step][row], expected, rtol=1e-4, atol=1e-5)


def test_a_state_can_be_used_twice() -> None:
    agent = Reinforce("wm/TMaze-v0", SMALL, seed=2)
    observation = np.ones((2, *agent.spaces.observation_space.shape), np.float32)  # type: ignore[misc]
    _, state = agent.predict(observation, deterministic=True)
    once = agent._predict_tokens(torch.from_numpy(observation), state, None, 0)[0]
    again = agent._predict_tokens(torch.from_numpy(observation), state, np.zeros(2, np.bool_), 0)[0]
    assert torch.equal(once, again)
    assert state.time == 1


def test_each_member_of_the_stack_can_act() -> None:
    agent = Reinforce("wm/PatternEcho-v0", replace(SMALL, num_seeds=3), seed=2)
    symbols = np.eye(8, dtype=np.float32)
    tokens = agent.model.encode_first(torch.eye(8).expand(3, 8, 8))[0]
    likeliest = agent.model.policy(tokens).argmax(-1).numpy()
    assert len({tuple(row) for row in likeliest.tolist()}) == 3
    for member in range(3):
        assert (
            agent.predict(symbols, deterministic=True, member=member)[0] == likeliest[member]
        ).all()


def test_predict_refuses_tokens_that_need_rewards() -> None:
    agent = Reinforce("wm/TMaze-v0", replace(SMALL, has_previous_step=True))
    with pytest.raises(ConfigError, match=r"use evaluate\(\) instead"):
        agent.predict(np.zeros((1, *agent.spaces.observation_space.shape), np.float32))  # type: ignore[misc]


def test_sb3_evaluates_it_alone_and_in_rows() -> None:
    agent = Reinforce("wm/Navigation-v0", replace(SMALL, episodes_per_update=16), seed=1).learn(
        3 * 16 * 5
    )
    own = agent.evaluate(300)
    assert own.successes is not None
    env = SB3VecEnv(gym.make_vec("wm/Navigation-v0", 20, autoreset_mode=AutoresetMode.SAME_STEP))
    env.seed(5)
    in_rows, _ = evaluate_policy(agent, env, 300, warn=False)  # type: ignore[arg-type]
    assert in_rows == pytest.approx(own.successes.mean(), abs=0.12)
    single, _ = evaluate_policy(agent, gym.make("wm/Navigation-v0"), 20, warn=False)  # type: ignore[arg-type]
    assert 0 <= single <= 1


# --- learning
# ----------------------------------------------------------------------------------------------------


def test_pattern_echo_is_learned_within_200_updates() -> None:
    agent = Reinforce("wm/PatternEcho-v0", ReinforceConfig(device="cpu"), seed=0)
    assert agent.evaluate(200).returns.mean() < 0.4
    agent.learn(64 * 200)
    assert agent.num_updates == 200
    assert agent.evaluate(500).returns.mean() >= 0.9


def test_a_continuous_answer_is_learned() -> None:
    # Standing still gives -1/3, the mean square of a uniform goal.
    agent = Reinforce(
        vector(Reach), replace(SMALL, episodes_per_update=64, learning_rate=1e-2), seed=0
    )
    agent.learn(64 * 150)
    assert agent.evaluate(200).returns.mean() > -0.03


def test_the_value_baseline_and_the_previous_step_learn_too() -> None:
    config = replace(
        SMALL, episodes_per_update=64, learning_rate=5e-3, baseline="value", has_previous_step=True
    )
    agent = Reinforce("wm/PatternEcho-v0", config, seed=0).learn(64 * 150)
    assert agent.evaluate(200).returns.mean() >= 0.9


def test_the_world_model_learns_what_follows_and_the_placebo_cannot() -> None:
    def error(target: Any) -> float:
        config = replace(
            SMALL, episodes_per_update=64, learning_rate=1e-2, world_model_target=target
        )
        last: list[float] = []
        Reinforce("wm/SequenceNext-v0", config).learn(
            64 * 100, lambda _, report: last.append(report.metrics["world_model"][0])
        )
        return float(np.mean(last[-10:]))

    # The successor is one of four symbols: a constant guess errs by (1/4)(3/4) in four of eight
    # numbers.
    assert error("next") < 0.01
    assert error("shuffled") > 0.085


def test_a_callback_that_returns_false_stops_and_what_was_learned_is_kept(tmp_path: Path) -> None:
    reports: list[UpdateReport] = []

    def stop(agent: Reinforce, report: UpdateReport) -> bool:
        reports.append(report)
        return report.update < 3

    checkpoints = CheckpointManager(tmp_path)
    agent = Reinforce("wm/Navigation-v0", replace(SMALL, num_seeds=2)).learn(
        10_000, stop, checkpoints=checkpoints
    )
    assert [report.update for report in reports] == [1, 2, 3]
    assert [report.num_episodes for report in reports] == [8, 16, 24]
    assert [report.num_steps.tolist() for report in reports] == [[24, 24], [48, 48], [72, 72]]
    assert agent.num_updates == 3
    assert [path.stem for path in checkpoints.paths()] == ["step_000000000003"]


def test_the_logger_receives_means_over_the_runs() -> None:
    class Keeping:
        def __init__(self) -> None:
            self.lines: list[tuple[int, dict[str, float]]] = []

        def log(self, step: int, metrics: Any) -> None:
            self.lines.append((step, dict(metrics)))

        def close(self) -> None: ...

    logger, reports = Keeping(), list[UpdateReport]()
    agent = Reinforce("wm/Navigation-v0", replace(SMALL, num_seeds=2))
    agent.learn(48, lambda _, report: reports.append(report), logger=logger)
    assert [step for step, _ in logger.lines] == [24, 48]
    for (_, metrics), report in zip(logger.lines, reports, strict=True):
        assert metrics == {
            name: pytest.approx(values.mean()) for name, values in report.metrics.items()
        }
        assert {
            "policy",
            "entropy",
            "value",
            "world_model",
            "return",
            "success",
            "gradient_norm",
        } <= metrics.keys()


def test_a_stack_is_its_runs_side_by_side() -> None:
    one, three = (
        Reinforce("wm/Navigation-v0", replace(SMALL, num_seeds=num), seed=6) for num in (1, 3)
    )
    assert one.seeds == three.seeds[:1]
    one.learn(24 * 5)
    three.learn(24 * 5)
    torch.testing.assert_close(one.model.flat, three.model.flat[:1], rtol=1e-3, atol=1e-4)
    assert not torch.allclose(three.model.flat[1], three.model.flat[2], atol=1e-2)
    assert three.evaluate(20).returns.shape == (3, 20)


def test_evaluation_repeats_itself_and_changes_nothing() -> None:
    agent = Reinforce("wm/Navigation-v0", SMALL, seed=6).learn(48)
    before = parameters_of(agent)
    first, second = (agent.evaluate(50).returns for _ in range(2))
    assert first.tolist() == second.tolist()
    assert torch.equal(before, parameters_of(agent))
    other = Reinforce("wm/Navigation-v0", SMALL, seed=6).learn(24)
    other.evaluate(10)
    assert torch.equal(other.learn(48).model.flat, agent.model.flat)


def test_a_curriculum_advances_each_run_by_itself() -> None:
    config = replace(SMALL, num_seeds=4, episodes_per_update=32, learning_rate=1e-2)
    agent = Reinforce("wm/SequenceNext-v0", config, levels=LEVELS, mastery=0.9, window=32)
    seen: list[tuple[int, ...]] = []
    assert agent.curriculum is not None
    agent.learn(32 * 60, lambda own, _: seen.append(tuple(own.curriculum.level_indices.tolist())))  # type: ignore[union-attr]
    assert seen[0] == (0, 0, 0, 0)
    assert seen[-1] == (1, 1, 1, 1)
    assert any(0 < sum(levels) < 4 for levels in seen)  # not all at once
    assert agent.evaluate(100, level=1).returns.mean() > 0.5


# --- whole episodes, truncations, units
# ---------------------------------------------------------------------------


def test_evaluation_plays_episodes_that_are_longer_than_those_of_training() -> None:
    agent = Reinforce(vector(Endless, limit=30), replace(SMALL, max_episode_steps=5))
    assert agent.evaluate(2).returns.tolist() == [[30.0, 30.0]]
    with pytest.warns(
        UserWarning, match="2 of 2 episodes had not ended after 7 steps .* raise max_episode_steps"
    ):
        batch = agent.evaluate(2, max_episode_steps=7)
    assert batch.cuts.all()
    with pytest.raises(ConfigError, match="num_episodes is at least 1"):
        agent.evaluate(0)


@pytest.mark.parametrize(("limit", "is_terminated"), [(3, False), (3, True), (10**9, False)])
def test_what_a_truncation_leaves_out_is_the_value_of_the_last_observation(
    limit: int, is_terminated: bool
) -> None:
    config = replace(
        SMALL, baseline="value", gamma=0.5, max_episode_steps=3, prediction_reward_weight=0.0
    )
    agent = Reinforce(vector(Endless, limit=limit, is_terminated=is_terminated, noise=1.0), config)
    batch = batch_of(agent)
    assert bool(batch.truncations.all()) != is_terminated
    assert bool(batch.cuts.all()) == (limit > 3)
    missing = agent._bootstraps(batch)
    assert not missing[..., :2].any()
    whole = batch.all_inputs
    values = agent.model.value(agent.model.encode(whole)[:, :, -1]).detach()
    torch.testing.assert_close(missing[..., 2], 0.5 * values * (not is_terminated))
    undiscounted = Reinforce(vector(Endless, limit=3), replace(config, gamma=1.0))
    undiscounted._bootstraps = lambda batch: pytest.fail("without a discount the rest has no bound")  # type: ignore[method-assign]
    undiscounted.learn(8)


class Echo(gym.Env[Any, Any]):
    """Name the sign of the first number; the second is noise."""

    observation_space: spaces.Space[Any] = spaces.Box(-np.inf, np.inf, (2,))
    action_space: spaces.Space[Any] = spaces.Discrete(2)

    def __init__(self, unit: float = 1.0, noise: float = 1.0, offset: float = 0.0) -> None:
        self.unit, self.noise, self.offset = unit, noise, offset

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.sign = int(self.np_random.integers(2))
        shown = [
            self.unit * (2 * self.sign - 1) + self.offset,
            self.noise * self.np_random.normal(),
        ]
        return np.array(shown, np.float32), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        reward = float(action == self.sign)
        return self.reset()[0], reward, True, False, {}


@pytest.mark.parametrize(
    "options",
    [{"noise": 1e3}, {"unit": 1e-4, "noise": 1e-4}, {"unit": 1e5}, {"offset": 1e4}],
    ids=str,
)
def test_observations_teach_in_any_unit(options: dict[str, float]) -> None:
    config = replace(
        SMALL, episodes_per_update=64, learning_rate=1e-2, weights=LossWeights(world_model=10.0)
    )
    reports: list[UpdateReport] = []
    agent = Reinforce(vector(Echo, **options), config, seed=0).learn(
        64 * 80, lambda _, r: reports.append(r)
    )
    assert agent.evaluate(200).returns.mean() > 0.95
    assert reports[-1].metrics["world_model"][0] < 2  # of standardized targets
    batch = agent.evaluate(200)
    spread = batch.next_observations[0, :, 0].var(0, correction=0).mean().item()
    assert agent.prediction_error(batch)[0] == pytest.approx(
        spread, rel=0.5
    )  # what follows is not to be foreseen


@pytest.mark.parametrize(("low", "high"), [(5.0, 10.0), (-0.01, 0.01), (-1.0, 1.0)])
def test_box_actions_are_learned_in_any_unit(low: float, high: float) -> None:
    class Hit(Reach):
        action_space = spaces.Box(low, high, (1,))

        def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
            place = (action[0] - low) / (high - low) * 2 - 1
            return self.goal, -float((place - self.goal[0] / 2) ** 2), True, False, {}

    config = replace(
        SMALL, episodes_per_update=64, learning_rate=1e-2, weights=LossWeights(world_model=0.0)
    )
    agent = Reinforce(vector(Hit), config, seed=0).learn(64 * 120)
    assert agent.evaluate(200).returns.mean() > -0.02
    batch = batch_of(agent, 200)
    inputs = agent.spaces.action_inputs(batch.actions)
    assert inputs.abs().max() <= 2 + 1e-5  # two units to either bound
