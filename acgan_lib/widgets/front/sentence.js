// Reads a sentence as acgan_lib.families.text.read does: the numbers of its known words, counted
// from 1 in the order of the vocabulary, and the words that are unknown.

const BETWEEN = /[ \t\r\n.,;:!?"'()]+/;

/** @param {string} text @param {string[]} vocabulary */
export function readSentence(text, vocabulary) {
  const parts = text.toLowerCase().split(BETWEEN).filter(Boolean);
  const number = (/** @type {string} */ word) => vocabulary.indexOf(word) + 1;
  /** @type {number[]} */
  const known = [];
  /** @type {string[]} */
  const unknown = [];
  for (let i = 0; i < parts.length; i++) {
    let word = parts[i];
    const joined = `${word}-${parts[i + 1] ?? ""}`; // "pixel art" is read as "pixel-art"
    if (number(joined)) { word = joined; i++; }
    if (number(word)) known.push(number(word)); else unknown.push(word);
  }
  return { known, unknown };
}
