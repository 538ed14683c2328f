"""Play an environment from the keyboard: text in a terminal, or a window."""

import sys
from collections.abc import Iterator, Sequence
from typing import Any, Literal

import gymnasium as gym
import numpy as np

from wm_envs.errors import OptionError
from wm_envs.rendering.window import Window, has_gamepad, held_keys, key_presses, wait_for_key

# The key of each action; q is left for quitting.
KEYS = "0123456789abcdefghijklmnop"
QUIT = "q"


def play(
    env_id: str, *, seed: int = 0, render_mode: Literal["ansi", "human"] = "ansi"
) -> dict[str, float]:
    """Play until q or the end of the input, and show what happens.

    An action is a number, or its key: 0 to 9, then a for 10, b for 11 and so on. In ansi mode each
    line of the standard input is one action, so that a game can be piped in; in human mode each key
    press in the window is one. Environments that have `action_of_keys` are played in the window in
    real time with the arrow keys or a gamepad. A Box of actions is played in ansi mode with lines
    that hold the numbers of one action.

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
    screen: _Terminal | _Screen = _Terminal(env)
    if render_mode == "human":
        screen = _Screen(env, env_id)
    returns: list[float] = []
    successes: list[bool] = []
    rewards: list[float] = []  # of the episode that has not ended yet
    try:
        env.reset(seed=seed)
        print(f"{env_id}: {' '.join(legend_of(env, render_mode == 'human'))}")
        screen.show()
        for action in actions_of(env, render_mode == "human"):
            _, reward, terminated, truncated, info = env.step(action)
            rewards.append(float(reward))
            screen.show(f"action {action}, reward {reward:g}\n")
            if terminated or truncated:
                returns.append(sum(rewards))
                successes.append(bool(info.get("is_success", False)))
                outcome = "success" if successes[-1] else "no success"
                lines = [f"return {returns[-1]:g}, {len(rewards)} steps, {outcome}"]
                if is_going_on := screen.show_end(f"episode {len(returns)}", lines):
                    rewards.clear()
                    env.reset()
                    screen.show()
                if not is_going_on:
                    break
    finally:
        screen.close()
        env.close()
    played = max(1, len(returns))
    return {
        "episodes": len(returns),
        "mean_return": sum(returns) / played,
        "success_rate": sum(successes) / played,
    }


class _Terminal:
    """Shows an environment as text."""

    def __init__(self, env: gym.Env[Any, Any]) -> None:
        self._env = env

    def show(self, caption: str = "") -> None:
        """Print the text picture under a caption."""
        print(f"{caption}{self._env.render()}")

    def show_end(self, title: str, lines: Sequence[str]) -> bool:
        """Print how an episode ended; the next one follows."""
        print(f"{title}: {', '.join(lines)}\n")
        return True

    def close(self) -> None:
        """Nothing is open."""


class _Screen:
    """Shows an environment in a window of its own, with a legend below and a card at the end."""

    def __init__(self, env: gym.Env[Any, Any], env_id: str) -> None:
        frames_per_second = int(env.metadata.get("render_fps", 0)) or 30
        self._env = env
        self._window = Window(env_id, frames_per_second)
        self._legend = tuple(legend_of(env, True))

    def show(self, caption: str = "") -> None:  # noqa: ARG002
        """Show the picture; actions and rewards are on it, or would be gone too soon."""
        frame: Any = self._env.render()
        self._window.show(frame, self._legend)

    def show_end(self, title: str, lines: Sequence[str]) -> bool:
        """Show how an episode ended until a key is pressed; False if it is q."""
        frame: Any = self._env.render()
        card = (title, *lines, "any key plays on, q quits")
        self._window.show(frame, self._legend, card)
        print(f"{title}: {', '.join(lines)}")
        key = wait_for_key()
        return key is not None and key != QUIT

    def close(self) -> None:
        """Close the window."""
        self._window.close()


def legend_of(env: gym.Env[Any, Any], is_window: bool) -> list[str]:
    """What the player can do, as lines of text."""
    space: Any = env.action_space
    unwrapped: Any = env.unwrapped
    if is_window and hasattr(unwrapped, "action_of_keys"):
        keys = getattr(unwrapped, "KEYS", "the arrow keys act")
        gamepad = ", or the gamepad" if has_gamepad() else ""
        return [f"{keys}{gamepad}, q quits", *getattr(unwrapped, "GAUGES", ())]
    if isinstance(space, gym.spaces.Box):
        return [f"a line of numbers is an action of {space}, q quits"]
    names = getattr(unwrapped, "ACTION_NAMES", ())
    if names:
        pairs = ", ".join(f"{number} {name}" for number, name in enumerate(names))
        return [f"{pairs}, q quits"]
    last = int(space.n) - 1
    keys = f"0 to {last} are the actions"
    if last > 9:
        keys += f", on one key 0 to 9, then a to {KEYS[min(last, len(KEYS) - 1)]}"
    return [f"{keys}, q quits"]


def _make_env(env_id: str, render_mode: str) -> gym.Env[Any, Any]:
    """The environment, if it can be shown and played in this way."""
    try:
        # Asked first, since Gymnasium warns of a mode that an environment does not have.
        with gym.make(env_id) as asked:
            known = asked.metadata.get("render_modes", [])
        # The window is ours, with the legend and the card beside the environment's picture.
        asked_for = "rgb_array" if render_mode == "human" else render_mode
        if asked_for not in known:
            raise OptionError(f"{env_id} is shown by --render-mode {known}, not by {render_mode}")
        env: gym.Env[Any, Any] = gym.make(env_id, render_mode=asked_for)
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
    if is_window and hasattr(env.unwrapped, "action_of_keys"):
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
