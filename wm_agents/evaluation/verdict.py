"""The verdict on a world model in words: trusted steps, ties with reference forecasts, failures.

And the other sentences of the scorecard's page.
"""

from collections.abc import Sequence

import numpy as np

from wm_agents.evaluation.calibration import Calibration
from wm_agents.evaluation.charts import counted, percent, short
from wm_agents.evaluation.episodes import PlanningGap
from wm_agents.evaluation.judged_parts import REFERENCES, JudgedPart, trusted_steps
from wm_agents.evaluation.open_loop_report import EndPrediction, OpenLoopReport

METHOD_NAMES = {
    "model": "the model",
    "persistence": "nothing changes",
    "constant_velocity": "constant velocity",
    "ridge": "ridge regression",
    "mean": "the average",
}
_MAX_NAMED = 3
_MAX_RATIO = 100
_LOOKS_LIKE = {
    "persistence": "a random walk looks like this: its last value is the best forecast",
    "mean": "white noise looks like this: its average is the best forecast",
}


def verdict(report: OpenLoopReport) -> str:
    """How many steps the model can be trusted for, but for which parts, and what ends the trust.

    And how far in everything else, what was not judged, and which simple rules do as well.
    """
    return f"{_trust(report)}{_without_worst(report)}{_not_judged(report)}{_rules(report)}"


def _trust(report: OpenLoopReport) -> str:
    steps, longest = report.trusted_steps, report.max_horizon
    # An infinite upper limit is not failure but ignorance.
    if steps == 0 and _is_single(report, steps):
        return "A single held-out episode cannot tell how far this model can be trusted."
    if steps == 0:
        return f"This model cannot be trusted for a single step: {_failure(report)}."
    phrases = _tied_parts(report)
    tied = f", but for {phrases}" if phrases else ""
    if steps == longest:
        return (
            f"This model can be trusted for at least {counted(steps, 'step')}, as far as was "
            f"examined{tied}."
        )
    trust = f"This model can be trusted for about {counted(steps, 'step')}, of {longest} examined"
    if _is_single(report, steps):
        return f"{trust}{tied}."
    return f"{trust}{tied}{';' if tied else ':'} then {_failure(report)}."


def _tied_parts(report: OpenLoopReport) -> str:
    """What the model predicts no better than a reference forecast, by the forecast."""
    phrases = []
    for rule in REFERENCES:
        parts = [part for part in _set_aside(report) if part.reference == rule]
        if parts:
            phrases.append(
                f"{listed_parts(parts)}, which it predicts no better than “{METHOD_NAMES[rule]}”"
            )
    return ", and ".join(phrases)


def _set_aside(report: OpenLoopReport) -> list[JudgedPart]:
    """The ties that do not end the trust themselves."""
    if report.trusted_steps == report.max_horizon:
        return list(report.tied)
    return [part for part in report.tied if part is not report.worst_part]


def listed_parts(parts: Sequence[JudgedPart]) -> str:
    """The first few parts by name and how many more there are."""
    names = [named(part) for part in parts[:_MAX_NAMED]]
    rest = len(parts) - len(names)
    return listed([*names, *([f"{rest} more"] if rest else [])])


def listed(names: Sequence[str]) -> str:
    """Names as a sentence lists them: a, b and c."""
    if len(names) < 2:
        return "".join(names)
    return f"{', '.join(names[:-1])} and {names[-1]}"


def _not_judged(report: OpenLoopReport) -> str:
    """What was left out, as a further sentence."""
    if not report.ignored:
        return ""
    names = listed([f"“{name}”" for name in report.ignored])
    return f" Not judged, as was asked: {names}."


def _rules(report: OpenLoopReport) -> str:
    """The simple rules that do as well as the model in everything, as a further sentence."""
    if report.trusted_steps == 0 or not report.rules_as_good:
        return ""
    names = [METHOD_NAMES[rule] for rule in report.rules_as_good]
    sentence = listed(names)
    return f" {sentence[0].upper()}{sentence[1:]} {'does' if len(names) == 1 else 'do'} as well."


def _has_no_skill(report: OpenLoopReport) -> bool:
    """Whether the reference forecasts are as good everywhere, and better nowhere at once."""
    return not any(part.has_skill for part in report.parts) and report.worst_part.is_good[0]


def _failure(report: OpenLoopReport) -> str:
    """What goes wrong at the first step that is not trusted.

    In a few words that name the part and the rule.
    """
    if _has_no_skill(report):
        rules = dict.fromkeys(f"“{METHOD_NAMES[part.reference]}”" for part in report.parts)
        where = counted(report.num_episodes, "held-out episode")
        return f"in {where} it predicts nothing clearly better than {' or '.join(rules)}"
    step, part = report.trusted_steps + 1, report.worst_part
    if part.is_termination:
        return "its probability that the episode ends is worse than a constant guess"
    rule = part.better_rule(step)
    if rule is not None:
        return f"“{METHOD_NAMES[rule]}” predicts {named(part)} better"
    if part.is_tied:
        return f"it predicts {named(part)} no better than “{METHOD_NAMES[part.reference]}”"
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
    """Why the verdict is what it is, and what is known of the parts that were set aside."""
    return f"{_main_reason(report)}{_ties(report)}{_advice(report)}"


def _main_reason(report: OpenLoopReport) -> str:
    steps, part = report.trusted_steps, report.worst_part
    limit = f"{report.tolerance:g} standard deviations"
    curve = part.curves["model"]
    if steps == report.max_horizon:
        where = "every other part" if report.tied else "every part of what it predicts"
        return f"Its error stays below {limit} in {where}, and {_standing(report)}."
    when, error = f"After {counted(steps + 1, 'step')}", short(float(curve.rmse[steps]))
    if _is_single(report, steps):
        return f"{when} its error is {error} in a single episode, which tells nothing of others."
    if _has_no_skill(report):
        return (
            "After no step is its error clearly below that of both reference forecasts, "
            "“nothing changes” and “the average”, in any part of what it predicts."
        )
    if part.is_termination:
        return (
            f"{when} its probability that the episode ends is worse than a constant guess of how "
            "often that happens."
        )
    rule = part.better_rule(steps + 1)
    if curve.high[steps] > report.tolerance and not (part.columns and part.is_tied):
        better = (
            f"; “{METHOD_NAMES[rule]}” predicts better ({short(float(part.curves[rule].rmse[steps]))})"
            if rule is not None
            else ""
        )
        return (
            f"{when} its error is {error} for {named(part)}, the worst part, and may exceed "
            f"{limit} of it{better}."
        )
    if rule is None:
        return f"{when} its error is {error} for {named(part)}, the worst part."
    return (
        f"{when} “{METHOD_NAMES[rule]}” predicts better "
        f"({short(float(part.curves[rule].rmse[steps]))} against {error} for {named(part)}: "
        f"{ratio_phrase(part, rule, steps + 1)}), more than the differences between episodes "
        "explain."
    )


def ratio_phrase(part: JudgedPart, rule: str, step: int) -> str:
    """The model's error over a rule's, with its interval."""
    ratio, low, high = part.ratios[rule][:, step - 1]
    # Beside a rule that is exact any error is infinitely large, which is no number.
    if ratio > _MAX_RATIO:
        return f"over {_MAX_RATIO} times as large"
    return f"{ratio:.2f} times as large, 95% band {low:.2f} to {high:.2f}"


def _without_worst(report: OpenLoopReport) -> str:
    """How far the model could be trusted but for the part that fails, as a further sentence.

    Where that is at least twice as far.
    """
    part, trusted = report.worst_part, report.trusted_steps
    rest = [other for other in report.parts if other is not part]
    steps = trusted_steps(rest) if rest else 0
    is_single = _is_single(report, min(trusted, report.max_horizon - 1))
    if is_single or steps <= trusted or steps < 2 * trusted:
        return ""
    about = "at least" if steps == report.max_horizon else "about"
    # Ties among the rest are no better known for it.
    but_for = listed_parts([part, *_set_aside(report)])
    return f" In everything but {but_for} it can be trusted for {about} {counted(steps, 'step')}."


def _ties(report: OpenLoopReport) -> str:
    """What is known of each reference forecast that the model ties with, as further sentences."""
    step, sentences = middle_horizon(report), []
    for rule in REFERENCES:
        parts = [part for part in _set_aside(report) if part.reference == rule and part.columns]
        if not parts:
            continue
        first = " for the first" if len(parts) > 1 else ""
        sentences.append(
            f" A tie with “{METHOD_NAMES[rule]}”: {listed_parts(parts)} (the error after "
            f"{counted(step, 'step')} is {ratio_phrase(parts[0], rule, step)}{first})."
        )
    return "".join(sentences)


def _advice(report: OpenLoopReport) -> str:
    """What features without skill may be, and how to leave them out, as further sentences."""
    parts = [part for part in report.tied if part.columns]
    if not parts or (not report.trusted_steps and not _without_worst(report)):
        return ""
    looks = listed([_LOOKS_LIKE[rule] for rule in dict.fromkeys(part.reference for part in parts)])
    names = [part.name for part in parts[:_MAX_NAMED]]
    return (
        f" Either nobody can predict {'it' if len(parts) == 1 else 'these'} better ({looks}), or "
        f"the model has not learned to. Exogenous noise is left out of the judgement with "
        f"ignored={names}."
    )


def _standing(report: OpenLoopReport) -> str:
    """How a model that is trusted throughout stands beside the simple rules."""
    parts = [part for part in report.parts if not part.is_termination and not part.is_tied]
    steps = range(1, report.max_horizon + 1)
    if any(part.better_rule(step) for part in parts for step in steps):
        return "it is right to a hundredth of one where a simple rule predicts better"
    if any(
        part.best_rule(step)[1] < part.curves["model"].rmse[step - 1]
        for part in parts
        for step in steps
    ):
        return "no simple rule predicts better beyond what the differences between episodes explain"
    return "no simple rule predicts better"


def middle_horizon(report: OpenLoopReport) -> int:
    """The horizon that sentences speak of: 16 steps where they were examined."""
    return 16 if 16 in report.horizons else report.horizons[-1]


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
