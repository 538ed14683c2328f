import numpy as np
import pytest

from wm_agents.errors import DemonstrationError, TrajectoryError
from wm_agents.irl import Demonstrations
from wm_envs.data.trajectories import Trajectories


def arrays():
    return {
        "observations": np.arange(7.0)[:, None] % 4,
        "actions": np.array([0, 1, 0, 1, 1]),
        "lengths": [3, 2],
    }


def test_arrays_trajectories_and_files_give_the_same(tmp_path):
    from_arrays = Demonstrations.of(arrays())
    path = from_arrays.trajectories.save(tmp_path / "recorded.npz")
    for source in (from_arrays.trajectories, path, str(path), from_arrays):
        read = Demonstrations.of(source)
        np.testing.assert_array_equal(read.states, [0, 1, 2, 0, 1])
        np.testing.assert_array_equal(read.next_states, [1, 2, 3, 1, 2])
        np.testing.assert_array_equal(read.times, [0, 1, 2, 0, 1])
        assert not read.has_one_length


def test_minari_ids_are_read(tmp_path, monkeypatch):
    minari = pytest.importorskip("minari")
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    import wm_envs  # noqa: F401
    from wm_envs import record
    from wm_envs.data.minari import save_minari

    recording = record("wm/Navigation-v0", episodes=3, seed=0, progress=False)
    save_minari(recording, "test/navigation-v0", "wm/Navigation-v0")
    read = Demonstrations.of("test/navigation-v0")
    np.testing.assert_array_equal(read.trajectories.observations, recording.observations)
    np.testing.assert_array_equal(read.trajectories.actions, recording.actions)
    assert minari.list_local_datasets()
    with pytest.raises(
        DemonstrationError, match="cannot load the Minari dataset 'test/nothing-v0'"
    ):
        Demonstrations.of("test/nothing-v0")


def test_states_are_numbers_or_one_hot():
    one_hot = np.eye(4)[[0, 3, 1]]
    read = Demonstrations.of({"observations": one_hot, "actions": np.array([0, 1])})
    np.testing.assert_array_equal(read.states, [0, 3])
    with pytest.raises(DemonstrationError, match="neither state numbers nor one-hot"):
        _ = Demonstrations.of({"observations": one_hot + 0.5, "actions": np.array([0, 1])}).states


def test_episodes_are_selected_with_masks_and_names():
    masks = np.array([[1, 0], [0, 1], [1, 1], [1, 1], [0, 1]], bool)
    given = Demonstrations.of(arrays(), masks=masks, demonstrators=["a", "b"])
    assert list(given.by_demonstrator()) == ["a", "b"]
    second = given.by_demonstrator()["b"]
    np.testing.assert_array_equal(second.masks, masks[3:])
    assert second.demonstrators == ("b",)
    with pytest.raises(DemonstrationError, match="nobody is named"):
        Demonstrations.of(arrays()).by_demonstrator()
    with pytest.raises(DemonstrationError, match="no episodes selected"):
        given.select([])


def test_forbidden_actions_name_the_step():
    masks = np.ones((5, 2), bool)
    masks[3, 1] = False
    with pytest.raises(
        DemonstrationError,
        match=r"step 3 \(episode 1, t=0\): action 1 is not among the allowed \[0\]",
    ):
        Demonstrations.of(arrays(), masks=masks)
    with pytest.raises(DemonstrationError, match="masks have shape"):
        Demonstrations.of(arrays(), masks=masks[:2])


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (3, "cannot read demonstrations from int"),
        ({"observations": np.zeros((0, 1)), "actions": np.zeros(0, int)}, "no demonstrations"),
        ({"actions": np.zeros(1, int)}, "arrays lack"),
        (
            {"observations": np.array([[np.nan], [0]]), "actions": np.zeros(1, int)},
            "not a finite number",
        ),
    ],
)
def test_bad_sources_are_refused(source, message):
    with pytest.raises(TrajectoryError, match=message):
        Demonstrations.of(source)


def test_states_without_their_successors():
    given = Demonstrations.from_states([4, 5, 6], [0, 0, 1], [2, 1])
    np.testing.assert_array_equal(given.states, [4, 5, 6])
    assert isinstance(given.trajectories, Trajectories)
    for states, lengths in (([], None), ([1, 2], [1]), ([1], [0])):
        with pytest.raises(DemonstrationError):
            Demonstrations.from_states(states, np.zeros(len(states), int), lengths)
    with pytest.raises(DemonstrationError, match="2 names for 1 episodes"):
        Demonstrations.from_states([1], [0], demonstrators=["a", "b"])


def test_demonstrations_are_trajectories_and_their_parts_keep_masks_and_names():
    masks = np.array([[1, 0], [0, 1], [1, 1], [1, 1], [0, 1]], bool)
    given = Demonstrations.of(arrays(), masks=masks, demonstrators=["a", "b"])
    assert isinstance(given, Trajectories)
    assert given.windows(2).observations.shape == (3, 3, 1)
    for part in given.split((0.5, 0.5), seed=0):
        name = part.demonstrators[0]
        np.testing.assert_array_equal(part.masks, masks[:3] if name == "a" else masks[3:])
    last = next(reversed(list(given)))
    assert last.demonstrators == ("b",)
    assert type(given.trajectories) is Trajectories
