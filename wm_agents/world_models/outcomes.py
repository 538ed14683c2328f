"""Exact rules for rewards and terminations of token worlds.

A constant, a table of one token, or reaching a goal.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from wm_agents.world_models.structure import UNKNOWN, Tokens, find_goal, find_table

_MOST_OUTCOMES = 32  # rewards with more different values are no categories


@dataclass(frozen=True)
class Steps:
    """Recorded steps in tokens.

    Attributes:
        before: [S, F].
        after: [S, F].
        actions: [S].
        num_actions: A.
        copied: Whether each feature [F] keeps its value under every action.
    """

    before: Tokens
    after: Tokens
    actions: Tokens
    num_actions: int
    copied: NDArray[np.bool_]


@dataclass(frozen=True)
class Outcome:
    """An exact rule for the reward or the termination.

    Attributes:
        kind: "constant", "table" (of one token before or after the step, given the action) or
            "goal" (paid when the changing features equal the goal's).
        values: Constant: one value. Table: [A, K] in rows. Goal: unpaid, paid.
        sources: Table: the number of the feature before, or F + that of the feature after. Goal:
            the changing features, then as many goal features.
    """

    kind: str
    values: tuple[float, ...]
    sources: tuple[int, ...] = ()

    def read(self, before: Tensor, after: Tensor, indices: Tensor, num_actions: int) -> Tensor:
        """The outcomes [B] of steps between tokens [B, F] with actions [B]."""
        if self.kind == "constant":
            return torch.full((len(before),), self.values[0], device=before.device)
        if self.kind == "goal":
            half = len(self.sources) // 2
            is_paid = (after[:, self.sources[:half]] == before[:, self.sources[half:]]).all(1)
            unpaid, paid = torch.tensor(self.values, device=before.device)
            return torch.where(is_paid, paid, unpaid)
        num_features, (source,) = before.shape[1], self.sources
        tokens = before[:, source] if source < num_features else after[:, source - num_features]
        table = torch.tensor(self.values, device=before.device).view(num_actions, -1)
        return table[indices, tokens.clamp_max(table.shape[1] - 1)]


def find_outcome(
    values: NDArray[np.float64] | NDArray[np.bool_],
    steps: Steps,
    is_goal_tried: bool,
    is_optimistic: bool,
) -> Outcome | None:
    """The simplest exact rule for rewards or terminations [S], or None.

    Args:
        values: The recorded outcomes.
        steps: What led to them.
        is_goal_tried: Look for a goal that the observation shows.
        is_optimistic: While all values are equal, expect more by their own size, or by 1 where they
            are 0, for reaching such a goal.
    """
    seen, categories = np.unique(values.astype(np.float64), return_inverse=True)
    if is_goal_tried and (len(seen) == 2 or (len(seen) == 1 and is_optimistic)):
        goals = find_goal(steps.before, steps.after, categories == 1, steps.copied)
        if goals is not None:
            # The only reward so far is the only unit there is; 1 where it is 0.
            paid = (
                float(seen[1]) if len(seen) == 2 else float(seen[0]) + (abs(float(seen[0])) or 1.0)
            )
            return Outcome(
                "goal", (float(seen[0]), paid), (*np.flatnonzero(~steps.copied).tolist(), *goals)
            )
    if len(seen) == 1:
        return Outcome("constant", (float(seen[0]),))
    return _find_table(seen, categories, steps) if len(seen) <= _MOST_OUTCOMES else None


def _find_table(values: NDArray[np.float64], categories: Tokens, steps: Steps) -> Outcome | None:
    """A table of the action and one token before or after the step.

    What was never seen takes the mean value.
    """
    tokens = np.hstack([steps.before, steps.after])
    most_values = int(tokens.max()) + 1
    sizes = np.full(tokens.shape[1], most_values * steps.num_actions)
    rule = find_table(tokens + most_values * steps.actions[:, None], categories, sizes)
    if rule is None:
        return None
    mean, (source, table) = float(values[categories].mean()), rule
    return Outcome(
        "table",
        tuple(float(values[entry]) if entry != UNKNOWN else mean for entry in table),
        (source,),
    )
