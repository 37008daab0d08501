// Every captured head at once, and what the chosen one looked at.

const STRIP = { width: 64, height: 14 };
const MOST_POSITIONS = 8;

function layerShown(attention) {
  return attention.layers.includes(now.layer) ? now.layer : attention.layers[attention.layers.length - 1];
}

async function drawAttention() {
  const request = requestNamed(now.request);
  const body = byId("attention-body");
  if (!request) return fill(body);
  const [name, position] = [now.request, now.position];
  const attention = await attentionAt(request, position);
  if (name !== now.request || position !== now.position) return;
  byId("attention-where").textContent = "";
  const why = whyNoAttention(attention, request);
  if (why) return fill(body, el("p", { class: "empty" }, why));
  const layer = layerShown(attention);
  now.head = Math.min(now.head, attention.heads - 1);
  byId("attention-where").textContent = `layer ${layer}, head ${now.head}, when token ${position} was chosen`;
  fill(body, el("div", { class: "looking" }, grid(attention, position, layer), looked(attention, request, position, layer)));
  for (const canvas of body.querySelectorAll("canvas")) strip(canvas, attention, position);
}

function whyNoAttention(attention, request) {
  if (attention === null) {
    const captured = record.header.options.capture ?? [];
    return captured.some((spec) => spec.startsWith("attn"))
      ? "The attention of this request is not in this page: it was left out, or none of its tokens was chosen in these steps."
      : "This run stored no attention. Record with --capture attn to have it here; --capture attn:0-3 stores some layers only.";
  }
  if (attention.starts.has(now.position)) return null;
  if (isForced(request, now.position)) return "A forced token: no row chose it, so none looked at anything for it.";
  return request.rowOf.has(now.position)
    ? "The attention of this token is not in this page."
    : "A prompt token: attention is stored of the rows that choose a token. Select a generated one.";
}

function grid(attention, position, layer) {
  const heads = [...Array(attention.heads).keys()];
  const group = attention.heads / record.header.shape.kv_heads;
  const cell = (row, head) => {
    const here = row === layer && head === now.head;
    return el(
      "td",
      { class: head % group === 0 ? "group" : null },
      el(
        "button",
        {
          type: "button", class: "head-map", "aria-pressed": String(here), "aria-label": `Layer ${row}, head ${head}`,
          on: { click: () => select({ layer: row, head, mode: "attention" }) },
        },
        el("canvas", { "data-layer": row, "data-head": head, "aria-hidden": "true" }),
      ),
    );
  };
  return el(
    "div",
    { class: "scroll" },
    el(
      "table",
      { class: "heads" },
      el("caption", {}, `From the first token (left) to the row itself (right). ${count(record.header.shape.kv_heads, "KV head")} for ${count(attention.heads, "head")}.`),
      el("thead", {}, el("tr", {}, el("th", { scope: "col" }, "layer"), ...heads.map((head) => el("th", { scope: "col" }, `head ${head}`)))),
      el("tbody", {}, ...attention.layers.map((row) => el("tr", {}, el("th", { scope: "row" }, String(row)), ...heads.map((head) => cell(row, head))))),
    ),
  );
}

/** One row of attention as a strip, the largest weight of the positions that share a pixel. */
function strip(canvas, attention, position) {
  const weights = weightsOf(attention, position, Number(canvas.dataset.layer), Number(canvas.dataset.head));
  const context = contextOf(canvas, STRIP.width, STRIP.height);
  canvas.style.width = `${STRIP.width}px`;
  const most = Math.max(...weights, 1e-9);
  const bins = Math.min(STRIP.width, weights.length);
  context.fillStyle = ink("look");
  for (let bin = 0; bin < bins; bin += 1) {
    const from = Math.floor((bin * weights.length) / bins);
    const upto = Math.max(from + 1, Math.floor(((bin + 1) * weights.length) / bins));
    const share = Math.max(...weights.slice(from, upto)) / most;
    const height = Math.max(share * STRIP.height, share > 0.02 ? 1 : 0);
    context.fillRect((bin * STRIP.width) / bins, STRIP.height - height, Math.max(1, STRIP.width / bins - 0.5), height);
  }
}

function looked(attention, request, position, layer) {
  const weights = weightsOf(attention, position, layer, now.head);
  const largest = weights.map((weight, at) => ({ weight, at })).sort((a, b) => b.weight - a.weight || a.at - b.at).slice(0, MOST_POSITIONS);
  const rows = largest.map(({ weight, at }) =>
    el(
      "tr",
      {},
      el("td", { class: "number" }, String(at)),
      el("td", {}, el("code", {}, texts[request.tokens[at]] || "∅")),
      el("td", {}, bar(weight)),
    ),
  );
  const table = el(
    "table",
    { class: "looked" },
    el("caption", {}, "Where it looked most. ~ Rounded to 255 levels."),
    el("thead", {}, el("tr", {}, ...["token", "", "weight ~"].map((head) => el("th", { scope: "col" }, head)))),
    el("tbody", {}, ...rows),
  );
  return el("div", { class: "scroll" }, table);
}

async function moveHead(by, layers) {
  const attention = await attentionAt(requestNamed(now.request), now.position);
  if (!attention) return;
  if (!layers) return select({ head: (now.head + by + attention.heads) % attention.heads });
  const index = attention.layers.indexOf(layerShown(attention));
  select({ layer: attention.layers[(index + by + attention.layers.length) % attention.layers.length] });
}
