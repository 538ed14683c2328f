import numpy as np
import pytest
import torch

from wm_agents.domains.driving.laps import drive_laps, planning_state
from wm_agents.domains.driving.objective import LapObjective
from wm_agents.domains.driving.observations import ENV_OPTIONS
from wm_agents.domains.driving.planner import (
    POLICY_GRIP,
    DrivingPlanner,
    DrivingPlannerConfig,
    at_pace,
    planner_for,
    undisturbed,
)
from wm_agents.domains.driving.racer import Racer
from wm_agents.domains.driving.rollouts import PATH_ACTION, PathColumn, TruePaths
from wm_agents.errors import ConfigError
from wm_agents.planning import PlanningAgent
from wm_envs.driving.env import DrivingEnv, DrivingVectorEnv
from wm_envs.driving.expert import Expert

# On a straight all paces are full throttle: what tells plans apart there are the pedals.
NOISY = {"steering_std": 0.01, "pedal_std": 0.03}


def started(**options):
    env = DrivingEnv(track="oval", random_start=False, **(ENV_OPTIONS | options))
    observation, _ = env.reset(seed=0)
    return env, observation


class Doubtful(TruePaths):
    """A second member holds that whoever leaves the policy leaves the road."""

    num_members = 2

    def rollout(self, state, disturbances, *, policies=None, member=0, temperature_margin=0.0):
        rollout = super().rollout(
            state, disturbances, policies=policies, temperature_margin=temperature_margin
        )
        if member:
            is_disturbed = disturbances.abs().amax((1, 2)).numpy() > 0
            rollout.observations[is_disturbed | (policies > 0), 1:, PathColumn.OFFSET] = 30.0
        return rollout


def plans_in(*models, **settings):
    env, observation = started(start_speed=40.0)
    config = DrivingPlannerConfig(**(NOISY | settings))
    policies = (Racer(env.parameters), Expert(env.parameters, POLICY_GRIP))
    plans = []
    for kind in models:
        model = kind(env.parameters, *policies)
        planner = DrivingPlanner(model, LapObjective(env.parameters), config, seed=0)
        state = planning_state(model, env, observation)
        plans.append(planner.plan(state, torch.Generator()))
    return plans, state, model


def test_a_plan_is_left_for_the_fallback_unless_every_member_prefers_it():
    (sure, unsure), state, model = plans_in(TruePaths, Doubtful)
    assert int(sure.candidates.selected) > 0
    assert int(unsure.candidates.selected) == 0
    bare = model.rollout(state, undisturbed(state, 1)).observations[0, 1, PATH_ACTION]
    torch.testing.assert_close(unsure.actions[0, 0], bare.float())


def test_who_does_not_mind_risk_drives_what_one_member_fears():
    careful, bold = (plans_in(Doubtful, risk=risk)[0][0] for risk in (0.0, 1.0))
    assert int(careful.candidates.selected) == 0
    assert int(bold.candidates.selected) > 0
    judgements = bold.candidates.judgements[0].numpy()  # [S, N]: as expected, and by two members
    assert judgements.shape == (3, DrivingPlannerConfig().num_samples)
    judged = np.isfinite(judgements[0])
    assert judged[0]
    assert judged.sum() == 1 + DrivingPlannerConfig().num_judged
    assert (np.isfinite(judgements) == judged).all()


def test_each_pace_is_a_candidate_and_bounds_the_others():
    (plan,), state, model = plans_in(TruePaths, paces=(-0.1, 0.02), num_samples=8)
    paths = plan.candidates.rollouts.observations[0]
    for row, pace in ((2, -0.1), (3, 0.02)):
        alone = model.rollout(state, at_pace(pace)(state, 50), policies=np.array([0]))
        torch.testing.assert_close(paths[row], alone.observations[0])


def test_the_value_is_the_sum_of_the_named_terms():
    env, observation = started(start_speed=40.0)
    planner = planner_for(env.parameters, seed=0)
    plan = planner.plan(planning_state(planner.model, env, observation), torch.Generator())
    candidates = plan.candidates
    assert tuple(candidates.terms) == planner.objective.term_names
    values = torch.stack(list(candidates.terms.values())).sum(0)[0]
    torch.testing.assert_close(plan.values[0], values[candidates.selected[0]])
    paths = candidates.rollouts.observations[0]
    torch.testing.assert_close(
        planner.objective(candidates.rollouts.map(lambda t: t[0]), None), values
    )
    assert paths.shape == (DrivingPlannerConfig().num_samples, 51, len(PathColumn))
    assert plan.actions.shape == (1, 50, 3)


def test_leaving_the_road_costs_more_the_earlier_it_happens():
    env, observation = started(start_speed=40.0)
    planner = planner_for(env.parameters, seed=0)
    state = planning_state(planner.model, env, observation)
    rollout = planner.model.rollout(state.repeat(3), undisturbed(state.repeat(3), 20))
    rollout.observations[1, 15:, PathColumn.OFFSET] = 30.0
    rollout.observations[2, 5:, PathColumn.SIDESLIP] = 0.9
    terms = planner.objective.terms(rollout, None)
    left_road = terms[:, planner.objective.term_names.index("left_road")]
    np.testing.assert_allclose(left_road, [0.0, -(2.0 + 0.1 * 6), -(2.0 + 0.1 * 16)])


def test_the_oracle_planner_drives_no_slower_than_the_expert_and_stays_on():
    distances = []
    for is_planned in (False, True):
        env, observation = started(start_speed=40.0)
        planner, expert = planner_for(env.parameters, seed=0), Expert(env.parameters)
        for _ in range(250):
            if is_planned:
                state = planning_state(planner.model, env, observation)
                action = planner.plan(state, torch.Generator()).actions[0, 0].numpy()
            else:
                action = expert.actions_on(observation[None])[0]
            observation, _, terminated, _, _ = env.step(action)
            assert not terminated
        distances.append(float(env.clone_state()["driven"]))
    assert distances[1] > 0.99 * distances[0]


@pytest.mark.parametrize("is_learned", [False, True])
def test_the_planner_runs_under_a_planning_agent(fitted, is_learned):
    """Two cars; the same agent again gives the same actions, another seed others."""
    envs = DrivingVectorEnv(2, track="oval", start_speed=40.0, **ENV_OPTIONS)

    def drive(seed):
        observations, _ = envs.reset(seed=3)
        config = DrivingPlannerConfig(**NOISY)
        planner = planner_for(envs.parameters, fitted if is_learned else None, config)
        agent = PlanningAgent(planner.model, planner, env=envs, seed=seed)
        state, actions = None, []
        for _ in range(3):
            action, state = agent.predict(observations, state)
            actions.append(action)
            observations, _, terminated, _, _ = envs.step(action)
            assert not terminated.any()
        return np.stack(actions)

    first = drive(0)
    assert first.shape == (3, 2, 3)
    np.testing.assert_array_equal(drive(0), first)
    assert (drive(1) != first).any()


def test_a_warm_start_is_forgotten_for_the_rows_of_a_mask():
    envs = DrivingVectorEnv(2, track="oval", start_speed=40.0, **ENV_OPTIONS)
    observations, _ = envs.reset(seed=3)
    planner = planner_for(envs.parameters, config=DrivingPlannerConfig(**NOISY))
    hidden = planner.model.hidden_of(envs.clone_state())
    state = planner.model.start(torch.as_tensor(observations), hidden)

    def rows():
        plan = planner.plan(state, torch.Generator().manual_seed(0))
        return plan.candidates.rollouts.observations[:, 1]  # the warm start's own path

    fresh, warm = rows(), rows()
    assert (fresh != warm).flatten(1).any(1).all()
    planner.reset(np.array([True, False]))
    again = rows()
    torch.testing.assert_close(again[0], fresh[0])
    assert bool((again[1] != fresh[1]).any())
    planner.reset()
    torch.testing.assert_close(rows(), fresh)


def test_the_careful_policy_is_a_candidate_and_saves_a_car_that_the_racer_would_lose():
    class Lost(TruePaths):
        def rollout(self, state, disturbances, *, policies=None, **options):
            rollout = super().rollout(state, disturbances, policies=policies, **options)
            rollout.observations[policies == 0, 1:, PathColumn.OFFSET] = 30.0
            return rollout

    (plan,), state, _model = plans_in(Lost)
    last = DrivingPlannerConfig().num_samples - 1
    assert int(plan.candidates.selected) == last
    bare = Expert(started()[0].parameters, POLICY_GRIP).actions_on(state.observations.numpy())
    np.testing.assert_allclose(plan.actions[0, 0], bare[0], atol=1e-4)


def test_plans_that_are_driven_for_two_steps_are_carried_on_by_two():
    env, _observation = started(start_speed=40.0)
    config = DrivingPlannerConfig(margin=-1.0, steps_per_plan=2)
    planner = planner_for(env.parameters, config=config, seed=0)
    figures = drive_laps(env, planner, 1, max_decisions=5)
    assert figures["num_decisions"] == 5
    assert env.clone_state()["time"] == 10


def test_settings_that_cannot_work_are_refused():
    with pytest.raises(ConfigError, match="num_samples is at least 6"):
        DrivingPlannerConfig(num_samples=5, paces=(0.0, 0.01))
    with pytest.raises(ConfigError, match="risk lies in"):
        DrivingPlannerConfig(risk=-0.1)
    env, _ = started()
    planner = planner_for(env.parameters)
    with pytest.raises(ConfigError, match="candidate policies"):
        DrivingPlanner(planner.model, planner.objective, candidate_policies=[undisturbed] * 23)


def test_laps_are_driven_in_the_learned_model_of_a_bad_driver_without_crashing(fitted):
    env, _ = started(time_limit=30)
    figures = drive_laps(env, planner_for(env.parameters, fitted, seed=0), 1)
    assert figures["num_decisions"] == 30
    assert not figures["is_clean"]


def test_plain_actions_are_planned_without_a_policy():
    env, observation = started(start_speed=40.0)
    planner = planner_for(env.parameters, config=DrivingPlannerConfig.from_scratch(), seed=0)
    plan = planner.plan(planning_state(planner.model, env, observation), torch.Generator())
    assert env.action_space.contains(plan.actions[0, 0].numpy())
    assert plan.candidates.rollouts.observations.shape[1] == 64
