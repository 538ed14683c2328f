"""Equal tuning for every arm of a comparison, and what makes a committed result a comparison.

`random_search` gives each arm the same number of trials on seeds that are never evaluated and keeps
all of them; what it returns is the `tuning` of a result's figures:

    {arm: {"trials": [{"settings": {...}, "scores": [...]}, ...], "best": {...}, "seeds": [...]}}

A comparison is a result that sets what learns or plans beside something else that could have been
given other settings. Every result under `benchmarks/results` counts as one unless `NO_COMPARISONS`
says why it is none; `faults` names what an equal one lacks. Results from before this rule stand in
`UNTUNED` until they are measured again: they are called untuned wherever they are shown, and the
list only shrinks.
"""

import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.report import append_row, read_rows
from wm_agents.errors import ConfigError

Settings = dict[str, Any]
Score = Callable[[str, Settings, Sequence[int]], Sequence[float]]
"""(arm, settings, seeds) to one score a seed; more is better."""

Run = Callable[[str, Settings, int, bool], dict[str, Any]]
"""(arm, settings, seed, whether it is a trial) to the figures of one run."""

TRIALS = "trials"
MIN_TRIALS = 4


def random_search(
    arms: Mapping[str, Mapping[str, Sequence[Any]]],
    score: Score,
    *,
    num_trials: int,
    seeds: Sequence[int],
    evaluation_seeds: Sequence[int],
    folder: Path,
    budget: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Try as many settings for each arm, and take the one of the best mean score.

    The first trial has the first choice of every setting, which is where a published or default
    value belongs; the others are drawn (Bergstra & Bengio 2012). Finished trials are lines of
    `<folder>/trials.jsonl` and are not run again.

    Args:
        arms: The choices of each setting of each arm.
        score: Runs one trial.
        num_trials: Trials of each arm, at least `MIN_TRIALS`.
        seeds: What the trials run on.
        evaluation_seeds: What the winners will be evaluated on.
        folder: Where finished trials are kept.
        budget: What else tells these trials from those of other budgets in the same folder.

    Returns:
        The `tuning` of a result's figures.

    Raises:
        ConfigError: Fewer trials or arms than a comparison has, or a seed that is evaluated, too.
    """
    if num_trials < MIN_TRIALS:
        raise ConfigError(f"num_trials={num_trials}: give each arm at least {MIN_TRIALS}")
    if len(arms) < 2:
        raise ConfigError(f"arms={list(arms)}: a comparison has at least two")
    if both := sorted(set(seeds) & set(evaluation_seeds)):
        raise ConfigError(f"seeds {both} are evaluated: tune on other ones")
    finished = {(row["arm"], row["trial"]): row for row in read_rows(folder, TRIALS)}
    tuning = {}
    for arm, choices in arms.items():
        trials = []
        for number, settings in enumerate(drawn_settings(choices, num_trials)):
            row = finished.get((arm, number))
            key = {"settings": settings, "seeds": [*seeds], **(budget or {})}
            is_same = row is not None and all(row.get(name) == key[name] for name in key)
            if row is None or not is_same:
                scores = [float(value) for value in score(arm, settings, seeds)]
                row = {"arm": arm, "trial": number, **key, "scores": scores}
                append_row(folder, row, TRIALS)
                print(f"{arm} trial {number}: {np.mean(scores):.4g} {settings}", flush=True)
            trials.append({"settings": row["settings"], "scores": row["scores"]})
        tuning[arm] = {"trials": trials, "best": best_of(trials), "seeds": [*seeds]}
    return tuning


def tuned_rows(
    arms: Mapping[str, Mapping[str, Sequence[Any]]],
    run: Run,
    score: Callable[[Mapping[str, Any]], float],
    *,
    num_trials: int,
    tuning_seeds: Sequence[int],
    seeds: Sequence[int],
    budget: Callable[[str], Mapping[str, Any]],
    trial_budget: Mapping[str, Any],
    folder: Path,
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Tune every arm, then run its best settings on every seed: the body of a comparison of arms.

    Finished trials and rows are lines of files in the folder and are not run again.

    Args:
        arms: The choices of each setting of each arm.
        run: One run of an arm, shorter where it is a trial; its figures.
        score: From the figures of a run to one number; more is better.
        num_trials: Trials of each arm.
        tuning_seeds: What the trials run on.
        seeds: What the winners run on.
        budget: From an arm to what else tells its rows from those of other budgets.
        trial_budget: The same of trials.
        folder: Where finished trials and rows are kept.

    Returns:
        The `tuning` of a result's figures, and its rows, seed after seed.
    """

    def trial_scores(arm: str, settings: Settings, on_seeds: Sequence[int]) -> Sequence[float]:
        return [score(run(arm, settings, seed, True)) for seed in on_seeds]

    tuning = random_search(
        arms,
        trial_scores,
        num_trials=num_trials,
        seeds=tuning_seeds,
        evaluation_seeds=seeds,
        folder=folder,
        budget=trial_budget,
    )
    rows = []
    # Seeds are the outer loop: a stopped comparison has as many rows of every arm.
    for seed in seeds:
        for arm in arms:
            settings = tuning[arm]["best"]
            key = {"arm": arm, "seed": seed, "settings": settings, **budget(arm)}
            row = _finished_row(folder, key)
            if row is None:
                row = key | run(arm, settings, seed, False)
                append_row(folder, row)
                took = f"{score(row):.4g}, {row['cpu_seconds']:.0f} s"
                print(f"{arm}, seed {seed}: {took}", flush=True)
            rows.append(row)
    return tuning, rows


def mean_return(row: Mapping[str, Any]) -> float:
    """The mean of a learning curve, which also tells who learned it earlier."""
    return float(np.mean(row["returns"]))


def _finished_row(folder: Path, key: Mapping[str, Any]) -> dict[str, Any] | None:
    for row in read_rows(folder):
        # Rows of another budget or other settings may lie in the same folder.
        if all(row[name] == value for name, value in key.items()):
            return row
    return None


def drawn_settings(choices: Mapping[str, Sequence[Any]], num_trials: int) -> list[Settings]:
    """The first choice of every setting, then random ones, the same in every run.

    None comes twice while there are others, so that an arm of few settings is not tried less.
    """
    draws = np.random.default_rng(0)
    trials = [{name: values[0] for name, values in choices.items()}]
    num_settings = math.prod(len(values) for values in choices.values())
    while len(trials) < num_trials:
        drawn = {name: values[draws.integers(len(values))] for name, values in choices.items()}
        if drawn not in trials or len(trials) >= num_settings:
            trials.append(drawn)
    return trials


def best_of(trials: Sequence[Mapping[str, Any]]) -> Settings:
    """The settings of the best mean score, the earliest where several are equal."""
    best: Settings = max(trials, key=lambda trial: float(np.mean(trial["scores"])))["settings"]
    return best


def faults(result: Mapping[str, Any]) -> list[str]:
    """What a result lacks to be an equal comparison; empty where it lacks nothing.

    Its rows name `arm` and `seed` and say their `cpu_seconds` and `real_steps`; each arm is tuned
    or stands in `references`, a mapping of arms to why there is nothing to tune in them. Tuned arms
    have equally many trials, on the same seeds, none of which is evaluated, and equal seeds of
    evaluation.
    """
    figures = result["figures"]
    tuning = figures.get("tuning", {})
    if len(tuning) < 2:
        return ["no tuning of two arms or more"]
    return [*_trial_faults(tuning), *_row_faults(figures, tuning)]


def _trial_faults(tuning: Mapping[str, Any]) -> list[str]:
    found = []
    counts = {arm: len(record["trials"]) for arm, record in tuning.items()}
    if len(set(counts.values())) > 1 or min(counts.values()) < MIN_TRIALS:
        found.append(f"trials: {counts}")
    if len({tuple(record["seeds"]) for record in tuning.values()}) > 1:
        found.append("arms are tuned on unequal seeds")
    for arm, record in tuning.items():
        if any(len(trial["scores"]) != len(record["seeds"]) for trial in record["trials"]):
            found.append(f"{arm}: a trial without a score for each seed")
        elif record["best"] != best_of(record["trials"]):
            found.append(f"{arm}: its best is not the best of its trials")
    return found


def _row_faults(figures: Mapping[str, Any], tuning: Mapping[str, Any]) -> list[str]:
    found = []
    references = figures.get("references", {})
    seeds_of: dict[str, set[int]] = defaultdict(set)
    for row in figures.get("rows", []):
        seeds_of[row["arm"]].add(row["seed"])
        if missing := {"cpu_seconds", "real_steps"} - set(row):
            found.append(f"{row['arm']}, seed {row['seed']}: no {', '.join(sorted(missing))}")
    unknown = set(seeds_of) - set(tuning) - set(references)
    if unknown:
        found.append(f"neither tuned nor a reference: {sorted(unknown)}")
    if without := set(tuning) - set(seeds_of):
        found.append(f"tuned and never evaluated: {sorted(without)}")
    tuned = [seeds for arm, seeds in seeds_of.items() if arm in tuning]
    if any(seeds != tuned[0] for seeds in tuned):
        found.append("arms are evaluated on unequal seeds")
    evaluated = set().union(*seeds_of.values())
    if any(evaluated & set(record["seeds"]) for record in tuning.values()):
        found.append("a seed of tuning is evaluated")
    return found


_SPEED = "speeds of programs that do the same work; nothing learns"
_COUNTS = "counts of failures or of code"
_REFERENCE = "one method beside references without settings"
NO_COMPARISONS = {
    "branch_coverage": _COUNTS,
    "certified_horizon": "coverage of a guarantee",
    "ideal_points": "coverage of intervals, and agreement of halves of the same votes",
    "out_of_distribution": "scores of one detector, each against the same fixed aim",
    "crash_baselines": "baselines of crash_prediction, which stays untuned beside them",
    "debate_persons": _REFERENCE,
    "debate_speed": "what one script takes",
    "domain_throughput": _SPEED,
    "dream_pong_seed_5": "one run of a script",
    "driving_expert": "a scripted driver beside a physical limit",
    "driving_from_scratch": _REFERENCE,
    "driving_shift": "one model by what it is told of the grip, all with the same settings",
    "driving_speed": _SPEED,
    "house": _COUNTS,
    "irl_bootstrap": "coverage of intervals",
    "irl_from_nothing": "one method against the expert's return",
    "irl_in_world_model": "one method against the expert's return",
    "irl_recovery": _REFERENCE,
    "irl_sampled": _REFERENCE,
    "irl_transfer": (
        "one reward against the true one, by the same PPO; cloning, which has one configuration, is "
        "bounded by the expert's rule beside it"
    ),
    "model_training_speed": _SPEED,
    "one_agent_scale": "random play and published scores, which make a scale",
    "planning_speed": _SPEED,
    "pong_fidelity": "frames that are equal or not",
    "pong_specified": "one method by how much it is told, beside quoted figures",
    "pong_throughput": _SPEED,
    "pong_world_model": _REFERENCE,
    "printed_forests": "a program beside the model that it was made of",
    "ray_scaling": _SPEED,
    "reinforce_speed": _SPEED,
    "reliability": _COUNTS,
    "symbolic_learning_hard": "one method against an aim",
    "symbolic_learning_quick": "one method against an aim",
    "symbolic_learning_short": "settings found for a task against an aim, beside the defaults",
    "symbolic_learning_simple": "one method against an aim",
    "take_away": "programs and pages beside the models that they were made of",
    "throughput": _SPEED,
    "world_model_pong_seed_5": "one run of a script",
    "world_model_resolutions": "one run of a script",
}
"""Why a result is no comparison."""

_SETTINGS = "the settings of all arms were chosen by hand, on more trials of ours"
_SIMPLE = "the simpler methods have no search of settings"
UNTUNED = {
    "control_acrobot": "DQN has one configuration and fewer seeds; the planner's was developed here",
    "control_cart_pole": (
        "DQN has one configuration, which is below random play, and fewer seeds; the planner's was "
        "developed here"
    ),
    "control_mountain_car": "two seeds; DQN has one configuration; the planner's was developed here",
    "control_pendulum": (
        "SAC has one configuration and fewer seeds; the planner's was developed here, and its "
        "reward model reads the angle"
    ),
    "crash_prediction": "the time to the boundary has no knowledge of the driver",
    "crash_prediction_spa": "the time to the boundary has no knowledge of the driver",
    "debate_ownership": _SIMPLE,
    "debate_seat": "PPO has one configuration, scripts have none",
    "dream_sac": (
        "20 gradient steps a real step in the dream and one outside; held random actions in the "
        "dream alone; its settings were found on these seeds"
    ),
    "dream_sac_gradients_4": "one seed; held random actions in the dream alone",
    "driving_dream": (
        "36 gradient steps a decision in the dream and one outside; the expert's laps in the "
        "dream's data alone; its settings were found on these seeds"
    ),
    "driving_models": _SETTINGS,
    "driving_planning": (
        "settings of the planner and the racer were found on training circuits, the expert's by hand"
    ),
    "driving_planning_from_scratch": "one place and hand-chosen settings",
    "forecast_votes": _SIMPLE,
    "irl_adversarial": "cloning has one configuration",
    "irl_gridworld": "the peer has its own defaults",
    "irl_votes": _SIMPLE,
    "leaderboard": "each agent has one configuration for all ids",
    "one_agent": "each learner has one configuration; the agent's was developed on some of the tasks",
    "plan_driving_spa": "one circuit and one seed",
    "pong_dream": (
        "PPO has its library's configuration, the features of an uncalibrated view, no shaping, no "
        "scripted first steps, whole games as episodes, a quarter of the CPU and half the seeds"
    ),
    "pong_models": "one seed and few updates of each model",
    "puzzles_lights_out": "the table and DQN have one configuration",
    "puzzles_perm_puzzle": "the table and DQN have one configuration",
    "puzzles_perm_puzzle_7": "the table has one configuration",
    "puzzles_token_automaton": "the table has one configuration",
    "symbolic_learning_nulls": "settings are those of other tasks",
    "symbolic_learning_recall": (
        "about twenty trials of the arm with the world model, three learning rates of the one "
        "without"
    ),
    "symbolic_learning_solved": "as symbolic_learning_recall, from which its arm comes",
}
"""Comparisons whose arms were not tuned equally, with what is unequal; nothing is added here."""
