// A sheet to draw on, and the face that a U-Net makes of the lines.

import {
  isBuiltPage, kernelEngine, lacking, latestWins, frameOf, sharedEngine,
} from "./engines.js";
import { button, clip, decode, h, menu, newId, percent, picture, slider } from "./ui.js";

/** @typedef {{network: number, drawing: string, kind: number, colours: number[]}} Request */

const READY = "Live on this page. The first stroke fetches the engine (14 MB, once; about 4 MB packed) "
  + "and a network of 2 MB.";
const SLOW = "Waiting for Python. If a cell is still running, the sheet wakes when it ends; if "
  + "not, run this cell again.";
const STEPS_BACK = 100;
const SCALE = 8; // of the saved picture

/** Bits row by row, eight to a byte, as base64. @param {Uint8Array} bits */
function base64Of(bits) {
  let text = "";
  for (let i = 0; i < bits.length; i += 8) {
    let byte = 0;
    for (let j = 0; j < 8; j++) byte = 2 * byte + bits[i + j];
    text += String.fromCharCode(byte);
  }
  return btoa(text);
}

/** @param {string} base64 @returns {Uint8Array} */
function bitsOf(base64) {
  const bytes = Uint8Array.from(atob(base64), (s) => s.charCodeAt(0));
  return Uint8Array.from({ length: 8 * bytes.length }, (_, i) => (bytes[i >> 3] >> (7 - (i & 7))) & 1);
}

/**
 * What a network is given for a request: the drawing as one row, and what it is told.
 * @param {any} spec @param {Request} r
 */
function toldBy(spec, r) {
  const { told } = spec.networks[r.network];
  const w = new Float32Array(told);
  w[r.kind] = 1;
  if (told > spec.kinds.length) {
    spec.palettes.forEach((/** @type {any} */ [, palette], /** @type {number} */ i) => {
      const [, hex] = palette[r.colours[i]];
      for (let c = 0; c < 3; c++) {
        w[spec.kinds.length + 3 * i + c] = parseInt(hex.slice(2 * c, 2 * c + 2), 16) / 127.5 - 1;
      }
    });
  }
  const z = Float32Array.from(bitsOf(r.drawing));
  return { n: 1, z, w, dim: z.length, classes: told };
}

/** @param {any} model @param {HTMLElement} root */
function drawingFace(model, root) {
  const spec = model.get("spec");
  /** @type {{size: number, kinds: string[], presets: any[], networks: any[]}} */
  const { size, kinds, presets, networks } = spec;
  /** @type {[string, [string, string][]][]} */
  const palettes = spec.palettes;
  const first = presets[0];
  let bits = bitsOf(first.drawing);
  /** @type {Uint8Array[]} */
  const past = [];
  const state = { network: 0, kind: first.kind, colours: [...first.colours] };
  const tool = { rubber: false, wide: 1, mirror: false };
  const at = { x: size >> 1, y: size >> 1, down: false }; // the keyboard's pen

  // Status and progress.
  const status = h("p", { class: "status", role: "status" });
  const live = h("p", { class: "hidden", "aria-live": "polite" });
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

  // The engine.
  const built = isBuiltPage();
  const reason = built ? lacking(spec).replace("sliders are", "sheet is").replace("them", "it") : "";
  const engine = built && !reason ? {
    async render(/** @type {Request} */ r) {
      return frameOf([await sharedEngine().run(spec.models[r.network], toldBy(spec, r), loading)]);
    },
    close() {},
  } : kernelEngine(model);
  let awake = built && !reason;
  const ask = latestWins(/** @type {any} */ (engine), (frame, request) => {
    fetching.remove();
    if (!awake || status.textContent) say("");
    clearTimeout(slow);
    wake(true);
    face.draw(frame, 0);
    root.dataset.shown = JSON.stringify(request);
  }, (error) => {
    clearTimeout(slow);
    fetching.remove();
    say(built ? `This page could not fetch or start its engine (${error.message}). Check the `
      + "connection and draw again, or open the chapter in Colab." : error.message, true);
  });
  function follow() {
    face.say(kinds[state.kind], `The face that the network makes of the drawing, as ${
      kinds[state.kind]}`);
    ask({ ...state, colours: [...state.colours], drawing: base64Of(bits) });
  }

  // The sheet.
  const paper = h("canvas", { width: size, height: size, class: "squares", "aria-hidden": "true" });
  const context = paper.getContext("2d");
  const ink = context.createImageData(size, size);
  const pen = h("span", { class: "pen", "aria-hidden": "true" });
  const axis = h("span", { class: "axis", "aria-hidden": "true" });
  const sheet = h("div", {
    class: "sheet", tabindex: "0", role: "application", "data-lm-suppress-shortcuts": "true",
    "aria-label": "Sheet. Arrow keys move the pen, with Shift by five. Space puts it down and lifts "
      + "it. E changes between brush and rubber, M mirrors, Control and Z undoes.",
  }, paper, axis, pen);
  function show() {
    for (let i = 0; i < bits.length; i++) {
      ink.data.set(bits[i] ? [17, 17, 17, 255] : [255, 255, 255, 255], 4 * i);
    }
    context.putImageData(ink, 0, 0);
    pen.style.transform = `translate(${(100 * at.x) / size}cqw, ${(100 * at.y) / size}cqh)`;
    pen.classList.toggle("down", at.down);
    axis.hidden = !tool.mirror;
  }
  function remember() {
    past.push(bits.slice());
    if (past.length > STEPS_BACK) past.shift();
  }
  /** One dab of the brush, and its mirror image. @param {number} x @param {number} y */
  function dab(x, y) {
    const wide = tool.rubber ? tool.wide + 3 : tool.wide, low = -((wide - 1) >> 1);
    for (let j = low; j < low + wide; j++) {
      for (let i = low; i < low + wide; i++) {
        if (wide > 2 && Math.hypot(i - low - (wide - 1) / 2, j - low - (wide - 1) / 2) > wide / 2) continue;
        const column = x + i, row = y + j;
        if (row < 0 || row >= size) continue;
        for (const c of tool.mirror ? [column, size - 1 - column] : [column]) {
          if (c >= 0 && c < size) bits[row * size + c] = tool.rubber ? 0 : 1;
        }
      }
    }
  }
  /** A straight line of dabs. @param {number[]} from @param {number[]} to */
  function line([x0, y0], [x1, y1]) {
    const n = Math.max(Math.abs(x1 - x0), Math.abs(y1 - y0), 1);
    for (let k = 0; k <= n; k++) {
      dab(Math.round(x0 + ((x1 - x0) * k) / n), Math.round(y0 + ((y1 - y0) * k) / n));
    }
  }
  /** @type {number[] | null} */
  let before = null;
  /** @param {PointerEvent} event */
  const pixel = (event) => {
    const box = paper.getBoundingClientRect();
    return [Math.floor(((event.clientX - box.left) / box.width) * size),
      Math.floor(((event.clientY - box.top) / box.height) * size)];
  };
  sheet.addEventListener("pointerdown", (/** @type {PointerEvent} */ event) => {
    if (!awake || event.button || before) return;
    event.preventDefault();
    sheet.focus({ preventScroll: true });
    sheet.setPointerCapture(event.pointerId);
    remember();
    at.down = false;
    before = pixel(event);
    line(before, before);
    [at.x, at.y] = before.map((v) => clip(v, 0, size - 1));
    show();
    follow();
  });
  sheet.addEventListener("pointermove", (/** @type {PointerEvent} */ event) => {
    if (!before || !sheet.hasPointerCapture(event.pointerId)) return;
    const steps = event.getCoalescedEvents?.() ?? [];
    for (const step of steps.length ? steps : [event]) {
      const now = pixel(step);
      line(before, now);
      before = now;
    }
    [at.x, at.y] = before.map((v) => clip(v, 0, size - 1));
    show();
    follow();
  });
  for (const end of ["pointerup", "pointercancel"]) sheet.addEventListener(end, () => { before = null; });
  sheet.addEventListener("keydown", (/** @type {KeyboardEvent} */ event) => {
    const by = event.shiftKey ? 5 : 1, key = event.key.toLowerCase();
    /** @type {Record<string, number[]>} */
    const moves = { arrowleft: [-by, 0], arrowright: [by, 0], arrowup: [0, -by], arrowdown: [0, by] };
    const undoes = (event.ctrlKey || event.metaKey) && key === "z";
    if (!awake || !(key in moves || [" ", "e", "m"].includes(key) || undoes)) return;
    if ((event.ctrlKey || event.metaKey || event.altKey) && !undoes) return;
    event.preventDefault();
    event.stopPropagation();
    if (undoes) return undo();
    if (key === "e") return choose(!tool.rubber);
    if (key === "m") return mirrored(!tool.mirror);
    const from = [at.x, at.y];
    if (key === " ") {
      at.down = !at.down;
      if (at.down) remember();
    } else {
      at.x = clip(at.x + moves[key][0], 0, size - 1);
      at.y = clip(at.y + moves[key][1], 0, size - 1);
    }
    if (at.down) { line(from, [at.x, at.y]); follow(); }
    show();
    live.textContent = `${at.down ? (tool.rubber ? "Rubber down" : "Pen down") : "Pen up"}, column ${
      at.x + 1}, row ${at.y + 1}`;
  });

  // Tools.
  const brush = button("Brush", () => choose(false), { "aria-pressed": "true" });
  const rubber = button("Rubber", () => choose(true), { "aria-pressed": "false" });
  const mirror = button("Mirror", () => mirrored(!tool.mirror), { "aria-pressed": "false" });
  function choose(/** @type {boolean} */ on) {
    tool.rubber = on;
    brush.setAttribute("aria-pressed", String(!on));
    rubber.setAttribute("aria-pressed", String(on));
    live.textContent = on ? "Rubber" : "Brush";
  }
  function mirrored(/** @type {boolean} */ on) {
    tool.mirror = on;
    mirror.setAttribute("aria-pressed", String(on));
    live.textContent = on ? "Mirror on" : "Mirror off";
    show();
  }
  function undo() {
    const last = past.pop();
    live.textContent = last ? "Undone" : "Nothing to undo";
    if (!last) return;
    bits = last;
    at.down = false;
    show();
    follow();
  }
  /** @param {Uint8Array} other */
  function replace(other) {
    remember();
    bits = other;
    at.down = false;
    show();
    follow();
  }
  const wide = slider("Width", { min: 1, max: 4, step: 1, value: 1, show: (x) => `${x} px`,
    changed(x) { tool.wide = x; } });
  const tools = h("div", { class: "bar", role: "group", "aria-label": "Tools" },
    brush, rubber, mirror, button("Undo", undo),
    button("Clear", () => replace(new Uint8Array(size * size))), wide.node);

  // What the network is told.
  const kind = menu("Kind", kinds, state.kind, (i) => { state.kind = i; follow(); });
  const from = menu("Start from", ["", ...presets.map((p) => p.name)], 1, (i) => {
    if (!i) return;
    const preset = presets[i - 1];
    state.kind = preset.kind;
    kind.set(preset.kind);
    paint([...preset.colours]);
    replace(bitsOf(preset.drawing));
  });
  /** @type {any[][]} */
  const swatches = palettes.map(([factor, palette], i) => {
    const name = newId();
    return palette.map(([word, hex], j) => {
      const input = h("input", { type: "radio", name, "aria-label": `${factor}: ${word}`, title: word,
        "data-lm-suppress-shortcuts": "true",
        onchange: () => { state.colours[i] = j; follow(); } });
      input.style.setProperty("--colour", `#${hex}`);
      input.checked = state.colours[i] === j;
      return input;
    });
  });
  function paint(/** @type {number[]} */ chosen) {
    state.colours = chosen;
    chosen.forEach((j, i) => { swatches[i][j].checked = true; });
  }
  const any = button("Any colours", () => {
    paint(swatches.map((row) => Math.floor(Math.random() * row.length)));
    follow();
  });
  const palette = h("div", { class: "palettes" },
    ...palettes.map(([factor], i) => h("fieldset", {},
      h("legend", {}, factor.replace(/^[a-z]/, (s) => s.toUpperCase())), ...swatches[i])), any);
  const network = networks.length > 1 ? menu("Network", networks.map((n) => n.name), 0, (i) => {
    state.network = i;
    const blind = networks[i].told <= kinds.length;
    palette.classList.toggle("blind", blind);
    palette.querySelectorAll("input, button").forEach((/** @type {any} */ n) => { n.disabled = blind; });
    follow();
  }) : null;

  // The face, and both as a file.
  const face = picture([size, size], kinds[state.kind]);
  const save = button("Save as PNG", () => {
    const side = size * SCALE;
    const whole = h("canvas", { width: 2 * side, height: side });
    const large = whole.getContext("2d");
    large.imageSmoothingEnabled = false;
    large.drawImage(paper, 0, 0, side, side);
    large.drawImage(face.canvas, side, 0, side, side);
    whole.toBlob((/** @type {Blob} */ blob) => {
      const link = h("a", { href: URL.createObjectURL(blob), download: "drawn-face.png" });
      link.click();
      setTimeout(() => URL.revokeObjectURL(link.href), 10000);
      say("Saved: the drawing and its face, 1,024 by 512 pixels.");
    }, "image/png");
  });

  const top = h("div", { class: "bar" }, kind.node, from.node, ...(network ? [network.node] : []), save);
  const words = h("div", { class: "words" }, "Draw here");
  root.append(top, tools, h("div", { class: "stage" },
    h("div", { class: "pic" }, sheet, words), face.node), palette, status, live);

  function wake(/** @type {boolean} */ on) {
    awake = on;
    root.classList.toggle("asleep", !on);
    root.querySelectorAll("input, select, button").forEach((/** @type {any} */ n) => {
      n.disabled = !on || (palette.classList.contains("blind") && palette.contains(n));
    });
    sheet.setAttribute("aria-disabled", String(!on));
    sheet.tabIndex = on ? 0 : -1;
  }
  show();
  decode(model.get("still")).then((image) => { if (!root.dataset.shown) face.copy(image, size); });
  const slow = window.setTimeout(() => { if (!awake && !built) say(SLOW); }, 3000);
  wake(awake);
  if (built) say(reason || READY); else follow();
  return () => { clearTimeout(slow); engine.close(); };
}

/** @param {{model: any, el: HTMLElement}} view */
function render({ model, el }) {
  const root = h("div", { class: "acgan drawing", role: "group", "aria-label": "Draw your own face" });
  el.append(root);
  return drawingFace(model, root);
}

export default { render };
