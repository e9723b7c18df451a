// Denoising: a flow's way from noise to a picture, step by step, under a slider of time.

import { frameOf, isBuiltPage, kernelEngine, lacking, latestWins, seeded, sharedEngine } from "./engines.js";
import { button, decode, h, menu, number, percent, picture, slider } from "./ui.js";

/** @typedef {{seed: number, label: number, guidance: number, steps: number}} Request */

const READY = "Time works at once. The first other touch fetches the engine (14 MB, once; about 4 MB packed).";
const SLOW = "Waiting for Python. If a cell is still running, the controls wake when it ends; if "
  + "not, run this cell again.";

/**
 * Heun's method with guidance on the exported velocity, as acgan_lib.families.diffusion.solve.
 * Its frame holds the steps + 1 places on the way, then where a straight line would end from each.
 * @param {any} spec @param {import("./engines.js").Loading} loading
 */
export function flowEngine({ models: [file], classes, size: [height, width], channels }, loading) {
  const dim = channels * height * width, K = classes.length;
  /** @param {Float32Array} x @param {number} t @param {Request} r @returns {Promise<Float32Array>} */
  async function velocity(x, t, { label, guidance }) {
    const n = guidance === 1 ? 1 : 2; // without the class first, then with it
    const z = new Float32Array(n * (dim + 1)), w = new Float32Array(n * K);
    for (let i = 0; i < n; i++) {
      z.set(x, i * (dim + 1));
      z[i * (dim + 1) + dim] = t;
    }
    w[(n - 1) * K + label] = 1;
    const { data } = await sharedEngine().run(file, { n, z, w, dim: dim + 1, classes: K }, loading);
    return n === 1 ? data : x.map((_, j) => data[j] + guidance * (data[dim + j] - data[j]));
  }
  return {
    /** @param {Request} r */
    async render(r) {
      const all = new Float32Array(2 * (r.steps + 1) * dim);
      let x = Float32Array.from(seeded(r.seed, dim));
      for (let i = 0; i <= r.steps; i++) {
        const t = i / r.steps, left = 1 - t, from = x;
        all.set(x, i * dim);
        const v = left ? await velocity(x, t, r) : x;
        all.set(left ? x.map((a, j) => a + left * v[j]) : x, (r.steps + 1 + i) * dim);
        if (!left) break;
        x = from.map((a, j) => a + v[j] / r.steps);
        if (i === r.steps - 1) continue; // the last step is Euler's
        const then = await velocity(x, (i + 1) / r.steps, r);
        x = from.map((a, j) => a + (v[j] + then[j]) / 2 / r.steps);
      }
      return frameOf([{ dims: [2 * (r.steps + 1), channels, height, width], data: all }]);
    },
    close() {},
  };
}

/** @param {any} model @param {HTMLElement} root */
export function denoiseFace(model, root) {
  const spec = model.get("spec"), { classes, size, start, choices } = spec;
  const built = isBuiltPage(), reason = built ? lacking(spec) : "";
  /** @type {Request} */
  const state = { ...start };
  const places = [picture(size, "On the way"), picture(size, "Its guess of the end")];
  const status = h("p", { class: "status", role: "status" });
  const live = h("p", { class: "hidden", "aria-live": "polite" });
  const bar = h("progress", { max: 1, value: 0, "aria-label": "Fetching" }), what = h("span", {});
  const fetching = h("div", { class: "fetching" }, bar, what);
  const seed = h("output", { "aria-live": "off" }, String(start.seed));
  /** @type {Request} what the film below shows */
  let shown = { ...start };
  /** @type {(i: number, k: number) => void} draws place i of the film as picture k */
  let film = () => {};
  let timer = 0, awake = false;
  const still = matchMedia("(prefers-reduced-motion: reduce)");

  /** @param {string} text @param {boolean} bad */
  function say(text, bad = false) {
    status.textContent = text;
    status.classList.toggle("bad", bad);
  }
  const at = (/** @type {number} */ i) => `t = ${number(i / shown.steps, 2)}`;
  function show() {
    const i = Number(time.input.value), name = classes[shown.label];
    film(i, 0);
    film(shown.steps + 1 + i, 1);
    places[0].say(i ? i === shown.steps ? "The picture" : `On the way, ${at(i)}` : "Noise, t = 0.00",
      `${name}, noise of seed ${shown.seed}, guidance ${shown.guidance}, at ${at(i)}`);
    places[1].say("Its guess of the end", `Where a straight line would end from ${at(i)}: ${name}`);
    root.dataset.at = String(i);
  }
  const time = slider("Time", { min: 0, max: start.steps, step: 1, value: start.steps, show: at,
    changed() { pause(); show(); } });
  function pause() {
    clearInterval(timer);
    timer = 0;
    play.textContent = "Play";
  }
  const play = button("Play", () => {
    if (timer) return pause();
    if (Number(time.input.value) >= shown.steps) { time.set(0); show(); }
    play.textContent = "Pause";
    timer = window.setInterval(() => {
      time.set(Number(time.input.value) + 1);
      show();
      if (Number(time.input.value) >= shown.steps) pause();
    }, still.matches ? 1500 : 2000 / shown.steps);
  }, { class: "play" });

  const engine = built && !reason ? flowEngine(spec, (share, name) => {
    if (!fetching.isConnected) { say(""); status.after(fetching); }
    bar.value = share;
    what.textContent = `Fetching ${name}: ${percent(share)}`;
  }) : kernelEngine(model);
  const ask = latestWins(engine, (frame, /** @type {Request} */ r) => {
    clearTimeout(slow);
    if (!awake) wake(true);
    fetching.remove();
    say("");
    const share = Number(time.input.value) / shown.steps;
    shown = r;
    time.input.max = String(r.steps);
    time.set(Math.round(share * r.steps));
    film = (i, k) => places[k].draw(frame, i);
    show();
    root.dataset.shown = JSON.stringify(r);
    live.textContent = `Drawn: ${classes[r.label]}, seed ${r.seed}, guidance ${r.guidance}`;
  }, (error) => {
    clearTimeout(slow);
    fetching.remove();
    say(built ? `This page could not fetch or start its engine (${error.message}). Check the `
      + "connection and touch a control again, or open the chapter in Colab." : error.message, true);
  });
  /** @param {Partial<Request>} part */
  function change(part) {
    Object.assign(state, part);
    seed.textContent = String(state.seed);
    ask({ ...state });
  }
  const kind = menu("Class", classes, start.label, (label) => change({ label }));
  const guidance = slider("Guidance", { min: 0, max: 6, step: 0.5, value: start.guidance,
    show: (w) => number(w, 1), changed: (w) => change({ guidance: w }) });
  const steps = menu("Steps", choices.map(String), choices.indexOf(start.steps),
    (i) => change({ steps: choices[i] }));
  const noise = button("New noise", () => change({ seed: state.seed + 1 }));
  const reset = button("Reset", () => {
    kind.set(start.label);
    guidance.set(start.guidance);
    steps.set(choices.indexOf(start.steps));
    change(start);
  });
  const live_ones = h("div", { class: "bar" }, kind.node, steps.node, noise, reset,
    h("span", { class: "seed" }, "seed ", seed));
  root.append(live_ones, h("div", { class: "stage" }, h("div", { class: "pics" },
    ...places.map((p) => p.node)), h("div", { class: "knobs" }, h("div", { class: "bar" }, play),
    time.node, guidance.node)), status, live);

  /** @param {boolean} on */
  function wake(on) {
    awake = on;
    root.classList.toggle("asleep", !on);
    [...live_ones.querySelectorAll("select, button"), guidance.input].forEach((n) => { n.disabled = !on; });
  }
  decode(model.get("still")).then((image) => {
    if (root.dataset.shown) return;
    const across = start.steps + 1;
    film = (i, k) => places[k].copy(image, (i % across) * size[1], Math.floor(i / across) * size[0]);
    show();
  });
  const slow = window.setTimeout(() => { if (!awake && !built) say(SLOW); }, 3000);
  wake(built && !reason);
  if (built) say(reason || READY);
  else ask({ ...state }); // a kernel, wherever it is, answers this and wakes the controls
  return () => { pause(); clearTimeout(slow); engine.close(); };
}

/** @param {{model: any, el: HTMLElement}} view */
function render({ model, el }) {
  const root = h("div", { class: "acgan denoise", role: "group", "aria-label": "Denoising" });
  el.append(root);
  return denoiseFace(model, root);
}

export default { render };
