"""`python -m wm_envs` lists the ids, one line each.

With ids it explains these, options included.
"""

import argparse

from wm_envs.registration import TABLE, listing, page


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
