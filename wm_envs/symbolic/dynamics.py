"""The rules of the symbolic tasks: pure compiled functions on one state row.

Each task has three functions, `reset_<task>`, `step_<task>` and `observe_<task>`; the loops at the end choose by
`rules.task`. A step reads: answer -> score -> advance. Names inside the functions: `state` is a row of `STATE`, `rules`
the row of `PARAMETERS` that all environments of a batch share, `out` and `row` the observation array and its row.
"""

import numpy as np

from wm_envs.environment import Array, outcome_dtype
from wm_envs.kernel import Row, kernel, random_integer, state_dtype

PATTERN_ECHO, SEQUENCE_NEXT = range(2)

REWARD_COMPONENTS = ("goal", "prediction")
OUTCOME = outcome_dtype(REWARD_COMPONENTS, [("is_success", np.bool_)])
STATE = state_dtype([("is_success", np.bool_), ("symbol", np.int16), ("tokens", np.int16, (16,))])
PARAMETERS = np.dtype(
    [
        ("task", np.int64),
        ("num_symbols", np.int64),
        ("length", np.int64),
        ("time_limit", np.int64),
        ("resample", np.bool_),
        ("goal_weight", np.float64),
        ("prediction_weight", np.float64),
        ("table", np.int16, (64,)),
    ],
    align=True,
)


@kernel
def reset_pattern_echo(state: Row, rules: Row) -> None:
    """A uniform symbol."""
    state.symbol = random_integer(state, rules.num_symbols)


@kernel
def step_pattern_echo(state: Row, rules: Row, action: int) -> float:
    """One for the shown symbol; the next symbol is uniform whatever the action."""
    goal = 1.0 if action == state.symbol else 0.0
    state.symbol = random_integer(state, rules.num_symbols)
    return goal


@kernel
def observe_symbol(state: Row, out: Array, row: int) -> None:
    """One-hot of the current symbol."""
    out[row, state.symbol] = 1.0


@kernel
def reset(state: Row, rules: Row) -> None:
    """Start an episode."""
    state.time = 0
    state.ended = False
    state.is_success = False
    if rules.task == PATTERN_ECHO:
        reset_pattern_echo(state, rules)


@kernel
def step(state: Row, rules: Row, action: int, outcome: Row) -> None:
    """Answer, score, advance; the time limit alone ends an episode."""
    goal = 0.0
    if rules.task == PATTERN_ECHO:
        goal = step_pattern_echo(state, rules, action)
        state.is_success = goal > 0.0
    state.time += 1
    state.ended = state.time >= rules.time_limit
    outcome.goal = goal
    outcome.prediction = 0.0  # an agent adds its own from its world model
    outcome.reward = rules.goal_weight * outcome.goal + rules.prediction_weight * outcome.prediction
    outcome.terminated = False
    outcome.truncated = state.ended
    outcome.is_success = state.is_success


@kernel
def observe(state: Row, rules: Row, out: Array, row: int) -> None:
    """Write the observation of a state."""
    out[row, :] = 0.0
    if rules.task == PATTERN_ECHO:
        observe_symbol(state, out, row)


@kernel
def reset_rows(states: Array, parameters: Array, mask: Array) -> None:
    """Start the masked rows anew."""
    for row in range(len(states)):
        if mask[row]:
            reset(states[row], parameters[0])


@kernel
def observe_rows(states: Array, parameters: Array, observations: Array) -> None:
    """Observations of all rows."""
    for row in range(len(states)):
        observe(states[row], parameters[0], observations, row)


@kernel
def step_rows(
    states: Array, parameters: Array, actions: Array, observations: Array, outcomes: Array, is_autoreset: bool
) -> None:
    """Advance all rows; one that has ended is reset when `is_autoreset` and else holds still with no reward."""
    rules = parameters[0]
    for row in range(len(states)):
        state, outcome = states[row], outcomes[row]
        if not state.ended:
            step(state, rules, actions[row], outcome)
        else:
            outcome.reward = 0.0
            outcome.goal = 0.0
            outcome.prediction = 0.0
            if is_autoreset:
                reset(state, rules)
                outcome.truncated = False
                outcome.is_success = False
        observe(state, rules, observations, row)
