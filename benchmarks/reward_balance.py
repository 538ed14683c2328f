"""How to make one reward of several: fixed weights, and weights that are adapted while training.

The components are those that the symbolic tasks name: `goal`, the environment's, and `prediction`,
minus the error of the agent's own world model. Whatever the rule, the weights add up to what the
fixed ones do by default, so that rules differ in the balance alone.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from wm_agents.policy_gradient.collector import StackedBatch
from wm_agents.policy_gradient.reinforce import Reinforce
from wm_agents.policy_gradient.reinforce_updates import rewards_to_go

COMPONENTS = ("goal", "prediction")
SUM_OF_WEIGHTS = 1.1
EVERY = 10
"""Updates between two changes of the weights."""
AVERAGE = 0.8
"""Share of the earlier value in a moving average, per change."""
SMALLEST = 1e-3
MAX_MULTIPLIER = 10.0


@dataclass
class Balance:
    """The rule by which weights change, and what it remembers of S runs.

    Attributes:
        rule: "fixed"; "gradient norm", weights inversely as the norm of each component's policy
            gradient (after Chen et al. 2018, "GradNorm", with equal rates); "uncertainty", inversely
            as the variance of each component's return, which is where the learned variances of
            Kendall et al. (2018, eq. 10) come to rest; "constrained", a multiplier on the prediction
            that grows while its error is above `limit` and falls below it (dual ascent).
        fixed: Weights of the rule "fixed", in any unit.
        limit: Of the rule "constrained", as a share of the first batch's error.
    """

    rule: str = "fixed"
    fixed: tuple[float, float] = (1.0, 0.1)
    limit: float = 0.75
    memory: dict[str, NDArray[np.float64]] = field(default_factory=dict)

    def average(self, name: str, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """The moving average of what is called `name`."""
        before = self.memory.get(name, values)
        self.memory[name] = AVERAGE * before + (1 - AVERAGE) * values
        return self.memory[name]


class BalancedReinforce(Reinforce):
    """REINFORCE with weights of its own for each reward component and run.

    Args:
        env: As `Reinforce` takes it.
        config: Likewise, with a world model.
        balance: The rule of the weights.
        **options: As `Reinforce` takes them.
    """

    def __init__(self, env: Any, config: Any, balance: Balance, **options: Any) -> None:
        super().__init__(env, config, **options)
        self.balance = balance
        self.component_weights = self._normalized(np.tile(balance.fixed, (config.num_seeds, 1)))

    def _normalized(self, weights: NDArray[np.float64]) -> NDArray[np.float64]:
        return SUM_OF_WEIGHTS * weights / weights.sum(1, keepdims=True)

    def _scalarized(self, rewards: Tensor, intrinsic: Tensor) -> Tensor:
        weights = torch.from_numpy(self.component_weights).float()[:, :, None, None]
        return weights[:, 0] * rewards + weights[:, 1] * intrinsic

    def _train_on(self, batch: StackedBatch) -> Any:
        if self.balance.rule != "fixed" and self.num_updates % EVERY == 0:
            self.component_weights = self._normalized(self._new_weights(batch))
        return super()._train_on(batch)

    def _new_weights(self, batch: StackedBatch) -> NDArray[np.float64]:
        """Weights [S, 2] by the rule, before they are normalized."""
        actions = batch.actions.flatten(1, 2)
        with torch.no_grad():
            error = self._prediction_errors(self._tokens(batch), actions, batch)
        error = error.view_as(batch.rewards) * batch.mask
        if self.balance.rule == "constrained":
            return self._multiplied(error.mean((1, 2)).double().numpy())
        to_go = [rewards_to_go(rewards, self.config.gamma) for rewards in (batch.rewards, -error)]
        advantages = [part - part.mean(1, keepdim=True) for part in to_go]  # [S, R, T]
        if self.balance.rule == "uncertainty":
            size = np.stack([part.var((1, 2)).double().numpy() for part in advantages], 1)
        else:
            size = np.stack([self._gradient_norms(part, batch) for part in advantages], 1)
        return 1 / (self.balance.average("size", size) + SMALLEST)

    def _multiplied(self, error: NDArray[np.float64]) -> NDArray[np.float64]:
        """One step of the multiplier [S] on the prediction."""
        first = self.balance.memory.setdefault("first error", error)
        present = self.balance.average("error", error)
        multiplier = self.balance.memory.get("multiplier", np.full(len(error), 0.1))
        multiplier = multiplier + present / first - self.balance.limit
        self.balance.memory["multiplier"] = np.clip(multiplier, 0.0, MAX_MULTIPLIER)
        return np.stack([np.ones(len(error)), self.balance.memory["multiplier"]], 1)

    def _gradient_norms(self, advantage: Tensor, batch: StackedBatch) -> NDArray[np.float64]:
        """Norm [S] of the policy gradient of one component's advantage [S, R, T]."""
        log_probs = self._policy_terms(self._tokens(batch), batch.actions.flatten(1, 2))[0]
        loss = -(log_probs * advantage.flatten(1)).mean(1).sum()
        norms: NDArray[np.float64] = self.model.backward(loss).norm(dim=1).double().numpy()
        return norms


def vector_returns(agent: Reinforce, num_episodes: int) -> NDArray[np.float64]:
    """Mean return of each component [S, 2] over greedy episodes, in the order of COMPONENTS.

    As MO-Gymnasium reports them: not weighted, and summed over an episode.
    """
    batch = agent.evaluate(num_episodes)
    errors = agent.prediction_error(batch)
    steps = batch.mask.sum(2).mean(1).double().numpy()
    return np.stack([batch.returns.mean(1), -errors * steps], 1)


def hypervolume(points: ArrayLike, reference: ArrayLike) -> float:
    """Area that points [N, 2] dominate above a reference point [2]; both numbers are maximized.

    Points that are not above the reference in both add nothing.
    """
    corner = np.asarray(reference, np.float64)
    gains = np.asarray(points, np.float64) - corner
    area, height = 0.0, 0.0
    # From the right, each point adds the strip by which it rises above those before it.
    for width, rise in gains[np.argsort(-gains[:, 0])]:
        if width > 0 and rise > height:
            area += width * (rise - height)
            height = rise
    return float(area)
