"""Actions that are none: refused before anything changes, in every id, alone and in a batch, and the next step is as
if nothing had happened."""

import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.error import ResetNeeded

from tests.reliability.environments import IDS, make, same
from wm_envs.errors import InvalidActionError

ANYTHING = (
    None, "1", b"1", {}, [], [[]], (), object(), float("nan"), float("inf"), -float("inf"), 1.7, -1, 99, 10**30, True,
    np.array(None), np.array([1, 2, 3, 4]), np.zeros((2, 2)), np.array("x"), np.datetime64("2020-01-01"), 1j,
    np.array([1.0, "a"], dtype=object), [1, [2]], np.float32("nan"), np.zeros(0),
)  # fmt: skip


def invalid_of(space):
    """Of a single action space.

    Those of `ANYTHING` that it does not hold, and its own with one number out of place.
    """
    found = [value for value in ANYTHING if not is_valid(space, value)]
    if isinstance(space, spaces.Box):
        for bad in (np.nan, np.inf, -np.inf, 1e30, -1e30):
            for column in range(space.shape[0]):
                action = np.array(space.sample(), np.float64)
                action[column] = bad
                found.append(action)
        found += [
            np.zeros(space.shape[0] + 1),
            np.zeros((1, *space.shape)),
            np.array(space.sample(), object),
        ]
    else:
        found += [int(space.n), np.int64(space.n), np.float64(0), np.array([0]), np.array(0.0)]
    return found


def is_valid(space, value):
    """Whether an action is one beyond doubt.

    An integer in range, or finite numbers of the right shape.
    """
    try:
        array = np.asarray(value)
    except ValueError:
        return False
    if array.shape != (space.shape or ()) or array.dtype.kind not in (
        "iu" if space.shape == () else "iuf"
    ):
        return False
    if isinstance(space, spaces.Discrete):
        return 0 <= int(array) < int(space.n)
    return bool(np.all((array >= space.low) & (array <= space.high)))


@pytest.mark.parametrize("env_id", IDS)
def test_a_single_environment_is_unmoved_by_what_is_no_action(env_id, counted):
    env, twin = make(env_id), make(env_id)
    env.action_space.seed(0)
    env.reset(seed=3)
    twin.reset(seed=3)
    num_wrong, actions = 0, invalid_of(env.action_space)
    for action in actions:
        before = env.unwrapped.clone_state().tobytes()
        with pytest.raises(InvalidActionError):
            env.step(action)
        num_wrong += env.unwrapped.clone_state().tobytes() != before
    valid = env.action_space.sample()
    assert same(env.step(valid), twin.step(valid))
    counted(
        "invalid actions refused, the state untouched",
        f"{env_id}, single",
        tried=len(actions),
        failed=num_wrong,
    )
    assert num_wrong == 0
    env.close()
    env.close()
    twin.close()


@pytest.mark.parametrize("env_id", IDS)
def test_a_batch_is_unmoved_by_what_is_no_action(env_id, counted):
    env, twin = make(env_id, 2), make(env_id, 2)
    env.reset(seed=3)
    twin.reset(seed=3)
    space = env.single_action_space
    space.seed(0)
    valid = [space.sample(), space.sample()]
    # NumPy reads True beside a number as 1, before anybody can tell.
    batches = [[valid[0], action] for action in invalid_of(space) if action is not True]
    batches += [valid[0], [valid[0]], [*valid, valid[0]], None, [], np.array(valid)[None], "ab"]
    num_tried = num_wrong = 0
    for batch in batches:
        before = env.unwrapped.clone_state().tobytes()
        with pytest.raises(InvalidActionError):
            env.step(batch)
        num_wrong += env.unwrapped.clone_state().tobytes() != before
        num_tried += 1
    assert same(env.step(np.array(valid)), twin.step(np.array(valid)))
    counted(
        "invalid actions refused, the state untouched",
        f"{env_id}, batch",
        tried=num_tried,
        failed=num_wrong,
    )
    assert num_wrong == 0
    env.close()
    twin.close()


@pytest.mark.parametrize("env_id", IDS)
def test_a_step_before_the_reset_or_after_the_end_needs_one(env_id):
    env = make(env_id)
    env.action_space.seed(0)
    with pytest.raises(ResetNeeded):
        env.step(env.action_space.sample())
    env.reset(seed=0)
    for _ in range(20 if env_id == "wm/PongAtari-v0" else 3000):
        if any(env.step(env.action_space.sample())[2:4]):
            before = env.unwrapped.clone_state()
            if before[
                "ended"
            ]:  # where Gymnasium's wrapper truncates, the environment itself could go on
                with pytest.raises(ResetNeeded):
                    env.unwrapped.step(env.action_space.sample())
            assert env.unwrapped.clone_state().tobytes() == before.tobytes()
            break
    env.close()
