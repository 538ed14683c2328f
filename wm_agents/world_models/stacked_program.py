"""What a `StackedForestModel` decides, distilled into a rule program that one can read and run.

A forest has thousands of leaves. For each part one tree is grown on what the forest decides at
recorded steps (as TREPAN does for networks, Craven and Shavlik 1996) and pruned to a few leaves by
their errors (weakest links first, Breiman et al. 1984). Its leaves are written as the branches of a
program, each with the share of held-out steps it serves and how often the forest agrees there.

A program sees one observation and no memory: what the forest reads beside that is named, and the
rules make do with what is shown.

Shape letters: B rows, A actions, D parts, F columns, M nodes, K categories.
"""

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wm_agents.errors import ConfigError
from wm_agents.world_models.forest import LEAF, Forest
from wm_agents.world_models.lattice import Feature
from wm_agents.world_models.program_writing import Writer
from wm_agents.world_models.stacked import (
    AGE,
    BLOCK,
    CHANGES,
    DELTA,
    GROUP,
    ONSET,
    SINCE_LOW,
    VALUE,
    StackedView,
)
from wm_agents.world_models.stacked_search import held_out_runs
from wm_agents.world_models.stacked_tables import (
    ABSOLUTE,
    NUM_RANKED,
    PartModel,
    RecordedParts,
    TableColumns,
    all_columns,
    decoded_values,
    part_table,
)

Array = NDArray[Any]

_MAX_STEPS = 20_000  # that are distilled
_MIN_LEAF = 5  # steps, and one in a thousand of a long recording
_WIDTH = 96  # of a comment's line

# What a slot of a part's block says, where one observation cannot show it
_MEMORY = (
    (range(DELTA, CHANGES), "earlier changes"),
    (range(CHANGES, AGE), "last moves"),
    (range(AGE, SINCE_LOW), "time since a move"),
    (range(SINCE_LOW, ONSET), "time since an end of the range"),
    (range(ONSET, GROUP), "first moves after a rest"),
    (range(GROUP, BLOCK), "group of the episode"),
)


@dataclass(frozen=True)
class _Reading:
    """A column of a table in terms of the program: a sum of features, or a property of the action.

    Attributes:
        coefficients: Of the names that are added up.
        offset: The sum less the column's value.
        by_action: The value of each action [A]; empty for a sum.
    """

    coefficients: dict[str, int] = field(default_factory=dict)
    offset: int = 0
    by_action: tuple[int, ...] = ()


@dataclass(frozen=True)
class _Rule:
    """A leaf: which values of the table's columns lead there, and the category that is decided."""

    bounds: dict[int, tuple[int | None, int | None]]
    category: int
    node: int


def forest_program(
    view: StackedView,
    parts: Sequence[PartModel],
    recorded: RecordedParts,
    reward_weights: Array,
    endings: Sequence[Sequence[int]],
    column_names: Sequence[str] | None,
    first_action: int,
    max_rules: int,
) -> str:
    """The text of a program that decides mostly as the forests do.

    Args:
        view: The structure of an observation.
        parts: In the order in which they are decided.
        recorded: Steps to distill on; every third run of them is held out.
        reward_weights: Of the changes of the parts [D].
        endings: Values of each part that end an episode.
        column_names: Of an observation; None numbers the columns.
        first_action: The action that counts as 0.
        max_rules: Of a part, at least 1.

    Raises:
        ConfigError: Another number of names than of columns, or `max_rules` below 1.
        TrajectoryError: Too few steps to hold any out.
    """
    if max_rules < 1:
        raise ConfigError(f"max_rules is at least 1, got {max_rules}")
    features = _features(view)
    writer = Writer.of(features, column_names, first_action)
    distiller = _Distiller(view, recorded, writer, max_rules)
    lines = distiller.frames()
    decided: list[int] = []
    for part in parts:
        lines += ["", *distiller.part_lines(part, decided)]
        decided.append(part.part)
    lines += ["", *distiller.outcomes(reward_weights, endings)]
    return writer.program(lines)


def _features(view: StackedView) -> tuple[Feature, ...]:
    """One feature for each column; all frames of a part have its lattice."""
    features = {column: Feature((column,), 1, value) for column, value in view.constants}
    for part, chain in enumerate(view.frames):
        for column in chain:
            features[column] = Feature(
                (column,), view.num_values[part], view.origins[part], view.quanta[part]
            )
    # Frames that are older than a state remembers are 0 in the model's observations, too.
    unknown = {column: Feature((column,), 1) for column in range(view.observation_size)}
    return tuple((unknown | features)[column] for column in range(view.observation_size))


class _Distiller:
    """Writes the rules of one part after the other."""

    def __init__(
        self, view: StackedView, recorded: RecordedParts, writer: Writer, max_rules: int
    ) -> None:
        self.view = view
        self.writer = writer
        self.max_rules = max_rules
        every_step = np.ones(len(recorded.actions), np.bool_)
        self.rows = held_out_runs(every_step, _MAX_STEPS)
        self.recorded = recorded
        self.num_actions = recorded.num_actions
        # Later parts are distilled on what the forests decide for earlier ones.
        self.decisions = recorded.values.astype(np.int32)

    # --- names

    def name(self, part: int, age: int = 0) -> str:
        """What the program calls a part's frame of some age."""
        return self.writer.names[self.view.frames[part][age]]

    def low(self, part: int) -> int:
        """What the program reads where a part's value is 0."""
        return self.writer.lows[self.view.frames[part][0]]

    # --- lines

    def frames(self) -> list[str]:
        """Older frames show what newer ones did."""
        lines = []
        for chain in self.view.frames:
            if len(chain) > 1:
                older = self.writer.listed(chain[1:])
                lines.append(f"{older} = {self.writer.listed(chain[:-1])}")
        return lines

    def part_lines(self, model: PartModel, decided: Sequence[int]) -> list[str]:
        """What is said of a part, and its rules."""
        part = model.part
        targets = model.likeliest(
            self.view, self.recorded.states, self.recorded.actions, self.decisions
        )
        columns, readings = self._visible(model, decided)
        table = part_table(
            self.view, columns, model.ranks, self.recorded.states, self.recorded.actions,
            self.decisions,
        )  # fmt: skip
        highest = self.view.num_values[part] - 1
        decoded = decoded_values(model.categories[targets], self.recorded.values[:, part])
        self.decisions[:, part] = np.clip(decoded, 0, highest)

        learned, held_out = self.rows
        rules, nodes = distilled_rules(
            table[learned], targets[learned], len(model.categories), self.max_rules,
            table[held_out],
        )  # fmt: skip
        decisions = np.zeros(len(held_out), np.int64)
        for rule in rules:
            decisions[nodes == rule.node] = rule.category
        # What happens most often needs no condition: it is what is left.
        usual = int(np.bincount(decisions).argmax())
        is_right = decisions == targets[held_out]
        always = np.bincount(targets[held_out]).max() / len(held_out)
        lines = self._comment(
            f"{self.name(part)} reads {self._sentence(model)}. These rules decide as the forest in "
            f"{_percent(is_right.mean())} of held-out steps; the commonest outcome alone "
            f"would in {_percent(always)}."
        )
        shown = [rule for rule in rules if rule.category != usual]
        # The rules that serve most steps come first; no two serve the same.
        shown.sort(key=lambda rule: -int((nodes == rule.node).sum()))
        for number, rule in enumerate(shown):
            serves = nodes == rule.node
            word = "elif" if number else "if"
            lines += self._comment(_served(serves, is_right))
            condition = " and ".join(self._conditions(rule, readings, model)) or "1"
            lines += [
                f"{word} {condition}:",
                f"    {self._assignment(part, int(model.categories[rule.category]))}",
            ]
        return [
            *lines,
            *self._rest(part, int(model.categories[usual]), decisions == usual, is_right),
        ]

    def _rest(
        self, part: int, category: int, serves: NDArray[np.bool_], is_right: NDArray[np.bool_]
    ) -> list[str]:
        """What is left when no rule holds; what stays as it is needs no line."""
        served = _served(serves, is_right)
        if category == 0:
            return self._comment(f"Otherwise it stays: {served}")
        if serves.all():
            return [self._assignment(part, category)]
        return [*self._comment(served), "else:", f"    {self._assignment(part, category)}"]

    def outcomes(self, reward_weights: Array, endings: Sequence[Sequence[int]]) -> list[str]:
        """Rewards and terminations, which the model gives in this form itself."""
        reward = ""
        for part, weight in enumerate(reward_weights):
            if weight:
                change = f"(after.{self.name(part)} - {self.name(part)})"
                reward = _added(reward, float(weight), change)
        ends = [
            f"after.{self.name(part)} in {{{', '.join(str(v + self.low(part)) for v in values)}}}"
            for part, values in enumerate(endings)
            if values
        ]
        lines = [f"reward = {reward}"] if reward else []
        return lines + ([f"terminated = {' or '.join(ends)}"] if ends else [])

    def _assignment(self, part: int, category: int) -> str:
        """A category as an assignment, which stays within the lattice as the model does."""
        name, low = self.name(part), self.low(part)
        if category > ABSOLUTE // 2:
            return f"{name} = {category - ABSOLUTE + low}"
        # A rule for what stays keeps the rules below it from changing it.
        if category == 0:
            return "pass"
        if category < 0:
            return f"{name} = max({name} - {-category}, {low})"
        return f"{name} = min({name} + {category}, {low + self.view.num_values[part] - 1})"

    def _comment(self, text: str) -> list[str]:
        return [f"# {line}" for line in textwrap.wrap(text, _WIDTH)]

    # --- conditions

    def _conditions(self, rule: _Rule, readings: Sequence[_Reading], model: PartModel) -> list[str]:
        """What holds in a leaf; what is said of the action is one condition."""
        conditions = []
        actions = list(range(self.num_actions))
        for column, (low, high) in rule.bounds.items():
            reading = readings[column]
            if reading.by_action:
                actions = [
                    action
                    for action in actions
                    if (low is None or reading.by_action[action] >= low)
                    and (high is None or reading.by_action[action] <= high)
                ]
                continue
            least = None if low is None else low + reading.offset
            most = None if high is None else high + reading.offset
            conditions.append(self._bounded(reading.coefficients, least, most))
        if len(actions) < len(model.ranks):
            conditions.append(self.writer.is_action(actions))
        return conditions

    def _bounded(self, coefficients: dict[str, int], least: int | None, most: int | None) -> str:
        """A sum between bounds, either of which may be None."""
        text = _sum(coefficients)
        if least == most:
            return f"{text} == {least}"
        if least is not None and most is not None:
            return f"{least} <= {text} <= {most}"
        return f"{text} >= {least}" if most is None else f"{text} <= {most}"

    # --- what a part reads

    def _visible(
        self, model: PartModel, decided: Sequence[int]
    ) -> tuple[TableColumns, list[_Reading]]:
        """What one observation and the action show of the parts that a part reads."""
        everything = all_columns(self.view, self.num_actions, decided)
        groups = frozenset().union({model.part, self.view.num_parts}, *model.columns.groups)
        # What is remembered was shown by some column: any may stand in for it.
        if self._read(model)[1]:
            groups = frozenset().union(groups, *everything.groups)
        kept, readings = [], []
        for number, group in enumerate(everything.groups):
            reading = self._reading(everything, number, model.ranks) if group <= groups else None
            if reading is not None:
                kept.append(number)
                readings.append(reading)
        return everything.only(np.array(kept, np.int64)), readings

    def _reading(self, columns: TableColumns, number: int, ranks: Array) -> _Reading | None:
        """A column in terms of the program; None where it takes memory."""
        coefficients: dict[str, int] = {}
        offset = -int(columns.shifts[number])
        terms = zip(columns.places[number].tolist(), columns.signs[number].tolist(), strict=True)
        for place, sign in terms:
            if place < 0:
                continue
            action = place - self.view.state_size - self.view.num_parts
            if action == 0:
                return _Reading(by_action=tuple(int(rank) for rank in ranks))
            told = action - NUM_RANKED
            if 0 <= told < self.num_actions:
                return _Reading(by_action=tuple(int(a == told) for a in range(self.num_actions)))
            shown = self._shown(place)
            if shown is None:
                return None
            for name, coefficient, low in shown:
                coefficients[name] = coefficients.get(name, 0) + sign * coefficient
                offset += sign * coefficient * low
        coefficients = {name: number for name, number in coefficients.items() if number}
        return _Reading(coefficients, offset) if coefficients else None

    def _shown(self, place: int) -> list[tuple[str, int, int]] | None:
        """A number of a state as names with coefficients and lows; None where it takes memory."""
        after = place - self.view.state_size
        if 0 <= after < self.view.num_parts:
            return [(f"after.{self.name(after)}", 1, self.low(after))]
        part, slot = divmod(place, BLOCK)
        if part >= self.view.num_parts:
            return None
        if slot == VALUE:
            return [(self.name(part), 1, self.low(part))]
        age = slot - DELTA
        if slot < CHANGES and age + 1 < len(self.view.frames[part]):
            low = self.low(part)
            return [(self.name(part, age), 1, low), (self.name(part, age + 1), -1, low)]
        return None

    def _sentence(self, model: PartModel) -> str:
        """What a part reads, and which of it one observation does not show."""
        shown, remembered = self._read(model)
        names = [name for name in shown if name not in self._older]
        text = ", ".join(names) or "nothing that an observation shows"
        if len(names) < len(shown):
            text += " (with older frames)"
        if not remembered:
            return text
        # What is remembered of the same parts is said once.
        kinds_of: dict[tuple[str, ...], list[str]] = {}
        for kind, of_parts in remembered.items():
            kinds_of.setdefault(tuple(of_parts), []).append(kind)
        phrases = [
            ", ".join(kinds) + (f" of {', '.join(of_parts)}" if of_parts else "")
            for of_parts, kinds in kinds_of.items()
        ]
        return f"{text}; and from memory, for which its rules may read any column: " + "; ".join(
            phrases
        )

    @cached_property
    def _older(self) -> frozenset[str]:
        """Names of all frames but the newest."""
        return frozenset(
            self.writer.names[column] for chain in self.view.frames for column in chain[1:]
        )

    def _read(self, model: PartModel) -> tuple[list[str], dict[str, dict[str, None]]]:
        """Names that a part reads, of an observation or the action; kinds of memory, and of whom."""
        shown: dict[str, None] = {}
        remembered: dict[str, dict[str, None]] = {}
        first_action = self.view.state_size + self.view.num_parts
        for place in model.columns.places[model.columns.places >= 0].tolist():
            told = place - first_action - NUM_RANKED
            if place == first_action or 0 <= told < self.num_actions:
                shown["the action"] = None
                continue
            names = self._shown(place) if place < first_action else None
            if names is not None:
                shown |= dict.fromkeys(name for name, _, _ in names)
                continue
            kind, of_part = self._memory(place)
            remembered.setdefault(kind, {}).update(dict.fromkeys(of_part))
        return list(shown), remembered

    def _memory(self, place: int) -> tuple[str, list[str]]:
        """What kind of memory a number of a state or of the actions is, and of which part."""
        part, slot = divmod(place, BLOCK)
        if part < self.view.num_parts:
            return next(kind for slots, kind in _MEMORY if slot in slots), [self.name(part)]
        if place == self.view.time_column:
            return "the time since the episode began", []
        if self.view.time_column < place < self.view.state_size:
            return "what the actions' moves add up to", []
        return "earlier actions", []


def distilled_rules(
    table: Array, targets: Array, num_categories: int, max_rules: int, test_table: Array
) -> tuple[list[_Rule], Array]:
    """The leaves of a tree of at most `max_rules` leaves, and in which of them test rows end.

    Args:
        table: Whole numbers [B, F] to learn from.
        targets: Their categories [B].
        num_categories: K.
        max_rules: Leaves.
        test_table: Other rows, of which the leaf's node is returned.
    """
    tree = Forest.grown(
        table, targets, num_categories, num_trees=1, column_share=1.0, seed=0,
        min_leaf=max(_MIN_LEAF, len(table) // 1000),
    )  # fmt: skip
    counts = _counts(tree, _ends(tree, table, tree.columns != LEAF), targets)
    is_split = _pruned(tree, counts.sum(1) - counts.max(1), max_rules)
    rules = []
    open_nodes: list[tuple[int, dict[int, tuple[int | None, int | None]]]] = [(0, {})]
    while open_nodes:
        node, bounds = open_nodes.pop()
        if not is_split[node]:
            rules.append(_Rule(bounds, int(counts[node].argmax()), node))
            continue
        column, threshold = int(tree.columns[node]), int(tree.thresholds[node])
        low, high = bounds.get(column, (None, None))
        first = int(tree.children[node])
        open_nodes.append((first + 1, bounds | {column: (threshold + 1, high)}))
        open_nodes.append((first, bounds | {column: (low, threshold)}))
    return rules, _ends(tree, test_table, is_split)


def _ends(tree: Forest, table: Array, is_split: NDArray[np.bool_]) -> Array:
    """The node [B] in which each row ends, where only some nodes are splits."""
    nodes = np.zeros(len(table), np.int64)
    rows = np.arange(len(table))
    while (goes_on := is_split[nodes]).any():
        is_second = table[rows, tree.columns[nodes]] > tree.thresholds[nodes]
        nodes = np.where(goes_on, tree.children[nodes] + is_second, nodes)
    return nodes


def _counts(tree: Forest, leaves: Array, targets: Array) -> Array:
    """How many rows of each category [M, K] come through each node."""
    counts = np.zeros((len(tree.columns), tree.num_categories), np.int64)
    np.add.at(counts, (leaves, targets), 1)
    # Children come after their parent.
    for node in np.flatnonzero(tree.columns != LEAF)[::-1]:
        first = tree.children[node]
        counts[node] = counts[first] + counts[first + 1]
    return counts


def _pruned(tree: Forest, errors: Array, max_leaves: int) -> NDArray[np.bool_]:
    """Which nodes [M] stay splits, when the weakest links are cut until so few leaves are left."""
    is_split = tree.columns != LEAF
    while True:
        below = errors.astype(np.float64)
        leaves = np.ones(len(errors), np.int64)
        # Children come after their parent.
        for node in np.flatnonzero(is_split)[::-1]:
            first = tree.children[node]
            below[node] = below[first] + below[first + 1]
            leaves[node] = leaves[first] + leaves[first + 1]
        splits = np.flatnonzero(is_split)
        if not len(splits):
            return is_split
        costs = (errors[splits] - below[splits]) / (leaves[splits] - 1)
        weakest = int(costs.argmin())
        # A split that saves no error is cut in any case.
        if leaves[0] <= max_leaves and costs[weakest] > 0:
            return is_split
        is_split[_subtree(tree, is_split, int(splits[weakest]))] = False


def _subtree(tree: Forest, is_split: NDArray[np.bool_], root: int) -> list[int]:
    """The splits below a node, and the node itself."""
    found, open_nodes = [], [root]
    while open_nodes:
        node = open_nodes.pop()
        if is_split[node]:
            found.append(node)
            first = int(tree.children[node])
            open_nodes += [first, first + 1]
    return found


def _served(serves: NDArray[np.bool_], is_right: NDArray[np.bool_]) -> str:
    """How many held-out steps a rule serves, and how often it is right there."""
    if not serves.any():
        return "No held-out step is of this kind"
    return f"{_percent(serves.mean())} of steps, {_percent(is_right[serves].mean())} of them as the forest"


def _percent(share: float) -> str:
    return f"{100 * share:.1f}%"


def _sum(coefficients: dict[str, int]) -> str:
    """Names with their coefficients, those that are added first."""
    text = ""
    for name, number in sorted(coefficients.items(), key=lambda item: item[1] < 0):
        text = _added(text, number, name)
    return text


def _added(text: str, number: float, name: str) -> str:
    """A sum with one more term."""
    size = int(abs(number)) if float(number).is_integer() else abs(number)
    term = name if size == 1 else f"{size} * {name}"
    if not text:
        return term if number > 0 else f"-{term}"
    return f"{text} {'+' if number > 0 else '-'} {term}"
