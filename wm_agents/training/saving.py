"""Saving and loading of everything that has learned: one file, which says itself what it holds."""

import importlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Protocol, Self

from torch import Tensor, nn

from wm_agents.errors import CheckpointError, ConfigError
from wm_agents.networks import choose_device
from wm_agents.training.checkpoints import Checkpoint, load_checkpoint, save_checkpoint
from wm_agents.training.stored_shapes import reading_description
from wm_envs.data.paths import user_path

SUFFIX = ".safetensors"
CARD_FILE = "model.safetensors"  # of the folders that `wm_agents.training.cards` writes

HISTORY_KIND = "history world model"

# What a file calls itself -> where its class is. Kinds never change, so that old files keep
# loading.
KINDS = {
    "adversarial irl": "wm_agents.irl.adversarial:AdversarialIRL",
    "behavioral cloning": "wm_agents.irl.cloning:BehavioralCloning",
    "debate model": "wm_agents.domains.debate.model:DebateModel",
    "deterministic world model": "wm_agents.world_models.deterministic:DeterministicModel",
    "driving world model": "wm_agents.domains.driving.network:DrivingModel",
    "ensemble world model": "wm_agents.world_models.ensemble:EnsembleModel",
    "ideal points": "wm_agents.domains.resolutions.ideal_points:IdealPoints",
    "imagined sac": "wm_agents.imagination.imagined_sac:ImaginedSAC",
    HISTORY_KIND: "wm_agents.world_models.history:HistoryModel",
    "latent world model": "wm_agents.world_models.latent:LatentModel",
    "maximum-entropy irl": "wm_agents.irl.maxent:MaxEntIRL",
    "object world model": "wm_agents.world_models.objects:ObjectModel",
    "recurrent world model": "wm_agents.world_models.recurrent:RecurrentModel",
    "reinforce": "wm_agents.policy_gradient.reinforce:Reinforce",
    "resolution world model": "wm_agents.domains.resolutions.world_model:ResolutionModel",
    "rule program": "wm_agents.world_models.program:ProgramModel",
    "sampled maximum-entropy irl": "wm_agents.irl.sampled:SampledMaxEntIRL",
    "spatial voting model": "wm_agents.domains.resolutions.spatial:SpatialModel",
    "stacked forest world model": "wm_agents.world_models.stacked_forest:StackedForestModel",
    "tabular world model": "wm_agents.world_models.tabular:TabularModel",
    "token world model": "wm_agents.world_models.token:TokenModel",
    "value iteration": "wm_agents.planning.value:ValueIteration",
    "value network": "wm_agents.planning.value:ValueNetwork",
    "vector ppo policy": "wm_agents.policy_gradient.ppo:PPO",
    "vote classifier": "wm_agents.domains.resolutions.classifier:VoteClassifier",
    "vote model": "wm_agents.domains.resolutions.vote_model:VoteModel",
    "world model agent": "wm_agents.agent:WorldModelAgent",
}


class Saves(Protocol):
    """What `save` takes: a `Savable`, or anything else that writes itself to one file."""

    def save(self, path: Path) -> Any:
        """Write everything that a later `load` needs."""
        ...


class Savable:
    """What is kept in one file, which says itself what it holds.

    A subclass says what is in the file (`_stored`), how that is built again (`_from_stored`) and
    what an environment has to be (`_check_env`). Its kind has a row in `KINDS`.

    Attributes:
        kind: What its files call themselves.
        is_cpu_only: Whether any other device is refused.
    """

    kind: ClassVar[str]
    is_cpu_only: ClassVar[bool] = False

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write all that `load` needs to one file (safetensors with JSON), and give its path.

        Args:
            path: The file; ".safetensors" is added where there is no suffix.

        Raises:
            CheckpointError: The file cannot be written.
        """
        tensors, description = self._stored()
        return save_checkpoint(saved_path(path), tensors, {"kind": self.kind, **description})

    @classmethod
    def load(
        cls,
        path: str | os.PathLike[str],
        env: Any = None,
        *,
        device: str = "auto",
        given: Any = None,
    ) -> Self:
        """Read a file that `save` wrote.

        Args:
            path: The file, with or without its suffix, or a folder with a model card.
            env: An id or environment that it has to fit; agents go on learning there. None is
                enough to predict.
            device: Where it goes; "auto" takes an accelerator where there is one and it is of use.
            given: What no file can hold, where something is needed: see the class.

        Raises:
            CheckpointError: The file is missing, damaged or of another kind.
            ConfigError: There is no such device, or what no file can hold is not given.
            SpaceError: The environment has other spaces.
        """
        # Arguments first: nobody waits for a large file to hear of a device that is not there.
        cls._check_request(path, device, given)
        target = stored_path(path)
        stored = load_checkpoint(target)
        if cls.kind not in (stored.metadata.get("kind"), stored_kind(stored.metadata)):
            raise CheckpointError(
                f"{target} is a checkpoint of kind {stored.metadata.get('kind')!r}, not "
                f"{cls.kind!r}"
            )
        with reading_description(target, f"a {cls.__name__} ({cls.kind})"):
            learner = cls._from_stored(stored, env, device, given)
        # Outside, so that a wrong environment is a SpaceError and no fault of the file.
        learner._settle(env, device, given)
        return learner

    def _stored(self) -> tuple[Mapping[str, Tensor], dict[str, Any]]:
        """Tensors, and JSON that describes what they belong to."""
        raise NotImplementedError

    @classmethod
    def _from_stored(cls, stored: Checkpoint, env: Any, device: str, given: Any) -> Self:
        """Build it from a file; whatever is raised here becomes a CheckpointError.

        Before memory is taken the description is compared with the tensors: a file cannot ask for
        more than they take.
        """
        raise NotImplementedError

    @classmethod
    def _check_request(cls, path: str | os.PathLike[str], device: str, given: Any) -> None:  # noqa: ARG003
        """Refuse arguments of `load` before a file is opened."""
        if not cls.is_cpu_only:
            choose_device(device)
        elif device not in ("auto", "cpu"):
            raise ConfigError(
                f"a {cls.__name__} can only live on the CPU: device is 'auto' or 'cpu', got "
                f"{device!r}"
            )

    def _settle(self, env: Any, device: str, given: Any) -> None:  # noqa: ARG002
        """Take the other arguments of `load`, whose errors are not those of the file."""
        if env is not None:
            self._check_env(env)
        if isinstance(self, nn.Module):
            self.to(choose_device("cpu" if self.is_cpu_only else device))

    def _check_env(self, env: Any) -> None:
        """Raise SpaceError unless an environment has these spaces."""


def saved_path(path: str | os.PathLike[str]) -> Path:
    """The file that a user's path means: `~` expanded, the suffix added where there is none."""
    target = user_path(path)
    return target if target.suffix else target.with_name(target.name + SUFFIX)


def stored_path(path: str | os.PathLike[str]) -> Path:
    """The file to read for a user's path: this very file, else the one with the suffix added.

    Of a folder it is the one beside the model card.
    """
    target = user_path(path)
    if target.is_dir():
        return target / CARD_FILE
    return target if target.is_file() else saved_path(target)


def stored_kind(metadata: Mapping[str, Any]) -> Any:
    """What a file calls itself, in the words of this version."""
    surroundings = metadata.get("surroundings")
    if isinstance(surroundings, dict) and "num_past" in surroundings:
        return HISTORY_KIND  # files of the first release call themselves by the inner model
    return metadata.get("kind")


def stored_class(kind: Any, path: str | os.PathLike[str]) -> Any:
    """The class of what calls itself by this kind.

    Raises:
        CheckpointError: This version knows no such kind.
    """
    if not (isinstance(kind, str) and kind in KINDS):
        raise CheckpointError(f"{path} holds {kind!r}, not one of {', '.join(sorted(KINDS))}")
    module, _, name = KINDS[kind].partition(":")
    return getattr(importlib.import_module(module), name)


def save(learner: Saves, path: str | os.PathLike[str]) -> Path:
    """Write a model, policy, value or reward to one file and return its path."""
    return Path(learner.save(user_path(path)))


def load(
    path: str | os.PathLike[str], env: Any = None, *, device: str = "auto", given: Any = None
) -> Any:
    """Read what `save` wrote; the file says what it is.

    Args:
        path: The file, with or without its suffix, or a folder with a model card.
        env: An id or environment that agents need to go on learning; what is loaded must fit its
            spaces.
        device: Where it is to live; "auto" takes a GPU where there is one.
        given: What a file cannot hold, such as the functions of derived features.

    Raises:
        CheckpointError: The file is missing, damaged, or of something that this version does not
            know.
    """
    readable = user_path(path)
    if readable.suffix == ".json":
        kind = "debate model" if _is_debate(readable) else "rule program"
        return stored_class(kind, readable).load(readable, env, device=device, given=given)
    target = stored_path(path)
    # Read again by the class, whose `load` is called directly as well.
    kind = stored_kind(load_checkpoint(target).metadata)
    return stored_class(kind, target).load(target, env, device=device, given=given)


def _is_debate(path: Path) -> bool:
    """Whether a file of JSON begins as those of debates do, which name their format first."""
    try:
        with path.open("rb") as file:
            return b'"wm-suite debate model' in file.read(80)
    except OSError:
        return False  # whoever reads all of it says why it cannot
