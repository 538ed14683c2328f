import json

import pytest

from examples import ablation, quickstart


def test_the_quick_start_ends_with_a_table_and_a_picture(tmp_path, capsys):
    config = quickstart.Config(
        sequence_steps=12_800, recall_updates=100, num_seeds=2, output_dir=tmp_path, quiet=True
    )
    summary = quickstart.main(config)
    assert summary["sequence_success_rate"] >= 0.95
    assert set(summary) >= {
        "iqm_with",
        "iqm_without",
        "probability_of_improvement",
        "episodes_to_90_ratio",
    }
    written = json.loads((tmp_path / "summary.json").read_text())
    assert written["iqm_with"] == summary["iqm_with"]
    assert (tmp_path / "rule_recall.png").stat().st_size > 10_000
    assert "wm/RuleRecall-v0" in capsys.readouterr().out


def test_the_ablation_tries_every_arm_at_every_learning_rate(tmp_path):
    config = ablation.Config(
        env_id="wm/PatternEcho-v0",
        num_seeds=2,
        num_updates=40,
        evaluate_every=20,
        learning_rates=(1e-5, 1e-3),
        output_dir=tmp_path,
        quiet=True,
    )
    summary = ablation.main(config)
    assert {summary[f"learning_rate_{arm}"] for arm in ("with", "without", "placebo")} == {1e-3}
    assert (
        json.loads((tmp_path / "summary.json").read_text())["iqm_placebo"] == summary["iqm_placebo"]
    )
    assert (tmp_path / "curves.png").exists()
    assert (tmp_path / "intervals.png").exists()


@pytest.mark.parametrize(
    ("script", "options", "message"),
    [
        (quickstart, {"recall_updates": 2}, "recall_updates is at least 50"),
        (quickstart, {"num_seeds": 1}, "at least two seeds, got num_seeds=1"),
        (ablation, {"num_seeds": 1}, "at least two seeds, got num_seeds=1"),
        (ablation, {"num_updates": 10}, r"evaluate_every lies in \[1, num_updates=10\], got 50"),
        (ablation, {"learning_rates": ()}, "learning_rates is empty"),
    ],
)
def test_what_could_not_be_compared_is_refused_before_anything_is_trained(
    tmp_path, script, options, message
):
    folder = tmp_path / "out"
    with pytest.raises(SystemExit, match=message):
        script.main(script.Config(output_dir=folder, quiet=True, **options))
    assert not folder.exists()
