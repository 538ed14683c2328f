"""A learned model beside the true dynamics: what planning in it loses, and what it says of what-if.

The true dynamics are those of the wm/ environments and of Gymnasium's classic control tasks; for
any other environment there is nothing to compare with.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import gymnasium as gym
import numpy as np

import wm_agents as wma
from wm_agents import planning
from wm_agents.evaluation.episodes import EpisodeResults, PlanningGap
from wm_agents.evaluation.what_if import WhatIf, counterfactual_starts, what_if
from wm_agents.planning.classic_control import DYNAMICS, true_model
from wm_agents.training.config_checks import require_integers
from wm_envs import oracle
from wm_envs.errors import OptionError

NUM_PAIRS = 256  # of futures
MAX_HORIZON = 16  # of a what-if, in steps
MAX_PLANNED_STEPS = 200
"""Of an episode of the planning gap: a game of a thousand steps would be planned for half an hour."""


def true_dynamics(env_id: str, env: gym.Env[Any, Any]) -> Any:
    """The environment's own rules as a world model; None where they are not at hand."""
    if env_id in DYNAMICS:
        return true_model(env_id)
    try:
        oracle.rules_of(env_id)
    except OptionError:
        return None
    rollout = partial(oracle.rollout, env_id)
    return planning.OracleModel(rollout, env.observation_space, env.action_space)


def measure_gap(
    env_id: str,
    env: gym.Env[Any, Any],
    model: wma.WorldModel,
    planner_of: Callable[[wma.WorldModel], wma.Planner],
    *,
    episodes: int,
    seed: int,
    max_steps: int = MAX_PLANNED_STEPS,
    progress: bool | None = False,
) -> tuple[PlanningGap | None, dict[str, float]]:
    """Plan in the model and on the true dynamics: the gap, and success rates if there are any.

    Args:
        env_id: Any Gymnasium id.
        env: Of that id.
        model: The learned model.
        planner_of: Makes the same planner on either.
        episodes: Of each arm; 0 leaves the gap out.
        seed: Of the agents; the episodes start from seed + 10,000 on.
        max_steps: Episodes are cut here, those of random play as well.
        progress: Of the evaluations, see `wm_agents.evaluation.evaluate`.

    Returns:
        The gap, which is None where the true dynamics are not at hand or no better than chance, and
        names to success rates.
    """
    truth = true_dynamics(env_id, env)
    if truth is None or episodes == 0:
        return None, {}

    require_integers(1, max_steps=max_steps)
    limit = None if env.spec is None else env.spec.max_episode_steps
    ends_before = limit is not None and 0 < limit <= max_steps
    options: dict[str, Any] = {} if ends_before else {"max_episode_steps": max_steps}

    def play(agent: Any, envs: Any = None) -> EpisodeResults:
        return wma.evaluate(
            agent,
            env_id if envs is None else envs,
            episodes,
            seed=seed + 10_000,
            env_kwargs=options if envs is None else None,
            progress=progress,
        )

    def agent_of(dynamics: wma.WorldModel, **kwargs: Any) -> wma.PlanningAgent:
        return wma.PlanningAgent(dynamics, planner_of(dynamics), seed=seed, **kwargs)

    learned = play(agent_of(model))
    if isinstance(truth, planning.OracleModel):
        # The oracle reads the states of the very environment that it acts in.
        envs = gym.make_vec(env_id, episodes, **options)
        best = play(agent_of(truth, env=envs), envs)
        envs.close()
    else:
        best = play(agent_of(truth))
    arms = {"": learned, "oracle_": best}
    arms["random_"] = play(wma.RandomAgent(env.action_space, seed))
    rates = {
        f"{name}success_rate": arm.success_rate
        for name, arm in arms.items()
        if arm.success_rate is not None
    }
    try:
        gap = wma.planning_gap(*(arm.returns for arm in arms.values()))
        return replace(gap, max_steps=options.get("max_episode_steps")), rates
    except wma.ConfigError as error:
        print(f"No planning gap: {error}.")
        return None, rates


def ask_what_if(
    env_id: str, env: gym.Env[Any, Any], model: Any, test: wma.Trajectories, *, seed: int
) -> WhatIf | None:
    """What another first action changes; None where the true dynamics are not at hand.

    Args:
        env_id: Any Gymnasium id.
        env: Of that id.
        model: The learned model.
        test: Held-out episodes, from which the futures start.
        seed: Of the starts in environments whose states are not all observed.
    """
    truth = true_dynamics(env_id, env)
    horizon = min(MAX_HORIZON, int(np.median(test.lengths)) // 2)
    if truth is None or horizon < 1:
        return None
    fields = getattr(env.unwrapped, "observation_fields", None)
    names = None if fields is None else [field.name for field in fields]
    if not isinstance(truth, planning.OracleModel):
        starts = test.window_starts(horizon)
        window = test.windows(horizon, starts[:: max(1, len(starts) // NUM_PAIRS)])
        return what_if(model, truth, window.observations[:, 0], window.actions)
    # Such states are clones of environments: a recording holds what was observed of them alone.
    envs = gym.make_vec(env_id, 16)
    try:
        rows, states, actions = counterfactual_starts(envs, NUM_PAIRS, horizon, seed=seed)
    except wma.ConfigError as error:
        print(f"No answer to what-if: {error}.")
        return None
    finally:
        envs.close()
    hidden = truth.hidden_of(states)
    return what_if(model, truth, rows, actions, hidden=hidden, feature_names=names)
