"""`WorldModelAgent`: it solves small tasks of all kinds, in every space and form, and loses nothing."""

import json

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, SyncVectorEnv

import wm_agents as wma
import wm_envs  # noqa: F401  (registers the ids)
from tests.support.small_tasks import Bandit, Chain, Sampled, spaces_of
from wm_agents.errors import CheckpointError, ConfigError, NonFiniteError, NotFittedError
from wm_agents.learners import race
from wm_agents.learners.imagined_policy import ImaginedPolicyConfig
from wm_agents.learners.memory_policy import MemoryPolicyConfig
from wm_agents.learners.replay_values import ReplayValuesConfig
from wm_agents.learners.search import SearchLearnerConfig
from wm_agents.learners.table import TableConfig
from wm_agents.training.packing import pack_state
from wm_envs.data.errors import SpaceError

gym.register("test/SmallLake-v0", "gymnasium.envs.toy_text.frozen_lake:FrozenLakeEnv")
NUMBERS = spaces.Box(-1, 1, (3,))
TWO = spaces.Discrete(2)


@pytest.fixture
def small(monkeypatch):
    """Ways of acting that all update within some hundred steps."""
    memory = MemoryPolicyConfig(
        batch_steps=24, minibatch_steps=24, n_epochs=2, width=16, context_length=16
    )
    values = ReplayValuesConfig(
        first_steps=50, width=16, batch_size=16, target_every=20, max_updates=100
    )
    imagined = ImaginedPolicyConfig(
        first_fit=100,
        fit_updates=5,
        num_windows=2,
        model_width=16,
        width=16,
        num_rows=12,
        horizon=3,
    )
    learners = (TableConfig(), SearchLearnerConfig(first_fit=100), imagined, memory, values)
    *defaults, last = race.RaceConfig.__init__.__defaults__
    assert last == race.RaceConfig().learners
    monkeypatch.setattr(race.RaceConfig.__init__, "__defaults__", (*defaults, learners))


def vector(make, num_envs, mode=AutoresetMode.SAME_STEP):
    return SyncVectorEnv([make] * num_envs, autoreset_mode=mode)


def assert_same(agent, other):
    """All that both have learned, random generators and counters included, is bitwise the same."""
    assert agent.num_timesteps == other.num_timesteps
    for learner, twin in zip(agent.learners, other.learners, strict=True):
        tensors, structure = pack_state(learner.state_dict())
        tensors_of_twin, structure_of_twin = pack_state(twin.state_dict())
        assert structure == structure_of_twin, learner.name
        different = [
            name for name in tensors if not torch.equal(tensors[name], tensors_of_twin[name])
        ]
        assert different == [], learner.name
    assert agent.decisions == other.decisions


# --- it solves small tasks


def test_a_bandit():
    agent = wma.WorldModelAgent(Bandit(), seed=1).learn(600)
    assert agent.predict(0)[0] == 2
    imagined = {"imagined policy", "imagined frames"}
    assert set(agent.decisions) == imagined | {
        "table", "search", "memory policy", "replay values", "acts",
    }  # fmt: skip


def test_a_goal_that_random_steps_seldom_find():
    agent = wma.WorldModelAgent("test/SmallChain-v0", seed=1).learn(800)
    results = agent.evaluate(4)
    assert results.returns.tolist() == [1.0] * 4
    assert results.lengths.tolist() == [11] * 4


def test_a_symbol_that_has_to_be_remembered():
    # All ways of acting race; updates of the one come sooner, those of the other are fewer.
    memory = MemoryPolicyConfig(batch_steps=512, minibatch_steps=128)
    learners = (
        TableConfig(),
        SearchLearnerConfig(max_fits=1),
        memory,
        ReplayValuesConfig(max_updates=200),
    )
    config = wma.WorldModelAgentConfig(steps_per_env=1000, race=race.RaceConfig(learners=learners))
    agent = wma.WorldModelAgent("wm/DelayedMatch-v0", seed=1, config=config).learn(13_000)
    assert agent.decisions["acts"] == "memory policy"
    assert agent.evaluate(50).success_rate >= 0.9
    # The answer is what the memory holds: without it the agent guesses.
    env = gym.make("wm/DelayedMatch-v0")
    rewards = [
        answer(agent, env, seed, is_remembered)
        for is_remembered in (True, False)
        for seed in range(40)
    ]
    assert np.mean(rewards[:40]) > 0.9
    assert np.mean(rewards[40:]) < 0.5
    # Two episodes side by side, one of which begins while the other goes on.
    first, _ = env.reset(seed=1)
    second, *_ = env.step(0)
    _, state = agent.predict(np.stack([first, first]))
    actions, _ = agent.predict(np.stack([second, first]), state, np.array([False, True]))
    alone, _ = agent.predict(second[None], agent.predict(first[None])[1], np.array([False]))
    assert actions[0] == alone[0]
    assert actions[1] == agent.predict(first)[0]


def answer(agent, env, seed, is_remembered):
    """The return of an episode, with the memory passed on or not."""
    obs, _ = env.reset(seed=seed)
    state, total, is_over = None, 0.0, False
    while not is_over:
        action, state = agent.predict(obs, state if is_remembered else None)
        obs, reward, terminated, truncated, _ = env.step(action)
        total += reward
        is_over = terminated or truncated
    return total


def test_vectors_of_actions_stay_within_their_bounds(small):
    agent = wma.WorldModelAgent("Pendulum-v1", seed=1).learn(400)
    assert agent.num_timesteps == 400
    actions, _ = agent.predict(np.zeros((5, 3), np.float32))
    assert actions.shape == (5, 1)
    assert actions.dtype == np.float32
    assert np.abs(actions).max() <= 2
    # Nothing learned in so few steps is worse than the worst possible by chance.
    assert -2000 < agent.evaluate(2).mean_return < 0


# --- every space and form

OBSERVATIONS = {
    "dict": spaces.Dict({"a": NUMBERS, "b": spaces.Discrete(3)}),
    "tuple": spaces.Tuple((spaces.Discrete(2), NUMBERS)),
    "multi discrete": spaces.MultiDiscrete([3, 2]),
    "multi binary": spaces.MultiBinary(4),
    "discrete from -2": spaces.Discrete(4, start=-2),
    "whole numbers": spaces.Box(-3, 5, (2,), np.int32),
    "image": spaces.Box(0, 255, (8, 8, 3), np.uint8),
    "numbers": NUMBERS,
}
ACTIONS = {
    "dict": spaces.Dict({"a": TWO, "b": NUMBERS}),
    "tuple": spaces.Tuple((TWO, spaces.Discrete(2, start=3))),
    "multi discrete": spaces.MultiDiscrete([3, 2]),
    "multi binary": spaces.MultiBinary(3),
    "discrete from -2": spaces.Discrete(4, start=-2),
    "whole numbers": spaces.Box(-3, 5, (2,), np.int32),
    "image": spaces.Box(-2, 3, (2, 2), np.float32),
    "numbers": TWO,
}


@pytest.mark.parametrize("kind", OBSERVATIONS)
def test_every_space(kind, small, tmp_path):
    observation_space, action_space = OBSERVATIONS[kind], ACTIONS[kind]
    # Actions are checked against their space in every step.
    agent = wma.WorldModelAgent(Sampled(observation_space, action_space), seed=1).learn(300)
    assert agent.num_timesteps == 300
    observation = observation_space.sample()
    action, _ = agent.predict(observation)
    assert action_space.contains(action)
    batch = gym.vector.utils.create_empty_array(observation_space, 3)
    gym.vector.utils.concatenate(observation_space, [observation] * 3, batch)
    actions, _ = agent.predict(batch)
    rows = list(gym.vector.utils.iterate(gym.vector.utils.batch_space(action_space, 3), actions))
    assert len(rows) == 3
    assert all(action_space.contains(row) for row in rows)
    again = wma.load(agent.save(tmp_path / "agent"))
    np.testing.assert_equal(again.predict(batch)[0], actions)
    assert (again.observation_space, again.action_space) == (observation_space, action_space)


class Half(gym.ObservationWrapper):
    """Keeps no arguments, so that `gym.make` cannot make it anew."""

    def __init__(self, env, factor):
        super().__init__(env)
        self.factor = factor

    def observation(self, observation):
        return observation * self.factor


FORMS = {
    "id": (lambda: "CartPole-v1", 1),
    "made by gym.make": (lambda: gym.make("CartPole-v1"), 1),
    "made otherwise": (lambda: Sampled(spaces.Box(-1, 1, (4,)), TWO), 1),
    "wrapped": (lambda: Half(gym.make("CartPole-v1"), np.float32(0.5)), 1),
    "vector": (lambda: vector(lambda: gym.make("CartPole-v1"), 3), 3),
    "compiled vector": (
        lambda: gym.make_vec("wm/PatternEcho-v0", 3, autoreset_mode=AutoresetMode.SAME_STEP),
        3,
    ),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_environment(form, small):
    make, num_envs = FORMS[form]
    agent = wma.WorldModelAgent(make(), seed=1).learn(302)
    assert agent.num_timesteps == 302 - 302 % num_envs
    assert len(agent.evaluate(2).returns) == 2
    # A second call goes on where the first one was, in as many environments.
    learners = agent.learners
    agent.learn(40_000, lambda *_: False)
    assert agent.learners == learners
    assert agent.num_timesteps == 302 - 302 % num_envs + 32 * num_envs


def test_many_steps_are_taken_in_many_environments():
    agent = wma.WorldModelAgent("CartPole-v1", seed=1).learn(20_000, lambda *_: False)
    assert agent.num_timesteps == 4 * 32
    learners = agent.learners
    agent.learn(100)
    assert agent.learners == learners
    assert agent.num_timesteps == 4 * 32 + 100


def test_episodes_without_end(small):
    config = wma.WorldModelAgentConfig(race=race.RaceConfig(max_episode=20))
    env = Sampled(NUMBERS, TWO, length=None)
    agent = wma.WorldModelAgent(env, seed=1, config=config).learn(800)
    assert agent.num_timesteps == 800
    assert TWO.contains(agent.predict(NUMBERS.sample())[0])
    # Parts of the one episode are shared out, and say what each way of acting earns.
    earned = [line for line in agent.decisions.values() if "without exploration" in line]
    assert len(earned) >= 2


# --- the configuration


def test_ways_of_acting_are_a_setting(tmp_path):
    values = ReplayValuesConfig(width=24, first_steps=50)
    only = wma.WorldModelAgentConfig(race=race.RaceConfig(learners=(values,)))
    agent = wma.WorldModelAgent("CartPole-v1", seed=1, config=only).learn(100)
    assert set(agent.decisions) == {"replay values", "acts"}
    again = wma.load(agent.save(tmp_path / "agent"))
    assert again.learners[0].config == values
    for learners in ((), (values, values), ("table",)):
        with pytest.raises(ConfigError, match="give settings of at least one kind, each once"):
            race.RaceConfig(learners=learners)


def test_luck_is_averaged_over_the_newest_share_of_the_steps(small):
    config = race.RaceConfig(learners=(TableConfig(),), window=5, recent_share=0.1)
    contest = race.Race(spaces_of(Bandit), 1, 1000, 0, config)
    contest.greedy[:] = True
    for step in range(500):
        contest.num_steps = step
        contest.record(0, float(step))
    assert contest.score(0) == np.mean(np.arange(399, 500))
    contest.num_steps = 990
    contest.record(0, 0.0)
    assert contest.score(0) == np.mean([496, 497, 498, 499, 0])


# --- nothing is lost


def test_a_file_acts_bitwise_the_same_and_goes_on(small, tmp_path):
    agent = wma.WorldModelAgent("wm/PermPuzzle-v0", seed=2).learn(400)
    again = wma.load(agent.save(tmp_path / "agent"), env="wm/PermPuzzle-v0")
    assert (again.num_timesteps, again.decisions) == (400, agent.decisions)
    assert repr(again) == repr(agent)
    env, state, twin_state = gym.make("wm/PermPuzzle-v0"), None, None
    obs, _ = env.reset(seed=3)
    for _ in range(20):
        action, state = agent.predict(obs, state)
        twin, twin_state = again.predict(obs, twin_state)
        assert action == twin
        obs, _, terminated, truncated, _ = env.step(action)
        if terminated or truncated:
            obs, _ = env.reset()
            state = twin_state = None
    again.learn(100)
    assert again.num_timesteps == 500
    with pytest.raises(ConfigError, match="no environment: give env= to load"):
        wma.load(tmp_path / "agent").learn(100)
    with pytest.raises(SpaceError, match="this agent reads"):
        wma.load(tmp_path / "agent", env="CartPole-v1")


def test_a_damaged_file_is_one_error(small, tmp_path):
    path = wma.WorldModelAgent("CartPole-v1", seed=1).learn(100).save(tmp_path / "agent")
    good = path.read_bytes()
    for bad in (good[:-1], good[: len(good) // 2], good[:200] + b"\0" + good[201:], b""):
        path.write_bytes(bad)
        with pytest.raises(CheckpointError):
            wma.load(path)
    with pytest.raises(CheckpointError):
        wma.load(tmp_path / "nothing")


@pytest.mark.parametrize("env_id", ["wm/PermPuzzle-v0", "CartPole-v1", "Pendulum-v1"])
def test_a_killed_run_resumes_bitwise(env_id, small, tmp_path):
    # More steps than one environment gets, so that rows begin and end at different times.
    # Nobody leaves before the end, so that all learners are compared.
    patient = race.RaceConfig(leave_after=(1.0, 1.0))
    config = wma.WorldModelAgentConfig(steps_per_env=200, race=patient)

    def learn(folder, callback=None):
        agent = wma.WorldModelAgent(env_id, seed=4, config=config)
        return agent.learn(512, callback, checkpoints=tmp_path / folder, checkpoint_every=4)

    def kill(agent, _):
        if agent.num_timesteps == 320:
            raise KeyboardInterrupt

    whole = learn("whole")
    with pytest.raises(KeyboardInterrupt):
        learn("parts", kill)
    parts = learn("parts")
    assert whole.num_timesteps == 512
    assert_same(whole, parts)
    assert whole.report.history == parts.report.history
    assert all(learner.num_updates >= 1 for learner in whole.learners[3:])
    with pytest.raises(CheckpointError, match="total_timesteps"):
        wma.WorldModelAgent(env_id, seed=4, config=config).learn(
            600, checkpoints=tmp_path / "whole", checkpoint_every=4
        )


def test_a_run_with_checkpoints_is_extended_by_a_second_call(small, tmp_path):
    def agent():
        return wma.WorldModelAgent("test/SmallLake-v0", seed=4)

    agent().learn(64, checkpoints=tmp_path, checkpoint_every=1)
    with pytest.raises(CheckpointError, match="call learn again on the same agent"):
        agent().learn(96, checkpoints=tmp_path, checkpoint_every=1)
    longer = agent().learn(64, checkpoints=tmp_path, checkpoint_every=1)
    # The second call is another run, which the folder of the first would end at once.
    with pytest.raises(CheckpointError, match="a folder of its own"):
        longer.learn(64, checkpoints=tmp_path, checkpoint_every=1)
    assert longer.learn(32, checkpoints=tmp_path / "more").num_timesteps == 96


@pytest.mark.parametrize("name", ["my/Room-v0", "my/NamedRoom-v0"])
def test_an_id_may_name_the_module_that_registers_it(name, small):
    agent = wma.WorldModelAgent(f"tests.support.room:{name}", seed=0).learn(32)
    assert agent.evaluate(2).lengths.tolist() == [8, 8]


def test_checkpoints_of_another_environment_are_refused(small, tmp_path):
    def learn(env_id):
        wma.WorldModelAgent(env_id, seed=4).learn(64, checkpoints=tmp_path, checkpoint_every=1)

    learn("test/SmallLake-v0")
    with pytest.raises(CheckpointError, match="test/SmallLake-v0"):
        learn("FrozenLake-v1")


def test_the_same_seed_learns_bitwise_the_same(small):
    agents = [wma.WorldModelAgent("CartPole-v1", seed=seed).learn(200) for seed in (3, 3, 4)]
    assert_same(*agents[:2])
    memory, other = (agents[number].learners[3].model.flat for number in (0, 2))
    assert not torch.equal(memory, other)


# --- errors


@pytest.mark.parametrize(
    ("fault", "error", "match", "num_steps"),
    [
        ("nan reward", NonFiniteError, "a reward is nan after step 49", 49),
        ("nan observation", NonFiniteError, "an observation is not finite after step 49", 49),
        # The next episode begins within the step that ended the one before.
        ("nan start", NonFiniteError, "an observation is not finite after step 49", 49),
        ("shape", SpaceError, "expected an array of shape", 49),
    ],
)
@pytest.mark.parametrize("num_envs", [1, 2])
def test_the_first_offending_step_is_told_and_learning_goes_on(
    fault, error, match, num_steps, num_envs, small
):
    env = Sampled(NUMBERS, TWO, fault=fault)
    if num_envs == 2:
        # The faulty row is the second, and steps are counted over both.
        makers = [lambda: Sampled(NUMBERS, TWO), lambda: env]
        match = match.replace("49", "98")
    given = env if num_envs == 1 else SyncVectorEnv(makers, autoreset_mode=AutoresetMode.SAME_STEP)
    agent = wma.WorldModelAgent(given, seed=1)
    with pytest.raises(error, match=match):
        agent.learn(300)
    assert agent.num_timesteps == num_steps * num_envs
    agent.learn(300)
    assert agent.num_timesteps == num_steps * num_envs + 300
    for learner in agent.learners:
        tensors, _ = pack_state(learner.state_dict())
        assert all(bool(values.isfinite().all()) for values in tensors.values())


def test_a_first_observation_that_is_not_finite():
    agent = wma.WorldModelAgent(Sampled(NUMBERS, TWO, fault="nan start", at_step=0))
    with pytest.raises(NonFiniteError, match="after step 0"):
        agent.learn(300)
    assert agent.num_timesteps == 0


def test_what_cannot_be_served_is_refused_at_once():
    with pytest.raises(SpaceError, match="Text"):
        wma.WorldModelAgent(Sampled(spaces.Text(5), TWO))
    with pytest.raises(SpaceError, match="Sequence"):
        wma.WorldModelAgent(Sampled(NUMBERS, spaces.Sequence(TWO)))
    with pytest.raises(ConfigError, match="env is an id"):
        wma.WorldModelAgent(3)
    with pytest.raises(gym.error.Error):
        wma.WorldModelAgent("Nothing-v0")


def test_budgets_that_are_too_small():
    agent = wma.WorldModelAgent(vector(Chain, 8))
    for steps in (0, -5, 1.5):
        with pytest.raises(ConfigError, match=r"total_timesteps|num_envs"):
            agent.learn(steps)
    with pytest.raises(ConfigError, match="less than one step of 8 environments"):
        agent.learn(7)
    with pytest.raises(NotFittedError, match="call learn first"):
        agent.predict(0)
    assert agent.learn(8).num_timesteps == 8


@pytest.mark.parametrize("mode", [AutoresetMode.NEXT_STEP, AutoresetMode.DISABLED])
def test_vector_environments_of_another_mode(mode):
    agent = wma.WorldModelAgent(vector(Chain, 2, mode))
    with pytest.raises(ConfigError, match="SAME_STEP"):
        agent.learn(100)


def test_a_vector_environment_of_another_width(small, tmp_path):
    agent = wma.WorldModelAgent(vector(Chain, 2), seed=1).learn(100)
    again = wma.load(agent.save(tmp_path / "agent"), env=vector(Chain, 3))
    with pytest.raises(ConfigError, match="learned in 2 environments side by side"):
        again.learn(100)


def test_what_is_asked_too_early_or_of_something_else(tmp_path):
    agent = wma.WorldModelAgent("CartPole-v1")
    for ask in (
        lambda: agent.predict(np.zeros(4)),
        agent.evaluate,
        lambda: agent.save(tmp_path / "a"),
        lambda: agent.scorecard(tmp_path),
    ):
        with pytest.raises(NotFittedError, match="has not learned yet"):
            ask()
    agent.learn(64)
    batch = np.zeros((3, 4), np.float32)
    _, state = agent.predict(batch)
    with pytest.raises(SpaceError, match=r"got shape \(5,\)"):
        agent.predict(np.zeros(5))
    with pytest.raises(SpaceError, match="not a finite number"):
        agent.predict(np.full(4, np.nan, np.float32))
    with pytest.raises(SpaceError, match="2 episodes, but there are 3 observations"):
        agent.predict(batch, state, np.zeros(2, np.bool_))


# --- the scorecard


def test_a_scorecard_of_what_it_saw(tmp_path):
    agent = wma.WorldModelAgent("wm/PermPuzzle-v0", seed=1).learn(200)
    card = agent.scorecard(tmp_path, num_steps=300)
    content = json.loads(card.json_path.read_text(encoding="utf-8"))
    assert content["title"] == "wm/PermPuzzle-v0, TokenModel, 300 steps"
    assert content["summary"]["error_h1"] < content["summary"]["persistence_h1"]
    assert "PermPuzzle" in card.page_path.read_text(encoding="utf-8")
    assert agent.num_timesteps == 200
    with pytest.raises(ConfigError, match="num_steps is at least 2"):
        agent.scorecard(tmp_path, num_steps=1)
    agent = wma.WorldModelAgent(vector(Chain, 2)).learn(20)
    with pytest.raises(ConfigError, match="single environment"):
        agent.scorecard(tmp_path)


@pytest.mark.parametrize("learner", [SearchLearnerConfig(), TableConfig(trial_steps=40)])
def test_ways_of_acting_none_of_which_can_act_here(learner):
    config = wma.WorldModelAgentConfig(race=race.RaceConfig(learners=(learner,)))
    agent = wma.WorldModelAgent("CartPole-v1", 0, config)
    with pytest.raises(ConfigError, match=r"no way of acting can act here .*ReplayValuesConfig"):
        agent.learn(100)
