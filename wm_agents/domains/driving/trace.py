"""Why the car did what it did: decisions as JSON, as a page, as a film and as a picture.

One record per traced decision: what the car observed, what was selected, what the model expects of
it with 90% intervals, and the best alternatives with the cost terms, in seconds, that decided
against them.
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
from wm_envs.rules import Array

NUM_ALTERNATIVES = 3
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
input {{ width: 100% }} svg {{ background: #fff; width: 100% }}
</style>
<h1>Decision trace</h1><p>{title}</p>
<input id="slider" type="range" min="0" max="{last}" value="0" aria-label="decision">
<h2 id="head"></h2>
<svg id="plot" viewBox="0 0 900 220" role="img" aria-label="Imagined offsets over distance"></svg>
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
  const cells = (p, k) => [k ? 'alternative ' + k : 'chosen',
    ...terms.map(t => p.costs[t].toFixed(3)), p.sum.toFixed(3)];
  document.getElementById('plans').innerHTML = row(['plan', ...terms, 'sum'], 'th') +
    plans.map((p, k) => row(cells(p, k), 'td', k ? '' : 'chosen')).join('');
  const expected = e => [e.seconds.toFixed(2) + ' s', e.driven.toFixed(1) + ' m',
    e.offset.toFixed(2) + ' m', '&plusmn; ' + e.offset_interval.toFixed(2),
    (3.6 * e.speed).toFixed(0) + ' km/h', '&plusmn; ' + (3.6 * e.speed_interval).toFixed(1)];
  document.getElementById('expected').innerHTML =
    row(['in', 'driven', 'offset', '90%', 'speed', '90%'], 'th') +
    d.expected.map(e => row(expected(e), 'td')).join('');
  const points = p => p.path.map(q => `${{10 + q[0] * 9}},${{110 - q[1] * 12}}`).join(' ');
  const line = (p, color, width) =>
    `<polyline fill="none" stroke="${{color}}" stroke-width="${{width}}" points="${{points(p)}}"/>`;
  document.getElementById('plot').innerHTML =
    '<line x1="0" x2="900" y1="110" y2="110" stroke="#ddd"/>' +
    d.alternatives.map(p => line(p, '#9a9da3', 1.5)).join('') + line(d.chosen, '#c4282e', 3);
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

    Attributes:
        records: What was traced, plain numbers and lists.
    """

    def __init__(self, every: int, intervals: NDArray[np.float64]) -> None:
        self.every = every
        self.intervals = intervals
        self.records: list[dict[str, Any]] = []

    def add(self, step: int, observation: NDArray[np.float32], plan: Plan, _: Any) -> None:
        """Trace this decision if its turn has come."""
        if step % self.every:
            return
        paths, costs, selected = candidates_of(plan)
        order = np.argsort(costs.sum(axis=1))[: NUM_ALTERNATIVES + 1]
        others = [int(n) for n in order if n != selected][:NUM_ALTERNATIVES]
        self.records.append(
            {
                "step": step,
                "time": round(step * TIME_STEP, 2),
                "seen": _observed(observation),
                "action": _rounded(plan.actions[0, 0].numpy()),
                "chosen": _record_of(paths[selected], costs[selected]),
                "alternatives": [_record_of(paths[n], costs[n]) for n in others],
                "expected": [self._expected(paths[selected], ahead) for ahead in SHOWN_STEPS],
            }
        )

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


def _observed(observation: NDArray[np.float32]) -> dict[str, float]:
    speed = np.hypot(observation[Column.VELOCITY_X], observation[Column.VELOCITY_Y])
    return {
        "speed": round(float(speed), 3),
        "track_position": round(float(observation[Column.TRACK_POSITION]), 5),
        "offset": round(float(observation[Column.OFFSET]), 3),
        "heading_error": round(float(observation[Column.HEADING_ERROR]), 4),
    }


def _record_of(path: Floats, costs: Floats) -> dict[str, Any]:
    shown = path[1::PATH_STRIDE]
    driven = shown[:, PathColumn.DISTANCE] - path[0, PathColumn.DISTANCE]
    offsets = shown[:, PathColumn.OFFSET]
    return {
        "action": _rounded(path[1, PATH_ACTION]),
        "costs": dict(zip(TERMS, _rounded(costs), strict=True)),
        "sum": round(float(costs.sum()), 4),
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

    Attributes:
        frames: Pictures, uint8 [240, 320, 3].
        places: Distance, offset and forward speed at each step.
    """

    def __init__(self, parameters: Array, every: int) -> None:
        self._every = every
        self._parameters = parameters
        self._line = line_of(parameters)
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

        The driven line over the circuit, speed beside the limit, and a plan with its intervals.
        """
        import matplotlib

        matplotlib.use("Agg")
        import matplotlib.pyplot as plt

        figure, axes = plt.subplots(1, 3, figsize=(16, 5), width_ratios=(1.2, 1.4, 1.2))
        self._draw_line(figure, axes[0])
        self._draw_speed(axes[1])
        _draw_record(axes[2], trace.records[len(trace.records) // 2], trace.intervals)
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
        limit = self._line.speed
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


def _draw_record(axes: Any, record: dict[str, Any], intervals: NDArray[np.float64]) -> None:
    for plan in record["alternatives"]:
        axes.plot(*np.array(plan["path"]).T, color="0.7")
    driven, offset = np.array(record["chosen"]["path"]).T
    axes.plot(driven, offset, color="tab:red")
    width = intervals[::PATH_STRIDE, 0][: len(driven)]
    axes.fill_between(driven, offset - width, offset + width, color="tab:red", alpha=0.2)
    axes.set(
        xlabel="m driven",
        ylabel="offset, m",
        title=f"a plan at {record['time']:.1f} s, 90% intervals",
    )
