import pytest

from benchmarks import driving_planning


def run(seconds, is_clean=True):
    return {"is_clean": is_clean, "lap_times": [9.0, seconds], "decisions_per_second": 60.0}


def row(circuit, learned, oracle, expert):
    return {
        "circuit": circuit,
        "start_seed": 0,
        "limit": 8.0,
        "learned": learned,
        "oracle": oracle,
        "expert": expert,
    }


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


def test_more_drivers_join_the_rows_that_are_there(monkeypatch, tmp_path):
    def one_start(path, model, start_seed, config):
        return {"limit": 7.0, config.drivers[0]: run(8.0)}

    for name in "abc":
        (tmp_path / f"{name}.csv").touch()  # c is unseen
    monkeypatch.setattr(driving_planning, "one_start", one_start)
    monkeypatch.setattr(driving_planning, "learned_model", lambda config, training: None)

    def drive(driver):
        return driving_planning.main(
            driving_planning.Config(
                circuits=tmp_path,
                drivers=(driver,),
                start_seeds=(0, 1),
                output_dir=tmp_path,
                results_dir=tmp_path,
            )
        )

    assert drive("policy") == {
        "model": "",
        "drives": 2,
        "policy_clean_drives": 2,
        "rows": [
            {"circuit": "c", "kind": "unseen", "start_seed": seed, "limit": 7.0, "policy": run(8.0)}
            for seed in (0, 1)
        ],
    }
    figures = drive("learned")
    assert figures["model"] == "learned by this command"
    assert figures["learned_over_policy"]["mean"] == 1.0
    assert [sorted(row) for row in figures["rows"]] == [
        ["circuit", "kind", "learned", "limit", "policy", "start_seed"]
    ] * 2


def test_the_policy_laps_the_oval_from_a_place_of_its_own():
    times = [driving_planning.policy_laps("oval", 1, seed) for seed in (0, 1)]
    assert all(20.0 < lap < 40.0 for (lap,) in times)
    assert times[0] != times[1]
    assert driving_planning.policy_laps("oval", 1, 0) == times[0]
