"""State row -> text."""

from typing import Any

import numpy as np

from wm_envs.debate.dynamics import NOBODY, STRATEGIES
from wm_envs.debate.tendencies import TENDENCIES


def clock(state: Any, parameters: Any) -> str:
    """Which debate and which round."""
    debate = min(int(state["debate"]) + 1, int(parameters["num_debates"]))
    place = f"round {int(state['round_number'])}/{int(parameters['num_rounds'])}"
    return f"debate {debate}/{int(parameters['num_debates'])} {place}"


def last_winner(state: Any) -> str:
    """Who won the last debate."""
    winner = int(state["winner"])
    return "nobody yet" if winner == NOBODY else str(TENDENCIES[winner])


def describe(state: Any, parameters: Any) -> str:
    """The clock and the last winner, then a line for each tendency.

    A star marks the agent's seat.
    """
    lines = [f"{clock(state, parameters)}, last winner: {last_winner(state)}"]
    for number, tendency in enumerate(TENDENCIES):
        is_seat = number == int(state["seat"])
        player = "agent" if is_seat else STRATEGIES[int(state["strategies"][number])]
        stakes = " ".join(f"{weight:+.2f}" for weight in np.asarray(state["weights"][number]))
        lines.append(
            f"{'*' if is_seat else ' '} {tendency:10} {100 * float(state['allocations'][number]):5.1f}%"
            f"  relevance {float(state['relevance'][number]):.2f}  score {float(state['scores'][number]):+.3f}"
            f"  {player:10} staked {stakes}"
        )
    return "\n".join(lines)
