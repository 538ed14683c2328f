"""Play an environment from the keyboard: text in a terminal, or a window."""

import sys
from collections.abc import Iterator
from typing import Any, Literal

import gymnasium as gym
import numpy as np

from wm_envs.errors import OptionError
from wm_envs.rendering.window import held_keys, key_presses

KEYS = "0123456789abcdefghijklmnop"  # q is left for quitting
QUIT = "q"


def play(
    env_id: str, *, seed: int = 0, render_mode: Literal["ansi", "human"] = "ansi"
) -> dict[str, float]:
    """Play until q or the end of the input, and print what happens.

    An action is a number, or its key: 0 to 9, then a for 10, b for 11 and so on. In ansi mode each
    line of the standard input is one action, so that a game can be piped in; in human mode each key
    press in the window is one. A Box of actions is played with the arrow keys of a window, or with
    lines that hold the numbers of one action.

    Args:
        env_id: A Gymnasium id with a Discrete or Box action space.
        seed: Of the first episode; the following ones continue its random stream.
        render_mode: Text in the terminal, or a window.

    Returns:
        The number of finished episodes, their mean return and success rate, which are 0 before the
        first one ends.

    Raises:
        OptionError: The environment cannot be made, or cannot be shown or played in this way.
        MissingExtraError: A window is asked for and pygame is not installed.
    """
    env = _make_env(env_id, render_mode)
    returns: list[float] = []
    successes: list[bool] = []
    rewards: list[float] = []  # of the episode that has not ended yet
    try:
        env.reset(seed=seed)
        print(f"{env_id}: actions are {env.action_space}, q quits")
        _show(env)
        for action in actions_of(env, render_mode == "human"):
            _, reward, terminated, truncated, info = env.step(action)
            rewards.append(float(reward))
            _show(env, f"action {action}, reward {reward:g}\n")
            if terminated or truncated:
                returns.append(sum(rewards))
                successes.append(bool(info.get("is_success", False)))
                outcome = "success" if successes[-1] else "no success"
                print(f"episode {len(returns)}: return {returns[-1]:g}, {outcome}\n")
                rewards.clear()
                env.reset()
                _show(env)
    finally:
        env.close()
    played = max(1, len(returns))
    return {
        "episodes": len(returns),
        "mean_return": sum(returns) / played,
        "success_rate": sum(successes) / played,
    }


def _make_env(env_id: str, render_mode: str) -> gym.Env[Any, Any]:
    """The environment, if it can be shown and played in this way."""
    try:
        # Asked first, since Gymnasium warns of a mode that an environment does not have.
        with gym.make(env_id) as asked:
            known = asked.metadata.get("render_modes", [])
        if render_mode not in known:
            raise OptionError(f"{env_id} is shown by --render-mode {known}, not by {render_mode}")
        env: gym.Env[Any, Any] = gym.make(env_id, render_mode=render_mode)
    except (ImportError, OptionError):
        raise
    except (gym.error.Error, TypeError, ValueError) as error:
        raise OptionError(f"{env_id} cannot be made: {error}") from error
    if not isinstance(env.action_space, gym.spaces.Box | gym.spaces.Discrete):
        raise OptionError(
            f"play needs a Discrete or Box action space, {env_id} has {env.action_space}"
        )
    is_box = isinstance(env.action_space, gym.spaces.Box)
    if is_box and render_mode == "human" and not hasattr(env.unwrapped, "action_of_keys"):
        raise OptionError(
            f"{env_id} does not say what the arrow keys do (action_of_keys): play it with lines of "
            "numbers, --render-mode ansi"
        )
    return env


def actions_of(env: gym.Env[Any, Any], is_window: bool) -> Iterator[Any]:
    """The player's actions until q; a window has the keyboard's focus, a terminal gives lines."""
    space: Any = env.action_space
    is_box = isinstance(space, gym.spaces.Box)
    if is_window and is_box:
        keyboard: Any = env.unwrapped
        for keys in held_keys(QUIT):
            yield keyboard.action_of_keys(keys)
        return
    for entry in key_presses() if is_window else lines():
        if entry == QUIT:
            return
        action = numbers_of(entry, space) if is_box else action_of(entry, int(space.n))
        if action is None:
            known = f"numbers within {space}" if is_box else f"0 to {space.n - 1}"
            print(f"{entry!r} is no action: enter {known}, or q to quit")
        else:
            yield action


def numbers_of(entry: str, space: gym.spaces.Box) -> Any:
    """The action of a line of numbers; None if they are none."""
    try:
        action = np.array([float(word) for word in entry.split()], space.dtype)
    except ValueError:
        return None
    return action if space.contains(action) else None


def action_of(entry: str, num_actions: int) -> int | None:
    """The action that a line or a key stands for; None if there is no such action."""
    # isascii too: isdigit is true of digits that int() refuses, such as superscripts.
    is_number = len(entry) < 10 and entry.isascii() and entry.isdigit()
    is_key = len(entry) == 1 and entry.lower() in KEYS
    if not (is_number or is_key):
        return None
    action = int(entry) if is_number else KEYS.index(entry.lower())
    return action if action < num_actions else None


def lines() -> Iterator[str]:
    """The lines of the standard input that are not empty."""
    for line in sys.stdin:
        if entry := line.strip():
            yield entry


def _show(env: gym.Env[Any, Any], caption: str = "") -> None:
    """Print the text picture under a caption; a window shows itself."""
    if env.render_mode == "ansi":
        print(f"{caption}{env.render()}")
