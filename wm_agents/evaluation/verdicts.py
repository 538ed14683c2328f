"""A scorecard's numbers as sentences that need no code and no statistics to be understood."""

import numpy as np

from wm_agents.evaluation.calibration import Calibration
from wm_agents.evaluation.charts import counted, percent, short
from wm_agents.evaluation.judged_parts import AS_GOOD, JudgedPart
from wm_agents.evaluation.open_loop_report import EndPrediction, OpenLoopReport
from wm_agents.evaluation.planning_gap import PlanningGap

METHOD_NAMES = {
    "model": "the model",
    "persistence": "nothing changes",
    "constant_velocity": "constant velocity",
    "ridge": "ridge regression",
    "mean": "the average",
}


def verdict(report: OpenLoopReport) -> str:
    """How many steps the model can be trusted for, what ends the trust, and which simple rules do as well."""
    return f"{_trust(report)}{_rules(report)}"


def _trust(report: OpenLoopReport) -> str:
    steps, longest = report.trusted_steps, report.max_horizon
    if steps == 0 and _is_single(report, steps):
        return "A single held-out episode cannot tell how far this model can be trusted."
    if steps == 0:
        return f"This model cannot be trusted for a single step: {_failure(report)}."
    if steps == longest:
        return f"This model can be trusted for at least {counted(steps, 'step')}, as far as was examined."
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
    """What goes wrong at the first step that is not trusted, in a few words that name the part and the rule."""
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
    return (
        f"“{part.name}”"
        if part.columns
        else f"the {part.name}"
        if part.name == "reward"
        else part.name
    )


def reason(report: OpenLoopReport) -> str:
    """Why the verdict is what it is."""
    steps, part = report.trusted_steps, report.worst_part
    limit = f"{report.tolerance:g} standard deviations"
    curve = part.curves["model"]
    if steps == report.max_horizon:
        return f"Its error stays below {limit} in every part of what it predicts, and {_standing(report)}."
    when, error = f"After {counted(steps + 1, 'step')}", short(float(curve.rmse[steps]))
    if _is_single(report, steps):
        return f"{when} its error is {error} in a single episode, which tells nothing of others."
    if part.is_termination:
        return f"{when} its probability that the episode ends is worse than a constant guess of how often that happens."
    if curve.high[steps] > report.tolerance:
        return f"{when} its error is {error} for {named(part)}, the worst part, and may exceed {limit} of it."
    rule, best = part.best_rule(steps + 1)
    return f"{when} “{METHOD_NAMES[rule]}” predicts better ({short(best)} against {error} for {named(part)})."


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
        return f"{when} it is right to a thousandth of a standard deviation; {rule} is off by {short(error)}."
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
            f"{counted(horizons[-1], 'step')} is {short(ends.mean_probability[-1])}; it should be 0."
        )
    index = max(i for i, share in enumerate(ends.share) if share > 0)
    auroc = ends.auroc[index]
    ranking = (
        ""
        if auroc is None
        else (
            f" It ranks a start that ends above one that does not {percent(auroc)} of the time (chance is 50%)."
        )
    )
    return (
        f"{percent(ends.share[index])} of starts end by themselves within {counted(horizons[index], 'step')}; "
        f"the model says "
        f"{percent(ends.mean_probability[index])} on average.{ranking}"
    )


def calibration_sentence(calibration: Calibration | None, horizons: tuple[int, ...]) -> str:
    """Whether the model knows what it does not know."""
    if calibration is None:
        return "The model gives one answer and no intervals, so that it does not say when it is unsure."
    level = calibration.levels.index(0.9)
    shares = zip(calibration.coverage[:, level], horizons, strict=True)
    # It is NaN where none of the starts that were examined lasts so long.
    parts = [(share, step) for share, step in shares if np.isfinite(share)]
    measured = float(np.mean([share for share, _ in parts]))
    judgement = (
        "about right"
        if abs(measured - 0.9) < 0.05
        else "overconfident"
        if measured < 0.9
        else "too cautious"
    )
    listed = ", ".join(f"{share:.0%} after {step}" for share, step in parts)
    unit = "step" if parts[-1][1] == 1 else "steps"
    sentence = f"Its 90% intervals hold the outcome {listed} {unit}: {judgement}."
    if calibration.is_calibrated:
        return sentence
    return f"{sentence} They are not calibrated: the model was fitted without held-out episodes."
