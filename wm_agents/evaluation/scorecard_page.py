"""The scorecard as one self-contained HTML page: the verdict first, then the evidence."""

from collections.abc import Sequence
from html import escape

import numpy as np

from wm_agents.evaluation.certified import CertifiedHorizon
from wm_agents.evaluation.charts import Series, counted, line_chart, number_line, percent, short
from wm_agents.evaluation.episodes import PlanningGap
from wm_agents.evaluation.judged_parts import JudgedPart
from wm_agents.evaluation.open_loop_report import OpenLoopReport
from wm_agents.evaluation.scorecard_sections import (
    episodes_sentence,
    guarantee_chart,
    guarantee_section,
    tolerances,
)
from wm_agents.evaluation.verdict import (
    METHOD_NAMES,
    calibration_sentence,
    comparison,
    ends_sentence,
    gap_sentence,
    listed_parts,
    middle_horizon,
    named,
    reason,
    verdict,
)

_COLOURS = {"model": 0, "persistence": 1, "constant_velocity": 2, "ridge": 3, "mean": 4}
_MAX_ROWS = 16
_NONE = "\N{EN DASH}"
_WORST_SHOWN = 1.6
"""Upper end of the error axis, in standard deviations.

1.41 is what two unrelated moments differ by.
"""

_STYLE = """
:root{color-scheme:light dark;--c0:#0072b2;--c1:#d55e00;--c2:#b0719a;--c3:#00875f;--c4:#7a7a7a;
--c5:#56b4e9;
--ink:#1b1f24;--muted:#5b6470;--grid:#e3e7ec;--page:#fff;--panel:#f6f8fa;--good:#0a7d4f;
--bad:#b42318}
@media (prefers-color-scheme:dark){:root{
--c0:#5cb3ef;--c1:#f08a4b;--c2:#d79bc3;--c3:#3fc89b;--c4:#a0a7b0;--c5:#9ad4f7;
--ink:#e8ebef;--muted:#a4adb8;--grid:#323941;--page:#14181d;--panel:#1d2329;--good:#4bd396;
--bad:#ff8d80}}
*{box-sizing:border-box}body{margin:0;background:var(--page);color:var(--ink);
font:16px/1.55 system-ui,-apple-system,"Segoe UI",Roboto,Arial,sans-serif}
main{max-width:880px;margin:0 auto;padding:40px 24px 64px}
.kicker{color:var(--muted);margin:0;font-size:15px}h1{font-size:34px;line-height:1.2;
margin:.15em 0 .3em}
h2{font-size:22px;margin:2.2em 0 .2em}.lead{font-size:18px;margin:0 0 1.4em}
.first{display:grid;grid-template-columns:minmax(190px,1fr) 2.4fr;gap:24px;align-items:center}
.first text{font-size:15px}.promise{margin:0}.promise b{display:block;font-size:44px;line-height:1.1;color:var(--c0);
white-space:nowrap}.promise span{display:block;margin-top:8px;color:var(--muted);font-size:15px}
ul{padding-left:22px;margin:.4em 0}li{margin:.3em 0;overflow-wrap:anywhere}
p.about{color:var(--muted);margin:.2em 0 1em}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(170px,1fr));gap:14px;margin:24px 0}
.tile{background:var(--panel);border-radius:12px;padding:16px 18px}
.tile b{display:block;font-size:30px;line-height:1.15}
.tile span{color:var(--muted);font-size:14px}svg{width:100%;height:auto;display:block}
.grid{stroke:var(--grid)}.axis{stroke:var(--muted)}.tick,.caption,.note{fill:var(--muted);
font-size:13px}
.label{font-size:13px;font-weight:600}text.label:not([fill]){fill:var(--ink)}
.shade{fill:var(--c0);opacity:.08}.threshold{stroke:var(--muted);stroke-dasharray:2 4}
.scroll,.chart{overflow-x:auto}table{border-collapse:collapse;width:100%;font-size:14px;
font-variant-numeric:tabular-nums}
th,td{padding:6px 8px;text-align:right;border-bottom:1px solid var(--grid);white-space:nowrap}
th{color:var(--muted);font-weight:600}th:first-child,td:first-child{text-align:left}
tr.total td{font-weight:700}
summary{cursor:pointer;color:var(--c0);margin:.8em 0}dl{display:grid;
grid-template-columns:max-content 1fr;gap:4px 18px}
dt{font-weight:600}dd{margin:0;color:var(--muted)}footer{margin-top:3em;color:var(--muted);
font-size:14px}
.warning{border-left:4px solid var(--bad);padding:4px 14px;background:var(--panel)}
@media (max-width:700px){.first{grid-template-columns:1fr;gap:12px}main{padding:24px 14px 48px}}
@media (max-width:560px){dl{grid-template-columns:1fr}h1{font-size:27px}.chart svg{min-width:600px}}
"""


def render_page(
    title: str,
    report: OpenLoopReport,
    gap: PlanningGap | None,
    certified: CertifiedHorizon | None = None,
    note: str = "",
    sections_of_model: Sequence[str] = (),
) -> str:
    """The page as text; it loads nothing and runs no script.

    Args:
        title: Heading.
        report: The open-loop errors.
        gap: The planning gap, where it was measured.
        certified: The horizon that is guaranteed, where it could be.
        note: Why it could not.
        sections_of_model: What else is to be shown, as HTML.
    """
    sections = [
        _first_screen(title, report, certified),
        _summary_section(report, gap, certified),
        guarantee_section(certified, note),
        _error_section(report, has_chart=certified is not None),
        _feature_section(report),
        _reward_section(report),
        _end_section(report),
        _calibration_section(report),
        _gap_section(gap),
        *sections_of_model,
        _method_section(report),
    ]
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{escape(title)}: scorecard</title><style>{_STYLE}</style></head>"
        f"<body><main>{''.join(sections)}</main></body></html>\n"
    )


def _first_screen(title: str, report: OpenLoopReport, certified: CertifiedHorizon | None) -> str:
    """One sentence, one number with its guarantee, one picture."""
    if certified is not None:
        number = counted(certified.certified, "step")
        promise = (
            f"guaranteed: {percent(1 - certified.alpha)} of windows of a new episode stay within "
            f"{tolerances(certified)} so long (measured: {certified.measured}; calibrated on "
            f"{counted(certified.num_episodes, 'episode')})"
        )
        more = episodes_sentence(certified)
        promise += more and f". {more}"
        picture = guarantee_chart(certified)
    else:
        number = counted(report.trusted_steps, "step")
        promise = "measured on held-out episodes; nothing is guaranteed, and below it says why"
        picture = _error_chart(report)
    return (
        '<p class="kicker">World model scorecard · '
        f"{escape(title)}</p><h1>{escape(verdict(report))}</h1>"
        f'<div class="first"><p class="promise"><b>{number}</b><span>{escape(promise)}</span></p>'
        f"<div>{picture}</div></div>"
    )


def _summary_section(
    report: OpenLoopReport, gap: PlanningGap | None, certified: CertifiedHorizon | None
) -> str:
    total = comparison(report, middle_horizon(report))
    sentences = [reason(report), f"Over all features together, {total[0].lower()}{total[1:]}"]
    if gap is not None:
        sentences.append(gap_sentence(gap))
    return (
        f'<h2>In short</h2><p class="lead">{escape(" ".join(sentences))}</p>{_warnings(report)}'
        f"{_tiles(report, gap, certified)}"
    )


def _warnings(report: OpenLoopReport) -> str:
    notes = []
    if not report.was_checked_for_duplicates:
        notes.append("It was not checked that the model had not seen these episodes in training.")
    if report.num_episodes < 5:
        notes.append(
            f"Only {counted(report.num_episodes, 'held-out episode')}: the intervals are rough."
        )
    if report.share_non_finite > 0:
        notes.append(
            f"{percent(report.share_non_finite)} of the predicted numbers were infinite or "
            "undefined."
        )
    if report.calibration is not None and not report.calibration.is_calibrated:
        notes.append(
            "The model was fitted without held-out episodes: its intervals are not calibrated."
        )
    return "".join(f'<p class="warning">{escape(note)}</p>' for note in notes)


def _tiles(
    report: OpenLoopReport, gap: PlanningGap | None, certified: CertifiedHorizon | None
) -> str:
    step, last, part = middle_horizon(report), report.horizons[-1], report.worst_part
    rule, best = part.best_rule(step)
    at_least = "≥ " if report.trusted_steps == report.max_horizon else ""
    but_for = f", but for {listed_parts(report.tied)}" if report.tied else ""
    tiles = [
        (
            f"{at_least}{report.trusted_steps}",
            f"trusted steps, of {report.max_horizon} examined{but_for}",
        ),
        (
            short(float(part.curves["model"].rmse[step - 1])),
            f"error of {named(part)}, the worst part, after {counted(step, 'step')}, in standard "
            "deviations",
        ),
        (short(best), f"error of the best simple rule there ({METHOD_NAMES[rule]})"),
    ]
    if certified is not None:
        tiles.insert(
            1,
            (
                f"{certified.certified}",
                f"steps guaranteed for {percent(1 - certified.alpha)} of windows; measured "
                f"{certified.measured}",
            ),
        )
    exact = report.tables["model"].exact[-1, -1]
    if report.is_integer.any():
        tiles.append(
            (percent(exact), f"of starts exact in every whole number after {counted(last, 'step')}")
        )
    if gap is not None and np.isfinite(gap.closed.low):
        tiles.append((percent(gap.closed.estimate), "of the planning gap closed"))
    cells = [
        f'<div class="tile"><b>{number}</b><span>{escape(text)}</span></div>'
        for number, text in tiles
    ]
    return f'<div class="tiles">{"".join(cells)}</div>'


def _error_chart(report: OpenLoopReport) -> str:
    """The error of the worst part, of the model and of simple rules."""
    steps, part = np.arange(1, report.max_horizon + 1), report.worst_part
    model = part.curves["model"]
    series = [
        Series(METHOD_NAMES[name], steps, curve.rmse, None, None, _COLOURS[name], is_dashed=True)
        for name, curve in part.curves.items()
        if name != "model"
    ]
    series.append(
        Series(METHOD_NAMES["model"], steps, model.rmse, model.low, model.high, _COLOURS["model"])
    )
    ends = [(curve.high[-1], curve.rmse[-1]) for curve in part.curves.values()]
    tops = [float(high if np.isfinite(high) else rmse) for high, rmse in ends]
    return line_chart(
        series,
        x_label="steps imagined ahead, without looking",
        y_label="error (standard deviations)",
        description="Error of the model's worst part and of simple rules against the number of "
        "imagined steps",
        y_limit=min(_WORST_SHOWN, 1.1 * max([*tops, report.tolerance * 1.3])),
        x_ticks=_thinned(report.horizons),
        shaded=(1, report.trusted_steps, "trusted") if report.trusted_steps > 1 else None,
        threshold=None
        if part.is_termination
        else (report.tolerance, "still trusted below this line"),
    )


def _error_section(report: OpenLoopReport, *, has_chart: bool) -> str:
    chart = _error_chart(report) if has_chart else ""
    return (
        "<h2>How the error grows</h2><p class=about>The model was shown one moment and the actions "
        "that followed, and "
        "left to imagine the rest. Error 0 is perfect; 1 is as bad as always guessing the average. "
        "The band is a 95% "
        f"interval that resamples whole episodes. What is shown is {escape(named(report.worst_part))}, the part "
        "that decides."
        f"</p><div class=chart>{chart}</div>{_part_table(report)}"
    )


def _part_table(report: OpenLoopReport) -> str:
    """How many steps each part can be trusted for: ties first, then the worst."""
    parts = sorted(report.parts, key=lambda part: (not part.is_tied, part.trusted_steps))
    step = middle_horizon(report)
    rows = []
    for part in parts[:_MAX_ROWS]:
        rmse = part.curves["model"].rmse
        steps = f"{part.trusted_steps} of {report.max_horizon}"
        if part.is_tied and part.is_good.all():
            steps = f"tie with “{METHOD_NAMES[part.reference]}”"
        errors = [short(float(rmse[step - 1])) for step in report.horizons]
        rows.append(_row([part.name, steps, *errors, _against_best(part, step)], "td"))
    head = _row(
        [
            "part",
            "trusted steps",
            *(f"error after {step}" for step in report.horizons),
            f"over the best simple rule's after {step}",
        ],
        "th",
    )
    rest = len(parts) - len(rows)
    more = (
        f"<p class=about>{counted(rest, 'more part')} can be trusted for as long or longer.</p>"
        if rest
        else ""
    )
    return f"<div class=scroll><table>{head}{''.join(rows)}</table></div>{more}"


def _against_best(part: JudgedPart, step: int) -> str:
    """The model's error over that of the best simple rule with its interval, and the rule."""
    rule, _ = part.best_rule(step)
    if rule not in part.ratios:
        return _NONE
    ratio, low, high = part.ratios[rule][:, step - 1]
    # Of a single episode there is no band.
    band = f" ({short(low)} to {short(high)})" if np.isfinite(high) else ""
    return f"{short(ratio)}{band}, {METHOD_NAMES[rule]}"


def _thinned(horizons: Sequence[int]) -> list[float]:
    """Horizons far enough apart to be written side by side."""
    kept: list[float] = []
    for step in horizons:
        if not kept or step - kept[-1] >= horizons[-1] / 16:
            kept.append(float(step))
    return kept


def _feature_section(report: OpenLoopReport) -> str:
    table = report.tables["model"]
    scaled = table.rmse[-1, :-1] / report.scale
    order = np.argsort(-scaled, kind="stable")
    rows = [_feature_row(report, int(index)) for index in order]
    names = ["feature", "spread", *(f"after {step}" for step in report.horizons), "median", "95%"]
    head = _row(names + ["exact"] * bool(report.is_integer.any()), "th")
    total = _row(
        _feature_cells(report, len(report.feature_names), "all, in spreads", "1"), "td", "total"
    )
    # Rows of zeros teach nothing; they fold away with what lies beyond the worst ones.
    num_shown = min(_MAX_ROWS, int((scaled > 1e-6).sum()))
    shown = f"<table>{head}{total}{''.join(rows[:num_shown])}</table>"
    rest = ""
    if len(rows) > num_shown:
        name = (
            f"The other {counted(len(rows) - num_shown, 'feature')}"
            if num_shown
            else f"All of {counted(len(rows), 'feature')}, without error"
        )
        rest = (
            f"<details><summary>{name}</summary><div class=scroll><table>{head}"
            f"{''.join(rows[num_shown:])}</table></div></details>"
        )
    last = report.horizons[-1]
    exact = (
        ", and the share predicted exactly (whole numbers only)," if report.is_integer.any() else ""
    )
    return (
        "<h2>Which features go wrong</h2><p class=about>Root mean squared error of each feature in "
        "its own unit, worst "
        "first; a darker cell is a larger share of the feature's spread (its standard deviation). "
        "Median and 95th "
        f"percentile of the absolute error{exact} are those after {counted(last, 'step')}.</p>"
        f"<div class=scroll>{shown}</div>{rest}"
    )


def _feature_row(report: OpenLoopReport, index: int) -> str:
    cells = _feature_cells(report, index, report.feature_names[index], short(report.scale[index]))
    shares = report.tables["model"].rmse[:, index] / report.scale[index]
    styles = ["", "", *(_tint(share) for share in shares)]
    styles += [""] * (len(cells) - len(styles))
    texts = [f"<td{style}>{escape(cell)}</td>" for cell, style in zip(cells, styles, strict=True)]
    return f"<tr>{''.join(texts)}</tr>"


def _feature_cells(report: OpenLoopReport, index: int, name: str, spread: str) -> list[str]:
    table = report.tables["model"]
    exact = table.exact[-1, index]
    cells = [name, spread, *(short(value) for value in table.rmse[:, index])]
    cells += [short(table.median[-1, index]), short(table.p95[-1, index])]
    if report.is_integer.any():
        cells.append(f"{exact:.1%}" if np.isfinite(exact) else _NONE)
    return cells


def _tint(share: float) -> str:
    percent = round(55 * float(np.clip(share, 0, 1)))
    return f' style="background:color-mix(in srgb,var(--c1) {percent}%,transparent)"'


def _row(cells: Sequence[str], tag: str, kind: str = "") -> str:
    return f'<tr class="{kind}">{"".join(f"<{tag}>{escape(cell)}</{tag}>" for cell in cells)}</tr>'


def _reward_section(report: OpenLoopReport) -> str:
    rewards = report.rewards
    if rewards.std == 0:
        sentence = (
            "Every recorded reward was the same, so there was nothing to predict; the model is off "
            "by at most "
        )
        sentence += f"{short(float(rewards.rmse['model'].max()))} (root mean square)."
        return f"<h2>Does it know what a step pays?</h2><p class=about>{sentence}</p>"
    names = [name for name in ("mean", "persistence", "ridge") if name in rewards.rmse] + ["model"]
    series = [
        Series(
            METHOD_NAMES[name],
            report.horizons,
            rewards.rmse[name],
            None,
            None,
            _COLOURS[name],
            name != "model",
        )
        for name in names
    ]
    top = 1.2 * max(rewards.rmse["mean"].max(), min(rewards.rmse["model"].max(), 2 * rewards.std))
    chart = line_chart(
        series,
        x_label="steps imagined ahead",
        y_label="reward error (root mean square)",
        description="Error of the predicted reward of the model and of simple rules against the "
        "steps imagined",
        y_limit=float(top),
        x_ticks=_thinned(report.horizons),
    )
    spread = short(rewards.std)
    sentence = (
        f"Recorded rewards have a spread of {spread}; “the average” always predicts their mean."
    )
    return f"<h2>Does it know what a step pays?</h2><p class=about>{sentence}</p><div class=chart>{chart}</div>"


def _end_section(report: OpenLoopReport) -> str:
    ends = report.ends
    head = [
        "within",
        "ended",
        "predicted",
        "AUROC",
        "average precision",
        "Brier",
        "Brier of a constant",
    ]
    rows = [
        _row(
            [
                counted(step, "step"),
                percent(ends.share[i]),
                percent(ends.mean_probability[i]),
                _optional(ends.auroc[i]),
                _optional(ends.average_precision[i]),
                short(ends.brier[i]),
                short(ends.base_brier[i]),
            ],
            "td",
        )
        for i, step in enumerate(report.horizons)
    ]
    table = (
        f"<div class=scroll><table>{_row(head, 'th')}{''.join(rows)}</table></div>"
        if any(ends.share)
        else ""
    )
    sentence = escape(ends_sentence(ends, report.horizons))
    return f"<h2>Does it know when it is over?</h2><p class=about>{sentence}</p>{table}"


def _optional(value: float | None) -> str:
    return _NONE if value is None else short(value)


def _calibration_section(report: OpenLoopReport) -> str:
    calibration = report.calibration
    sentence = escape(calibration_sentence(calibration, report.horizons))
    if calibration is None:
        return f"<h2>Does it know what it does not know?</h2><p class=about>{sentence}</p>"
    levels = 100 * np.array([0.0, *calibration.levels, 1.0])
    chosen = sorted({0, len(report.horizons) // 2, len(report.horizons) - 1})
    series = [Series("honest", [0, 100], [0, 100], colour=4, is_dashed=True)]
    for colour, i in zip((5, 0, 1), chosen, strict=False):
        measured = 100 * np.array([0.0, *calibration.coverage[i], 1.0])
        series.append(Series(f"after {report.horizons[i]}", levels, measured, colour=colour))
    chart = line_chart(
        series,
        x_label="claimed: outcomes inside the interval (%)",
        y_label="measured (%)",
        description="Measured against claimed coverage of the model's intervals",
        y_limit=100,
    )
    num = calibration.num_samples
    source = (
        f"{num} futures were sampled per start."
        if num
        else "These are the intervals that the model itself gives."
    )
    return (
        f"<h2>Does it know what it does not know?</h2><p class=about>{sentence} Below the diagonal "
        "a model is "
        f"overconfident. {source}</p><div class=chart>{chart}</div>"
    )


def _gap_section(gap: PlanningGap | None) -> str:
    if gap is None:
        return ""
    width = gap.oracle - gap.random
    limits = (gap.random + gap.closed.low * width, gap.random + gap.closed.high * width)
    marks = [
        ("random", gap.random, 1),
        ("this model", gap.learned, 0),
        ("true dynamics", gap.oracle, 3),
    ]
    chart = number_line(
        marks,
        limits,
        "Mean return of random actions, of planning with the model and with the truth",
    )
    cut = "" if gap.max_steps is None else f", cut after {gap.max_steps} steps"
    return (
        f"<h2>What planning with it is worth</h2><p class=about>{escape(gap_sentence(gap))} Mean "
        f"return per episode{cut}:</p><div class=chart>{chart}</div>"
    )


def _method_section(report: OpenLoopReport) -> str:
    windows = ", ".join(
        f"{num} for {step}" for num, step in zip(report.num_windows, report.horizons, strict=True)
    )
    checked = (
        "and none of them occurs in the training data"
        if report.was_checked_for_duplicates
        else "not checked further"
    )
    items = {
        "Held out": f"{counted(report.num_episodes, 'episode')}, {checked}",
        "Starts": f"drawn from all recorded steps; by horizon: {windows}",
        "Open loop": "the model sees one real observation (and what came before, if it has a "
        "memory), then actions",
        "Error": "root mean square over starts, in standard deviations of what is predicted",
        "Trusted": "up to the first step at which, in any part, the interval's upper end passes "
        f"{report.tolerance:g} or a simple rule predicts clearly better: by more than a twentieth, "
        "and beyond what the differences between episodes explain (a 95% band from whole episodes "
        "resampled, the same for both); of ends, at which a constant guess has a better Brier score beyond chance",
        "Tie": "a part that the model predicts clearly better than “nothing changes” and “the "
        "average” after no step, and clearly worse after none; a feature that is tied is named and "
        "set aside; a model that is clearly better in no part is trusted for no step",
        "Parts": "each feature, one-hot, angle or array by itself, the reward, and the end of "
        "episodes where there are "
        "any; what never varies cannot be judged",
        "Nothing changes": "the last observation and reward repeat",
        "The average": "the mean observation and reward of training",
        "Constant velocity": "the last change repeats",
        "Ridge regression": "next observation and reward as a linear function of observation and "
        "action",
    }
    terms = "".join(
        f"<dt>{escape(name)}</dt><dd>{escape(text)}</dd>" for name, text in items.items()
    )
    return (
        f"<h2>How this was measured</h2><dl>{terms}</dl><footer>All numbers are in "
        "scorecard.json.</footer>"
    )
