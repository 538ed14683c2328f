"""Write docs/environments, pages and films of all ids with their gallery, docs/reference and docs/notebooks.

    python docs/generate.py

The docstrings are the pages, so that what `help()` says and what the site says cannot differ.
"""

import inspect
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from itertools import groupby
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.envs.registration import load_env_creator
from numpy.typing import NDArray
from PIL import Image

import wm_agents
import wm_envs  # noqa: F401 - registers the ids
from wm_envs.environment import KernelEnv
from wm_envs.registration import TABLE, Registration

DOCS = Path(__file__).parent
RESULTS = DOCS.parent / "benchmarks" / "results"

# Of the films.
FRAMES, WIDTH, HEIGHT, MILLISECONDS, COLORS = 24, 320, 240, 250, 48
OPTIONS: dict[str, dict[str, Any]] = {
    "wm/Driving-v0": {"track": "figure_eight"},
    "wm/Driving-v1": {"track": "figure_eight"},
}
STEPS_PER_FRAME = {
    "wm/Driving-v0": 12,
    "wm/Driving-v1": 12,
    "wm/Pong-v0": 4,
    "wm/PongAtari-v0": 4,
}

DOMAINS = {
    "symbolic": "Puzzles of symbols",
    "resolutions": "United Nations resolutions",
    "pong": "Pong",
    "debate": "Debate",
    "driving": "Driving",
}
"""Folder of `wm_envs` -> heading in the gallery."""

MORE = {
    "resolutions": "[United Nations resolutions](../resolutions.md)",
    "pong": "[Pong](../pong.md)",
    "debate": "[Debate](../debate.md)",
    "driving": "[Driving](../driving.md)",
}
"""Folder of `wm_envs` -> where the domain is treated at length."""

PLAYERS = {
    "oracle planner": ("a planner with the true rules", "0"),
    "learned planner": ("a planner with a world model that it learned", "3,000"),
    "reinforce": ("REINFORCE with a world-model loss", "50,000"),
    "ppo": ("PPO of Stable-Baselines3", "50,000"),
}
"""Agent of the leaderboard -> in words, and the real steps that it had."""

ENVIRONMENT_MODULES = (
    "wm_envs",
    "wm_envs.data",
    "wm_envs.testing",
    "wm_envs.oracle",
    "wm_envs.errors",
)
"""The modules of `wm_envs` that users import from."""

AREAS = {
    "agent": "One agent for any environment",
    "world_models": "World models",
    "evaluation": "Evaluation",
    "planning": "Planning",
    "imagination": "Imagined environments",
    "policy_gradient": "Policy gradients",
    "irl": "Inverse reinforcement learning",
    "training": "Training, saving and logging",
    "sb3": "Stable-Baselines3",
    "protocols": "Protocols",
    "errors": "Errors",
}
"""Folder or module of `wm_agents` -> heading in the reference, in this order."""


def environment_class(row: Registration) -> type[KernelEnv]:
    """The class whose docstring documents an id: the entry point itself may be a function."""
    vector_class: Any = load_env_creator(row.vector_entry_point)
    return vector_class.env_class


def page_name(row: Registration) -> str:
    """The id without its namespace."""
    return row.id.split("/")[-1]


def page(row: Registration) -> str:
    """The Markdown page of an id; raises ValueError where the class has no docstring."""
    _, _, sections = (inspect.getdoc(environment_class(row)) or "").partition("\n")
    if not sections:
        raise ValueError(
            f"{row.id} has no documentation: write the sections in the docstring of its class"
        )
    usage = f'```python\nimport gymnasium as gym\nimport wm_envs\n\nenv = gym.make("{row.id}")\n```'
    parts = [
        f"# {row.id}",
        row.summary,
        f"![A film of {row.id}, played by {player(row)}]({page_name(row)}.gif)",
        usage,
        how_to_play(row),
        scores(row.id),
        sections.strip(),
    ]
    if link := MORE.get(_domain(row)):
        parts.append(f"## More\n\n{link} has its references, learners and measurements.")
    return "\n\n".join(part for part in parts if part) + "\n"


def how_to_play(row: Registration) -> str:
    """The command, and the keys that it takes."""
    env_class = environment_class(row)
    space = env_class.rules().action_space
    keys = "A line of numbers is an action."
    mode = ""
    if hasattr(env_class, "action_of_keys"):
        described: str = env_class.KEYS
        keys = f"In real time: {described}. A gamepad does, too."
        mode = " --render-mode human"
    elif isinstance(space, gym.spaces.Discrete):
        last = min(int(space.n) - 1, 9)
        more = f", then a to {chr(ord('a') + int(space.n) - 11)}" if space.n > 10 else ""
        keys = f"Keys 0 to {last}{more} are the actions."
        if names := getattr(env_class, "ACTION_NAMES", ()):
            keys = f"Keys: {', '.join(f'{i} {name}' for i, name in enumerate(names))}."
        mode = " --render-mode human"
    command = f"wm play {row.id}{mode}"
    return f"## Play\n\n```console\n{command}\n```\n\n{keys} `q` quits."


def scores(env_id: str) -> str:
    """What random play, experts and agents reach, where it is measured; else an empty text."""
    lines = ["## Scores", ""]
    if rows := [*reference_scores(env_id)]:
        sources = [
            "[data](../results/one_agent_scale.json): `python -m benchmarks.one_agent_tasks.scale`"
        ]
        if row := one_agent_score(env_id):
            rows.append(row)
            sources.append("[data](../results/one_agent.json): `python -m benchmarks.one_agent`")
        lines += ["| Player | Score | Measured on |", "|---|---:|---|", *rows, ""]
        lines += [f"Sources: {', '.join(sources)}.", ""]
    if rows := [*leaderboard_scores(env_id)]:
        lines += [
            "From the [leaderboard](../leaderboard.md), ten seeds with 95% intervals: 0 is random "
            "play and 1 is success in every episode.",
            "",
            "| Agent | Real steps | Normalized score |",
            "|---|---:|---:|",
            *rows,
            "",
        ]
    return "\n".join(lines).strip() if len(lines) > 2 else ""


def reference_scores(env_id: str) -> Iterator[str]:
    """Rows of random play and of the best known player."""
    scale = read_figures("one_agent_scale")
    for task, row in scale["random"].items():
        name, _, option = task.partition(":")
        if name != env_id:
            continue
        where = f", track `{option}`" if option else ""
        value = f"return {row['score']:,.2f} ± {row['standard_error']:,.2f}"
        if is_success_rate(task):
            value = f"success rate {row['success_rate']:.2f}"
        yield f"| random actions{where} | {value} | {row['num_episodes']} episodes |"
        if best := scale["best_known"].get(task):
            yield f"| best known{where} | return {best['score']:,.2f} | {best['source']} |"


def is_success_rate(task: str) -> bool:
    """Whether the score of a task is the share of successes and not the return."""
    row = read_figures("one_agent_scale")["random"][task]
    return bool(row["score"] == row["success_rate"])


def one_agent_score(env_id: str) -> str:
    """The row of the one agent, which is told nothing; empty where it was not measured."""
    row = read_figures("one_agent")["tasks"].get(env_id, {}).get("world_model_agent")
    if row is None:
        return ""
    kind = "success rate" if is_success_rate(env_id) else "return"
    seeds = "1 seed" if row["num_seeds"] == 1 else f"{row['num_seeds']} seeds"
    return (
        f"| [one agent, told nothing](../agent.md) | {kind} {row['score']:,.2f} | "
        f"{row['real_steps']:,} real steps, {seeds} |"
    )


def leaderboard_scores(env_id: str) -> Iterator[str]:
    """Rows of the agents of the leaderboard."""
    figures = read_figures("leaderboard")
    for agent, (words, steps) in PLAYERS.items():
        if cell := figures.get(f"{agent}, {env_id}"):
            value, low, high = (
                # Adding 0 makes a negative zero positive.
                f"{round(cell[name], 2) + 0.0:.2f}"
                for name in ("normalised_score", "low", "high")
            )
            yield f"| {words} | {steps} | {value} [{low}, {high}] |"


def read_figures(name: str) -> Mapping[str, Any]:
    """The figures of a committed result."""
    return json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))["figures"]


def player(row: Registration) -> str:
    """Who plays in the film."""
    vector_class: Any = load_env_creator(row.vector_entry_point)
    return "its expert" if hasattr(vector_class, "expert_actions") else "random actions"


def play(env_id: str, num_frames: int) -> Iterator[NDArray[np.uint8]]:
    """Pictures [height, width, 3] of an expert's play, or of random actions where there is none."""
    env = gym.make_vec(env_id, 1, render_mode="rgb_array", **OPTIONS.get(env_id, {}))
    env.action_space.seed(0)
    env.reset(seed=0)
    for _ in range(num_frames):
        yield env.render()[0]
        for _ in range(STEPS_PER_FRAME.get(env_id, 1)):
            is_expert = hasattr(env, "expert_actions")
            env.step(env.expert_actions() if is_expert else env.action_space.sample())
    env.close()


def write_film(path: Path, env_id: str, num_frames: int) -> None:
    """A small GIF that repeats."""
    frames = []
    for picture in play(env_id, num_frames):
        frame = Image.fromarray(picture)
        frame.thumbnail((WIDTH, HEIGHT), Image.Resampling.LANCZOS)
        frames.append(frame.quantize(COLORS, dither=Image.Dither.NONE))
    frames[0].save(
        path, save_all=True, append_images=frames[1:], duration=MILLISECONDS, loop=0, optimize=True
    )


def gallery() -> str:
    """All ids as films by domain, then as a table."""
    lines = [
        "# Environments",
        "",
        "`import wm_envs` registers these ids. Each page is the docstring of the class, with scores "
        "and the command that lets you play.",
        "",
    ]
    for domain, rows in groupby(TABLE, key=_domain):
        lines += [f"## {DOMAINS[domain]}", "", '<ul class="wm-gallery">']
        lines += [_tile(row) for row in rows]
        lines += ["</ul>", ""]
    lines += [
        "## Spaces",
        "",
        "| Id | Observation | Actions | Longest episode, steps |",
        "|---|---|---|---:|",
    ]
    lines += [_line(row) for row in TABLE]
    return "\n".join(lines) + "\n"


def _domain(row: Registration) -> str:
    return row.entry_point.split(".")[1]


def _tile(row: Registration) -> str:
    name = page_name(row)
    picture = f'<img src="{name}.gif" alt="" loading="lazy" width="{WIDTH}" height="{HEIGHT}">'
    words = f"<strong>{row.id}</strong><span>{row.summary}</span>"
    return f'<li><a href="{name}/">{picture}{words}</a></li>'


def _line(row: Registration) -> str:
    rules = environment_class(row).rules()
    shape = " x ".join(map(str, rules.observation_space.shape or ()))
    limit = row.max_episode_steps or rules.time_limit
    actions = str(rules.action_space).replace("|", "/")
    return f"| [{row.id}]({page_name(row)}.md) | {shape} numbers | `{actions}` | {limit:,} |"


def write_environments(folder: Path, num_frames: int = FRAMES) -> None:
    """All pages and films of environments, and their gallery."""
    folder.mkdir(parents=True, exist_ok=True)
    for row in TABLE:
        (folder / f"{page_name(row)}.md").write_text(page(row), encoding="utf-8")
        write_film(folder / f"{page_name(row)}.gif", row.id, num_frames)
    (folder / "index.md").write_text(gallery(), encoding="utf-8")


@dataclass(frozen=True)
class PublicName:
    """One entry of the reference.

    Attributes:
        name: As users write it.
        home: The module that defines it.
        page: The page that it is on, without its ending.
        heading: What it is under.
    """

    name: str
    home: str
    page: str
    heading: str


def public_names() -> list[PublicName]:
    """What both packages offer, each name once: `__all__` of `wm_agents` and of parts of `wm_envs`."""
    found: dict[tuple[str, str], PublicName] = {}
    for module in ENVIRONMENT_MODULES:
        members = vars(import_module(module))
        for name in members.get("__all__") or _own_functions(module):
            home = getattr(members[name], "__module__", module)
            entry = PublicName(name, home, "wm_envs", f"`{module}`")
            found.setdefault((name, home), entry)
    for name in wm_agents.__all__:
        home = wm_agents._HOME_OF[name]
        # What wm_agents passes on from wm_envs.data belongs with training, where it is not above.
        area = home.split(".")[1] if home.startswith("wm_agents.") else "training"
        found.setdefault((name, home), PublicName(name, home, "wm_agents", AREAS[area]))
    headings = [f"`{module}`" for module in ENVIRONMENT_MODULES] + list(AREAS.values())
    return sorted(
        found.values(), key=lambda entry: (headings.index(entry.heading), entry.name.lower())
    )


def _own_functions(module: str) -> list[str]:
    return [
        name
        for name, value in vars(import_module(module)).items()
        if inspect.isfunction(value) and value.__module__ == module and name[0] != "_"
    ]


def write_reference(folder: Path) -> None:
    """A page for each package, filled from docstrings while the site is built, and an index."""
    folder.mkdir(parents=True, exist_ok=True)
    names = public_names()
    index = [
        "# Reference",
        "",
        f"All {len(names)} public names. Those of agents and models are there after "
        "`import wm_agents as wma`; modules that are not listed are no promise.",
        "",
    ]
    for page_of, title in (
        ("wm_agents", "Agents and models"),
        ("wm_envs", "Environments and data"),
    ):
        lines = [f"# {title}", ""]
        index += [f"## {title}", ""]
        entries = [entry for entry in names if entry.page == page_of]
        for heading, members in groupby(entries, key=lambda entry: entry.heading):
            group = list(members)
            lines += [f"## {heading}", ""]
            lines += [f"::: {entry.home}.{entry.name}\n" for entry in group]
            links = [f"[`{entry.name}`]({page_of}.md#{entry.home}.{entry.name})" for entry in group]
            index += [f"**{heading}**: {', '.join(links)}", ""]
        (folder / f"{page_of}.md").write_text("\n".join(lines), encoding="utf-8")
    (folder / "index.md").write_text("\n".join(index), encoding="utf-8")


NOTEBOOKS = ("add-an-environment", "read-a-scorecard", "from-votes-to-preferences")
"""Tutorials that are notebooks, too; the repository holds them under docs/notebooks."""

BLOCK = re.compile(r"^```python\n(.*?)^```\n", re.DOTALL | re.MULTILINE)
DARK_PICTURE = re.compile(r"^!\[.*#gh-dark-mode-only\)\n", re.MULTILINE)
SIBLING = re.compile(r"\]\(([\w-]+\.md[^)]*)\)")


def notebook(name: str) -> str:
    """A tutorial as the JSON of a notebook: its Python blocks are the cells to run."""
    page = (DOCS / "tutorials" / f"{name}.md").read_text(encoding="utf-8")
    page = SIBLING.sub(r"](../tutorials/\1)", page)
    # Notebooks do not tell light from dark.
    page = DARK_PICTURE.sub("", page).replace("#gh-light-mode-only", "")
    title, _, rest = page.partition("\n")
    install = (
        "This notebook is the tutorial of the same name, made by `python docs/generate.py`. It "
        'needs `pip install "wm-suite[agents,plots]"`, or the same from a clone.'
    )
    cells: list[dict[str, Any]] = []
    # A split at the blocks gives text and code in turn.
    for place, text in enumerate(BLOCK.split(f"{title}\n\n{install}\n{rest}")):
        if text := text.strip("\n"):
            cells.append(_cell(text, len(cells), is_code=place % 2 == 1))
    content = {
        "cells": cells,
        "metadata": {
            "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
            "language_info": {"name": "python"},
        },
        "nbformat": 4,
        "nbformat_minor": 5,
    }
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"


def _cell(text: str, number: int, *, is_code: bool) -> dict[str, Any]:
    cell: dict[str, Any] = {"cell_type": "code" if is_code else "markdown"}
    if is_code:
        cell["execution_count"] = None
    cell |= {"id": f"cell-{number}", "metadata": {}}
    if is_code:
        cell["outputs"] = []
    return cell | {"source": text.splitlines(keepends=True)}


def write_notebooks(folder: Path) -> None:
    """The tutorials of `NOTEBOOKS` as notebooks."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in NOTEBOOKS:
        (folder / f"{name}.ipynb").write_text(notebook(name), encoding="utf-8")


def main(folder: Path = DOCS) -> None:
    """Write the three folders."""
    write_notebooks(folder / "notebooks")
    write_environments(folder / "environments")
    write_reference(folder / "reference")


if __name__ == "__main__":
    main()
