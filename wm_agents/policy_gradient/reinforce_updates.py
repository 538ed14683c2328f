"""The updates of REINFORCE: its loss terms and the step down them, for many stacked runs at once.

Williams (1992), "Simple statistical gradient-following algorithms for connectionist reinforcement
learning", eq. 11, with reward to go, a baseline, an entropy bonus, and a head that predicts the raw
next observation from the same tokens that the policy reads.

Letters: S stacked runs, R episodes of each, T steps, O observation, F inputs of a token.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.optim.adam import adam

from wm_agents.errors import ConfigError, NonFiniteError
from wm_agents.policy_gradient.collector import EpisodeCollector, StackedBatch
from wm_agents.policy_gradient.prediction_targets import prediction_targets, target_weights
from wm_agents.policy_gradient.reinforce_config import ReinforceConfig
from wm_agents.policy_gradient.running_standardizer import RunningStandardizer
from wm_agents.policy_gradient.sequence_model import SequenceModel
from wm_agents.policy_gradient.spaces import (
    PolicySpaces,
    categorical_log_probs,
    gaussian_log_probs,
)
from wm_agents.training.curriculum import Curriculum
from wm_agents.training.finite import stacked_gradient_step
from wm_envs.data.display import short_repr

# In units of return: a batch of equal returns must not become noise of unit size.
SMALLEST_SPREAD = 0.05
# Of the moving average of success by which `mastery_decay` lowers the step size, per update.
SUCCESS_DECAY = 0.9
# Of a trust region: how far beyond `target_kl` a step may lead, and how often it is shortened.
TOLERANCE = 1.5
MAX_SHORTENINGS = 4
# First word of a collection's number, so that training and evaluation never share episodes.
TRAINING = 0
EVALUATION = 1


@dataclass(frozen=True)
class UpdateReport:
    """One update of all stacked runs, what a callback receives.

    Attributes:
        update: Updates done so far.
        num_steps: Environment steps of each run so far [S].
        num_episodes: Episodes of each run so far.
        metrics: Name to one number per run [S]: the loss terms, "return", "success" where known,
            "gradient_norm".
    """

    update: int
    num_steps: NDArray[np.int64]
    num_episodes: int
    metrics: dict[str, NDArray[np.float64]]

    __repr__ = short_repr

    def means(self, names: Sequence[str] | None = None) -> dict[str, float]:
        """Means over runs, of these metrics where they exist, or of all."""
        return {
            # One run is most common, and NumPy's mean takes longer than a loss term.
            name: float(values[0] if len(values) == 1 else values.mean())
            for name in names or self.metrics
            if (values := self.metrics.get(name)) is not None
        }


class FlatAdam:
    """Adam (Kingma & Ba 2015, algorithm 1) on one flat tensor.

    PyTorch's fused step without its optimizer's upkeep.

    Args:
        parameters: Changed in place.
        learning_rate: Step size, which may be changed between steps.
    """

    def __init__(self, parameters: Tensor, learning_rate: float) -> None:
        self._parameters = parameters
        self.learning_rate = learning_rate
        self.moments = {
            "first": torch.zeros_like(parameters),
            "second": torch.zeros_like(parameters),
            "step": torch.zeros((), device=parameters.device),
        }

    def step(self, gradient: Tensor) -> None:
        """Descend along a gradient of the parameters' shape."""
        adam(
            [self._parameters],
            [gradient],
            [self.moments["first"]],
            [self.moments["second"]],
            [],
            [self.moments["step"]],
            fused=True,
            amsgrad=False,
            beta1=0.9,
            beta2=0.999,
            lr=self.learning_rate,
            weight_decay=0.0,
            eps=1e-8,
            maximize=False,
        )


class StackedReinforce:
    """What S stacked runs learn from a batch of their episodes.

    Args:
        config: How to train.
        known: The environment's spaces.
        model: The networks.
        collector: Plays the episodes.
        curriculum: Of the level that each run plays; None for a single level.
        seed: Draws which episodes are confused where targets are shuffled.
    """

    def __init__(
        self,
        config: ReinforceConfig,
        known: PolicySpaces,
        model: SequenceModel,
        collector: EpisodeCollector,
        curriculum: Curriculum[int] | None,
        seed: int,
    ) -> None:
        self.config = config
        self.spaces = known
        self.model = model
        self.collector = collector
        self.curriculum = curriculum
        self.seed = seed
        self.device = model.device
        self.num_updates = 0
        self.num_steps = np.zeros(config.num_seeds, np.int64)
        self._optimizer = FlatAdam(model.flat, config.learning_rate)
        self._weights = {
            name: weight for name, weight in vars(config.weights).items() if weight > 0
        }
        self._term_weights: Tensor | None = None  # the same, in the order of the terms
        self._target_weights = target_weights(
            config.world_model_target, config.ignored_targets, known.observations.size
        )
        shape = (config.num_seeds, config.max_episode_steps)
        self._baseline = np.full(shape, np.nan, np.float32)
        self._next_baseline = self._baseline  # becomes the baseline once an update has succeeded
        self._success = np.zeros(config.num_seeds)  # moving average at the last level [S]

    def _update(self) -> UpdateReport:
        levels = None
        if self.curriculum is not None:
            levels = [self.curriculum.level(member) for member in range(self.config.num_seeds)]
        number = (TRAINING, self.num_updates)
        batch = self.collector.collect(self.model, self.config.episodes_per_update, number, levels)
        if self.curriculum is not None and batch.successes is None:
            raise ConfigError(
                'this environment reports no info["is_success"], by which levels advance: train on '
                "one that does"
            )
        if self.config.mastery_decay and batch.successes is None:
            raise ConfigError(
                'this environment reports no info["is_success"], which mastery_decay goes by: set '
                "it to 0"
            )
        input_units = self.model.input_units
        target_units = self.model.target_units
        mask = None if bool(batch.mask.all()) else batch.mask
        seen = self._updated(input_units, batch.inputs, mask)
        try:
            self.model.target_units = self._updated(target_units, batch.next_observations, mask)
            if seen.is_far_from(input_units):
                # Raw numbers of a large unit would give errors of that size, in which all else is
                # lost. So this batch is read in the new units, though the policy that acted read
                # the old ones.
                self.model.input_units = seen
                batch = replace(batch, first_tokens=None)
            metrics, bonus = self._train_on(batch)
        except BaseException:
            self.model.input_units = input_units
            self.model.target_units = target_units
            raise
        self._baseline = self._next_baseline
        # Otherwise only now, so that the policy that is trained is the one that acted.
        self.model.input_units = seen
        metrics["return"] = batch.returns.mean(1)
        metrics["prediction_reward"] = bonus
        if batch.successes is not None:
            metrics["success"] = batch.successes.mean(1)
            self._record_success(metrics["success"], levels)
            if self.curriculum is not None:
                self.curriculum.record(batch.successes)
        self.num_updates += 1
        self.num_steps += batch.num_steps
        num_episodes = self.num_updates * self.config.episodes_per_update
        return UpdateReport(self.num_updates, self.num_steps.copy(), num_episodes, metrics)

    def _record_success(self, rates: NDArray[np.float64], levels: Sequence[int] | None) -> None:
        """Take success rates [S] at these levels into the average at the last level.

        Mastery of an easier level is no reason to learn less.
        """
        at_last = np.ones(len(rates), np.bool_)
        if levels is not None:
            at_last = np.array(levels) == len(self.collector.makers) - 1
        average = SUCCESS_DECAY * self._success + (1 - SUCCESS_DECAY) * rates
        self._success = np.where(at_last, average, self._success)

    def _updated(
        self, units: RunningStandardizer, rows: Tensor, mask: Tensor | None
    ) -> RunningStandardizer:
        """Units that have also seen the steps [S, R, T, ...] that happened; None is all of them."""
        if not self.config.normalize_observations:
            return units
        return units.updated(rows.flatten(1, 2), None if mask is None else mask.flatten(1))

    def _train_on(
        self, batch: StackedBatch
    ) -> tuple[dict[str, NDArray[np.float64]], NDArray[np.float64]]:
        """One step down the losses of a batch.

        Their values by name, the gradient's norm, and the intrinsic reward.
        """
        terms, bonus = self._losses(batch)
        assert terms.keys() == self._weights.keys(), "every loss term has one weight"
        caution = None
        if self.config.mastery_decay:
            caution = torch.from_numpy((1 - self._success) ** self.config.mastery_decay).float()
            caution = caution.to(self.device)
            if "entropy" in terms:
                terms["entropy"] = terms["entropy"] * caution
        values = torch.stack(list(terms.values()))
        metrics = dict(zip(terms, values.detach().cpu().double().numpy(), strict=True))
        self._check_finite(metrics, batch)
        if self._term_weights is None:
            named = [self._weights[name] for name in terms]
            self._term_weights = torch.tensor(named, device=self.device)
        loss = (self._term_weights @ values).sum()
        if caution is None and self.config.target_kl is None:
            metrics["gradient_norm"] = self._descend(loss)
            return metrics, bonus
        before = self.model.flat.clone()
        old = None if self.config.target_kl is None else self._log_probs(batch)
        metrics["gradient_norm"] = self._descend(loss)
        if caution is not None:
            self._shorten(before, caution)
        if old is not None:
            metrics["kl"] = self._stay_near(before, old, batch).cpu().double().numpy()
        return metrics, bonus

    def _shorten(self, before: Tensor, shares: Tensor) -> None:
        """Go back to these shares [S] of the step from parameters [S, P] to the present ones."""
        with torch.no_grad():
            self.model.flat.copy_(torch.lerp(before, self.model.flat, shares[:, None]))

    def _stay_near(self, before: Tensor, old: Tensor, batch: StackedBatch) -> Tensor:
        """Shorten the step to the trust region, and give the divergence [S] from where it began."""
        target = self.config.target_kl
        assert target is not None
        for _ in range(MAX_SHORTENINGS):
            divergence = self._divergence(old, batch)
            if bool((divergence <= TOLERANCE * target).all()):
                return divergence
            # It grows with the square of a short step; after a long one this takes several turns.
            self._shorten(before, (target / divergence).sqrt().clamp(max=1.0))
        return self._divergence(old, batch)

    @torch.no_grad()
    def _log_probs(self, batch: StackedBatch) -> Tensor:
        """Log probability [S, R * T] of a batch's actions under the present parameters."""
        # Tokens that the collection kept are those of the parameters that acted.
        tokens = self._tokens(replace(batch, first_tokens=None))
        return self._policy_terms(tokens, batch.actions.flatten(1, 2).to(self.device))[0]

    def _divergence(self, old: Tensor, batch: StackedBatch) -> Tensor:
        """KL divergence [S] of the policy of log probabilities `old` [S, R * T] from the present.

        Estimated on the batch's own actions by mean(ratio - 1 - log ratio), which is never negative
        (Schulman 2020, "Approximating KL divergence").
        """
        log_ratio = self._log_probs(batch) - old
        mask = batch.mask.flatten(1).to(self.device)
        terms = (log_ratio.exp() - 1 - log_ratio) * mask
        return (terms.sum(1) / mask.sum(1)).clamp(min=1e-12)

    def _losses(self, batch: StackedBatch) -> tuple[dict[str, Tensor], NDArray[np.float64]]:
        """Each loss term per run [S], and the mean intrinsic reward per run."""
        weights = self.config.weights
        num_seeds, num_rows, num_steps = batch.mask.shape
        tokens = self._tokens(batch)
        mask = batch.mask.flatten(1).to(self.device)
        # So that a sum over R * T is a mean over the steps that happened.
        share = mask / mask.sum(1, keepdim=True)  # [S, R * T]
        actions = batch.actions.flatten(1, 2).to(self.device)
        log_probability, entropy = self._policy_terms(tokens, actions)
        terms: dict[str, Tensor] = {}
        rewards = batch.rewards
        bonus = np.zeros(num_seeds)
        if weights.world_model > 0:
            error = self._prediction_errors(tokens, actions, batch)
            terms["world_model"] = (error * share).sum(1)
            intrinsic = -error.detach().cpu().view(num_seeds, num_rows, num_steps) * batch.mask
            # The intrinsic reward is minus the error: what the policy does is to be predictable.
            rewards = self._scalarized(rewards, intrinsic)
            bonus = intrinsic.sum(-1).mean(1).double().numpy()
        if self.config.baseline == "value" and self.config.gamma < 1:
            rewards = rewards + self._bootstraps(batch)
        to_go = rewards_to_go(rewards, self.config.gamma).to(self.device)
        if weights.value > 0:
            # With the moving baseline the head only looks on: it does not shape the tokens.
            read = tokens if self.config.baseline == "value" else tokens.detach()
            values = self.model.value(read)
            terms["value"] = 0.5 * ((values - to_go.flatten(1)).square() * share).sum(1)
        if self.config.baseline == "value":
            baseline = values.detach().view_as(to_go)
        else:
            baseline = self._moving_baseline(to_go, batch.mask).to(self.device)
        advantage = (to_go - baseline).flatten(1)
        if self.config.normalize_advantage:
            size = (advantage.square() * share).sum(1, keepdim=True).sqrt()
            advantage = advantage / (size + SMALLEST_SPREAD)
        if weights.policy > 0:
            terms["policy"] = -(log_probability * advantage * share).sum(1)
        if weights.entropy > 0:
            terms["entropy"] = -(entropy * share).sum(1)
        return terms, bonus

    def _scalarized(self, rewards: Tensor, intrinsic: Tensor) -> Tensor:
        """One reward [S, R, T] of the environment's and the world model's; a study may weigh anew."""
        return rewards + self.config.prediction_reward_weight * intrinsic

    def _bootstraps(self, batch: StackedBatch) -> Tensor:
        """What the last reward of truncated episodes lacks [S, R, T].

        That is the discounted value of what came after it. Without a discount there is none: the
        return of an endless episode has no bound, and its estimate would grow by its own values.
        """
        missing = torch.zeros_like(batch.rewards)
        if not bool(batch.truncations.any()):
            return missing
        lengths = batch.mask.sum(2, keepdim=True).long()  # [S, R, 1]
        with torch.no_grad():
            tokens = self.model.encode(batch.all_inputs.to(self.device))  # [S, R, T + 1, D]
            places = lengths.to(self.device).unsqueeze(-1)
            last = tokens.gather(2, places.expand(-1, -1, 1, tokens.shape[-1])).squeeze(2)
            values = self.model.value(last).cpu()  # [S, R]
        worth = (self.config.gamma * values * batch.truncations).unsqueeze(-1)
        return missing.scatter(2, lengths - 1, worth)

    def prediction_error(self, batch: StackedBatch) -> NDArray[np.float64]:
        """Mean squared error [S] of predicted next observations, in the environment's units.

        A mean over steps and features. The loss and the intrinsic reward are in standardized units,
        which are these where observations are one-hots. Of two predicted steps it is the first.

        Raises:
            ConfigError: Latents are predicted, which have no such units.
        """
        if self.config.world_model_target == "latent":
            raise ConfigError(
                'prediction_error needs predicted observations, not world_model_target="latent"'
            )
        with torch.no_grad():
            actions = batch.actions.flatten(1, 2).to(self.device)
            differences = self._prediction_differences(self._tokens(batch), actions, batch)
            differences = differences[..., : self.spaces.observations.size]
            differences = self.model.target_units.raw_errors(differences)
        errors = differences.square().mean(-1).cpu() * batch.mask.flatten(1)  # [S, R * T]
        means: NDArray[np.float64] = (errors.sum(1) / batch.mask.sum((1, 2))).double().numpy()
        return means

    def representation(self, batch: StackedBatch) -> Tensor:
        """The tokens [S, R, T, D] that all heads read, for probes of what was learned."""
        with torch.no_grad():
            return self._tokens(batch).view(*batch.mask.shape, -1)

    def _tokens(self, batch: StackedBatch) -> Tensor:
        """Tokens [S, R * T, D].

        Those of the collection itself where it kept them with their graph.
        """
        if batch.first_tokens is not None and batch.first_tokens.requires_grad:
            return batch.first_tokens
        if batch.mask.shape[2] == 1:
            return self.model.encode_first(batch.inputs.squeeze(2).to(self.device))[0]
        return self.model.encode(batch.inputs.to(self.device)).flatten(1, 2)

    def _policy_terms(self, tokens: Tensor, actions: Tensor) -> tuple[Tensor, Tensor]:
        """Log probability and entropy [S, R * T] of the executed actions.

        Of Box actions in units of their bounds.
        """
        outputs = self.model.policy(tokens)
        if self.spaces.is_continuous:
            log_std = self.model.parameters["log_std"]
            spread = self.model.action_spread()
            log_probability, entropy = gaussian_log_probs(actions, outputs, spread, log_std)
            return log_probability, entropy.expand_as(log_probability)
        return categorical_log_probs(actions, outputs)

    def _prediction_errors(self, tokens: Tensor, actions: Tensor, batch: StackedBatch) -> Tensor:
        """Squared error of the prediction, a mean over the features that count [S, R * T].

        In units of the targets.
        """
        squares = self._prediction_differences(tokens, actions, batch).square()
        if self._target_weights is not None:
            return squares @ self._target_weights.to(squares.device)
        return squares.mean(-1)

    def _prediction_differences(
        self, tokens: Tensor, actions: Tensor, batch: StackedBatch
    ) -> Tensor:
        """What the head predicts less what it should [S, R * T, O], or as many as it predicts.

        In units of the targets.
        """
        predicted = self.model.next_observation(tokens, self.spaces.action_inputs(actions))
        seeds = (self.seed, self.num_updates)
        name = self.config.world_model_target
        return predicted - prediction_targets(name, batch, self.model, seeds)

    def _moving_baseline(self, to_go: Tensor, mask: Tensor) -> Tensor:
        """The average return to go at each step [S, 1, T] before this batch.

        The batch enters the next average.
        """
        num_steps = to_go.shape[2]
        count = mask.sum(1).clamp(min=1)
        means = ((to_go.cpu() * mask).sum(1) / count).numpy()
        past = self._baseline[:, :num_steps]
        known = np.where(np.isnan(past), means, past)
        decay = self.config.baseline_decay
        self._next_baseline = self._baseline.copy()
        self._next_baseline[:, :num_steps] = np.where(
            mask.any(1), decay * known + (1 - decay) * means, past
        )
        return torch.from_numpy(known[:, None].astype(np.float32))

    def _descend(self, loss: Tensor) -> NDArray[np.float64]:
        """One step of Adam with each run's gradient clipped by its own norm.

        Gives the norms [S] before clipping.
        """
        gradient = self.model.backward(loss)
        place = f"at update {self.num_updates}"
        return stacked_gradient_step(
            gradient, self._optimizer.step, self.config.max_grad_norm, place
        )

    def _check_finite(
        self, metrics: Mapping[str, NDArray[np.float64]], batch: StackedBatch
    ) -> None:
        for name, values in metrics.items():
            if math.isfinite(values.sum()):
                continue
            run = int(np.flatnonzero(~np.isfinite(values))[0])
            remedy = "scale the observations and rewards or lower learning_rate"
            if not _is_finite(batch):
                remedy = "repair the environment, whose observations or rewards are not finite"
            raise NonFiniteError(
                f"{name} of run {run} is {values[run]} at update {self.num_updates}: nothing was "
                f"updated; {remedy}"
            )


def _is_finite(batch: StackedBatch) -> bool:
    values = (batch.inputs, batch.next_observations, batch.rewards)
    return all(bool(tensor.isfinite().all()) for tensor in values)


def rewards_to_go(rewards: Tensor, gamma: float) -> Tensor:
    """Discounted sums of the rewards [..., T] from each step on."""
    if rewards.shape[-1] == 1:
        return rewards
    to_go = torch.empty_like(rewards)
    running = torch.zeros_like(rewards[..., 0])
    for step in reversed(range(rewards.shape[-1])):
        running = rewards[..., step] + gamma * running
        to_go[..., step] = running
    return to_go
