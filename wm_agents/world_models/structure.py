"""Exact rules in tokens: which one feature, read through which table, gives the next value of each feature.

A world of tokens often moves by copying: after an action, feature i is what feature j was, or is
shifted, negated or looked up. Such a rule is recognised from a few dozen steps, since a false one
is refuted at the first step that differs, and it then holds for states that were never seen. A rule
is accepted only if no recorded step contradicts it.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Tokens = NDArray[np.int64]

UNKNOWN = -1
_FEWEST_ROWS = 4


@dataclass(frozen=True)
class Rules:
    """For each action and feature the source feature and the table that maps its token to the next one.

    Attributes:
        sources: [A, F] feature numbers; UNKNOWN where no rule was found.
        tables: [A, F, K] next tokens; UNKNOWN for tokens that no recorded step shows.
    """

    sources: Tokens
    tables: Tokens

    @classmethod
    def unknown(cls, num_actions: int, num_features: int, most_values: int) -> "Rules":
        """No rule for anything."""
        shape = (num_actions, num_features)
        return cls(np.full(shape, UNKNOWN), np.full((*shape, most_values), UNKNOWN))

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
        return np.array(keeps)


def learn_rules(
    before: Tokens, after: Tokens, actions: Tokens, num_actions: int, num_values: Tokens
) -> Rules:
    """Find a rule for every action and feature.

    Args:
        before: Tokens [S, F] at each step.
        after: Tokens [S, F] that the step led to.
        actions: [S], 0 .. num_actions - 1.
        num_actions: A.
        num_values: Number of tokens [F] of each feature.
    """
    num_features, most_values = before.shape[1], int(num_values.max())
    sources = np.full((num_actions, num_features), UNKNOWN)
    tables = np.full((num_actions, num_features, most_values), UNKNOWN)
    for feature in range(num_features):
        shared = find_rule(before, after[:, feature], feature, num_values)
        for action in range(num_actions):
            rows = actions == action
            rule = shared or find_rule(before[rows], after[rows, feature], feature, num_values)
            if rule is not None:
                sources[action, feature], tables[action, feature, : len(rule[1])] = rule
    return Rules(sources, tables)


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
    alike = np.flatnonzero(num_values == size)
    alike = alike[
        np.argsort(np.abs(alike - feature), kind="stable")
    ]  # the feature itself first, then its neighbours
    if len(target) < _FEWEST_ROWS:
        return
    num_rules = 2 * len(alike) + 1
    shifts = (target[:, None] - before[:, alike]) % size
    is_shift = (shifts == shifts[:1]).all(0)
    is_equal = is_shift & (shifts[:1] == 0).all(0)
    if len(target) >= _fewest_rows(size, num_rules):
        if is_equal[0]:
            yield feature, identity
        if is_shift[0]:
            yield feature, (identity + shifts[0, 0]) % size
        if (target == target[0]).all():
            yield feature, np.full(size, target[0])
    if len(target) >= _fewest_rows(_diversity(target), num_rules):
        yield from ((int(source), identity) for source in alike[is_equal])
        for source, shift in zip(alike[is_shift], shifts[0, is_shift], strict=True):
            yield int(source), (identity + shift) % size
    table = find_table(before, target, num_values)
    if table is not None:
        yield table


def _fewest_rows(num_values: float, num_rules: int) -> float:
    """Steps after which one of so many false rules survives by chance less than once in a hundred.

    A false rule agrees with a step about once in `num_values`.
    """
    return max(_FEWEST_ROWS, float(np.log(100 * num_rules) / np.log(max(num_values, 1 + 1e-9))))


def _diversity(tokens: Tokens) -> float:
    """How many equally frequent values would coincide as often as these do.

    1 for a constant (inverse Simpson).
    """
    shares = np.bincount(tokens) / max(len(tokens), 1)
    return float(1 / max(np.square(shares).sum(), 1e-9))


def find_table(before: Tokens, target: Tokens, num_values: Tokens) -> tuple[int, Tokens] | None:
    """The source and table that no row contradicts and most rows confirm, or None; unseen tokens are UNKNOWN.

    A row confirms an entry that another row has already shown: an entry seen once proves nothing.
    """
    found = []
    fewest = _fewest_rows(_diversity(target), before.shape[1])
    for source in range(before.shape[1]):
        table = np.full(int(num_values[source]), UNKNOWN)
        table[before[:, source]] = target
        confirmations = len(target) - int((table != UNKNOWN).sum())
        if confirmations >= fewest and (table[before[:, source]] == target).all():
            found.append((-confirmations, source, table))
    return min(found, key=lambda item: item[:2])[1:] if found else None


def find_goal(
    before: Tokens, after: Tokens, is_paid: NDArray[np.bool_], copied: NDArray[np.bool_]
) -> list[int] | None:
    """The offset d for which a step is paid exactly when every changing feature i equals the constant feature i + d.

    Tasks whose goal changes from episode to episode show the goal in the observation, laid out like
    the state. Without any paid step every offset that was never met is consistent: it is a
    hypothesis that acting on it will test.

    Returns:
        The goal feature of each changing feature, or None.
    """
    changing, constant = np.flatnonzero(~copied), np.flatnonzero(copied)
    if not len(changing):
        return None
    for offset in sorted({int(c - changing[0]) for c in constant}, key=abs):
        goals = changing + offset
        if np.isin(goals, constant).all() and np.array_equal(
            (after[:, changing] == before[:, goals]).all(1), is_paid
        ):
            return goals.tolist()
    return None
