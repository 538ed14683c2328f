import numpy as np

from wm_envs.driving.streets import (
    FEW_CORNERS,
    MANY_CORNERS,
    MAX_CURVATURE,
    MIN_LENGTH,
    street_track,
)
from wm_envs.driving.track import random_track


def test_a_street_circuit_repeats_by_its_seed():
    first, again, other = street_track(3), street_track(3), street_track(4)
    np.testing.assert_array_equal(first.x, again.x)
    assert first.length != other.length


def test_streets_are_straights_and_bends_within_their_bounds():
    tracks = [street_track(seed) for seed in range(8)]
    for track in tracks:
        assert track.length >= MIN_LENGTH
        assert np.abs(track.curvature).max() <= MAX_CURVATURE
        inner = np.where(track.curvature > 0, track.left, track.right)
        assert (inner * np.abs(track.curvature)).max() < 1.0
    # Tighter in the bends and straighter between them than the built-in random circuit.
    waves = [random_track(seed) for seed in range(8)]
    sharpest = [np.median([abs(t.curvature).max() for t in group]) for group in (tracks, waves)]
    straight = [
        np.median([(abs(t.curvature) < 1e-3).mean() for t in group]) for group in (tracks, waves)
    ]
    assert sharpest[0] > sharpest[1]
    assert straight[0] > 3 * straight[1]
    turned = [np.sign(np.sum(track.curvature)) for track in tracks]
    assert {-1.0, 1.0} <= set(turned)


def test_many_corners_turn_from_one_side_to_the_other():
    """What real circuits have and few corners have not: a bend right after one to the other side."""

    def changes_per_km(track):
        bends = np.flatnonzero(np.abs(track.curvature) > 0.012)
        is_near = np.diff(bends) * track.spacing < 60.0
        turns = np.sign(track.curvature[bends])
        return np.sum(is_near & (turns[1:] != turns[:-1])) / track.length * 1000.0

    few, many = (
        [changes_per_km(street_track(seed, corners)) for seed in range(4)]
        for corners in (FEW_CORNERS, MANY_CORNERS)
    )
    assert np.mean(many) > np.mean(few) + 0.3
