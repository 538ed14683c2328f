"""Steps per CPU-second of the resolutions and the debate, single and in batches.

CartPole runs beside them in the same run.

    python -m benchmarks.domain_throughput

The symbolic tasks, Pong and driving have benchmarks of their own (`throughput`, `pong_throughput`,
`driving_speed`). This one measures the other ids in the same way, with the contenders of
`benchmarks.throughput`: actions drawn beforehand, contenders taking turns, and proof that
observations changed and episodes ended.
"""

from dataclasses import dataclass
from typing import Any

import tyro

from benchmarks.report import write_result
from benchmarks.throughput import LARGEST, PEER, Contender

ENV_IDS = ("wm/UNResolution-v0", "wm/Debate-v0")


@dataclass(frozen=True)
class Config:
    """How long to measure."""

    num_turns: int = 7
    """Turns of each contender; the median counts."""
    seed: int = 0
    """Of actions and environments."""
    is_written: bool = True
    """Write benchmarks/results/domain_throughput.json."""


def main(config: Config) -> dict[str, Any]:
    """Measure all contenders; returns the figures."""
    contenders = [
        Contender(env_id, num_envs) for env_id in (*ENV_IDS, PEER) for num_envs in (None, LARGEST)
    ]
    for contender in contenders:
        contender.prepare(config.seed)
        # An episode of the debate takes 40 steps, and one has to end in every turn.
        contender.num_calls *= 4
    for _ in range(config.num_turns):
        for contender in contenders:
            contender.take_turn()
    figures = {contender.name: row(contender) for contender in contenders}
    for name, figure in figures.items():
        print(f"{name:40} {figure['steps_per_cpu_second']:12,} steps per CPU-second")
    if config.is_written:
        write_result(
            "domain_throughput",
            figures,
            seeds=config.seed,
            command="python -m benchmarks.domain_throughput",
        )
    return figures


def row(contender: Contender) -> dict[str, int]:
    """A contender's speed and the proof that the work was done."""
    return {
        "steps_per_cpu_second": round(contender.steps_per_cpu_second),
        "episodes": sum(turn.num_episodes for turn in contender.turns),
        "changed_observations": contender.num_changes,
    }


if __name__ == "__main__":
    main(tyro.cli(Config))
