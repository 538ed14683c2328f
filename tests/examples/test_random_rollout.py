import json

import imageio.v3 as imageio
import numpy as np
import pytest

from examples.random_rollout import Config, evenly_spaced, main, write_contact_sheet


def test_it_writes_the_summary_and_a_picture(tmp_path):
    config = Config(
        env_id="wm/TMaze-v0", episodes=300, seed=3, output_dir=tmp_path / "new" / "folder"
    )
    summary = main(config)
    assert json.loads((config.output_dir / "summary.json").read_text()) == summary
    assert summary["episodes"] == 300
    assert summary["mean_length"] == 8
    assert summary["success_rate"] == summary["mean_return"] == pytest.approx(1 / 16, abs=0.05)
    sheet = imageio.imread(config.output_dir / "frames.png")
    assert sheet.shape == (3 * 306 + 6, 4 * 406 + 6, 3)  # nine frames


def test_equal_seeds_give_equal_summaries(tmp_path):
    config = Config(env_id="wm/LightsOut-v0", episodes=20, seed=5, output_dir=tmp_path)
    assert main(config) == main(config)


def test_it_takes_any_gymnasium_id(tmp_path):
    summary = main(Config(env_id="Pendulum-v1", episodes=1, output_dir=tmp_path, max_frames=2))
    assert set(summary) == {"episodes", "mean_return", "mean_length"}
    assert (tmp_path / "frames.png").exists()


@pytest.mark.parametrize("options", [{"episodes": 0}, {"max_frames": 0}])
def test_bad_numbers_are_refused(tmp_path, options):
    with pytest.raises(SystemExit, match="at least 1"):
        main(Config(output_dir=tmp_path, **options))


def test_a_folder_that_cannot_be_written_is_refused_with_a_remedy(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(SystemExit, match="choose another --output-dir"):
        main(Config(output_dir=tmp_path / "file" / "folder"))


def test_frames_are_evenly_spaced_with_both_ends():
    frames = [np.full((1, 1, 3), i) for i in range(11)]
    assert [int(f[0, 0, 0]) for f in evenly_spaced(frames, 3)] == [0, 5, 10]
    assert len(evenly_spaced(frames, 50)) == 11
    assert len(evenly_spaced(frames[:1], 4)) == 1


def test_the_sheet_places_frames_row_by_row(tmp_path):
    frames = [np.full((2, 3, 3), 10 * i, np.uint8) for i in range(1, 4)]
    write_contact_sheet(tmp_path / "sheet.png", frames, num_columns=2, gap=1)
    sheet = imageio.imread(tmp_path / "sheet.png")
    assert sheet.shape == (7, 9, 3)
    assert (sheet[1, 1, 0], sheet[1, 5, 0], sheet[4, 1, 0], sheet[4, 5, 0]) == (10, 20, 30, 120)
