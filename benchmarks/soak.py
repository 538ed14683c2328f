"""Every vector environment at full speed with random actions and random partial resets.

Every step is watched for broken invariants.

    python -m benchmarks.soak

Ten minutes in all by default, shared evenly among ids and autoreset modes. Rows are reset at random
by mask, which must leave all other rows as they are, and at times all of them with a new seed.
After every call observations, rewards and states are finite, observations lie within their space,
ends are never both sides of a reset, time goes on by one. By what a state holds: votes never exceed
the members, allocations sum to 1 within their bounds, scores count up to 21 by single points, and a
car gains no more energy than its engine gives.
"""

import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np
import tyro
from gymnasium.vector import AutoresetMode

import wm_envs  # noqa: F401  (registers the ids)
from benchmarks.report import write_result
from wm_envs.debate.dynamics import NUM as NUM_TENDENCIES
from wm_envs.driving import dynamics as driving
from wm_envs.pong.dynamics import POINTS_TO_WIN
from wm_envs.registration import TABLE
from wm_envs.resolutions.codes import TALLIES
from wm_envs.resolutions.dynamics import NUM_MEMBERS

Array = Any
MODES = tuple(AutoresetMode)
# The original console: two rows, and no state that can be looked into.
WITHOUT_STATES = ("wm/PongAtari-v0",)


@dataclass(frozen=True)
class Config:
    """How long and how many."""

    seconds: float = 600.0
    """Of wall time, all ids together."""
    num_envs: int = 256
    """Rows of each batch."""
    reset_share: float = 0.02
    """Probability that a call is preceded by a reset of random rows."""
    seed: int = 0
    """Of environments, actions and resets."""
    is_written: bool = True
    """Write benchmarks/results/soak.json."""


@dataclass
class Watch:
    """One environment under watch.

    Attributes:
        env_id: Which.
        num_steps: Row steps taken.
        num_resets: Rows reset in mid-episode.
        num_episodes: Episodes ended.
        violations: What was broken, at most ten kept.
        num_violations: How many there were.
    """

    env_id: str
    num_steps: int = 0
    num_resets: int = 0
    num_episodes: int = 0
    num_violations: int = 0
    violations: list[str] | None = None

    def report(self, messages: Iterator[str]) -> None:
        """Count what was broken."""
        for message in messages:
            self.num_violations += 1
            # A broken invariant breaks in every step: the first ones tell the story.
            self.violations = [*(self.violations or []), message][:10]


def main(config: Config) -> dict[str, Any]:
    """Watch all ids; returns the figures."""
    watches = []
    for row in TABLE:
        for number, mode in enumerate(MODES):
            seconds = config.seconds / len(TABLE) / len(MODES)
            watch = soak(row.id, mode, seconds, config, config.seed + number)
            if watch is not None:
                watches.append(watch)
                print(
                    f"{watch.env_id:22} {mode.value:9} {watch.num_steps:12,} steps "
                    f"{watch.num_violations} violations"
                )
    figures = summarise(watches)
    if config.is_written:
        write_result("soak", figures, seeds=config.seed, command="python -m benchmarks.soak")
    return figures


def summarise(watches: list[Watch]) -> dict[str, Any]:
    """Sums by id; the modes together."""
    names = ("num_steps", "num_resets", "num_episodes", "num_violations")
    return {
        env_id: {
            name: sum(getattr(watch, name) for watch in watches if watch.env_id == env_id)
            for name in names
        }
        | {
            "violations": [
                text for w in watches if w.env_id == env_id for text in w.violations or []
            ]
        }
        for env_id in dict.fromkeys(watch.env_id for watch in watches)
    }


def soak(
    env_id: str, mode: AutoresetMode, seconds: float, config: Config, seed: int
) -> Watch | None:
    """Run one environment in one autoreset mode; None where what it needs is not installed."""
    num_envs = 2 if env_id in WITHOUT_STATES else config.num_envs
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            env = gym.make_vec(env_id, num_envs, autoreset_mode=mode)
    except ImportError:
        return None
    watch, random = Watch(env_id), np.random.default_rng(seed)
    env.action_space.seed(seed)
    env.reset(seed=seed)
    end = time.perf_counter() + seconds
    ended = np.zeros(num_envs, np.bool_)
    # At least one call, however short the time is.
    while watch.num_steps == 0 or time.perf_counter() < end:
        ended = _call(env, env_id, mode, ended, watch, random, config.reset_share)
    env.close()
    return watch


def _call(
    env: Any,
    env_id: str,
    mode: AutoresetMode,
    ended: Array,
    watch: Watch,
    random: np.random.Generator,
    share: float,
) -> Array:
    """One step of all rows, after a reset where one is due or drawn.

    Gives the rows that have ended.
    """
    # Without autoreset the rows that ended have to be reset by us.
    mask = ended.copy() if mode == AutoresetMode.DISABLED else np.zeros_like(ended)
    if random.random() < share:
        mask |= random.random(len(mask)) < 0.2
    if random.random() < share / 10:
        env.reset(seed=int(random.integers(1 << 31)))
        watch.num_resets += int((~ended).sum())
        ended, mask = np.zeros_like(ended), np.zeros_like(mask)
    if mask.any():
        watch.report(_reset_rows(env, env_id, mask))
        watch.num_resets += int((mask & ~ended).sum())
        ended = ended & ~mask
    # The original's state is opaque bytes: nothing in it could be checked.
    before = None if env_id in WITHOUT_STATES else env.unwrapped.clone_state()
    observations, rewards, terminated, truncated, _ = env.step(env.action_space.sample())
    now = terminated | truncated
    went_on = ~now & ~ended
    # In next-step mode the call after an end is a reset and no step.
    watch.num_steps += int((~ended | (mode != AutoresetMode.NEXT_STEP)).sum())
    watch.num_episodes += int(now.sum())
    watch.report(_outputs(env, observations, rewards))
    if ended.any() and mode == AutoresetMode.NEXT_STEP:
        watch.report(f"a reset gave reward {reward}" for reward in rewards[ended] if reward != 0)
        watch.report("a reset gave an end" for is_end in now[ended] if is_end)
    if before is not None:
        watch.report(
            _states(
                before, env.unwrapped.clone_state(), went_on, env.unwrapped._rules.parameters[0]
            )
        )
    return now if mode != AutoresetMode.SAME_STEP else np.zeros_like(now)


def _reset_rows(env: Any, env_id: str, mask: Array) -> Iterator[str]:
    """Reset these rows; they begin at time 0, and nothing happens to the others."""
    if env_id in WITHOUT_STATES:
        env.reset(options={"reset_mask": mask})
        return
    before = env.unwrapped.clone_state()
    env.reset(options={"reset_mask": mask})
    after = env.unwrapped.clone_state()
    if after[mask]["time"].any():
        yield "a row that was reset does not begin at time 0"
    if not np.array_equal(_bytes(after)[~mask], _bytes(before)[~mask]):
        yield "a reset by mask changed another row"


def _bytes(states: Array) -> Array:
    """The rows [B, bytes].

    Taking rows of states themselves would fill the gaps between fields with anything.
    """
    return states.view(np.uint8).reshape(len(states), -1)


def _outputs(env: Any, observations: Array, rewards: Array) -> Iterator[str]:
    """What any environment promises."""
    space = env.single_observation_space
    if not np.isfinite(rewards).all():
        yield "a reward is not finite"
    if not np.isfinite(observations).all():
        yield "an observation is not finite"
    outside = (observations < space.low) | (observations > space.high)
    for row, column in np.argwhere(outside)[:3]:
        yield f"observation {column} is {observations[row, column]} outside its bounds"


def _states(before: Array, after: Array, went_on: Array, parameters: Any) -> Iterator[str]:
    """What state rows promise, by what they hold.

    `went_on` are those of which both are of one episode.
    """
    for name in after.dtype.names:
        if after.dtype[name].base.kind == "f" and not np.isfinite(after[name]).all():
            yield f"the state's {name} is not finite"
    if not (after["time"][went_on] == before["time"][went_on] + 1).all():
        yield "time went on by other than 1"
    for name, check in CHECKS.items():
        if name in (after.dtype.names or ()):
            yield from check(before, after, went_on, parameters)


def _votes(before: Array, after: Array, went_on: Array, parameters: Any) -> Iterator[str]:  # noqa: ARG001
    for stage in ("committee", "plenary"):
        tallies = np.stack([after[f"{stage}_{name}"] for name in TALLIES], 1)
        if tallies.min() < 0 or tallies.sum(1).max() > NUM_MEMBERS:
            yield (
                f"{stage}: tallies from {tallies.min()} and up to {tallies.sum(1).max()} of "
                f"{NUM_MEMBERS} members"
            )
        was = np.stack([before[f"{stage}_{name}"] for name in TALLIES], 1)[went_on]
        is_changed = (was.sum(1) > 0) & (was != tallies[went_on]).any(1)
        if is_changed.any():
            yield f"{stage}: votes that were cast have changed"
    if after["num_sponsors"].max() > NUM_MEMBERS or after["num_sponsors"].min() < 0:
        yield f"{after['num_sponsors'].max()} sponsors"


def _allocations(before: Array, after: Array, went_on: Array, parameters: Any) -> Iterator[str]:  # noqa: ARG001
    allocations = after["allocations"]
    if np.abs(allocations.sum(1) - 1.0).max() > 1e-9:
        sums = allocations.sum(1)
        yield f"allocations sum to {sums[np.abs(sums - 1).argmax()]:.12g}"
    low, high = parameters["min_allocation"], parameters["max_allocation"]
    if allocations.min() < low - 1e-9 or allocations.max() > high + 1e-9:
        yield (
            f"allocations from {allocations.min()} to {allocations.max()}, bounds {low} and {high}"
        )
    if (
        after["budgets"].min() < -1e-9 or np.abs(after["weights"]).max() > 1 + 1e-9
    ):  # CON stakes are negative
        yield (
            f"budgets from {after['budgets'].min()}, weights up to {np.abs(after['weights']).max()}"
        )
    assert allocations.shape[1] == NUM_TENDENCIES


def _scores(before: Array, after: Array, went_on: Array, parameters: Any) -> Iterator[str]:  # noqa: ARG001
    gains = np.zeros(int(went_on.sum()), np.int64)
    for name in ("player_score", "enemy_score"):
        if after[name].min() < 0 or after[name].max() > POINTS_TO_WIN:
            yield f"{name} from {after[name].min()} to {after[name].max()}"
        gain = after[name][went_on].astype(np.int64) - before[name][went_on]
        if (gain < 0).any():
            yield f"{name} went down"
        gains += gain
    if (gains > 1).any():
        yield "more than one point in a step"


def _energy(before: Array, after: Array, went_on: Array, parameters: Any) -> Iterator[str]:  # noqa: ARG001
    """The engine's work in a step bounds what a car gains.

    The model of low speeds moves it by little more.
    """
    gained = (_kinetic(after) - _kinetic(before))[went_on]
    limit = 1.05 * driving.MAX_POWER * driving.TIME_STEP + 500.0
    if len(gained) and gained.max() > limit:
        yield f"a car gained {gained.max():.0f} J in a step, the engine gives {limit:.0f}"
    for name in ("fuel", *(f"wear_{wheel}" for wheel in ("fl", "fr", "rl", "rr"))):
        # Neither comes back before the episode is over.
        if after[name].min() < 0 or (after[name][went_on] > before[name][went_on]).any():
            yield f"{name} fell below 0 or grew"


def _kinetic(states: Array) -> Array:
    moving = driving.MASS * (states["vx"] ** 2 + states["vy"] ** 2)
    return 0.5 * (moving + driving.YAW_INERTIA * states["yaw_rate"] ** 2)


Check = Callable[[Array, Array, Array, Any], Iterator[str]]
CHECKS: dict[str, Check] = {
    "plenary_yes": _votes, "allocations": _allocations, "enemy_score": _scores, "wear_fl": _energy,
}  # fmt: skip
"""A field of a state -> what holds of states that have it."""


if __name__ == "__main__":
    main(tyro.cli(Config))
