import pytest

from benchmarks import driving_planning


def run(seconds, is_clean=True):
    return {"is_clean": is_clean, "lap_times": [9.0, seconds], "decisions_per_second": 60.0}


def row(circuit, learned, oracle, expert):
    return {"circuit": circuit, "limit": 8.0, "learned": learned, "oracle": oracle, "expert": expert}


def test_totals_count_only_drives_that_all_drivers_finished():
    rows = [row("a", run(10.0), run(9.9), run(10.5)), row("b", run(1.0, False), run(7.5), run(8.0))]
    figures = driving_planning.totals(rows)
    assert (figures["learned_clean_drives"], figures["oracle_clean_drives"]) == (1, 2)
    assert figures["learned_mean_lap"] == 10.0
    assert figures["learned_over_oracle"] is None  # one start: no interval
    assert figures["learned_clean_share_95"][0] == pytest.approx(0.0945, abs=1e-3)  # Wilson, 1 of 2


def test_ratios_weigh_circuits_alike_and_have_intervals_over_starts():
    rows = [row("a", run(10.0), run(10.0), run(20.0)), row("a", run(12.0), run(10.0), run(20.0))]
    rows += [row("b", run(5.0), run(5.0), run(5.0)), row("b", run(5.0), run(5.0), run(5.0))]
    rows += [row("b", run(50.0), run(5.0), run(5.0))]  # a third start that the other circuit lacks
    interval = driving_planning.totals(rows)["learned_over_oracle"]
    assert interval["mean"] == pytest.approx((1.0 + 1.2 + 1.0 + 1.0) / 4)
    assert interval["low"] == pytest.approx(1.0)
    assert interval["high"] == pytest.approx(1.1)


def test_chosen_circuits_are_refused_where_all_unseen_ones_count():
    with pytest.raises(SystemExit, match="from-scratch"):
        driving_planning.main(driving_planning.Config(circuit_names=("Spa",)))
