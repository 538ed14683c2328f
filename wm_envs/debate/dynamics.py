"""The rules of debate as pure compiled functions.

The environments, the arena of the trainer and the tests share them.

In one round an observation lies on the table and every tendency stakes it for or against any of the
seven claims. A stake that claims more than the observation supports is rebutted by whoever reads it
otherwise. After a number of rounds the claims are scored, the best-supported one wins, and
influence shifts toward the claims with support.

Inside, `relevance` [7] says how much an observation speaks for each tendency, from 0 to 1 each;
`weights` are signed: positive for a stake in favour, negative for one against. In the kernels at
the end `state` is a row of `STATE`, `rules` the row of `PARAMETERS`, `out` and `row` the
observation array and the index of its row.
"""

from typing import Any

import numpy as np

from wm_envs.debate.tendencies import NUM_TENDENCIES
from wm_envs.debate.tendencies import DebateColumn as Column
from wm_envs.kernel import Row, kernel, random_integer, state_dtype
from wm_envs.rules import Array, outcome_dtype

NUM = NUM_TENDENCIES
NOBODY = -1
# An option that is drawn anew in each episode.
ANY = -1

SILENT, PARTISAN, ZEALOT, CHALLENGER, JUROR, ADVOCATE = 0, 1, 2, 3, 4, 5
STRATEGIES = ("silent", "partisan", "zealot", "challenger", "juror", "advocate")
NUM_STRATEGIES = len(STRATEGIES)
# Share of its lead in relevance that an advocate holds against a rival claim.
ADVOCATE_AGGRESSION = 0.2

# Lighter stakes are not placed in a tree.
MIN_WEIGHT = 1e-3
# Fixed sizes, since parameters are one row for compiled code; larger tables are refused.
MAX_OBSERVATIONS, MAX_PERSONS = 512, 32
REWARD_COMPONENTS = ("influence", "victory")
INFO_FIELDS: list[tuple[str, Any]] = [
    ("is_success", np.bool_),
    ("winner", np.int64),
    ("allocations", (np.float64, (NUM,))),
]
OUTCOME = outcome_dtype(REWARD_COMPONENTS, INFO_FIELDS)

STATE = state_dtype(
    # Everything a clone needs, what is shown of the last round included.
    [
        ("seat", np.int64),  # the tendency that the agent plays
        ("person", np.int64),  # whose observations are debated
        ("offset", np.int64),  # place and stride of the walk through that person's observations
        ("stride", np.int64),
        ("round_number", np.int64),  # within the debate
        ("debate", np.int64),
        (
            "winner",
            np.int64,
        ),  # of the last debate; NOBODY before its end or without a positive score
        ("learning_rate", np.float64),
        ("gain", np.float64),  # the seat's allocation since the reset, a difference
        ("allocations", np.float64, (NUM,)),
        ("scores", np.float64, (NUM,)),  # net scores of the claims in this debate
        ("last_scores", np.float64, (NUM,)),  # those of the debate before
        ("budgets", np.float64, (NUM,)),  # weight that each tendency may still stake in this debate
        ("relevance", np.float64, (NUM,)),  # of the observation on the table
        ("strategies", np.int64, (NUM,)),
        ("weights", np.float64, (NUM, NUM)),  # of the last round: staker, claim
    ]
)
PARAMETERS = np.dtype(
    [
        ("time_limit", np.int64),
        ("num_rounds", np.int64),
        ("num_debates", np.int64),
        ("num_persons", np.int64),
        ("seat", np.int64),  # or ANY
        ("strategies", np.int64, (NUM,)),  # or ANY
        ("budget", np.float64),
        ("rebuttal", np.float64),
        ("learning_rate", np.float64),
        ("learning_rate_decay", np.float64),
        ("min_allocation", np.float64),
        ("max_allocation", np.float64),
        ("influence_weight", np.float64),
        ("victory_weight", np.float64),
        ("allocations", np.float64, (NUM,)),  # at the start
        (
            "first_rows",
            np.int64,
            (MAX_PERSONS + 1,),
        ),  # person p has the rows first_rows[p] up to first_rows[p + 1]
        ("relevance", np.float32, (MAX_OBSERVATIONS, NUM)),
    ]
)


# Scoring


@kernel
def score_nodes(parents: Array, signs: Array, amounts: Array, scores: Array) -> None:
    """Net score of every node of a forest: own amount + sum of PRO children - sum of CON children.

    Args:
        parents: Index of each node's parent, NOBODY for a root; a parent comes before its children.
        signs: +1 where a node speaks for its parent, -1 where against.
        amounts: What each node stakes itself, 0 for a root.
        scores: Filled with the net scores.
    """
    for node in range(len(parents)):
        scores[node] = amounts[node]
    # From the last node to the first: children come after their parents, and are whole before they
    # are added.
    for node in range(len(parents) - 1, -1, -1):
        if parents[node] >= 0:
            scores[parents[node]] += signs[node] * scores[node]


@kernel
def best_claim(scores: Array) -> int:
    """The claim with the highest score, the first among equals; NOBODY where none is positive."""
    best = NOBODY
    # From zero: a claim that nobody supports wins nothing, even against claims that are refuted.
    highest = 0.0
    for claim in range(NUM):
        if scores[claim] > highest:
            best, highest = claim, scores[claim]
    return best


# Reallocation


@kernel
def clipped_sum(values: Array, shift: float, minimum: float, maximum: float) -> float:
    """The sum of the values less a shift, each brought into its bounds."""
    total = 0.0
    for index in range(len(values)):
        total += min(max(values[index] - shift, minimum), maximum)
    return total


@kernel
def project(values: Array, minimum: float, maximum: float) -> None:
    """Replace values by the nearest ones that sum to 1 and lie in [minimum, maximum].

    Nearest is meant in Euclidean distance.

    The nearest point is `clip(values - shift)` for the one shift that makes the sum 1 (Held, Wolfe
    & Crowder 1974): it is bracketed by bisection, then solved for on the values that are not at a
    bound.
    """
    low, high = values[0], values[0]
    total = 0.0
    for index in range(len(values)):
        low, high = min(low, values[index]), max(high, values[index])
        total += values[index]
    if low >= minimum and high <= maximum and abs(total - 1.0) < 1e-12:
        return
    # The shift of the projection lies between these: at one end all values are at the maximum, at
    # the other at the minimum.
    low, high = low - maximum, high - minimum
    # Bisection 80 times is exact to the last bit of a float64, whatever the values are.
    for _ in range(80):
        middle = 0.5 * (low + high)
        if clipped_sum(values, middle, minimum, maximum) > 1.0:
            low = middle
        else:
            high = middle
    # The shift again in closed form from the values that no bound holds, so that the sum is 1 but
    # for rounding.
    rest, num_free = 1.0, 0
    for index in range(len(values)):
        shifted = values[index] - high
        if shifted <= minimum:
            rest -= minimum
        elif shifted >= maximum:
            rest -= maximum
        else:
            rest -= values[index]
            num_free += 1
    shift = high if num_free == 0 else -rest / num_free
    for index in range(len(values)):
        values[index] = min(max(values[index] - shift, minimum), maximum)


@kernel
def reallocate(
    allocations: Array, scores: Array, learning_rate: float, minimum: float, maximum: float
) -> None:
    """Move allocations toward the shares of the positive scores, then into their bounds; in place.

    target_t = max(0, score_t) / sum of positive scores; change = learning_rate x (target -
    current). Without a positive score nothing changes.
    """
    total = 0.0
    for claim in range(NUM):
        total += max(0.0, scores[claim])
    # Without a positive score there is no share to move toward.
    if total <= 0.0:
        return
    for claim in range(NUM):
        target = max(0.0, scores[claim]) / total
        allocations[claim] += learning_rate * (target - allocations[claim])
    # After the step and not before, so that the bounds hold whatever the rate was.
    project(allocations, minimum, maximum)


# Stakes


@kernel
def strongest_reader(relevance: Array, excluded: int) -> int:
    """The tendency for which an observation speaks most, one excepted; the first among equals."""
    best = NOBODY
    for tendency in range(NUM):
        if tendency != excluded and (best == NOBODY or relevance[tendency] > relevance[best]):
            best = tendency
    return best


@kernel
def support(relevance: Array, claim: int, weight: float) -> float:
    """The weight that an observation bears.

    For a claim its relevance, against it the lead of the strongest reading.
    """
    if weight >= 0.0:
        return float(relevance[claim])
    # Against a claim an observation bears as much as the best other reading of it leads by.
    return float(relevance[strongest_reader(relevance, NOBODY)] - relevance[claim])


@kernel
def weight_of(relevance: Array, claim: int, conviction: float) -> float:
    """The signed weight of a conviction in [-1, 1].

    Half of it goes as far as the observation bears, all of it to 1.
    """
    # Half of the range is for what the evidence bears: a conviction of 0.5 is exactly that, for any
    # observation.
    share = 2.0 * abs(conviction)
    borne = support(relevance, claim, conviction)
    weight = share * borne if share <= 1.0 else borne + (share - 1.0) * (1.0 - borne)
    return weight if conviction >= 0.0 else -weight


@kernel
def conviction_of(relevance: Array, claim: int, weight: float) -> float:
    """The conviction that stakes a signed weight: the inverse of `weight_of`."""
    size, borne = abs(weight), support(relevance, claim, weight)
    if size > borne:
        conviction = 0.5 + 0.5 * (size - borne) / (1.0 - borne)
    else:
        conviction = 0.5 * size / borne if borne > 0.0 else 0.0
    return conviction if weight >= 0.0 else -conviction


@kernel
def rebutter(relevance: Array, staker: int, claim: int, weight: float) -> int:
    """Who answers a stake that overreaches.

    The owner of an attacked claim, else the strongest other reader.
    """
    # A tendency does not answer itself: an attack on the own claim is answered by another reader.
    if weight < 0.0 and claim != staker:
        return claim
    return strongest_reader(relevance, staker)


@kernel
def rebuttal_weight(relevance: Array, claim: int, weight: float, rebuttal: float) -> float:
    """The weight of the answer to a stake.

    `rebuttal` times what it claims beyond its support, at most 1.
    """
    # At most as much as a full stake, however large the factor.
    return min(1.0, rebuttal * max(0.0, abs(weight) - support(relevance, claim, weight)))


@kernel
def stake_value(
    relevance: Array, allocations: Array, staker: int, claim: int, weight: float, rebuttal: float
) -> float:
    """What a stake adds to its claim's net score, its rebuttal included."""
    if weight == 0.0:
        return 0.0
    answer = rebuttal_weight(relevance, claim, weight, rebuttal)
    net = abs(weight) * allocations[staker]
    # The answer counts by the influence of whoever gives it, not of whoever overreached.
    net -= answer * allocations[rebutter(relevance, staker, claim, weight)]
    return net if weight > 0.0 else -net


# Scripted debaters


@kernel
def script(strategy: int, seat: int, relevance: Array, scores: Array, weights: Array) -> None:
    """Write the signed weights [7] that a scripted debater stakes on the claims.

    silent: nothing. partisan: its own claim by relevance. zealot: its own claim with weight 1,
    whatever the evidence.
    challenger: as the partisan, and against the leading rival claim as far as the evidence bears.
    juror: every claim by
    relevance. advocate: its own claim by relevance; it concedes an observation that speaks more for
    a rival, and holds a fifth of its lead against the rivals that it leads.
    """
    for claim in range(NUM):
        weights[claim] = 0.0
        if strategy == JUROR:
            weights[claim] = relevance[claim]
        elif strategy == ADVOCATE:
            lead = relevance[seat] - relevance[claim]
            # Concedes where a rival's claim is better supported than its own.
            weights[claim] = -ADVOCATE_AGGRESSION * lead if lead > 0.0 else relevance[claim]
    if strategy == ZEALOT:
        weights[seat] = 1.0
    elif strategy != SILENT:
        # Also over what juror and advocate wrote for their own claim: every script but `zealot`
        # stakes there what it bears.
        weights[seat] = relevance[seat]
    if strategy == CHALLENGER:
        # By scores and not by relevance: it attacks whoever leads.
        rival = strongest_reader(scores, seat)
        weights[rival] = -support(relevance, rival, -1.0)


@kernel
def within_budget(weights: Array, budget: float) -> float:
    """Scale weights down to a budget, in place; what they spend."""
    spent = 0.0
    for claim in range(NUM):
        spent += abs(weights[claim])
    if spent > budget:
        for claim in range(NUM):
            # All in proportion: a budget changes how loud a debater is, not what it says.
            weights[claim] *= budget / spent
        return budget
    return spent


# A debate about many observations at once


@kernel
def place_all(
    relevance: Array,
    allocations: Array,
    strategies: Array,
    rebuttal: float,
    parents: Array,
    signs: Array,
    amounts: Array,
    observations: Array,
    stakers: Array,
) -> int:
    """Write the nodes of a debate and return their number.

    Roots come first, and each stake before its rebuttal.

    Every tendency sees the scores as they stand before the observation, as in a round of the
    environment.
    """
    # The roots are the claims themselves, with no weight of their own.
    for claim in range(NUM):
        parents[claim], observations[claim], stakers[claim] = NOBODY, NOBODY, claim
    weights = np.zeros((NUM, NUM))
    scores = np.zeros(NUM)
    count = NUM
    for number in range(len(relevance)):
        row = relevance[number]
        # Scripts of all seats first: nobody sees the others' stakes of the same observation.
        for seat in range(NUM):
            script(strategies[seat], seat, row, scores, weights[seat])
        for seat in range(NUM):
            for claim in range(NUM):
                weight = weights[seat, claim]
                # The forest keeps only stakes that a reader could see the effect of.
                if abs(weight) < MIN_WEIGHT:
                    continue
                parents[count], observations[count], stakers[count] = claim, number, seat
                signs[count] = 1.0 if weight > 0.0 else -1.0
                amounts[count] = abs(weight) * allocations[seat]
                scores[claim] += stake_value(row, allocations, seat, claim, weight, rebuttal)
                answer = rebuttal_weight(row, claim, weight, rebuttal)
                # After the answer was computed and before it is placed: its parent is the node just
                # written.
                count += 1
                if answer >= MIN_WEIGHT:
                    rival = rebutter(row, seat, claim, weight)
                    parents[count], observations[count], stakers[count] = count - 1, number, rival
                    signs[count] = -1.0
                    amounts[count] = answer * allocations[rival]
                    count += 1
    return count


# An episode


@kernel
def greatest_common_divisor(first: int, second: int) -> int:
    """Euclid's algorithm."""
    while second:
        first, second = second, first % second
    return first


@kernel
def open_debate(state: Row, rules: Row) -> None:
    """Clear the scores and fill the budgets."""
    state.round_number = 0
    for tendency in range(NUM):
        state.scores[tendency] = 0.0
        state.budgets[tendency] = rules.budget


@kernel
def lay_observation(state: Row, rules: Row) -> None:
    """Put the person's next observation on the table."""
    first = rules.first_rows[state.person]
    count = rules.first_rows[state.person + 1] - first
    # Place and stride walk through all observations in an order that needs two numbers and no list.
    place = first + (state.offset + state.time * state.stride) % count
    for tendency in range(NUM):
        state.relevance[tendency] = rules.relevance[place, tendency]


@kernel
def reset(state: Row, rules: Row) -> None:
    """Draw a person and the order of the observations.

    The seat and the rivals, too, where they are left open.
    """
    state.time = 0
    state.ended = False
    state.person = random_integer(state, rules.num_persons)
    count = rules.first_rows[state.person + 1] - rules.first_rows[state.person]
    state.offset = random_integer(state, count)
    state.stride = 1 + random_integer(state, count)
    while (
        greatest_common_divisor(state.stride, count) != 1
    ):  # so that the walk meets every observation
        state.stride = 1 + random_integer(state, count)
    state.seat = random_integer(state, NUM) if rules.seat == ANY else rules.seat
    state.debate = 0
    state.winner = NOBODY
    state.learning_rate = rules.learning_rate
    state.gain = 0.0
    for tendency in range(NUM):
        strategy = rules.strategies[tendency]
        # Drawn also for the agent's own seat, so that which seat it takes does not shift the
        # stream.
        # Silence is no rival: a strategy that is left open is one of the others.
        state.strategies[tendency] = (
            1 + random_integer(state, NUM_STRATEGIES - 1) if strategy == ANY else strategy
        )
        state.allocations[tendency] = rules.allocations[tendency]
        state.last_scores[tendency] = 0.0
        for claim in range(NUM):
            state.weights[tendency, claim] = 0.0
    open_debate(state, rules)
    lay_observation(state, rules)


@kernel
def script_seats(state: Row) -> None:
    """Write the weights of every seat by its strategy."""
    for seat in range(NUM):
        script(state.strategies[seat], seat, state.relevance, state.scores, state.weights[seat])


@kernel
def place_stakes(state: Row, rules: Row) -> None:
    """Charge the budgets and add what the stakes are worth to the scores.

    All seats stake at once.
    """
    # Budgets of all seats before any score: the order of the seats must not matter.
    for seat in range(NUM):
        state.budgets[seat] -= within_budget(state.weights[seat], state.budgets[seat])
    for seat in range(NUM):
        for claim in range(NUM):
            weight = state.weights[seat, claim]
            state.scores[claim] += stake_value(
                state.relevance, state.allocations, seat, claim, weight, rules.rebuttal
            )


@kernel
def close_debate(state: Row, rules: Row) -> None:
    """Name the winner, shift influence, and open the next debate at a lower rate."""
    state.winner = best_claim(state.scores)
    reallocate(
        state.allocations,
        state.scores,
        state.learning_rate,
        rules.min_allocation,
        rules.max_allocation,
    )
    for claim in range(NUM):
        state.last_scores[claim] = state.scores[claim]
    # Later debates move less, so that influence settles.
    state.learning_rate *= rules.learning_rate_decay
    state.debate += 1
    open_debate(state, rules)


@kernel
def play_round(state: Row, rules: Row) -> bool:
    """Settle one round with the weights as they stand in the state; whether it closed a debate."""
    state.time += 1
    place_stakes(state, rules)
    state.round_number += 1
    is_closing = state.round_number >= rules.num_rounds
    if is_closing:
        close_debate(state, rules)
    # After the debate was closed: the observation of the step belongs to the next round.
    lay_observation(state, rules)
    state.ended = state.time >= rules.time_limit
    return is_closing


@kernel
def report(state: Row, rules: Row, influence: float, victory: float, outcome: Row) -> None:
    """Write the outcome of a step for the agent's seat."""
    outcome.influence = influence
    outcome.victory = victory
    outcome.reward = rules.influence_weight * influence + rules.victory_weight * victory
    outcome.terminated = False
    outcome.truncated = state.ended
    outcome.is_success = state.gain > 0.0
    outcome.winner = state.winner
    for tendency in range(NUM):
        outcome.allocations[tendency] = state.allocations[tendency]


@kernel
def step(state: Row, rules: Row, actions: Array, row: int, outcome: Row) -> None:
    """One round.

    The scripts stake, the action takes the place of the seat's script, the round is settled.
    """
    script_seats(state)
    seat = state.seat
    for claim in range(NUM):
        state.weights[seat, claim] = weight_of(state.relevance, claim, actions[row, claim])
    before = state.allocations[seat]
    is_closing = play_round(state, rules)
    change = state.allocations[seat] - before
    state.gain += change
    has_won = is_closing and state.winner == seat
    report(state, rules, 100.0 * change, 1.0 if has_won else 0.0, outcome)


@kernel
def observe_seat(state: Row, rules: Row, seat: int, out: Array, row: int) -> None:
    """What one seat sees: its own place, then for each tendency relevance, score and allocation."""
    out[row, Column.BUDGET] = state.budgets[seat] / rules.budget
    out[row, Column.ROUND] = state.round_number / rules.num_rounds
    # A longer time limit than that of the options goes on with further debates.
    out[row, Column.DEBATE] = min(1.0, state.debate / rules.num_debates)
    for tendency in range(NUM):
        out[row, Column.SEAT_SURVIVAL + tendency] = 1.0 if tendency == seat else 0.0
        out[row, Column.RELEVANCE_SURVIVAL + tendency] = state.relevance[tendency]
        # The bounds of the observation's space; scores beyond are rare and say nothing more.
        score = min(max(state.scores[tendency], -10.0), 10.0)
        out[row, Column.SCORE_SURVIVAL + tendency] = score
        out[row, Column.ALLOCATION_SURVIVAL + tendency] = state.allocations[tendency]


# The loops of the shells


@kernel
def reset_rows(states: Array, parameters: Array, mask: Array) -> None:
    """Start the masked rows anew."""
    for row in range(len(states)):
        if mask[row]:
            reset(states[row], parameters[0])


@kernel
def observe_rows(states: Array, parameters: Array, observations: Array) -> None:
    """Observations of all rows, each from its own seat."""
    for row in range(len(states)):
        observe_seat(states[row], parameters[0], states[row].seat, observations, row)


@kernel
def report_rows(states: Array, parameters: Array, outcomes: Array, mask: Array) -> None:
    """What the masked rows report right after their reset."""
    for row in range(len(states)):
        if mask[row]:
            report(states[row], parameters[0], 0.0, 0.0, outcomes[row])


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
            step(state, rules, actions, row, outcome)
        elif is_autoreset:
            reset(state, rules)
            # An observation of the new episode with the reward 0, as Gymnasium's NEXT_STEP asks.
            report(state, rules, 0.0, 0.0, outcome)
        else:
            outcome.reward, outcome.influence, outcome.victory = 0.0, 0.0, 0.0
        observe_seat(state, rules, state.seat, observations, row)


# Seven seats at once


@kernel
def stake_all(state: Row, rules: Row, actions: Array, rewards: Array) -> None:
    """One round in which every seat is played.

    Convictions [7, 7] in, the change of each allocation in points out.
    """
    for seat in range(NUM):
        # The place of the reward holds the allocation before the round until it is over.
        rewards[seat] = state.allocations[seat]
        for claim in range(NUM):
            state.weights[seat, claim] = weight_of(state.relevance, claim, actions[seat, claim])
    play_round(state, rules)
    for seat in range(NUM):
        rewards[seat] = 100.0 * (state.allocations[seat] - rewards[seat])


@kernel
def step_seats(
    states: Array, parameters: Array, actions: Array, observations: Array, rewards: Array
) -> None:
    """`stake_all` on the one state of a parallel environment, then what each seat sees [7, O]."""
    stake_all(states[0], parameters[0], actions, rewards)
    for seat in range(NUM):
        observe_seat(states[0], parameters[0], seat, observations, seat)


@kernel
def observe_seats(states: Array, parameters: Array, observations: Array) -> None:
    """What each seat sees [7, O]."""
    for seat in range(NUM):
        observe_seat(states[0], parameters[0], seat, observations, seat)
