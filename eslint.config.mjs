// What tsc does not see: slips that are legal JavaScript.
import js from "@eslint/js";
import globals from "globals";

export default [
  { ignores: ["_build/", ".venv/", "node_modules/", "book/_static/vendor*/"] },
  js.configs.recommended,
  {
    files: ["acgan_lib/widgets/front/*.js"],
    languageOptions: { globals: globals.browser },
    rules: {
      eqeqeq: ["error", "always", { null: "ignore" }],
      "no-var": "error",
      "prefer-const": ["error", { destructuring: "all" }],
      "no-shadow": "error",
      "no-eval": "error",
      "no-implied-eval": "error",
      "no-new-func": "error",
      "max-len": ["error", { code: 120 }],
    },
  },
  {
    files: ["book/_static/*.js"],
    languageOptions: { sourceType: "script", globals: globals.browser },
  },
];
