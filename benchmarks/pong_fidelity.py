"""Is wm/Pong-v0 the Atari game?

Complete games are replayed through both and compared in every feature of every frame.

    python -m benchmarks.pong_fidelity

A scripted player, another one in each game, decides every fourth frame; in half of the games its
actions are sticky. The actions that were executed, frame by frame, are then given to the compiled
game from its reset to the end of the game. The first difference, if there ever is one, is named by
feature, event and frame. One more game is a rally that lasts until the console ends it, after 18
minutes.
"""

import argparse
import itertools
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

import wm_envs  # noqa: F401  (registers the ids)
from benchmarks.report import write_result
from wm_envs.pong import dynamics
from wm_envs.pong.columns import NUM_FEATURES, PongFeature
from wm_envs.pong.env import PongEnv
from wm_envs.pong.planner import plan
from wm_envs.pong.players import BallTracker, Explorer, Interceptor, RandomHolder

Array = NDArray[Any]
Player = Callable[
    [Array, Any], int
]  # from an observation [1, 56] and the state of the copy to an action

FRAMES_PER_DECISION = 4
FRAMES_OF_PATIENCE = 12_000
MAX_FRAMES = 60_000  # of a game
FIRING = (dynamics.FIRE, dynamics.RIGHT_FIRE, dynamics.LEFT_FIRE)
OPTIONS = {"frame_skip": 1, "max_noops": 0, "time_limit": MAX_FRAMES}
STICKY = 0.25
RALLY = {
    0: dynamics.LEFT_FIRE,
    86: dynamics.RIGHT_FIRE,
    87: dynamics.RIGHT_FIRE,
    88: dynamics.RIGHT_FIRE,
}
# The console ends the game in between.
FRAMES_OF_RALLY, FRAMES_AFTERWARDS = 65_000, 1_000


class Game:
    """What a game showed: the 14 features of each frame and the rewards between them."""

    def __init__(self, observation: Array) -> None:
        self.features = [newest(observation)]
        self.rewards: list[float] = []
        self.is_over = self.has_ended = False

    def add(self, outcome: tuple[Array, float, bool, bool, Any]) -> None:
        """The next frame, as `step` gave it."""
        observation, reward, self.is_over, truncated, _ = outcome
        self.features.append(newest(observation))
        self.rewards.append(reward)
        self.has_ended = self.is_over or truncated

    def stack(self) -> Array:
        """The observation [1, 56] of an agent with a frame skip."""
        ages = range(3 * FRAMES_PER_DECISION, -1, -FRAMES_PER_DECISION)
        return np.stack(
            [self.features[max(0, len(self.features) - 1 - age)] for age in ages], axis=1
        ).reshape(1, -1)


@dataclass(frozen=True)
class Pair:
    """The same actions in both games, and the event of each frame."""

    original: Game
    copy: Game
    actions: list[int] = field(default_factory=list)
    events: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Difference:
    """The first place where two games part."""

    game: int
    frame: int
    event: str
    feature: str
    original: float
    copy: float


@dataclass
class Tally:
    """What the games of one noise level came to."""

    games_over: int = 0
    games_won: int = 0
    games_equal_in_every_frame: int = 0
    frames: int = 0
    longest_game_in_frames: int = 0
    frames_with_fire: int = 0
    first_difference: dict[str, Any] | None = None

    def add(self, pair: Pair, difference: Difference | None) -> None:
        """Count a game."""
        self.games_over += pair.original.is_over
        self.games_won += sum(pair.original.rewards) > 0
        self.games_equal_in_every_frame += difference is None
        self.frames += len(pair.actions)
        self.longest_game_in_frames = max(self.longest_game_in_frames, len(pair.actions))
        self.frames_with_fire += sum(action in FIRING for action in pair.actions)
        if difference is not None and self.first_difference is None:
            self.first_difference = asdict(difference)


def newest(observation: Array) -> Array:
    """The 14 features of the newest frame."""
    return observation[dynamics.STACK - 1 :: dynamics.STACK]


def player_of(game: int) -> Player:
    """Another player, with other habits, in each game."""
    generator = np.random.default_rng([game, 1])
    fire_share, random_share = generator.uniform(0.2, 1.0), generator.uniform(0.05, 0.4)
    seers: list[Callable[[Array], Array]] = [
        RandomHolder(game, max_hold=int(generator.integers(2, 16))),
        BallTracker(
            game,
            noise=generator.uniform(4.0, 16.0),
            random_share=random_share,
            fire_share=fire_share,
        ),
        Explorer(game, random_share=random_share, fire_share=fire_share),
        Interceptor(game, fire_share=fire_share, edge_share=generator.uniform(0.0, 1.0)),
    ]
    # One game in five goes to the planner, which needs the copy's state.
    kind = game % (len(seers) + 1)
    if kind == len(seers):
        rules = PongEnv.rules(frame_skip=FRAMES_PER_DECISION)
        return lambda _, state: int(plan(rules, state[None])[0])
    return lambda seen, _: int(seers[kind](seen)[0])


def rallying() -> Player:
    """A player who stands where every ball meets the paddle, by `RALLY` from decision to action.

    Found by trial.
    """
    decisions = itertools.count()
    return lambda *_: RALLY.get(next(decisions), dynamics.NOOP)


def play(
    original: Any,
    copy: Any,
    player: Player,
    repeat_action_probability: float,
    seed: int,
    frames_of_patience: int = FRAMES_OF_PATIENCE,
) -> Pair:
    """One game through both, with the noise of the actions drawn here so that it is the same.

    After a while the player gives way to random actions, since rallies can go on for ever.
    """
    # Streams of their own, so that another player does not change the noise.
    generator, tired = np.random.default_rng([seed, 2]), RandomHolder(seed)
    pair = Pair(Game(original.reset(seed=seed)[0]), Game(copy.reset(seed=seed)[0]))
    wanted = executed = dynamics.NOOP
    while not pair.original.has_ended:
        if len(pair.actions) % FRAMES_PER_DECISION == 0:
            seen = pair.original.stack()
            is_tired = len(pair.actions) > frames_of_patience
            wanted = int(tired(seen)[0]) if is_tired else player(seen, copy.clone_state())
        # Drawn in every frame, so that both games spend the stream alike.
        if generator.random() >= repeat_action_probability:
            executed = wanted
        pair.actions.append(executed)
        pair.original.add(original.step(executed))
        # A copy that ends too early is a difference, which the comparison finds by the lengths.
        if not pair.copy.has_ended:
            before = copy.clone_state()
            pair.copy.add(copy.step(executed))
            pair.events.append(event(before, copy.clone_state()))
    return pair


def event(before: Any, after: Any) -> str:
    """What a frame of the compiled game was about."""
    if after["is_off"]:
        return "the console's end"
    if before["serve_timer"] > 0:
        return "serve" if after["serve_timer"] == 0 else "no ball"
    if after["serve_timer"] > 0:
        return (
            "point of the agent"
            if after["player_score"] > before["player_score"]
            else "point of the enemy"
        )
    if after["ball_dx"] != before["ball_dx"]:
        is_return = after["ball_dx"] * before["ball_dx"] < 0
        name = "agent's return" if after["ball_dx"] < 0 else "enemy's return"
        return name if is_return else "second touch"
    is_at_wall = after["ball_dy"] == -before["ball_dy"] != 0
    return "wall" if is_at_wall else "flight"


def first_difference(number: int, pair: Pair) -> Difference | None:
    """The first frame and feature, or reward, in which two games differ."""
    original, copy = pair.original, pair.copy
    num_frames = min(len(original.rewards), len(copy.rewards))
    differs = np.any(
        np.array(original.features)[: num_frames + 1] != np.array(copy.features)[: num_frames + 1],
        axis=1,
    )
    differs[1:] |= np.array(original.rewards)[:num_frames] != np.array(copy.rewards)[:num_frames]
    if differs.any():
        return _difference_at(number, int(differs.argmax()), pair)
    lengths = len(original.rewards), len(copy.rewards)
    if lengths[0] != lengths[1] or original.is_over != copy.is_over:
        return Difference(number, num_frames, "end of the game", "frames", *map(float, lengths))
    return None


def _difference_at(number: int, frame: int, pair: Pair) -> Difference:
    name_of_event = pair.events[frame - 1] if frame > 0 else "reset"
    # As plain numbers, which JSON takes.
    original = pair.original.features[frame].tolist()
    copy = pair.copy.features[frame].tolist()
    for feature in list(PongFeature)[:NUM_FEATURES]:
        if original[feature] != copy[feature]:
            name = feature.name.lower()
            values = (original[feature], copy[feature])
            return Difference(number, frame, name_of_event, name, *values)
    rewards = pair.original.rewards[frame - 1], pair.copy.rewards[frame - 1]
    return Difference(number, frame, name_of_event, "reward", *rewards)


def compare(num_games: int, first: int, repeat_action_probability: float) -> dict[str, Any]:
    """Play and compare; the figures of one noise level."""
    original, copy = (
        gym.make(env_id, **OPTIONS).unwrapped for env_id in ("wm/PongAtari-v0", "wm/Pong-v0")
    )
    tally, counts = Tally(), Counter[str]()
    for number in range(first, first + num_games):
        pair = play(original, copy, player_of(number), repeat_action_probability, number)
        counts.update(pair.events)
        tally.add(pair, first_difference(number, pair))
    original.close()
    return {
        "repeat_action_probability": repeat_action_probability,
        "games": num_games,
        **asdict(tally),
        "events": dict(sorted(counts.items())),
    }


def compare_rally() -> dict[str, Any]:
    """A rally until the console ends the game, and random actions afterwards."""
    options = {**OPTIONS, "time_limit": FRAMES_OF_RALLY + FRAMES_AFTERWARDS}
    original, copy = (
        gym.make(env_id, **options).unwrapped for env_id in ("wm/PongAtari-v0", "wm/Pong-v0")
    )
    pair = play(original, copy, rallying(), 0.0, 0, FRAMES_OF_RALLY)
    difference = first_difference(0, pair)
    original.close()
    return {
        "frames": len(pair.actions),
        "frames_after_the_console's_end": pair.events.count("the console's end"),
        "first_difference": None if difference is None else asdict(difference),
    }


def main() -> None:
    """Compare at both noise levels, print and write the result."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--games", type=int, default=100, help="games at each noise level")
    parser.add_argument("--seed", type=int, default=0, help="number of the first game")
    arguments = parser.parse_args()
    start = time.perf_counter()
    levels = zip((0.0, STICKY), itertools.count(arguments.seed, arguments.games), strict=False)
    figures = {
        f"repeat {level:g}": compare(arguments.games, first, level) for level, first in levels
    }
    for name, row in figures.items():
        print(name)
        for key, value in row.items():
            print(f"  {key}: {value}")
        assert row["frames_with_fire"] > 0, "no action had FIRE"
        assert row["games_over"] == arguments.games, "a game did not end"
    figures["rally"] = compare_rally()
    print("rally", figures["rally"])
    assert figures["rally"]["frames_after_the_console's_end"] > 0, (
        "the console did not end the game"
    )
    figures["seconds"] = {"total": round(time.perf_counter() - start)}
    command = (
        f"python -m benchmarks.pong_fidelity --games {arguments.games} --seed {arguments.seed}"
    )
    path = write_result("pong_fidelity", figures, seeds=arguments.seed, command=command)
    print(f"written to {path}")


if __name__ == "__main__":
    main()
