"""A driving policy learned by gradients through the learned car.

Imagined cars drive on circuits of the map. The policy goes up the gradient of what they earn in a
window of decisions and of a value at its end, straight through the learned dynamics; the value is
learned from the same windows (Xu et al., "Accelerated policy learning with parallel differentiable
simulation", ICLR 2022). Cars go on from window to window, and start anew somewhere on a circuit
where they left the road.

Shape letters: B cars, H decisions of a window, F features.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from wm_agents.domains.driving.decisions import (
    NUM_FEATURES,
    Cars,
    DecisionModel,
    Places,
    Roads,
    car_actions,
    cars_at,
    features,
    has_ended,
    place_of,
)
from wm_agents.domains.driving.network import NUM_MOTIONS, Motion
from wm_agents.networks import follow_parameters, smooth_perceptron
from wm_agents.policy_gradient.rollouts import lambda_returns
from wm_agents.training.config_checks import require_at_least, require_integers
from wm_agents.training.finite import gradient_step
from wm_envs.driving.dynamics import HALF_WIDTH

VALUE_SCALE = 10.0  # rewards that a value of 1 stands for
VALUE_BATCH, VALUE_UPDATES = 1024, 4  # after each window
TARGET_SHARE = 0.05  # of the value network that its slow copy takes over after each update
GAE_LAMBDA = 0.95
MAX_GRAD_NORM = 0.5
START_AHEAD, START_ACCELERATION = 60.0, 15.0  # m, m/s^2


@dataclass(frozen=True)
class AnalyticConfig:
    """How the policy learns in the learned car.

    Attributes:
        num_cars: Imagined cars, a multiple of the model's members.
        horizon: Decisions of a window, 0.08 s each.
        gamma: Discount per decision.
        learning_rate: Of policy and values.
        width: Hidden units in each of two layers of both.
        noise: Standard deviation of the noise on imagined decisions, which teaches to keep clear of
            what a small error makes a departure.
        margin: m inside the edge of the road at which the middle of the car begins to cost.
        edge_cost: Per decision and squared metre beyond that.
        slip_cost: Per decision and squared ratio of sideways to forward speed.
        smooth_cost: Per squared change of a decision.
        end_cost: Of leaving the road or spinning.
        end_ramp: m before the end of the road over which the probability that the drive ends there
            rises to one, so that what is lost by leaving has a gradient; 0 for a sudden end.
        retry_share: Of the cars that ended, those that go back by one to two windows instead of
            starting somewhere else.
        max_decisions: After which an imagined car starts anew.

    Raises:
        ConfigError: A value that cannot work.
    """

    num_cars: int = 384
    horizon: int = 16
    gamma: float = 0.98
    learning_rate: float = 1e-3
    width: int = 128
    noise: float = 0.1
    margin: float = 0.3
    edge_cost: float = 1.0
    slip_cost: float = 1.5
    smooth_cost: float = 0.02
    end_cost: float = 10.0
    end_ramp: float = 0.8
    retry_share: float = 0.5
    max_decisions: int = 250

    def __post_init__(self) -> None:
        require_integers(1, num_cars=self.num_cars, horizon=self.horizon, width=self.width)
        require_at_least(
            0,
            noise=self.noise,
            edge_cost=self.edge_cost,
            end_cost=self.end_cost,
            end_ramp=self.end_ramp,
            retry_share=self.retry_share,
        )


REWARD_PER_METRE = 0.1


class AnalyticPolicy:
    """Policy and values, and what they need to go on learning.

    Args:
        model: The learned car.
        config: Settings.
        seed: Draws weights, starts and noise.

    Attributes:
        policy: Features [B, F] to decisions [B, 2] before their tanh.
        values: Features [B, F] to values [B, 1] in units of `VALUE_SCALE`.
    """

    def __init__(self, model: DecisionModel, config: AnalyticConfig, seed: int) -> None:
        self.model = model
        self.config = config
        self.generator = torch.Generator().manual_seed(seed)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.policy = smooth_perceptron(NUM_FEATURES, config.width, 2)
            self.values = smooth_perceptron(NUM_FEATURES, config.width, 1)
            self.slow_values = smooth_perceptron(NUM_FEATURES, config.width, 1)
        self.slow_values.load_state_dict(self.values.state_dict())
        self.slow_values.requires_grad_(False)
        with torch.no_grad():
            last = self.policy[-1]
            assert isinstance(last, nn.Linear)
            last.weight.mul_(0.1)
            # A little throttle: a car that stands learns nothing from its gradient.
            last.bias.copy_(torch.tensor([0.0, 0.3]))
        rate = config.learning_rate
        self.policy_optimizer = torch.optim.Adam(self.policy.parameters(), lr=rate)
        self.value_optimizer = torch.optim.Adam(self.values.parameters(), lr=rate)

    def decide(self, rows: Tensor) -> Tensor:
        """Decisions [B, 2] for features [B, F], without noise."""
        decisions: Tensor = torch.tanh(self.policy(rows))
        return decisions

    def reward(
        self, driven: Tensor, cars: Cars, places: Places, change: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Reward [B] of a decision, and the probability that the drive goes on [B].

        Metres along the centre line, less the costs of the edge, of sliding and of restless hands.
        The probability is 0 where the drive ended, and only there.
        """
        config = self.config
        edge = torch.relu(places.beyond + config.margin).clamp_max(2.0) ** 2
        forward = cars.motion[:, Motion.VX].clamp_min(5.0)
        slip = (cars.motion[:, Motion.VY] / forward).clamp(-1.0, 1.0) ** 2
        goes_on = self._survival(places).where(~has_ended(cars, places), torch.tensor(0.0))
        reward = (
            REWARD_PER_METRE * driven.clamp(-5.0, 12.0)
            - config.edge_cost * edge
            - config.slip_cost * slip
            - config.smooth_cost * change.square().sum(1)
            - config.end_cost * (1.0 - goes_on)
        )
        return reward, goes_on

    def _survival(self, places: Places) -> Tensor:
        """The probability that a car on its road stays on it [B], above 0."""
        ramp = self.config.end_ramp
        if ramp == 0.0:
            return torch.ones_like(places.offset)
        left = (HALF_WIDTH - places.beyond) / ramp
        return 1.0 - (1.0 - left).clamp(0.0, 0.999) ** 2


class ImaginedDriving:
    """A `TrainingRun`: each update is a window of all imagined cars.

    Args:
        agent: Learns.
        roads: Circuits on which the cars drive.
        num_updates: Windows in all.
        last_share: Of the learning rate, reached linearly at the end.
    """

    def __init__(
        self, agent: AnalyticPolicy, roads: Roads, num_updates: int, last_share: float = 1.0
    ) -> None:
        self.agent = agent
        self.roads = roads
        self.num_updates = num_updates
        self.last_share = last_share
        size = agent.config.num_cars
        self.cars = self._starts(size)
        self.earlier = self.cars  # at the beginning of the window before the last one
        self.last = torch.zeros(size, 2)
        generator = agent.generator
        # Cars begin in the middle of their time, so that they do not all start anew at once.
        self.ages = torch.randint(agent.config.max_decisions, (size,), generator=generator)

    def step(self, update: int) -> Mapping[str, float]:
        """Drive a window; move the policy up its gradient, and the values towards its returns."""
        agent, config = self.agent, self.agent.config
        share = 1.0 + (self.last_share - 1.0) * update / max(self.num_updates, 1)
        for optimizer in (agent.policy_optimizer, agent.value_optimizer):
            for group in optimizer.param_groups:
                group["lr"] = config.learning_rate * share
        before = self.cars
        rows, rewards, survival, alive, objective = self._window()
        # What is maximised is per decision.
        loss = -objective.mean() / config.horizon
        named = agent.policy.named_parameters()
        place = f"at update {update}"
        gradient_step(loss, agent.policy_optimizer, named, place, MAX_GRAD_NORM)
        value_loss = self._learn_values(rows, rewards, survival, alive)
        self._start_anew(alive[-1] == 0.0, before)
        return {
            "reward": float(rewards.mean()),
            "ends": float((survival == 0.0).float().mean()),
            "value_loss": value_loss,
        }

    def _window(self) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Features [H + 1, B, F], rewards and survival [H, B], alive [H + 1, B], objective [B]."""
        agent, config, roads = self.agent, self.agent.config, self.roads
        size = config.num_cars
        cars, last = self.cars, self.last
        places = place_of(roads, cars)
        alive = [torch.ones(size)]
        rows, rewards, survival = [], [], []
        objective = torch.zeros(size)
        noise = self._draw(size)
        for step in range(config.horizon):
            row = features(roads, cars, places)
            noise = 0.7 * noise + 0.7 * self._draw(size)
            decision = (agent.decide(row) + noise).clamp(-1.0, 1.0)
            cars, driven = agent.model.advance(roads, cars, car_actions(decision))
            places = place_of(roads, cars)
            reward, goes_on = agent.reward(driven, cars, places, decision - last)
            objective = objective + config.gamma**step * alive[-1] * reward
            rows.append(row.detach())
            rewards.append(reward.detach())
            survival.append(goes_on.detach())
            alive.append(alive[-1] * goes_on)
            last = decision
        row = features(roads, cars, places)
        value = VALUE_SCALE * agent.slow_values(row)[:, 0]
        objective = objective + config.gamma**config.horizon * alive[-1] * value
        rows.append(row.detach())
        self.cars, self.last = cars.detach(), last.detach()
        alive = [share.detach() for share in alive]
        stacked = map(torch.stack, (rows, rewards, survival, alive))
        return *stacked, objective

    def _draw(self, size: int) -> Tensor:
        return self.agent.config.noise * torch.randn(size, 2, generator=self.agent.generator)

    def _learn_values(
        self, rows: Tensor, rewards: Tensor, survival: Tensor, alive: Tensor
    ) -> float:
        """Regress on lambda-returns, of the decisions of cars that had not ended."""
        agent, config = self.agent, self.agent.config
        with torch.no_grad():
            values = VALUE_SCALE * agent.slow_values(rows)[..., 0]  # [H + 1, B]
        returns = lambda_returns(rewards, values, config.gamma * survival, GAE_LAMBDA)
        keep = alive[:-1] > 0.0
        inputs, targets = rows[:-1][keep], returns[keep] / VALUE_SCALE
        total = 0.0
        for _ in range(VALUE_UPDATES):
            batch = torch.randint(len(inputs), (VALUE_BATCH,), generator=agent.generator)
            errors = agent.values(inputs[batch])[:, 0] - targets[batch]
            named = agent.values.named_parameters()
            loss = errors.square().mean()
            total += gradient_step(loss, agent.value_optimizer, named, "of the values", 1.0)
            follow_parameters(agent.slow_values, agent.values, TARGET_SHARE)
        return total / VALUE_UPDATES

    def _start_anew(self, has_ended: Tensor, before: Cars) -> None:
        """Put cars that have ended, or drove long enough, back or somewhere else.

        Args:
            has_ended: Which have [B].
            before: Where they were at the beginning of the window that is over.
        """
        config = self.agent.config
        self.ages = self.ages + config.horizon
        # Drawn for all, so that the draws do not depend on how many there are.
        draws = torch.rand(len(has_ended), generator=self.agent.generator)
        is_again = has_ended & (draws < config.retry_share)
        is_new = (has_ended & ~is_again) | (self.ages > config.max_decisions)
        starts = self._starts(len(is_new))
        self.cars = self.cars.where(is_again, self.earlier).where(is_new, starts)
        # Who goes back may do so again; who is new has no earlier place yet.
        self.earlier = before.where(is_again, self.earlier).where(is_new, starts)
        self.last = torch.where((is_again | is_new)[:, None], 0.0, self.last)
        self.ages = torch.where(is_new, 0, self.ages)

    def _starts(self, size: int) -> Cars:
        """Cars somewhere on the circuits, half of them anywhere across the road."""
        generator = self.agent.generator
        draws = torch.rand(size, 6, generator=generator)
        circuits = torch.randint(len(self.roads.tracks), (size,), generator=generator)
        distance = draws[:, 0] * 0.9999 * self.roads.lengths[circuits]
        road = self.roads.at(circuits, distance)
        width = road[:, Roads.RIGHT] + road[:, Roads.LEFT] - 2 * HALF_WIDTH
        anywhere = HALF_WIDTH - road[:, Roads.RIGHT] + draws[:, 1] * width
        offset = torch.where(draws[:, 2] < 0.5, 2 * draws[:, 1] - 1, anywhere)
        # As fast as the road ahead allows a grip of about 1.5 at most: what no driver could save
        # teaches nothing.
        ahead = torch.arange(0.0, START_AHEAD, 4.0)
        bends = self.roads.at(circuits, distance[:, None] + ahead)[..., Roads.CURVATURE].abs()
        fastest = (START_ACCELERATION / bends.amax(1).clamp_min(1e-4)).sqrt().clamp(8.0, 60.0)
        motion = torch.zeros(size, NUM_MOTIONS)
        motion[:, Motion.VX] = 8.0 + (fastest - 8.0) * draws[:, 3]
        motion[:, Motion.HEAT :] = 75.0 + 40.0 * draws[:, 4:5]
        heading = 0.2 * (draws[:, 5] - 0.5)
        return cars_at(self.roads, circuits, motion, distance, offset, heading)

    def state_dict(self) -> dict[str, Any]:
        """Networks, optimizers, cars and generator."""
        agent = self.agent
        return {
            "policy": agent.policy.state_dict(),
            "values": agent.values.state_dict(),
            "slow_values": agent.slow_values.state_dict(),
            "policy_optimizer": agent.policy_optimizer.state_dict(),
            "value_optimizer": agent.value_optimizer.state_dict(),
            "generator": agent.generator.get_state(),
            "cars": self.cars.tensors(),
            "earlier": self.earlier.tensors(),
            "last": self.last,
            "ages": self.ages,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over what `state_dict` gave."""
        agent = self.agent
        agent.policy.load_state_dict(state["policy"])
        agent.values.load_state_dict(state["values"])
        agent.slow_values.load_state_dict(state["slow_values"])
        agent.policy_optimizer.load_state_dict(state["policy_optimizer"])
        agent.value_optimizer.load_state_dict(state["value_optimizer"])
        agent.generator.set_state(state["generator"])
        self.cars, self.earlier = Cars(*state["cars"]), Cars(*state["earlier"])
        self.last, self.ages = state["last"], state["ages"]

    def fingerprint(self) -> dict[str, Any]:
        """Which run this is."""
        return {"num_updates": self.num_updates, "num_circuits": len(self.roads.tracks)}
