// Puts the page together: numbers, keys, theme, and who is redrawn when what changes.

function drawNumbers() {
  const steps = record.steps;
  const last = steps.step.length - 1;
  if (last < 0) return;
  const at = (name) => steps[name][last];
  const taken = steps.total_ns.reduce((sum, each) => sum + each, 0);
  const decoded = steps.decode_tokens.reduce((sum, each) => sum + each, 0);
  const peak = steps.owned_blocks.reduce((a, b) => Math.max(a, b), 0);
  const cards = [
    ["steps", `${about.first_step}–${about.last_step}`],
    ["requests", record.requests.length],
    ["tokens generated", at("output_tokens").toLocaleString("en")],
    ["prefix hit rate", at("looked_up_tokens") ? percent(at("hit_tokens") / at("looked_up_tokens")) : "–"],
    ["preemptions", at("preemptions")],
    ["blocks evicted", at("evicted_blocks")],
    ["most blocks owned", `${peak} of ${record.memory.num_blocks}`],
    ["decode tokens a second", taken ? Math.round((decoded * 1e9) / taken) : "–"],
  ];
  fill(byId("numbers"), ...cards.map(([name, value]) => el("div", { class: "card" }, el("b", {}, String(value)), el("span", {}, name))));
}

function drawRun() {
  const header = record.header;
  const shape = header.shape;
  const options = Object.entries(header.options).map(([name, value]) => [name.replaceAll("_", " "), Array.isArray(value) ? value.join(" ") || "–" : value ?? "–"]);
  fill(
    byId("run"),
    ...pairs([
      ["session", about.session],
      ["recorded", header.created],
      ["model", `${header.model_name}, ${header.model_path}`],
      ["shape", `${count(shape.layers, "layer")}, ${count(shape.heads, "head")}, ${count(shape.kv_heads, "KV head")} of ${shape.head_dim}, vocabulary ${shape.vocab_size.toLocaleString("en")}`],
      ["weights", `sha256 ${header.weights_sha256}`],
      ["computed in", `${header.dtype} on ${header.device}`],
      ["versions", `workbench ${header.tool_version}, Python ${header.python_version}, torch ${header.torch_version}`],
      ["branch", about.branch],
      ...(record.kv_policy ? [["KV policy", record.kv_policy]] : []),
      ...options,
    ]),
  );
}

function drawLeftOut() {
  const notes = [...about.left_out];
  if (about.redacted) notes.unshift("all text: it was replaced by marks of the same length (redacted)");
  if (about.requests !== null) notes.push(`requests other than ${about.requests.join(", ")}`);
  if (about.layers !== null) notes.push(`attention of layers other than ${about.layers.join(", ")}`);
  byId("left-out").hidden = notes.length === 0;
  fill(byId("left-out").querySelector("ul"), ...notes.map((note) => el("li", {}, note)));
}

function drawWhere() {
  const request = requestNamed(now.request);
  const token = request ? ` · token ${now.position} ‘${texts[request.tokens[now.position]] ?? ""}’` : "";
  byId("where").textContent = `${request ? `request ${request.request}` : "no request"}${token} · step ${now.step ?? "–"} of ${about.last_step}`;
}

function changedTheme(dark) {
  document.documentElement.dataset.theme = dark ? "dark" : "light";
  redraw();
}

function isDark() {
  const chosen = document.documentElement.dataset.theme;
  return chosen ? chosen === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
}

/** Everything that is painted, not styled. */
function redraw() {
  byId("theme").textContent = isDark() ? "Light" : "Dark";
  drawKeys();
  drawMemoryKey();
  drawTimeline();
  drawMemory();
  drawAttention();
  markToken();
}

function redrawChanged(changed) {
  const any = (...names) => names.some((name) => changed.has(name));
  if (any("request")) {
    drawRequests();
    drawText();
  }
  if (any("mode")) drawModes();
  const looks = now.mode === "attention" && any("position", "layer", "head");
  if (any("request", "mode") || looks) shadeText();
  if (any("request", "position")) {
    markToken();
    drawChoice();
  }
  if (any("request", "position", "layer", "head")) drawAttention();
  if (any("request", "step")) {
    drawTimeline();
    drawStep();
  }
  if (any("request", "step", "block")) drawMemory();
  drawWhere();
}

const KEYS = {
  ArrowLeft: () => moveToken(-1), ArrowRight: () => moveToken(1), ArrowUp: () => moveLine(false), ArrowDown: () => moveLine(true),
  Home: () => select({ position: 0 }), End: () => moveToken(Infinity),
};
const LETTERS = {
  ",": () => moveRequest(-1), ".": () => moveRequest(1), "[": () => moveStep(-1), "]": () => moveStep(1),
  "{": () => moveNotable(-1), "}": () => moveNotable(1), m: moveMode, h: () => moveHead(1, false), H: () => moveHead(1, true),
  "+": () => zoom(0.5), "-": () => zoom(2), t: () => changedTheme(!isDark()), "?": toggleHelp,
};

function toggleHelp() {
  const keys = byId("keys");
  keys.hidden = !keys.hidden;
  byId("help").setAttribute("aria-expanded", String(!keys.hidden));
}

function pressed(event) {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const inMemory = event.target === byId("memory") && event.key.startsWith("Arrow");
  const inText = event.target === byId("text") || event.target === document.body;
  if (inMemory) moveBlock(event.key);
  else if (inText && KEYS[event.key]) KEYS[event.key]();
  else if (LETTERS[event.key]) LETTERS[event.key]();
  else return;
  event.preventDefault();
}

function listen() {
  document.addEventListener("keydown", pressed);
  byId("theme").addEventListener("click", () => changedTheme(!isDark()));
  byId("help").addEventListener("click", toggleHelp);
  byId("text").addEventListener("click", (event) => {
    const span = event.target.closest("[role=option]");
    if (span) select({ position: Number(span.id.slice(1)) });
  });
  byId("step").addEventListener("input", (event) => select({ step: Number(event.target.value) }));
  byId("step-back").addEventListener("click", () => moveStep(-1));
  byId("step-on").addEventListener("click", () => moveStep(1));
  byId("gantt").addEventListener("click", clicked);
  byId("series").addEventListener("click", clicked);
  byId("memory").addEventListener("click", clickedBlock);
  window.addEventListener("resize", redraw);
  window.addEventListener("hashchange", () => select(readAddress()));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
}

async function start() {
  byId("model").textContent = `${record.header.model_name} · ${about.session}`;
  await load();
  const steps = record.steps.step;
  [view.first, view.last] = [steps[0] ?? 1, steps[steps.length - 1] ?? 1];
  onChange(redrawChanged);
  listen();
  drawNumbers();
  drawLeftOut();
  drawRun();
  drawModes();
  drawRequests();
  const asked = readAddress();
  const first = record.requests.find((request) => request.output.position.length) ?? record.requests[0];
  select({ request: asked.request ?? first?.request ?? null, ...asked, ...(asked.step || first ? {} : { step: steps[0] }) });
  if (now.step === null && steps.length) select({ step: steps[0] });
  redraw();
  document.documentElement.dataset.ready = "yes";
}

start().catch((error) => {
  const problem = byId("problem");
  problem.hidden = false;
  problem.textContent = `This page cannot show its data: ${error.message}. Browsers since 2023 can; the data is in this file, as JSON.`;
});
