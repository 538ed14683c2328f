"""PettingZoo's own tests on the games of several agents."""

import pytest

pettingzoo = pytest.importorskip("pettingzoo", reason="the extra pettingzoo is not installed")

import wm_envs.debate  # noqa: E402
import wm_envs.resolutions  # noqa: E402

GAMES = {
    "resolutions": (lambda **options: wm_envs.resolutions.parallel_env(**options), 20),
    "debate": (lambda **options: wm_envs.debate.parallel_env(**options), 100),
}


@pytest.mark.parametrize("game", GAMES)
def test_the_parallel_api(game):
    from pettingzoo.test import parallel_api_test

    make, num_cycles = GAMES[game]
    parallel_api_test(make(), num_cycles=num_cycles)


@pytest.mark.parametrize("game", GAMES)
def test_equal_seeds_give_equal_games(game):
    from pettingzoo.test import parallel_seed_test

    parallel_seed_test(GAMES[game][0])


@pytest.mark.parametrize("game", GAMES)
def test_it_is_played_in_turns_too(game):
    from pettingzoo.test import api_test
    from pettingzoo.utils import parallel_to_aec

    api_test(parallel_to_aec(GAMES[game][0]()), num_cycles=10)
