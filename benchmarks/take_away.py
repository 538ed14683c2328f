"""Models that one can read, play with and take away: printed programs, the page, ONNX files.

    python -m benchmarks.take_away

For each puzzle: lines of the program that a `TokenModel` prints, and the share of held-out steps
that it replays exactly. For each task: size of the page, milliseconds until its first frame in node
(without a browser's painting), and the largest difference between its JavaScript and Python over
1,000 random steps. For each network: the largest difference between ONNX Runtime and torch.
"""

import json
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch
import tyro

import wm_agents as wma
from benchmarks.report import write_result
from wm_agents.evaluation.viewer import describe_model, viewer
from wm_envs import record

HARNESS = Path(__file__).parents[1] / "tests" / "support" / "viewer.js"
ENGINE = Path(wma.__file__).parent / "evaluation" / "viewer_page" / "model.js"
PUZZLES = ("wm/PermPuzzle-v0", "wm/LightsOut-v0")
WIDTHS = (64, 64)
NUM_STEPS = 1000


@dataclass(frozen=True)
class Config:
    """What to measure."""

    seeds: tuple[int, ...] = (0, 1, 2)
    """Of recordings, weights and steps."""
    num_updates: int = 1000
    """Optimizer steps of the networks."""


def main(config: Config) -> dict[str, Any]:
    """Measure everything; returns the figures that are written."""
    torch.set_num_threads(1)
    if shutil.which("node") is None:
        raise SystemExit("the page is measured with node, which is not installed")
    figures: dict[str, Any] = {
        "programs": {env_id: programs(env_id, config) for env_id in PUZZLES},
        "pages": {},
        "onnx": {},
    }
    for name, (env_id, kind, shape) in networks().items():
        fitted = [fit(env_id, kind, shape, seed, config) for seed in config.seeds]
        figures["pages"][name] = worst([page(model, test) for model, test in fitted])
        figures["onnx"][name] = worst([onnx(model, test) for model, test in fitted])
    for env_id in PUZZLES:
        fitted = [fit_tokens(env_id, seed) for seed in config.seeds]
        figures["pages"][env_id] = worst([page(model, test) for model, test in fitted])
    command = f"python -m benchmarks.take_away --num-updates {config.num_updates}"
    write_result("take_away", figures, seeds=config.seeds, command=command)
    print(json.dumps(figures, indent=1))
    return figures


def networks() -> dict[str, tuple[str, Any, Any]]:
    """Perceptrons of a vector and of a counted action."""
    single = wma.DeterministicConfig(dynamics_widths=WIDTHS)
    several = wma.EnsembleConfig(dynamics_widths=WIDTHS, reward_widths=(32,), num_members=3)
    return {
        "Pendulum-v1 deterministic": ("Pendulum-v1", wma.DeterministicModel, single),
        "CartPole-v1 ensemble": ("CartPole-v1", wma.EnsembleModel, several),
    }


def programs(env_id: str, config: Config) -> dict[str, Any]:
    """Lines and exactness of what a token model prints."""
    with gym.make(env_id) as env:
        fields: Any = env.unwrapped
        names = [field.name for field in fields.observation_fields]
    lines, shares = [], []
    for seed in config.seeds:
        model, test = fit_tokens(env_id, seed)
        program = model.to_program(names)
        replay = program.replay(test)
        lines.append(program.num_lines)
        shares.append(replay.num_exact / replay.num_transitions)
    return {"lines": max(lines), "exact_share": min(shares)}


def fit_tokens(env_id: str, seed: int) -> tuple[Any, wma.Trajectories]:
    """A token model, and held-out episodes."""
    train, test = (
        record(env_id, episodes=80, seed=1000 * seed + part, progress=False) for part in (0, 500)
    )
    model = wma.TokenModel.for_env(env_id, seed=seed)
    model.fit(train)
    return model, test


def fit(
    env_id: str, kind: Any, shape: Any, seed: int, config: Config
) -> tuple[Any, wma.Trajectories]:
    """A network, and held-out episodes."""
    train, test = (
        record(env_id, episodes=20, seed=1000 * seed + part, progress=False) for part in (0, 500)
    )
    model = kind.for_env(env_id, shape, seed=seed)
    model.fit(train, wma.FitConfig(num_updates=config.num_updates, seed=seed))
    return model, test


def page(model: Any, test: wma.Trajectories) -> dict[str, float]:
    """Size, time of the first frame, and parity of the page's model."""
    with tempfile.TemporaryDirectory() as folder:
        path = viewer(model, test, Path(folder) / "look.html")
        seen = javascript("page", str(path), "1")
        kilobytes = path.stat().st_size / 1000
    rows = np.random.default_rng(0).integers(0, test.num_steps, NUM_STEPS)
    starts, actions = test.start_observations[rows], test.actions[rows]
    given = {
        "spec": describe_model(model),
        "starts": starts.tolist(),
        "actions": [[action] for action in actions.tolist()],
    }
    theirs = javascript("rollout", str(ENGINE), given=given)
    ours = model.predict(starts, actions)
    differences = [
        np.abs(np.array([one["observations"][1] for one in theirs]) - ours.observations.numpy()),
        np.abs(np.array([one["rewards"][0] for one in theirs]) - ours.rewards.numpy()),
        np.abs(np.array([one["terminations"][0] for one in theirs]) - ours.terminations.numpy()),
    ]
    return {
        "kilobytes": kilobytes,
        "milliseconds_to_first_frame_in_node": seen["milliseconds"],
        "largest_difference": max(float(values.max()) for values in differences),
        "errors_in_console": float(len(seen["errors"])),
    }


def javascript(*arguments: str, given: Any = None) -> Any:
    """What the harness of the tests says."""
    done = subprocess.run(
        ["node", str(HARNESS), *arguments],
        input=json.dumps(given),
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=True,
    )
    return json.loads(done.stdout)


def onnx(model: Any, test: wma.Trajectories) -> dict[str, float]:
    """Size of the file, and the largest difference to torch over the held-out steps."""
    import onnxruntime

    with tempfile.TemporaryDirectory() as folder:
        path = model.export_onnx(Path(folder) / "model")
        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        kilobytes = path.stat().st_size / 1000
    rows, actions = test.start_observations, test.actions
    theirs = session.run(None, {"observations": rows, "actions": actions})
    ours = model.predict(rows, actions)
    tensors = (ours.observations, ours.rewards, ours.terminations)
    scales = [max(1.0, float(tensor.abs().max())) for tensor in tensors]
    differences = [
        float(np.abs(a.numpy() - b).max()) / scale
        for a, b, scale in zip(tensors, theirs, scales, strict=True)
    ]
    return {"kilobytes": kilobytes, "largest_difference": max(differences)}


def worst(rows: list[dict[str, float]]) -> dict[str, float]:
    """The largest of each figure over seeds."""
    return {name: max(row[name] for row in rows) for name in rows[0]}


if __name__ == "__main__":
    main(tyro.cli(Config))
