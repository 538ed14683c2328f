r"""Learn to play Pong in imagination: collect, refit a world model, learn inside it, repeat.

    python examples/dream_pong.py --env-id wm/PongAtari-v0 --max-real-steps 100000 --seed 5 \
        --output-dir out

With `--specified none` nothing of the game is told: no columns, no rules, no scripted player. At
most `max_real_steps` steps of the real game are taken; `wm_agents.domains.pong.dreaming` has the
rounds. Observations are the positions of the objects, an easier input than pixels: the score is not
comparable with those of agents that see the screen. Writes summary.json, rounds.json, the policy
with its card, and view.json, without which it sees nothing. The same command after an interruption
resumes with the round that was interrupted.
"""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import tyro

import wm_agents as wma
from wm_agents.domains.pong.dreaming import DreamConfig, DreamTraining
from wm_agents.domains.pong.specification import specified_knowledge


@dataclass(frozen=True)
class Config(DreamConfig):
    """What to run."""

    output_dir: Path = Path("runs/dream_pong")
    """Folder for summary.json, rounds.json, the policy with its card, and view.json."""
    games: int = 20
    """Full games of the final evaluation, with sampled actions and random starts."""
    num_threads: int = 1
    """Threads of torch."""


def main(config: Config) -> dict[str, Any]:
    """Run all rounds and the evaluation; returns the summary that is written."""
    config = wma.expand_paths(config)
    for name in ("games", "num_threads"):
        if getattr(config, name) < 1:
            raise SystemExit(f"{name} is at least 1, got {getattr(config, name)}")
    torch.set_num_threads(config.num_threads)
    try:
        training = DreamTraining(config)
    except wma.ConfigError as error:
        raise SystemExit(str(error)) from error
    wma.make_output_directory(config.output_dir, has_pictures=True)
    checkpoints = wma.CheckpointManager(config.output_dir / "unfinished", keep=1)

    def report(_: int, figures: dict[str, float]) -> None:
        print(json.dumps({name: round(value, 4) for name, value in figures.items()}), flush=True)
        wma.write_json(config.output_dir / "rounds.json", training.rounds)

    print(specified_knowledge(config.specified), flush=True)
    training.train(checkpoints, report)
    summary = training.evaluate(config.games)
    draw_rounds(config.output_dir / "rounds.png", training.rounds)
    wma.write_summary(config.output_dir, summary, is_printed=True)
    wma.write_json(config.output_dir / "view.json", training.view.to_json())
    wma.save_with_card(training.policy, config.output_dir, card_of(config, summary, training))
    shutil.rmtree(checkpoints.directory)
    return summary


def draw_rounds(path: Path, rounds: list[dict[str, float]]) -> None:
    """What was won in the real games of each round against real steps."""
    steps = [figures["real_steps"] for figures in rounds]
    values = [figures["real_points_won"] for figures in rounds]
    wma.plot_lines(path, steps, {"real games": values}, "real steps", "share of the points won")


_LIMITS = {
    "none": "Nothing of the game was specified; what it reads was found in the first recording.",
    "roles": "The first steps were those of a scripted explorer, which knows the columns.",
    "everything": (
        "Its view is told the form of the game's rules; the first steps were those of a scripted "
        "explorer."
    ),
}


def card_of(config: Config, summary: dict[str, Any], learned: DreamTraining) -> wma.Card:
    """What a stranger has to know about the policy."""
    policy = type(learned.policy)
    view = type(learned.view)
    return wma.Card(
        title=f"PPO in imagined games of {config.env_id}",
        env_id=config.env_id,
        env_kwargs=config.env_kwargs,
        scores=summary,
        command=wma.command_line("examples/dream_pong.py", config),
        seeds=(config.seed,),
        evaluation=(
            f"Points won less points lost, mean of {config.games} full games with sampled actions."
        ),
        limits=(
            "It reads the positions of the objects, which is easier than pixels. "
            + _LIMITS[config.specified]
        ),
        usage=(
            "import json",
            "from pathlib import Path",
            "",
            f"from {view.__module__} import {view.__name__}",
            "from wm_agents.imagination.features import FeatureAgent",
            f"from {policy.__module__} import {policy.__name__}",
            "",
            'description = json.loads(Path("view.json").read_text(encoding="utf-8"))',
            f"view = {view.__name__}.from_json(description)",
            f'policy = {policy.__name__}.load("model.safetensors")',
            "agent = FeatureAgent(policy, view)  # for evaluate(), or step by step",
        ),
    )


if __name__ == "__main__":
    main(tyro.cli(Config))
