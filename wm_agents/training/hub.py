"""Publish a model with its card on a model hub, and load one from there, over huggingface_hub.

What travels is the folder that `save_with_card` writes: safetensors and JSON, nothing pickled.
"""

import hashlib
import json
import tempfile
from pathlib import Path
from types import ModuleType
from typing import Any

from wm_agents.errors import CheckpointError, MissingExtraError
from wm_agents.training.cards import CONFIG, README, WEIGHTS, Card, save_with_card
from wm_agents.training.saving import Saves, load


def push_to_hub(
    model: Saves,
    repo_id: str,
    card: Card,
    *,
    is_private: bool = False,
    revision: str | None = None,
    token: str | None = None,
) -> str:
    """Publish a model and its card, and give the address of the commit.

    Args:
        model: An agent or world model of ours.
        repo_id: Such as "user/pendulum-model"; made if missing.
        card: What the model is.
        is_private: Of a repository that is made.
        revision: Branch to write to; None is the main one.
        token: Of the hub; None takes the one of its own login.

    Raises:
        MissingExtraError: huggingface_hub is not installed.
        CheckpointError: The model cannot be written, or the hub refused it.
    """
    hub = _hub()
    with tempfile.TemporaryDirectory() as folder:
        save_with_card(model, folder, card)
        try:
            api = hub.HfApi(token=token)
            api.create_repo(repo_id, private=is_private, exist_ok=True, repo_type="model")
            commit = api.upload_folder(
                folder_path=folder,
                repo_id=repo_id,
                repo_type="model",
                revision=revision,
                commit_message=card.title,
            )
        except (OSError, ValueError) as error:
            raise CheckpointError(
                f"the hub did not take {repo_id!r}: {error}; log in with `hf auth login` or give a "
                'token, and name the repository as "user/name"'
            ) from error
    return str(commit)


def from_hub(
    repo_id: str,
    env: Any = None,
    *,
    revision: str | None = None,
    device: str = "auto",
    given: Any = None,
    token: str | None = None,
) -> Any:
    """Load what `push_to_hub` published; nothing that was downloaded is executed.

    Args:
        repo_id: Such as "user/pendulum-model".
        env: See `load`.
        revision: Branch, tag or commit; None is the main branch. A commit never changes.
        device: See `load`.
        given: See `load`.
        token: Of the hub; None takes the one of its own login.

    Raises:
        MissingExtraError: huggingface_hub is not installed.
        CheckpointError: There is no such repository or revision, it does not hold what
            `save_with_card` writes, or its weights are not those of its card.
    """
    hub = _hub()
    try:
        folder = Path(
            hub.snapshot_download(
                repo_id,
                repo_type="model",
                revision=revision,
                token=token,
                allow_patterns=[WEIGHTS, CONFIG, README],
            )
        )
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"the hub has no {repo_id!r} that can be read: {error}; check the name, the revision "
            "and, if it is private, the token"
        ) from error
    _check_weights(folder, repo_id)
    return load(folder, env, device=device, given=given)


def _check_weights(folder: Path, repo_id: str) -> None:
    """Refuse weights that are not those that the card was written for."""
    try:
        facts = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        found = hashlib.sha256((folder / WEIGHTS).read_bytes()).hexdigest()
        expected = facts["sha256"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(
            f"{repo_id!r} does not hold {WEIGHTS} and {CONFIG} as save_with_card writes them: "
            f"{error!r}"
        ) from error
    if found != expected:
        raise CheckpointError(
            f"the weights of {repo_id!r} have the SHA-256 {found}, its card says {expected!r}: "
            "publish both together again"
        )


def _hub() -> ModuleType:
    try:
        import huggingface_hub
    except ImportError as error:
        raise MissingExtraError(
            "the model hub takes huggingface_hub: pip install 'wm-suite[hub]'"
        ) from error
    module: ModuleType = huggingface_hub
    return module
