// The widgets' front end: one face over an engine that answers
// render(request) -> Promise<frame>, frame = {n, h, w, c, data: base64 of n*h*w*c bytes}.
// A Python kernel is the engine here. Nothing in this file fetches anything.

// Ids unique on the page, where every widget runs its own copy of this module.
const own = Math.random().toString(36).slice(2);
let counter = 0;
const newId = () => `acgan-${own}-${counter++}`;

/** An element with attributes (on... are listeners, true/false toggle) and children. */
function h(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value === true) node.setAttribute(name, "");
    else if (value !== false && value != null) node.setAttribute(name, value);
  }
  node.append(...children);
  return node;
}

const number = (x) => x.toFixed(1).replace("-", "\u2212");
const percent = (t) => `${Math.round(t * 100)} %`;

/** A labelled range input that shows its value; `set` moves it without calling `changed`. */
function slider(label, { min, max, step, value, show, changed, axis = "" }) {
  const id = newId();
  const output = h("output", { for: id, "aria-live": "off" }); // the input says it
  const input = h("input", {
    id, type: "range", min, max, step, value,
    "data-lm-suppress-shortcuts": "true", // or JupyterLab takes the arrow keys
    oninput: () => { paint(); changed(Number(input.value)); },
  });
  function paint() {
    output.textContent = show(Number(input.value));
    input.setAttribute("aria-valuetext", output.textContent);
    input.style.setProperty("--at", (input.value - min) / (max - min || 1));
  }
  paint();
  const node = h("div", { class: "knob" },
    h("label", { for: id }, label, axis && h("span", { class: "axis", "aria-hidden": "true" }, axis)),
    input, output);
  return { node, input, set(x) { input.value = x; paint(); } };
}

/** A labelled native menu of names. */
function menu(label, names, value, changed) {
  const id = newId();
  const select = h("select", {
    id, "data-lm-suppress-shortcuts": "true", onchange: () => changed(select.selectedIndex),
  }, ...names.map((name) => h("option", {}, name)));
  select.selectedIndex = value;
  return { node: h("div", { class: "menu" }, h("label", { for: id }, label), select),
    set(i) { select.selectedIndex = i; } };
}

function button(text, clicked, attributes = {}) {
  return h("button", { type: "button", "data-lm-suppress-shortcuts": "true", onclick: clicked,
    ...attributes }, text);
}

/** Two directions at once, by mouse, finger or arrow keys (Shift: bigger steps). */
function pad(reach, changed) {
  const dot = h("span", { class: "dot" });
  let at = [0, 0];
  const node = h("div", {
    class: "pad", tabindex: "0", role: "application", "data-lm-suppress-shortcuts": "true",
    "aria-label": "Pad: direction 1 across, direction 2 upwards. Arrow keys move, Home centres.",
  }, dot, h("span", { class: "name x", "aria-hidden": "true" }, "1"),
  h("span", { class: "name y", "aria-hidden": "true" }, "2"));
  function set(x, y) {
    at = [x, y];
    dot.style.left = `${50 + (50 * x) / reach}%`;
    dot.style.top = `${50 - (50 * y) / reach}%`;
  }
  function go(x, y) {
    const clip = (v) => Math.round(10 * Math.max(-reach, Math.min(reach, v))) / 10;
    set(clip(x), clip(y));
    changed(...at);
  }
  const off = () => node.getAttribute("aria-disabled") === "true";
  function point(event) {
    const box = node.getBoundingClientRect();
    go(((event.clientX - box.left) / box.width * 2 - 1) * reach,
      (1 - (event.clientY - box.top) / box.height * 2) * reach);
  }
  node.addEventListener("pointerdown", (event) => {
    if (off() || event.button) return;
    event.preventDefault();
    node.focus();
    node.setPointerCapture(event.pointerId);
    point(event);
  });
  node.addEventListener("pointermove", (event) => {
    if (node.hasPointerCapture(event.pointerId)) point(event);
  });
  node.addEventListener("keydown", (event) => {
    const step = event.shiftKey ? 1 : 0.2;
    const moves = { ArrowLeft: [-step, 0], ArrowRight: [step, 0], ArrowUp: [0, step],
      ArrowDown: [0, -step], Home: [-at[0], -at[1]] };
    if (off() || !(event.key in moves)) return;
    event.preventDefault();
    event.stopPropagation();
    go(at[0] + moves[event.key][0], at[1] + moves[event.key][1]);
  });
  set(0, 0);
  return { node, set };
}

/** A picture with its caption; `draw` takes picture i of a frame, `copy` another canvas. */
function picture([height, width], caption = "") {
  const canvas = h("canvas", { width, height, role: "img", "aria-label": caption });
  const words = h("div", { class: "words" }, caption);
  const node = h("div", { class: "pic" }, canvas, words);
  const context = canvas.getContext("2d");
  return {
    node, canvas,
    say(text, alt = text) { words.textContent = text; canvas.setAttribute("aria-label", alt); },
    draw(frame, i) {
      const { w, h: rows, c } = frame, size = w * rows, out = new ImageData(w, rows);
      for (let p = 0; p < size; p++) {
        const from = (i * size + p) * c;
        for (let k = 0; k < 3; k++) out.data[4 * p + k] = frame.bytes[from + (c === 3 ? k : 0)];
        out.data[4 * p + 3] = 255;
      }
      context.putImageData(out, 0, 0);
    },
    copy(source, x = 0, y = 0) {
      context.drawImage(source, x, y, width, height, 0, 0, width, height);
    },
  };
}

async function decode(base64) {
  const image = new Image();
  image.src = `data:image/png;base64,${base64}`;
  await image.decode();
  return image;
}

/** The engine behind a live kernel: one message out, one message back, matched by id. */
function kernelEngine(model) {
  const waiting = new Map();
  const heard = (message) => {
    const call = waiting.get(message.id);
    if (!call) return;
    waiting.delete(message.id);
    if (message.error) return call.reject(new Error(message.error));
    const bytes = Uint8Array.from(atob(message.frame.data), (s) => s.charCodeAt(0));
    call.resolve({ ...message.frame, bytes });
  };
  model.on("msg:custom", heard);
  return {
    render(request) {
      const id = newId();
      return new Promise((resolve, reject) => {
        waiting.set(id, { resolve, reject });
        model.send({ id, request });
      });
    },
    close() { model.off("msg:custom", heard); },
  };
}

/** Renders the newest request only: while a frame is on its way, later ones replace each other. */
function latestWins(engine, drawn, failed) {
  let busy = false, next = null;
  return async function ask(request) {
    next = request;
    if (busy) return;
    busy = true;
    while (next) {
      const now = next;
      next = null;
      try { drawn(await engine.render(now), now); } catch (error) { failed(error); }
    }
    busy = false;
  };
}

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

/** Saved pictures over training steps; needs no kernel. */
function scrubberFace(model, root) {
  const { steps, n, columns, labels, size: [height, width], across } = model.get("spec");
  const rows = Math.ceil(n / columns), gap = 2, last = steps.length - 1;
  const canvas = h("canvas", { role: "img", width: columns * (width + gap) - gap,
    height: rows * (height + gap) - gap });
  const context = canvas.getContext("2d");
  const live = h("p", { class: "hidden", "aria-live": "polite" });
  const still = matchMedia("(prefers-reduced-motion: reduce)");
  let sheet, timer, announce;
  const at = (f) => `step ${steps[f].toLocaleString("en")}`;

  function show(f) {
    const text = `Samples after ${at(f)} of ${steps[last].toLocaleString("en")}`;
    canvas.setAttribute("aria-label", labels.length ? `${text}; columns: ${labels.join(", ")}` : text);
    root.dataset.shown = f;
    clearTimeout(announce);
    if (!timer) announce = setTimeout(() => { live.textContent = text; }, 400);
    if (!sheet) return;
    for (let i = 0; i < n; i++) {
      const cell = f * n + i;
      context.drawImage(sheet, (cell % across) * width, Math.floor(cell / across) * height,
        width, height, (i % columns) * (width + gap), Math.floor(i / columns) * (height + gap),
        width, height);
    }
  }
  const knob = slider("Training", { min: 0, max: last, step: 1, value: last, show: at,
    changed(f) { stop(); show(f); } });
  const play = button("Play", () => (timer ? stop() : start()), { class: "play" });
  function stop() {
    clearInterval(timer);
    timer = null;
    play.textContent = "Play";
    show(Number(knob.input.value));
  }
  function start() {
    if (Number(knob.input.value) === last) knob.set(0);
    play.textContent = "Pause";
    timer = setInterval(() => {
      const f = Number(knob.input.value) + 1;
      knob.set(f);
      if (f >= last) stop(); else show(f);
    }, still.matches ? 1500 : 200); // a slow change of pictures is not motion
    show(Number(knob.input.value));
  }

  const heads = h("div", { class: "heads", "aria-hidden": "true" },
    ...labels.map((name) => h("span", {}, name)));
  heads.style.setProperty("--n", columns);
  const film = h("div", { class: "film" }, ...(labels.length ? [heads] : []), canvas);
  film.style.maxWidth = `${Math.max(2, Math.min(3, Math.floor(720 / canvas.width))) * canvas.width}px`;
  root.append(h("div", { class: "bar" }, play, knob.node), film, live);
  decode(model.get("still")).then((image) => { sheet = image; show(Number(knob.input.value)); });
  return () => { clearInterval(timer); clearTimeout(announce); };
}

function render({ model, el }) {
  const { kind } = model.get("spec");
  const root = h("div", { class: `acgan ${kind}`, role: "group", "aria-label": {
    explorer: "Latent explorer", swap: "Class swap", mix: "Class mix", scrubber: "Training history",
  }[kind] });
  el.append(root);
  return (kind === "scrubber" ? scrubberFace : generatorFace)(model, root);
}

export default { render };
