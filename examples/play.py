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


@dataclass
class Score:
    """What was played so far."""

    episodes: int = 0
    successes: int = 0
    total_return: float = 0.0
    # Of the episode that has not ended yet.
    current_return: float = 0.0

    def end_episode(self, *, is_success: bool) -> None:
        """Count the current episode."""
        self.episodes += 1
        self.successes += is_success
        self.total_return += self.current_return
        self.current_return = 0.0

    def summary(self) -> dict[str, float]:
        """Flat names to numbers; the means are 0 before the first episode ends."""
        played = max(1, self.episodes)
        return {
            "episodes": self.episodes,
            "mean_return": self.total_return / played,
            "success_rate": self.successes / played,
        }


def main(config: Config) -> dict[str, float]:
    """Play until q or the end of the input; returns the summary of the finished episodes."""
    try:
        env = gym.make(config.env_id, render_mode=config.render_mode)
    except (gym.error.Error, ImportError, TypeError, ValueError) as error:
        raise SystemExit(f"{config.env_id} cannot be made: {error}") from error
    if config.render_mode not in (known := env.metadata.get("render_modes", [])):
        raise SystemExit(
            f"{config.env_id} is shown by --render-mode {known}, not by {config.render_mode}"
        )
    score = Score()
    if isinstance(env.action_space, gym.spaces.Box):
        return play_box(env, config, score)
    if not isinstance(env.action_space, gym.spaces.Discrete):
        raise SystemExit(
            f"play needs a Discrete or Box action space, {config.env_id} has {env.action_space}"
        )
    num_actions = int(env.action_space.n)
    try:
        env.reset(seed=config.seed)
        print(f"{config.env_id}: actions 0 to {num_actions - 1}, q quits")
        show(env)
        # A window has the keyboard's focus, a terminal gives lines.
        for entry in key_presses() if config.render_mode == "human" else lines():
            if entry == QUIT:
                break
            play(env, entry, num_actions, score)
    finally:
        env.close()
    print(json.dumps(score.summary()))
    return score.summary()


def play_box(env: gym.Env[Any, Any], config: Config, score: Score) -> dict[str, float]:
    """Play with held keys in the window, or with lines of numbers.

    When an episode ends, the next one starts.
    """
    is_window = config.render_mode == "human"
    if is_window and not hasattr(env.unwrapped, "action_of_keys"):
        raise SystemExit(
            f"{config.env_id} says not what the arrow keys do (action_of_keys): play it with lines "
            "of numbers"
        )
    try:
        env.reset(seed=config.seed)
        how = "hold the arrow keys" if is_window else "the numbers of an action a line"
        print(f"{config.env_id}: {how}, q quits")
        show(env)
        for action in held_key_actions(env) if is_window else number_actions(env):
            _, reward, terminated, truncated, info = env.step(action)
            score.current_return += float(reward)
            show(env)
            if terminated or truncated:
                score.end_episode(is_success=bool(info.get("is_success", False)))
                print(f"episode {score.episodes} is over\n")
                env.reset()
    finally:
        env.close()
    print(json.dumps(score.summary()))
    return score.summary()


def number_actions(env: gym.Env[Any, Any]) -> Iterator[Any]:
    """The actions of the lines of the standard input, until q.

    A line that is no action gets an answer that says why.
    """
    for line in lines():
        if line == QUIT:
            return
        try:
            action = np.array([float(word) for word in line.split()], env.action_space.dtype)
        except ValueError:
            action = np.array([])
        if env.action_space.contains(action):
            yield action
        else:
            print(f"{line!r} is no action: enter numbers within {env.action_space}, or q to quit")


def held_key_actions(env: gym.Env[Any, Any]) -> Iterator[Any]:
    """The action of the pressed arrow keys, one for each frame.

    The last comes before q is pressed or the window is closed.
    """
    # Only windows need it.
    import pygame

    arrows = {
        pygame.K_LEFT: "left",
        pygame.K_RIGHT: "right",
        pygame.K_UP: "up",
        pygame.K_DOWN: "down",
    }
    while True:
        for event in pygame.event.get():
            if event.type == pygame.QUIT or (
                event.type == pygame.KEYDOWN and event.unicode == QUIT
            ):
                return
        pressed = pygame.key.get_pressed()
        yield env.unwrapped.action_of_keys(
            frozenset(name for key, name in arrows.items() if pressed[key])
        )


def play(env: gym.Env[Any, Any], entry: str, num_actions: int, score: Score) -> None:
    """Take one action; at the end of an episode say how it went and start the next."""
    action = action_of(entry, num_actions)
    if action is None:
        print(f"{entry!r} is no action: enter 0 to {num_actions - 1}, or q to quit")
        return
    _, reward, terminated, truncated, info = env.step(action)
    score.current_return += float(reward)
    print(f"action {action}, reward {reward:g}")
    show(env)
    if terminated or truncated:
        is_success = bool(info.get("is_success", False))
        score.end_episode(is_success=is_success)
        print(f"episode {score.episodes}: {'success' if is_success else 'no success'}\n")
        env.reset()
        show(env)


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


def key_presses() -> Iterator[str]:
    """The characters typed into the window, until it is closed."""
    import pygame

    while True:
        event = pygame.event.wait()
        if event.type == pygame.QUIT:
            return
        if event.type == pygame.KEYDOWN and event.unicode.strip():
            yield event.unicode


def show(env: gym.Env[Any, Any]) -> None:
    """Print the text picture; a window shows itself."""
    if env.render_mode == "ansi":
        print(env.render())


if __name__ == "__main__":
    main(tyro.cli(Config))
