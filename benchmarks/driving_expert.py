"""Two laps of the expert on every circuit of a folder, beside the quasi-steady limit.

python -m benchmarks.driving_expert --circuits ../shared/data/racetracks

The experts of `wm/Driving-v0` and `wm/Driving-v1` drive the same laps and the same random starts,
from which a car has left the road or spun where it ends within 12 seconds.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.report import write_result
from wm_envs.driving.env import DrivingVectorEnv, MendedDrivingVectorEnv
from wm_envs.driving.expert import line_of

CIRCUITS = Path(__file__).parents[1].parent / "shared" / "data" / "racetracks"
NUM_LAPS = 2
NUM_STARTS, START_STEPS, START_SEED = 400, 600, 0  # per circuit; 12 s


def two_laps(track: str | Path, track_seed: int = 0, *, is_mended: bool = False) -> dict[str, Any]:
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
    env_class = MendedDrivingVectorEnv if is_mended else DrivingVectorEnv
    env = env_class(1, **options)
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
        "limit": round(line_of(env.parameters, is_mended=is_mended).lap_time, 3),
    }


def lost_starts(track: str | Path, *, is_mended: bool = False) -> int:
    """Random starts of `NUM_STARTS` on a circuit from which the expert leaves the road or spins."""
    env_class = MendedDrivingVectorEnv if is_mended else DrivingVectorEnv
    env = env_class(NUM_STARTS, track=track)
    env.reset(seed=START_SEED)
    has_ended = np.zeros(NUM_STARTS, np.bool_)
    for _ in range(START_STEPS):
        has_ended |= env.step(env.expert_actions())[2]
    return int(has_ended.sum())


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
    mended = {
        "real": summarise({path.stem: two_laps(path, is_mended=True) for path in files}),
        "random": summarise(
            {
                f"random {seed}": two_laps("random", seed, is_mended=True)
                for seed in range(arguments.random_tracks)
            }
        ),
    }
    lost = {
        name: {path.stem: lost_starts(path, is_mended=is_mended) for path in files}
        for name, is_mended in (("wm/Driving-v0", False), ("wm/Driving-v1", True))
    }
    starts = {
        "starts": NUM_STARTS * len(files),
        "lost": {name: sum(by_circuit.values()) for name, by_circuit in lost.items()},
        "by_circuit": lost,
    }
    figures = {
        "real": real,
        "random": summarise({name: made[name] for name in made}),
        "mended": mended,
        "starts": starts,
    }
    print(json.dumps(figures, indent=2))
    command = "python -m benchmarks.driving_expert"
    print(f"written to {write_result('driving_expert', figures, seeds=0, command=command)}")


if __name__ == "__main__":
    main()
