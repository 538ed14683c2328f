"""Agents play whole episodes, and what planning in a model costs against the true rules."""

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from numpy.typing import ArrayLike, NDArray
from scipy.special import stdtrit

from wm_agents.errors import ConfigError
from wm_agents.evaluation.statistics import (
    Interval,
    check_resampling,
    finite_array,
    percentile_limits,
    wilson_interval,
)
from wm_agents.protocols import Agent
from wm_agents.training.config_checks import checked_seed, require_integers
from wm_envs.data.display import counted, data_frame, html_card
from wm_envs.data.progress import ProgressBar
from wm_envs.data.progress import progress as progress_of

MAX_ENVS = 64
"""How many environments `evaluate` steps side by side unless told otherwise."""

_MAX_STARTS_PER_EPISODE = 20


@dataclass(frozen=True)
class EpisodeResults:
    """What E episodes gave, in the order of their seeds.

    Attributes:
        returns: Undiscounted sums of rewards [E].
        lengths: Steps [E].
        successes: `info["is_success"]` at the last step [E]; None where the environment does not
            report it.
        num_solved_starts: Starts that were solved before the first action; they are not among the E
            episodes.
    """

    returns: NDArray[np.float64]
    lengths: NDArray[np.int64]
    successes: NDArray[np.bool_] | None = None
    num_solved_starts: int = 0

    @property
    def mean_return(self) -> float:
        """Mean of the returns."""
        return float(self.returns.mean())

    @property
    def success_rate(self) -> float | None:
        """Share of successful episodes; None where the environment does not report success."""
        return None if self.successes is None else float(self.successes.mean())

    @property
    def return_interval(self) -> Interval:
        """The mean return within its 95% confidence limits.

        Student's t over the episodes (Student 1908); infinite limits for a single one. It knows no
        bounds of rewards: with few episodes a limit may lie beyond any return that is possible.
        """
        # One episode has no spread to estimate.
        num_episodes = self.returns.size
        if num_episodes < 2:
            return Interval(self.mean_return, -math.inf, math.inf)
        error = float(self.returns.std(ddof=1)) / math.sqrt(num_episodes)
        # Student's t, since few episodes are usual.
        width = float(stdtrit(num_episodes - 1, 0.975)) * error
        return Interval(self.mean_return, self.mean_return - width, self.mean_return + width)

    @property
    def success_interval(self) -> Interval | None:
        """The success rate within its 95% limits (Wilson 1927); None where there is none."""
        if self.successes is None:
            return None
        return wilson_interval(int(self.successes.sum()), self.successes.size)

    def __repr__(self) -> str:
        facts = ", ".join(f"{name} {value}" for name, value in self._facts().items())
        told = f"{counted(self.returns.size, 'episode')}, {facts}"
        # Of a single episode there are no limits to explain.
        if "[" in facts:
            told += "; in brackets: 95% limits of the mean"
        return f"EpisodeResults({told})"

    def _repr_html_(self) -> str:
        return html_card("EpisodeResults", {"episodes": self.returns.size, **self._facts()})

    def _facts(self) -> dict[str, str]:
        facts = {"mean return": f"{self.mean_return:.4g}"}
        if self.returns.size > 1:
            facts["mean return"] = str(self.return_interval)
        if (success := self.success_interval) is not None:
            facts["success"] = str(success)
        return {**facts, "mean length": f"{self.lengths.mean():.4g}"}

    def to_pandas(self) -> Any:
        """One row an episode as a `pandas.DataFrame`: return, length, and success where it is reported.

        Raises:
            MissingExtraError: pandas is not installed.
        """
        columns: dict[str, NDArray[Any]] = {"return": self.returns, "length": self.lengths}
        if self.successes is not None:
            columns["success"] = self.successes
        return data_frame(columns)

    def summary(self) -> dict[str, float]:
        """Flat names to numbers, the form of a `summary.json`."""
        numbers = {
            "mean_return": self.mean_return,
            "std_return": float(self.returns.std()),
            "mean_length": float(self.lengths.mean()),
            "num_episodes": float(len(self.returns)),
            "num_solved_starts": float(self.num_solved_starts),
        }
        return (
            numbers if self.success_rate is None else {**numbers, "success_rate": self.success_rate}
        )


class RandomAgent:
    """Uniform actions, whatever is seen: the lower end of every comparison.

    Args:
        action_space: The single environment's action space; it is copied before it is seeded.
        seed: Seed of the draws.
    """

    def __init__(self, action_space: gym.Space[Any], seed: int = 0) -> None:
        # A copy: seeding the caller's space would change what it draws.
        self._space = deepcopy(action_space)
        self._space.seed(checked_seed(seed))

    def predict(
        self,
        observation: Any,  # noqa: ARG002
        state: Any = None,
        episode_start: NDArray[np.bool_] | None = None,
        deterministic: bool = False,  # noqa: ARG002
    ) -> tuple[Any, Any]:
        """One action, or one for each row when `episode_start` says how many rows there are."""
        if episode_start is None:
            return self._space.sample(), state
        return np.stack(
            [np.asarray(self._space.sample()) for _ in range(len(episode_start))]
        ), state


class FunctionAgent:
    """A function of observations as an agent, for scripted experts and networks of other libraries.

    Args:
        policy: Actions [B, ...] for a batch of observations.
    """

    def __init__(self, policy: Callable[[Any], Any]) -> None:
        self.policy = policy

    def predict(
        self,
        observation: Any,
        state: Any = None,
        episode_start: NDArray[np.bool_] | None = None,
        deterministic: bool = False,  # noqa: ARG002
    ) -> tuple[Any, Any]:
        """Actions for a batch where `episode_start` has its rows, else for a single observation."""
        if episode_start is None:
            return self.policy(np.asarray(observation)[None])[0], state
        return self.policy(observation), state


def evaluate(
    agent: Agent,
    env: str | VectorEnv[Any, Any, Any],
    episodes: int = 50,
    *,
    seed: int = 0,
    num_envs: int | None = None,
    env_kwargs: dict[str, Any] | None = None,
    deterministic: bool = True,
    progress: bool | None = False,
) -> EpisodeResults:
    """Run an agent for whole episodes.

    Episode k starts from seed + k, in `gym.make(env)` exactly, whatever `num_envs` is; every
    started episode is run to its end and counted, so that short ones are not counted more often
    (the first E to finish would be the short ones). Starts that `info["is_success"]` calls solved
    at the reset are skipped, counted, and made up for by later seeds.

    Args:
        agent: Anything with Stable-Baselines3's `predict`, for batches.
        env: An id, or a vector environment of yours (left open), which takes an integer seed for
            row 0.
        episodes: E, at least 1.
        seed: Seed of the first episode.
        num_envs: Environments side by side; by default as many as episodes, at most `MAX_ENVS`.
        env_kwargs: Options of the environment, with an id only.
        deterministic: Passed to `predict`.
        progress: A bar on a terminal, elsewhere lines; None: there only of long work.

    Raises:
        ConfigError: On counts below 1, on a single environment in place of an id, on options beside
            a ready environment, and when nearly all starts are solved.
    """
    require_integers(None, episodes=episodes, num_envs=1 if num_envs is None else num_envs)
    require_integers(0, seed=seed)
    seed = int(seed)  # other libraries' environments refuse NumPy's integers
    if episodes < 1 or (num_envs is not None and num_envs < 1):
        raise ConfigError(f"episodes={episodes} and num_envs={num_envs}: give at least 1")
    with (
        _opened(env, num_envs or min(episodes, MAX_ENVS), env_kwargs) as rows,
        progress_of(episodes, "evaluate", progress) as bar,
    ):
        waves, num_found, num_starts = [], 0, 0
        while num_found < episodes:
            # A task whose every start is solved would go on for ever.
            if num_starts >= _MAX_STARTS_PER_EPISODE * episodes + rows.num_envs:
                raise ConfigError(
                    f"{num_starts - num_found} of {num_starts} starts are solved: make the task "
                    "harder"
                )
            # Seeds follow each other over waves, so that the number of rows does not change the
            # episodes.
            waves.append(_run_wave(agent, rows, seed + num_starts, deterministic, bar, episodes))
            num_starts += rows.num_envs
            num_found += int((~waves[-1].is_solved_start).sum())
    return _collect(waves, episodes)


@contextmanager
def _opened(
    env: str | VectorEnv[Any, Any, Any], num_envs: int, env_kwargs: dict[str, Any] | None
) -> Iterator[VectorEnv[Any, Any, Any]]:
    if isinstance(env, VectorEnv):
        if env_kwargs:
            raise ConfigError(
                f"env_kwargs={env_kwargs} beside a ready environment: make it with these options "
                "instead"
            )
        yield env
        return
    if isinstance(env, gym.Env):
        raise ConfigError(
            "a single environment cannot be copied: give its id, or "
            "gym.vector.SyncVectorEnv([make] * n)"
        )
    # A registered vector entry point may differ from the single environment; the single one is what
    # is asked about.
    rows = gym.make_vec(env, num_envs, vectorization_mode="sync", **(env_kwargs or {}))
    try:
        yield rows
    finally:
        rows.close()


@dataclass
class _Wave:
    """The first episode of each of B rows."""

    returns: NDArray[np.float64]
    lengths: NDArray[np.int64]
    successes: NDArray[np.bool_]
    is_solved_start: NDArray[np.bool_]
    has_success: bool = False


def _run_wave(
    agent: Agent,
    env: VectorEnv[Any, Any, Any],
    seed: int,
    deterministic: bool,
    bar: ProgressBar,
    episodes: int,
) -> _Wave:
    num_envs = env.num_envs
    mode = env.metadata.get("autoreset_mode", AutoresetMode.NEXT_STEP)
    observations, infos = env.reset(seed=seed)
    solved = _success_flags(infos, num_envs)
    wave = _Wave(
        np.zeros(num_envs),
        np.zeros(num_envs, np.int64),
        np.zeros(num_envs, np.bool_),
        # Starts that are solved already say nothing of an agent.
        np.zeros(num_envs, np.bool_) if solved is None else solved,
    )
    is_running, is_start, state = np.ones(num_envs, np.bool_), np.ones(num_envs, np.bool_), None
    while is_running.any():
        actions, state = agent.predict(
            observations, state=state, episode_start=is_start, deterministic=deterministic
        )
        observations, rewards, terminations, truncations, infos = env.step(actions)
        is_start = np.asarray(terminations) | np.asarray(truncations)
        # Rows that are over wait, and what they do does not count.
        was_running = is_running.copy()
        wave.returns += np.where(is_running, rewards, 0.0)
        wave.lengths += is_running
        _note_successes(wave, infos, is_running & is_start, mode)
        is_running &= ~is_start
        # Rows that are started beyond the episodes asked for are not counted.
        num_new = min(int((was_running & ~is_running).sum()), episodes - bar.num_done)
        bar.advance(num_new, step=float(wave.lengths.max()))
        # Without autoreset an ended row must be reset before the others can go on.
        if mode == AutoresetMode.DISABLED and is_start.any() and is_running.any():
            observations, _ = env.reset(options={"reset_mask": is_start.copy()})
    return wave


def _note_successes(
    wave: _Wave, infos: dict[str, Any], is_last: NDArray[np.bool_], mode: Any
) -> None:
    # In this mode the info of the step is that of the new episode already.
    final = infos.get("final_info", infos) if mode == AutoresetMode.SAME_STEP else infos
    flags = _success_flags(final, len(is_last))
    if flags is not None and is_last.any():
        wave.has_success = True
        wave.successes[is_last] = flags[is_last]


def _success_flags(infos: dict[str, Any], num_envs: int) -> NDArray[np.bool_] | None:
    """`is_success` of the rows [B], False where a row has none; None when no row has it."""
    if "is_success" not in infos:
        return None
    values = np.asarray(infos["is_success"]).astype(np.bool_)
    return values & np.asarray(infos.get("_is_success", np.ones(num_envs, np.bool_)), np.bool_)


def _collect(waves: list[_Wave], episodes: int) -> EpisodeResults:
    """The first E unsolved starts in the order of the seeds.

    And how many solved ones came before the last of them.
    """
    # In the order of seeds and not of ending: short episodes would be preferred.
    is_solved = np.concatenate([wave.is_solved_start for wave in waves])
    chosen = np.flatnonzero(~is_solved)[:episodes]
    successes = np.concatenate([wave.successes for wave in waves])[chosen]
    return EpisodeResults(
        returns=np.concatenate([wave.returns for wave in waves])[chosen],
        lengths=np.concatenate([wave.lengths for wave in waves])[chosen],
        successes=successes if any(wave.has_success for wave in waves) else None,
        num_solved_starts=int(is_solved[: chosen[-1]].sum()),
    )


@dataclass(frozen=True)
class PlanningGap:
    """(learned - random) / (oracle - random) of mean returns, the same planner in the first two.

    Attributes:
        closed: The share of the gap that the learned model closes: 0 is random, 1 is the oracle.
        learned: Mean return of the planner on the learned model.
        oracle: Mean return of the same planner on the true dynamics.
        random: Mean return of uniform actions.
        max_steps: Where the episodes were cut; None where they ended by themselves.
    """

    closed: Interval
    learned: float
    oracle: float
    random: float
    max_steps: int | None = None

    def summary(self) -> dict[str, float]:
        """Flat names to numbers, the form of a `summary.json`."""
        returns = {
            "mean_return": self.learned,
            "oracle_return": self.oracle,
            "random_return": self.random,
        }
        return {**self.closed.flatten("planning_gap"), **returns}


def normalized_returns(returns: Mapping[str, float], low: str, high: str) -> dict[str, float]:
    """Returns of agents as shares of the way from one agent's to another's, which are left out.

    Raises:
        ConfigError: Both have the same return, or one of them is not there.
    """
    if low not in returns or high not in returns or returns[low] == returns[high]:
        raise ConfigError(f"{low} and {high} have to differ, got returns {dict(returns)}")
    span = returns[high] - returns[low]
    return {
        name: (value - returns[low]) / span
        for name, value in returns.items()
        if name not in (low, high)
    }


def planning_gap(
    learned: "ArrayLike",
    oracle: "ArrayLike",
    random: "ArrayLike",
    *,
    confidence: float = 0.95,
    num_resamples: int = 4000,
    seed: int = 0,
) -> PlanningGap:
    """Compare returns [E], or [R, E] of R independently trained runs, with a bootstrap interval.

    What is resampled is the unit of chance: episodes where there is one run, runs where there are
    several (their episodes are averaged first). Three arms of equal length are taken as paired,
    since `evaluate` starts episode k of every arm from the same seed, and are resampled together.
    One unit alone has no limits: they are infinite.

    Args:
        learned: Returns of the planner on the learned model.
        oracle: Returns of the same planner on the true dynamics.
        random: Returns of uniform actions.
        confidence: Coverage of the interval, in (0, 1).
        num_resamples: Number of bootstrap resamples.
        seed: Seed of the resampling.

    Raises:
        ConfigError: On returns that are not finite, on a confidence outside (0, 1), and when the
            oracle does no better than chance, so that there is no gap to close.
    """
    check_resampling(confidence, num_resamples)
    arms = [_per_unit(learned, "learned"), _per_unit(oracle, "oracle"), _per_unit(random, "random")]
    means = [float(arm.mean()) for arm in arms]
    # The oracle is the scale: without a lead over random play there is nothing to divide by.
    if means[1] <= means[2]:
        raise ConfigError(
            f"the planner's mean return on the true dynamics is {means[1]:.4g}, that of random "
            f"actions {means[2]:.4g}: "
            "there is no gap to close; give the planner a longer horizon or more candidates"
        )
    low, high = _limits(arms, confidence, num_resamples, seed)
    estimate = (means[0] - means[2]) / (means[1] - means[2])
    learned_mean, oracle_mean, random_mean = means
    closed = Interval(estimate, low, high, confidence)
    return PlanningGap(closed, learned_mean, oracle_mean, random_mean)


def _per_unit(returns: "ArrayLike", name: str) -> NDArray[np.float64]:
    values = finite_array(returns, name)
    return values.mean(axis=1) if values.ndim == 2 and len(values) > 1 else values.ravel()


def _limits(
    arms: list[NDArray[np.float64]], confidence: float, num_resamples: int, seed: int
) -> tuple[float, float]:
    # One unit has no spread.
    if min(len(arm) for arm in arms) < 2:
        return float("-inf"), float("inf")
    generator = np.random.default_rng(checked_seed(seed))
    # Equal numbers are equal seeds: drawn together, what they share cancels.
    is_paired = len({len(arm) for arm in arms}) == 1
    indices = generator.integers(len(arms[0]), size=(num_resamples, len(arms[0])))
    draws = []
    for arm in arms:
        chosen = (
            indices if is_paired else generator.integers(len(arm), size=(num_resamples, len(arm)))
        )
        draws.append(arm[chosen].mean(axis=1))
    gaps = draws[1] - draws[2]
    is_open = gaps > 0
    # Where the oracle's lead itself is within chance, no share of it can be told.
    if is_open.mean() < confidence:
        return float("-inf"), float("inf")
    low, high = percentile_limits((draws[0] - draws[2])[is_open] / gaps[is_open], confidence)
    return float(low), float(high)
