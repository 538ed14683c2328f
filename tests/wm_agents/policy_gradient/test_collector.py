"""Collected episodes.

Whole, masked, without length bias, and determined by seed and number alone.
"""

from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from gymnasium.wrappers import TransformReward
from torch import Tensor

from wm_agents.errors import ConfigError, SpaceError
from wm_agents.policy_gradient.collector import (
    EpisodeCollector,
    StackedBatch,
    network_sizes,
    sample_categorical,
)
from wm_agents.policy_gradient.environments import VectorEnvMaker, environment_maker
from wm_agents.policy_gradient.sequence_model import NetworkConfig, SequenceModel
from wm_agents.policy_gradient.spaces import PolicySpaces

NETWORK = NetworkConfig(width=8, num_layers=1, num_heads=2, feedforward_width=8, value_width=4)
LONGEST = 6


class Countdown(gym.Env[Any, Any]):
    """An episode of 1 to 6 steps, drawn at the reset; the observation is (length, step, last action), pay is 1 a step.

    It reports success at every step, which is whether the action was 1. `fixed` lengthens all
    episodes alike.
    """

    observation_space: spaces.Space[Any] = spaces.Box(-1000, 1000, (3,))
    action_space: spaces.Space[Any] = spaces.Discrete(2)

    def __init__(self, fixed: int = 0) -> None:
        self.fixed = fixed

    def _observe(self, action: Any) -> Any:
        return np.array([self.length, self.time, action], np.float32)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.length, self.time = self.fixed or int(self.np_random.integers(1, LONGEST + 1)), 0
        return self._observe(-1), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.time += 1
        is_over = self.time >= self.length
        ending = (is_over, False) if self.length % 2 else (False, is_over)
        return self._observe(action), 1.0, *ending, {"is_success": bool(np.all(action))}


class Indexed(Countdown):
    """Observes its time from 5 on, and takes actions from -1 on."""

    observation_space = spaces.Discrete(8, start=5)
    action_space = spaces.Discrete(3, start=-1)

    def _observe(self, action: Any) -> Any:
        assert action in (-1, 0, 1)
        return np.int64(5 + self.time)


class Pushed(Countdown):
    """Takes bounded matrices as actions and shows the last one."""

    observation_space = spaces.Box(-10, 10, (2, 2))
    action_space = spaces.Box(
        np.array([[-0.1, -5], [0, 0.2]], np.float32), np.float32([[0.1, 5], [0.3, 0.2]])
    )

    def _observe(self, action: Any) -> Any:
        if np.ndim(action) == 0:
            return np.zeros((2, 2), np.float32)
        assert self.action_space.contains(action)
        return np.asarray(action)


def maker(environment: Any = Countdown, **options: Any) -> VectorEnvMaker:
    return lambda num_envs: SyncVectorEnv([lambda: environment(**options)] * num_envs)


def setup(
    makers: Sequence[VectorEnvMaker] = (maker(),),
    seeds: Sequence[int] = (4,),
    max_steps: int = 50,
    has_previous_step: bool = False,
) -> tuple[EpisodeCollector, SequenceModel]:
    probe = makers[0](1)
    known = PolicySpaces(probe.single_observation_space, probe.single_action_space)
    sizes = network_sizes(known, has_previous_step)
    model = SequenceModel(NETWORK, sizes, list(seeds), torch.device("cpu"))
    return EpisodeCollector(makers, known, seeds, max_steps, has_previous_step), model


def collect(num_rows: int = 8, number: Sequence[int] = (0, 0), **options: Any) -> StackedBatch:
    collector, model = setup(**options)
    return collector.collect(model, num_rows, number)


def expected_lengths(seed: int, number: Sequence[int], num_rows: int) -> list[int]:
    first = int(np.random.default_rng([seed, *number]).integers(2**31))
    lengths = []
    for row in range(num_rows):
        env = Countdown()
        env.reset(seed=first + row)
        lengths.append(env.length)
    return lengths


def test_every_row_holds_its_first_episode_from_start_to_end() -> None:
    batch = collect(40, seeds=(4, 9))
    lengths = np.array([expected_lengths(seed, (0, 0), 40) for seed in (4, 9)])
    assert batch.mask.shape == (2, 40, LONGEST)
    assert (batch.mask.sum(-1).numpy() == lengths).all()
    assert (batch.returns == lengths).all()
    assert batch.num_steps.tolist() == lengths.sum(1).tolist()
    for seed, row in np.ndindex(2, 40):
        length = lengths[seed, row]
        assert batch.mask[seed, row].tolist() == [1.0] * length + [0.0] * (LONGEST - length)
        assert batch.rewards[seed, row].tolist() == [1.0] * length + [0.0] * (LONGEST - length)
        inputs, followed = (
            batch.inputs[seed, row, :length],
            batch.next_observations[seed, row, :length],
        )
        assert inputs[:, 0].tolist() == followed[:, 0].tolist() == [length] * length
        assert inputs[:, 1].tolist() == list(range(length))
        assert followed[:, 1].tolist() == list(range(1, length + 1))
        assert followed[:, 2].tolist() == batch.actions[seed, row, :length].tolist()


def test_short_episodes_are_not_counted_more_often() -> None:
    batch = collect(300)
    counts = np.bincount(batch.mask.sum(-1).long().flatten().numpy(), minlength=LONGEST + 1)[1:]
    assert counts.sum() == 300
    assert (
        counts.min() > 25
    )  # 50 of each length are due; in a fixed number of steps there would be 6 times more ones


def test_success_is_that_of_the_last_step() -> None:
    batch = collect(60)
    last = batch.mask.sum(-1, keepdim=True).long() - 1
    assert batch.successes is not None
    assert batch.successes.tolist() == batch.actions.gather(2, last).squeeze(-1).tolist()
    assert 0 < batch.successes.mean() < 1


def test_success_is_none_where_nobody_reports_it() -> None:
    batch = collect(
        2, makers=(lambda num_envs: gym.make_vec("CartPole-v1", num_envs),), max_steps=5
    )
    assert batch.successes is None


def equal(first: StackedBatch, second: StackedBatch) -> bool:
    names = ("inputs", "actions", "next_observations", "rewards", "mask")
    return all(torch.equal(getattr(first, name), getattr(second, name)) for name in names)


def test_seed_and_number_determine_a_collection() -> None:
    collector, model = setup()
    first = collector.collect(model, 8, (0, 3))
    other = collector.collect(model, 8, (0, 4))
    assert not equal(first, other)
    assert not equal(first, collector.collect(model, 8, (1, 3)))
    assert equal(first, collector.collect(model, 8, (0, 3)))  # in the same environments
    assert equal(first, collect(8, (0, 3)))  # in fresh ones
    assert not equal(first, collect(8, (0, 3), seeds=(5,)))


def test_stacked_runs_play_what_they_play_alone() -> None:
    together = collect(8, seeds=(4, 9, 2))
    for index, seed in enumerate((4, 9, 2)):
        alone = collect(8, seeds=(seed,))
        num_steps = alone.mask.shape[2]
        mask = together.mask[index : index + 1, :, :num_steps]
        assert torch.equal(mask, alone.mask)
        assert torch.equal(
            together.actions[index, :, :num_steps] * mask[0], (alone.actions * alone.mask)[0]
        )


def test_levels_are_padded_and_merged_in_the_order_of_the_seeds() -> None:
    makers, seeds, levels = (
        (maker(fixed=2), maker(fixed=5), maker(fixed=3)),
        (4, 9, 2, 7),
        [1, 0, 2, 0],
    )
    collector, model = setup(makers, seeds)
    batch = collector.collect(model, 3, (0, 0), levels)
    assert batch.mask.shape == (4, 3, 5)
    assert batch.mask.sum(-1).tolist() == [[5] * 3, [2] * 3, [3] * 3, [2] * 3]
    assert batch.successes is not None
    for index, (seed, level) in enumerate(zip(seeds, levels, strict=True)):
        alone = collect(3, makers=(makers[level],), seeds=(seed,))
        num_steps = alone.mask.shape[2]
        for name in ("inputs", "actions", "next_observations", "rewards", "mask"):
            merged, own = getattr(batch, name)[index], getattr(alone, name)[0]
            assert torch.equal(merged[:, :num_steps], own), name
            # The observation after the last step is not padding.
            padded = merged[:, num_steps + (name == "inputs") :]
            assert (padded == 0).all(), name
        assert alone.successes is not None
        assert batch.successes[index].tolist() == alone.successes[0].tolist()


def test_one_level_for_all_is_not_split() -> None:
    collector, model = setup((maker(fixed=2), maker(fixed=4)), (4, 9))
    assert equal(
        collector.collect(model, 3, (0, 0), [1, 1]),
        collect(3, makers=(maker(fixed=4),), seeds=(4, 9)),
    )


def test_long_episodes_are_cut() -> None:
    batch = collect(20, max_steps=3)
    assert batch.mask.shape[2] == 3
    assert batch.mask.sum(-1).tolist() == [
        [min(length, 3) for length in expected_lengths(4, (0, 0), 20)]
    ]


def test_discrete_spaces_count_from_their_start() -> None:
    batch = collect(30, makers=(maker(Indexed, fixed=2),))
    assert batch.inputs.shape == (1, 30, 2, 8)
    assert batch.inputs.argmax(-1)[0].tolist() == [[0, 1]] * 30
    assert batch.next_observations.argmax(-1)[0].tolist() == [[1, 2]] * 30
    assert (batch.inputs.sum(-1) == 1).all()
    assert batch.actions.unique().tolist() == [0, 1, 2]


def test_box_actions_are_recorded_as_drawn_and_executed_within_the_bounds() -> None:
    batch = collect(30, makers=(maker(Pushed, fixed=2),))
    assert batch.actions.shape == (1, 30, 2, 4)
    low, high = (
        torch.from_numpy(bound.ravel())
        for bound in (Pushed.action_space.low, Pushed.action_space.high)
    )  # type: ignore[attr-defined]
    assert (batch.actions.abs() > 1).any()
    assert torch.equal(batch.next_observations, batch.actions.clamp(low, high))
    collector, _ = setup((maker(Pushed),))
    assert torch.equal(collector.spaces.action_features(batch.actions), batch.next_observations)


def test_actions_of_whole_numbers_are_rounded_to_and_not_cut() -> None:
    interface = PolicySpaces(spaces.Discrete(2), spaces.Box(-2, 3, (4,), np.int8))
    drawn = torch.tensor([[0.6, -0.6, 9.0, -300.0]])
    executed = interface.decode_actions(drawn)
    assert executed.dtype == np.int8
    assert executed.tolist() == [[1, -1, 3, -2]]
    assert interface.action_features(drawn).tolist() == executed.tolist()


def test_greedy_episodes_take_the_likeliest_action() -> None:
    collector, model = setup()
    batch = collector.collect(model, 10, (0, 0), is_greedy=True)
    likeliest = (
        model.policy(model.encode(batch.inputs).flatten(1, 2)).argmax(-1).view(batch.actions.shape)
    )
    assert torch.equal(batch.actions * batch.mask, likeliest * batch.mask)
    collector, model = setup((maker(Pushed),))
    batch = collector.collect(model, 10, (0, 0), is_greedy=True)
    means = model.policy(model.encode(batch.inputs).flatten(1, 2)).view(batch.actions.shape)
    torch.testing.assert_close(batch.actions * batch.mask[..., None], means * batch.mask[..., None])


def test_sampled_actions_follow_the_policy() -> None:
    collector, model = setup((maker(fixed=1),))
    with torch.no_grad():
        model.parameters["policy.weight"].zero_()
        model.parameters["policy.bias"].copy_(torch.tensor([0.0, np.log(3.0)]))
    assert collector.collect(model, 2000, (0, 0)).actions.double().mean() == pytest.approx(
        0.75, abs=0.04
    )
    collector, model = setup((maker(Pushed, fixed=1),))
    with torch.no_grad():
        model.parameters["policy.weight"].zero_()
        model.parameters["policy.bias"].fill_(2.0)
        model.parameters["log_std"].fill_(np.log(0.5))
    actions = collector.collect(model, 2000, (0, 0)).actions
    assert actions.mean().item() == pytest.approx(2.0, abs=0.03)
    assert actions.std().item() == pytest.approx(0.5, abs=0.03)


def test_tokens_carry_the_previous_action_and_reward_when_asked() -> None:
    batch = collect(8, makers=(maker(fixed=4),), has_previous_step=True)
    assert batch.inputs.shape[-1] == 3 + 2 + 1
    assert (batch.inputs[:, :, 0, 3:] == 0).all()
    previous = torch.nn.functional.one_hot(batch.actions[:, :, :-1], 2).float()
    assert torch.equal(batch.inputs[:, :, 1:, 3:5], previous)
    assert torch.equal(batch.inputs[:, :, 1:, 5], batch.rewards[:, :, :-1])
    assert batch.next_observations.shape[-1] == 3


def test_tokens_of_one_step_episodes_are_kept_with_their_graph() -> None:
    collector, model = setup((maker(fixed=1),), (4, 9))
    for _ in range(2):  # that episodes have one step shows in the first collection
        batch = collector.collect(model, 5, (0, 0))
    assert batch.first_tokens is not None
    assert batch.first_tokens.requires_grad
    assert torch.equal(batch.first_tokens, model.encode_first(batch.inputs.squeeze(2))[0])
    assert not collector.collect(model, 5, (0, 0), is_greedy=True).first_tokens.requires_grad  # type: ignore[union-attr]
    assert collect(5).first_tokens is None


def test_drawing_inverts_the_distribution_function() -> None:
    logits = torch.log(torch.tensor([0.2, 0.5, 0.3])).expand(6, 3)
    uniform = torch.tensor([0.0, 0.19, 0.21, 0.69, 0.71, 1.0])
    assert sample_categorical(logits, uniform).tolist() == [0, 0, 1, 1, 2, 2]


@pytest.mark.parametrize(
    ("observation_space", "action_space", "message"),
    [
        (spaces.Text(3), spaces.Discrete(2), r"observation is Text.* are served"),
        (spaces.Dict({"a": spaces.Graph(spaces.Box(0, 1), None)}), spaces.Discrete(2), r"\['a'\]"),
        (spaces.Discrete(2), spaces.Tuple((spaces.Text(3),)), r"action\[0\] is Text"),
        (spaces.Box(0, 1, (0,)), spaces.Discrete(2), r"Box\(.* hold no numbers"),
        (spaces.Discrete(2), spaces.Box(0, 1, (0,)), r"Box\(.* hold no numbers"),
    ],
)
def test_other_spaces_are_refused(observation_space: Any, action_space: Any, message: str) -> None:
    with pytest.raises(SpaceError, match=message):
        PolicySpaces(observation_space, action_space)


@pytest.mark.parametrize("mode", [AutoresetMode.SAME_STEP, AutoresetMode.DISABLED])
def test_other_autoreset_modes_are_refused(mode: AutoresetMode) -> None:
    collector, model = setup(
        (lambda num_envs: SyncVectorEnv([Countdown] * num_envs, autoreset_mode=mode),)
    )
    with pytest.raises(SpaceError, match=f"NEXT_STEP, got {mode}: make it with that"):
        collector.collect(model, 2, (0, 0))


def test_environments_are_made_from_ids_made_ones_and_functions() -> None:
    by_id = environment_maker("CartPole-v1", {"sutton_barto_reward": True})(3)
    assert by_id.num_envs == 3
    assert by_id.reset(seed=0)[0].shape == (3, 4)
    assert by_id.step(np.zeros(3, np.int64))[1].tolist() == [0.0] * 3
    own = maker()
    assert environment_maker(own, {}) is own
    with pytest.raises(
        ConfigError, match=r"takes no options, got \{'level': 2\}: set them inside it"
    ):
        environment_maker(own, {"level": 2})
    with pytest.raises(SpaceError, match=r"not made by gym\.make: give its id"):
        environment_maker(Countdown(), {})


def test_several_seeds_play_where_a_native_batch_takes_one_seed() -> None:
    for environment in ("CartPole-v1", gym.make("CartPole-v1")):
        native = environment_maker(environment, {})(2)
        assert not isinstance(native, SyncVectorEnv)  # one seed keeps the quicker batch
        collector, model = setup(
            (environment_maker(environment, {}, num_seeds=2),), seeds=(4, 9), max_steps=5
        )
        batch = collector.collect(model, 3, (0, 0))
        for index, seed in enumerate((4, 9)):
            first = int(np.random.default_rng([seed, 0, 0]).integers(2**31))
            starts = [
                gym.make("CartPole-v1").reset(seed=first + row)[0].tolist() for row in range(3)
            ]
            assert batch.inputs[index, :, 0].tolist() == starts
    with pytest.raises(
        SpaceError, match=r"refuses a list of seeds, which num_seeds=2 needs: give a SyncVectorEnv"
    ):
        environment_maker(lambda num_envs: gym.make_vec("CartPole-v1", num_envs), {}, num_seeds=2)


def rewards_until_the_end(vector_env: Any) -> list[float]:
    rewards, is_over = [], False
    vector_env.reset(seed=0)
    while not is_over:
        _, reward, terminated, truncated, _ = vector_env.step(np.array([1]))
        rewards.append(float(reward[0]))
        is_over = bool(terminated[0] or truncated[0])
    return rewards


def test_a_made_environment_is_made_again_with_its_limit_options_and_wrappers() -> None:
    limited = gym.make("CartPole-v1", max_episode_steps=4, sutton_barto_reward=True)
    assert rewards_until_the_end(environment_maker(limited, {})(1)) == [0.0] * 4
    paid = environment_maker(limited, {"sutton_barto_reward": False})(1)
    assert rewards_until_the_end(paid) == [1.0] * 4
    wrapped = TransformReward(
        gym.make("CartPole-v1", max_episode_steps=3), lambda reward: 7 * float(reward)
    )
    assert rewards_until_the_end(environment_maker(wrapped, {})(1)) == [7.0] * 3


def test_a_ready_vector_environment_is_refused_with_the_remedy() -> None:
    rows: Any = gym.make_vec("CartPole-v1", 2)
    with pytest.raises(
        SpaceError, match=r"give a function of num_envs .* gym\.make_vec\(id, num_envs\), or the id"
    ):
        environment_maker(rows, {})
    rows.close()


def test_closing_lets_go_of_the_environments() -> None:
    closed: list[int] = []

    class Closing(Countdown):
        def close(self) -> None:
            closed.append(1)

    collector, model = setup((maker(Closing),))
    collector.collect(model, 3, (0, 0))
    collector.collect(model, 2, (0, 0))
    collector.close()
    assert len(closed) == 5
    batch: Tensor = collector.collect(model, 3, (0, 0)).mask
    assert batch.shape[1] == 3
