"""What a `TokenModel` knows exactly, as the text of a rule program."""

import keyword
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wm_agents.errors import ConfigError
from wm_agents.world_models.lattice import Feature
from wm_agents.world_models.program_text import FUNCTIONS, RESERVED
from wm_agents.world_models.structure import UNKNOWN, Outcome, TokenRules

_WIDTH = 96  # of a line
_MANY = 6  # different values that are written as a set rather than as a table


@dataclass
class Writer:
    """Writes rules line by line; tables are declared as they are needed.

    Attributes:
        features: Of the model.
        names: How the program calls each, such as "place[3]".
        lows: What the program reads where a feature's token is 0.
        families: Name, first feature and number of features of each family.
        first_action: The value of the action whose index is 0; None where actions have no number.
        tables: Declarations so far, by their numbers.
    """

    features: tuple[Feature, ...]
    names: list[str]
    lows: list[int]
    families: list[tuple[str, int, int]]
    first_action: int | None
    tables: dict[tuple[Any, ...], str]

    @classmethod
    def of(
        cls,
        features: tuple[Feature, ...],
        column_names: Sequence[str] | None,
        first_action: int | None,
    ) -> "Writer":
        """For features whose O columns have these names; None numbers them."""
        num_columns = sum(len(feature.columns) for feature in features)
        if column_names is not None and len(column_names) != num_columns:
            raise ConfigError(f"{len(column_names)} names for {num_columns} columns: give each one")
        named = [
            "f" if column_names is None else _stem([column_names[c] for c in feature.columns])
            for feature in features
        ]
        # Names of the columns where they are known: a reader thinks in them.
        families = _families(features, named, is_numbered=column_names is None)
        names = []
        for name, _, size in families:
            names += [name] if size == 1 else [f"{name}[{place}]" for place in range(size)]
        return cls(
            features, names, [_low(feature) for feature in features], families, first_action, {}
        )

    def text(self, rules: TokenRules, reward: Outcome | None, termination: Outcome | None) -> str:
        """The whole program of a token model."""
        return self.program(
            [
                *self._dynamics(rules),
                *self._outcome("reward", reward, len(rules.sources)),
                *self._outcome("terminated", termination, len(rules.sources)),
            ]
        )

    def program(self, lines: Sequence[str]) -> str:
        """Statements below the declarations of what they read."""
        header = [self._declaration(*family) for family in self.families]
        header += [
            f"table {name}: {' '.join(_written(number) for number in numbers)}"
            for numbers, name in self.tables.items()
        ]
        return "\n".join([*header, "", *lines]) + "\n"

    # --- declarations

    def _declaration(self, name: str, first: int, size: int) -> str:
        feature, low = self.features[first], self.lows[first]
        many = f"[{size}]" if size > 1 else ""
        if feature.is_one_hot:
            values = f"one of {feature.num_values}"
        else:
            values = f"{low}..{low + feature.num_values - 1}"
        line = f"feature {name}{many}: {values} at column {feature.columns[0]}"
        if not feature.is_one_hot and not _is_whole(feature):
            line += f", step {feature.quantum!r} from {feature.origin!r}"
        return line

    def _table(self, numbers: Sequence[float]) -> str:
        key = tuple(numbers)
        # Equal tables are written once.
        return self.tables.setdefault(key, f"t{len(self.tables)}")

    # --- what features become

    def _dynamics(self, rules: TokenRules) -> list[str]:
        """Assignments that all actions share, then those of each set of actions."""
        by_action = [self._assignments(rules, action) for action in range(len(rules.sources))]
        # What all actions share stands above the branches.
        shared = {
            target: value
            for target, value in by_action[0].items()
            if all(own.get(target) == value for own in by_action)
        }
        lines = self._lines(shared, "")
        # Actions that do the same share one branch.
        groups: dict[tuple[tuple[int, str], ...], list[int]] = {}
        for action, own in enumerate(by_action):
            rest = tuple((target, value) for target, value in own.items() if target not in shared)
            groups.setdefault(rest, []).append(action)
        for rest, actions in groups.items():
            if rest:
                lines.append(f"if {self.is_action(actions)}:")
                lines += self._lines(dict(rest), "    ")
        return lines

    def is_action(self, actions: list[int]) -> str:
        """The condition that the action is one of these, counted from 0."""
        numbers = [str(action + (self.first_action or 0)) for action in actions]
        return (
            f"action == {numbers[0]}"
            if len(numbers) == 1
            else f"action in {{{', '.join(numbers)}}}"
        )

    def _assignments(self, rules: TokenRules, action: int) -> dict[int, str]:
        """What each feature that does not just stay becomes, as text."""
        found = {}
        for target in range(len(self.features)):
            source = int(rules.sources[action, target])
            if source == UNKNOWN:
                found[target] = "unknown"
                continue
            size = self.features[source].num_values
            value = self._value(target, source, rules.tables[action, target, :size])
            if value is not None:
                found[target] = value
        return found

    def _value(self, target: int, source: int, table: NDArray[np.int64]) -> str | None:
        """The next value of a feature; None where it stays."""
        low, size = self.lows[target], self.features[target].num_values
        is_known = table != UNKNOWN
        own = np.arange(len(table))
        # A program says nothing about what stays, so that it is as long as what happens.
        if source == target:  # what was never seen stays
            table, is_known = np.where(is_known, table, own), np.ones_like(is_known)
            if (table == own).all():
                return None
        if not is_known.all():
            return self._partial(target, source, table, is_known)
        read = self._token(source)
        if (table == table[0]).all():
            return str(int(table[0]) + low)
        # A shift around the range is arithmetic; only what has no such form becomes a table.
        shift = int(table[0])
        if len(table) == size and ((own + shift) % size == table).all():
            moved = read if shift == 0 else f"({read} + {shift}) % {size}"
            if size == 2 and shift == 1:
                moved = f"1 - ({read})" if self.lows[source] else f"1 - {read}"
            return _plus(moved, low)
        return f"{self._table([int(token) + low for token in table])}[{read}]"

    def _partial(
        self, target: int, source: int, table: NDArray[np.int64], is_known: NDArray[np.bool_]
    ) -> str:
        """A table of another feature with entries that were never seen: there the target stays."""
        numbers = np.where(is_known, table, 0) + self.lows[target]
        looked_up = f"{self._table([int(number) for number in numbers])}[{self._token(source)}]"
        members = ", ".join(str(int(t) + self.lows[source]) for t in np.flatnonzero(is_known))
        return f"{looked_up} if {self.names[source]} in {{{members}}} else {self.names[target]}"

    def _token(self, feature: int, when: str = "") -> str:
        """A feature counted from 0."""
        return _plus(f"{when}{self.names[feature]}", -self.lows[feature])

    def _lines(self, values: dict[int, str], indent: str) -> list[str]:
        """One line for the targets of one family, more where it would be too long."""
        lines = []
        for _, first, size in self.families:
            targets = [target for target in range(first, first + size) if target in values]
            while targets:
                # As many targets in a line as fit.
                taken = 1
                while taken < len(targets) and self._fits(targets[: taken + 1], values, indent):
                    taken += 1
                lines.append(indent + self._assignment(targets[:taken], values))
                targets = targets[taken:]
        return lines

    def _fits(self, targets: list[int], values: dict[int, str], indent: str) -> bool:
        return len(indent + self._assignment(targets, values)) <= _WIDTH

    def _assignment(self, targets: list[int], values: dict[int, str]) -> str:
        different = {values[target] for target in targets}
        right = ", ".join(values[target] for target in targets)
        if len(different) == 1:  # a single value serves all targets
            (right,) = different
        return f"{self.listed(targets)} = {right}"

    def listed(self, features: Sequence[int], when: str = "") -> str:
        """Features as a family, a slice of one, or one after the other."""
        for name, first, size in self.families:
            if list(features) == list(range(first, first + size)):
                return f"{when}{name}"
            start, stop = features[0] - first, features[-1] + 1 - first
            is_run = list(features) == list(range(features[0], features[-1] + 1))
            if is_run and 0 <= start < stop <= size and len(features) > 1:
                return f"{when}{name}[{start}:{stop}]"
        return ", ".join(f"{when}{self.names[feature]}" for feature in features)

    # --- rewards and terminations

    def _outcome(self, name: str, outcome: Outcome | None, num_actions: int) -> list[str]:
        if outcome is None:
            return [f"{name} = unknown"]
        if outcome.kind == "constant":
            value = outcome.values[0]
            # 0 is what a program without the line gives, too.
            return [f"{name} = {_written(value)}"] if value else []
        if outcome.kind == "goal":
            return [f"{name} = {self._goal(outcome)}"]
        return self._outcome_table(name, outcome, num_actions)

    def _goal(self, outcome: Outcome) -> str:
        half = len(outcome.sources) // 2
        changing, goals = list(outcome.sources[:half]), list(outcome.sources[half:])
        unrewarded, rewarded = (_written(value) for value in outcome.values)
        # Families can be compared as a whole where both count from the same number.
        if all(self.lows[a] == self.lows[b] for a, b in zip(changing, goals, strict=True)):
            left, right = self.listed(changing, "after."), self.listed(goals)
            left, right = (f"({side})" if ", " in side else side for side in (left, right))
            return f"{rewarded} if all({left} == {right}) else {unrewarded}"
        pairs = [
            f"{self._token(a, 'after.')} == {self._token(b)}"
            for a, b in zip(changing, goals, strict=True)
        ]
        return f"{rewarded} if {' and '.join(pairs)} else {unrewarded}"

    def _outcome_table(self, name: str, outcome: Outcome, num_actions: int) -> list[str]:
        """A value for each token of one feature, before or after the step, given the action."""
        (source,) = outcome.sources
        is_after = source >= len(self.features)
        source -= len(self.features) * is_after
        table = np.array(outcome.values).reshape(num_actions, -1)
        table = table[:, : self.features[source].num_values]
        rows: dict[tuple[float, ...], list[int]] = {}
        for action, row in enumerate(table):
            rows.setdefault(tuple(row.tolist()), []).append(action)
        lines = []
        for entries, actions in rows.items():
            value = self._outcome_value(entries, source, "after." if is_after else "")
            if len(rows) == 1:
                lines.append(f"{name} = {value}")
            # Zero needs no branch.
            elif value != "0":
                lines += [f"if {self.is_action(actions)}:", f"    {name} = {value}"]
        return lines

    def _outcome_value(self, row: tuple[float, ...], source: int, when: str) -> str:
        values, counts = np.unique(row, return_counts=True)
        if len(values) == 1:
            return _written(row[0])
        rare, common = values[np.argmin(counts)], values[np.argmax(counts)]
        # A few exceptions read better as a set than as a table.
        if len(values) == 2 and counts.min() <= _MANY and rare != common:
            places = np.flatnonzero(np.array(row) == rare) + self.lows[source]
            members = ", ".join(str(int(place)) for place in places)
            return (
                f"{_written(rare)} if {when}{self.names[source]} in {{{members}}} "
                f"else {_written(common)}"
            )
        return f"{self._table(row)}[{self._token(source, when)}]"


def _families(
    features: tuple[Feature, ...], named: list[str], is_numbered: bool
) -> list[tuple[str, int, int]]:
    """Neighbours of one shape whose names differ in a running number only, as one family."""
    families: list[tuple[str, int, int]] = []
    taken: set[str] = {*RESERVED, *FUNCTIONS}
    first = 0
    while first < len(features):
        last = first + 1
        while last < len(features) and _follows(features, named, first, last, is_numbered):
            last += 1
        pattern = _pattern(named[first]) if last > first + 1 else named[first]
        # Names that Python or the grammar uses would not parse.
        name = _identifier(pattern, taken)
        taken.add(name)
        families.append((name, first, last - first))
        first = last
    return families


def _follows(
    features: tuple[Feature, ...], named: list[str], first: int, last: int, is_numbered: bool
) -> bool:
    """Whether a feature is the next member of the family that began at `first`."""
    a, b, place = features[first], features[last], last - first
    width = len(a.columns)
    is_alike = (a.num_values, a.origin, a.quantum) == (b.num_values, b.origin, b.quantum)
    columns = tuple(range(a.columns[0] + place * width, a.columns[0] + (place + 1) * width))
    if not is_alike or b.columns != columns:
        return False
    return is_numbered or (
        _pattern(named[first]) == _pattern(named[last])
        and _running(named[first]) == 0
        and _running(named[last]) == place
    )


def _stem(names: list[str]) -> str:
    """What the names of a feature's columns have in common."""
    prefix = names[0]
    for name in names[1:]:
        while not name.startswith(prefix):
            prefix = prefix[:-1]
    if len(names) > 1:
        prefix = re.sub(r"(_(token|value|is))?[^A-Za-z0-9]*$", "", prefix)
    return prefix or names[0]


def _running(name: str) -> int:
    """The last number in a name; -1 without one."""
    numbers = re.findall(r"\d+", name)
    return int(numbers[-1]) if numbers else -1


def _pattern(name: str) -> str:
    """A name without its last number."""
    return re.sub(r"[_ \[]*\d+[\]]?(?!.*\d)", "", name)


def _identifier(name: str, taken: set[str]) -> str:
    word = re.sub(r"\W+", "_", name.strip().lower(), flags=re.ASCII).strip("_") or "f"
    word = f"f_{word}" if word[0].isdigit() or keyword.iskeyword(word) else word
    number, unique = 2, word
    while unique in taken or re.fullmatch(r"t\d+", unique):
        unique, number = f"{word}_{number}", number + 1
    return unique


def _is_whole(feature: Feature) -> bool:
    return feature.quantum == 1 and float(feature.origin).is_integer()


def _low(feature: Feature) -> int:
    """What the program reads where a number's token is 0: the number itself where it is whole."""
    return int(feature.origin) if not feature.is_one_hot and _is_whole(feature) else 0


def _plus(text: str, number: int) -> str:
    if number == 0:
        return text
    return f"{text} {'+' if number > 0 else '-'} {abs(number)}"


def _written(number: float) -> str:
    """A number without a needless point."""
    return str(int(number)) if float(number).is_integer() else repr(float(number))
