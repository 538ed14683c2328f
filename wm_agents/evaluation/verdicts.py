"""A scorecard's numbers as sentences that need no code and no statistics to be understood."""

import numpy as np

from wm_agents.evaluation.calibration import Calibration
from wm_agents.evaluation.charts import percent, short
from wm_agents.evaluation.open_loop_report import EndPrediction, OpenLoopReport
from wm_agents.evaluation.planning_gap import PlanningGap

METHOD_NAMES = {
    "model": "the model",
    "persistence": "nothing changes",
    "constant_velocity": "constant velocity",
    "ridge": "ridge regression",
    "mean": "average reward",
}


def verdict(report: OpenLoopReport) -> str:
    """How many steps the model can be trusted for."""
    steps, longest = report.trusted_steps, report.max_horizon
    if steps == 0 and _is_single(report, steps):
        return "A single held-out episode cannot tell how far this model can be trusted."
    if steps == 0:
        return "This model cannot be trusted for a single step."
    count = "1 step" if steps == 1 else f"{steps} steps"
    if steps == longest:
        return f"This model can be trusted for at least {count}, as far as was examined."
    return f"This model can be trusted for about {count}, of {longest} examined."


def _is_single(report: OpenLoopReport, steps: int) -> bool:
    """Whether a single held-out episode lasts one step more than `steps`."""
    return not np.isfinite(report.curves["model"].high[steps])


def reason(report: OpenLoopReport) -> str:
    """Why the verdict is what it is."""
    steps = report.trusted_steps
    limit = f"{report.tolerance:g} standard deviations"
    curve = report.curves["model"]
    if steps == report.max_horizon:
        best = np.min([other.rmse for name, other in report.curves.items() if name != "model"], axis=0)
        is_beaten = bool((best < curve.rmse).any())
        rest = "it is right to a hundredth of one where a simple rule predicts better"
        return (
            f"Its error stays below {limit} of what it predicts, and "
            f"{rest if is_beaten else 'no simple rule predicts better'}."
        )
    best_name, best = best_baseline(report, steps + 1)
    step = f"after {steps + 1} step{'s' if steps else ''}"
    if _is_single(report, steps):
        return (
            f"{step.capitalize()} its error is {short(curve.rmse[steps])} in a single episode, "
            "which tells nothing of others."
        )
    if curve.high[steps] > report.tolerance:
        return (
            f"{step.capitalize()} its error is {short(curve.rmse[steps])} and may exceed {limit} of what it predicts."
        )
    figures = f"{short(best)} against {short(curve.rmse[steps])}"
    return f"{step.capitalize()} “{METHOD_NAMES[best_name]}” predicts better ({figures})."


def best_baseline(report: OpenLoopReport, step: int) -> tuple[str, float]:
    """Name and error of the best simple rule after `step` steps."""
    errors = {name: report.error(step, name) for name in report.curves if name != "model"}
    name = min(errors, key=errors.__getitem__)
    return name, errors[name]


def comparison(report: OpenLoopReport, step: int) -> str:
    """The model beside the best simple rule."""
    name, error = best_baseline(report, step)
    own = report.error(step)
    ratio = error / own if own > 0 else np.inf
    when, rule = f"After {step} step{'s' if step > 1 else ''}", f"“{METHOD_NAMES[name]}”"
    if own < 1e-3:
        return f"{when} it is right to a thousandth of a standard deviation; {rule} is off by {short(error)}."
    if error == 0:
        return f"{when} {rule} is exact, and its own error is {short(own)}."
    if ratio >= 1:
        return f"{when} its error is {ratio:.1f} times smaller than that of the best simple rule ({rule})."
    return f"{when} its error is {1 / ratio:.1f} times larger than that of the best simple rule ({rule})."


def gap_sentence(gap: PlanningGap) -> str:
    """What planning with the model is worth."""
    closed = gap.closed
    if not np.isfinite(closed.low):
        return "The oracle's lead over random actions is within chance or of one episode: no share of it can be told."
    return (
        f"Planning with the model closes {percent(closed.estimate)} of the gap between random actions and the same "
        f"planner on the true dynamics (95% interval {percent(closed.low)} to {percent(closed.high)})."
    )


def ends_sentence(ends: EndPrediction, horizons: tuple[int, ...]) -> str:
    """How well episode ends are foreseen."""
    if not any(ends.share):
        return (
            "No recorded episode ended by itself. The model's mean probability that one does within "
            f"{horizons[-1]} steps is {short(ends.mean_probability[-1])}; it should be 0."
        )
    index = max(i for i, share in enumerate(ends.share) if share > 0)
    auroc = ends.auroc[index]
    ranking = (
        ""
        if auroc is None
        else (f" It ranks a start that ends above one that does not {percent(auroc)} of the time (chance is 50%).")
    )
    return (
        f"{percent(ends.share[index])} of starts end by themselves within {horizons[index]} steps; the model says "
        f"{percent(ends.mean_probability[index])} on average.{ranking}"
    )


def calibration_sentence(calibration: Calibration | None, horizons: tuple[int, ...]) -> str:
    """Whether the model knows what it does not know."""
    if calibration is None:
        return "The model gives one answer and no intervals, so that it does not say when it is unsure."
    level = calibration.levels.index(0.9)
    shares = zip(calibration.coverage[:, level], horizons, strict=True)
    # It is NaN where none of the starts that were examined lasts so long.
    parts = [f"{share:.0%} after {step}" for share, step in shares if np.isfinite(share)]
    measured = float(np.nanmean(calibration.coverage[:, level]))
    judgement = "about right" if abs(measured - 0.9) < 0.05 else "overconfident" if measured < 0.9 else "too cautious"
    return f"Its 90% intervals hold the outcome {', '.join(parts)} steps: {judgement}."
