import numpy as np
import pytest

from wm_agents.errors import ConfigError
from wm_agents.evaluation.probes import _fit_logistic, linear_probe


def episodes(num_episodes=40, length=10):
    return np.repeat(np.arange(num_episodes), length)


def test_a_linear_code_is_read_and_noise_is_not():
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 3, size=400)
    code = np.eye(3)[labels] @ generator.normal(size=(3, 8)) + 0.05 * generator.normal(
        size=(400, 8)
    )
    result = linear_probe(code, labels, episodes(), observations=generator.normal(size=(400, 5)))
    assert result.is_classification
    assert result.score > 0.98
    assert result.baseline < 0.5
    assert result.control < 0.5
    assert result.observation_score < 0.5
    assert result.selectivity == result.score - result.control
    assert result.num_train + result.num_test == 400
    assert result.num_test == 120


def test_regression_of_a_linear_signal():
    generator = np.random.default_rng(1)
    features = generator.normal(size=(400, 4)) * [1, 100, 0.01, 1] + [0, 5, 7, 0]
    labels = features @ [1.0, 0.01, 50.0, 0.0] + 0.1 * generator.normal(size=400)
    result = linear_probe(features, labels, episodes())
    assert not result.is_classification
    # Noise variance 0.01 of a total of 1 + 1 + 0.25 + 0.01.
    assert result.score == pytest.approx(1 - 0.01 / 2.26, abs=0.003)
    assert -0.2 < result.baseline <= 0
    assert result.control < 0.1
    assert result.observation_score is None


def test_xor_is_not_linear():
    generator = np.random.default_rng(2)
    bits = generator.integers(0, 2, size=(800, 2))
    groups, labels = episodes(80), bits[:, 0] ^ bits[:, 1]
    assert linear_probe(bits, labels, groups).score < 0.65
    assert (
        linear_probe(np.column_stack([bits, bits[:, 0] * bits[:, 1]]), labels, groups).score == 1.0
    )


def test_an_episode_is_never_split():
    # Each episode has its own random code and label: splitting by row would score 1, by episode it
    # cannot.
    generator = np.random.default_rng(3)
    groups = episodes(60)
    labels = generator.integers(0, 2, size=60)[groups]
    codes = generator.normal(size=(60, 200))[groups]
    assert linear_probe(codes, labels, groups).score < 0.8


def test_a_control_of_types_can_be_memorised():
    # One-hot types: a probe learns any labelling of them, which the control shows and selectivity
    # subtracts.
    generator = np.random.default_rng(4)
    types = generator.integers(0, 12, size=400)
    labels = types % 2
    result = linear_probe(np.eye(12)[types], labels, episodes(), control_types=types)
    assert result.score == 1.0
    assert result.control == 1.0
    assert linear_probe(np.eye(12)[types], labels, episodes()).control < 0.7


def test_logistic_fit_agrees_with_scikit_learn():
    linear_model = pytest.importorskip("sklearn.linear_model")
    generator = np.random.default_rng(5)
    inputs = generator.normal(size=(300, 4))
    labels = (inputs @ generator.normal(size=(4, 3)) + generator.normal(size=(300, 3))).argmax(
        axis=1
    )
    penalty = 0.01
    ours = _fit_logistic(np.column_stack([inputs, np.ones(300)]), labels, 3, penalty)
    # scikit-learn minimises C * total loss + |w|^2 / 2, ours the mean loss + penalty / 2 |w|^2.
    theirs = linear_model.LogisticRegression(C=1 / (300 * penalty), tol=1e-8, max_iter=1000).fit(
        inputs, labels
    )
    np.testing.assert_allclose(ours[:-1].T, theirs.coef_, atol=2e-3)


def test_a_constant_feature_does_no_harm():
    generator = np.random.default_rng(6)
    signal = generator.normal(size=400)
    features = np.column_stack([signal, np.full(400, 0.1), np.zeros(400)])
    assert linear_probe(features, 2 * signal + 1, episodes()).score > 0.999


def test_text_labels_and_seeds():
    generator = np.random.default_rng(7)
    signal = generator.normal(size=400)
    labels = np.where(signal > 0, "left", "right")
    result = linear_probe(signal[:, None], labels, episodes(), seed=3)
    assert result.score > 0.95
    assert result == linear_probe(signal[:, None], labels, episodes(), seed=3)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"features": np.ones(40)}, "features has shape"),
        ({"features": np.full((40, 2), np.nan)}, "not finite"),
        ({"labels": np.arange(39)}, "labels has shape"),
        ({"labels": np.ones(40)}, "all labels are"),
        ({"labels": np.full(40, np.inf)}, "not finite"),
        ({"groups": np.zeros(40)}, "1 episodes"),
        ({"test_fraction": 1.5}, "test_fraction=1.5"),
        ({"observations": np.ones((3, 2))}, "observations has 3 rows"),
        ({"control_types": np.ones(3)}, "control_types has shape"),
    ],
)
def test_bad_probe_input_is_named(changes, message):
    arguments = {
        "features": np.ones((40, 2)),
        "labels": np.arange(40) % 2,
        "groups": np.arange(40) // 4,
    }
    with pytest.raises(ConfigError, match=message):
        linear_probe(**(arguments | changes))
