"""Learning to drive without an expert: drive, fit the car, learn in the fitted car, drive again.

Real cars explore, first at random on the oval and then with the policy on random circuits. An
ensemble learns what a decision does to the car (`decisions.py`), a policy learns by gradients
through it (`analytic.py`) on circuits of which only the map is asked. What is told: the map ahead,
the motion of a rigid body on it, where the road ends, what a spin is, and the reward of a metre.

Shape letters: B cars, K candidates, H decisions.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from wm_agents.domains.driving.analytic import (
    VALUE_SCALE,
    AnalyticConfig,
    AnalyticPolicy,
    ImaginedDriving,
)
from wm_agents.domains.driving.decisions import (
    Cars,
    DecisionModel,
    Decisions,
    Roads,
    car_actions,
    cars_of,
    features,
    fit_decisions,
    place_of,
)
from wm_agents.domains.driving.observations import ENV_OPTIONS
from wm_agents.domains.driving.recording import NoisyExpert
from wm_agents.domains.driving.task import ACTION_REPEAT, MAX_STEERING, to_decision
from wm_agents.errors import ConfigError
from wm_agents.training.config_checks import require_integers
from wm_agents.training.trainer import Trainer
from wm_envs.driving.env import DrivingEnv, DrivingVectorEnv
from wm_envs.driving.expert import Expert
from wm_envs.driving.streets import FEW_CORNERS, MANY_CORNERS, street_track
from wm_envs.driving.track import Track, oval, random_track

SPECIFIED = (
    "the map ahead, the motion of a rigid body on it, where the road ends, what a spin is, "
    "the reward of a metre"
)
EPISODE_STEPS = 600  # of exploration at most: 12 s
FIRST_NOISE, LATER_NOISE = 0.5, 0.15  # standard deviations of what is added to decisions
NOISE_MEMORY = 0.8  # of that noise, from one decision to the next
TRAINING_SEEDS = 10_000  # training circuits have seeds from here on, those of tests are below
LAP_LIMIT = 30_000  # steps
MIN_STEPS = 400  # real ones before the first fit

Act = Callable[[Roads, Cars], Tensor]
"""Decisions [B, 2] of cars."""


@dataclass(frozen=True)
class FromScratchConfig:
    """How much is driven, fitted and imagined.

    Attributes:
        first_steps: Real steps of 0.02 s at random on the oval; 0 only beside the expert's.
        round_steps: Real steps with the policy before each later round.
        rounds: Of fitting and imagining; the first and its driving are on the oval alone.
        first_updates: Windows of imagination in the first round.
        round_updates: In each later one but the last.
        last_updates: In the last round, while the learning rate falls to a tenth.
        bold_rounds: First rounds in which the end of the road comes without a ramp and nothing is
            tried again: who cannot drive yet would learn to brake.
        num_circuits: Random circuits to learn on, four fifths of them of straights and tight bends.
        num_cars: Real cars that explore side by side.
        fit_updates: Of the model in the first round; half as many later.
        num_members: Networks of the model.
        model_width: Hidden units of the model.
        expert_steps: Real steps of the noisy expert that the model learns from, too; 0 for none.
        seed: Of everything.
        learning: Settings of learning in the model.

    Raises:
        ConfigError: A value that cannot work.
    """

    first_steps: int = 10_000
    round_steps: int = 60_000
    rounds: int = 5
    first_updates: int = 150
    round_updates: int = 250
    last_updates: int = 700
    bold_rounds: int = 2
    num_circuits: int = 100
    num_cars: int = 16
    fit_updates: int = 2400
    num_members: int = 3
    model_width: int = 128
    expert_steps: int = 0
    seed: int = 0
    learning: AnalyticConfig = field(default_factory=AnalyticConfig)

    def __post_init__(self) -> None:
        require_integers(
            1,
            round_steps=self.round_steps,
            rounds=self.rounds,
            first_updates=self.first_updates,
            round_updates=self.round_updates,
            last_updates=self.last_updates,
            num_circuits=self.num_circuits,
            num_cars=self.num_cars,
            fit_updates=self.fit_updates,
            num_members=self.num_members,
            model_width=self.model_width,
        )
        require_integers(
            0,
            first_steps=self.first_steps,
            expert_steps=self.expert_steps,
            bold_rounds=self.bold_rounds,
            seed=self.seed,
        )
        if self.first_steps + self.expert_steps < MIN_STEPS:
            raise ConfigError(
                f"first_steps={self.first_steps} and expert_steps={self.expert_steps}: the first "
                f"model needs {MIN_STEPS} real steps of one or the other"
            )
        if self.learning.num_cars % self.num_members:
            raise ConfigError(
                f"num_cars={self.learning.num_cars} imagined cars are not shared evenly by "
                f"num_members={self.num_members} networks: give a multiple"
            )

    @property
    def real_steps(self) -> int:
        """About as many as are driven in all."""
        return self.first_steps + self.expert_steps + (self.rounds - 1) * self.round_steps


def training_circuits(config: FromScratchConfig) -> list[Track]:
    """The random circuits of a seed; none of them has a seed below `TRAINING_SEEDS`."""
    first = TRAINING_SEEDS + 1000 * config.seed
    tracks = []
    for seed in range(first, first + config.num_circuits):
        if seed % 5 == 4:
            tracks.append(random_track(seed))
        else:
            # Half of the others go from bend to bend: after a straight no car is still sliding.
            corners = MANY_CORNERS if seed % 2 else FEW_CORNERS
            tracks.append(street_track(seed, corners))
    return tracks


class ExploringCars:
    """Real cars that drive side by side, each on a circuit of its own, and what they recorded.

    Attributes:
        num_steps: Real steps so far, of all cars.
        num_episodes: Drives so far.
        num_ends: Of them, those that left the road or spun.
    """

    def __init__(self, num_cars: int, seed: int) -> None:
        self.num_steps = 0
        self.num_episodes = 0
        self.num_ends = 0
        self._num_cars = num_cars
        self._generator = np.random.default_rng(seed)
        self._parts: list[Decisions] = []

    @property
    def decisions(self) -> Decisions:
        """Everything recorded."""
        return Decisions.concatenate(self._parts)

    def drive(self, num_steps: int, tracks: Sequence[Track], act: Act | None, noise: float) -> None:
        """Drive for about as many real steps; without `act`, noise alone decides."""
        end = self.num_steps + num_steps
        roads = Roads(tracks)
        while self.num_steps < end:
            circuits = self._generator.integers(len(tracks), size=self._num_cars)
            fleet = Fleet(roads, circuits.tolist(), self._generator)
            added = np.zeros((self._num_cars, 2))
            self.num_episodes += self._num_cars
            while fleet.is_driving.any() and self.num_steps < end:
                fresh = self._generator.normal(size=added.shape)
                added = NOISE_MEMORY * added + noise * np.sqrt(1 - NOISE_MEMORY**2) * fresh
                before = fleet.cars()
                planned = torch.zeros(self._num_cars, 2) if act is None else act(roads, before)
                decisions = (planned + torch.as_tensor(added, dtype=torch.float32)).clamp(-1, 1)
                self._record(fleet, before, decisions)
            self.num_ends += int(fleet.has_failed.sum())

    def drive_expert(self, num_steps: int, tracks: Sequence[Track]) -> None:
        """The noisy expert, whose decisions are held as everybody's."""
        end = self.num_steps + num_steps
        roads = Roads(tracks)
        number = 0
        while self.num_steps < end:
            circuit = number % len(tracks)
            fleet = Fleet(roads, [circuit] * self._num_cars, self._generator)
            parameters = fleet.envs[0].parameters
            policy = NoisyExpert(
                Expert(parameters, is_mended=True),
                self._num_cars,
                int(self._generator.integers(2**31)),
                paces=(0.7, 1.1),
                noises=(0.0, 0.05, 0.1),
            )
            number += 1
            self.num_episodes += self._num_cars
            while fleet.is_driving.any() and self.num_steps < end:
                # The task's scale of the steering is narrower than that of the car.
                planned = to_decision(policy(fleet.observations))
                planned[:, 0] = policy_steering(planned[:, 0])
                self._record(fleet, fleet.cars(), torch.as_tensor(planned))
            self.num_ends += int(fleet.has_failed.sum())

    def _record(self, fleet: "Fleet", before: Cars, decisions: Tensor) -> None:
        """Take a decision and keep what came of it, where it was not cut short."""
        num_steps, is_whole = fleet.step(car_actions(decisions).numpy())
        self.num_steps += num_steps
        found = Decisions.of(before, car_actions(decisions), fleet.cars())
        keep = torch.as_tensor(is_whole)
        kept = Decisions(found.motion[keep], found.actions[keep], found.targets[keep])
        self._parts.append(kept)


def policy_steering(steering: NDArray[np.float32]) -> NDArray[np.float32]:
    """The steering -1 .. 1 of `task.to_decision`'s, which is scaled to the task's largest."""
    return steering * np.float32(MAX_STEERING)


class Fleet:
    """Single environments, one car each, that take decisions together.

    Args:
        roads: Circuits.
        circuits: The number of each car's circuit.
        generator: Draws where and how fast exploring cars start; None starts on the line.
        num_laps: After which a car is done; None for no such end.
    """

    def __init__(
        self,
        roads: Roads,
        circuits: Sequence[int],
        generator: np.random.Generator | None,
        num_laps: int | None = None,
    ) -> None:
        self.roads = roads
        self.circuits = torch.tensor(circuits)
        self.envs = []
        observations = []
        for circuit in circuits:
            options: dict[str, Any] = {
                "random_start": False,
                "time_limit": LAP_LIMIT,
                "laps": num_laps,
            }
            seed = 0
            if generator is not None:
                seed = int(generator.integers(2**31))
                options = {
                    "time_limit": EPISODE_STEPS,
                    "start_speed": generator.uniform(8.0, 35.0),
                    "start_temperature": generator.uniform(75.0, 110.0),
                }
            env = DrivingEnv(track=roads.tracks[circuit], **ENV_OPTIONS, **options)
            observations.append(env.reset(seed=seed)[0])
            self.envs.append(env)
        self.observations = np.array(observations)
        self.is_driving = np.ones(len(circuits), np.bool_)
        self.has_failed = np.zeros(len(circuits), np.bool_)
        self.lap_times: list[list[float]] = [[] for _ in circuits]

    def cars(self) -> Cars:
        """Where they are."""
        return cars_of(self.roads, self.circuits, self.observations)

    def step(self, actions: NDArray[np.float32]) -> tuple[int, NDArray[np.bool_]]:
        """Hold actions [B, 3] for a decision; real steps, and who drove all of them [B]."""
        num_steps = 0
        is_whole = np.zeros(len(self.envs), np.bool_)
        for number in np.flatnonzero(self.is_driving).tolist():
            held = 0
            while held < ACTION_REPEAT and self.is_driving[number]:
                held += 1
                obs, _, terminated, truncated, info = self.envs[number].step(actions[number])
                if info["lap_time"] > 0:
                    self.lap_times[number].append(float(info["lap_time"]))
                if terminated or truncated:
                    self.is_driving[number] = False
                    self.has_failed[number] = terminated
            num_steps += held
            is_whole[number] = held == ACTION_REPEAT
            self.observations[number] = obs
        return num_steps, is_whole


@dataclass
class Driver:
    """What was learned, and how.

    Attributes:
        agent: Policy and values, with the model in which they learned.
        explorer: The real driving.
        history: A row of figures for each round.
    """

    agent: AnalyticPolicy
    explorer: ExploringCars
    history: list[dict[str, float]]

    def networks(self) -> dict[str, nn.Module]:
        """What a file of the driver has to hold."""
        agent = self.agent
        return {
            "model": agent.model,
            "policy": agent.policy,
            "values": agent.values,
            "slow_values": agent.slow_values,
        }

    @torch.no_grad()
    def act(self, roads: Roads, cars: Cars) -> Tensor:
        """The policy's decisions [B, 2]."""
        return self.agent.decide(features(roads, cars, place_of(roads, cars)))


def new_driver(config: FromScratchConfig) -> Driver:
    """A driver that has learned nothing yet."""
    generator = torch.Generator().manual_seed(config.seed)
    model = DecisionModel(config.num_members, config.model_width, generator)
    agent = AnalyticPolicy(model, config.learning, config.seed)
    return Driver(agent, ExploringCars(config.num_cars, config.seed), [])


def learn_to_drive(
    config: FromScratchConfig, on_round: Callable[[Driver], None] | None = None
) -> Driver:
    """Everything, from the first random step.

    Args:
        config: How much of what.
        on_round: Called after each round.
    """
    driver = new_driver(config)
    agent, model = driver.agent, driver.agent.model
    circuits = training_circuits(config)
    began = time.process_time()
    for number in range(config.rounds):
        is_first, is_last = number == 0, number == config.rounds - 1
        agent.config = config.learning
        if number < config.bold_rounds and not is_last:
            agent.config = replace(config.learning, end_ramp=0.0, retry_share=0.0)
        if is_first and config.expert_steps:
            driver.explorer.drive_expert(config.expert_steps, circuits)
        if is_first and config.first_steps:
            driver.explorer.drive(config.first_steps, [oval()], None, FIRST_NOISE)
        if not is_first:
            # The second round still explores the oval: nothing else was ever driven.
            roads = [oval()] if number == 1 else circuits
            driver.explorer.drive(config.round_steps, roads, driver.act, LATER_NOISE)
        num_fit = config.fit_updates if is_first else max(1, config.fit_updates // 2)
        loss = fit_decisions(model, driver.explorer.decisions, num_fit, config.seed + number)
        num_updates = config.round_updates
        if is_last:
            num_updates = config.last_updates
        elif is_first:
            num_updates = config.first_updates
        roads_here = Roads([oval()] if is_first and not is_last else circuits)
        run = ImaginedDriving(agent, roads_here, num_updates, 0.1 if is_last else 1.0)
        report = Trainer(run, num_updates).train()
        driver.history.append(
            {
                "real_steps": driver.explorer.num_steps,
                "ended_drives": driver.explorer.num_ends / driver.explorer.num_episodes,
                "model_loss": loss,
                "imagined_reward": report.history[-1]["reward"],
                "imagined_ends": report.history[-1]["ends"],
                "cpu_seconds": time.process_time() - began,
            }
        )
        if on_round is not None:
            on_round(driver)
    return driver


class Foresight:
    """Chooses among variations of the policy by what the learned car makes of them.

    Candidates begin with less throttle, more brake or other steering than the policy decides, hold
    that for some decisions and then go on with the policy. Each is rolled out by every member of the
    model; its score is the return with the value at the end, at the quantile of the members that
    `risk` says. The policy itself is among them, and is kept unless another one is better by
    `threshold`.

    Args:
        driver: What was learned.
        horizon: Decisions, H.
        held: Decisions for which a variation is held.
        risk: Share of the members that may do worse than the score says; 0 is the worst of them.
        threshold: Reward by which a candidate has to be better than the policy.
    """

    VARIATIONS = (
        (0.0, 0.0),
        (0.0, -0.25),
        (0.0, -0.6),
        (0.0, 0.25),
        (0.06, 0.0),
        (-0.06, 0.0),
    )
    """What is added to steering and pedals, K pairs."""

    def __init__(
        self,
        driver: Driver,
        horizon: int = 12,
        held: int = 2,
        risk: float = 0.0,
        threshold: float = 0.02,
    ) -> None:
        self.driver = driver
        self.horizon = horizon
        self.held = held
        self.risk = risk
        self.threshold = threshold
        self.num_changed = 0
        self.num_decisions = 0

    @torch.no_grad()
    def act(self, roads: Roads, cars: Cars) -> Tensor:
        """The chosen decisions [B, 2]."""
        agent = self.driver.agent
        members, size = agent.model.num_members, len(cars.distance)
        num_candidates = len(self.VARIATIONS)
        variations = torch.tensor(self.VARIATIONS).repeat_interleave(size, 0)
        # One copy of every candidate for each member, members fastest, as `advance` has them.
        imagined = _interleaved(cars.repeat(num_candidates), members)
        variations = variations.repeat_interleave(members, 0)
        scores = torch.zeros(len(imagined.distance))
        alive = torch.ones(len(imagined.distance))
        places = place_of(roads, imagined)
        first = last = torch.zeros(len(scores), 2)
        for step in range(self.horizon):
            decision = agent.decide(features(roads, imagined, places))
            if step < self.held:
                decision = (decision + variations).clamp(-1.0, 1.0)
            if step == 0:
                first = last = decision
            imagined, driven = agent.model.advance(roads, imagined, car_actions(decision))
            places = place_of(roads, imagined)
            reward, goes_on = agent.reward(driven, imagined, places, decision - last)
            scores = scores + agent.config.gamma**step * alive * reward
            alive = alive * goes_on
            last = decision
        value = VALUE_SCALE * agent.slow_values(features(roads, imagined, places))[:, 0]
        scores = scores + agent.config.gamma**self.horizon * alive * value
        by_member = scores.view(num_candidates, size, members)
        quantiles = torch.quantile(by_member, self.risk, dim=2)  # [K, B]
        quantiles[0] += self.threshold
        best = quantiles.argmax(0)
        self.num_changed += int((best > 0).sum())
        self.num_decisions += size
        firsts = first.view(num_candidates, size, members, 2)[:, :, 0]
        return firsts[best, torch.arange(size)]


def _interleaved(cars: Cars, number: int) -> Cars:
    """Each car so many times, its copies beside each other."""
    return Cars(
        cars.circuits.repeat_interleave(number),
        cars.motion.repeat_interleave(number, 0),
        cars.pose.repeat_interleave(number, 0),
        cars.distance.repeat_interleave(number),
    )


# What came of it


def drive_circuits(act: Act, tracks: Sequence[Track], num_laps: int = 2) -> list[dict[str, Any]]:
    """Laps from a rolling start on the line, on all circuits side by side.

    Returns:
        For each circuit: is_clean, lap_times (s), and driven (share of all laps).
    """
    roads = Roads(tracks)
    fleet = Fleet(roads, range(len(tracks)), None, num_laps)
    while fleet.is_driving.any():
        fleet.step(car_actions(act(roads, fleet.cars())).numpy())
    rows = []
    for number, env in enumerate(fleet.envs):
        driven = float(np.atleast_1d(env.clone_state())["driven"][0])
        rows.append(
            {
                "is_clean": len(fleet.lap_times[number]) == num_laps,
                "lap_times": [round(seconds, 3) for seconds in fleet.lap_times[number]],
                "driven": driven / (num_laps * tracks[number].length),
            }
        )
    return rows


def expert_times(track: Track, num_laps: int = 2) -> list[float]:
    """The expert's laps from the same start."""
    env = DrivingVectorEnv(1, track=track, laps=num_laps, random_start=False, time_limit=LAP_LIMIT)
    env.reset(seed=0)
    times: list[float] = []
    while True:
        _, _, terminated, truncated, info = env.step(env.expert_actions())
        if info["lap_time"][0] > 0:
            times.append(round(float(info["lap_time"][0]), 3))
        if terminated[0] or truncated[0]:
            return times


def beside_expert(
    rows: Sequence[dict[str, Any]], experts: Sequence[Sequence[float]]
) -> dict[str, Any]:
    """Clean circuits, and the expert's time over the driver's on the last lap of the clean ones."""
    shares = [
        expert[-1] / row["lap_times"][-1] if row["is_clean"] else None
        for row, expert in zip(rows, experts, strict=True)
    ]
    clean = [share for share in shares if share is not None]
    return {
        "circuits": len(rows),
        "clean": len(clean),
        "speed_of_expert": round(float(np.mean(clean)), 4) if clean else None,
        "slowest": round(min(clean), 4) if clean else None,
        "clean_at_97_percent": sum(share >= 0.97 for share in clean),
        "driven": [round(row["driven"], 3) for row in rows],
        "shares": [None if share is None else round(share, 4) for share in shares],
    }
