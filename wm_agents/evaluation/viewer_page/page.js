"use strict";
// The page around the model: choose a window, play, scrub, change an action, branch.

function startViewer(data, model, document, window) {
  const $ = (id) => document.getElementById(id);
  const state = { episode: 0, start: 0, step: 0, timer: null, changed: {}, recorded: null, imagined: null, branch: null };
  const escape = (text) => String(text).replace(/[&<>"]/g, (c) => ({ "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;" })[c]);
  const short = (x) => (Number.isInteger(x) ? String(x) : Number(x).toPrecision(3));
  const episode = () => data.episodes[state.episode];
  const horizon = () => Math.min(data.horizon, episode().actions.length - state.start);

  // --- the window

  function chooseEpisode(number) {
    state.episode = number;
    const last = Math.max(0, episode().actions.length - 1);
    $("start").max = last;
    hangFrames();
    chooseStart(0);
  }

  function chooseStart(start) {
    pause();
    state.start = Math.min(start, Number($("start").max));
    state.changed = {};
    state.step = 0;
    const stop = state.start + horizon();
    const one = episode();
    state.recorded = {
      observations: one.observations.slice(state.start, stop + 1),
      actions: one.actions.slice(state.start, stop),
      rewards: one.rewards.slice(state.start, stop),
    };
    state.imagined = model.rollout(state.recorded.observations[0], state.recorded.actions);
    state.branch = null;
    $("start").value = state.start;
    $("scrub").max = horizon();
    show();
  }

  function choosePlace(step) {
    state.step = Math.min(Math.max(0, step), horizon());
    show();
  }

  // --- playing

  function pause() {
    if (state.timer !== null) window.clearInterval(state.timer);
    state.timer = null;
    $("play").textContent = "Play";
  }

  function play() {
    if (state.timer !== null) {
      pause();
      return;
    }
    if (state.step >= horizon()) state.step = 0;
    $("play").textContent = "Pause";
    state.timer = window.setInterval(() => {
      if (state.step >= horizon()) pause();
      else choosePlace(state.step + 1);
    }, 1000 / data.steps_per_second);
  }

  // --- another action, and what follows from it

  function currentActions() {
    return state.recorded.actions.map((action, i) => (i in state.changed ? state.changed[i] : action));
  }

  function changeAction(action) {
    if (state.step >= horizon()) return;
    state.changed[state.step] = action;
    try {
      state.branch = model.rollout(state.recorded.observations[0], currentActions());
      $("problem").textContent = "";
    } catch (error) {
      state.branch = null;
      $("problem").textContent = error.message;
    }
    show();
  }

  function undo() {
    state.changed = {};
    state.branch = null;
    $("problem").textContent = "";
    show();
  }

  // --- frames of the environment, all of an episode in one picture

  function hangFrames() {
    const frames = data.frames[state.episode];
    $("frame").hidden = !frames;
    if (!frames) return;
    const caption = "what the environment showed";
    $("frame").innerHTML = `<figure><figcaption>${caption}</figcaption><div id="still" role="img" aria-label="${caption}"></div></figure>`;
    const still = $("still").style;
    still.aspectRatio = `${frames.width} / ${frames.height}`;
    still.backgroundImage = `url("${frames.url}")`;
    still.backgroundSize = `100% ${100 * frames.count}%`;
  }

  function showFrame() {
    const frames = data.frames[state.episode];
    if (!frames) return;
    const place = Math.min(state.start + state.step, frames.count - 1);
    $("still").style.backgroundPosition = `0 ${frames.count > 1 ? (100 * place) / (frames.count - 1) : 0}%`;
  }

  // --- drawing

  function line(kind, values, x, y, first = 0) {
    const points = values.map((value, i) => `${x(i + first).toFixed(1)},${y(value).toFixed(1)}`);
    return `<polyline class="${kind}" points="${points.join(" ")}"/>`;
  }

  function plot(title, truth, imagined, branch, widths, first) {
    const [width, height, left, bottom] = [320, 130, 44, 16];
    const last = horizon();
    const halves = imagined.map((_, i) => {
      const half = i >= 1 && widths && i - 1 < widths.length ? widths[i - 1] : 0;
      return half === null ? 0 : half;
    });
    const all = [...truth, ...imagined, ...(branch || [])];
    let low = Math.min(...all);
    let high = Math.max(...all);
    if (widths) {
      low = Math.min(low, ...imagined.map((v, i) => v - Math.min(halves[i], (high - low) || 1)));
      high = Math.max(high, ...imagined.map((v, i) => v + Math.min(halves[i], (high - low) || 1)));
    }
    const size = Math.max(Math.abs(low), Math.abs(high));
    if (high - low <= 1e-7 * size) [low, high] = [low - (size || 1), high + (size || 1)];
    const x = (i) => left + ((width - left - 6) * i) / Math.max(last, 1);
    const clip = (v) => Math.min(Math.max(v, low), high);
    const y = (v) => 6 + ((height - bottom - 6) * (high - clip(v))) / (high - low);
    const top = imagined.map((v, i) => `${x(i + first).toFixed(1)},${y(v + halves[i]).toFixed(1)}`);
    const under = imagined.map((v, i) => `${x(i + first).toFixed(1)},${y(v - halves[i]).toFixed(1)}`);
    const band = widths ? `<polygon class="band" points="${[...top, ...under.reverse()].join(" ")}"/>` : "";
    const at = Math.min(Math.max(state.step - first, 0), imagined.length - 1);
    const here = branch ? branch[at] : imagined[at];
    const values = `recorded ${short(truth[at])}, ${branch ? "branch" : "model"} ${short(here)}`;
    return `<figure><figcaption>${escape(title)} <small>${values}</small></figcaption>`
      + `<svg viewBox="0 0 ${width} ${height}" role="img" aria-label="${escape(title)}: ${values}">`
      + `<line class="axis" x1="${left}" y1="${height - bottom}" x2="${width}" y2="${height - bottom}"/>`
      + `<text x="2" y="14">${short(high)}</text><text x="2" y="${height - bottom}">${short(low)}</text>`
      + `<text x="${left}" y="${height - 3}">0</text><text x="${width - 24}" y="${height - 3}">${last}</text>`
      + band + line("truth", truth, x, y, first) + line("model", imagined, x, y, first)
      + (branch ? line("branch", branch, x, y, first) : "")
      + `<line class="cursor" x1="${x(state.step)}" x2="${x(state.step)}" y1="4" y2="${height - bottom}"/>`
      + "</svg></figure>";
  }

  function actionEditor() {
    if (state.step >= horizon()) return "The window ends here: go back to change an action.";
    const action = currentActions()[state.step];
    if (data.action.choices) {
      const options = data.action.choices.map((choice) => `<option value="${choice}"${choice === action ? " selected" : ""}>${choice}</option>`);
      return `<label>Action now <select id="action">${options.join("")}</select></label>`;
    }
    return action.map((value, i) => {
      const [low, high] = [data.action.low[i], data.action.high[i]];
      return `<label class="wide">Action ${i}: ${short(value)} <input type="range" class="number" id="action${i}" `
        + `min="${low}" max="${high}" step="${(high - low) / 200}" value="${value}"></label>`;
    }).join("");
  }

  function bindActions() {
    if (data.action.choices) {
      const select = $("action");
      if (select) select.onchange = () => changeAction(Number(select.value));
      return;
    }
    const now = currentActions()[state.step];
    if (!now) return;
    now.forEach((_, i) => {
      const slider = $(`action${i}`);
      if (slider) slider.onchange = () => changeAction(now.map((old, j) => (j === i ? Number(slider.value) : old)));
    });
  }

  function show() {
    $("scrub").value = state.step;
    $("where").textContent = `step ${state.step} of ${horizon()}, episode ${state.episode + 1} from step ${state.start}`;
    const changes = Object.keys(state.changed).length;
    $("note").textContent = changes
      ? `${changes} action(s) changed: what was recorded followed other actions.`
      : "The model has seen the first moment alone; the rest it imagines.";
    const column = (rows, c) => rows.map((row) => row[c]);
    const figures = data.shown.map((c) => plot(
      data.names[c], column(state.recorded.observations, c), column(state.imagined.observations, c),
      state.branch ? column(state.branch.observations, c) : null,
      data.half_widths ? column(data.half_widths, c) : null, 0,
    ));
    figures.push(plot("reward", state.recorded.rewards, state.imagined.rewards, state.branch ? state.branch.rewards : null, null, 1));
    $("plots").innerHTML = figures.join("");
    $("editor").innerHTML = actionEditor();
    bindActions();
    showFrame();
  }

  $("episode").innerHTML = data.episodes.map((one, i) => `<option value="${i}">${i + 1} (${one.actions.length} steps)</option>`).join("");
  $("episode").onchange = () => chooseEpisode(Number($("episode").value));
  $("start").oninput = () => chooseStart(Number($("start").value));
  $("scrub").oninput = () => { pause(); choosePlace(Number($("scrub").value)); };
  $("play").onclick = play;
  $("undo").onclick = undo;
  chooseEpisode(0);
  return { state, model, chooseEpisode, chooseStart, choosePlace, play, changeAction, undo };
}

if (typeof module !== "undefined") module.exports = { startViewer };
