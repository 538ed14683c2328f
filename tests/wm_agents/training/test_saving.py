"""Whatever learns is one file, which answers bitwise as before, or is refused as a whole."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.reliability.model_files import description_of, with_description
from tests.support.analytic_models import GridModel
from tests.support.choices import one_shot, sample, walk
from tests.wm_agents.imagination.test_imagined_sac import TINY
from tests.wm_agents.irl import test_sampled
from wm_agents.errors import CheckpointError, ConfigError, NotFittedError, SpaceError
from wm_agents.imagination.imagined_sac import ImaginedSAC
from wm_agents.irl import MaxEntConfig, MaxEntIRL, SampledMaxEntIRL
from wm_agents.planning.value import ValueConfig, ValueIteration, ValueNetwork
from wm_agents.training.saving import KINDS, Savable, load, save, stored_class

Answers = Callable[[Any], list[np.ndarray[Any, Any]]]
GRID = GridModel(size=3, goal=(2, 2))
ROWS = np.random.default_rng(0).normal(size=(6, 3)).astype(np.float32)
SHORT = ValueConfig(hidden_size=8, num_rounds=1, num_updates=4, num_branches=2, branch_length=2)


def choices() -> tuple[Any, Any, Answers]:
    mdp, demonstrations = one_shot(40)
    irl = MaxEntIRL(mdp, MaxEntConfig(num_resamples=3))
    irl.fit(demonstrations)
    return irl, None, lambda again: [again.rewards(), again.policy().log_probabilities]


def walks() -> tuple[Any, Any, Answers]:
    """With transitions, which are sparse."""
    mdp = walk(slip=0.1)
    irl = MaxEntIRL(mdp)
    irl.fit(sample(mdp, np.array([1.0, -0.5]), 20))
    return irl, None, lambda again: [again.rewards(), again.policy().log_probabilities]


def sampled() -> tuple[Any, Any, Answers]:
    demonstrations = test_sampled.expert(20)
    irl = test_sampled.make(demonstrations, num_samples=8)
    irl.fit(demonstrations)
    observations = test_sampled.roll(np.ones(4), np.ones((4, 5, 1)))
    functions = (irl.imagine, irl.features)
    return irl, functions, lambda again: [again.reward(observations, np.ones((4, 5, 1)))]


def iteration() -> tuple[Any, Any, Answers]:
    values = ValueIteration(GRID, SHORT, seed=3)
    values.fit(torch.rand(20, 2))
    return values, GRID, lambda again: [again.value(torch.from_numpy(ROWS[:, :2])).numpy()]


def network() -> tuple[Any, Any, Answers]:
    value = ValueIteration(GRID, SHORT, seed=3).fit(torch.rand(20, 2))
    return value, None, lambda again: [again(torch.from_numpy(ROWS[:, :2])).numpy()]


def imagined() -> tuple[Any, Any, Answers]:
    agent = ImaginedSAC("Pendulum-v1", TINY, seed=1).learn(20)
    return agent, None, lambda again: [again.predict(ROWS, deterministic=True)[0]]


MAKERS = (choices, walks, sampled, iteration, network, imagined)


@pytest.fixture(scope="module", params=MAKERS, ids=lambda maker: maker.__name__)
def saved(request: Any, tmp_path_factory: Any) -> tuple[Path, Any, Any, Answers]:
    learner, extra, answers = request.param()
    path = save(learner, tmp_path_factory.mktemp("saved") / "file")
    return path, learner, extra, answers


def test_a_file_answers_bitwise_as_what_was_saved(saved: Any) -> None:
    path, learner, extra, answers = saved
    for again in (load(path, given=extra), type(learner).load(path, given=extra)):
        assert type(again) is type(learner)
        for expected, found in zip(answers(learner), answers(again), strict=True):
            assert expected.tobytes() == found.tobytes()
        twice = load(again.save(path.with_name("twice")), given=extra)
        for expected, found in zip(answers(learner), answers(twice), strict=True):
            assert expected.tobytes() == found.tobytes()


@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_any_damaged_byte_is_one_error(saved: Any, data: Any) -> None:
    path, _, extra, _ = saved
    good = path.read_bytes()
    place = data.draw(st.integers(0, len(good) - 1))
    bad = path.with_name("bad.safetensors")
    bad.write_bytes(good[:place] + bytes([good[place] ^ data.draw(st.integers(1, 255))]))
    with pytest.raises(CheckpointError):
        load(bad, given=extra)
    bad.write_bytes(good[:place] + bytes([good[place] ^ 1]) + good[place + 1 :])
    with pytest.raises(CheckpointError):
        load(bad, given=extra)


@settings(max_examples=25, deadline=None)
@given(
    data=st.data(),
    value=st.sampled_from([None, -1, 10**12, 0.5, "text", [], {}, [[1]], {"state": 1}, True]),
)
def test_a_description_of_something_else_is_refused_or_still_answers(
    saved: Any, data: Any, value: Any
) -> None:
    """With a hash that fits, as somebody may write it on purpose."""
    path, _, extra, answers = saved
    good = path.read_bytes()
    description = json.loads(description_of(good))
    place = description
    while True:
        name = data.draw(st.sampled_from(sorted(place)))
        if not (isinstance(place[name], dict) and place[name] and data.draw(st.booleans())):
            break
        place = place[name]
    place[name] = value
    bad = path.with_name("bad.safetensors")
    bad.write_bytes(with_description(good, json.dumps(description).encode()))
    try:
        again = load(bad, given=extra)
    except CheckpointError:
        return
    # A horizon of a million million steps can be described, and takes memory only once it is asked.
    if description.get("horizon") != 10**12:
        answers(again)


def test_files_that_were_moved_into_another_environment_are_refused(tmp_path: Path) -> None:
    value = ValueIteration(GRID, SHORT).fit(torch.rand(20, 2))
    path = value.save(tmp_path / "value")
    with pytest.raises(SpaceError, match="reads 2 numbers, the environment gives 4"):
        ValueNetwork.load(path, "CartPole-v1")
    assert len(ValueNetwork.load(path, "MountainCar-v0").mean) == 2


def test_an_imagined_agent_goes_on_where_it_was(tmp_path: Path) -> None:
    agent = ImaginedSAC("Pendulum-v1", TINY, seed=1).learn(30)
    again = load(agent.save(tmp_path / "agent"))
    assert again.num_timesteps == 30
    again.learn(40)
    assert again.num_timesteps == 40
    before, after = agent._collector.trajectories(), again._collector.trajectories()
    np.testing.assert_array_equal(after.actions[:30], before.actions)
    assert again.sac.num_timesteps > agent.sac.num_timesteps
    with pytest.raises(CheckpointError, match="other than"):
        load(tmp_path / "agent", gym.make("MountainCarContinuous-v0"))


def test_what_no_file_can_hold_is_asked_for(tmp_path: Path) -> None:
    values = ValueIteration(GRID, SHORT)
    with pytest.raises(NotFittedError, match="never fitted"):
        values.save(tmp_path / "values")
    values.fit(torch.rand(20, 2))
    with pytest.raises(ConfigError, match="holds no world model"):
        load(values.save(tmp_path / "values"))
    irl, _, _ = sampled()
    with pytest.raises(ConfigError, match=r"given=\(imagine, features\)"):
        SampledMaxEntIRL.load(irl.save(tmp_path / "irl"))


def test_every_kind_is_the_one_that_its_class_writes() -> None:
    for kind in KINDS:
        stored = stored_class(kind, "file")
        if issubclass(stored, Savable):
            assert stored.kind == kind
