"""The rules of the symbolic tasks: pure compiled functions on one state row.

Each task has three functions: `reset_<task>` draws what changes from episode to episode,
`step_<task>` judges the action, advances and returns the goal reward, `observe_<task>` writes the
observation. The loops at the end choose by `rules.task`. Inside, `state` is a row of `STATE`,
`rules` the row of `PARAMETERS` that all environments of a batch share, `out` and `row` the
observation array and the index of its row; `state.time` counts the steps taken, the present one
included. Short lists of symbols are packed into one integer, four bits a digit, so that a state is
scalars alone.

One module for all ten, since the compiler's cache does not notice an edit in a module that a kernel
calls into.
"""

import numpy as np

from wm_envs.kernel import Row, kernel, random_integer, state_dtype
from wm_envs.rules import Array, outcome_dtype

Integer = int | np.int64  # inside a kernel all the same

PATTERN_ECHO, SEQUENCE_NEXT, CONDITIONAL, NAVIGATION = 0, 1, 2, 3
DELAYED_MATCH, RULE_RECALL, T_MAZE = 4, 5, 6
PERM_PUZZLE, LIGHTS_OUT, TOKEN_AUTOMATON = 7, 8, 9

REWARD_COMPONENTS = ("goal", "prediction")
OUTCOME = outcome_dtype(REWARD_COMPONENTS, [("is_success", np.bool_)])
NO_ACTION = -1

STATE = state_dtype(
    [
        ("is_success", np.bool_),
        # Kept beside the reward, which the weights of the components can make 0 or negative for the
        # picture.
        ("is_rewarded", np.bool_),  # the last action met the goal
        ("action", np.int64),  # the last one, for the picture; NO_ACTION after a reset
        (
            "current",
            np.int64,
        ),  # symbol, shape, cue, place in a sequence, position, board or token, by task
        ("previous", np.int64),  # RuleRecall: the cue before the current one
        ("target", np.int64),  # what is to be reached or remembered; Conditional: the colour
        # Sets of up to 15 small numbers share one integer, so that the row of every task has the
        # same fields.
        ("mapping", np.int64),  # packed: the hidden sequence, or the symbol of each cue
        ("seen", np.int64),  # RuleRecall: bit c is set once the response to cue c was shown
        ("num_right", np.int64),  # RuleRecall: right answers so far
    ]
)
PARAMETERS = np.dtype(
    [
        ("task", np.int64),
        ("time_limit", np.int64),
        ("length", np.int64),  # steps after which the task is over, or elements of a sequence
        ("num_symbols", np.int64),
        ("num_actions", np.int64),
        ("num_cues", np.int64),
        ("num_demonstrations", np.int64),
        ("num_queries", np.int64),
        ("num_conditions", np.int64),
        ("cue_width", np.int64),  # numbers that a one-hot cue takes in the observation
        ("symbol_width", np.int64),
        ("is_resampled", np.int64),  # truth values, as 0 or 1
        ("has_repeats", np.int64),
        ("is_revealed", np.int64),
        ("mapping", np.int64),  # SequenceNext: the hidden sequence, packed
        ("goal_weight", np.float64),
        ("prediction_weight", np.float64),
        (
            "table",
            np.int32,
            (1024,),
        ),  # the hidden structure that `instance` fixes; its layout depends on the task
    ]
)

# Navigation: action 3 stays, 0 moves three places back.
# A ring has no edges at which a move would have to be refused, so every action is possible
# everywhere.
CENTRE_MOVE = 3
RED, FIRST_COLD_COLOUR, NUM_SHAPES, NUM_COLOURS, NUM_BASE_ACTIONS = 0, 4, 5, 8, 8


# Packed digits and bit sets


@kernel
def digit(word: Integer, index: Integer) -> Integer:
    """Digit `index` of a packed list."""
    # Four bits a digit: 15 digits and the sign fit into the int64 of a state row.
    return (word >> (4 * index)) & 15


@kernel
def with_digit(word: Integer, index: Integer, value: Integer) -> Integer:
    """A packed list with digit `index` replaced."""
    return (word & ~(15 << (4 * index))) | (value << (4 * index))


@kernel
def random_arrangement(state: Row, num_digits: int) -> Integer:
    """A uniform permutation of 0 ..

    num_digits - 1, packed (Fisher & Yates 1938, from the inside out).
    """
    # The inside-out shuffle of Fisher and Yates: uniform with one draw an element and no second
    # list.
    word: Integer = 0
    for index in range(1, num_digits):
        other = random_integer(state, index + 1)
        word = with_digit(word, index, digit(word, other))
        word = with_digit(word, other, index)
    return word


@kernel
def random_digits(state: Row, num_digits: int, bound: int) -> Integer:
    """Independent uniform digits below `bound`, packed."""
    word: Integer = 0
    for index in range(num_digits):
        word = with_digit(word, index, random_integer(state, bound))
    return word


@kernel
def random_member(state: Row, members: int, bound: int) -> Integer:
    # Counted first, so that one draw is enough: drawing again until a member comes up has no bound,
    # and the number of draws decides where the random stream stands afterwards.
    """A uniform set bit among the lowest `bound` bits of `members`, which has at least one."""
    size = 0
    for index in range(bound):
        size += (members >> index) & 1
    rank = random_integer(state, size)
    for index in range(bound):
        if (members >> index) & 1:
            if rank == 0:
                return index
            rank -= 1
    # Not reached; compiled code has to return an integer on every way out.
    return 0


@kernel
def as_reward(is_met: bool) -> float:
    """One or zero."""
    return 1.0 if is_met else 0.0


# Reactive tasks: the observation is enough to act on


@kernel
def reset_pattern_echo(state: Row, rules: Row) -> None:
    """A uniform symbol."""
    state.current = random_integer(state, rules.num_symbols)


@kernel
def step_pattern_echo(state: Row, rules: Row, action: Integer) -> float:
    """One for the shown symbol; the next one is uniform whatever the action."""
    # Judged before the next symbol replaces the one that was answered.
    goal = as_reward(action == state.current)
    state.current = random_integer(state, rules.num_symbols)
    return goal


@kernel
def observe_pattern_echo(states: Array, out: Array) -> None:
    """One-hot symbol."""
    for row in range(len(states)):
        out[row, states[row].current] = 1.0


@kernel
def random_sequence(state: Row, rules: Row) -> Integer:
    """`rules.length` symbols, packed, with or without repeats."""
    if rules.has_repeats:
        return random_digits(state, rules.length, rules.num_symbols)
    return random_arrangement(
        state, rules.num_symbols
    )  # its first digits; the others are never read


@kernel
def reset_sequence_next(state: Row, rules: Row) -> None:
    """A random place in the hidden sequence."""
    state.mapping = random_sequence(state, rules) if rules.is_resampled else rules.mapping
    state.current = random_integer(state, rules.length)


@kernel
def step_sequence_next(state: Row, rules: Row, action: Integer) -> float:
    """One for the next element; the sequence advances whatever the action."""
    following = state.current + 1
    # A branch, since a remainder costs a division in the innermost loop.
    state.current = 0 if following == rules.length else following
    return as_reward(action == digit(state.mapping, state.current))


@kernel
def observe_sequence_next(states: Array, out: Array) -> None:
    """One-hot element."""
    for row in range(len(states)):
        state = states[row]
        out[row, digit(state.mapping, state.current)] = 1.0


@kernel
def reset_conditional(state: Row) -> None:
    """A uniform shape and colour."""
    state.current = random_integer(state, NUM_SHAPES)
    state.target = random_integer(state, NUM_COLOURS)


@kernel
def conditional_answer(shape: Integer, colour: Integer, rules: Row) -> Integer:
    """The right action; the table holds the base action of each shape, then the special shape."""
    looked_up = shape
    if rules.num_conditions >= 2 and colour >= FIRST_COLD_COLOUR:
        looked_up = (shape + 1) % NUM_SHAPES
    answer = rules.table[looked_up]
    if colour == RED:
        answer += NUM_BASE_ACTIONS
    if rules.num_conditions >= 3 and shape == rules.table[NUM_SHAPES]:
        answer += NUM_BASE_ACTIONS
    # Both shifts together lead back to the base action, so that the last condition inverts the red
    # one.
    return answer % (2 * NUM_BASE_ACTIONS)


@kernel
def step_conditional(state: Row, rules: Row, action: Integer) -> float:
    """One for the rule's answer; the next shape and colour are uniform."""
    goal = as_reward(action == conditional_answer(state.current, state.target, rules))
    reset_conditional(state)
    return goal


@kernel
def observe_conditional(states: Array, out: Array) -> None:
    """One-hot shape, one-hot colour."""
    for row in range(len(states)):
        state = states[row]
        out[row, state.current] = 1.0
        out[row, NUM_SHAPES + state.target] = 1.0


@kernel
def reset_navigation(state: Row, rules: Row) -> None:
    """Uniform position and target; they may coincide."""
    state.current = random_integer(state, rules.num_symbols)
    state.target = random_integer(state, rules.num_symbols)


@kernel
def step_navigation(state: Row, rules: Row, action: Integer) -> float:
    """Move around the ring; one for standing on the target when the last step ends."""
    # The number of places is added before the remainder, which in compiled code may be negative.
    state.current = (state.current + action - CENTRE_MOVE + rules.num_symbols) % rules.num_symbols
    return as_reward(state.time == rules.length and state.current == state.target)


@kernel
def observe_navigation(states: Array, rules: Row, out: Array) -> None:
    """One-hot position, target and step; no step is marked once the task is over."""
    size = rules.num_symbols
    for row in range(len(states)):
        state = states[row]
        out[row, state.current] = 1.0
        out[row, size + state.target] = 1.0
        # After the last step the task is over; its number would point beyond the row.
        if state.time < rules.length:
            out[row, 2 * size + state.time] = 1.0


# Memory tasks: the answer was shown earlier


@kernel
def reset_remembered(state: Row, rules: Row) -> None:
    """DelayedMatch and TMaze: a uniform symbol that is shown at the first step alone."""
    state.target = random_integer(state, rules.num_symbols)
    state.current = state.target


@kernel
def step_delayed_match(state: Row, rules: Row, action: Integer) -> float:
    """One for the symbol of the first step, judged at the last."""
    return as_reward(state.time == rules.length and action == state.target)


@kernel
def observe_delayed_match(states: Array, rules: Row, out: Array) -> None:
    """One-hot symbol at the first step, the flag at the last, nothing in between and after."""
    for row in range(len(states)):
        state = states[row]
        if state.time == 0:
            out[row, state.target] = 1.0
        elif state.time == rules.length - 1:
            out[row, rules.num_symbols] = 1.0


@kernel
def reset_rule_recall(state: Row, rules: Row) -> None:
    """A uniform injective map from cues to symbols, and the first demonstrated cue."""
    state.mapping = random_arrangement(state, rules.num_symbols)
    state.num_right = 0
    state.seen = 0
    state.current = random_integer(state, rules.num_cues)


@kernel
def step_rule_recall(state: Row, rules: Row, action: Integer) -> float:
    """Judge a query, show the next cue; one at the last query if all answers were right."""
    # Questions follow the demonstrations: the step that has just been counted decides which of them
    # was answered.
    if state.time > rules.num_demonstrations and action == digit(state.mapping, state.current):
        state.num_right += 1
    if state.time <= rules.num_demonstrations:
        state.seen |= 1 << state.current
    # The response is shown beside the next cue, so that cue and response are never in one
    # observation.
    state.previous = state.current
    if state.time < rules.num_demonstrations:
        state.current = random_integer(state, rules.num_cues)
    elif state.time < rules.length:
        # Only cues whose response was shown are asked for; others could not be known.
        state.current = random_member(state, state.seen, rules.num_cues)
    # All queries or nothing: a memory of the latest demonstration alone would earn a share of each.
    return as_reward(state.time == rules.length and state.num_right == rules.num_queries)


@kernel
def observe_rule_recall(states: Array, rules: Row, out: Array) -> None:
    """One-hot cue, one-hot response to the previous cue while that was a demonstration.

    Query flag.
    """
    for row in range(len(states)):
        state = states[row]
        # The last observation answers nothing any more; a cue in it would look like one more query.
        if state.time >= rules.length:
            continue
        out[row, state.current] = 1.0
        if 0 < state.time <= rules.num_demonstrations:
            out[row, rules.cue_width + digit(state.mapping, state.previous)] = 1.0
        if state.time >= rules.num_demonstrations:
            out[row, rules.cue_width + rules.symbol_width] = 1.0


@kernel
def step_t_maze(state: Row, rules: Row, action: Integer) -> float:
    """One for the cue, judged at the last step; a distractor follows each step."""
    if rules.is_revealed and state.time == rules.length:
        state.current = state.target
    else:
        state.current = random_integer(state, rules.num_symbols)
    return as_reward(state.time == rules.length and action == state.target)


@kernel
def observe_t_maze(states: Array, rules: Row, out: Array) -> None:
    """One-hot cue or distractor, the flag of a cue, the flag of the last step."""
    for row in range(len(states)):
        state = states[row]
        out[row, state.current] = 1.0
        if state.time == 0 or (rules.is_revealed and state.time == rules.length):
            out[row, rules.num_symbols] = 1.0
        if state.time == rules.length - 1:
            out[row, rules.num_symbols + 1] = 1.0


# Planning tasks: reach a goal that changes every episode; every step that ends on it is rewarded


@kernel
def permuted(word: Integer, action: Integer, rules: Row) -> Integer:
    """PermPuzzle: place i takes the token of place table[action, i]."""
    moved: Integer = 0
    for place in range(rules.num_symbols):
        # Digits of all places are disjoint bits, so that they can be joined without clearing any.
        moved |= digit(word, rules.table[action * rules.num_symbols + place]) << (4 * place)
    return moved


@kernel
def random_board(state: Row, rules: Row) -> Integer:
    """LightsOut: independent fair cells, as bits."""
    return random_integer(state, 1 << rules.num_symbols)


@kernel
def pressed_at_random(state: Row, board: Integer, rules: Row) -> Integer:
    """LightsOut: a board that a uniform set of presses away is.

    Uniform over all that can be reached.
    """
    # Presses commute and undo themselves, so that a set of presses is all that a sequence can do;
    # of a board of four cells a side not every picture is reachable, a set of presses is by
    # construction.
    presses = random_board(state, rules)
    for action in range(rules.num_symbols):
        if (presses >> action) & 1:
            board ^= rules.table[action]
    return board


@kernel
def random_start(state: Row, rules: Row) -> Integer:
    """A uniform state of the planning task."""
    if rules.task == PERM_PUZZLE:
        return random_arrangement(state, rules.num_symbols)
    if rules.task == LIGHTS_OUT:
        return random_board(state, rules)
    return random_integer(state, rules.num_symbols)


@kernel
def random_goal(state: Row, rules: Row) -> Integer:
    """A uniform state among those that can be reached."""
    if rules.task == LIGHTS_OUT:
        return pressed_at_random(state, state.current, rules)
    return random_start(state, rules)


@kernel
def reset_planning(state: Row, rules: Row) -> None:
    """Uniform start; uniform goal among the other states, so that no episode starts solved."""
    state.current = random_start(state, rules)
    state.target = random_goal(state, rules)
    while state.target == state.current:
        state.target = random_goal(state, rules)


@kernel
def step_planning(state: Row, rules: Row, action: Integer) -> float:
    """Move; one whenever the step ends on the goal."""
    if rules.task == PERM_PUZZLE:
        state.current = permuted(state.current, action, rules)
    elif rules.task == LIGHTS_OUT:
        # An exclusive or toggles all cells of a press at once.
        state.current ^= rules.table[action]
    else:
        state.current = rules.table[state.current * rules.num_actions + action]
    return as_reward(state.current == state.target)


@kernel
def observe_perm_puzzle(states: Array, rules: Row, out: Array) -> None:
    """One-hot tokens by place: the current arrangement, then the goal."""
    size = rules.num_symbols
    for row in range(len(states)):
        # Read once: the compiler cannot know that writing `out` leaves the state as it is.
        current, target = states[row].current, states[row].target
        for place in range(size):
            out[row, place * size + digit(current, place)] = 1.0
            out[row, (size + place) * size + digit(target, place)] = 1.0


@kernel
def observe_lights_out(states: Array, rules: Row, out: Array) -> None:
    """The bits of the board, then those of the goal."""
    size = rules.num_symbols
    for row in range(len(states)):
        current, target = states[row].current, states[row].target
        for cell in range(size):
            out[row, cell] = (current >> cell) & 1
            out[row, size + cell] = (target >> cell) & 1


@kernel
def observe_token_automaton(states: Array, rules: Row, out: Array) -> None:
    """One-hot token, one-hot goal."""
    size = rules.num_symbols
    for row in range(len(states)):
        state = states[row]
        out[row, state.current] = 1.0
        out[row, size + state.target] = 1.0


# All tasks: choose by `rules.task`


@kernel
def reset(state: Row, rules: Row) -> None:
    """Start an episode."""
    state.time = 0
    state.ended = False
    state.is_success = False
    state.is_rewarded = False
    state.action = NO_ACTION
    if rules.task == PATTERN_ECHO:
        reset_pattern_echo(state, rules)
    elif rules.task == SEQUENCE_NEXT:
        reset_sequence_next(state, rules)
    elif rules.task == CONDITIONAL:
        reset_conditional(state)
    elif rules.task == NAVIGATION:
        reset_navigation(state, rules)
    elif rules.task == RULE_RECALL:
        reset_rule_recall(state, rules)
    elif rules.task == DELAYED_MATCH or rules.task == T_MAZE:
        reset_remembered(state, rules)
    else:
        reset_planning(state, rules)


@kernel
def judge_and_advance(state: Row, rules: Row, action: Integer) -> float:
    """The goal reward of an action; the state moves on."""
    if rules.task == PATTERN_ECHO:
        return step_pattern_echo(state, rules, action)
    if rules.task == SEQUENCE_NEXT:
        return step_sequence_next(state, rules, action)
    if rules.task == CONDITIONAL:
        return step_conditional(state, rules, action)
    if rules.task == NAVIGATION:
        return step_navigation(state, rules, action)
    if rules.task == DELAYED_MATCH:
        return step_delayed_match(state, rules, action)
    if rules.task == RULE_RECALL:
        return step_rule_recall(state, rules, action)
    if rules.task == T_MAZE:
        return step_t_maze(state, rules, action)
    return step_planning(state, rules, action)


@kernel
def step(state: Row, rules: Row, action: Integer, outcome: Row) -> None:
    """Advance by one action; the time limit alone ends an episode."""
    state.time += 1
    goal = judge_and_advance(state, rules, action)
    state.action = action
    state.is_rewarded = goal > 0.0
    # A reactive task is answered anew at each step; the others are solved once.
    is_repeated = rules.task <= CONDITIONAL
    state.is_success = state.is_rewarded or (state.is_success and not is_repeated)
    # Ended but not terminated: no state of these tasks is final, and a value beyond the limit is
    # one.
    state.ended = state.time >= rules.time_limit
    outcome.goal = goal
    # An agent adds its own from its world model.
    outcome.prediction = 0.0
    outcome.reward = rules.goal_weight * outcome.goal + rules.prediction_weight * outcome.prediction
    outcome.terminated = False
    outcome.truncated = state.ended
    outcome.is_success = state.is_success


@kernel
def hold_still(outcome: Row) -> None:
    """A row that has ended earns nothing; its flags stay."""
    outcome.reward = 0.0
    outcome.goal = 0.0
    outcome.prediction = 0.0


@kernel
def reset_rows(states: Array, parameters: Array, mask: Array) -> None:
    """Start the masked rows anew."""
    for row in range(len(states)):
        if mask[row]:
            reset(states[row], parameters[0])


@kernel
def observe_rows(states: Array, parameters: Array, observations: Array) -> None:
    """Observations of all rows.

    Each task has a loop of its own: an array that is handed on for every row costs more than the
    observation.
    """
    rules = parameters[0]
    task = rules.task
    # In one sweep, which costs half of row by row.
    observations[:] = 0.0
    if task == PATTERN_ECHO:
        observe_pattern_echo(states, observations)
    elif task == SEQUENCE_NEXT:
        observe_sequence_next(states, observations)
    elif task == CONDITIONAL:
        observe_conditional(states, observations)
    elif task == NAVIGATION:
        observe_navigation(states, rules, observations)
    elif task == DELAYED_MATCH:
        observe_delayed_match(states, rules, observations)
    elif task == RULE_RECALL:
        observe_rule_recall(states, rules, observations)
    elif task == T_MAZE:
        observe_t_maze(states, rules, observations)
    elif task == PERM_PUZZLE:
        observe_perm_puzzle(states, rules, observations)
    elif task == LIGHTS_OUT:
        observe_lights_out(states, rules, observations)
    else:
        observe_token_automaton(states, rules, observations)


@kernel
def step_rows(
    states: Array,
    parameters: Array,
    actions: Array,
    observations: Array,
    outcomes: Array,
    is_autoreset: bool,
) -> None:
    """Advance all rows.

    One that has ended is reset when `is_autoreset` and else holds still with no reward.
    """
    rules = parameters[0]
    for row in range(len(states)):
        state, outcome = states[row], outcomes[row]
        if not state.ended:
            step(state, rules, actions[row], outcome)
        else:
            hold_still(outcome)
            if is_autoreset:
                reset(state, rules)
                outcome.truncated = False
                outcome.is_success = False
    observe_rows(states, parameters, observations)
