"""The standard protocol on all symbolic ids and ten seeds, written to docs/leaderboard.md.

    python -m benchmarks.leaderboard

`examples/leaderboard.py` at its default sizes; about two hours on one core. Finished runs are kept
in `--output-dir`, so that the command goes on where it was stopped. The page is written where the
results are the committed ones.
"""

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro

from benchmarks.catalogue import FOLDER
from benchmarks.report import RESULTS, write_result
from wm_agents.evaluation.leaderboard import LeaderboardConfig, Run, draw, markdown, rank
from wm_envs.data.paths import expand_paths

EXAMPLE = FOLDER.parent / "examples" / "leaderboard.py"
DOCS = FOLDER.parent / "docs"


@dataclass(frozen=True)
class Config:
    """What to run."""

    num_seeds: int = 10
    """Runs of each agent on each id."""
    output_dir: Path = Path("runs/leaderboard")
    """Folder of the finished runs."""


def main(config: Config) -> dict[str, Any]:
    """Run what is missing; writes the result, the page and its picture."""
    config = expand_paths(config)
    seeds = tuple(range(config.num_seeds))
    options = ["--output-dir", str(config.output_dir), "--seeds", *map(str, seeds)]
    subprocess.run([sys.executable, str(EXAMPLE), *options], check=True)
    records = (config.output_dir / "leaderboard.json").read_text(encoding="utf-8")
    runs = [Run(**record) for record in json.loads(records)]
    env_ids = tuple(dict.fromkeys(run.env_id for run in runs))
    protocol = LeaderboardConfig(env_ids=env_ids, seeds=seeds)
    cells = rank(runs, protocol)
    figures: dict[str, Any] = {
        f"{agent}, {env_id}": {
            "normalised_score": cell.estimate,
            "low": cell.low,
            "high": cell.high,
        }
        for (env_id, agent), cell in cells.items()
        if cell is not None
    }
    figures["seconds"] = sum(run.seconds for run in runs)
    command = f"python -m benchmarks.leaderboard --num-seeds {config.num_seeds}"
    write_result("leaderboard", figures, seeds=protocol.seeds, command=command)
    if RESULTS.parent == FOLDER:
        draw(cells, protocol, DOCS / "images" / "leaderboard.png")
        picture = "![Normalized scores by id and agent](images/leaderboard.png)"
        text = f"{markdown(cells, protocol)}\n{picture}\n"
        (DOCS / "leaderboard.md").write_text(text, encoding="utf-8")
    return figures


if __name__ == "__main__":
    main(tyro.cli(Config))
