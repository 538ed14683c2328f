import importlib.util
import json
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def load_example():
    spec = importlib.util.spec_from_file_location(
        "fit_world_model", ROOT / "examples" / "fit_world_model.py"
    )
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("env_id", "model", "steps"),
    [
        ("CartPole-v1", "deterministic", 400),
        ("wm/PermPuzzle-v0", "token", 300),
        ("wm/PermPuzzle-v0", "tabular", 300),
    ],
)
def test_it_beats_persistence_and_writes_what_it_says(env_id, model, steps, tmp_path):
    example = load_example()
    config = example.Config(
        env_id=env_id,
        steps=steps,
        model=model,
        num_updates=100,
        output_dir=tmp_path / "out",
        quiet=True,
    )
    summary = example.main(config)
    assert json.loads((tmp_path / "out" / "summary.json").read_text()) == summary
    assert (tmp_path / "out" / "open_loop.png").stat().st_size > 10_000
    if model != "tabular":  # a table has not seen most of 720 arrangements
        assert summary["error_h8"] < 0.5 * summary["persistence_h8"]
        assert (tmp_path / "out" / "model.safetensors").exists()
    if model == "token":
        assert summary["exact_h16"] == 1


def test_a_model_that_cannot_serve_is_refused_in_one_sentence(tmp_path):
    example = load_example()
    config = example.Config(
        env_id="Pendulum-v1", steps=400, model="token", output_dir=tmp_path, quiet=True
    )
    with pytest.raises(
        SystemExit, match=r"token on Pendulum-v1: observations, column 0: .* on no lattice"
    ):
        example.main(config)
