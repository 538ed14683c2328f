"""Stable-Baselines3's PPO as we use it: a policy that acts in units of its bounds, and its state.

No environment in general can be stored. So all environments start anew at each checkpoint, from
seeds that follow from the agent's, whether the run is interrupted there or not: both runs are then
the same run.
"""

from collections import deque
from collections.abc import Callable
from copy import copy
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3.common.distributions import (
    DiagGaussianDistribution,
    Distribution,
    StateDependentNoiseDistribution,
)
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.preprocessing import get_flattened_obs_dim
from stable_baselines3.common.vec_env import VecNormalize
from torch import Tensor

from wm_agents.errors import CheckpointError, SpaceError
from wm_agents.observation_rows import observation_rows
from wm_agents.policy_gradient.spaces import ActionUnits
from wm_agents.training.checkpoints import refusing_misfits
from wm_agents.training.finite import require_finite
from wm_agents.training.seeding import capture_random_state, restore_random_state


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


def check_space(name: str, space: spaces.Space[Any]) -> None:
    """Raise SpaceError unless the space is a Box, or a Discrete that counts from 0 as SB3 does."""
    if isinstance(space, spaces.Discrete) and space.start != 0:
        raise SpaceError(
            f"Stable-Baselines3 counts Discrete {name} from 0, got {space}: wrap the environment"
        )
    if not isinstance(space, spaces.Box | spaces.Discrete):
        wrapper = "FlattenObservation" if name == "observations" else "TransformAction"
        raise SpaceError(
            f"{name} are Box or Discrete, got {space}: wrap the environment in "
            f"gymnasium.wrappers.{wrapper}"
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
            f"Stable-Baselines3 hands out fractions where actions are {action_space}: wrap the "
            "environment in gymnasium.wrappers.TransformAction with a Box of floats that it "
            "rounds, or use Reinforce"
        )


def training_state(agent: OnPolicyAlgorithm) -> dict[str, Any]:
    """Everything between two rollouts, for `CheckpointManager.save_state`.

    Raises NonFiniteError.
    """
    weights = agent.policy.state_dict()
    require_finite(weights, f"a parameter after {agent.num_timesteps} steps, so it is not saved")
    return {
        "weights": weights,
        "optimizer": agent.policy.optimizer.state_dict(),
        "num_timesteps": agent.num_timesteps,
        "num_updates": agent._n_updates,
        "episodes": [_plain(info) for info in agent.ep_info_buffer or ()],
        "successes": [float(value) for value in agent.ep_success_buffer or ()],
        "scales": _scales(agent.get_vec_normalize_env()),
        "random": capture_random_state(),
    }


def set_training_state(agent: OnPolicyAlgorithm, state: dict[str, Any]) -> None:
    """Bring back what `training_state` gave; raises CheckpointError where it does not fit."""
    with refusing_misfits(f"a run of {type(agent).__name__}"):
        agent.policy.load_state_dict(state["weights"])
        agent.policy.optimizer.load_state_dict(state["optimizer"])
        agent.num_timesteps = state["num_timesteps"]
        agent._n_updates = state["num_updates"]
        agent.ep_info_buffer = deque(state["episodes"], maxlen=agent._stats_window_size)
        agent.ep_success_buffer = deque(state["successes"], maxlen=agent._stats_window_size)
        _set_scales(agent.get_vec_normalize_env(), state["scales"])
        restore_random_state(state["random"])


def restart_environments(agent: OnPolicyAlgorithm) -> None:
    """Seed and reset all environments, as a function of the agent's seed and its updates so far."""
    assert agent.env is not None
    source = np.random.SeedSequence([agent.seed or 0, agent._n_updates])
    agent.env.seed(int(source.generate_state(1)[0] % 2**31))
    agent._last_obs = agent.env.reset()  # type: ignore[assignment]
    agent._last_episode_starts = np.ones(agent.env.num_envs, dtype=bool)


def _plain(info: dict[str, Any]) -> dict[str, float]:
    """The return and length of an episode; its wall time is left out."""
    return {"r": float(info["r"]), "l": int(info["l"])}


def _scales(env: VecNormalize | None) -> dict[str, Any] | None:
    """The running statistics of VecNormalize, by name."""
    if env is None:
        return None
    return {
        name: [np.asarray(rms.mean), np.asarray(rms.var), float(rms.count)]
        for name, rms in _running(env).items()
    }


def _set_scales(env: VecNormalize | None, stored: dict[str, Any] | None) -> None:
    running = None if env is None else _running(env)
    if (None if running is None else set(running)) != (None if stored is None else set(stored)):
        raise CheckpointError(
            "the stored run scaled its observations otherwise: wrap the environments as it did"
        )
    for name, rms in (running or {}).items():
        rms.mean, rms.var, rms.count = (stored or {})[name]


def _running(env: VecNormalize) -> dict[str, Any]:
    observations: Any = env.obs_rms if env.norm_obs else None
    if isinstance(observations, dict):
        raise CheckpointError(
            "scales of observations that are dictionaries are not stored: flatten them"
        )
    return {"returns": env.ret_rms} | (
        {} if observations is None else {"observations": observations}
    )
