"""A person's model: observations and seven agents, one for each tendency, saved as JSON."""

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wm_agents.errors import CheckpointError
from wm_envs.data.paths import user_path
from wm_envs.debate.allocations import check_allocations, to_mapping
from wm_envs.debate.dynamics import STRATEGIES
from wm_envs.debate.observations import Observations, content_of, parse_document
from wm_envs.debate.tendencies import DEFAULT_ALLOCATIONS, TENDENCIES, Tendency
from wm_envs.errors import DebateError, ObservationError

FORMAT = "wm-suite debate model 1"


@dataclass
class Agent:
    """A tendency at the debate.

    Attributes:
        tendency: Which.
        allocation: Its influence, 0..1.
        strategy: The script by which it stakes; see `wm_envs.debate.dynamics.script`.
    """

    tendency: Tendency
    allocation: float
    strategy: str = "advocate"


class Agents:
    """The seven agents.

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
        given = to_mapping(
            check_allocations(DEFAULT_ALLOCATIONS if allocations is None else allocations)
        )
        scripts = dict.fromkeys(TENDENCIES, "advocate") | dict(strategies or {})
        if len(scripts) != len(TENDENCIES) or not set(scripts.values()) <= set(STRATEGIES):
            raise DebateError(
                f"strategies map tendencies to {', '.join(STRATEGIES)}, got {strategies!r}"
            )
        self._agents = {t: Agent(t, given[t], scripts[t]) for t in TENDENCIES}

    def __iter__(self) -> Iterator[Agent]:
        return iter(self._agents.values())

    def __getitem__(self, tendency: Tendency) -> Agent:
        return self._agents[tendency]

    def all(self) -> list[Agent]:
        """The agents in the order of `Tendency`."""
        return list(self)

    @property
    def allocations(self) -> dict[Tendency, float]:
        """Influence of each tendency."""
        return {agent.tendency: agent.allocation for agent in self}

    def update(self, allocations: Mapping[Tendency, float]) -> None:
        """Give each agent a new allocation; raises DebateError with nothing changed."""
        for tendency, allocation in to_mapping(check_allocations(allocations)).items():
            self._agents[tendency].allocation = allocation


class DebateModel:
    """A person's observations and agents.

    Attributes:
        name: Whom the model is about.
        observations: What is known.
        agents: The seven tendencies with their influence.
    """

    def __init__(self, name: str, observations: Observations, agents: Agents | None = None) -> None:
        self.name = name
        self.observations = observations
        self.agents = Agents() if agents is None else agents

    def save(self, path: str | Path) -> None:
        """Write all of it as JSON, at once or not at all.

        Raises CheckpointError, and an earlier file stays whole.
        """
        data = {
            "format": FORMAT,
            "name": self.name,
            "allocations": self.agents.allocations,
            "strategies": {agent.tendency: agent.strategy for agent in self.agents},
            **self.observations.to_plain(),
        }
        try:
            write_json(user_path(path), data)
        except (OSError, ValueError, TypeError) as error:
            reason = getattr(error, "strerror", None) or error
            raise CheckpointError(
                f"cannot write {path}: {reason}; an earlier file there is unchanged"
            ) from error


def create_world_model(name: str, path: str | Path) -> DebateModel:
    """A model with default allocations from a file `{source, count, observations: [...]}`.

    Raises:
        ObservationError: The file is missing or of another form; the message says where.
    """
    observations = Observations.load(path)
    if not len(observations):
        raise ObservationError(f"{path} holds no observations: a debate needs some")
    return DebateModel(name, observations)


def load_world_model(path: str | Path) -> DebateModel:
    """What `DebateModel.save` wrote; raises CheckpointError on anything else."""
    try:
        data: Any = parse_document(content_of(path).decode("utf-8"), str(path))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"cannot read {path}: {error}") from error
    if not isinstance(data, dict) or data.get("format") != FORMAT:
        raise CheckpointError(f"{path} is no saved debate model: make one with DebateModel.save")
    try:
        rows = {name: data[name] for name in ("source", "count", "observations")}
        agents = Agents(_by_tendency(data["allocations"]), _by_tendency(data["strategies"]))
        return DebateModel(str(data["name"]), Observations.from_plain(rows, str(path)), agents)
    except (KeyError, AttributeError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path} is damaged: {error}") from error


def write_json(path: Path, data: Any) -> None:
    """Write a file in one step: what was there stays whole until the new text is on the disk."""
    text = json.dumps(data, indent=2, allow_nan=False) + "\n"
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _by_tendency(values: Any) -> dict[Tendency, Any]:
    return {Tendency(name): value for name, value in values.items()}
