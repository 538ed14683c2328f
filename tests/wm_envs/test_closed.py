"""An environment that was closed says so; closing it again does nothing."""

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.error import ClosedEnvironmentError

import wm_envs  # noqa: F401
from wm_envs.registration import TABLE

IDS = [row.id for row in TABLE if row.id != "wm/PongAtari-v0"]


def uses(env, action):
    """What one may want of an environment."""
    return [
        lambda: env.step(action),
        env.reset,
        lambda: env.reset(seed=1),
        env.render,
    ]


@pytest.mark.parametrize("env_id", IDS)
@pytest.mark.parametrize("was_reset", [True, False])
def test_a_closed_environment_refuses_to_be_used(env_id, was_reset):
    env = gym.make(env_id, render_mode="ansi").unwrapped
    if was_reset:
        env.reset(seed=0)
    env.close()
    env.close()
    for use in uses(env, env.action_space.sample()):
        with pytest.raises(ClosedEnvironmentError, match="make another"):
            use()


@pytest.mark.parametrize("env_id", IDS)
@pytest.mark.parametrize("num_threads", [1, 2])
@pytest.mark.parametrize("was_reset", [True, False])
def test_a_closed_batch_refuses_to_be_used(env_id, num_threads, was_reset):
    env = gym.make_vec(env_id, 3, num_threads=num_threads, render_mode="ansi")
    if was_reset:
        env.reset(seed=0)
    env.close()
    env.close()
    for use in uses(env, env.action_space.sample()):
        with pytest.raises(ClosedEnvironmentError, match="make another"):
            use()


def test_states_are_not_restored_into_what_is_closed():
    single, batch = gym.make("wm/TMaze-v0").unwrapped, gym.make_vec("wm/TMaze-v0", 2)
    for env in (single, batch):
        env.reset(seed=0)
        state = env.clone_state()
        env.close()
        with pytest.raises(ClosedEnvironmentError):
            env.restore_state(state)


def test_a_window_that_was_closed_leaves_the_others_alive(monkeypatch):
    pygame = pytest.importorskip("pygame")
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    from wm_envs.rendering.window import Window

    first, second, third = (Window(name, 1000) for name in ("first", "second", "third"))
    small, large = np.zeros((500, 500, 3), np.uint8), np.full((600, 700, 3), 9, np.uint8)
    first.show(small)
    second.show(large)
    first.close()
    first.close()
    second.show(large)
    assert pygame.display.get_surface().get_size() == (700, 600)
    third.show(small)
    third.close()
    assert pygame.display.get_init()
    second.close()
    assert not pygame.display.get_init()
    first.show(small)  # opens it again
    assert pygame.display.get_caption()[0] == "first"
    pygame.display.quit()  # as Gymnasium's own environments do
    first.show(small)
    first.close()
    assert not pygame.display.get_init()


def test_two_environments_in_windows_are_closed_one_by_one(monkeypatch):
    pygame = pytest.importorskip("pygame")
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    one, other = (gym.make("wm/TMaze-v0", render_mode="human") for _ in range(2))
    one.reset(seed=0)
    other.reset(seed=0)
    one.close()
    other.step(0)
    other.close()
    assert not pygame.display.get_init()


def test_a_window_leaves_the_display_of_somebody_else_alone(monkeypatch):
    pygame = pytest.importorskip("pygame")
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    from wm_envs.rendering.window import Window

    window = Window("ours", 1000)
    window.show(np.zeros((500, 500, 3), np.uint8))
    pygame.display.set_mode((300, 200))  # another library's window
    window.close()
    assert pygame.display.get_init()
    pygame.display.quit()
