"""The simple predictions that every forecast is shown beside."""

import numpy as np
from numpy.typing import NDArray

from wm_agents.domains.resolutions.data import Floats
from wm_agents.domains.resolutions.features import Predictors


def always_yes(num_rows: int, num_countries: int) -> Floats:
    """Everybody votes yes, [K, C, 3]."""
    probabilities = np.full((num_rows, num_countries, 3), 0.05, np.float32)
    probabilities[..., 0] = 0.9
    return probabilities


def country_mode(predictors: Predictors) -> Floats:
    """Each country's habits on the issues of the text, [K, C, 3]."""
    return predictors.issue_rates


def precedent(predictors: Predictors) -> Floats:
    """The country's last vote on the same text, and its habits where there was none, [K, C, 3]."""
    has_precedent = predictors.precedent.sum(2, keepdims=True) > 0
    repeated = 0.9 * predictors.precedent + 0.1 / 3
    probabilities: Floats = np.where(has_precedent, repeated, predictors.issue_rates)
    return probabilities


def text_neighbours(predictors: Predictors) -> Floats:
    """Votes on similar texts, weighted by similarity and age, [K, C, 3]."""
    total = predictors.neighbours.sum(2, keepdims=True)
    probabilities: Floats = predictors.neighbours / np.maximum(total, 1e-9)
    return probabilities


def all_baselines(predictors: Predictors) -> dict[str, Floats]:
    """Each by its name."""
    shape: tuple[int, ...] = predictors.issue_rates.shape
    return {
        "always_yes": always_yes(shape[0], shape[1]),
        "country_mode": country_mode(predictors),
        "precedent": precedent(predictors),
        "text_neighbours": text_neighbours(predictors),
    }


def revealed_at_random(votes: NDArray[np.int8], num_revealed: int, seed: int) -> NDArray[np.bool_]:
    """A mask [K, C] with this many of the countries that vote, drawn anew for each roll call."""
    generator = np.random.default_rng(seed)
    order = np.argsort(generator.random(votes.shape) + (votes < 0), axis=1)
    mask = np.zeros(votes.shape, np.bool_)
    np.put_along_axis(mask, order[:, :num_revealed], True, axis=1)
    return mask & (votes >= 0)
