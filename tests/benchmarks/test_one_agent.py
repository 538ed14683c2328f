"""The table of one agent: adapters, budgets, resumption, seeds, scores and the report."""

import json
import warnings
from dataclasses import replace

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.utils.env_checker import check_env

import wm_agents as wma
from benchmarks import one_agent
from benchmarks.one_agent_tasks import arms, bsuite_suite, scale, summary, table
from benchmarks.one_agent_tasks.adapters import BudgetSpent, CountedEnv, FlatObservation
from benchmarks.one_agent_tasks.table import Reference, Task, Threshold
from wm_agents.errors import ConfigError
from wm_agents.evaluation.episodes import RandomAgent

TASKS = table.tasks()


@pytest.fixture
def bsuite():
    """The packages that bsuite's analysis needs; pandas and plotnine warn of each other."""
    for module in bsuite_suite.NEEDS:
        pytest.importorskip(module)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@pytest.fixture
def popgym():
    return pytest.importorskip("popgym")


class StandIn:
    """The methods of `wma.WorldModelAgent`, with random actions."""

    def __init__(self, env, seed=0, config=None):
        self.env = env
        self.decisions = {"memory": "none, as nothing was measured"}
        self._agent = RandomAgent(env.action_space, seed)

    def learn(self, total_timesteps, progress_bar=False, callback=None, checkpoints=None):
        self.env.reset(seed=7)
        for _ in range(total_timesteps):
            _, _, terminated, truncated, _ = self.env.step(self.env.action_space.sample())
            if terminated or truncated:
                self.env.reset()
        return self

    def predict(self, obs, state=None, episode_start=None, deterministic=False):
        return self._agent.predict(obs, state, episode_start, deterministic)


@pytest.fixture
def stand_in(monkeypatch):
    monkeypatch.setattr(wma, "WorldModelAgent", StandIn, raising=False)


def run(folder, **options):
    """Runs with few evaluation episodes; gives the rows and the number of failures."""
    config = one_agent.Config(output_dir=folder, episodes=5, **{"seeds": (3,), **options})
    failed = one_agent.main(config)
    return one_agent.read_rows(folder), failed


def test_every_task_has_a_scale_a_budget_and_sources():
    assert len(TASKS) == 10 + 6 + 11 + 105 + 6
    for task in TASKS.values():
        assert task.budget >= 10_000
        assert task.best_known.source
        assert task.best_known.score > task.random_score
        assert task.normalise(task.random_score) == 0.0
        assert task.normalise(task.best_known.score) == pytest.approx(1.0)
        if task.threshold is not None:
            assert task.random_score < task.threshold_score
    held_out = {task.suite for task in TASKS.values() if task.is_held_out}
    assert held_out == {"bsuite", "popgym", "gymnasium"}


def test_thresholds_in_the_units_of_the_task():
    task = TASKS["wm/PermPuzzle-v0"]
    assert task.threshold_score == pytest.approx(0.05 * task.random_score + 0.95)
    task = TASKS["wm/Driving-v0:oval"]
    assert task.threshold_score == pytest.approx(0.95 * task.best_known.score)
    assert TASKS["Taxi-v4"].threshold_score == 7


def test_the_best_of_tables_and_cards_is_exact():
    assert scale.table_optimum("CliffWalking-v1", 200) == -13.0
    assert scale.table_optimum("FrozenLake-v1", 1) == 0.0
    # Four moves to the passenger's place are the mean of Taxi's well-known optimum of 7.93.
    assert scale.table_optimum("Taxi-v4", 200) == pytest.approx(7.93, abs=0.01)
    dealer = scale._dealer(10)
    assert sum(dealer.values()) == pytest.approx(1.0)
    assert dealer[21, True] == pytest.approx(1 / 13)
    # A hand of 20 against a six is held: lost only to a dealer's 21.
    assert scale._hand_value(20, False, 6) > 0.6
    assert scale.blackjack_optimum() == pytest.approx(-0.0431, abs=1e-3)


@pytest.mark.parametrize("name", ["wm/PatternEcho-v0", "Blackjack-v1"])
def test_the_committed_zero_of_the_scale_is_what_random_play_scores(name):
    measured = scale.random_play(replace(TASKS[name], episodes=100))
    committed = table._measured()["random"][name]
    error = np.hypot(measured["standard_error"], committed["standard_error"])
    assert abs(measured["score"] - committed["score"]) < 5 * error


def test_a_budget_is_never_exceeded_and_seeds_are_noted():
    env = CountedEnv(gym.make("CartPole-v1"), limit=3)
    env.reset(seed=11)
    for _ in range(3):
        env.step(0)
    with pytest.raises(BudgetSpent, match="all of 3 steps"):
        env.step(0)
    assert (env.num_steps, env.seeds) == (3, {11})
    assert gym.make(env.spec).spec.id == "CartPole-v1"


def test_tuples_become_rows():
    env = FlatObservation(gym.make("Blackjack-v1"))
    observation, _ = env.reset(seed=0)
    assert observation.shape == (32 + 11 + 2,)
    assert observation.sum() == 3.0
    assert env.observation_space.contains(observation)


@pytest.mark.parametrize("arm", ["ppo", "dqn", "recurrent_ppo"])
def test_library_arms_take_exactly_the_budget(arm):
    if arm == "recurrent_ppo":
        pytest.importorskip("sb3_contrib")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        learned = arms.learn(arm, gym.make("Blackjack-v1"), seed=1, budget=150)
    assert learned.real_steps == 150
    assert learned.cpu_seconds > 0.0
    assert learned.decisions["algorithm"].lower() == arm.replace("_", "")


def test_arms_that_do_not_take_the_actions_say_so():
    with pytest.raises(arms.NotApplicable, match="sac does not take"):
        arms.learn("sac", gym.make("CartPole-v1"), 0, 10)
    with pytest.raises(arms.NotApplicable, match="dqn does not take"):
        arms.learn("dqn", gym.make("Pendulum-v1"), 0, 10)


@pytest.mark.parametrize("arm", arms.OURS)
def test_the_agent_and_what_it_is_without_a_part_learn_everywhere(arm):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        learned = arms.learn(arm, gym.make("FrozenLake-v1"), seed=1, budget=60)
    assert learned.real_steps == 60
    parts = set(learned.decisions) - {"acts"}
    imagined = {"imagined policy", "imagined frames"}
    missing = {
        "without_imagination": imagined,
        "without_prediction": imagined,
        "without_search": {"search"},
        "without_planning": {"search", "table"},
    }
    everything = imagined | {"table", "search", "memory policy", "replay values"}
    assert parts == everything - missing.get(arm, set())


def test_rows_say_what_was_measured(tmp_path, stand_in):
    tasks = ("wm/PatternEcho-v0", "CartPole-v1")
    rows, failed = run(
        tmp_path, tasks=tasks, arms=("world_model_agent", "ppo", "random"), steps_scale=0.002
    )
    assert failed == 0
    assert {(row["task"], row["arm"]) for row in rows} == {
        (task, arm) for task in tasks for arm in ("world_model_agent", "ppo", "random")
    }
    for row in rows:
        task = TASKS[row["task"]]
        assert row["budget"] == round(0.002 * task.budget)
        assert row["real_steps"] == (0 if row["arm"] == "random" else row["budget"])
        assert row["evaluation_episodes"] == 5
        assert row["normalised_score"] == pytest.approx(task.normalise(row["score"]))
        assert row["met"] is (row["score"] >= task.threshold_score)
        assert row["score"] == row["success_rate" if row["success_rate"] is not None else "score"]
    ours = [row for row in rows if row["arm"] == "world_model_agent"]
    assert all(row["decisions"] == {"memory": "none, as nothing was measured"} for row in ours)


def test_what_was_killed_goes_on_where_it_was(tmp_path, monkeypatch):
    learn, calls = arms.learn, []

    def dies_in_the_second(arm, env, seed, budget):
        calls.append(seed)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return learn(arm, env, seed, budget)

    monkeypatch.setattr(one_agent, "learn", dies_in_the_second)
    options = {"tasks": ("CartPole-v1", "FrozenLake-v1"), "arms": ("random",), "seeds": (1, 2)}
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, **options)
    before = one_agent.read_rows(tmp_path)
    assert [row["task"] for row in before] == ["CartPole-v1"]
    # A kill in the middle of a line leaves half of it.
    path = tmp_path / "rows.jsonl"
    with path.open("a", encoding="utf-8") as file:
        file.write('{"task": "FrozenLake-v1", "arm": "ran')
    rows, failed = run(tmp_path, **options)
    assert failed == 0
    assert rows[0] == before[0]
    assert [(row["task"], row["seed"]) for row in rows] == [
        ("CartPole-v1", 1),
        ("FrozenLake-v1", 1),
        ("CartPole-v1", 2),
        ("FrozenLake-v1", 2),
    ]
    assert len(calls) == 5
    run(tmp_path, **options)
    assert len(calls) == 5


def test_a_failure_costs_no_other_row(tmp_path, monkeypatch, capsys):
    learn = arms.learn

    def fails_on_cart_pole(arm, env, seed, budget):
        if env.spec.id == "CartPole-v1":
            raise ValueError("broken")
        return learn(arm, env, seed, budget)

    monkeypatch.setattr(one_agent, "learn", fails_on_cart_pole)
    rows, failed = run(tmp_path, tasks=("CartPole-v1", "FrozenLake-v1"), arms=("random",))
    assert failed == 1
    assert [row["task"] for row in rows] == ["FrozenLake-v1"]
    assert "CartPole-v1, random, seed 3: failed" in capsys.readouterr().out


def test_missing_packages_are_one_line(tmp_path, monkeypatch, capsys):
    absent = {
        name: replace(TASKS["CartPole-v1"], name=name, needs=("no_such_module",))
        for name in ("a", "b")
    }
    monkeypatch.setattr(one_agent, "tasks", lambda: absent)
    assert run(tmp_path, arms=("random",)) == ([], 0)
    lines = capsys.readouterr().out.splitlines()
    assert lines == ["a and its like: skipped, not installed: no_such_module"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tasks": ("NoSuchTask-v0",)}, "no task matches 'NoSuchTask-v0'"),
        ({"arms": ("a2c",)}, "no arms"),
        ({"seeds": (1_000_000,)}, "seed 1000000"),
        ({"steps_scale": 0.0}, "steps_scale"),
    ],
)
def test_wrong_options_are_refused_before_anything_runs(tmp_path, options, message):
    with pytest.raises(ConfigError, match=message):
        run(tmp_path, **options)
    assert not (tmp_path / "rows.jsonl").exists()


def test_evaluation_never_uses_a_seed_of_training(monkeypatch):
    """Neither those of the run itself nor those of any other."""
    seen = []

    class Noting(gym.Wrapper):
        def reset(self, *, seed=None, options=None):
            seen.append(seed)
            return super().reset(seed=seed, options=options)

    task = replace(TASKS["CartPole-v1"], make=lambda: Noting(gym.make("CartPole-v1")))
    learned = arms.learn("dqn", task.make(), seed=3, budget=200)
    training = {seed for seed in seen if seed is not None}
    assert 3 in training
    assert training >= learned.seeds
    seen.clear()
    one_agent.play(task, "dqn", learned, seed=3, episodes=30)
    evaluation = {seed for seed in seen if seed is not None}
    assert len(evaluation) == 40  # two waves of twenty
    assert not training & evaluation
    assert min(evaluation) >= one_agent.EVALUATION_SEED > one_agent.MAX_SEED
    following = one_agent.evaluation_seed(4)
    assert max(evaluation) < following
    cheat = replace(learned, seeds=frozenset({one_agent.evaluation_seed(3)}))
    with pytest.raises(RuntimeError, match="learned with the evaluation seeds"):
        one_agent.play(task, "dqn", cheat, seed=3, episodes=5)


@pytest.mark.usefixtures("bsuite")
def test_the_settings_of_bsuite_are_those_that_are_installed():
    from bsuite import sweep

    for name, (num_settings, episodes, longest) in bsuite_suite.EXPERIMENTS.items():
        ids = [one for one in sweep.SWEEP if one.split("/")[0] == name]
        assert len(ids) == num_settings
        assert sweep.EPISODES[ids[0]] == episodes
        for index, bsuite_id in enumerate(ids):
            keywords = sweep.SETTINGS[bsuite_id]
            if name.startswith("deep_sea"):
                assert longest(index) == keywords["size"]
            if name == "memory_len":
                assert longest(index) == keywords["memory_length"] + 1
            if name == "umbrella_length":
                assert longest(index) == keywords["chain_length"]


@pytest.mark.usefixtures("bsuite")
@pytest.mark.parametrize("experiment", [*bsuite_suite.EXPERIMENTS])
def test_bsuite_in_the_form_of_gymnasium(experiment):
    env = bsuite_suite.make(f"{experiment}/4")
    env.action_space.seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of shapes that are no pictures
        check_env(env, skip_render_check=True)
    longest = bsuite_suite.EXPERIMENTS[experiment][2](4)
    env.reset(seed=0)
    length, lengths = 0, []
    for _ in range(1500):
        observation, reward, terminated, truncated, _ = env.step(env.action_space.sample())
        assert env.observation_space.contains(observation)
        assert np.isfinite(reward)
        length += 1
        if terminated or truncated:
            lengths.append(length)
            length = 0
            env.reset()
    assert lengths
    assert max(lengths) <= longest


@pytest.mark.usefixtures("bsuite")
def test_catch_ends_with_a_termination_and_keeps_its_boards():
    env = bsuite_suite.make("catch/0")
    first, _ = env.reset(seed=5)
    assert first.shape == (10, 5)
    assert first.sum() == 2.0
    copy = first.copy()
    for step in range(9):
        _, reward, terminated, truncated, _ = env.step(1)
        assert not truncated
        assert terminated == (step == 8)
    np.testing.assert_array_equal(first, copy)
    is_caught = copy[0, 2] == 1.0  # the paddle stood in the middle
    assert reward == (1.0 if is_caught else -1.0)
    again, _ = env.reset(seed=5)
    np.testing.assert_array_equal(again, copy)


@pytest.mark.usefixtures("bsuite")
def test_the_deep_sea_is_scored_by_what_was_tried(tmp_path):
    """The way to the right, which the mapping of actions hides, is worth 1; random play is worth 0."""
    solved = tmp_path / "solved"
    env = bsuite_suite.make_logged("deep_sea/0", 0, solved)
    mapping = env.dm_env.raw_env._action_mapping
    assert env.observation_space.shape == (10, 10)
    for _ in range(30):
        observation, _ = env.reset()
        total, is_over = 0.0, False
        while not is_over:
            row, column = np.argwhere(observation)[0]
            observation, reward, is_over, _, _ = env.step(int(mapping[row, column]))
            total += reward
        assert total == pytest.approx(0.99)
    score, mean_return, episodes = bsuite_suite.score_one("deep_sea/0", solved)
    assert (score, episodes) == (1.0, 30)
    assert mean_return == pytest.approx(0.99)
    rows, failed = run(
        tmp_path, tasks=("bsuite/deep_sea/0",), arms=("random",), seeds=(0,), steps_scale=0.01
    )
    assert failed == 0
    assert rows[0]["score"] == rows[0]["normalised_score"] == 0.0
    assert rows[0]["real_steps"] == rows[0]["budget"] == 1_000
    assert rows[0]["evaluation_episodes"] == 100
    assert bsuite_suite.score_all(solved)["experiments"] == {"deep_sea": 1.0}
    assert bsuite_suite.score_all(solved)["categories"] == {"exploration": 1.0}


@pytest.mark.usefixtures("bsuite")
def test_too_few_steps_for_an_episode_have_no_score(tmp_path):
    rows, failed = run(
        tmp_path, tasks=("bsuite/deep_sea/0",), arms=("random",), steps_scale=0.00005
    )
    assert (rows, failed) == ([], 1)


@pytest.mark.usefixtures("bsuite")
def test_settings_that_were_cut_earlier_count_as_well(tmp_path):
    """Cartpole's settings end after different numbers of episodes; the mean is over all of them."""
    for index, steps in ((0, 3_000), (4, 400)):
        env = bsuite_suite.make_logged(f"cartpole/{index}", index, tmp_path)
        arms.learn("random", env, seed=index, budget=steps)
    parts = [bsuite_suite.score_one(f"cartpole/{index}", tmp_path)[0] for index in (0, 4)]
    assert parts[0] != parts[1]
    everything = bsuite_suite.score_all(tmp_path)["experiments"]["cartpole"]
    assert everything == pytest.approx(np.mean(parts))


@pytest.mark.usefixtures("popgym")
@pytest.mark.parametrize("name", [name for name in TASKS if name.startswith("popgym")])
def test_popgym_keeps_the_contract(name):
    env = TASKS[name].make()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of infos that share an array
        check_env(env, skip_render_check=True)
    env.reset(seed=0)
    _, reward, _, _, _ = env.step(env.action_space.sample())
    assert type(reward) is float
    assert isinstance(env.action_space, spaces.Discrete)


@pytest.mark.usefixtures("popgym")
def test_repeating_the_card_of_before_is_worth_one():
    env = TASKS["popgym-RepeatPreviousEasy-v0"].make()
    observation, _ = env.reset(seed=0)
    cards, total, is_over = [observation], 0.0, False
    while not is_over:
        # k = 4: the suit of three cards before the present one
        action = cards[-4] if len(cards) >= 4 else 0
        observation, reward, terminated, truncated, _ = env.step(action)
        cards.append(observation)
        total += reward
        is_over = terminated or truncated
    assert total == pytest.approx(1.0)


@pytest.mark.usefixtures("popgym")
def test_rows_of_popgym_with_every_kind_of_observation(tmp_path, stand_in):
    rows, failed = run(
        tmp_path,
        tasks=("popgym-CountRecallEasy-v0", "popgym-AutoencodeEasy-v0"),
        arms=("world_model_agent", "dqn", "random"),
        steps_scale=0.0001,
    )
    assert failed == 0
    assert len(rows) == 6
    assert all(-1.0 <= row["score"] <= 1.0 for row in rows)


def test_committed_rows_are_gone_on_from(tmp_path, monkeypatch):
    kept = tmp_path / "kept"
    monkeypatch.setattr(one_agent, "COMMITTED_ROWS", kept)
    options = {"tasks": ("FrozenLake-v1",), "arms": ("random",), "seeds": (1, 2)}
    rows, _ = run(tmp_path / "first", **options)
    one_agent.keep_rows(rows, kept)
    one_agent.keep_rows([rows[0] | {"score": 0.5}], kept)
    assert [row["score"] for row in one_agent.read_rows(kept)] == [0.5, rows[1]["score"]]
    again, _ = run(tmp_path / "second", **options, from_committed=True)
    assert again == one_agent.read_rows(kept)


def rows_of(task, arm, scores, **others):
    return [
        {
            "task": task,
            "arm": arm,
            "seed": seed,
            "steps_scale": 1.0,
            "score": score,
            "mean_return": score,
            "success_rate": None,
            "cpu_seconds": 1.0,
            "decisions_per_second": 2000.0,
            "real_steps": 100,
            **others,
        }
        for seed, score in enumerate(scores)
    ]


def test_the_report_says_what_is_missed(tmp_path, monkeypatch):
    monkeypatch.setattr("benchmarks.report.RESULTS", tmp_path)
    monkeypatch.setattr(summary, "RESULTS", tmp_path)
    monkeypatch.setattr(
        summary, "write_result", lambda name, figures, **_: json.dumps(figures, allow_nan=False)
    )
    make = TASKS["CartPole-v1"].make
    best = Reference(500, "test")
    tasks = {
        "CartPole-v1": Task("CartPole-v1", make, 100, best=best, threshold=Threshold(500)),
        "Acrobot-v1": Task(
            "Acrobot-v1", make, 50, best=Reference(-60, "test"), threshold=Threshold(-90)
        ),
        "Taxi-v4": Task("Taxi-v4", make, 100, best=Reference(8, "test"), is_held_out=True),
    }
    rows = [
        *rows_of("CartPole-v1", "world_model_agent", [480.0, 500.0, 500.0, 500.0, 100.0]),
        *rows_of("CartPole-v1", "ppo", [200.0]),
        *rows_of("Acrobot-v1", "world_model_agent", [-80.0, -85.0]),
        *rows_of("Acrobot-v1", "without_prediction", [-497.87]),
        *rows_of("Taxi-v4", "random", [-770.0, -780.0]),
        *rows_of("Taxi-v4", "dqn", [0.0], steps_scale=0.1),
    ]
    figures = summary.collect(tmp_path, rows, tasks)
    cell = figures["tasks"]["CartPole-v1"]["world_model_agent"]
    assert cell["score"] == pytest.approx((480 + 500 + 500) / 3)
    assert cell["normalised_score_low"] <= cell["normalised_score"] <= cell["normalised_score_high"]
    assert figures["tasks"]["CartPole-v1"]["ppo"]["normalised_score_low"] is None
    assert list(figures["tasks"]["Taxi-v4"]) == ["random"]
    assert figures["missed"] == [
        "CartPole-v1: 493.3, asked for 500",
        "Acrobot-v1: took 100 of 50 steps",
    ]
    assert figures["not_measured"] == ["Taxi-v4", "bsuite"]
    labels, values = summary.heat_map_values(figures, tasks)
    assert labels == ["CartPole-v1", "Acrobot-v1", "Taxi-v4 *"]
    assert values.shape == (3, 6)
    assert np.isnan(values[2, 0])
    assert (tmp_path / "one_agent.png").stat().st_size > 3_000
    labels, values = summary.ablation_values(figures)
    assert labels == ["Acrobot-v1"]
    assert values[0, :4].tolist() == pytest.approx(
        [tasks["Acrobot-v1"].normalise(-82.5), np.nan, np.nan, 0.0], abs=1e-3, nan_ok=True
    )
    assert (tmp_path / "one_agent_ablation.png").stat().st_size > 3_000


def test_what_is_missed_in_bsuite():
    cell = {"categories": {"memory": 0.5, "basic": 0.9}}
    lines = summary._missed_in_bsuite(
        {"mean": 0.7, **cell}, {"dqn": {"mean": 0.75}, "recurrent_ppo": {"mean": 0.3}}
    )
    assert lines == [
        "bsuite: mean 0.700, asked for 0.8",
        "bsuite, memory: 0.500, asked for 0.6",
        "bsuite: mean 0.700, dqn has 0.750",
    ]


def test_a_result_needs_rows(tmp_path):
    with pytest.raises(ConfigError, match="no rows"):
        one_agent.main(one_agent.Config(collect=True, output_dir=tmp_path))
