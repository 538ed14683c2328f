"""Batched rollouts on the true dynamics from given states.

The reference of every world model and planner.
"""

from typing import Any, Literal, overload

import numpy as np
from gymnasium.envs.registration import load_env_creator
from numpy.typing import NDArray

from wm_envs.data.options import check_seed
from wm_envs.data.specs import spec_of
from wm_envs.environment import KernelVectorEnv
from wm_envs.errors import OptionError, StateError
from wm_envs.kernel import empty_rows, seed_rows
from wm_envs.rules import Rules

# Observations [B, H + 1, O], rewards [B, H], terminations [B, H].
Outcome = tuple[NDArray[np.float32], NDArray[np.float64], NDArray[np.bool_]]
# The same, and the final states [B].
OutcomeAndStates = tuple[NDArray[np.float32], NDArray[np.float64], NDArray[np.bool_], NDArray[Any]]


@overload
def rollout(
    env_id: str,
    states: NDArray[Any],
    actions: NDArray[Any],
    *,
    env_kwargs: dict[str, Any] | None = None,
    seed: int | None = None,
    return_states: Literal[False] = False,
) -> Outcome: ...


@overload
def rollout(
    env_id: str,
    states: NDArray[Any],
    actions: NDArray[Any],
    *,
    env_kwargs: dict[str, Any] | None = None,
    seed: int | None = None,
    return_states: Literal[True],
) -> OutcomeAndStates: ...


def rollout(
    env_id: str,
    states: NDArray[Any],
    actions: NDArray[Any],
    *,
    env_kwargs: dict[str, Any] | None = None,
    seed: int | None = None,
    return_states: bool = False,
) -> Outcome | OutcomeAndStates:
    """Run action sequences from cloned states.

    A row that ends holds still: its last observation repeats, its rewards are 0, its termination
    flag stays. A state that had ended before does the same with the flag False, since states do not
    say how they ended.

    Args:
        env_id: A native id such as "wm/SequenceNext-v0".
        states: States [B] from `clone_state()` (`np.stack` those of single environments); they are
            not changed.
        actions: Actions [B, H, ...].
        env_kwargs: The options that the states' environment was made with.
        seed: None replays the randomness that the states carry, so that the rollout is the
            environment's own future; a seed gives each row fresh randomness instead.
        return_states: Give the states after the last action, too. A rollout from them (without a
            seed) goes on where this one stopped, as one long rollout would; only a row that has
            ended no longer says whether it terminated.

    Returns:
        Observations [B, H + 1, O], rewards [B, H], terminations [B, H], and with `return_states`
        the final states [B].

    Raises:
        OptionError: `env_id` has no native rules.
        StateError: States of another environment, or of another number than the action sequences.
        InvalidActionError: An action outside the action space.
    """
    rules = rules_of(env_id, env_kwargs)
    actions = np.asarray(actions)
    if actions.ndim < 2:
        raise StateError(f"expected actions [B, H, ...], got shape {actions.shape}")
    num_rows, horizon = actions.shape[:2]
    # All checks before the first copy: a refused call costs nothing and changes nothing.
    rules.check_states(np.asarray(states), (num_rows,))
    checked = rules.check_actions(actions, (num_rows, horizon))
    # Rows of our own: the kernels step in place, and the caller's states stay.
    rows = empty_rows(num_rows, rules.state_dtype)
    rows[:] = states
    rules.load_rows(rows)
    if seed is not None:
        first = check_seed(seed)
        seed_rows(rows, range(first, first + num_rows))
    outcome = _run(rules, rows, checked)
    if not return_states:
        return outcome
    # What a domain keeps outside of its rows, such as in emulators, has to come along.
    rules.save_rows(rows)
    return *outcome, rows


def rules_of(env_id: str, env_kwargs: dict[str, Any] | None = None) -> Rules:
    """The rules behind a native id with these options."""
    spec = spec_of(env_id)
    entry_point = spec.vector_entry_point
    vector_class = load_env_creator(entry_point) if isinstance(entry_point, str) else entry_point
    if not (isinstance(vector_class, type) and issubclass(vector_class, KernelVectorEnv)):
        raise OptionError(
            f"{env_id} has no native rules: the oracle serves the compiled wm/ environments"
        )
    # Options that are given last win over those of the specification.
    options = {"max_episode_steps": spec.max_episode_steps, **spec.kwargs, **(env_kwargs or {})}
    max_episode_steps = options.pop("max_episode_steps")
    return vector_class.env_class.rules(**options).limited_to(max_episode_steps)


def _run(rules: Rules, rows: NDArray[Any], actions: NDArray[Any]) -> Outcome:
    """Step the rows, in place, through the actions [B, H, ...]."""
    num_rows, horizon = actions.shape[:2]
    # Time first, so that each step writes one contiguous block; swapped for the caller at the end.
    observations = np.empty((horizon + 1, num_rows, len(rules.observation_fields)), np.float32)
    rewards = np.empty((num_rows, horizon))
    terminations = np.empty((num_rows, horizon), np.bool_)
    outcomes = empty_rows(num_rows, rules.outcome_dtype)
    rules.observe_rows(rows, rules.parameters, observations[0])
    for step in range(horizon):
        # Kernels are compiled for contiguous arrays.
        step_actions = np.ascontiguousarray(actions[:, step])
        rules.step_rows(
            rows, rules.parameters, step_actions, observations[step + 1], outcomes, False
        )
        rewards[:, step] = outcomes["reward"]
        terminations[:, step] = outcomes["terminated"]
    return observations.swapaxes(0, 1), rewards, terminations
