"""The stacked transformer.

Its size, PyTorch's own layers, step by step against all at once, seeds that do not mix.
"""

import math
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from wm_agents.errors import ConfigError
from wm_agents.policy_gradient.causal_attention import (
    ShortSoftmax,
    additive_mask,
    attention,
    head_slopes,
    rotate,
)
from wm_agents.policy_gradient.recurrent_memory import RECURRENT
from wm_agents.policy_gradient.sequence_model import NetworkConfig, SequenceModel, Sizes

CPU = torch.device("cpu")
SIZES = Sizes(
    num_inputs=6, num_policy_outputs=4, num_action_features=4, num_targets=5, is_continuous=False
)
SMALL = NetworkConfig(width=16, num_layers=2, num_heads=4, feedforward_width=24, value_width=8)


def make(seeds: list[int], config: NetworkConfig = SMALL, sizes: Sizes = SIZES) -> SequenceModel:
    return SequenceModel(config, sizes, seeds, CPU)


def shorter(context_length: int) -> NetworkConfig:
    return NetworkConfig(**{**vars(SMALL), "context_length": context_length})


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def stepwise(model: SequenceModel, inputs: Tensor) -> Tensor:
    """Tokens [S, R, T, D], each step from the cache of those before it."""
    first, attended = model.encode_first(inputs[:, :, 0])
    cache, tokens = model.cache_first(attended), [first]
    tokens += [model.encode_next(inputs[:, :, step], cache) for step in range(1, inputs.shape[2])]
    assert cache.time == inputs.shape[2]
    kept = min(cache.time, model.config.context_length)
    assert all(keys.shape[2] == kept for keys in cache.keys)
    return torch.stack(tokens, 2)


def test_the_reference_model_has_its_published_size() -> None:
    model = make([0], NetworkConfig(), Sizes(8, 8, 8, 8, is_continuous=False))
    assert model.num_parameters == 116_625
    assert model.flat.shape == (1, 116_625)
    assert sum(parameter.numel() for parameter in model.parameters.values()) == 116_625


def test_parameters_and_gradients_are_views_of_the_flat_tensors() -> None:
    model = make([0, 1])
    with torch.no_grad():
        model.flat.fill_(3.0)
    for parameter in model.parameters.values():
        assert parameter.shape[0] == 2
        assert (parameter == 3).all()
    model.backward(torch.stack([parameter.sum() for parameter in model.parameters.values()]).sum())
    assert (model.flat_gradient == 1).all()


@pytest.mark.parametrize("num_steps", [1, 2, 7])
def test_blocks_equal_pytorch_layers_with_the_same_weights(num_steps: int) -> None:
    model, inputs = make([4]), random(1, 3, num_steps, 6)
    rotated = model.encode(inputs)
    model._turn_table = torch.ones_like(model._turns(num_steps))  # PyTorch's layers do not rotate
    own = {name: parameter.detach()[0].squeeze(0) for name, parameter in model.parameters.items()}
    tokens = (inputs[0] @ own["encoder.1.weight"] + own["encoder.1.bias"]).relu()
    tokens = tokens @ own["encoder.2.weight"] + own["encoder.2.bias"]
    distance = torch.arange(num_steps)[:, None] - torch.arange(num_steps)
    bias = -torch.tensor([2, 1, 0.5, 0])[:, None, None] * distance.clamp(min=0)
    bias = bias.masked_fill(distance < 0, -torch.inf).repeat(3, 1, 1)
    for layer in range(2):
        tokens = torch_layer({n.removeprefix(f"block{layer}."): own[n] for n in own})(
            tokens, src_mask=bias
        )
    torch.testing.assert_close(model.encode(inputs)[0], tokens.detach(), rtol=1e-4, atol=1e-5)
    assert torch.allclose(rotated, model.encode(inputs), atol=1e-5) == (num_steps == 1)


def test_pairs_of_coordinates_turn_by_angles_of_their_step() -> None:
    model = make([4])  # heads of width 4: two pairs, which turn by 1 and by 1/10 a step
    turned = rotate(random(1, 9, 4, 4), model._turns(9))
    for step in range(9):
        for pair, angle in enumerate((step * 1.0, step * 0.1)):
            cosine, sine = math.cos(angle), math.sin(angle)
            matrix = torch.tensor([[cosine, sine], [-sine, cosine]])
            part = slice(2 * pair, 2 * pair + 2)
            torch.testing.assert_close(
                turned[0, step, :, part], random(1, 9, 4, 4)[0, step, :, part] @ matrix
            )


def test_turned_scores_depend_on_the_distance_alone() -> None:
    turns = make([4])._turns(40)
    query, key = random(1, 1, 1, 4), random(1, 1, 1, 4, seed=1)

    def score(query_step: int, key_step: int) -> float:
        return float((rotate(query, turns[[query_step]]) * rotate(key, turns[[key_step]])).sum())

    assert score(9, 4) == pytest.approx(score(30, 25), rel=1e-4)
    assert score(9, 4) != pytest.approx(score(9, 5), rel=1e-2)


def torch_layer(own: dict[str, Tensor]) -> nn.TransformerEncoderLayer:
    layer = nn.TransformerEncoderLayer(16, 4, 24, dropout=0.0, batch_first=True, norm_first=True)
    joined = {
        "self_attn.in_proj_weight": torch.cat(
            [own[f"{name}.weight"].T for name in ("query", "key", "value")]
        ),
        "self_attn.in_proj_bias": torch.cat(
            [own[f"{name}.bias"] for name in ("query", "key", "value")]
        ),
    }
    for ours, theirs in {"out": "self_attn.out_proj", "up": "linear1", "down": "linear2"}.items():
        joined |= {
            f"{theirs}.weight": own[f"{ours}.weight"].T,
            f"{theirs}.bias": own[f"{ours}.bias"],
        }
    joined |= {
        f"{norm}.{part}": own[f"{norm}.{part}"]
        for norm in ("norm1", "norm2")
        for part in ("weight", "bias")
    }
    layer.load_state_dict(joined)
    return layer.train()  # the fused inference path takes no such mask


@pytest.mark.parametrize("context_length", [1, 2, 4, 256])
def test_step_by_step_equals_all_at_once(context_length: int) -> None:
    model, inputs = make([1, 2], shorter(context_length)), random(2, 3, 9, 6)
    torch.testing.assert_close(stepwise(model, inputs), model.encode(inputs), rtol=1e-4, atol=1e-5)


def test_nothing_is_read_from_the_future_nor_from_before_the_context() -> None:
    model, inputs = make([1], shorter(3)), random(1, 1, 10, 6)
    changed = inputs.clone()
    changed[:, :, 4] += 1.0
    is_changed = (model.encode(inputs) - model.encode(changed)).abs().amax((0, 1, 3)) > 1e-6
    # Two layers see two windows of 3 back: steps 4 to 8.
    assert is_changed.tolist() == [False] * 4 + [True] * 5 + [False]


@pytest.mark.parametrize("context_length", [3, 256])
def test_a_row_that_starts_later_sees_nothing_of_before(context_length: int) -> None:
    model, inputs = make([1], shorter(context_length)), random(1, 3, 8, 6)
    _, attended = model.encode_first(inputs[:, :, 0])
    cache, tokens = model.cache_first(attended), []
    for step in range(1, 8):
        if step == 4:
            cache.starts = torch.tensor([0, 4, 0])
        if step == 6:
            cache.starts = torch.tensor([0, 4, 6])
        tokens.append(model.encode_next(inputs[:, :, step], cache))
    for row, start in enumerate([0, 4, 6]):
        alone = model.encode(inputs[:, row : row + 1, start:])[0, 0]
        together = torch.stack([token[0, row] for token in tokens[max(start - 1, 0) :]])
        torch.testing.assert_close(together, alone[1 if start == 0 else 0 :], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("memory", ["attention", "gru"])
def test_a_copied_cache_grows_apart(memory: Any) -> None:
    config = replace(SMALL, memory=memory, has_previous_observation=True)
    model, inputs = make([1], config), random(1, 2, 3, 6)
    cache = model.cache_first(model.encode_first(inputs[:, :, 0])[1])
    first = model.encode_next(inputs[:, :, 1], cache.copy())
    again = model.encode_next(inputs[:, :, 1], cache)
    assert torch.equal(first, again)
    assert cache.time == 2


def test_episodes_of_many_lengths_share_one_table_of_distances() -> None:
    model = make([1], shorter(40))
    for num_steps in (3, 1, 17, 40, 39):
        distance = torch.arange(num_steps)[:, None] - torch.arange(num_steps)
        expected = (-0.5 * distance).masked_fill(distance < 0, -torch.inf)
        assert torch.equal(model._bias(num_steps)[2], expected)
    stepwise(model, random(1, 1, 120, 6))
    assert model._biases.shape[-1] <= 80


def all_outputs(model: SequenceModel, inputs: Tensor, actions: Tensor) -> list[Tensor]:
    tokens = model.encode(inputs).flatten(1, 2)
    return [model.policy(tokens), model.value(tokens), model.next_observation(tokens, actions)]


def test_stacked_seeds_equal_the_same_seeds_alone() -> None:
    seeds, inputs, actions = [3, 1, 4], random(3, 2, 5, 6), random(3, 10, 4, seed=1)
    stacked = make(seeds)
    together = all_outputs(stacked, inputs, actions)
    stacked.backward(torch.stack([output.square().sum() for output in together]).sum())
    for index, seed in enumerate(seeds):
        alone, part = make([seed]), slice(index, index + 1)
        assert torch.equal(alone.flat, stacked.flat[part])
        outputs = all_outputs(alone, inputs[part], actions[part])
        for ours, theirs in zip(outputs, together, strict=True):
            torch.testing.assert_close(ours, theirs[part], rtol=1e-4, atol=1e-5)
        alone.backward(torch.stack([output.square().sum() for output in outputs]).sum())
        torch.testing.assert_close(
            alone.flat_gradient, stacked.flat_gradient[part], rtol=1e-3, atol=1e-4
        )


@pytest.mark.parametrize("spoilt", [torch.nan, torch.inf, 1e30])
def test_one_seed_spoils_no_other(spoilt: float) -> None:
    model, inputs, actions = make([3, 1, 4]), random(3, 2, 5, 6), random(3, 10, 4, seed=1)

    def gradient(scale: float) -> Tensor:
        scales = torch.tensor([1.0, scale, 1.0])
        outputs = all_outputs(model, inputs, actions)
        losses = torch.stack([output.square().flatten(1).sum(1) for output in outputs]).sum(0)
        return model.backward((losses * scales).sum()).clone()

    clean, dirty = gradient(1.0), gradient(spoilt)
    assert not torch.allclose(dirty[1], clean[1])
    assert torch.equal(dirty[[0, 2]], clean[[0, 2]])
    assert clean.abs().amax(1).min() > 0


def test_selected_members_are_copies_in_their_order() -> None:
    model, inputs, actions = make([3, 1, 4]), random(3, 2, 5, 6), random(3, 10, 4, seed=1)
    chosen = model.select([2, 0])
    assert chosen.num_seeds == 2
    picked = zip(
        all_outputs(chosen, inputs[[2, 0]], actions[[2, 0]]),
        all_outputs(model, inputs, actions),
        strict=True,
    )
    for ours, theirs in picked:
        torch.testing.assert_close(ours, theirs[[2, 0]], rtol=1e-4, atol=1e-5)
    with torch.no_grad():
        chosen.flat.zero_()
    assert (model.flat != 0).any(1).all()


def test_the_world_model_head_is_the_map_of_token_and_embedded_action() -> None:
    model, tokens, actions = make([7]), random(1, 3, 16), random(1, 3, 4, seed=1)
    own = {name: parameter.detach()[0] for name, parameter in model.parameters.items()}
    pair = torch.cat([tokens[0], actions[0] @ own["action.weight"]], 1)
    weight = torch.cat([own["world.1.weight"], own["world.action.weight"]])
    hidden = (pair @ weight + own["world.1.bias"]).relu()
    expected = hidden @ own["world.2.weight"] + own["world.2.bias"]
    torch.testing.assert_close(
        model.next_observation(tokens, actions)[0], expected, rtol=1e-4, atol=1e-6
    )


def test_continuous_actions_have_a_deviation_that_starts_at_one() -> None:
    model = make([7], sizes=Sizes(6, 4, 4, 5, is_continuous=True))
    assert model.parameters["log_std"].shape == (1, 1, 4)
    assert (model.parameters["log_std"] == 0).all()
    assert model.num_parameters == make([7]).num_parameters + 4


def test_initial_weights_have_the_stated_spread() -> None:
    model = make([0], NetworkConfig())
    weight = model.parameters["block0.up.weight"].detach()
    assert weight.abs().max() <= 1 / 8
    assert weight.var() == pytest.approx(1 / (3 * 64), rel=0.05)
    assert (model.parameters["block0.up.bias"] == 0).all()
    assert (model.parameters["block1.norm2.weight"] == 1).all()


def test_short_softmax_equals_pytorchs_with_its_gradient() -> None:
    scores = (4 * random(3, 2, 5, 7)).double().requires_grad_()
    softmax: Any = ShortSoftmax.apply
    torch.testing.assert_close(softmax(scores), scores.softmax(-1))
    assert torch.autograd.gradcheck(softmax, (scores,))
    upstream = random(3, 2, 5, 7, seed=1).double()
    ours, theirs = (
        torch.autograd.grad(f(scores), scores, upstream)[0]
        for f in (softmax, lambda s: s.softmax(-1))
    )
    torch.testing.assert_close(ours, theirs)


def test_short_softmax_bears_large_and_forbidden_scores() -> None:
    scores = torch.tensor(
        [[1e4, 1e4 - 1, -torch.inf], [-1e4, -torch.inf, -torch.inf]], requires_grad=True
    )
    weights: Any = ShortSoftmax.apply(scores)
    torch.testing.assert_close(
        weights, torch.tensor([[0.7310586, 0.2689414, 0.0], [1.0, 0.0, 0.0]])
    )
    weights[:, 0].sum().backward()
    assert scores.grad is not None
    assert scores.grad.isfinite().all()


def test_attention_equals_pytorchs() -> None:
    query, key, value = (random(2, 4, 5, 3, seed=seed).double() for seed in range(3))
    bias = additive_mask(torch.ones(5, 5).tril().bool()).double() + random(5, 5, seed=3).double()
    expected = nn.functional.scaled_dot_product_attention(query, key, value, bias)
    torch.testing.assert_close(attention(query, key, value, bias), expected)


def test_slopes_halve_and_the_last_head_never_fades() -> None:
    slopes = head_slopes(5).tolist()
    assert slopes[0] == 2.0
    assert all(after == before / 2 for before, after in pairwise(slopes[:-1]))
    assert slopes[-1] == 0.0
    assert head_slopes(1).tolist() == [0.0]


NUMBERS = [name for name, value in vars(SMALL).items() if type(value) is int]


@pytest.mark.parametrize("name", NUMBERS)
def test_sizes_below_one_are_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=f"NetworkConfig.{name} is at least 1, got 0"):
        NetworkConfig(**{name: 0})


def test_a_width_that_heads_cannot_share_is_refused() -> None:
    with pytest.raises(
        ConfigError, match=r"width is a multiple of 2 \* num_heads, got 68 and 4 heads"
    ):
        NetworkConfig(width=68)


@pytest.mark.parametrize("has_previous", [False, True])
@pytest.mark.parametrize("memory", ["attention", *RECURRENT])
def test_memories_step_by_step_are_those_of_whole_episodes(memory: Any, has_previous: bool) -> None:
    config = replace(SMALL, memory=memory, has_previous_observation=has_previous)
    model, inputs = make([1, 2], config), random(2, 3, 7, 6)
    torch.testing.assert_close(stepwise(model, inputs), model.encode(inputs), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("memory", [*RECURRENT, "none"])
def test_all_but_no_memory_look_back(memory: Any) -> None:
    model, inputs = make([1, 2], replace(SMALL, memory=memory)), random(2, 3, 7, 6)
    torch.testing.assert_close(stepwise(model, inputs), model.encode(inputs))
    is_changed = (model.encode(inputs) - model.encode(inputs.flip(2)))[:, :, 3].abs().amax() > 1e-3
    # The step in the middle is the same one; what came before it is not.
    assert bool(is_changed) == (memory != "none")


@pytest.mark.parametrize("memory", ["attention", *RECURRENT])
def test_no_memory_of_a_row_that_starts_later_holds_what_was_before(memory: Any) -> None:
    config = replace(SMALL, memory=memory, has_previous_observation=True)
    model, inputs = make([1], config), random(1, 3, 8, 6)
    cache = model.cache_first(model.encode_first(inputs[:, :, 0])[1])
    tokens = []
    for step in range(1, 8):
        if step >= 4:
            cache.starts = torch.tensor([0, 4, 0])
        tokens.append(model.encode_next(inputs[:, :, step], cache))
    alone = model.encode(inputs[:, 1:2, 4:])[0, 0]
    together = torch.stack([token[0, 1] for token in tokens[3:]])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)


def test_a_gated_unit_is_pytorchs_own() -> None:
    model = make([1], replace(SMALL, memory="gru"))
    peer = nn.GRU(16, 16, batch_first=True)
    with torch.no_grad():
        for part, name in (("input", "ih"), ("hidden", "hh")):
            weight = model.parameters[f"block0.{part}.weight"][0]
            getattr(peer, f"weight_{name}_l0").copy_(weight.T)
            bias = model.parameters[f"block0.{part}.bias"][0, 0].uniform_(-1, 1)
            getattr(peer, f"bias_{name}_l0").copy_(bias)
        model.parameters["block0.out.weight"].copy_(torch.eye(16)[None])
    tokens = random(1, 3 * 5, 16)
    expected = peer(tokens.view(3, 5, 16))[0].reshape(1, 15, 16)
    torch.testing.assert_close(model._look_back(0, tokens, 5), expected)


def test_a_state_space_fades_at_the_rate_of_each_state() -> None:
    model = make([1], replace(SMALL, memory="state_space"))
    kept = torch.sigmoid(model.parameters["block0.decay"])[0, 0]
    torch.testing.assert_close(kept[[0, -1]], torch.exp(torch.tensor([-1.0, -0.01])))
    memory, name = RECURRENT["state_space"], "block0"
    state = torch.zeros(1, 1, 16)
    for value in (1.0, 0.0, 0.0):
        step = torch.full((1, 1, 16), value)
        state = memory.advance(name, step, state, model.linear, model.parameters)
    torch.testing.assert_close(state[0, 0], kept**2 * (1 - kept**2).sqrt())


def test_without_positions_the_order_of_the_past_does_not_matter() -> None:
    inputs = random(1, 2, 6, 6)
    shuffled = inputs[:, :, [3, 1, 0, 4, 2, 5]]
    for has_positions in (True, False):
        config = replace(SMALL, num_layers=1, has_positions=has_positions)
        model = make([1], config)
        same = torch.allclose(
            model.encode(inputs)[:, :, -1], model.encode(shuffled)[:, :, -1], atol=1e-5
        )
        assert same == (not has_positions)


def test_a_token_that_holds_the_step_before_needs_no_second_layer_to_see_it() -> None:
    config = replace(SMALL, memory="none", has_previous_observation=True)
    model, inputs = make([1], config), random(1, 1, 5, 6)
    changed = inputs.clone()
    changed[:, :, 1] += 1.0
    is_changed = (model.encode(inputs) - model.encode(changed)).abs().amax((0, 1, 3)) > 1e-6
    assert is_changed.tolist() == [False, True, True, False, False]


def test_an_unknown_memory_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"NetworkConfig\.memory is one of .*, got 'lstm'"):
        NetworkConfig(memory="lstm")  # type: ignore[arg-type]
