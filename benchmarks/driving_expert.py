"""Two laps of the expert on every circuit of a folder, beside the quasi-steady limit.

python -m benchmarks.driving_expert --circuits ../shared/data/racetracks
"""

import argparse
import json
from pathlib import Path
from typing import Any

from benchmarks.report import write_result
from wm_envs.driving.env import DrivingVectorEnv
from wm_envs.driving.expert import line_of

CIRCUITS = Path(__file__).parents[1].parent / "shared" / "data" / "racetracks"
NUM_LAPS = 2


def two_laps(track: str | Path, track_seed: int = 0) -> dict[str, Any]:
    """From a rolling start at the line.

    The lap times, the first one with the start, and whether the car stayed on.
    """
    options = {
        "track": track,
        "track_seed": track_seed,
        "laps": NUM_LAPS,
        "random_start": False,
        "time_limit": 30_000,
    }
    env = DrivingVectorEnv(1, **options)
    env.reset(seed=0)
    lap_times: list[float] = []
    is_over = False
    while not is_over:
        _, _, terminated, truncated, info = env.step(env.expert_actions())
        if info["lap_time"][0] > 0:
            lap_times.append(round(float(info["lap_time"][0]), 3))
        is_over = bool(terminated[0] or truncated[0])
    return {
        "is_clean": not terminated[0] and len(lap_times) == NUM_LAPS,
        "lap_times": lap_times,
        "limit": round(line_of(env.parameters).lap_time, 3),
    }


def summarise(circuits: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Clean circuits, and the total of the second laps beside the limit's."""
    clean = {name: laps for name, laps in circuits.items() if laps["is_clean"]}
    total = sum(laps["lap_times"][1] for laps in clean.values())
    limit = sum(laps["limit"] for laps in clean.values())
    return {
        "clean_circuits": len(clean),
        "circuits": len(circuits),
        "total_of_second_laps": round(total, 2),
        "total_of_limits": round(limit, 2),
        "ratio": round(total / limit, 4) if clean else None,
        "by_circuit": circuits,
    }


def main() -> None:
    """Drive, print and write the result."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--circuits", type=Path, default=CIRCUITS)
    parser.add_argument(
        "--random-tracks", type=int, default=30, help="also this many random circuits"
    )
    arguments = parser.parse_args()
    files = sorted(arguments.circuits.glob("*.csv"))
    if not files:
        raise SystemExit(
            f"no circuits in {arguments.circuits}: give a folder of "
            "x_m,y_m,w_tr_right_m,w_tr_left_m files"
        )
    real = summarise({path.stem: two_laps(path) for path in files})
    made = {f"random {seed}": two_laps("random", seed) for seed in range(arguments.random_tracks)}
    figures = {"real": real, "random": summarise({name: made[name] for name in made})}
    print(json.dumps(figures, indent=2))
    command = "python -m benchmarks.driving_expert"
    print(f"written to {write_result('driving_expert', figures, seeds=0, command=command)}")


if __name__ == "__main__":
    main()
