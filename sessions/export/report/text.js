// The requests, and the text of the selected one: a span a token.

const LEGENDS = {
  surprise: "Shaded: how unlikely the token was under the model. Underlined twice: a near tie.",
  entropy: "Shaded: how undecided the model was, in nats. Underlined twice: a near tie.",
  rank: "Shaded: how far down the model's own ranking the token stood. Underlined twice: a near tie.",
  attention: "Shaded: what the chosen head looked at, rounded (~), when the selected token was chosen.",
  nothing: "Not shaded.",
};

const MOST_LISTED = 200;

function drawRequests() {
  const { first, requests } = around(requestIndex(), MOST_LISTED);
  const items = requests.map((request) =>
    el(
      "button",
      {
        type: "button",
        class: "request",
        "aria-current": request.request === now.request ? "true" : null,
        on: { click: () => select({ request: request.request }) },
      },
      el("b", {}, request.request),
      el("span", {}, ending(request)),
      request.parent === null ? null : el("small", {}, `fork of ${request.parent} at token ${request.at_position}`),
      el("small", {}, `${request.prompt_tokens} + ${request.output_tokens} tokens, ${request.cached_tokens} cached`),
    ),
  );
  const more = (number, where) => (number > 0 ? el("p", { class: "empty" }, `${count(number, "request")} ${where}`) : null);
  const none = items.length ? null : el("p", { class: "empty" }, "No requests in these steps.");
  const after = record.requests.length - first - requests.length;
  fill(byId("requests"), more(first, "before"), ...items, more(after, "after"), none);
  scrollTo(byId("requests"), byId("requests").querySelector("[aria-current]"));
}

function ending(request) {
  if (request.state !== "FINISHED") return request.state.toLowerCase();
  return `${request.finish_reason}: ${String(request.finish_detail).replaceAll("_", " ")}`;
}

function drawText() {
  const request = requestNamed(now.request);
  const text = byId("text");
  if (!request) return fill(text);
  const spans = request.tokens.map((number, position) => {
    const output = request.rowOf.has(position);
    const kind = output ? "out" : position < request.cached_tokens ? "in cached" : "in";
    return el(
      "span",
      { id: `t${position}`, role: "option", class: kind, "aria-selected": "false" },
      shownText(texts[number]),
    );
  });
  fill(text, ...spans);
  text.setAttribute("aria-label", `Tokens of request ${request.request}`);
}

/** Line breaks stay visible, and break the line. */
function shownText(text) {
  return text === "" ? "∅" : text.replaceAll("⏎", "⏎\n");
}

/** From 0 (nothing) to 1, how strongly each token is shaded. */
async function shadesOf(request) {
  if (now.mode === "attention") return attentionShades(request);
  const output = request.output;
  const shade = {
    surprise: (row) => (output.raw_logprob[row] === null ? 0 : 1 - Math.exp(output.raw_logprob[row])),
    entropy: (row) => (output.entropy[row] === null ? 0 : output.entropy[row] / Math.log(record.header.shape.vocab_size)),
    rank: (row) => (output.rank[row] === null ? 0 : Math.min(1, Math.log2(output.rank[row]) / 6)),
    nothing: () => 0,
  }[now.mode];
  return new Map(output.position.map((position, row) => [position, shade(row)]));
}

async function attentionShades(request) {
  const attention = await attentionAt(request, now.position);
  if (!attention || !attention.starts.has(now.position)) return new Map();
  const weights = weightsOf(attention, now.position, layerShown(attention), now.head);
  const most = Math.max(...weights, 1e-9);
  return new Map(weights.map((weight, position) => [position, weight / most]));
}

async function shadeText() {
  const request = requestNamed(now.request);
  if (!request) return;
  const [mode, name] = [now.mode, now.request];
  const shades = await shadesOf(request);
  if (mode !== now.mode || name !== now.request) return;
  byId("legend").textContent = LEGENDS[now.mode];
  const colour = now.mode === "attention" ? "--look" : "--heat";
  request.tokens.forEach((_, position) => {
    const span = byId(`t${position}`);
    const shade = Math.round((shades.get(position) ?? 0) * 100);
    span.style.background = shade ? `color-mix(in srgb, var(${colour}) ${shade}%, transparent)` : "";
    const row = request.rowOf.get(position);
    span.classList.toggle("tie", row !== undefined && Boolean(request.output.near_tie[row]));
  });
}

function markToken() {
  const text = byId("text");
  for (const span of text.querySelectorAll('[aria-selected="true"]')) span.setAttribute("aria-selected", "false");
  const span = byId(`t${now.position}`);
  if (!span) return text.removeAttribute("aria-activedescendant");
  span.setAttribute("aria-selected", "true");
  text.setAttribute("aria-activedescendant", span.id);
  scrollTo(text, span);
}

/** Scroll `inside` until `part` shows; the page stays where it is. */
function scrollTo(inside, part) {
  if (!part) return;
  const [box, frame] = [part.getBoundingClientRect(), inside.getBoundingClientRect()];
  if (box.top < frame.top) inside.scrollTop -= frame.top - box.top + 24;
  if (box.bottom > frame.bottom) inside.scrollTop += box.bottom - frame.bottom + 24;
  if (box.left < frame.left) inside.scrollLeft -= frame.left - box.left + 24;
  if (box.right > frame.right) inside.scrollLeft += box.right - frame.right + 24;
}

/** The token above or below the selected one. */
function moveLine(down) {
  const span = byId(`t${now.position}`);
  if (!span) return;
  const from = span.getBoundingClientRect();
  let best = null;
  for (const other of byId("text").children) {
    const box = other.getBoundingClientRect();
    const apart = down ? box.top - from.top : from.top - box.top;
    if (apart < from.height / 2) continue;
    const far = apart * 1000 + Math.abs(box.left - from.left);
    if (best === null || far < best.far) best = { far, position: Number(other.id.slice(1)) };
  }
  if (best) select({ position: best.position });
}

function drawModes() {
  const buttons = MODES.map((mode) =>
    el("button", { type: "button", "aria-pressed": String(mode === now.mode), on: { click: () => select({ mode }) } }, mode),
  );
  fill(byId("modes"), ...buttons);
}
