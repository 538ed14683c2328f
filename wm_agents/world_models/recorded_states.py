"""The states of a world model before recorded steps, with all that preceded them in their episodes."""

from typing import Any

import torch

from wm_agents.protocols import ModelState, WorldModel
from wm_envs.data.trajectories import Trajectories


@torch.no_grad()
def recorded_states(model: WorldModel, trajectories: Trajectories) -> ModelState:
    """The state before every recorded step [S].

    A model that carries more than the observation is led through each episode from its beginning:
    it imagines each recorded action and is then shown what was really observed, so that its memory
    is what it is in use.
    """
    if hasattr(model, "starts"):  # a model that knows a shorter way
        states: ModelState = model.starts(trajectories)
        return states
    device = getattr(model, "device", None)

    def observations(rows: Any) -> torch.Tensor:
        return torch.as_tensor(trajectories.observations[rows], device=device)

    plain = model.start(observations(trajectories.observation_of_step))
    if not plain.hidden or not getattr(model, "has_memory", True):
        return plain
    hidden = tuple(values.clone() for values in plain.hidden)
    order = (-trajectories.lengths).argsort(kind="stable")
    starts, lengths = trajectories.step_starts[order], trajectories.lengths[order]
    walk = model.start(observations(trajectories.observation_of_step[starts]))
    for position in range(int(lengths[0])):
        steps = starts[lengths > position] + position
        index = torch.as_tensor(steps, device=plain.observations.device)
        for values, walked in zip(hidden, walk.hidden, strict=True):
            values[index] = walked
        num_going = int((lengths > position + 1).sum())
        if num_going == 0:
            break
        rows = walk.select(torch.arange(num_going, device=plain.observations.device))
        actions = torch.as_tensor(trajectories.actions[steps[:num_going]], device=device)
        after, _ = model.step(rows, actions)
        walk = model.start(
            observations(trajectories.observation_of_step[steps[:num_going]] + 1), after.hidden
        )
    return ModelState(plain.observations, hidden)
