"""`python -m wm_envs` lists the ids, one line each.

With ids it explains these, options included.
"""

import argparse
import inspect

from gymnasium.envs.registration import load_env_creator

from wm_envs.registration import TABLE, Registration


def page(row: Registration) -> str:
    """The docstring of an id's environment, without its indentation."""
    entry_point = load_env_creator(row.entry_point)
    # The vector shell names its environment class; an entry point may be a mere function.
    documented = getattr(load_env_creator(row.vector_entry_point), "env_class", entry_point)
    return inspect.getdoc(documented) or ""


def listing() -> str:
    """All ids, one line each."""
    width = max(len(row.id) for row in TABLE)
    return "\n".join(f"{row.id:{width}}  {row.summary}" for row in TABLE)


def main(arguments: list[str] | None = None) -> None:
    """Print the table, or the pages of the ids that are named."""
    rows = {row.id: row for row in TABLE}
    parser = argparse.ArgumentParser(
        prog="python -m wm_envs", description="List or explain the environments."
    )
    parser.add_argument(
        "ids",
        nargs="*",
        metavar="id",
        help="explain these ids with their options; without one, list",
    )
    ids = parser.parse_args(arguments).ids
    if unknown := [name for name in ids if name not in rows]:
        parser.error(f"no environment {', '.join(unknown)}: python -m wm_envs lists the ids")
    pages = "\n".join(f"# {name}\n\n{page(rows[name])}\n" for name in ids)
    print(pages or listing())


if __name__ == "__main__":
    main()
