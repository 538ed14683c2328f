"""Member-samples per CPU-second of fitting an ensemble as one tensor program.

Beside separate networks in a loop.

    python -m benchmarks.model_training_speed

Five members of 256 x 256, batch 256 each, fitted to the same differences with the same squared
error. The peer is what most libraries do: five nn.Sequential with five torch.optim.Adam, one after
the other. Ours is `EnsemblePerceptron` with one fused optimiser, in float32 and with the matrix
products in bfloat16 (`FitConfig.bfloat16_share`). The contenders take turns, CPU time is counted,
and each must bring its held-out error down to the same level.
"""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
import tyro
from torch import Tensor, nn

from benchmarks.report import write_result
from wm_agents.networks import EnsemblePerceptron


@dataclass(frozen=True)
class Config:
    """What is measured."""

    num_members: int = 5
    """Networks in the ensemble."""
    width: int = 256
    """Hidden units of each of the two layers."""
    batch_size: int = 256
    """Samples per member and update."""
    num_inputs: int = 20
    """Observation and action together."""
    num_outputs: int = 17
    """Predicted differences."""
    num_updates: int = 60
    """Updates in a turn."""
    num_turns: int = 9
    """Turns of each contender; the median counts."""
    seed: int = 0
    """Draws data and weights."""
    is_written: bool = True
    """Write benchmarks/results/model_training_speed.json."""


@dataclass
class Task:
    """Smooth nonlinear differences to learn."""

    inputs: Tensor
    targets: Tensor
    batch: tuple[int, int]
    generator: torch.Generator

    def draw(self) -> Tensor:
        """Rows [E, B] of the next update, those of the first nine tenths."""
        return torch.randint(len(self.inputs) * 9 // 10, self.batch, generator=self.generator)

    def held_out(self) -> tuple[Tensor, Tensor]:
        """The last tenth."""
        first = len(self.inputs) * 9 // 10
        return self.inputs[first:], self.targets[first:]


@dataclass
class Contender:
    """A way to fit the members."""

    update: Callable[[Tensor], None]
    error: Callable[[], float]
    rates: list[float] = field(default_factory=list)
    first_error: float = 0.0

    def take_turn(self, task: Task, num_updates: int) -> None:
        """Measure member-samples per CPU-second once."""
        rows = [task.draw() for _ in range(num_updates)]
        began = time.process_time()
        for index in rows:
            self.update(index)
        self.rates.append(
            num_updates * task.batch[0] * task.batch[1] / (time.process_time() - began)
        )


def make_task(config: Config) -> Task:
    """Differences that a random wide network makes of random inputs."""
    generator = torch.Generator().manual_seed(config.seed)
    inputs = torch.randn(20_000, config.num_inputs, generator=generator)
    mixing = (
        torch.randn(config.num_inputs, config.num_outputs, generator=generator)
        / config.num_inputs**0.5
    )
    targets = torch.sin(inputs @ mixing) + 0.1 * inputs[:, :1]
    return Task(inputs, targets, (config.num_members, config.batch_size), generator)


def make_members(config: Config) -> list[nn.Sequential]:
    """The networks that every contender starts from."""
    torch.manual_seed(config.seed)
    return [
        nn.Sequential(
            nn.Linear(config.num_inputs, config.width),
            nn.SiLU(),
            nn.Linear(config.width, config.width),
            nn.SiLU(),
            nn.Linear(config.width, config.num_outputs),
        )
        for _ in range(config.num_members)
    ]


def separate_networks(config: Config, task: Task) -> Contender:
    """One nn.Sequential and one Adam per member."""
    members = make_members(config)
    optimizers = [torch.optim.Adam(member.parameters(), 1e-3) for member in members]

    def update(rows: Tensor) -> None:
        for member, optimizer, index in zip(members, optimizers, rows, strict=True):
            loss = F.mse_loss(member(task.inputs[index]), task.targets[index])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    def error() -> float:
        inputs, targets = task.held_out()
        with torch.no_grad():
            return statistics.mean(float(F.mse_loss(member(inputs), targets)) for member in members)

    return Contender(update, error)


def one_program(config: Config, task: Task, is_bfloat16: bool) -> Contender:
    """All members as one tensor program with one fused optimiser."""
    sizes = (config.num_inputs, config.width, config.width, config.num_outputs)
    network = EnsemblePerceptron(config.num_members, sizes, "silu", torch.Generator())
    with torch.no_grad():
        for number, member in enumerate(make_members(config)):
            for layer, weight, bias in zip(
                member[::2], network.weights, network.biases, strict=True
            ):
                weight[number], bias[number, 0] = layer.weight.T, layer.bias
    optimizer = torch.optim.AdamW(network.parameters(), 1e-3, weight_decay=0.0, fused=True)

    def update(rows: Tensor) -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=is_bfloat16):
            outputs = network(task.inputs[rows])
        loss = config.num_members * F.mse_loss(outputs.float(), task.targets[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    def error() -> float:
        inputs, targets = task.held_out()
        with torch.no_grad():
            outputs = network(inputs.expand(config.num_members, *inputs.shape))
        return float(F.mse_loss(outputs, targets.expand_as(outputs)))

    return Contender(update, error)


def main(config: Config) -> dict[str, float]:
    """Measure all contenders in turns and return the figures."""
    torch.set_num_threads(1)
    task = make_task(config)
    contenders = {
        "separate_networks": separate_networks(config, task),
        "one_program_float32": one_program(config, task, is_bfloat16=False),
        "one_program_bfloat16": one_program(config, task, is_bfloat16=True),
    }
    for contender in contenders.values():
        contender.first_error = contender.error()
        contender.take_turn(task, 10)  # warms up allocators and kernels
        contender.rates.clear()
    for _ in range(config.num_turns):
        for contender in contenders.values():
            contender.take_turn(task, config.num_updates)
    figures = summarise(contenders)
    for name, value in figures.items():
        print(f"{name:45s} {value:,.4g}")
    if config.is_written:
        write_result(
            "model_training_speed",
            figures,
            seeds=config.seed,
            command="python -m benchmarks.model_training_speed",
        )
    return figures


def summarise(contenders: dict[str, Contender]) -> dict[str, float]:
    """Rates, ratios and errors; a contender that did not learn fails."""
    figures: dict[str, float] = {}
    errors = {name: contender.error() for name, contender in contenders.items()}
    for name, contender in contenders.items():
        assert errors[name] < 0.2 * contender.first_error, f"{name} did not learn: {errors[name]}"
        assert errors[name] < 1.1 * errors["separate_networks"], f"{name} learned less: {errors}"
        figures[f"{name}_samples_per_cpu_second"] = statistics.median(contender.rates)
        figures[f"{name}_held_out_error"] = errors[name]
    peer = contenders["separate_networks"].rates
    for name in ("one_program_float32", "one_program_bfloat16"):
        ratios = [ours / theirs for ours, theirs in zip(contenders[name].rates, peer, strict=True)]
        figures[f"{name}_ratio"] = statistics.median(ratios)
    return figures


if __name__ == "__main__":
    main(tyro.cli(Config))
