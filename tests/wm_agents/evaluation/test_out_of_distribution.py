"""Scores, thresholds and the guard, on a cart whose weight changes."""

from dataclasses import replace

import gymnasium as gym
import numpy as np
import pytest
import torch

from wm_agents.errors import ConfigError, TrajectoryError
from wm_agents.evaluation.out_of_distribution import GuardedAgent, OODDetector, ood_auroc
from wm_agents.imagination.vector_env import ImaginedVectorEnv
from wm_agents.protocols import ModelState, Prediction
from wm_agents.world_models.unrolling import Unrolled
from wm_envs.data.trajectories import Trajectories

SPACE = gym.spaces.Box(-20, 20, (2,), np.float32)
ACTIONS = gym.spaces.Box(-1, 1, (1,), np.float32)


def push(row: np.ndarray, action: float, weight: float) -> np.ndarray:
    speed = 0.9 * row[1] + 0.3 * action / weight
    return np.array([0.9 * row[0] + speed, speed])


def recorded(
    num_episodes: int, seed: int, *, weight: float = 1.0, reach: float = 1.0
) -> Trajectories:
    generator = np.random.default_rng(seed)
    rows, actions = [], reach * generator.uniform(-1, 1, (num_episodes * 40, 1))
    for episode in range(num_episodes):
        now = generator.normal(scale=0.5, size=2)
        rows.append(now)
        for action in actions[episode * 40 : (episode + 1) * 40]:
            # A little noise, so that one-step errors have a usual size.
            now = push(now, action[0], weight) + generator.normal(scale=0.003, size=2)
            rows.append(now)
    num_steps = 40 * num_episodes
    return Trajectories.from_arrays(
        np.stack(rows).astype(np.float32),
        actions.astype(np.float32),
        np.zeros(num_steps),
        np.zeros(num_steps, bool),
        lengths=[40] * num_episodes,
    )


class Cart(Unrolled):
    """The light cart as it is, with a disagreement that grows with the place."""

    observation_space, action_space = SPACE, ACTIONS

    def start(self, observations, hidden=()):
        return ModelState(observations)

    def step(self, state, actions, generator=None):
        speed = 0.9 * state.observations[:, 1] + 0.3 * actions[:, 0]
        after = torch.stack([0.9 * state.observations[:, 0] + speed, speed], 1)
        nothing = torch.zeros(len(after))
        spread = state.observations[:, 0].abs()
        return ModelState(after), Prediction(after, nothing, nothing, spread)


@pytest.fixture(scope="module")
def detector() -> OODDetector:
    return OODDetector(Cart(), recorded(10, 0), recorded(40, 1))


def test_surprise_alone_sees_that_the_dynamics_changed(detector: OODDetector) -> None:
    train, same = recorded(10, 0), recorded(8, 2)
    recordings = {"same": same, "heavy": recorded(8, 3, weight=1.5)}
    found = ood_auroc(detector, recordings, horizon=8, tolerance=0.1, train=train)
    assert set(found) == {"disagreement", "density", "surprise", "combined"}
    assert found["surprise"] is not None
    assert found["density"] is not None
    assert found["surprise"] > 0.9 > 0.75 > found["density"]
    only = ood_auroc(detector, {"same": same}, horizon=8, tolerance=9.0, train=train)
    assert only["surprise"] is None


def test_scores_use_nothing_of_what_comes(detector: OODDetector) -> None:
    data = recorded(1, 5)
    before = detector.scores(data)
    changed = data.observations.copy()
    changed[21:] += 5.0
    after = detector.scores(
        Trajectories.from_arrays(changed, data.actions, data.rewards, data.terminations)
    )
    for name, values in before.items():
        np.testing.assert_allclose(after[name][:21], values[:21], rtol=1e-5)
        assert (after[name][22:] > values[22:]).all()
    assert before["surprise"][0] == 1.0


def test_thresholds_hold_what_they_promise(detector: OODDetector) -> None:
    fresh = recorded(200, 7)
    scores = detector.scores(fresh)
    for name in detector.score_names:
        limit = detector.threshold(name, 0.1)
        assert (scores[name] > limit).mean() < 0.14
        whole = detector.threshold(name, 0.1, is_whole_episode=True)
        assert whole > limit
        by_episode = np.array([part.max() for part in np.split(scores[name], 200)])
        assert (by_episode > whole).mean() < 0.2
    with pytest.raises(TrajectoryError, match="at least 99 calibration episodes"):
        detector.threshold("density", 0.01)
    with pytest.raises(ConfigError, match="no score 'luck'"):
        detector.threshold("luck")
    with pytest.raises(TrajectoryError, match="3 features"):
        OODDetector(
            Cart(),
            recorded(2, 0),
            Trajectories.from_arrays(
                np.zeros((5, 3), np.float32),
                np.zeros((4, 1), np.float32),
                np.zeros(4),
                np.zeros(4, bool),
            ),
        )


def test_imagined_environments_stop_outside(detector: OODDetector) -> None:
    model = detector.model_with_scores()
    inside, outside = torch.zeros(1, 2), torch.full((1, 2), 15.0)
    still = torch.zeros(1, 1)
    assert float(model.predict(inside, still).disagreement) < 1
    assert float(model.predict(outside, still).disagreement) > 1
    imagined = ImaginedVectorEnv(
        model, np.array([[15.0, 15.0]], np.float32), 9, 2, disagreement_cutoff=1.0, seed=0
    )
    imagined.reset(seed=0)
    truncated = imagined.step(np.zeros((2, 1), np.float32))[3]
    assert truncated.all()


class Constant:
    """Always the same action."""

    def __init__(self, action: float) -> None:
        self.action = action

    def predict(self, observation, state=None, episode_start=None, deterministic=False):
        return np.full((len(observation), 1), self.action, np.float32), state


def test_the_guard_hands_over_what_has_changed_and_nothing_else(detector: OODDetector) -> None:
    agent = GuardedAgent(Constant(0.8), Constant(0.0), detector, alpha=0.05)
    generator = np.random.default_rng(0)
    rows = np.zeros((2, 2))
    state, taken = None, []
    for step in range(30):
        actions, state = agent.predict(rows.astype(np.float32), state, np.full(2, step == 0))
        taken.append(actions[:, 0])
        rows = np.stack(
            [
                push(row, action[0], weight)
                for row, action, weight in zip(rows, actions, (1, 3), strict=True)
            ]
        ) + generator.normal(scale=0.003, size=(2, 2))
    light, heavy = np.stack(taken, 1)
    assert (light == np.float32(0.8)).all()
    assert heavy[0] == np.float32(0.8)
    assert heavy[-1] == 0.0
    assert (np.diff(heavy) <= 0).all()
    assert agent.num_stopped == 1
    agent.predict(np.zeros((2, 2), np.float32), state, np.ones(2, bool))
    actions, _ = agent.predict(np.zeros((2, 2), np.float32), state, np.ones(2, bool))
    assert (actions == np.float32(0.8)).all()


class Rescaled(Cart):
    """The cart in another unit, seen from far away."""

    def __init__(self, unit: float, offset: float) -> None:
        self.unit, self.offset = unit, offset

    def step(self, state, actions, generator=None):
        plain = (state.observations.double() - self.offset) / self.unit
        _, prediction = super().step(ModelState(plain), actions, generator)
        after = (prediction.observations * self.unit + self.offset).float()
        return ModelState(after), replace(prediction, observations=after)


@pytest.mark.parametrize(("unit", "offset"), [(1e6, 0.0), (1e-6, 0.0), (1e-6, 1e-3), (1.0, 3e3)])
def test_scores_are_the_same_in_any_unit(unit: float, offset: float) -> None:
    def seen(part: Trajectories) -> Trajectories:
        rows = (part.observations.astype(float) * unit + offset).astype(np.float32)
        return replace(part, observations=rows)

    parts = [recorded(6, 0), recorded(20, 1), recorded(2, 3, weight=3.0)]
    plain = OODDetector(Cart(), *parts[:2]).scores(parts[2])
    scaled = OODDetector(Rescaled(unit, offset), *map(seen, parts[:2])).scores(seen(parts[2]))
    assert plain["surprise"].max() > 3
    for name in ("density", "surprise"):
        np.testing.assert_allclose(scaled[name], plain[name], rtol=0.1, atol=2e-3)
