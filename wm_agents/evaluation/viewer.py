"""A world model to play with in a browser: one HTML file in which the model itself runs.

The page holds recorded episodes, the model's weights or program, and the same arithmetic in plain
JavaScript. It loads nothing and talks to nobody.
"""

import base64
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray
from torch import Tensor

from wm_agents.errors import ConfigError, TrajectoryError
from wm_agents.evaluation.certified import (
    CertifiedHorizon,
    certified_horizon,
    required_episodes,
)
from wm_agents.evaluation.charts import counted, percent
from wm_agents.evaluation.open_loop import names_of_features
from wm_agents.evaluation.viewer_frames import pictures
from wm_agents.networks import EnsemblePerceptron
from wm_agents.training.config_checks import require_integers
from wm_agents.training.fitted import check_fitted
from wm_agents.world_models import DeterministicModel, EnsembleModel, TokenModel
from wm_agents.world_models.encoding import check_fit_spaces
from wm_agents.world_models.normalization import Standardizer
from wm_agents.world_models.program import ProgramModel
from wm_agents.world_models.program_text import Assignment, Branch
from wm_envs.data.files import replacing
from wm_envs.data.paths import user_path, writable_file
from wm_envs.data.trajectories import Trajectories

MAX_BYTES = 2_000_000
_PARTS = Path(__file__).with_name("viewer_page")
_STEPS_PER_SECOND = 8
_MAX_CHOICES = 1000
_TOLERANCE = 0.3  # standard deviations, of the horizon that the page speaks of


def viewer(
    model: Any,
    trajectories: Trajectories,
    path: str | os.PathLike[str],
    *,
    title: str = "",
    feature_names: Sequence[str] | None = None,
    env: Any = None,
    shown: Sequence[str] | None = None,
    horizon: int = 50,
    max_episodes: int = 8,
    max_steps: int = 200,
    alpha: float = 0.1,
    frames: Sequence[Sequence[Any]] = (),
) -> Path:
    """Write a page in which a model can be played, changed and compared with what was recorded.

    Play, scrub, choose a window, change an action and see what the model makes of it. Bands hold
    the recorded future with probability 1 - alpha (see `certified_horizon`); with too few episodes
    for them the page says how many it takes.

    Args:
        model: A `DeterministicModel`, an `EnsembleModel` (its mean), a `ProgramModel`, or a
            `TokenModel` for which exact rules were found.
        trajectories: Held-out episodes, from which the bands come; the first ones are shown.
        path: The file; ".html" is added where there is no suffix.
        title: Heading; by default the model's class.
        feature_names: Names of the O features; None takes them from `env`, else "feature i".
        env: As in `open_loop_error`.
        shown: Names of the features to draw; None takes the first 12 that vary.
        horizon: Steps of a window.
        max_episodes: Episodes in the page.
        max_steps: Steps of each.
        alpha: The risk of the bands.
        frames: What the environment rendered: of the first episodes a uint8 picture [h, w, 3]
            before the first step and after each. They are made small, and left out from the
            episode on with which they would take more than half of the page.

    Returns:
        The file's path.

    Raises:
        ConfigError: A model that no page can run, or one too large for a file under 2 MB.
        TrajectoryError: Names that do not exist, nothing that varies.
        SpaceError: Frames that are no pictures.
        OptionError: A file that cannot be written.
        NotFittedError: The model was never fitted.
    """
    check_fitted(model)
    require_integers(1, horizon=horizon, max_episodes=max_episodes, max_steps=max_steps)
    needed = required_episodes(alpha)
    target = user_path(path)
    target = writable_file(target if target.suffix else target.with_name(target.name + ".html"))
    described = describe_model(model)
    check_fit_spaces(trajectories, model.raw_observation_space, model.raw_action_space)
    names = names_of_features(feature_names, env, trajectories.observations.shape[1])
    # At most as far as an episode goes.
    steps = min(horizon, int(trajectories.lengths.max()))
    bands, note = (
        None,
        (
            f"No error bands: they take at least {counted(needed, 'held-out episode')}, and there are "
            f"{trajectories.num_episodes}."
        ),
    )
    # Bands need calibration; without it the page still plays.
    if trajectories.num_episodes >= needed:
        bands = certified_horizon(
            model,
            trajectories,
            tolerance=_TOLERANCE,
            alpha=alpha,
            horizon=steps,
            feature_names=names,
            env=env,
        )
        note = _note(bands)
    content = {
        "names": names,
        "shown": _shown(names, shown, trajectories),
        "horizon": steps,
        "steps_per_second": _STEPS_PER_SECOND,
        "episodes": [
            _episode(trajectories, number, max_steps)
            for number in range(min(max_episodes, trajectories.num_episodes))
        ],
        "frames": pictures(
            frames[:max_episodes], np.minimum(trajectories.lengths, max_steps).tolist()
        ),
        "half_widths": None if bands is None else _rounded(bands.half_widths),
        "action": _action(model.action_space, trajectories.actions),
    }
    page = _page(title or type(model).__name__, note, content, described)
    size = len(page.encode())
    if size > MAX_BYTES:
        raise ConfigError(
            f"the page would have {size / 1e6:.1f} MB, more than {MAX_BYTES / 1e6:g}: the model "
            f"takes {len(json.dumps(described)) / 1e6:.1f} of them; fit narrower networks or fewer "
            "members, or show fewer episodes and steps"
            # Written at once, or a browser would show half of a page.
        )
    with replacing(target) as file:
        file.write(page)
    return target


def describe_model(model: Any) -> dict[str, Any]:
    """What the page's `makeModel` needs to know, as JSON.

    Raises:
        ConfigError: A model that no page can run.
    """
    # Exact rules run as the program that they are.
    if isinstance(model, TokenModel) and model.is_exact:
        model = model.to_program()
    if isinstance(model, ProgramModel):
        return _program(model)
    # Derived features are functions of Python, which no page can run.
    if isinstance(model, DeterministicModel | EnsembleModel) and not model.layout.derived:
        return _network(model)
    what = type(model).__name__
    if isinstance(model, TokenModel):
        what = "TokenModel whose rules do not cover everything"
    elif isinstance(model, DeterministicModel | EnsembleModel):
        what = f"{what} with derived features"
    raise ConfigError(
        f"no page can run a {what}: give a DeterministicModel, an EnsembleModel, an exact "
        "TokenModel or a ProgramModel"
    )


@dataclass
class _Weights:
    """Numbers of all networks in one string, and the place of each."""

    parts: list[NDArray[np.float32]]
    size: int = 0

    def add(self, values: Tensor) -> int:
        """The place of the first number."""
        first = self.size
        # Little-endian, whatever the machine: the page reads it so.
        self.parts.append(values.detach().cpu().numpy().astype("<f4").ravel())
        self.size += values.numel()
        return first

    def layers(self, network: Any, member: int) -> list[dict[str, int]]:
        """Sizes and places of a perceptron's layers; weights are [inputs, outputs]."""
        if isinstance(network, EnsemblePerceptron):
            pairs = [
                (weight[member], bias[member, 0])
                for weight, bias in zip(network.weights, network.biases, strict=True)
            ]
        else:
            # Torch stores [outputs, inputs].
            pairs = [(layer.weight.T.contiguous(), layer.bias) for layer in network.layers]
        return [
            {
                "inputs": weight.shape[0],
                "outputs": weight.shape[1],
                "weight": self.add(weight),
                "bias": self.add(bias),
            }
            for weight, bias in pairs
        ]

    def text(self) -> str:
        """As base64."""
        return base64.b64encode(np.concatenate(self.parts).tobytes()).decode()


def _network(model: Any) -> dict[str, Any]:
    weights = _Weights([])
    num_members = model.num_members
    encoder = getattr(model, "encoder", None)
    members = [
        {
            "encoder": None if encoder is None else weights.layers(encoder, member),
            "dynamics": weights.layers(model.dynamics, member),
            "reward": weights.layers(model.reward_head, member),
            "termination": weights.layers(model.termination_head, member),
        }
        for member in range(num_members)
    ]
    layout, acts = model.layout, model.encode_actions
    names = ("differences", "absolutes", "circles", "angles", "copies", "actions", "for_heads")
    return {
        "type": "network",
        "activation": model.config.activation,
        "members": members,
        "weights": weights.text(),
        "layout": {name: getattr(layout, name) for name in (*names, "plain_inputs")},
        "input_scale": _scale(model.input_scale),
        "target_scale": _scale(model.target_scale),
        "reward_scale": _scale(model.reward_scale),
        "outcome_scale": _scale(model.outcome_scale) if layout.for_heads else None,
        "low": _bounds(model.low),
        "high": _bounds(model.high),
        "log_positive_weight": float(model.positive_weight.double().log()),
        "has_terminations": bool(model.has_terminations),
        "action": {
            "first": acts.first,
            "size": acts.size,
            "centre": acts.centre.tolist(),
            "radius": acts.radius.tolist(),
        },
    }


def _scale(scale: Standardizer) -> dict[str, list[float]]:
    return {name: getattr(scale, name).tolist() for name in ("mean", "std", "span")}


def _bounds(values: Tensor) -> list[float | None]:
    return [value if np.isfinite(value) else None for value in values.tolist()]


def _program(model: ProgramModel) -> dict[str, Any]:
    program = model.program
    features = [
        {
            "name": name,
            "columns": feature.columns,
            "num_values": feature.num_values,
            "origin": feature.origin,
            "quantum": feature.quantum,
            "low": low,
        }
        for name, feature, low in zip(program.names, program.features, program.lows, strict=True)
    ]
    return {
        "type": "program",
        "features": features,
        "tables": program.tables,
        "statements": [_statement(statement) for statement in program.statements],
    }


def _statement(statement: Assignment | Branch) -> dict[str, Any]:
    if isinstance(statement, Assignment):
        return {"line": statement.line, "target": statement.target, "value": statement.value}
    return {
        "line": statement.line,
        "condition": statement.condition,
        "body": [_statement(part) for part in statement.body],
        "otherwise": [_statement(part) for part in statement.otherwise],
        "is_loop": statement.is_loop,
    }


def _note(bands: CertifiedHorizon) -> str:
    promise = (
        f"{percent(1 - bands.alpha)} of windows stay within {_TOLERANCE:g} standard deviations"
    )
    return (
        f"The band around each feature holds {percent(1 - bands.alpha)} of what was recorded. "
        f"{promise} in everything for {counted(bands.certified, 'step')} (certified "
        f"{bands.certified} / measured {bands.measured} of {bands.horizon})."
    )


def _shown(
    names: Sequence[str], shown: Sequence[str] | None, trajectories: Trajectories
) -> list[int]:
    """The columns that are drawn."""
    if shown is not None:
        unknown = [name for name in shown if name not in names]
        if unknown or not shown:
            raise TrajectoryError(f"{unknown} are no features: name some of {list(names)[:40]}")
        return [list(names).index(name) for name in shown]
    varying = np.flatnonzero(np.ptp(trajectories.observations, axis=0) > 0)
    if not len(varying):
        raise TrajectoryError("nothing varies in these episodes, so that there is nothing to draw")
    # Twelve rows are what a page can show at once.
    columns: list[int] = varying[:12].tolist()
    return columns


def _episode(trajectories: Trajectories, number: int, max_steps: int) -> dict[str, Any]:
    episode = trajectories.episode(number)
    return {
        "observations": _rounded(episode.observations[: max_steps + 1]),
        "actions": _rounded(episode.actions[:max_steps]),
        "rewards": _rounded(episode.rewards[:max_steps]),
    }


def _rounded(values: Any) -> Any:
    """Seven significant digits, as float32 has; None for what is infinite."""
    if isinstance(values, np.ndarray) and values.ndim > 0:
        return [_rounded(part) for part in values]
    if isinstance(values, int | np.integer):
        return int(values)
    return float(f"{float(values):.7g}") if np.isfinite(values) else None


def _action(space: Any, recorded: NDArray[Any]) -> dict[str, Any]:
    """What an action can be changed to, where these were recorded."""
    if isinstance(space, spaces.Discrete):
        if space.n > _MAX_CHOICES:
            raise ConfigError(f"{space.n} actions are too many to choose from in a page")
        return {"choices": [int(space.start) + index for index in range(int(space.n))]}
    lowest, highest = recorded.min(0).astype(np.float64), recorded.max(0).astype(np.float64)
    width = highest - lowest
    # Without bounds a slider has to end somewhere: in the unit of what was recorded.
    reach = 5 * np.where(width > 0, width, np.maximum(np.abs(highest), 1.0))
    low, high = np.maximum(space.low, lowest - reach), np.minimum(space.high, highest + reach)
    return {"choices": None, "low": _rounded(low), "high": _rounded(high)}


def _page(title: str, note: str, content: dict[str, Any], model: dict[str, Any]) -> str:
    def script(value: Any) -> str:
        # Nothing in the data can end the script.
        return json.dumps(value, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")

    style, engine, page = (
        (_PARTS / name).read_text(encoding="utf-8") for name in ("page.css", "model.js", "page.js")
    )
    return f"""<!doctype html><html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width,initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; \
script-src 'unsafe-inline'; img-src data:">
<title>{escape(title)}</title><style>{style}</style></head><body><main>
<h1>{escape(title)}</h1><p class="muted">{escape(note)}</p>
<p class="key"><span class="t"></span>recorded &nbsp; <span class="m"></span>model &nbsp;
<span class="b"></span>branch: the model after another action</p>
<div class="panel"><div class="row">
<label>Episode <select id="episode"></select></label>
<label class="wide">Window from step <input type="range" id="start" min="0" max="0" value="0"></label>
</div></div>
<div class="panel"><div class="row">
<button id="play" type="button">Play</button><button id="undo" type="button">Undo changes</button>
<label class="wide">Step <input type="range" id="scrub" min="0" max="0" value="0"></label></div>
<p id="where" aria-live="polite"></p><div class="row" id="editor"></div>
<p class="muted" id="note"></p><p class="error" id="problem" role="alert"></p></div>
<div id="frame" hidden></div>
<div class="plots" id="plots"></div></main>
<script>{engine}</script><script>{page}</script>
<script>const VIEWER=startViewer({script(content)},makeModel({script(model)}),document,window);</script>
</body></html>
"""
