// Scoreboard: a scrubber with a table of scores under the pictures.

import { h } from "./ui.js";
import { scrubberFace } from "./scrubber.js";

/**
 * The frame's scores, each with what it says of the frame.
 * @param {any} model @param {HTMLElement} root
 */
function scoreboardFace(model, root) {
  const { names, rows } = model.get("spec").scores;
  const values = names.map(() => h("strong")), verdicts = names.map(() => h("span"));
  const cells = names.map((/** @type {string} */ name, /** @type {number} */ i) => {
    const cell = h("div", {}, h("div", {}, name), values[i], " ", verdicts[i]);
    cell.style.cssText = "padding-left: 8px; border-left: 4px solid var(--line)";
    return cell;
  });
  const board = h("div", { role: "group", "aria-label": "Scores" }, ...cells);
  board.style.cssText = "display: grid; gap: 8px 12px; margin-top: 12px; "
    + "grid-template-columns: repeat(auto-fill, minmax(min(150px, 100%), 1fr))";
  function show() {
    const row = rows[Number(root.dataset.shown ?? rows.length - 1)];
    for (const [i, [value, verdict]] of row.entries()) {
      values[i].textContent = value;
      verdicts[i].textContent = verdict;
      // Words first; the bar's style and colour repeat them.
      cells[i].style.borderLeft = verdict === "worse" ? "4px solid var(--hot)"
        : verdict === "better" ? "4px double var(--pst-color-danger, #c62828)"
          : "4px solid var(--line)";
    }
  }
  const watch = new MutationObserver(show);
  watch.observe(root, { attributes: true, attributeFilter: ["data-shown"] });
  const stop = scrubberFace(model, root);
  root.append(board);
  show();
  return () => { watch.disconnect(); stop(); };
}

/** @param {{model: any, el: HTMLElement}} view */
function renderBoard({ model, el }) {
  const root = h("div", { class: "acgan scrubber", role: "group",
    "aria-label": model.get("spec").title });
  el.append(root);
  return scoreboardFace(model, root);
}

export default { render: renderBoard };
