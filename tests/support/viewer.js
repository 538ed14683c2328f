"use strict";
// node viewer.js rollout <model.js> < {spec, starts, actions} : rollouts of the model in a page
// node viewer.js page <page.html> : loads a page, plays, scrubs, changes an action, and says what was seen

const fs = require("fs");
const path = require("path");
const vm = require("vm");

function rollouts(engine) {
  const { makeModel } = require(path.resolve(engine));
  const { spec, starts, actions } = JSON.parse(fs.readFileSync(0, "utf-8"));
  const model = makeModel(spec);
  return starts.map((start, row) => {
    try {
      return model.rollout(start, actions[row]);
    } catch (error) {
      return { error: error.message };
    }
  });
}

// As much of a browser as the page asks for: elements by id, one timer, and a console.
function browse(file) {
  const html = fs.readFileSync(file, "utf-8");
  const body = html.replace(/<script>[\s\S]*?<\/script>/g, "");
  const elements = {};
  const errors = [];
  const find = (id) => {
    const inside = Object.values(elements).map((element) => element.innerHTML || "").join("");
    if (!`${body}${inside}`.includes(`id="${id}"`)) return null;
    if (!(id in elements)) elements[id] = { value: 0, max: 0, innerHTML: "", textContent: "", style: {} };
    return elements[id];
  };
  let timer = null;
  const window = {
    setInterval: (call) => { timer = call; return 1; },
    clearInterval: () => { timer = null; },
  };
  const context = vm.createContext({
    document: { getElementById: find }, window, atob, console: { error: (text) => errors.push(text) },
  });
  const begun = process.hrtime.bigint();
  for (const [, script] of html.matchAll(/<script>([\s\S]*?)<\/script>/g)) vm.runInContext(script, context);
  const milliseconds = Number(process.hrtime.bigint() - begun) / 1e6;
  const viewer = vm.runInContext("VIEWER", context);
  const seen = { milliseconds, network: (html.match(/https?:\/\/|src=|href=|fetch\(|XMLHttp/g) || []) };
  const snapshot = () => ({
    where: find("where").textContent, note: find("note").textContent, plots: find("plots").innerHTML,
    play: find("play").textContent, problem: find("problem").textContent,
    branch: viewer.state.branch && viewer.state.branch.observations, step: viewer.state.step,
    model: viewer.state.imagined.observations, recorded: viewer.state.recorded.observations,
    editor: find("editor").innerHTML,
  });
  seen.loaded = snapshot();
  find("play").onclick();
  for (let tick = 0; tick < 3; tick += 1) timer();
  seen.playing = snapshot();
  find("play").onclick();
  seen.paused = snapshot();
  find("start").value = 2;
  find("start").oninput();
  seen.window = snapshot();
  find("scrub").value = 1;
  find("scrub").oninput();
  seen.scrubbed = snapshot();
  const select = find("action");
  const control = select || find("action0");
  control.value = select ? process.argv[4] : Number(process.argv[4]);
  control.onchange();
  seen.branched = snapshot();
  find("undo").onclick();
  seen.undone = snapshot();
  find("episode").value = 1;
  find("episode").onchange();
  seen.other = snapshot();
  seen.errors = errors;
  return seen;
}

const [, , what, file] = process.argv;
process.stdout.write(JSON.stringify(what === "page" ? browse(file) : rollouts(file)));
