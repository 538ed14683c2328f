"""A domain small enough to compute by hand: a place on a line, moved by -1, 0 or +1, with a random gust reward.

It starts at place 3 + random integer below 4, ends below 1 (failure) and above 8 (success), or
after `time_limit`.
"""

from dataclasses import replace

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from wm_envs.environment import KernelEnv, KernelVectorEnv, make_one_step_env
from wm_envs.kernel import empty_rows, kernel, random_integer, state_dtype
from wm_envs.rules import Field, Rules, outcome_dtype

STATE = state_dtype([("place", np.float64)])
OUTCOME = outcome_dtype(
    ("progress", "gust"),
    [("is_success", np.bool_), ("place", np.float64), ("room", np.float64, (2,))],
)
PARAMETERS = np.dtype([("time_limit", np.int64), ("gust_weight", np.float64)], align=True)


@kernel
def start(state):
    state.time = 0
    state.ended = False
    state.place = 3 + random_integer(state, 4)


@kernel
def move(state, rules, distance, outcome):
    state.place += distance
    state.time += 1
    outcome.progress = distance
    outcome.gust = random_integer(state, 1000) / 1000.0
    outcome.reward = outcome.progress + rules.gust_weight * outcome.gust
    outcome.is_success = state.place > 8
    outcome.terminated = state.place > 8 or state.place < 1
    outcome.truncated = state.time >= rules.time_limit
    outcome.place = state.place
    state.ended = outcome.terminated or outcome.truncated


@kernel
def reset_rows(states, parameters, mask):
    for row in range(len(states)):
        if mask[row]:
            start(states[row])


@kernel
def observe_rows(states, parameters, observations):
    for row in range(len(states)):
        observations[row, 0] = states[row].place
        observations[row, 1] = states[row].time


@kernel
def rest(state, outcome, is_autoreset):
    outcome.reward = 0.0
    outcome.progress = 0.0
    outcome.gust = 0.0
    if is_autoreset:
        start(state)
        outcome.terminated = False
        outcome.truncated = False
        outcome.is_success = False
        outcome.place = 0.0


@kernel
def step_rows(states, parameters, actions, observations, outcomes, is_autoreset):
    for row in range(len(states)):
        if states[row].ended:
            rest(states[row], outcomes[row], is_autoreset)
        else:
            move(states[row], parameters[0], actions[row] - 1.0, outcomes[row])
    observe_rows(states, parameters, observations)


@kernel
def measure_room(state, outcome):
    outcome.room[0] = 9 - state.place  # to the right
    outcome.room[1] = state.place  # to the left


@kernel
def report_rows(states, parameters, outcomes, mask):
    for row in range(len(states)):
        if mask[row]:
            outcomes[row].place = states[row].place
            measure_room(states[row], outcomes[row])


@kernel
def step_rows_by_distance(states, parameters, actions, observations, outcomes, is_autoreset):
    for row in range(len(states)):
        if states[row].ended:
            rest(states[row], outcomes[row], is_autoreset)
        else:
            move(states[row], parameters[0], actions[row, 0] - actions[row, 1], outcomes[row])
        outcomes[row].place = states[row].place
        measure_room(states[row], outcomes[row])
    observe_rows(states, parameters, observations)


def counting_rules(action_space, step_kernel, time_limit, gust_weight):
    parameters = empty_rows(1, PARAMETERS)  # a record array where nothing is compiled
    parameters["time_limit"], parameters["gust_weight"] = time_limit, gust_weight
    fields = (
        Field("place", "1", 0, 10, "where"),
        Field("time", "steps", 0, 1000, "since the reset"),
    )
    kernels = (reset_rows, step_kernel, observe_rows)
    return Rules(fields, action_space, ("progress", "gust"), STATE, OUTCOME, parameters, *kernels)


class CountingEnv(KernelEnv):
    """Actions 0, 1, 2 move by -1, 0, +1."""

    @classmethod
    def rules(cls, *, time_limit=6, gust_weight=0.5):
        return counting_rules(spaces.Discrete(3), step_rows, time_limit, gust_weight)

    @staticmethod
    def draw(state, parameters):
        return np.full((2, 3, 3), int(state["place"]), np.uint8)

    @staticmethod
    def describe(state, parameters):
        return f"place {int(state['place'])}"


class CountingVectorEnv(KernelVectorEnv):
    env_class = CountingEnv


class SlidingEnv(CountingEnv):
    """Actions [right, left] in [0, 1] move by their difference.

    Infos report the room on both sides.
    """

    @classmethod
    def rules(cls, *, time_limit=6, gust_weight=0.5):
        box = spaces.Box(0, 1, (2,), np.float32)
        rules = counting_rules(box, step_rows_by_distance, time_limit, gust_weight)
        return replace(rules, report_rows=report_rows)


class SlidingVectorEnv(KernelVectorEnv):
    env_class = SlidingEnv


def make_counting(**options):
    return make_one_step_env(CountingEnv, **options)


for env_id, entry_point, vector_entry_point in (
    ("test/Counting-v0", make_counting, CountingVectorEnv),
    ("test/Sliding-v0", SlidingEnv, SlidingVectorEnv),
):
    if env_id not in gym.registry:
        gym.register(
            env_id, entry_point, vector_entry_point=vector_entry_point, order_enforce=False
        )
