"""Model cards: a folder that says by itself what was trained, on what.

How well it does and how to load it.

    model.safetensors   the weights, as a checkpoint with its SHA-256
    config.json         everything that a program may ask: configuration, environment, scores, versions, date
    README.md           the same for people, with a header in the form that model hubs read

The header is JSON behind YAML's keys, which every YAML reader takes; nothing is pickled. The same
folder is what travels to and from a model hub, over huggingface_hub.
"""

import datetime
import hashlib
import json
import math
import os
import platform
import shlex
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from stable_baselines3.common.base_class import BaseAlgorithm

from wm_agents.errors import CheckpointError, ConfigError, MissingExtraError
from wm_agents.training.checkpoints import load_checkpoint, save_checkpoint
from wm_agents.training.saving import Saves, load
from wm_envs.data.files import replacing
from wm_envs.data.paths import user_path

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

WEIGHTS, CONFIG, README = "model.safetensors", "config.json", "README.md"
SB3_KIND = "stable-baselines3 policy"
PACKAGES = ("wm-suite", "torch", "gymnasium", "numpy", "stable-baselines3")


@dataclass(frozen=True)
class Card:
    """What only the one who trained it knows.

    Attributes:
        title: The heading, such as "REINFORCE with a world model".
        env_id: The Gymnasium id it was trained on.
        scores: Names to numbers, from episodes or data that training did not see; None or NaN is
            written as null.
        command: The command line that trains it again.
        seeds: Those of the training.
        env_kwargs: Options of the environment.
        evaluation: How the scores were measured, in words.
        limits: What it is not good for, in words.
        tags: Further words to be found by.
        usage: Lines of Python that load it again; empty for a class whose `load` takes the path
            alone.
    """

    title: str
    env_id: str
    scores: Mapping[str, float | None]
    command: str = ""
    seeds: Sequence[int] = ()
    env_kwargs: Mapping[str, Any] = field(default_factory=dict)
    evaluation: str = ""
    limits: str = ""
    tags: Sequence[str] = ()
    usage: Sequence[str] = ()

    def __post_init__(self) -> None:
        if not self.title.strip() or "\n" in self.title:
            raise ConfigError(f"a card's title is one line of text, got {self.title!r}")


def save_with_card(
    model: Saves | BaseAlgorithm, folder: str | os.PathLike[str], card: Card
) -> Path:
    """Save an agent or a world model with its card.

    Files of an earlier one in the folder are replaced.

    Stable-Baselines3's own agents get their policy's weights stored, which `load_policy_weights`
    reads without unpickling; to go on training keep their zip as well.

    Args:
        model: An agent or world model of ours, or an algorithm of Stable-Baselines3.
        folder: Where, made if missing.
        card: What it is.

    Returns:
        The path of the README.

    Raises:
        CheckpointError: A file cannot be written.
    """
    folder = user_path(folder)
    weights = folder / WEIGHTS
    if isinstance(model, BaseAlgorithm):
        save_checkpoint(weights, model.policy.state_dict(), _sb3_metadata(model))
    else:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise CheckpointError(
                f"cannot write into {folder}: {error.strerror}; give a writable folder"
            ) from error
        model.save(weights)
    return write_card(model, folder, card)


def write_card(model: Saves | BaseAlgorithm, folder: str | os.PathLike[str], card: Card) -> Path:
    """Write config.json and README.md beside the model.safetensors that the folder has.

    Returns:
        The path of the README.

    Raises:
        CheckpointError: There is no such file, or another cannot be written.
    """
    folder = user_path(folder)
    facts = _facts(model, folder / WEIGHTS, card)
    _write_whole(folder / CONFIG, json.dumps(facts, indent=2, allow_nan=False) + "\n")
    _write_whole(folder / README, _readme(facts, card))
    return folder / README


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


def command_line(
    script: str,
    config: "DataclassInstance",
    shown: Sequence[str] = ("env_id", "seed"),
    hidden: Sequence[str] = ("output_dir", "quiet"),
) -> str:
    """The command that calls a script with the same settings, from the folder in which it ran.

    Args:
        script: Its path, such as "examples/reinforce.py".
        config: Its settings, a dataclass that tyro reads; those at their defaults are left out.
        shown: Settings that stand there in any case.
        hidden: Settings that do not matter for the result.
    """
    default = type(config)()
    return shlex.join(["python", script, *_options(config, default, set(shown), set(hidden), "")])


def _options(
    config: Any, default: Any, shown: set[str], hidden: set[str], prefix: str
) -> list[str]:
    words: list[str] = []
    # What is always shown comes first, so that two commands of a script are compared at a glance.
    for option in sorted(fields(config), key=lambda option: option.name not in shown):
        name, value = option.name, getattr(config, option.name)
        if name in hidden or (name not in shown and value == getattr(default, name)):
            continue
        flag = f"--{prefix}{name.replace('_', '-')}"
        if is_dataclass(value):
            start = f"{prefix}{name.replace('_', '-')}."
            words += _options(value, getattr(default, name), set(), hidden, start)
        elif isinstance(value, bool):
            words.append(flag if value else flag.replace(f"--{prefix}", f"--{prefix}no-", 1))
        elif value is not None:
            several = value if isinstance(value, tuple | list) else (value,)
            words += [flag, *map(_shown_option, several)]
    return words


def _shown_option(value: Any) -> str:
    return os.path.relpath(value) if isinstance(value, Path) else str(value)


def load_policy_weights(agent: BaseAlgorithm, folder: str | os.PathLike[str]) -> None:
    """Give a fresh Stable-Baselines3 agent of the same shape the weights of a card's folder.

    Raises:
        CheckpointError: The file is damaged, of another algorithm, or its tensors do not fit; the
            agent is unchanged.
    """
    path = user_path(folder) / WEIGHTS
    stored = load_checkpoint(path, kind=SB3_KIND)
    if stored.metadata.get("algorithm") != type(agent).__name__:
        raise CheckpointError(
            f"{path} holds a policy of {stored.metadata.get('algorithm')}, not of "
            f"{type(agent).__name__}"
        )
    own = agent.policy.state_dict()
    shapes = {name: tuple(tensor.shape) for name, tensor in own.items()}
    if shapes != {name: tuple(tensor.shape) for name, tensor in stored.tensors.items()}:
        raise CheckpointError(
            f"{path} does not fit this policy: make it with the same spaces and policy_kwargs"
        )
    agent.policy.load_state_dict(stored.tensors)


def _sb3_metadata(agent: BaseAlgorithm) -> dict[str, Any]:
    simple = {
        name: value
        for name, value in sorted(vars(agent).items())
        if not name.startswith("_")
        and isinstance(value, bool | int | float | str)
        and _is_finite(value)
    }
    return {
        "kind": SB3_KIND,
        "algorithm": type(agent).__name__,
        "policy": type(agent.policy).__name__,
        "observation_space": str(agent.observation_space),
        "action_space": str(agent.action_space),
        "settings": simple,
    }


def _facts(model: Any, weights: Path, card: Card) -> dict[str, Any]:
    """What config.json holds."""
    metadata = load_checkpoint(weights).metadata
    return {
        "title": card.title,
        "class": f"{type(model).__module__}.{type(model).__qualname__}",
        "env_id": card.env_id,
        "env_kwargs": dict(card.env_kwargs),
        "scores": {name: _number(value) for name, value in card.scores.items()},
        "evaluation": card.evaluation,
        "command": card.command,
        "seeds": list(card.seeds),
        "date": datetime.date.today().isoformat(),
        "versions": _versions(),
        "sha256": hashlib.sha256(weights.read_bytes()).hexdigest(),
        "checkpoint": metadata,
    }


def _readme(facts: Mapping[str, Any], card: Card) -> str:
    rows = [
        f"| {name.replace('_', ' ')} | {_shown(value)} |" for name, value in facts["scores"].items()
    ]
    scores = ["| Score | Value |", "|---|---:|", *rows] if rows else ["No scores were recorded."]
    trained = (
        ["```console", f"$ {card.command}", "```"]
        if card.command
        else ["The command was not recorded."]
    )
    seeds = f"Seeds: {', '.join(map(str, card.seeds))}." if card.seeds else ""
    options = f" with `{json.dumps(dict(card.env_kwargs))}`" if card.env_kwargs else ""
    versions = ", ".join(f"{name} {number}" for name, number in facts["versions"].items())
    sections = [
        _header(facts, card),
        f"# {card.title}",
        f"`{facts['class']}`, trained on `{card.env_id}`{options}, {facts['date']}.",
        "## Use",
        "\n".join(["```python", *(card.usage or _usage(facts)), "```"]),
        "## Results",
        *([card.evaluation] if card.evaluation else []),
        "\n".join(scores),
        "## Training",
        "\n".join(trained),
        *([seeds] if seeds else []),
        f"`{CONFIG}` has the whole configuration. Versions: {versions}.",
        *(["## Limits", card.limits] if card.limits else []),
        f"SHA-256 of `{WEIGHTS}`: `{facts['sha256']}`",
    ]
    return "\n\n".join(sections) + "\n"


def _usage(facts: Mapping[str, Any]) -> list[str]:
    module, _, name = facts["class"].rpartition(".")
    if facts["checkpoint"].get("kind") != SB3_KIND:
        return [f"from {module} import {name}", "", f'model = {name}.load("{WEIGHTS}")']
    policy = facts["checkpoint"]["policy"]
    return [
        f"from {module} import {name}",
        "",
        "from wm_agents.training.cards import load_policy_weights",
        "",
        f'agent = {name}("{_policy_name(policy)}", env)  # with the same options',
        'load_policy_weights(agent, ".")',
    ]


def _policy_name(policy: str) -> str:
    """What Stable-Baselines3 calls a policy class when it makes one."""
    names = {"MultiInput": "MultiInputPolicy", "Cnn": "CnnPolicy", "Recurrent": "MlpLstmPolicy"}
    return next((name for part, name in names.items() if part in policy), "MlpPolicy")


def _header(facts: Mapping[str, Any], card: Card) -> str:
    """The hub's header: each value is JSON, which is YAML too."""
    tags = ["reinforcement-learning", "world-models", card.env_id, *card.tags]
    metrics = [
        {"type": name, "name": name, "value": value} for name, value in facts["scores"].items()
    ]
    place = {"name": card.env_id, "type": card.env_id}
    result = {"task": {"type": "reinforcement-learning"}, "dataset": place, "metrics": metrics}
    values = {
        "library_name": "wm-suite",
        "tags": list(dict.fromkeys(tags)),
        "model-index": [{"name": card.title, "results": [result]}],
    }
    return "\n".join(
        ["---", *(f"{name}: {json.dumps(value)}" for name, value in values.items()), "---"]
    )


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


def _number(value: float | None) -> float | None:
    return float(value) if value is not None and math.isfinite(value) else None


def _shown(value: float | None) -> str:
    return "none" if value is None else f"{value:,.6g}"


def _is_finite(value: Any) -> bool:
    return not isinstance(value, float) or math.isfinite(value)


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def _write_whole(path: Path, text: str) -> None:
    """The old file or the new one, whatever happens."""
    try:
        with replacing(path) as file:
            file.write(text)
    except OSError as error:
        raise CheckpointError(
            f"cannot write {path}: {error.strerror}; free space or give another folder"
        ) from error
