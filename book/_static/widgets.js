// Where the static pages find the widgets' code: on this site, and nowhere else.
(function () {
  const here = new URL(".", document.currentScript.src).href;
  requirejs.config({
    paths: {
      anywidget: here + "vendor/anywidget",
      "@jupyter-widgets/html-manager/dist": here + "vendor/html-manager",
    },
  });

  // ipywidgets asks for MathJax 2's queue, which MathJax 3 no longer has.
  document.addEventListener("DOMContentLoaded", function () {
    const mathjax = window.MathJax;
    if (mathjax && mathjax.typesetPromise && !mathjax.Hub) {
      mathjax.Hub = {
        Queue: function (job) {
          const element = Array.isArray(job) ? job[2] : undefined;
          mathjax.typesetPromise(element ? [element] : undefined);
        },
      };
    }
  });
})();
