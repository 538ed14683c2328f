"""Write docs/environments, a page and a picture for each id with their table, and docs/reference, the public names.

    python docs/generate.py

The docstrings are the pages, so that what `help()` says and what the site says cannot differ.
"""

import ast
import inspect
from itertools import groupby
from pathlib import Path
from typing import Any

import gymnasium as gym
import imageio.v3 as imageio
from gymnasium.envs.registration import load_env_creator

import wm_envs  # noqa: F401 - registers the ids
from wm_envs.environment import KernelEnv
from wm_envs.registration import TABLE, Registration

DOCS = Path(__file__).parent
PACKAGES = ("wm_envs", "wm_agents")


def environment_class(row: Registration) -> type[KernelEnv]:
    """The class whose docstring documents an id: the entry point itself may be a function."""
    vector_class: Any = load_env_creator(row.vector_entry_point)
    return vector_class.env_class


def page_name(row: Registration) -> str:
    """The id without its namespace."""
    return row.id.split("/")[-1]


def page(row: Registration) -> str:
    """The Markdown page of an id; raises ValueError where the class has no docstring."""
    summary, _, sections = (inspect.getdoc(environment_class(row)) or "").partition("\n")
    if not sections:
        raise ValueError(
            f"{row.id} has no documentation: write the sections in the docstring of its class"
        )
    usage = f'```python\nimport gymnasium as gym\nimport wm_envs\n\nenv = gym.make("{row.id}")\n```'
    picture = f"![A picture of {row.id}]({page_name(row)}.png)"
    return f"# {row.id}\n\n{summary}\n\n{picture}\n\n{usage}\n{sections}\n"


def picture(row: Registration) -> Any:
    """What the environment looks like in mid-episode, uint8 [height, width, 3]."""
    env = gym.make(row.id, render_mode="rgb_array")
    env.action_space.seed(0)
    env.reset(seed=0)
    for _ in range(min(30, environment_class(row).rules().time_limit // 2)):
        env.step(env.action_space.sample())
    frame = env.render()
    env.close()
    return frame


def table() -> str:
    """All ids by domain, with what each asks."""
    lines = [
        "# Environments",
        "",
        "`import wm_envs` registers these ids. Each page is the docstring of the class.",
        "",
    ]
    for domain, rows in groupby(TABLE, key=_domain):
        lines += [f"## {domain.capitalize()}", ""]
        lines += ["| Id | What it asks | Observation | Actions | Steps |", "|---|---|---|---|---|"]
        lines += [_line(row) for row in rows]
        lines.append("")
    return "\n".join(lines)


def _domain(row: Registration) -> str:
    return row.entry_point.split(".")[1]


def _line(row: Registration) -> str:
    cls = environment_class(row)
    rules = cls.rules()
    summary = (inspect.getdoc(cls) or "").splitlines()[0].rstrip(".")
    shape = rules.observation_space.shape
    limit = row.max_episode_steps or rules.time_limit
    return f"| [{row.id}]({page_name(row)}.md) | {summary} | {shape} | `{rules.action_space}` | {limit} |"


def write_environments(folder: Path) -> None:
    """All pages and pictures of environments, and their table."""
    folder.mkdir(parents=True, exist_ok=True)
    for row in TABLE:
        (folder / f"{page_name(row)}.md").write_text(page(row), encoding="utf-8")
        imageio.imwrite(folder / f"{page_name(row)}.png", picture(row))
    (folder / "index.md").write_text(table(), encoding="utf-8")


def write_reference(folder: Path, root: Path = DOCS.parent) -> None:
    """A page for each package, filled from the docstrings of its modules while the site is built."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = ["# Reference", "", "Every public name, by package.", ""]
    for package in PACKAGES:
        for path in sorted(path.parent for path in (root / package).rglob("__init__.py")):
            name = ".".join(path.relative_to(root).parts)
            modules = sorted(
                file.stem for file in path.glob("*.py") if not file.stem.startswith("_")
            )
            blocks = [f"::: {name}.{module}" for module in modules]
            (folder / f"{name}.md").write_text(
                "\n\n".join([f"# {name}", *blocks]) + "\n", encoding="utf-8"
            )
            lines.append(f"- [`{name}`]({name}.md): {_summary(path / '__init__.py')}")
    (folder / "index.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


def _summary(module: Path) -> str:
    return (ast.get_docstring(ast.parse(module.read_text(encoding="utf-8"))) or "").partition("\n")[
        0
    ]


def main(folder: Path = DOCS) -> None:
    """Write both folders."""
    write_environments(folder / "environments")
    write_reference(folder / "reference")


if __name__ == "__main__":
    main()
