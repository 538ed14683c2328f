import numpy as np
import pytest

from tests.support.choices import one_shot
from wm_agents.errors import ConfigError
from wm_agents.irl import MaxEntConfig, compare, fit_many
from wm_agents.irl.comparison import (
    adjusted_rand,
    behavior_profiles,
    card,
    distance_matrix,
    scaled_to_two,
)
from wm_agents.irl.page import render_comparison, save_map

GROUPS = (np.array([2.0, 0.0, 0.0]), np.array([0.0, 2.0, 0.0]), np.array([0.0, 0.0, 2.0]))


def fits_of(num_steps, offset=0, **settings):
    """Nine demonstrators in three groups who want different things."""
    problems = {
        f"{'abc'[i % 3]}{i // 3}": one_shot(num_steps, GROUPS[i % 3], seed=offset + i)
        for i in range(9)
    }
    models = {name: model for name, (model, _) in problems.items()}
    return fit_many(
        {name: given for name, (_, given) in problems.items()}, models, MaxEntConfig(**settings)
    )


def test_groups_are_found_and_stable():
    situations = one_shot(100, seed=99)[0].features
    result = compare(fits_of(200), situations, halves=(fits_of(100, 20), fits_of(100, 40)))
    clusters = dict(zip(result.names, result.clusters(3), strict=True))
    assert len({clusters[f"a{i}"] for i in range(3)}) == 1
    assert len(set(clusters.values())) == 3
    assert result.stability[3] == pytest.approx(1.0)
    assert 3 in result.stable_clusters
    assert [name[0] for name, _ in result.nearest("b0", 2)] == ["b", "b"]
    assert (result.low <= result.distances).all()
    assert (result.distances <= result.high).all()
    assert result.high[0, 1] < 1
    assert result.low[0, 1] > result.high[0, 3]  # another group is farther, beyond doubt


def test_demonstrators_without_preferences_have_no_stable_clusters():
    def nobody(offset):
        problems = {f"d{i}": one_shot(200, np.zeros(3), seed=offset + i) for i in range(12)}
        models = {name: model for name, (model, _) in problems.items()}
        return fit_many({name: given for name, (_, given) in problems.items()}, models)

    situations = one_shot(100, seed=99)[0].features
    result = compare(nobody(0), situations, halves=(nobody(100), nobody(200)))
    assert max(result.stability.values()) < 0.5


def test_distances_are_those_of_behavior():
    situations = np.array([[[1.0], [0.0]]])
    weights = np.array([[50.0], [-50.0], [0.0]])  # always the first, always the second, either
    np.testing.assert_allclose(
        distance_matrix(behavior_profiles(weights, situations))[0], [0, 1, 0.5], atol=1e-7
    )
    np.testing.assert_allclose(
        distance_matrix(behavior_profiles(weights, situations, (1, -1)))[0], [0, 1, 0.5], atol=1e-7
    )


def test_the_map_keeps_distances_of_points_in_a_plane():
    points = np.random.default_rng(0).normal(size=(8, 2)) @ np.random.default_rng(1).normal(
        size=(2, 5)
    )
    places, shares = scaled_to_two(points)
    np.testing.assert_allclose(distance_matrix(places), distance_matrix(points), atol=1e-6)
    assert shares.sum() == pytest.approx(1)


def test_adjusted_rand_is_that_of_scikit_learn():
    from sklearn.metrics import adjusted_rand_score

    generator = np.random.default_rng(0)
    first, second = generator.integers(0, 4, 40), generator.integers(0, 3, 40)
    for a, b in (
        (first, second),
        (first, first),
        (first, (first + 1) % 4),
        (np.zeros(40, int), np.zeros(40, int)),
    ):
        assert adjusted_rand(a, b) == pytest.approx(adjusted_rand_score(a, b))


def test_page_and_picture_show_everybody(tmp_path):
    fits = fits_of(60, num_resamples=20)
    result = compare(fits, one_shot(50, seed=99)[0].features, halves=(fits, fits))
    page = render_comparison("Who <wants> what", fits, result, notes=("a & b",))
    assert "Who &lt;wants&gt; what" in page
    assert "a &amp; b" in page
    assert all(f'id="{name}"' in page for name in fits)
    assert "<script" not in page
    save_map(tmp_path / "map.png", result)
    assert (tmp_path / "map.png").stat().st_size > 5000
    about = card(fits["a0"], result, "a0")
    assert about["weights"]["left"]["is_identified"]
    assert len(about["nearest"]) == 5


def test_comparisons_are_checked():
    fits = fits_of(30)
    situations = one_shot(10)[0].features
    for arguments in (
        (dict(list(fits.items())[:2]), situations),
        (fits, situations[:, :, :2]),
        (fits, situations[:0]),
    ):
        with pytest.raises(ConfigError):
            compare(*arguments)
    with pytest.raises(ConfigError, match="halves"):
        compare(fits, situations, halves=(fits,))
    for values in (np.ones(situations.shape[1]), np.arange(situations.shape[1] + 1)):
        with pytest.raises(ConfigError, match="action_values"):
            compare(fits, situations, action_values=values)
