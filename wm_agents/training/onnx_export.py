"""ONNX files of networks: what a model or policy computes, to run anywhere without torch."""

import copy
import json
import logging
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import gymnasium as gym
import torch
from gymnasium import spaces
from torch import Tensor, nn

from wm_agents.errors import ConfigError, MissingExtraError
from wm_envs.data.files import replacing
from wm_envs.data.paths import user_path, writable_file
from wm_envs.data.spaces import ActionCodec, space_to_json

SUFFIX = ".onnx"
METADATA = "wm_agents"  # the key of an ONNX file's metadata that holds our JSON


def export_onnx(learner: Any, path: str | os.PathLike[str]) -> Path:
    """Write what a world model or a policy computes as an ONNX file and return its path.

    Args:
        learner: With a method `export_onnx`, as perceptron world models and policies have.
        path: The file; ".onnx" is added where there is no suffix.

    Raises:
        ConfigError: There is no exporter for it.
        MissingExtraError: onnx and onnxscript are not installed.
        NotFittedError: It was never fitted.
    """
    if not hasattr(learner, "export_onnx"):
        raise ConfigError(no_exporter(learner))
    written: Path = learner.export_onnx(path)
    return written


def no_exporter(learner: Any) -> str:
    """Why something cannot be exported, and what can."""
    return (
        f"a {type(learner).__name__} has no ONNX exporter: DeterministicModel, EnsembleModel, PPO "
        "without memory and BehavioralCloning have one; keep others with save()"
    )


def write_onnx(
    network: nn.Module,
    examples: Sequence[Tensor],
    inputs: Sequence[str],
    outputs: Sequence[str],
    metadata: Mapping[str, Any],
    path: str | os.PathLike[str],
) -> Path:
    """Trace a network and write it, weights and all, as one file.

    Args:
        network: From tensors [B, ...] to tensors [B, ...].
        examples: Its inputs, with B of at least 2.
        inputs: Their names.
        outputs: Names of what it gives.
        metadata: JSON to put beside it.
        path: The file.

    Raises:
        MissingExtraError: onnx and onnxscript are not installed.
        ConfigError: Something in the network has no counterpart in ONNX.
    """
    if find_spec("onnx") is None or find_spec("onnxscript") is None:
        raise MissingExtraError("exporting takes onnx: pip install 'wm-suite[onnx]'")
    target = user_path(path)
    target = writable_file(target if target.suffix else target.with_name(target.name + SUFFIX))
    batch = torch.export.Dim("batch")
    with _quiet():
        try:
            program: Any = torch.onnx.export(
                copy.deepcopy(network).eval(),
                tuple(examples),
                dynamo=True,
                dynamic_shapes=tuple({0: batch} for _ in examples),
                input_names=list(inputs),
                output_names=list(outputs),
                external_data=False,
                verbose=False,
            )
        except Exception as error:  # the tracer has an exception of its own for each thing
            reason = str(error).strip().split("\n", 1)[0]
            raise ConfigError(f"this network cannot be written as ONNX: {reason}") from error
        file = program.model_proto
        _check(network, file, examples, inputs)
    entry = file.metadata_props.add()
    entry.key, entry.value = METADATA, json.dumps(metadata, allow_nan=False)
    with replacing(target, "wb") as stream:
        stream.write(file.SerializeToString())
    return target


class _Policy(nn.Module):
    """The likeliest action of a network, within the bounds."""

    shift: Tensor
    scale: Tensor
    centre: Tensor
    unit: Tensor
    low: Tensor
    high: Tensor

    def __init__(
        self,
        network: nn.Module,
        units: tuple[Tensor, Tensor],
        rows: gym.Space[Any],
        action_units: tuple[Tensor, Tensor] | None,
    ) -> None:
        super().__init__()
        self.network = network
        self.start = int(rows.start) if isinstance(rows, spaces.Discrete) else None
        self.register_buffer("shift", units[0].clone())
        self.register_buffer("scale", units[1].clone())
        centre, unit = (torch.zeros(1), torch.ones(1)) if action_units is None else action_units
        self.register_buffer("centre", centre.clone())
        self.register_buffer("unit", unit.clone())
        low, high = (torch.zeros(1), torch.zeros(1))
        if isinstance(rows, spaces.Box):
            low, high = torch.as_tensor(rows.low).float(), torch.as_tensor(rows.high).float()
        self.register_buffer("low", low)
        self.register_buffer("high", high)

    def forward(self, observations: Tensor) -> tuple[Tensor, Tensor]:
        """Observations [B, O] -> actions, and what the network said [B, A]."""
        outputs = self.network((observations - self.shift) / self.scale)
        if self.start is not None:
            return outputs.argmax(1) + self.start, outputs
        actions = self.centre + self.unit * outputs
        return torch.minimum(torch.maximum(actions, self.low), self.high), outputs


def export_policy(
    network: nn.Module,
    units: tuple[Tensor, Tensor],
    observation_space: gym.Space[Any],
    action_space: gym.Space[Any],
    action_units: tuple[Tensor, Tensor] | None,
    path: str | os.PathLike[str],
) -> Path:
    """Write the likeliest action of a policy as ONNX and return the file's path.

    The input is "observations" [B, O] float32, rows of `ObservationCodec`. Outputs are "actions",
    [B] int64 as the environment numbers them or [B, A] float32 within the bounds, rows of
    `ActionCodec`, and "outputs" [B, A], logits or the mean in the network's units.

    Args:
        network: From observations in its units to logits or means.
        units: What to take from observations and what to divide them by, both [O].
        observation_space: The environment's.
        action_space: The environment's.
        action_units: Centre and unit [A] of what the network says; None for indices.
        path: The file; ".onnx" is added where there is no suffix.

    Raises:
        MissingExtraError: onnx and onnxscript are not installed.
    """
    policy = _Policy(network, units, ActionCodec(action_space).row_space, action_units)
    metadata = {
        "kind": "policy",
        "observation_space": space_to_json(observation_space),
        "action_space": space_to_json(action_space),
    }
    examples = (torch.zeros(3, len(units[0])),)
    return write_onnx(policy, examples, ("observations",), ("actions", "outputs"), metadata, path)


_CHECKED_ROWS = 5
_TOLERANCE = 1e-4  # of the check by an evaluator that sums in another order


def _check(
    network: nn.Module, file: Any, examples: Sequence[Tensor], inputs: Sequence[str]
) -> None:
    """Raise ConfigError unless the file gives what the network gives.

    Python code that looks at numbers, as a derived feature may, is traced as if they never changed.
    """
    from onnx.reference import ReferenceEvaluator

    generator = torch.Generator().manual_seed(0)
    rows = []
    for example in examples:
        row = example[:1].cpu().repeat(_CHECKED_ROWS, *[1] * (example.ndim - 1))
        if row.is_floating_point():
            row = row + torch.randn(row.shape, generator=generator)
        rows.append(row.to(example.device))
    with torch.no_grad():
        expected = network(*rows)
    given = {name: row.cpu().numpy() for name, row in zip(inputs, rows, strict=True)}
    try:
        found = ReferenceEvaluator(file).run(None, given)
        for ours, theirs in zip(expected, found, strict=True):
            torch.testing.assert_close(
                torch.as_tensor(theirs).to(ours), ours, rtol=_TOLERANCE, atol=_TOLERANCE
            )
    except Exception as error:  # other numbers, other shapes, or shapes that contradict each other
        raise ConfigError(
            "this network cannot be written as ONNX: what was traced gives other numbers, so that "
            "a derived feature looks at numbers in Python; write it with tensors"
        ) from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the remarks of the tracer, which are about packages that this does not need."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
