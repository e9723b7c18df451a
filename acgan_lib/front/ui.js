// What every face is made of: elements, labelled controls, pictures. Fetches nothing.

// Ids unique on the page, where every widget runs its own copy of this module.
const own = Math.random().toString(36).slice(2);
let counter = 0;
export const newId = () => `acgan-${own}-${counter++}`;

/** An element with attributes (on... are listeners, true/false toggle) and children. */
export function h(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value === true) node.setAttribute(name, "");
    else if (value !== false && value != null) node.setAttribute(name, value);
  }
  node.append(...children);
  return node;
}

export const number = (x) => x.toFixed(1).replace("-", "\u2212");
export const percent = (t) => `${Math.round(t * 100)} %`;

/** A labelled range input that shows its value; `set` moves it without calling `changed`. */
export function slider(label, { min, max, step, value, show, changed, axis = "" }) {
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
export function menu(label, names, value, changed) {
  const id = newId();
  const select = h("select", {
    id, "data-lm-suppress-shortcuts": "true", onchange: () => changed(select.selectedIndex),
  }, ...names.map((name) => h("option", {}, name)));
  select.selectedIndex = value;
  return { node: h("div", { class: "menu" }, h("label", { for: id }, label), select),
    set(i) { select.selectedIndex = i; } };
}

export function button(text, clicked, attributes = {}) {
  return h("button", { type: "button", "data-lm-suppress-shortcuts": "true", onclick: clicked,
    ...attributes }, text);
}

/** Two directions at once, by mouse, finger or arrow keys (Shift: bigger steps). */
export function pad(reach, changed) {
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
export function picture([height, width], caption = "") {
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

export async function decode(base64) {
  const image = new Image();
  image.src = `data:image/png;base64,${base64}`;
  await image.decode();
  return image;
}
