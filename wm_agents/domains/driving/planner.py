"""A planner for the car that searches disturbances of a policy instead of plain actions.

Each plan draws disturbances of steering, pedals and pace as a few knots, imagines where the policy
goes with each of them, and takes the best path's actions. The best disturbance is carried to the
next plan, one step further on. The policy at several paces, from careful to all of the grip, is
always among the candidates, and so is a fallback policy: another plan has to beat it by a margin.
What decides between the best few is a quantile of several judgements, by each member of the model
and on tyres that grip less: the grip is used up to that risk. The search is the same for the learned
model and the true rules.

planner = planner_for(env.parameters, model)
agent = PlanningAgent(planner.model, planner, env=env)
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from wm_agents.domains.driving.objective import LapObjective
from wm_agents.domains.driving.racer import RACING_GRIP, Racer, racer_line
from wm_agents.domains.driving.rollouts import (
    PATH_ACTION,
    Floats,
    LearnedPaths,
    PathModel,
    Policy,
    TruePaths,
)
from wm_agents.errors import ConfigError
from wm_agents.protocols import (
    CandidatePolicy,
    Candidates,
    ModelState,
    Plan,
    Rollout,
    TermObjective,
)
from wm_agents.training.config_checks import require_at_least, require_between, require_integers
from wm_envs.driving.expert import Expert
from wm_envs.rules import Array

POLICY_GRIP = 0.9  # share of the grip that the profile of the careful policy uses
EDGE_MARGIN = 0.0  # m; the whole car is to be on the road
STEERING, PEDAL, PACE = range(3)  # columns of a disturbance


@dataclass(frozen=True)
class DrivingPlannerConfig:
    """Settings, found on training circuits.

    Attributes:
        horizon: Steps, H, of 0.02 s.
        num_samples: Candidates N per iteration.
        num_iterations: Rounds of drawing around the best.
        num_knots: Of the disturbance, linear in between.
        steering_std: Of the knots of the steering.
        pedal_std: Of the knots of the pedals: throttle above 0, brake below.
        pace_std: Of the knots of the change of the policy's speed profile.
        paces: Changes of the policy's speed profile, each a candidate; the grip that is used goes
            with the square. The lowest and the highest bound all plans.
        num_judged: Candidates, the best by the model's first member, that all scenarios judge.
        risk: Quantile of a plan's values over the scenarios by which it is judged: 0 is the worst,
            .5 would be indifferent to risk.
        margin: Seconds by which a plan has to be better than the fallback policy.
        racing_grip: Share of the peak grip of the profile of the racer, which plans disturb.
        limit_grip: Share of the peak grip of the profile that bounds the speed of plans, before
            what tyres have lost of theirs.
        max_sideslip: Sideslip at which it begins to cost, rad.
        temperature_margin: Degrees by which the tyres are taken to be further from their best
            temperature than they are in a scenario, so that they grip less.
        steps_per_plan: Steps of a plan that are driven before the next one; `drive_laps` does so,
            while `PlanningAgent` plans at each step and takes 1.
        has_policy: False plans from scratch: the disturbances are the actions themselves.

    Raises:
        ConfigError: A count below 1, a negative standard deviation, or a risk above 1.
    """

    horizon: int = 50
    num_samples: int = 16
    num_iterations: int = 1
    num_knots: int = 6
    steering_std: float = 0.0
    pedal_std: float = 0.0
    pace_std: float = 0.02
    paces: tuple[float, ...] = (-0.05, -0.02, 0.01, 0.02, 0.03)
    num_judged: int = 3
    risk: float = 0.0
    margin: float = 0.0
    racing_grip: float = RACING_GRIP
    limit_grip: float = 1.0
    max_sideslip: float = 0.07
    temperature_margin: float = 4.0
    steps_per_plan: int = 1
    has_policy: bool = True

    def __post_init__(self) -> None:
        require_integers(
            1,
            horizon=self.horizon,
            num_iterations=self.num_iterations,
            num_knots=self.num_knots,
            num_judged=self.num_judged,
            steps_per_plan=self.steps_per_plan,
        )
        # The fallback, the last plan, each pace and a careful policy have rows of their own.
        require_integers(4 + len(self.paces), num_samples=self.num_samples)
        require_at_least(
            0, steering_std=self.steering_std, pedal_std=self.pedal_std, pace_std=self.pace_std
        )
        require_between(0, 1, risk=self.risk)

    @classmethod
    def from_scratch(cls) -> "DrivingPlannerConfig":
        """Settings for plain actions, without a policy."""
        return cls(
            horizon=45,
            num_samples=64,
            num_iterations=2,
            steering_std=0.3,
            pedal_std=0.5,
            paces=(),
            has_policy=False,
        )


TIMED_LAPS = DrivingPlannerConfig(steps_per_plan=2)
"""The settings of timed laps: a plan each 0.04 s."""


def undisturbed(state: ModelState, horizon: int) -> Tensor:
    """The policy as it is: disturbances [B, H, 3] of 0."""
    return torch.zeros(len(state.observations), horizon, 3, dtype=torch.float64)


def at_pace(pace: float) -> CandidatePolicy:
    """The policy with its speed profile changed by this share, as disturbances [B, H, 3]."""

    def candidate(state: ModelState, horizon: int) -> Tensor:
        disturbances = undisturbed(state, horizon)
        disturbances[:, :, PACE] = pace
        return disturbances

    return candidate


@dataclass(frozen=True)
class _Scenario:
    """One judgement of a plan: by a member of the model, with tyres that grip less."""

    member: int = 0
    temperature_margin: float = 0.0


class DrivingPlanner:
    """Plans for cars on one circuit.

    Args:
        model: Imagines paths; its first member searches, all of them judge the outcome. Plans
            disturb its first policy, which undisturbed is the fallback; other policies, more
            careful ones, are candidates as they are.
        objective: Judges paths, in seconds.
        config: Settings.
        candidate_policies: Candidates beside the random ones, as disturbances. None takes the
            policy at each of the paces, or without a policy the action 0.
        seed: Draws the disturbances with NumPy's generator of this seed; None draws them with the
            generator that `plan` is given.

    Raises:
        ConfigError: More candidate policies than there are rows for.
    """

    def __init__(
        self,
        model: PathModel,
        objective: TermObjective,
        config: DrivingPlannerConfig = DrivingPlannerConfig(),
        *,
        candidate_policies: Sequence[CandidatePolicy] | None = None,
        seed: int | None = None,
    ) -> None:
        if candidate_policies is None:
            candidate_policies = [at_pace(pace) for pace in config.paces]
        most = config.num_samples - 1 - model.num_policies
        if len(candidate_policies) > most:
            raise ConfigError(
                f"{len(candidate_policies)} candidate policies: give at most {most}, or raise "
                "num_samples"
            )
        self.model = model
        self.objective = objective
        self.config = config
        self.candidate_policies = tuple(candidate_policies)
        self._generator = None if seed is None else np.random.default_rng(seed)
        self._warm_starts: dict[int, Floats] = {}  # row -> disturbances [H, 3]
        self._num_rows = 0
        places = np.linspace(0, config.num_knots - 1, config.horizon)
        knots = np.arange(config.num_knots)
        # Linear between the knots [H, K].
        self._interpolation = np.maximum(1.0 - np.abs(places[:, None] - knots), 0.0)
        self._stds = np.array([config.steering_std, config.pedal_std, config.pace_std])
        # The model is best where it was recorded, around the policy: what is carried on must not
        # drift away.
        self._low, self._high = -2.0 * self._stds, 2.0 * self._stds
        self._low[PACE] = min(self._low[PACE], *config.paces, 0.0)
        self._high[PACE] = max(config.paces, default=self._high[PACE])
        # Careful policies have the last rows, undisturbed.
        self._policies = np.zeros(config.num_samples, np.int64)
        num_others = model.num_policies - 1
        self._policies[config.num_samples - num_others :] = 1 + np.arange(num_others)
        # Beside that of the search: the first member with the tyres as they are.
        self._scenarios = [
            _Scenario(member, config.temperature_margin) for member in range(model.num_members)
        ]

    @torch.no_grad()
    def plan(self, state: ModelState, generator: torch.Generator) -> Plan:
        """Plan for B cars; `Plan.candidates` holds the paths of the last iteration."""
        num_rows = len(state.observations)
        if num_rows != self._num_rows:
            self._warm_starts = {}
            self._num_rows = num_rows
        if num_rows == 1:
            return self._plan_row(0, state, generator)
        plans = [
            self._plan_row(row, state.select(torch.tensor([row])), generator)
            for row in range(num_rows)
        ]
        candidates = [plan.candidates for plan in plans if plan.candidates is not None]
        futures = [each.rollouts for each in candidates]
        return Plan(
            torch.cat([plan.actions for plan in plans]),
            torch.cat([plan.values for plan in plans]),
            sum(plan.num_model_steps for plan in plans),
            Candidates(
                Rollout(
                    torch.cat([future.observations for future in futures]),
                    torch.cat([future.rewards for future in futures]),
                    torch.cat([future.terminations for future in futures]),
                ),
                {
                    name: torch.cat([each.terms[name] for each in candidates])
                    for name in self.objective.term_names
                },
                torch.cat([each.selected for each in candidates]),
                torch.cat([each.judgements for each in candidates if each.judgements is not None])
                if self.config.has_policy
                else None,
            ),
        )

    def reset(self, mask: NDArray[np.bool_] | None = None) -> None:
        """Forget the warm start of the masked cars [B], or of all."""
        if mask is None:
            self._warm_starts = {}
            return
        for row in np.flatnonzero(mask):
            self._warm_starts.pop(int(row), None)

    def _plan_row(self, row: int, state: ModelState, generator: torch.Generator) -> Plan:
        """Search for one car, whose state has one row."""
        config = self.config
        policies = [policy(state, config.horizon)[0].numpy() for policy in self.candidate_policies]
        best = self._warm_starts.get(row)
        if best is None:
            best = np.zeros((config.horizon, 3))
        for iteration in range(config.num_iterations):
            noise = 0.5**iteration * self._noise(generator)
            disturbances = self._candidates(best, noise, policies)
            rollout = self.model.rollout(
                state, torch.from_numpy(disturbances), policies=self._policies
            )
            terms = self.objective.terms(rollout, rollout.observations[..., PATH_ACTION])
            values = terms.numpy().sum(axis=1)
            selected = int(values.argmax())
            best = disturbances[selected]
        num_steps = config.num_iterations * config.num_samples * config.horizon
        judgements = None
        if config.has_policy:
            judgements = self._judge(state, disturbances, values)  # [S, N]
            merits = np.quantile(judgements, config.risk, axis=0)  # NaN where not judged
            num_steps += int(np.isfinite(judgements[1:]).sum()) * config.horizon
            selected = 1 + int(np.nanargmax(merits[1:]))
            # What is best is carried on, even where the fallback is executed now.
            best = disturbances[selected]
            if merits[selected] <= merits[0] + config.margin:
                selected = 0
        driven = min(config.steps_per_plan, config.horizon - 1)
        self._warm_starts[row] = np.vstack([best[driven:], np.repeat(best[-1:], driven, axis=0)])
        return Plan(
            rollout.observations[selected, 1:, PATH_ACTION].float()[None],
            torch.tensor([values[selected]]),
            num_steps,
            Candidates(
                Rollout(
                    rollout.observations[None], rollout.rewards[None], rollout.terminations[None]
                ),
                dict(zip(self.objective.term_names, terms.T[:, None], strict=True)),
                torch.tensor([selected]),
                None if judgements is None else torch.from_numpy(judgements)[None],
            ),
        )

    def _judge(self, state: ModelState, disturbances: Floats, values: Floats) -> Floats:
        """Values [S, N] of the fallback and of the best candidates in all scenarios.

        The best are those of the highest values [N]; NaN for the rest.
        """
        order = np.argsort(-values, kind="stable")
        judged = np.append(0, order[order > 0][: self.config.num_judged])
        both = torch.from_numpy(disturbances[judged])
        judgements = np.full((1 + len(self._scenarios), len(values)), np.nan)
        judgements[0, judged] = values[judged]
        for scenario, row in zip(self._scenarios, judgements[1:], strict=True):
            rollout = self.model.rollout(
                state,
                both,
                policies=self._policies[judged],
                member=scenario.member,
                temperature_margin=scenario.temperature_margin,
            )
            row[judged] = self.objective(rollout, both).numpy()
        return judgements

    def _noise(self, generator: torch.Generator) -> Floats:
        """Disturbances [N, H, 3] around 0."""
        shape = (self.config.num_samples, self.config.num_knots, 3)
        if self._generator is not None:
            knots = self._generator.normal(size=shape)
        else:
            knots = torch.randn(shape, generator=generator, dtype=torch.float64).numpy()
        noise: Floats = self._stds * np.einsum("hk,nka->nha", self._interpolation, knots)
        return noise

    def _candidates(self, best: Floats, noise: Floats, policies: list[Floats]) -> Floats:
        """Disturbances [N, H, 3]: the fallback, the last plan, the candidate policies, and others.

        Every third of the others is drawn around the policy, the rest around the last plan.
        """
        disturbances = best + noise
        if self.config.has_policy:
            disturbances[2::3] = noise[2::3]
            np.clip(disturbances, self._low, self._high, out=disturbances)
        disturbances[self._policies > 0] = 0.0
        disturbances[0] = 0.0
        disturbances[1] = best
        for number, policy in enumerate(policies, start=2):
            disturbances[number] = policy
        return disturbances


def planner_for(
    parameters: Array,
    dynamics: Any = None,
    config: DrivingPlannerConfig = DrivingPlannerConfig(),
    *,
    seed: int | None = None,
) -> DrivingPlanner:
    """The planner of a circuit with the settings that were found on training circuits.

    Args:
        parameters: The parameter row [1] of the environment.
        dynamics: A `DrivingModel`, or its `CompiledDynamics`; None plans with the true rules.
        config: Settings.
        seed: See `DrivingPlanner`.
    """
    policies: list[Policy] = []
    objective = LapObjective(parameters)
    if config.has_policy:
        policies = [Racer(parameters, config.racing_grip), Expert(parameters, POLICY_GRIP)]
        objective = LapObjective(
            parameters,
            racer_line(parameters),
            limit_grip=config.limit_grip,
            edge_margin=EDGE_MARGIN,
            max_sideslip=config.max_sideslip,
        )
    model: PathModel = TruePaths(parameters, *policies)
    if dynamics is not None:
        model = LearnedPaths(dynamics, parameters, *policies)
    return DrivingPlanner(model, objective, config, seed=seed)
