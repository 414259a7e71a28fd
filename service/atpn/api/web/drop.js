// Files that are dropped on the page or pasted into it.

import { stage } from "./dom.js";

// Calls `open` with the first of them.
export function takeFiles(open) {
  let depth = 0; // dragging over a child leaves its parent
  const moved = (step) => (event) => {
    if (!event.dataTransfer?.types.includes("Files")) return;
    depth += step;
    stage.classList.toggle("dropping", depth > 0);
  };
  addEventListener("dragenter", moved(1));
  addEventListener("dragleave", moved(-1));
  addEventListener("dragover", (event) => event.preventDefault());
  addEventListener("drop", (event) => {
    event.preventDefault();
    depth = 0;
    stage.classList.remove("dropping");
    if (event.dataTransfer.files[0]) open(event.dataTransfer.files[0]);
  });
  addEventListener("paste", ({ clipboardData }) => {
    if (clipboardData?.files[0]) open(clipboardData.files[0]);
  });
}
