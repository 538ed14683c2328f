"""Commands on environments and data, which need no torch."""

from pathlib import Path
from typing import Any, Literal

from tyro.conf import Positional

from wm_suite.command_result import CommandResult


def envs() -> CommandResult:
    """List the environments."""
    from wm_envs.registration import TABLE, listing

    rows = [{"id": row.id, "summary": row.summary} for row in TABLE]
    return CommandResult({"environments": rows}, listing())


def info(env_id: Positional[str]) -> CommandResult:
    """Explain an environment: its page, its spaces, its options.

    Args:
        env_id: Any Gymnasium id.
    """
    import inspect

    from gymnasium.envs.registration import load_env_creator

    from wm_envs.data.specs import spec_of
    from wm_envs.registration import TABLE, page

    spec = spec_of(env_id)
    rows = {row.id: row for row in TABLE}
    if spec.id in rows:
        text = page(rows[spec.id])
    else:
        creator = spec.entry_point
        known = load_env_creator(creator) if isinstance(creator, str) else creator
        text = inspect.getdoc(known) or ""
    result: dict[str, Any] = {
        "id": spec.id,
        "summary": _first_sentence(text),
        "page": text,
        "observation_space": None,
        "action_space": None,
        "max_episode_steps": spec.max_episode_steps,
        "reward_threshold": spec.reward_threshold,
    }
    try:
        result |= _spaces_of(env_id)
        note = f"Observations: {result['observation_space']}\nActions: {result['action_space']}"
    except ImportError as error:  # the page is there, whatever else is missing
        note = str(error)
    return CommandResult(result, f"# {spec.id}\n\n{text}\n\n{note}")


def _first_sentence(page: str) -> str:
    """The first line that is no heading; Gymnasium's pages begin with one."""
    lines = (line.strip() for line in page.split("\n"))
    return next((line for line in lines if line and not line.startswith("#")), "")


def _spaces_of(env_id: str) -> dict[str, Any]:
    """Spaces and time limit: of ours from the rules, which compiles nothing."""
    import gymnasium as gym
    import numpy as np

    from wm_envs import oracle
    from wm_envs.errors import OptionError

    try:
        rules = oracle.rules_of(env_id)
    except OptionError:
        with gym.make(env_id) as env:
            return {
                "observation_space": str(env.observation_space),
                "action_space": str(env.action_space),
            }
    return {
        "observation_space": str(rules.observation_space),
        "action_space": str(rules.action_space),
        "max_episode_steps": int(np.ravel(rules.parameters["time_limit"])[0]),
    }


def play(
    env_id: Positional[str], /, *, seed: int = 0, render_mode: Literal["ansi", "human"] = "ansi"
) -> CommandResult:
    """Play an environment from the keyboard; q quits.

    Args:
        env_id: Any Gymnasium id with a Discrete or Box action space.
        seed: Of the first episode.
        render_mode: Text in the terminal, or a window.
    """
    from wm_envs.data.display import counted
    from wm_envs.play import play

    result = play(env_id, seed=seed, render_mode=render_mode)
    text = (
        f"{counted(int(result['episodes']), 'episode')}, mean return {result['mean_return']:g}, success rate "
        f"{result['success_rate']:g}"
    )
    return CommandResult(result, text)


def record(
    env_id: Positional[str],
    /,
    *,
    episodes: int = 20,
    policy: Literal["random", "expert"] = "random",
    seed: int = 0,
    output: Path = Path("trajectories.npz"),
) -> CommandResult:
    """Record whole episodes into one file, which `Trajectories.load` reads.

    Args:
        env_id: Any Gymnasium id.
        episodes: How many.
        policy: Random actions, or the environment's own expert.
        seed: Of environments and actions.
        output: The file.
    """
    import wm_envs
    from wm_envs.data.display import counted
    from wm_envs.data.paths import writable_file

    path = writable_file(output)
    recorded = wm_envs.record(env_id, episodes=episodes, policy=policy, seed=seed)
    path = recorded.save(path)
    result = {
        "path": str(path),
        "episodes": recorded.num_episodes,
        "steps": recorded.num_steps,
        "mean_return": float(recorded.returns.mean()),
    }
    text = (
        f"{counted(recorded.num_episodes, 'episode')}, {counted(recorded.num_steps, 'step')}, mean return "
        f"{result['mean_return']:.4g}: {path}"
    )
    return CommandResult(result, text)


def bench(env_ids: Positional[tuple[str, ...]] = (), /, *, seconds: float = 1.0) -> CommandResult:
    """Measure steps per CPU-second, single and in batches.

    Args:
        env_ids: Any Gymnasium ids; none takes all of ours that are installed.
        seconds: Of CPU time for each figure.
    """
    import sys
    import warnings

    from wm_envs.data.options import check_number
    from wm_envs.registration import TABLE
    from wm_envs.testing.speed import steps_per_cpu_second

    check_number("seconds", seconds, 0.001, 3600.0)
    rows: list[dict[str, Any]] = []
    lines = [f"{'id':26} {'single':>12} {'64 in a batch':>14} {'4,096':>14}  steps per CPU-second"]
    for env_id in env_ids or [row.id for row in TABLE]:
        try:
            with warnings.catch_warnings():
                # Earlier versions are measured too, and need not say that there are later ones.
                warnings.simplefilter("ignore", DeprecationWarning)
                speeds = [
                    steps_per_cpu_second(env_id, size, seconds=seconds) for size in (None, 64, 4096)
                ]
        except ImportError as error:
            if env_ids:
                raise
            lines.append(f"{env_id:26} {error}")
            continue
        rows.append({"id": env_id, "single": speeds[0], "x64": speeds[1], "x4096": speeds[2]})
        print(f"[{len(lines)}/{len(env_ids) or len(TABLE)}] {env_id}", file=sys.stderr, flush=True)
        lines.append(f"{env_id:26} {speeds[0]:12,.0f} {speeds[1]:14,.0f} {speeds[2]:14,.0f}")
    return CommandResult({"steps_per_cpu_second": rows}, "\n".join(lines))


def compile_(env_ids: Positional[tuple[str, ...]] = (), /) -> CommandResult:
    """Compile environments once, so that nobody waits for it later.

    Args:
        env_ids: Ids of ours; none compiles all.
    """
    import sys

    from wm_envs.compilation import compile_environments
    from wm_envs.data.display import counted
    from wm_envs.registration import TABLE

    num_ids = len(env_ids) or len(TABLE)
    started: list[str] = []

    def say(env_id: str) -> None:
        started.append(env_id)
        print(f"[{len(started)}/{num_ids}] {env_id}", file=sys.stderr, flush=True)

    seconds = compile_environments(env_ids or None, say)
    compiled = [spent for spent in seconds.values() if spent is not None]
    text = f"{counted(len(compiled), 'environment')} compiled after {sum(compiled):.1f} s."
    if skipped := [env_id for env_id, spent in seconds.items() if spent is None]:
        text += f" Not installed: {', '.join(skipped)}."
    return CommandResult({"seconds": seconds}, text)


def data(
    action: Positional[Literal["fetch"]],
    name: Positional[Literal["circuits", "votes"]],
    /,
    *,
    source: str = "by-hand",
    output_dir: Path | None = None,
    timeout: float = 30.0,
) -> CommandResult:
    """Say how to get public data, or fetch them with their SHA-256 checked.

    Args:
        action: There is one.
        name: Real race tracks, or recorded votes of the UN.
        source: "by-hand" prints instructions; "public" takes the public repository, where there is
            one; else the http(s) address of a folder that holds the files.
        output_dir: Where they go; by default where the examples look for them.
        timeout: Seconds that a server may be silent.
    """
    import sys

    from wm_envs.data import fetching
    from wm_envs.data.paths import user_path

    del action
    folder = user_path(output_dir) if output_dir else fetching.data_folder(name)
    missing = fetching.missing_files(name, folder)
    if missing and source == "by-hand":
        result = {"folder": str(folder), "missing": missing}
        return CommandResult(result, fetching.instructions(name, folder), exit_code=2)
    if missing:
        fetching.fetch(
            name,
            source,
            folder,
            timeout=timeout,
            on_file=lambda file: print(f"{file} ...", file=sys.stderr, flush=True),
        )
    return CommandResult(
        {"folder": str(folder), "missing": []}, f"{name} are complete in {folder}."
    )
