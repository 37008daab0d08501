// One selection for the whole page, kept in the address so that a link leads to a moment.

const MODES = ["surprise", "entropy", "rank", "attention", "nothing"];

const now = { request: null, position: null, step: null, mode: "surprise", layer: null, head: 0, block: null };
const listeners = [];

function onChange(listener) {
  listeners.push(listener);
}

function select(changes) {
  const before = { ...now };
  Object.assign(now, changes);
  if ("request" in changes && now.request !== before.request && !("position" in changes)) now.position = firstOutput();
  const token = now.request !== before.request || now.position !== before.position;
  if (token && !("step" in changes)) now.step = stepOfToken() ?? now.step;
  const changed = new Set(Object.keys(now).filter((name) => now[name] !== before[name]));
  if (changed.size) {
    for (const listener of listeners) listener(changed);
    writeAddress();
  }
}

function firstOutput() {
  const request = requestNamed(now.request);
  return request && request.output.position.length ? request.output.position[0] : 0;
}

/** The step that chose the selected token: a token of the prompt was chosen by none. */
function stepOfToken() {
  const request = requestNamed(now.request);
  const row = request?.rowOf.get(now.position);
  const step = row === undefined ? undefined : request.output.chosen_step[row];
  return record.stepIndex.has(step) ? step : undefined;
}

function moveToken(by) {
  const request = requestNamed(now.request);
  if (request) select({ position: Math.min(Math.max(now.position + by, 0), request.tokens.length - 1) });
}

function moveRequest(by) {
  const index = record.requests.findIndex((each) => each.request === now.request);
  const next = record.requests[Math.min(Math.max(index + by, 0), record.requests.length - 1)];
  if (next) select({ request: next.request });
}

/** At most `most` requests in a row: those around `index`. */
function around(index, most) {
  const all = record.requests;
  const first = Math.max(0, Math.min(index - Math.floor(most / 2), all.length - most));
  return { first, requests: all.slice(first, first + most) };
}

/** Where the selected request is, 0 where none is selected. */
function requestIndex() {
  return Math.max(0, record.requests.findIndex((each) => each.request === now.request));
}

function moveStep(by) {
  const steps = record.steps.step;
  const index = record.stepIndex.get(now.step) ?? 0;
  if (steps.length) select({ step: steps[Math.min(Math.max(index + by, 0), steps.length - 1)] });
}

function moveNotable(by) {
  const steps = record.steps;
  let index = (record.stepIndex.get(now.step) ?? 0) + by;
  while (index >= 0 && index < steps.step.length && !steps.notable[index]) index += by;
  if (index >= 0 && index < steps.step.length) select({ step: steps.step[index] });
}

function moveMode() {
  select({ mode: MODES[(MODES.indexOf(now.mode) + 1) % MODES.length] });
}

function writeAddress() {
  const parts = Object.entries({ request: now.request, token: now.position, step: now.step, mode: now.mode, layer: now.layer, head: now.head });
  const wanted = parts.filter(([, value]) => value !== null).map(([name, value]) => `${name}=${encodeURIComponent(value)}`);
  try {
    history.replaceState(null, "", `#${wanted.join("&")}`);
  } catch {
    // some browsers keep the address of a local file as it is
  }
}

/** What the address asks for, as far as the record has it. */
function readAddress() {
  const asked = new URLSearchParams(location.hash.slice(1));
  const found = {};
  const request = requestNamed(asked.get("request"));
  if (request) found.request = request.request;
  const number = (name) => (/^\d+$/.test(asked.get(name) ?? "") ? Number(asked.get(name)) : null);
  const position = number("token");
  if (request && position !== null && position < request.tokens.length) found.position = position;
  if (record.stepIndex.has(number("step"))) found.step = number("step");
  if (MODES.includes(asked.get("mode"))) found.mode = asked.get("mode");
  const shape = record.header.shape;
  if (number("layer") !== null && number("layer") < shape.layers) found.layer = number("layer");
  if (number("head") !== null && number("head") < shape.heads) found.head = number("head");
  return found;
}
