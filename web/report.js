/** Shows under the nodes that make masks what was found, in words. */

import { app } from "../../scripts/app.js";

const NODES = new Set(["LDZNetSegment", "LDZNetSegmentImage"]);
const LEAST_HEIGHT = 96; // six lines

app.registerExtension({
  name: "LDZNet.Report",
  nodeCreated(node) {
    if (NODES.has(node.comfyClass)) addReport(node);
  },
});

function addReport(node) {
  const element = document.createElement("textarea");
  element.className = "comfy-multiline-input";
  element.placeholder = placeholder();
  element.readOnly = true;
  element.spellcheck = false;

  const widget = node.addDOMWidget("report", "customtext", element, {
    serialize: false, // no input of the node's in Python
    read_only: true,
    getMinHeight: () => LEAST_HEIGHT,
    getValue: () => element.value,
    setValue: (text) => {
      element.value = text;
    },
  });
  widget.serialize = false; // and no part of a saved workflow

  const show = (output) => {
    const text = output?.text?.join("\n") ?? "";
    if (text !== widget.value) widget.value = text;
  };
  after(node, "onExecuted", (output) => show(output));
  // Undoing, or coming back to a tab, builds every node anew; what it showed is still there.
  after(node, "onDrawForeground", () => show(outputOf(node)));
}

/** What ComfyUI remembers of the node's last run; nodes of a subgraph are named after it, too. */
function outputOf(node) {
  const isInside = node.graph?.isRootGraph === false;
  return app.nodeOutputs?.[isInside ? `${node.graph.id}:${node.id}` : node.id];
}

/** Lets a node do one thing more whenever its method has been called. */
function after(node, method, more) {
  const before = node[method];
  node[method] = function (...values) {
    const result = before?.apply(this, values);
    more(...values);
    return result;
  };
}

function placeholder() {
  const locale = app.extensionManager?.setting?.get("Comfy.Locale") ?? "en";
  return locale === "ko"
    ? "실행하면 찾은 내용이 여기에 나옵니다"
    : "What was found appears here after a run";
}
