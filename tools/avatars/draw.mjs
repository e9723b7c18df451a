// Draw avatars: `node draw.mjs SIZE < faces > pixels`. tools/make_avatars.py calls it.
//
// In: one face a line, "kind seed ground skin hair glasses", the colours as six hexadecimal
// digits, glasses 0, 1 or -1 for a kind that has none. Out: raw RGB bytes, SIZE x SIZE x 3 for
// each face. What each kind is drawn with stands in kinds.json:
//   colours   the kind's names of the options that take the skin and the hair colour
//   glasses   the options without and with glasses
//   options   what holds for both
//   without   values left out: hats, bald heads, and hair of which hardly a pixel shows
import { createAvatar } from "@dicebear/core";
import { Resvg } from "@resvg/resvg-js";
import { readFileSync, writeSync } from "node:fs";

const kinds = JSON.parse(readFileSync(new URL("kinds.json", import.meta.url), "utf8"));
const size = Number(process.argv[2]);

/** The values of an option that are not left out. */
function others(style, name, left) {
  return style.schema.properties[name].items.enum.filter((value) => !left.includes(value));
}

/** A face as RGB bytes. */
function draw(style, kind, seed, ground, skin, hair, glasses) {
  const colours = { skin: ["skinColor"], hair: ["hairColor"], ...kind.colours };
  const options = { ...kind.options, ...(glasses < 0 ? {} : kind.glasses[glasses]) };
  for (const name of colours.skin) options[name] = [skin];
  for (const name of colours.hair) options[name] = [hair];
  for (const [name, left] of Object.entries(kind.without ?? {})) {
    options[name] = others(style, name, left);
  }
  const face = createAvatar(style, {
    seed, ...options, backgroundColor: [ground], backgroundType: ["solid"],
  });
  // No font of this machine may get into a picture.
  const canvas = new Resvg(face.toString(), {
    fitTo: { mode: "width", value: size }, font: { loadSystemFonts: false },
  });
  const rgba = canvas.render().pixels;
  if (rgba.length !== 4 * size * size) throw new Error(`${style.meta.title} is not square`);
  return rgba.filter((_, i) => i % 4 < 3);
}

/** Write all bytes to standard output, which takes them in parts. */
function write(bytes) {
  for (let sent = 0; sent < bytes.length; ) {
    try {
      sent += writeSync(1, bytes, sent);
    } catch (error) {
      if (error.code !== "EAGAIN") throw error;
    }
  }
}

const styles = {};
for (const line of readFileSync(0, "utf8").trim().split("\n")) {
  const [name, seed, ground, skin, hair, glasses] = line.split(" ");
  styles[name] ??= await import(`@dicebear/${name}`);
  write(draw(styles[name], kinds[name], seed, ground, skin, hair, Number(glasses)));
}
