"""REINFORCE with a world-model auxiliary loss, for many seeds at once.

Williams (1992), "Simple statistical gradient-following algorithms for connectionist reinforcement
learning", eq. 11, with reward to go, a baseline, an entropy bonus, and a head that predicts the raw
next observation from the same tokens that the policy reads. `num_seeds` runs train as one batched
program; each has its own network, episodes and randomness.

What is maximised is the return of the episode as it is played: a truncated one counts like a
terminated one, unless the baseline is the value head and the discount below 1, when the value of
the observation after the last step stands in for the rest.
"""

import math
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Self

import gymnasium as gym
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from wm_agents.errors import CheckpointError, ConfigError, NonFiniteError, SpaceError
from wm_agents.networks import choose_device
from wm_agents.observation_rows import observation_rows
from wm_agents.policy_gradient.collector import (
    Collector,
    EpisodeBatch,
    Interface,
    VectorEnvMaker,
    environment_maker,
    sample_categorical,
)
from wm_agents.policy_gradient.flat_adam import FlatAdam
from wm_agents.policy_gradient.reinforce_config import (
    LossWeights,
    ReinforceConfig,
    config_from_dict,
)
from wm_agents.policy_gradient.running_standardizer import RunningStandardiser
from wm_agents.policy_gradient.sequence_model import (
    Cache,
    SequenceModel,
    Sizes,
    num_network_parameters,
)
from wm_agents.training.checkpoints import (
    Checkpoint,
    CheckpointManager,
    as_json,
    load_checkpoint,
    refuse_another_run,
    refusing_misfits,
    save_checkpoint,
)
from wm_agents.training.config_checks import require_integers
from wm_agents.training.curriculum import Curriculum
from wm_agents.training.finite import require_finite
from wm_agents.training.loggers import Logger
from wm_agents.training.progress import progress, say_nothing_left
from wm_agents.training.seeding import spawn_seeds
from wm_envs.data.paths import absolute_options

__all__ = [
    "LossWeights",
    "Reinforce",
    "ReinforceConfig",
    "UpdateReport",
    "choose_device",
    "other_rows",
    "rewards_to_go",
]

KIND = "reinforce"
SMALLEST_SPREAD = (
    0.05  # in units of return: a batch of equal returns must not become noise of unit size
)
HEADLINE = ("success", "return")  # what the progress bar shows
LONGEST_EVALUATION = 100_000  # steps of an episode that nothing ends
_TRAINING, _EVALUATION = (
    0,
    1,
)  # first word of a collection's number, so that the two never share episodes


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

    def means(self, names: Sequence[str] | None = None) -> dict[str, float]:
        """Means over runs, of these metrics where they exist, or of all."""
        return {
            name: float(self.metrics[name].mean())
            for name in names or self.metrics
            if name in self.metrics
        }


Callback = Callable[["Reinforce", UpdateReport], bool | None]


class Reinforce:
    """REINFORCE agents, one per stacked seed, that share an environment id and a configuration.

    Args:
        env: A Gymnasium id, an environment made by `gym.make`, or a function from num_envs to a
            vector environment.
        config: How to train.
        seed: Run k of the stack is seeded with the k-th child of this seed, whatever the number of
            runs.
        env_kwargs: Options of the environment.
        levels: For a curriculum, further options per level; every level has the same spaces.
        mastery: Share of successes over `window` episodes at which a run moves to the next level.
        window: Episodes over which mastery is judged.

    Raises:
        SpaceError: An observation or action space that is neither Box nor Discrete, or for several
            seeds a function's vector environment whose reset takes no list of seeds.
    """

    def __init__(
        self,
        env: str | gym.Env[Any, Any] | VectorEnvMaker,
        config: ReinforceConfig | None = None,
        *,
        seed: int = 0,
        env_kwargs: Mapping[str, Any] | None = None,
        levels: Sequence[Mapping[str, Any]] = ({},),
        mastery: float = 0.8,
        window: int = 100,
    ) -> None:
        self.config = config or ReinforceConfig()
        self.seed = seed
        self.seeds = spawn_seeds(seed, self.config.num_seeds)
        self._env_id = env if isinstance(env, str) else None
        self._options = {
            "env_kwargs": absolute_options(env_kwargs or {}),
            "levels": [absolute_options(level) for level in levels],
            "mastery": mastery,
            "window": window,
        }
        makers = [
            environment_maker(env, {**(env_kwargs or {}), **level}, self.config.num_seeds)
            for level in levels
        ]
        probe = makers[0](1)
        self.interface = Interface(
            probe.single_observation_space, probe.single_action_space, self.config.has_previous_step
        )
        probe.close()
        self.collector = Collector(
            makers, self.interface, self.seeds, self.config.max_episode_steps
        )
        num_levels, num_seeds = len(levels), self.config.num_seeds
        self.curriculum = (
            Curriculum(range(num_levels), mastery, window, num_seeds) if num_levels > 1 else None
        )
        self.device = choose_device(self.config.device)
        self.model = SequenceModel(
            self.config.network,
            self.interface.sizes,
            self.seeds,
            self.device,
            self.interface.action_units,
        )
        self._optimizer = FlatAdam(self.model.flat, self.config.learning_rate)
        self._baseline = np.full(
            (self.config.num_seeds, self.config.max_episode_steps), np.nan, np.float32
        )
        self._next_baseline = self._baseline  # becomes the baseline once an update has succeeded
        self._weights = {
            name: weight for name, weight in vars(self.config.weights).items() if weight > 0
        }
        self._generator = torch.Generator().manual_seed(self.seeds[0])  # of predict()'s draws
        self.num_updates = 0
        self.num_steps = np.zeros(self.config.num_seeds, np.int64)

    def learn(
        self,
        total_timesteps: int,
        callback: Callback | None = None,
        progress_bar: bool = False,
        *,
        logger: Logger | None = None,
        checkpoints: CheckpointManager | None = None,
        checkpoint_every: int = 500,
    ) -> Self:
        """Train until every run has taken this many environment steps, counted from the very first.

        Args:
            total_timesteps: Steps per run, those of earlier calls and before a resumption included;
                a second call has to ask for more, and says so where nothing is left to do.
            callback: Called after every update with the agent and an UpdateReport; False stops.
            progress_bar: Show progress on a terminal.
            logger: Receives the means over runs after every update.
            checkpoints: Where to save, every `checkpoint_every` updates and at the end. An agent
                that has not trained yet goes on from the newest checkpoint there, to the bit as if
                it had never stopped.
            checkpoint_every: In updates.

        Raises:
            ConfigError: A number below 1, or levels of an environment that reports no success to
                advance by.
            CheckpointError: The checkpoints are of another run, or none of them is whole.
            NonFiniteError: A loss or gradient is not finite; parameters and checkpoints are those
                before the update.
        """
        require_integers(1, total_timesteps=total_timesteps, checkpoint_every=checkpoint_every)
        if checkpoints is not None and self.num_updates == 0:
            self.resume(checkpoints)
        done = int(self.num_steps.min())
        if done >= total_timesteps:
            is_resumption = checkpoints is not None
            say_nothing_left(
                "Reinforce", done, total_timesteps, "steps", is_resumption=is_resumption
            )
        with progress(total_timesteps, "reinforce", None if progress_bar else False, done) as bar:
            while self.num_steps.min() < total_timesteps:
                report = self._update()
                if logger is not None:
                    logger.log(int(self.num_steps.mean()), report.means())
                bar.advance(
                    int(self.num_steps.min()) - done,
                    **(report.means(HEADLINE) if progress_bar else {}),
                )
                done = int(self.num_steps.min())
                if checkpoints is not None and self.num_updates % checkpoint_every == 0:
                    checkpoints.save(self.num_updates, *self._state())
                if callback is not None and callback(self, report) is False:
                    break
        if checkpoints is not None and self.num_updates % checkpoint_every:
            checkpoints.save(self.num_updates, *self._state())
        return self

    def evaluate(
        self,
        num_episodes: int = 100,
        *,
        deterministic: bool = True,
        level: int = -1,
        number: int = 0,
        max_episode_steps: int = LONGEST_EVALUATION,
    ) -> EpisodeBatch:
        """Play whole fresh episodes with every run, on seeds that training never uses.

        Args:
            num_episodes: Per run.
            deterministic: Take the likeliest action.
            level: Index into the levels; the last by default.
            number: Names the set of episodes; the same number gives the same set.
            max_episode_steps: Where an episode that nothing ended is cut, with a warning; the limit
                of training does not count here.

        Raises:
            ConfigError: `num_episodes` or `max_episode_steps` below 1.
        """
        require_integers(1, num_episodes=num_episodes, max_episode_steps=max_episode_steps)
        levels = [range(len(self.collector.makers))[level]] * self.config.num_seeds
        with torch.no_grad():
            batch = self.collector.collect(
                self.model,
                num_episodes,
                (_EVALUATION, number),
                levels,
                deterministic,
                max_episode_steps,
            )
        num_cut = int(batch.cuts.sum())
        if num_cut:
            warnings.warn(
                f"{num_cut} of {batch.cuts.numel()} episodes had not ended after {max_episode_steps} steps and "
                "count as they stood: give the environment a time limit, or raise max_episode_steps",
                stacklevel=2,
            )
        return batch

    def _update(self) -> UpdateReport:
        levels = None
        if self.curriculum is not None:
            levels = [self.curriculum.level(member) for member in range(self.config.num_seeds)]
        number = (_TRAINING, self.num_updates)
        batch = self.collector.collect(self.model, self.config.episodes_per_update, number, levels)
        if self.curriculum is not None and batch.successes is None:
            raise ConfigError(
                'this environment reports no info["is_success"], by which levels advance: train on one'
            )
        input_units, target_units = self.model.input_units, self.model.target_units
        seen = self._updated(input_units, batch.inputs, batch.mask)
        try:
            self.model.target_units = self._updated(
                target_units, batch.next_observations, batch.mask
            )
            if seen.is_far_from(input_units):
                # Raw numbers of a large unit would give errors of that size, in which all else is
                # lost. So this batch is read in the new units, though the policy that acted read
                # the old ones.
                self.model.input_units = seen
                batch = replace(batch, first_tokens=None)
            metrics, bonus = self._train_on(batch)
        except BaseException:
            self.model.input_units, self.model.target_units = input_units, target_units
            raise
        self._baseline = self._next_baseline
        self.model.input_units = (
            seen  # otherwise only now, so that the policy that is trained is the one that acted
        )
        metrics["return"] = batch.returns.mean(1)
        metrics["prediction_reward"] = bonus
        if batch.successes is not None:
            metrics["success"] = batch.successes.mean(1)
            if self.curriculum is not None:
                self.curriculum.record(batch.successes)
        self.num_updates += 1
        self.num_steps += batch.num_steps
        num_episodes = self.num_updates * self.config.episodes_per_update
        return UpdateReport(self.num_updates, self.num_steps.copy(), num_episodes, metrics)

    def _updated(
        self, units: RunningStandardiser, rows: Tensor, mask: Tensor
    ) -> RunningStandardiser:
        """Units that have also seen the steps [S, R, T, ...] that happened."""
        if not self.config.normalize_observations:
            return units
        updated = deepcopy(units)
        updated.update(rows.flatten(1, 2), mask.flatten(1))
        return updated

    def _train_on(
        self, batch: EpisodeBatch
    ) -> tuple[dict[str, NDArray[np.float64]], NDArray[np.float64]]:
        """One step down the losses of a batch.

        Their values by name, the gradient's norm, and the intrinsic reward.
        """
        terms, bonus = self._losses(batch)
        assert terms.keys() == self._weights.keys(), "every loss term has one weight"
        values = torch.stack(list(terms.values()))
        metrics = dict(zip(terms, values.detach().cpu().double().numpy(), strict=True))
        self._check_finite(metrics, batch)
        weights = torch.tensor([self._weights[name] for name in terms], device=self.device)
        metrics["gradient_norm"] = self._descend((weights @ values).sum())
        return metrics, bonus

    def _losses(self, batch: EpisodeBatch) -> tuple[dict[str, Tensor], NDArray[np.float64]]:
        """Each loss term per run [S], and the mean intrinsic reward per run."""
        weights, model = self.config.weights, self.model
        num_seeds, num_rows, num_steps = batch.mask.shape
        tokens = self._tokens(batch)
        mask = batch.mask.flatten(1).to(self.device)
        share = mask / mask.sum(
            1, keepdim=True
        )  # so that a sum over (R * T) is a mean over the steps that happened
        actions = batch.actions.flatten(1, 2).to(self.device)
        log_probability, entropy = self._policy_terms(tokens, actions)
        terms: dict[str, Tensor] = {}
        rewards = batch.rewards
        bonus = np.zeros(num_seeds)
        if weights.world_model > 0:
            error = self._prediction_errors(tokens, actions, batch)
            terms["world_model"] = (error * share).sum(1)
            intrinsic = -error.detach().cpu().view(num_seeds, num_rows, num_steps) * batch.mask
            rewards = rewards + self.config.prediction_reward_weight * intrinsic
            bonus = intrinsic.sum(-1).mean(1).double().numpy()
        if self.config.baseline == "value" and self.config.discount < 1:
            rewards = rewards + self._bootstraps(batch)
        to_go = rewards_to_go(rewards, self.config.discount).to(self.device)
        if weights.value > 0:
            # With the moving baseline the head is trained apart from the tokens, so that it stays a
            # spectator.
            read = tokens if self.config.baseline == "value" else tokens.detach()
            values = model.value(read)
            terms["value"] = 0.5 * ((values - to_go.flatten(1)).square() * share).sum(1)
        if self.config.baseline == "value":
            baseline = values.detach().view_as(to_go)
        else:
            baseline = self._moving_baseline(to_go, batch.mask).to(self.device)
        advantage = (to_go - baseline).flatten(1)
        if self.config.normalize_advantage:
            advantage = advantage / (
                (advantage.square() * share).sum(1, keepdim=True).sqrt() + SMALLEST_SPREAD
            )
        if weights.policy > 0:
            terms["policy"] = -(log_probability * advantage * share).sum(1)
        if weights.entropy > 0:
            terms["entropy"] = -(entropy * share).sum(1)
        return terms, bonus

    def _bootstraps(self, batch: EpisodeBatch) -> Tensor:
        """What the last reward of truncated episodes lacks [S, R, T]: the discounted value of what came after it.

        Without a discount there is none: the return of an endless episode has no bound, and its
            estimate would grow by
        its own values.
        """
        missing = torch.zeros_like(batch.rewards)
        if not bool(batch.truncations.any()):
            return missing
        lengths = batch.mask.sum(2, keepdim=True).long()  # [S, R, 1]
        places = lengths.unsqueeze(-1).expand(-1, -1, 1, batch.inputs.shape[-1])
        inputs = torch.cat([batch.inputs, torch.zeros_like(batch.inputs[:, :, :1])], 2)
        inputs = inputs.scatter(2, places, batch.final_inputs.unsqueeze(2))
        with torch.no_grad():
            tokens = self.model.encode(inputs.to(self.device))  # [S, R, T + 1, D]
            width = tokens.shape[-1]
            last = tokens.gather(
                2, lengths.to(self.device).unsqueeze(-1).expand(-1, -1, 1, width)
            ).squeeze(2)
            values = self.model.value(last).cpu()  # [S, R]
        worth = (self.config.discount * values * batch.truncations).unsqueeze(-1)
        return missing.scatter(2, lengths - 1, worth)

    def prediction_error(self, batch: EpisodeBatch) -> NDArray[np.float64]:
        """Mean squared error [S] of predicted next observations over steps and features, in the environment's units.

        The loss and the intrinsic reward are in standardised units, which are these where
        observations are one-hots.
        """
        with torch.no_grad():
            actions = batch.actions.flatten(1, 2).to(self.device)
            differences = self.model.target_units.raw_errors(
                self._prediction_differences(self._tokens(batch), actions, batch)
            )
        errors = differences.square().mean(-1).cpu() * batch.mask.flatten(1)  # [S, R * T]
        means: NDArray[np.float64] = (errors.sum(1) / batch.mask.sum((1, 2))).double().numpy()
        return means

    def representation(self, batch: EpisodeBatch) -> Tensor:
        """The tokens [S, R, T, D] that all heads read, for probes of what the network has learned."""
        with torch.no_grad():
            return self._tokens(batch).view(*batch.mask.shape, -1)

    def _tokens(self, batch: EpisodeBatch) -> Tensor:
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
        if self.interface.is_continuous:
            log_std = self.model.parameters["log_std"]
            squares = ((actions - outputs) / self.model.action_spread()).square()
            log_probability = -0.5 * (squares + 2 * log_std + math.log(2 * math.pi)).sum(-1)
            entropy = (
                (log_std + 0.5 * math.log(2 * math.pi * math.e)).sum(-1).expand_as(log_probability)
            )
            return log_probability, entropy
        log_probabilities = outputs.log_softmax(-1)
        chosen = log_probabilities.gather(-1, actions.unsqueeze(-1)).squeeze(-1)
        return chosen, -(log_probabilities.exp() * log_probabilities).sum(-1)

    def _prediction_errors(self, tokens: Tensor, actions: Tensor, batch: EpisodeBatch) -> Tensor:
        """Squared error of the predicted next observation in units of the targets, a mean over features [S, R * T]."""
        return self._prediction_differences(tokens, actions, batch).square().mean(-1)

    def _prediction_differences(
        self, tokens: Tensor, actions: Tensor, batch: EpisodeBatch
    ) -> Tensor:
        """The predicted next observations less the recorded ones, in units of the targets [S, R * T, O]."""
        targets = batch.next_observations
        if self.config.world_model_target == "shuffled":
            draws = np.random.default_rng([self.seed, self.num_updates])
            targets = targets[:, torch.from_numpy(other_rows(targets.shape[1], draws))]
        predicted = self.model.next_observation(tokens, self.interface.action_inputs(actions))
        return predicted - self.model.target_units.normalise(targets.flatten(1, 2).to(self.device))

    def _moving_baseline(self, to_go: Tensor, mask: Tensor) -> Tensor:
        """The average return to go at each step [S, 1, T] before this batch, which enters the next average."""
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
        norms = gradient.norm(dim=1, keepdim=True)
        reported: NDArray[np.float64] = norms.squeeze(1).cpu().double().numpy()
        self._check_finite({"gradient_norm": reported})
        gradient.mul_((self.config.max_gradient_norm / (norms + 1e-6)).clamp_(max=1.0))
        self._optimizer.step(gradient)
        return reported

    def _check_finite(
        self, metrics: Mapping[str, NDArray[np.float64]], batch: EpisodeBatch | None = None
    ) -> None:
        for name, values in metrics.items():
            if not math.isfinite(values.sum()):
                run = int(np.flatnonzero(~np.isfinite(values))[0])
                given = (
                    () if batch is None else (batch.inputs, batch.next_observations, batch.rewards)
                )
                is_given = any(not bool(tensor.isfinite().all()) for tensor in given)
                remedy = (
                    "repair the environment, whose observations or rewards are not finite"
                    if is_given
                    else "scale the observations and rewards or lower learning_rate"
                )
                raise NonFiniteError(
                    f"{name} of run {run} is {values[run]} at update {self.num_updates}: nothing was updated; {remedy}"
                )

    def predict(
        self,
        observation: Any,
        state: Cache | None = None,
        episode_start: NDArray[np.bool_] | None = None,
        deterministic: bool = False,
        *,
        member: int = 0,
    ) -> tuple[Any, Cache]:
        """Act on one observation or a batch, as Stable-Baselines3's policies do.

        Args:
            observation: One observation, or a batch of B.
            state: What the previous call returned; None starts all episodes.
            episode_start: Which rows start an episode now [B].
            deterministic: Take the likeliest action.
            member: Which of the stacked runs acts.

        Returns:
            The action or actions, and the state to pass on.

        Raises:
            SpaceError: What is no observation of the space that the agent was trained on.
            ConfigError: The tokens need rewards, which this call does not get.
        """
        batch, is_single = observation_rows(observation, self.interface.observation_space)
        tokens, cache = self._predict_tokens(
            self.interface.encode_observations(batch), state, episode_start, member
        )
        outputs = self._member(member).policy(tokens).squeeze(0).detach().cpu()
        actions = self.interface.decode_actions(self._choose(outputs, deterministic, member))
        return (actions[0] if is_single else actions), cache

    def _predict_tokens(
        self,
        observations: Tensor,
        cache: Cache | None,
        episode_start: NDArray[np.bool_] | None,
        member: int,
    ) -> tuple[Tensor, Cache]:
        """Tokens [1, B, D] of the next step of B episodes, and the cache that includes it."""
        if self.config.has_previous_step:
            raise ConfigError(
                "predict() does not see rewards, which has_previous_step needs: use evaluate() instead"
            )
        model, inputs = self._member(member), observations.to(self.device).unsqueeze(0)
        starts = (
            np.zeros(len(observations), np.bool_)
            if episode_start is None
            else np.asarray(episode_start)
        )
        with torch.no_grad():
            if cache is None or starts.all():
                tokens, attended = model.encode_first(inputs)
                return tokens, model.cache_first(attended)
            cache = cache.copy()
            if starts.any():
                known = torch.zeros(len(starts), dtype=torch.long, device=self.device)
                previous = known if cache.starts is None else cache.starts
                cache.starts = torch.where(
                    torch.from_numpy(starts).to(self.device), cache.time, previous
                )
            return model.encode_next(inputs, cache), cache

    def _choose(self, outputs: Tensor, deterministic: bool, member: int) -> Tensor:
        """Actions [B] or [B, A] from policy outputs [B, ...]."""
        if self.interface.is_continuous:
            spread = self._member(member).action_spread()[0].detach().cpu()
            noise = torch.randn(outputs.shape, generator=self._generator)
            return outputs if deterministic else outputs + spread * noise
        if deterministic:
            return outputs.argmax(-1)
        return sample_categorical(outputs, torch.rand(outputs.shape[0], generator=self._generator))

    def _member(self, member: int) -> SequenceModel:
        """The network of one run; a copy is made where several are stacked."""
        return self.model if self.config.num_seeds == 1 else self.model.select([member])

    def save(self, path: str | Path) -> Path:
        """Write all that a later `load` needs to predict, or to go on training to the bit."""
        return save_checkpoint(path, *self._state())

    @classmethod
    def load(
        cls,
        path: str | Path,
        env: str | gym.Env[Any, Any] | VectorEnvMaker | None = None,
        *,
        device: str = "auto",
    ) -> Self:
        """Read an agent.

        Args:
            path: What `save` wrote, or a checkpoint of `learn`.
            env: Needed where the agent was not made from an id; must have the spaces that it was
                trained on.
            device: "auto" takes the device that the agent ran on where that is here, and else what
                there is.

        Raises:
            CheckpointError: Damaged, of another kind, or for other spaces.
            ConfigError: There is no such device.
        """
        checkpoint = load_checkpoint(path, KIND)
        try:
            return cls.from_checkpoint(checkpoint, env, device=device)
        except CheckpointError as error:
            raise CheckpointError(f"{path}: {error}") from error

    @classmethod
    def from_checkpoint(
        cls,
        checkpoint: Checkpoint,
        env: str | gym.Env[Any, Any] | VectorEnvMaker | None = None,
        *,
        device: str = "auto",
    ) -> Self:
        """An agent from a loaded checkpoint, such as `CheckpointManager.latest()`; see `load`."""
        choose_device(device)
        metadata, tensors = checkpoint.metadata, checkpoint.tensors
        if metadata.get("kind") != KIND:
            raise CheckpointError(
                f"this is a checkpoint of kind {metadata.get('kind')!r}, not {KIND!r}"
            )
        try:
            environment = env if env is not None else _own_id(metadata["env_id"])
            if environment is None:
                raise CheckpointError(
                    "this agent was not made from an environment id: give load() the environment"
                )
            # Files of before standardisation go on without it, as what they learned is for raw
            # numbers.
            config = config_from_dict({"normalize_observations": False, **metadata["config"]})
            config = replace(config, device=_device_of(config) if device == "auto" else device)
            _check_sizes(config, Sizes(**metadata["sizes"]), tensors)
            agent = cls(environment, config, seed=metadata["seed"], **metadata["options"])
            agent._restore(tensors, metadata)
        except (CheckpointError, SpaceError):
            raise
        except Exception as error:  # what a foreign description leads to has no bounds
            raise CheckpointError(
                f"not a checkpoint of this version's Reinforce: {error!r}"
            ) from error
        return agent

    def resume(self, checkpoints: CheckpointManager) -> None:
        """Take over the newest checkpoint of this very run, where there is one; `learn` of a new agent does so itself.

        Raises:
            CheckpointError: The checkpoints are of another run, or none of them is whole.
        """
        checkpoints.require_writable()
        own = self._state()[1]
        names = ("kind", "env_id", "options", "config", "seed")
        wanted = as_json({name: own[name] for name in names})
        latest = checkpoints.latest()
        if latest is None:
            return
        stored = {name: latest.metadata.get(name) for name in names}
        if isinstance(stored["config"], dict):  # where a run goes on is not what it is
            stored["config"] = stored["config"] | {"device": self.config.device}
        refuse_another_run(checkpoints.directory, stored, wanted)
        with refusing_misfits(checkpoints.directory):
            self._restore(latest.tensors, latest.metadata)

    def _state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        require_finite(
            {"parameters": self.model.flat}, f"after update {self.num_updates}, so it is not saved"
        )
        tensors = {"parameters": self.model.flat, "baseline": torch.from_numpy(self._baseline)}
        tensors["generator"] = self._generator.get_state()
        tensors |= {f"adam.{name}": value for name, value in self._optimizer.moments.items()}
        for kind, standardiser in self._standardisers().items():
            tensors |= {
                f"{kind}.{name}": value for name, value in standardiser.state_dict().items()
            }
        metadata = {
            "kind": KIND,
            "env_id": self._env_id,
            "options": self._options,
            "config": asdict(self.config),
            "sizes": asdict(self.interface.sizes),
            "seed": self.seed,
            "num_updates": self.num_updates,
            "num_steps": self.num_steps.tolist(),
            "curriculum": None if self.curriculum is None else self.curriculum.state_dict(),
            "acts_in_units": True,
        }
        return tensors, metadata

    def _standardisers(self) -> dict[str, RunningStandardiser]:
        return {"input_units": self.model.input_units, "target_units": self.model.target_units}

    def _restore(self, tensors: Mapping[str, Tensor], metadata: Mapping[str, Any]) -> None:
        if metadata["sizes"] != asdict(self.interface.sizes):
            raise CheckpointError(
                f"trained on spaces of sizes {metadata['sizes']}, this environment has {asdict(self.interface.sizes)}"
            )
        units = self.interface.action_units
        num_updates, num_steps = metadata["num_updates"], np.array(metadata["num_steps"], np.int64)
        if not isinstance(num_updates, int) or num_steps.shape != self.num_steps.shape:
            raise CheckpointError(
                f"no counts of updates and of steps by seed: {num_updates!r}, {num_steps!r}"
            )
        if not metadata.get("acts_in_units") and not (units is None or units.are_plain):
            raise CheckpointError(
                f"this agent learned actions of {self.interface.action_space} in raw numbers, and this version acts in "
                "units of their bounds: train it again"
            )
        for kind, standardiser in self._standardisers().items():
            stored = {name: tensors.get(f"{kind}.{name}") for name in standardiser.state_dict()}
            if any(value is not None for value in stored.values()):
                standardiser.load_state_dict(stored)
        self.model.flat.copy_(tensors["parameters"])
        self._baseline[:] = tensors["baseline"].numpy()
        self._next_baseline = self._baseline
        for name, value in self._optimizer.moments.items():
            value.copy_(tensors[f"adam.{name}"])
        self._generator.set_state(tensors["generator"])
        self.num_updates, self.num_steps = num_updates, num_steps
        if self.curriculum is not None:
            self.curriculum.load_state_dict(metadata["curriculum"])


def _check_sizes(config: ReinforceConfig, sizes: Sizes, tensors: Mapping[str, Tensor]) -> None:
    """A file cannot ask for more memory than its own tensors take; raises ValueError."""
    num_seeds, num_parameters = tensors["parameters"].shape
    is_possible = config.num_seeds == num_seeds and config.network.num_layers <= num_parameters
    if not is_possible or num_network_parameters(config.network, sizes) != num_parameters:
        raise ValueError(
            f"the configuration does not describe {num_seeds} x {num_parameters} parameters"
        )
    if tuple(tensors["baseline"].shape) != (num_seeds, config.max_episode_steps):
        raise ValueError(
            f"the configuration does not describe a baseline of {tuple(tensors['baseline'].shape)}"
        )


def _device_of(config: ReinforceConfig) -> str:
    """The device that an agent ran on where that is here, and else "auto"."""
    try:
        choose_device(config.device)
    except ConfigError:
        return "auto"
    return config.device


def _own_id(env_id: Any) -> Any:
    """The id that a file names, unless making it would import a module that is not loaded.

    Files run no code.
    """
    module, colon, _ = str(env_id).rpartition(":")
    if colon and module not in sys.modules:
        raise CheckpointError(
            f"the file names the environment {env_id!r}: import {module!r} first, or give env="
        )
    return env_id


def rewards_to_go(rewards: Tensor, discount: float) -> Tensor:
    """Discounted sums of the rewards [..., T] from each step on."""
    if rewards.shape[-1] == 1:
        return rewards
    to_go = torch.empty_like(rewards)
    running = torch.zeros_like(rewards[..., 0])
    for step in reversed(range(rewards.shape[-1])):
        running = rewards[..., step] + discount * running
        to_go[..., step] = running
    return to_go


def other_rows(num_rows: int, draws: np.random.Generator) -> NDArray[np.int64]:
    """A permutation [R] that sends no row to itself.

    Each row to its successor in a random cycle.
    """
    cycle = draws.permutation(num_rows)
    others = np.empty_like(cycle)
    others[cycle] = np.roll(cycle, -1)
    return others
