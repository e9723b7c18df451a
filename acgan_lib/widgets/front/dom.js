// Elements, for every face. Fetches nothing.

// Ids unique on the page, where every widget runs its own copy of this module.
const own = Math.random().toString(36).slice(2);
let counter = 0;
export const newId = () => `acgan-${own}-${counter++}`;

/**
 * An element with attributes (on... are listeners, true/false toggle) and children.
 * @param {string} tag @param {Record<string, any>} attributes @param {(Node | string)[]} children
 * @returns {any}
 */
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
