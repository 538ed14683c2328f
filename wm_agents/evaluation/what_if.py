"""What if another action had been taken: the error of the difference that it makes.

Model and truth start at the same states and imagine two futures each, one under the given actions
and one in which the first action is another. A model can be wrong about both futures and right
about what the action changes, which is what a planner compares, or the other way round.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from torch import Tensor

from wm_agents.errors import ConfigError, SpaceError
from wm_agents.evaluation.charts import counted, percent
from wm_agents.evaluation.error_tables import NON_FINITE_ERROR
from wm_agents.evaluation.open_loop import feature_scale
from wm_agents.protocols import Rollout, WorldModel
from wm_agents.training.config_checks import checked_seed, require_integers
from wm_agents.training.fitted import check_fitted
from wm_envs.data.display import short_repr

Array = NDArray[np.float64]


@dataclass(frozen=True)
class WhatIf:
    """Errors in standard deviations of the features, root mean squares over pairs and features.

    Attributes:
        plain: Error of the future under the given actions [H].
        difference: Error of the difference between both futures [H].
        effect: Size of the true difference [H]: the error of a model for which actions change
            nothing.
        by_feature: Error of the difference of each feature after H steps, by name.
        num_pairs: Pairs of futures that go on so long [H].
        num_without_effect: Pairs in which the action changed nothing at all.
    """

    plain: Array
    difference: Array
    effect: Array
    by_feature: dict[str, float]
    num_pairs: NDArray[np.int64]
    num_without_effect: int

    __repr__ = short_repr

    @property
    def horizon(self) -> int:
        """H."""
        return len(self.plain)

    def explained(self, step: int) -> float:
        """Share of what the action changed that the model gets right after `step` steps.

        1 is all; 0 is as good as saying that nothing changes; NaN where nothing does.
        """
        effect = self.effect[step - 1]
        if not effect > 0:
            return float("nan")
        return float(1 - (self.difference[step - 1] / effect) ** 2)

    def summary(self) -> dict[str, float]:
        """Flat names to numbers, after 1, H / 2 and H steps."""
        numbers = {}
        for step in sorted({1, max(1, self.horizon // 2), self.horizon}):
            numbers[f"what_if_error_h{step}"] = float(self.difference[step - 1])
            numbers[f"what_if_effect_h{step}"] = float(self.effect[step - 1])
            numbers[f"what_if_plain_h{step}"] = float(self.plain[step - 1])
            numbers[f"what_if_explained_h{step}"] = self.explained(step)
        return {name: value for name, value in numbers.items() if np.isfinite(value)}

    def __str__(self) -> str:
        last = int(np.flatnonzero(self.num_pairs)[-1]) + 1
        explained = self.explained(last)
        found = f"error {self.difference[last - 1]:.2g} of an effect of {self.effect[last - 1]:.2g}"
        if not np.isfinite(explained):
            return f"In {counted(last, 'step')} no other action changed anything."
        if explained <= 0:
            return (
                f"After {counted(last, 'step')} it is no better at what another first action "
                f"changes than saying that nothing does ({found} standard deviations)."
            )
        return (
            f"After {counted(last, 'step')} it gets {percent(explained)} of what another first "
            f"action changes ({found} standard deviations; plain error {self.plain[last - 1]:.2g})."
        )


@torch.no_grad()
def what_if(
    model: WorldModel,
    truth: WorldModel,
    observations: Any,
    actions: Any,
    *,
    hidden: tuple[Tensor, ...] = (),
    feature_names: Sequence[str] | None = None,
    seed: int = 0,
) -> WhatIf:
    """Compare what another first action changes, in a model and in the true dynamics.

    Pairs count until either true future ends. A model with memory starts without any.

    Args:
        model: The world model.
        truth: The true dynamics, such as an `OracleModel` or `true_model` of classic control.
        observations: Where both start [B, O].
        actions: What is done [B, H] or [B, H, A].
        hidden: What the truth needs beside observations, such as `OracleModel.hidden_of(states)`.
            Their time limit must lie beyond H steps, see `counterfactual_starts`.
        feature_names: Names of the O features; None numbers them.
        seed: Draws the other actions: any other of a Discrete space, a uniform one of a Box.

    Raises:
        SpaceError: Shapes that do not fit, or a space with a single action.
        ConfigError: A Box of actions without bounds; names that do not fit.
        NotFittedError: The model was never fitted.
    """
    seed = checked_seed(seed)
    check_fitted(model)
    rows = torch.as_tensor(np.asarray(observations, np.float32))
    acts = torch.as_tensor(np.asarray(actions))
    if rows.ndim != 2 or acts.ndim < 2 or len(rows) != len(acts) or not len(rows):
        raise SpaceError(
            f"expected observations [B, O] and actions [B, H, ...], got {tuple(rows.shape)} and "
            f"{tuple(acts.shape)}"
        )
    names = [f"feature {i}" for i in range(rows.shape[1])]
    if feature_names is not None:
        names = list(feature_names)
    if len(names) != rows.shape[1]:
        raise ConfigError(f"{len(names)} names for {rows.shape[1]} features: give each one")
    # A copy: the recorded actions are still needed.
    changed = acts.clone()
    # Only the first action differs: what follows is what it caused.
    changed[:, 0] = other_actions(truth.action_space, acts[:, 0], seed)
    true = [_future(truth, truth.start(rows, hidden), one) for one in (acts, changed)]
    device = getattr(model, "device", None)
    own = [_future(model, model.start(rows.to(device)), one.to(device)) for one in (acts, changed)]
    goes_on = _goes_on(true[0].terminations) & _goes_on(true[1].terminations)  # [B, H]
    ahead = [rollout.observations[:, 1:].double().cpu().numpy() for rollout in (*true, *own)]
    # Units of the true futures themselves.
    seen = np.concatenate([rows.numpy()[:, None], ahead[0]], 1).reshape(-1, rows.shape[1])
    scale, _ = feature_scale(seen, seen)
    effect = (ahead[1] - ahead[0]) / scale
    plain = _bounded((ahead[2] - ahead[0]) / scale)
    # The error of the difference, in which an error that both futures share cancels.
    difference = _bounded((ahead[3] - ahead[2]) / scale - effect)
    counts = goes_on.sum(axis=0)
    last = int(np.flatnonzero(counts)[-1]) if counts.any() else 0
    # The last step that any pair reaches.
    by_feature = np.sqrt((difference[goes_on[:, last], last] ** 2).mean(0))
    return WhatIf(
        plain=_rms(plain, goes_on),
        difference=_rms(difference, goes_on),
        effect=_rms(effect, goes_on),
        by_feature=dict(zip(names, by_feature.tolist(), strict=True)),
        num_pairs=counts,
        num_without_effect=int((~(effect != 0).any(axis=(1, 2))).sum()),
    )


def other_actions(space: gym.Space[Any], actions: Tensor, seed: int) -> Tensor:
    """Another action for each row [B] or [B, A].

    Raises:
        SpaceError: There is but one.
        ConfigError: A Box without bounds.
    """
    generator = np.random.default_rng(checked_seed(seed))
    if isinstance(space, spaces.Discrete):
        if space.n < 2:
            raise SpaceError(f"{space} has no other action")
        # 1 to n - 1 further on is another action, each as likely.
        steps = torch.as_tensor(generator.integers(1, int(space.n), len(actions)))
        first = int(space.start)
        return (actions - first + steps) % int(space.n) + first
    low, high = np.asarray(getattr(space, "low", np.inf)), np.asarray(getattr(space, "high", 0))
    if not np.isfinite(low).all() or not np.isfinite(high).all():
        raise ConfigError(f"other actions are drawn between bounds, {space} has none: scale it")
    drawn = generator.uniform(low, high, (len(actions), *low.shape))
    return torch.as_tensor(drawn).to(actions)


def counterfactual_starts(
    envs: Any, num_starts: int, horizon: int, *, seed: int = 0
) -> tuple[NDArray[np.float32], NDArray[Any], NDArray[Any]]:
    """Observations [N, O], states [N] and actions [N, H, ...] of random play, for `what_if`.

    Only starts after which no episode ends for `horizon` steps count, so that no time limit does.

    Args:
        envs: A vector environment with `clone_state()`, as those of the `wm/` ids.
        num_starts: N.
        horizon: H.
        seed: Of the environments and the actions.

    Raises:
        ConfigError: Environments that cannot be cloned, or whose episodes are too short.
    """
    require_integers(1, num_starts=num_starts, horizon=horizon)
    inner = getattr(envs, "unwrapped", envs)
    if not hasattr(inner, "clone_state"):
        raise ConfigError(f"{envs} has no clone_state(): give gym.make_vec of a wm/ id")
    envs.action_space.seed(seed)
    observations, _ = envs.reset(seed=seed)
    seen, states, acts, ended = [], [], [], []
    found: list[tuple[int, int]] = []
    # Long enough for starts within episodes that end often.
    for step in range(20 * (horizon + 1) + 10 * num_starts):
        seen.append(np.asarray(observations, np.float32))
        states.append(inner.clone_state())
        acts.append(envs.action_space.sample())
        observations, _, terminated, truncated, _ = envs.step(acts[-1])
        ended.append(terminated | truncated)
        first = step + 1 - horizon
        # The first reset is no start: all rows begin alike there.
        if first >= 1:
            # In next-step autoreset the step after an end resets, so it is no start either.
            is_quiet = ~np.any(ended[first - 1 : step + 1], axis=0)
            found += [(first, int(row)) for row in np.flatnonzero(is_quiet)]
        # More than needed, from which some are drawn.
        if len(found) >= 4 * num_starts:
            break
    if len(found) < num_starts:
        raise ConfigError(
            f"only {len(found)} of {num_starts} starts have {horizon} steps ahead of them: give a "
            "shorter horizon or fewer starts"
        )
    order = np.random.default_rng(checked_seed(seed)).permutation(len(found))[:num_starts]
    chosen = [found[place] for place in order]
    return (
        np.stack([seen[step][row] for step, row in chosen]),
        np.stack([states[step][row] for step, row in chosen]),
        np.stack([[acts[step + h][row] for h in range(horizon)] for step, row in chosen]),
    )


def _future(model: WorldModel, start: Any, actions: Tensor) -> Rollout:
    return model.rollout(start, actions)


def _goes_on(terminations: Tensor) -> NDArray[np.bool_]:
    """Whether a true future has not ended before step h + 1 [B, H]."""
    ended = np.cumsum(terminations.cpu().numpy() > 0.5, axis=1)
    before = np.concatenate([np.zeros((len(ended), 1)), ended[:, :-1]], axis=1)
    goes_on: NDArray[np.bool_] = before == 0
    return goes_on


def _bounded(errors: Array) -> Array:
    finite = np.where(np.isfinite(errors), errors, NON_FINITE_ERROR)
    return np.clip(finite, -NON_FINITE_ERROR, NON_FINITE_ERROR)


def _rms(values: Array, mask: NDArray[np.bool_]) -> Array:
    """Over masked rows and features [H]; NaN where none is left."""
    sums = (np.square(values).mean(axis=2) * mask).sum(axis=0)
    counts = mask.sum(axis=0)
    return np.sqrt(np.divide(sums, counts, out=np.full_like(sums, np.nan), where=counts > 0))
