"""Tasks whose answer was shown earlier: DelayedMatch, RuleRecall and TMaze."""

from collections.abc import Mapping
from dataclasses import dataclass

from wm_envs.data.options import check_flag, check_integer
from wm_envs.environment import vector_class
from wm_envs.rules import Field, Rules
from wm_envs.symbolic import dynamics
from wm_envs.symbolic.env import (
    SymbolicEnv,
    TimeLimit,
    at_level,
    check_instance,
    flag,
    one_hot,
    symbolic_rules,
)

MAX_SYMBOLS = 64
"""Of the tasks that show one symbol and ask for it later."""


class DelayedMatchEnv(SymbolicEnv):
    """Answer with a symbol that is no longer shown.

    ## Description
    A symbol is shown at the first step only. `delay` steps later a flag asks for it, and the action
    names it. Actions before that have no effect.

    ## Action Space
    `Discrete(8)`: the symbol's number.

    ## Observation Space
    `Box(0, 1, (9,), float32)`:

    | Index | Field | Unit | Low | High | Meaning |
    |---|---|---|---|---|---|
    | 0-7 | `symbol_0` ... `symbol_7` | 1 | 0 | 1 | the symbol, one-hot; zero after the first step |
    | 8 | `phase` | 1 | 0 | 1 | 1 when the answer is due |

    ## Rewards
    `goal`: 1 at the last step for the right symbol, else 0. `prediction`: 0; an agent with a world
    model adds its own. The reward is their sum, weighted by `reward_weights`. Chance is 1/8.

    ## Starting State
    A uniform symbol.

    ## Episode End
    Truncated after `time_limit` steps, `delay` + 1 by default; never terminated. The last
    observation is all zero. `info["is_success"]`: the goal was met.

    ## Arguments
    | Option | Default | Meaning |
    |---|---|---|
    | `level` | 1 | a delay of 1, 2, 4 or 8 steps at levels 1 to 4 |
    | `instance` | 0 | no effect: nothing is hidden here |
    | `reward_weights` | `{"goal": 1.0, "prediction": 0.1}` | weight of each reward component |
    | `time_limit` | all steps of the task | a smaller one cuts an episode before its reward |
    | `delay` | `None` | steps from the symbol to the question, in place of the level's |
    | `num_symbols` | 8 | 2 to 64 symbols; as many actions |

    ## Version History
    - v0: first version.
    """

    NUM_SYMBOLS = 8
    LEVELS = (1, 2, 4, 8)

    @classmethod
    def rules(
        cls,
        *,
        level: int = 1,
        instance: int = 0,
        reward_weights: Mapping[str, float] | None = None,
        time_limit: int | None = None,
        delay: int | None = None,
        num_symbols: int = NUM_SYMBOLS,
    ) -> Rules:
        """The task with these options; raises OptionError."""
        check_instance(instance)
        num_symbols = check_integer("num_symbols", num_symbols, 2, MAX_SYMBOLS)
        delay_of_level = at_level(level, cls.LEVELS)
        length = 1 + (delay_of_level if delay is None else check_integer("delay", delay, 1))
        shown = one_hot(
            "symbol",
            num_symbols,
            "the symbol, one-hot; zero after the first step",
        )
        return symbolic_rules(
            dynamics.DELAYED_MATCH,
            shown + flag("phase", "1 when the answer is due"),
            num_symbols,
            time_limit=TimeLimit(length, maximum=length).num_steps(time_limit),
            reward_weights=reward_weights,
            num_symbols=num_symbols,
            length=length,
        )


@dataclass(frozen=True)
class _RecallSize:
    """How much there is to learn in an episode of RuleRecall."""

    num_symbols: int
    num_cues: int
    num_demonstrations: int
    num_queries: int


class RuleRecallEnv(SymbolicEnv):
    """Learn a rule from demonstrations within the episode, then apply it without feedback.

    ## Description
    Each episode hides a new map from cues to symbols, no two cues with the same symbol. First come
    `num_demonstrations` steps, each with a cue; the map's response to it is shown one step later.
    Then come `num_queries` steps with the flag set: the action names the symbol of the shown cue.
    The first query still shows the response to the last demonstration; later ones show none, so
    that answers get no feedback. Actions before the first query have no effect. Only demonstrated
    cues are asked for.

    One reward at the end for all queries together is hard to learn from. Predicting the responses
    takes the same look-up as answering, and has a target at every step. This is the task on which
    a world model helps.

    ## Action Space
    `Discrete(6)`: the number of a symbol.

    ## Observation Space
    `Box(0, 1, (11,), float32)`:

    | Index | Field | Unit | Low | High | Meaning |
    |---|---|---|---|---|---|
    | 0-3 | `cue_0` ... `cue_3` | 1 | 0 | 1 | the cue, one-hot |
    | 4-9 | `response_0` ... `response_5` | 1 | 0 | 1 | previous cue's symbol, one-hot; or zero |
    | 10 | `query` | 1 | 0 | 1 | 1 when the action is an answer |

    ## Rewards
    `goal`: 1 at the last query if all answers were right, else 0. `prediction`: 0; an agent with a
    world model adds its own. The reward is their sum, weighted by `reward_weights`. Chance is
    (1/6)^2 = 1/36.

    ## Starting State
    A uniform injective map and a uniform cue. Each demonstrated cue is uniform; each queried cue is
    uniform among those that were demonstrated.

    ## Episode End
    Truncated after `time_limit` steps, `num_demonstrations` + `num_queries` by default; never
    terminated. The last observation is all zero. `info["is_success"]`: the goal was met.

    ## Arguments
    | Option | Default | Meaning |
    |---|---|---|
    | `level` | 1 | 1 to 4: 6 to 8 symbols, 4 to 6 cues, 12 to 20 demonstrations, 2 to 4 queries |
    | `instance` | 0 | no effect: the map is new in every episode |
    | `reward_weights` | `{"goal": 1.0, "prediction": 0.1}` | weight of each reward component |
    | `time_limit` | all steps of the task | a smaller one cuts an episode before its reward |
    | `num_symbols` | `None` | 2 to 8, in place of the level's; the actions |
    | `num_cues` | `None` | 1 to 6 and at most `num_symbols`, in place of the level's |
    | `num_demonstrations` | `None` | at least 1, in place of the level's |
    | `num_queries` | `None` | at least 1, in place of the level's |
    | `max_level_spaces` | `False` | the spaces of the highest level: 6 cues, 8 responses |

    ## Version History
    - v0: first version.
    """

    LEVELS = (
        _RecallSize(6, 4, 12, 2),
        _RecallSize(7, 5, 15, 3),
        _RecallSize(8, 5, 18, 3),
        _RecallSize(8, 6, 20, 4),
    )

    @classmethod
    def rules(
        cls,
        *,
        level: int = 1,
        instance: int = 0,
        reward_weights: Mapping[str, float] | None = None,
        time_limit: int | None = None,
        num_symbols: int | None = None,
        num_cues: int | None = None,
        num_demonstrations: int | None = None,
        num_queries: int | None = None,
        max_level_spaces: bool = False,
    ) -> Rules:
        """The task with these options; raises OptionError."""
        check_instance(instance)
        size = cls._size(level, num_symbols, num_cues, num_demonstrations, num_queries)
        widest = cls.LEVELS[-1] if check_flag("max_level_spaces", max_level_spaces) else size
        length = size.num_demonstrations + size.num_queries
        return symbolic_rules(
            dynamics.RULE_RECALL,
            cls._fields(widest),
            widest.num_symbols,
            time_limit=TimeLimit(length, maximum=length).num_steps(time_limit),
            reward_weights=reward_weights,
            length=length,
            num_symbols=size.num_symbols,
            num_cues=size.num_cues,
            num_demonstrations=size.num_demonstrations,
            num_queries=size.num_queries,
            cue_width=widest.num_cues,
            symbol_width=widest.num_symbols,
        )

    @classmethod
    def _size(
        cls,
        level: int,
        num_symbols: int | None,
        num_cues: int | None,
        num_demonstrations: int | None,
        num_queries: int | None,
    ) -> _RecallSize:
        size, widest = at_level(level, cls.LEVELS), cls.LEVELS[-1]
        symbols = check_integer(
            "num_symbols", size.num_symbols if num_symbols is None else num_symbols, 2, 8
        )
        max_cues = min(symbols, widest.num_cues)
        # The level's cues must not stand in the way of fewer symbols.
        cues = (
            min(size.num_cues, max_cues)
            if num_cues is None
            else check_integer("num_cues", num_cues, 1, max_cues)
        )
        demonstrations = (
            size.num_demonstrations if num_demonstrations is None else num_demonstrations
        )
        queries = size.num_queries if num_queries is None else num_queries
        return _RecallSize(
            symbols,
            cues,
            check_integer("num_demonstrations", demonstrations, 1, 2**31),
            check_integer("num_queries", queries, 1, 2**31),
        )

    @staticmethod
    def _fields(size: _RecallSize) -> tuple[Field, ...]:
        return (
            one_hot("cue", size.num_cues, "the cue, one-hot")
            + one_hot(
                "response",
                size.num_symbols,
                "previous cue's symbol, one-hot; or zero",
            )
            + flag("query", "1 when the action is an answer")
        )


class TMazeEnv(SymbolicEnv):
    """Recall a cue at the end of a corridor full of distractors.

    ## Description
    The cue is shown at the first step, marked by a flag. Every later step shows a random distractor
    in the same place. At the last step, marked by another flag, the action names the cue; actions
    before it have no effect.

    The distractors are noise, so that a loss for predicting them cannot help. With
    `reveal=True` the observation that follows the answer shows the cue again, so that predicting it
    needs the memory that the answer needs.

    ## Action Space
    `Discrete(16)`: the cue's number.

    ## Observation Space
    `Box(0, 1, (18,), float32)`:

    | Index | Field | Unit | Low | High | Meaning |
    |---|---|---|---|---|---|
    | 0-15 | `symbol_0` ... `symbol_15` | 1 | 0 | 1 | the cue or a distractor, one-hot |
    | 16 | `is_cue` | 1 | 0 | 1 | 1 when the symbol is the cue |
    | 17 | `is_question` | 1 | 0 | 1 | 1 when the answer is due |

    ## Rewards
    `goal`: 1 at the last step for the cue, else 0. `prediction`: 0; an agent with a world model
    adds its own. The reward is their sum, weighted by `reward_weights`. Chance is 1/16.

    ## Starting State
    A uniform cue. Distractors are uniform over all 16 symbols.

    ## Episode End
    Truncated after `time_limit` steps, `length` by default; never terminated. `info["is_success"]`:
    the goal was met.

    ## Arguments
    | Option | Default | Meaning |
    |---|---|---|
    | `level` | 1 | a corridor of 8, 16 or 32 steps at levels 1 to 3 |
    | `instance` | 0 | no effect: nothing is hidden here |
    | `reward_weights` | `{"goal": 1.0, "prediction": 0.1}` | weight of each reward component |
    | `time_limit` | all steps of the task | a smaller one cuts an episode before its reward |
    | `length` | `None` | steps of the corridor, at least 2, in place of the level's |
    | `reveal` | `False` | the observation after the answer shows the cue again |
    | `num_cues` | 16 | 2 to 64 cues; as many distractors and actions |

    ## Version History
    - v0: first version.
    """

    NUM_CUES = 16
    LEVELS = (8, 16, 32)

    @classmethod
    def rules(
        cls,
        *,
        level: int = 1,
        instance: int = 0,
        reward_weights: Mapping[str, float] | None = None,
        time_limit: int | None = None,
        length: int | None = None,
        reveal: bool = False,
        num_cues: int = NUM_CUES,
    ) -> Rules:
        """The task with these options; raises OptionError."""
        check_instance(instance)
        num_cues = check_integer("num_cues", num_cues, 2, MAX_SYMBOLS)
        length_of_level = at_level(level, cls.LEVELS)
        steps = length_of_level if length is None else check_integer("length", length, 2)
        fields = (
            one_hot("symbol", num_cues, "the cue or a distractor, one-hot")
            + flag("is_cue", "1 when the symbol is the cue")
            + flag("is_question", "1 when the answer is due")
        )
        return symbolic_rules(
            dynamics.T_MAZE,
            fields,
            num_cues,
            time_limit=TimeLimit(steps, maximum=steps).num_steps(time_limit),
            reward_weights=reward_weights,
            num_symbols=num_cues,
            length=steps,
            is_revealed=check_flag("reveal", reveal),
        )


DelayedMatchVectorEnv = vector_class(DelayedMatchEnv)
RuleRecallVectorEnv = vector_class(RuleRecallEnv)
TMazeVectorEnv = vector_class(TMazeEnv)
