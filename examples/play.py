"""Play an environment from the keyboard.

    python examples/play.py --env-id wm/LightsOut-v0 --render-mode human

An action is a number, or its key: 0 to 9, then a for 10, b for 11 and so on. q quits. In ansi mode
each line of the standard input is one action, so that a game can be piped in; in human mode each
key press in the window is one.

    python examples/play.py --env-id wm/Driving-v0 --render-mode human

An environment with a Box of actions is played with the arrow keys; in ansi mode a line holds the
numbers of one action.
"""

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import gymnasium as gym
import numpy as np
import tyro

import wm_envs  # noqa: F401  (registers the ids)
from wm_envs.rendering.window import held_keys, key_presses

KEYS = "0123456789abcdefghijklmnop"  # q is left for quitting
QUIT = "q"


@dataclass(frozen=True)
class Config:
    """What to play."""

    env_id: str = "wm/RuleRecall-v0"
    """A Gymnasium id with a Discrete or Box action space."""
    seed: int = 0
    """Seed of the first episode; the following ones continue its random stream."""
    render_mode: Literal["ansi", "human"] = "ansi"
    """Text in the terminal, or a window."""


def main(config: Config) -> dict[str, float]:
    """Play until q or the end of the input; returns the summary of the finished episodes."""
    env = make_env(config)
    returns: list[float] = []
    successes: list[bool] = []
    rewards: list[float] = []  # of the episode that has not ended yet
    try:
        env.reset(seed=config.seed)
        print(f"{config.env_id}: actions are {env.action_space}, q quits")
        show(env)
        for action in actions_of(env, config.render_mode == "human"):
            _, reward, terminated, truncated, info = env.step(action)
            rewards.append(float(reward))
            show(env, f"action {action}, reward {reward:g}\n")
            if terminated or truncated:
                returns.append(sum(rewards))
                successes.append(bool(info.get("is_success", False)))
                outcome = "success" if successes[-1] else "no success"
                print(f"episode {len(returns)}: return {returns[-1]:g}, {outcome}\n")
                rewards.clear()
                env.reset()
                show(env)
    finally:
        env.close()
    played = max(1, len(returns))  # the means are 0 before the first episode ends
    summary = {
        "episodes": len(returns),
        "mean_return": sum(returns) / played,
        "success_rate": sum(successes) / played,
    }
    print(json.dumps(summary))
    return summary


def make_env(config: Config) -> gym.Env[Any, Any]:
    """The environment, if it can be shown and played in this way."""
    try:
        env = gym.make(config.env_id, render_mode=config.render_mode)
    except (gym.error.Error, ImportError, TypeError, ValueError) as error:
        raise SystemExit(f"{config.env_id} cannot be made: {error}") from error
    if config.render_mode not in (known := env.metadata.get("render_modes", [])):
        raise SystemExit(
            f"{config.env_id} is shown by --render-mode {known}, not by {config.render_mode}"
        )
    if not isinstance(env.action_space, gym.spaces.Box | gym.spaces.Discrete):
        raise SystemExit(
            f"play needs a Discrete or Box action space, {config.env_id} has {env.action_space}"
        )
    is_box = isinstance(env.action_space, gym.spaces.Box)
    if is_box and config.render_mode == "human" and not hasattr(env.unwrapped, "action_of_keys"):
        raise SystemExit(
            f"{config.env_id} says not what the arrow keys do (action_of_keys): play it with lines "
            "of numbers"
        )
    return env


def actions_of(env: gym.Env[Any, Any], is_window: bool) -> Iterator[Any]:
    """The player's actions until q; a window has the keyboard's focus, a terminal gives lines."""
    space = env.action_space
    if is_window and isinstance(space, gym.spaces.Box):
        for keys in held_keys(QUIT):
            yield env.unwrapped.action_of_keys(keys)
        return
    for entry in key_presses() if is_window else lines():
        if entry == QUIT:
            return
        is_box = isinstance(space, gym.spaces.Box)
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


def show(env: gym.Env[Any, Any], caption: str = "") -> None:
    """Print the text picture under a caption; a window shows itself."""
    if env.render_mode == "ansi":
        print(f"{caption}{env.render()}")


if __name__ == "__main__":
    main(tyro.cli(Config))
