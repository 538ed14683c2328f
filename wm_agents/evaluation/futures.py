"""A world model's open-loop futures of recorded stretches, as arrays."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from wm_agents.evaluation.starts import Stretches
from wm_agents.protocols import ModelState, Rollout, WorldModel
from wm_envs.data.trajectories import Trajectories

_ROWS_AT_ONCE = 2048


@dataclass(frozen=True)
class ModelFutures:
    """What a model predicts for W stretches of H steps.

    Attributes:
        observations: [W, H + 1, O].
        rewards: [W, H].
        terminations: [W, H], probabilities.
    """

    observations: NDArray[np.float64]
    rewards: NDArray[np.float64]
    terminations: NDArray[np.float64]


@torch.no_grad()
def start_states(model: WorldModel, trajectories: Trajectories, stretches: Stretches) -> ModelState:
    """The model's state at the start of each stretch.

    A model that carries more than the observation is led through the episode from its beginning: it
    imagines each recorded action and is then shown what was really observed, so that its memory is
    what it would be in use.
    """
    device = getattr(model, "device", None)
    state = model.start(torch.as_tensor(stretches.observations[:, 0], device=device))
    if not state.hidden or not getattr(model, "has_memory", True):
        return state
    hidden = [values.clone() for values in state.hidden]
    # One walk per episode serves all of its stretches.
    order = np.argsort(-trajectories.lengths, kind="stable")
    walk = model.start(
        torch.as_tensor(trajectories.observations[_first_rows(trajectories, order)], device=device)
    )
    for position in range(int(stretches.positions.max()) + 1):
        for place, row in _places(order, stretches, position):
            for values, walked in zip(hidden, walk.hidden, strict=True):
                values[row] = walked[place]
        num_going = int((trajectories.lengths[order] > position + 1).sum())
        if num_going == 0:
            break
        walk = _advanced(model, walk, trajectories, order[:num_going], position)
        order = order[:num_going]
    return ModelState(state.observations, tuple(hidden))


def _first_rows(trajectories: Trajectories, episodes: NDArray[np.int64]) -> NDArray[np.int64]:
    rows: NDArray[np.int64] = trajectories.observation_of_step[trajectories.step_starts[episodes]]
    return rows


def _places(
    order: NDArray[np.int64], stretches: Stretches, position: int
) -> Iterator[tuple[int, int]]:
    """(row of the walk, stretch) for the stretches that begin at this position."""
    place_of = {int(episode): place for place, episode in enumerate(order)}
    for row in np.flatnonzero(stretches.positions == position):
        yield place_of[int(stretches.episodes[row])], int(row)


def _advanced(
    model: WorldModel,
    walk: ModelState,
    trajectories: Trajectories,
    episodes: NDArray[np.int64],
    position: int,
) -> ModelState:
    """One step on, for the episodes that go on, with the imagined observation replaced by the recorded one."""
    device = walk.observations.device
    rows = walk.select(torch.arange(len(episodes), device=device))
    actions = torch.as_tensor(
        trajectories.actions[trajectories.step_starts[episodes] + position], device=device
    )
    state, _ = model.step(rows, actions)
    seen = trajectories.observations[_first_rows(trajectories, episodes) + position + 1]
    return model.start(torch.as_tensor(seen, device=device), state.hidden)


@torch.no_grad()
def model_futures(
    model: WorldModel,
    starts: ModelState,
    stretches: Stretches,
    generator: torch.Generator | None = None,
) -> ModelFutures:
    """Roll the model out open loop.

    Its best guess, or one sample of it where a generator is given.
    """
    device = starts.observations.device
    parts: list[Rollout] = []
    for first in range(0, len(stretches.actions), _ROWS_AT_ONCE):
        rows = slice(first, first + _ROWS_AT_ONCE)
        index = torch.arange(len(stretches.actions), device=device)[rows]
        actions = torch.as_tensor(stretches.actions[rows], device=device)
        parts.append(model.rollout(starts.select(index), actions, generator))
    arrays = [
        torch.cat([getattr(part, name) for part in parts]).double().cpu().numpy()
        for name in ("observations", "rewards", "terminations")
    ]
    return ModelFutures(*arrays)
