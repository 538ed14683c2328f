"""What models cost, counted by hand where it can be."""

import json
import time
from pathlib import Path

import numpy as np
import pytest
import torch

import wm_agents as wma
from tests.support.analytic import WalkModel, walk
from wm_agents.errors import ConfigError, NotFittedError
from wm_agents.evaluation.cost import median_seconds, model_cost, num_bytes
from wm_agents.evaluation.scorecard import scorecard
from wm_envs import record


def test_parameters_memory_and_times_of_a_network() -> None:
    data = record("CartPole-v1", episodes=4, seed=0, progress=False)
    config = wma.DeterministicConfig(
        dynamics_widths=(10,), reward_widths=(5,), termination_widths=(5,)
    )
    model = wma.DeterministicModel.for_env("CartPole-v1", config)
    with pytest.raises(NotFittedError):
        model_cost(model, data)
    model.fit(data, wma.FitConfig(num_updates=5))
    cost = model_cost(model, data, fit_seconds=2.5, batches=(1, 64))
    # Inputs 4 + 2 actions -> 10 -> 4; heads 4 + 2 + 4 -> 5 -> 1.
    assert cost.num_parameters == (6 * 10 + 10 + 10 * 4 + 4) + 2 * (10 * 5 + 5 + 5 + 1)
    state = sum(tensor.numel() * tensor.element_size() for tensor in model.state_dict().values())
    assert state <= 1e6 * cost.megabytes <= 4 * state + 4000
    assert cost.fit_seconds == 2.5
    assert cost.row_microseconds[1] < cost.row_microseconds[0]
    assert cost.summary()["step_us_b1"] == cost.step_microseconds[0]


def test_bytes_are_counted_once() -> None:
    shared = np.zeros(100)
    model = WalkModel()
    before = num_bytes(model)
    model.first, model.second = shared, [shared, {"again": shared}]  # type: ignore[attr-defined]
    model.third = torch.zeros(3, dtype=torch.int16)  # type: ignore[attr-defined]
    model.itself = model  # type: ignore[attr-defined]
    assert num_bytes(model) - before == 806


def test_rules_and_tables_have_no_parameters() -> None:
    data = record("wm/LightsOut-v0", episodes=80, seed=0, progress=False)
    token = wma.TokenModel.for_env("wm/LightsOut-v0")
    token.fit(data)
    for model in (token, token.to_program(), WalkModel()):
        rows = walk([9]) if isinstance(model, WalkModel) else data
        cost = model_cost(model, rows, batches=(1,))
        assert cost.num_parameters == 0
        assert cost.step_microseconds[0] > 0
        assert "fit_seconds" not in cost.summary()


def test_the_time_is_the_median_of_calls() -> None:
    assert 0.02 <= median_seconds(lambda: time.sleep(0.02)) < 0.2


def test_batches_are_positive() -> None:
    for batches in ((), (0,), (1.5,)):
        with pytest.raises(ConfigError):
            model_cost(WalkModel(), walk([9]), batches=batches)  # type: ignore[arg-type]


def test_the_scorecard_has_a_section_on_costs(tmp_path: Path) -> None:
    card = scorecard(WalkModel(), walk([9] * 4), tmp_path, horizons=(1,), fit_seconds=12.0)
    page = card.page_path.read_text(encoding="utf-8")
    assert "What it costs" in page
    assert "a step of 1,024 rows" in page
    assert "12.0 s" in page
    stored = json.loads(card.json_path.read_text(encoding="utf-8"))
    assert stored["cost"]["fit_seconds"] == card.summary["fit_seconds"] == 12.0
