"""What a learner of Pong is told of the game, item by item, counted and printed beside its figures.

An item is one thing that a person wrote down because of Pong: a constant, the form of a rule, the
role of a column, the meaning of an action, or a scripted player. What is found or estimated from
recordings is none, nor is anything that serves every environment.

`none`: a model of forests finds everything, random actions explore. `roles`: the same model, but a
scripted explorer, which knows the columns, plays first, and a ball that flies to the enemy is worth
a potential. `everything`: the rules' forms, in a view that estimates most of its constants.
"""

from collections import Counter
from dataclasses import dataclass
from typing import Literal

Specified = Literal["none", "roles", "everything"]
Kind = Literal["constant", "form", "role", "action", "player"]

_ROLES = (
    "columns of the player's paddle",
    "columns of the enemy's paddle",
    "columns of the ball",
    "columns of the scores",
    "a ball at 0 is out of play",
    "four frames of each feature, the oldest first",
)
_ACTIONS = ("RIGHT pushes the paddle up", "LEFT pushes it down", "FIRE is pressed beside either")
_FORMS = (
    "a ball flies in a straight line, frame by frame",
    "a ball turns at a wall",
    "a ball leaves a paddle by the place where it was met",
    "FIRE may make a ball faster",
    "actions move a setpoint between two limits",
    "the paddle follows its setpoint, halfway in every second frame",
    "the enemy follows the ball by equal strides",
    "the enemy pauses in one frame of every eight",
    "the frames of a step may go by an earlier action",
    "a ball that arrives is folded at the walls, for the policy",
    "a ball that flies to the enemy is worth a potential",
)
# A subset of these: what the scripted explorer and the shaped reward rest on
_FORMS_OF_PLAYER = (_FORMS[0], _FORMS[1], _FORMS[3], _FORMS[-1])
_CONSTANTS = (
    "the line on which the player meets a ball",
    "the line on which the enemy meets a ball",
    "left edge, width and height of the player's paddle",
    "left edge, width and height of the enemy's paddle",
    "width and height of the ball",
    "frames of a step",
)
_PLAYERS = ("an explorer that follows the ball and presses FIRE near the paddle",)


@dataclass(frozen=True)
class SpecifiedKnowledge:
    """What is told at one level.

    Attributes:
        level: Its name.
        items: Kind and words of each item.
    """

    level: Specified
    items: tuple[tuple[Kind, str], ...]

    @property
    def count(self) -> int:
        """How many items."""
        return len(self.items)

    def by_kind(self) -> dict[str, int]:
        """How many items of each kind."""
        return dict(Counter(kind for kind, _ in self.items))

    def summary(self) -> dict[str, float]:
        """Flat figures for a summary.json."""
        figures = {"specified_count": float(self.count)}
        for kind in ("constant", "form", "role", "action", "player"):
            figures[f"specified_{kind}_count"] = float(self.by_kind().get(kind, 0))
        return figures

    def __str__(self) -> str:
        """One item a line."""
        lines = [f"specified, {self.level}: {self.count} items"]
        lines += [f"  {kind}: {words}" for kind, words in self.items]
        return "\n".join(lines)


def specified_knowledge(level: Specified) -> SpecifiedKnowledge:
    """The items of a level."""
    if level == "none":
        return SpecifiedKnowledge(level, ())
    kinds: list[tuple[Kind, tuple[str, ...]]] = [("role", _ROLES), ("player", _PLAYERS)]
    if level == "roles":
        # The explorer presses actions whose meaning it knows, and reads an arriving ball's height.
        kinds += [("action", _ACTIONS), ("form", _FORMS_OF_PLAYER)]
    else:
        kinds += [("action", _ACTIONS), ("form", _FORMS), ("constant", _CONSTANTS)]
    items = []
    for kind, words in kinds:
        items += [(kind, item) for item in words]
    return SpecifiedKnowledge(level, tuple(items))
