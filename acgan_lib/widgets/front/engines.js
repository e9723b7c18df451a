// Where pictures come from: an engine answers render(request) -> Promise<frame>,
// frame = {n, h, w, c, bytes}, with n*h*w*c bytes. What a request shows depends on it and G alone,
// so a Python kernel and the reader's browser draw the same picture.

import { readSentence } from "./sentence.js";
import { newId } from "./ui.js";

/** @typedef {{seed: number, coords: number[], label?: number, a?: number, b?: number, t?: number,
 *   text?: string}} State */
/** @typedef {{n: number, h: number, w: number, c: number, bytes: Uint8Array}} Frame */
/** @typedef {{render: (request: State) => Promise<Frame>, close: () => void}} Engine */

/** The engine behind a live kernel: one message out, one message back, matched by id. */
export function kernelEngine(/** @type {any} */ model) {
  /** @type {Map<string, {resolve: (frame: Frame) => void, reject: (error: Error) => void}>} */
  const waiting = new Map();
  const heard = (/** @type {any} */ message) => {
    const call = waiting.get(message.id);
    if (!call) return;
    waiting.delete(message.id);
    if (message.error) return call.reject(new Error(message.error));
    call.resolve({ ...message.frame, bytes: unpacked(message.frame.data) });
  };
  model.on("msg:custom", heard);
  return {
    /** @param {State} request @returns {Promise<Frame>} */
    render(request) {
      const id = newId();
      return new Promise((resolve, reject) => {
        waiting.set(id, { resolve, reject });
        model.send({ id, request });
      });
    },
    close() { model.off("msg:custom", heard); },
  };
}

const unpacked = (/** @type {string} */ base64) => (
  Uint8Array.from(atob(base64), (s) => s.charCodeAt(0)));

/** Renders the newest request only: while a frame is on its way, later ones replace each other. */
export function latestWins(
  /** @type {{render: (request: any) => Promise<Frame>}} */ engine,
  /** @type {(frame: Frame, request: any) => void} */ drawn,
  /** @type {(error: Error) => void} */ failed,
) {
  let busy = false;
  /** @type {any} */
  let next = null;
  return async function ask(/** @type {any} */ request) {
    next = request;
    if (busy) return;
    busy = true;
    while (next) {
      const now = next;
      next = null;
      try {
        drawn(await engine.render(now), now);
      } catch (error) { failed(/** @type {Error} */ (error)); }
    }
    busy = false;
  };
}

/** Whether this page was built from a notebook, and so has no kernel; a notebook carries no such script. */
export const isBuiltPage = () => !!document.querySelector(
  'script[type="application/vnd.jupyter.widget-state+json"]');

/** Why this page cannot run a widget's generator by itself; "" where it can. @param {any} spec */
export function lacking(spec) {
  if (!spec.models?.length) {
    return "This page has no Python kernel and does not carry this generator, so the sliders are "
      + "asleep: open the chapter in Colab or run \u201cmake lab\u201d to wake them.";
  }
  if (location.protocol === "file:") {
    return "Browsers let a page opened as a file load no generator, so the sliders are asleep: run "
      + "\u201cmake read\u201d, or serve this folder with \u201cpython -m http.server\u201d.";
  }
  if (typeof WebAssembly !== "object") {
    return "This browser has WebAssembly turned off, so the sliders are asleep: turn it on, or "
      + "open the chapter in Colab.";
  }
  return "";
}

/** MurmurHash3's 32-bit finaliser. @param {number} x */
function hash(x) {
  x = Math.imul(x ^ (x >>> 16), 0x85ebca6b);
  x = Math.imul(x ^ (x >>> 13), 0xc2b2ae35);
  return (x ^ (x >>> 16)) >>> 0;
}

/** The z of a seed, from N(0, 1): acgan_lib.directions.seeded. @param {number} seed @param {number} dim */
export function seeded(seed, dim) {
  const z = new Float32Array(dim + (dim % 2));
  const start = hash((seed + 0x9e3779b9) >>> 0);
  const uniform = (/** @type {number} */ i) => (
    (hash((start + Math.imul(i, 0x9e3779b9)) >>> 0) + 0.5) / 2 ** 32);
  for (let i = 0; i < z.length; i += 2) {
    const radius = Math.sqrt(-2 * Math.log(uniform(i))), angle = 2 * Math.PI * uniform(i + 1);
    z[i] = radius * Math.cos(angle);
    z[i + 1] = radius * Math.sin(angle);
  }
  return z.subarray(0, dim);
}

/**
 * What G is given for a request: n latent vectors and as many rows of class weights.
 * @param {any} spec @param {Float32Array} rows the directions, one after the other @param {State} r
 */
export function inputs(spec, rows, r) {
  const dim = spec.latent_dim, classes = spec.classes.length;
  const one = Float32Array.from(seeded(r.seed, dim), (x, j) => (
    r.coords.reduce((sum, c, i) => sum + c * rows[i * dim + j], x)));
  /** @type {[number, number][][]} */
  const shares = r.t !== undefined ? [r.t, 0, 1].map((t) => [[r.a ?? 0, 1 - t], [r.b ?? 0, t]])
    : r.label !== undefined ? [[[r.label, 1]]]
      : r.text !== undefined ? [readSentence(r.text, spec.vocabulary).known.map((word, i) => [i, word])]
      : spec.kind === "swap" ? Array.from({ length: classes }, (_, k) => [[k, 1]]) : [[]];
  const n = shares.length, z = new Float32Array(n * dim), w = new Float32Array(n * classes);
  shares.forEach((row, i) => {
    z.set(one, i * dim);
    for (const [k, share] of row) w[i * classes + k] += share;
  });
  return { n, z, w, dim, classes };
}

/**
 * Pictures (n, C, H, W) in [-1, 1], one array for each generator, as one frame.
 * @param {{dims: readonly number[], data: Float32Array}[]} drawn @returns {Frame}
 */
export function frameOf(drawn) {
  const [n, c, height, w] = drawn[0].dims, size = height * w;
  const bytes = new Uint8Array(drawn.length * n * size * c);
  let at = 0;
  for (const { data } of drawn) {
    for (let i = 0; i < n; i++) {
      for (let p = 0; p < size; p++) {
        for (let k = 0; k < c; k++) {
          const x = data[(i * c + k) * size + p];
          bytes[at++] = Math.round((Math.max(-1, Math.min(1, x)) + 1) * 127.5);
        }
      }
    }
  }
  return { n: drawn.length * n, h: height, w, c, bytes };
}

const SHARED = Symbol.for("acgan.engine");
const WASM = "ort-wasm-simd-threaded.wasm", WASM_BYTES = 14.2e6;
const KEPT = "acgan"; // in Cache Storage

/** @typedef {(share: number, what: string) => void} Loading */

/**
 * The page's one engine: onnxruntime-web and its sessions, loaded when a widget first needs them.
 * Every widget runs its own copy of this module; the first to come makes it for all.
 * @param {string} base the site's folder of static files
 */
function openShared(base) {
  /** @type {Set<Loading>} */
  const watching = new Set();
  const tell = (/** @type {number} */ share, /** @type {string} */ what) => (
    watching.forEach((watch) => watch(share, what)));
  /** @type {Promise<any> | null} */
  let engine = null;
  /** @type {Map<string, Promise<any>>} */
  const sessions = new Map();
  async function start() {
    const folder = `${base}vendor/ort/`;
    tell(0, "the engine");
    const ort = await import(`${folder}ort.mjs`);
    const url = `${folder}${WASM}?v=${ort.env.versions.common}`; // kept apart from another version's
    const binary = await fetched(url, (share) => tell(share, "the engine"));
    ort.env.wasm.numThreads = 1; // more would need headers that plain file servers do not send
    ort.env.wasm.wasmBinary = binary;
    return ort;
  }
  /** @param {string} file */
  async function open(file) {
    engine ??= start();
    const ort = await engine;
    tell(1, "the generator");
    const content = await fetched(`${base}models/${file}`, (share) => tell(share, "the generator"));
    try {
      const session = await ort.InferenceSession.create(content, { executionProviders: ["wasm"] });
      return { ort, session };
    } catch (error) {
      await globalThis.caches?.delete(KEPT).catch(() => {}); // what was kept may be what is broken
      throw error;
    }
  }
  return {
    /**
     * Run one generator. @param {string} file @param {ReturnType<typeof inputs>} given
     * @param {Loading} loading @returns {Promise<{dims: readonly number[], data: Float32Array}>}
     */
    async run(file, { n, z, w, dim, classes }, loading) {
      watching.add(loading);
      let opened = sessions.get(file);
      if (!opened) sessions.set(file, opened = open(file));
      try {
        const { ort, session } = await opened;
        const feeds = { z: new ort.Tensor("float32", z, [n, dim]) };
        if (classes) Object.assign(feeds, { w: new ort.Tensor("float32", w, [n, classes]) });
        return (await session.run(feeds)).images;
      } catch (error) {
        // A touch later may find the network back.
        sessions.delete(file);
        engine = null;
        throw error;
      } finally {
        watching.delete(loading);
      }
    },
  };
}

/**
 * A file's bytes, telling what share of them is here. They are kept for later pages and visits in
 * the browser's Cache Storage, since its HTTP cache may refuse a file as large as the engine; so a
 * file that changes needs a new address. @param {string} url @param {(share: number) => void} tell
 */
async function fetched(url, tell) {
  // Absent from pages that come neither by https nor from this machine; refused in some private windows.
  const kept = await globalThis.caches?.open(KEPT).catch(() => undefined);
  const known = await kept?.match(url).catch(() => undefined);
  if (known) return new Uint8Array(await known.arrayBuffer());
  const answer = await fetch(url);
  if (!answer.ok || !answer.body) throw new Error(`${answer.status} for ${url}`);
  // A compressed answer's length is not that of what comes out of the stream.
  const packed = answer.headers.get("content-encoding");
  const total = (!packed && Number(answer.headers.get("content-length"))) || WASM_BYTES;
  const parts = [], reader = answer.body.getReader();
  let here = 0;
  for (let part = await reader.read(); !part.done; part = await reader.read()) {
    parts.push(part.value);
    here += part.value.length;
    tell(Math.min(here / total, 1));
  }
  const bytes = new Uint8Array(await new Blob(parts).arrayBuffer());
  await kept?.put(url, new Response(bytes)).catch(() => {}); // a full disk is no reason to stop
  return bytes;
}

/** The page's one engine, for faces that make their own inputs: see openShared. */
export function sharedEngine() {
  const root = new URL(document.documentElement.dataset.content_root ?? "./", location.href);
  /** @type {any} */
  const page = globalThis;
  page[SHARED] ??= openShared(new URL("_static/", root).href);
  return page[SHARED];
}

/**
 * The engine of a built page: the exported generators, run by the browser itself.
 * @param {any} spec @param {Loading} loading @returns {Engine}
 */
export function browserEngine(spec, loading) {
  const shared = sharedEngine();
  const rows = new Float32Array(unpacked(spec.rows).buffer);
  return {
    async render(request) {
      const given = inputs(spec, rows, request);
      const drawn = [];
      for (const file of spec.models) drawn.push(await shared.run(file, given, loading));
      return frameOf(drawn);
    },
    close() {},
  };
}
