import json

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

import wm_envs  # noqa: F401
from wm_envs.errors import InvalidActionError, OptionError, TrajectoryError
from wm_envs.resolutions.codes import OBSERVATION, ResolutionAction, Vote
from wm_envs.resolutions.env import masks_of_observations
from wm_envs.resolutions.generator import (
    CONSENSUS_RATES,
    THEMES,
    fitted_source,
    generator_source,
    utilities,
)
from wm_envs.resolutions.records import Ballot, ResolutionRecord, write_trajectories
from wm_envs.resolutions.votes import recorded_episode, recorded_trajectories
from wm_envs.testing import check_vector_env

ENV_ID = "wm/UNResolution-v0"
COSPONSOR, YES, NO, ABSTAIN, NO_ACTION = ResolutionAction
OTHERS = (
    "AD",
    "AE",
    "AF",
    "AG",
    "AL",
    "AM",
    "AO",
    "AR",
    "AT",
    "AU",
    "AZ",
    "BA",
    "BB",
    "BD",
    "BE",
    "BF",
    "BG",
    "BH",
    "BI",
    "BJ",
)


def ballot(yes, no, abstain):
    names = iter((*OTHERS, "FR"))
    lists = [tuple(next(names) for _ in range(count)) for count in (yes, no, abstain)]
    return Ballot(*lists, (yes, no, abstain))


TRAJECTORIES = [
    ResolutionRecord(
        "full",
        committee=3,
        final_outcome="adopted",
        date="2020-01-01",
        sponsors=("AD",),
        additional_sponsors=("AE", "FR"),
        committee_ballot=ballot(10, 5, 2),
        plenary_ballot=ballot(12, 4, 4),
    ),
    ResolutionRecord(
        "consensus", final_outcome="adopted", sponsors=("FR", "AD"), issues=("Human rights",)
    ),
    ResolutionRecord(
        "plenary", final_outcome="rejected", date="2020-01-02", plenary_ballot=ballot(3, 15, 3)
    ),
]


@pytest.fixture
def recorded(tmp_path):
    write_trajectories(TRAJECTORIES, tmp_path / "t.jsonl")
    return str(tmp_path / "t.jsonl")


def play(env, actions, seed=None):
    observation, info = env.reset(seed=seed)
    rows, rewards, infos = [observation], [], [info]
    for action in actions:
        observation, reward, terminated, _, info = env.step(action)
        rows.append(observation)
        rewards.append(reward)
        infos.append(info)
    return np.array(rows), rewards, infos, terminated


def seed_of(env, draft):
    """A seed whose first draft is this one."""
    return next(seed for seed in range(200) if env.reset(seed=seed)[1]["draft"] == draft)


@pytest.mark.parametrize(
    "options", [{}, {"transitions": 3}, {"consensus": False, "country": "Namibia"}]
)
def test_both_checkers_pass(options):
    check_env(gym.make(ENV_ID, **options).unwrapped, skip_render_check=True)
    report = check_vector_env(ENV_ID, env_kwargs=options) if options == {} else None
    assert report is None or not report.findings


def test_an_episode_is_draft_committee_plenary_terminal_and_its_own_acts_count(recorded):
    env = gym.make(ENV_ID, country="FR", dynamics="recorded", source=recorded)
    rows, rewards, infos, terminated = play(env, [COSPONSOR, YES, NO, NO_ACTION], seed_of(env, 0))
    assert rows[:, :4].argmax(1).tolist() == [0, 1, 2, 3, 3]
    assert rows[0].tolist() == [1, 0, 0, 0, 13, 1, 0, 0, 0, 0, 0, 0, 0, 0]
    # Sponsors: AD, then AE as recorded, then France by its own act.
    assert rows[1, 5:7].tolist() == [3, 1]
    # Others in the committee 10-5-2, plus France's yes; in the plenary 12-4-4, plus its no.
    assert rows[3].tolist() == [0, 0, 0, 1, 13, 3, 1, 11, 5, 2, 12, 5, 4, 3]
    assert rewards == [0, 0, 0, 1]
    assert terminated
    assert [i["action_mask"].tolist() for i in infos[:4]] == [
        [1, 0, 0, 0, 1],
        [0, 1, 1, 1, 0],
        [0, 1, 1, 1, 0],
        [0, 0, 0, 0, 1],
    ]
    assert [i["adopted"] for i in infos] == [False, False, False, True, True]
    assert not infos[-1]["is_success"]  # adopted, though France voted no


def test_without_a_vote_the_votes_are_skipped(recorded):
    env = gym.make(ENV_ID, country="FR", dynamics="recorded", source=recorded)
    rows, rewards, _, terminated = play(env, [NO_ACTION, NO_ACTION], seed_of(env, 1))
    assert rows[:, :4].argmax(1).tolist() == [0, 3, 3]
    assert rewards == [0, 1]  # France sponsored from the start
    assert terminated


def test_one_vote_can_decide(tmp_path):
    tie = ResolutionRecord(
        "tie", final_outcome="rejected", sponsors=("FR",), plenary_ballot=ballot(3, 3, 0)
    )
    write_trajectories([tie], tmp_path / "t.jsonl")
    for vote, reward in ((YES, 1.0), (NO, -1.0), (ABSTAIN, -1.0)):
        env = gym.make(ENV_ID, country="FR", dynamics="recorded", source=str(tmp_path / "t.jsonl"))
        assert play(env, [NO_ACTION, vote, NO_ACTION])[1] == [0, 0, reward]


@pytest.mark.parametrize("transitions", [3, 4])
@pytest.mark.parametrize("country", ["FR", "AD", "BJ"])
def test_replaying_recorded_actions_gives_the_recorded_episode(recorded, country, transitions):
    env = gym.make(
        ENV_ID, country=country, dynamics="recorded", source=recorded, transitions=transitions
    )
    for draft, trajectory in enumerate(TRAJECTORIES):
        episode = recorded_episode(trajectory, country, transitions)
        rows, rewards, _, terminated = play(env, episode.actions.tolist(), seed_of(env, draft))
        np.testing.assert_array_equal(rows, episode.observations)
        np.testing.assert_array_equal(rewards, episode.rewards)
        assert terminated


def test_with_three_transitions_the_committee_votes_in_draft(recorded):
    env = gym.make(ENV_ID, country="FR", dynamics="recorded", source=recorded, transitions=3)
    rows, rewards, infos, terminated = play(env, [YES, YES, NO_ACTION], seed_of(env, 0))
    assert rows[:, :4].argmax(1).tolist() == [0, 1, 2, 3]
    assert rows[1, 7:10].tolist() == [11, 5, 2]
    assert infos[0]["action_mask"].tolist() == [0, 1, 1, 1, 0]
    assert terminated
    assert rewards == [0, 0, 0]  # France did not sponsor


def test_recorded_trajectories_mark_the_ends():
    trajectories = recorded_trajectories(TRAJECTORIES, "FR")
    assert trajectories.lengths.tolist() == [4, 2, 3]
    assert trajectories.terminations.nonzero()[0].tolist() == [3, 5, 8]
    assert len(trajectories.observations) == 9 + 3


def test_votes_and_actions_lead_to_each_other():
    # The numbers in recorded files and observations, which stay.
    assert [int(vote) for vote in Vote] == [-1, 0, 1, 2]
    assert [int(action) for action in ResolutionAction] == [0, 1, 2, 3, 4]
    for vote in Vote:
        assert Vote.of_action(vote.action) is vote
    for action in ResolutionAction:
        is_vote = action in (YES, NO, ABSTAIN)
        assert Vote.of_action(action) is (Vote[action.name] if is_vote else Vote.ABSENT)


def test_an_action_out_of_its_stage_counts_as_none():
    env = gym.make(ENV_ID, consensus=False)
    _, info = env.reset(seed=0)
    *_, info = env.step(YES)
    assert info["invalid_action"]
    rows = env.unwrapped.clone_state()
    assert rows["action"] == NO_ACTION


def test_strict_raises_before_anything_changes():
    env, twin = (gym.make(ENV_ID, consensus=False, strict=strict) for strict in (True, False))
    env.reset(seed=0)
    twin.reset(seed=0)
    before = env.unwrapped.clone_state()
    with pytest.raises(InvalidActionError, match="DRAFT"):
        env.step(YES)
    assert env.unwrapped.clone_state() == before
    np.testing.assert_array_equal(env.step(COSPONSOR)[0], twin.step(COSPONSOR)[0])
    envs = gym.make_vec(ENV_ID, num_envs=3, strict=True)
    envs.reset(seed=0)
    with pytest.raises(InvalidActionError, match="row 1"):
        envs.step(np.array([0, 2, 0]))


@pytest.mark.parametrize(
    "options",
    [
        {"country": "Atlantis"},
        {"country": 3},
        {"dynamics": "magic"},
        {"dynamics": "recorded"},
        {"source": "x.json"},
        {"transitions": 5},
        {"transitions": True},
        {"consensus": 1},
        {"strict": "yes"},
        {"reward_weights": {"goal": 1.0}},
        {"reward_weights": {"outcome": float("nan")}},
    ],
)
def test_wrong_options_are_refused(options):
    with pytest.raises(OptionError):
        gym.make(ENV_ID, **options)


def test_a_source_that_is_missing_or_without_the_country_is_refused(tmp_path, recorded):
    with pytest.raises(TrajectoryError, match="no such file"):
        gym.make(ENV_ID, dynamics="recorded", source=str(tmp_path / "none.jsonl"))
    with pytest.raises(OptionError, match="takes part in nothing"):
        gym.make(ENV_ID, dynamics="recorded", source=recorded, country="ZW")


def test_every_country_has_a_seat_by_code_and_by_name():
    assert len(generator_source().countries) == 193
    for country in ("NA", "Namibia", "United States of America", "CIV"):
        gym.make(ENV_ID, country=country).reset(seed=0)


# The generator


@pytest.fixture(scope="module")
def drawn():
    """Final plenary tallies [N, 4] with voters, and topics and stages of 8,192 generated resolutions."""
    envs = gym.make_vec(ENV_ID, num_envs=8192, autoreset_mode="Disabled")
    observations, infos = envs.reset(seed=3)
    first = observations.copy()
    for _ in range(3):
        ended = observations[:, 3] == 1
        if ended.all():
            break
        actions = np.where(infos["action_mask"][:, YES] == 1, YES, NO_ACTION)
        following, *_, infos = envs.step(actions)
        observations = following
        ended = envs._states["ended"]
        if ended.any():
            envs._states["ended"][ended] = False  # let the others go on; TERMINAL stays as it is
    return first, observations


def test_tallies_have_the_percentiles_of_the_records(drawn):
    _, last = drawn
    voted = last[last[:, 10:13].sum(1) > 0]
    yes, no, abstain = voted[:, 10:13].T
    shown = {"yes": yes, "no": no, "abstain": abstain, "voters": yes + no + abstain}
    expected = {
        "yes": (85, 122, 144, 167, 181),
        "no": (0, 1, 4, 11, 53),
        "abstain": (0, 3, 10, 36, 63),
        "voters": (146, 171, 179, 183, 188),
    }
    for name, percentiles in expected.items():
        found = np.percentile(shown[name], (5, 25, 50, 75, 95))
        np.testing.assert_allclose(found, percentiles, atol=9, err_msg=name)
    shares = np.array([yes.sum(), abstain.sum(), no.sum()]) / shown["voters"].sum()
    np.testing.assert_allclose(shares, (0.809, 0.117, 0.074), atol=0.02)
    assert (yes <= no).mean() < 0.03


def test_consensus_is_as_frequent_as_recorded_by_theme(drawn):
    _, last = drawn
    has_voted = last[:, 7:13].sum(1) > 0
    assert 0.64 <= 1 - has_voted.mean() <= 0.74
    for theme, rate in enumerate(CONSENSUS_RATES):
        of_theme = last[:, 4] == theme + 1
        np.testing.assert_allclose(
            1 - has_voted[of_theme].mean(), rate, atol=0.08, err_msg=THEMES[theme]
        )


def test_sponsors_grow_as_recorded(drawn):
    first, last = drawn
    np.testing.assert_allclose(
        np.percentile(first[:, 5], (10, 25, 50, 75, 90)), (1, 2, 4, 25, 41), atol=3
    )
    np.testing.assert_allclose(
        np.percentile(last[:, 5], (25, 50, 75, 90)), (7, 48, 72, 88), atol=12
    )
    assert 0.7 <= (last[:, 5] > first[:, 5]).mean() <= 0.95


@pytest.mark.parametrize(
    ("country", "shares"),
    [
        ("US", (25, 63, 12)),
        ("GB", (55, 26, 19)),
        ("RU", (69, 12, 20)),
        ("IN", (73, 10, 17)),
        ("CN", (82, 7, 11)),
        ("BR", (89, 2, 9)),
    ],
)
def test_countries_vote_as_they_do(country, shares):
    source = generator_source()
    column = source.countries.index(country)
    rates = 1 - source.parameters["consensus_rate"][: len(source.documents)]
    choices = utilities(source)[:, column]
    chances = np.exp(choices - choices.max(1, keepdims=True))
    chances /= chances.sum(1, keepdims=True)
    yes, abstain, no = 100 * (chances * rates[:, None]).sum(0) / rates.sum()
    np.testing.assert_allclose((yes, no, abstain), shares, atol=7)


def test_the_preference_is_the_true_utility():
    env = gym.make(
        ENV_ID, country="US", consensus=False, reward_weights={"preference": 1.0, "outcome": 0.0}
    )
    _, info = env.reset(seed=1)
    env.step(NO_ACTION)
    source = generator_source()
    z, h, minus_z = utilities(source)[info["draft"], source.countries.index("US")]
    paid = {}
    for vote in (YES, NO, ABSTAIN):
        state = env.unwrapped.clone_state()
        paid[vote] = env.step(vote)[1]
        env.unwrapped.restore_state(state)
    assert paid[YES] == -paid[NO]
    # This year's text differs from the recurring one by noise of .15 on four numbers.
    assert abs(paid[YES] - z) < 2.5
    assert abs(paid[ABSTAIN] - h) < 0.8
    assert minus_z == -z


def fitted_file(tmp_path, **changes):
    document = {
        "countries": {"FR": [0.5, 0, 0, 0, 0.1], "US": [2, 0, 0, 0, 0.0], "CU": [-2, 0, 0, 0, 0.0]},
        "drafts": [{"symbol": "s", "title": "t", "topic": 3, "parameters": [0, -9, 0, -9, 0, 0]}],
        **changes,
    }
    path = tmp_path / "model.json"
    path.write_text(json.dumps(document), encoding="utf-8")
    return str(path)


def test_a_fitted_model_may_name_its_countries_but_none_twice(tmp_path):
    numbers = [0.5, 0, 0, 0, 0.1]
    named = fitted_file(tmp_path, countries={"France": numbers, "Korea, Republic of": numbers})
    assert fitted_source(named).countries == ("FR", "KR")
    twice = fitted_file(tmp_path, countries={"France": numbers, "FR": numbers})
    with pytest.raises(TrajectoryError, match="FR has its numbers twice"):
        fitted_source(twice)


def test_a_recorded_seat_is_a_code_or_a_name_and_no_other_text():
    trajectory = ResolutionRecord("a", plenary_ballot=Ballot(("FR",), ("CU",), (), (1, 1, 0)))
    by_code = recorded_episode(trajectory, "CU")
    assert recorded_episode(trajectory, "Cuba").actions.tolist() == by_code.actions.tolist()
    assert by_code.actions[1] == NO
    with pytest.raises(OptionError, match="'Atlantis'"):
        recorded_episode(trajectory, "Atlantis")


def test_a_fitted_model_is_played(tmp_path):
    env = gym.make(ENV_ID, dynamics="fitted", source=fitted_file(tmp_path))
    observation, _ = env.reset(seed=0)
    while not observation[2]:
        observation, *_ = env.step(NO_ACTION if observation[0] else YES)
    observation, *_ = env.step(YES)
    # Direction -9: Cuba at -2 always agrees, the United States at 2 never does.
    assert observation[10:13].tolist() == [2, 1, 0]
    assert observation[4] == 3


@pytest.mark.parametrize(
    "changes", [{"drafts": []}, {"countries": {"FR": [1]}}, {"drafts": [{"parameters": [1, 2]}]}]
)
def test_a_malformed_model_is_refused(tmp_path, changes):
    with pytest.raises(TrajectoryError, match=r"model\.json"):
        gym.make(ENV_ID, dynamics="fitted", source=fitted_file(tmp_path, **changes))


def test_there_are_fourteen_fields_and_pictures_of_every_stage():
    assert len(OBSERVATION) == 14
    env = gym.make(ENV_ID, consensus=False, render_mode="rgb_array")
    env.reset(seed=0)
    pictures = {env.render().tobytes()}
    is_over = False
    while not is_over:
        is_over = env.step(int(np.flatnonzero(env.unwrapped._outcomes["action_mask"][0])[0]))[2]
        pictures.add(env.render().tobytes())
    assert len(pictures) >= 4
    text = gym.make(ENV_ID, consensus=False, render_mode="ansi")
    text.reset(seed=0)
    assert "draft" in text.render()


def test_a_batch_is_fast_enough_and_its_episodes_end():
    import time

    envs = gym.make_vec(ENV_ID, num_envs=4096)
    envs.reset(seed=0)
    actions = np.random.default_rng(0).integers(0, 5, (12, 4096))
    envs.step(actions[0])
    started = time.process_time()
    num_ended = sum(int(envs.step(a)[2].sum()) for a in actions)
    assert 12 * 4096 / (time.process_time() - started) > 300_000
    assert num_ended > 4096


SILENT = [
    (ResolutionRecord("committee", sponsors=("FR",), committee_ballot=ballot(9, 3, 1)), 0.0, False),
    (ResolutionRecord("counted", sponsors=("FR",), plenary_ballot=ballot(12, 4, 4)), 1.0, True),
    (
        ResolutionRecord(
            "two thirds", final_outcome="rejected", sponsors=("FR",), plenary_ballot=ballot(9, 8, 0)
        ),
        -1.0,
        False,
    ),
]


@pytest.mark.parametrize(
    ("trajectory", "reward", "is_adopted"),
    SILENT,
    ids=lambda value: getattr(value, "trajectory_id", ""),
)
def test_dataset_and_replay_agree_on_outcomes_that_records_leave_out_or_decide_otherwise(
    tmp_path, trajectory, reward, is_adopted
):
    write_trajectories([trajectory], tmp_path / "one.jsonl")
    env = gym.make(ENV_ID, dynamics="recorded", source=str(tmp_path / "one.jsonl"))
    episode = recorded_episode(trajectory, "FR")
    observations, rewards, infos, terminated = play(env, episode.actions, seed=0)
    np.testing.assert_array_equal(observations, episode.observations)
    assert rewards == episode.rewards.tolist() == [0.0] * (len(rewards) - 1) + [reward]
    assert terminated
    assert infos[-1]["adopted"] == is_adopted
    assert infos[-1]["is_success"] == is_adopted


def test_texts_come_with_single_and_vector_environments(recorded):
    options = {"dynamics": "recorded", "source": recorded}
    single, batch = gym.make(ENV_ID, **options).unwrapped, gym.make_vec(ENV_ID, 2, **options)
    assert single.documents == batch.documents
    assert len(batch.documents) == 3


@pytest.mark.parametrize("transitions", [3, 4])
def test_action_masks_are_those_of_the_infos(transitions):
    env = gym.make(ENV_ID, transitions=transitions)
    batch = gym.make_vec(ENV_ID, 8, autoreset_mode="SameStep", transitions=transitions)
    observations, infos = batch.reset(seed=0)
    observation, info = env.reset(seed=0)
    generator = np.random.default_rng(0)
    for _ in range(12):
        masks = batch.action_masks()
        assert masks.dtype == np.bool_
        np.testing.assert_array_equal(masks, infos["action_mask"])
        np.testing.assert_array_equal(env.get_wrapper_attr("action_masks")(), info["action_mask"])
        if transitions == 4:  # else what a draft may do is not in the observation
            np.testing.assert_array_equal(masks_of_observations(observations), masks)
            np.testing.assert_array_equal(
                masks_of_observations(observation[None])[0], info["action_mask"]
            )
        observations, _, _, _, infos = batch.step(
            [int(generator.choice(np.flatnonzero(mask))) for mask in masks]
        )
        observation, _, terminated, _, info = env.step(int(np.flatnonzero(info["action_mask"])[0]))
        if terminated:
            observation, info = env.reset()


def test_only_masked_environments_have_action_masks():
    assert not gym.make("wm/TMaze-v0").has_wrapper_attr("action_masks")
    assert not hasattr(gym.make_vec("wm/TMaze-v0", 2), "action_masks")
