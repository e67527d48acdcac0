"use strict";
const tip = document.getElementById("tip");

// Sorting: numbers by their first number, anything without one last.
const key = (cell) => {
  const text = cell.textContent.trim();
  const number = parseFloat(text.replaceAll(",", "").replace("−", "-"));
  return Number.isNaN(number) ? text : number;
};
const compare = (a, b) => typeof a === typeof b
  ? (typeof a === "number" ? a - b : a.localeCompare(b))
  : (typeof a === "number" ? -1 : 1);
for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => head.addEventListener("click", () => {
    const numeric = head.classList.contains("right");
    const down = head.getAttribute("aria-sort") ? head.getAttribute("aria-sort") === "ascending" : numeric;
    heads.forEach((other) => other.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
    const rows = [...table.tBodies[0].rows].map((row) => [key(row.cells[column]), row]);
    const missing = (k) => numeric && typeof k !== "number";
    rows.sort(([a], [b]) => missing(a) || missing(b) ? missing(a) - missing(b) : (down ? compare(b, a) : compare(a, b)));
    table.tBodies[0].append(...rows.map(([, row]) => row));
  }));
}

// A cell's sentence, shown where the cell is; the title attribute serves where no script runs.
const show = (cell) => {
  if (cell.title) { cell.dataset.told = cell.title; cell.setAttribute("aria-label", cell.title); cell.removeAttribute("title"); }
  tip.textContent = cell.dataset.told;
  tip.hidden = false;
  const at = cell.getBoundingClientRect();
  const left = Math.min(Math.max(4, at.left), innerWidth - tip.offsetWidth - 4);
  const below = at.bottom + 6 + tip.offsetHeight < innerHeight;
  tip.style.left = `${left}px`;
  tip.style.top = `${below ? at.bottom + 6 : at.top - tip.offsetHeight - 6}px`;
};
const cellOf = (event) => event.target instanceof Element ? event.target.closest(".heat td[style]") : null;
document.addEventListener("mouseover", (event) => { const cell = cellOf(event); if (cell) show(cell); else tip.hidden = true; });
document.addEventListener("focusin", (event) => { const cell = cellOf(event); if (cell) show(cell); else tip.hidden = true; });
// Moving to a cell may scroll it into view: its sentence goes along; one under the mouse does not.
document.addEventListener("scroll", () => {
  const cell = document.activeElement?.closest(".heat td[style]");
  if (cell && !tip.hidden && tip.textContent === cell.dataset.told) show(cell); else tip.hidden = true;
}, true);

// Arrow keys walk through a map; one cell of each map can be reached with the tab key.
for (const map of document.querySelectorAll(".heat")) map.querySelector("td[tabindex]")?.setAttribute("tabindex", "0");
const STEPS = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] };
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") { tip.hidden = true; return; }
  const cell = cellOf(event), step = STEPS[event.key];
  if (!cell || !step) return;
  const rows = cell.closest("tbody").rows;
  const next = rows[cell.parentElement.sectionRowIndex + step[0]]?.cells[cell.cellIndex + step[1]];
  if (next?.matches("td[tabindex]")) { event.preventDefault(); next.focus(); }
});

// One map by language at a time.
for (const chooser of document.querySelectorAll(".chooser")) {
  const select = chooser.querySelector("select");
  const choices = document.querySelectorAll(`.choice[data-group="${select.dataset.group}"]`);
  const choose = () => choices.forEach((choice) => { choice.hidden = choice.id !== select.value; });
  chooser.hidden = false;
  select.addEventListener("change", choose);
  choose();
  addEventListener("beforeprint", () => choices.forEach((choice) => { choice.hidden = false; }));
  addEventListener("afterprint", choose);
}
addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((details) => { details.open = true; }));
