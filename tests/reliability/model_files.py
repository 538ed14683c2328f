"""Files of saved models, and the same files with another description inside and a hash that fits.

A forger's.
"""

import json
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from shutil import copyfile
from typing import Any

import numpy as np
from gymnasium import spaces
from safetensors.torch import load, save

from tests.reliability.reader import Reader
from tests.support.marble import ACTIONS, OBSERVATIONS, MarbleView, play
from wm_agents.errors import CheckpointError, SpaceError
from wm_agents.policy_gradient.ppo import PPO, PPOConfig
from wm_agents.policy_gradient.reinforce import Reinforce, ReinforceConfig
from wm_agents.policy_gradient.sequence_model import NetworkConfig
from wm_agents.training.checkpoints import CheckpointManager
from wm_agents.world_models import (
    DeterministicConfig,
    DeterministicModel,
    EnsembleConfig,
    EnsembleModel,
    HistoryModel,
    LatentModel,
    RecurrentModel,
    TabularModel,
    TokenConfig,
    TokenModel,
)
from wm_agents.world_models.object_fitting import ObjectConfig
from wm_agents.world_models.objects import ObjectModel
from wm_envs.data.trajectories import Trajectories

KEY = "wm_agents_checkpoint"
BOX, PUSH, CHOICE = spaces.Box(-9, 9, (2,)), spaces.Box(-1, 1, (1,)), spaces.Discrete(3)
SMALL = DeterministicConfig(dynamics_widths=(4,), reward_widths=(4,), termination_widths=(4,))
RUN = {"kind": "test", "seed": 1}


def model_readers(folder: Path) -> list[Reader]:
    """All loaders of models.

    What they accept is of a form that can be used, or it would not have been built.
    """
    members = EnsembleConfig(
        dynamics_widths=(4,),
        reward_widths=(4,),
        termination_widths=(4,),
        spread_widths=(4,),
        num_members=2,
    )
    tokens = TokenConfig(widths=(4,), reward_widths=(4,), termination_widths=(4,))
    history = HistoryModel(DeterministicModel, BOX, PUSH, 2, SMALL)
    kinds: dict[str, tuple[Any, Callable[[Path], Any]]] = {
        "deterministic": (DeterministicModel(BOX, PUSH, SMALL), DeterministicModel.load),
        "ensemble": (EnsembleModel(BOX, PUSH, members), EnsembleModel.load),
        "recurrent": (RecurrentModel(BOX, PUSH), RecurrentModel.load),
        "latent": (LatentModel(BOX, PUSH), LatentModel.load),
        "token": (TokenModel(BOX, CHOICE, tokens), TokenModel.load),
        "history": (history, HistoryModel.load),
        "tabular": (_table(), TabularModel.load),
        "objects": (
            _objects(),
            lambda path: ObjectModel.load(path, given=MarbleView()),
        ),
        "reinforce": (_reinforce(), Reinforce.load),
        "policy": (PPO((OBSERVATIONS, ACTIONS), PPOConfig(widths=(4,))), PPO.load),
    }
    listed = [
        _reader(f"{name}.model", model.save(folder / f"{name}.model"), load)
        for name, (model, load) in kinds.items()
    ]
    state = CheckpointManager(folder / "state").save_state(
        3, {"a": [1, (2.5, None)], "b": np.arange(4)}, RUN
    )
    return [*listed, _reader("state.run", state, _resumed)]


def _reader(name: str, path: Path, load: Callable[[Path], Any]) -> Reader:
    good = path.read_bytes()
    errors = (
        CheckpointError,
        SpaceError,
    )  # Reinforce: the file names an environment that cannot be served
    return Reader(
        name,
        good,
        load,
        errors,
        lambda _: None,
        description_of,
        lambda text: with_description(good, text),
    )


def _objects() -> ObjectModel:
    model = ObjectModel(
        OBSERVATIONS, ACTIONS, MarbleView(), ObjectConfig(width=4, num_layers=1, num_updates=2)
    )
    model.fit(play(2, 0), progress=False)
    return model


def _table() -> TabularModel:
    random = np.random.default_rng(0)
    seen = random.integers(0, 3, (9, 2)).astype(np.float32)
    actions = random.integers(0, 3, 8)
    model = TabularModel(BOX, CHOICE)
    model.fit(Trajectories.from_arrays(seen, actions, np.ones(8), np.zeros(8)))
    return model


def _reinforce() -> Reinforce:
    network = NetworkConfig(
        width=4, num_layers=1, num_heads=2, feedforward_width=4, value_width=4, context_length=4
    )
    return Reinforce(
        "wm/TMaze-v0", ReinforceConfig(network=network, max_episode_steps=8, device="cpu")
    )


def _resumed(path: Path) -> Any:
    """As a trainer would go on from it."""
    folder = path.with_name(f"{path.name}.folder")
    folder.mkdir(exist_ok=True)
    try:
        copyfile(path, folder / "step_000000000003.safetensors")
    except OSError as error:
        raise CheckpointError(f"cannot copy {path}") from error
    found = CheckpointManager(folder).latest_state(RUN)
    assert found is not None
    return found


def description_of(data: bytes) -> bytes:
    """The metadata of a checkpoint as JSON."""
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    return json.dumps(json.loads(header["__metadata__"][KEY])["metadata"]).encode()


def with_description(good: bytes, description: bytes) -> bytes:
    """The same tensors under other metadata, which need not even be JSON, with a SHA-256 that fits."""
    text = description.decode("utf-8", "replace")
    return with_header(
        good, '{"sha256": "' + "0" * 64 + '", "version": 1, "metadata": ' + text + "}"
    )


def with_header(good: bytes, header: str) -> bytes:
    """The same tensors under another header, with a SHA-256 that fits."""
    data = save(load(good), {KEY: header})
    return data.replace(b"0" * 64, sha256(data).hexdigest().encode(), 1)
