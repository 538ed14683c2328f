"""The rules by hand: rows are set up field by field and stepped through the kernels."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wm_envs.data.options import UNLIMITED
from wm_envs.kernel import empty_rows, seed_rows
from wm_envs.symbolic import dynamics
from wm_envs.symbolic.memory import DelayedMatchEnv, RuleRecallEnv, TMazeEnv
from wm_envs.symbolic.planning import LightsOutEnv, PermPuzzleEnv, TokenAutomatonEnv
from wm_envs.symbolic.reactive import ConditionalEnv, NavigationEnv, PatternEchoEnv, SequenceNextEnv
from wm_envs.symbolic.structure import pack, unpack

ALL = [
    PatternEchoEnv,
    SequenceNextEnv,
    ConditionalEnv,
    NavigationEnv,
    DelayedMatchEnv,
    RuleRecallEnv,
    TMazeEnv,
]
ALL += [PermPuzzleEnv, LightsOutEnv, TokenAutomatonEnv]


class Row:
    """One row of a task, with its fields set by hand."""

    def __init__(self, rules, seed=0, **fields):
        self.rules = rules
        self.states = rules.new_states(1)
        seed_rows(self.states, [seed])
        rules.reset_rows(self.states, rules.parameters, np.ones(1, bool))
        for name, value in fields.items():
            self.states[name] = value
        self.observations = np.full((1, len(rules.observation_fields)), 9, np.float32)
        self.outcomes = empty_rows(1, rules.outcome_dtype)

    def observe(self):
        self.rules.observe_rows(self.states, self.rules.parameters, self.observations)
        return self.shown()

    def step(self, action, is_autoreset=False):
        actions = np.array([action])
        self.rules.step_rows(
            self.states,
            self.rules.parameters,
            actions,
            self.observations,
            self.outcomes,
            is_autoreset,
        )
        return float(self.outcomes["goal"][0])

    def shown(self):
        """Names of the observation fields that are 1; every other is 0."""
        assert set(np.unique(self.observations)) <= {0.0, 1.0}
        return [self.rules.observation_fields[i].name for i in np.flatnonzero(self.observations[0])]

    def __getitem__(self, name):
        return self.states[name][0].item()


# Packed digits and random draws


@given(st.lists(st.integers(0, 15), min_size=1, max_size=15), st.data())
@settings(max_examples=50, deadline=None)
def test_packed_digits_are_read_and_replaced(digits, data):
    index = data.draw(st.integers(0, len(digits) - 1))
    value = data.draw(st.integers(0, 15))
    word = pack(digits)
    assert (
        [dynamics.digit(word, i) for i in range(len(digits))] == digits == unpack(word, len(digits))
    )
    replaced = [*digits[:index], value, *digits[index + 1 :]]
    assert dynamics.with_digit(word, index, value) == pack(replaced)


def row_of(seed):
    states = empty_rows(1, dynamics.STATE)
    seed_rows(states, [seed])
    return states


@given(st.integers(0, 2**63), st.integers(1, 15))
@settings(max_examples=50, deadline=None)
def test_an_arrangement_is_a_permutation(seed, num_digits):
    word = dynamics.random_arrangement(row_of(seed)[0], num_digits)
    assert sorted(unpack(word, num_digits)) == list(range(num_digits))
    assert word < 16**num_digits


def test_arrangements_are_uniform():
    row = row_of(3)[0]
    words = [dynamics.random_arrangement(row, 3) for _ in range(6000)]
    counts = np.unique(words, return_counts=True)[1]
    assert len(counts) == 6
    assert (
        (counts - 1000) ** 2 / 1000
    ).sum() < 20.5  # chi squared, 5 degrees of freedom, p = 0.001


@given(st.integers(0, 2**63), st.integers(1, 15), st.integers(1, 15))
@settings(max_examples=30, deadline=None)
def test_random_digits_stay_below_their_bound(seed, num_digits, bound):
    digits = unpack(dynamics.random_digits(row_of(seed)[0], num_digits, bound), num_digits)
    assert all(0 <= value < bound for value in digits)


@given(st.integers(0, 2**63), st.integers(1, 63))
@settings(max_examples=50, deadline=None)
def test_a_random_member_belongs_to_the_set(seed, members):
    assert members >> dynamics.random_member(row_of(seed)[0], members, 6) & 1


def test_random_members_are_uniform():
    row = row_of(1)[0]
    drawn = [dynamics.random_member(row, 0b101100, 6) for _ in range(3000)]
    values, counts = np.unique(drawn, return_counts=True)
    assert values.tolist() == [2, 3, 5]
    assert np.abs(counts - 1000).max() < 100


# What holds for all tasks


@pytest.mark.parametrize("env_class", ALL)
def test_an_episode_ends_on_its_time_limit_only(env_class):
    row = Row(env_class.rules())
    limit = row.rules.time_limit
    for step in range(limit):
        assert not row["ended"]
        row.step(0)
        assert row["time"] == step + 1
        assert row.outcomes["truncated"][0] == (step + 1 == limit)
        assert not row.outcomes["terminated"][0]
    before = row.states.copy()
    assert row.step(0) == 0.0
    assert row.states == before  # holds still
    row.step(0, is_autoreset=True)
    assert (row["time"], row["ended"], row["is_success"], row["action"]) == (
        0,
        False,
        False,
        dynamics.NO_ACTION,
    )


@pytest.mark.parametrize("env_class", ALL)
@given(seed=st.integers(0, 2**63), level=st.integers(1, 2), data=st.data())
@settings(max_examples=15, deadline=None)
def test_observations_are_a_pure_function_of_the_state(env_class, seed, level, data):
    row = Row(env_class.rules(level=level), seed)
    for _ in range(min(row.rules.time_limit, 30)):
        row.step(data.draw(st.integers(0, int(row.rules.action_space.n) - 1)))
        stepped = row.observations.copy()
        before = row.states.copy()
        row.observe()
        np.testing.assert_array_equal(row.observations, stepped)
        assert row.states == before
        assert row.rules.observation_space.contains(stepped[0])


@pytest.mark.parametrize("env_class", ALL)
def test_the_reward_weighs_the_goal(env_class):
    row = Row(env_class.rules(reward_weights={"goal": 0.0}), seed=1)
    for _ in range(row.rules.time_limit):
        row.step(0)
        assert row.outcomes["reward"][0] == 0.0


# Reactive tasks


def test_pattern_echo_rewards_the_shown_symbol():
    row = Row(PatternEchoEnv.rules(time_limit=9), current=5)
    assert row.observe() == ["symbol_5"]
    assert row.step(5) == 1.0
    assert row["is_success"]
    wrong = (row["current"] + 1) % 8
    assert row.step(wrong) == 0.0
    assert not row["is_success"]  # the last answer counts


def test_pattern_echo_predicts_to_the_floor():
    rules = PatternEchoEnv.rules(time_limit=UNLIMITED)
    states = rules.new_states(4000)
    seed_rows(states, list(range(4000)))
    rules.reset_rows(states, rules.parameters, np.ones(4000, bool))
    observations = np.zeros((4000, 8), np.float32)
    rules.observe_rows(states, rules.parameters, observations)
    assert ((observations - 1 / 8) ** 2).mean() == pytest.approx(1 / 8 * 7 / 8)
    assert observations.mean(axis=0) == pytest.approx(np.full(8, 1 / 8), abs=0.02)


def test_sequence_next_advances_whatever_the_action_and_wraps_around():
    rules = SequenceNextEnv.rules(time_limit=5)
    rules.parameters["mapping"] = pack([3, 0, 6, 2])
    row = Row(rules, current=1, mapping=pack([3, 0, 6, 2]))
    assert row.observe() == ["symbol_0"]
    assert row.step(6) == 1.0
    assert row.shown() == ["symbol_6"]
    assert row.step(7) == 0.0
    assert row.shown() == ["symbol_2"]
    assert row.step(3) == 1.0
    assert row.shown() == ["symbol_3"]


def test_sequence_next_keeps_its_sequence_unless_it_resamples():
    fixed = {Row(SequenceNextEnv.rules(), seed)["mapping"] for seed in range(20)}
    assert len(fixed) == 1
    drawn = [Row(SequenceNextEnv.rules(resample=True), seed)["mapping"] for seed in range(200)]
    assert len(set(drawn)) > 190
    assert all(len(set(unpack(word, 4))) == 4 for word in drawn)
    repeating = [
        Row(SequenceNextEnv.rules(resample=True, with_replacement=True), s)["mapping"]
        for s in range(200)
    ]
    assert any(len(set(unpack(word, 4))) < 4 for word in repeating)


def conditional_rule(level, base, special, shape, colour):
    """The docstring's three conditions, written once more."""
    answer = base[(shape + 1) % 5] if level >= 2 and colour in (4, 5, 6, 7) else base[shape]
    if colour == 0:
        answer += 8
    if level >= 3 and shape == special:
        answer += 8
    return answer % 16


@pytest.mark.parametrize("level", [1, 2, 3])
def test_conditional_follows_its_conditions(level):
    rules = ConditionalEnv.rules(level=level, time_limit=2)
    base, special = [7, 2, 0, 5, 3], 2
    rules.parameters["table"][0, :6] = [*base, special]
    for shape in range(5):
        for colour in range(8):
            answer = conditional_rule(level, base, special, shape, colour)
            row = Row(rules, current=shape, target=colour)
            assert row.observe() == [f"shape_{shape}", f"colour_{colour}"]
            assert row.step(answer) == 1.0
            row = Row(rules, current=shape, target=colour)
            assert row.step((answer + 1) % 16) == 0.0


def test_conditional_levels_differ_where_they_should():
    base, special = [7, 2, 0, 5, 3], 2
    answers = {
        level: [conditional_rule(level, base, special, s, c) for s in range(5) for c in range(8)]
        for level in (1, 2, 3)
    }
    assert (
        sum(a != b for a, b in zip(answers[1], answers[2], strict=True)) == 20
    )  # four cold colours, five shapes
    assert (
        sum(a != b for a, b in zip(answers[2], answers[3], strict=True)) == 8
    )  # the special shape


def test_navigation_moves_around_the_ring_and_pays_at_the_end_only():
    row = Row(NavigationEnv.rules(), current=1, target=6)
    assert row.observe() == ["position_1", "target_6", "phase_0"]
    assert row.step(0) == 0.0  # three back
    assert row.shown() == ["position_6", "target_6", "phase_1"]
    assert row.step(7) == 0.0  # four on
    assert row.shown() == ["position_2", "target_6", "phase_2"]
    assert row.step(7) == 1.0
    assert row.shown() == ["position_6", "target_6"]
    assert row["is_success"]


def test_navigation_stands_still_with_action_three():
    row = Row(NavigationEnv.rules(), current=4, target=4)
    assert [row.step(3) for _ in range(3)] == [0.0, 0.0, 1.0]


# Memory tasks


def test_delayed_match_asks_after_the_delay():
    row = Row(DelayedMatchEnv.rules(delay=2), target=4)
    assert row.observe() == ["symbol_4"]
    assert row.step(4) == 0.0
    assert row.shown() == []
    assert row.step(4) == 0.0
    assert row.shown() == ["phase"]
    assert row.step(4) == 1.0
    assert row.shown() == []
    assert row["ended"]


def test_delayed_match_by_default_has_two_steps():
    row = Row(DelayedMatchEnv.rules(), target=4)
    assert row.step(0) == 0.0
    assert row.shown() == ["phase"]
    assert row.step(5) == 0.0
    assert row["ended"]
    assert not row["is_success"]


def recall_row(**fields):
    rules = RuleRecallEnv.rules(num_demonstrations=2, num_queries=2)
    return Row(rules, mapping=pack([5, 3, 0, 1, 2, 4]), current=1, **fields)


def test_rule_recall_shows_each_response_one_step_later_and_none_to_answers():
    row = recall_row()
    assert row.observe() == ["cue_1"]
    row.step(0)
    assert row.shown()[1:] == ["response_3"]
    row.states["current"] = 2
    assert row.observe() == ["cue_2", "response_3"]
    row.step(0)
    assert row.shown()[1:] == ["response_0", "query"]
    assert row.shown()[0] in ("cue_1", "cue_2")
    row.states["current"] = 1
    assert row.step(3) == 0.0  # right, but one query is left
    assert row.shown()[1:] == ["query"]
    row.states["current"] = 2
    assert row.step(0) == 1.0
    assert row.shown() == []
    assert row["is_success"]
    assert row["num_right"] == 2


@pytest.mark.parametrize("wrong_query", [0, 1])
def test_rule_recall_pays_only_if_all_answers_are_right(wrong_query):
    row = recall_row()
    row.step(0)
    row.step(0)
    for query in range(2):
        right = unpack(row["mapping"], 6)[row["current"]]
        goal = row.step((right + (query == wrong_query)) % 6)
    assert goal == 0.0
    assert not row["is_success"]
    assert row["num_right"] == 1


def test_rule_recall_ignores_actions_in_demonstrations():
    one, other = recall_row(seed=5), recall_row(seed=5)
    for action in (0, 5):
        one.step(action)
        other.step(3)
        np.testing.assert_array_equal(one.observations, other.observations)
    assert one["num_right"] == other["num_right"] == 0


@given(seed=st.integers(0, 2**63), level=st.integers(1, 4))
@settings(max_examples=25, deadline=None)
def test_rule_recall_asks_for_demonstrated_cues_and_maps_one_to_one(seed, level):
    row = Row(RuleRecallEnv.rules(level=level), seed)
    size = RuleRecallEnv.LEVELS[level - 1]
    shown = set()
    for time in range(size.num_demonstrations + size.num_queries):
        if time < size.num_demonstrations:
            shown.add(row["current"])
        else:
            assert row["current"] in shown
            assert row["seen"] == sum(1 << cue for cue in shown)
        assert row["current"] < size.num_cues
        row.step(0)
    assert len(set(unpack(row["mapping"], size.num_cues))) == size.num_cues
    assert max(unpack(row["mapping"], size.num_symbols)) < size.num_symbols


def test_rule_recall_pads_its_observation_to_the_highest_level():
    rules = RuleRecallEnv.rules(num_demonstrations=2, num_queries=1, max_level_spaces=True)
    row = Row(rules, mapping=pack([5, 3, 0, 1, 2, 4]), current=1)
    row.step(7)
    row.states["current"] = 3
    assert row.observe() == ["cue_3", "response_3"]
    assert row.observations.shape == (1, 6 + 8 + 1)
    row.step(7)
    assert row.shown()[1:] == ["response_1", "query"]


def test_t_maze_shows_the_cue_once_and_asks_at_the_end():
    row = Row(TMazeEnv.rules(length=3), target=9, current=9)
    assert row.observe() == ["symbol_9", "is_cue"]
    assert row.step(9) == 0.0
    assert row.shown()[1:] == []
    assert row.step(9) == 0.0
    assert row.shown()[1:] == ["is_question"]
    assert row.step(9) == 1.0
    assert row.shown()[1:] == []
    assert row["ended"]


def test_t_maze_reveals_the_cue_after_the_answer():
    row = Row(TMazeEnv.rules(length=2, reveal=True), target=9, current=9)
    row.step(0)
    assert row.shown()[1:] == ["is_question"]
    assert row.step(3) == 0.0
    assert row.shown() == ["symbol_9", "is_cue"]


def test_t_maze_distractors_do_not_depend_on_the_cue():
    rules = TMazeEnv.rules()
    states = rules.new_states(4000)
    seed_rows(states, list(range(4000)))
    rules.reset_rows(states, rules.parameters, np.ones(4000, bool))
    cues = states["target"].copy()
    observations, outcomes = np.zeros((4000, 18), np.float32), empty_rows(4000, rules.outcome_dtype)
    rules.step_rows(
        states, rules.parameters, np.zeros(4000, np.int64), observations, outcomes, False
    )
    assert (observations[:, :16].argmax(axis=1) == cues).mean() == pytest.approx(1 / 16, abs=0.016)
    assert observations[:, :16].mean(axis=0) == pytest.approx(np.full(16, 1 / 16), abs=0.016)


# Planning tasks


def test_perm_puzzle_takes_each_token_from_the_place_that_the_permutation_names():
    rules = PermPuzzleEnv.rules()
    rules.parameters["table"][0, 6:12] = [2, 0, 1, 3, 5, 4]
    row = Row(rules, current=pack([0, 1, 2, 3, 4, 5]), target=pack([2, 0, 1, 3, 5, 4]))
    assert row.observe()[:6] == [f"place_{i}_token_{i}" for i in range(6)]
    assert row.shown()[6:] == [f"goal_{i}_token_{j}" for i, j in enumerate([2, 0, 1, 3, 5, 4])]
    assert row.step(1) == 1.0
    assert unpack(row["current"], 6) == [2, 0, 1, 3, 5, 4]
    assert row.step(1) == 0.0
    assert unpack(row["current"], 6) == [1, 2, 0, 3, 4, 5]
    assert row["is_success"]  # the goal was reached before
    assert not row["is_rewarded"]


@given(st.permutations(range(7)), st.permutations(range(7)), st.integers(0, 2))
@settings(max_examples=50, deadline=None)
def test_permuting_is_indexing(tokens, permutation, action):
    rules = PermPuzzleEnv.rules(level=2)
    rules.parameters["table"][0, 7 * action : 7 * action + 7] = permutation
    moved = dynamics.permuted(pack(tokens), action, rules.parameters[0])
    assert unpack(moved, 7) == [tokens[place] for place in permutation]


def test_lights_out_toggles_a_cross():
    rules = LightsOutEnv.rules()
    rules.parameters["table"][0, :9] = [0b000011011, *range(8)]
    row = Row(rules, current=0b100000001, target=0b100011010)
    assert row.observe() == ["cell_0", "cell_8", "goal_1", "goal_3", "goal_4", "goal_8"]
    assert row.step(0) == 1.0
    assert row.shown()[:4] == ["cell_1", "cell_3", "cell_4", "cell_8"]
    assert row.step(0) == 0.0
    assert row["current"] == 0b100000001


def test_token_automaton_looks_its_successor_up():
    rules = TokenAutomatonEnv.rules()
    rules.parameters["table"][0, 4 * 17 + 2] = 40
    row = Row(rules, current=17, target=40)
    assert row.observe() == ["token_17", "goal_40"]
    assert row.step(2) == 1.0
    assert row.shown() == ["token_40", "goal_40"]


@pytest.mark.parametrize("env_class", [PermPuzzleEnv, LightsOutEnv, TokenAutomatonEnv])
@pytest.mark.parametrize("level", [1, 2])
def test_no_episode_starts_solved_and_goals_are_spread(env_class, level):
    rules = env_class.rules(level=level)
    states = rules.new_states(5000)
    seed_rows(states, list(range(5000)))
    rules.reset_rows(states, rules.parameters, np.ones(5000, bool))
    assert (states["current"] != states["target"]).all()
    num_states = {"PermPuzzle": (720, 5040), "LightsOut": (512, 2**16), "TokenAutomaton": (64, 256)}
    size = num_states[env_class.__name__.removesuffix("Env")][level - 1]
    expected = size * (1 - (1 - 1 / size) ** 5000)  # distinct values among 5,000 uniform draws
    assert len(np.unique(states["current"])) == pytest.approx(expected, rel=0.03)
    assert len(np.unique(states["target"])) == pytest.approx(expected, rel=0.03)
