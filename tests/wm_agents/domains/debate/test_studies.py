"""Small versions of the studies behind the benchmark."""

import numpy as np

from wm_agents.domains.debate.studies import (
    majority_baseline,
    null_study,
    ownership,
    recovery_study,
    training_seconds,
)
from wm_envs.debate.observations import load_corpus
from wm_envs.debate.relevance import default_relevance


def test_held_out_owners_are_predicted_far_above_chance_and_baseline():
    held_out = load_corpus("held-out")
    result = ownership(held_out, default_relevance())
    majority = majority_baseline(load_corpus("train"), held_out)
    assert result.num_observations == majority.num_observations == len(held_out)
    assert result.accuracy > 0.5 > majority.accuracy
    assert result.interval.low > 0.5
    assert result.p_value < 0.001


def test_drives_of_generated_persons_are_found():
    study = recovery_study(default_relevance(), num_persons=12, num_observations=165)
    assert len(study.correlations) == 12
    assert study.median.estimate == np.median(study.correlations) > 0.6


def test_persons_without_signal_are_not_above_chance():
    num_silent, results = null_study(default_relevance(), num_persons=20, num_observations=100)
    assert num_silent >= 17
    assert abs(np.mean([result.accuracy for result in results]) - 1 / 7) < 0.06


def test_five_epochs_take_less_than_two_seconds():
    training_seconds()  # loads the machine code
    assert training_seconds()["seconds"] < 2
