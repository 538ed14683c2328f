"""Does the world model help? The same agent with it, without it, and with a placebo.

The placebo predicts the observations of other episodes: the same targets, loss and gradient sizes,
and no information. Every arm is tuned over the same learning rates, and the rate is chosen on the
curve, never on the final episodes.
"""

import functools
import importlib
import math
import multiprocessing
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from numpy.typing import NDArray

from wm_agents.errors import ConfigError
from wm_agents.evaluation.plots import plot_intervals, plot_learning_curves
from wm_agents.evaluation.statistics import (
    exact_permutation_test,
    interquartile_mean,
    probability_of_improvement,
    stratified_bootstrap,
)
from wm_agents.evaluation.thresholds import steps_to_threshold, threshold_ratio
from wm_agents.policy_gradient.reinforce import Reinforce, ReinforceConfig, UpdateReport
from wm_agents.training.config_checks import require_integers
from wm_envs.data.display import short_repr

Report = Callable[[str, int, float], None]


@dataclass(frozen=True)
class Protocol:
    """How every arm is run and judged.

    Attributes:
        env_id: A Gymnasium id whose info carries `is_success`; "module:id" imports the module
            first.
        env_kwargs: Its options.
        seed: Run k of every arm uses the k-th child of this seed.
        num_updates: Updates of each run.
        evaluate_every: Updates between two greedy evaluations.
        evaluation_episodes: Episodes of each such evaluation and run.
        final_episodes: Episodes of the closing evaluation, other ones than those of the curve.
        stop_when: Stop before `num_updates` once every run has reached this success rate.
        levels: For a curriculum, further options per level; what is judged is the last.

    Raises:
        ConfigError: A number below 1, or more updates between two evaluations than there are.
    """

    env_id: str
    env_kwargs: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 0
    num_updates: int = 2000
    evaluate_every: int = 50
    evaluation_episodes: int = 100
    final_episodes: int = 500
    stop_when: float = float("inf")
    levels: Sequence[Mapping[str, Any]] = ({},)

    def __post_init__(self) -> None:
        require_integers(
            1, evaluate_every=self.evaluate_every, evaluation_episodes=self.evaluation_episodes
        )
        require_integers(1, final_episodes=self.final_episodes)
        if self.num_updates < self.evaluate_every:
            raise ConfigError(
                f"num_updates={self.num_updates} ends before the first evaluation: give at least "
                f"evaluate_every={self.evaluate_every}"
            )


@dataclass(frozen=True)
class ArmResult:
    """One arm.

    Attributes:
        label: Its name.
        learning_rate: With which it was run.
        episodes: Training episodes of a run before each evaluation [K].
        curve: Greedy success rate [S, K].
        final: Greedy success rate in the closing evaluation [S].
        cpu_seconds: Of the training and its evaluations.
    """

    label: str
    learning_rate: float
    episodes: NDArray[np.int64]
    curve: NDArray[np.float64]
    final: NDArray[np.float64]
    cpu_seconds: float

    __repr__ = short_repr

    def to_figures(self) -> dict[str, Any]:
        """As JSON can hold it."""
        return {
            "learning_rate": self.learning_rate,
            "iqm": interquartile_mean(self.final),
            "final": self.final.tolist(),
            "episodes": self.episodes.tolist(),
            "curve": self.curve.round(4).tolist(),
            "cpu_seconds": self.cpu_seconds,
        }


def world_model_arms(config: ReinforceConfig) -> dict[str, ReinforceConfig]:
    """The three arms: `with`, `without` and `placebo`."""
    if config.weights.world_model == 0:
        raise ConfigError("the arm with a world model needs weights.world_model above 0")
    return {
        "with": config,
        "without": replace(config, weights=replace(config.weights, world_model=0.0)),
        "placebo": replace(config, world_model_target="shuffled"),
    }


def run_arm(
    label: str, config: ReinforceConfig, protocol: Protocol, report: Report | None = None
) -> ArmResult:
    """Train and evaluate one arm.

    `report` receives the label, the update and the mean success at each evaluation.

    Raises:
        ConfigError: The environment reports no success; nothing was trained.
    """
    make = functools.partial(
        Reinforce,
        protocol.env_id,
        config,
        seed=protocol.seed,
        env_kwargs=protocol.env_kwargs,
        levels=protocol.levels,
    )
    # A first run apart: compilation and caches are no CPU of the arm that happens to come first.
    success_rates(make(), 1, 0)
    agent = make()
    episodes: list[int] = []
    curve: list[NDArray[np.float64]] = []

    def evaluate(agent: Reinforce, update: UpdateReport) -> bool:
        if update.update % protocol.evaluate_every == 0:
            episodes.append(update.num_episodes)
            curve.append(success_rates(agent, protocol.evaluation_episodes, 1))
            if report is not None:
                report(label, update.update, float(curve[-1].mean()))
        # Every run of the arm has reached it once.
        is_solved = bool(curve) and np.max(curve, axis=0).min() >= protocol.stop_when
        return update.update < protocol.num_updates and not is_solved

    started = time.process_time()
    # The budget is in updates; `evaluate` stops the run.
    agent.learn(2**62, evaluate)
    seconds = time.process_time() - started
    # Episodes named 0, others than those of the curve, by which a run may have been stopped.
    final = success_rates(agent, protocol.final_episodes, 0)
    return ArmResult(
        label, config.learning_rate, np.asarray(episodes), np.stack(curve, 1), final, seconds
    )


def success_rates(agent: Reinforce, num_episodes: int, number: int) -> NDArray[np.float64]:
    """Greedy success rate of each run [S] over episodes named by `number`."""
    successes = agent.evaluate(num_episodes, number=number).successes
    if successes is None:
        raise ConfigError(
            "this environment reports no is_success: an ablation compares success rates"
        )
    rates: NDArray[np.float64] = successes.mean(1)
    return rates


def run_arms(
    arms: Mapping[str, ReinforceConfig],
    protocol: Protocol,
    *,
    num_workers: int = 1,
    report: Report | None = None,
) -> dict[str, ArmResult]:
    """Run arms in processes of one thread each; with one worker, here and in turn."""
    if num_workers == 1:
        return {label: run_arm(label, config, protocol, report) for label, config in arms.items()}
    # Spawned: forked processes would share the threads of torch.
    context = multiprocessing.get_context("spawn")
    with context.Manager() as manager, ProcessPoolExecutor(num_workers, context) as pool:
        # Reports come from all processes in one order.
        messages = manager.Queue()
        # An id is registered by an import, which a fresh process has not made.
        module = _registering_module(protocol.env_id)
        tasks = {
            label: pool.submit(_run_apart, module, label, config, protocol, messages)
            for label, config in arms.items()
        }
        while not (all(task.done() for task in tasks.values()) and messages.empty()):
            if messages.empty():
                time.sleep(0.1)
                continue
            message = messages.get()
            if report is not None:
                report(*message)
        return {label: task.result() for label, task in tasks.items()}


def _registering_module(env_id: str) -> str:
    """A module whose import registers the id in a fresh process.

    The one that the environment is made from.
    """
    if ":" in env_id:
        return env_id.split(":")[0]
    entry_point = gym.spec(env_id).entry_point
    if not isinstance(entry_point, str):
        raise ConfigError(
            f"{env_id} was registered with an object: give its entry point as text, or "
            "num_workers=1"
        )
    return entry_point.split(":")[0]


def _run_apart(
    module: str, label: str, config: ReinforceConfig, protocol: Protocol, messages: Any
) -> ArmResult:
    torch.set_num_threads(1)
    importlib.import_module(module)
    return run_arm(label, config, protocol, lambda *message: messages.put(message))


def best_learning_rate(results: Sequence[ArmResult]) -> ArmResult:
    """The result whose curve has the largest interquartile mean over its last quarter."""
    return max(
        results,
        key=lambda result: interquartile_mean(
            # The last quarter: a rate is judged by where it leads and not by how it begins.
            result.curve[:, -max(1, result.curve.shape[1] // 4) :]
        ),
    )


def ratio_sentence(summary: Mapping[str, float]) -> str:
    """How many times more episodes the arm without needs, in words that keep censoring."""
    ratio = summary["episodes_to_90_ratio"]
    if math.isnan(ratio):
        return "episodes to 90%: not reached by half of the runs of either arm"
    # A ratio to a run that was stopped says how long somebody waited, not how fast anything is.
    for arm, bound in (("without", "lower"), ("with", "upper")):
        if summary[f"episodes_to_90_ratio_is_{bound}_bound"]:
            budget = summary[f"episodes_to_90_{arm}"]
            return (
                f"episodes to 90%, {arm} world model: not solved within the budget of "
                f"{budget:,.0f} by half of the runs"
            )
    return f"episodes to 90%, without / with: {ratio:.1f}"


def compare(
    with_model: ArmResult,
    without: ArmResult,
    placebo: ArmResult | None = None,
    threshold: float = 0.9,
) -> dict[str, float]:
    """Flat names to numbers.

    Interquartile means with intervals, probability of improvement, ratio of episodes.

    `episodes_to_90_ratio` divides the median episodes to the threshold without the model by those
    with it; where fewer than half of the runs without it got there it is a lower bound, and
    `episodes_to_90_ratio_is_lower_bound` is 1. Where fewer than half with it did, it is an upper
    bound likewise.
    """
    summary: dict[str, float] = {}
    for name, result in (("with", with_model), ("without", without), ("placebo", placebo)):
        if result is not None:
            interval = stratified_bootstrap(result.final)
            summary |= {f"iqm_{name}": interval.estimate, f"iqm_{name}_low": interval.low}
            summary |= {
                f"iqm_{name}_high": interval.high,
                f"learning_rate_{name}": result.learning_rate,
            }
    summary["probability_of_improvement"] = probability_of_improvement(
        with_model.final, without.final
    ).estimate
    summary["permutation_p_value"] = exact_permutation_test(with_model.final, without.final).p_value
    # The same threshold for both arms, censored where a run never got there.
    slow, fast = (
        steps_to_threshold(arm.curve, arm.episodes, threshold) for arm in (without, with_model)
    )
    ratio = threshold_ratio(slow, fast)
    summary |= {
        "episodes_to_90_with": fast.median().value,
        "episodes_to_90_without": slow.median().value,
    }
    summary |= {
        "episodes_to_90_ratio": ratio.estimate,
        "episodes_to_90_ratio_is_lower_bound": ratio.is_lower_bound,
    }
    summary["episodes_to_90_ratio_is_upper_bound"] = ratio.is_upper_bound
    return summary


def draw_arms(folder: Path, results: Mapping[str, ArmResult], title: str) -> None:
    """Write curves.png, success over episodes, and intervals.png, the closing success rates.

    Args:
        folder: Where they are written.
        results: By the label that the pictures show.
        title: Of both.
    """
    plot_learning_curves(
        folder / "curves.png",
        {label: result.curve for label, result in results.items()},
        {label: result.episodes for label, result in results.items()},
        "greedy success rate",
        threshold=0.9,
        title=title,
    )
    plot_intervals(
        folder / "intervals.png",
        {label: stratified_bootstrap(result.final) for label, result in results.items()},
        "success rate, interquartile mean over seeds",
        title=title,
    )
