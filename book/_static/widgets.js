// The book's widgets on a built page. The page carries their state as JSON, made by `make execute`;
// each is shown by its own module, as anywidget would in a notebook. No kernel stands behind them.
//
// This is all that the usual widget manager would do here, without its 3.6 MB and without `eval`,
// which the pages' content security policy forbids. It knows anywidgets and no others.
// A classic script, for browsers give a page that was opened as a file no module files.

(function () {
  const STATE = 'script[type="application/vnd.jupyter.widget-state+json"]';
  const VIEW = 'script[type="application/vnd.jupyter.widget-view+json"]';

  /** @typedef {{render: (view: {model: object, el: HTMLElement}) => void}} Face */

  /** @type {Map<string, Promise<{default: Face}>>} */
  const modules = new Map();

  /** A widget's module from its text; widgets of one kind share it. @param {string} text */
  function faceOf(text) {
    let found = modules.get(text);
    if (!found) {
      const address = URL.createObjectURL(new Blob([text], { type: "text/javascript" }));
      modules.set(text, found = import(address).finally(() => URL.revokeObjectURL(address)));
    }
    return found;
  }

  /** What a module may ask of its model: to read. @param {Record<string, unknown>} state */
  const readOnly = (state) => ({
    get: (/** @type {string} */ name) => state[name],
    set() {},
    save_changes() {},
    on() {},
    off() {},
    send() {},
  });

  const sheets = new Set();

  /** Show one widget before its script element. @param {Element} view @param {Record<string, any>} models */
  async function show(view, models) {
    const { model_id: id } = JSON.parse(view.textContent ?? "");
    const state = models[id]?.state;
    if (!state?._esm) return console.error(`widget ${id} is no anywidget, so it cannot be shown here`);
    if (state._css && !sheets.has(state._css)) {
      sheets.add(state._css);
      document.head.append(Object.assign(document.createElement("style"), { textContent: state._css }));
    }
    const el = Object.assign(document.createElement("div"), { className: "widget-subarea" });
    view.before(el);
    const face = await faceOf(state._esm);
    face.default.render({ model: readOnly(state), el });
  }

  const kept = document.querySelector(STATE);
  if (kept) {
    const models = JSON.parse(kept.textContent ?? "").state;
    for (const view of document.querySelectorAll(VIEW)) show(view, models);
  }
})();
