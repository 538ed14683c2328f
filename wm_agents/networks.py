"""Building blocks of networks: perceptrons, alone and as an ensemble in one tensor program."""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wm_agents.errors import ConfigError

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "elu": F.elu,
    "relu": F.relu,
    "silu": F.silu,
    "tanh": torch.tanh,
}


def choose_device(name: str | torch.device) -> torch.device:
    """The device of this name; "auto" is an accelerator where there is one and else the CPU.

    Raises:
        ConfigError: There is no such device here.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.empty(0, device=torch.device(name)).device
    except (RuntimeError, AssertionError, TypeError) as error:
        reason = str(error).split("\n", 1)[0]
        raise ConfigError(
            f"device {str(name)!r} is not here: give 'auto' or 'cpu' ({reason})"
        ) from error
    if device.type == "meta":
        raise ConfigError("device 'meta' has no memory: give 'auto' or 'cpu'")
    return device


def uninitialised(layer_class: type[nn.Module], *sizes: int) -> Any:
    """A layer whose weights are drawn afterwards.

    Under `torch.device("meta")` it has shapes and no memory.
    """
    with warnings.catch_warnings():
        # Where nothing is to be predicted there are no outputs, of which torch warns.
        warnings.filterwarnings("ignore", "Initializing zero-element tensors")
        return nn.utils.skip_init(layer_class, *sizes, device=torch.get_default_device())


@dataclass(frozen=True)
class Affine:
    """A change of units x -> matrix x + shift, in float64.

    Attributes:
        matrix: [M, N].
        shift: [M].
    """

    matrix: Tensor
    shift: Tensor

    @classmethod
    def identity(cls, size: int, device: torch.device | None = None) -> "Affine":
        """No change of so many numbers."""
        zeros = torch.zeros(size, dtype=torch.float64, device=device)
        return cls(torch.diag(zeros + 1), zeros)

    @classmethod
    def join(cls, *parts: "Affine") -> "Affine":
        """The change of concatenated vectors, each part for itself."""
        matrix = torch.block_diag(*(part.matrix for part in parts))
        return cls(matrix, torch.cat([part.shift for part in parts]))


class Perceptron(nn.Module):
    """Linear layers with an activation between them: orthogonal weights, zero biases.

    Args:
        sizes: Widths from the input to the output, at least two.
        activation: A name in `ACTIVATIONS`.
        generator: Draws the weights.
        output_gain: Scale of the last layer's weights; small values start near 0.
    """

    def __init__(
        self,
        sizes: Sequence[int],
        activation: str,
        generator: torch.Generator,
        output_gain: float = 1.0,
    ) -> None:
        super().__init__()
        self.activate = _activation(activation)
        self.layers = nn.ModuleList(uninitialised(nn.Linear, a, b) for a, b in pairwise(sizes))
        for number, layer in enumerate(self.layers):
            gain = output_gain if number == len(sizes) - 2 else 2.0**0.5
            nn.init.orthogonal_(layer.weight, gain, generator=generator)  # type: ignore[arg-type]
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]

    def forward(self, inputs: Tensor) -> Tensor:
        """[..., sizes[0]] -> [..., sizes[-1]]."""
        for layer in self.layers[:-1]:
            inputs = self.activate(layer(inputs))
        output: Tensor = self.layers[-1](inputs)
        return output

    def change_inputs(self, to_old: Affine) -> None:
        """Read inputs in other units, with the same outputs.

        `to_old` leads from the new units to the old.
        """
        layer: Any = self.layers[0]
        layer.weight, layer.bias = _read_as(layer.weight, layer.bias, to_old)
        layer.in_features = layer.weight.shape[1]

    def change_outputs(self, to_new: Affine) -> None:
        """Put out the same values in other units; `to_new` leads from the old units to the new."""
        layer: Any = self.layers[-1]
        weight = to_new.matrix @ layer.weight.double()
        bias = to_new.matrix @ layer.bias.double() + to_new.shift
        layer.weight, layer.bias = _frozen(weight), _frozen(bias)
        layer.out_features = len(bias)


def recurrent_cell(num_inputs: int, num_hidden: int, generator: torch.Generator) -> nn.GRUCell:
    """A gated recurrent unit with orthogonal weights and zero biases."""
    cell = uninitialised(nn.GRUCell, num_inputs, num_hidden)
    for name, parameter in cell.named_parameters():
        if name.startswith("weight"):
            for gate in parameter.detach().chunk(3):
                nn.init.orthogonal_(gate, generator=generator)
        else:
            nn.init.zeros_(parameter)
    return cell


def change_cell_inputs(cell: nn.GRUCell, to_old: Affine) -> None:
    """Read inputs in other units, with the same memories.

    `to_old` leads from the new units to the old.
    """
    cell.weight_ih, cell.bias_ih = _read_as(cell.weight_ih, cell.bias_ih, to_old)
    cell.input_size = cell.weight_ih.shape[1]


def _read_as(weight: Any, bias: Any, to_old: Affine) -> tuple[nn.Parameter, nn.Parameter]:
    """Weights [M, N] and biases [M] of a layer whose inputs come in new units."""
    exact = weight.double()
    return _frozen(exact @ to_old.matrix), _frozen(bias.double() + exact @ to_old.shift)


def _frozen(values: Tensor) -> nn.Parameter:
    return nn.Parameter(values.float().contiguous(), requires_grad=False)


class EnsemblePerceptron(nn.Module):
    """E perceptrons of equal shape, evaluated together: each layer is one batched matrix product.

    Args:
        num_members: E.
        sizes: Widths from the input to the output, at least two.
        activation: A name in `ACTIVATIONS`.
        generator: Draws the weights, differently for each member.
        output_gain: Scale of the last layer's weights.
        dropout: Probability that a hidden unit is silent in training.
    """

    def __init__(
        self,
        num_members: int,
        sizes: Sequence[int],
        activation: str,
        generator: torch.Generator,
        output_gain: float = 1.0,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if not 0 <= dropout < 1:
            raise ConfigError(f"dropout is a probability below 1, got {dropout}")
        self.activate = _activation(activation)
        self.dropout = dropout
        self.weights = nn.ParameterList(torch.empty(num_members, a, b) for a, b in pairwise(sizes))
        self.biases = nn.ParameterList(torch.zeros(num_members, 1, b) for b in sizes[1:])
        for number, weight in enumerate(self.weights):
            gain = output_gain if number == len(sizes) - 2 else 2.0**0.5
            for member in weight:
                nn.init.orthogonal_(member, gain, generator=generator)

    def forward(self, inputs: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """[E, B, sizes[0]] -> [E, B, sizes[-1]]; dropout acts only when a generator is given.

        The generator, not a training flag, switches dropout, so that a model keeps no hidden mode.
        """
        last = len(self.weights) - 1
        for number, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            inputs = torch.baddbmm(bias, inputs, weight)
            if number < last:
                inputs = self.activate(inputs)
                if self.dropout and generator is not None:
                    inputs = inputs * _dropout_mask(inputs, self.dropout, generator)
        return inputs

    def change_inputs(self, to_old: Affine) -> None:
        """Read inputs in other units, with the same outputs.

        `to_old` leads from the new units to the old.
        """
        weight, bias = self.weights[0].double(), self.biases[0].double()
        self.weights[0] = _frozen(to_old.matrix.T @ weight)
        self.biases[0] = _frozen(bias + (to_old.shift @ weight)[:, None])

    def change_outputs(self, to_new: Affine) -> None:
        """Put out the same values in other units; `to_new` leads from the old units to the new."""
        self.weights[-1] = _frozen(self.weights[-1].double() @ to_new.matrix.T)
        self.biases[-1] = _frozen(self.biases[-1].double() @ to_new.matrix.T + to_new.shift)

    def forward_members(self, inputs: Tensor, members: Tensor) -> Tensor:
        """[B, sizes[0]] -> [B, sizes[-1]], row b through member `members[b]` only.

        1 / E of the work of `forward`.
        """
        order = torch.argsort(members, stable=True)
        counts = torch.bincount(members, minlength=len(self.weights[0]))
        width = int(counts.max())
        within = (
            torch.arange(len(members), device=members.device)
            - (torch.cumsum(counts, 0) - counts)[members[order]]
        )
        padded = inputs.new_zeros(len(counts), width, inputs.shape[-1])
        padded[members[order], within] = inputs[order]
        outputs = self.forward(padded)[members[order], within]
        restored = torch.empty_like(outputs)
        restored[order] = outputs
        return restored


def smooth_perceptron(num_inputs: int, width: int, num_outputs: int) -> nn.Sequential:
    """Two hidden layers of smooth units, for networks through which many steps of gradients run."""
    return nn.Sequential(
        nn.Linear(num_inputs, width),
        nn.LayerNorm(width),
        nn.SiLU(),
        nn.Linear(width, width),
        nn.SiLU(),
        nn.Linear(width, num_outputs),
    )


@torch.no_grad()
def follow_parameters(slow: nn.Module, fast: nn.Module, share: float) -> None:
    """Move the parameters of a slow copy towards those of a network; its buffers stay."""
    for old, new in zip(slow.parameters(), fast.parameters(), strict=True):
        old.lerp_(new, share)


def _activation(name: str) -> Callable[[Tensor], Tensor]:
    if name not in ACTIVATIONS:
        raise ConfigError(f"activation is one of {sorted(ACTIVATIONS)}, got {name!r}")
    return ACTIVATIONS[name]


def normal_like(values: Tensor, generator: torch.Generator) -> Tensor:
    """Standard normal numbers of the shape, type and device of `values`.

    Drawn where the generator is.
    """
    return torch.randn(values.shape, generator=generator, device=generator.device).to(values)


def _dropout_mask(values: Tensor, probability: float, generator: torch.Generator) -> Tensor:
    kept = torch.rand(values.shape, generator=generator, device=generator.device) >= probability
    return kept.to(values) / (1 - probability)
