"""Adversarial inverse reinforcement learning (AIRL) on Gymnasium and Stable-Baselines3.

Fu, Luo and Levine, "Learning Robust Rewards with Adversarial Inverse Reinforcement Learning", ICLR
2018. A discriminator

    D(s, a, s') = exp f / (exp f + pi(a | s)),   f(s, a, s') = g(s, a) + gamma h(s') - h(s)

tells demonstrations from what the learner does, and the learner's reward (PPO) is
log D - log(1 - D) = f - log pi. With g(s) of the state only and the shaping term h, g is the reward
up to a constant (theorem 5.1).

Episodes of different lengths tell by their length who acted. An absorbing state takes that away
(Kostrikov et al., "Discriminator-Actor-Critic", ICLR 2019, section 4.2): what ends before the
horizon stays in it up to the horizon, demonstrations and learner alike, and so it has a density of
its own, whose ratio is known without a network.
"""

import math
import os
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Self

import gymnasium as gym
import numpy as np
import torch
import torch.nn.functional as F
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3 import PPO
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv
from torch import Tensor

from wm_agents.errors import ConfigError, MixedHorizonError, SpaceError
from wm_agents.irl.cloning import clone_into, require_spaces
from wm_agents.irl.demonstrations import Demonstrations, check_spaces_fit, content_hash
from wm_agents.irl.rewards import RewardNetwork, RewardRelabelVecEnv
from wm_agents.networks import Perceptron
from wm_agents.observation_rows import number_array, observation_tensor
from wm_agents.sb3.policy import (
    BoundedActorCriticPolicy,
    check_spaces,
    restart_environments,
    set_training_state,
    training_state,
)
from wm_agents.training.checkpoints import Checkpoint, CheckpointManager
from wm_agents.training.config_checks import checked_seed, renamed_settings, require_integers
from wm_agents.training.finite import gradient_step, require_finite
from wm_agents.training.fitted import Fitted, check_fitted
from wm_agents.training.progress import say_nothing_left
from wm_agents.training.saving import Savable
from wm_agents.training.stored_shapes import (
    check_counts,
    check_shapes,
    config_from_json,
    spaces_from,
    tensors_below,
)
from wm_agents.training.trainer import Trainer
from wm_envs.data.spaces import space_to_json
from wm_envs.data.trajectories import Transitions

KIND = "adversarial irl"

_CHECKPOINT_FORMAT = 3  # 1 was written by a loop of its own, 2 knew no replay

_MAX_STD = 1.5
"""Of a Gaussian policy, in units of which the bounds are two away from their middle.

Draws beyond the bounds are clipped. So one that is wider still does nothing else and yet has more
entropy, which f - log pi rewards without end.
"""

_LAST_RATE = 0.1  # of the first learning rate, where it falls
_LAST_STD = 0.2  # of the first bound of the noise, where it falls

_RARE = 1e-3
"""Share of steps that is added on both sides, so that what one never does has a finite logarithm."""


@renamed_settings(
    discount="gamma",
    learner_rate="learning_rate",
    discriminator_rate="discriminator_learning_rate",
    entropy_weight="ent_coef",
    largest_change="target_kl",
)
@dataclass(frozen=True)
class AdversarialConfig:
    """Settings of `AdversarialIRL`.

    Attributes:
        is_state_only: g(s) in place of g(s, a).
        has_shaping: Add the potential term; without it f = g.
        widths: Hidden layers of g and h.
        gamma: Discount of the learner and the potential.
        num_steps: Steps of each environment between two rounds of training.
        num_discriminator_updates: In each round.
        batch_size: Steps of each kind in a batch of the discriminator.
        discriminator_learning_rate: Of Adam.
        learning_rate: Of PPO.
        anneals: Let PPO's rate fall to a tenth and the widest noise of a Gaussian policy to a fifth,
            along a line from the first to the last round of a call of `learn`: the entropy in
            f - log pi would keep the noise wide, which a demonstrator who explores nothing has not.
        num_epochs: Passes of PPO over each round's steps.
        ent_coef: Of PPO.
        target_kl: Divergence from the policy of the last round at which PPO stops for this one;
            None never does.
        use_sde: Explore with noise that is a function of the state and is drawn anew every fourth
            step (Raffin et al. 2021, generalized state-dependent exploration), with Box actions
            alone: noise that changes with each step cancels out before it has led anywhere.
        gradient_penalty: Weight of the squared gradient of f at demonstrations and learner's steps
            alike; it keeps the discriminator from becoming certain.
        num_replay_rounds: Rounds whose steps the discriminator is trained on, None for all. What it
            forgets the reward no longer knows: where the learner has ceased to go it becomes
            arbitrary, which another agent in another world will find.
        normalizes_rewards: Divide the learner's rewards by the spread of their discounted sums. A
            value function of large returns leaves nothing of the clipped gradient to the policy.
        has_absorbing_state: Let episodes that terminate go on in an absorbing state up to the
            length of the longest demonstration. Episodes may then be of any length.
        may_vary_in_length: Permit episodes of different lengths. Their length tells who acted, and
            a reward that is positive or negative throughout then looks right whatever the
            demonstrator wants.
        starts_from_clone: Let behavioral cloning teach the learner's policy first.
    """

    is_state_only: bool = False
    has_shaping: bool = True
    widths: tuple[int, ...] = (32, 32)
    gamma: float = 0.99
    num_steps: int = 256
    num_discriminator_updates: int = 20
    batch_size: int = 256
    discriminator_learning_rate: float = 1e-3
    learning_rate: float = 3e-4
    anneals: bool = False
    num_epochs: int = 10
    ent_coef: float = 0.0
    target_kl: float | None = 0.02
    use_sde: bool = False
    gradient_penalty: float = 1.0
    num_replay_rounds: int | None = 1
    normalizes_rewards: bool = False
    has_absorbing_state: bool = False
    may_vary_in_length: bool = False
    starts_from_clone: bool = True

    def __post_init__(self) -> None:
        require_integers(None, num_steps=self.num_steps, batch_size=self.batch_size)
        require_integers(None, num_discriminator_updates=self.num_discriminator_updates)
        num_replay_rounds = 1 if self.num_replay_rounds is None else self.num_replay_rounds
        require_integers(None, num_replay_rounds=num_replay_rounds)
        counts = (
            self.num_steps,
            self.num_discriminator_updates,
            self.batch_size,
            num_replay_rounds,
        )
        if not 0 < self.gamma < 1 or min(counts) < 1:
            raise ConfigError(f"gamma lies in (0, 1) and counts are positive, got {self}")

    @classmethod
    def from_clone(cls, action_space: gym.Space[Any], **changes: Any) -> Self:
        """Settings for a learner that begins as a clone: small steps, so that it is not spoilt.

        Episodes may be of any length.

        Args:
            action_space: Of the environments.
            **changes: Settings that differ, such as `gamma`, which is the task's.
        """
        settings: dict[str, Any] = {"has_absorbing_state": True}
        if isinstance(action_space, spaces.Box):
            # A step of a Gaussian's mean is felt in every action, one of logits in few.
            settings["learning_rate"] = 1e-4
        return cls(**settings | changes)

    @classmethod
    def from_nothing(cls, action_space: gym.Space[Any], num_envs: int = 8, **changes: Any) -> Self:
        """Settings for a learner that begins at random, those of `docs/irl.md`.

        Rounds have 2,048 steps, and episodes may be of any length. With Box actions the reward is
        of states alone: it would tell the learner's noise from the demonstrator's certainty before
        it told where to be. Where the reward is to teach others, let `num_replay_rounds` be None.

        Args:
            action_space: Of the environments.
            num_envs: Environments that step together.
            **changes: Settings that differ, such as `gamma`, which is the task's.
        """
        settings: dict[str, Any] = {
            "starts_from_clone": False,
            # Or an early end would look right.
            "has_absorbing_state": True,
            "normalizes_rewards": True,
            "num_steps": max(2048 // num_envs, 1),
            "num_replay_rounds": 4,
        }
        if isinstance(action_space, spaces.Box):
            settings |= {
                "is_state_only": True,
                "anneals": True,
                "learning_rate": 1e-3,
                "target_kl": 0.03,
                "num_replay_rounds": 8,
            }
        return cls(**settings | changes)

    @property
    def takes_any_length(self) -> bool:
        """Whether episodes may be of different lengths."""
        return self.may_vary_in_length or self.has_absorbing_state


class AdversarialIRL(Fitted, Savable):
    """AIRL: a reward and a policy from demonstrations and an environment without rewards.

    The environment's own rewards are never looked at.

    `load` takes vector environments and, as `given`, demonstrations to go on learning from.

    Args:
        demonstrations: `Trajectories` or what `Demonstrations.of` takes.
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
    kind = KIND
    is_cpu_only = True  # where SB3's PPO is quickest

    def __init__(
        self,
        demonstrations: Any,
        envs: VecEnv,
        config: AdversarialConfig | None = None,
        seed: int = 0,
    ) -> None:
        self._build(envs, config, seed)
        checked = Demonstrations.of(demonstrations)
        self._take_demonstrations(checked)
        assert self.demonstrated is not None
        # In the units of the demonstrations, which do not change while the learner explores.
        self.reward_network.standardize(self.demonstrated.observations)
        # A learner that begins like the demonstrator gives the discriminator something to tell.
        if self.config.starts_from_clone:
            clone_into(self.learner, checked, seed)

    def _build(self, envs: VecEnv, config: AdversarialConfig | None, seed: int) -> None:
        """Reward, potential and learner, before anything is known of demonstrations."""
        seed = checked_seed(seed)
        _check_spaces(envs)
        self.config = AdversarialConfig() if config is None else config
        self.seed = seed
        self.observation_space = envs.observation_space
        self.action_space = envs.action_space
        self.demonstrated: Transitions[Tensor] | None = None
        # `load` knows better, once it has no environments but their spaces.
        self._has_no_envs = False
        self.loss = math.nan
        self.accuracy = math.nan
        self.generator = torch.Generator().manual_seed(seed)
        self.reward_network, self.potential = _discriminator(
            self.observation_space, self.action_space, self.config, self.generator
        )
        parameters = [parameter for _, parameter in self.named_parameters()]
        self.optimizer = torch.optim.Adam(parameters, lr=self.config.discriminator_learning_rate)
        # The learner's steps of the last rounds, and after them what the absorbing state is worth.
        self.replay: deque[_Round] = deque(maxlen=self.config.num_replay_rounds)
        self.absorption = _Absorption()
        self.envs = RewardRelabelVecEnv(
            envs,
            self.learner_reward,
            has_one_length=not self.config.takes_any_length,
            normalized_gamma=self.config.gamma if self.config.normalizes_rewards else None,
        )
        self.learner = PPO(
            BoundedActorCriticPolicy,
            self.envs,
            n_steps=self.config.num_steps,
            # Never more than a rollout holds.
            batch_size=min(256, self.config.num_steps * envs.num_envs),
            n_epochs=self.config.num_epochs,
            gamma=self.config.gamma,
            learning_rate=self.config.learning_rate,
            ent_coef=self.config.ent_coef,
            target_kl=self.config.target_kl,
            use_sde=self.config.use_sde,
            sde_sample_freq=4,
            seed=seed,
            device="cpu",
        )

    def _take_demonstrations(self, demonstrations: Demonstrations) -> None:
        if not demonstrations.has_one_length and not self.config.takes_any_length:
            shortest = int(demonstrations.lengths.min())
            longest = int(demonstrations.lengths.max())
            raise MixedHorizonError(
                f"episodes have {shortest} to {longest} steps: their length would tell who acted; "
                "let them go on with has_absorbing_state=True, cut them to one length, or permit "
                "it with may_vary_in_length=True"
            )
        check_spaces_fit(demonstrations, self.observation_space, self.action_space)
        self.demonstrated = demonstrations.transitions().map(_tensor)
        longest = int(demonstrations.lengths.max())
        self.envs.horizon = longest
        # An episode that was cut tells nothing of what would have followed.
        ends = demonstrations.step_starts + demonstrations.lengths - 1
        missing = (longest - demonstrations.lengths) * demonstrations.terminations[ends]
        self.demonstrated_absorbed = int(missing.sum())

    def learn(
        self,
        total_timesteps: int,
        callback: Any = None,
        progress_bar: bool | None = False,
        *,
        checkpoints: CheckpointManager | str | os.PathLike[str] | None = None,
        checkpoint_every: int = 10,
    ) -> Self:
        """Train reward and policy in turn for this many steps of the environments.

        Args:
            total_timesteps: Steps; a second call takes as many again. With checkpoints they count
                from the very first.
            callback: SB3's, for the learner.
            progress_bar: A bar on a terminal, elsewhere lines; None: there only of long work.
            checkpoints: Where to save, every `checkpoint_every` rounds and at the end. The same
                call on a new learner made with the same arguments resumes from the newest
                checkpoint there, bitwise as if it had never stopped. All environments start anew
                at a checkpoint, interrupted or not.
            checkpoint_every: In rounds.

        Raises:
            ConfigError: `checkpoint_every` below 1, or a learner that was loaded without
                environment or demonstrations.
            MixedHorizonError: The learner's episodes end after different numbers of steps, without
                permission.
            CheckpointError: The checkpoints are of another run, or none of them is whole.
            NonFiniteError: A reward, a parameter of the learner, or the discriminator's loss or
                gradient is not finite: nothing is saved with them.
        """
        require_integers(1, checkpoint_every=checkpoint_every)
        if self.demonstrated is None or self._has_no_envs:
            raise ConfigError(
                "this AdversarialIRL was loaded to predict: to go on learning, give environments "
                "and demonstrations, load(path, envs, given=demonstrations)"
            )
        per_round = self.config.num_steps * self.envs.num_envs
        num_rounds = max(total_timesteps // per_round, 1)
        # A round is a rollout of PPO and the updates of the discriminator that follow.
        run = _AdversarialRun(self, num_rounds, callback, checkpoint_every, checkpoints is not None)
        # From here on callbacks may ask for the reward as it is being learned.
        self.is_fitted = True
        Trainer(
            run,
            num_rounds,
            description="rounds of AIRL",
            checkpoints=checkpoints,
            checkpoint_every=checkpoint_every,
            progress=progress_bar,
        ).train()
        # Everything was done by an earlier run.
        if run.num_rounds == 0:
            num_done = self.learner.num_timesteps
            total = num_rounds * per_round
            say_nothing_left("AdversarialIRL", num_done, total, "steps", is_resumption=True)
        return self

    def predict(
        self,
        observation: Any,
        state: Any = None,
        episode_start: NDArray[np.bool_] | None = None,
        deterministic: bool = False,
    ) -> tuple[Any, Any]:
        """The learner's action.

        Raises:
            SpaceError: What is no observation of the environments.
        """
        return self.learner.predict(observation, state, episode_start, deterministic)

    @torch.no_grad()
    def reward(self, observations: Any, actions: Any) -> NDArray[np.float32]:
        """The inferred reward g [N]; shaping is left out.

        Args:
            observations: [N, O].
            actions: [N] where they are Discrete, else [N, A].

        Raises:
            SpaceError: What is no observation of the environments.
        """
        size = spaces.flatdim(self.observation_space)
        array = number_array(observations, f"observations [N, {size}]")
        flat = array.reshape(len(array), -1) if array.ndim > 1 else array
        rows = observation_tensor(flat, size, torch.device("cpu"))
        rewards: NDArray[np.float32] = self.reward_network(rows, actions).numpy()
        return rewards

    def logits(self, steps: Transitions[Tensor]) -> Tensor:
        """f(s, a, s') [N]; where an episode terminated, the next potential is 0."""
        rewards: Tensor = self.reward_network(steps.observations, steps.actions)
        if not self.config.has_shaping:
            return rewards
        potential = self._potential(steps.observations)
        # Where an episode was cut by a time limit its next potential counts.
        next_potential = self._potential(steps.next_observations) * ~steps.terminations
        return rewards + self.config.gamma * next_potential - potential

    def log_policy(self, steps: Transitions[Tensor]) -> Tensor:
        """Log pi(a | s) [N] of the present policy."""
        with torch.no_grad():
            # The policy is a constant to the discriminator (Fu et al. 2018, section 4).
            policy = self.learner.policy
            policy.set_training_mode(False)
            shape = self.observation_space.shape or ()
            distribution = policy.get_distribution(steps.observations.reshape(-1, *shape))
            log_probabilities: Tensor = distribution.log_prob(steps.actions)
        return log_probabilities

    def learner_reward(self, steps: Transitions[Tensor]) -> Tensor:
        """What PPO maximizes: f - log pi [N].

        With an absorbing state also what it is worth to be alive, and where an episode terminates
        what it is worth to stay in that state for ever.
        """
        rewards = self.logits(steps) - self.log_policy(steps)
        if not self.config.has_absorbing_state:
            return rewards
        gamma = self.config.gamma
        for_ever = gamma / (1 - gamma) * self.absorption.absorbed_logit
        return rewards + self.absorption.alive_logit + for_ever * steps.terminations

    def train_discriminator(
        self, steps: Transitions[Tensor], number: int, num_absorbed: int = 0
    ) -> None:
        """Train reward and potential to tell demonstrations from the learner's steps.

        Args:
            steps: The learner's since the last round.
            number: Of the round, for messages.
            num_absorbed: Steps that the learner spent in the absorbing state meanwhile.
        """
        assert self.demonstrated is not None
        self.replay.append(_Round(steps, num_absorbed))
        steps = Transitions.concatenate([each.steps for each in self.replay], torch.cat)
        if self.config.has_absorbing_state:
            self.absorption = _Absorption.of(
                _share(self.demonstrated_absorbed, len(self.demonstrated)),
                _share(sum(each.num_absorbed for each in self.replay), len(steps)),
            )
        for update in range(self.config.num_discriminator_updates):
            batch = Transitions.concatenate(
                [self._sample(self.demonstrated), self._sample(steps)], torch.cat
            )
            # Half and half, so that the logit is log of the ratio of both densities.
            labels = torch.zeros(len(batch))
            labels[: self.config.batch_size] = 1  # the demonstrated half
            batch.observations.requires_grad_(True)
            values = self.logits(batch)
            # The discriminator is exp(f) / (exp(f) + pi): its logit is f - log pi.
            logits = values - self.log_policy(batch)
            # The slope in units of the observations' spread, held small: a reward that is steep
            # between demonstrations misleads.
            (slopes,) = torch.autograd.grad(values.sum(), batch.observations, create_graph=True)
            penalty = (slopes * self.reward_network.std).square().sum(1).mean()
            loss = F.binary_cross_entropy_with_logits(logits, labels)
            loss = loss + self.config.gradient_penalty * penalty
            place = f"at update {update} of round {number} of the discriminator"
            self.loss = gradient_step(loss, self.optimizer, self.named_parameters(), place)
            self.accuracy = float(((logits > 0) == (labels > 0.5)).float().mean())

    def named_parameters(self) -> Iterator[tuple[str, Tensor]]:
        """Those of reward and potential."""
        for prefix, network in (("reward", self.reward_network), ("potential", self.potential)):
            for name, parameter in network.named_parameters():
                yield f"{prefix}.{name}", parameter

    def _stored(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Reward, potential and policy.

        Demonstrations, environments and optimizers are not in it: `learn` has checkpoints.
        """
        check_fitted(self)
        description = {
            "config": asdict(self.config),
            "seed": self.seed,
            "observation_space": space_to_json(self.observation_space),
            "action_space": space_to_json(self.action_space),
        }
        tensors = {
            f"{prefix}.{name}": tensor
            for prefix, network in self._networks().items()
            for name, tensor in network.state_dict().items()
        }
        return tensors, description

    @classmethod
    def _from_stored(cls, stored: Checkpoint, env: Any, device: str, given: Any) -> Self:  # noqa: ARG003
        metadata = stored.metadata
        check_counts({"widths": metadata["config"]["widths"]}, stored.tensors)
        config = config_from_json(AdversarialConfig, metadata["config"])
        known = spaces_from(metadata)
        with torch.device("meta"):  # first without memory
            reward, _ = _discriminator(*known, config, torch.Generator(device="cpu"))
            check_shapes(reward, tensors_below("reward", stored.tensors))
        # Without `__init__`, which asks for demonstrations.
        irl = cls.__new__(cls)
        irl._build(DummyVecEnv([lambda: _SpacesOnly(*known)]), config, metadata["seed"])
        irl._load_networks(stored.tensors)
        irl._has_no_envs = True
        irl.is_fitted = True
        return irl

    def _settle(self, env: Any, device: str, given: Any) -> None:  # noqa: ARG002
        if env is not None:
            require_spaces(env, self.observation_space, self.action_space)
            # Kept before everything is built anew around the other environments.
            tensors, _ = self._stored()
            # SB3's PPO is tied to the number of its environments, so that it is made anew.
            self._build(env, self.config, self.seed)
            self._load_networks(tensors)
        if given is not None:
            self._take_demonstrations(Demonstrations.of(given))

    def _load_networks(self, tensors: Mapping[str, Tensor]) -> None:
        for prefix, network in self._networks().items():
            weights = tensors_below(prefix, tensors)
            check_shapes(network, weights)
            network.load_state_dict(weights)

    def _networks(self) -> dict[str, torch.nn.Module]:
        return {
            "reward": self.reward_network,
            "potential": self.potential,
            "policy": self.learner.policy,
        }

    def _sample(self, steps: Transitions[Tensor]) -> Transitions[Tensor]:
        """A batch drawn with replacement."""
        size = (self.config.batch_size,)
        return steps.select(torch.randint(len(steps), size, generator=self.generator))

    def _potential(self, observations: Tensor) -> Tensor:
        network = self.reward_network
        values: Tensor = self.potential((observations - network.mean) / network.std)[:, 0]
        return values


class _AdversarialRun:
    """Rounds of PPO and discriminator in turn."""

    def __init__(
        self,
        irl: AdversarialIRL,
        total_rounds: int,
        callback: Any,
        checkpoint_every: int,
        has_checkpoints: bool,
    ) -> None:
        self.irl = irl
        self.total_rounds = total_rounds
        self.callback = callback
        self.checkpoint_every = checkpoint_every
        self.has_checkpoints = has_checkpoints
        self.num_rounds = 0

    def step(self, update: int) -> Mapping[str, float]:
        """One round."""
        irl = self.irl
        # Environments cannot be stored: they start anew after each save, so that a run that was
        # interrupted there is the same as one that was not.
        if self.has_checkpoints and update > 0 and update % self.checkpoint_every == 0:
            restart_environments(irl.learner)
        num_steps = irl.config.num_steps * irl.envs.num_envs
        progress = update / self.total_rounds if irl.config.anneals else 0.0
        rate = irl.config.learning_rate * (1 - (1 - _LAST_RATE) * progress)
        irl.learner.lr_schedule = lambda _: rate
        # One rollout and its epochs.
        irl.learner.learn(num_steps, callback=self.callback, reset_num_timesteps=False)
        weights = irl.learner.policy.state_dict()
        # PPO may diverge within the call, where nothing of ours looks.
        require_finite(weights, f"a parameter of the learner in round {update}")
        if hasattr(irl.learner.policy, "log_std"):
            max_std = _MAX_STD * (1 - (1 - _LAST_STD) * progress)
            irl.learner.policy.log_std.data.clamp_(max=math.log(max_std))
        num_absorbed = irl.envs.take_absorbed()
        irl.train_discriminator(irl.envs.take_steps(), update, num_absorbed)
        self.num_rounds += 1
        return {"loss": irl.loss, "accuracy": irl.accuracy}

    def state_dict(self) -> dict[str, Any]:
        """Networks, optimizers, generators and the length of the learner's episodes."""
        irl = self.irl
        networks = {
            "reward": irl.reward_network.state_dict(),
            "potential": irl.potential.state_dict(),
        }
        for name, weights in networks.items():
            require_finite(weights, f"a parameter of the {name}, so it is not saved")
        return {
            **networks,
            "optimizer": irl.optimizer.state_dict(),
            "generator": irl.generator.get_state(),
            "learner": training_state(irl.learner),
            "length": irl.envs.length,
            "return_spread": vars(irl.envs.return_spread),
            "replay": [
                vars(each.steps) | {"num_absorbed": each.num_absorbed} for each in irl.replay
            ],
            "absorption": [irl.absorption.alive_logit, irl.absorption.absorbed_logit],
            "figures": [irl.loss, irl.accuracy],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over a state of the same run; the environments start anew."""
        irl = self.irl
        irl.reward_network.load_state_dict(state["reward"])
        irl.potential.load_state_dict(state["potential"])
        irl.optimizer.load_state_dict(state["optimizer"])
        irl.generator.set_state(state["generator"])
        irl.loss, irl.accuracy = state["figures"]
        irl.envs.length = state["length"]
        vars(irl.envs.return_spread).update(state["return_spread"])
        irl.replay.clear()
        for stored in state["replay"]:
            steps = {name: value for name, value in stored.items() if name != "num_absorbed"}
            irl.replay.append(_Round(Transitions(**steps), int(stored["num_absorbed"])))
        irl.absorption = _Absorption(*state["absorption"])
        set_training_state(irl.learner, state["learner"])
        restart_environments(irl.learner)

    def fingerprint(self) -> dict[str, Any]:
        """Settings, spaces, a hash of the demonstrations, and after how many rounds saves come."""
        irl = self.irl
        steps = irl.demonstrated
        assert steps is not None
        arrays = (steps.observations, steps.actions, steps.next_observations, steps.terminations)
        return {
            "kind": "adversarial IRL",
            "format": _CHECKPOINT_FORMAT,
            "config": asdict(irl.config),
            "seed": irl.seed,
            "checkpoint_every": self.checkpoint_every,
            "num_envs": irl.envs.num_envs,
            "spaces": [str(irl.observation_space), str(irl.action_space)],
            "demonstrations": content_hash(*(array.numpy() for array in arrays)),
        }


@dataclass(frozen=True)
class _Round:
    """What the learner did in one round: steps, and how many more it spent in the absorbing state."""

    steps: Transitions[Tensor]
    num_absorbed: int


@dataclass(frozen=True)
class _Absorption:
    """The discriminator's logits of being alive or in the absorbing state: logs of density ratios.

    In the absorbing state there is nothing to see and nothing to do, so that the best discriminator
    is known: the logarithm of how much more often demonstrators are there than the learner. What
    the network tells of other states is conditional on being alive, hence `alive_logit`.
    """

    alive_logit: float = 0.0
    absorbed_logit: float = 0.0

    @classmethod
    def of(cls, demonstrated: float, learned: float) -> "_Absorption":
        """From the shares of all steps that both spend in the absorbing state."""
        alive = math.log((1 - demonstrated + _RARE) / (1 - learned + _RARE))
        return cls(alive, math.log((demonstrated + _RARE) / (learned + _RARE)))


def _share(num_absorbed: int, num_alive: int) -> float:
    return num_absorbed / (num_absorbed + num_alive)


class _SpacesOnly(gym.Env[Any, Any]):
    """An environment of a loaded learner, which has spaces and no world."""

    def __init__(self, observation_space: gym.Space[Any], action_space: gym.Space[Any]) -> None:
        self.observation_space = observation_space
        self.action_space = action_space


def _discriminator(
    observation_space: gym.Space[Any],
    action_space: gym.Space[Any],
    config: AdversarialConfig,
    generator: torch.Generator,
) -> tuple[RewardNetwork, Perceptron]:
    """The reward g and the potential h."""
    num_inputs = spaces.flatdim(observation_space)
    reward = RewardNetwork(
        num_inputs,
        action_space,
        config.widths,
        is_state_only=config.is_state_only,
        generator=generator,
    )
    return reward, Perceptron((num_inputs, *config.widths, 1), "relu", generator)


def _check_spaces(envs: VecEnv) -> None:
    observations = envs.observation_space
    actions = envs.action_space
    is_flat = isinstance(actions, spaces.Box) and len(actions.shape) == 1
    is_counted = isinstance(actions, spaces.Discrete) and actions.start == 0
    if not isinstance(observations, spaces.Box) or not (is_flat or is_counted):
        raise SpaceError(
            "AdversarialIRL serves Box observations, and actions of a one-dimensional Box or "
            f"Discrete from 0, got {observations} and {actions}: wrap the environments"
        )
    check_spaces(observations, actions)  # its policy is Stable-Baselines3's PPO


def _tensor(array: NDArray[Any]) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(array))
