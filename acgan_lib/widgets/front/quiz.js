// Quiz: questions with a choice of answers. Needs no kernel.

import { h, newId } from "./dom.js";

/** @typedef {{question: string, options: string[], answer: number, why: string}} Question */

/** Words, with code where it stands between backticks. @param {string} text @returns {(Node | string)[]} */
const rich = (text) => text.split("`").map((part, i) => (i % 2 ? h("code", {}, part) : part));

const keys = { "data-lm-suppress-shortcuts": "true" }; // or JupyterLab takes them

/**
 * One question; `checked` hears whether the answer is right, or null when it is taken back.
 * @param {Question} one @param {string} number
 * @param {(right: boolean | null) => void} checked
 */
function card({ question, options, answer, why }, number, checked) {
  const name = newId();
  const live = h("p", { class: "why", "aria-live": "polite" });
  const signs = options.map(() => h("span", { class: "sign" }));
  /** @type {HTMLInputElement[]} */
  const inputs = options.map((_, i) => h("input", { ...keys, type: "radio", name, value: i,
    onchange: clear }));

  function clear() {
    signs.forEach((sign) => { sign.textContent = ""; });
    live.replaceChildren();
    checked(null);
  }
  function check() {
    const chosen = inputs.findIndex((input) => input.checked);
    if (chosen < 0) {
      live.textContent = "Choose an answer first.";
      return;
    }
    const right = chosen === answer;
    signs[chosen].textContent = "\u2717 no";
    signs[answer].textContent = "\u2713 right";
    live.replaceChildren(h("strong", {}, right ? "Right." : "No."), " ",
      ...right ? [] : ["The answer is: ", ...rich(options[answer].replace(/\.$/, "")), ". "], ...rich(why));
    checked(right);
  }
  const choices = options.map((text, i) => h("label", {}, inputs[i],
    h("span", {}, ...rich(text)), signs[i]));
  return h("div", { class: "question" },
    h("fieldset", {
      onkeydown(/** @type {KeyboardEvent} */ event) {
        if (event.key === "Enter") check();
      },
    }, h("legend", {}, number, ...rich(question)), ...choices),
    h("button", { ...keys, type: "button", onclick: check }, "Check"), live);
}

/** @param {{model: {get: (name: string) => any}, el: HTMLElement}} view */
function render({ model, el }) {
  /** @type {{title: string, questions: Question[]}} */
  const { title, questions } = model.get("spec");
  const score = h("p", { class: "score" }), many = questions.length > 1;
  /** @type {(boolean | null)[]} */
  const answers = questions.map(() => null);
  const cards = questions.map((one, i) => card(one, many ? `${i + 1}. ` : "", (right) => {
    answers[i] = right;
    const given = answers.filter((a) => a !== null);
    score.textContent = many && given.length
      ? `${given.filter(Boolean).length} of ${given.length} right` : "";
  }));
  el.append(h("div", { class: "acgan quiz", role: "group", "aria-label": title },
    h("p", { class: "title", "aria-hidden": "true" }, title), ...cards, score));
}

export default { render };
