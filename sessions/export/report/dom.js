// Elements are made from text, never from markup: nothing in the record can become part of the page.

function el(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "on") for (const [event, act] of Object.entries(value)) element.addEventListener(event, act);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

function byId(name) {
  return document.getElementById(name);
}

function fill(element, ...children) {
  element.replaceChildren(...children.filter((child) => child !== null && child !== undefined));
}

function fixed(value, digits = 3) {
  if (value === null || value === undefined) return "–";
  if (typeof value === "string") return value === "inf" ? "∞" : "−∞";
  return value.toFixed(digits).replace("-", "−");
}

function percent(value) {
  if (value === null || value === undefined) return "–";
  return value >= 0.0995 ? `${(value * 100).toFixed(0)} %` : `${(value * 100).toPrecision(2)} %`;
}

function count(value, noun) {
  return `${value.toLocaleString("en")} ${noun}${value === 1 ? "" : "s"}`;
}

function pairs(rows) {
  return rows.map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, String(value))));
}

/** A colour of the theme, for canvases. */
function ink(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
}

/** A canvas context in CSS pixels, sharp on any screen. */
function contextOf(canvas, width, height) {
  const scale = window.devicePixelRatio || 1;
  canvas.width = Math.round(width * scale);
  canvas.height = Math.round(height * scale);
  canvas.style.height = `${height}px`;
  const context = canvas.getContext("2d");
  context.scale(scale, scale);
  context.clearRect(0, 0, width, height);
  return context;
}

function roomOf(canvas) {
  return Math.max(120, canvas.parentElement.clientWidth - 2 * parseFloat(getComputedStyle(canvas.parentElement).paddingLeft));
}
