// LatentExplorer, ClassSwap and ClassMix: a generator under controls.

import { kernelEngine, latestWins } from "./engines.js";
import { button, decode, h, menu, number, pad, percent, picture, slider } from "./ui.js";

const ASLEEP = "This page has no Python kernel, so the sliders are asleep: open the chapter in "
  + "Colab or run \u201cmake lab\u201d to wake them.";
const SLOW = "Waiting for Python. If a cell is still running, the sliders wake when it ends; if "
  + "not, run this cell again.";

/** LatentExplorer, ClassSwap and ClassMix. */
function generatorFace(model, root) {
  const spec = model.get("spec");
  const { kind, start, classes, reach, size } = spec;
  const state = { ...start, coords: [...start.coords] };
  const status = h("p", { class: "status", role: "status" });
  const live = h("p", { class: "hidden", "aria-live": "polite" });
  const many = spec.directions.length;
  let announce, awake = false;

  // What the pictures are called, in captions and to a screen reader.
  const moved = (r) => r.coords.map((c, i) => `direction ${i + 1} = ${number(c)}`);
  const named = (r) => (kind === "mix"
    ? `${percent(1 - r.t)} ${classes[r.a]}, ${percent(r.t)} ${classes[r.b]}`
    : "label" in r ? classes[r.label] : "no class");
  const describe = (r, what = named(r)) => [`Generated image: ${what}`, ...moved(r),
    `z from seed ${r.seed}`].join(", ");

  const pictures = kind === "swap" ? classes.map((name) => picture(size, name))
    : kind === "mix" ? [0, 1, 2].map(() => picture(size)) : [picture(size)];
  const pinned = picture(size);
  pinned.node.classList.add("pinned");
  const order = kind === "mix" ? [1, 0, 2] : pictures.keys();
  const pics = h("div", { class: "pics" }, ...[...order].map((i) => pictures[i].node));

  function caption(r) {
    if (kind === "swap") {
      pictures.forEach((p, i) => p.say(classes[i], describe(r, classes[i])));
    } else if (kind === "mix") {
      pictures[0].say(named(r), describe(r));
      pictures[1].say(classes[r.a], describe(r, classes[r.a]));
      pictures[2].say(classes[r.b], describe(r, classes[r.b]));
    } else {
      pictures[0].say("label" in r ? classes[r.label] : `Seed ${r.seed}`, describe(r));
    }
  }
  function say(text, bad = false) {
    status.textContent = text;
    status.classList.toggle("bad", bad);
  }

  const engine = kernelEngine(model);
  const ask = latestWins(engine, (frame, r) => {
    clearTimeout(slow);
    if (!awake) wake(true);
    pictures.forEach((p, i) => p.draw(frame, i));
    caption(r);
    root.dataset.shown = JSON.stringify(r);
    say("");
    clearTimeout(announce);
    announce = setTimeout(() => {
      live.textContent = kind === "swap" ? describe(r, "every class") : describe(r);
    }, 400);
  }, (error) => { clearTimeout(slow); say(error.message, true); });
  function change(part) {
    Object.assign(state, part);
    if (many) state.coords = [...state.coords];
    seed.textContent = state.seed;
    ask({ ...state });
  }

  // Controls.
  const plane = kind === "explorer" && many > 1 ? pad(reach, (x, y) => {
    state.coords[0] = x; state.coords[1] = y;
    knobs[0].set(x); knobs[1].set(y);
    change({});
  }) : null;
  const knobs = spec.directions.map((name, i) => slider(name, {
    min: -reach, max: reach, step: 0.1, value: start.coords[i], show: number,
    axis: plane && i < 2 ? (i ? "\u2195" : "\u2194") : "",
    changed(x) {
      state.coords[i] = x;
      if (plane) plane.set(state.coords[0], state.coords[1]);
      change({});
    },
  }));
  const seed = h("output", { "aria-live": "off" }, start.seed);
  const bar = h("div", { class: "bar" });
  const menus = {};
  for (const [key, label] of [["label", "Class"], ["a", "From"], ["b", "To"]]) {
    if (!(key in start)) continue;
    menus[key] = menu(label, classes, start[key], (i) => change({ [key]: i }));
    bar.append(menus[key].node);
  }
  const mix = "t" in start && slider("Mix", { min: 0, max: 1, step: 0.01, value: start.t,
    show: percent, changed: (t) => change({ t }) });
  bar.append(button("New z", () => change({ seed: state.seed + 1 })));
  if (kind === "explorer") {
    const pin = button("Pin and compare", () => {
      const on = pin.getAttribute("aria-pressed") !== "true";
      pin.setAttribute("aria-pressed", on);
      pin.textContent = on ? "Unpin" : "Pin and compare";
      if (!on) return pinned.node.remove();
      pinned.copy(pictures[0].canvas);
      const r = JSON.parse(root.dataset.shown);
      pinned.say(`Pinned: ${"label" in r ? classes[r.label] : `seed ${r.seed}`}`,
        `Pinned. ${describe(r)}`);
      pics.prepend(pinned.node);
    }, { "aria-pressed": "false" });
    bar.append(pin);
  }
  bar.append(button("Reset", () => {
    knobs.forEach((k, i) => k.set(start.coords[i]));
    if (plane) plane.set(start.coords[0], start.coords[1]);
    if (mix) mix.set(start.t);
    for (const key in menus) menus[key].set(start[key]);
    change({ ...start, coords: [...start.coords] });
  }), h("span", { class: "seed" }, "seed ", seed));

  const controls = h("div", { class: "knobs" }, ...(mix ? [mix.node] : []),
    ...knobs.map((k) => k.node));
  const stage = h("div", { class: "stage" }, pics, ...(plane ? [plane.node] : []),
    ...(mix || many ? [controls] : []));
  root.append(bar, stage, status, live);
  root.style.setProperty("--k", Math.min(pictures.length, 10));
  root.style.setProperty("--half", Math.min(Math.ceil(pictures.length / 2), 5));
  if (plane) plane.set(start.coords[0], start.coords[1]);

  function wake(on) {
    awake = on;
    root.classList.toggle("asleep", !on);
    root.querySelectorAll("input, select, button").forEach((n) => { n.disabled = !on; });
    if (plane) {
      plane.node.setAttribute("aria-disabled", !on);
      plane.node.tabIndex = on ? 0 : -1;
    }
    if (on) strip.remove();
  }

  // The still: what the start looks like, from the strip made with the widget.
  const strip = h("div", { class: "strip" });
  caption(state);
  const stillDrawn = decode(model.get("still")).then((image) => {
    if (awake) return;
    const x = (i) => i * size[1];
    if (kind === "swap") return pictures.forEach((p, i) => p.copy(image, x(i)));
    pictures[0].copy(image, x(spec.strip >> 1));
    if (kind === "mix") { pictures[1].copy(image); pictures[2].copy(image, x(spec.strip - 1)); }
  });
  const slow = setTimeout(() => { if (!awake) say(SLOW); }, 3000);
  wake(false);
  // A page made from a notebook carries its widgets' state in a script element; a notebook does not.
  if (document.querySelector('script[type="application/vnd.jupyter.widget-state+json"]')) {
    clearTimeout(slow);
    say(ASLEEP);
    stillDrawn.then(() => decode(model.get("still"))).then((image) => {
      if (awake || kind === "swap" || spec.strip < 2) return;
      for (let i = 0; i < spec.strip; i++) {
        const s = i / (spec.strip - 1);
        const part = kind === "mix" ? percent(s) : number((2 * s - 1) * reach);
        const p = picture(size);
        p.copy(image, i * size[1]);
        p.say(part, kind === "mix" ? describe({ ...start, t: s })
          : describe({ ...start, coords: start.coords.map((c, j) => (j ? c : (2 * s - 1) * reach)) }));
        strip.append(p.node);
      }
      strip.style.setProperty("--n", spec.strip);
      strip.setAttribute("data-what", kind === "mix" ? `Share of ${classes[start.b]}`
        : "Along direction 1");
      status.after(strip);
    });
  }
  ask({ ...state }); // a kernel, wherever it is, answers this and wakes the controls
  return () => { clearTimeout(slow); clearTimeout(announce); engine.close(); };
}

function render({ model, el }) {
  const { kind } = model.get("spec");
  const root = h("div", { class: `acgan ${kind}`, role: "group", "aria-label": {
    explorer: "Latent explorer", swap: "Class swap", mix: "Class mix",
  }[kind] });
  el.append(root);
  return generatorFace(model, root);
}

export default { render };
