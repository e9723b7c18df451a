// What faces are made of: labelled controls, pictures, motion. Fetches nothing.

import { h, newId } from "./dom.js";

export { h, newId } from "./dom.js";

/** @typedef {{n: number, h: number, w: number, c: number, bytes: Uint8Array}} Frame */

/** A number for the eye: a true minus, one decimal or as many as asked for. */
export const number = (/** @type {number} */ x, digits = 1) => x.toFixed(digits).replace("-", "\u2212");
export const percent = (/** @type {number} */ t) => `${Math.round(t * 100)} %`;
/** @param {number} x @param {number} low @param {number} high */
export const clip = (x, low, high) => Math.max(low, Math.min(high, x));

/**
 * A labelled range input that shows its value; `set` moves it without calling `changed`.
 * @param {string} label
 * @param {{min: number, max: number, step: number, value: number, axis?: string,
 *   show: (value: number) => string, changed: (value: number) => void}} options
 */
export function slider(label, { min, max, step, value, show, changed, axis = "" }) {
  const id = newId();
  const output = h("output", { for: id, "aria-live": "off" }); // the input says it
  const input = h("input", {
    id, type: "range", min, max, step, value,
    "data-lm-suppress-shortcuts": "true", // or JupyterLab takes the arrow keys
    oninput: () => { say(); changed(Number(input.value)); },
  });
  function say() {
    output.textContent = show(Number(input.value));
    input.setAttribute("aria-valuetext", output.textContent);
  }
  say();
  const node = h("div", { class: "knob" },
    h("label", { for: id }, label, axis && h("span", { class: "axis", "aria-hidden": "true" }, axis)),
    input, output);
  return { node, input, set(/** @type {number} */ x) { input.value = x; say(); } };
}

/**
 * A labelled native menu of names.
 * @param {string} label @param {string[]} names @param {number} value
 * @param {(index: number) => void} changed
 */
export function menu(label, names, value, changed) {
  const id = newId();
  const select = h("select", {
    id, "data-lm-suppress-shortcuts": "true", onchange: () => changed(select.selectedIndex),
  }, ...names.map((name) => h("option", {}, name)));
  select.selectedIndex = value;
  return { node: h("div", { class: "menu" }, h("label", { for: id }, label), select),
    set(/** @type {number} */ i) { select.selectedIndex = i; } };
}

/** @param {string} text @param {(event: MouseEvent) => void} clicked @param {Record<string, any>} attributes */
export function button(text, clicked, attributes = {}) {
  return h("button", { type: "button", "data-lm-suppress-shortcuts": "true", onclick: clicked,
    ...attributes }, text);
}

/**
 * Two directions at once, by mouse, finger or arrow keys (Shift: bigger steps; Home: the start).
 * @param {string} label
 * @param {{ranges: [number, number][], start: number[],
 *   changed: (x: number, y: number) => void}} options
 */
export function pad(label, { ranges: [[left, right], [low, high]], start, changed }) {
  const dot = h("span", { class: "dot" });
  let at = [start[0], start[1]];
  const grain = right - left > 3 ? 10 : 100, step = (right - left) / 40; // round to 0.1 or 0.01
  const node = h("div", {
    class: "pad", tabindex: "0", role: "application", "data-lm-suppress-shortcuts": "true",
    "aria-label": `${label} Arrow keys move, Home goes to the start.`,
  }, dot);
  /** The place of a point, in shares of the pad's width and height from its lower left corner. */
  const place = (/** @type {number} */ x, /** @type {number} */ y) => [
    (x - left) / (right - left), (y - low) / (high - low)];
  /** @param {number} x @param {number} y */
  function set(x, y) {
    at = [x, y];
    const [across, up] = place(x, y); // a transform needs no layout
    dot.style.transform = `translate(${across * 100}cqw, ${-up * 100}cqh)`;
  }
  /** @param {number} x @param {number} y */
  function go(x, y) {
    const round = (/** @type {number} */ v) => Math.round(v * grain) / grain;
    set(round(clip(x, left, right)), round(clip(y, low, high)));
    changed(at[0], at[1]);
  }
  const off = () => node.getAttribute("aria-disabled") === "true";
  /** @param {PointerEvent} event */
  function point(event) {
    const box = node.getBoundingClientRect();
    go(left + ((event.clientX - box.left) / box.width) * (right - left),
      high - ((event.clientY - box.top) / box.height) * (high - low));
  }
  node.addEventListener("pointerdown", (/** @type {PointerEvent} */ event) => {
    if (off() || event.button) return;
    event.preventDefault();
    node.focus();
    node.setPointerCapture(event.pointerId);
    point(event);
  });
  node.addEventListener("pointermove", (/** @type {PointerEvent} */ event) => {
    if (node.hasPointerCapture(event.pointerId)) point(event);
  });
  node.addEventListener("keydown", (/** @type {KeyboardEvent} */ event) => {
    const by = event.shiftKey ? 5 * step : step;
    /** @type {Record<string, number[]>} */
    const moves = { ArrowLeft: [-by, 0], ArrowRight: [by, 0], ArrowUp: [0, by],
      ArrowDown: [0, -by], Home: [start[0] - at[0], start[1] - at[1]] };
    if (off() || !(event.key in moves)) return;
    event.preventDefault();
    event.stopPropagation();
    go(at[0] + moves[event.key][0], at[1] + moves[event.key][1]);
  });
  set(start[0], start[1]);
  return { node, set, place };
}

/**
 * A picture with its caption; `draw` takes picture i of a frame, `copy` a part of another picture.
 * @param {[number, number]} size @param {string} caption
 */
export function picture([height, width], caption = "") {
  const canvas = h("canvas", { width, height, role: "img", "aria-label": caption });
  const words = h("div", { class: "words" }, caption);
  const node = h("div", { class: "pic" }, canvas, words);
  const context = canvas.getContext("2d");
  const out = context.createImageData(width, height);
  return {
    node, canvas,
    say(/** @type {string} */ text, alt = text) {
      if (words.textContent !== text) words.textContent = text;
      canvas.setAttribute("aria-label", alt);
    },
    draw(/** @type {Frame} */ frame, /** @type {number} */ i) {
      paint(frame, i, out);
      context.putImageData(out, 0, 0);
    },
    copy(/** @type {CanvasImageSource} */ source, x = 0, y = 0) {
      context.drawImage(source, x, y, width, height, 0, 0, width, height);
    },
  };
}

/** Picture i of a frame as RGBA. @param {Frame} frame @param {number} i @param {ImageData} out */
export function paint(frame, i, out) {
  const { w, h: rows, c, bytes } = frame, size = w * rows, { data } = out;
  for (let p = 0, from = i * size * c; p < size; p++, from += c) {
    data[4 * p] = bytes[from];
    data[4 * p + 1] = bytes[from + (c === 3 ? 1 : 0)];
    data[4 * p + 2] = bytes[from + (c === 3 ? 2 : 0)];
    data[4 * p + 3] = 255;
  }
}

/** @param {string} base64 a PNG */
export async function decode(base64) {
  const image = new Image();
  image.src = `data:image/png;base64,${base64}`;
  await image.decode();
  return image;
}

/**
 * Motion that the reader starts and stops: `step(seconds)` at each frame of the screen, until it
 * answers false, or the widget leaves the screen. Where the reader asked for less motion, pictures
 * change once in 1.5 seconds instead: a slow change of pictures is not motion.
 * @param {Element} node
 * @param {(seconds: number) => boolean} step @param {(on: boolean) => void} changed
 */
export function player(node, step, changed) {
  const less = matchMedia("(prefers-reduced-motion: reduce)");
  let on = false, frame = 0, timer = 0, before = 0;
  const seen = new IntersectionObserver(([entry]) => { if (!entry.isIntersecting) stop(); });
  /** @param {number} now */
  function turn(now) {
    const seconds = Math.min((now - before) / 1000, 0.1);
    before = now;
    if (!step(seconds)) return stop();
    if (on) frame = requestAnimationFrame(turn);
  }
  function start() {
    if (on) return;
    on = true;
    changed(true);
    seen.observe(node);
    before = performance.now();
    if (less.matches) timer = window.setInterval(() => { if (!step(1.5)) stop(); }, 1500);
    else frame = requestAnimationFrame(turn);
  }
  function stop() {
    if (!on) return;
    on = false;
    cancelAnimationFrame(frame);
    clearInterval(timer);
    seen.disconnect();
    changed(false);
  }
  less.addEventListener("change", stop);
  return { start, stop, toggle: () => (on ? stop() : start()), playing: () => on,
    close() { stop(); less.removeEventListener("change", stop); } };
}
