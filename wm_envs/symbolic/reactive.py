"""Tasks whose observation is enough to act on.

PatternEcho, SequenceNext, Conditional and Navigation.
"""

from collections.abc import Mapping
from typing import Any

import gymnasium as gym

from wm_envs.data.options import check_flag, check_integer
from wm_envs.environment import make_one_step_env, vector_class
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
from wm_envs.symbolic.structure import base_actions, hidden_sequence, pack


class PatternEchoEnv(SymbolicEnv):
    """Name the shown symbol.

    ## Description
    A symbol is shown; the action names it. The next symbol is uniform whatever the action, so a
    world model has nothing to learn here: the best prediction is the mean, with a squared error of
    (1/8)(7/8) = 0.1094 per number. That makes the task a null control for every claim that a world
    model helps.

    ## Action Space
    `Discrete(8)`: the symbol's number (16 or 32 at the higher levels).

    ## Observation Space
    `Box(0, 1, (8,), float32)`:

    | Index | Field | Unit | Low | High | Meaning |
    |---|---|---|---|---|---|
    | 0-7 | `symbol_0` ... `symbol_7` | 1 | 0 | 1 | the symbol to name, one-hot |

    ## Rewards
    `goal`: 1 for the right name, else 0. `prediction`: 0; an agent with a world model adds its own.
    The reward is their sum, weighted by `reward_weights`. Chance is 1/8.

    ## Starting State
    A uniform symbol.

    ## Episode End
    Truncated after `time_limit` steps, 1 by default; never terminated. `info["is_success"]`: the
    last answer was right.

    ## Arguments
    | Option | Default | Meaning |
    |---|---|---|
    | `level` | 1 | 8, 16 or 32 symbols at levels 1 to 3 |
    | `instance` | 0 | no effect: nothing is hidden here |
    | `reward_weights` | `{"goal": 1.0, "prediction": 0.1}` | weight of each reward component |
    | `time_limit` | 1 | steps of an episode |

    ## Version History
    - v0: first version.
    """

    LEVELS = (8, 16, 32)

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
        check_instance(instance)
        num_symbols = at_level(level, cls.LEVELS)
        return symbolic_rules(
            dynamics.PATTERN_ECHO,
            one_hot("symbol", num_symbols, "the symbol to name, one-hot"),
            num_symbols,
            # One step an episode: what follows does not depend on the action, and a bandit is
            # enough.
            time_limit=TimeLimit(1).num_steps(time_limit),
            reward_weights=reward_weights,
            num_symbols=num_symbols,
        )


class SequenceNextEnv(SymbolicEnv):
    """Name the next element of a hidden repeating sequence.

    ## Description
    A hidden sequence of symbols repeats without end. Its current element is shown; the action names
    the next one. The sequence advances whatever the action. By default `instance` fixes the
    sequence and its elements differ, so that the element alone tells the next one. With
    `resample=True` the sequence is new in every episode and must be inferred from the elements seen
    so far.

    ## Action Space
    `Discrete(8)`: the number of the symbol that comes next.

    ## Observation Space
    `Box(0, 1, (8,), float32)`:

    | Index | Field | Unit | Low | High | Meaning |
    |---|---|---|---|---|---|
    | 0-7 | `symbol_0` ... `symbol_7` | 1 | 0 | 1 | the current element, one-hot |

    ## Rewards
    `goal`: 1 for the right name, else 0. `prediction`: 0; an agent with a world model adds its own.
    The reward is their sum, weighted by `reward_weights`. Chance is 1/8.

    ## Starting State
    A uniform place in the sequence; a new sequence too with `resample=True`.

    ## Episode End
    Truncated after `time_limit` steps; never terminated. `info["is_success"]`: the last answer was
    right.

    ## Arguments
    | Option | Default | Meaning |
    |---|---|---|
    | `level` | 1 | sequence of length 3 + `level`: 4 to 8 at levels 1 to 5 |
    | `instance` | 0 | fixes the hidden sequence |
    | `reward_weights` | `{"goal": 1.0, "prediction": 0.1}` | weight of each reward component |
    | `time_limit` | 1, or 3 x `length` with `resample` | steps of an episode |
    | `length` | `None` | length of the sequence, 2 to 8, in place of the level's |
    | `with_replacement` | `False` | the historical variant: elements may repeat |
    | `resample` | `False` | draw the sequence anew in every episode |

    ## Version History
    - v0: first version.
    """

    NUM_SYMBOLS = 8
    LEVELS = (4, 5, 6, 7, 8)

    @classmethod
    def rules(
        cls,
        *,
        level: int = 1,
        instance: int = 0,
        reward_weights: Mapping[str, float] | None = None,
        time_limit: int | None = None,
        length: int | None = None,
        with_replacement: bool = False,
        resample: bool = False,
    ) -> Rules:
        """The task with these options; raises OptionError."""
        length_of_level = at_level(level, cls.LEVELS)
        num_steps = (
            length_of_level
            if length is None
            else check_integer("length", length, 2, cls.NUM_SYMBOLS)
        )
        has_repeats = check_flag("with_replacement", with_replacement)
        is_resampled = check_flag("resample", resample)
        sequence = hidden_sequence(
            num_steps, cls.NUM_SYMBOLS, check_instance(instance), has_repeats=has_repeats
        )
        return symbolic_rules(
            dynamics.SEQUENCE_NEXT,
            one_hot("symbol", cls.NUM_SYMBOLS, "the current element, one-hot"),
            cls.NUM_SYMBOLS,
            # A sequence drawn anew is unknown in its first round; two more show whether it was
            # remembered.
            time_limit=TimeLimit(3 * num_steps if is_resampled else 1).num_steps(time_limit),
            reward_weights=reward_weights,
            num_symbols=cls.NUM_SYMBOLS,
            length=num_steps,
            # A kernel that draws the sequence itself reads no table; 0 keeps equal options equal
            # parameters.
            mapping=0 if is_resampled else pack(sequence),
            has_repeats=has_repeats,
            is_resampled=is_resampled,
        )


class ConditionalEnv(SymbolicEnv):
    """Act by a hidden rule on shape and colour.

    ## Description
    A shape in a colour is shown. `instance` fixes a base action for each of the five shapes (five
    different numbers below 8) and one special shape. The right answer starts as the shape's base
    action; then the first `level` of these conditions are applied, each on top of the ones before:

    1. the colour is red (0): add 8;
    2. the colour is cold (4 to 7): start from the base action of the next shape (shape + 1 modulo
      5) instead;
    3. the shape is the special one: add 8 modulo 16, so that a special shape in red comes back to
      its base action.

    ## Action Space
    `Discrete(16)`: the answer.

    ## Observation Space
    `Box(0, 1, (13,), float32)`:

    | Index | Field | Unit | Low | High | Meaning |
    |---|---|---|---|---|---|
    | 0-4 | `shape_0` ... `shape_4` | 1 | 0 | 1 | the shape, one-hot |
    | 5-12 | `colour_0` ... `colour_7` | 1 | 0 | 1 | one-hot; 0 is red, 4 to 7 are cold |

    ## Rewards
    `goal`: 1 for the right answer, else 0. `prediction`: 0; an agent with a world model adds its
    own. The reward is their sum, weighted by `reward_weights`. Chance is 1/16.

    ## Starting State
    A uniform shape and an independent uniform colour; new ones follow each step.

    ## Episode End
    Truncated after `time_limit` steps, 1 by default; never terminated. `info["is_success"]`: the
    last answer was right.

    ## Arguments
    | Option | Default | Meaning |
    |---|---|---|
    | `level` | 1 | how many of the three conditions hold |
    | `instance` | 0 | fixes the base actions and the special shape |
    | `reward_weights` | `{"goal": 1.0, "prediction": 0.1}` | weight of each reward component |
    | `time_limit` | 1 | steps of an episode |

    ## Version History
    - v0: first version.
    """

    LEVELS = (1, 2, 3)

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
        shapes = one_hot("shape", dynamics.NUM_SHAPES, "the shape, one-hot")
        colours = one_hot("colour", dynamics.NUM_COLOURS, "one-hot; 0 is red, 4 to 7 are cold")
        return symbolic_rules(
            dynamics.CONDITIONAL,
            shapes + colours,
            2 * dynamics.NUM_BASE_ACTIONS,
            time_limit=TimeLimit(1).num_steps(time_limit),
            reward_weights=reward_weights,
            num_conditions=at_level(level, cls.LEVELS),
            table=base_actions(check_instance(instance)),
        )


class NavigationEnv(SymbolicEnv):
    """Stand on the target when the last step ends.

    ## Description
    A walker stands on a ring of 8 places and sees its position, the target and the step. Action a
    moves it by a - 3 places modulo 8: any place can be reached in one step, so that what counts is
    to end on the target and not to leave it again. The reward comes with the last step alone.

    ## Action Space
    `Discrete(8)`: action a moves by a - 3 places; 3 stays.

    ## Observation Space
    `Box(0, 1, (19,), float32)`; n = 8 x `level` places and 3 x `level` steps:

    | Index | Field | Unit | Low | High | Meaning |
    |---|---|---|---|---|---|
    | 0-7 | `position_0` ... `position_7` | 1 | 0 | 1 | the walker's place, one-hot |
    | 8-15 | `target_0` ... `target_7` | 1 | 0 | 1 | the target's place, one-hot |
    | 16-18 | `phase_0` ... `phase_2` | 1 | 0 | 1 | the step, one-hot; all zero after the last |

    ## Rewards
    `goal`: 1 at the last step if it ends on the target, else 0. `prediction`: 0; an agent with a
    world model adds its own. The reward is their sum, weighted by `reward_weights`. Chance is 1/8.

    ## Starting State
    Position and target are uniform and independent: they may coincide, and standing still is then a
    solution.

    ## Episode End
    Truncated after `time_limit` steps; never terminated. `info["is_success"]`: the goal was met.

    ## Arguments
    | Option | Default | Meaning |
    |---|---|---|
    | `level` | 1 | 8, 16 or 24 places and 3, 6 or 9 steps at levels 1 to 3 |
    | `instance` | 0 | no effect: nothing is hidden here |
    | `reward_weights` | `{"goal": 1.0, "prediction": 0.1}` | weight of each reward component |
    | `time_limit` | all steps of the task | a smaller one cuts an episode before its reward |

    ## Version History
    - v0: first version.
    """

    NUM_ACTIONS = 8
    LEVELS = ((8, 3), (16, 6), (24, 9))  # places, steps

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
        check_instance(instance)
        num_places, length = at_level(level, cls.LEVELS)
        fields = (
            one_hot("position", num_places, "the walker's place, one-hot")
            + one_hot("target", num_places, "the target's place, one-hot")
            + one_hot("phase", length, "the step, one-hot; all zero after the last")
        )
        return symbolic_rules(
            dynamics.NAVIGATION,
            fields,
            cls.NUM_ACTIONS,
            # The target pays at the last step alone, so that an episode cannot be longer than it.
            time_limit=TimeLimit(length, maximum=length).num_steps(time_limit),
            reward_weights=reward_weights,
            num_symbols=num_places,
            length=length,
        )


PatternEchoVectorEnv = vector_class(PatternEchoEnv)
SequenceNextVectorEnv = vector_class(SequenceNextEnv)
ConditionalVectorEnv = vector_class(ConditionalEnv)
NavigationVectorEnv = vector_class(NavigationEnv)


def make_pattern_echo(**options: Any) -> gym.Env[Any, Any]:
    """The entry point of wm/PatternEcho-v0."""
    return make_one_step_env(PatternEchoEnv, **options)


def make_sequence_next(**options: Any) -> gym.Env[Any, Any]:
    """The entry point of wm/SequenceNext-v0."""
    return make_one_step_env(SequenceNextEnv, **options)


def make_conditional(**options: Any) -> gym.Env[Any, Any]:
    """The entry point of wm/Conditional-v0."""
    return make_one_step_env(ConditionalEnv, **options)
