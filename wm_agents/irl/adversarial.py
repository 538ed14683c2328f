"""Adversarial inverse reinforcement learning on Gymnasium and Stable-Baselines3.

Fu, Luo and Levine, "Learning Robust Rewards with Adversarial Inverse Reinforcement Learning", ICLR
2018. A discriminator

    D(s, a, s') = exp f / (exp f + pi(a | s)),   f(s, a, s') = g(s, a) + discount h(s') - h(s),

tells demonstrations from what the learner does, and the learner (PPO) is paid log D - log(1 - D) =
f - log pi. With g(s) of the state only and the shaping term h, g is the reward up to a constant
(theorem 5.1).
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3 import PPO
from stable_baselines3.common.vec_env import VecEnv
from torch import Tensor

from wm_agents.errors import ConfigError, MixedHorizonError, SpaceError
from wm_agents.irl.adversarial_checkpoints import resume, save
from wm_agents.irl.demonstrations import Demonstrations, check_spaces_fit
from wm_agents.irl.paid_environments import PaidEnvironments, Transitions
from wm_agents.irl.reward_network import RewardNetwork
from wm_agents.networks import Perceptron
from wm_agents.observation_rows import number_array, observation_tensor
from wm_agents.sb3.policy import BoundedActorCriticPolicy, check_spaces
from wm_agents.training.checkpoints import CheckpointManager
from wm_agents.training.config_checks import require_integers
from wm_agents.training.finite import descend, require_finite
from wm_agents.training.fitted import Fitted
from wm_agents.training.progress import progress, say_nothing_left


@dataclass(frozen=True)
class AdversarialConfig:
    """Settings of `AdversarialIRL`.

    Attributes:
        is_state_only: g(s) in place of g(s, a).
        has_shaping: Add the potential term; without it f = g.
        widths: Hidden layers of g and h.
        discount: Of the learner and the potential.
        num_steps: Steps of each environment between two rounds of training.
        num_discriminator_updates: In each round.
        batch_size: Steps of each kind in a batch of the discriminator.
        discriminator_rate: Learning rate of the discriminator.
        learner_rate: Learning rate of PPO.
        num_epochs: Passes of PPO over each round's steps.
        entropy_weight: Of PPO.
        largest_change: Divergence from the policy of the last round at which PPO stops for this
            one; None never does.
        gradient_penalty: Weight of the squared gradient of f at demonstrations and learner's steps
            alike; it keeps the discriminator from becoming certain.
        may_vary_in_length: Permit episodes of different lengths. Their length tells who acted, and
            a reward that is positive or negative throughout then looks right whatever the
            demonstrator wants.
        starts_from_clone: Let behaviour cloning teach the learner's policy first.
    """

    is_state_only: bool = False
    has_shaping: bool = True
    widths: tuple[int, ...] = (32, 32)
    discount: float = 0.99
    num_steps: int = 256
    num_discriminator_updates: int = 20
    batch_size: int = 256
    discriminator_rate: float = 1e-3
    learner_rate: float = 3e-4
    num_epochs: int = 10
    entropy_weight: float = 0.0
    largest_change: float | None = 0.02
    gradient_penalty: float = 1.0
    may_vary_in_length: bool = False
    starts_from_clone: bool = True

    def __post_init__(self) -> None:
        require_integers(None, num_steps=self.num_steps, batch_size=self.batch_size)
        require_integers(None, num_discriminator_updates=self.num_discriminator_updates)
        if (
            not 0 < self.discount < 1
            or min(self.num_steps, self.num_discriminator_updates, self.batch_size) < 1
        ):
            raise ConfigError(f"discount lies in (0, 1) and counts are positive, got {self}")


class AdversarialIRL(Fitted):
    """AIRL: a reward and a policy from demonstrations and an environment whose rewards are never looked at.

    Args:
        demonstrations: `Demonstrations` or what `Demonstrations.of` takes.
        envs: Stable-Baselines3's VecEnv (`make_vec_env`), with Box observations, and Discrete or
            one-dimensional Box actions.
        config: Settings.
        seed: Of everything here.

    Raises:
        SpaceError: Other spaces, Box actions without bounds or of whole numbers, Discrete ones not
            from 0.
        MixedHorizonError: Demonstrations of different lengths without permission.
        DemonstrationError: Demonstrations that do not fit the spaces.
    """

    needs_fit: ClassVar[tuple[str, ...]] = ("reward",)

    def __init__(
        self,
        demonstrations: Any,
        envs: VecEnv,
        config: AdversarialConfig | None = None,
        seed: int = 0,
    ) -> None:
        _check_spaces(envs)
        self.config = AdversarialConfig() if config is None else config
        self.seed = seed
        given = Demonstrations.of(demonstrations)
        if not given.has_one_length and not self.config.may_vary_in_length:
            shortest, longest = int(given.lengths.min()), int(given.lengths.max())
            raise MixedHorizonError(
                f"episodes have {shortest} to {longest} steps: their length would tell who acted; cut them to one "
                "length, or permit it with may_vary_in_length=True"
            )
        self.demonstrated = _transitions(given, envs)
        self.generator = torch.Generator().manual_seed(seed)
        num_inputs = spaces.flatdim(envs.observation_space)
        self.reward_network = RewardNetwork(
            num_inputs,
            envs.action_space,
            self.config.widths,
            is_state_only=self.config.is_state_only,
            generator=self.generator,
        )
        self.reward_network.standardise(self.demonstrated.observations)
        self.potential = Perceptron((num_inputs, *self.config.widths, 1), "relu", self.generator)
        parameters = [parameter for _, parameter in self.named_parameters()]
        self.optimizer = torch.optim.Adam(parameters, lr=self.config.discriminator_rate)
        self.envs = PaidEnvironments(envs, self)
        self.loss, self.accuracy = math.nan, math.nan
        self.learner = PPO(
            BoundedActorCriticPolicy,
            self.envs,
            n_steps=self.config.num_steps,
            batch_size=min(256, self.config.num_steps * envs.num_envs),
            n_epochs=self.config.num_epochs,
            gamma=self.config.discount,
            learning_rate=self.config.learner_rate,
            ent_coef=self.config.entropy_weight,
            target_kl=self.config.largest_change,
            seed=seed,
            device="cpu",
        )
        if self.config.starts_from_clone:
            clone_into(self.learner, given, seed)

    def learn(
        self,
        total_timesteps: int,
        callback: Any = None,
        progress_bar: bool | None = None,
        *,
        checkpoints: CheckpointManager | None = None,
        checkpoint_every: int = 10,
    ) -> "AdversarialIRL":
        """Train reward and policy in turn for this many steps of the environments.

        Args:
            total_timesteps: Steps; a second call takes as many again. With checkpoints they count
                from the very first.
            callback: SB3's, for the learner.
            progress_bar: None shows a bar on a terminal only.
            checkpoints: Where to save, every `checkpoint_every` rounds and at the end. The same
                call on a new learner made with the same arguments goes on from the newest
                checkpoint there, to the bit as if it had never stopped. All environments start anew
                at a checkpoint, interrupted or not.
            checkpoint_every: In rounds.

        Raises:
            ConfigError: `checkpoint_every` below 1.
            MixedHorizonError: The learner's episodes end after different numbers of steps, without
                permission.
            CheckpointError: The checkpoints are of another run, or none of them is whole.
            NonFiniteError: A reward, a parameter of the learner, or the discriminator's loss or
                gradient is not finite: nothing is saved with them.
        """
        require_integers(1, checkpoint_every=checkpoint_every)
        per_round = self.config.num_steps * self.envs.num_envs
        num_rounds = max(total_timesteps // per_round, 1)
        num_done = 0 if checkpoints is None else resume(self, checkpoints, checkpoint_every)
        if num_done >= num_rounds:
            done, total = num_done * per_round, num_rounds * per_round
            say_nothing_left("AdversarialIRL", done, total, "steps", is_resumption=True)
        # From here on callbacks may ask for the reward as it is being learned.
        self.is_fitted = True
        with progress(num_rounds * per_round, "steps", progress_bar, num_done * per_round) as bar:
            for number in range(num_done, num_rounds):
                self.learner.learn(per_round, callback=callback, reset_num_timesteps=False)
                require_finite(
                    self.learner.policy.state_dict(),
                    f"a parameter of the learner in round {number}",
                )
                self.loss, self.accuracy = self._train_discriminator(self.envs.take(), number)
                is_due = (number + 1) % checkpoint_every == 0 or number + 1 == num_rounds
                if checkpoints is not None and is_due:
                    save(self, checkpoints, number + 1, checkpoint_every)
                bar.advance(per_round, loss=self.loss, accuracy=self.accuracy)
        return self

    def predict(
        self,
        observation: Any,
        state: Any = None,
        episode_start: NDArray[np.bool_] | None = None,
        deterministic: bool = False,
    ) -> tuple[Any, Any]:
        """The learner's action.

        Raises SpaceError for what is no observation of the environments.
        """
        return self.learner.predict(observation, state, episode_start, deterministic)

    @torch.no_grad()
    def reward(self, observations: Any, actions: Any) -> NDArray[np.float32]:
        """The inferred reward g [N] of observations [N, O] and actions [N] or [N, A]; shaping is left out.

        Raises:
            SpaceError: What is no observation of the environments.
        """
        size = spaces.flatdim(self.envs.observation_space)
        given = number_array(observations, f"observations [N, {size}]")
        flat = given.reshape(len(given), -1) if given.ndim > 1 else given
        rows = observation_tensor(flat, size, torch.device("cpu"))
        rewards: NDArray[np.float32] = self.reward_network(rows, actions).numpy()
        return rewards

    def logits(self, steps: Transitions) -> Tensor:
        """f(s, a, s') [N]; where an episode terminated, nothing follows."""
        rewards: Tensor = self.reward_network(steps.observations, steps.actions)
        if not self.config.has_shaping:
            return rewards
        before, after = (
            self._potential(rows) for rows in (steps.observations, steps.next_observations)
        )
        return rewards + self.config.discount * after * ~steps.terminations - before

    def _potential(self, observations: Tensor) -> Tensor:
        network = self.reward_network
        values: Tensor = self.potential((observations - network.mean) / network.std)[:, 0]
        return values

    def log_policy(self, steps: Transitions) -> Tensor:
        """Log pi(a | s) [N] of the present policy."""
        with torch.no_grad():
            policy = self.learner.policy
            policy.set_training_mode(False)
            shaped = steps.observations.reshape(-1, *(self.envs.observation_space.shape or ()))
            log_probabilities: Tensor = policy.get_distribution(shaped).log_prob(steps.actions)
        return log_probabilities

    def _train_discriminator(self, learned: Transitions, number: int) -> tuple[float, float]:
        loss, accuracy = 0.0, 0.0
        for update in range(self.config.num_discriminator_updates):
            mine = self.demonstrated.sample(self.config.batch_size, self.generator)
            theirs = learned.sample(self.config.batch_size, self.generator)
            both = Transitions.concatenate(mine, theirs)
            both.observations.requires_grad_(True)
            values = self.logits(both)
            logits = values - self.log_policy(both)
            labels = torch.cat([torch.ones(len(mine)), torch.zeros(len(theirs))])
            (slopes,) = torch.autograd.grad(values.sum(), both.observations, create_graph=True)
            penalty = (slopes * self.reward_network.std).square().sum(1).mean()
            total = (
                F.binary_cross_entropy_with_logits(logits, labels)
                + self.config.gradient_penalty * penalty
            )
            place = f"at update {update} of round {number} of the discriminator"
            loss = descend(total, self.optimizer, self.named_parameters(), place)
            accuracy = float(((logits > 0) == (labels > 0.5)).float().mean())
        return loss, accuracy

    def named_parameters(self) -> Iterator[tuple[str, Tensor]]:
        """Those of reward and potential."""
        for prefix, network in (("reward", self.reward_network), ("potential", self.potential)):
            yield from (
                (f"{prefix}.{name}", parameter) for name, parameter in network.named_parameters()
            )


def clone_into(
    learner: PPO, demonstrations: Demonstrations, seed: int, num_updates: int = 3000
) -> None:
    """Teach a PPO policy the demonstrated actions by maximum likelihood."""
    data = demonstrations.trajectories
    seen = torch.from_numpy(data.observations[data.observation_of_step])
    taken, policy = torch.from_numpy(data.actions), learner.policy
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.Adam(policy.parameters(), lr=3e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, num_updates)
    for update in range(num_updates):
        rows = torch.randint(len(seen), (min(256, len(seen)),), generator=generator)
        distribution = policy.get_distribution(
            seen[rows].reshape(-1, *(learner.observation_space.shape or ()))
        )
        loss = -distribution.log_prob(taken[rows]).mean()
        descend(
            loss, optimizer, policy.named_parameters(), f"at update {update} of behaviour cloning"
        )
        schedule.step()
    if hasattr(
        policy, "log_std"
    ):  # imitation drives the spread to nothing, and with it all exploration
        policy.log_std.data.clamp_(min=-1.5)


def _check_spaces(envs: VecEnv) -> None:
    seen, acted = envs.observation_space, envs.action_space
    is_flat = isinstance(acted, spaces.Box) and len(acted.shape) == 1
    is_counted = isinstance(acted, spaces.Discrete) and acted.start == 0
    if not isinstance(seen, spaces.Box) or not (is_flat or is_counted):
        raise SpaceError(
            "AdversarialIRL serves Box observations, and actions of a one-dimensional Box or Discrete from 0, got "
            f"{seen} and {acted}: wrap the environments"
        )
    check_spaces(seen, acted)  # its policy is Stable-Baselines3's PPO


def _transitions(given: Demonstrations, envs: VecEnv) -> Transitions:
    data = given.trajectories
    check_spaces_fit(data, envs.observation_space, envs.action_space)
    rows = data.observation_of_step
    parts = (data.observations[rows], data.actions, data.next_observations, data.terminations)
    return Transitions(*(torch.from_numpy(np.ascontiguousarray(part)) for part in parts))
