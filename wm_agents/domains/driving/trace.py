"""Why the car did what it did: decisions as JSON, as a page, as a film and as a picture.

One record per traced decision: what the car observed, what was selected, what the model expects of
it with 90% intervals, and the best alternatives with the cost terms, in seconds, that decided
against them, among them the fallback policy. What was judged for its risk says what it costs where
all goes as expected and in the worst scenario. Road and racing line lie beneath the paths.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wm_agents.domains.driving.objective import TERMS
from wm_agents.domains.driving.rollouts import PATH_ACTION, Floats, PathColumn
from wm_agents.protocols import Plan
from wm_envs.driving import render
from wm_envs.driving.columns import DrivingColumn as Column
from wm_envs.driving.dynamics import TIME_STEP
from wm_envs.driving.expert import line_of
from wm_envs.driving.raceline import RacingLine
from wm_envs.rules import Array

FALLBACK = 0  # the row of the fallback policy among a plan's candidates
NUM_ALTERNATIVES = 4
NUM_ROAD_POINTS = 30
NUM_DRAWN_ALTERNATIVES = 5
SHOWN_STEPS = (10, 20, 30, 44)
PATH_STRIDE = 4  # of the steps of a path in a record

PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>Decision trace</title>
<style>
body {{ font: 15px/1.5 system-ui; margin: 2rem auto; max-width: 60rem }}
body {{ color: #262b33; background: #faf8f3 }}
table {{ border-collapse: collapse; margin: .5rem 0 1.5rem }}
td, th {{ padding: .2rem .8rem; text-align: right }}
tr.chosen {{ background: #e4e1d9; font-weight: 600 }}
input {{ width: 100% }} .key {{ margin: .2rem 0 }} svg {{ background: #fff; width: 100% }}
</style>
<h1>Decision trace</h1><p>{title}</p>
<input id="slider" type="range" min="0" max="{last}" value="0" aria-label="decision">
<h2 id="head"></h2>
<svg id="plot" viewBox="0 0 900 260" role="img" aria-label="Imagined offsets over distance"></svg>
<p class="key"><b style="color:#c4282e">chosen</b> <b style="color:#9a9da3">alternatives</b>
<b style="color:#2f6db3">fallback</b> <b style="color:#3a8f4d">racing line</b> road in grey.
Costs in seconds, less is better; "worst" is the cost in the worst scenario.</p>
<table id="plans"></table><table id="expected"></table>
<script>
const trace = {records};
const terms = {terms};
const row = (cells, tag, cls) =>
  `<tr class="${{cls || ''}}">` + cells.map(c => `<${{tag}}>${{c}}</${{tag}}>`).join('') + '</tr>';
function show(i) {{
  const d = trace[i];
  const [steering, throttle, brake] = d.action.map(a => a.toFixed(2));
  document.getElementById('head').textContent =
    `${{d.time.toFixed(2)}} s, ${{(3.6 * d.seen.speed).toFixed(0)}} km/h, ` +
    `offset ${{d.seen.offset.toFixed(2)}} m: ` +
    `steering ${{steering}}, throttle ${{throttle}}, brake ${{brake}}`;
  const plans = [d.chosen, ...d.alternatives];
  const worst = p => p.worst === null ? 'not judged' : p.worst.toFixed(3);
  const name = (p, k) => p.is_fallback ? 'fallback' : k ? 'alternative ' + k : 'chosen';
  const cells = (p, k) => [name(p, k),
    ...terms.map(t => p.costs[t].toFixed(3)), p.sum.toFixed(3), worst(p)];
  document.getElementById('plans').innerHTML = row(['plan', ...terms, 'sum', 'worst'], 'th') +
    plans.map((p, k) => row(cells(p, k), 'td', k ? '' : 'chosen')).join('');
  const expected = e => [e.seconds.toFixed(2) + ' s', e.driven.toFixed(1) + ' m',
    e.offset.toFixed(2) + ' m', '&plusmn; ' + e.offset_interval.toFixed(2),
    (3.6 * e.speed).toFixed(0) + ' km/h', '&plusmn; ' + (3.6 * e.speed_interval).toFixed(1)];
  document.getElementById('expected').innerHTML =
    row(['in', 'driven', 'offset', '90%', 'speed', '90%'], 'th') +
    d.expected.map(e => row(expected(e), 'td')).join('');
  const end = Math.max(...[d.chosen, ...d.alternatives].map(p => p.path[p.path.length - 1][0]));
  const wide = Math.max(6, ...d.road.map(q => Math.max(Math.abs(q[1]), Math.abs(q[2]))));
  const at = (along, offset) =>
    `${{(10 + along * 880 / end).toFixed(1)}},${{(130 - offset * 120 / wide).toFixed(1)}}`;
  const line = (points, color, width, dash) => `<polyline fill="none" stroke="${{color}}" ` +
    `stroke-width="${{width}}" stroke-dasharray="${{dash || ''}}" points="${{points.join(' ')}}"/>`;
  const path = (p, color, width) => line(p.path.map(q => at(q[0], q[1])), color, width);
  const edge = i => d.road.map(q => at(q[0], q[i]));
  const road = d.road.length ?
    `<polygon fill="#e9e7e2" points="${{[...edge(1), ...edge(2).reverse()].join(' ')}}"/>` : '';
  const racing = d.road.length && d.road[0].length > 3 ? line(edge(3), '#3a8f4d', 2, '6 5') : '';
  document.getElementById('plot').innerHTML = road + racing +
    d.alternatives.map(p => path(p, p.is_fallback ? '#2f6db3' : '#9a9da3', 1.5)).join('') +
    path(d.chosen, '#c4282e', 3);
}}
const slider = document.getElementById('slider');
slider.oninput = () => show(+slider.value); show(0);
</script></html>
"""


class DecisionTrace:
    """Collects records while a car is driven; pass `add` as `drive_laps(..., on_plan=...)`.

    Args:
        every: Steps between traced decisions.
        intervals: Half widths [H, 2] of 90% intervals of offset (m) and speed (m/s) at each step
            ahead.
        parameters: The parameter row [1] of the environment, for the road; None leaves it out.
        line: The racing line, drawn on the road.

    Attributes:
        records: What was traced, plain numbers and lists.
    """

    def __init__(
        self,
        every: int,
        intervals: NDArray[np.float64],
        parameters: Array | None = None,
        line: RacingLine | None = None,
    ) -> None:
        self.every = every
        self.intervals = intervals
        self._parameters = parameters
        self._line = line
        self.records: list[dict[str, Any]] = []

    def add(self, step: int, observation: NDArray[np.float32], plan: Plan, _: Any) -> None:
        """Trace this decision if its turn has come."""
        if step % self.every:
            return
        paths, costs, selected = candidates_of(plan)
        judgements = judgements_of(plan)
        sums = costs.sum(axis=1)
        # Those that were judged for their risk first, then by what they cost.
        order = np.lexsort((sums, np.isnan(judgements[1])))
        others = [int(n) for n in order if n != selected][:NUM_ALTERNATIVES]
        has_fallback = bool(np.isfinite(judgements[1, FALLBACK]))
        if has_fallback and selected != FALLBACK and FALLBACK not in others:
            others[-1] = FALLBACK
        self.records.append(
            {
                "step": step,
                "time": round(step * TIME_STEP, 2),
                "seen": _observed(observation),
                "action": _rounded(plan.actions[0, 0].numpy()),
                "chosen": _record_of(paths[selected], costs[selected], judgements[:, selected]),
                "alternatives": [
                    {
                        "is_fallback": has_fallback and n == FALLBACK,
                        **_record_of(paths[n], costs[n], judgements[:, n]),
                    }
                    for n in others
                ],
                "expected": [self._expected(paths[selected], ahead) for ahead in SHOWN_STEPS],
                "road": self._road(paths[selected]),
            }
        )

    def _road(self, path: Floats) -> list[list[float]]:
        """Rows of metres ahead, left edge, right edge and racing line, along a path [H + 1, 9]."""
        if self._parameters is None:
            return []
        row = self._parameters.reshape(-1)[0]
        start = path[0, PathColumn.DISTANCE]
        ahead = np.linspace(0.0, max(path[-1, PathColumn.DISTANCE] - start, 1.0), NUM_ROAD_POINTS)
        places = np.mod(start + ahead, row["length"]) * row["inverse_spacing"]
        points = np.arange(row["num_points"] + 1)
        tables = [row[name][: len(points)] for name in ("left", "right")]
        offsets = [tables[0], -tables[1]]
        if self._line is not None:
            offsets.append(np.append(self._line.offset, self._line.offset[0]))
        columns = [ahead, *(np.interp(places, points, table) for table in offsets)]
        return [_rounded(values) for values in np.stack(columns, axis=1)]

    def write(self, folder: Path, title: str) -> None:
        """Write trace.json and trace.html."""
        records = json.dumps(self.records)
        (folder / "trace.json").write_text(records + "\n", encoding="utf-8")
        page = PAGE.format(
            title=title, last=len(self.records) - 1, records=records, terms=json.dumps(TERMS)
        )
        (folder / "trace.html").write_text(page, encoding="utf-8")

    def _expected(self, path: Floats, ahead: int) -> dict[str, float]:
        """What a path [H + 1, 9] has `ahead + 1` steps from its start, or at its end."""
        index = min(ahead, len(path) - 2)
        expected = path[index + 1]
        offset_interval, speed_interval = self.intervals[min(index, len(self.intervals) - 1)]
        values = {
            "seconds": (index + 1) * TIME_STEP,
            "driven": expected[PathColumn.DISTANCE] - path[0, PathColumn.DISTANCE],
            "offset": expected[PathColumn.OFFSET],
            "offset_interval": offset_interval,
            "speed": expected[PathColumn.SPEED],
            "speed_interval": speed_interval,
            "sideslip": expected[PathColumn.SIDESLIP],
        }
        return {name: round(float(value), 4) for name, value in values.items()}


def candidates_of(plan: Plan) -> tuple[Floats, Floats, int]:
    """Paths [N, H + 1, 9] and costs [N, K] of a plan for one car, and which was selected."""
    assert plan.candidates is not None  # the driving planner tells
    candidates = plan.candidates
    costs = np.stack([-candidates.terms[name][0].numpy() for name in TERMS], axis=1)
    return candidates.rollouts.observations[0].numpy(), costs, int(candidates.selected[0])


def judgements_of(plan: Plan) -> Floats:
    """Costs [2, N] of a plan's candidates for one car: as expected, and in the worst scenario.

    NaN for those that were not judged.
    """
    assert plan.candidates is not None
    if plan.candidates.judgements is None:
        return np.full((2, plan.candidates.rollouts.observations.shape[1]), np.nan)
    values = plan.candidates.judgements[0].numpy()
    return np.stack([-values[0], -values.min(axis=0)])


def _observed(observation: NDArray[np.float32]) -> dict[str, float]:
    speed = np.hypot(observation[Column.VELOCITY_X], observation[Column.VELOCITY_Y])
    return {
        "speed": round(float(speed), 3),
        "track_position": round(float(observation[Column.TRACK_POSITION]), 5),
        "offset": round(float(observation[Column.OFFSET]), 3),
        "heading_error": round(float(observation[Column.HEADING_ERROR]), 4),
    }


def _record_of(path: Floats, costs: Floats, judgements: Floats) -> dict[str, Any]:
    shown = path[1::PATH_STRIDE]
    driven = shown[:, PathColumn.DISTANCE] - path[0, PathColumn.DISTANCE]
    offsets = shown[:, PathColumn.OFFSET]
    return {
        "action": _rounded(path[1, PATH_ACTION]),
        "costs": dict(zip(TERMS, _rounded(costs), strict=True)),
        "sum": round(float(costs.sum()), 4),
        "worst": None if np.isnan(judgements[1]) else round(float(judgements[1]), 4),
        "path": [
            [round(float(along), 2), round(float(offset), 3)]
            for along, offset in zip(driven, offsets, strict=True)
        ],
    }


def _rounded(values: NDArray[Any]) -> list[float]:
    return [round(float(value), 4) for value in values]


class LapFilm:
    """Pictures of a drive with the selected plan and its alternatives.

    Args:
        parameters: The parameter row [1] of the environment.
        every: Steps between pictures.
        line: The racing line that is drawn; None draws the one whose profile is the limit.

    Attributes:
        frames: Pictures, uint8 [240, 320, 3].
        places: Distance, offset and forward speed at each step.
    """

    def __init__(self, parameters: Array, every: int, line: RacingLine | None = None) -> None:
        self._every = every
        self._parameters = parameters
        self._limit = line_of(parameters)
        self._line = line or self._limit
        self.frames: list[NDArray[np.uint8]] = []
        self.places: list[tuple[float, float, float]] = []

    def add(self, step: int, _: NDArray[np.float32], plan: Plan, state: Any) -> None:
        """Draw this decision if its turn has come."""
        place = (float(state["distance"]), float(state["offset"]), float(state["vx"]))
        self.places.append(place)
        if step % self._every:
            return
        paths, costs, selected = candidates_of(plan)
        drawn = paths[:, 1::3, [PathColumn.DISTANCE, PathColumn.OFFSET]]
        cheapest = np.argsort(costs.sum(axis=1))[1 : NUM_DRAWN_ALTERNATIVES + 1]
        frame = render.draw(
            state,
            self._parameters[0],
            line=self._line.offset,
            plan=drawn[selected],
            alternatives=[drawn[n] for n in cheapest],
        )
        self.frames.append(np.ascontiguousarray(frame[::2, ::2]))

    def write(self, folder: Path) -> None:
        """Write lap.gif, twice as fast as it was."""
        import imageio.v3 as imageio

        imageio.imwrite(folder / "lap.gif", np.stack(self.frames), duration=250, loop=0)

    def write_plot(self, folder: Path, trace: DecisionTrace) -> None:
        """Write plan.png.

        The driven line over the circuit, speed beside the limit, and the decision of the highest
        risk: its paths on the road, and what each costs as expected and in the worst scenario.
        """
        import matplotlib

        matplotlib.use("Agg")
        import matplotlib.pyplot as plt

        figure, ((map_axes, speed_axes), (path_axes, cost_axes)) = plt.subplots(
            2, 2, figsize=(13, 9), width_ratios=(1.2, 1.0)
        )
        record = max(trace.records, key=_risk)
        self._draw_line(figure, map_axes)
        self._draw_speed(speed_axes)
        _draw_paths(path_axes, record, trace.intervals)
        _draw_costs(cost_axes, record)
        figure.tight_layout()
        figure.savefig(folder / "plan.png", dpi=110)
        plt.close(figure)

    def _draw_line(self, figure: Any, axes: Any) -> None:
        distances, offsets, speeds = np.array(self.places).T
        x, y = render.road_points(self._parameters[0], distances, offsets)
        drawn = axes.scatter(x, y, c=3.6 * speeds, s=2, cmap="viridis")
        figure.colorbar(drawn, ax=axes, label="km/h")
        axes.set_aspect("equal")
        axes.set_title("what was driven")

    def _draw_speed(self, axes: Any) -> None:
        distances, _, speeds = np.array(self.places).T
        limit = self._limit.speed
        length = float(self._parameters["length"][0])
        along = np.linspace(0, length, len(limit), endpoint=False)
        axes.plot(along, 3.6 * limit, color="0.6", label="quasi-steady limit")
        axes.plot(
            distances,
            3.6 * speeds,
            ".",
            markersize=1,
            color="tab:red",
            label="planned in the model",
        )
        axes.set(xlabel="m along the lap", ylabel="km/h", title="speed")
        axes.legend(loc="lower right")


def _risk(record: dict[str, Any]) -> float:
    """What the chosen plan of a record costs more in the worst scenario than as expected, s."""
    worst, expected = record["chosen"]["worst"], record["chosen"]["sum"]
    return 0.0 if worst is None else float(worst - expected)


def _draw_paths(axes: Any, record: dict[str, Any], intervals: NDArray[np.float64]) -> None:
    if record["road"]:
        ahead, left, right, *line = np.array(record["road"]).T
        axes.fill_between(ahead, right, left, color="0.92", label="road")
        for offset in line:
            axes.plot(ahead, offset, "--", color="tab:green", label="racing line")
    for plan in record["alternatives"]:
        is_fallback = plan["is_fallback"]
        color = "tab:blue" if is_fallback else "0.6"
        label = "fallback" if is_fallback else None
        axes.plot(*np.array(plan["path"]).T, color=color, label=label)
    driven, offset = np.array(record["chosen"]["path"]).T
    axes.plot(driven, offset, color="tab:red", label="chosen, 90% interval")
    width = intervals[::PATH_STRIDE, 0][: len(driven)]
    axes.fill_between(driven, offset - width, offset + width, color="tab:red", alpha=0.2)
    axes.set(
        xlabel="m ahead",
        ylabel="m to the left of the centre line",
        title=f"the riskiest traced decision, at {record['time']:.1f} s",
    )
    axes.legend(fontsize="small")


def _draw_costs(axes: Any, record: dict[str, Any]) -> None:
    """Bars of what the plans of a record cost, against the chosen one."""
    plans = [record["chosen"], *record["alternatives"]]
    names = ["chosen", *(f"alternative {k}" for k in range(1, len(plans)))]
    names = [
        "fallback" if plan.get("is_fallback") else name
        for plan, name in zip(plans, names, strict=True)
    ]
    places = np.arange(len(plans))
    expected = np.array([plan["sum"] for plan in plans]) - plans[0]["sum"]
    worst = [np.nan if plan["worst"] is None else plan["worst"] - plans[0]["sum"] for plan in plans]
    axes.barh(places - 0.2, expected, 0.4, color="0.6", label="as expected")
    axes.barh(places + 0.2, worst, 0.4, color="tab:red", label="in the worst scenario")
    axes.axvline(0.0, color="0.3", linewidth=0.8)
    axes.set_yticks(places, names)
    axes.invert_yaxis()
    axes.set(xlabel="s more than the chosen plan is expected to cost", title="what plans cost")
    axes.legend(fontsize="small")
