// Scrubber.

import { button, crisp, decode, h, slider } from "./ui.js";

/**
 * Saved pictures over training steps; needs no kernel.
 * @param {any} model @param {HTMLElement} root
 */
export function scrubberFace(model, root) {
  const { steps, n, columns, labels, size: [height, width], across,
    title = "Training", captions = [] } = model.get("spec");
  const rows = Math.ceil(n / columns), gap = 2, last = steps.length - 1;
  const canvas = crisp({ role: "img", width: columns * (width + gap) - gap,
    height: rows * (height + gap) - gap });
  const context = canvas.getContext("2d");
  const live = h("p", { class: "hidden", "aria-live": "polite" });
  const still = matchMedia("(prefers-reduced-motion: reduce)");
  /** @type {HTMLImageElement | null} */
  let sheet = null;
  let timer = 0, announce = 0;
  const at = (/** @type {number} */ f) => captions[f] ?? `step ${steps[f].toLocaleString("en")}`;

  /** @param {number} f */
  function show(f) {
    const text = captions.length ? `Pictures at ${at(f)}`
      : `Samples after ${at(f)} of ${steps[last].toLocaleString("en")}`;
    canvas.setAttribute("aria-label", labels.length ? `${text}; columns: ${labels.join(", ")}` : text);
    root.dataset.shown = String(f);
    clearTimeout(announce);
    if (!timer) announce = window.setTimeout(() => { live.textContent = text; }, 400);
    if (!sheet) return;
    for (let i = 0; i < n; i++) {
      const cell = f * n + i;
      context.drawImage(sheet, (cell % across) * width, Math.floor(cell / across) * height,
        width, height, (i % columns) * (width + gap), Math.floor(i / columns) * (height + gap),
        width, height);
    }
  }
  const knob = slider(title, { min: 0, max: last, step: 1, value: last, show: at,
    changed(f) { stop(); show(f); } });
  const play = button("Play", () => (timer ? stop() : start()), { class: "play" });
  function stop() {
    clearInterval(timer);
    timer = 0;
    play.textContent = "Play";
    show(Number(knob.input.value));
  }
  function start() {
    if (Number(knob.input.value) === last) knob.set(0);
    play.textContent = "Pause";
    timer = window.setInterval(() => {
      const f = Number(knob.input.value) + 1;
      knob.set(f);
      if (f >= last) stop(); else show(f);
    }, still.matches ? 1500 : 200); // a slow change of pictures is not motion
    show(Number(knob.input.value));
  }

  const heads = h("div", { class: "heads", "aria-hidden": "true" },
    ...labels.map((/** @type {string} */ name) => h("span", {}, name)));
  heads.style.setProperty("--n", columns);
  const film = h("div", { class: "film" }, ...(labels.length ? [heads] : []), canvas);
  film.style.maxWidth = `${Math.max(2, Math.min(3, Math.floor(720 / canvas.width))) * canvas.width}px`;
  root.append(h("div", { class: "bar" }, play, knob.node), film, live);
  decode(model.get("still")).then((image) => { sheet = image; show(Number(knob.input.value)); });
  return () => { clearInterval(timer); clearTimeout(announce); };
}

/** @param {{model: any, el: HTMLElement}} view */
function render({ model, el }) {
  const { title, captions = [] } = model.get("spec");
  const root = h("div", { class: "acgan scrubber", role: "group",
    "aria-label": captions.length ? title : "Training history" });
  el.append(root);
  return scrubberFace(model, root);
}

export default { render };
