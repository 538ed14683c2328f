"""Observations that are a stack of frames on a lattice: their structure, found from a recording.

Nothing is specified. A column that always repeats, one step later, what another column showed is an
older frame of it; a column with one value is a constant; what is left are the newest frames. Each
of these is a part that is to be predicted. What a learner reads of the past is the same for every
part: values, differences over several steps, the last differences that were not 0, how long ago a
value changed or was at its extremes, the last actions, and differences between parts whose values
lie in one range.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from wm_agents.errors import SpaceError, TrajectoryError
from wm_agents.world_models.lattice import detect_features
from wm_agents.world_models.tiles import FAR, NEAR, TileCoding, centers_within, compressed
from wm_envs.data.compiled import compiled
from wm_envs.data.trajectories import Trajectories

Array = NDArray[Any]

# What is remembered of a part: its block in a state
VALUE = 0
DELTA = 1  # and the differences of the steps before
NUM_DELTAS = 8
CHANGES = DELTA + NUM_DELTAS  # the last differences that were not 0
NUM_CHANGES = 3
AGE = CHANGES + NUM_CHANGES  # steps since it changed
SINCE_LOW = AGE + 1  # steps since it was as low as it was ever recorded
SINCE_HIGH = SINCE_LOW + 1
ONSET = SINCE_HIGH + 1  # the last difference that followed two of 0
ONSET_MEAN = ONSET + 1  # a running mean of the sizes of such differences
GROUP = ONSET_MEAN + 1  # whether this mean is that of one of two groups of episodes
BLOCK = GROUP + 1

NUM_ACTIONS_KEPT = 16
MAX_AGE = 255
NO_ACTION = -1
SUM_LENGTHS = (2, 4, 8, 16)  # steps over which the effects of actions are added
_MEAN_SCALE = 4
NO_THRESHOLD = 1 << 30  # no mean onset is that large
_MIN_OVERLAP = 0.5  # of the ranges of two parts that are compared
_MAX_VALUES = 1024  # of a part
_MIN_TILED = 30  # values of a part whose differences are tiled for a policy
_MAX_FEATURE = 1.5  # of what a policy reads


@dataclass(frozen=True)
class Counter:
    """Adds up what actions do to a part, between 0 and a highest value, from the middle on.

    Attributes:
        effects: Of each action: -1, 0 or 1.
        size: The highest value, in quarters of an effect.
    """

    effects: tuple[int, ...]
    size: int


@dataclass(frozen=True)
class StackedView:
    """D parts of observations [B, O], and a state [B, M] that remembers an episode.

    Attributes:
        observation_size: O.
        frames: For each part its columns, the newest first.
        origins: Of each part's lattice.
        quanta: Of each part's lattice.
        num_values: How many values of each lattice the observation space allows.
        lows: The lowest recorded value of each part, in quanta above its origin.
        highs: The highest.
        constants: The columns that never change, with their values.
        counters: What adds up the effects of actions on a part.
        thresholds: Of each part, the mean onset that parts two groups of episodes.
    """

    observation_size: int
    frames: tuple[tuple[int, ...], ...]
    origins: tuple[float, ...]
    quanta: tuple[float, ...]
    num_values: tuple[int, ...]
    lows: tuple[int, ...]
    highs: tuple[int, ...]
    constants: tuple[tuple[int, float], ...]
    counters: tuple[Counter, ...] = ()
    thresholds: tuple[int, ...] = ()

    @classmethod
    def found(cls, trajectories: Trajectories, observation_space: gym.Space[Any]) -> Self:
        """The structure of a recording.

        Raises:
            TrajectoryError: Nothing changes, or a column lies on no lattice.
        """
        rows = trajectories.observations
        is_constant = (rows == rows[0]).all(0)
        chains = _chains(trajectories, is_constant)
        if not chains:
            raise TrajectoryError("nothing changes in the recording: there is nothing to predict")
        lattice = {
            feature.columns[0]: feature
            for feature in detect_features(trajectories, observation_space)
            if not feature.is_one_hot
        }
        origins = []
        quanta = []
        num_values = []
        lows = []
        highs = []
        for chain in chains:
            newest = chain[0]
            if newest not in lattice:
                raise TrajectoryError(
                    f"column {newest} is one of a one-hot; forests read numbers, use a TokenModel"
                )
            feature = lattice[newest]
            if feature.num_values > _MAX_VALUES:
                raise TrajectoryError(
                    f"column {newest} takes up to {feature.num_values} values; at most "
                    f"{_MAX_VALUES} are served, use a DeterministicModel"
                )
            values = np.rint((rows[:, newest] - feature.origin) / feature.quantum)
            origins.append(float(feature.origin))
            quanta.append(float(feature.quantum))
            num_values.append(int(feature.num_values))
            lows.append(int(values.min()))
            highs.append(int(values.max()))
        return cls(
            observation_size=rows.shape[1],
            frames=tuple(chains),
            origins=tuple(origins),
            quanta=tuple(quanta),
            num_values=tuple(num_values),
            lows=tuple(lows),
            highs=tuple(highs),
            constants=tuple(
                (int(column), float(rows[0, column])) for column in np.flatnonzero(is_constant)
            ),
        )

    @property
    def num_parts(self) -> int:
        """D."""
        return len(self.frames)

    @property
    def parts(self) -> tuple[str, ...]:
        """Names: nothing but the column is known of a part."""
        return tuple(f"column_{chain[0]}" for chain in self.frames)

    @property
    def state_size(self) -> int:
        """M."""
        return BLOCK * self.num_parts + NUM_ACTIONS_KEPT + 1 + len(self.counters)

    @property
    def time_column(self) -> int:
        """Where a state has the steps since its episode began."""
        return BLOCK * self.num_parts + NUM_ACTIONS_KEPT

    @cached_property
    def effects(self) -> Array:
        """Effects [C, A] of the counters."""
        if not self.counters:
            return np.zeros((0, 1), np.int32)
        return np.array([counter.effects for counter in self.counters], np.int32)

    @cached_property
    def _sizes(self) -> Array:
        return np.array([counter.size for counter in self.counters], np.int32)

    @cached_property
    def pairs(self) -> tuple[tuple[int, int], ...]:
        """Parts whose recorded ranges lie mostly in one another, which may have one unit."""
        pairs = []
        for first in range(self.num_parts):
            later = range(first + 1, self.num_parts)
            pairs += [(first, other) for other in later if self._is_alike(first, other)]
        return tuple(pairs)

    def _is_alike(self, first: int, second: int) -> bool:
        if self.quanta[first] != self.quanta[second]:
            return False
        shift = (self.origins[second] - self.origins[first]) / self.quanta[first]
        low = max(self.lows[first], self.lows[second] + shift)
        high = min(self.highs[first], self.highs[second] + shift)
        all_low = min(self.lows[first], self.lows[second] + shift)
        all_high = max(self.highs[first], self.highs[second] + shift)
        return (high - low) / max(all_high - all_low, 1) >= _MIN_OVERLAP

    @cached_property
    def _newest(self) -> Array:
        return np.array([chain[0] for chain in self.frames])

    @cached_property
    def _limits(self) -> Array:
        thresholds = self.thresholds or (NO_THRESHOLD,) * self.num_parts
        return np.array([self.lows, self.highs, thresholds], np.int32)

    def values(self, observations: Array) -> NDArray[np.int32]:
        """The parts [B, D] that observations show, in quanta above the origins."""
        newest = observations[:, self._newest]
        tokens: NDArray[np.int32] = np.rint((newest - self.origins) / self.quanta).astype(np.int32)
        return tokens

    def initialize(self, observations: Array) -> NDArray[np.int32]:
        """States [B, M] of observations [B, O] alone.

        Raises:
            SpaceError: Observations of another layout.
        """
        self.check(observations)
        states = np.zeros((len(observations), self.state_size), np.int32)
        states[:, BLOCK * self.num_parts : self.time_column] = NO_ACTION
        states[:, self.time_column + 1 :] = self._sizes // 2
        depth = max(len(chain) for chain in self.frames)
        for age in reversed(range(depth)):
            columns = np.array([chain[min(age, len(chain) - 1)] for chain in self.frames])
            shown = np.rint((observations[:, columns] - self.origins) / self.quanta)
            if age == depth - 1:
                for part in range(self.num_parts):
                    block = part * BLOCK
                    states[:, block + VALUE] = shown[:, part]
                    states[:, block + AGE : block + SINCE_HIGH + 1] = MAX_AGE
            _show(states, shown.astype(np.int32), self._limits)
        return states

    def check(self, observations: Array) -> None:
        """Raise SpaceError for observations of another layout."""
        if observations.ndim != 2 or observations.shape[1] != self.observation_size:
            raise SpaceError(
                f"expected observations of {self.observation_size} numbers, got shape "
                f"{observations.shape}"
            )
        for column, value in self.constants:
            is_other = observations[:, column] != value
            if is_other.any():
                raise SpaceError(
                    f"column {column} was {value:g} throughout the recording, got "
                    f"{observations[is_other.argmax(), column]:g}: this is another layout; fit a "
                    "model on recordings of it"
                )

    def update(self, states: Array, actions: Array, next_values: Array) -> NDArray[np.int32]:
        """States after a step; rows with a negative action stay as they are."""
        after = states.copy()
        _update(
            after,
            actions.astype(np.int64),
            next_values.astype(np.int32),
            self._limits,
            self.effects,
            self._sizes,
        )
        return after

    def replay(
        self, observations: Array, actions: Array, lengths: Array
    ) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        """States [S, M] before each step of concatenated episodes, and parts [S, D] after it."""
        values = self.values(observations)
        first_of_episode = np.concatenate([[0], np.cumsum(lengths + 1)[:-1]])
        initial = self.initialize(observations[first_of_episode])
        states = np.zeros((int(lengths.sum()), self.state_size), np.int32)
        next_values = np.zeros((len(states), self.num_parts), np.int32)
        _replay(
            initial,
            values,
            actions.astype(np.int64),
            lengths.astype(np.int64),
            self._limits,
            self.effects,
            self._sizes,
            states,
            next_values,
        )
        return states, next_values

    def observations(self, states: Array) -> NDArray[np.float32]:
        """The observations [B, O] that states hold."""
        out = np.zeros((len(states), self.observation_size), np.float32)
        for column, value in self.constants:
            out[:, column] = value
        for part, chain in enumerate(self.frames):
            shown = states[:, part * BLOCK + VALUE].astype(np.int64)
            for age, column in enumerate(chain):
                out[:, column] = self.origins[part] + self.quanta[part] * shown
                shown = shown - states[:, part * BLOCK + DELTA + min(age, NUM_DELTAS - 1)]
        return out

    @property
    def num_features(self) -> int:
        """F."""
        return self.features(np.zeros((1, self.state_size), np.int32)).shape[1]

    def features(self, states: Array) -> NDArray[np.float32]:
        """What a policy reads [B, F]: values, differences, and differences between parts.

        Differences are read in three forms: in proportion, compressed and as tiles.
        """
        num_parts = self.num_parts
        weights, shifts = self._differences
        differences = states.astype(np.float32) @ weights + shifts  # [B, C], exact
        spans = np.maximum(np.subtract(self.highs, self.lows), 1)
        middles = np.add(self.highs, self.lows) / 2
        values = (states[:, VALUE : BLOCK * num_parts : BLOCK] - middles) * (2.0 / spans)
        ages = np.minimum(states[:, AGE : BLOCK * num_parts : BLOCK], 20) / 20.0
        pair_spans = np.repeat([spans[first] for first, _ in self.pairs], 2)
        apart = differences[:, 3 * num_parts :] * (2.0 / pair_spans)
        columns = [values, compressed(differences), ages, apart]
        for number, counter in enumerate(self.counters):
            columns.append(states[:, [self.time_column + 1 + number]] * (2.0 / counter.size) - 1.0)
            actions = states[:, BLOCK * num_parts : BLOCK * num_parts + 2]
            effects = np.array(counter.effects, np.float64)[np.maximum(actions, 0)]
            columns.append(np.where(actions >= 0, effects, 0.0))
        # What lies far beyond the recording, such as a score that was never reached, says no more.
        plain = np.concatenate(columns, 1).astype(np.float32)
        np.clip(plain, -_MAX_FEATURE, _MAX_FEATURE, out=plain)
        numbers, coding = self._tiles
        return np.concatenate([plain, coding(differences[:, numbers])], 1)

    @cached_property
    def _differences(self) -> tuple[Array, Array]:
        """Weights [M, C] and shifts [C] of the differences that a policy reads.

        Three steps of each part, then how far the parts of each pair are apart now and next.
        """
        rows: list[dict[int, int]] = []
        shifts = [0.0] * (3 * self.num_parts)
        for part in range(self.num_parts):
            rows += [{part * BLOCK + DELTA + age: 1} for age in range(3)]
        for first, second in self.pairs:
            one = first * BLOCK
            other = second * BLOCK
            apart = {one + VALUE: 1, other + VALUE: -1}
            rows += [apart, apart | {one + DELTA: 1, other + DELTA: -1}]
            shift = round((self.origins[first] - self.origins[second]) / self.quanta[first])
            shifts += [float(shift)] * 2
        weights = np.zeros((self.state_size, len(rows)), np.float32)
        for column, terms in enumerate(rows):
            for place, sign in terms.items():
                weights[place, column] = sign
        return weights, np.array(shifts, np.float32)

    @cached_property
    def _tiles(self) -> tuple[Array, TileCoding]:
        """Which of the differences are tiled, and how."""
        spans = np.subtract(self.highs, self.lows)
        numbers = []
        centers = []
        for part in range(self.num_parts):
            # What takes few values has few differences, which are told apart as they are.
            if spans[part] >= _MIN_TILED:
                numbers.append(3 * part)
                centers.append(centers_within(NEAR, spans[part]))
        for pair, (first, _) in enumerate(self.pairs):
            place = 3 * self.num_parts + 2 * pair
            numbers += [place, place + 1]
            centers += [centers_within(FAR, spans[first])] * 2
        return np.array(numbers, np.int64), TileCoding.of(centers)

    def to_json(self) -> dict[str, Any]:
        """What `from_json` needs."""
        return {
            "observation_size": self.observation_size,
            "frames": [list(chain) for chain in self.frames],
            "origins": list(self.origins),
            "quanta": list(self.quanta),
            "num_values": list(self.num_values),
            "lows": list(self.lows),
            "highs": list(self.highs),
            "constants": [list(constant) for constant in self.constants],
            "thresholds": list(self.thresholds),
            "counters": [[list(counter.effects), counter.size] for counter in self.counters],
        }

    @classmethod
    def from_json(cls, description: Mapping[str, Any]) -> Self:
        """The view that `to_json` described."""
        return cls(
            observation_size=int(description["observation_size"]),
            frames=tuple(tuple(int(c) for c in chain) for chain in description["frames"]),
            origins=tuple(float(value) for value in description["origins"]),
            quanta=tuple(float(value) for value in description["quanta"]),
            num_values=tuple(int(value) for value in description["num_values"]),
            lows=tuple(int(value) for value in description["lows"]),
            highs=tuple(int(value) for value in description["highs"]),
            constants=tuple((int(c), float(value)) for c, value in description["constants"]),
            thresholds=tuple(int(value) for value in description["thresholds"]),
            counters=tuple(
                Counter(tuple(int(effect) for effect in effects), int(size))
                for effects, size in description["counters"]
            ),
        )


def _chains(trajectories: Trajectories, is_constant: Array) -> list[tuple[int, ...]]:
    """The columns of each part, the newest first."""
    rows = trajectories.observations
    first = trajectories.observation_of_step
    before = rows[first]
    after = rows[first + 1]
    varying = np.flatnonzero(~is_constant)
    older_of: dict[int, int] = {}
    copies: set[int] = set()
    for column in varying:
        for source in varying:
            if source == column or source in older_of:
                continue
            if (after[:, column] == before[:, source]).all():
                older_of[int(source)] = int(column)
                copies.add(int(column))
                break
    chains = []
    for newest in varying:
        if int(newest) in copies:
            continue
        chain = [int(newest)]
        while chain[-1] in older_of and len(chain) <= NUM_DELTAS:
            chain.append(older_of[chain[-1]])
        chains.append(tuple(chain))
    return chains


@compiled
def _show(states: Array, values: Array, limits: Array) -> None:
    """Let states [B, M] see new values [B, D]."""
    num_parts = values.shape[1]
    for row in range(len(states)):
        state = states[row]
        for part in range(num_parts):
            block = part * BLOCK
            value = values[row, part]
            delta = value - state[block + VALUE]
            if delta != 0:
                if state[block + DELTA] == 0 and state[block + DELTA + 1] == 0:
                    state[block + ONSET] = delta
                    size = abs(delta) * _MEAN_SCALE
                    mean = state[block + ONSET_MEAN]
                    # The first one is all that is known; then a mean of about the last four.
                    mean = size if mean == 0 else mean + (size - mean) // 4
                    state[block + ONSET_MEAN] = mean
                    state[block + GROUP] = 1 if mean > limits[2, part] else 0
                for place in range(NUM_CHANGES - 1, 0, -1):
                    state[block + CHANGES + place] = state[block + CHANGES + place - 1]
                state[block + CHANGES] = delta
                state[block + AGE] = 0
            else:
                state[block + AGE] = min(state[block + AGE] + 1, MAX_AGE)
            for age in range(NUM_DELTAS - 1, 0, -1):
                state[block + DELTA + age] = state[block + DELTA + age - 1]
            state[block + DELTA] = delta
            state[block + VALUE] = value
            for side in range(2):
                place = block + SINCE_LOW + side
                is_there = value <= limits[0, part] if side == 0 else value >= limits[1, part]
                state[place] = 0 if is_there else min(state[place] + 1, MAX_AGE)


@compiled
def _update(
    states: Array, actions: Array, next_values: Array, limits: Array, effects: Array, sizes: Array
) -> None:
    """Let states [B, M] see a step; those with a negative action see nothing."""
    num_parts = next_values.shape[1]
    first_action = BLOCK * num_parts
    for row in range(len(states)):
        if actions[row] < 0:
            continue
        state = states[row]
        for age in range(NUM_ACTIONS_KEPT - 1, 0, -1):
            state[first_action + age] = state[first_action + age - 1]
        state[first_action] = actions[row]
        time = first_action + NUM_ACTIONS_KEPT
        state[time] = min(state[time] + 1, MAX_AGE)
        for number in range(len(sizes)):
            added = state[time + 1 + number] + 4 * effects[number, actions[row]]
            state[time + 1 + number] = min(max(added, 0), sizes[number])
        _show(states[row : row + 1], next_values[row : row + 1], limits)


@compiled
def _replay(
    initial: Array,
    values: Array,
    actions: Array,
    lengths: Array,
    limits: Array,
    effects: Array,
    sizes: Array,
    states: Array,
    next_values: Array,
) -> None:
    """Write the state before each step of all episodes, and the values after it."""
    step = 0
    observation = 0
    for episode in range(len(lengths)):
        state = initial[episode : episode + 1].copy()
        observation += 1
        for _ in range(lengths[episode]):
            states[step] = state[0]
            next_values[step] = values[observation]
            _update(
                state,
                actions[step : step + 1],
                values[observation : observation + 1],
                limits,
                effects,
                sizes,
            )
            step += 1
            observation += 1
