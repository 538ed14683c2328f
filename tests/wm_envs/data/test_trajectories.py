"""Ragged episodes, windows, rows and files of recorded experience."""

import contextlib
import io
import zipfile

import numpy as np
import pytest
from gymnasium import spaces
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.trajectories import same_trajectories
from wm_envs.data import Trajectories, TrajectoryError
from wm_envs.data.trajectories import Transitions


def make(lengths=(2, 1, 3), seed=0):
    """Observation row i is (i, -i) and step i has action i % 3 and reward 10 i."""
    steps, episodes = sum(lengths), len(lengths)
    rows = np.arange(steps + episodes) + 100.0 * seed
    ends = np.cumsum(lengths) - 1
    terminations = np.zeros(steps, bool)
    terminations[ends[0]] = True
    truncations = np.zeros(steps, bool)
    truncations[ends[1:]] = True
    return Trajectories.from_arrays(
        np.stack([rows, -rows], 1),
        np.arange(steps) % 3,
        10.0 * np.arange(steps),
        terminations,
        truncations,
        lengths,
    )


def test_from_arrays_finds_the_episodes_from_their_ends():
    data = make()
    again = Trajectories.from_arrays(
        data.observations, data.actions, data.rewards, data.terminations, data.truncations
    )
    assert again.lengths.tolist() == [2, 1, 3]
    assert again.actions.dtype == np.int64
    assert again.observations.dtype == np.float32


def test_steps_know_their_observations():
    data = make()
    assert data.observation_of_step.tolist() == [0, 1, 3, 5, 6, 7]
    assert data.next_observations[:, 0].tolist() == [1, 2, 4, 6, 7, 8]
    assert data.episode_of_step.tolist() == [0, 0, 1, 2, 2, 2]
    assert data.returns.tolist() == [10, 20, 120]


def test_episode_and_select_keep_rows_together():
    data = make()
    last = data.episode(2)
    assert last.observations[:, 0].tolist() == [5, 6, 7, 8]
    assert last.actions.tolist() == [0, 1, 2]
    chosen = data.select([2, 0])
    assert chosen.observations[:, 0].tolist() == [5, 6, 7, 8, 0, 1, 2]
    assert chosen.rewards.tolist() == [30, 40, 50, 0, 10]
    with pytest.raises(TrajectoryError, match="episode 3 does not exist"):
        data.episode(3)


def test_transitions_become_episodes_with_their_last_observation():
    observations = np.array([[0.0], [1.0], [5.0], [8.0]])
    after = np.array([[1.0], [2.0], [6.0], [9.0]])
    data = Trajectories.from_transitions(
        observations, np.zeros(4, int), np.ones(4), after, [0, 1, 0, 0]
    )
    assert data.lengths.tolist() == [2, 1, 1]
    assert data.observations[:, 0].tolist() == [0, 1, 2, 5, 6, 8, 9]
    assert np.array_equal(data.next_observations, after)


def test_split_is_by_episode_complete_and_reproducible():
    data = make((2, 1, 3, 4, 5, 2, 2, 2, 1, 1))
    train, test = data.split((0.7, 0.3), seed=4)
    assert (train.num_episodes, test.num_episodes) == (7, 3)
    both = sorted(float(x) for part in (train, test) for x in part.observations[:, 0])
    assert both == data.observations[:, 0].tolist()
    assert len(train.duplicates(test).episodes) == 0
    again, _ = data.split((0.7, 0.3), seed=4)
    assert np.array_equal(again.observations, train.observations)


def test_an_empty_split_is_refused():
    with pytest.raises(TrajectoryError, match="3 episodes is empty"):
        make().split((0.95, 0.05), seed=0)
    with pytest.raises(TrajectoryError, match="sum to 1"):
        make().split((0.5, 0.4), seed=0)


def test_duplicates_are_found_bit_for_bit():
    data, other = make(), make(seed=1)
    mixed = Trajectories.concatenate([other, data.select([2])])
    found = data.duplicates(mixed)
    assert found.episodes.tolist() == [2]
    assert found.steps.tolist() == [3, 4, 5]
    assert len(data.duplicates(other).steps) == 0


def test_windows_never_cross_an_end():
    data = make((2, 1, 4))
    assert data.window_starts(2).tolist() == [0, 3, 4, 5]
    batch = data.windows(2)
    assert batch.mask.all()
    assert batch.horizon == 2
    assert batch.observations[1, :, 0].tolist() == [5, 6, 7]
    assert batch.actions[1].tolist() == [0, 1]
    assert batch.rewards[1].tolist() == [30, 40]


def test_windows_from_given_steps_are_padded_and_masked():
    batch = make((2, 1, 4)).windows(3, starts=[1, 5])
    assert batch.mask.tolist() == [[True, False, False], [True, True, False]]
    assert batch.observations[0, :, 0].tolist() == [1, 2, 2, 2]
    assert batch.observations[1, :, 0].tolist() == [7, 8, 9, 9]
    assert batch.rewards.tolist() == [[10, 0, 0], [50, 60, 0]]
    assert batch.actions.tolist() == [[1, 1, 1], [2, 0, 0]]
    with pytest.raises(TrajectoryError, match="step 7 does not exist"):
        make((2, 1, 4)).windows(3, starts=[7])


def test_a_horizon_longer_than_all_episodes_is_refused():
    with pytest.raises(
        TrajectoryError, match="horizon of 4 steps fits in no episode, the longest has 3"
    ):
        make().windows(4)


@given(st.lists(st.integers(1, 9), min_size=1, max_size=8), st.integers(1, 9))
@settings(max_examples=40, deadline=None)
def test_windows_are_all_there_are(lengths, horizon):
    data = make(tuple(lengths))
    expected = sum(max(0, length - horizon + 1) for length in lengths)
    if not expected:
        with pytest.raises(TrajectoryError):
            data.windows(horizon)
        return
    starts = data.window_starts(horizon)
    assert len(starts) == expected == len(data.windows(horizon).rewards)
    steps = starts[:, None] + np.arange(horizon)
    assert (data.episode_of_step[steps] == data.episode_of_step[starts][:, None]).all()


GOOD = {
    "observations": np.zeros((4, 2)),
    "actions": np.zeros((3, 1)),
    "rewards": np.zeros(3),
    "terminations": [0, 0, 1],
    "lengths": [3],
}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"observations": np.array([[0, 0], [0, np.nan], [0, 0], [0, 0]])},
            r"observations, row 1: nan",
        ),
        ({"actions": np.array([[0], [0], [np.inf]])}, r"actions, row 2: inf"),
        ({"rewards": np.array([0, -np.inf, 0])}, r"rewards, row 1: -inf"),
        ({"rewards": np.zeros(4)}, r"rewards has 4 rows, but the lengths of 1 episodes sum to 3"),
        ({"observations": np.zeros((3, 2))}, r"observations has 3 rows.*from_transitions"),
        ({"observations": np.zeros((4, 2, 2))}, r"observations has 2 dimensions, got shape"),
        ({"observations": np.full((4, 2), 1e300)}, r"observations, row 0: inf"),
        ({"actions": np.zeros(3)}, r"actions are integers \[S\]"),
        ({"terminations": [0, 1, 0]}, r"terminations, row 1: an end within episode 0"),
        ({"terminations": [0, 2, 0]}, r"terminations, row 1: 2.0 is neither 0 nor 1"),
        ({"lengths": [3, 0]}, r"lengths, row 1: 0.0 is not a whole number"),
        ({"lengths": []}, r"lengths is empty"),
        ({"observations": [[0, 0], [0], [0, 0], [0, 0]]}, r"observations is ragged"),
        ({"rewards": np.array(["a", "b", "c"])}, r"rewards holds numbers"),
    ],
)
def test_malformed_arrays_are_named(change, message):
    Trajectories.from_arrays(**GOOD)
    with pytest.raises(TrajectoryError, match=message):
        Trajectories.from_arrays(**{**GOOD, **change})


def test_no_episodes_are_refused():
    with pytest.raises(TrajectoryError, match="no trajectories"):
        Trajectories.concatenate([])
    with pytest.raises(TrajectoryError, match="no episodes"):
        make().select([])


@given(st.lists(st.integers(1, 6), min_size=1, max_size=6), st.integers(0, 100))
@settings(max_examples=40, deadline=None)
def test_episodes_put_together_again_are_the_whole(lengths, seed):
    data = make(tuple(lengths), seed)
    assert same_trajectories(Trajectories.concatenate(list(data)), data)
    order = np.random.default_rng(seed).permutation(len(data))
    assert same_trajectories(data.select(order).select(np.argsort(order)), data)
    rows = data.transitions()
    ends = rows.terminations | rows.truncations
    again = Trajectories.from_transitions(
        rows.observations,
        rows.actions,
        rows.rewards,
        rows.next_observations,
        rows.terminations,
        rows.truncations,
    )
    assert same_trajectories(again, data) or not ends[-1]


def test_spaces_stay_with_parts_and_files(tmp_path):
    space = spaces.Dict({"room": spaces.Box(-9, 99, (1,)), "mode": spaces.Discrete(2)})
    rows = [[1, 0, 5], [0, 1, 6], [0, 1, 7]]
    data = Trajectories.from_arrays(
        rows,
        [0, 3],
        [0, 1],
        [0, 1],
        observation_space=space,
        action_space=spaces.MultiDiscrete([2, 2]),
    )
    loaded = Trajectories.load(data.select([0]).save(tmp_path / "data"))
    assert same_trajectories(loaded, data)
    assert (loaded.observation_space, loaded.action_space) == (
        data.observation_space,
        data.action_space,
    )
    with pytest.raises(TrajectoryError, match=r"size 3, rows of .* have 2"):
        Trajectories.from_arrays(rows, [0, 3], [0, 1], [0, 1], observation_space=spaces.Discrete(2))
    with pytest.raises(TrajectoryError, match="actions have shape"):
        Trajectories.from_arrays(rows, [0, 3], [0, 1], [0, 1], action_space=spaces.Box(0, 1, (2,)))


def test_a_table_has_a_row_for_each_step():
    pandas = pytest.importorskip("pandas")
    table = make().to_pandas()
    assert isinstance(table, pandas.DataFrame)
    assert len(table) == 6
    assert table["episode"].tolist() == [0, 0, 1, 2, 2, 2]
    assert table["step"].tolist() == [0, 1, 0, 0, 1, 2]
    assert table["observation_0"].tolist() == [0, 1, 3, 5, 6, 7]


def test_reprs_are_short():
    assert (
        repr(make()) == "Trajectories(3 episodes, 6 steps, observations of size 2, actions: index)"
    )


def test_files_keep_everything(tmp_path):
    data = make()
    loaded = Trajectories.load(data.save(tmp_path / "deep" / "data"))
    for name in ("observations", "actions", "rewards", "terminations", "truncations", "lengths"):
        assert np.array_equal(getattr(loaded, name), getattr(data, name))
        assert getattr(loaded, name).dtype == getattr(data, name).dtype
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["data.npz"]


def test_damaged_files_raise_nothing_but_trajectory_errors(tmp_path):
    path = make().save(tmp_path / "data.npz")
    whole = path.read_bytes()
    random = np.random.default_rng(0)
    num_accepted = 0
    for _ in range(300):
        damaged = bytearray(whole)
        damaged[random.integers(len(damaged))] ^= 1 << random.integers(8)
        if random.random() < 0.3:
            damaged = damaged[: random.integers(len(damaged))]
        path.write_bytes(damaged)
        with contextlib.suppress(TrajectoryError):
            Trajectories.load(path)
            num_accepted += 1  # a flipped bit may hit a byte that nothing reads
    assert num_accepted < 100
    with pytest.raises(TrajectoryError, match=r"missing\.npz"):
        Trajectories.load(tmp_path / "missing.npz")


def test_a_pickle_inside_a_file_is_not_executed(tmp_path):
    class Bomb:
        def __reduce__(self):
            return (open, (str(tmp_path / "exploded"), "w"))

    payload = io.BytesIO()
    np.save(payload, np.array([Bomb()], dtype=object), allow_pickle=True)
    with zipfile.ZipFile(tmp_path / "hostile.npz", "w") as archive:
        archive.writestr("observations.npy", payload.getvalue())
    with pytest.raises(TrajectoryError):
        Trajectories.load(tmp_path / "hostile.npz")
    assert not (tmp_path / "exploded").exists()


def test_transitions_of_arrays_and_tensors_are_selected_and_joined():
    torch = pytest.importorskip("torch")
    data = make()
    rows = data.transitions()
    tensors = rows.map(lambda values: torch.from_numpy(np.ascontiguousarray(values)))
    assert len(tensors) == data.num_steps
    index = torch.tensor([1, 0, 1])
    picked = tensors.select(index)
    np.testing.assert_array_equal(picked.observations, rows.select([1, 0, 1]).observations)
    both = Transitions.concatenate([tensors, picked], torch.cat)
    assert isinstance(both.rewards, torch.Tensor)
    joined = Transitions.concatenate([rows, rows.select([1, 0, 1])])
    np.testing.assert_array_equal(both.next_observations, joined.next_observations)
