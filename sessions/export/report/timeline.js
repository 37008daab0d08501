// Requests by steps, and counts by step, on one axis; the step under the cursor in words.

const LABEL = 52;
const ROW = 18;
const MOST_ROWS = 60;
const SERIES_HEIGHT = 46;
const view = { first: null, last: null };

function axis(canvas) {
  const width = roomOf(canvas);
  const wide = (width - LABEL - 4) / (view.last - view.first + 1);
  return { width, wide, x: (step) => LABEL + (step - view.first) * wide };
}

function zoom(by) {
  const steps = record.steps.step;
  if (!steps.length) return;
  const [least, most] = [steps[0], steps[steps.length - 1]];
  const span = Math.min(Math.max(Math.round((view.last - view.first + 1) * by), 10), most - least + 1);
  view.first = Math.min(Math.max(now.step - Math.floor(span / 2), least), most - span + 1);
  view.last = view.first + span - 1;
  drawTimeline();
}

/** Keep the cursor in the window. */
function follow() {
  if (now.step >= view.first && now.step <= view.last) return;
  const span = view.last - view.first;
  const steps = record.steps.step;
  view.first = Math.min(Math.max(now.step - Math.floor(span / 2), steps[0]), Math.max(steps[0], steps[steps.length - 1] - span));
  view.last = view.first + span;
}

function drawTimeline() {
  if (!record.steps.step.length) return;
  follow();
  drawGantt();
  drawSeries();
}

/** The requests that are drawn: all, or those around the selected one, or around one that is there at the step. */
function ganttRequests() {
  const there = (request) =>
    request.phases.some(([, first, last]) => first <= now.step && (last === null || last >= now.step));
  const selected = requestIndex();
  const alive = record.requests.length <= MOST_ROWS || there(record.requests[selected]);
  const centre = alive ? selected : record.requests.findIndex(there);
  return around(centre < 0 ? selected : centre, MOST_ROWS).requests;
}

function drawGantt() {
  const canvas = byId("gantt");
  const rows = ganttRequests();
  const all = record.requests.length;
  byId("gantt-says").textContent = rows.length < all ? `${rows.length} of ${all.toLocaleString("en")} requests, ${rows[0].request} to ${rows[rows.length - 1].request}.` : "";
  const { width, wide, x } = axis(canvas);
  const height = rows.length * ROW + 20;
  const context = contextOf(canvas, width, height);
  context.font = "12px ui-monospace, monospace";
  context.textBaseline = "middle";
  rows.forEach((request, index) => {
    const top = index * ROW;
    const chosen = request.request === now.request;
    if (chosen) {
      context.fillStyle = ink("chosen");
      context.fillRect(0, top, width, ROW);
    }
    context.fillStyle = ink(chosen ? "text" : "dim");
    context.fillText(request.request, 4, top + ROW / 2, LABEL - 8);
    for (const phase of request.phases) drawPhase(context, phase, top, wide, x);
  });
  drawTicks(context, rows.length * ROW + 10, width, x);
  drawCursor(context, x, wide, height - 18);
  canvas.setAttribute("aria-label", `${count(rows.length, "request")} by steps ${view.first} to ${view.last}; step ${now.step} is selected`);
}

function drawPhase(context, [phase, first, last], top, wide, x) {
  const upto = last === null ? about.last_step : last;
  if (upto < first || upto < view.first || first > view.last) return;
  const left = x(Math.max(first, view.first));
  const right = x(Math.min(upto, view.last) + 1);
  paintPhase(context, phase, left, top + 2, Math.max(1, right - left - (wide > 3 ? 1 : 0)), ROW - 4);
}

/** Each phase has a height and a pattern of its own, so that it can be told without its colour. */
function paintPhase(context, phase, left, top, width, height) {
  context.fillStyle = context.strokeStyle = ink(phase);
  context.lineWidth = 1;
  if (phase === "decode") context.fillRect(left, top, width, height);
  else if (phase === "prefill") {
    context.fillRect(left, top + height / 2, width, height / 2);
    context.strokeRect(left + 0.5, top + 0.5, Math.max(0, width - 1), height - 1);
  } else if (phase === "waiting") context.fillRect(left, top + height / 2 - 1, width, 2);
  else {
    context.save();
    context.beginPath();
    context.rect(left, top, width, height);
    context.clip();
    context.beginPath();
    for (let at = left - height; at < left + width; at += 4) {
      context.moveTo(at, top + height);
      context.lineTo(at + height, top);
    }
    context.stroke();
    context.restore();
  }
}

function drawTicks(context, top, width, x) {
  context.fillStyle = ink("dim");
  const span = view.last - view.first + 1;
  const least = Math.max(1, Math.ceil((span * 56) / (width - LABEL)));
  const unit = 10 ** Math.floor(Math.log10(least));
  const every = [1, 2, 5, 10].map((factor) => factor * unit).find((size) => size >= least);
  context.textAlign = "left";
  for (let step = Math.ceil(view.first / every) * every; step <= view.last; step += every) {
    if (x(step) < width - 24) context.fillText(String(step), x(step), top);
  }
}

function drawCursor(context, x, wide, height) {
  context.strokeStyle = ink("accent");
  context.lineWidth = 1.5;
  context.strokeRect(x(now.step) - 0.5, 0.5, Math.max(2, wide), height);
}

function drawSeries() {
  const steps = record.steps;
  const canvas = byId("series");
  const { width, wide, x } = axis(canvas);
  const blocks = record.memory.num_blocks;
  const tracks = [
    { name: "KV", most: blocks, layers: [["kv-owned", steps.owned_blocks], ["kv-cached", steps.cached_blocks]] },
    { name: "queue", layers: [["waiting", steps.waiting], ["preempted", steps.preempted]] },
    { name: "batch", layers: [["prefill", steps.prefill_tokens], ["decode", steps.decode_tokens]] },
  ];
  const context = contextOf(canvas, width, tracks.length * SERIES_HEIGHT);
  context.font = "11px ui-monospace, monospace";
  const [from, upto] = [record.stepIndex.get(view.first) ?? 0, record.stepIndex.get(view.last) ?? steps.step.length - 1];
  tracks.forEach((track, row) => {
    const bottom = (row + 1) * SERIES_HEIGHT - 6;
    const tall = SERIES_HEIGHT - 16;
    const sums = steps.step.map((_, index) => track.layers.reduce((sum, [, values]) => sum + values[index], 0));
    const most = track.most ?? sums.slice(from, upto + 1).reduce((a, b) => Math.max(a, b), 1);
    context.fillStyle = ink("dim");
    context.fillText(track.name, 4, bottom - tall / 2 + 4, LABEL - 8);
    context.fillText(most.toLocaleString("en"), 4, bottom - tall / 2 + 17, LABEL - 8);
    context.fillRect(LABEL, bottom, width - LABEL - 4, 1);
    for (const index of columnsOf(from, upto, wide, sums)) {
      let base = bottom;
      for (const [colour, values] of track.layers) {
        const height = (values[index] / most) * tall;
        context.fillStyle = ink(colour);
        context.fillRect(x(steps.step[index]), base - height, Math.max(1, wide - (wide > 3 ? 1 : 0)), height);
        base -= height;
      }
    }
  });
  drawCursor(context, x, wide, tracks.length * SERIES_HEIGHT - 4);
  canvas.setAttribute("aria-label", `KV blocks owned and cached, queue, and tokens in the batch, by step`);
}

/** The steps that are drawn: all, or the fullest of those that share a pixel. */
function* columnsOf(from, upto, wide, sums) {
  const shared = Math.max(1, Math.floor(1 / wide));
  for (let first = from; first <= upto; first += shared) {
    let fullest = first;
    for (let index = first; index < Math.min(first + shared, upto + 1); index += 1) if (sums[index] > sums[fullest]) fullest = index;
    yield fullest;
  }
}

function drawStep() {
  const steps = record.steps;
  const index = record.stepIndex.get(now.step);
  if (index === undefined) return;
  const slider = byId("step");
  slider.max = String(steps.step[steps.step.length - 1]);
  slider.min = String(steps.step[0]);
  slider.value = String(now.step);
  byId("step-says").textContent = stepWords(steps, index);
  drawDecisions();
}

function stepWords(steps, index) {
  const at = (name) => steps[name][index];
  const batch = at("batch").map(([request, phase, start, tokens]) => (phase === "decode" ? `${request}` : `${request} (prefill ${tokens} from ${start})`));
  const parts = [
    `step ${at("step")} of ${about.last_step}`,
    `${at("running")} running, ${at("waiting")} waiting, ${at("preempted")} preempted`,
    `${at("owned_blocks")} blocks owned, ${at("cached_blocks")} cached, ${at("free_blocks")} free`,
    `${at("tokens")} of ${at("budget")} tokens`,
    batch.length ? `batch ${batch.join(", ")}` : "nothing ran",
    `${(at("total_ns") / 1e6).toFixed(1)} ms`,
  ];
  if (at("error")) parts.push(`failed: ${at("error")}`);
  return parts.join(" · ");
}

function drawDecisions() {
  const here = decisionsOf.get(now.step) ?? [];
  const items = here.map(([, request, code, says]) => {
    const known = request !== null && requestNamed(request);
    const button = known ? el("button", { type: "button", class: "link", on: { click: () => select({ request, step: now.step }) } }, `request ${request}`) : null;
    return el("li", { "data-code": code }, says, " ", button);
  });
  fill(byId("decisions"), ...(items.length ? items : [el("li", { class: "empty" }, "Nothing was decided anew: everybody went on.")]));
}

function drawKeys() {
  const sample = (phase) => {
    const canvas = el("canvas", { "aria-hidden": "true" });
    canvas.style.width = "22px";
    paintPhase(contextOf(canvas, 22, 12), phase, 0, 0, 22, 12);
    return el("span", {}, canvas, ` ${phase}`);
  };
  fill(byId("gantt-key"), ...["waiting", "prefill", "decode", "preempted"].map(sample));
}

function clicked(event) {
  const canvas = event.currentTarget;
  const { wide } = axis(canvas);
  const box = canvas.getBoundingClientRect();
  const step = view.first + Math.floor((event.clientX - box.left - LABEL) / wide);
  const changes = record.stepIndex.has(step) ? { step } : {};
  const request = canvas.id === "gantt" ? ganttRequests()[Math.floor((event.clientY - box.top) / ROW)] : undefined;
  if (request && request.request !== now.request) changes.request = request.request;
  select(changes);
}
