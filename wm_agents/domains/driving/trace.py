"""Why the car did what it did: a decision trace as JSON, and a page that shows it.

One record per traced decision: what the car saw, what was chosen, what the model expects of it with
90% intervals, and the best alternatives with the cost terms, in seconds, that decided against them.
"""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wm_agents.domains.driving.planner import (
    DRIVEN,
    FIRST_ACTION,
    OFFSET,
    SIDESLIP,
    SPEED,
    TERMS,
    Decision,
)
from wm_envs.driving.dynamics import TIME_STEP

NUM_ALTERNATIVES = 3
SHOWN_STEPS = (10, 20, 30, 44)

PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>Decision trace</title>
<style>
body {{ font: 15px/1.5 system-ui; margin: 2rem auto; max-width: 60rem; color: #262b33; background: #faf8f3 }}
table {{ border-collapse: collapse; margin: .5rem 0 1.5rem }} td, th {{ padding: .2rem .8rem; text-align: right }}
tr.chosen {{ background: #e4e1d9; font-weight: 600 }} input {{ width: 100% }} svg {{ background: #fff; width: 100% }}
</style>
<h1>Decision trace</h1><p>{title}</p>
<input id="slider" type="range" min="0" max="{last}" value="0" aria-label="decision"><h2 id="head"></h2>
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
    `${{d.time.toFixed(2)}} s, ${{(3.6 * d.seen.speed).toFixed(0)}} km/h, offset ${{d.seen.offset.toFixed(2)}} m: ` +
    `steering ${{steering}}, throttle ${{throttle}}, brake ${{brake}}`;
  const plans = [d.chosen, ...d.alternatives];
  document.getElementById('plans').innerHTML = row(['plan', ...terms, 'sum'], 'th') + plans.map((p, k) =>
    row([k ? 'alternative ' + k : 'chosen', ...terms.map(t => p.costs[t].toFixed(3)), p.sum.toFixed(3)], 'td',
      k ? '' : 'chosen')).join('');
  document.getElementById('expected').innerHTML = row(['in', 'driven', 'offset', '90%', 'speed', '90%'], 'th') +
    d.expected.map(e => row([e.seconds.toFixed(2) + ' s', e.driven.toFixed(1) + ' m', e.offset.toFixed(2) + ' m',
      '&plusmn; ' + e.offset_interval.toFixed(2), (3.6 * e.speed).toFixed(0) + ' km/h',
      '&plusmn; ' + (3.6 * e.speed_interval).toFixed(1)], 'td')).join('');
  const line = (p, colour, width) => `<polyline fill="none" stroke="${{colour}}" stroke-width="${{width}}" points="` +
    p.path.map(q => `${{10 + q[0] * 9}},${{110 - q[1] * 12}}`).join(' ') + '"/>';
  document.getElementById('plot').innerHTML = '<line x1="0" x2="900" y1="110" y2="110" stroke="#ddd"/>' +
    d.alternatives.map(p => line(p, '#9a9da3', 1.5)).join('') + line(d.chosen, '#c4282e', 3);
}}
const slider = document.getElementById('slider');
slider.oninput = () => show(+slider.value); show(0);
</script></html>
"""


@dataclass
class Trace:
    """Collects records while a car is driven; pass `add` as `drive_laps(..., on_decision=...)`.

    Attributes:
        every: Steps between traced decisions.
        bands: Half widths [H, 2] of 90% intervals of offset (m) and speed (m/s) at each step ahead.
        records: What was traced, plain numbers and lists.
    """

    every: int
    bands: NDArray[np.float64]
    records: list[dict[str, Any]] = field(default_factory=list)

    def add(self, step: int, observation: NDArray[np.float32], decision: Decision, _: Any) -> None:
        """Trace this decision if its turn has come."""
        if step % self.every:
            return
        order = np.argsort(decision.costs.sum(axis=1))[: NUM_ALTERNATIVES + 1]
        self.records.append(
            {
                "step": step,
                "time": round(step * TIME_STEP, 2),
                "seen": _seen(observation),
                "action": _rounded(decision.action),
                "chosen": _plan(decision, decision.chosen),
                "alternatives": [_plan(decision, int(n)) for n in order if n != decision.chosen][
                    :NUM_ALTERNATIVES
                ],
                "expected": [self._expected(decision, step_ahead) for step_ahead in SHOWN_STEPS],
            }
        )

    def write(self, folder: Path, title: str) -> None:
        """Write trace.json and trace.html."""
        (folder / "trace.json").write_text(json.dumps(self.records) + "\n", encoding="utf-8")
        page = PAGE.format(
            title=title,
            last=len(self.records) - 1,
            records=json.dumps(self.records),
            terms=json.dumps(TERMS),
        )
        (folder / "trace.html").write_text(page, encoding="utf-8")

    def _expected(self, decision: Decision, step: int) -> dict[str, float]:
        step = min(step, decision.paths.shape[1] - 1)
        at, band = decision.paths[decision.chosen, step], self.bands[min(step, len(self.bands) - 1)]
        names = (
            "seconds",
            "driven",
            "offset",
            "offset_interval",
            "speed",
            "speed_interval",
            "sideslip",
        )
        values = (
            (step + 1) * TIME_STEP,
            at[DRIVEN],
            at[OFFSET],
            band[0],
            at[SPEED],
            band[1],
            at[SIDESLIP],
        )
        return dict(zip(names, _rounded(np.array(values)), strict=True))


def _seen(observation: NDArray[np.float32]) -> dict[str, float]:
    return {
        "speed": round(float(np.hypot(observation[0], observation[1])), 3),
        "track_position": round(float(observation[21]), 5),
        "offset": round(float(observation[22]), 3),
        "heading_error": round(float(observation[23]), 4),
    }


def _plan(decision: Decision, number: int) -> dict[str, Any]:
    costs = decision.costs[number]
    path = decision.paths[number, ::4]
    return {
        "action": _rounded(decision.paths[number, 0, FIRST_ACTION]),
        "costs": dict(zip(TERMS, _rounded(costs), strict=True)),
        "sum": round(float(costs.sum()), 4),
        "path": [[round(float(p[DRIVEN]), 2), round(float(p[OFFSET]), 3)] for p in path],
    }


def _rounded(values: NDArray[Any]) -> list[float]:
    return [round(float(value), 4) for value in values]
