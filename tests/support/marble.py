"""A tiny world of integers for tests.

A marble on a ring of ten places that scores when it passes the seam.
"""

import numpy as np
from gymnasium import spaces

from wm_envs.data.trajectories import Trajectories

NUM_PLACES, GOAL = 10, 3
OBSERVATIONS = spaces.Box(0, NUM_PLACES, (3,), np.float32)
ACTIONS = spaces.Discrete(3)  # stay, on, and either of them by chance


def follow(place, score, action, generator):
    stride = action if action < 2 else int(generator.integers(2))
    return (place + stride) % NUM_PLACES, score + int(place + stride == NUM_PLACES)


def play(num_games, seed, max_steps=200):
    generator = np.random.default_rng(seed)
    columns = [[], [], [], [], []]
    for _ in range(num_games):
        place, score = int(generator.integers(NUM_PLACES)), 0
        columns[0].append((place, score, 7))
        for step in range(max_steps):
            action = int(generator.integers(3))
            place, scored = follow(place, score, action, generator)
            reward, score = 2.0 * (scored - score), scored
            ended = score == GOAL
            columns[0].append((place, score, 7))
            for column, value in zip(
                columns[1:], (action, reward, ended, step == max_steps - 1), strict=True
            ):
                column.append(value)
            if ended:
                break
    return Trajectories.from_arrays(*(np.array(column) for column in columns))


class MarbleView:
    """Parts: place and score. The state holds both and the number of steps since the start."""

    parts, outcomes, absent = ("place", "score"), (1,), (None, None)
    observation_size, state_size = 3, 3

    def initialize(self, observations):
        if (observations[:, 2] != 7).any():
            raise ValueError("the third feature of a marble is 7")
        return np.column_stack([self.values(observations), np.zeros(len(observations))]).astype(
            np.int32
        )

    def replay(self, observations, actions, lengths):
        states, next_values, seen = [], [], 0
        for length in lengths:
            for step in range(length):
                states.append([*self.values(observations[seen : seen + 1])[0], step])
                next_values.append(self.values(observations[seen + 1 : seen + 2])[0])
                seen += 1
            seen += 1
        return np.array(states, np.int32), np.array(next_values)

    def encode(self, part, states, actions, next_values):
        sure = (
            np.where(actions < 2, 1 + states[:, 0] * 2 + actions, 0)
            if part == 0
            else np.zeros(len(actions))
        )
        return states[:, part].astype(np.int64), sure.astype(np.int64)

    def symbols(self, part, states, actions, next_values):
        if part == 0:
            return np.column_stack([states[:, 0], NUM_PLACES + actions]).astype(
                np.int32
            ), NUM_PLACES + 3
        pair = states[:, 0] * NUM_PLACES + next_values[:, 0]
        return pair[:, None].astype(np.int32), NUM_PLACES**2

    def update(self, states, actions, next_values):
        after = np.column_stack([next_values, states[:, 2] + 1]).astype(np.int32)
        return np.where(actions[:, None] < 0, states, after).astype(np.int32)

    def values(self, observations):
        return np.asarray(observations)[:, :2].astype(np.int64)

    def observations(self, states):
        return np.column_stack([states[:, :2], np.full(len(states), 7)]).astype(np.float32)

    def features(self, states):
        return states.astype(np.float32) / 10
