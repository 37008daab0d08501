// The KV blocks as they were after the selected step, from the changes since the first one.

const KINDS = ["free", "cached", "owned", "shared"];
const TAKES = new Set(["allocated", "matched", "copied", "shared"]);
const GIVES = new Set(["released", "dropped"]);
const CHANGES = {
  allocated: "allocated", matched: "matched by a prefix hit", copied: "copied into", shared: "shared with a sample",
  cached: "entered the tree", kept_private: "kept private", released: "released", evicted: "evicted",
  dropped: "dropped by the KV policy", uncached: "left the tree, still held",
};
const checkpoints = [];
let every = 64;
let shown = null;

function startMemory() {
  const memory = record.memory;
  const holders = new Map(memory.holders.map(([block, names]) => [block, new Set(names)]));
  return {
    next: 0,
    states: Uint8Array.from(memory.states, Number),
    holders,
    changed: new Map(),
  };
}

function copyMemory(at) {
  return { next: at.next, states: at.states.slice(), holders: new Map([...at.holders].map(([block, names]) => [block, new Set(names)])), changed: new Map() };
}

/** Block states after `step`. */
function memoryAt(step) {
  const changes = record.memory.changes;
  let upto = changes.findIndex(([at]) => at > step);
  if (upto < 0) upto = changes.length;
  if (!checkpoints.length) {
    every = Math.max(64, Math.ceil(changes.length / 200)); // no more than 200 copies of the blocks
    checkpoints.push(startMemory());
  }
  while (checkpoints.length * every <= upto) {
    const next = copyMemory(checkpoints[checkpoints.length - 1]);
    advance(next, checkpoints.length * every);
    checkpoints.push(next);
  }
  const found = copyMemory(checkpoints[Math.floor(upto / every)]);
  advance(found, upto);
  found.changed = new Map();
  if (upto > 0 && changes[upto - 1][0] === step) for (const [block, change] of changes[upto - 1][1]) found.changed.set(block, change);
  return found;
}

function advance(memory, upto) {
  for (; memory.next < upto; memory.next += 1) {
    for (const [block, change, request, , state] of record.memory.changes[memory.next][1]) {
      memory.states[block] = state;
      const names = memory.holders.get(block) ?? new Set();
      if (TAKES.has(change)) names.add(request);
      if (GIVES.has(change)) names.delete(request);
      if (names.size) memory.holders.set(block, names);
      else memory.holders.delete(block);
    }
  }
}

function holdersOf(block) {
  return [...(shown.holders.get(block) ?? [])];
}

function kindOf(block) {
  const state = KINDS[shown.states[block]];
  return state === "owned" && holdersOf(block).length > 1 ? "shared" : state;
}

function gridOf(canvas) {
  const blocks = record.memory.num_blocks;
  const width = roomOf(canvas);
  const size = Math.max(3, Math.min(26, Math.floor(Math.sqrt((width * 260) / Math.max(1, blocks)))));
  const columns = Math.max(1, Math.floor(width / size));
  return { width, size, columns, rows: Math.ceil(blocks / columns) };
}

function drawMemory() {
  if (now.step === null) return;
  shown = memoryAt(now.step);
  const canvas = byId("memory");
  const { width, size, columns, rows } = gridOf(canvas);
  const context = contextOf(canvas, width, rows * size + 2);
  const counts = new Map(KINDS.map((kind) => [kind, 0]));
  for (let block = 0; block < record.memory.num_blocks; block += 1) {
    const kind = kindOf(block);
    counts.set(kind, counts.get(kind) + 1);
    paintBlock(context, kind, (block % columns) * size + 1, Math.floor(block / columns) * size + 1, size - (size > 5 ? 2 : 1));
    markBlock(context, block, (block % columns) * size + 1, Math.floor(block / columns) * size + 1, size - (size > 5 ? 2 : 1));
  }
  const words = [...counts].map(([kind, number]) => `${number} ${kind}`).join(", ");
  const mine = requestNamed(now.request) ? `, ${[...shown.holders].filter(([, names]) => names.has(now.request)).length} held by request ${now.request}` : "";
  byId("memory-says").textContent = `After step ${now.step}: ${words} of ${count(record.memory.num_blocks, "block")}${mine}; ${shown.changed.size} changed in this step.`;
  canvas.setAttribute("aria-label", byId("memory-says").textContent);
  sayBlock();
}

/** Free is an outline, cached a dot, owned full, shared full with a hole. */
function paintBlock(context, kind, left, top, size) {
  context.fillStyle = context.strokeStyle = ink(`kv-${kind}`);
  context.lineWidth = 1;
  if (kind === "free") context.strokeRect(left + 0.5, top + 0.5, size - 1, size - 1);
  else if (kind === "cached") {
    context.strokeRect(left + 0.5, top + 0.5, size - 1, size - 1);
    context.fillRect(left + size / 3, top + size / 3, size / 3, size / 3);
  } else {
    context.fillRect(left, top, size, size);
    if (kind === "shared") {
      context.fillStyle = ink("panel");
      context.fillRect(left + size / 3, top + size / 3, size / 3, size / 3);
    }
  }
}

function markBlock(context, block, left, top, size) {
  if (shown.changed.has(block)) {
    context.strokeStyle = ink("changed");
    context.lineWidth = 2;
    context.strokeRect(left, top, size, size);
  } else if (holdersOf(block).includes(now.request)) {
    context.strokeStyle = ink("accent");
    context.lineWidth = 1.5;
    context.strokeRect(left, top, size, size);
  }
  if (block === now.block) {
    context.strokeStyle = ink("text");
    context.lineWidth = 2.5;
    context.strokeRect(left - 0.5, top - 0.5, size + 1, size + 1);
  }
}

function sayBlock() {
  const block = now.block;
  if (block === null) {
    byId("block-says").textContent = "Click a block, or use the arrow keys here, to see who holds it.";
    return;
  }
  const names = holdersOf(block);
  const change = shown.changed.get(block);
  const held = names.length ? `held by ${names.map((name) => `request ${name}`).join(", ")}` : "held by nobody";
  byId("block-says").textContent = `Block ${block}: ${kindOf(block)}, ${held}${change ? `; in this step: ${CHANGES[change] ?? change}` : ""}.`;
}

function clickedBlock(event) {
  const canvas = event.currentTarget;
  const { size, columns } = gridOf(canvas);
  const box = canvas.getBoundingClientRect();
  const block = Math.floor((event.clientY - box.top) / size) * columns + Math.min(columns - 1, Math.floor((event.clientX - box.left) / size));
  if (block >= 0 && block < record.memory.num_blocks) select({ block });
}

function moveBlock(key) {
  const { columns } = gridOf(byId("memory"));
  const by = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns }[key];
  select({ block: Math.min(Math.max((now.block ?? 0) + by, 0), record.memory.num_blocks - 1) });
}

function drawMemoryKey() {
  const sample = (kind) => {
    const canvas = el("canvas", { "aria-hidden": "true" });
    canvas.style.width = "12px";
    paintBlock(contextOf(canvas, 12, 12), kind, 0, 0, 12);
    return el("span", {}, canvas, ` ${kind}`);
  };
  fill(byId("memory-key"), ...KINDS.map(sample), el("span", { class: "changed-key" }, "changed"));
}
