"""The scorecard of a world model.

One JSON file and one page that says how far it can be trusted.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from html import escape
from pathlib import Path
from typing import Any

from wm_agents.errors import ConfigError
from wm_agents.evaluation.certified import (
    CertifiedHorizon,
    certified_horizon,
    required_episodes,
)
from wm_agents.evaluation.charts import counted
from wm_agents.evaluation.cost import ModelCost, model_cost
from wm_agents.evaluation.episodes import PlanningGap
from wm_agents.evaluation.failures import Failures, find_failures
from wm_agents.evaluation.open_loop import open_loop_error
from wm_agents.evaluation.open_loop_report import OpenLoopReport, to_plain
from wm_agents.evaluation.scorecard_page import render_page
from wm_agents.evaluation.scorecard_sections import (
    branch_section,
    cost_section,
    failure_section,
    novelty_section,
    program_section,
    what_if_section,
)
from wm_agents.evaluation.verdict import verdict
from wm_agents.evaluation.what_if import WhatIf
from wm_agents.protocols import WorldModel
from wm_agents.training.fitted import check_fitted
from wm_agents.world_models.program import ProgramModel
from wm_envs.data.display import data_frame, html_card
from wm_envs.data.files import replacing
from wm_envs.data.paths import user_path
from wm_envs.data.trajectories import Trajectories


@dataclass(frozen=True)
class Scorecard:
    """What `scorecard` found and where it wrote it.

    Attributes:
        title: Heading of the page.
        verdict: The heading of the page: how far the model can be trusted, but for which parts,
            what ends that, and which simple rule does as well. The same judgement as `report.trusted_steps` and
            `summary["trusted_steps"]`.
        report: The open-loop errors.
        gap: The planning gap, when one was given.
        certified: The horizon that is guaranteed at a risk, None with too few episodes for it.
        cost: Parameters, seconds of the fit where they were told, time of a step, and memory.
        counterfactual: What another action changes, when it was given.
        failures: Where and why it fails; None with fewer than 4 episodes.
        branches: Which branches of the true rules the episodes exercised, when it was given.
        novelty: How well scores tell where the model errs, when it was given.
        json_path: scorecard.json.
        page_path: scorecard.html.
    """

    title: str
    verdict: str
    report: OpenLoopReport
    gap: PlanningGap | None
    certified: CertifiedHorizon | None
    cost: ModelCost
    counterfactual: WhatIf | None
    failures: Failures | None
    branches: Any
    novelty: Mapping[str, float | None] | None
    json_path: Path
    page_path: Path

    def __repr__(self) -> str:
        return f"Scorecard({self.title}: {self.verdict} {self.page_path})"

    def _repr_html_(self) -> str:
        """The page itself, in a frame of its own; without the file what it says in one line."""
        try:
            page = self.page_path.read_text(encoding="utf-8")
        except OSError:
            return html_card(f"Scorecard: {self.title}", {"verdict": self.verdict})
        frame = "width:100%; height:640px; border:0"
        return f'<iframe srcdoc="{escape(page)}" style="{frame}"></iframe>'

    def to_pandas(self) -> Any:
        """The figures of `summary` as a `pandas.DataFrame` with the columns figure and value.

        Raises:
            MissingExtraError: pandas is not installed.
        """
        figures = self.summary
        return data_frame({"figure": list(figures), "value": list(figures.values())})

    @property
    def summary(self) -> dict[str, float]:
        """Flat names to numbers.

        Trusted_steps, certified_steps, error_h16, persistence_h16, planning_gap, mean_return, ...
        """
        numbers = self.report.summary() | self.cost.summary()
        if self.counterfactual is not None:
            numbers |= self.counterfactual.summary()
        if self.branches is not None:
            numbers["branches_exercised"] = float(self.branches.num_exercised)
            numbers["branches"] = float(self.branches.num_outcomes)
        for name, value in (self.novelty or {}).items():
            if value is not None:
                numbers[f"novelty_auroc_{name}"] = value
        if self.certified is not None:
            numbers["certified_steps"] = float(self.certified.certified)
            numbers["measured_steps"] = float(self.certified.measured)
        return numbers if self.gap is None else {**numbers, **self.gap.summary()}


def scorecard(
    model: WorldModel,
    trajectories: Trajectories,
    output_dir: str | Path,
    *,
    title: str = "",
    gap: PlanningGap | None = None,
    alpha: float = 0.1,
    fit_seconds: float | None = None,
    counterfactual: WhatIf | None = None,
    branches: Any = None,
    novelty: Mapping[str, float | None] | None = None,
    **options: Any,
) -> Scorecard:
    """Judge a world model on held-out episodes, and write scorecard.json and scorecard.html.

    The page is one file that loads nothing: it can be mailed, archived and opened anywhere.

    Args:
        model: The world model.
        trajectories: Held-out episodes.
        output_dir: Where to write; it is made if need be.
        title: Heading, for example the environment's id and the model's name.
        gap: From `planning_gap`, when planning was measured too.
        alpha: The risk at which a horizon is certified, see `certified_horizon`. With too few
            episodes for it the page says how many it takes.
        fit_seconds: Wall time of the fit, for the page's section on costs.
        counterfactual: From `what_if`, when the true dynamics were at hand.
        branches: From `wm_envs.branches.branch_coverage`, for a native id.
        novelty: From `ood_auroc`, when there were episodes of several kinds.
        options: The options of `open_loop_error`, such as `train`, `horizons`, `ignored` and `seed`.

    Raises:
        TrajectoryError: As `open_loop_error`.
        NotFittedError: The model was never fitted.
        ConfigError: The folder cannot be written.
    """
    check_fitted(model)
    # Before hours of measuring: arguments and folder.
    needed = required_episodes(alpha)
    folder = _writable(output_dir)
    report = open_loop_error(model, trajectories, **options)
    certified, note = None, ""
    # Too few episodes are no error: the page says what is missing.
    if trajectories.num_episodes < needed:
        note = (
            f"No horizon can be guaranteed at a risk of {alpha:g} from "
            f"{counted(trajectories.num_episodes, 'held-out episode')}: it takes at least {needed}."
        )
    else:
        certified = _certified(model, trajectories, alpha, report, options)
    card = Scorecard(
        title or type(model).__name__,
        verdict(report),
        report,
        gap,
        certified,
        model_cost(model, trajectories, fit_seconds=fit_seconds),
        counterfactual,
        _failures(model, trajectories, report, options),
        branches,
        novelty,
        folder / "scorecard.json",
        folder / "scorecard.html",
    )
    # The summary stands first in the file, since it is what one looks for.
    content = {"title": card.title, "verdict": card.verdict, "summary": to_plain(card.summary)}
    further = _further_sections(model, trajectories, card, content)
    content |= {
        "open_loop": report.to_json(),
        "what_if": None if counterfactual is None else to_plain(asdict(counterfactual)),
        "failures": None if card.failures is None else card.failures.to_json(),
        "branches": None if branches is None else branches.to_json(),
        "novelty": None if novelty is None else dict(novelty),
        "cost": card.cost.to_json(),
        "planning_gap": None if gap is None else to_plain(asdict(gap)),
        "certified_horizon": None if certified is None else certified.to_json(),
    }
    # Both texts are made before either is written: no file without the other.
    numbers, page = (
        json.dumps(content, indent=1, allow_nan=False),
        render_page(card.title, report, gap, certified, note, further),
    )
    _write(card.json_path, numbers)
    _write(card.page_path, page)
    return card


def _further_sections(
    model: WorldModel, trajectories: Trajectories, card: Scorecard, content: dict[str, Any]
) -> list[str]:
    """What the page shows beside the open-loop errors; a program's figures go into the JSON."""
    further = []
    if card.failures is not None:
        further.append(failure_section(card.failures))
    if card.branches is not None:
        further.append(branch_section(card.branches))
    if card.counterfactual is not None:
        further.append(what_if_section(card.counterfactual))
    if card.novelty is not None:
        further.append(novelty_section(card.novelty))
    further.append(cost_section(card.cost))
    # A program shows itself, and which recorded step it gets wrong first.
    if isinstance(model, ProgramModel):
        replay = model.replay(trajectories)
        further.append(program_section(model.text, replay))
        content["program"] = {
            "lines": model.num_lines,
            "num_transitions": replay.num_transitions,
            "num_exact": replay.num_exact,
            "mismatches": [str(mismatch) for mismatch in replay.mismatches],
        }
    return further


_OPTIONS = (
    "feature_names",
    "groups",
    "env",
    "train",
    "tolerance",
    "allow_training_episodes",
    "seed",
)
"""What `open_loop_error` and `certified_horizon` are both told."""


def _certified(
    model: WorldModel,
    trajectories: Trajectories,
    alpha: float,
    report: OpenLoopReport,
    options: dict[str, Any],
) -> CertifiedHorizon | None:
    """The horizon that is guaranteed, as far as the report looks; None where nothing varies."""
    # Nothing but the end of episodes is predicted, of which no distance can be certified.
    if not any(part.columns or part.name == "reward" for part in report.parts):
        return None
    shared = {name: options[name] for name in _OPTIONS if name in options}
    # Of the ends of episodes nothing is certified in any case.
    ignored = [name for name in report.ignored if name != "termination"]
    return certified_horizon(
        model, trajectories, alpha=alpha, horizon=report.max_horizon, ignored=ignored, **shared
    )


_MIN_EPISODES = 4
_MAX_STEPS = 16


def _failures(
    model: WorldModel, trajectories: Trajectories, report: OpenLoopReport, options: dict[str, Any]
) -> Failures | None:
    """Where and why the model fails; None where there is too little to tell."""
    has_features = any(part.columns for part in report.parts)
    if trajectories.num_episodes < _MIN_EPISODES or not has_features:
        return None
    shared = {name: options[name] for name in _OPTIONS if name in options}
    # Regions are found by errors, whatever the tolerance is.
    shared.pop("tolerance", None)
    horizon = min(_MAX_STEPS, report.max_horizon)
    return find_failures(model, trajectories, horizon=horizon, **shared)


def _writable(output_dir: str | Path) -> Path:
    """The folder, found to be writable before an hour of measuring is lost."""
    folder = user_path(output_dir)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / ".scorecard.partial"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise ConfigError(
            f"cannot write into output_dir={str(output_dir)!r}: {error}; give a writable folder"
        ) from error
    return folder


def _write(path: Path, text: str) -> None:
    try:
        with replacing(path) as file:
            file.write(text)
    except OSError as error:
        raise ConfigError(
            f"cannot write {path}: {error}; free some space or give another folder"
        ) from error
