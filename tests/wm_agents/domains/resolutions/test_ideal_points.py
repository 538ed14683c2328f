import dataclasses

import numpy as np
import pytest

from tests.support.analytic_votes import moving_assembly
from wm_agents.domains.resolutions import IdealPoints, IdealPointsConfig
from wm_agents.domains.resolutions.ideal_points_page import (
    compare,
    country_page,
    read_reference,
    write_pages,
)
from wm_agents.errors import CheckpointError, ConfigError, TrajectoryError
from wm_agents.training.checkpoints import load_checkpoint, save_checkpoint
from wm_agents.training.saving import load

POLES = IdealPointsConfig(poles=("US", "CU"))


@pytest.fixture(scope="module")
def simulated():
    """Votes of a moving assembly, and where its members truly stood, standardized."""
    data, positions = moving_assembly()
    centered = positions - positions.mean(1, keepdims=True)
    return data, centered / centered.std(1, keepdims=True)


@pytest.fixture(scope="module")
def fitted(simulated):
    model = IdealPoints(POLES)
    report = model.fit(simulated[0])
    assert report.metrics["walk_std"] == model.walk_std
    return model


def test_points_of_a_simulated_assembly_are_recovered_within_their_intervals(simulated, fitted):
    _, truth = simulated
    correlations = [np.corrcoef(*pair)[0, 1] for pair in zip(fitted.points, truth, strict=True)]
    assert min(correlations) > 0.95
    coverage = ((fitted.low <= truth) & (truth <= fitted.high)).mean()
    assert 0.84 < coverage < 0.96
    changes = np.diff(truth, axis=0)
    reach = 1.645 * fitted.change_stds[1:]
    assert 0.82 < (np.abs(changes - fitted.changes[1:]) <= reach).mean() < 0.97
    # The walk of 0.2 a session, in units of the assembly's spread.
    assert 0.12 < fitted.walk_std < 0.32
    np.testing.assert_allclose(fitted.points.mean(1), 0, atol=1e-9)
    np.testing.assert_allclose(fitted.points.std(1), 1, atol=1e-9)


def test_votes_are_explained_and_poles_say_which_side_is_up(simulated, fitted):
    data, _ = simulated
    right = (fitted.probabilities().argmax(2) == data.votes)[data.is_present].mean()
    assert right > (data.votes == 0).sum() / data.is_present.sum() + 0.1
    turned = IdealPoints(IdealPointsConfig(poles=("CU", "US")))
    turned.fit(data)
    np.testing.assert_allclose(turned.points, -fitted.points, atol=1e-9)
    np.testing.assert_allclose(turned.probabilities(), fitted.probabilities(), atol=1e-6)


def test_the_covariance_is_the_inverse_of_the_whole_information(simulated):
    """Blocks eliminated one after the other, against one dense matrix."""
    from wm_agents.domains.resolutions.ideal_points import _IdealPointsRun

    data = simulated[0].select(np.arange(0, 120, 2))
    run = _IdealPointsRun(POLES, data)
    run.step(0)
    terms = [run._terms(s) for s in range(len(run.sessions))]
    blocks, _ = run._system(terms)
    size = blocks.shape[1]
    dense = np.zeros((len(blocks) * size, len(blocks) * size))
    for s, block in enumerate(blocks):
        here = slice(s * size, (s + 1) * size)
        dense[here, here] = block
        if s:
            before = slice((s - 1) * size, s * size)
            dense[here, before] = dense[before, here] = -np.diag(run._coupling(s - 1))
    inverse = np.linalg.inv(dense)
    own, crossed = run.covariances()
    for s in range(len(own)):
        here = slice(s * size, (s + 1) * size)
        np.testing.assert_allclose(own[s], inverse[here, here], atol=1e-9)
        if s:
            before = slice((s - 1) * size, s * size)
            np.testing.assert_allclose(crossed[s - 1], inverse[before, here], atol=1e-9)


def test_who_did_not_vote_in_a_session_has_no_point_there(simulated):
    data, _ = simulated
    votes = data.votes.copy()
    votes[data.sessions == data.sessions[0] + 2, 5] = -1
    model = IdealPoints(POLES)
    model.fit(dataclasses.replace(data, votes=votes))
    assert np.isnan(model.points[2, 5])
    assert np.isnan(model.changes[3, 5])
    assert np.isfinite(model.points[[1, 3], 5]).all()
    table = model.to_pandas()
    assert len(table) == np.isfinite(model.points).sum()
    assert list(table.columns)[:5] == ["country", "session", "point", "low", "high"]


def test_it_resumes_bitwise_and_comes_back_from_its_file(simulated, fitted, tmp_path):
    data, _ = simulated
    folder = tmp_path / "checkpoints"
    IdealPoints(POLES).fit(data, checkpoints=folder)
    again = IdealPoints(POLES)
    again.fit(data, checkpoints=folder)
    np.testing.assert_array_equal(again.points, fitted.points)
    path = fitted.save(tmp_path / "points")
    loaded = load(path)
    np.testing.assert_array_equal(loaded.low, fitted.low)
    np.testing.assert_array_equal(loaded.probabilities(), fitted.probabilities())
    stored = load_checkpoint(path)
    for change in ({"countries": ["US"]}, {"config": {"poles": ["US", "US"]}}):
        save_checkpoint(path, stored.tensors, stored.metadata | change)
        with pytest.raises(CheckpointError, match="ideal points"):
            IdealPoints.load(path)


def test_wrong_poles_and_votes_are_refused(simulated):
    data, _ = simulated
    with pytest.raises(ConfigError, match="two different countries"):
        IdealPointsConfig(poles=("US", "US"))
    with pytest.raises(ConfigError, match="positive"):
        IdealPointsConfig(walk_std=0.0)
    with pytest.raises(TrajectoryError, match="pole 'ZW' is not among"):
        IdealPoints(IdealPointsConfig(poles=("ZW", "CU"))).fit(data)
    with pytest.raises(TrajectoryError, match="nobody voted"):
        IdealPoints(POLES).fit(dataclasses.replace(data, votes=np.full_like(data.votes, -1)))


def test_a_reference_is_joined_where_it_can_be_and_the_rest_is_counted(fitted, tmp_path):
    lines = ["country,session,point,low,high"]
    for s, session in enumerate(fitted.sessions):
        for code in fitted.countries:
            point = -2 * fitted.points[s, fitted.column(code)] + 1
            lines.append(f"{code},{session}.0,{point},{point - 1},{point + 1}")
    lines += ["Atlantis,60,0,0,0", "ZW,60,0,0,0", "US,999,0,0,0"]
    path = tmp_path / "reference.csv"
    path.write_text("\n".join(lines), encoding="utf-8")
    figures = compare(fitted, read_reference(path))
    assert figures["median_correlation"] == pytest.approx(1)
    assert figures["change_correlation"] == pytest.approx(1)
    assert figures["change_sign_agreement"] == 1
    assert figures["num_joined"] == fitted.points.size
    assert figures["unknown_countries"] == {"Atlantis": 1}
    assert figures["other_countries"] == {"ZW": 1}
    assert figures["other_sessions"] == {"999": 1}
    for row, match in (
        ("US,60,x,0,0", "line 2: point: expected a number"),
        ("US,60,inf,0,0", "finite"),
        ("US,0,0,0,0", "session"),
        ("Atlantis,60,0,0,0", "no row has a known country"),
    ):
        path.write_text(f"{lines[0]}\n{row}\n", encoding="utf-8")
        with pytest.raises(TrajectoryError, match=match):
            read_reference(path)
    # One rule for rows that are given twice, and for files of which most cannot be read.
    path.write_text("\n".join([*lines, lines[1], lines[1]]), encoding="utf-8")
    assert len(read_reference(path).points) == len(lines) - 2
    path.write_text("\n".join([*lines, "US,999,0,0,1"]), encoding="utf-8")
    with pytest.raises(
        TrajectoryError, match="US stands twice in session 999, and its rows differ"
    ):
        read_reference(path)
    names = ("Atlantis", "Mu", "Lemuria", "Hyperborea")
    rows = "\n".join(f"{name},60,0,0,0" for name in names)
    path.write_text(f"{lines[0]}\nUS,60,0,0,0\n{rows}\n", encoding="utf-8")
    with pytest.raises(TrajectoryError, match=r"4 of 5 rows cannot be used.*Atlantis.*Lemuria"):
        read_reference(path)
    path.write_text(f"{lines[0]}\nUS,60,0,0,0\n", encoding="utf-8")
    with pytest.raises(TrajectoryError, match="no session has 5 countries"):
        compare(fitted, read_reference(path))


def test_countries_are_found_by_their_names(fitted):
    assert fitted.column("United States") == fitted.column("USA") == fitted.column("US")
    with pytest.raises(
        TrajectoryError, match=r"'Atlantis' is not among these .*: give a code such"
    ):
        fitted.column("Atlantis")


def test_a_country_has_a_page(fitted, tmp_path):
    (path,) = write_pages(fitted, tmp_path, ["US"])
    page = path.read_text(encoding="utf-8")
    assert page == country_page(fitted, "US")
    assert "United States" in page
    assert page.count("<polyline") == 3
    assert "<script" not in page
    assert "nan" not in page
    with pytest.raises(TrajectoryError, match="not among"):
        country_page(fitted, "ZW")
