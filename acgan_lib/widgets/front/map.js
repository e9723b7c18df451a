// LatentMap: a plane of z as a map of pictures, and paths over it.

import { generatorFace } from "./generator.js";
import { download, gifOf } from "./gif.js";
import { button, crisp, decode, h, pad, paint, player } from "./ui.js";

const SPEED = 0.35; // of the pad's width in a second
const PICTURES = 8; // in a PNG strip
const LONGEST = 120; // pictures in a GIF
const PIXELS = 128; // about this wide are a file's pictures

/** @typedef {[number, number]} Point */

/**
 * The map's pad, its tiles and its path, beside the picture that every generator's face has.
 * @param {import("./generator.js").Face} face
 * @param {(x: number, y: number) => void} moved
 * @returns {import("./generator.js").Extras}
 */
function mapParts(face, moved) {
  const { spec, state, root, say } = face;
  const [[left, right], [low, high]] = spec.ranges;
  const { start, tiles, size: [height, width] } = spec;
  /** @type {Point[]} */
  let path = spec.path;
  let recording = false;

  const plane = pad(`Map of pictures: ${spec.directions[0].toLowerCase()} and `
    + `${spec.directions[1].toLowerCase()}.`, {
    ranges: spec.ranges,
    start: start.coords,
    changed(x, y) {
      if (recording) { path = [...path, [x, y]]; trace(); }
      moved(x, y);
    },
  });

  // The tiles: pictures at the middle of each field, under the pad.
  const sheet = crisp({ class: "tiles", width: tiles * width, height: tiles * height,
    "aria-hidden": "true" });
  const context = sheet.getContext("2d");
  const out = context.createImageData(width, height);
  const line = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  line.setAttribute("viewBox", "0 0 1 1");
  line.setAttribute("preserveAspectRatio", "none");
  line.setAttribute("aria-hidden", "true");
  const under = document.createElementNS("http://www.w3.org/2000/svg", "polyline");
  const over = document.createElementNS("http://www.w3.org/2000/svg", "polyline");
  line.append(under, over);
  plane.node.prepend(sheet, line);
  for (const [name, x, y] of spec.marks) {
    const [across, up] = plane.place(x, y);
    const mark = h("span", { class: "mark", title: name, "aria-hidden": "true" }, name.slice(0, 1));
    mark.style.left = `${100 * across}%`;
    mark.style.top = `${100 - 100 * up}%`;
    plane.node.lastChild.before(mark); // under the dot
  }
  const tilesDrawn = decode(face.model.get("still")).then((image) => {
    for (let i = 0; i < tiles * tiles; i++) {
      context.drawImage(image, i * width, 0, width, height,
        (i % tiles) * width, Math.floor(i / tiles) * height, width, height);
    }
  });
  const key = (/** @type {any} */ r) => `${r.seed}/${r.label}/${r.coords.slice(2)}`;
  let drawn = key(start), timer = 0;
  /** Draw the tiles again for another class or z, once the reader pauses. @param {any} r */
  function asked(r) {
    const wanted = key(r);
    if (wanted === drawn) return;
    drawn = wanted;
    clearTimeout(timer);
    timer = window.setTimeout(async () => {
      await tilesDrawn;
      for (let i = 0; i < tiles * tiles && drawn === wanted; i++) {
        const x = left + ((i % tiles) + 0.5) / tiles * (right - left);
        const y = high - (Math.floor(i / tiles) + 0.5) / tiles * (high - low);
        try {
          paint(await at([x, y]), 0, out);
        } catch { return; } // the picture itself asks for the same, and says what is wrong
        context.putImageData(out, (i % tiles) * width, Math.floor(i / tiles) * height);
      }
    }, 150);
  }
  /** The picture at a point, on the side: `widget.z` in Python stays. @param {Point} point */
  const at = ([x, y]) => face.draw(/** @type {any} */ (
    { ...state, coords: [x, y, ...state.coords.slice(2)], aside: true }));

  // The path, by length: shares of the pad's width, so that every path is walked at one pace.
  const legs = () => path.slice(1).map(([x, y], i) => Math.hypot(
    (x - path[i][0]) / (right - left), (y - path[i][1]) / (high - low)));
  const length = () => legs().reduce((sum, leg) => sum + leg, 0);
  /** @param {number} way @returns {Point} */
  function along(way) {
    for (const [i, leg] of legs().entries()) {
      if (way <= leg && leg > 0) {
        const share = way / leg, [a, b] = [path[i], path[i + 1]];
        return [a[0] + share * (b[0] - a[0]), a[1] + share * (b[1] - a[1])];
      }
      way -= leg;
    }
    return path[path.length - 1];
  }
  function trace() {
    const points = path.map(([x, y]) => {
      const [across, up] = plane.place(x, y);
      return `${across.toFixed(4)},${(1 - up).toFixed(4)}`;
    }).join(" ");
    under.setAttribute("points", points);
    over.setAttribute("points", points);
    const own = path !== spec.path;
    clear.disabled = !own || root.classList.contains("asleep");
  }

  // Its buttons.
  let walked = 0;
  const walk = player(root, (seconds) => {
    walked += seconds * SPEED;
    const [x, y] = along(walked);
    face.move([Math.round(x * 1000) / 1000, Math.round(y * 1000) / 1000], true);
    return walked < length();
  }, (on) => {
    play.textContent = on ? "Stop" : "Play path";
    if (!on) face.rest();
  });
  const play = button("Play path", () => {
    if (walk.playing()) return walk.stop();
    record(false);
    walked = 0;
    walk.start();
  }, { class: "play" });
  const recorder = button("Record path", () => record(!recording), { "aria-pressed": "false" });
  /** @param {boolean} on */
  function record(on) {
    if (on) {
      walk.stop();
      path = [[state.coords[0], state.coords[1]]];
      say("Recording: move over the map, then press \u201cStop recording\u201d.");
    } else if (recording) {
      if (path.length < 2) path = spec.path;
      say(path === spec.path ? "Nothing was recorded." : "Recorded. Play it, or save it.");
    }
    recording = on;
    recorder.setAttribute("aria-pressed", String(on));
    recorder.textContent = on ? "Stop recording" : "Record path";
    trace();
  }
  const clear = button("Clear path", () => {
    walk.stop();
    recording = false;
    recorder.setAttribute("aria-pressed", "false");
    recorder.textContent = "Record path";
    path = spec.path;
    trace();
  });

  /** Frames at n even places on the path. @param {number} n @param {string} what */
  async function frames(n, what) {
    face.stop();
    record(false);
    const whole = length(), found = [];
    for (let i = 0; i < n; i++) {
      say(`Drawing the ${what}: picture ${i + 1} of ${n}.`);
      found.push(await at(along(whole * (i / (n - 1)))));
    }
    return found;
  }
  /** @param {() => Promise<string>} make */
  async function save(make) {
    files.forEach((b) => { b.disabled = true; });
    try { say(await make()); } catch (error) {
      say(error instanceof Error ? error.message : String(error), true);
    }
    files.forEach((b) => { b.disabled = false; });
  }
  const files = [button("Save GIF", () => save(async () => {
    const n = Math.min(LONGEST, Math.max(2, Math.round(length() / SPEED * 12.5)));
    const bytes = gifOf(await frames(n, "GIF"), Math.max(1, Math.round(PIXELS / width)), 8);
    download(new Blob([bytes], { type: "image/gif" }), "latent-path.gif");
    return `Saved latent-path.gif: ${n} pictures, ${Math.round(bytes.length / 1000)} kB.`;
  })), button("Save PNG strip", () => save(async () => {
    const found = await frames(PICTURES, "strip"), scale = Math.max(1, Math.round(PIXELS / width));
    const canvas = h("canvas", { width: PICTURES * width * scale, height: height * scale });
    const small = h("canvas", { width, height });
    const large = canvas.getContext("2d");
    large.imageSmoothingEnabled = false;
    found.forEach((frame, i) => {
      paint(frame, 0, out);
      small.getContext("2d").putImageData(out, 0, 0);
      large.drawImage(small, i * width * scale, 0, width * scale, height * scale);
    });
    const blob = await new Promise((done) => { canvas.toBlob(done, "image/png"); });
    download(blob, "latent-path.png");
    return `Saved latent-path.png: ${PICTURES} pictures along the path.`;
  }))];
  const bar = h("div", { class: "bar paths", role: "group", "aria-label": "Path" },
    play, recorder, clear, ...files);
  trace();

  return {
    pad: plane, foot: bar, asked,
    playing: walk.playing,
    stop: () => walk.stop(),
    awake: () => trace(),
    close() { clearTimeout(timer); walk.close(); },
  };
}

/** @param {{model: any, el: HTMLElement}} view */
function renderMap({ model, el }) {
  const root = h("div", { class: "acgan map", role: "group", "aria-label": "Latent map" });
  el.append(root);
  return generatorFace(model, root, mapParts);
}

export default { render: renderMap };
