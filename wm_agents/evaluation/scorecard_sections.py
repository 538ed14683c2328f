"""Sections of the scorecard's page: what is guaranteed, what it costs, and what the model says."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import numpy as np

from wm_agents.evaluation.certified import (
    CertifiedHorizon,
    episodes_to_check,
    required_episodes,
)
from wm_agents.evaluation.charts import Series, counted, line_chart, percent, short
from wm_agents.evaluation.cost import ModelCost
from wm_agents.evaluation.failures import Failures
from wm_agents.evaluation.what_if import WhatIf

_MAX_FEATURES = 16
_CHANCE = 0.55  # an AUROC up to which a score says nothing


def guarantee_section(certified: CertifiedHorizon | None, note: str) -> str:
    """The guarantee in words and its intervals; what is missing where there is none."""
    if certified is None:
        if not note:
            return ""
        return f"<h2>What is guaranteed</h2><p class=warning>{escape(note)}</p>"
    return (
        f"<h2>What is guaranteed</h2><p class=about>{escape(guarantee_sentence(certified))}</p>"
        f"{_interval_table(certified)}"
    )


def guarantee_sentence(certified: CertifiedHorizon) -> str:
    """What the guarantee says, for whom, and how it was checked."""
    share = percent(1 - certified.alpha)
    steps = counted(certified.certified, "step")
    promise = (
        f"In a new episode played in the same way, {share} of windows stay within "
        f"{tolerances(certified)} for {steps} (certified {certified.certified} / measured "
        f"{certified.measured} of {certified.horizon}; "
        f"{counted(certified.num_episodes, 'episode')})."
    )
    if certified.certified == 0:
        promise = (
            f"Not even one step can be guaranteed for {share} of windows (certified 0 / measured "
            f"{certified.measured} of {certified.horizon}; "
            f"{counted(certified.num_episodes, 'episode')})."
        )
    worst = max(certified.violations_by_name, key=certified.violations_by_name.__getitem__)
    lost = certified.violations_by_name[worst]
    blame = (
        f" “{worst}” leaves its tolerance most often: in {percent(lost)} of windows within "
        f"{counted(certified.horizon, 'step')}. A window is lost once a single error passes the "
        "tolerance; trusted steps are counted by the error's mean square over all windows, which "
        "is less strict."
        if lost > 0
        else ""
    )
    more = episodes_sentence(certified)
    return f"{promise}{more and f' {more}'}{blame}{_check_sentence(certified)}"


def tolerances(certified: CertifiedHorizon) -> str:
    """What a window has to stay within."""
    if not certified.ignored:
        return "every tolerance"
    names = " and ".join(f"“{name}”" for name in certified.ignored)
    verb = "has" if len(certified.ignored) == 1 else "have"
    return f"every tolerance ({names} {verb} none, as was asked)"


def episodes_sentence(certified: CertifiedHorizon) -> str:
    """How many held-out episodes would guarantee more, were they like these; else nothing."""
    episodes = counted(certified.num_episodes, "held-out episode")
    measured = certified.measured
    if measured == 0:
        return (
            f"More episodes would not help: after 1 step {percent(certified.violations[0])} of "
            f"windows have left a tolerance, and {percent(certified.alpha)} may."
        )
    if certified.certified == certified.horizon:
        return ""  # no further step was examined
    if certified.certified == measured:
        return "All that was measured is guaranteed."
    needed = certified.episodes_needed(measured)
    full = (
        f"No number of episodes would do for the measured {counted(measured, 'step')}"
        if needed is None
        else f"About {needed:,} episodes would guarantee the measured {counted(measured, 'step')}"
    )
    if certified.certified > 0:
        return f"{full}, if as many windows fail in them."
    return (
        f"With {episodes} at most {percent(certified.allowed_share)} of windows may fail, and "
        f"{percent(certified.violations[0])} did after 1 step: about "
        f"{certified.episodes_needed():,} would guarantee it, if as many fail in them. {full}."
    )


def _check_sentence(certified: CertifiedHorizon) -> str:
    """What leaving out each episode in turn found, or why it could not be done."""
    if certified.checked_violation is not None:
        return (
            " Checked by leaving out each episode in turn: "
            f"{percent(certified.checked_violation)} of windows left the tolerance within what the "
            f"others guarantee, where {percent(certified.alpha)} may."
        )
    needed = required_episodes(certified.alpha) + 1
    if certified.num_episodes < needed:
        return f" To check it on episodes that are left out takes at least {needed}."
    if certified.certified == 0:
        return ""
    return " With an episode left out the others guarantee no step, so that it was not checked."


def guarantee_chart(certified: CertifiedHorizon) -> str:
    """How many windows have left the tolerance by each step, and how many may."""
    steps = np.arange(1, certified.horizon + 1)
    series = [Series("windows outside", steps, 100 * certified.violations, colour=0)]
    # The allowed risk should be in the picture, even where nothing ever leaves.
    top = 100 * max(float(certified.violations[-1]), 2 * certified.alpha)
    return line_chart(
        series,
        x_label="steps imagined ahead, without looking",
        y_label="windows outside (%)",
        description="Share of windows that have left the tolerance against the steps imagined",
        y_limit=min(100.0, 1.1 * top),
        x_ticks=sorted({1.0, float(np.ceil(certified.horizon / 2)), float(certified.horizon)}),
        shaded=(1, certified.certified, "certified") if certified.certified > 1 else None,
        threshold=(100 * certified.alpha, "the risk that was allowed"),
    )


def _interval_table(certified: CertifiedHorizon) -> str:
    """Half widths and checked coverage of the features, after the first and the last step."""
    last = max(certified.certified, 1) - 1
    head = ["feature"]
    # After the first step and after the last certified one.
    for step in sorted({0, last}):
        when = counted(step + 1, "step")
        head += [f"± after {when}", f"coverage after {when}"]
    rows = ["".join(f"<th>{escape(text)}</th>" for text in head)]
    for column, name in enumerate(certified.feature_names[:_MAX_FEATURES]):
        cells = [name]
        for step in sorted({0, last}):
            width = certified.half_widths[step, column]
            held = certified.coverage[step, column]
            cells.append(short(float(width)) if np.isfinite(width) else "too few episodes")
            cells.append(percent(float(held)) if np.isfinite(held) else "not checked")
        rows.append("".join(f"<td>{escape(text)}</td>" for text in cells))
    table = "".join(f"<tr>{row}</tr>" for row in rows)
    needed = required_episodes(certified.alpha)
    shown = certified.coverage[[0, last], :_MAX_FEATURES]
    unchecked = (
        ""
        if np.isfinite(shown).all()
        else f" Not checked: an interval takes {needed} episodes that last so long, and four fifths "
        f"of them set it; {episodes_to_check(certified.alpha)} would do."
    )
    rest = len(certified.feature_names) - _MAX_FEATURES
    more = f" {counted(rest, 'more feature')} in scorecard.json." if rest > 0 else ""
    return (
        f"<details><summary>Intervals of {percent(1 - certified.alpha)}, feature by feature"
        f"</summary><p class=about>Around the prediction; coverage was counted on episodes that "
        f"did not set the width.{unchecked}{more}</p><div class=scroll><table>{table}</table></div></details>"
    )


def what_if_section(result: WhatIf) -> str:
    """What another first action changes, in the model and in truth, beside the plain error."""
    steps = np.flatnonzero(result.num_pairs) + 1
    lines = (
        ("size of the true difference", result.effect, 4),
        ("plain error of one future", result.plain, 1),
        ("error of the difference", result.difference, 0),
    )
    series = [
        Series(label, steps, values[steps - 1], colour=colour, is_dashed=colour != 0)
        for label, values, colour in lines
    ]
    top = max(float(result.effect[steps - 1].max()), float(result.difference[steps - 1].max()))
    # A plain error that explodes must not flatten the difference.
    top = max(top, min(float(result.plain[steps - 1].max()), 2 * top))
    chart = line_chart(
        series,
        x_label="steps after another first action",
        y_label="standard deviations",
        description="Error of the predicted difference between two actions, and of one future",
        y_limit=1.1 * max(top, 1e-6),
        x_ticks=sorted({1.0, float(steps[-1])}),
    )
    worst = max(result.by_feature, key=result.by_feature.__getitem__)
    blame = f"Furthest off is “{worst}” ({short(result.by_feature[worst])})."
    return (
        f"<h2>What if another action had been taken?</h2><p class=about>{escape(str(result))} "
        f"{escape(blame)} Two futures from one state, in the model and in the true dynamics; a "
        f"planner compares such differences.</p><div class=chart>{chart}</div>"
    )


def failure_section(failures: Failures) -> str:
    """Regions, causes and the worst windows; a sentence where nothing stands out."""
    regions = [str(region) for region in failures.regions] or [str(failures)]
    causes = failures.causes() or [
        "No other feature's error falls by a third or more when the model is given one true "
        "feature: each error is its feature's own."
    ]
    head = (
        f"Windows of {counted(failures.horizon, 'step')} from {counted(failures.num_episodes, 'episode')}, "
        f"error over all of them {short(failures.error)} standard deviations. A tree was grown on "
        "half of the episodes; the errors are those of the other half."
    )
    pictures = "".join(_worst_window(window) for window in failures.worst)
    shown = f"<details open><summary>The worst windows</summary>{pictures}</details>"
    return (
        f"<h2>Where it fails</h2>{_bullets(regions[:3])}<p class=about>{escape(head)}</p>"
        f"<h2>Which error causes which</h2>{_bullets(causes[:4])}"
        "<p class=about>The model was given one true feature at every step; errors that vanish "
        f"were caused by that feature's.</p>{shown if pictures else ''}"
    )


def _worst_window(window: dict[str, Any]) -> str:
    """What was recorded and predicted of the feature that is furthest off."""
    recorded = np.array(window["recorded"], float)
    predicted = np.array([np.nan if value is None else value for value in window["predicted"]])
    steps = np.arange(len(recorded))
    is_known = np.isfinite(predicted)
    spread = float(np.ptp(recorded)) or float(np.abs(recorded).max()) or 1.0
    # A prediction that explodes must not flatten what was recorded.
    bounded = np.clip(predicted, recorded.min() - 2 * spread, recorded.max() + 2 * spread)
    chart = line_chart(
        [
            Series("recorded", steps, recorded, colour=4, is_dashed=True),
            Series("model", steps[is_known], bounded[is_known], colour=1),
        ],
        x_label="steps imagined ahead",
        y_label=str(window["feature"]),
        description=f"Episode {window['episode']} from step {window['step']}",
        x_ticks=sorted({0.0, float(steps[-1])}),
    )
    caption = (
        f"Episode {window['episode']}, from step {window['step']}: error "
        f"{short(window['error'])} standard deviations, most of it in “{window['part']}”."
    )
    return f"<p class=about>{escape(caption)}</p><div class=chart>{chart}</div>"


def branch_section(coverage: Any) -> str:
    """Which branches of the true rules the held-out episodes exercised, and which never."""
    sentences = coverage.sentences()
    shown = _bullets(sentences[:_MAX_FEATURES]) if sentences else ""
    rest = len(sentences) - _MAX_FEATURES
    more = f"<p class=about>{rest} more in scorecard.json.</p>" if rest > 0 else ""
    about = (
        "The episodes were replayed on the environment's own rules. What never happened in them "
        "was not tested: of it this page says nothing."
    )
    return (
        f"<h2>What the test never saw</h2><p class=about>{escape(str(coverage))}. "
        f"{escape(about)}</p>{shown}{more}"
    )


def novelty_section(aurocs: Mapping[str, float | None]) -> str:
    """How well each score tells where the model errs, on held-out episodes of several kinds."""
    known = {name: value for name, value in aurocs.items() if value is not None}
    if not known:
        sentence = "The model erred everywhere or nowhere, so that no score could tell where."
        return f"<h2>Does it know when it is outside?</h2><p class=about>{sentence}</p>"
    best = max(known, key=known.__getitem__)
    head = "".join(f"<th>{escape(name)}</th>" for name in ("", *known))
    cells = "".join(f"<td>{short(value)}</td>" for value in known.values())
    useless = " No score tells here where the model errs." if known[best] <= _CHANCE else ""
    return (
        f"<h2>Does it know when it is outside?</h2><p class=about>Of two moments, one from which "
        f"the model errs and one from which it does not, “{escape(best)}” gives the former the "
        f"higher score in {percent(known[best])} of cases; 50% is chance.{useless} Surprise is the "
        "error of the steps just before, density the distance to the nearest recorded steps.</p>"
        f"<div class=scroll><table><tr>{head}</tr><tr><td>AUROC</td>{cells}</tr></table></div>"
    )


def _bullets(lines: Sequence[str]) -> str:
    return f"<ul>{''.join(f'<li>{escape(line)}</li>' for line in lines)}</ul>"


def cost_section(cost: ModelCost) -> str:
    """Parameters, times and memory in one row."""
    head = ["parameters", "fit", *(_batch(rows) for rows in cost.batches), "memory"]
    fit = "not told" if cost.fit_seconds is None else f"{short(cost.fit_seconds)} s"
    steps = zip(cost.step_microseconds, cost.row_microseconds, cost.batches, strict=True)
    cells = [f"{cost.num_parameters:,}", fit]
    for step, row, rows in steps:
        # A batch of one has no cost a row.
        each = f", {duration(row)} a row" if rows > 1 else ""
        cells.append(f"{duration(step)}{each}")
    cells.append(f"{short(cost.megabytes)} MB")
    rows_of_table = [
        "".join(f"<th>{escape(text)}</th>" for text in head),
        "".join(f"<td>{escape(text)}</td>" for text in cells),
    ]
    table = "".join(f"<tr>{row}</tr>" for row in rows_of_table)
    threads = counted(cost.num_threads, "thread")
    return (
        f"<h2>What it costs</h2><p class=about>Median wall time of one step on this machine, "
        f"{threads}.</p><div class=scroll><table>{table}</table></div>"
    )


def duration(microseconds: float) -> str:
    """A time in about three digits, in the unit that suits it."""
    for unit, size in (("s", 1e6), ("ms", 1e3)):
        if microseconds >= size:
            return f"{short(microseconds / size)} {unit}"
    return f"{short(microseconds)} µs"


def _batch(rows: int) -> str:
    return f"a step of {counted(rows, 'row')}"


def program_section(text: str, replay: Any) -> str:
    """A program that is its own model: the text, and the first recorded step that it gets wrong."""
    first = "" if replay.is_exact else f" {len(replay.unexplained)} are not."
    rows = "".join(f"<li>{escape(str(mismatch))}</li>" for mismatch in replay.mismatches)
    more = f"<ul>{rows}</ul>" if rows else ""
    return (
        f"<h2>What the model says</h2><p class=about>{escape(str(replay))}.{first}</p>"
        f"{more}<details><summary>The program</summary><div class=scroll><pre>{escape(text)}</pre>"
        "</div></details>"
    )
