"use strict";
// World models in plain JavaScript: perceptrons and rule programs, one step at a time.
// The same numbers as Python's `predict` without a generator, but for rounding.

const ACTIVATIONS = {
  elu: (x) => (x > 0 ? x : Math.expm1(x)),
  relu: (x) => Math.max(x, 0),
  silu: (x) => x / (1 + Math.exp(-x)),
  tanh: Math.tanh,
};

// Weights are one base64 string of float32 numbers, little-endian.
function decodeFloats(text) {
  const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const view = new DataView(bytes.buffer);
  return Float64Array.from({ length: bytes.length / 4 }, (_, i) => view.getFloat32(4 * i, true));
}

// A perceptron: layers of {inputs, outputs, weight, bias}, the last two being places in `floats`.
function forward(layers, activation, floats, inputs) {
  let values = inputs;
  layers.forEach((layer, number) => {
    const next = new Array(layer.outputs);
    for (let o = 0; o < layer.outputs; o += 1) {
      let sum = floats[layer.bias + o];
      for (let i = 0; i < layer.inputs; i += 1) {
        sum += values[i] * floats[layer.weight + i * layer.outputs + o];
      }
      next[o] = number < layers.length - 1 ? activation(sum) : sum;
    }
    values = next;
  });
  return values;
}

const normalize = (values, scale) => values.map((x, i) => (x - scale.mean[i]) / scale.std[i]);
const restore = (values, scale) => values.map((x, i) => x * scale.span[i] + scale.mean[i]);
const wrap = (x) => {
  const turn = 2 * Math.PI;
  const shifted = x + Math.PI;
  return shifted - turn * Math.floor(shifted / turn) - Math.PI;
};
const mean = (rows) => rows[0].map((_, i) => rows.reduce((sum, row) => sum + row[i], 0) / rows.length);

function makeNetwork(spec) {
  const floats = decodeFloats(spec.weights);
  const activation = ACTIVATIONS[spec.activation];
  const layout = spec.layout;
  const run = (layers, inputs) => forward(layers, activation, floats, inputs);

  function encodeAction(action) {
    const { first, size, centre, radius } = spec.action;
    if (first !== null) {
      return Array.from({ length: size }, (_, i) => (i === action - first ? 1 : 0));
    }
    return action.map((x, i) => (x - centre[i]) / radius[i]);
  }

  function inputs(row) {
    const values = layout.plain_inputs.map((c) => row[c]);
    layout.angles.forEach((c) => values.push(Math.cos(row[c])));
    layout.angles.forEach((c) => values.push(Math.sin(row[c])));
    return normalize(values, spec.input_scale);
  }

  function headInputs(row) {
    const turns = layout.circles.map(([c, s]) => Math.atan2(row[s], row[c]));
    const extra = layout.for_heads.map((c) => row[c]);
    const scaled = extra.length ? normalize(extra, spec.outcome_scale) : [];
    return [...inputs(row), ...turns, ...scaled];
  }

  function decode(row, outputs, acts) {
    const targets = restore(outputs, spec.target_scale);
    const after = new Array(row.length);
    let place = 0;
    layout.differences.forEach((c) => { after[c] = row[c] + targets[place++]; });
    layout.absolutes.forEach((c) => { after[c] = targets[place++]; });
    layout.circles.forEach(([c, s]) => {
      const turn = targets[place++];
      const x = row[c] * Math.cos(turn) - row[s] * Math.sin(turn);
      const y = row[s] * Math.cos(turn) + row[c] * Math.sin(turn);
      const length = Math.max(Math.hypot(x, y), 1e-12);
      after[c] = x / length;
      after[s] = y / length;
    });
    layout.angles.forEach((c) => { after[c] = wrap(row[c] + targets[place++]); });
    layout.copies.forEach(([c, source]) => { after[c] = row[source]; });
    layout.actions.forEach(([c, source]) => { after[c] = acts[source]; });
    return after.map((x, c) => {
      const low = spec.low[c] === null ? -Infinity : spec.low[c];
      const high = spec.high[c] === null ? Infinity : spec.high[c];
      return Math.min(Math.max(x, low), high);
    });
  }

  function step(row, action) {
    const acts = encodeAction(action);
    const seen = inputs(row);
    const outputs = spec.members.map((member) => {
      const latent = member.encoder ? run(member.encoder, seen) : seen;
      return run(member.dynamics, [...latent, ...acts]);
    });
    const after = decode(row, mean(outputs), acts);
    const transition = [...headInputs(row), ...acts, ...headInputs(after)];
    const rewards = spec.members.map((m) => restore(run(m.reward, transition), spec.reward_scale));
    const ends = spec.members.map((m) => {
      const logit = run(m.termination, transition)[0] - spec.log_positive_weight;
      return [spec.has_terminations ? 1 / (1 + Math.exp(-logit)) : 0];
    });
    return { observation: after, reward: mean(rewards)[0], termination: mean(ends)[0] };
  }

  return { step };
}

function makeProgram(spec) {
  const MAX_ROUNDS = 1000;
  const bad = (line, text) => new Error(`line ${line}: ${text}`);

  const OPERATORS = {
    "+": (a, b) => a + b,
    "-": (a, b) => a - b,
    "*": (a, b) => a * b,
    "//": (a, b) => Math.floor(a / b),
    "%": (a, b) => a - b * Math.floor(a / b),
    "==": (a, b) => Number(a === b),
    "!=": (a, b) => Number(a !== b),
    "<": (a, b) => Number(a < b),
    "<=": (a, b) => Number(a <= b),
    ">": (a, b) => Number(a > b),
    ">=": (a, b) => Number(a >= b),
  };

  function value(node, run) {
    const [kind, line] = node;
    const at = (place) => value(node[place], run);
    const rest = (first) => node.slice(first);
    switch (kind) {
      case "const": return node[1];
      case "feature": return run.before[node[1]];
      case "after": return run.after[node[1]];
      case "action": return run.action;
      case "local": return run.locals[node[1]] ?? 0;
      case "neg": return -at(2);
      case "not": return Number(at(2) === 0);
      case "abs": return Math.abs(at(2));
      case "in": return Number(node[2].includes(at(3)));
      case "and": return Number(rest(2).every((part) => value(part, run) !== 0));
      case "or": return Number(rest(2).some((part) => value(part, run) !== 0));
      case "if": return at(2) !== 0 ? at(3) : at(4);
      case "sum": return rest(2).reduce((sum, part) => sum + value(part, run), 0);
      case "min": return Math.min(...rest(2).map((part) => value(part, run)));
      case "max": return Math.max(...rest(2).map((part) => value(part, run)));
      case "table": {
        const table = spec.tables[node[2]];
        const place = at(3);
        if (!(place in table)) throw bad(line, `the table ${node[2]} has no entry ${place}`);
        return table[place];
      }
      default: {
        const [left, right] = [at(3), at(4)];
        if (right === 0 && (node[2] === "//" || node[2] === "%")) throw bad(line, "a division by 0");
        return OPERATORS[node[2]](left, right);
      }
    }
  }

  function assign(part, number, run) {
    if (number === null) return;
    if (typeof part.target === "string") {
      if (part.target in run.outcomes) run.outcomes[part.target] = number;
      else run.locals[part.target] = number;
      return;
    }
    const feature = spec.features[part.target];
    if (number < feature.low || number >= feature.low + feature.num_values) {
      throw bad(part.line, `${feature.name} would become ${number}`);
    }
    run.after[part.target] = number;
  }

  function block(statements, run) {
    let place = 0;
    while (place < statements.length) {
      const statement = statements[place];
      if (statement.condition) {
        branch(statement, run);
        place += 1;
        continue;
      }
      // All targets of one line are read before any is written.
      let last = place;
      while (last < statements.length && !statements[last].condition
        && statements[last].line === statement.line) last += 1;
      const group = statements.slice(place, last);
      const values = group.map((part) => (part.value === null ? null : value(part.value, run)));
      group.forEach((part, i) => assign(part, values[i], run));
      place = last;
    }
  }

  function branch(statement, run) {
    if (!statement.is_loop) {
      block(value(statement.condition, run) !== 0 ? statement.body : statement.otherwise, run);
      return;
    }
    while (value(statement.condition, run) !== 0) {
      run.rounds += 1;
      if (run.rounds > MAX_ROUNDS) throw bad(statement.line, "this loop is without end");
      block(statement.body, run);
    }
  }

  function encode(row) {
    return spec.features.map((feature) => {
      const columns = feature.columns;
      let token = columns.length > 1
        ? columns.reduce((sum, c, i) => sum + i * row[c], 0)
        : (row[columns[0]] - feature.origin) / feature.quantum;
      token = Math.min(Math.max(Math.round(token), 0), feature.num_values - 1);
      return token + feature.low;
    });
  }

  function decode(numbers, size) {
    const row = new Array(size).fill(0);
    spec.features.forEach((feature, i) => {
      const token = numbers[i] - feature.low;
      if (feature.columns.length > 1) row[feature.columns[token]] = 1;
      else row[feature.columns[0]] = feature.origin + feature.quantum * token;
    });
    return row;
  }

  function step(row, action) {
    const before = encode(row);
    const run = {
      before, after: [...before], action, locals: {}, rounds: 0,
      outcomes: { reward: 0, terminated: 0 },
    };
    block(spec.statements, run);
    return {
      observation: decode(run.after, row.length),
      reward: run.outcomes.reward,
      termination: run.outcomes.terminated,
    };
  }

  return { step };
}

function makeModel(spec) {
  const model = spec.type === "program" ? makeProgram(spec) : makeNetwork(spec);
  // Open loop from one observation: what the model says is what it sees next.
  model.rollout = (start, actions) => {
    const observations = [start];
    const rewards = [];
    const terminations = [];
    let row = start;
    actions.forEach((action) => {
      const next = model.step(row, action);
      row = next.observation;
      observations.push(row);
      rewards.push(next.reward);
      terminations.push(next.termination);
    });
    return { observations, rewards, terminations };
  };
  return model;
}

if (typeof module !== "undefined") module.exports = { makeModel };
