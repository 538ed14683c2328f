"""Regions, causes and worst windows of models whose faults are known."""

from dataclasses import replace

import gymnasium as gym
import numpy as np
import pytest
import torch

from wm_agents.errors import TrajectoryError
from wm_agents.evaluation.failures import find_failures
from wm_agents.protocols import ModelState, Prediction
from wm_agents.world_models.unrolling import Unrolled
from wm_envs.data.trajectories import Trajectories

NAMES = ("place", "speed", "noise")


def recorded(num_episodes: int = 12, length: int = 30, seed: int = 0) -> Trajectories:
    """A place that follows a speed that follows the action; the third number is of its own."""
    generator = np.random.default_rng(seed)
    rows, actions = [], generator.integers(0, 2, num_episodes * length)
    for episode in range(num_episodes):
        now = generator.normal(size=3)
        rows.append(now)
        for action in actions[episode * length : (episode + 1) * length]:
            speed = 0.9 * now[1] + 0.2 * (2 * action - 1)
            now = np.array([now[0] + speed, speed, 0.5 * now[2]])
            rows.append(now)
    num_steps = num_episodes * length
    return Trajectories.from_arrays(
        np.stack(rows).astype(np.float32),
        actions,
        np.zeros(num_steps),
        np.zeros(num_steps, bool),
        lengths=[length] * num_episodes,
    )


class Faulty(Unrolled):
    """The true rules, with a drag that is wrong from a speed on."""

    def __init__(self, drag: float = 0.9, from_speed: float = -np.inf) -> None:
        self.observation_space = gym.spaces.Box(-np.inf, np.inf, (3,))
        self.action_space = gym.spaces.Discrete(2)
        self.drag = drag
        self.from_speed = from_speed

    def start(self, observations, hidden=()):
        return ModelState(observations)

    def step(self, state, actions, generator=None):
        place, speed, noise = state.observations.unbind(1)
        drag = torch.where(speed > self.from_speed, self.drag, 0.9)
        speed = drag * speed + 0.2 * (2 * actions - 1)
        after = torch.stack([place + speed, speed, 0.5 * noise], 1)
        nothing = torch.zeros(len(after))
        return ModelState(after), Prediction(after, nothing, nothing)


def test_the_region_is_found_and_read() -> None:
    found = find_failures(Faulty(0.2, from_speed=0.6), recorded(40), horizon=1, feature_names=NAMES)
    region = found.regions[0]
    assert len(region.conditions) == 1
    name, sign, threshold = region.conditions[0].split()
    assert (name, sign) == ("speed", ">")
    assert 0.5 < float(threshold) < 1.5
    assert region.error > 1.5 * region.elsewhere
    assert str(found).startswith("Where speed > ")
    assert found.to_json()["regions"][0]["num_windows"] == region.num_windows


def test_an_error_that_is_everywhere_alike_has_no_region() -> None:
    found = find_failures(Faulty(), recorded(), horizon=4, feature_names=NAMES)
    assert found.regions == ()
    assert found.causes() == []
    assert found.worst == ()
    assert "no region or event" in str(found)


def test_a_wrong_speed_causes_the_error_of_the_place() -> None:
    found = find_failures(Faulty(0.5), recorded(), horizon=8, feature_names=NAMES)
    place, speed = (found.part_names.index(name) for name in ("place", "speed"))
    # Given the true speed after each step, only the last step's fault is left.
    assert found.relief[speed, place] > 0.4
    assert abs(found.relief[place, speed]) < 1e-6
    [sentence] = found.causes()
    assert sentence.startswith("Given the true “speed” at every step, the error of “place” falls")


def test_the_worst_windows_are_the_worst() -> None:
    data = recorded()
    model = Faulty(0.5)
    found = find_failures(model, data, horizon=8, feature_names=NAMES, max_windows=36)
    errors = [window["error"] for window in found.worst]
    assert errors == sorted(errors, reverse=True)
    assert len({window["episode"] for window in found.worst}) == 3
    worst = found.worst[0]
    first = data.step_starts[worst["episode"]] + worst["step"]
    rows = data.observations[data.observation_of_step[first] :][: len(worst["recorded"])]
    column = NAMES.index(worst["feature"])
    np.testing.assert_allclose(worst["recorded"], rows[:, column], rtol=1e-6)
    actions = data.actions[first : first + len(worst["recorded"]) - 1]
    imagined = model.rollout(rows[:1], actions[None]).observations[0, :, column]
    np.testing.assert_allclose(worst["predicted"], imagined, rtol=1e-5)


def test_too_little_is_refused() -> None:
    with pytest.raises(TrajectoryError, match="at least 4 held-out episodes"):
        find_failures(Faulty(), recorded(3))
    data = recorded()
    still = replace(data, observations=np.zeros_like(data.observations))
    with pytest.raises(TrajectoryError, match="nothing varies"):
        find_failures(Faulty(), still)
    with pytest.raises(TrajectoryError, match="seen in training"):
        find_failures(Faulty(), data, train=data)
