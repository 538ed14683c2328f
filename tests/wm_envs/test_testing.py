"""The checker passes what keeps its promises and names what does not."""

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, SyncVectorEnv, VectorEnv
from gymnasium.vector.utils import batch_space

from wm_envs.errors import OptionError
from wm_envs.registration import TABLE
from wm_envs.testing import VectorEnvError, check_vector_env

ALL_MODES = ("NextStep", "SameStep", "Disabled")
NEXT_STEP, SAME_STEP = AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP


class WalkEnv(gym.Env):
    """A walk on 32 places from a random start with random gusts.

    It ends at the borders or after 8 steps.
    """

    observation_space = spaces.Box(0, 40, (2,), np.float32)
    action_space = spaces.Discrete(3)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.place, self.time = int(self.np_random.integers(4, 28)), 0
        return self.observe(), {"place": self.place}

    def step(self, action):
        self.place += int(action) - 1 + int(self.np_random.integers(-2, 3))
        self.time += 1
        is_out = not 0 <= self.place < 32
        self.place = int(np.clip(self.place, 0, 31))
        return (
            self.observe(),
            float(self.place) / 32 + 0.1,
            is_out,
            self.time >= 8,
            {"place": self.place},
        )

    def observe(self):
        return np.array([self.place, self.time], np.float32)


class WalkVectorEnv(VectorEnv):
    """A correct vector environment in few lines, each of which a subclass below breaks."""

    def __init__(self, num_envs, autoreset_mode="NextStep"):
        self.num_envs = num_envs
        self.mode = AutoresetMode(autoreset_mode)
        self.metadata = {"autoreset_mode": self.mode}
        self.single_observation_space, self.single_action_space = (
            WalkEnv.observation_space,
            WalkEnv.action_space,
        )
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self.rows = [WalkEnv() for _ in range(num_envs)]
        self.pending = np.zeros(num_envs, np.bool_)
        self.seeds = [None] * num_envs

    def reset(self, *, seed=None, options=None):
        mask = self.mask_of(options)
        self.seeds = self.seeds_of(seed)
        for row in np.flatnonzero(mask):
            self.start(row, self.seeds[row])
        self.clear_pending(mask)
        return self.observations(), self.infos(mask)

    def step(self, actions):
        rewards, terminated, truncated = (
            np.zeros(self.num_envs),
            *np.zeros((2, self.num_envs), np.bool_),
        )
        for row, action in enumerate(actions):
            if self.pending[row] and self.mode == NEXT_STEP:
                rewards[row], terminated[row], truncated[row] = self.restart_next_step(row, action)
            else:
                _, rewards[row], terminated[row], truncated[row], _ = self.rows[row].step(action)
        ended = terminated | truncated
        self.pending = ended.copy()
        if self.mode == SAME_STEP and ended.any():
            return self.restart_same_step(ended, rewards, terminated, truncated)
        return (
            self.observations(),
            rewards,
            terminated,
            truncated,
            self.infos(np.ones(self.num_envs, np.bool_)),
        )

    def mask_of(self, options):
        return (options or {}).get("reset_mask", np.ones(self.num_envs, np.bool_))

    def seeds_of(self, seed):
        return (
            [seed + i for i in range(self.num_envs)]
            if isinstance(seed, int)
            else seed or [None] * self.num_envs
        )

    def start(self, row, seed=None):
        self.rows[row].reset(seed=seed)

    def clear_pending(self, mask):
        self.pending[mask] = False

    def restart_next_step(self, row, action):
        self.start(row)
        return 0.0, False, False

    def restart_same_step(self, ended, rewards, terminated, truncated):
        final = {"final_obs": np.full(self.num_envs, None), "_final_obs": ended.copy()}
        for row in np.flatnonzero(ended):
            final["final_obs"][row] = self.rows[row].observe()
        final |= {"final_info": self.infos(ended), "_final_info": ended.copy()}
        for row in np.flatnonzero(ended):
            self.start(row)
        infos = self.infos(np.ones(self.num_envs, np.bool_)) | final
        return self.observations(), rewards, terminated, truncated, infos

    def observations(self):
        return np.array([row.observe() for row in self.rows])

    def infos(self, mask):
        return {"place": np.array([row.place for row in self.rows]) * mask, "_place": mask.copy()}


class OffByOne(WalkVectorEnv):
    def restart_next_step(self, row, action):
        self.start(row)
        return self.rows[row].step(action)[1:4]


class ActsWhileResetting(WalkVectorEnv):
    def restart_next_step(self, row, action):
        self.start(row)
        self.rows[row].place += int(action)
        return 0.0, False, False


class FinalIsTheNewStart(WalkVectorEnv):
    def restart_same_step(self, *arguments):
        observations, *flags, infos = super().restart_same_step(*arguments)
        for row in np.flatnonzero(infos["_final_obs"]):
            infos["final_obs"][row] = observations[row]
        return observations, *flags, infos


class FinalForAllRows(WalkVectorEnv):
    def restart_same_step(self, *arguments):
        observations, *flags, infos = super().restart_same_step(*arguments)
        return (
            observations,
            *flags,
            infos | {"final_obs": observations, "_final_obs": np.ones(self.num_envs, np.bool_)},
        )


class FinalInfoIsLost(WalkVectorEnv):
    def restart_same_step(self, *arguments):
        observations, *flags, infos = super().restart_same_step(*arguments)
        return observations, *flags, {k: v for k, v in infos.items() if "final_info" not in k}


class ReusesItsBuffer(WalkVectorEnv):
    def observations(self):
        self.buffer = self.__dict__.get("buffer", np.zeros((self.num_envs, 2), np.float32))
        self.buffer[:] = super().observations()
        return self.buffer


class RepeatsItsSeed(WalkVectorEnv):
    def start(self, row, seed=None):
        super().start(row, self.seeds[row])


class ForgetsItsSeed(WalkVectorEnv):
    def start(self, row, seed=None):
        self.rows[row].reset(
            seed=np.random.SeedSequence().generate_state(1)[0].item() if seed is None else seed
        )


class SharesOneStream(WalkVectorEnv):
    def seeds_of(self, seed):
        return [seed] * self.num_envs if isinstance(seed, int) else super().seeds_of(seed)

    def step(self, actions):
        return super().step(np.full_like(actions, actions[0]))


class SeedsEverySecond(WalkVectorEnv):
    def seeds_of(self, seed):
        return (
            [seed + 2 * i for i in range(self.num_envs)]
            if isinstance(seed, int)
            else super().seeds_of(seed)
        )


class PartialResetIsFull(WalkVectorEnv):
    def mask_of(self, options):
        return np.ones(self.num_envs, np.bool_)


class PartialResetDrawsForOthers(WalkVectorEnv):
    def reset(self, *, seed=None, options=None):
        answer = super().reset(seed=seed, options=options)
        for row in np.flatnonzero(~self.mask_of(options)):
            self.rows[row].np_random.integers(2)
        return answer


class PartialResetReportsOthers(WalkVectorEnv):
    def reset(self, *, seed=None, options=None):
        observations, _ = super().reset(seed=seed, options=options)
        return observations, self.infos(np.ones(self.num_envs, np.bool_))


class KeepsPendingRows(WalkVectorEnv):
    def clear_pending(self, mask):
        pass


class HasNoMasks(WalkVectorEnv):
    def infos(self, mask):
        return {"place": np.array([row.place for row in self.rows])}


class HasNoResetInfos(WalkVectorEnv):
    def reset(self, *, seed=None, options=None):
        return super().reset(seed=seed, options=options)[0], {}


class GivesColumnRewards(WalkVectorEnv):
    def step(self, actions):
        observations, rewards, *rest = super().step(actions)
        return observations, rewards[:, None], *rest


class GivesDoubles(WalkVectorEnv):
    def observations(self):
        return super().observations().astype(np.float64)


class HidesItsMode(WalkVectorEnv):
    def __init__(self, num_envs):
        super().__init__(num_envs)
        self.metadata = {}


class ClosesOnce(WalkVectorEnv):
    def close(self, **kwargs):
        assert not self.closed, "closed twice"
        self.closed = True


class NeverEnds(WalkVectorEnv):
    def step(self, actions):
        observations, rewards, terminated, truncated, infos = super().step(actions)
        self.pending[:] = False
        return observations, rewards, terminated & False, truncated & False, infos


FAULTS = {
    OffByOne: ("NextStep", {"autoreset", "matches_single", "ended_actions"}),
    ActsWhileResetting: ("NextStep", {"matches_single", "ended_actions"}),
    FinalIsTheNewStart: ("SameStep", {"final_observations"}),
    FinalForAllRows: ("SameStep", {"final_observations"}),
    FinalInfoIsLost: ("SameStep", {"final_observations"}),
    ReusesItsBuffer: (None, {"outputs_kept"}),
    RepeatsItsSeed: ("NextStep", {"matches_single", "episodes_vary"}),
    ForgetsItsSeed: (None, {"matches_single", "reproducible"}),
    SharesOneStream: (None, {"matches_single", "episodes_vary"}),
    SeedsEverySecond: (None, {"matches_single", "seed_list"}),
    PartialResetIsFull: ("NextStep", {"partial_reset"}),
    PartialResetDrawsForOthers: ("NextStep", {"partial_reset"}),
    PartialResetReportsOthers: ("Disabled", {"partial_reset"}),
    KeepsPendingRows: ("NextStep", {"reset_discards_ends"}),
    HasNoMasks: (None, {"info_masks"}),
    HasNoResetInfos: (None, {"info_keys", "matches_single"}),
    GivesColumnRewards: (None, {"calls"}),
    GivesDoubles: (None, {"calls"}),
    HidesItsMode: ("NextStep", {"spaces"}),
    ClosesOnce: (None, {"close"}),
    NeverEnds: (None, {"coverage"}),
}


def test_the_correct_walk_passes_every_check_in_every_mode():
    report = check_vector_env(WalkVectorEnv, single=WalkEnv)
    assert report.modes == ALL_MODES
    assert len(report.passed) == 16
    assert not report.not_run
    assert all(num_episodes > 40 for num_episodes in report.num_episodes.values())


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_finds_the_planted_fault(fault):
    mode, expected = FAULTS[fault]
    modes = None if mode is None else [mode]
    with pytest.raises(VectorEnvError) as caught:
        check_vector_env(fault, single=WalkEnv, autoreset_modes=modes, num_steps=60)
    assert expected <= caught.value.report.failed
    assert all(name in str(caught.value) for name in expected)


def test_one_fault_in_one_mode_is_named_alone_with_row_and_call():
    with pytest.raises(VectorEnvError) as caught:
        check_vector_env(FinalIsTheNewStart, single=WalkEnv)
    report = caught.value.report
    assert report.failed == {"final_observations"}
    assert {finding.mode for finding in report.findings} == {"SameStep"}
    assert "row 0, call " in report.findings[0].message
    assert "final['final_obs'] is" in report.findings[0].message


def test_without_a_single_environment_its_checks_are_reported_as_not_run():
    report = check_vector_env(WalkVectorEnv)
    assert report.not_run == {"matches_single": "no single environment was given"}
    assert "matches_single" not in report.passed


class KnowsTwoModes(WalkVectorEnv):
    def __init__(self, num_envs, autoreset_mode):
        if AutoresetMode(autoreset_mode) == AutoresetMode.DISABLED:
            raise ValueError("no such mode here")
        super().__init__(num_envs, autoreset_mode)


def test_a_mode_that_it_refuses_is_reported_unless_it_was_asked_for():
    report = check_vector_env(KnowsTwoModes, single=WalkEnv, num_steps=60)
    assert report.modes == ("NextStep", "SameStep")
    assert report.not_run == {"Disabled": "cannot be made: no such mode here"}
    with pytest.raises(ValueError, match="no such mode here"):
        check_vector_env(KnowsTwoModes, autoreset_modes=["Disabled"])


class FailsToStep(WalkVectorEnv):
    def step(self, actions):
        raise RuntimeError("out of order")


def test_an_environment_that_raises_is_one_finding():
    with pytest.raises(
        VectorEnvError, match="the main trace raised RuntimeError: out of order"
    ) as caught:
        check_vector_env(FailsToStep, single=WalkEnv)
    assert caught.value.report.failed == {"calls"}
    assert caught.value.report.passed == ("spaces", "close")
    assert [finding.mode for finding in caught.value.report.findings] == list(ALL_MODES)


def test_an_instance_is_checked_in_its_own_mode_and_closed():
    env = WalkVectorEnv(5, "SameStep")
    report = check_vector_env(env, single=WalkEnv)
    assert report.modes == ("SameStep",)
    assert env.closed


def test_a_function_without_parameters_is_checked_as_it_is():
    report = check_vector_env(lambda: SyncVectorEnv([WalkEnv] * 4), single=WalkEnv)
    assert report.modes == ("NextStep",)


def test_passes_gymnasiums_own_synchronous_environment():
    report = check_vector_env("CartPole-v1", vectorization_mode="sync", num_steps=100)
    assert report.modes == ALL_MODES
    assert not report.not_run


def test_finds_what_cart_pole_vector_env_does_otherwise():
    # One generator for all rows, no list of seeds, and it ignores reset_mask.
    with pytest.raises(VectorEnvError) as caught:
        check_vector_env("CartPole-v1")
    report = caught.value.report
    assert report.failed == {"matches_single", "seed_list", "partial_reset"}
    assert report.modes == ("NextStep",)
    skipped = check_vector_env("CartPole-v1", skip=("matches_single", "seed_list", "partial_reset"))
    assert len(skipped.passed) == 13
    assert set(skipped.not_run.values()) == {"skipped"}


def test_finds_the_probability_that_frozen_lake_loses_in_a_vector():
    # Its reset reports the integer 1, so Gymnasium makes an integer column, and 1/3 becomes 0
    # there.
    with pytest.raises(VectorEnvError, match=r"info\['prob'\] is 0, expected 0.3333"):
        check_vector_env("FrozenLake-v1", autoreset_modes=["NextStep"])


@pytest.mark.parametrize("env_id", [row.id for row in TABLE])
def test_every_id_of_ours_passes_in_every_mode(env_id):
    report = check_vector_env(env_id, num_steps=60, env_kwargs={"max_episode_steps": 12})
    assert report.modes == ALL_MODES
    assert not report.not_run


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"skip": ("spelling",)}, "spelling"),
        ({"num_envs": 1}, "at least 2, got 1"),
        ({"num_steps": 0}, "at least 2, got 3 and 0"),
    ],
)
def test_wrong_options_are_named(arguments, message):
    with pytest.raises(OptionError, match=message):
        check_vector_env("CartPole-v1", **arguments)


def test_a_mode_that_cannot_be_chosen_is_refused():
    with pytest.raises(OptionError, match="SameStep"):
        check_vector_env("CartPole-v1", autoreset_modes=["SameStep"])
