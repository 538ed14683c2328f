"""`check_vector_env` on ours and on others; docs/vector-environments.md says what it found."""

import pytest

from wm_envs.testing import VectorEnvError, check_vector_env


def failed(*arguments, **options):
    """The checks that fail, whether or not any do."""
    try:
        return check_vector_env(*arguments, **options).failed
    except VectorEnvError as error:
        return error.report.failed


def test_ours_keep_every_promise(env_id):
    report = check_vector_env(env_id, num_steps=60, env_kwargs={"max_episode_steps": 12})
    assert not report.failed
    assert not report.not_run
    assert report.modes == ("NextStep", "SameStep", "Disabled")


@pytest.mark.parametrize("name", ["CartPole-v1", "Taxi-v4", "Acrobot-v1"])
def test_the_loops_of_gymnasium_keep_every_promise(name):
    import gymnasium as gym

    if name not in gym.registry:
        pytest.skip(f"this gymnasium has no {name}")
    assert not failed(
        name, vectorization_mode="sync", num_steps=60, env_kwargs={"max_episode_steps": 12}
    )


def test_the_vectorised_cart_pole_of_gymnasium():
    assert failed("CartPole-v1") == {"matches_single", "seed_list", "partial_reset"}


def test_gymnasium_rounds_the_probability_in_the_infos_of_frozen_lake():
    # reset() says prob 1 and step() 1/3: the array takes the type of whatever row comes first.
    found = failed(
        "FrozenLake-v1",
        vectorization_mode="sync",
        num_steps=60,
        env_kwargs={"max_episode_steps": 12},
    )
    assert found == {"matches_single", "partial_reset"}


@pytest.mark.parametrize(
    ("mode", "own"), [("NEXT_STEP", set()), ("SAME_STEP", {"final_observations"})]
)
def test_the_threaded_vectors_of_ale(mode, own):
    vector_env = pytest.importorskip("ale_py.vector_env")
    from gymnasium.vector import AutoresetMode

    def make():
        return vector_env.AtariVectorEnv(
            "pong", 3, max_num_frames_per_episode=120, autoreset_mode=AutoresetMode[mode]
        )

    found = failed(make, num_steps=90, autoreset_modes=[AutoresetMode[mode]])
    assert found == {"calls", "info_masks", "seed_list", "partial_reset"} | own
