"""`check_vector_env` on ours and on other projects' vector environments; docs/vector-environments.md has the table."""

from wm_envs.testing import VectorEnvError, check_vector_env

THIRD_PARTY = {
    "CartPole-v1": {"matches_single", "seed_list", "partial_reset"},
}


def failed(*arguments, **options):
    try:
        return check_vector_env(*arguments, **options).failed
    except VectorEnvError as error:
        return error.report.failed


def test_ours_keep_every_promise(env_id):
    report = check_vector_env(env_id, num_steps=40, skip=("coverage",))
    assert not report.failed
    assert set(report.modes) == {"NextStep", "SameStep", "Disabled"}


def test_the_vectorised_cart_pole_of_gymnasium():
    assert failed("CartPole-v1") == {"matches_single", "seed_list", "partial_reset"}
