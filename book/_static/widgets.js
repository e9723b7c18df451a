// The book's widgets on a built page. The page carries their state as JSON, made by `make execute`;
// each is shown by its own module, as anywidget would in a notebook. No kernel stands behind them.
//
// This is all that the usual widget manager would do here, without its 3.6 MB and without `eval`,
// which the pages' content security policy forbids. It knows anywidgets, and of ipywidgets what puts
// them together with no kernel: boxes, a stack, a dropdown, and links made by jslink.
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

  /** @type {Record<string, {model_name: string, state: any}>} */
  let models = {};
  /** Who wants to know of a trait, by its model and name. @type {Map<string, ((value: any) => void)[]>} */
  const watching = new Map();

  /** @param {string} id @param {string} name @param {(value: any) => void} changed */
  function watch(id, name, changed) {
    const key = `${id} ${name}`;
    watching.set(key, [...(watching.get(key) ?? []), changed]);
    changed(models[id].state[name]);
  }

  /** @param {string} id @param {string} name @param {any} value */
  function set(id, name, value) {
    if (models[id].state[name] === value) return;
    models[id].state[name] = value;
    for (const changed of watching.get(`${id} ${name}`) ?? []) changed(value);
  }

  /** What jslink and jsdlink join. */
  function link() {
    for (const { model_name: kind, state } of Object.values(models)) {
      if (kind !== "LinkModel" && kind !== "DirectionalLinkModel") continue;
      const [from, to] = [state.source, state.target].map(([model, name]) => [modelId(model), name]);
      watch(from[0], from[1], (value) => set(to[0], to[1], value));
      if (kind === "LinkModel") watch(to[0], to[1], (value) => set(from[0], from[1], value));
    }
  }

  const modelId = (/** @type {string} */ reference) => reference.replace("IPY_MODEL_", "");

  /** @type {Record<string, (id: string, state: any, el: HTMLElement) => Promise<unknown>>} */
  const composed = {
    VBoxModel: (_, state, el) => inside(state, el),
    HBoxModel(_, state, el) {
      el.className = "widget-row";
      return inside(state, el);
    },
    StackModel(id, state, el) {
      const built = inside(state, el);
      watch(id, "selected_index", (index) => [...el.children].forEach((child, i) => {
        child.toggleAttribute("hidden", index !== null && i !== index);
      }));
      return built;
    },
    async DropdownModel(id, state, el) {
      const select = document.createElement("select"), label = document.createElement("label");
      for (const name of state._options_labels) select.append(new Option(name));
      select.id = `menu-${id}`;
      label.htmlFor = select.id;
      label.textContent = state.description;
      select.onchange = () => set(id, "index", select.selectedIndex);
      watch(id, "index", (index) => { select.selectedIndex = index ?? -1; });
      el.className = "widget-menu";
      el.append(label, select);
    },
  };

  /** Build a box's children, each in an element of its own. @param {any} state @param {HTMLElement} el */
  const inside = (state, el) => Promise.all(state.children.map((/** @type {string} */ child) => {
    const place = document.createElement("div");
    el.append(place);
    return build(modelId(child), place);
  }));

  /** Build one widget in an element. @param {string} id @param {HTMLElement} el */
  async function build(id, el) {
    const { model_name: kind, state } = models[id];
    if (composed[kind]) return composed[kind](id, state, el);
    if (!state._esm) {
      el.textContent = "What stands here in a notebook needs a Python kernel: open this page in Colab, "
        + "or run \u201cmake lab\u201d.";
      return;
    }
    if (state._css && !sheets.has(state._css)) {
      sheets.add(state._css);
      document.head.append(Object.assign(document.createElement("style"), { textContent: state._css }));
    }
    const face = await faceOf(state._esm);
    face.default.render({ model: readOnly(state), el });
  }

  /** Show one widget before its script element. @param {Element} view */
  function show(view) {
    const { model_id: id } = JSON.parse(view.textContent ?? "");
    if (!models[id]) return console.error(`the page does not hold the widget ${id}`);
    const el = Object.assign(document.createElement("div"), { className: "widget-subarea" });
    view.before(el);
    build(id, el);
  }

  const kept = document.querySelector(STATE);
  if (kept) {
    models = JSON.parse(kept.textContent ?? "").state;
    document.querySelectorAll(VIEW).forEach(show);
    link();
  }
})();
