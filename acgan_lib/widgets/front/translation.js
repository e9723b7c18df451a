// A face, its translation, and the way back.

import {
  frameOf, isBuiltPage, kernelEngine, lacking, latestWins, seeded, sharedEngine,
} from "./engines.js";
import { button, clip, decode, h, number, percent, picture, slider } from "./ui.js";

const FIRST = "Live on this page. The first touch fetches the engine (14 MB, once; about 4 MB packed) "
  + "and two networks of 1.4 MB.";
const WAITING = "Waiting for Python. If a cell is still running, the faces wake when it ends; if not, "
  + "run this cell again.";

/** @param {any} model @param {HTMLElement} root */
function translationFace(model, root) {
  const { sides, size, n, models } = model.get("spec");
  const state = { face: 0, from: 0, noise: 0 };
  /** @type {Float32Array[]} each face of each side, as a network takes it */
  let rows = [];
  /** @type {HTMLImageElement | null} */
  let sheet = null;

  const status = h("p", { class: "status", role: "status" });
  const bar = h("progress", { max: 1, "aria-label": "Fetching" });
  const what = h("span");
  const fetching = h("div", { class: "fetching" }, bar, what);
  function say(/** @type {string} */ text, bad = false) {
    status.textContent = text;
    status.classList.toggle("bad", bad);
  }
  /** @type {import("./engines.js").Loading} */
  function loading(part, name) {
    if (!fetching.isConnected) { say(""); status.after(fetching); }
    bar.value = part;
    what.textContent = `Fetching ${name}: ${percent(part)}`;
  }

  const built = isBuiltPage();
  const reason = built ? lacking({ models }).replace("sliders are", "faces are") : "";
  const ready = decode(model.get("still")).then((image) => {
    sheet = image;
    const canvas = h("canvas", { width: image.width, height: image.height });
    const context = canvas.getContext("2d");
    context.drawImage(image, 0, 0);
    const side = size * size;
    rows = Array.from({ length: 2 * n }, (_, i) => {
      const { data } = context.getImageData((i % 2) * size, (i >> 1) * size, size, size);
      return Float32Array.from({ length: 3 * side }, (__, k) => (
        data[4 * (k % side) + Math.floor(k / side)] / 127.5 - 1));
    });
  });
  const run = (/** @type {number} */ which, /** @type {Float32Array} */ z) => sharedEngine().run(
    models[which], { n: 1, z, w: new Float32Array(0), dim: z.length, classes: 0 }, loading);
  const engine = built && !reason ? {
    async render(/** @type {typeof state} */ r) {
      await ready;
      const drawn = await run(r.from, rows[2 * r.face + r.from]);
      const noise = seeded(r.face, drawn.data.length);
      const middle = Float32Array.from(drawn.data, (/** @type {number} */ v, /** @type {number} */ i) => (
        clip(v + r.noise * noise[i], -1, 1)));
      const again = await run(1 - r.from, middle);
      return frameOf([{ dims: drawn.dims, data: middle }, again]);
    },
    close() {},
  } : kernelEngine(model);
  let awake = built && !reason;

  const pictures = ["start", "there", "back", "true"].map(() => picture([size, size]));
  const [start, there, back, truth] = pictures;
  const ask = latestWins(/** @type {any} */ (engine), (frame, request) => {
    fetching.remove();
    clearTimeout(slow);
    say("");
    wake(true);
    there.draw(frame, 0);
    back.draw(frame, 1);
    root.dataset.shown = JSON.stringify(request);
  }, (error) => {
    clearTimeout(slow);
    fetching.remove();
    say(built ? `This page could not fetch or start its engine (${error.message}). Check the `
      + "connection and choose again, or open the chapter in Colab." : error.message, true);
  });
  function words() {
    const [a, b] = state.from ? [sides[1], sides[0]] : sides;
    const noisy = state.noise ? `, with noise ${number(state.noise, 2)}` : "";
    start.say(a, `Face ${state.face + 1} in ${a}`);
    there.say(`\u2192 ${b}${noisy}`, `Its translation to ${b}${noisy}`);
    back.say(`\u2192 back to ${a}`, `The translation translated back to ${a}`);
    truth.say(`true ${b}`, `The same face as it was drawn in ${b}`);
    faces.forEach((/** @type {any} */ f, /** @type {number} */ i) => f.setAttribute("aria-pressed",
      String(i === state.face)));
  }
  function still() {
    if (!sheet) return;
    start.copy(sheet, state.from * size, state.face * size);
    truth.copy(sheet, (1 - state.from) * size, state.face * size);
    faces.forEach((/** @type {any} */ f, /** @type {number} */ i) => f.lastChild.getContext("2d").drawImage(
      /** @type {any} */ (sheet), state.from * size, i * size, size, size, 0, 0, size, size));
  }
  function follow() {
    words();
    still();
    ask({ ...state });
  }

  const faces = Array.from({ length: n }, (_, i) => button("", () => { state.face = i; follow(); }, {
    "aria-label": `Face ${i + 1}`, "aria-pressed": "false" }));
  faces.forEach((f) => f.append(h("canvas", { width: size, height: size, class: "squares",
    "aria-hidden": "true" })));
  const turn = button(`From ${sides[1]} instead`, () => {
    state.from = 1 - state.from;
    turn.textContent = `From ${sides[1 - state.from]} instead`;
    follow();
  });
  const noise = slider("Noise in the middle", { min: 0, max: 0.3, step: 0.01, value: 0,
    show: (x) => number(x, 2), changed(x) { state.noise = x; follow(); } });
  root.append(h("div", { class: "shelf" }, ...faces), h("div", { class: "bar" }, turn, noise.node),
    h("div", { class: "four" }, ...pictures.map((p) => p.node)), status);

  function wake(/** @type {boolean} */ on) {
    awake = on;
    root.classList.toggle("asleep", !on);
    root.querySelectorAll("input, button").forEach((/** @type {any} */ node) => { node.disabled = !on; });
  }
  words();
  ready.then(() => {
    still();
    if (!root.dataset.shown && sheet) { there.copy(sheet, 0, n * size); back.copy(sheet, size, n * size); }
  });
  const slow = window.setTimeout(() => { if (!awake && !built) say(WAITING); }, 3000);
  wake(awake);
  if (built) say(reason || FIRST); else follow();
  return () => { clearTimeout(slow); engine.close(); };
}

/** @param {{model: any, el: HTMLElement}} view */
function render({ model, el }) {
  const root = h("div", { class: "acgan translation", role: "group", "aria-label": "There and back" });
  el.append(root);
  return translationFace(model, root);
}

export default { render };
