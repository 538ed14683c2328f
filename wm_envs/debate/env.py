"""`wm/Debate-v0`: one seat of seven at the debate about a person."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import ArrayLike, NDArray

from wm_envs.data.options import check_integer, check_number, check_reward_weights
from wm_envs.debate import dynamics, render
from wm_envs.debate.allocations import check_allocations, check_bounds
from wm_envs.debate.claims import MAX_REBUTTAL
from wm_envs.debate.dynamics import ANY, NUM, STRATEGIES
from wm_envs.debate.relevance import RelevanceTable, default_table
from wm_envs.debate.tendencies import DEFAULT_ALLOCATIONS, OBSERVATION, TENDENCIES, Tendency
from wm_envs.environment import KernelEnv, vector_class
from wm_envs.errors import DebateError, OptionError
from wm_envs.kernel import empty_rows
from wm_envs.rules import Rules

DEFAULT_REWARD_WEIGHTS = {"influence": 1.0, "victory": 0.0}
MIXED = "mixed"


class DebateEnv(KernelEnv):
    """Win influence in a debate of seven tendencies about a person.

    ## Description
    A person's world view as an equilibrium of seven tendencies: survival, status, meaning,
    connection, autonomy, comfort, curiosity. Each makes one claim about the person and has a share
    of influence, its allocation. In each round an observation of the person lies on the table, with
    its relevance to each tendency (computed beforehand from text). Every tendency stakes weights on
    it for or against any of the seven claims; a stake is worth weight x allocation. The observation
    supports a weight for a claim up to its relevance, and a weight against it up to the lead of the
    most relevant tendency. A stake beyond that is answered with `rebuttal` times the excess (at
    most 1) x the allocation of who answers. That is the owner of an attacked claim; a stake for a
    claim is answered by the most relevant other tendency. After `num_rounds` rounds the debate
    closes: the best-supported claim wins, each allocation moves toward its claim's share of the
    positive scores, and the next debate opens at a lower learning rate. Allocations stay within
    `min_allocation` and `max_allocation` and sum to 1.

    The agent has one seat; scripts play the others. Weight is scarce: each seat has a `budget` for
    each debate, and stakes beyond what is left are scaled down.

    | Script | What it stakes |
    |---|---|
    | `silent` | nothing |
    | `partisan` | its own claim, by relevance |
    | `zealot` | its own claim with weight 1, whatever the evidence |
    | `challenger` | as the partisan, and against the leading rival as the evidence bears |
    | `juror` | every claim, by relevance |
    | `advocate` | its own by relevance; concedes to a rival, or stakes a fifth of its lead |

    ## Action Space
    `Box(-1, 1, (7,), float32)`: the conviction with which each claim is staked, in the order above:
    positive for it, negative against it, 0 not at all. A conviction of 0.5 stakes the weight that
    the observation supports, a smaller one stakes a part of it, and a larger one stakes more than
    it supports, up to weight 1.

    ## Observation Space
    `Box(31,)`, float32:

    | Index | Field | Unit | Low | High | Meaning |
    |---|---|---|---|---|---|
    | 0 | `budget` | 1 | 0 | 1 | share of the budget that is left in this debate |
    | 1 | `round` | 1 | 0 | 1 | share of the debate's rounds that are over |
    | 2 | `debate` | 1 | 0 | 1 | share of the debates that are over |
    | 3-9 | `seat_survival` ... `seat_curiosity` | 1 | 0 | 1 | the agent's tendency, one-hot |
    | 10-16 | `relevance_survival` ... `relevance_curiosity` | 1 | 0 | 1 | of the observation |
    | 17-23 | `score_survival` ... `score_curiosity` | 1 | -10 | 10 | net score of a claim |
    | 24-30 | `allocation_survival` ... `allocation_curiosity` | 1 | 0 | 1 | of influence |

    ## Rewards
    `influence`: change of the agent's allocation, in percentage points; other than 0 only when a
    debate closes.
    `victory`: 1 when its claim wins a debate. The reward is their sum weighted by `reward_weights`.

    ## Starting State
    A person drawn from the table, that person's observations in a random cyclic order, the default
    allocations, and, where they are left open, the seat and the scripts of the others (any but
    `silent`).

    ## Episode End
    Truncated after `num_debates` x `num_rounds` steps; never terminated. `info["is_success"]`: the
    agent's allocation is above where it started. `info["winner"]`: number of the winner of the last
    debate, or -1. `info["allocations"]`: all seven.

    ## Arguments
    | Option | Default | Meaning |
    |---|---|---|
    | `seat` | `"curiosity"` | the agent's tendency; `None` draws it anew in each episode |
    | `rivals` | `"mixed"` | the others' script or scripts by tendency; "mixed" draws each |
    | `num_debates` | 5 | debates in an episode |
    | `num_rounds` | 8 | observations in a debate |
    | `budget` | 4.0 | weight that a seat may stake in a debate |
    | `rebuttal` | 2.0 | weight of the answer to each unit of overreach |
    | `learning_rate` | 0.15 | how far allocations move in the first debate |
    | `learning_rate_decay` | 0.9 | factor after each debate |
    | `min_allocation` | 0.03 | floor of every allocation |
    | `max_allocation` | 0.5 | ceiling of every allocation |
    | `allocations` | `None` | seven allocations to start from, in place of the defaults |
    | `relevance` | `None` | persons to arrays [N, 7], in place of the corpus |
    | `reward_weights` | `{"influence": 1.0, "victory": 0.0}` | weight of each reward component |

    ## Version History
    - v0: first version.
    """

    metadata: dict[str, Any] = {"render_modes": ["rgb_array", "human", "ansi"], "render_fps": 4}

    @staticmethod
    def draw(state: Any, parameters: Any) -> NDArray[np.uint8]:
        """The picture of a state row, uint8 [height, width, 3]."""
        return render.draw(state, parameters)

    @staticmethod
    def describe(state: Any, parameters: Any) -> str:
        """A state row as text of a few lines."""
        return render.describe(state, parameters)

    @classmethod
    def rules(
        cls,
        *,
        seat: str | None = "curiosity",
        rivals: str | Mapping[str, str] = MIXED,
        num_debates: int = 5,
        num_rounds: int = 8,
        budget: float = 4.0,
        rebuttal: float = 2.0,
        learning_rate: float = 0.15,
        learning_rate_decay: float = 0.9,
        min_allocation: float = 0.03,
        max_allocation: float = 0.5,
        allocations: Sequence[float] | None = None,
        relevance: "Mapping[str, ArrayLike] | None" = None,
        reward_weights: Mapping[str, float] | None = None,
    ) -> Rules:
        """The debate with these options; raises OptionError."""
        weights = _check_reward_weights(reward_weights)
        row = empty_rows(1, dynamics.PARAMETERS)
        row["num_debates"] = check_integer("num_debates", num_debates, 1, 10_000)
        row["num_rounds"] = check_integer("num_rounds", num_rounds, 1, 10_000)
        # A time limit that is given to `gym.make` replaces this one and leaves the numbers of
        # debates.
        row["time_limit"] = row["num_debates"] * row["num_rounds"]
        row["seat"] = ANY if seat is None else _seat_number(seat)
        row["strategies"] = _strategies(rivals)
        row["budget"] = check_number("budget", budget, 1e-3, 7e3)
        row["rebuttal"] = check_number("rebuttal", rebuttal, 0.0, MAX_REBUTTAL)
        row["learning_rate"] = check_number("learning_rate", learning_rate, 0.0, 1.0)
        row["learning_rate_decay"] = check_number(
            "learning_rate_decay", learning_rate_decay, 0.0, 1.0
        )
        row["influence_weight"], row["victory_weight"] = weights["influence"], weights["victory"]
        # The checks of allocations serve other callers with an error of debates.
        try:
            bounds = check_bounds(min_allocation, max_allocation)
            start = list(DEFAULT_ALLOCATIONS.values()) if allocations is None else allocations
            row["allocations"] = check_allocations(start, *bounds)
        except DebateError as error:
            raise OptionError(str(error)) from error
        row["min_allocation"], row["max_allocation"] = bounds
        _fill_table(row, default_table() if relevance is None else RelevanceTable.of(relevance))
        return Rules(
            observation_fields=OBSERVATION,
            action_space=spaces.Box(-1.0, 1.0, (NUM,), np.float32),
            reward_components=dynamics.REWARD_COMPONENTS,
            state_dtype=dynamics.STATE,
            outcome_dtype=dynamics.OUTCOME,
            parameters=row,
            reset_rows=dynamics.reset_rows,
            step_rows=dynamics.step_rows,
            observe_rows=dynamics.observe_rows,
            report_rows=dynamics.report_rows,
        )


DebateVectorEnv = vector_class(DebateEnv)


def _fill_table(row: NDArray[Any], table: RelevanceTable) -> None:
    # What is left of the table's room stays 0 and is never read.
    row["num_persons"] = len(table.persons)
    row["first_rows"][0, : len(table.first_rows)] = table.first_rows
    row["relevance"][0, : len(table.relevance)] = table.relevance


def _seat_number(seat: Any) -> int:
    try:
        return Tendency(seat).index
    except ValueError:
        raise OptionError(f"seat is one of {', '.join(TENDENCIES)} or None, got {seat!r}") from None


def _strategies(rivals: Any) -> list[int]:
    if isinstance(rivals, str):
        return [_strategy(rivals)] * NUM
    if not isinstance(rivals, Mapping):
        raise OptionError(f"rivals is a script or maps tendencies to scripts, got {rivals!r}")
    # Seats that are not named play a drawn script.
    strategies = [ANY] * NUM
    for tendency, name in rivals.items():
        strategies[_seat_number(tendency)] = _strategy(name)
    return strategies


def _strategy(name: Any) -> int:
    if name == MIXED:
        return ANY
    if name not in STRATEGIES:
        raise OptionError(f"a script is one of {', '.join((MIXED, *STRATEGIES))}, got {name!r}")
    return STRATEGIES.index(name)


def _check_reward_weights(reward_weights: Mapping[str, float] | None) -> dict[str, float]:
    weights = check_reward_weights(reward_weights, DEFAULT_REWARD_WEIGHTS)
    return {
        name: check_number(f"the reward weight of {name}", value, -1e6, 1e6)
        for name, value in weights.items()
    }
