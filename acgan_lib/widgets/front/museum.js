// Museum: exhibits of bugs, each beside its fix, over recorded trainings. Needs no kernel.

import { button, crisp, decode, h, menu, slider } from "./ui.js";

/**
 * A bug and its fix. Of each pair, the first is the bug's. `grids` are first pictures in the atlas.
 * @typedef {{title: string, symptom: string, lines: [string, string],
 *   facts: {what: string, values: [string, string]}[],
 *   curve: null | {term: string, steps: number[], values: [number[], number[]]},
 *   frames: string[], grids: [number[], number[]], what: string}} Exhibit
 */

const NAMES = ["Bug", "Fix"];
const WIDE = 320, TALL = 130, LEFT = 34, RIGHT = 8, TOP = 8, LOW = 20;

/** An element of SVG. @param {string} tag @param {Record<string, any>} attributes */
function svg(tag, attributes, text = "") {
  const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, String(value));
  node.textContent = text;
  return node;
}

const plain = (/** @type {number} */ x) => x.toFixed(2).replace("-", "\u2212");

/** The two curves; the one that is chosen stands out. @param {Exhibit} one @param {number} chosen */
function chart({ curve }, chosen) {
  if (!curve) return "";
  const { steps, values, term } = curve, all = values.flat(), last = steps[steps.length - 1];
  const low = Math.min(0, ...all), high = Math.max(...all);
  const x = (/** @type {number} */ step) => LEFT + (WIDE - LEFT - RIGHT) * step / last;
  const y = (/** @type {number} */ v) => TOP + (TALL - TOP - LOW) * (high - v) / (high - low || 1);
  const root = svg("svg", { viewBox: `0 0 ${WIDE} ${TALL}`, role: "img", class: "chart",
    "aria-label": `${term} over ${last} steps: ${NAMES.map((name, i) =>
      `${name} from ${plain(values[i][0])} to ${plain(values[i][values[i].length - 1])}`).join("; ")}` });
  for (const v of low < 0 ? [low, 0, high] : [low, high]) {
    root.append(svg("line", { x1: LEFT, x2: WIDE - RIGHT, y1: y(v), y2: y(v), class: "rule" }),
      svg("text", { x: LEFT - 5, y: y(v) + 4, "text-anchor": "end" }, v.toFixed(1).replace("-", "\u2212")));
  }
  root.append(svg("text", { x: WIDE - RIGHT, y: TALL - 4, "text-anchor": "end" }, `step ${last}`));
  for (const i of [1 - chosen, chosen]) {
    root.append(svg("polyline", { class: i === chosen ? "chosen" : "other",
      points: steps.map((step, j) => `${x(step)},${y(values[i][j])}`).join(" ") }));
  }
  return h("div", { class: "plot" }, root, h("p", {}, h("code", {}, term),
    ` with the ${NAMES[chosen].toLowerCase()} (thick) and with the ${NAMES[1 - chosen].toLowerCase()} (dashed)`));
}

/** @param {{get: (name: string) => any}} model @param {HTMLElement} root */
function museumFace(model, root) {
  /** @type {{exhibits: Exhibit[], columns: number, n: number, side: number, across: number,
   *   labels: string[], start: number}} */
  const { exhibits, columns, n, side, across, labels, start } = model.get("spec");
  const rows = n / columns, gap = 2;
  const canvas = crisp({ role: "img", width: columns * (side + gap) - gap,
    height: rows * (side + gap) - gap });
  const context = canvas.getContext("2d");
  const live = h("p", { class: "hidden", "aria-live": "polite" });
  const facts = h("div", {}), code = h("div", { class: "lines" });
  const symptom = h("p", { class: "symptom" }), words = h("p", { class: "words" });
  const plot = h("div", {}), film = h("div", { class: "film" });
  let at = start, chosen = 0, frame = 0;
  /** @type {HTMLImageElement | undefined} */
  let sheet;

  const versions = NAMES.map((name, i) => button(name, () => { chosen = i; show(); }));
  const choice = menu("Exhibit", exhibits.map((one, i) => `${i + 1}. ${one.title}`), start,
    (i) => { at = i; chosen = 0; show(); });
  const knob = slider("Training", { min: 0, max: 2, step: 1, value: 2,
    show: (f) => exhibits[at].frames[f] ?? "", changed(f) { frame = f; draw(); } });

  function draw() {
    const one = exhibits[at], first = one.grids[chosen][Math.min(frame, one.frames.length - 1)];
    canvas.setAttribute("aria-label",
      `${one.what}, ${NAMES[chosen].toLowerCase()}, ${one.frames[frame] ?? ""}; columns: ${labels.join(", ")}`);
    if (!sheet || first === undefined) return;
    for (let i = 0; i < n; i++) {
      context.drawImage(sheet, ((first + i) % across) * side, Math.floor((first + i) / across) * side,
        side, side, (i % columns) * (side + gap), Math.floor(i / columns) * (side + gap), side, side);
    }
  }

  function show() {
    const one = exhibits[at], many = one.frames.length > 1;
    versions.forEach((b, i) => b.setAttribute("aria-pressed", String(i === chosen)));
    symptom.textContent = one.symptom;
    code.replaceChildren(...one.lines.map((line, i) => h("p", { class: i === chosen ? "chosen" : "" },
      h("b", {}, `${NAMES[i]} `), h("code", {}, line))));
    facts.replaceChildren(...one.facts.map(({ what, values }) => h("div", { class: "fact" },
      h("span", {}, what), ...values.map((value, i) => h("span", { class: i === chosen ? "chosen" : "" },
        `${NAMES[i]} ${value}`)))));
    plot.replaceChildren(chart(one, chosen));
    film.hidden = !one.frames.length;
    knob.node.hidden = !many;
    words.textContent = one.what;
    if (many) { frame = one.frames.length - 1; knob.input.max = String(frame); knob.set(frame); }
    else frame = 0;
    draw();
    live.textContent = `${one.title}, ${NAMES[chosen].toLowerCase()}: `
      + one.facts.map(({ what, values }) => `${what} ${values[chosen]}`).join("; ");
    root.dataset.shown = `${at} ${chosen}`;
  }

  const heads = h("div", { class: "heads", "aria-hidden": "true" },
    ...labels.map((name) => h("span", {}, name)));
  heads.style.setProperty("--n", String(columns));
  film.append(heads, canvas, words, knob.node);
  root.append(
    h("div", { class: "bar" }, choice.node,
      h("div", { class: "versions", role: "group", "aria-label": "Version" }, ...versions)),
    symptom, code, facts, plot, film, live);
  show();
  live.textContent = ""; // nothing changed yet
  decode(model.get("still")).then((image) => { sheet = image; draw(); });
}

/** @param {{model: {get: (name: string) => any}, el: HTMLElement}} view */
function render({ model, el }) {
  const root = h("div", { class: "acgan museum", role: "group", "aria-label": "Museum of bugs" });
  el.append(root);
  museumFace(model, root);
}

export default { render };
