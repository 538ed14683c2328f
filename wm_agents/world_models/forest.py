"""Classification trees on whole numbers, whose leaves keep the recorded outcomes that ended there.

A forest of unpruned trees replays its recording nearly exactly and votes elsewhere. Drawing picks a
tree and one recorded outcome of its leaf, so that noise is drawn as it was recorded. Each split
takes the threshold with the lowest Gini impurity among a random subset of the columns (Breiman 2001,
Random Forests), on all rows, so that trees differ by the columns that they may look at alone.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wm_envs.data.compiled import compiled

Array = NDArray[Any]

LEAF = -1  # in place of a split's column
_COUNTED = 48  # rows from which a node sorts by counting; below it inserts
# A linear congruential generator modulo 2^64 (Knuth's MMIX), of which the high bits are used
_MULTIPLIER = np.uint64(6364136223846793005)
_INCREMENT = np.uint64(1442695040888963407)
_HIGH_BITS = np.uint64(33)
_TWO_TO_53 = 9007199254740992.0
_MAX_DRAWS = 200  # of a row whose draws hardly ever agree
MAX_KEPT = 64  # outcomes of a leaf
MAX_RANGE = 2048  # columns hold fewer different values than this


@dataclass(frozen=True)
class Forest:
    """Trees with their nodes one behind the other; of a split the children are neighbors.

    Attributes:
        columns: Of the split of each node [M], or LEAF.
        thresholds: Rows with at most this value go to the first child [M].
        children: The first child of a split, the first outcome of a leaf [M].
        sizes: How many outcomes a leaf has [M].
        outcomes: Categories, leaf by leaf.
        roots: The first node of each tree.
        gains: Of each column [F], how many rows' worth of purity its splits added.
        num_categories: Outcomes are 0 .. num_categories - 1.
    """

    columns: Array
    thresholds: Array
    children: Array
    sizes: Array
    outcomes: Array
    roots: Array
    gains: Array
    num_categories: int

    @classmethod
    def grown(
        cls,
        table: Array,
        outcomes: Array,
        num_categories: int,
        *,
        num_trees: int,
        min_leaf: int,
        column_share: float,
        seed: int,
    ) -> "Forest":
        """Grow trees.

        Args:
            table: Whole numbers [N, F] of a range below `MAX_RANGE` in each column.
            outcomes: Categories [N].
            num_categories: How many there can be.
            num_trees: Trees.
            min_leaf: A leaf has at least as many rows.
            column_share: Of the columns, how many each split may select from.
            seed: Of these.
        """
        by_column = np.ascontiguousarray(table.T.astype(np.int16))
        num_tried = max(1, round(column_share * len(by_column)))
        targets = outcomes.astype(np.int32)
        generator = np.random.default_rng(seed)
        keys = generator.integers(1 << 62, size=num_trees).astype(np.uint64)
        parts = [
            _grow(by_column, targets, num_categories, min_leaf, num_tried, key) for key in keys
        ]
        node_ends = np.cumsum([len(part[0]) for part in parts])
        roots = np.concatenate([[0], node_ends[:-1]])
        outcome_ends = np.cumsum([len(part[4]) for part in parts])
        children = []
        for number, (columns, _, first, _, in_leaves, _) in enumerate(parts):
            first_outcome = outcome_ends[number] - len(in_leaves)
            shift = np.where(columns == LEAF, first_outcome, roots[number])
            children.append(first + shift)
        return cls(
            columns=np.concatenate([part[0] for part in parts]),
            thresholds=np.concatenate([part[1] for part in parts]),
            children=np.concatenate(children).astype(np.int32),
            sizes=np.concatenate([part[3] for part in parts]),
            outcomes=np.concatenate([part[4] for part in parts]),
            roots=roots.astype(np.int32),
            gains=np.sum([part[5] for part in parts], 0).astype(np.float32),
            num_categories=num_categories,
        )

    def is_sound(self, num_columns: int) -> bool:
        """Whether compiled code can follow the numbers of a file without leaving the arrays."""
        num_nodes = len(self.columns)
        if not num_nodes or not len(self.roots):
            return False
        is_leaf = self.columns == LEAF
        nodes = np.arange(num_nodes)
        # Children come after their parent, so that no path goes round.
        is_split_sound = (self.children > nodes) & (self.children + 1 < num_nodes)
        ends = self.children.astype(np.int64) + self.sizes
        is_leaf_sound = (self.children >= 0) & (self.sizes > 0) & (ends <= len(self.outcomes))
        return bool(
            len(self.thresholds) == len(self.children) == len(self.sizes) == num_nodes
            and (self.columns >= LEAF).all()
            and (self.columns < num_columns).all()
            and np.where(is_leaf, is_leaf_sound, is_split_sound).all()
            and (self.roots >= 0).all()
            and (self.roots < num_nodes).all()
            and len(self.outcomes)
            and self.outcomes.min() >= 0
            and self.outcomes.max() < self.num_categories
        )

    def votes(self, table: Array) -> NDArray[np.float32]:
        """The mean share [B, num_categories] of each category in the leaves of rows [B, F]."""
        out = np.zeros((len(table), self.num_categories), np.float32)
        _vote(
            np.ascontiguousarray(table, np.int16),
            self.columns,
            self.thresholds,
            self.children,
            self.sizes,
            self.outcomes,
            self.roots,
            out,
        )
        return out

    def draw(self, table: Array, uniforms: Array, num_agreeing: int = 1) -> NDArray[np.int64]:
        """One recorded category [B] of a random tree's leaf, from uniform numbers [B, 2].

        With more than one that have to agree, draws are repeated until so many of them in a row are
        of one category: what is drawn has the votes' shares raised to that power.
        """
        out = np.zeros(len(table), np.int64)
        _draw(
            np.ascontiguousarray(table, np.int16),
            self.columns,
            self.thresholds,
            self.children,
            self.sizes,
            self.outcomes,
            self.roots,
            uniforms,
            num_agreeing,
            out,
        )
        return out


@compiled
def _sorted_node(
    values: Array,
    outcomes: Array,
    order: Array,
    first: int,
    last: int,
    low: int,
    high: int,
    counts: Array,
    sorted_values: Array,
    sorted_outcomes: Array,
) -> None:
    """A node's values in ascending order with their outcomes."""
    num_rows = last - first
    if num_rows < _COUNTED:
        for place in range(num_rows):
            row = order[first + place]
            value = values[row]
            outcome = outcomes[row]
            before = place - 1
            while before >= 0 and sorted_values[before] > value:
                sorted_values[before + 1] = sorted_values[before]
                sorted_outcomes[before + 1] = sorted_outcomes[before]
                before -= 1
            sorted_values[before + 1] = value
            sorted_outcomes[before + 1] = outcome
        return
    span = high - low + 1
    for value in range(span + 1):
        counts[value] = 0
    for place in range(first, last):
        counts[values[order[place]] - low + 1] += 1
    for value in range(span):
        counts[value + 1] += counts[value]
    for place in range(first, last):
        row = order[place]
        value = values[row] - low
        sorted_values[counts[value]] = values[row]
        sorted_outcomes[counts[value]] = outcomes[row]
        counts[value] += 1


@compiled
def _best_threshold(
    sorted_values: Array,
    sorted_outcomes: Array,
    num_rows: int,
    min_leaf: int,
    totals: Array,
    left: Array,
    right: Array,
) -> tuple[float, int]:
    """The threshold with the purest halves, and their purity; -1 where there is none."""
    left_squares = 0.0
    right_squares = 0.0
    for place in range(num_rows):
        outcome = sorted_outcomes[place]
        left[outcome] = 0
        right[outcome] = totals[outcome]
    for place in range(num_rows):
        outcome = sorted_outcomes[place]
        # Each outcome's square is counted at the last of its rows that is met.
        if left[outcome] == 0:
            right_squares += float(totals[outcome]) * totals[outcome]
        left[outcome] = 1
    for place in range(num_rows):
        left[sorted_outcomes[place]] = 0
    best = -1.0
    threshold = 0
    for place in range(num_rows - 1):
        outcome = sorted_outcomes[place]
        left_squares += 2.0 * left[outcome] + 1.0
        right_squares -= 2.0 * right[outcome] - 1.0
        left[outcome] += 1
        right[outcome] -= 1
        num_left = place + 1
        num_right = num_rows - num_left
        if sorted_values[place] == sorted_values[place + 1]:
            continue
        if num_left < min_leaf or num_right < min_leaf:
            continue
        purity = left_squares / num_left + right_squares / num_right
        if purity > best:
            best = purity
            # Between the two values, so that what was never recorded goes to the nearer side.
            threshold = (int(sorted_values[place]) + int(sorted_values[place + 1])) >> 1
    return best, threshold


@compiled
def _grow(
    by_column: Array,
    outcomes: Array,
    num_categories: int,
    min_leaf: int,
    num_tried: int,
    key: np.uint64,
) -> tuple[Array, Array, Array, Array, Array, Array]:
    """One tree: columns, thresholds, children, sizes, outcomes of leaves, gains of columns."""
    random = key
    num_columns, num_rows = by_column.shape
    capacity = 2 * num_rows + 1
    columns = np.full(capacity, LEAF, np.int16)
    thresholds = np.zeros(capacity, np.int16)
    children = np.zeros(capacity, np.int32)
    sizes = np.zeros(capacity, np.int32)
    order = np.arange(num_rows)
    swapped = np.zeros(num_rows, np.int64)
    stack = np.zeros((num_rows + 2, 3), np.int64)  # node, first and last row
    counts = np.zeros(MAX_RANGE + 2, np.int64)
    sorted_values = np.zeros(num_rows, np.int16)
    sorted_outcomes = np.zeros(num_rows, np.int32)
    totals = np.zeros(num_categories, np.int64)
    left = np.zeros(num_categories, np.int64)
    right = np.zeros(num_categories, np.int64)
    candidates = np.arange(num_columns)
    gains = np.zeros(num_columns, np.float64)
    stack[0, 2] = num_rows
    depth = 1
    num_nodes = 1
    while depth > 0:
        depth -= 1
        node, first, last = stack[depth]
        num_here = last - first
        children[node] = first
        sizes[node] = num_here
        for place in range(first, last):
            totals[outcomes[order[place]]] = 0
        for place in range(first, last):
            totals[outcomes[order[place]]] += 1
        if num_here < 2 * min_leaf or totals[outcomes[order[first]]] == num_here:
            continue
        best = -1.0
        best_column = -1
        best_threshold = 0
        num_useful = 0
        for number in range(num_columns):
            # A random permutation, made as far as it is needed.
            random = random * _MULTIPLIER + _INCREMENT
            other = number + int(random >> _HIGH_BITS) % (num_columns - number)
            column = candidates[other]
            candidates[other] = candidates[number]
            candidates[number] = column
            values = by_column[column]
            low = values[order[first]]
            high = low
            for place in range(first, last):
                value = values[order[place]]
                low = min(low, value)
                high = max(high, value)
            if low == high:
                continue
            _sorted_node(
                values, outcomes, order, first, last, low, high, counts, sorted_values,
                sorted_outcomes,
            )  # fmt: skip
            purity, threshold = _best_threshold(
                sorted_values, sorted_outcomes, num_here, min_leaf, totals, left, right
            )
            if purity > best:
                best = purity
                best_column = column
                best_threshold = threshold
            num_useful += 1
            if num_useful >= num_tried:
                break
        if best_column < 0:
            continue
        squares = 0.0
        for place in range(first, last):
            # Once for each row of a category that has c of them: c times c.
            squares += float(totals[outcomes[order[place]]])
        gains[best_column] += best - squares / num_here
        values = by_column[best_column]
        num_left = 0
        num_right = 0
        for place in range(first, last):
            row = order[place]
            if values[row] <= best_threshold:
                order[first + num_left] = row
                num_left += 1
            else:
                swapped[num_right] = row
                num_right += 1
        for place in range(num_right):
            order[first + num_left + place] = swapped[place]
        columns[node] = best_column
        thresholds[node] = best_threshold
        children[node] = num_nodes
        sizes[node] = 0
        stack[depth, 0] = num_nodes
        stack[depth, 1] = first
        stack[depth, 2] = first + num_left
        stack[depth + 1, 0] = num_nodes + 1
        stack[depth + 1, 1] = first + num_left
        stack[depth + 1, 2] = last
        depth += 2
        num_nodes += 2
    in_leaves = np.zeros(num_rows, np.int16)
    num_kept = 0
    for node in range(num_nodes):
        if columns[node] != LEAF:
            continue
        first = children[node]
        num_here = sizes[node]
        children[node] = num_kept
        sizes[node] = min(num_here, MAX_KEPT)
        # In order, so that what is kept of a large leaf has its shares.
        here = np.sort(outcomes[order[first : first + num_here]])
        if here[0] == here[-1]:
            sizes[node] = 1
        for place in range(sizes[node]):
            in_leaves[num_kept] = here[place * num_here // sizes[node]]
            num_kept += 1
    return (
        columns[:num_nodes].copy(),
        thresholds[:num_nodes].copy(),
        children[:num_nodes].copy(),
        sizes[:num_nodes].copy(),
        in_leaves[:num_kept].copy(),
        gains,
    )


@compiled
def _leaf(row: Array, columns: Array, thresholds: Array, children: Array, root: int) -> int:
    """The leaf in which a row ends."""
    node = root
    while columns[node] != LEAF:
        first = children[node]
        node = first if row[columns[node]] <= thresholds[node] else first + 1
    return node


@compiled
def _vote(
    table: Array,
    columns: Array,
    thresholds: Array,
    children: Array,
    sizes: Array,
    outcomes: Array,
    roots: Array,
    out: Array,
) -> None:
    for row in range(len(table)):
        for root in roots:
            leaf = _leaf(table[row], columns, thresholds, children, root)
            weight = np.float32(1.0 / (sizes[leaf] * len(roots)))
            for place in range(children[leaf], children[leaf] + sizes[leaf]):
                out[row, outcomes[place]] += weight


@compiled
def _draw(
    table: Array,
    columns: Array,
    thresholds: Array,
    children: Array,
    sizes: Array,
    outcomes: Array,
    roots: Array,
    uniforms: Array,
    num_agreeing: int,
    out: Array,
) -> None:
    for row in range(len(table)):
        root = roots[int(uniforms[row, 0] * len(roots))]
        leaf = _leaf(table[row], columns, thresholds, children, root)
        drawn = outcomes[children[leaf] + int(uniforms[row, 1] * sizes[leaf])]
        random = np.uint64(uniforms[row, 0] * _TWO_TO_53) * _MULTIPLIER
        random += np.uint64(uniforms[row, 1] * _TWO_TO_53)
        num_equal = 1
        for _ in range(_MAX_DRAWS):
            if num_equal >= num_agreeing:
                break
            random = random * _MULTIPLIER + _INCREMENT
            root = roots[int(random >> _HIGH_BITS) % len(roots)]
            leaf = _leaf(table[row], columns, thresholds, children, root)
            random = random * _MULTIPLIER + _INCREMENT
            other = outcomes[children[leaf] + int(random >> _HIGH_BITS) % sizes[leaf]]
            if num_equal > 0 and other != drawn:
                # All of them are drawn anew: what differs is no reason for either.
                num_equal = 0
                continue
            drawn = other
            num_equal += 1
        out[row] = drawn
