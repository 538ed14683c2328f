"""RLlib's PPO takes every id; the worker's environment creator imports wm_envs."""

import pytest

ray = pytest.importorskip("ray", reason="the extra ray is not installed")
pytest.importorskip("ray.rllib", reason="the extra ray is not installed")

from examples import rllib_ppo  # noqa: E402


@pytest.fixture(scope="module", autouse=True)
def cluster():
    ray.init(
        num_cpus=2, include_dashboard=False, object_store_memory=100 * 2**20, log_to_driver=False
    )
    yield
    ray.shutdown()


def test_an_iteration_runs(env_id):
    algorithm = rllib_ppo.make_algorithm(
        rllib_ppo.Config(env_id=env_id, num_runners=0, batch_size=64)
    )
    result = algorithm.train()
    algorithm.stop()
    assert result["num_env_steps_sampled_lifetime"] >= 64


def test_the_example_learns(tmp_path):
    config = rllib_ppo.Config(
        env_id="wm/PatternEcho-v0",
        total_timesteps=12_000,
        num_runners=1,
        output_dir=tmp_path,
        quiet=True,
    )
    summary = rllib_ppo.main(config)
    assert summary["total_timesteps"] >= 12_000
    assert summary["success_rate"] >= 0.5  # chance is 1/8
    assert (tmp_path / "summary.json").is_file()
