"""Play an environment from the keyboard.

    python examples/play.py --env-id wm/LightsOut-v0 --render-mode human

An action is a number, or its key: 0 to 9, then a for 10, b for 11 and so on. q quits. In ansi mode
each line of the standard input is one action, so that a game can be piped in; in human mode each
key press in the window is one.

    python examples/play.py --env-id wm/Driving-v0 --render-mode human

An environment with a Box of actions is played with the arrow keys; in ansi mode a line holds the
numbers of one action. `wm play ID` does the same.
"""

import json
from dataclasses import dataclass
from typing import Literal

import tyro

from wm_envs.errors import OptionError
from wm_envs.play import play


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
    try:
        summary = play(config.env_id, seed=config.seed, render_mode=config.render_mode)
    except (OptionError, ImportError) as error:
        raise SystemExit(str(error)) from error
    print(json.dumps(summary))
    return summary


if __name__ == "__main__":
    main(tyro.cli(Config))
