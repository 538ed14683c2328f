import json

import imageio.v3 as imageio
import pytest

from examples.random_rollout import Config, main
from wm_agents.errors import ConfigError


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
    with pytest.raises(ConfigError, match="choose another output folder"):
        main(Config(output_dir=tmp_path / "file" / "folder"))
