// A permalink: the state of one widget as the part of an address after "#".
//
//   #z=5&c=1.5,-0.5&class=3&w=2      #z=5&text=a%20face
//
// z: the seed; c: the place along each direction; class: its number, or two for a mix, with t as
// the second one's share; w: which widget of the page, counted from 1. What is left out is as the
// page shows it at first, and w is 1. A link that breaks any rule is ignored as a whole.

/** @typedef {{seed: number, coords: number[], label?: number, a?: number, b?: number, t?: number,
 *   text?: string}} State */

/** @param {State} state @param {number} place @returns {string} */
export function formatLink(state, place) {
  const parts = [`z=${state.seed}`];
  if (state.coords.length) parts.push(`c=${state.coords.map((c) => Number(c.toFixed(3))).join(",")}`);
  if (state.label !== undefined) parts.push(`class=${state.label}`);
  if (state.a !== undefined) parts.push(`class=${state.a},${state.b}`, `t=${state.t}`);
  if (state.text !== undefined) parts.push(`text=${encodeURIComponent(state.text)}`);
  if (place !== 1) parts.push(`w=${place}`);
  return `#${parts.join("&")}`;
}

/** Which widget of the page a link means; 0 for none. @param {string} hash */
export function linkedPlace(hash) {
  const found = new URLSearchParams(hash.slice(1));
  if (!found.has("z")) return 0;
  const place = found.get("w") ?? "1";
  return /^[1-9]\d?$/.test(place) ? Number(place) : 0;
}

/**
 * The state that a link asks for, or null where it is not one of this widget's.
 * @param {string} hash
 * @param {{start: State, ranges: [number, number][], classes: string[], fixed?: boolean}} widget
 * @returns {State | null}
 */
export function parseLink(hash, { start, ranges, classes, fixed = false }) {
  const found = new URLSearchParams(hash.slice(1));
  /**
   * Numbers of a value, each within its range; null where one is not.
   * @type {(name: string, limits: [number, number][], form: RegExp) => number[] | null}
   */
  const numbers = (name, limits, form) => {
    const texts = (found.get(name) ?? "").split(",");
    const values = texts.map(Number);
    const good = texts.length === limits.length && texts.every((text) => form.test(text))
      && values.every((x, i) => x >= limits[i][0] && x <= limits[i][1]);
    return good ? values : null;
  };
  const whole = /^\d{1,9}$/, real = /^-?\d{1,4}(\.\d{1,6})?$/;
  /** @type {State} */
  const state = { ...start, coords: [...start.coords] };
  const seed = numbers("z", [[0, 999999999]], whole);
  if (!seed || (fixed && seed[0] !== start.seed)) return null;
  state.seed = seed[0];
  if (found.has("c")) {
    const coords = numbers("c", ranges, real);
    if (!coords) return null;
    state.coords = coords;
  }
  if (found.has("class")) {
    /** @type {[number, number]} */
    const one = [0, classes.length - 1];
    const chosen = numbers("class", start.label !== undefined ? [one] : [one, one], whole);
    if (!chosen || (start.label === undefined && start.a === undefined)) return null;
    if (start.label !== undefined) [state.label] = chosen;
    else [state.a, state.b] = chosen;
  }
  if (found.has("t")) {
    const t = numbers("t", [[0, 1]], real);
    if (!t || start.t === undefined) return null;
    [state.t] = t;
  }
  if (found.has("text")) {
    const text = found.get("text") ?? "";
    if (start.text === undefined || !text || text.length > 200) return null;
    state.text = text;
  }
  return state;
}

/** Until a node is in the page: some widget managers draw before. @param {Node} root */
export async function whenConnected(root) {
  while (!root.isConnected) await new Promise(requestAnimationFrame);
}

/** This widget's number among the page's, or 0 where the page has no lasting address. @param {Node} root */
export function placeOf(root) {
  if (!location.protocol.startsWith("http")) return 0;
  if (!document.querySelector('script[type="application/vnd.jupyter.widget-state+json"]')) return 0;
  // Each widget of a built page stands before its own script element, there from the start.
  const views = document.querySelectorAll('script[type="application/vnd.jupyter.widget-view+json"]');
  return 1 + [...views].filter((view) => view.compareDocumentPosition(root)
    & Node.DOCUMENT_POSITION_FOLLOWING).length;
}
