"""REINFORCE with a world-model auxiliary loss, for many seeds at once.

`num_seeds` runs train as one batched program; each has its own network, episodes and randomness.
The loss terms are in `reinforce_updates`, the network in `sequence_model`.

What is maximized is the return of the episode as it is played: a truncated one counts like a
terminated one, unless the baseline is the value head and gamma below 1, when the value of the
observation after the last step stands in for the rest.
"""

import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any, Self

import gymnasium as gym
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from wm_agents.errors import CheckpointError, ConfigError, SpaceError
from wm_agents.networks import choose_device
from wm_agents.policy_gradient.collector import (
    EpisodeCollector,
    StackedBatch,
    network_sizes,
    sample_categorical,
)
from wm_agents.policy_gradient.environments import VectorEnvMaker, environment_maker
from wm_agents.policy_gradient.prediction_targets import num_predictions, other_rows
from wm_agents.policy_gradient.reinforce_config import (
    LossWeights,
    ReinforceConfig,
    check_sizes,
    current_names,
    device_of,
)
from wm_agents.policy_gradient.reinforce_updates import (
    EVALUATION,
    StackedReinforce,
    UpdateReport,
    rewards_to_go,
)
from wm_agents.policy_gradient.running_standardizer import RunningStandardizer
from wm_agents.policy_gradient.sequence_model import (
    Cache,
    SequenceModel,
    Sizes,
)
from wm_agents.policy_gradient.spaces import PolicySpaces
from wm_agents.training.checkpoints import (
    Checkpoint,
    CheckpointManager,
)
from wm_agents.training.config_checks import require_integers
from wm_agents.training.curriculum import Curriculum
from wm_agents.training.finite import require_finite
from wm_agents.training.loggers import Logger
from wm_agents.training.progress import say_nothing_left
from wm_agents.training.saving import Savable
from wm_agents.training.seeding import spawn_seeds
from wm_agents.training.stored_shapes import config_from_json, own_id
from wm_agents.training.trainer import Trainer, resume_from_files
from wm_envs.data.display import counted, html_card
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
# What the progress bar shows.
HEADLINE = ("success", "return")
# Steps of an episode that nothing ends.
LONGESTEVALUATION = 100_000

Callback = Callable[["Reinforce", UpdateReport], bool | None]


class Reinforce(StackedReinforce, Savable):
    """REINFORCE agents, one per stacked seed, that share an environment id and a configuration.

    `load` reads what `save` wrote, or a checkpoint of `learn`, and needs `env` where the agent was
    not made from an id; device "auto" takes the one that the agent ran on where that is here.

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
        SpaceError: A space that `wm_envs.data.spaces` does not serve, or for several seeds a
            function's vector environment whose reset takes no list of seeds.
    """

    kind = KIND

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
        config = config or ReinforceConfig()
        self.seeds = spawn_seeds(seed, config.num_seeds)
        seed = int(seed)  # NumPy's integers are checked by now, and no JSON
        self._env_id = env if isinstance(env, str) else None
        self._options = {
            "env_kwargs": absolute_options(env_kwargs or {}),
            "levels": [absolute_options(level) for level in levels],
            "mastery": mastery,
            "window": window,
        }
        makers = [
            environment_maker(env, {**(env_kwargs or {}), **level}, config.num_seeds)
            for level in levels
        ]
        probe = makers[0](1)
        known = PolicySpaces(probe.single_observation_space, probe.single_action_space)
        probe.close()
        self.sizes = network_sizes(known, config.has_previous_step)
        name, num_targets = config.world_model_target, self.sizes.num_targets
        if (count := num_predictions(name, num_targets, config.network.width)) != num_targets:
            self.sizes = replace(self.sizes, num_predictions=count)
        device = choose_device(config.device)
        model = SequenceModel(config.network, self.sizes, self.seeds, device, known.action_units)
        collector = EpisodeCollector(
            makers, known, self.seeds, config.max_episode_steps, config.has_previous_step
        )
        curriculum = None
        if len(levels) > 1:
            curriculum = Curriculum(range(len(levels)), mastery, window, config.num_seeds)
        super().__init__(config, known, model, collector, curriculum, seed)
        self._generator = torch.Generator().manual_seed(self.seeds[0])  # of predict()'s draws

    @property
    def observation_space(self) -> gym.Space[Any]:
        """Of a single environment."""
        return self.spaces.observation_space

    @property
    def action_space(self) -> gym.Space[Any]:
        """Of a single environment."""
        return self.spaces.action_space

    def __repr__(self) -> str:
        return (
            f"Reinforce({self._env_id or 'an environment'}, {counted(self.config.num_seeds, 'run')} of "
            f"{self.model.num_parameters:,} parameters, {int(self.num_steps.mean()):,} steps "
            "learned)"
        )

    def _repr_html_(self) -> str:
        facts = {
            "environment": self._env_id or "given as it is",
            "runs": self.config.num_seeds,
            "parameters of a run": f"{self.model.num_parameters:,}",
            "steps of a run": f"{int(self.num_steps.mean()):,}",
        }
        return html_card("Reinforce", facts)

    def learn(
        self,
        total_timesteps: int,
        callback: Callback | None = None,
        progress_bar: bool = False,
        *,
        logger: Logger | None = None,
        checkpoints: CheckpointManager | str | os.PathLike[str] | None = None,
        checkpoint_every: int = 500,
    ) -> Self:
        """Train until every run has taken this many environment steps, counted from the very first.

        Args:
            total_timesteps: Steps per run, those of earlier calls and before a resumption included;
                a second call has to ask for more, and says so where nothing is left to do.
            callback: Called after every update with the agent and an UpdateReport; False stops.
            progress_bar: Show progress: a bar on a terminal, elsewhere a line now and then.
            logger: Receives the means over runs after every update.
            checkpoints: Where to save, every `checkpoint_every` updates and at the end. An agent
                that has not trained yet resumes from the newest checkpoint there, bitwise as if it
                had never stopped.
            checkpoint_every: In updates.

        Raises:
            ConfigError: A number below 1, or levels of an environment that reports no success to
                advance by.
            CheckpointError: The checkpoints are of another run, or none of them is whole.
            NonFiniteError: A loss or gradient is not finite; parameters and checkpoints are those
                before the update.
        """
        require_integers(1, total_timesteps=total_timesteps, checkpoint_every=checkpoint_every)
        run = _Run(self, total_timesteps)

        def call_back(_: int, __: dict[str, float]) -> bool | None:
            assert run.report is not None
            return None if callback is None else callback(self, run.report)

        Trainer(
            run,
            None,
            description="reinforce",
            checkpoints=checkpoints,
            checkpoint_every=checkpoint_every,
            progress=None if progress_bar else False,
            logger=None if logger is None else _StepLogger(logger, self),
            callback=call_back,
            first_update=self.num_updates,
            headline=HEADLINE,
        ).train()
        if run.report is None:
            done = int(self.num_steps.min())
            is_resumption = checkpoints is not None
            say_nothing_left(
                "Reinforce", done, total_timesteps, "steps", is_resumption=is_resumption
            )
        return self

    def evaluate(
        self,
        num_episodes: int = 100,
        *,
        deterministic: bool = True,
        level: int = -1,
        number: int = 0,
        max_episode_steps: int = LONGESTEVALUATION,
    ) -> StackedBatch:
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
                (EVALUATION, number),
                levels,
                deterministic,
                max_episode_steps,
            )
        num_cut = int(batch.cuts.sum())
        if num_cut:
            warnings.warn(
                f"{num_cut} of {batch.cuts.numel()} episodes had not ended after "
                f"{max_episode_steps} steps and count as they stood: give the environment a time "
                "limit, or raise max_episode_steps",
                stacklevel=2,
            )
        return batch

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
        rows, is_single = self.spaces.checked_rows(observation)
        tokens, cache = self._predict_tokens(rows, state, episode_start, member)
        outputs = self._member(member).policy(tokens).squeeze(0).detach().cpu()
        actions = self._choose(outputs, deterministic, member)
        return self.spaces.predicted_actions(actions, is_single), cache

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
                "predict() does not see rewards, which has_previous_step needs: use evaluate() "
                "instead"
            )
        model = self._member(member)
        inputs = observations.to(self.device).unsqueeze(0)
        starts = np.zeros(len(observations), np.bool_)
        if episode_start is not None:
            starts = np.asarray(episode_start)
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
        if self.spaces.is_continuous:
            spread = self._member(member).action_spread()[0].detach().cpu()
            noise = torch.randn(outputs.shape, generator=self._generator)
            return outputs if deterministic else outputs + spread * noise
        if deterministic:
            return outputs.argmax(-1)
        return sample_categorical(outputs, torch.rand(outputs.shape[0], generator=self._generator))

    def _member(self, member: int) -> SequenceModel:
        """The network of one run; a copy is made where several are stacked."""
        return self.model if self.config.num_seeds == 1 else self.model.select([member])

    def _stored(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """All that a later `load` needs to predict, or to go on training bitwise."""
        return self._state()

    @classmethod
    def _from_stored(cls, stored: Checkpoint, env: Any, device: str, given: Any) -> Self:  # noqa: ARG003
        return cls.from_checkpoint(stored, env, device=device)

    def _settle(self, env: Any, device: str, given: Any) -> None:
        """Nothing: it was built in the environment, on the device."""

    @classmethod
    def from_checkpoint(
        cls,
        checkpoint: Checkpoint,
        env: str | gym.Env[Any, Any] | VectorEnvMaker | None = None,
        *,
        device: str = "auto",
    ) -> Self:
        """An agent from a loaded checkpoint, such as the latest of a CheckpointManager.

        Args:
            checkpoint: What `save` wrote, or a checkpoint of `learn`.
            env: Needed where the agent was not made from an id; must have the spaces that it was
                trained on.
            device: "auto" takes the device that the agent ran on where that is here, and else what
                there is.

        Raises:
            CheckpointError: Of another kind or version, or for other spaces.
            ConfigError: There is no such device.
        """
        choose_device(device)
        metadata, tensors = checkpoint.metadata, checkpoint.tensors
        if metadata.get("kind") != KIND:
            raise CheckpointError(
                f"this is a checkpoint of kind {metadata.get('kind')!r}, not {KIND!r}"
            )
        try:
            environment = env if env is not None else own_id(metadata["env_id"])
            if environment is None:
                raise CheckpointError(
                    "this agent was not made from an environment id: give load() the environment"
                )
            # Files of before standardization go on without it, as what they learned is for raw
            # numbers.
            stored = current_names(metadata["config"])
            config = config_from_json(ReinforceConfig, {"normalize_observations": False, **stored})
            config = replace(config, device=device_of(config) if device == "auto" else device)
            check_sizes(config, Sizes(**metadata["sizes"]), tensors)
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
        """Take over the newest checkpoint of this very run, where there is one.

        `learn` of a new agent does so itself.

        Raises:
            CheckpointError: The checkpoints are of another run, or none of them is whole.
        """
        resume_from_files(_Run(self, 0), checkpoints)

    def _fingerprint(self) -> dict[str, Any]:
        """Which run this is."""
        return {
            "kind": KIND,
            "env_id": self._env_id,
            "options": self._options,
            "config": asdict(self.config),
            "seed": self.seed,
        }

    def _state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        require_finite(
            {"parameters": self.model.flat}, f"after update {self.num_updates}, so it is not saved"
        )
        tensors = {"parameters": self.model.flat, "baseline": torch.from_numpy(self._baseline)}
        tensors["success"] = torch.from_numpy(self._success)
        tensors["generator"] = self._generator.get_state()
        tensors |= {f"adam.{name}": value for name, value in self._optimizer.moments.items()}
        for kind, standardizer in self._standardizers().items():
            tensors |= {
                f"{kind}.{name}": value for name, value in standardizer.state_dict().items()
            }
        metadata = {
            **self._fingerprint(),
            "sizes": asdict(self.sizes),
            "num_updates": self.num_updates,
            "num_steps": self.num_steps.tolist(),
            "curriculum": None if self.curriculum is None else self.curriculum.state_dict(),
            "acts_in_units": True,
        }
        return tensors, metadata

    def _standardizers(self) -> dict[str, RunningStandardizer]:
        return {"input_units": self.model.input_units, "target_units": self.model.target_units}

    def _restore(self, tensors: Mapping[str, Tensor], metadata: Mapping[str, Any]) -> None:
        own_sizes = asdict(self.sizes)
        # Files of before other targets lack the number of predictions.
        if {"num_predictions": None, **metadata["sizes"]} != own_sizes:
            raise CheckpointError(
                f"trained on spaces of sizes {metadata['sizes']}, this environment has {own_sizes}"
            )
        units = self.spaces.action_units
        num_updates = metadata["num_updates"]
        num_steps = np.array(metadata["num_steps"], np.int64)
        if not isinstance(num_updates, int) or num_steps.shape != self.num_steps.shape:
            raise CheckpointError(
                f"no counts of updates and of steps by seed: {num_updates!r}, {num_steps!r}"
            )
        if not metadata.get("acts_in_units") and not (units is None or units.are_plain):
            raise CheckpointError(
                f"this agent learned actions of {self.spaces.action_space} in raw numbers, and "
                "this version acts in units of their bounds: train it again"
            )
        for kind, standardizer in self._standardizers().items():
            stored = {name: tensors.get(f"{kind}.{name}") for name in standardizer.state_dict()}
            if any(value is not None for value in stored.values()):
                standardizer.load_state_dict(stored)
        self.model.flat.copy_(tensors["parameters"])
        self._baseline[:] = tensors["baseline"].numpy()
        self._next_baseline = self._baseline
        if "success" in tensors:  # which files of before `mastery_decay` lack
            self._success = tensors["success"].numpy().copy()
        for name, value in self._optimizer.moments.items():
            value.copy_(tensors[f"adam.{name}"])
        self._generator.set_state(tensors["generator"])
        self.num_updates = num_updates
        self.num_steps = num_steps
        if self.curriculum is not None:
            self.curriculum.load_state_dict(metadata["curriculum"])


class _Run:
    """A call of `Reinforce.learn` as the training loop sees it."""

    def __init__(self, agent: Reinforce, total_timesteps: int) -> None:
        self.agent = agent
        self.total_timesteps = total_timesteps
        self.report: UpdateReport | None = None

    def position(self) -> tuple[int, int]:
        """Environment steps of the run that has taken the fewest."""
        return int(self.agent.num_steps.min()), self.total_timesteps

    def step(self, update: int) -> dict[str, float]:  # noqa: ARG002  (the agent counts)
        """Episodes of every run, and one step down their losses."""
        self.report = self.agent._update()
        return self.report.means()

    def stored(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """A file that `Reinforce.load` reads."""
        return self.agent._state()

    def restore(self, tensors: Mapping[str, Tensor], metadata: Mapping[str, Any]) -> int:
        """Take over such a file."""
        self.agent._restore(tensors, metadata)
        return self.agent.num_updates

    def stored_fingerprint(self, metadata: Mapping[str, Any]) -> dict[str, Any]:
        """Which run a file is of."""
        stored = {name: metadata.get(name) for name in self.fingerprint()}
        if isinstance(stored["config"], dict):
            # Where a run goes on is not what it is.
            device = self.agent.config.device
            stored["config"] = current_names(stored["config"]) | {"device": device}
        return stored

    def state_dict(self) -> dict[str, Any]:
        """As in a file of `save`."""
        tensors, metadata = self.agent._state()
        return {"tensors": tensors, "metadata": metadata}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over a state of the same run."""
        self.agent._restore(state["tensors"], state["metadata"])

    def fingerprint(self) -> dict[str, Any]:
        """Which run this is."""
        return self.agent._fingerprint()


class _StepLogger:
    """Logs by environment steps what the training loop logs by updates."""

    def __init__(self, logger: Logger, agent: Reinforce) -> None:
        self.logger = logger
        self.agent = agent

    def log(self, step: int, values: Mapping[str, float]) -> None:  # noqa: ARG002
        """Pass on."""
        self.logger.log(int(self.agent.num_steps.mean()), values)

    def close(self) -> None:
        """Whoever made the logger closes it."""
