import pytest

from benchmarks.irl_transfer import Config, finished_run, summarize
from benchmarks.report import append_row

SHARES = {"1": {"cloning": 1.0}, "1.5": {"cloning": 0.75, "inferred_reward": 1.0}}


def row(seed, share, **more):
    shares = {**SHARES, "1.5": {"cloning": 0.75, "inferred_reward": share}}
    return {"seed": seed, "reward_correlation": 0.5, "cpu_seconds": 9.0, "shares": shares, **more}


def test_shares_are_summed_up_by_mass():
    figures = summarize([row(0, 0.5), row(1, 1.0), row(2, 0.9)])
    assert figures["mass 1.5 share_inferred_reward median"] == 0.9
    assert figures["mass 1.5 share_inferred_reward worst"] == 0.5
    assert figures["mass 1 share_cloning worst"] == 1.0


def test_a_finished_run_is_not_run_again(tmp_path):
    config = Config(masses=(1.5,), folder=tmp_path)
    append_row(tmp_path, row(3, 1.0))
    append_row(tmp_path, row(3, 0.25, num_replay_rounds=8))
    kept = finished_run(config, 3, (1.5,))
    assert kept["shares"]["1.5"]["inferred_reward"] == pytest.approx(1.0)
    forgetful = finished_run(config, 3, (1.5,), 8)
    assert forgetful["shares"]["1.5"]["inferred_reward"] == pytest.approx(0.25)
