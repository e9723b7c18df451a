// LatentExplorer, ClassSwap, ClassMix and SideBySide: a generator under controls.

import { browserEngine, isBuiltPage, kernelEngine, lacking, latestWins } from "./engines.js";
import { formatLink, linkedPlace, parseLink, placeOf, whenConnected } from "./link.js";
import {
  button, clip, decode, h, menu, number, pad, percent, picture, player, slider,
} from "./ui.js";

/** @typedef {import("./link.js").State} State */
/** @typedef {import("./ui.js").Frame} Frame */
/**
 * What a face's extra parts, such as a map's, are given.
 * @typedef {{model: any, spec: any, state: State, root: HTMLElement,
 *   move: (coords: number[], playing?: boolean) => void, stop: () => void, rest: () => void,
 *   say: (text: string, bad?: boolean) => void,
 *   draw: (request: State) => Promise<Frame>}} Face
 */
/**
 * @typedef {{pad: ReturnType<typeof pad>, foot: HTMLElement, asked: (request: State) => void,
 *   playing: () => boolean, stop: () => void, awake: () => void, close: () => void}} Extras
 */

const READY = "Live on this page. The first touch fetches the engine (14 MB, once; about 4 MB packed).";
const SLOW = "Waiting for Python. If a cell is still running, the sliders wake when it ends; if "
  + "not, run this cell again.";
const LIVE = "Live on this page.";
const LAP = 16; // seconds that a drift takes to come back to where it began

/**
 * A widget of one kind in `root`; returns what ends it. `extend` builds a face's own pad and more.
 * @param {any} model @param {HTMLElement} root
 * @param {((face: Face, moved: (x: number, y: number) => void) => Extras) | null} extend
 */
export function generatorFace(model, root, extend = null) {
  const spec = model.get("spec");
  const { kind, start, classes, reach, size } = spec;
  const ways = spec.directions.map((/** @type {string} */ name) => name.toLowerCase());
  const many = ways.length, plain = ways.every((/** @type {string} */ way, /** @type {number} */ i) => (
    kind === "map" || way === `direction ${i + 1}`));
  const fixed = !!spec.marks?.length; // a map through chosen z has no other z to go to
  /** @type {[number, number][]} */
  const ranges = spec.ranges ?? Array(many).fill([-reach, reach]);
  /** @type {State} */
  const state = { ...start, coords: [...start.coords] };
  const status = h("p", { class: "status", role: "status" });
  const live = h("p", { class: "hidden", "aria-live": "polite" });
  const digits = ranges.map(([low, high]) => (high - low > 3 ? 1 : 2));
  let announce = 0, awake = false, painted = 0;

  // What the pictures are called, in captions and to a screen reader.
  const moved = (/** @type {State} */ r) => r.coords.slice(0, many).map((c, i) => (
    `${ways[i]} = ${number(c, digits[i])}`));
  const named = (/** @type {any} */ r) => (kind === "mix"
    ? `${percent(1 - r.t)} ${classes[r.a]}, ${percent(r.t)} ${classes[r.b]}`
    : "label" in r ? classes[r.label] : "text" in r ? r.text : fixed ? "here" : `seed ${r.seed}`);
  const describe = (/** @type {State} */ r, what = ["label", "text", "t"].some((k) => k in r) ? named(r) : "") => [
    what ? `Generated image: ${what}` : "Generated image", ...moved(r),
    fixed ? "on the plane of A, B and C" : `z from seed ${r.seed}`].join(", ");

  const names = kind === "swap" ? classes : kind === "beside" ? spec.names : null;
  const pictures = names ? names.map((/** @type {string} */ name) => picture(size, name))
    : kind === "mix" ? [0, 1, 2].map(() => picture(size)) : [picture(size)];
  const pinned = picture(size);
  pinned.node.classList.add("pinned");
  const order = kind === "mix" ? [1, 0, 2] : pictures.keys();
  const pics = h("div", { class: "pics" }, ...[...order].map((i) => pictures[i].node));

  /** @param {any} r */
  function caption(r) {
    if (kind === "beside") {
      pictures.forEach((/** @type {any} */ p, /** @type {number} */ i) => p.say(names[i],
        describe(r, `${names[i]}${"label" in r ? `, ${classes[r.label]}` : ""}`)));
    } else if (kind === "swap") {
      pictures.forEach((/** @type {any} */ p, /** @type {number} */ i) => p.say(names[i],
        describe(r, names[i])));
    } else if (kind === "mix") {
      pictures[0].say(named(r), describe(r));
      pictures[1].say(classes[r.a], describe(r, classes[r.a]));
      pictures[2].say(classes[r.b], describe(r, classes[r.b]));
    } else {
      pictures[0].say(named(r).replace(/^[a-z]/, (/** @type {string} */ s) => s.toUpperCase()),
        describe(r));
    }
  }
  // What the reader sees while the page fetches its engine.
  const fetching = h("div", { class: "fetching" });
  const share = h("progress", { max: 1, "aria-label": "Fetching" });
  const what = h("span");
  fetching.append(share, what);
  /** @type {import("./engines.js").Loading} */
  function loading(part, name) {
    if (!fetching.isConnected) { say(""); status.after(fetching); }
    /** @type {any} */ (share).value = part;
    what.textContent = `Fetching ${name}: ${percent(part)}`;
  }
  /** @param {string} text @param {boolean} bad */
  function say(text, bad = false) {
    status.textContent = text;
    status.classList.toggle("bad", bad);
  }

  const built = isBuiltPage(), reason = built ? lacking(spec) : "";
  const idle = built && !reason ? LIVE : "";
  const engine = built && !reason ? browserEngine(spec, loading) : kernelEngine(model);
  // One request at a time, so that thumbnails and pictures never run into one another.
  let last = Promise.resolve();
  const draw = (/** @type {State} */ request) => {
    const frame = last.then(() => engine.render(request));
    last = frame.then(() => {}, () => {});
    return frame;
  };
  const ask = latestWins({ render: draw }, (/** @type {Frame} */ frame, /** @type {State} */ r) => {
    clearTimeout(slow);
    if (!awake) wake(true);
    if (fetching.isConnected) { fetching.remove(); say(idle); }
    strip.remove();
    pictures.forEach((/** @type {any} */ p, /** @type {number} */ i) => p.draw(frame, i));
    root.dataset.shown = JSON.stringify(r);
    if (drift.playing() || extras?.playing()) return; // words that change with each frame help nobody
    caption(r);
    if (status.textContent !== idle) say(idle);
    clearTimeout(announce);
    announce = window.setTimeout(() => {
      live.textContent = names ? describe(r, kind === "swap" ? "every class" : named(r)) : describe(r);
    }, 400);
  }, (/** @type {Error} */ error) => {
    clearTimeout(slow);
    stop();
    fetching.remove();
    if (!built) return say(error.message, true);
    say(`This page could not fetch or start its engine (${error.message}). Check the connection and `
      + "touch a slider again, or open the chapter in Colab.", true);
    showStrip();
  });
  /** @param {Partial<State>} part */
  function change(part) {
    Object.assign(state, part);
    const request = { ...state, coords: [...state.coords] };
    if (seed.textContent !== String(state.seed)) seed.textContent = String(state.seed);
    ask(request);
    extras?.asked(request);
  }
  /** Go to a place along the directions; a player's moves show on the sliders five times a second. */
  function move(/** @type {number[]} */ coords, playing = false) {
    coords.forEach((c, i) => { state.coords[i] = c; });
    plane?.set(state.coords[0], state.coords[1]);
    if (!playing || performance.now() - painted > 200) {
      painted = performance.now();
      knobs.forEach((/** @type {any} */ k, /** @type {number} */ i) => k.set(state.coords[i]));
    }
    change({});
  }
  /** Everything as a state says, controls too. @param {any} r */
  function show(r) {
    stop();
    mix?.set(r.t);
    for (const key in menus) menus[key].set(r[key]);
    Object.assign(state, r);
    move([...r.coords]);
  }
  function stop() { drift.stop(); extras?.stop(); }
  function rest() { move([...state.coords]); }

  // A drift: each direction swings at its own pace, and after a lap all are where they began.
  let phase = 0;
  /** @type {number[]} */
  let from = [];
  const drift = player(root, (seconds) => {
    phase = (phase + seconds / LAP) % 1;
    move(from.map((c, i) => Math.round(1000 * clip(
      c + 0.6 * reach * Math.sin(2 * Math.PI * (i + 1) * phase), ...ranges[i])) / 1000), true);
    return true;
  }, (on) => {
    drifting.textContent = on ? "Stop" : "Drift";
    if (on) [phase, from] = [0, state.coords.slice(0, many)];
    else if (awake) rest();
  });
  const drifting = button("Drift", drift.toggle, { class: "play" });

  // Controls.
  const stage = h("div", { class: "stage" }, pics);
  /** @type {Extras | null} */
  let extras = null;
  const dragged = (/** @type {number} */ x, /** @type {number} */ y) => { stop(); move([x, y]); };
  if (extend) extras = extend({ model, spec, state, root, move, stop, rest, say, draw }, dragged);
  const plane = extras ? extras.pad : kind === "explorer" && many > 1
    ? pad(`Pad: ${ways[0]} across, ${ways[1]} upwards.`, {
      ranges, start: start.coords, changed: dragged }) : null;
  if (plane && !extras) {
    ["x", "y"].forEach((axis, i) => plane.node.append(
      h("span", { class: `name ${axis}`, "aria-hidden": "true" }, plain ? `${i + 1}` : ways[i])));
  }
  const knobs = spec.directions.map((/** @type {string} */ name, /** @type {number} */ i) => slider(name, {
    min: ranges[i][0], max: ranges[i][1], step: digits[i] === 1 ? 0.1 : 0.01, value: start.coords[i],
    show: (x) => number(x, digits[i]), axis: plane && i < 2 ? (i ? "\u2195" : "\u2194") : "",
    changed(x) {
      stop();
      state.coords[i] = x;
      plane?.set(state.coords[0], state.coords[1]);
      change({});
    },
  }));
  const seed = h("output", { "aria-live": "off" }, start.seed);
  const bar = h("div", { class: "bar" });
  /** @type {Record<string, ReturnType<typeof menu>>} */
  const menus = {};
  for (const [key, label] of [["label", "Class"], ["a", "From"], ["b", "To"]]) {
    if (!(key in start)) continue;
    menus[key] = menu(label, classes, start[key], (i) => change({ [key]: i }));
    bar.append(menus[key].node);
  }
  const mix = "t" in start ? slider("Mix", { min: 0, max: 1, step: 0.01, value: start.t,
    show: percent, changed: (t) => change({ t }) }) : null;
  if (!fixed) {
    bar.append(button("New z", () => { stop(); change({ seed: state.seed + 1 }); }));
  }
  if (names && many) bar.append(drifting);
  if (["explorer", "map", "text"].includes(kind)) {
    const pin = button("Pin and compare", () => {
      const on = pin.getAttribute("aria-pressed") !== "true";
      pin.setAttribute("aria-pressed", on);
      pin.textContent = on ? "Unpin" : "Pin and compare";
      if (!on) return pinned.node.remove();
      pinned.copy(pictures[0].canvas);
      const r = JSON.parse(root.dataset.shown ?? "{}");
      pinned.say(fixed && !("label" in r) ? "Pinned" : `Pinned: ${named(r)}`,
        `Pinned. ${describe(r)}`);
      pics.prepend(pinned.node);
    }, { "aria-pressed": "false" });
    bar.append(pin);
  }
  const reset = button("Reset", () => show({ ...start, coords: [...start.coords] }));
  bar.append(reset);
  const link = button("Link", () => {
    stop();
    history.replaceState(history.state, "", formatLink(state, placeOf(root)));
    Promise.resolve(navigator.clipboard?.writeText(location.href) ?? Promise.reject()).then(
      () => say("Link copied. It opens this very picture."),
      () => say("The address of this page now opens this very picture: copy it from there."));
  });
  if (!fixed) bar.append(h("span", { class: "seed" }, "seed ", seed));

  const controls = h("div", { class: plain ? "knobs" : "knobs named" }, ...(mix ? [mix.node] : []),
    ...knobs.map((/** @type {any} */ k) => k.node));
  if (plane) stage.append(plane.node);
  if (mix || many) stage.append(controls);
  root.append(bar, stage, ...(extras ? [extras.foot] : []), status, live);
  const small = kind === "beside" || size[1] < 64; // ten large ones in a row would be shrunk
  root.style.setProperty("--k", String(Math.min(pictures.length, small ? 10 : 5)));
  root.style.setProperty("--most", small ? "96px" : "128px");
  root.style.setProperty("--half", String(Math.min(Math.ceil(pictures.length / 2), 5)));

  /** @param {boolean} on */
  function wake(on) {
    awake = on;
    root.classList.toggle("asleep", !on);
    root.querySelectorAll("input, select, button").forEach((/** @type {any} */ n) => { n.disabled = !on; });
    if (plane) {
      plane.node.setAttribute("aria-disabled", String(!on));
      plane.node.tabIndex = on ? 0 : -1;
    }
    extras?.awake();
  }

  // The still: what the start looks like, from the strip made with the widget.
  const strip = h("div", { class: "strip" });
  caption(state);
  const stillDrawn = decode(model.get("still")).then((image) => {
    if (root.dataset.shown) return;
    const x = (/** @type {number} */ i) => i * size[1];
    if (names) return pictures.forEach((/** @type {any} */ p, /** @type {number} */ i) => p.copy(image, x(i)));
    pictures[0].copy(image, x(kind === "map" ? spec.strip - 1 : spec.strip >> 1));
    if (kind === "mix") { pictures[1].copy(image); pictures[2].copy(image, x(spec.strip - 1)); }
  });
  function showStrip() {
    stillDrawn.then(() => decode(model.get("still"))).then((image) => {
      if (strip.childElementCount || names || kind === "map" || spec.strip < 2) return;
      for (let i = 0; i < spec.strip; i++) {
        const s = i / (spec.strip - 1);
        const part = kind === "mix" ? percent(s) : number((2 * s - 1) * reach);
        const p = picture(size);
        p.copy(image, i * size[1]);
        p.say(part, kind === "mix" ? describe({ ...start, t: s }) : describe({ ...start,
          coords: start.coords.map((/** @type {number} */ c, /** @type {number} */ j) => (
            j ? c : (2 * s - 1) * reach)) }));
        strip.append(p.node);
      }
      strip.style.setProperty("--n", String(spec.strip));
      strip.setAttribute("data-what", kind === "mix" ? `Share of ${classes[start.b]}`
        : `Along ${ways[0]}`);
      status.after(strip);
    });
  }
  const slow = window.setTimeout(() => { if (!awake && !built) say(SLOW); }, 3000);
  wake(built && !reason);
  if (built) say(reason || READY);
  if (reason) showStrip();

  /** Go where the page's address points, if it points here. */
  function follow() {
    if (linkedPlace(location.hash) !== placeOf(root)) return false;
    const wanted = parseLink(location.hash, { start, ranges, classes, fixed });
    if (!wanted) return false;
    root.scrollIntoView({ block: "center" });
    show(wanted); // asks the engine: that is what the link is for
    return true;
  }
  addEventListener("hashchange", follow);
  whenConnected(root).then(() => {
    if (!placeOf(root)) return;
    link.disabled = !awake;
    reset.after(link);
    follow();
  });
  if (!built) ask({ ...state }); // a kernel, wherever it is, answers this and wakes the controls
  return () => {
    removeEventListener("hashchange", follow);
    clearTimeout(slow);
    clearTimeout(announce);
    drift.close();
    extras?.close();
    engine.close();
  };
}

/** @param {{model: any, el: HTMLElement}} view */
function render({ model, el }) {
  /** @type {Record<string, string>} */
  const label = {
    explorer: "Latent explorer", swap: "Class swap", mix: "Class mix", beside: "Side by side",
  };
  const { kind } = model.get("spec");
  const root = h("div", { class: `acgan ${kind}`, role: "group", "aria-label": label[kind] });
  el.append(root);
  return generatorFace(model, root);
}

export default { render };
