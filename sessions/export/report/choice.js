// Why this token: candidates by sampler stage, and the draw on its interval.

const STAGES = {
  logit_bias: "bias", repetition: "repeat", presence: "presence", frequency: "freq", temperature: "temp",
  top_k: "top-k", top_p: "top-p", min_p: "min-p", log_softmax: "log p",
};
const FILTERS = new Set(["top_k", "top_p", "min_p"]);

async function drawChoice() {
  const request = requestNamed(now.request);
  if (!request) return fill(byId("choice"));
  const [name, position] = [now.request, now.position];
  const choice = await choiceAt(request, position);
  if (name !== now.request || position !== now.position) return;
  const row = request.rowOf.get(position);
  const text = el("code", {}, texts[request.tokens[position]] || "∅");
  const head = el("h3", {}, text, ` token ${position}`);
  if (row === undefined) {
    const cached = position < request.cached_tokens;
    const how = cached ? "Its KV was found in the prefix cache." : "Its KV was computed by this request.";
    return fill(byId("choice"), head, el("p", {}, `A token of the prompt: it was given, not chosen. ${how}`), ...stepping());
  }
  const parts = choice ? [candidates(request, row, choice), ...draw(request, row, choice)] : [missing(request, row)];
  fill(byId("choice"), head, facts(request, row), ...parts, ...stepping());
}

function stepping() {
  const button = (label, by) => el("button", { type: "button", on: { click: () => moveToken(by) } }, label);
  return [el("p", { class: "stepping" }, button("← before", -1), button("after →", 1))];
}

function missing(request, row) {
  const outside = !record.stepIndex.has(request.output.chosen_step[row]);
  const none = request.output.rank[row] === null;
  const position = request.output.position[row];
  if (isForced(request, position)) {
    return el("p", { class: "empty" }, `Forced: it was put in by hand when this request was forked from request ${request.parent}.`);
  }
  const elsewhere = chooserOf(request, position) === undefined;
  const why = elsewhere
    ? `It was chosen for request ${request.parent}, which is not in this page.`
    : outside
    ? "It was chosen in a step that is not in this page."
    : none
      ? "This run recorded no candidates: it kept no logits."
      : "Its candidates were left out of this page: it would have been larger than asked for.";
  return el("p", { class: "empty" }, why);
}

function facts(request, row) {
  const output = request.output;
  const chance = output.logprob[row] === null ? null : Math.exp(output.logprob[row]);
  return el(
    "dl",
    { class: "facts" },
    ...pairs([
      ["chosen in step", output.chosen_step[row]],
      ["rank", output.rank[row] ?? "–"],
      ["probability", percent(chance)],
      ["logprob raw", fixed(output.raw_logprob[row])],
      ["processed", fixed(output.logprob[row])],
      ["entropy", fixed(output.entropy[row])],
      ["varentropy", fixed(output.varentropy[row])],
      ["margin", fixed(output.margin[row])],
      ["near tie", output.near_tie[row] === null ? "–" : output.near_tie[row] ? "yes" : "no"],
    ]),
  );
}

function candidates(request, row, choice) {
  const transforms = choice.stages.filter(([stage]) => !FILTERS.has(stage));
  const filters = choice.stages.filter(([stage]) => FILTERS.has(stage));
  const heads = ["rank", "token", "logit", ...choice.stages.map(stageHead), "probability"];
  const lines = choice.text.map((_, place) => candidate(request, row, choice, place, transforms, filters));
  const kept = choice.stages.length ? choice.stages[choice.stages.length - 1][2] : record.header.shape.vocab_size;
  return el(
    "div",
    { class: "scroll", tabindex: "0", role: "group", "aria-label": "Candidates" },
    el(
      "table",
      {},
      el("caption", {}, `${kept.toLocaleString("en")} of ${record.header.shape.vocab_size.toLocaleString("en")} candidates kept; the ${choice.text.length} largest logits are here.`),
      el("thead", {}, el("tr", {}, ...heads.map((head) => el("th", { scope: "col" }, head)))),
      el("tbody", {}, ...lines),
    ),
  );
}

/** A stage and its setting; of a filter also how many candidates it left. */
function stageHead([stage, setting, kept]) {
  const name = STAGES[stage] ?? stage; // a plugin's has its own
  if (stage === "log_softmax") return name; // it has no setting
  return `${name} ${setting}${FILTERS.has(stage) ? ` → ${kept.toLocaleString("en")}` : ""}`;
}

function candidate(request, row, choice, place, transforms, filters) {
  const chosen = place === choice.chosen;
  const removed = choice.removed[place];
  const rank = chosen ? request.output.rank[row] : place + 1;
  const cells = [
    el("td", { class: "number" }, chosen ? `▶ ${rank}` : String(rank)),
    el("td", {}, el("code", { title: texts[choice.text[place]] }, texts[choice.text[place]] || "∅")),
    el("td", { class: "number" }, fixed(choice.raw[place], 2)),
    ...transforms.map(([stage]) => el("td", { class: "number" }, fixed(choice.after[stage][place], 2))),
  ];
  let gone = false;
  for (const [stage] of filters) {
    if (gone) continue;
    if (stage === removed) {
      const left = filters.length - filters.findIndex(([each]) => each === stage) + 1;
      cells.push(el("td", { class: "why", colspan: left }, `✗ ${choice.why[place]}`));
      gone = true;
    } else cells.push(el("td", { class: "passed" }, "·"));
  }
  if (!gone) cells.push(el("td", {}, bar(choice.prob[place])));
  return el("tr", { class: chosen ? "chosen" : removed ? "removed" : null }, ...cells);
}

function bar(share) {
  const inside = el("span", { class: "share" });
  inside.style.width = `${share * 100}%`;
  return el("span", { class: "bar-cell" }, el("span", { class: "track" }, inside), percent(share));
}

function draw(request, row, choice) {
  const output = request.output;
  if (choice.walk === null && output.draw[row] !== null) {
    return [el("p", { class: "how" }, `A draft stood here: u = ${output.draw[row].toFixed(4)} decided on it, or on what replaced it.`)];
  }
  if (choice.stages.some(([stage]) => stage === "log_softmax")) {
    return [el("p", { class: "how" }, "Beam search: it is among the best continuations of all beams by summed log p, nothing was drawn.")];
  }
  if (choice.walk === null || output.draw[row] === null) {
    return [el("p", { class: "how" }, "Greedy: the largest logit after the stages was taken, nothing was drawn.")];
  }
  let edge = 0;
  const parts = choice.walk.map(([place, end]) => {
    const part = el("span", { class: place === null ? "others" : place === choice.chosen ? "mine" : "other" });
    part.style.left = `${edge * 100}%`;
    part.style.width = `${(end - edge) * 100}%`;
    part.title = place === null ? "others" : texts[choice.text[place]];
    edge = end;
    return part;
  });
  const mark = el("span", { class: "mark" });
  mark.style.left = `${output.draw[row] * 100}%`;
  const says = `u = ${output.draw[row].toFixed(4)} falls in [${output.low[row].toFixed(4)}, ${output.high[row].toFixed(4)})`;
  const unsure = choice.stages.some(([stage]) => !FILTERS.has(stage) && stage !== "temperature") && choice.walk.some(([place]) => place === null);
  const rest = unsure ? " The chosen interval is as recorded; others may lie between candidates that are not shown." : "";
  return [
    el("h4", {}, "The draw"),
    el("div", { class: "draw", role: "img", "aria-label": says }, ...parts, mark),
    el("p", { class: "how" }, `${says}.${rest}`),
  ];
}
