"""TorchRL's collector gathers every id through GymEnv and GymWrapper."""

import gymnasium as gym
import pytest

torchrl = pytest.importorskip("torchrl", reason="the extra ecosystem is not installed")
import torch  # noqa: E402

try:
    from torchrl.collectors import Collector
except ImportError:  # its name before 0.11
    from torchrl.collectors import SyncDataCollector as Collector
from torchrl.collectors import RandomPolicy  # noqa: E402
from torchrl.envs import GymEnv, GymWrapper  # noqa: E402
from torchrl.envs.utils import check_env_specs  # noqa: E402

ONE_STEP = ("wm/PatternEcho-v0", "wm/SequenceNext-v0", "wm/Conditional-v0")


def test_the_specs_hold(env_id):
    check_env_specs(GymEnv(env_id), seed=0)


def test_the_collector_gathers_frames(env_id):
    env = GymWrapper(gym.make(env_id))
    collector = Collector(env, RandomPolicy(env.action_spec), frames_per_batch=32, total_frames=64)
    batches = list(collector)
    collector.shutdown()
    assert [batch.numel() for batch in batches] == [32, 32]
    frames = torch.cat(batches)
    assert torch.isfinite(frames["next", "reward"]).all()
    size = gym.make(env_id).observation_space.shape
    assert frames["observation"].shape == (64, *size)
    # Within an episode what a step led to is what the next one starts from.
    goes_on = ~frames["next", "done"][:-1].squeeze(-1)
    assert torch.equal(
        frames["next", "observation"][:-1][goes_on], frames["observation"][1:][goes_on]
    )
    assert goes_on.any() == (env_id not in ONE_STEP)


@pytest.mark.parametrize("mode", ["SameStep", "Disabled"])
def test_native_batches_roll_out(env_id, mode):
    if "Pong" in env_id and mode == "SameStep":
        pytest.skip(
            "TorchRL fills unused final observations with zeros, which Pong's Box does not contain"
        )
    rows = GymWrapper(gym.make_vec(env_id, 2, autoreset_mode=mode, max_episode_steps=5))
    frames = rows.rollout(20, break_when_any_done=False)
    names = gym.make(env_id).unwrapped.reward_components
    assert frames.shape == (2, 20)
    if mode == "SameStep":  # TorchRL reads infos by itself in this mode only
        assert frames["next", f"reward_components/{names[0]}"].shape == (2, 20)
    assert frames["next", "done"].any()


def test_single_environments_roll_out_in_processes():
    rows = GymEnv(
        "wm_envs:wm/TMaze-v0", num_envs=2
    )  # the module, for processes that did not import it
    frames = rows.rollout(20, break_when_any_done=False)
    rows.close()
    assert frames.shape == (2, 20)
