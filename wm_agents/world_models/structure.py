"""Exact rules of token worlds: for the next value of each feature, for rewards and terminations.

For a feature: which one feature, read through which table, gives its next value. For rewards and
terminations: a constant, a table of one token, or reaching a goal.

A world of tokens often moves by copying: after an action, feature i is what feature j was, or is
shifted, negated or looked up. Such a rule is recognised from a few dozen steps, since a false one
is refuted at the first step that differs, and it then holds for states that were never seen. A rule
is accepted only if no recorded step contradicts it.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Tokens = NDArray[np.int64]

UNKNOWN = -1
# Fewer rows than this prove nothing, whatever the statistics say.
_MIN_ROWS = 4
# Rewards with more different values are no categories.
_MAX_OUTCOMES = 32


@dataclass(frozen=True)
class TokenRules:
    """For each action and feature the source feature, and the table from its token to the next.

    Attributes:
        sources: [A, F] feature numbers; UNKNOWN where no rule was found.
        tables: [A, F, K] next tokens; UNKNOWN for tokens that no recorded step shows.
    """

    sources: Tokens
    tables: Tokens

    @classmethod
    def unknown(cls, num_actions: int, num_features: int, max_values: int) -> "TokenRules":
        """No rule for anything."""
        shape = (num_actions, num_features)
        return cls(np.full(shape, UNKNOWN), np.full((*shape, max_values), UNKNOWN))

    @property
    def unresolved(self) -> list[int]:
        """Features that have no rule under some action."""
        return np.flatnonzero((self.sources == UNKNOWN).any(0)).tolist()

    @property
    def copied(self) -> NDArray[np.bool_]:
        """Whether each feature [F] keeps its value under every action."""
        num_actions, num_features = self.sources.shape
        identity = np.arange(self.tables.shape[2])
        keeps = [
            (self.sources[:, f] == f).all()
            and all(
                ((t := self.tables[a, f]) == identity)[t != UNKNOWN].all()
                for a in range(num_actions)
            )
            for f in range(num_features)
        ]
        # A value that was never seen under an action has an unknown entry, which contradicts
        # nothing.
        return np.array(keeps)


def learn_rules(
    before: Tokens, after: Tokens, actions: Tokens, num_actions: int, num_values: Tokens
) -> TokenRules:
    """Find a rule for every action and feature.

    Args:
        before: Tokens [S, F] at each step.
        after: Tokens [S, F] that the step led to.
        actions: [S], 0 .. num_actions - 1.
        num_actions: A.
        num_values: Number of tokens [F] of each feature.
    """
    num_features, max_values = before.shape[1], int(num_values.max())
    sources = np.full((num_actions, num_features), UNKNOWN)
    tables = np.full((num_actions, num_features, max_values), UNKNOWN)
    for feature in range(num_features):
        # One rule for all actions has more rows behind it than one for each.
        shared = find_rule(before, after[:, feature], feature, num_values)
        for action in range(num_actions):
            rows = actions == action
            # Only for features that the actions move differently.
            rule = shared or find_rule(before[rows], after[rows, feature], feature, num_values)
            if rule is not None:
                sources[action, feature], tables[action, feature, : len(rule[1])] = rule
    return TokenRules(sources, tables)


def find_rule(
    before: Tokens, target: Tokens, feature: int, num_values: Tokens
) -> tuple[int, Tokens] | None:
    """The simplest rule that no row contradicts: (source, table), or None.

    In order: keep the value, shift it modulo the number of tokens, a constant, a copy of another
    feature, another one shifted, a table.
    """
    return next(_rules(before, target, feature, num_values), None)


def _rules(
    before: Tokens, target: Tokens, feature: int, num_values: Tokens
) -> Iterator[tuple[int, Tokens]]:
    size = int(num_values[feature])
    identity = np.arange(size)
    # Only tokens of equal range can be copied or shifted from each other.
    alike = np.flatnonzero(num_values == size)
    alike = alike[
        np.argsort(np.abs(alike - feature), kind="stable")
    ]  # the feature itself first, then its neighbours
    if len(target) < _MIN_ROWS:
        return
    num_rules = 2 * len(alike) + 1
    # [S, sources]: by how much each candidate would have to be shifted in every step.
    shifts = (target[:, None] - before[:, alike]) % size
    is_shift = (shifts == shifts[:1]).all(0)
    is_equal = is_shift & (shifts[:1] == 0).all(0)
    # Rules without a free choice of the source are believed after fewer rows.
    if len(target) >= _min_rows(size, num_rules):
        if is_equal[0]:
            yield feature, identity
        if is_shift[0]:
            yield feature, (identity + shifts[0, 0]) % size
        if (target == target[0]).all():
            yield feature, np.full(size, target[0])
    # A source was chosen among many: a target of few values would be matched by one of them by
    # chance.
    if len(target) >= _min_rows(_diversity(target), num_rules):
        yield from ((int(source), identity) for source in alike[is_equal])
        for source, shift in zip(alike[is_shift], shifts[0, is_shift], strict=True):
            yield int(source), (identity + shift) % size
    table = find_table(before, target, num_values)
    if table is not None:
        yield table


def _min_rows(num_values: float, num_rules: int) -> float:
    """Steps after which one of so many false rules survives by chance less than once in a hundred.

    A false rule agrees with a step about once in `num_values`.
    """
    # Of n false rules one survives N rows with probability n / K^N; below 1/100 for this N.
    return max(_MIN_ROWS, float(np.log(100 * num_rules) / np.log(max(num_values, 1 + 1e-9))))


def _diversity(tokens: Tokens) -> float:
    """How many equally frequent values would coincide as often as these do.

    1 for a constant (inverse Simpson).
    """
    shares = np.bincount(tokens) / max(len(tokens), 1)
    # The inverse Simpson index: equal shares give the number of values, one value gives 1.
    return float(1 / max(np.square(shares).sum(), 1e-9))


def find_table(before: Tokens, target: Tokens, num_values: Tokens) -> tuple[int, Tokens] | None:
    """The source and table that no row contradicts and most rows confirm, or None.

    Unseen tokens are UNKNOWN.

    A row confirms an entry that another row has already shown: an entry seen once proves nothing.
    """
    found = []
    min_rows = _min_rows(_diversity(target), before.shape[1])
    for source in range(before.shape[1]):
        table = np.full(int(num_values[source]), UNKNOWN)
        # The last row of each token decides; the comparison below finds where rows contradict it.
        table[before[:, source]] = target
        # A row that sets an entry confirms nothing, every further one does.
        confirmations = len(target) - int((table != UNKNOWN).sum())
        if confirmations >= min_rows and (table[before[:, source]] == target).all():
            found.append((-confirmations, source, table))
    # Most confirmations first, then the first source: equal rules give equal results on every
    # machine.
    return min(found, key=lambda item: item[:2])[1:] if found else None


def find_goal(
    before: Tokens, after: Tokens, is_rewarded: NDArray[np.bool_], copied: NDArray[np.bool_]
) -> list[int] | None:
    """The offset d for which feature i reaches feature i + d in exactly the rewarded steps.

    That is said of every changing feature i and the constant feature at its offset.

    Tasks whose goal changes from episode to episode show the goal in the observation, laid out like
    the state. Without any rewarded step every offset that was never met is consistent: it is a
    hypothesis that acting on it will test.

    Returns:
        The goal feature of each changing feature, or None.
    """
    changing, constant = np.flatnonzero(~copied), np.flatnonzero(copied)
    if not len(changing):
        return None
    # Nearest offsets first: goals lie beside what they are for.
    for offset in sorted({int(c - changing[0]) for c in constant}, key=abs):
        goals = changing + offset
        # Exactly the rewarded steps: one exception and it is no goal.
        if np.isin(goals, constant).all() and np.array_equal(
            (after[:, changing] == before[:, goals]).all(1), is_rewarded
        ):
            return goals.tolist()
    return None


@dataclass(frozen=True)
class TokenSteps:
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
            "goal" (rewarded when the changing features equal the goal's).
        values: Constant: one value. Table: [A, K] in rows. Goal: unrewarded, rewarded.
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
            is_rewarded = (after[:, self.sources[:half]] == before[:, self.sources[half:]]).all(1)
            unrewarded, rewarded = torch.tensor(self.values, device=before.device)
            return torch.where(is_rewarded, rewarded, unrewarded)
        # Places beyond the features mean tokens after the step.
        num_features, (source,) = before.shape[1], self.sources
        tokens = before[:, source] if source < num_features else after[:, source - num_features]
        table = torch.tensor(self.values, device=before.device).view(num_actions, -1)
        return table[indices, tokens.clamp_max(table.shape[1] - 1)]


def find_outcome(
    values: NDArray[np.float64] | NDArray[np.bool_],
    steps: TokenSteps,
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
    # Only one value so far may be a goal that nobody has reached; an optimist tries for it.
    if is_goal_tried and (len(seen) == 2 or (len(seen) == 1 and is_optimistic)):
        goals = find_goal(steps.before, steps.after, categories == 1, steps.copied)
        if goals is not None:
            # The only reward so far is the only unit there is; 1 where it is 0.
            rewarded = (
                float(seen[1]) if len(seen) == 2 else float(seen[0]) + (abs(float(seen[0])) or 1.0)
            )
            return Outcome(
                "goal",
                (float(seen[0]), rewarded),
                (*np.flatnonzero(~steps.copied).tolist(), *goals),
            )
    if len(seen) == 1:
        return Outcome("constant", (float(seen[0]),))
    # Rewards of many values are measured and not counted: a table would only repeat the data.
    return _find_table(seen, categories, steps) if len(seen) <= _MAX_OUTCOMES else None


def _find_table(
    values: NDArray[np.float64], categories: Tokens, steps: TokenSteps
) -> Outcome | None:
    """A table of the action and one token before or after the step.

    What was never seen takes the mean value.
    """
    tokens = np.hstack([steps.before, steps.after])
    max_values = int(tokens.max()) + 1
    sizes = np.full(tokens.shape[1], max_values * steps.num_actions)
    # The action becomes a part of the token: one table for both.
    rule = find_table(tokens + max_values * steps.actions[:, None], categories, sizes)
    if rule is None:
        return None
    mean, (source, table) = float(values[categories].mean()), rule
    return Outcome(
        "table",
        # An action that was never tried in a place is expected to pay what is usual.
        tuple(float(values[entry]) if entry != UNKNOWN else mean for entry in table),
        (source,),
    )
