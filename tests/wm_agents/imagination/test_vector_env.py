"""The imagined environment on a model whose every number is known."""

import importlib
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.error import InvalidAction, ResetNeeded
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from stable_baselines3 import PPO
from torch import Tensor

from wm_agents.errors import ConfigError, NonFiniteError, SpaceError
from wm_agents.imagination.vector_env import ImaginedVectorEnv
from wm_agents.protocols import ModelState, Prediction, Rollout, WorldModel
from wm_agents.sb3.vec_env import SB3VecEnv
from wm_envs.data.trajectories import Trajectories
from wm_envs.testing import check_vector_env


class CounterModel:
    """Adds the action to the first number; the second stays; pays the new first number.

    Hidden counts the steps.
    """

    def __init__(
        self, ending_at: float = 1e9, end_probability: float = 1.0, noise: float = 0.0
    ) -> None:
        self.observation_space = gym.spaces.Box(-100, 100, (2,))
        self.action_space: gym.Space[Any] = gym.spaces.Box(-1, 1, (1,))
        self.ending_at, self.end_probability, self.noise = ending_at, end_probability, noise
        self.disagreement: float | None = 0.25

    def start(self, observations: Tensor, hidden: tuple[Tensor, ...] = ()) -> ModelState:
        return ModelState(observations, hidden or (torch.zeros(len(observations)),))

    def step(
        self, state: ModelState, actions: Tensor, generator: torch.Generator | None = None
    ) -> tuple[ModelState, Prediction]:
        observations = state.observations.clone()
        observations[:, 0] += actions[:, 0]
        if generator is not None:
            observations[:, 1] += self.noise * torch.randn(len(observations), generator=generator)
        count = state.hidden[0] + 1
        ends = (observations[:, 0] >= self.ending_at) * self.end_probability
        disagreement = None if self.disagreement is None else self.disagreement * count
        prediction = Prediction(
            observations, observations[:, 0].clone(), ends.float(), disagreement
        )
        return ModelState(observations, (count,)), prediction

    def predict(
        self, observations: Tensor, actions: Tensor, generator: torch.Generator | None = None
    ) -> Prediction:
        return self.step(self.start(observations), actions, generator)[1]

    def rollout(
        self, start: ModelState | Tensor, actions: Tensor, generator: torch.Generator | None = None
    ) -> Rollout:
        raise NotImplementedError


STARTS = np.array([[0.0, 0.5], [10.0, 1.5], [20.0, 2.5]], np.float32)
ONES = np.ones((3, 1), np.float32)


def _dream(
    model: CounterModel | None = None, horizon: int = 3, **options: Any
) -> ImaginedVectorEnv:
    return ImaginedVectorEnv(model or CounterModel(), STARTS, horizon, 3, **({"seed": 0} | options))


def test_the_model_keeps_the_contract() -> None:
    assert isinstance(CounterModel(), WorldModel)


def test_branches_start_at_real_states_and_are_truncated_at_the_horizon() -> None:
    env = _dream()
    first, _ = env.reset(seed=1)
    assert all(any((row == start).all() for start in STARTS) for row in first)
    for step in (1, 2, 3):
        observations, rewards, terminations, truncations, _ = env.step(ONES)
        np.testing.assert_allclose(observations[:, 0], first[:, 0] + step)
        np.testing.assert_allclose(rewards, first[:, 0] + step)
        assert not terminations.any()
        assert truncations.all() == (step == 3)
    observations, rewards, _, truncations, _ = env.step(ONES)  # NEXT_STEP: this one only restarts
    assert (rewards == 0).all()
    assert not truncations.any()
    assert set(observations[:, 0]) <= {0.0, 10.0, 20.0}
    assert (env.step(ONES)[0][:, 0] == observations[:, 0] + 1).all()


def test_same_step_restarts_at_once_and_reports_what_came_last() -> None:
    env = _dream(horizon=1, autoreset_mode=AutoresetMode.SAME_STEP)
    first, _ = env.reset(seed=1)
    observations, rewards, _, truncations, infos = env.step(ONES)
    assert truncations.all()
    assert set(observations[:, 0]) <= {0.0, 10.0, 20.0}
    np.testing.assert_allclose(np.stack(infos["final_obs"].tolist())[:, 0], first[:, 0] + 1)
    np.testing.assert_allclose(infos["final_info"]["disagreement"], 0.25)
    assert (infos["disagreement"] == 0).all()
    assert (rewards == first[:, 0] + 1).all()


def test_disabled_mode_restarts_masked_rows_only() -> None:
    env = _dream(CounterModel(ending_at=11.0), autoreset_mode=AutoresetMode.DISABLED, horizon=9)
    env.reset(seed=2)
    while len({*np.floor(env.reset()[0][:, 0])}) < 3:
        pass
    before, _, terminations, _, _ = env.step(ONES)
    assert 0 < terminations.sum() < 3
    with pytest.raises(ResetNeeded, match="reset_mask"):
        env.step(ONES)
    after, _ = env.reset(options={"reset_mask": terminations})
    np.testing.assert_array_equal(after[~terminations], before[~terminations])
    assert (after[terminations][:, 0] % 10 == 0).all()
    following = env.step(ONES)[0]
    np.testing.assert_allclose(following[:, 0], after[:, 0] + 1)


def test_hidden_parts_restart_with_their_row() -> None:
    env = _dream(horizon=2, autoreset_mode=AutoresetMode.SAME_STEP)
    env.reset()
    seen = [env.step(ONES)[4] for _ in range(4)]
    assert [info["disagreement"][0] for info in seen] == [0.25, 0.0, 0.25, 0.0]
    assert [info["final_info"]["disagreement"][0] for info in seen[1::2]] == [0.5, 0.5]


def test_penalty_is_a_named_component_and_the_cut_off_truncates() -> None:
    env = _dream(horizon=9, disagreement_penalty=2.0, disagreement_cutoff=0.6)
    first, _ = env.reset(seed=3)
    _, rewards, _, truncations, infos = env.step(ONES)
    np.testing.assert_allclose(rewards, first[:, 0] + 1 - 0.5)
    np.testing.assert_allclose(infos["reward_components/disagreement"], -0.5)
    np.testing.assert_allclose(infos["reward_components/model"], first[:, 0] + 1)
    assert not truncations.any()
    assert not env.step(ONES)[3].any()  # 0.5
    _, _, terminations, truncations, _ = env.step(ONES)  # 0.75 > 0.6
    assert truncations.all()
    assert not terminations.any()


def test_terminations_are_sampled_with_the_models_probability() -> None:
    model = CounterModel(ending_at=-100.0, end_probability=0.3)
    env = ImaginedVectorEnv(model, STARTS, 5, 4000, seed=0)
    env.reset()
    ends = env.step(np.zeros((4000, 1), np.float32))[2]
    assert ends.mean() == pytest.approx(0.3, abs=0.03)
    certain = ImaginedVectorEnv(model, STARTS, 5, 4000, seed=0, is_stochastic=False)
    certain.reset()
    assert not certain.step(np.zeros((4000, 1), np.float32))[2].any()


def test_equal_seeds_give_equal_dreams() -> None:
    def dream(constructor_seed: int, reset_seed: int | list[int] | None) -> np.ndarray[Any, Any]:
        env = _dream(CounterModel(noise=1.0), seed=constructor_seed)
        return np.stack([env.reset(seed=reset_seed)[0], *(env.step(ONES)[0] for _ in range(8))])

    np.testing.assert_array_equal(dream(0, 5), dream(1, 5))
    np.testing.assert_array_equal(dream(4, None), dream(4, None))
    np.testing.assert_array_equal(dream(0, [1, 2, 3]), dream(9, 1))
    assert (dream(0, 5) != dream(0, 6)).any()
    assert (dream(0, None) != dream(1, None)).any()


def test_bounds_hold_the_imagined_observations() -> None:
    model = CounterModel()
    model.observation_space = gym.spaces.Box(-100, 20.5, (2,))
    env = ImaginedVectorEnv(model, STARTS[2:], 5, 2, seed=0)
    env.reset()
    observations = env.step(np.ones((2, 1), np.float32))[0]
    assert (observations[:, 0] == 20.5).all()
    assert env.observation_space.contains(observations)


@pytest.mark.parametrize(
    ("space", "expected"),
    [
        (gym.spaces.Box(-100, 20.1, (2,), np.float64), [20.1, 2.5]),
        (gym.spaces.Box(0, 255, (2,), np.uint8), [21, 2]),
    ],
)
def test_imagined_observations_lie_in_spaces_of_other_types(
    space: gym.spaces.Box, expected: list[float]
) -> None:
    model = CounterModel()
    model.observation_space = space
    env = ImaginedVectorEnv(model, STARTS[2:], 5, 2, seed=0)
    env.reset()
    observations = env.step(np.full((2, 1), 0.9, np.float32))[
        0
    ]  # to 20.9: integers are rounded to, halves to even
    assert env.observation_space.contains(observations)
    assert observations.tolist() == [expected] * 2


class ShiftModel(CounterModel):
    """Discrete: moves a one-hot on by one place for action 1."""

    def __init__(self) -> None:
        super().__init__()
        self.observation_space, self.action_space = gym.spaces.Discrete(4), gym.spaces.Discrete(2)  # type: ignore[assignment]

    def step(
        self, state: ModelState, actions: Tensor, generator: torch.Generator | None = None
    ) -> tuple[ModelState, Prediction]:
        moved = torch.where(
            actions[:, None] == 1, state.observations.roll(1, 1), state.observations
        )
        zeros = torch.zeros(len(moved))
        return ModelState(moved, state.hidden), Prediction(moved * 0.7, moved[:, 3], zeros)


def test_discrete_observations_and_actions() -> None:
    env = ImaginedVectorEnv(ShiftModel(), np.eye(4, dtype=np.float32)[:1], 5, 2, seed=0)
    observations, _ = env.reset()
    assert observations.tolist() == [0, 0]
    assert env.step(np.array([1, 0]))[0].tolist() == [1, 0]
    assert env.observation_space.contains(env.step(np.array([1, 1]))[0])
    with pytest.raises(InvalidAction, match=r"\[0, 2\)"):
        env.step(np.array([2, 0]))


class PartsModel(CounterModel):
    """Imagines rows of a Dict: the action's index moves the place on and is what the bits spell."""

    def __init__(self) -> None:
        super().__init__()
        self.observation_space = gym.spaces.Dict(
            bits=gym.spaces.MultiBinary(2),
            place=gym.spaces.Discrete(3, start=5),
            height=gym.spaces.Box(0.0, 1.0, (1, 1), np.float64),
        )
        self.action_space = gym.spaces.MultiDiscrete([2, 2], start=[0, 4])

    def step(
        self, state: ModelState, actions: Tensor, generator: torch.Generator | None = None
    ) -> tuple[ModelState, Prediction]:
        bits = torch.stack([actions // 2, actions % 2], 1) * 0.8
        place = state.observations[:, 2:5].roll(1, 1) * 3.0
        height = state.observations[:, 5:] + 0.75
        after = torch.cat([bits, place, height], 1)
        zeros = torch.zeros(len(after))
        return ModelState(after, state.hidden), Prediction(after, zeros, zeros)


def test_every_space_is_imagined_and_answered_in_its_own_form() -> None:
    start = {
        "bits": np.array([[0, 1]]),
        "place": np.array([6]),
        "height": np.full((1, 1, 1), 0.5),
    }
    env = ImaginedVectorEnv(PartsModel(), start, 3, 2, seed=0, autoreset_mode="SameStep")
    first, _ = env.reset()
    assert env.observation_space.contains(first)
    assert first["place"].tolist() == [6, 6]
    seen, *_ = env.step(np.array([[0, 5], [1, 4]]))
    assert env.observation_space.contains(seen)
    assert seen["bits"].tolist() == [[0, 1], [1, 0]]
    assert seen["place"].tolist() == [7, 7]
    assert seen["height"].ravel().tolist() == [1.0, 1.0]
    for wrong in ([[0, 3], [1, 4]], [[0, 5]], [0, 1], None):
        with pytest.raises(InvalidAction):
            env.step(wrong if wrong is None else np.array(wrong))
    env.step(np.array([[0, 5], [1, 4]]))
    *_, infos = env.step(np.array([[0, 5], [1, 4]]))
    assert env.single_observation_space.contains(infos["final_obs"][0])


def test_a_model_of_rows_is_answered_in_the_spaces_of_its_environment() -> None:
    model = PartsModel()
    model.raw_observation_space = model.observation_space  # type: ignore[attr-defined]
    model.raw_action_space = model.action_space  # type: ignore[attr-defined]
    model.observation_space = gym.spaces.Box(0.0, 1.0, (6,))
    model.action_space = gym.spaces.Discrete(4)
    rows = np.array([[0, 1, 0, 1, 0, 0.5]], np.float32)
    env = ImaginedVectorEnv(model, rows, 3, 2, seed=0)
    assert env.reset()[0]["place"].tolist() == [6, 6]
    assert env.step(np.array([[0, 5], [1, 4]]))[0]["bits"].tolist() == [[0, 1], [1, 0]]


def test_stable_baselines_takes_an_imagined_environment() -> None:
    env = _dream().as_sb3()
    assert isinstance(env, SB3VecEnv)
    assert env.reset().shape == (3, 2)


def test_a_model_that_carries_more_after_a_step_than_at_the_start_is_refused() -> None:
    class Growing(CounterModel):
        def step(
            self, state: ModelState, actions: Tensor, generator: torch.Generator | None = None
        ) -> tuple[ModelState, Prediction]:
            after, prediction = super().step(state, actions, generator)
            return ModelState(after.observations, (*after.hidden, after.hidden[0])), prediction

    env = _dream(Growing())
    env.reset()
    with pytest.raises(ConfigError, match="step carries 2 tensors and its start 1"):
        env.step(ONES)


@pytest.mark.parametrize("module", ["wm_agents.imagination", "wm_agents.imagination.vector_env"])
def test_the_old_name_leads_to_the_new_one_for_a_release(module: str) -> None:
    with pytest.warns(DeprecationWarning, match="ImaginedVectorEnv"):
        assert importlib.import_module(module).DreamVectorEnv is ImaginedVectorEnv


@pytest.mark.parametrize(
    "actions", [np.full((3, 1), np.nan), np.full((3, 1), 1.7), np.ones(3), None, "up"]
)
def test_bad_actions_change_nothing(actions: Any) -> None:
    env, twin = _dream(CounterModel(noise=1.0)), _dream(CounterModel(noise=1.0))
    env.reset(seed=0)
    twin.reset(seed=0)
    with pytest.raises(InvalidAction):
        env.step(actions)
    np.testing.assert_array_equal(env.step(ONES)[0], twin.step(ONES)[0])


class MemberModel(CounterModel):
    """Draws a member at the first step of a branch and keeps it, as ensembles do; the member is the second number.

    It carries where the branch began, and the member, which is -1 until it is drawn.
    """

    def start(self, observations: Tensor, hidden: tuple[Tensor, ...] = ()) -> ModelState:
        undrawn = torch.full((len(observations),), -1)
        return ModelState(observations, hidden or (observations[:, 0].clone(), undrawn))

    def step(
        self, state: ModelState, actions: Tensor, generator: torch.Generator | None = None
    ) -> tuple[ModelState, Prediction]:
        drawn = torch.randint(50, (len(actions),), generator=generator)
        members = torch.where(state.hidden[1] >= 0, state.hidden[1], drawn)
        observations = torch.stack([state.observations[:, 0] + actions[:, 0], members.float()], 1)
        ends = (observations[:, 0] % 10 >= 2) & (observations[:, 0] < 10)
        after = ModelState(observations, (state.hidden[0], members))
        return after, Prediction(observations, observations[:, 0], ends.float(), state.hidden[0])


def test_a_member_is_drawn_for_each_branch_and_kept_through_it() -> None:
    env = ImaginedVectorEnv(
        MemberModel(), STARTS, 6, 40, seed=0, autoreset_mode=AutoresetMode.SAME_STEP
    )
    previous = env.reset()[0]
    members, origins, num_mixed, num_changes = np.full(40, -1.0), np.zeros(40), 0, 0
    for _ in range(20):
        observations, _, terminations, truncations, infos = env.step(np.ones((40, 1), np.float32))
        ended = terminations | truncations
        seen = (
            np.where(
                ended[:, None],
                np.stack([row if row is not None else previous[0] for row in infos["final_obs"]]),
                observations,
            )
            if ended.any()
            else observations
        )
        np.testing.assert_allclose(seen[:, 0], previous[:, 0] + 1)
        is_old = members >= 0
        assert (seen[is_old, 1] == members[is_old]).all()
        num_mixed += 0 < is_old.sum() < 40
        num_changes += (~is_old).sum()
        origins = np.where(is_old, origins, previous[:, 0])
        reported = infos["final_info"]["disagreement"] if ended.any() else infos["disagreement"]
        np.testing.assert_allclose(np.where(ended, reported, infos["disagreement"]), origins)
        members, previous = np.where(ended, -1, seen[:, 1]), observations
    assert num_mixed > 5
    assert num_changes > 100


def test_bad_requests_name_the_value() -> None:
    for options, message in (
        ({"horizon": 0}, "horizon=0"),
        ({"disagreement_penalty": -1.0}, "-1.0"),
    ):
        with pytest.raises(ConfigError, match=message):
            _dream(**options)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"\[K, 2\]"):
        ImaginedVectorEnv(CounterModel(), np.zeros((4, 3)), 1, 1)
    for nothing in (None, "abc", [["a", "b"]], [[1.0], [1.0, 2.0]], np.array([[None, None]])):
        with pytest.raises(ConfigError, match="start_observations are Trajectories or an array"):
            ImaginedVectorEnv(CounterModel(), nothing, 1, 1)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="row 1"):
        ImaginedVectorEnv(CounterModel(), np.array([[0, 0], [np.inf, 0]]), 1, 1)
    model = CounterModel()
    model.disagreement = None
    with pytest.raises(ConfigError, match="no disagreement"):
        _dream(model, disagreement_penalty=1.0)
    model.action_space = gym.spaces.Text(2)
    with pytest.raises(SpaceError, match="Text"):
        _dream(model)
    with pytest.raises(ResetNeeded):
        _dream().step(ONES)
    env = _dream()
    env.reset()
    with pytest.raises(ConfigError, match="selects no row"):
        env.reset(options={"reset_mask": np.zeros(3, np.bool_)})


def test_a_model_that_diverges_is_stopped_with_the_row() -> None:
    model = CounterModel(noise=float("inf"))
    env = _dream(model)
    env.reset()
    with pytest.raises(NonFiniteError, match="observations are not finite in row 0"):
        env.step(ONES)


def test_a_disagreement_that_diverges_is_stopped_before_it_is_paid() -> None:
    """Bounds of the observations can hide that the members went to infinity."""
    model = CounterModel()
    env = _dream(model, disagreement_penalty=0.5)
    env.reset()
    model.disagreement = float("nan")
    with pytest.raises(NonFiniteError, match="disagreements are not finite in row 0"):
        env.step(ONES)


def test_new_starts_are_used_from_the_next_restart_on() -> None:
    env = _dream(horizon=1, autoreset_mode=AutoresetMode.SAME_STEP)
    env.reset()
    env.set_starts(ModelState(torch.tensor([[50.0, 0.0]]), (torch.ones(1),)))
    _, _, _, _, infos = env.step(ONES)
    assert (env.step(ONES)[0] == [50.0, 0.0]).all()
    assert infos["_final_obs"].all()


def test_the_promises_of_gymnasiums_vector_interface() -> None:
    def make(num_envs: int, autoreset_mode: AutoresetMode) -> ImaginedVectorEnv:
        model = CounterModel(noise=0.5, ending_at=11.5)
        return ImaginedVectorEnv(model, STARTS, 4, num_envs, seed=0, autoreset_mode=autoreset_mode)

    # One random stream serves all rows, so that a partial reset moves the others' draws and knows
    # no seed of a row.
    report = check_vector_env(make, num_steps=100, skip=("partial_reset", "seed_list"))
    assert len(report.modes) == 3
    fixed = ImaginedVectorEnv(
        CounterModel(), STARTS[:1], 4, 3, autoreset_mode=AutoresetMode.DISABLED, is_stochastic=False
    )
    check_vector_env(fixed, num_steps=100, skip=("episodes_vary",))


@pytest.mark.parametrize("mode", list(AutoresetMode))
def test_infos_have_the_same_keys_everywhere_as_gymnasiums_own(mode: AutoresetMode) -> None:
    env = _dream(autoreset_mode=mode, horizon=2)
    _, reset_infos = env.reset()
    _, _, _, _, step_infos = env.step(ONES)
    assert reset_infos.keys() == step_infos.keys()
    assert all(len(step_infos[key]) == 3 for key in step_infos)
    reference = SyncVectorEnv(
        [lambda: gym.make("Pendulum-v1", max_episode_steps=2)] * 3, autoreset_mode=mode
    )
    reference.reset()
    reference.step(ONES)
    expected = reference.step(ONES)
    actual = env.step(ONES)
    for ours, theirs in zip(actual[:4], expected[:4], strict=True):
        assert type(ours) is type(theirs)
        assert ours.dtype == theirs.dtype
    assert {key for key in expected[4] if "final" in key} == {
        key for key in actual[4] if "final" in key
    }
    env.close()


def test_ppo_learns_to_count_upwards_in_a_dream() -> None:
    torch.set_num_threads(1)
    env = ImaginedVectorEnv(
        CounterModel(), STARTS[:1], 8, 16, seed=0, autoreset_mode=AutoresetMode.SAME_STEP
    )
    model = PPO(
        "MlpPolicy",
        SB3VecEnv(env),
        n_steps=16,
        batch_size=64,
        learning_rate=3e-3,
        seed=0,
        device="cpu",
    )
    model.learn(3_000)
    actions, _ = model.predict(np.tile(STARTS[:1], (3, 1)), deterministic=True)
    assert (actions > 0.5).all()


def test_trajectories_start_where_steps_were_taken() -> None:
    observations = np.array([[0, 0], [1, 0], [99, 0], [2, 0], [98, 0]], np.float32)
    data = Trajectories.from_arrays(
        observations, np.zeros((3, 1)), np.zeros(3), [False] * 3, lengths=[2, 1]
    )
    env = ImaginedVectorEnv(CounterModel(), data, 3, 200, seed=0)
    assert set(env.reset()[0][:, 0].tolist()) == {0.0, 1.0, 2.0}
    env.set_starts(data.select([1]) if hasattr(data, "select") else data)
    env.reset()


def test_dreams_of_every_mode_are_the_same_to_sb3() -> None:
    seen = []
    for mode in AutoresetMode:
        env = SB3VecEnv(
            _dream(CounterModel(noise=1.0, ending_at=12.5), horizon=3, autoreset_mode=mode)
        )
        rows = [env.reset()]
        for _ in range(12):
            observations, rewards, done, infos = env.step(ONES)
            rows += [observations, rewards, done]
            rows += [
                info["terminal_observation"] for info in infos if "terminal_observation" in info
            ]
            assert all(
                "terminal_observation" in info
                for info, is_done in zip(infos, done, strict=True)
                if is_done
            )
        seen.append(rows)
    for other in seen[1:]:
        for first, second in zip(seen[0], other, strict=True):
            np.testing.assert_array_equal(first, second)


class SwitchModel(CounterModel):
    """The counter with the two actions of a switch."""

    def __init__(self) -> None:
        super().__init__()
        self.action_space = gym.spaces.Discrete(2)

    def step(
        self, state: ModelState, actions: Tensor, generator: torch.Generator | None = None
    ) -> tuple[ModelState, Prediction]:
        return super().step(state, actions.reshape(-1, 1).float(), generator)


def _below_eleven(observations: Any) -> Any:
    return np.stack([np.ones(len(observations), bool), observations[:, 0] < 11], axis=1)


def test_a_dream_that_is_told_of_masks_offers_them() -> None:
    starts = np.array([[10.0, 0.0]], np.float32)
    dream = ImaginedVectorEnv(
        SwitchModel(), starts, 9, 2, autoreset_mode="SameStep", action_masks=_below_eleven
    )
    env = SB3VecEnv(dream)
    assert env.has_attr("action_masks")
    with pytest.raises(ResetNeeded):
        dream.action_masks()
    env.reset()
    assert np.stack(env.env_method("action_masks")).tolist() == [[True, True]] * 2
    env.step(np.array([1, 0]))
    assert np.stack(env.env_method("action_masks")).tolist() == [[True, False], [True, True]]
    unmasked = ImaginedVectorEnv(SwitchModel(), starts, 9, 2, autoreset_mode="SameStep")
    assert not SB3VecEnv(unmasked).has_attr("action_masks")
    wrong = ImaginedVectorEnv(
        SwitchModel(), starts, 9, 2, action_masks=lambda observations: observations
    )
    wrong.reset()
    with pytest.raises(ConfigError, match=r"booleans of shape \(2, 2\)"):
        wrong.action_masks()


@pytest.mark.parametrize("seed", [True, 1.5, -1, "1", [1, 2], [1, 2, 0.5], [1, 2, -3]], ids=repr)
def test_wrong_seeds_of_a_dream_change_nothing(seed: Any) -> None:
    dream, twin = _dream(), _dream()
    dream.reset(seed=4)
    twin.reset(seed=4)
    with pytest.raises(ConfigError, match="seeds"):
        dream.reset(seed=seed)
    np.testing.assert_array_equal(dream.step(ONES)[0], twin.step(ONES)[0])
    np.testing.assert_array_equal(dream.reset()[0], twin.reset()[0])


def test_seeds_of_a_dream_are_integers_of_any_size() -> None:
    dream = _dream(CounterModel(noise=1.0), seed=None)

    def draw(seed: Any) -> list[float]:
        dream.reset(seed=seed)
        return list(dream.step(ONES)[0][:, 1])

    assert draw(np.int64(5)) == draw(np.array(5)) == draw([5, 6, 7]) == draw(5)
    assert dream.np_random_seed == 5
    assert draw(2**32 + 5) != draw(5)
    assert draw(2**64 + 5) != draw(5)
    fresh = _dream(CounterModel(noise=1.0), seed=None)
    fresh.reset()
    assert draw(fresh.np_random_seed) == list(fresh.step(ONES)[0][:, 1])


@pytest.mark.parametrize(
    "options", [{"horizon": 3.0}, {"num_envs": 2.0}, {"num_envs": True}, {"seed": 1.5}]
)
def test_counts_of_a_dream_are_integers(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=f"{next(iter(options))} is an integer"):
        ImaginedVectorEnv(
            **{
                "model": CounterModel(),
                "start_observations": STARTS,
                "horizon": 3,
                "num_envs": 3,
                **options,
            }
        )
