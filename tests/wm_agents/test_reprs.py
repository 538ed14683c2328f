"""What a notebook shows of a value fits on a screen and says what it is."""

import numpy as np
import pytest
from gymnasium import spaces

import wm_agents as wma
import wm_envs
from tests.support.analytic import WalkModel, walk
from wm_agents.evaluation.episodes import EpisodeResults
from wm_agents.world_models import DeterministicModel

BOX, CHOICE = spaces.Box(-1, 1, (2,)), spaces.Discrete(3)


@pytest.fixture(scope="module")
def values():
    """One of each kind that users hold."""
    model = DeterministicModel(BOX, CHOICE)
    recorded = wm_envs.record("wm/PatternEcho-v0", episodes=3, seed=0)
    table = wma.TabularModel.for_env("wm/PatternEcho-v0")
    table.fit(recorded)
    return {
        "model": model,
        "table": table,
        "trajectories": recorded,
        "planning agent": wma.PlanningAgent(model, wma.RandomShooting()),
        "agent": wma.WorldModelAgent("wm/PatternEcho-v0"),
        "reinforce": wma.Reinforce("wm/PatternEcho-v0"),
        "ppo": wma.PPO("wm/PatternEcho-v0"),
        "results": EpisodeResults(np.arange(400.0), np.arange(400), np.arange(400) < 300),
        "cloning": wma.BehavioralCloning(BOX, CHOICE),
    }


def test_what_is_held_is_said_in_a_few_words(values):
    for name, value in values.items():
        shown = repr(value)
        assert "\n" not in shown, name
        assert " object at 0x" not in shown, name
        assert 10 < len(shown) < 300, name


def test_a_model_says_whether_it_was_fitted(values):
    assert "fitted: no" in repr(values["model"])
    assert "fitted" not in repr(values["table"])


def test_notebooks_get_a_table_whose_texts_are_escaped(values):
    for name, value in values.items():
        if name != "cloning":
            page = value._repr_html_()
            assert page.startswith("<table><caption>"), name
            assert page.count("<tr>") == page.count("</tr>") > 0, name
    hostile = wma.WorldModelAgent("wm/PatternEcho-v0")
    hostile.decisions = {"<script>": "a & b"}
    assert "&lt;script&gt;" in hostile._repr_html_()
    assert "a &amp; b" in hostile._repr_html_()


def test_results_show_mean_interval_and_success(values):
    shown = repr(values["results"])
    assert "400 episodes, mean return 199.5 [188.1, 210.9], success 0.75 [0.7053, 0.7899]" in shown
    assert shown.endswith("; in brackets: 95% limits of the mean)")
    one = EpisodeResults(np.ones(1), np.ones(1, np.int64))
    assert repr(one) == "EpisodeResults(1 episode, mean return 1, mean length 1)"
    assert one.return_interval.low == -np.inf


def test_results_are_tables():
    pandas = pytest.importorskip("pandas")
    results = EpisodeResults(np.array([1.0, 2.0]), np.array([3, 4]), np.array([True, False]))
    table = results.to_pandas()
    assert isinstance(table, pandas.DataFrame)
    assert table.to_dict("list") == {
        "return": [1.0, 2.0],
        "length": [3, 4],
        "success": [True, False],
    }
    report = wma.FitReport(4, 2, 0.5, True, [{"update": 2, "loss": 0.5}, {"update": 4}], 1.0)
    assert repr(report) == "FitReport(4 updates in 1.0 s, held-out loss 0.5 after 2)"
    assert list(report.to_pandas()) == ["update", "loss"]


def test_a_scorecard_shows_its_page(tmp_path):
    pytest.importorskip("pandas")
    card = wma.scorecard(WalkModel(noise=0.1), walk([40] * 3, seed=2), tmp_path, title="A <walk>")
    assert repr(card).startswith("Scorecard(A <walk>: ")
    assert card._repr_html_().startswith('<iframe srcdoc="&lt;!')
    table = card.to_pandas().set_index("figure")["value"]
    assert table["trusted_steps"] == card.report.trusted_steps
    card.page_path.unlink()
    assert "A &lt;walk&gt;" in card._repr_html_()
