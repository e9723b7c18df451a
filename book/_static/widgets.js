// Where the static pages find the widgets' code: on this site, and nowhere else.
(function () {
  const script = /** @type {HTMLScriptElement} */ (document.currentScript);
  const here = new URL(".", script.src).href;
  const page = /** @type {any} */ (window);
  page.requirejs.config({
    paths: {
      anywidget: here + "vendor/anywidget",
      "@jupyter-widgets/html-manager/dist": here + "vendor/html-manager",
    },
  });

  // ipywidgets asks for MathJax 2's queue, which MathJax 3 no longer has.
  document.addEventListener("DOMContentLoaded", function () {
    const mathjax = page.MathJax;
    if (mathjax && mathjax.typesetPromise && !mathjax.Hub) {
      mathjax.Hub = {
        Queue: function (/** @type {any} */ job) {
          const element = Array.isArray(job) ? job[2] : undefined;
          mathjax.typesetPromise(element ? [element] : undefined);
        },
      };
    }
  });
})();
