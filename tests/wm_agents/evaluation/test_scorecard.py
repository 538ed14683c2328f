"""The scorecard's two files.

Complete, self-contained, and with the verdict that the numbers call for.
"""

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from tests.support.analytic import WalkModel, walk
from wm_agents.errors import ConfigError, TrajectoryError
from wm_agents.evaluation.episodes import planning_gap
from wm_agents.evaluation.scorecard import scorecard

TRAIN, TEST = walk([40] * 6, seed=1), walk([40] * 8, seed=2, has_ends=True)
TEST_OF_MANY = walk([20] * 12, seed=2, has_ends=True)


class Reader(HTMLParser):
    """Collects tags, their attributes and the text, and whether every tag is closed."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.open: list[str] = []
        self.text: list[str] = []
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [
            value or "" for name, value in attrs if name in ("src", "href", "xlink:href")
        ]
        if tag not in ("meta",):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def test_both_files_are_complete(tmp_path: Path) -> None:
    gap = planning_gap(np.full(5, 0.9), np.ones(5), np.zeros(5))
    card = scorecard(
        WalkModel(noise=0.1, ends_at=80),
        TEST,
        tmp_path / "out",
        title="Walk <1> & more",
        gap=gap,
        train=TRAIN,
        feature_names=("place", "count"),
    )
    content = json.loads(card.json_path.read_text())
    assert content["summary"]["planning_gap"] == pytest.approx(0.9)
    for name in (
        "trusted_steps",
        "error_h1",
        "error_h16",
        "persistence_h16",
        "ridge_h16",
        "mean_return",
        "exact_h32",
    ):
        assert isinstance(content["summary"][name], float), name
    assert content["open_loop"]["feature_names"] == ["place", "count"]
    assert np.shape(content["open_loop"]["tables"]["model"]["rmse"]) == (6, 3)
    page = card.page_path.read_text(encoding="utf-8")
    reader = Reader()
    reader.feed(page)
    assert not reader.open
    assert not reader.links
    assert "script" not in reader.tags
    assert "http" not in page
    assert "url(" not in page.replace("url(#", "")
    assert reader.tags.count("svg") == 4
    text = " ".join(reader.text)
    for phrase in (
        "at least 32 steps",
        "Walk <1> & more",
        "closes 90% of the gap",
        "place",
        "AUROC",
        "ridge regression",
    ):
        assert phrase in text, phrase
    assert text.index("can be trusted") < text.index("How the error grows")


def test_the_verdict_follows_the_numbers(tmp_path: Path) -> None:
    assert "cannot be trusted" in scorecard(WalkModel(drift=9.0), TEST, tmp_path).verdict
    std = float(TEST.observations.std(axis=0)[0])
    partly = scorecard(
        WalkModel(drift=0.0519 * std), replace(TEST, terminations=TEST.truncations), tmp_path
    )
    assert partly.verdict == (
        "This model can be trusted for about 5 steps, of 32 examined: "
        "then the error of “feature 0” may exceed 0.3 of its spread."
    )
    page = partly.page_path.read_text(encoding="utf-8")
    assert partly.verdict in page
    assert json.loads(partly.json_path.read_text(encoding="utf-8"))["verdict"] == partly.verdict
    assert partly.summary["trusted_steps"] == partly.report.trusted_steps == 5
    assert "After 6 steps its error is" in page
    assert "It was not checked that the model had not seen these episodes" in page
    assert "the same planner" not in page


def test_a_single_episode_gives_valid_files_that_promise_nothing(tmp_path: Path) -> None:
    gap = planning_gap([0.5], [1.0], [0.0])
    card = scorecard(WalkModel(drift=0.01), walk([20]), tmp_path, horizons=(1, 4), gap=gap)
    assert (
        card.verdict == "A single held-out episode cannot tell how far this model can be trusted."
    )
    page, content = card.page_path.read_text(), json.loads(card.json_path.read_text())
    assert "in a single episode, which tells nothing of others" in page
    assert "within chance or of one episode" in page
    assert not re.search(r"\b(nan|inf)\b", page)
    assert content["open_loop"]["curves"]["model"]["high"] == [None] * 4
    assert content["planning_gap"]["closed"]["low"] is None
    assert "error_h1_high" not in card.summary


def test_what_is_ignored_stands_on_the_page(tmp_path: Path) -> None:
    lost = scorecard(WalkModel(drift=9.0), TEST_OF_MANY, tmp_path, horizons=(1, 4))
    assert lost.certified is not None
    assert (lost.report.trusted_steps, lost.certified.certified) == (0, 0)
    options = {"ignored": ["feature 0", "reward", "termination"], "horizons": (1, 4)}
    card = scorecard(WalkModel(drift=9.0), TEST_OF_MANY, tmp_path, **options)  # type: ignore[arg-type]
    assert card.certified is not None
    assert (card.report.trusted_steps, card.certified.certified) == (4, 4)
    page = card.page_path.read_text(encoding="utf-8")
    assert "Not judged, as was asked: “feature 0”, “reward” and “termination”." in page
    assert "“feature 0” and “reward” have none, as was asked" in page


def test_many_features_fold_and_a_single_horizon_works(tmp_path: Path) -> None:
    wide = walk([6] * 6)
    wide = type(wide)(
        np.tile(wide.observations, (1, 12)),
        wide.actions,
        wide.rewards,
        wide.terminations,
        wide.truncations,
        wide.lengths,
    )

    class Wide(WalkModel):
        def step(self, state, actions, generator=None):  # type: ignore[no-untyped-def]
            narrow = replace(state, observations=state.observations[:, :2])
            after, prediction = super().step(narrow, actions, generator)
            rows = after.observations.repeat(1, 12)
            return replace(after, observations=rows), replace(prediction, observations=rows)

    card = scorecard(Wide(drift=1e-3), wide, tmp_path, horizons=(1,))
    assert "The other 12 features" in card.page_path.read_text()
    assert card.verdict == "This model can be trusted for at least 1 step, as far as was examined."


def test_a_folder_that_cannot_be_written_is_said_before_anything_is_measured(
    tmp_path: Path,
) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="cannot write into output_dir"):
        scorecard(WalkModel(), TEST, tmp_path / "file")


def test_what_is_refused_leaves_the_earlier_card(tmp_path: Path) -> None:
    before = scorecard(WalkModel(), TEST, tmp_path).page_path.read_text()
    with pytest.raises(TrajectoryError, match="seen in training"):
        scorecard(WalkModel(), TEST, tmp_path, train=TEST)
    assert (tmp_path / "scorecard.html").read_text() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["scorecard.html", "scorecard.json"]


def test_a_page_that_cannot_be_drawn_leaves_no_half_of_a_card(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> str:
        raise ZeroDivisionError

    monkeypatch.setattr("wm_agents.evaluation.scorecard.render_page", fail)
    with pytest.raises(ZeroDivisionError):
        scorecard(WalkModel(), walk([20] * 3), tmp_path, horizons=(1, 4))
    assert list(tmp_path.iterdir()) == []
