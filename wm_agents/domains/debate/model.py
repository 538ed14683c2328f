"""A person's model: observations and seven debaters, one for each tendency, saved as JSON."""

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from wm_agents.errors import CheckpointError
from wm_envs.data.files import replacing
from wm_envs.data.paths import user_path
from wm_envs.debate.allocations import check_allocations, to_mapping
from wm_envs.debate.dynamics import STRATEGIES
from wm_envs.debate.observations import Observations, content_of, parse_document
from wm_envs.debate.tendencies import DEFAULT_ALLOCATIONS, TENDENCIES, Tendency
from wm_envs.errors import DebateError, ObservationError

FORMAT = "wm-suite debate model 1"


@dataclass
class Debater:
    """A tendency at the debate.

    Attributes:
        tendency: Which.
        allocation: Its influence, 0..1.
        strategy: The script by which it stakes; see `wm_envs.debate.dynamics.script`.
    """

    tendency: Tendency
    allocation: float
    strategy: str = "advocate"


class Debaters:
    """The seven debaters, in the order of `Tendency`.

    Args:
        allocations: Influence of each tendency; the defaults where None.
        strategies: Script of each tendency, "advocate" where none is given.

    Raises:
        DebateError: Allocations that do not sum to 1, an unknown tendency or script.
    """

    def __init__(
        self,
        allocations: Mapping[Tendency, float] | None = None,
        strategies: Mapping[Tendency, str] | None = None,
    ) -> None:
        shares = to_mapping(
            check_allocations(DEFAULT_ALLOCATIONS if allocations is None else allocations)
        )
        scripts = dict.fromkeys(TENDENCIES, "advocate") | dict(strategies or {})
        # A name that is no tendency would make an eighth debater.
        if len(scripts) != len(TENDENCIES) or not set(scripts.values()) <= set(STRATEGIES):
            raise DebateError(
                f"strategies map tendencies to {', '.join(STRATEGIES)}, got {strategies!r}"
            )
        self._debaters = {t: Debater(t, shares[t], scripts[t]) for t in TENDENCIES}

    def __iter__(self) -> Iterator[Debater]:
        return iter(self._debaters.values())

    def __getitem__(self, tendency: Tendency) -> Debater:
        return self._debaters[tendency]

    def all(self) -> list[Debater]:
        """The debaters as a list."""
        return list(self)

    @property
    def allocations(self) -> dict[Tendency, float]:
        """Influence of each tendency."""
        return {agent.tendency: agent.allocation for agent in self}

    def update(self, allocations: Mapping[Tendency, float]) -> None:
        """Give each agent a new allocation; raises DebateError with nothing changed."""
        for tendency, allocation in to_mapping(check_allocations(allocations)).items():
            self._debaters[tendency].allocation = allocation


class DebateModel:
    """A person's observations and agents.

    Attributes:
        name: Whom the model is about.
        observations: What is known.
        agents: The seven tendencies with their influence.
    """

    def __init__(
        self, name: str, observations: Observations, agents: Debaters | None = None
    ) -> None:
        self.name = name
        self.observations = observations
        self.agents = Debaters() if agents is None else agents

    @classmethod
    def create(cls, name: str, path: str | Path) -> Self:
        """A model with default allocations from a file `{source, count, observations: [...]}`.

        Raises:
            ObservationError: The file is missing or of another form; the message says where.
        """
        observations = Observations.load(path)
        if not len(observations):
            raise ObservationError(f"{path} holds no observations: a debate needs some")
        return cls(name, observations)

    def save(self, path: str | Path) -> Path:
        """Write all of it as JSON, at once or not at all, and return the file.

        Raises:
            CheckpointError: It cannot be written; an earlier file stays whole.
        """
        data = {
            "format": FORMAT,
            "name": self.name,
            "allocations": self.agents.allocations,
            "strategies": {agent.tendency: agent.strategy for agent in self.agents},
            **self.observations.to_plain(),
        }
        target = user_path(path)
        try:
            write_json(target, data)
        except (OSError, ValueError, TypeError) as error:
            reason = getattr(error, "strerror", None) or error
            raise CheckpointError(
                f"cannot write {path}: {reason}; an earlier file there is unchanged"
            ) from error
        return target

    @classmethod
    def load(
        cls,
        path: str | os.PathLike[str],
        env: Any = None,  # noqa: ARG003
        *,
        device: str = "cpu",  # noqa: ARG003
        given: Any = None,  # noqa: ARG003
    ) -> Self:
        """What `save` wrote; a debate has no environment and no device.

        Args:
            path: The file.
            env: Not used.
            device: Not used.
            given: Not used.

        Raises:
            CheckpointError: The file is missing, damaged or of something else.
        """
        try:
            data: Any = parse_document(content_of(Path(path)).decode("utf-8"), str(path))
        except (OSError, ValueError) as error:
            raise CheckpointError(f"cannot read {path}: {error}") from error
        if not isinstance(data, dict) or data.get("format") != FORMAT:
            raise CheckpointError(
                f"{path} is no saved debate model: make one with DebateModel.save"
            )
        try:
            rows = {name: data[name] for name in ("source", "count", "observations")}
            agents = Debaters(_by_tendency(data["allocations"]), _by_tendency(data["strategies"]))
            observations = Observations.from_plain(rows, str(path))
            return cls(str(data["name"]), observations, agents)
        except (KeyError, AttributeError, TypeError, ValueError) as error:
            raise CheckpointError(f"{path} is damaged: {error}") from error


def write_json(path: Path, data: Any) -> None:
    """Write a file in one step: what was there stays whole until the new text is on the disk."""
    # Encoded first: what JSON has no form for leaves the folder untouched.
    text = json.dumps(data, indent=2, allow_nan=False) + "\n"
    with replacing(path) as stream:
        stream.write(text)


def _by_tendency(values: Any) -> dict[Tendency, Any]:
    return {Tendency(name): value for name, value in values.items()}
