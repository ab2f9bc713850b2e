"use strict";
// Filter and sort in the browser. Without a script the table stands as it is: failures first, then the films in their order.
(() => {
  const at = (id) => document.getElementById(id);
  const body = at("films").tBodies[0];
  const rows = [...body.rows].map((row) => ({ row, state: row.className, text: row.textContent.toLowerCase() }));
  const number = new Intl.NumberFormat("en");

  const filter = () => {
    const words = at("words").value.toLowerCase().split(/\s+/).filter(Boolean);
    const state = document.querySelector("input[name=state]:checked").value;
    let shown = 0;
    for (const r of rows) {
      const fits = (!state || r.state === state) && words.every((w) => r.text.includes(w));
      r.row.hidden = !fits;
      shown += fits;
    }
    at("none").hidden = shown > 0;
    at("count").textContent = `${number.format(shown)} of ${number.format(rows.length)} shown`;
    const kept = new URLSearchParams();
    if (state) kept.set("state", state);
    if (words.length) kept.set("words", at("words").value);
    try { history.replaceState(null, "", `#${kept}`); } catch { /* no address of its own */ }
  };

  const order = new Intl.Collator("en", { numeric: true, sensitivity: "base" });
  const sort = (head, column) => {
    const falling = head.getAttribute("aria-sort") === "ascending";
    for (const other of head.parentElement.cells) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", falling ? "descending" : "ascending");
    for (const r of rows) r.key = r.row.cells[column].textContent.trim();
    rows.sort((a, b) => order.compare(a.key, b.key) * (falling ? -1 : 1));
    body.append(...rows.map((r) => r.row));
  };

  [...at("films").tHead.rows[0].cells].forEach((head, column) => {
    if (head.classList.contains("plain")) return;
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    button.addEventListener("click", () => sort(head, column));
    head.append(button);
  });
  const kept = new URLSearchParams(location.hash.slice(1));
  at("words").value = kept.get("words") ?? "";
  const radio = [...document.querySelectorAll("input[name=state]")].find((r) => r.value === kept.get("state") && !r.disabled);
  if (radio) radio.checked = true;
  at("filter").addEventListener("submit", (e) => e.preventDefault());
  at("filter").addEventListener("input", filter);
  at("filter").hidden = false;
  filter();
})();
