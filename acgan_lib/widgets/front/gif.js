// A path's pictures as files: an animated GIF (GIF89a, W3C's copy of the specification) and a PNG.

/**
 * An animated GIF that repeats for ever.
 * @param {number} width @param {number} height
 * @param {Uint8Array[]} frames palette indices, row by row
 * @param {Uint8Array} palette 256 colours, 3 bytes each
 * @param {number} delay hundredths of a second a frame
 */
export function encodeGif(width, height, frames, palette, delay) {
  /** @type {number[]} */
  const out = [];
  const text = (/** @type {string} */ s) => { for (const letter of s) out.push(letter.charCodeAt(0)); };
  const word = (/** @type {number} */ n) => out.push(n & 255, n >> 8);
  text("GIF89a");
  word(width);
  word(height);
  out.push(0xf7, 0, 0, ...palette); // a palette of 256, 8 bits a colour
  out.push(0x21, 0xff, 11);
  text("NETSCAPE2.0");
  out.push(3, 1, 0, 0, 0); // repeat for ever
  for (const frame of frames) {
    out.push(0x21, 0xf9, 4, 0);
    word(delay);
    out.push(0, 0, 0x2c, 0, 0, 0, 0);
    word(width);
    word(height);
    out.push(0);
    lzw(frame, out);
  }
  out.push(0x3b);
  return Uint8Array.from(out);
}

/**
 * Bytes by variable-length LZW, as GIF packs them: codes of 9 to 12 bits, least bit first, in
 * blocks of at most 255 bytes. 256 clears the table, 257 ends.
 * @param {Uint8Array} bytes @param {number[]} out
 */
function lzw(bytes, out) {
  /** @type {number[]} */
  let block = [];
  let bits = 0, held = 0, size = 9, next = 258;
  /** @type {Map<number, number>} */
  let table = new Map();
  /** @param {number} byte */
  function put(byte) {
    block.push(byte);
    if (block.length === 255) { out.push(255, ...block); block = []; }
  }
  /** @param {number} code */
  function emit(code) {
    bits |= code << held;
    held += size;
    for (; held >= 8; held -= 8, bits >>= 8) put(bits & 255);
  }
  out.push(8);
  emit(256);
  let prefix = bytes[0];
  for (let i = 1; i < bytes.length; i++) {
    const key = (prefix << 8) | bytes[i];
    const known = table.get(key);
    if (known !== undefined) { prefix = known; continue; }
    emit(prefix);
    if (next === 4096) {
      emit(256);
      [table, size, next] = [new Map(), 9, 258];
    } else {
      if (next === 1 << size) size++;
      table.set(key, next++);
    }
    prefix = bytes[i];
  }
  emit(prefix);
  emit(257);
  if (held) put(bits & 255);
  if (block.length) out.push(block.length, ...block);
  out.push(0);
}

/**
 * Pictures of frames as palette indices, each pixel a square of `scale`. Grey pictures keep every
 * level; coloured ones go to the nearest of 6 x 7 x 6 levels.
 * @param {import("./ui.js").Frame[]} frames the first picture of each is taken
 * @param {number} scale
 */
export function gifOf(frames, scale, delay = 8) {
  const [{ w, h: rows, c }] = frames;
  const level = (/** @type {number} */ byte, /** @type {number} */ n) => Math.round((byte / 255) * (n - 1));
  const palette = new Uint8Array(768);
  for (let i = 0; i < 256; i++) {
    const rgb = c === 1 ? [i, i, i]
      : [Math.floor(i / 42) * 51, (Math.floor(i / 6) % 7) * 42.5, (i % 6) * 51];
    palette.set(rgb.map((x) => Math.min(255, Math.round(x))), 3 * i);
  }
  const sheets = frames.map(({ bytes }) => {
    const sheet = new Uint8Array(w * rows * scale * scale);
    for (let y = 0; y < rows * scale; y++) {
      for (let x = 0; x < w * scale; x++) {
        const p = c * (Math.floor(y / scale) * w + Math.floor(x / scale));
        sheet[y * w * scale + x] = c === 1 ? bytes[p]
          : 42 * level(bytes[p], 6) + 6 * level(bytes[p + 1], 7) + level(bytes[p + 2], 6);
      }
    }
    return sheet;
  });
  return encodeGif(w * scale, rows * scale, sheets, palette, delay);
}

/** Give the reader a file that this page made. @param {Blob} blob @param {string} name */
export function download(blob, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  document.body.append(link); // Firefox follows only links that are in the page
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}
