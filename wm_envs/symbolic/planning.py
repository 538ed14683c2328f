"""Tasks with a goal that changes every episode and hidden moves.

PermPuzzle, LightsOut and TokenAutomaton.
"""

from collections.abc import Mapping

from wm_envs.environment import vector_class
from wm_envs.rules import Rules
from wm_envs.symbolic import dynamics
from wm_envs.symbolic.env import (
    SymbolicEnv,
    TimeLimit,
    at_level,
    check_instance,
    one_hot,
    symbolic_rules,
)
from wm_envs.symbolic.structure import (
    NUM_AUTOMATON_ACTIONS,
    NUM_PERMUTATIONS,
    PLANNING_HORIZON,
    position_permutations,
    toggle_masks,
    transition_table,
)


class PermPuzzleEnv(SymbolicEnv):
    """Bring tokens into a given order with three hidden permutations.

    ## Description
    Six different tokens lie in six places: 720 arrangements. Each of the three actions moves all
    tokens by a hidden permutation of the places, which `instance` fixes. The goal arrangement
    changes every episode. Every arrangement can be reached from every other within 20 moves
    (checked when the permutations are drawn).

    ## Action Space
    `Discrete(3)`: which permutation to apply.

    ## Observation Space
    `Box(0, 1, (72,), float32)`; number 6 i + j of each half says that place i holds token j:

    | Index | Field | Unit | Low | High | Meaning |
    |---|---|---|---|---|---|
    | 0-35 | `place_0_token_0` ... `place_5_token_5` | 1 | 0 | 1 | the token there, one-hot |
    | 36-71 | `goal_0_token_0` ... `goal_5_token_5` | 1 | 0 | 1 | the token wanted there, one-hot |

    ## Rewards
    `goal`: 1 for each step that ends on the goal, else 0 (it depends on the present state and
    action alone).
    `prediction`: 0; an agent with a world model adds its own. The reward is their sum, weighted by
    `reward_weights`.

    ## Starting State
    A uniform arrangement, and a goal that is uniform among the others: no episode starts solved.

    ## Episode End
    Truncated after `time_limit` steps, 20 by default; never terminated. `info["is_success"]`: the
    goal was reached at some step of the episode.

    ## Arguments
    | Option | Default | Meaning |
    |---|---|---|
    | `level` | 1 | 6 or 7 tokens (720 or 5,040 arrangements) at levels 1 and 2 |
    | `instance` | 0 | fixes the three permutations |
    | `reward_weights` | `{"goal": 1.0, "prediction": 0.1}` | weight of each reward component |
    | `time_limit` | 20 | steps of an episode |

    ## Version History
    - v0: first version.
    """

    LEVELS = (6, 7)

    @classmethod
    def rules(
        cls,
        *,
        level: int = 1,
        instance: int = 0,
        reward_weights: Mapping[str, float] | None = None,
        time_limit: int | None = None,
    ) -> Rules:
        """The task with these options; raises OptionError."""
        num_tokens = at_level(level, cls.LEVELS)
        # A one-hot a place: the number of a token has no order that a network should see.
        places = [
            field
            for place in range(num_tokens)
            for field in one_hot(f"place_{place}_token", num_tokens, "the token there, one-hot")
        ]
        goals = [
            field
            for place in range(num_tokens)
            for field in one_hot(
                f"goal_{place}_token", num_tokens, "the token wanted there, one-hot"
            )
        ]
        return symbolic_rules(
            dynamics.PERM_PUZZLE,
            (*places, *goals),
            NUM_PERMUTATIONS,
            time_limit=TimeLimit(PLANNING_HORIZON).num_steps(time_limit),
            reward_weights=reward_weights,
            num_symbols=num_tokens,
            table=position_permutations(num_tokens, check_instance(instance)).ravel(),
        )


class LightsOutEnv(SymbolicEnv):
    """Make a board of lights look like another, with buttons whose places are hidden.

    ## Description
    Each cell of a 3 x 3 board is on or off. Action a presses a cell, which toggles it and its
    neighbours above, below, left and right; which cell it presses is a hidden permutation that
    `instance` fixes. The goal board changes every episode. On 3 x 3 every board can be reached,
    each by exactly one set of presses; the order of presses is of no consequence.

    ## Action Space
    `Discrete(9)`: which hidden cell to press.

    ## Observation Space
    `Box(0, 1, (18,), float32)`; cells by rows from the top left:

    | Index | Field | Unit | Low | High | Meaning |
    |---|---|---|---|---|---|
    | 0-8 | `cell_0` ... `cell_8` | 1 | 0 | 1 | 1 where the cell is on |
    | 9-17 | `goal_0` ... `goal_8` | 1 | 0 | 1 | 1 where the cell is to be on |

    ## Rewards
    `goal`: 1 for each step that ends on the goal, else 0 (it depends on the present state and
    action alone).
    `prediction`: 0; an agent with a world model adds its own. The reward is their sum, weighted by
    `reward_weights`.

    ## Starting State
    A uniform board, and a goal that is uniform among the other boards that can be reached: no
    episode starts solved.

    ## Episode End
    Truncated after `time_limit` steps; never terminated. `info["is_success"]`: the goal was reached
    at some step of the episode.

    ## Arguments
    | Option | Default | Meaning |
    |---|---|---|
    | `level` | 1 | 3 x 3 (512 boards) or 4 x 4 (65,536, 4,096 within reach) at levels 1 and 2 |
    | `instance` | 0 | fixes which cell each action presses |
    | `reward_weights` | `{"goal": 1.0, "prediction": 0.1}` | weight of each reward component |
    | `time_limit` | 16, or 20 at level 2 | steps of an episode |

    ## Version History
    - v0: first version.
    """

    LEVELS = ((3, 16), (4, 20))  # cells in a row, steps

    @classmethod
    def rules(
        cls,
        *,
        level: int = 1,
        instance: int = 0,
        reward_weights: Mapping[str, float] | None = None,
        time_limit: int | None = None,
    ) -> Rules:
        """The task with these options; raises OptionError."""
        width, num_steps = at_level(level, cls.LEVELS)
        num_cells = width * width
        cells = one_hot("cell", num_cells, "1 where the cell is on")
        goals = one_hot("goal", num_cells, "1 where the cell is to be on")
        return symbolic_rules(
            dynamics.LIGHTS_OUT,
            cells + goals,
            num_cells,
            time_limit=TimeLimit(num_steps).num_steps(time_limit),
            reward_weights=reward_weights,
            num_symbols=num_cells,
            table=toggle_masks(width, check_instance(instance)),
        )


class TokenAutomatonEnv(SymbolicEnv):
    """Reach a token in an automaton whose transitions follow no pattern.

    ## Description
    The current token and an action give the next token by a random table that `instance` fixes.
    Nothing can be generalised from one entry to another: a world model can only remember. Every
    token can be reached from every other within 20 steps (checked when the table is drawn).

    ## Action Space
    `Discrete(4)`: the column of the table.

    ## Observation Space
    `Box(0, 1, (128,), float32)`:

    | Index | Field | Unit | Low | High | Meaning |
    |---|---|---|---|---|---|
    | 0-63 | `token_0` ... `token_63` | 1 | 0 | 1 | the current token, one-hot |
    | 64-127 | `goal_0` ... `goal_63` | 1 | 0 | 1 | the token to reach, one-hot |

    ## Rewards
    `goal`: 1 for each step that ends on the goal, else 0 (it depends on the present state and
    action alone).
    `prediction`: 0; an agent with a world model adds its own. The reward is their sum, weighted by
    `reward_weights`.

    ## Starting State
    A uniform token, and a goal that is uniform among the others: no episode starts solved.

    ## Episode End
    Truncated after `time_limit` steps, 20 by default; never terminated. `info["is_success"]`: the
    goal was reached at some step of the episode.

    ## Arguments
    | Option | Default | Meaning |
    |---|---|---|
    | `level` | 1 | 64 or 256 tokens at levels 1 and 2 |
    | `instance` | 0 | fixes the table |
    | `reward_weights` | `{"goal": 1.0, "prediction": 0.1}` | weight of each reward component |
    | `time_limit` | 20 | steps of an episode |

    ## Version History
    - v0: first version.
    """

    LEVELS = (64, 256)

    @classmethod
    def rules(
        cls,
        *,
        level: int = 1,
        instance: int = 0,
        reward_weights: Mapping[str, float] | None = None,
        time_limit: int | None = None,
    ) -> Rules:
        """The task with these options; raises OptionError."""
        num_tokens = at_level(level, cls.LEVELS)
        tokens = one_hot("token", num_tokens, "the current token, one-hot")
        goals = one_hot("goal", num_tokens, "the token to reach, one-hot")
        return symbolic_rules(
            dynamics.TOKEN_AUTOMATON,
            tokens + goals,
            NUM_AUTOMATON_ACTIONS,
            time_limit=TimeLimit(PLANNING_HORIZON).num_steps(time_limit),
            reward_weights=reward_weights,
            num_symbols=num_tokens,
            table=transition_table(num_tokens, check_instance(instance)).ravel(),
        )


PermPuzzleVectorEnv = vector_class(PermPuzzleEnv)
LightsOutVectorEnv = vector_class(LightsOutEnv)
TokenAutomatonVectorEnv = vector_class(TokenAutomatonEnv)
