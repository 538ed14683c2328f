"""What the world model of REINFORCE is to predict: the next observation, or what compares with it.

Letters: S stacked runs, R episodes of each, T steps, O observation, D width of a token.
"""

from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from wm_agents.errors import ConfigError
from wm_agents.policy_gradient.collector import StackedBatch
from wm_agents.policy_gradient.sequence_model import SequenceModel

TargetName = Literal["next", "shuffled", "previous", "reward", "next_two", "latent"]
TARGET_NAMES: tuple[TargetName, ...] = get_args(TargetName)


def num_predictions(name: TargetName, num_targets: int, width: int) -> int:
    """Numbers that the head gives, for observations of `num_targets` and tokens of `width`."""
    return {"next_two": 2 * num_targets, "latent": width}.get(name, num_targets)


def prediction_targets(
    name: TargetName, batch: StackedBatch, model: SequenceModel, seeds: Sequence[int]
) -> Tensor:
    """What the head is to say of each step, broadcastable to its outputs [S, R * T, ...].

    Args:
        name: As in `ReinforceConfig.world_model_target`.
        batch: The episodes.
        model: Whose units the targets are in, and whose tokens the latents are.
        seeds: Draw which episodes are confused where targets are shuffled.
    """
    if name == "reward":
        return batch.rewards.flatten(1, 2).unsqueeze(-1).to(model.device)
    if name == "latent":
        return _next_latents(batch, model).flatten(1, 2)
    if name == "next_two":
        first = _in_units(batch.next_observations, model)
        return torch.cat([first, _in_units(_two_steps_on(batch), model)], -1)
    targets = batch.next_observations
    if name == "previous":
        targets = torch.cat([batch.observations[:, :, :1], batch.observations[:, :, :-2]], 2)
    elif name == "shuffled":
        draws = np.random.default_rng(list(seeds))
        targets = targets[:, torch.from_numpy(other_rows(targets.shape[1], draws))]
    return _in_units(targets, model)


def _in_units(observations: Tensor, model: SequenceModel) -> Tensor:
    """[S, R, T, O] to [S, R * T, O] in units of the targets' spread."""
    return model.target_units.normalize(observations.flatten(1, 2).to(model.device))


def _two_steps_on(batch: StackedBatch) -> Tensor:
    """The observation after the next one [S, R, T, O]; at an episode's end the last one again."""
    next_obs = batch.next_observations
    later = torch.cat([next_obs[:, :, 1:], next_obs[:, :, -1:]], 2)
    goes_on = torch.cat([batch.mask[:, :, 1:], torch.zeros_like(batch.mask[:, :, :1])], 2)
    return torch.where(goes_on.unsqueeze(-1) > 0, later, next_obs)


@torch.no_grad()
def _next_latents(batch: StackedBatch, model: SequenceModel) -> Tensor:
    """The model's own tokens of the next step [S, R, T, D], each of mean 0 and variance 1.

    No gradient flows into them, so that they are followed and do not follow.
    """
    tokens = model.encode(batch.all_inputs.to(model.device))[:, :, 1:]
    return F.layer_norm(tokens, tokens.shape[-1:])


def target_weights(name: TargetName, ignored: tuple[int, ...], size: int) -> Tensor | None:
    """The weight of each number that is predicted, in their mean; None where all count alike.

    Args:
        name: What is predicted.
        ignored: Columns of the observation that do not count.
        size: Columns of the observation, O.

    Raises:
        ConfigError: A column that does not exist, none that is left, or columns of a prediction
            that has none of the observation's.
    """
    if not ignored:
        return None
    if name == "latent":
        raise ConfigError(
            f'ignored_targets={ignored}: world_model_target="latent" predicts no columns of the '
            "observation; leave it empty"
        )
    if not set(ignored) < set(range(size)):
        raise ConfigError(
            f"ignored_targets={ignored}: give some and not all of the observation's columns, 0 to "
            f"{size - 1}"
        )
    weights = torch.ones(size)
    weights[list(ignored)] = 0.0
    if name == "next_two":
        weights = weights.repeat(2)
    return weights / weights.sum()


def other_rows(num_rows: int, draws: np.random.Generator) -> NDArray[np.int64]:
    """A permutation [R] that sends no row to itself.

    Each row to its successor in a random cycle.
    """
    cycle = draws.permutation(num_rows)
    others = np.empty_like(cycle)
    others[cycle] = np.roll(cycle, -1)
    return others
