"""Generated votes: what recorded ones look like, drawn from the calibrated model."""

import numpy as np
import pytest

from wm_envs.errors import OptionError
from wm_envs.resolutions.generator import generated_records, generator_source, utilities
from wm_envs.resolutions.votes import vote_arrays


def test_votes_are_drawn_with_the_probabilities_of_the_model():
    """A text asked in 300 years: the share of yes is that of the softmax of the utilities."""
    records = generated_records(range(2000, 2300), texts_per_year=1, seed=3)
    votes = vote_arrays(records)
    utility = utilities(generator_source())[int(records[0].trajectory_id.split("/")[2])]
    chances = np.exp(utility - utility.max(1, keepdims=True))
    chances /= chances.sum(1, keepdims=True)
    column = [generator_source().countries.index(code) for code in votes["countries"]]
    is_there = votes["votes"] >= 0
    measured = (votes["votes"] == 0).sum(0) / is_there.sum(0)
    assert np.abs(measured - chances[column, 0]).mean() < 0.03
    assert np.abs(measured - chances[column, 0]).max() < 0.15


def test_equal_seeds_give_equal_records():
    assert generated_records([2000], seed=1) == generated_records([2000], seed=1)
    assert generated_records([2000], seed=1) != generated_records([2000], seed=2)


def test_texts_that_are_not_there_are_refused():
    with pytest.raises(OptionError, match="texts_per_year"):
        generated_records([2000], texts_per_year=401)
