import pytest

from benchmarks.warm_start import REFERENCE, cheapest


def test_the_cheapest_budget_that_keeps_the_return_counts():
    returns = {
        REFERENCE: [-100.0, -100.0],
        "CEM 50 x 3": [-101.0, -101.0],
        "iCEM 25 x 3": [-102.0, -101.0],
    }
    returns["iCEM 16 x 2"] = [-150.0, -50.0 - 60.0]
    seconds = {
        REFERENCE: [12.0, 12.0],
        "CEM 50 x 3": [3.0, 3.0],
        "iCEM 25 x 3": [1.0, 1.0],
        "iCEM 16 x 2": [0.5, 0.5],
    }
    figures = cheapest(returns, seconds, 0.02)
    assert (figures["cheapest_cem"], figures["cheapest_icem"]) == ("CEM 50 x 3", "iCEM 25 x 3")
    assert figures["times_less_cpu"] == pytest.approx(3.0)
    assert figures["times_less_cpu_than_reference"] == pytest.approx(12.0)


def test_a_planner_that_never_reaches_the_return_has_no_ratio():
    returns, seconds = (
        {REFERENCE: [-100.0], "iCEM 16 x 2": [-300.0]},
        {REFERENCE: [1.0], "iCEM 16 x 2": [0.1]},
    )
    assert cheapest(returns, seconds, 0.02)["times_less_cpu"] is None
