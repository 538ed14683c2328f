"""The network of REINFORCE: a causal transformer with one token per step, stacked over seeds.

A recurrent memory may take the place of its attention; see `recurrent_memory`.

Every parameter has a leading seed axis S, so that many independent runs are one batched program:
each run keeps its own weights, its own gradient norm and its own random numbers. All parameters are
views into one flat tensor [S, P], and all gradients into another, so that clipping and the
optimizer are a handful of operations on two tensors.

Letters: S seeds, R rows (episodes) of a seed, T time, D width, F inputs of a token.
"""

import math
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from wm_agents.errors import ConfigError
from wm_agents.policy_gradient.causal_attention import (
    additive_mask,
    attention,
    head_slopes,
    rotate,
)
from wm_agents.policy_gradient.recurrent_memory import RECURRENT, initial_decay
from wm_agents.policy_gradient.running_standardizer import RunningStandardizer
from wm_agents.policy_gradient.spaces import ActionUnits
from wm_agents.training.config_checks import require_integers

# Steps per radian of the slowest rotation, beyond the episodes that recall is tested on.
LONGEST_PERIOD = 100.0


@dataclass(frozen=True)
class NetworkConfig:
    """Sizes of the network.

    The defaults are the reference model of 116,625 parameters on 8 symbols.

    Attributes:
        width: Size D of a token.
        num_layers: Transformer blocks; recalling a rule from context needs two.
        num_heads: Attention heads.
        feedforward_width: Hidden size of a block's feed-forward part.
        value_width: Hidden size of the value head.
        context_length: How many steps a token attends to, itself included.
        memory: How a block looks back: by "attention", by the state of a "gru" or of a diagonal
            "state_space", or with "none" not at all.
        has_previous_observation: Whether a token also holds the inputs of the step before it, so that
            one layer can bind what belongs together over two steps.
        has_positions: Whether attention knows how far back a step lies. Without it a token knows of
            the past what was there and, by what each of those tokens saw, little of the order.
    """

    width: int = 64
    num_layers: int = 2
    num_heads: int = 4
    feedforward_width: int = 256
    value_width: int = 32
    context_length: int = 256
    memory: Literal["attention", "gru", "state_space", "none"] = "attention"
    has_positions: bool = True
    has_previous_observation: bool = False

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if name != "memory" and not name.startswith("has_"):
                require_integers(1, **{f"NetworkConfig.{name}": value})
        memories = ("attention", *RECURRENT, "none")
        if self.memory not in memories:
            raise ConfigError(f"NetworkConfig.memory is one of {memories}, got {self.memory!r}")
        if self.memory == "attention" and self.width % (2 * self.num_heads):
            raise ConfigError(
                f"width is a multiple of 2 * num_heads, got {self.width} and {self.num_heads} heads"
            )

    @property
    def head_width(self) -> int:
        """Size of a head's query."""
        return self.width // self.num_heads


@dataclass(frozen=True)
class Sizes:
    """What the environment asks of the network.

    Attributes:
        num_inputs: Numbers in a token, F.
        num_policy_outputs: Logits of a Discrete action, or means of a Box action.
        num_action_features: Length of an action as the world model sees it (one-hot or the numbers
            themselves).
        num_targets: Length of the observation that the world model predicts, O.
        is_continuous: Whether actions are Gaussian, with a learned log standard deviation of their
            own.
        num_predictions: Numbers that the world model's head gives; None is the next observation's.
    """

    num_inputs: int
    num_policy_outputs: int
    num_action_features: int
    num_targets: int
    is_continuous: bool
    num_predictions: int | None = None


@dataclass
class Cache:
    """What the steps so far left to attend to.

    Attributes:
        keys: [S * R, heads, t, D / heads] per layer.
        values: Likewise.
        time: Steps so far.
        starts: Each row's first valid step [S * R]; None where that is 0 for all.
        states: In place of keys and values, the state [S, R, D] of a recurrent memory per layer.
        inputs: The last step's inputs [S, R, F], standardized, where tokens hold them; else None.
    """

    keys: list[Tensor]
    values: list[Tensor]
    time: int
    starts: Tensor | None = None
    states: list[Tensor] = field(default_factory=list)
    inputs: Tensor | None = None

    def copy(self) -> "Cache":
        """A cache that grows apart from this one.

        The tensors themselves are never changed in place.
        """
        return replace(
            self, keys=list(self.keys), values=list(self.values), states=list(self.states)
        )


class SequenceModel:
    """S independent causal pre-norm transformers with heads for policy, world model and value.

    Positions enter as a penalty on distant keys that differs from head to head (ALiBi, Press et al.
    2022, sec. 3), which has no parameters, so an episode may be longer than any seen before. The
    world-model head reads (token, embedded action) and predicts the raw next observation, never an
    embedding, in units of its spread.

    Args:
        config: The network's sizes.
        sizes: What the environment asks for.
        seeds: One initialization seed per stacked run, S of them.
        device: Where the parameters live.
        action_units: In which numbers a Box policy acts; None takes its outputs as they are.

    Attributes:
        input_units: Units of the inputs [S, F], by which they are standardized here; who trains
            updates them.
        target_units: Units of the predicted observations [S, O].
    """

    def __init__(
        self,
        config: NetworkConfig,
        sizes: Sizes,
        seeds: list[int],
        device: torch.device,
        action_units: ActionUnits | None = None,
    ) -> None:
        self.config, self.sizes, self.device = config, sizes, device
        self.action_units = action_units
        self.num_seeds = len(seeds)
        self.shapes = dict(_shapes(config, sizes))
        self.num_parameters = sum(math.prod(shape) for shape in self.shapes.values())
        self.flat = torch.stack([self._initial(seed) for seed in seeds]).to(device)
        self.flat_gradient = torch.zeros_like(self.flat)
        self.input_units = RunningStandardizer(len(seeds), sizes.num_inputs).to(device)
        self.target_units = RunningStandardizer(len(seeds), sizes.num_targets).to(device)
        self._attach()

    def __getstate__(self) -> dict[str, Any]:
        """Without the views into the flat tensors, which a copy would turn into tensors."""
        return {name: value for name, value in vars(self).items() if name != "parameters"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._attach()

    def _initial(self, seed: int) -> Tensor:
        generator = torch.Generator().manual_seed(seed)
        return torch.cat(
            [_initial(name, shape, generator).flatten() for name, shape in self.shapes.items()]
        )

    def _attach(self) -> None:
        """Make the named parameters and their gradients views of the flat tensors."""
        self.parameters: dict[str, Tensor] = {}
        start = 0
        for name, shape in self.shapes.items():
            columns = slice(start, start + math.prod(shape))
            parameter = self.flat[:, columns].view(-1, *shape).detach().requires_grad_()
            parameter.grad = self.flat_gradient[:, columns].view(-1, *shape)
            self.parameters[name] = parameter
            start = columns.stop
        if self.action_units is not None:
            self._action_centre = torch.from_numpy(self.action_units.centre).to(self.device)
            self._action_unit = torch.from_numpy(self.action_units.unit).to(self.device)
        self._biases = torch.empty(self.config.num_heads, 0, 0, device=self.device)
        self._turn_table = torch.zeros(0, 1, 1, dtype=torch.complex64)

    def backward(self, loss: Tensor) -> Tensor:
        """The gradient [S, P] of a loss that is a sum over seeds.

        Parameters without a part in it get zeros.
        """
        self.flat_gradient.zero_()
        with warnings.catch_warnings():
            # The views are strided over seeds on purpose: gathering dense gradients afterwards
            # takes a quarter longer.
            warnings.filterwarnings(
                "ignore", message="grad and param do not obey the gradient layout contract"
            )
            loss.backward()
        return self.flat_gradient

    def select(self, members: list[int]) -> "SequenceModel":
        """A copy that holds these stacked runs only, without gradients of its own past."""
        chosen = object.__new__(SequenceModel)
        chosen.config, chosen.sizes, chosen.device = self.config, self.sizes, self.device
        chosen.action_units = self.action_units
        chosen.shapes, chosen.num_parameters, chosen.num_seeds = (
            self.shapes,
            self.num_parameters,
            len(members),
        )
        chosen.flat = self.flat[members].clone()
        chosen.flat_gradient = torch.zeros_like(chosen.flat)
        chosen.input_units = self.input_units.select(members)
        chosen.target_units = self.target_units.select(members)
        chosen._attach()
        return chosen

    def linear(self, name: str, inputs: Tensor) -> Tensor:
        """Apply the seed's own affine map: [S, M, in] to [S, M, out]."""
        return torch.baddbmm(
            self.parameters[f"{name}.bias"], inputs, self.parameters[f"{name}.weight"]
        )

    def _normalize(self, name: str, tokens: Tensor) -> Tensor:
        normalized = F.layer_norm(tokens, (self.config.width,))
        return torch.addcmul(
            self.parameters[f"{name}.bias"], normalized, self.parameters[f"{name}.weight"]
        )

    def _embed(self, inputs: Tensor, previous: Tensor | None) -> Tensor:
        """Tokens [S, M, D] of standardized inputs [S, M, F], and of those a step earlier.

        None stands for those before an episode.
        """
        if self.config.has_previous_observation:
            before = torch.zeros_like(inputs) if previous is None else previous
            inputs = torch.cat([inputs, before], -1)
        return self.linear("encoder.2", self.linear("encoder.1", inputs).relu_())

    def _feed_forward(self, layer: int, tokens: Tensor) -> Tensor:
        hidden = self.linear(
            f"block{layer}.up", self._normalize(f"block{layer}.norm2", tokens)
        ).relu_()
        return tokens + self.linear(f"block{layer}.down", hidden)

    def encode_first(self, inputs: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Tokens of the first step, where attention over a single key is the identity on its value.

        Args:
            inputs: [S, R, F].

        Returns:
            Tokens [S, R, D], and what each layer keeps of them, from which `cache_first` goes on:
            the inputs of attention, or the state of a recurrent memory.
        """
        inputs = self.input_units.normalize(inputs)
        tokens = self._embed(inputs, None)
        kept = [inputs] if self.config.has_previous_observation else []
        for layer in range(self.config.num_layers):
            tokens = self._look_back_first(layer, tokens, kept)
            tokens = self._feed_forward(layer, tokens)
        return tokens, kept

    def _look_back_first(self, layer: int, tokens: Tensor, kept: list[Tensor]) -> Tensor:
        name = f"block{layer}"
        if self.config.memory == "none":
            return tokens
        normalized = self._normalize(f"{name}.norm1", tokens)
        if self.config.memory == "attention":
            kept.append(normalized)
            return tokens + self.linear(f"{name}.out", self.linear(f"{name}.value", normalized))
        mixed, state = self._recur(layer, normalized, torch.zeros_like(tokens))
        kept.append(state)
        return tokens + mixed

    def cache_first(self, kept: list[Tensor]) -> Cache:
        """The cache after the first step."""
        if self.config.has_previous_observation:
            cache = self._cache_layers(kept[1:])
            cache.inputs = kept[0]
            return cache
        return self._cache_layers(kept)

    def _cache_layers(self, kept: list[Tensor]) -> Cache:
        if self.config.memory != "attention":
            return Cache([], [], 1, states=list(kept))
        keys, values = [], []
        for layer, normalized in enumerate(kept):
            _, key, value = self._attend(layer, normalized, 0, 1)
            keys.append(key)
            values.append(value)
        return Cache(keys, values, 1)

    def encode_next(self, inputs: Tensor, cache: Cache) -> Tensor:
        """Tokens [S, R, D] of the next step for inputs [S, R, F]; the cache grows in place."""
        inputs = self.input_units.normalize(inputs)
        tokens = self._embed(inputs, self._of_this_episode(cache.inputs, cache))
        if self.config.has_previous_observation:
            cache.inputs = inputs
        bias = self._bias_next(cache) if self.config.memory == "attention" else None
        for layer in range(self.config.num_layers):
            if self.config.memory != "none":
                normalized = self._normalize(f"block{layer}.norm1", tokens)
                tokens = tokens + self._look_back_next(layer, normalized, cache, bias)
            tokens = self._feed_forward(layer, tokens)
        cache.time += 1
        return tokens

    def _of_this_episode(self, kept: Tensor | None, cache: Cache) -> Tensor | None:
        """What was kept of the last step [S, R, ...], zeros in rows that start only now."""
        if kept is None or cache.starts is None:
            return kept
        return kept * (cache.starts < cache.time).view(self.num_seeds, -1, 1)

    def _bias_next(self, cache: Cache) -> Tensor:
        """What is added to the scores of the next step, which the cache lacks as yet."""
        # Whoever holds the cache may have dropped steps that no row attends to any more.
        num_kept = min(cache.keys[0].shape[2] + 1, self.config.context_length)
        bias = self._bias(num_kept)[:, -1:]
        if cache.starts is not None:
            steps = torch.arange(cache.time + 1 - num_kept, cache.time + 1, device=self.device)
            bias = bias + additive_mask(steps >= cache.starts[:, None])[:, None, None, :]
        return bias

    def _look_back_next(
        self, layer: int, normalized: Tensor, cache: Cache, bias: Tensor | None
    ) -> Tensor:
        if bias is None:
            # What an earlier episode left behind says nothing of this one.
            state = self._of_this_episode(cache.states[layer], cache)
            assert state is not None
            mixed, cache.states[layer] = self._recur(layer, normalized, state)
            return mixed
        num_kept = bias.shape[-1]
        query, key, value = self._attend(layer, normalized, cache.time, 1)
        cache.keys[layer] = torch.cat([cache.keys[layer], key], 2)[:, :, -num_kept:]
        cache.values[layer] = torch.cat([cache.values[layer], value], 2)[:, :, -num_kept:]
        mixed = attention(query, cache.keys[layer], cache.values[layer], bias)
        return self.linear(f"block{layer}.out", self._join_heads(mixed))

    def encode(self, inputs: Tensor) -> Tensor:
        """Tokens [S, R, T, D] of whole episodes for inputs [S, R, T, F].

        Each sees itself and what came before.
        """
        num_seeds, num_rows, num_steps, _ = inputs.shape
        inputs = self.input_units.normalize(inputs.flatten(1, 2)).unflatten(1, (-1, num_steps))
        # One step later, with zeros before the first.
        previous = F.pad(inputs, (0, 0, 1, 0))[:, :, :-1]
        tokens = self._embed(inputs.flatten(1, 2), previous.flatten(1, 2))
        for layer in range(self.config.num_layers):
            if self.config.memory != "none":
                normalized = self._normalize(f"block{layer}.norm1", tokens)
                tokens = tokens + self._look_back(layer, normalized, num_steps)
            tokens = self._feed_forward(layer, tokens)
        return tokens.view(num_seeds, num_rows, num_steps, -1)

    def _look_back(self, layer: int, normalized: Tensor, num_steps: int) -> Tensor:
        """What tokens [S, R * T, D] of whole episodes get from what came before."""
        if self.config.memory == "attention":
            query, key, value = self._attend(layer, normalized, 0, num_steps)
            mixed = attention(query, key, value, self._bias(num_steps))
            return self.linear(f"block{layer}.out", self._join_heads(mixed))
        memory, name = RECURRENT[self.config.memory], f"block{layer}"
        projected = memory.project(name, normalized, self.linear)
        steps = projected.unflatten(1, (-1, num_steps)).unbind(2)
        state = torch.zeros_like(steps[0][..., : self.config.width])
        states = []
        for step in steps:
            state = memory.advance(name, step, state, self.linear, self.parameters)
            states.append(state)
        joined = torch.stack(states, 2).flatten(1, 2)
        return memory.read(name, normalized, joined, self.linear)

    def _recur(self, layer: int, normalized: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """One step of a recurrent memory on [S, R, D]: what it adds, and its next state."""
        memory, name = RECURRENT[self.config.memory], f"block{layer}"
        projected = memory.project(name, normalized, self.linear)
        state = memory.advance(name, projected, state, self.linear, self.parameters)
        return memory.read(name, normalized, state, self.linear), state

    def _bias(self, num_steps: int) -> Tensor:
        """What is added to the attention scores [heads, T, T].

        Minus slope times distance, minus infinity outside.
        """
        if num_steps > self._biases.shape[-1]:
            # One table for all lengths, as episodes come in many.
            steps = torch.arange(max(num_steps, 2 * self._biases.shape[-1]), device=self.device)
            distance = (steps[:, None] - steps).float()
            slopes = head_slopes(self.config.num_heads).to(self.device)
            slopes = slopes * self.config.has_positions
            allowed = (distance >= 0) & (distance < self.config.context_length)
            self._biases = -slopes[:, None, None] * distance + additive_mask(allowed)
        return self._biases[:, :num_steps, :num_steps]

    def _attend(
        self, layer: int, tokens: Tensor, first_step: int, num_steps: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Rotated queries, rotated keys, and values for tokens [S, R * T, D].

        Each is [S * R, heads, T, D / heads].
        """
        query, key, value = (
            self.linear(f"block{layer}.{name}", tokens).view(
                -1, num_steps, self.config.num_heads, self.config.head_width
            )
            for name in ("query", "key", "value")
        )
        if self.config.has_positions:
            turn = self._turns(first_step + num_steps)[first_step:]
            query, key = rotate(query, turn), rotate(key, turn)
        return query.transpose(1, 2), key.transpose(1, 2), value.transpose(1, 2)

    def _turns(self, num_steps: int) -> Tensor:
        """Unit complex numbers [T, 1, D / heads / 2].

        They turn faster in the first coordinates than in the last.
        """
        if num_steps > len(self._turn_table):
            steps = torch.arange(2 * num_steps, device=self.device, dtype=torch.float32)
            half = self.config.head_width // 2
            frequencies = LONGEST_PERIOD ** (
                -torch.arange(half, device=self.device, dtype=torch.float32) / half
            )
            angles = steps[:, None, None] * frequencies
            self._turn_table = torch.polar(torch.ones_like(angles), angles)
        return self._turn_table[:num_steps]

    def _join_heads(self, heads: Tensor) -> Tensor:
        """[S * R, heads, T, D / heads] to [S, R * T, D]."""
        return heads.transpose(1, 2).reshape(self.num_seeds, -1, self.config.width)

    def policy(self, tokens: Tensor) -> Tensor:
        """Logits, or means in the environment's units, [S, M, outputs] for tokens [S, M, D]."""
        outputs = self.linear("policy", tokens)
        if self.action_units is None:
            return outputs
        return self._action_centre + self._action_unit * outputs

    def action_spread(self) -> Tensor:
        """Standard deviations [S, 1, A] of a Box action, in the environment's units."""
        spread = self.parameters["log_std"].exp()
        return spread if self.action_units is None else self._action_unit * spread

    def value(self, tokens: Tensor) -> Tensor:
        """Expected return [S, M] for tokens [S, M, D]."""
        return self.linear("value.2", self.linear("value.1", tokens).relu_()).squeeze(-1)

    def next_observation(self, tokens: Tensor, actions: Tensor) -> Tensor:
        """Next observations [S, M, O], in `target_units`.

        For tokens [S, M, D] and action features [S, M, A].
        """
        # The affine map of the pair (token, embedded action), as two parts so that nothing is
        # concatenated.
        from_action = torch.bmm(
            self.parameters["action.weight"], self.parameters["world.action.weight"]
        )
        hidden = torch.baddbmm(self.linear("world.1", tokens), actions, from_action)
        return self.linear("world.2", hidden.relu_())


def num_network_parameters(config: NetworkConfig, sizes: Sizes) -> int:
    """How many numbers the network of one run has."""
    return sum(math.prod(shape) for _, shape in _shapes(config, sizes))


def _shapes(config: NetworkConfig, sizes: Sizes) -> Iterator[tuple[str, tuple[int, ...]]]:
    width = config.width
    num_inputs = sizes.num_inputs * (2 if config.has_previous_observation else 1)
    yield from _affine("encoder.1", num_inputs, width)
    yield from _affine("encoder.2", width, width)
    for layer in range(config.num_layers):
        names: tuple[str, ...] = ("query", "key", "value", "out")
        if config.memory in RECURRENT:
            names = ("out",)
            yield from RECURRENT[config.memory].shapes(f"block{layer}", width)
        for name in names if config.memory != "none" else ():
            yield from _affine(f"block{layer}.{name}", width, width)
        yield from _affine(f"block{layer}.up", width, config.feedforward_width)
        yield from _affine(f"block{layer}.down", config.feedforward_width, width)
        for name in ("norm1", "norm2") if config.memory != "none" else ("norm2",):
            yield f"block{layer}.{name}.weight", (1, width)
            yield f"block{layer}.{name}.bias", (1, width)
    yield from _affine("policy", width, sizes.num_policy_outputs)
    if sizes.is_continuous:
        yield "log_std", (1, sizes.num_policy_outputs)
    yield "action.weight", (sizes.num_action_features, width)
    yield from _affine("world.1", width, width)
    yield "world.action.weight", (width, width)
    yield from _affine("world.2", width, sizes.num_predictions or sizes.num_targets)
    yield from _affine("value.1", width, config.value_width)
    yield from _affine("value.2", config.value_width, 1)


def _affine(name: str, num_inputs: int, num_outputs: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    yield f"{name}.weight", (num_inputs, num_outputs)
    yield f"{name}.bias", (1, num_outputs)


def _initial(name: str, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Uniform weights of variance 1 / (3 inputs), biases zero, norms the identity."""
    if name.endswith(".bias") or name == "log_std":
        return torch.zeros(shape)
    if ".norm" in name:
        return torch.ones(shape)
    if name.endswith(".decay"):
        return initial_decay(shape[1])
    bound = 1.0 / math.sqrt(shape[0])
    return torch.empty(shape).uniform_(-bound, bound, generator=generator)
