"""What an on-policy algorithm of Stable-Baselines3 keeps to resume bitwise, without pickles.

No environment in general can be stored. So all environments start anew at each checkpoint, from
seeds that follow from the agent's, whether the run is interrupted there or not: both runs are then
the same run.
"""

from collections import deque
from typing import Any

import numpy as np
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from stable_baselines3.common.vec_env import VecNormalize

from wm_agents.errors import CheckpointError
from wm_agents.training.checkpoints import refusing_misfits
from wm_agents.training.finite import require_finite
from wm_agents.training.seeding import capture_random_state, restore_random_state

_SETTINGS = (
    *(
        "seed",
        "n_steps",
        "n_envs",
        "batch_size",
        "n_epochs",
        "gamma",
        "gae_lambda",
        "ent_coef",
        "vf_coef",
    ),
    *("max_grad_norm", "normalize_advantage", "target_kl", "use_sde", "sde_sample_freq"),
    *("world_model_coef", "world_model_target"),
)
_SCHEDULES = ("lr_schedule", "clip_range", "clip_range_vf")


def run_of(agent: OnPolicyAlgorithm) -> dict[str, Any]:
    """Which run this is.

    Of schedules, which are functions, the values at the beginning and half-way are compared.
    """
    settings = {name: getattr(agent, name, None) for name in _SETTINGS}
    for name in _SCHEDULES:
        schedule = getattr(agent, name, None)
        settings[name] = (
            None if schedule is None else [float(schedule(remaining)) for remaining in (1.0, 0.5)]
        )
    spaces = {
        "observation_space": str(agent.observation_space),
        "action_space": str(agent.action_space),
    }
    return {"kind": type(agent).__name__, "policy": str(agent.policy), **settings, **spaces}


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
