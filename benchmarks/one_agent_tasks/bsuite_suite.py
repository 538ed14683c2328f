"""bsuite's experiments: which settings, with how many steps, and the scores of its own analysis.

bsuite scores what happens while an agent learns, over a fixed number of episodes. Its CSV logger
writes one file for each setting; its `summary_analysis` makes one score of all settings of an
experiment, and one of all experiments of a category.
"""

import inspect
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import isnan
from pathlib import Path
from typing import Any

import gymnasium as gym

from benchmarks.one_agent_tasks.adapters import DmEnv

NEEDS = ("bsuite", "dm_env", "plotnine", "skimage")
EVERY = 4
"""Of the settings of an experiment every fourth is run."""

MAX_STEPS = 100_000
"""Real steps of a setting at most: all episodes of all settings would be some forty million steps.

An experiment that is cut has fewer episodes than bsuite asks for, in every arm alike, so that its
score is lower than the published ones and no comparison with them.
"""

SEEDS_ONLY = ("bandit", "cartpole", "catch", "mountain_car")
"""Experiments whose settings differ in nothing but chance."""

# Lengths of chains in memory_len and umbrella_length.
_LENGTHS = (*range(1, 11), 12, 14, 17, 20, 25, *range(30, 105, 10))
_Length = Callable[[int], int]
# Experiment: settings, episodes, and the longest episode of setting i.
EXPERIMENTS: dict[str, tuple[int, int, _Length]] = {
    "bandit": (20, 10_000, lambda _: 1),
    "bandit_noise": (20, 10_000, lambda _: 1),
    "bandit_scale": (20, 10_000, lambda _: 1),
    "cartpole": (20, 1_000, lambda _: 1_001),
    "cartpole_noise": (20, 1_000, lambda _: 1_001),
    "cartpole_scale": (20, 1_000, lambda _: 1_001),
    "cartpole_swingup": (20, 1_000, lambda _: 1_001),
    "catch": (20, 10_000, lambda _: 9),
    "catch_noise": (20, 10_000, lambda _: 9),
    "catch_scale": (20, 10_000, lambda _: 9),
    "deep_sea": (21, 10_000, lambda i: 10 + 2 * i),
    "deep_sea_stochastic": (21, 10_000, lambda i: 10 + 2 * i),
    "discounting_chain": (20, 1_000, lambda _: 100),
    "memory_len": (23, 10_000, lambda i: _LENGTHS[i] + 1),
    "memory_size": (17, 10_000, lambda _: 3),
    "mountain_car": (20, 1_000, lambda _: 1_000),
    "mountain_car_noise": (20, 1_000, lambda _: 1_000),
    "mountain_car_scale": (20, 1_000, lambda _: 1_000),
    "umbrella_distract": (23, 10_000, lambda _: 20),
    "umbrella_length": (23, 10_000, lambda i: _LENGTHS[i]),
}


@dataclass(frozen=True)
class Setting:
    """One setting of an experiment.

    Attributes:
        bsuite_id: Such as "deep_sea/4".
        budget: Real steps.
    """

    bsuite_id: str
    budget: int


def settings() -> list[Setting]:
    """Every fourth setting of every experiment."""
    found = []
    for name, (num_settings, episodes, longest) in EXPERIMENTS.items():
        for index in range(0, num_settings, EVERY):
            budget = min(MAX_STEPS, episodes * longest(index))
            found.append(Setting(f"{name}/{index}", budget))
    return found


def load(bsuite_id: str, seed: int = 0) -> Any:
    """The environment of an id; what the setting leaves to chance is drawn from the seed."""
    from bsuite import bsuite, sweep

    experiment, _ = bsuite.unpack_bsuite_id(bsuite_id)
    keywords = dict(sweep.SETTINGS[bsuite_id])
    loader = bsuite.EXPERIMENT_NAME_TO_ENVIRONMENT[experiment]
    if "seed" in inspect.signature(loader).parameters:
        keywords["seed"] = seed
    return bsuite.load(experiment, keywords)


def make(bsuite_id: str) -> gym.Env[Any, Any]:
    """The environment in Gymnasium's form."""
    return DmEnv(load(bsuite_id))


def make_logged(bsuite_id: str, seed: int, folder: Path) -> gym.Env[Any, Any]:
    """The same, with what happens written to a file in the folder, in place of an older one."""
    from bsuite.logging import csv_logging

    raw = load(bsuite_id, seed)
    logged = csv_logging.wrap_environment(raw, bsuite_id, str(folder), overwrite=True)
    return DmEnv(logged)


def logs_folder(folder: Path, arm: str, seed: int, steps_scale: float) -> Path:
    """Where the files of one arm and seed are, in the output folder of a run."""
    return folder / "bsuite" / f"{arm}_{seed}_{steps_scale:g}"


def log_path(bsuite_id: str, folder: Path) -> Path:
    """The file that `make_logged` writes."""
    from bsuite.logging import csv_logging

    name = bsuite_id.replace("/", csv_logging.SAFE_SEPARATOR)
    return folder / f"{csv_logging.BSUITE_PREFIX}{name}.csv"


@contextmanager
def _analysis() -> Iterator[Any]:
    """The module of bsuite's analysis, with what it was written for around it.

    Its analysis of the deep sea calls `Series.append`, which pandas 2 took away, and warns of what
    pandas 4 will take; its first import changes the style of all pictures.
    """
    import matplotlib
    import pandas as pd

    is_missing = not hasattr(pd.Series, "append")
    if is_missing:
        pd.Series.append = lambda self, other: pd.concat([self, other])
    try:
        with warnings.catch_warnings(), matplotlib.rc_context():
            warnings.simplefilter("ignore", DeprecationWarning)
            warnings.simplefilter("ignore", FutureWarning)
            from bsuite.experiments import summary_analysis

            yield summary_analysis
    finally:
        if is_missing:
            del pd.Series.append


def read_logs(folder: Path) -> Any:
    """All files of a folder as one data frame, with the settings beside, by bsuite's reader."""
    from bsuite.logging import csv_load

    return csv_load.load_one_result_set(str(folder))


def score_one(bsuite_id: str, folder: Path) -> tuple[float, float, int]:
    """The score of one setting, the mean return of its episodes in training, and their number.

    Raises:
        ValueError: No episode was finished, so that there is nothing to score.
    """
    if not log_path(bsuite_id, folder).exists():
        raise ValueError(f"{bsuite_id}: no episode was finished; give it more steps")
    frame = read_logs(folder)
    frame = frame[frame.bsuite_id == bsuite_id]
    last = frame.loc[frame.episode.idxmax()]
    with _analysis() as analysis:
        score = float(analysis.bsuite_score(frame)["score"].iloc[0])
    return score, float(last.total_return / last.episode), int(last.episode)


def score_all(folder: Path) -> dict[str, dict[str, float]]:
    """Scores by experiment and by category, of all settings that the folder holds.

    bsuite's analysis takes the settings of one kind at the last episode that any of them reached,
    and so forgets those that were cut earlier. Where only the seed differs each setting is
    therefore scored at its own end, and the mean is taken; elsewhere there is one setting of each
    kind and bsuite's analysis does all.
    """
    frame = read_logs(folder)
    with _analysis() as analysis:
        scores = analysis.bsuite_score(frame)
        for experiment in SEEDS_ONLY:
            rows = frame[frame.bsuite_env == experiment]
            parts = [
                float(analysis.bsuite_score(one)["score"].iloc[0])
                for _, one in rows.groupby("bsuite_id")
            ]
            if parts:
                scores.loc[scores.bsuite_env == experiment, "score"] = sum(parts) / len(parts)
        by_category = analysis.ave_score_by_tag(scores, [])
    categories = {
        row.tag: float(row.score) for row in by_category.itertuples() if not isnan(row.score)
    }
    experiments = {row.bsuite_env: float(row.score) for row in scores.itertuples()}
    return {"experiments": experiments, "categories": dict(sorted(categories.items()))}
