"""Saving and loading of everything that has learned: one file, which says itself what it holds."""

import importlib
import os
from pathlib import Path
from typing import Any, Protocol

from wm_agents.errors import CheckpointError
from wm_agents.training.checkpoints import load_checkpoint
from wm_envs.data.paths import user_path

SUFFIX = ".safetensors"
CARD_FILE = "model.safetensors"  # of the folders that `wm_agents.training.cards` writes

HISTORY_KIND = "history world model"

# What a file calls itself -> where its class is. Kinds never change, so that old files keep
# loading.
KINDS = {
    "adversarial irl": "wm_agents.irl.adversarial:AdversarialIRL",
    "behavioral cloning": "wm_agents.irl.cloning:BehavioralCloning",
    "deterministic world model": "wm_agents.world_models.deterministic:DeterministicModel",
    "driving world model": "wm_agents.domains.driving.network:DrivingModel",
    "ensemble world model": "wm_agents.world_models.ensemble:EnsembleModel",
    HISTORY_KIND: "wm_agents.world_models.history:HistoryModel",
    "latent world model": "wm_agents.world_models.latent:LatentModel",
    "object world model": "wm_agents.world_models.objects:ObjectModel",
    "recurrent world model": "wm_agents.world_models.recurrent:RecurrentModel",
    "reinforce": "wm_agents.policy_gradient.reinforce:Reinforce",
    "resolution world model": "wm_agents.domains.resolutions.world_model:ResolutionModel",
    "rule program": "wm_agents.world_models.program:ProgramModel",
    "spatial voting model": "wm_agents.domains.resolutions.spatial:SpatialModel",
    "tabular world model": "wm_agents.world_models.tabular:TabularModel",
    "token world model": "wm_agents.world_models.token:TokenModel",
    "vector ppo policy": "wm_agents.policy_gradient.ppo:PPO",
    "vote classifier": "wm_agents.domains.resolutions.classifier:VoteClassifier",
    "vote model": "wm_agents.domains.resolutions.vote_model:VoteModel",
}


class Savable(Protocol):
    """What `save` takes."""

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write one file and return its path."""
        ...


def saved_path(path: str | os.PathLike[str]) -> Path:
    """The file that a user's path means: `~` expanded, the suffix added where there is none."""
    target = user_path(path)
    return target if target.suffix else target.with_name(target.name + SUFFIX)


def stored_path(path: str | os.PathLike[str]) -> Path:
    """The file to read for a user's path: this very file, else the one with the suffix added."""
    target = user_path(path)
    return target if target.is_file() else saved_path(target)


def stored_class(kind: Any, path: str | os.PathLike[str]) -> Any:
    """The class of what calls itself by this kind.

    Raises:
        CheckpointError: This version knows no such kind.
    """
    if kind not in KINDS:
        raise CheckpointError(f"{path} holds {kind!r}, not one of {', '.join(sorted(KINDS))}")
    module, _, name = KINDS[kind].partition(":")
    return getattr(importlib.import_module(module), name)


def save(learner: Savable, path: str | os.PathLike[str]) -> Path:
    """Write a model, policy.

    Value or reward to one file (safetensors with JSON) and return its path.
    """
    return learner.save(path)


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
    target = user_path(path)
    if target.suffix == ".json":  # a program that one can read
        return stored_class("rule program", target).load(target, env, device=device, given=given)
    target = target / CARD_FILE if target.is_dir() else stored_path(target)
    metadata = load_checkpoint(target).metadata
    kind = metadata.get("kind")
    surroundings = metadata.get("surroundings")
    if isinstance(surroundings, dict) and "num_past" in surroundings:
        kind = HISTORY_KIND  # files of the first release call themselves by the inner model
    return stored_class(kind, target).load(target, env, device=device, given=given)
