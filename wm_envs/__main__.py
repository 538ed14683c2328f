"""`python -m wm_envs` lists the ids, one line each."""

from gymnasium.envs.registration import load_env_creator

from wm_envs.registration import TABLE, Registration


def summary(row: Registration) -> str:
    """The first line of the docstring of an id's environment."""
    entry_point = load_env_creator(row.entry_point)
    # The vector shell names its environment class; an entry point may be a mere function.
    documented = getattr(load_env_creator(row.vector_entry_point), "env_class", entry_point)
    return (documented.__doc__ or "").strip().split("\n")[0]


def main() -> None:
    """Print the table."""
    width = max(len(row.id) for row in TABLE)
    for row in TABLE:
        print(f"{row.id:{width}}  {summary(row)}")


if __name__ == "__main__":
    main()
