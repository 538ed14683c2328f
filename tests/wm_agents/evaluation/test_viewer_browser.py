"""The viewer's page in a real browser: it loads, plays, branches and computes as Python does."""

import json
import re
import shutil
import subprocess
from html import unescape
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import wm_agents as wma
from wm_agents.errors import SpaceError
from wm_agents.evaluation.viewer import viewer
from wm_agents.evaluation.viewer_frames import png, shrink
from wm_envs import record

BROWSER = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
needs_browser = pytest.mark.skipif(
    BROWSER is None, reason="no Chromium is installed: the page was run by node alone"
)
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-sync",
    "--disable-background-networking",
    "--disable-component-update",
]

LISTEN = """<script>window.PROBLEMS=[];window.addEventListener("error",(e)=>PROBLEMS.push(e.message));
for(const kind of ["error","warn"])console[kind]=(...all)=>PROBLEMS.push(all.join(" "));
document.addEventListener("securitypolicyviolation",(e)=>PROBLEMS.push(e.blockedURI));</script>"""

DRIVE = """<script>(async()=>{const $=(id)=>document.getElementById(id),seen={};
const note=(name)=>{seen[name]={where:$("where").textContent,play:$("play").textContent,
step:VIEWER.state.step,plots:document.querySelectorAll("#plots svg").length,
branches:document.querySelectorAll("#plots .branch").length,frame:$("still").style.backgroundPosition,
wide:document.documentElement.scrollWidth<=window.innerWidth}};
note("loaded");
const picture=new Image();picture.src=$("still").style.backgroundImage.slice(5,-2);
// Part of the page, so that virtual time waits for it: decode() runs beside that clock.
picture.hidden=true;document.body.append(picture);
await new Promise((go)=>window.addEventListener("load",go));seen.picture=[picture.naturalWidth,picture.naturalHeight];
$("play").click();await new Promise((go)=>setTimeout(go,1100));note("playing");$("play").click();
$("scrub").value=2;$("scrub").dispatchEvent(new Event("input"));note("scrubbed");
const slider=$("action0");slider.value=slider.max;slider.dispatchEvent(new Event("change"));note("branched");
seen.branch=VIEWER.state.branch.observations;
const given=GIVEN;seen.rollouts=given.map(([start,actions])=>VIEWER.model.rollout(start,actions).observations[1]);
seen.loads=performance.getEntriesByType("resource").map((e)=>e.name).filter((n)=>!n.startsWith("data:"));
seen.problems=PROBLEMS;const out=document.createElement("pre");out.id="seen";
out.textContent=JSON.stringify(seen);document.body.append(out);})()</script>"""


@needs_browser
def test_the_page_in_a_browser(tmp_path: Path) -> None:
    data = record("Pendulum-v1", episodes=9, seed=0, progress=False)
    model = wma.DeterministicModel.for_env(
        "Pendulum-v1", wma.DeterministicConfig(dynamics_widths=(16, 16), reward_widths=(8,))
    )
    model.fit(data, wma.FitConfig(num_updates=5))
    frames = np.zeros((201, 300, 200, 3), np.uint8)
    frames[np.arange(201), np.arange(201)] = (250, 40, 90)
    path = viewer(model, data, tmp_path / "look.html", horizon=30, frames=[frames])
    rows = np.random.default_rng(0).integers(0, data.num_steps, 1000)
    starts, actions = data.start_observations[rows], data.actions[rows]
    given = [[a, [b]] for a, b in zip(starts.tolist(), actions.tolist(), strict=True)]
    page = path.read_text(encoding="utf-8").replace("<title>", f"{LISTEN}<title>", 1)
    page = page.replace("</body>", DRIVE.replace("GIVEN", json.dumps(given)) + "</body>")
    path.write_text(page, encoding="utf-8")
    seen = browse(path, tmp_path)
    assert seen["problems"] == []
    assert seen["loads"] == []
    assert seen["picture"] == [50, 201 * 75]
    assert seen["loaded"]["where"] == "step 0 of 30, episode 1 from step 0"
    assert seen["loaded"]["plots"] == 4
    assert seen["playing"]["play"] == "Pause"
    assert seen["playing"]["step"] >= 5
    assert seen["scrubbed"]["step"] == 2
    assert seen["scrubbed"]["frame"] == "0px 1%"
    assert seen["scrubbed"]["branches"] == 0
    assert seen["branched"]["branches"] == 4
    expected = model.predict(starts, actions).observations.numpy()
    np.testing.assert_allclose(seen["rollouts"], expected, rtol=1e-4, atol=1e-4)
    changed = data.actions[:30].copy()
    changed[2] = 2.0
    branch = model.rollout(data.observations[:1], torch.as_tensor(changed[None]))
    np.testing.assert_allclose(seen["branch"], branch.observations[0], rtol=1e-3, atol=1e-3)


def browse(path: Path, folder: Path) -> Any:
    """What the page wrote into itself once it was driven.

    Chromium prints the page when its virtual time is spent, and on a busy machine that can be
    before the page is done: more time is given twice before that counts as a failure.
    """
    assert BROWSER is not None
    for milliseconds in (20_000, 200_000, 2_000_000):
        profile = f"--user-data-dir={folder / f'profile{milliseconds}'}"
        budget = f"--virtual-time-budget={milliseconds}"
        done = subprocess.run(
            [BROWSER, *FLAGS, profile, budget, "--dump-dom", path.as_uri()],
            capture_output=True,
            text=True,
            encoding="utf-8",
            timeout=120,
            check=False,
        )
        found = re.search(r'<pre id="seen">(.*?)</pre>', done.stdout, re.DOTALL)
        if found is not None:
            return json.loads(unescape(found[1]))
    raise AssertionError(done.stderr[-2000:])


def test_frames_become_one_small_picture() -> None:
    generator = np.random.default_rng(0)
    frame = generator.integers(0, 256, (210, 160, 3), dtype=np.uint8)
    small = shrink(frame)
    assert small.shape == (70, 53, 3)
    np.testing.assert_array_equal(small[0, 0], frame[:3, :3].mean(axis=(0, 1)).round())
    still = np.repeat(small[None], 100, axis=0)
    assert len(png(still)) < 2 * len(png(still[:1]))
    assert shrink(frame[:4, :4]).shape == (4, 4, 3)
    with pytest.raises(SpaceError, match="rgb_array"):
        shrink(frame / 255)
