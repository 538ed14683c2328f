"""Fit a world model of Pong, roll it out for 30 steps and see where it parts from the game.

    python examples/world_model_pong.py --env-id wm/PongAtari-v0 --seed 5 --output-dir out

Trains on games of players that explore or act at random and tests on the games of a player that
training never saw (`wm_agents.domains.pong.open_loop`). The model's view of the game
(`wm_agents.domains.pong.object_view`) is told much of the geometry and of how the paddles move;
what is learned are the outcomes. With `--specified none` nothing is told, neither to the model nor
to the players of its training. Writes summary.json (errors, 95 % intervals by episode),
model.safetensors, view.json, open_loop.png and play.gif (real and imagined play side by side).
"""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium as gym
import torch
import tyro

import wm_agents as wma
from wm_agents.domains.pong.open_loop import (
    OpenLoopConfig,
    draw_errors,
    draw_play,
    imagine,
    open_loop_windows,
    record_training,
    summarize,
    untrained_model,
)
from wm_agents.domains.pong.specification import specified_knowledge


@dataclass(frozen=True)
class Config(OpenLoopConfig):
    """What to run."""

    output_dir: Path = Path("runs/world_model_pong")
    """Folder for summary.json, the model with its card, view.json, open_loop.png and play.gif."""
    has_pictures: bool = True
    """Draw open_loop.png and play.gif."""


def main(config: Config) -> dict[str, float]:
    """Record, fit, test; returns the summary that is written."""
    config = wma.expand_paths(config)
    try:
        config.check()
    except wma.ConfigError as error:
        raise SystemExit(str(error)) from error
    torch.set_num_threads(config.num_threads)
    wma.make_output_directory(config.output_dir, has_pictures=config.has_pictures)
    began = time.perf_counter()
    train = record_training(config)
    recorded_seconds = time.perf_counter() - began
    env = gym.make(config.env_id, **config.env_kwargs)

    began = time.perf_counter()
    model, is_measured = untrained_model(config, env, train)
    report = model.fit(train, progress=None)
    seconds = time.perf_counter() - began

    windows, num_left_out = open_loop_windows(config, env, model, train)
    imagined = imagine(model, windows)
    summary = summarize(config, windows, imagined)
    summary["train_steps"] = float(train.num_steps)
    summary["fit_seconds"] = seconds
    summary["windows_left_out"] = float(num_left_out)
    summary["is_view_measured"] = float(is_measured)
    summary["record_seconds"] = recorded_seconds
    for name, value in report.metrics.items():
        # What an object model memorized has another name on its pages.
        summary[name.replace("_known", "_looked_up")] = value
    told = specified_knowledge(config.specified)
    summary |= told.summary()
    print(told)

    wma.write_summary(config.output_dir, summary, is_printed=True)
    wma.write_json(config.output_dir / "view.json", model.view.to_json())
    wma.save_with_card(model, config.output_dir, card_of(config, summary))
    if config.has_pictures:
        draw_errors(config, windows, imagined, config.output_dir / "open_loop.png")
        draw_play(model, windows, config.output_dir / "play.gif")
    return summary


def card_of(config: Config, summary: dict[str, float]) -> wma.Card:
    """What a stranger has to know about the model."""
    env_kwargs: dict[str, Any] = config.env_kwargs
    return wma.Card(
        title=f"A world model of the objects of {config.env_id}",
        env_id=config.env_id,
        env_kwargs=env_kwargs,
        scores=summary,
        command=wma.command_line("examples/world_model_pong.py", config),
        seeds=(config.seed,),
        evaluation=(
            f"Open loop from every {config.stride}th step of {config.test_games} games of a "
            f"player, the {config.test_player}, that training never saw; pixels."
        ),
        limits="It reads the positions of the objects. " + _LIMITS[config.specified],
        tags=("world-model",),
        usage=_USAGE[config.specified],
    )


_LIMITS = {
    "none": "Nothing of the game was specified.",
    "roles": "A scripted explorer, which knows the columns, played for its training.",
    "everything": "Its view is told the form of the game's rules.",
}
_FOREST_USAGE = (
    "from wm_agents.world_models.stacked_forest import StackedForestModel",
    "",
    'model = StackedForestModel.load("model.safetensors")',
)
_USAGE = {
    "none": _FOREST_USAGE,
    "roles": _FOREST_USAGE,
    "everything": (
        "import json",
        "from pathlib import Path",
        "",
        "from wm_agents.domains.pong.object_view import PongView",
        "from wm_agents.world_models.objects import ObjectModel",
        "",
        'description = json.loads(Path("view.json").read_text(encoding="utf-8"))',
        "view = PongView.from_json(description)",
        'model = ObjectModel.load("model.safetensors", given=view)',
    ),
}


if __name__ == "__main__":
    main(tyro.cli(Config))
