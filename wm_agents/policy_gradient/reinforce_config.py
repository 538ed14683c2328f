"""The settings of REINFORCE, and reading them from files."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from torch import Tensor

from wm_agents.errors import ConfigError
from wm_agents.networks import choose_device
from wm_agents.policy_gradient.prediction_targets import TARGET_NAMES, TargetName
from wm_agents.policy_gradient.sequence_model import NetworkConfig, Sizes, num_network_parameters
from wm_agents.training.config_checks import (
    renamed_settings,
    require_at_least,
    require_integers,
    require_positive,
)


@dataclass(frozen=True)
class LossWeights:
    """The weight of each loss term; a term whose weight is 0 is not computed.

    Attributes:
        policy: -log pi(a | s) times the advantage.
        entropy: Minus the policy's entropy, in nats.
        value: Half the squared error of the value head against the return to go.
        world_model: Mean squared error of the predicted raw next observation, in units of its
            spread.
    """

    policy: float = 1.0
    entropy: float = 0.01
    value: float = 0.5
    world_model: float = 1.0


@renamed_settings(discount="gamma", max_gradient_norm="max_grad_norm")
@dataclass(frozen=True)
class ReinforceConfig:
    """How to train.

    Attributes:
        network: Sizes of the network.
        weights: Weights of the loss terms.
        num_seeds: Independent runs trained as one batched program.
        episodes_per_update: Episodes R of each run between two updates.
        learning_rate: Adam's step size.
        gamma: Discount of rewards to go, per step.
        normalize_advantage: Divide advantages by their root mean square over each run's batch, so
            that rare rewards outweigh the entropy bonus.
        max_grad_norm: Each run's gradient is scaled down to this norm.
        target_kl: Trust region: an update that moves a run's policy further than this divergence
            on the batch that it learned from is shortened to about that; None never shortens.
        mastery_decay: As a run succeeds more often at the last level, its step size and entropy
            weight fall, both being multiplied by (1 - success) to this power, of a moving average
            of success. It keeps a run that has mastered a task from leaving it again, and lets it
            learn anew where it fails; 0 leaves both as they are.
        baseline: "moving" averages past returns to go by step; "value" is the value head.
        baseline_decay: Of the moving average, per update.
        prediction_reward_weight: Weight of the intrinsic reward, minus the world model's squared
            error in units of the targets' spread.
        world_model_target: "next" is the observation that followed. The others are there to be
            compared with it: "shuffled" is that of another episode of the same batch, a placebo
            with the same targets and no information; "previous" the observation before the present
            one, itself at first, which takes memory and no prediction; "reward" the reward of the
            step, on every output of the head; "next_two" the next observation and the one after;
            "latent" the network's own token of the next step, standardized and without a gradient.
        ignored_targets: Columns of the observation that the world-model loss leaves out, such as
            those that hold the answer to be learned.
        normalize_observations: Standardize inputs and prediction targets by all that a run has seen
            so far. Columns that only hold 0 and 1, as those of one-hots do, stay as they are.
        has_previous_step: Each token also carries the action and reward before it.
        max_episode_steps: Episodes are cut here while training. What a cut or a truncation leaves
            out is estimated with baseline="value" and gamma below 1, and counts as nothing
            otherwise.
        device: "auto" takes an accelerator when there is one.
    """

    network: NetworkConfig = field(default_factory=NetworkConfig)
    weights: LossWeights = field(default_factory=LossWeights)
    num_seeds: int = 1
    episodes_per_update: int = 64
    learning_rate: float = 1e-3
    gamma: float = 1.0
    normalize_advantage: bool = False
    max_grad_norm: float = 1.0
    target_kl: float | None = None
    mastery_decay: float = 0.0
    baseline: Literal["moving", "value"] = "moving"
    baseline_decay: float = 0.95
    prediction_reward_weight: float = 0.1
    world_model_target: TargetName = "next"
    ignored_targets: tuple[int, ...] = ()
    normalize_observations: bool = True
    has_previous_step: bool = False
    max_episode_steps: int = 1000
    device: str = "auto"

    def __post_init__(self) -> None:
        for name in ("num_seeds", "episodes_per_update", "max_episode_steps"):
            require_integers(1, **{f"ReinforceConfig.{name}": getattr(self, name)})
        for name in ("learning_rate", "max_grad_norm"):
            if not (math.isfinite(getattr(self, name)) and getattr(self, name) > 0):
                raise ConfigError(f"ReinforceConfig.{name} is positive, got {getattr(self, name)}")
        if self.target_kl is not None:
            require_positive(**{"ReinforceConfig.target_kl": self.target_kl})
        require_at_least(0, **{"ReinforceConfig.mastery_decay": self.mastery_decay})
        for name in ("gamma", "baseline_decay"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(
                    f"ReinforceConfig.{name} lies in [0, 1], got {getattr(self, name)}"
                )
        _check_choice("baseline", self.baseline, ("moving", "value"))
        _check_choice("world_model_target", self.world_model_target, TARGET_NAMES)
        for name, weight in vars(self.weights).items():
            if not (math.isfinite(weight) and weight >= 0):
                raise ConfigError(f"LossWeights.{name} is not negative, got {weight}")
        if not any(vars(self.weights).values()):
            raise ConfigError(
                "all of LossWeights are 0, so that there is nothing to learn: give one above 0"
            )
        if self.baseline == "value" and self.weights.value == 0:
            raise ConfigError(
                'baseline="value" needs a trained value head: give weights.value above 0'
            )
        if self.world_model_target == "shuffled" and self.episodes_per_update == 1:
            raise ConfigError(
                "shuffled targets come from other episodes, but episodes_per_update is 1: give more"
            )


def _check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ConfigError(f"ReinforceConfig.{name} is one of {choices}, got {value!r}")


_OLD_NAMES = {"discount": "gamma", "max_gradient_norm": "max_grad_norm"}


def current_names(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of earlier files by their present names."""
    return {_OLD_NAMES.get(name, name): value for name, value in settings.items()}


def check_sizes(config: ReinforceConfig, sizes: Sizes, tensors: Mapping[str, Tensor]) -> None:
    """A file cannot ask for more memory than its own tensors take; raises ValueError."""
    num_seeds, num_parameters = tensors["parameters"].shape
    is_possible = config.num_seeds == num_seeds and config.network.num_layers <= num_parameters
    if not is_possible or num_network_parameters(config.network, sizes) != num_parameters:
        raise ValueError(
            f"the configuration does not describe {num_seeds} x {num_parameters} parameters"
        )
    if tuple(tensors["baseline"].shape) != (num_seeds, config.max_episode_steps):
        raise ValueError(
            f"the configuration does not describe a baseline of {tuple(tensors['baseline'].shape)}"
        )


def device_of(config: ReinforceConfig) -> str:
    """The device that an agent ran on where that is here, and else "auto"."""
    try:
        choose_device(config.device)
    except ConfigError:
        return "auto"
    return config.device
