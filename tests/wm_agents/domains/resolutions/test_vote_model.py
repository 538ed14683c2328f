import copy
import dataclasses
import importlib
import sys

import numpy as np
import pytest
import torch

from tests.support.analytic_votes import assembly
from wm_agents.domains.debate import plot_trajectories
from wm_agents.domains.resolutions import (
    SpatialConfig,
    SpatialModel,
    VoteModel,
    VoteModelConfig,
    held_out_accuracy,
    novelty,
    tf_idf,
)
from wm_agents.domains.resolutions.classifier import ClassifierConfig, VoteClassifier
from wm_agents.domains.resolutions.corrections import (
    corrected,
    country_offsets,
    learn_covariance,
    map_correction,
    with_offsets,
)
from wm_agents.domains.resolutions.data import QuestionKind
from wm_agents.domains.resolutions.evaluation import (
    all_baselines,
    calibration_error,
    interval_coverage,
    macro_f1,
    revealed_at_random,
    tally_errors,
    vote_metrics,
)
from wm_agents.domains.resolutions.features import FeatureBuilder, procedural_sides
from wm_agents.domains.resolutions.spatial import choice_probabilities
from wm_agents.errors import CheckpointError, ConfigError, TrajectoryError
from wm_agents.training.checkpoints import load_checkpoint, save_checkpoint
from wm_agents.training.saving import load
from wm_envs.data.moved import MovedModules
from wm_envs.resolutions.codes import Vote
from wm_envs.resolutions.generator import fitted_source
from wm_envs.resolutions.records import KINDS


@pytest.fixture(scope="module")
def data():
    return assembly()


@pytest.fixture(scope="module")
def fitted(data):
    torch.set_num_threads(1)
    config = VoteModelConfig(
        training_years=8,
        calibration_years=2,
        classifier=ClassifierConfig(num_epochs=40, num_members=1),
    )
    model = VoteModel(config)
    report = model.fit(data, train_before=2010.0)
    assert report.metrics["temperature"] == model.temperature
    return model


def test_metrics_by_hand():
    truth, predicted = np.array([0, 0, 1, 2]), np.array([0, 1, 1, 0])
    # F1: yes 2/(2+1+1) = .5, abstain 2/(2+1) = 2/3, no 0.
    assert macro_f1(predicted, truth) == pytest.approx((0.5 + 2 / 3 + 0) / 3)
    chances = np.array([[[0.8, 0.1, 0.1], [0.2, 0.6, 0.2], [1, 0, 0]]], np.float32)
    figures = vote_metrics(chances, np.array([[0, 0, -1]], np.int8))
    assert figures["accuracy"] == 0.5
    assert figures["num_votes"] == 2
    assert figures["log_loss"] == pytest.approx(-(np.log(0.8) + np.log(0.2)) / 2, rel=1e-5)
    # Two bins of one vote each: |.8 - 1| / 2 + |.6 - 0| / 2.
    assert figures["calibration_error"] == pytest.approx(0.4, abs=1e-6)
    assert calibration_error(np.array([1.0, 1.0]), np.array([True, True])) == 0
    votes = np.array([[0, 0, 2, -1]], np.int8)
    assert tally_errors(np.array([[1.0, 0.5, 1.0]]), votes) == {
        "mae_yes": 1.0,
        "mae_no": 0.0,
        "mae_abstain": 0.5,
    }
    assert interval_coverage(np.array([[[2, 3], [0, 1], [2, 3]]]), votes) == pytest.approx(2 / 3)


def test_choice_probabilities_are_a_softmax_and_ordinal():
    chances = choice_probabilities(np.array([0.0, 2.0, -2.0]), np.zeros(3))
    np.testing.assert_allclose(chances[0], 1 / 3, atol=1e-6)
    e = np.exp([2.0, 0.0, -2.0])
    np.testing.assert_allclose(chances[1], e / e.sum(), atol=1e-6)
    np.testing.assert_allclose(chances[1], chances[2][::-1], atol=1e-6)


def test_the_spatial_model_recovers_blocs_and_held_out_votes(data):
    model = SpatialModel(SpatialConfig(num_dimensions=1, num_steps=120))
    report = model.fit(data.votes)
    assert report.num_updates == 120
    halves = model.positions[:15, 0], model.positions[15:, 0]
    assert min(halves[0].min(), halves[1].min()) < max(halves[0].max(), halves[1].max())
    assert halves[0].min() > halves[1].max() or halves[1].min() > halves[0].max()
    figures = held_out_accuracy(data.votes, SpatialConfig(num_steps=120))
    assert figures["accuracy"] > figures["always_yes"] + 0.15
    assert 0.15 * (data.votes >= 0).sum() < figures["num_votes"] < 0.25 * (data.votes >= 0).sum()


def test_wrong_configurations_and_data_are_refused(data):
    with pytest.raises(ConfigError):
        SpatialConfig(num_dimensions=4)
    with pytest.raises(ConfigError):
        VoteModelConfig(calibration_years=30)
    with pytest.raises(ConfigError, match="offset_std"):
        VoteModelConfig(offset_std=0.0)
    with pytest.raises(TrajectoryError):
        SpatialModel().fit(np.full((3, 3), -1, np.int8))
    with pytest.raises(TrajectoryError, match="years"):
        dataclasses.replace(data, years=data.years[::-1].copy())
    with pytest.raises(TrajectoryError, match="titles"):
        dataclasses.replace(data, titles=["x"])
    with pytest.raises(TrajectoryError, match="votes"):
        dataclasses.replace(data, votes=np.full_like(data.votes, 3))
    with pytest.raises(TrajectoryError, match="roll calls"):
        VoteModel().fit(data, train_before=2000.5)


def test_the_forecast_beats_always_yes_and_is_calibrated(data, fitted):
    rows = data.between(2010, 2012)
    forecast = fitted.forecast(rows)
    figures = vote_metrics(forecast.probabilities, data.votes[rows])
    baselines = all_baselines(forecast.predictors)
    always = vote_metrics(baselines["always_yes"], data.votes[rows])["accuracy"]
    assert set(baselines) == {"always_yes", "country_mode", "precedent", "text_neighbours"}
    assert figures["accuracy"] > always + 0.1
    assert figures["calibration_error"] < 0.06
    np.testing.assert_allclose(forecast.probabilities.sum(2), 1, atol=1e-5)
    assert 0.75 < interval_coverage(forecast.intervals, data.votes[rows]) <= 1


def test_features_of_a_vote_do_not_depend_on_it_nor_on_what_follows(data):
    row = int(data.between(2010, 2011)[3])
    changed = data.votes.copy()
    changed[data.years >= data.years[row]] = -1
    pair = [data, dataclasses.replace(data, votes=changed)]
    first, second = (FeatureBuilder(d, 2010.0).build([row]) for d in pair)
    np.testing.assert_array_equal(first.features, second.features)
    np.testing.assert_array_equal(first.attendance, second.attendance)
    # The test would notice a feature that depends on earlier votes.
    changed[data.years < data.years[row]] = -1
    assert not np.array_equal(FeatureBuilder(pair[1], 2010.0).build([row]).features, first.features)


def test_a_country_that_has_not_voted_yet_changes_nothing_for_the_others(data):
    row = int(data.between(2010, 2011)[3])
    votes = np.concatenate([data.votes, np.full((len(data.votes), 20), -1, np.int8)], 1)
    votes[data.years >= 2011, -20:] = 0
    newcomers = dataclasses.replace(
        data,
        votes=votes,
        sponsors=np.zeros(votes.shape, np.bool_),
        countries=[*data.countries, *(f"N{i}" for i in range(20))],
    )
    first, second = (FeatureBuilder(d, 2010.0).build([row]).features for d in (data, newcomers))
    np.testing.assert_allclose(second[:, : len(data.countries)], first, atol=1e-4)


@pytest.mark.filterwarnings("error")
def test_features_are_finite_before_anybody_has_voted(data):
    features = (
        FeatureBuilder(dataclasses.replace(data, votes=np.full_like(data.votes, -1)), 2010.0)
        .build([0, 50])
        .features
    )
    assert (
        np.isnan(features).sum() == features.shape[0] * features.shape[1]
    )  # closeness to sponsors that nobody knows


def test_a_frozen_history_ignores_the_test_period(data):
    row = int(data.between(2011.5, 2012)[0])
    changed = data.votes.copy()
    changed[data.years >= 2010] = -1
    pair = [data, dataclasses.replace(data, votes=changed)]
    first, second = (FeatureBuilder(d, 2010.0, 2010.0).build([row]).features for d in pair)
    np.testing.assert_array_equal(first, second)


def test_revealed_votes_are_kept_and_help(data, fitted):
    rows = data.between(2010, 2012)
    forecast = fitted.forecast(rows)
    # Turn the titles' directions around, which the forecast cannot know.
    flipped = dataclasses.replace(
        data, votes=np.where(data.votes >= 0, 2 - data.votes, -1).astype(np.int8)
    )
    model = VoteModel(fitted.config)
    model.__dict__.update(fitted.__dict__)
    model.builder = copy.copy(fitted.builder)
    model.builder.one_hot = flipped.one_hot
    revealed = revealed_at_random(flipped.votes[rows], 10, seed=0)
    assert (revealed.sum(1) == 10).all()
    wide = np.broadcast_to(4 * np.eye(forecast.covariance.shape[1]), forecast.covariance.shape)
    forecast = dataclasses.replace(forecast, covariance=wide)
    updated = model.update(forecast, revealed)
    hidden = np.where(revealed, -1, flipped.votes[rows]).astype(np.int8)
    before = vote_metrics(forecast.probabilities, hidden)["accuracy"]
    assert vote_metrics(updated.probabilities, hidden)["accuracy"] > before + 0.2
    place = tuple(np.argwhere(revealed)[0])
    assert updated.probabilities[place].argmax() == flipped.votes[rows][place]


def test_the_update_finds_the_maximum_of_the_posterior():
    generator = np.random.default_rng(0)
    basis = np.concatenate([np.ones((1, 8, 1)), generator.normal(size=(1, 8, 1))], 2)
    chances = np.full((1, 8, 3), 1 / 3)
    one_hot = np.eye(3)[generator.integers(0, 3, (1, 8))]
    best = map_correction(chances, basis, one_hot, np.eye(4))

    def posterior(correction):
        fit = (np.log(corrected(chances, basis, correction)) * one_hot).sum()
        return fit - 0.5 * (correction**2).sum()

    for _ in range(50):
        assert posterior(best) >= posterior(best + 0.05 * generator.normal(size=best.shape))
    # Sure forecasts that every revealed vote contradicts: 8 damped Newton steps ended away from the
    # maximum.
    far = np.array([30.0, 5.0])[generator.integers(0, 2, 8)][None, :, None] * basis / 5
    sure = np.broadcast_to([0.999, 0.0005, 0.0005], (1, 8, 3))
    against = np.broadcast_to([0.0, 0.0, 1.0], (1, 8, 3)).copy()
    wide = 1e4 * np.eye(4)
    best = map_correction(sure, far, against, wide)
    for _ in range(50):
        fits = [
            (np.log(corrected(sure, far, x)) * against).sum() - 0.5e-4 * (x**2).sum()
            for x in (best, best + 0.05 * generator.normal(size=best.shape))
        ]
        assert fits[0] >= fits[1]
    nothing = map_correction(chances, basis, np.zeros_like(one_hot), np.eye(4))
    np.testing.assert_allclose(nothing, 0, atol=1e-12)
    covariance = learn_covariance(chances, basis, one_hot)
    assert np.linalg.eigvalsh(covariance).min() > 0


def test_offsets_are_what_a_country_did_beyond_its_forecasts():
    generator = np.random.default_rng(0)
    chances = generator.dirichlet((3, 1, 1), (60, 4))  # [K, C, 3]
    votes = np.array([[0, 2, 1, 0]] * 60)
    one_hot = np.eye(3)[votes]
    one_hot[:, 3] = 0  # never there
    weights = generator.random(60)
    offsets = country_offsets(chances, one_hot, weights, 0.5)
    assert offsets[0, 0] > 0.3
    assert offsets[1, 0] < -0.3
    assert offsets[2, 1] > 0.3
    np.testing.assert_allclose(offsets[3], 0, atol=1e-12)
    # At the maximum the weighted surprises balance the prior.
    moved = with_offsets(chances, offsets)
    np.testing.assert_allclose(moved.sum(2), 1)
    surprise = weights @ (one_hot[:, 0] - moved[:, 0])  # [3]
    np.testing.assert_allclose(surprise[0] - surprise[2], offsets[0, 0] / 0.25, atol=1e-4)
    np.testing.assert_allclose(surprise[1], offsets[0, 1] / 0.25, atol=1e-4)
    np.testing.assert_allclose(country_offsets(chances, one_hot, 0 * weights, 0.5), 0, atol=1e-12)


def test_a_country_that_changes_sides_is_followed(data, fitted):
    is_late = data.years >= 2010
    votes = data.votes.copy()
    votes[is_late, 0] = np.where(votes[is_late, 0] == Vote.ABSENT, Vote.ABSENT, Vote.NO)
    changed = dataclasses.replace(data, votes=votes)
    rows = data.between(2011.5, 2012)
    chances = []
    for std in (1e-6, 0.3):  # with features that follow alone, and with offsets
        model = copy.deepcopy(fitted)
        model.config = dataclasses.replace(model.config, offset_std=std)
        model.data = changed
        model.builder = FeatureBuilder(changed, 2010.0)
        chances.append(model.forecast(rows).probabilities[:, 0, Vote.NO].mean())
    assert chances[1] > chances[0] + 0.01


def test_the_classifier_learns_a_rule_and_takes_unknown_features():
    generator = np.random.default_rng(0)
    features = generator.normal(size=(3000, 4)).astype(np.float32)
    classes = np.where(features[:, 0] > 0.5, 0, np.where(features[:, 0] < -0.5, 2, 1)).astype(
        np.int8
    )
    features[generator.random(3000) < 0.1, 3] = np.nan
    model = VoteClassifier(ClassifierConfig(num_epochs=20, num_members=1, input_noise=0.05))
    model.fit(features, classes)
    assert (model.predict(features).argmax(1) == classes).mean() > 0.95
    again = VoteClassifier(model.config)
    again.fit(features, classes)
    np.testing.assert_array_equal(again.predict(features), model.predict(features))


def test_novelty_looks_back_only():
    texts = [
        "human rights in korea",
        "trade law",
        "human rights in korea",
        "the outer space treaty",
    ]
    rows = tf_idf(texts, np.array([True, True, False, False]))
    years = np.array([2000.0, 2001.0, 2002.0, 2002.0])
    assert novelty(rows, years, np.arange(4)).tolist() == [True, True, False, True]
    np.testing.assert_allclose(rows.multiply(rows).sum(1), 1, atol=1e-5)


def test_two_columns_of_one_country_are_refused():
    data = assembly()
    with pytest.raises(TrajectoryError, match=f"country '{data.countries[0]}' has two columns"):
        dataclasses.replace(data, countries=[data.countries[0], *data.countries[:-1]])


def test_codes_are_those_of_the_records():
    assert [kind.name.lower() for kind in QuestionKind] == list(KINDS)


class StoppedError(Exception):
    pass


def stopping(monkeypatch, module, num_steps):
    """`gradient_step` of a module fails after so many calls."""
    steps, step = iter(range(num_steps)), module.gradient_step

    def stops(*arguments):
        if next(steps, None) is None:
            raise StoppedError
        return step(*arguments)

    monkeypatch.setattr(module, "gradient_step", stops)


def rows_and_classes():
    generator = np.random.default_rng(0)
    return generator.normal(size=(200, 3)).astype(np.float32), generator.integers(0, 3, 200).astype(
        np.int8
    )


@pytest.mark.parametrize("stop", [40, 150])
def test_an_ensemble_that_was_stopped_resumes_bitwise(stop, tmp_path, monkeypatch):
    from wm_agents.domains.resolutions import classifier as module

    config = ClassifierConfig(widths=(8,), num_members=3, num_epochs=16, batch_size=40)
    features, classes = rows_and_classes()
    whole = VoteClassifier(config)
    report = whole.fit(features, classes)
    assert report.num_updates == 3 * 16 * 5
    with monkeypatch.context() as patch:
        stopping(patch, module, stop)
        with pytest.raises(StoppedError):
            VoteClassifier(config).fit(features, classes, checkpoints=tmp_path)
    resumed = VoteClassifier(config)
    resumed.fit(features, classes, checkpoints=tmp_path)
    np.testing.assert_array_equal(resumed.predict(features), whole.predict(features))
    with pytest.raises(CheckpointError, match="belongs to a run with"):
        VoteClassifier(config).fit(features[:100], classes[:100], checkpoints=tmp_path)


def test_positions_that_were_stopped_resume_bitwise(data, tmp_path, monkeypatch):
    from wm_agents.domains.resolutions import spatial as module

    config = SpatialConfig(num_steps=130)
    whole, resumed = SpatialModel(config), SpatialModel(config)
    report = whole.fit(data.votes)
    with monkeypatch.context() as patch:
        stopping(patch, module, 110)
        with pytest.raises(StoppedError):
            SpatialModel(config).fit(data.votes, checkpoints=tmp_path)
    assert resumed.fit(data.votes, checkpoints=tmp_path).history == report.history
    np.testing.assert_array_equal(resumed.positions, whole.positions)


def test_models_of_votes_come_back_from_their_files(data, fitted, tmp_path):
    spatial = SpatialModel(SpatialConfig(num_steps=5))
    spatial.fit(data.votes)
    path = spatial.save(tmp_path / "spatial")
    np.testing.assert_array_equal(load(path).probabilities(), spatial.probabilities())

    classifier = fitted.classifier
    features = fitted.builder.build([100]).features[0]
    loaded = load(classifier.save(tmp_path / "classifier"))
    np.testing.assert_array_equal(loaded.predict(features), classifier.predict(features))

    path = fitted.save(tmp_path / "votes")
    rows = data.between(2011, 2011.5)
    forecast, again = fitted.forecast(rows), load(path, given=data).forecast(rows)
    np.testing.assert_array_equal(again.probabilities, forecast.probabilities)
    np.testing.assert_array_equal(again.intervals, forecast.intervals)
    revealed = revealed_at_random(data.votes[rows], 5, 0)
    np.testing.assert_array_equal(
        load(path, given=data).update(again, revealed).probabilities,
        fitted.update(forecast, revealed).probabilities,
    )


def test_a_forecast_does_not_depend_on_which_others_are_asked_for(data, fitted, tmp_path):
    """The recent past sets temperature and intervals, whether it was asked for or not."""
    path = fitted.save(tmp_path / "votes")
    rows = data.between(2010, 2012)
    whole = load(path, given=data).forecast(rows)
    last = load(path, given=data).forecast(rows[-1:])
    np.testing.assert_array_equal(last.probabilities[0], whole.probabilities[-1])
    np.testing.assert_array_equal(last.intervals[0], whole.intervals[-1])
    draws = fitted.sample(last, 50)
    assert draws.shape == (50, 1, len(data.countries))
    np.testing.assert_array_equal(draws, fitted.sample(last, 50))


def test_amendments_follow_whoever_moved_them_and_recent_ones_of_their_kind(data):
    kinds = data.kinds.copy()
    amendments = np.flatnonzero(np.arange(len(kinds)) % 6 == 0)
    kinds[amendments] = QuestionKind.AMENDMENT
    votes = data.votes.copy()
    sponsors = np.zeros(votes.shape, np.bool_)
    # Each is moved from one bloc, which votes for it, and the other against.
    for number, row in enumerate(amendments):
        mover = 0 if number % 2 else 29
        sponsors[row, mover] = True
        votes[row] = np.where((np.arange(30) < 15) == (mover == 0), 0, 2)
    changed = dataclasses.replace(data, kinds=kinds, votes=votes, sponsors=sponsors)
    config = VoteModelConfig(
        training_years=8,
        calibration_years=2,
        classifier=ClassifierConfig(num_epochs=1, num_members=1),
    )
    model = VoteModel(config)
    model.fit(changed, train_before=2010.0)
    rows = np.array([row for row in amendments if changed.years[row] >= 2010])
    assert vote_metrics(model.forecast(rows).probabilities, votes[rows])["accuracy"] > 0.9


def test_an_amendment_is_for_those_who_are_against_its_text(data):
    # Texts 0 and 1 divide the blocs in opposite ways: only the text tells who wants it changed.
    amendments = np.flatnonzero(data.issues[:, :2].any(1) & (np.arange(len(data.years)) % 3 == 0))
    kinds = data.kinds.copy()
    kinds[amendments] = QuestionKind.AMENDMENT
    votes = data.votes.copy()
    for row in amendments:
        is_for_text = (np.arange(30) < 15) == data.issues[row, 0]
        votes[row] = np.where(is_for_text, Vote.NO, Vote.YES)
    changed = dataclasses.replace(data, kinds=kinds, votes=votes)
    model = VoteModel(
        VoteModelConfig(
            training_years=8,
            calibration_years=2,
            classifier=ClassifierConfig(num_epochs=1, num_members=1),
        )
    )
    model.fit(changed, train_before=2010.0)
    rows = np.array([row for row in amendments if changed.years[row] >= 2010])
    assert vote_metrics(model.forecast(rows).probabilities, votes[rows])["accuracy"] > 0.9


def test_a_motion_against_an_amendment_is_for_the_text(data):
    said = {
        "I shall put to the vote the motion that no action be taken on the amendment.": 1,
        "the motion of Iran that no action be taken on draft resolution III.": -1,
        "the motion that no action be taken on draft resolution III and on the amendments to it": -1,
        "The Assembly will vote on the request for a division of the text.": -1,
    }
    descriptions = [*said, *data.descriptions[len(said) :]]
    kinds = data.kinds.copy()
    kinds[: len(said)] = QuestionKind.MOTION
    kinds[len(said)] = QuestionKind.AMENDMENT
    sides = procedural_sides(dataclasses.replace(data, descriptions=descriptions, kinds=kinds))
    np.testing.assert_array_equal(sides[: len(said)], list(said.values()))
    assert sides[len(said)] == -1
    assert not sides[len(said) + 1 :].any()


def test_a_model_of_votes_wants_the_records_that_it_was_fitted_on(data, fitted, tmp_path):
    path = fitted.save(tmp_path / "votes")
    with pytest.raises(CheckpointError, match="given=data"):
        VoteModel.load(path)
    later = data.votes.copy()
    later[data.years >= 2010] = Vote.ABSENT
    VoteModel.load(path, given=dataclasses.replace(data, votes=later))
    earlier = data.votes.copy()
    earlier[0] = Vote.ABSENT
    with pytest.raises(CheckpointError, match="other records"):
        VoteModel.load(path, given=dataclasses.replace(data, votes=earlier))


def test_a_file_of_other_sizes_is_refused(data, tmp_path):
    model = SpatialModel(SpatialConfig(num_steps=2))
    model.fit(data.votes)
    model.slopes = model.slopes[:-1]
    with pytest.raises(CheckpointError, match="slopes"):
        SpatialModel.load(model.save(tmp_path / "spatial"))


def test_a_spatial_model_becomes_an_environments_dynamics(data, tmp_path):
    rows, columns = np.arange(24), np.arange(30)
    codes = [
        *("AD", "AE", "AF", "AG", "AL", "AM", "AO", "AR", "AT", "AU", "AZ", "BA", "BB", "BD"),
        *("BE", "BF", "BG", "BH", "BI", "BJ", "BN", "BO", "BR", "BS", "BT", "BW", "BY", "BZ"),
        *("CA", "CD"),
    ]
    named = dataclasses.replace(data, countries=codes)
    model = SpatialModel(SpatialConfig(num_steps=5))
    model.fit(named.votes[rows])
    model.write_dynamics(tmp_path / "dynamics.json", named, rows, columns)
    source = fitted_source(tmp_path / "dynamics.json")
    assert sorted(source.countries) == codes
    flat = SpatialModel(SpatialConfig(num_dimensions=1, num_steps=2))
    flat.fit(named.votes[rows])
    with pytest.raises(ConfigError, match="num_dimensions=2"):
        flat.write_dynamics(tmp_path / "dynamics.json", named, rows, columns)


def test_files_that_describe_something_else_are_refused(data, fitted, tmp_path):
    """Bytes that were altered on purpose have a hash that fits."""
    path = fitted.save(tmp_path / "votes")
    stored = load_checkpoint(path)
    with pytest.raises(CheckpointError, match="kind"):
        SpatialModel.load(path)
    described = stored.metadata["classifier"]
    changes = (
        {"temperature": "hot"},
        {"settings": {"coverage": 3.0}},
        {"classifier": {**described, "num_classes": 4}},
        {"classifier": {**described, "config": {**described["config"], "num_members": 10**9}}},
    )
    for change in changes:
        save_checkpoint(path, stored.tensors, stored.metadata | change)
        with pytest.raises(CheckpointError, match="vote model"):
            VoteModel.load(path, given=data)


def test_a_cut_off_or_a_validation_set_in_the_place_of_the_configuration(data):
    with pytest.raises(ConfigError, match="train_before="):
        VoteModel().fit(data, 2010.0, train_before=2010.0)


def test_old_places_lead_to_the_new_ones():
    moved = {}
    for finder in sys.meta_path:
        if isinstance(finder, MovedModules):
            moved |= finder.modules
    for place, name, present in (
        ("wm_agents.votes", "VoteModel", VoteModel),
        ("wm_agents.votes.metrics", "macro_f1", macro_f1),
        ("wm_agents.votes.baselines", "all_baselines", all_baselines),
        ("wm_agents.votes.text", "novelty", novelty),
        ("wm_agents.votes.update", "corrected", corrected),
        ("wm_agents.debate.plots", "plot_trajectories", plot_trajectories),
    ):
        assert getattr(importlib.import_module(moved[place]), name) is present
