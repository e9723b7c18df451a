// Playground: recorded games in the plane, under a slider. Needs no kernel.

import { button, h, menu, number, percent, player, slider } from "./ui.js";

/**
 * A recording, see acgan_lib.widgets.playground.Recording.
 * @typedef {{settings: Record<string, string | number | boolean>, steps: number[],
 *   means: [number, number][], std: number, reach: number, side: number, count: number,
 *   scales: [number, number, number][], data: string, numbers: Record<string, number[]>}} Run
 */
/**
 * One moment of it: x, y, x, y, ... of points and pushes; logits row by row, the lowest first.
 * @typedef {{points: Float32Array, pushes: Float32Array, logits: Float32Array}} Moment
 */
/** @typedef {{run: Run, name: string, at: (f: number) => Moment}} Film */
/** @typedef {{Arrows: boolean, Trails: boolean, Field: boolean}} Layers */

const SIDE = 640; // pixels of a picture's canvas
const CUT = 3; // the size of a push from which on arrows grow no longer
const LONGEST = 0.75; // that arrow's length, in the plane's units
const TAIL = 6; // frames that a trail reaches back
const PACE = 0.25; // seconds a frame
// D's P(real) changes its colour at these; orange and blue stay apart for colour-blind eyes.
const LEVELS = [0.01, 0.1, 0.3, 0.5, 0.7, 0.9, 0.99];
const CUTS = LEVELS.map((p) => Math.log(p / (1 - p)));
const SHADES = {
  light: ["#e08a3c", "#efab6d", "#f7cda3", "#fceada", "#e0ebf6", "#b3d0ea", "#7fb2dc", "#4a90c8"],
  dark: ["#8f4c10", "#6f3f16", "#4d321f", "#332b27", "#242c36", "#1e3b57", "#1b507e", "#1966a6"],
};

/** @param {Run} run @param {string} name @returns {Film} */
function film(run, name) {
  const bytes = Uint8Array.from(atob(run.data), (c) => c.charCodeAt(0));
  const view = new DataView(bytes.buffer), size = bytes.length / run.steps.length;
  const { count, side } = run;
  /** @param {number} f @returns {Moment} */
  function at(f) {
    const [ofPoints, ofPushes, ofLogits] = run.scales[f], start = f * size;
    const pairs = (/** @type {number} */ from, /** @type {number} */ scale) =>
      Float32Array.from({ length: 2 * count }, (_, i) => scale * view.getInt16(from + 2 * i, true));
    return {
      points: pairs(start, ofPoints),
      pushes: pairs(start + 4 * count, ofPushes),
      logits: Float32Array.from({ length: side * side },
        (_, i) => ofLogits * view.getInt8(start + 8 * count + i)),
    };
  }
  return { run, name, at };
}

/** The colours that fit the page's theme. @param {Element} root */
function inks(root) {
  const { color } = getComputedStyle(root);
  const [r, g, b] = (color.match(/[\d.]+/g) ?? ["0", "0", "0"]).map(Number);
  const dark = r + g + b > 384;
  return { ink: color || "#000", paper: dark ? "#000" : "#fff", dark,
    shades: SHADES[dark ? "dark" : "light"] };
}
/** @typedef {ReturnType<typeof inks>} Inks */

/** A colour "#rrggbb", mixed with `part` of black or white, as the number ImageData holds. */
function pixel(/** @type {string} */ hex, part = 0, dark = false) {
  const mixed = [1, 3, 5].map((i) => {
    const level = parseInt(hex.slice(i, i + 2), 16);
    return Math.round(level + part * ((dark ? 255 : 0) - level));
  });
  return (0xff000000 | (mixed[2] << 16) | (mixed[1] << 8) | mixed[0]) >>> 0;
}

/**
 * D's field as filled contours: between the lattice's points the logit is bilinear. A line runs
 * where the colour changes, a strong one where D cannot tell.
 * @param {ImageData} out @param {Moment} moment @param {number} side @param {Inks} colours
 */
function paintField(out, { logits }, side, { shades, dark }) {
  const wide = out.width, pixels = new Uint32Array(out.data.buffer);
  const fill = shades.map((hex) => pixel(hex)), line = shades.map((hex) => pixel(hex, 0.25, dark));
  const even = pixel(dark ? "#ffffff" : "#000000", 0.3, !dark), half = CUTS.length >> 1;
  let above = new Uint8Array(wide), here = new Uint8Array(wide);
  const row = new Float32Array(side + 1);
  for (let y = 0; y < wide; y++) {
    const up = (1 - (y + 0.5) / wide) * (side - 1), low = Math.min(side - 2, Math.floor(up));
    for (let i = 0; i < side; i++) {
      const a = logits[low * side + i];
      row[i] = a + (up - low) * (logits[(low + 1) * side + i] - a);
    }
    for (let x = 0; x < wide; x++) {
      const along = ((x + 0.5) / wide) * (side - 1), i = Math.floor(along);
      const value = row[i] + (along - i) * (row[i + 1] - row[i]);
      let band = 0;
      while (band < CUTS.length && value >= CUTS[band]) band++;
      here[x] = band;
      const p = y * wide + x, left = x ? here[x - 1] : band, over = y ? above[x] : band;
      pixels[p] = left === band && over === band ? fill[band] : line[band];
      const crosses = (/** @type {number} */ other) => (other > half) !== (band > half);
      if (crosses(left)) pixels[p] = pixels[p - 1] = even;
      if (crosses(over)) pixels[p] = pixels[p - wide] = even;
    }
    [above, here] = [here, above];
  }
}

/**
 * @param {CanvasRenderingContext2D} ctx @param {Film} shown @param {number} f
 * @param {Layers} layers @param {Inks} colours @param {ImageData} field
 */
function draw(ctx, { run, at }, f, layers, colours, field) {
  const { ink, paper } = colours, moment = at(f);
  const unit = SIDE / (2 * run.reach), dot = 1.5 * SIDE / (ctx.canvas.clientWidth || SIDE);
  const x = (/** @type {number} */ v) => (v + run.reach) * unit;
  const y = (/** @type {number} */ v) => (run.reach - v) * unit;
  if (layers.Field) {
    paintField(field, moment, run.side, colours);
    ctx.putImageData(field, 0, 0);
  } else {
    ctx.fillStyle = colours.dark ? "#1b1d21" : "#fff";
    ctx.fillRect(0, 0, SIDE, SIDE);
  }
  ctx.strokeStyle = ctx.fillStyle = ink;
  ctx.lineWidth = 0.8 * dot;
  ctx.globalAlpha = 0.75;
  for (const [mx, my] of run.means) { // three standard deviations hold 98.9 % of a mode
    ctx.beginPath();
    ctx.arc(x(mx), y(my), 3 * run.std * unit, 0, 2 * Math.PI);
    ctx.stroke();
  }
  if (layers.Trails) {
    for (let g = Math.max(1, f - TAIL + 1); g <= f; g++) {
      const a = at(g - 1).points, b = at(g).points;
      ctx.globalAlpha = 0.5 * (1 - (f - g) / TAIL);
      ctx.beginPath();
      for (let i = 0; i < a.length; i += 2) {
        ctx.moveTo(x(a[i]), y(a[i + 1]));
        ctx.lineTo(x(b[i]), y(b[i + 1]));
      }
      ctx.stroke();
    }
  }
  ctx.globalAlpha = 1;
  const { points, pushes } = moment;
  if (layers.Arrows) {
    ctx.lineWidth = 0.7 * dot;
    ctx.beginPath();
    for (let i = 0; i < points.length; i += 2) {
      const size = Math.hypot(pushes[i], pushes[i + 1]);
      const long = unit * LONGEST * Math.min(1, size / CUT);
      if (long < dot) continue;
      const [dx, dy] = [pushes[i] / size, -pushes[i + 1] / size];
      const [px, py] = [x(points[i]), y(points[i + 1])];
      const [tx, ty] = [px + long * dx, py + long * dy], head = Math.min(long / 2, 3.5 * dot);
      ctx.moveTo(px, py);
      ctx.lineTo(tx, ty);
      ctx.moveTo(tx - head * (dx + 0.6 * dy), ty - head * (dy - 0.6 * dx));
      ctx.lineTo(tx, ty);
      ctx.lineTo(tx - head * (dx - 0.6 * dy), ty - head * (dy + 0.6 * dx));
    }
    ctx.stroke();
  }
  ctx.strokeStyle = paper;
  ctx.lineWidth = 0.6 * dot;
  for (let i = 0; i < points.length; i += 2) {
    ctx.beginPath();
    ctx.arc(x(points[i]), y(points[i + 1]), 1.7 * dot, 0, 2 * Math.PI);
    ctx.fill();
    ctx.stroke();
  }
}

/** The modes covered at each frame, as steps, and a mark at frame f.
 * @param {CanvasRenderingContext2D} ctx @param {Run} run @param {number} f @param {Inks} colours
 */
function drawChart(ctx, run, f, { ink }) {
  const { width, height } = ctx.canvas, { modes } = run.numbers, all = run.means.length, edge = 8;
  const last = run.steps[run.steps.length - 1];
  const x = (/** @type {number} */ i) => edge + (width - 2 * edge) * (run.steps[i] / last);
  const y = (/** @type {number} */ m) => height - edge - (height - 2 * edge) * (m / all);
  ctx.clearRect(0, 0, width, height);
  ctx.strokeStyle = ctx.fillStyle = ink;
  ctx.globalAlpha = 0.3;
  ctx.lineWidth = 1.5;
  ctx.beginPath();
  for (const m of [0, all]) { ctx.moveTo(edge, y(m)); ctx.lineTo(width - edge, y(m)); }
  ctx.stroke();
  ctx.globalAlpha = 1;
  ctx.lineWidth = 3;
  ctx.beginPath();
  modes.forEach((m, i) => (i ? ctx.lineTo(x(i), y(m)) : ctx.moveTo(x(i), y(m))));
  ctx.stroke();
  ctx.beginPath();
  ctx.arc(x(f), y(modes[f]), 7, 0, 2 * Math.PI);
  ctx.fill();
}

const count = (/** @type {number} */ n) => n.toLocaleString("en");
/** A number of any size with two digits. @param {number} v */
const short = (v) => (v === 0 || Math.abs(v) >= 0.01 ? number(v, 2)
  : v.toExponential(0).replace(/e-(\d+)/, (_, power) => "\u00a0\u00d7\u00a010\u207b"
    + [...power].map((digit) => "\u2070\u00b9\u00b2\u00b3\u2074\u2075\u2076\u2077\u2078\u2079"[Number(digit)])
      .join("")));
const python = (/** @type {string | number | boolean} */ v) =>
  (typeof v === "boolean" ? (v ? "True" : "False") : String(v));

/** One recording: picture, numbers, curve, settings. @param {HTMLElement} root */
function panel(root) {
  const title = h("div", { class: "title" });
  const canvas = h("canvas", { role: "img", width: SIDE, height: SIDE });
  const chart = h("canvas", { role: "img", width: 480, height: 96, class: "chart" });
  const facts = h("dl", {}), settings = h("p", { class: "settings" });
  const [ctx, thin] = [canvas.getContext("2d"), chart.getContext("2d")];
  const field = ctx.createImageData(SIDE, SIDE);
  const node = h("div", { class: "panel" }, h("div", {}, title, canvas), h("div", { class: "side" },
    facts, h("div", { class: "curve" }, h("span", {}, "Modes covered over training"), chart),
    settings));
  /** @param {Film} shown @param {number} f @param {Layers} layers @param {Inks} colours */
  function show(shown, f, layers, colours) {
    const { run, name } = shown, all = run.means.length, of = run.numbers;
    draw(ctx, shown, f, layers, colours, field);
    drawChart(thin, run, f, colours);
    const step = `step ${count(run.steps[f])}`;
    title.textContent = `${name}, ${step}`;
    /** @type {[string, string][]} */
    const rows = [
      ["Modes covered", `${of.modes[f]} of ${all}`],
      ["Samples near a mode", percent(of.high_quality[f])],
      ["D says \u201creal\u201d to data", percent(of.d_real[f])],
      ["D says \u201creal\u201d to samples", percent(of.d_fake[f])],
      ["V(D, G)", number(of.V[f], 2)],
      ["Median push", short(of.push[f])],
    ];
    facts.replaceChildren(...rows.map(([term, value]) =>
      h("div", {}, h("dt", {}, term), h("dd", {}, value))));
    settings.textContent = Object.entries(run.settings)
      .map(([key, value]) => `${key}=${python(value)}`).join(", ");
    const text = `${name}, ${step} of ${count(run.steps[run.steps.length - 1])}: `
      + rows.map(([term, value]) => `${term}: ${value}`).join("; ");
    canvas.setAttribute("aria-label", text);
    canvas.dataset.frame = f;
    chart.setAttribute("aria-label", `Modes covered over training: ${of.modes[0]} at first, `
      + `${Math.max(...of.modes)} at most, ${of.modes[of.modes.length - 1]} at last`);
    return text;
  }
  root.append(node);
  return { node, show };
}

/** What colours, circles and arrows mean. @param {Inks} colours */
function legend({ shades }) {
  const bar = h("span", { class: "shades", "aria-hidden": "true" });
  for (const shade of shades) {
    const swatch = h("i");
    swatch.style.background = shade; // not as an attribute: a strict page forbids inline styles
    bar.append(swatch);
  }
  return [
    h("span", { class: "scale" }, "D: fake", bar, "real"),
    h("span", {}, `Colours change at ${LEVELS.map((p) => `${100 * p}`).join(", ")} % \u201creal\u201d; `
      + "on the strong line D cannot tell. Dots: G\u2019s samples. Circles: 3 standard deviations "
      + "around the data\u2019s modes. Arrows: where G\u2019s loss pushes a sample, the longer the "
      + `harder, cut at ${CUT}.`),
  ];
}

/** @param {any} model @param {HTMLElement} root */
function playgroundFace(model, root) {
  const spec = model.get("spec");
  /** @type {Film[]} */
  const films = spec.runs.map((/** @type {Run} */ run, /** @type {number} */ i) =>
    film(run, spec.names[i]));
  const state = { a: spec.show, b: spec.compare, f: spec.frame };
  /** @type {Layers} */
  const layers = { Field: true, Arrows: true, Trails: false };
  const stage = h("div", { class: "panels" }), key = h("p", { class: "key" });
  const live = h("p", { class: "hidden", "aria-live": "polite" });
  const main = panel(stage), second = panel(stage);
  const steps = () => films[state.a].run.steps;
  let announce = 0;

  function show() {
    const colours = inks(root), step = steps()[state.f];
    let text = main.show(films[state.a], state.f, layers, colours);
    second.node.hidden = state.b < 0;
    stage.classList.toggle("two", state.b >= 0);
    if (state.b >= 0) { // the frame of the other run that is nearest in training
      const others = films[state.b].run.steps;
      const gaps = others.map((s) => Math.abs(s - step));
      text += `. ${second.show(films[state.b], gaps.indexOf(Math.min(...gaps)), layers, colours)}`;
    }
    clearTimeout(announce);
    if (!motion.playing()) announce = window.setTimeout(() => { live.textContent = text; }, 400);
  }
  const knob = slider("Training", { min: 0, max: steps().length - 1, step: 1, value: state.f,
    show: (f) => `step ${count(steps()[f])}`,
    changed(f) { motion.stop(); state.f = f; show(); } });
  let clock = 0;
  const play = button("Play", () => {
    if (!motion.playing() && state.f === steps().length - 1) go(0);
    motion.toggle();
  }, { class: "play" });
  const motion = player(root, (seconds) => {
    clock += seconds;
    if (clock >= PACE) { clock = 0; go(state.f + 1); }
    return state.f < steps().length - 1;
  }, (on) => { play.textContent = on ? "Pause" : "Play"; clock = 0; show(); });
  /** @param {number} f */
  function go(f) {
    state.f = Math.min(f, steps().length - 1);
    knob.input.max = steps().length - 1;
    knob.set(state.f);
    show();
  }

  const chooseRun = menu("Run", spec.names, state.a, (i) => { state.a = i; go(state.f); });
  const chooseOther = menu("Beside it", ["nothing", ...spec.names], state.b + 1,
    (i) => { state.b = i - 1; show(); });
  const names = /** @type {(keyof Layers)[]} */ (Object.keys(layers));
  const toggles = names.map((name) => {
    const toggle = button(name, () => {
      layers[name] = !layers[name];
      toggle.setAttribute("aria-pressed", String(layers[name]));
      show();
    }, { "aria-pressed": String(layers[name]) });
    return toggle;
  });
  const menus = films.length > 1 ? [chooseRun.node, chooseOther.node] : [];
  root.append(
    h("div", { class: "bar" }, ...menus, h("div", { class: "layers", role: "group",
      "aria-label": "Shown in the picture" }, ...toggles)),
    h("div", { class: "bar" }, play, knob.node), stage, key, live);

  function dress() { key.replaceChildren(...legend(inks(root))); show(); }
  const sized = new ResizeObserver(dress); // also when the page first shows the widget
  sized.observe(root);
  const themed = new MutationObserver(dress);
  for (const node of [document.documentElement, document.body]) {
    themed.observe(node, { attributeFilter: ["data-theme", "data-jp-theme-light", "class"] });
  }
  dress();
  return () => { motion.close(); clearTimeout(announce); sized.disconnect(); themed.disconnect(); };
}

/** @param {{model: any, el: HTMLElement}} view */
function render({ model, el }) {
  const root = h("div", { class: "acgan playground", role: "group",
    "aria-label": "Playground: recorded games in the plane" });
  el.append(root);
  return playgroundFace(model, root);
}

export default { render };
