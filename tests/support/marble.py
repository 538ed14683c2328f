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
    """Parts: place and score. The memory holds both and the number of steps since the start."""

    parts, outcomes, absent = ("place", "score"), (1,), (None, None)
    observation_size, memory_size = 3, 3

    def begin(self, observations):
        if (observations[:, 2] != 7).any():
            raise ValueError("the third feature of a marble is 7")
        return np.column_stack([self.present(observations), np.zeros(len(observations))]).astype(
            np.int32
        )

    def remember(self, observations, actions, lengths):
        memories, decided, seen = [], [], 0
        for length in lengths:
            for step in range(length):
                memories.append([*self.present(observations[seen : seen + 1])[0], step])
                decided.append(self.present(observations[seen + 1 : seen + 2])[0])
                seen += 1
            seen += 1
        return np.array(memories, np.int32), np.array(decided)

    def look(self, part, memories, actions, decided):
        sure = (
            np.where(actions < 2, 1 + memories[:, 0] * 2 + actions, 0)
            if part == 0
            else np.zeros(len(actions))
        )
        return memories[:, part].astype(np.int64), sure.astype(np.int64)

    def symbols(self, part, memories, actions, decided):
        if part == 0:
            return np.column_stack([memories[:, 0], NUM_PLACES + actions]).astype(
                np.int32
            ), NUM_PLACES + 3
        pair = memories[:, 0] * NUM_PLACES + decided[:, 0]
        return pair[:, None].astype(np.int32), NUM_PLACES**2

    def advance(self, memories, actions, decided):
        after = np.column_stack([decided, memories[:, 2] + 1]).astype(np.int32)
        return np.where(actions[:, None] < 0, memories, after).astype(np.int32)

    def present(self, observations):
        return np.asarray(observations)[:, :2].astype(np.int64)

    def observations(self, memories):
        return np.column_stack([memories[:, :2], np.full(len(memories), 7)]).astype(np.float32)

    def features(self, memories):
        return memories.astype(np.float32) / 10
