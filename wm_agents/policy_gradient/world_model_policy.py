"""The policy of `WorldModelPPO`.

Stable-Baselines3's actor-critic with a head that predicts the next observation.
"""

from collections.abc import Callable, Mapping
from copy import copy
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from gymnasium import spaces
from stable_baselines3.common.distributions import (
    DiagGaussianDistribution,
    Distribution,
    StateDependentNoiseDistribution,
)
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.preprocessing import get_flattened_obs_dim, preprocess_obs
from torch import Tensor, nn

from wm_agents.errors import SpaceError
from wm_agents.observation_rows import observation_rows
from wm_agents.policy_gradient.action_units import ActionUnits
from wm_agents.policy_gradient.running_standardizer import RunningStandardiser
from wm_agents.training.config_checks import require_integers


class WorldModelHead(nn.Module):
    """Predicts the raw next observation from (latent, embedded action), with one hidden layer.

    Args:
        num_latents: Width D of the policy's latent.
        num_actions: Length A of an action, one-hot or as numbers.
        num_targets: Length O of the observation.
        width: Of the action's embedding and of the hidden layer.
    """

    def __init__(self, num_latents: int, num_actions: int, num_targets: int, width: int) -> None:
        super().__init__()
        self.action = nn.Linear(num_actions, width, bias=False)
        self.hidden = nn.Linear(num_latents + width, width)
        self.output = nn.Linear(width, num_targets)

    def forward(self, latents: Tensor, actions: Tensor) -> Tensor:
        """Next observations [B, O] for latents [B, D] and action features [B, A]."""
        pairs = torch.cat([latents, self.action(actions)], -1)
        return self.output(self.hidden(pairs).relu())


class Evaluation(NamedTuple):
    """What the policy says of B transitions.

    Attributes:
        values: Expected returns [B].
        log_probabilities: Of the actions [B].
        entropies: Of the action distributions [B], in nats; None where there is no closed form.
        latents: What the action was chosen from [B, D].
    """

    values: Tensor
    log_probabilities: Tensor
    entropies: Tensor | None
    latents: Tensor


class BoundedActorCriticPolicy(ActorCriticPolicy):
    """SB3's actor-critic policy, whose Gaussian acts in units of the action bounds.

    SB3's starts at 0 with spread 1 whatever the bounds are: between 5 and 10 every draw is clipped
    to 5, and training has nothing to learn from. Bounds around 0 whose half range is from 0.5 to 4
    leave nothing of this: such a policy is SB3's own, bit for bit.
    """

    action_centre: Tensor
    action_unit: Tensor

    def _build(self, lr_schedule: Callable[[float], float]) -> None:
        num_actions = get_flattened_obs_dim(self.action_space)
        centre, unit = torch.zeros(num_actions), torch.ones(num_actions)
        if isinstance(self.action_space, spaces.Box) and not self.squash_output:
            units = ActionUnits.of(self.action_space).or_plain(self.action_space)
            centre, unit = torch.from_numpy(units.centre), torch.from_numpy(units.unit)
        self.register_buffer("action_centre", centre, persistent=False)
        self.register_buffer("action_unit", unit, persistent=False)
        super()._build(lr_schedule)

    def __getstate__(self) -> dict[str, Any]:
        """Without the last distribution, whose tensors hang on a graph that cannot be copied."""
        state = super().__getstate__()
        state["action_dist"] = copy(self.action_dist)
        vars(state["action_dist"]).pop("distribution", None)
        return state

    def _get_action_dist_from_latent(self, latent_pi: Tensor) -> Distribution:
        kinds = (DiagGaussianDistribution, StateDependentNoiseDistribution)
        if not isinstance(self.action_dist, kinds):
            return super()._get_action_dist_from_latent(latent_pi)
        means = self.action_centre + self.action_unit * self.action_net(latent_pi)
        log_std = self.log_std + self.action_unit.log()
        if isinstance(self.action_dist, DiagGaussianDistribution):
            return self.action_dist.proba_distribution(means, log_std)
        return self.action_dist.proba_distribution(means, log_std, latent_pi)

    def reset_noise(self, n_envs: int = 1) -> None:
        """Draw the weights of state-dependent noise anew, in units of the bounds."""
        assert isinstance(self.action_dist, StateDependentNoiseDistribution)
        self.action_dist.sample_weights(self.log_std + self.action_unit.log(), batch_size=n_envs)

    def predict(
        self,
        observation: Any,
        state: Any = None,
        episode_start: Any = None,
        deterministic: bool = False,
    ) -> tuple[Any, Any]:
        """SB3's; raises SpaceError for what is no observation."""
        if not isinstance(self.observation_space, spaces.Box | spaces.Discrete):
            return super().predict(observation, state, episode_start, deterministic)
        rows, is_single = observation_rows(observation, self.observation_space)
        return super().predict(rows[0] if is_single else rows, state, episode_start, deterministic)


class WorldModelPolicy(BoundedActorCriticPolicy):
    """SB3's actor-critic policy with a world-model head on the actor's latent.

    Args:
        observation_space: Box or Discrete.
        action_space: Box or Discrete.
        lr_schedule: Learning rate by remaining progress.
        world_model_width: Hidden size of the head.
        **arguments: Those of `ActorCriticPolicy`. SB3 gives actor and critic separate bodies: a
            shared `features_extractor_class` lets the auxiliary loss shape what the critic reads
            too.

    Raises:
        SpaceError: A space of another kind, a Discrete one that does not count from 0, or actions
            without bounds.
        ConfigError: `world_model_width` below 1.
    """

    def __init__(
        self,
        observation_space: spaces.Space[Any],
        action_space: spaces.Space[Any],
        lr_schedule: Callable[[float], float],
        *,
        world_model_width: int = 64,
        **arguments: Any,
    ) -> None:
        check_spaces(observation_space, action_space)
        require_integers(1, world_model_width=world_model_width)
        self._world_model_width = world_model_width
        super().__init__(observation_space, action_space, lr_schedule, **arguments)

    def _get_constructor_parameters(self) -> dict[str, Any]:
        return super()._get_constructor_parameters() | {
            "world_model_width": self._world_model_width
        }

    def _build_mlp_extractor(self) -> None:
        super()._build_mlp_extractor()
        # Here, the head still gets into the optimiser; its draws are undone, so that the rest
        # starts as SB3's does.
        with torch.random.fork_rng(devices=[]):
            self.world_model = WorldModelHead(
                self.mlp_extractor.latent_dim_pi,
                get_flattened_obs_dim(self.action_space),
                get_flattened_obs_dim(self.observation_space),
                self._world_model_width,
            )
        self.target_units = RunningStandardiser(get_flattened_obs_dim(self.observation_space))

    def load_state_dict(
        self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False
    ) -> Any:
        """PyTorch's; files of before targets were standardised leave their units as they are."""
        units = {
            f"target_units.{name}": value for name, value in self.target_units.state_dict().items()
        }
        return super().load_state_dict({**units, **state_dict}, strict, assign)

    def evaluate_transitions(self, observations: Tensor, actions: Tensor) -> Evaluation:
        """Like `evaluate_actions`, and gives the actor's latents too.

        Args:
            observations: [B, ...] as the space has them.
            actions: int64 [B] or float [B, ...].
        """
        features: Any = self.extract_features(observations)
        actor, critic = (features, features) if self.share_features_extractor else features
        latents = self.mlp_extractor.forward_actor(actor)
        values = self.value_net(self.mlp_extractor.forward_critic(critic)).flatten()
        distribution = self._get_action_dist_from_latent(latents)
        return Evaluation(values, distribution.log_prob(actions), distribution.entropy(), latents)

    def predict_next(self, observations: Tensor, actions: Tensor) -> Tensor:
        """Next observations [B, O] that the world model expects, in the form and units of `observation_features`."""
        features: Any = self.extract_features(observations)
        actor = features if self.share_features_extractor else features[0]
        predicted = self.world_model(
            self.mlp_extractor.forward_actor(actor), self.action_inputs(actions)
        )
        return self.target_units.restore(predicted)

    def action_inputs(self, actions: Tensor) -> Tensor:
        """Executed actions as the world model reads them [B, A].

        One-hot, or in units of the bounds.
        """
        features = self.action_features(actions)
        return (features - self.action_centre) / self.action_unit

    def observation_features(self, observations: Tensor) -> Tensor:
        """Observations as the world model predicts them [B, O].

        Raw numbers, Discrete as one-hot, pictures in 0..1.
        """
        features: Any = preprocess_obs(observations, self.observation_space, self.normalize_images)
        return features.flatten(1)

    def action_features(self, actions: Tensor) -> Tensor:
        """Actions as the environment executes them [B, A].

        One-hot, or clipped to the bounds as SB3 clips them.
        """
        if isinstance(self.action_space, spaces.Discrete):
            return F.one_hot(actions.long(), int(self.action_space.n)).float()
        numbers = actions.flatten(1).float()
        if self.squash_output:
            return numbers
        box: Any = self.action_space
        low, high = (torch.as_tensor(bound.ravel()).to(numbers) for bound in (box.low, box.high))
        return numbers.clamp(low, high)


def check_space(name: str, space: spaces.Space[Any]) -> None:
    """Raise SpaceError unless the space is a Box, or a Discrete that counts from 0 as SB3 does."""
    if isinstance(space, spaces.Discrete) and space.start != 0:
        raise SpaceError(
            f"Stable-Baselines3 counts Discrete {name} from 0, got {space}: wrap the environment"
        )
    if not isinstance(space, spaces.Box | spaces.Discrete):
        wrapper = "FlattenObservation" if name == "observations" else "TransformAction"
        raise SpaceError(
            f"{name} are Box or Discrete, got {space}: wrap the environment in gymnasium.wrappers.{wrapper}"
        )
    if isinstance(space, spaces.Box) and not space.shape and name == "observations":
        raise SpaceError(
            f"Stable-Baselines3 reads no {name} of shape (), got {space}: give them the shape (1,)"
        )
    if isinstance(space, spaces.Box) and 0 in space.shape:
        raise SpaceError(f"{name} of {space} hold no numbers: give them at least one")


def check_spaces(observation_space: spaces.Space[Any], action_space: spaces.Space[Any]) -> None:
    """Raise SpaceError unless both are served, the actions of a Box between finite bounds."""
    check_space("observations", observation_space)
    check_space("actions", action_space)
    if (
        isinstance(action_space, spaces.Box)
        and not np.isfinite([action_space.low, action_space.high]).all()
    ):
        raise SpaceError(
            f"Box actions have finite bounds, got {action_space}: wrap the environment"
        )
    if isinstance(action_space, spaces.Box) and not np.issubdtype(action_space.dtype, np.floating):
        raise SpaceError(
            f"Stable-Baselines3 hands out fractions where actions are {action_space}: wrap the environment in "
            "gymnasium.wrappers.TransformAction with a Box of floats that it rounds, or use Reinforce"
        )
