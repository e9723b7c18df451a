// TextToImage: a picture for a typed sentence, and sliders and a pad for its z.

import { generatorFace } from "./generator.js";
import { readSentence } from "./sentence.js";
import { button, h, newId, pad } from "./ui.js";

const quoted = (/** @type {string[]} */ words) => words.map((w) => `\u201c${w}\u201d`).join(", ");

/**
 * The text box with its examples, above the picture, and the pad beside it.
 * @param {import("./generator.js").Face} face
 * @param {(x: number, y: number) => void} moved
 * @returns {import("./generator.js").Extras}
 */
function boxParts(face, moved) {
  const { spec, state, root } = face;
  const { reach, start, vocabulary, length } = spec;
  const id = newId(), noteId = newId();
  let sent = start.text;
  const note = h("p", { class: "note", id: noteId, role: "status" });
  const box = h("input", {
    id, type: "text", value: start.text, maxlength: 200, autocomplete: "off", spellcheck: "false",
    autocapitalize: "off", "aria-describedby": noteId, "data-lm-suppress-shortcuts": "true",
    oninput: typed,
  });
  function typed() {
    const { known, unknown } = readSentence(box.value, vocabulary);
    const wrong = !known.length ? "Type a sentence, such as one of those below. "
      : known.length > length ? `At most ${length} words, please. ` : "";
    note.textContent = wrong + (unknown.length
      ? `Not among my ${vocabulary.length} words: ${quoted(unknown)}.${known.length ? " The rest is read." : ""}`
      : "");
    if (wrong) return;
    face.stop();
    state.text = sent = box.value;
    face.rest(); // asks for the picture
  }
  const examples = spec.examples.map((/** @type {string} */ text) => button(text, () => {
    box.value = text;
    typed();
  }));
  const words = h("details", {}, h("summary", {}, `The ${vocabulary.length} words`),
    h("p", {}, vocabulary.join(" ")));
  root.append(
    h("div", { class: "sentence" }, h("label", { for: id }, "Sentence"), box), note,
    h("div", { class: "bar examples", role: "group", "aria-label": "Examples" }, ...examples),
  );

  const ways = spec.directions.map((/** @type {string} */ name) => name.toLowerCase());
  const plane = pad(`Pad: ${ways[0]} across, ${ways[1]} upwards.`, {
    ranges: [[-reach, reach], [-reach, reach]], start: start.coords, changed: moved });
  ["x", "y"].forEach((axis, i) => plane.node.append(
    h("span", { class: `name ${axis}`, "aria-hidden": "true" }, `${i + 1}`)));
  return {
    pad: plane, foot: words,
    /** Where a link or Reset asks for another sentence, the box says so. @param {any} request */
    asked(request) {
      if (request.text !== sent) {
        box.value = sent = request.text;
        note.textContent = "";
      }
    },
    playing: () => false, stop() {}, awake() {}, close() {},
  };
}

/** @param {{model: any, el: HTMLElement}} view */
function renderBox({ model, el }) {
  const root = h("div", { class: "acgan explorer text", role: "group", "aria-label": "Text to image" });
  el.append(root);
  return generatorFace(model, root, boxParts);
}

export default { render: renderBox };
