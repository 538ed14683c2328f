"""PPO learns one seat of the debate and is compared with every scripted debater in the same seat.

    python examples/debate_agent.py --seed 1 --output-dir out

The evaluation plays the same episodes (persons, order of observations, rivals) with each contender
in the seat, so that the differences are paired. Writes summary.json (ppo_return,
best_script_return, difference with its 95% interval, ...) and the trained agent as agent.zip.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import tyro

import wm_agents as wma
from wm_agents.domains.debate.seat import ENV_ID, SeatConfig, learn_seat


@dataclass(frozen=True)
class Config(SeatConfig):
    """What to train."""

    seed: int = 1
    """Seed of the agent, the environments and, apart from those, the evaluation."""
    output_dir: Path = Path("runs/debate_agent")
    """Folder for summary.json, agent.zip and the model card."""


def main(config: Config) -> dict[str, Any]:
    """Train and compare; returns the summary that is written."""
    config = wma.expand_paths(config)
    torch.set_num_threads(1)
    wma.make_output_directory(config.output_dir, has_pictures=True)
    agent, summary = learn_seat(config, config.seed)
    agent.save(config.output_dir / "agent.zip")
    limits = (summary[name] for name in ("difference", "difference_low", "difference_high"))
    wma.plot_intervals(
        config.output_dir / "difference.png",
        {"PPO less the best script": wma.Interval(*limits)},
        "difference in return, paired episodes",
        reference=0.0,
        title=f"The seat of {config.seat}",
    )
    wma.write_summary(config.output_dir, summary, is_printed=True)
    wma.save_with_card(agent, config.output_dir, card_of(config, summary))
    return summary


def card_of(config: Config, summary: dict[str, Any]) -> wma.Card:
    """What a stranger has to know about the agent."""
    names = ("ppo_return", "best_script_return", "difference", "difference_low", "difference_high")
    episodes = f"{config.evaluation_episodes} episodes, the same for every contender"
    return wma.Card(
        title=f"PPO in the debate's seat of {config.seat}",
        env_id=ENV_ID,
        env_kwargs={"seat": config.seat, "rivals": config.rivals},
        scores={name: summary[name] for name in names},
        command=wma.command_line("examples/debate_agent.py", config, ("seat", "rivals", "seed")),
        seeds=(config.seed,),
        evaluation=f"{episodes}; differences are paired.",
        limits="It met scripted rivals only.",
    )


if __name__ == "__main__":
    main(tyro.cli(Config))
