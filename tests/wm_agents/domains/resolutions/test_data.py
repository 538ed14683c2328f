"""What a set of resolutions holds, and how different a test set is."""

import numpy as np
import pytest

from wm_agents.domains.resolutions.data import record_contents
from wm_agents.domains.resolutions.evaluation import (
    episode_diversity,
    errors_by_record,
    mean_where_finite,
)
from wm_agents.domains.resolutions.pictures import save_years
from wm_envs.data.trajectories import Trajectories
from wm_envs.resolutions.records import ResolutionRecord, ballot_of


def record(number: int, date: str | None, **lists: list[str]) -> ResolutionRecord:
    ballot = ballot_of({"in_favour": [], "against": [], "abstaining": [], **lists})
    return ResolutionRecord(f"R/{number}", title=f"text {number}", date=date, plenary_ballot=ballot)


RECORDS = [
    record(1, "1990-01-02", in_favour=["FR", "NA"], against=["US"]),
    record(2, "1992-01-02", in_favour=["FR"], abstaining=["US", "CN"]),
    ResolutionRecord("R/3"),
]


def test_votes_and_gaps_are_counted():
    contents = record_contents(RECORDS)
    assert contents["num_votes"] == 6
    assert contents["votes_by_kind"] == {"yes": 3, "no": 1, "abstain": 2}
    assert contents["num_countries"] == 4
    assert contents["has_namibia"]
    assert contents["without_plenary_vote"] == contents["without_title"] == 1
    assert (contents["first_date"], contents["last_date"]) == ("1990-01-02", "1992-01-02")
    assert record_contents([])["num_votes"] == 0


def test_years_are_drawn_where_there_are_any(tmp_path):
    save_years(RECORDS, tmp_path / "years.png")
    assert (tmp_path / "years.png").stat().st_size > 3_000
    save_years(RECORDS[2:], tmp_path / "none.png")
    assert not (tmp_path / "none.png").exists()


@pytest.fixture
def test_set() -> Trajectories:
    """Two equal episodes and one of another length; actions 0, 1, 0, 1, 2, 2."""
    observations = np.zeros((9, 14), np.float32)
    observations[6:] = 1
    return Trajectories.from_arrays(
        observations,
        np.array([0, 1, 0, 1, 2, 2]),
        np.zeros(6),
        np.zeros(6, np.bool_),
        np.zeros(6, np.bool_),
        lengths=[2, 2, 2],
    )


def test_equal_episodes_and_titles_show(test_set):
    found = episode_diversity(test_set, [RECORDS[0], RECORDS[0], RECORDS[1]])
    assert found["distinct_episodes"] == found["distinct_titles"] == pytest.approx(2 / 3)
    assert found["distinct_lengths"] == 1
    # Three actions, equally often.
    assert found["action_entropy_bits"] == pytest.approx(np.log2(3))


def test_errors_are_averaged_by_resolution(test_set):
    errors = {"stage": np.array([1.0, 3.0, np.nan, 4.0, np.nan, np.nan])}
    rows = errors_by_record(errors, test_set, RECORDS)
    assert [row["stage"] for row in rows] == [2.0, 4.0, None]
    assert [row["trajectory_id"] for row in rows] == ["R/1", "R/2", "R/3"]
    assert mean_where_finite(np.array([np.nan])) is None
