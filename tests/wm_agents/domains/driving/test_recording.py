"""Noise with a known spread and memory, and recordings of a known form."""

import numpy as np
import pytest

from wm_agents.domains.driving.recording import (
    NOISE_CORRELATION,
    next_noise,
    record_circuit,
    within_bounds,
)


def test_colored_noise_keeps_its_spread_and_forgets_at_its_rate():
    generator = np.random.default_rng(0)
    noise = 0.5 * generator.normal(size=(200_000, 1))  # as it is in the long run
    after = next_noise(noise, generator, 0.5)
    assert after.std() == pytest.approx(0.5, rel=0.01)
    correlation = np.corrcoef(noise[:, 0], after[:, 0])[0, 1]
    assert correlation == pytest.approx(NOISE_CORRELATION, abs=0.005)


def test_noise_without_spread_decays_by_hand():
    noise = np.array([[1.0, -2.0, 0.0]])
    for _ in range(3):
        noise = next_noise(noise, np.random.default_rng(0), 0.0)
    np.testing.assert_allclose(noise, [[0.93**3, -2 * 0.93**3, 0.0]])


def test_pedals_are_never_below_zero():
    actions = within_bounds(np.array([[-2.0, -0.5, 3.0], [0.25, 0.5, -1.0]]))
    assert actions.dtype == np.float32
    assert actions.tolist() == [[-1.0, 0.0, 1.0], [0.25, 0.5, 0.0]]


def test_a_recording_follows_from_its_seed_and_ends_at_its_time_limit():
    first, again, other = (record_circuit("oval", 3, 20, seed, noises=(0.1,)) for seed in (4, 4, 5))
    np.testing.assert_array_equal(first.actions, again.actions)
    assert not np.array_equal(first.actions, other.actions)
    assert first.lengths.tolist() == [20, 20, 20]
    assert first.observations.shape == (3 * 21, 37)
    assert first.truncations[19::20].all()
    assert not first.terminations.any()
