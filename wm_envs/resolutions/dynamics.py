"""The rules of a resolution's way through the General Assembly.

Pure compiled functions on one state row.

`parameters` has one row per draft or country, whichever are more: fields of `COUNTRY_FIELDS`
describe country i in row i, fields of `DRAFT_FIELDS` describe draft i in row i, and the rest, the
same for all, are read from row 0.

The others vote by the spatial model (see `wm_envs.resolutions.generator`): with z = offset +
direction . position + assent and h = width + slope . position + abstention, P(yes, abstain, no) =
softmax(z, h, -z).
"""

import math
from typing import Any

import numpy as np

from wm_envs.kernel import (
    Row,
    kernel,
    random_bits,
    random_integer,
    random_normal,
    random_uniform,
    state_dtype,
)
from wm_envs.resolutions.codes import TALLIES, ResolutionAction, ResolutionColumn, Stage
from wm_envs.rules import Array, outcome_dtype

NUM_ACTIONS = len(ResolutionAction)
NUM_STAGES = len(Stage)
NUM_MEMBERS = 193

GENERATOR, RECORDED, FITTED = 0, 1, 2
NUM_QUANTILES = 33

REWARD_COMPONENTS = ("outcome", "preference")
_INFO_FIELDS: list[Any] = [
    ("is_success", np.bool_),  # the outcome is what the country's last vote asked for
    ("action_mask", np.int8, (NUM_ACTIONS,)),
    ("invalid_action", np.bool_),
    ("adopted", np.bool_),  # False until TERMINAL
    ("draft", np.int64),  # which document: `env.unwrapped.documents[draft]`
]
OUTCOME = outcome_dtype(REWARD_COMPONENTS, _INFO_FIELDS)

SPATIAL_FIELDS = ("offset", "direction_1", "direction_2", "width", "slope_1", "slope_2")

STATE = state_dtype(
    [
        ("stage", np.int64),
        ("draft", np.int64),
        ("num_sponsors", np.int64),
        ("num_joining", np.int64),  # sponsors that will join before the vote
        ("is_sponsor", np.bool_),
        ("has_committee_vote", np.bool_),
        ("has_plenary_vote", np.bool_),
        ("is_adopted", np.bool_),
        # Adopted or rejected; what became of some recorded drafts is not known.
        ("is_decided", np.bool_),
        # The plenary's tally decides, as it does but where a record says otherwise.
        ("is_counted", np.bool_),
        ("is_success", np.bool_),
        ("is_invalid", np.bool_),  # the last action was
        ("action", np.int64),  # the last one as it counted, NO_ACTION after a reset
        ("last_vote", np.int64),
        *((f"committee_{name}", np.int64) for name in TALLIES),
        *((f"plenary_{name}", np.int64) for name in TALLIES),
        ("absence", np.float64),  # how much more often than usual members stay away
        *((name, np.float64) for name in SPATIAL_FIELDS),
    ]
)
COUNTRY_FIELDS = ("position_1", "position_2", "assent", "abstention", "absence_rate")
DRAFT_FIELDS = (
    "topic",
    *SPATIAL_FIELDS,
    "consensus_rate",
    "committee_rate",
    "num_sponsors",
    "num_joining",
    "is_sponsor",
    "is_adopted",
    "is_decided",
    "is_counted",
    *(f"committee_{name}" for name in TALLIES),
    *(f"plenary_{name}" for name in TALLIES),
)
PARAMETERS = np.dtype(
    [
        ("time_limit", np.int64),
        ("dynamics", np.int64),
        ("country", np.int64),  # whose seat the agent has
        ("transitions", np.int64),
        ("num_countries", np.int64),
        ("num_drafts", np.int64),
        ("has_consensus", np.int64),
        ("outcome_weight", np.float64),
        ("preference_weight", np.float64),
        # How much a recurring text varies, as a share of the spread between texts.
        ("topic_noise", np.float64),
        ("drift", np.float64),  # standard deviation of the offset between committee and plenary
        ("initial_sponsors", np.float64, (NUM_QUANTILES,)),
        ("final_sponsors", np.float64, (NUM_QUANTILES,)),
        ("absences", np.float64, (NUM_QUANTILES,)),
        *((name, np.float64) for name in COUNTRY_FIELDS),
        *((name, np.float64) for name in DRAFT_FIELDS),
    ]
)


@kernel
def quantile(table: Array, share: float) -> float:
    """The value of a distribution given by equally spaced quantiles."""
    place = share * (len(table) - 1)
    # The last quantile belongs to the interval before it.
    below = min(int(place), len(table) - 2)
    return table[below] + (place - below) * (table[below + 1] - table[below])


# How a draft begins


@kernel
def draw_draft(state: Row, rules: Row, draft: Row) -> None:
    """This year's text on a recurring topic, its sponsors, and which votes it will have."""
    noise = rules.topic_noise
    state.offset = draft.offset + noise * random_normal(state)
    state.direction_1 = draft.direction_1 + noise * random_normal(state)
    state.direction_2 = draft.direction_2 + noise * random_normal(state)
    state.width = draft.width + noise * random_normal(state)
    # Slopes do not vary: abstentions of a topic come from the same side every year.
    state.slope_1 = draft.slope_1
    state.slope_2 = draft.slope_2
    state.absence = quantile(rules.absences, random_uniform(state))
    popularity = random_uniform(state)
    state.num_sponsors = int(quantile(rules.initial_sponsors, popularity) + 0.5)
    # Popular drafts gain sponsors too, with some luck.
    luck = min(max(popularity + 0.15 * random_normal(state), 0.0), 1.0)
    state.num_joining = max(int(quantile(rules.final_sponsors, luck) + 0.5) - state.num_sponsors, 0)
    # The chance of one country to be among so many sponsors drawn evenly.
    state.is_sponsor = random_uniform(state) * rules.num_countries < state.num_sponsors
    is_consensus = random_uniform(state) < draft.consensus_rate and rules.has_consensus == 1
    state.has_plenary_vote = not is_consensus
    # A text that passes by consensus is voted on nowhere.
    state.has_committee_vote = not is_consensus and random_uniform(state) < draft.committee_rate


@kernel
def replay_draft(state: Row, draft: Row) -> None:
    """A recorded draft as it was."""
    state.num_sponsors = int(draft.num_sponsors)
    state.num_joining = int(draft.num_joining)
    state.is_sponsor = draft.is_sponsor > 0.0
    # A recorded tally of -1 says that there was no such vote.
    state.has_committee_vote = draft.committee_yes >= 0.0
    state.has_plenary_vote = draft.plenary_yes >= 0.0
    state.is_adopted = draft.is_adopted > 0.0
    state.is_decided = draft.is_decided > 0.0
    state.is_counted = draft.is_counted > 0.0


@kernel
def reset(state: Row, parameters: Array) -> None:
    """Start an episode: a draft is on the table."""
    rules = parameters[0]
    state.time = 0
    state.ended = False
    state.stage = Stage.DRAFT
    state.action = ResolutionAction.NO_ACTION
    state.last_vote = ResolutionAction.NO_ACTION
    state.is_adopted = False
    # A generated text is always decided, by its own tally.
    state.is_decided = state.is_counted = True
    state.is_success = False
    state.is_invalid = False
    state.committee_yes = state.committee_no = state.committee_abstain = 0
    state.plenary_yes = state.plenary_no = state.plenary_abstain = 0
    state.draft = random_integer(state, rules.num_drafts)
    if rules.dynamics == RECORDED:
        replay_draft(state, parameters[state.draft])
    else:
        draw_draft(state, rules, parameters[state.draft])


# How the others vote


@kernel
def agreement(state: Row, country: Row) -> float:
    """z: the utility of yes, and the negative of that of no."""
    along = state.direction_1 * country.position_1 + state.direction_2 * country.position_2
    return state.offset + along + country.assent


@kernel
def reluctance(state: Row, country: Row) -> float:
    """h: the utility of an abstention."""
    along = state.slope_1 * country.position_1 + state.slope_2 * country.position_2
    return state.width + along + country.abstention


@kernel
def drawn_vote(state: Row, country: Row) -> int:
    """YES, NO, ABSTAIN, or NO_ACTION for an absence; two 32-bit numbers from one draw."""
    # A vote takes two numbers; half of the bits each are plenty, and drawing is what costs.
    bits = random_bits(state)
    if (bits >> np.uint64(32)) * 2.0**-32 < country.absence_rate * state.absence:
        return ResolutionAction.NO_ACTION
    z, h = agreement(state, country), reluctance(state, country)
    # 1 / (1 + e^(h-z) + e^(-2z)) is softmax(z, h, -z) with one exponential less; 60 keeps it from
    # overflowing.
    yes = 1.0 / (1.0 + math.exp(min(h - z, 60.0)) + math.exp(min(-2.0 * z, 60.0)))
    share = (bits & np.uint64(0xFFFFFFFF)) * 2.0**-32
    if share < yes:
        return ResolutionAction.YES
    return (
        ResolutionAction.ABSTAIN
        # The abstention's probability is that of yes times e^(h-z), so that both together need no
        # division.
        if share < yes * (1.0 + math.exp(min(h - z, 60.0)))
        else ResolutionAction.NO
    )


@kernel
def draw_tally(state: Row, parameters: Array) -> tuple[int, int, int]:
    """Yes, no and abstentions of everybody but the agent's country."""
    rules = parameters[0]
    num_yes, num_no, num_abstain = 0, 0, 0
    for index in range(rules.num_countries):
        if index == rules.country:
            continue
        vote = drawn_vote(state, parameters[index])
        num_yes += vote == ResolutionAction.YES
        num_no += vote == ResolutionAction.NO
        num_abstain += vote == ResolutionAction.ABSTAIN
    return num_yes, num_no, num_abstain


# The stages


@kernel
def following_stage(state: Row, stage: int) -> int:
    """The next stage that takes place."""
    if stage < Stage.COMMITTEE_VOTE and state.has_committee_vote:
        return Stage.COMMITTEE_VOTE
    if stage < Stage.PLENARY_VOTE and state.has_plenary_vote:
        return Stage.PLENARY_VOTE
    return Stage.TERMINAL


@kernel
def stage_of_vote(state: Row, rules: Row) -> int:
    """Which vote the next action is cast in, or the present stage where it is cast in none.

    With three transitions an action is what leads to the next stage, so that the committee's vote
    is taken in DRAFT.
    """
    # With three transitions the step that leaves the draft already casts the first vote.
    if rules.transitions == 3:
        return following_stage(state, state.stage)
    return state.stage


@kernel
def is_valid(state: Row, rules: Row, action: int) -> bool:
    """Whether the present stage has this action."""
    vote_stage = stage_of_vote(state, rules)
    if vote_stage in (Stage.COMMITTEE_VOTE, Stage.PLENARY_VOTE):
        return action in (ResolutionAction.YES, ResolutionAction.NO, ResolutionAction.ABSTAIN)
    if state.stage == Stage.DRAFT and rules.transitions == 4:
        return action in (ResolutionAction.COSPONSOR, ResolutionAction.NO_ACTION)
    return action == ResolutionAction.NO_ACTION


@kernel
def join_sponsors(state: Row, action: int) -> None:
    """Others join, and the country does if it asks to."""
    state.num_sponsors += state.num_joining
    if action == ResolutionAction.COSPONSOR and not state.is_sponsor:
        state.is_sponsor = True
        state.num_sponsors += 1


@kernel
def drift(state: Row, rules: Row) -> None:
    """What the text means to everybody changes a little between committee and plenary."""
    state.offset += rules.drift * random_normal(state)


@kernel
def vote_in_committee(state: Row, parameters: Array, action: int) -> None:
    """The committee's tally; a rejected draft goes no further."""
    draft = parameters[state.draft]
    if parameters[0].dynamics == RECORDED:
        num_yes, num_no = int(draft.committee_yes), int(draft.committee_no)
        num_abstain = int(draft.committee_abstain)
    else:
        num_yes, num_no, num_abstain = draw_tally(state, parameters)
        drift(state, parameters[0])
    state.committee_yes = num_yes + (action == ResolutionAction.YES)
    state.committee_no = num_no + (action == ResolutionAction.NO)
    state.committee_abstain = num_abstain + (action == ResolutionAction.ABSTAIN)
    state.last_vote = action
    # A recorded draft goes on as it did, whatever the agent voted.
    if parameters[0].dynamics != RECORDED:
        state.has_plenary_vote = state.has_plenary_vote and state.committee_yes > state.committee_no
        state.is_adopted = state.committee_yes > state.committee_no


@kernel
def vote_in_plenary(state: Row, parameters: Array, action: int) -> None:
    """The plenary's tally decides, unless a record has another outcome than its tally."""
    draft = parameters[state.draft]
    if parameters[0].dynamics == RECORDED:
        num_yes, num_no = int(draft.plenary_yes), int(draft.plenary_no)
        num_abstain = int(draft.plenary_abstain)
    else:
        num_yes, num_no, num_abstain = draw_tally(state, parameters)
    state.plenary_yes = num_yes + (action == ResolutionAction.YES)
    state.plenary_no = num_no + (action == ResolutionAction.NO)
    state.plenary_abstain = num_abstain + (action == ResolutionAction.ABSTAIN)
    state.last_vote = action
    # Records whose outcome contradicts their tally keep the recorded outcome.
    if state.is_counted:
        state.is_adopted = state.plenary_yes > state.plenary_no


@kernel
def preference(state: Row, parameters: Array, action: int) -> float:
    """The country's own utility of a vote; 0 where it does not vote or its utility is not known."""
    rules = parameters[0]
    # Utilities are parameters of a fitted or generated world alone.
    if rules.dynamics == RECORDED:
        return 0.0
    country = parameters[rules.country]
    if action == ResolutionAction.YES:
        return agreement(state, country)
    if action == ResolutionAction.NO:
        return -agreement(state, country)
    return reluctance(state, country) if action == ResolutionAction.ABSTAIN else 0.0


@kernel
def advance(state: Row, parameters: Array, action: int) -> None:
    """Take the action and move to the next stage that takes place."""
    rules = parameters[0]
    vote_stage = stage_of_vote(state, rules)
    if state.stage == Stage.DRAFT:
        join_sponsors(state, action)
        if (
            # A recorded draft without votes was decided somewhere else.
            not state.has_plenary_vote
            and not state.has_committee_vote
            and rules.dynamics != RECORDED
        ):
            state.is_adopted = True  # by consensus
    if vote_stage == Stage.COMMITTEE_VOTE:
        vote_in_committee(state, parameters, action)
    elif vote_stage == Stage.PLENARY_VOTE:
        vote_in_plenary(state, parameters, action)
    if rules.transitions == 3:
        state.stage = (
            following_stage(state, state.stage) if vote_stage == Stage.TERMINAL else vote_stage
        )
    else:
        state.stage = following_stage(state, state.stage)


@kernel
def step(state: Row, parameters: Array, action: int, outcome: Row) -> None:
    """Advance by one action; what the stage does not allow counts as no action."""
    rules = parameters[0]
    state.time += 1
    state.is_invalid = not is_valid(state, rules, action)
    taken = ResolutionAction.NO_ACTION if state.is_invalid else action
    state.action = taken
    # Before the stage moves on: the utility is that of the vote that was cast.
    outcome.preference = preference(state, parameters, taken)
    was_terminal = state.stage == Stage.TERMINAL
    if not was_terminal:
        advance(state, parameters, taken)
    is_over = was_terminal if rules.transitions == 4 else state.stage == Stage.TERMINAL
    # Without a vote of its own a country wants what everybody lets pass.
    wanted = state.last_vote != ResolutionAction.NO
    state.is_success = is_over and state.is_decided and state.is_adopted == wanted
    outcome.outcome = 0.0
    # Only sponsors stake something on the outcome.
    if is_over and state.is_sponsor and state.is_decided:
        outcome.outcome = 1.0 if state.is_adopted else -1.0
    outcome.reward = (
        rules.outcome_weight * outcome.outcome + rules.preference_weight * outcome.preference
    )
    outcome.terminated = is_over
    outcome.truncated = not is_over and state.time >= rules.time_limit
    state.ended = outcome.terminated or outcome.truncated
    report(state, rules, outcome)


@kernel
def report(state: Row, rules: Row, outcome: Row) -> None:
    """What the info says of a state."""
    outcome.is_success = state.is_success
    outcome.invalid_action = state.is_invalid
    outcome.adopted = state.is_adopted and state.stage == Stage.TERMINAL
    outcome.draft = state.draft
    for action in range(NUM_ACTIONS):
        outcome.action_mask[action] = 1 if is_valid(state, rules, action) else 0


@kernel
def observe(state: Row, parameters: Array, out: Array, row: int) -> None:
    """The columns of `codes.OBSERVATION`."""
    for stage in range(NUM_STAGES):
        out[row, ResolutionColumn.STAGE_DRAFT + stage] = 1.0 if state.stage == stage else 0.0
    out[row, ResolutionColumn.TOPIC] = parameters[state.draft].topic
    out[row, ResolutionColumn.NUM_SPONSORS] = state.num_sponsors
    out[row, ResolutionColumn.IS_SPONSOR] = 1.0 if state.is_sponsor else 0.0
    out[row, ResolutionColumn.COMMITTEE_YES] = state.committee_yes
    out[row, ResolutionColumn.COMMITTEE_NO] = state.committee_no
    out[row, ResolutionColumn.COMMITTEE_ABSTAIN] = state.committee_abstain
    out[row, ResolutionColumn.PLENARY_YES] = state.plenary_yes
    out[row, ResolutionColumn.PLENARY_NO] = state.plenary_no
    out[row, ResolutionColumn.PLENARY_ABSTAIN] = state.plenary_abstain
    out[row, ResolutionColumn.T] = state.time


# All rows


@kernel
def reset_rows(states: Array, parameters: Array, mask: Array) -> None:
    """Start the masked rows anew."""
    for row in range(len(states)):
        if mask[row]:
            reset(states[row], parameters)


@kernel
def observe_rows(states: Array, parameters: Array, observations: Array) -> None:
    """Observations of all rows."""
    for row in range(len(states)):
        observe(states[row], parameters, observations, row)


@kernel
def report_rows(states: Array, parameters: Array, outcomes: Array, mask: Array) -> None:
    """What the masked rows report after a reset: the action mask and the document."""
    for row in range(len(states)):
        if mask[row]:
            report(states[row], parameters[0], outcomes[row])


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
    for row in range(len(states)):
        state, outcome = states[row], outcomes[row]
        if not state.ended:
            step(state, parameters, actions[row], outcome)
        else:
            outcome.reward = 0.0
            outcome.outcome = 0.0
            outcome.preference = 0.0
            if is_autoreset:
                reset(state, parameters)
                outcome.terminated = False
                outcome.truncated = False
                report(state, parameters[0], outcome)
        observe(state, parameters, observations, row)
