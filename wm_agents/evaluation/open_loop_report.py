"""What `open_loop_error` found: as arrays, as flat names, as JSON and in words."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wm_agents.evaluation.calibration import Calibration
from wm_agents.evaluation.charts import counted, percent, short
from wm_agents.evaluation.episodes import PlanningGap
from wm_agents.evaluation.error_tables import ErrorCurve, ErrorTable
from wm_agents.evaluation.judged_parts import AS_GOOD, JudgedPart, rules_as_good, worst_part
from wm_envs.data.display import short_repr


@dataclass(frozen=True)
class RewardErrors:
    """Root mean squared error of the reward.

    Attributes:
        rmse: By method ("model", the baselines, and "mean", the mean reward of training) one number
            per horizon.
        std: Standard deviation of the rewards.
    """

    rmse: dict[str, NDArray[np.float64]]
    std: float

    __repr__ = short_repr


@dataclass(frozen=True)
class EndPrediction:
    """How well it is told whether an episode ends by itself within h steps, one number per horizon.

    Attributes:
        auroc: Chance that an ending start got the higher probability; None where all or none end.
        average_precision: Area under precision against recall; None where none end.
        brier: Mean squared error of the probability.
        base_brier: The same for a constant guess of the share that ends.
        share: Share of starts that end.
        mean_probability: Mean predicted probability.
    """

    auroc: tuple[float | None, ...]
    average_precision: tuple[float | None, ...]
    brier: tuple[float, ...]
    base_brier: tuple[float, ...]
    share: tuple[float, ...]
    mean_probability: tuple[float, ...]


@dataclass(frozen=True)
class OpenLoopReport:
    """The open-loop error of a model on held-out episodes.

    Attributes:
        horizons: Steps ahead that the tables report.
        feature_names: Names of the O features.
        scale: Standard deviation of each feature [O], the unit of all totals.
        is_integer: Which features hold whole numbers only [O].
        num_windows: Starts per horizon.
        num_episodes: Held-out episodes.
        was_checked_for_duplicates: Whether it was made sure that none of them was seen in training.
        share_non_finite: Share of predicted numbers that were not finite.
        tables: Errors by method: "model", "persistence", "constant_velocity", and "ridge" where
            there was `train`.
        curves: Total error at every step, by method.
        trusted_steps: How many steps the model can be trusted for; see
            `judged_parts.trusted_steps`.
        parts: What is judged by itself: groups of features, reward, termination; without those that
            never vary.
        tolerance: The error that is still trusted, in standard deviations.
        rewards: Reward prediction.
        ends: Termination prediction.
        calibration: Interval calibration, for stochastic models.
    """

    horizons: tuple[int, ...]
    feature_names: tuple[str, ...]
    scale: NDArray[np.float64]
    is_integer: NDArray[np.bool_]
    num_windows: tuple[int, ...]
    num_episodes: int
    was_checked_for_duplicates: bool
    share_non_finite: float
    tables: dict[str, ErrorTable]
    curves: dict[str, ErrorCurve]
    trusted_steps: int
    parts: tuple[JudgedPart, ...]
    tolerance: float
    rewards: RewardErrors
    ends: EndPrediction
    calibration: Calibration | None

    def __repr__(self) -> str:
        return (
            f"OpenLoopReport(trusted for {self.trusted_steps} of "
            f"{counted(self.max_horizon, 'step')}, worst part {self.worst_part.name!r}, "
            f"{counted(self.num_episodes, 'held-out episode')})"
        )

    @property
    def max_horizon(self) -> int:
        """The largest horizon examined."""
        return self.horizons[-1]

    @property
    def worst_part(self) -> JudgedPart:
        """The part that decides how many steps the model can be trusted for."""
        return worst_part(self.parts)

    @property
    def rules_as_good(self) -> tuple[str, ...]:
        """The simple rules that do as well as the model in every part."""
        return rules_as_good(self.parts)

    def error(self, horizon: int, method: str = "model") -> float:
        """Total root mean squared error after `horizon` steps.

        In standard deviations of the features.
        """
        return float(self.curves[method].rmse[horizon - 1])

    def summary(self) -> dict[str, float]:
        """Flat names to numbers.

        Trusted_steps, worst_error_h16, error_h16, persistence_h16, reward_error_h16, ...

        `worst_error` is that of the part that decides, `error` the total over features.
        `trusted_steps_features`, `_reward` and `_termination` are those of each kind of part.
        """
        numbers = {"trusted_steps": float(self.trusted_steps)}
        for part in self.parts:
            kind = "features" if part.columns else part.name.replace(" ", "_")
            name = f"trusted_steps_{kind}"
            # The worst of several features of one kind.
            numbers[name] = min(numbers.get(name, np.inf), float(part.trusted_steps))
        for rule in self.curves:
            if rule != "model":
                numbers[f"{rule}_does_as_well"] = float(rule in self.rules_as_good)
        worst = self.worst_part.curves["model"]
        for index, step in enumerate(self.horizons):
            curve = self.curves["model"]
            numbers[f"worst_error_h{step}"] = float(worst.rmse[step - 1])
            numbers[f"error_h{step}"] = self.error(step)
            numbers[f"error_h{step}_low"] = float(curve.low[step - 1])
            numbers[f"error_h{step}_high"] = float(curve.high[step - 1])
            numbers |= {
                f"{name}_h{step}": self.error(step, name) for name in self.curves if name != "model"
            }
            numbers |= {
                f"median_h{step}": float(self.tables["model"].median[index, -1]),
                f"p95_h{step}": float(self.tables["model"].p95[index, -1]),
                f"exact_h{step}": float(self.tables["model"].exact[index, -1]),
                f"reward_error_h{step}": float(self.rewards.rmse["model"][index]),
                f"termination_brier_h{step}": self.ends.brier[index],
                f"termination_auroc_h{step}": _number(self.ends.auroc[index]),
                f"termination_average_precision_h{step}": _number(
                    self.ends.average_precision[index]
                ),
            }
            if self.calibration is not None:
                for level, coverage in zip(
                    self.calibration.levels, self.calibration.coverage[index], strict=True
                ):
                    numbers[f"coverage_{round(100 * level)}_h{step}"] = float(coverage)
        # What does not apply is left out and not written as NaN.
        return {name: value for name, value in numbers.items() if np.isfinite(value)}

    def to_json(self) -> dict[str, Any]:
        """Everything as plain lists and numbers; what does not apply or is not finite is None."""
        plain = to_plain(asdict(self))
        for name, table in self.tables.items():
            plain["tables"][name]["rmse"] = to_plain(table.rmse)
        for part, judged in zip(plain["parts"], self.parts, strict=True):
            part["trusted_steps"] = judged.trusted_steps
            # The rules have no limits of their own here.
            part["curves"] = {
                name: curve if name == "model" else {"rmse": curve["rmse"]}
                for name, curve in part["curves"].items()
            }
        return {
            **plain,
            "total_is_column": len(self.feature_names),
            "worst_part": self.worst_part.name,
            "rules_as_good": list(self.rules_as_good),
        }


def to_plain(value: Any) -> Any:
    """Nested values as JSON has them, without NaN and infinities."""
    if isinstance(value, dict):
        return {name: to_plain(part) for name, part in value.items()}
    if isinstance(value, list | tuple | np.ndarray):
        return [
            to_plain(part) for part in (value.tolist() if isinstance(value, np.ndarray) else value)
        ]
    if isinstance(value, float | np.floating):
        return float(value) if np.isfinite(value) else None
    return value.item() if isinstance(value, np.generic) else value


def _number(value: float | None) -> float:
    return float("nan") if value is None else value


METHOD_NAMES = {
    "model": "the model",
    "persistence": "nothing changes",
    "constant_velocity": "constant velocity",
    "ridge": "ridge regression",
    "mean": "the average",
}


def verdict(report: OpenLoopReport) -> str:
    """How many steps the model can be trusted for, what ends the trust.

    And which simple rules do as well.
    """
    return f"{_trust(report)}{_rules(report)}"


def _trust(report: OpenLoopReport) -> str:
    steps, longest = report.trusted_steps, report.max_horizon
    # An infinite upper limit is not failure but ignorance.
    if steps == 0 and _is_single(report, steps):
        return "A single held-out episode cannot tell how far this model can be trusted."
    if steps == 0:
        return f"This model cannot be trusted for a single step: {_failure(report)}."
    if steps == longest:
        return (
            f"This model can be trusted for at least {counted(steps, 'step')}, as far as was "
            "examined."
        )
    trust = f"This model can be trusted for about {counted(steps, 'step')}, of {longest} examined"
    if _is_single(report, steps):
        return f"{trust}."
    return f"{trust}: then {_failure(report)}."


def _rules(report: OpenLoopReport) -> str:
    """The simple rules that do as well as the model in everything, as a further sentence."""
    if report.trusted_steps == 0:
        return ""
    names = [METHOD_NAMES[rule] for rule in report.rules_as_good]
    if not names:
        return ""
    listed = names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
    return f" {listed[0].upper()}{listed[1:]} {'does' if len(names) == 1 else 'do'} as well."


def _failure(report: OpenLoopReport) -> str:
    """What goes wrong at the first step that is not trusted.

    In a few words that name the part and the rule.
    """
    step, part = report.trusted_steps + 1, report.worst_part
    error, (rule, best) = float(part.curves["model"].rmse[step - 1]), part.best_rule(step)
    if part.is_termination:
        return "its probability that the episode ends is worse than a constant guess"
    if best <= AS_GOOD * error:
        return f"“{METHOD_NAMES[rule]}” predicts {named(part)} as well or better"
    return f"the error of {named(part)} may exceed {report.tolerance:g} of its spread"


def _is_single(report: OpenLoopReport, steps: int) -> bool:
    """Whether a single held-out episode lasts one step more than `steps`."""
    return not np.isfinite(report.curves["model"].high[steps])


def named(part: JudgedPart) -> str:
    """A part as a sentence calls it."""
    if part.columns:
        return f"“{part.name}”"
    return f"the {part.name}" if part.name == "reward" else part.name


def reason(report: OpenLoopReport) -> str:
    """Why the verdict is what it is."""
    steps, part = report.trusted_steps, report.worst_part
    limit = f"{report.tolerance:g} standard deviations"
    curve = part.curves["model"]
    if steps == report.max_horizon:
        return (
            f"Its error stays below {limit} in every part of what it predicts, and "
            f"{_standing(report)}."
        )
    when, error = f"After {counted(steps + 1, 'step')}", short(float(curve.rmse[steps]))
    if _is_single(report, steps):
        return f"{when} its error is {error} in a single episode, which tells nothing of others."
    if part.is_termination:
        return (
            f"{when} its probability that the episode ends is worse than a constant guess of how "
            "often that happens."
        )
    if curve.high[steps] > report.tolerance:
        return (
            f"{when} its error is {error} for {named(part)}, the worst part, and may exceed "
            f"{limit} of it."
        )
    rule, best = part.best_rule(steps + 1)
    return (
        f"{when} “{METHOD_NAMES[rule]}” predicts better ({short(best)} against {error} for "
        f"{named(part)})."
    )


def _standing(report: OpenLoopReport) -> str:
    """How a model that is trusted throughout stands beside the simple rules."""
    for part in report.parts:
        rules = [curve.rmse for name, curve in part.curves.items() if name != "model"]
        if not part.is_termination and (np.min(rules, axis=0) < part.curves["model"].rmse).any():
            return "it is right to a hundredth of one where a simple rule predicts better"
    return "no simple rule predicts better"


def best_baseline(report: OpenLoopReport, step: int) -> tuple[str, float]:
    """Name and total error of the best simple rule after `step` steps."""
    errors = {name: report.error(step, name) for name in report.curves if name != "model"}
    name = min(errors, key=errors.__getitem__)
    return name, errors[name]


def comparison(report: OpenLoopReport, step: int) -> str:
    """The model's total error beside that of the best simple rule."""
    name, error = best_baseline(report, step)
    own = report.error(step)
    when, rule = f"After {counted(step, 'step')}", f"“{METHOD_NAMES[name]}”"
    if own < 1e-3:
        return (
            f"{when} it is right to a thousandth of a standard deviation; {rule} is off by "
            f"{short(error)}."
        )
    if error == 0:
        return f"{when} {rule} is exact, and its own error is {short(own)}."
    larger, smaller = max(own, error), min(own, error)
    ratio = f"{larger / smaller:.1f}"
    if ratio == "1.0":
        return f"{when} its error equals that of the best simple rule ({rule})."
    word = "larger" if own > error else "smaller"
    return f"{when} its error is {ratio} times {word} than that of the best simple rule ({rule})."


def gap_sentence(gap: PlanningGap) -> str:
    """What planning with the model is worth."""
    closed = gap.closed
    if not np.isfinite(closed.low):
        return (
            "The oracle's lead over random actions is within chance or of one episode: no share of "
            "it can be told."
        )
    is_none = closed.estimate <= 0
    share = "none" if is_none else percent(closed.estimate)
    estimate = f"{percent(closed.estimate)}, " if is_none else ""
    return (
        f"Planning with the model closes {share} of the gap between random actions and the same "
        f"planner on the true dynamics ({estimate}95% interval {percent(closed.low)} to "
        f"{percent(closed.high)})."
    )


def ends_sentence(ends: EndPrediction, horizons: tuple[int, ...]) -> str:
    """How well episode ends are foreseen."""
    if not any(ends.share):
        return (
            "No recorded episode ended by itself. The model's mean probability that one does "
            "within "
            f"{counted(horizons[-1], 'step')} is {short(ends.mean_probability[-1])}; it should be "
            "0."
        )
    index = max(i for i, share in enumerate(ends.share) if share > 0)
    auroc = ends.auroc[index]
    ranking = (
        ""
        if auroc is None
        else (
            f" It ranks a start that ends above one that does not {percent(auroc)} of the time "
            "(chance is 50%)."
        )
    )
    return (
        f"{percent(ends.share[index])} of starts end by themselves within "
        f"{counted(horizons[index], 'step')}; "
        f"the model says "
        f"{percent(ends.mean_probability[index])} on average.{ranking}"
    )


def calibration_sentence(calibration: Calibration | None, horizons: tuple[int, ...]) -> str:
    """Whether the model knows what it does not know."""
    if calibration is None:
        return (
            "The model gives one answer and no intervals, so that it does not say when it is "
            "unsure."
        )
    level = calibration.levels.index(0.9)
    shares = zip(calibration.coverage[:, level], horizons, strict=True)
    # It is NaN where none of the starts that were examined lasts so long.
    parts = [(share, step) for share, step in shares if np.isfinite(share)]
    measured = float(np.mean([share for share, _ in parts]))
    judgement = "overconfident" if measured < 0.9 else "too cautious"
    if abs(measured - 0.9) < 0.05:
        judgement = "about right"
    listed = ", ".join(f"{share:.0%} after {step}" for share, step in parts)
    unit = "step" if parts[-1][1] == 1 else "steps"
    sentence = f"Its 90% intervals hold the outcome {listed} {unit}: {judgement}."
    if calibration.is_calibrated:
        return sentence
    return f"{sentence} They are not calibrated: the model was fitted without held-out episodes."
