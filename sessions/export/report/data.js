// The embedded record, and how its compressed parts come back.

const record = JSON.parse(document.getElementById("data").textContent);

async function bytesOf(part) {
  const packed = Uint8Array.from(atob(part.z), (character) => character.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

async function valueOf(part) {
  if (part === null || typeof part !== "object" || !("z" in part)) return part;
  return JSON.parse(new TextDecoder().decode(await bytesOf(part)));
}

const texts = record.texts;
const about = record.about;

/** What is always needed: requests with their tokens, steps, decisions, blocks. */
async function load() {
  for (const request of record.requests) {
    request.tokens = await valueOf(request.tokens);
    request.output = await valueOf(request.output);
    request.phases = await valueOf(request.phases);
    request.rowOf = new Map(request.output.position.map((position, row) => [position, row]));
  }
  record.steps = await valueOf(record.steps);
  record.stepIndex = new Map(record.steps.step.map((step, index) => [step, index]));
  for (const decision of await valueOf(record.decisions)) {
    if (!decisionsOf.has(decision[0])) decisionsOf.set(decision[0], []);
    decisionsOf.get(decision[0]).push(decision);
  }
  record.memory = await valueOf(record.memory);
}

const decisionsOf = new Map(); // by step

const choicesLoaded = new Map();

/** Choices of a request by position; empty where none were recorded or they were left out. */
async function choicesOf(request) {
  if (!choicesLoaded.has(request)) {
    const part = record.choices[request];
    const list = part === undefined ? [] : await valueOf(part);
    choicesLoaded.set(request, new Map(list.map((choice) => [choice.position, choice])));
  }
  return choicesLoaded.get(request);
}

/** The choice of the token at `position`: of a fork's first tokens, that of the request it was forked from. */
async function choiceAt(request, position) {
  const chooser = chooserOf(request, position);
  return chooser ? (await choicesOf(chooser.request)).get(position) : undefined;
}

/** For whom a token was chosen; undefined where that request is not in this page. */
function chooserOf(request, position) {
  let row = request;
  while (row && row.parent !== null && position < row.at_position) row = requestNamed(row.parent);
  return row;
}

/** Whether a person put the token in when the request was forked. */
function isForced(request, position) {
  return request.parent !== null && position >= request.at_position && position < request.at_position + request.appended;
}

const attentionLoaded = new Map();

/** Captured attention of a request, null where there is none. */
async function attentionOf(request) {
  if (!attentionLoaded.has(request)) {
    const part = record.attention[request];
    attentionLoaded.set(request, part === undefined ? null : await readAttention(part));
  }
  return attentionLoaded.get(request);
}

/** Attention of the row that chose a token: of a fork's first tokens, that of the request it was forked from. */
async function attentionAt(request, position) {
  const chooser = request && chooserOf(request, position);
  return chooser ? attentionOf(chooser.request) : null;
}

async function readAttention(part) {
  const bytes = await bytesOf(part.weights);
  const starts = new Map();
  let start = 0;
  for (const position of part.positions) {
    starts.set(position, start);
    start += part.layers.length * part.heads * position;
  }
  return { layers: part.layers, heads: part.heads, bytes, starts };
}

/** The weights [kv] with which a head looked back when the token at `position` was chosen. */
function weightsOf(attention, position, layer, head) {
  const start = attention.starts.get(position) + (attention.layers.indexOf(layer) * attention.heads + head) * position;
  return Array.from(attention.bytes.subarray(start, start + position), (level) => (level / 255) ** 2);
}

function requestNamed(name) {
  return record.requests.find((request) => request.request === name);
}
