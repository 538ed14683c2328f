"""One step of a perceptron world model as an ONNX file."""

import os
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from wm_agents.protocols import ModelState
from wm_agents.training.fitted import check_fitted
from wm_agents.training.onnx_export import write_onnx
from wm_envs.data.spaces import space_to_json


class _Step(nn.Module):
    """A step without randomness, from tensors to tensors."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, observations: Tensor, actions: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Observations [B, O] and actions -> next observations, rewards, terminations."""
        _, prediction = self.model.step(ModelState(observations), actions)
        return prediction.observations, prediction.rewards, prediction.terminations


def export_step(model: Any, path: str | os.PathLike[str]) -> Path:
    """Write `model.predict` without randomness as ONNX.

    Inputs are "observations" [B, O] float32 and "actions", [B] int64 or [B, A] float32; outputs are
    "next_observations" [B, O], "rewards" [B] and "terminations" [B]. The spaces are in the file's
    metadata, as JSON.

    Args:
        model: A world model whose state is the observation.
        path: The file; ".onnx" is added where there is no suffix.
    """
    check_fitted(model)
    # Three rows, so that the batch axis is not taken for a constant of the graph.
    observations = model.low.new_zeros(3, model.num_features)
    if model.encode_actions.first is None:
        actions = observations.new_zeros(3, model.encode_actions.size)
    else:
        actions = torch.full((3,), model.encode_actions.first, device=model.device)
    metadata = {
        "kind": model.kind,
        "observation_space": space_to_json(model.raw_observation_space),
        "action_space": space_to_json(model.raw_action_space),
    }
    return write_onnx(
        _Step(model),
        (observations, actions),
        ("observations", "actions"),
        ("next_observations", "rewards", "terminations"),
        metadata,
        path,
    )
