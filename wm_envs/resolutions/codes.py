"""Codes of a resolution: stages, actions, votes, and the columns of the observation."""

from enum import IntEnum
from typing import Any

from wm_envs.rules import Field, ObservationSpec


class Stage(IntEnum):
    """Where a draft stands."""

    DRAFT = 0
    COMMITTEE_VOTE = 1
    PLENARY_VOTE = 2
    TERMINAL = 3


class ResolutionAction(IntEnum):
    """Actions of `wm/UNResolution-v0`. In a vote NO_ACTION is an absence."""

    COSPONSOR = 0
    YES = 1
    NO = 2
    ABSTAIN = 3
    NO_ACTION = 4


class Vote(IntEnum):
    """Votes in arrays of roll calls, where an abstention lies between yes and no.

    The numbers are others than those of `ResolutionAction`; `Vote.of_action` and `action` lead
    from one to the other.
    """

    ABSENT = -1
    YES = 0
    ABSTAIN = 1
    NO = 2

    @property
    def action(self) -> ResolutionAction:
        """The action that casts this vote."""
        return _ACTION_OF_VOTE[self]

    @classmethod
    def of_action(cls, action: int) -> "Vote":
        """The vote that an action casts; ABSENT for the actions that cast none."""
        return _VOTE_OF_ACTION.get(ResolutionAction(action), cls.ABSENT)


class QuestionKind(IntEnum):
    """What a roll call is about: the whole text, or what of it."""

    WHOLE = 0
    PARAGRAPH = 1
    AMENDMENT = 2
    MOTION = 3


# Two codes, since arrays of votes are ordered by agreement and the environment's actions are not.
_ACTION_OF_VOTE = {
    Vote.ABSENT: ResolutionAction.NO_ACTION,
    Vote.YES: ResolutionAction.YES,
    Vote.ABSTAIN: ResolutionAction.ABSTAIN,
    Vote.NO: ResolutionAction.NO,
}
_VOTE_OF_ACTION = {action: vote for vote, action in _ACTION_OF_VOTE.items()}

# The actions that cast a vote, in the order of TALLIES.
BALLOT_ACTIONS = (ResolutionAction.YES, ResolutionAction.NO, ResolutionAction.ABSTAIN)
TALLIES = ("yes", "no", "abstain")
# No list of countries, past members included, is longer.
MAX_COUNTRIES = 210.0

OBSERVATION = ObservationSpec(
    [
        *(
            Field(f"stage_{stage.name.lower()}", "1", 0.0, 1.0, "the stage, one-hot", "one-hot")
            for stage in Stage
        ),
        # A committee is the coarser guess, for texts without an issue; ten apart, so that both fit
        # one column.
        Field(
            "topic",
            "id",
            0.0,
            20.0,
            "issue of the text, or 10 + its main committee; 0 if unknown",
            "integer",
        ),
        Field("num_sponsors", "countries", 0.0, MAX_COUNTRIES, "sponsors so far", "integer"),
        Field("is_sponsor", "1", 0.0, 1.0, "this country sponsors", "flag"),
        *(
            Field(
                f"committee_{vote}",
                "votes",
                0.0,
                MAX_COUNTRIES,
                "committee tally, 0 before",
                "integer",
            )
            for vote in TALLIES
        ),
        *(
            Field(
                f"plenary_{vote}", "votes", 0.0, MAX_COUNTRIES, "plenary tally, 0 before", "integer"
            )
            for vote in TALLIES
        ),
        Field("t", "steps", 0.0, 4.0, "steps since the reset", "integer"),
    ]
)
ResolutionColumn: Any = OBSERVATION.columns("ResolutionColumn", module=__name__)
