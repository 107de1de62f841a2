"use strict";
(() => {
  const root = document.documentElement;
  const all = (what, from = document) => [...from.querySelectorAll(what)];
  const one = (what, from = document) => from.querySelector(what);
  const search = one("#search"), help = one("#help");
  root.classList.add("js");

  // What is remembered is only a matter of taste, and a page that was opened from a file may not remember.
  const remembered = (value) => {
    try {
      if (value !== undefined) localStorage.setItem("reconcile-theme", value);
      return localStorage.getItem("reconcile-theme");
    } catch { return null; }
  };
  const theme = (value) => { if (value) root.dataset.theme = value; };
  theme(remembered());
  const turn = () => {
    const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
    theme(dark ? "light" : "dark");
    remembered(root.dataset.theme);
  };

  // ---------------------------------------------------------------- search and kinds
  const rows = all("#changes > li"), lines = all("#matrix tbody tr"), chips = all(".chip");
  const filter = () => {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    const kinds = new Set(chips.filter((chip) => chip.getAttribute("aria-pressed") === "true").map((chip) => chip.dataset.kind));
    const ids = new Set();
    for (const row of rows) {
      const shown = kinds.has(row.dataset.kind) && words.every((word) => row.dataset.find.includes(word));
      row.hidden = !shown;
      if (shown) ids.add(one("a", row).hash);
    }
    for (const line of lines) line.hidden = !all("a", line).some((cell) => ids.has(cell.hash));
    one("#none").hidden = ids.size > 0;
    one("#count").textContent = ids.size === rows.length ? rows.length : `${ids.size} of ${rows.length}`;
  };
  if (search) {
    search.addEventListener("input", filter);
    for (const chip of chips) chip.addEventListener("click", () => {
      chip.setAttribute("aria-pressed", chip.getAttribute("aria-pressed") !== "true");
      filter();
    });
    filter();
  }

  // ---------------------------------------------------------------- a page of each change
  const details = new Map(all(".detail").map((page) => [page.id, page]));
  let left = 0;
  const unfold = (page) => {
    for (const place of all(".file", page)) {
      if (place.dataset.done) continue;
      place.dataset.done = "1";
      for (const part of all(":scope > :not(summary)", document.getElementById(place.dataset.file))) place.append(part.cloneNode(true));
    }
  };
  const route = () => {
    const id = location.hash.slice(1), page = details.get(id);
    if (page && !root.classList.contains("paged")) left = scrollY;
    const back = !page && root.classList.contains("paged");
    root.classList.toggle("paged", Boolean(page));
    for (const [name, one_] of details) one_.classList.toggle("on", name === id);
    if (page) { unfold(page); scrollTo(0, 0); page.focus({ preventScroll: true }); return; }
    const file = document.getElementById(id);
    if (file && file.tagName === "DETAILS") { file.open = true; file.scrollIntoView(); }
    else if (back) scrollTo(0, left);
  };
  addEventListener("hashchange", route);
  route();

  // ---------------------------------------------------------------- keys
  const open = () => details.get(location.hash.slice(1));
  const step = (by) => {
    const shown = rows.filter((row) => !row.hidden).map((row) => one("a", row));
    if (!shown.length) return;
    const page = open(), hash = page ? location.hash : document.activeElement && document.activeElement.hash;
    const at = shown.findIndex((link) => link.hash === hash);
    const next = shown[at < 0 ? (by > 0 ? 0 : shown.length - 1) : (at + by + shown.length) % shown.length];
    if (page) location.hash = next.hash; else next.focus();
  };
  const escape = () => {
    if (search && search.value) { search.value = ""; filter(); search.blur(); }
    else if (open()) location.hash = "#main";
    else if (document.activeElement) document.activeElement.blur();
  };
  one("#theme").addEventListener("click", turn);
  one("#keys").addEventListener("click", () => help.showModal());
  addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || help.open) return;
    if (event.key === "Escape") return escape();
    if (event.target === search) return;
    const does = { "/": () => { if (open()) location.hash = "#main"; if (search) search.focus(); }, j: () => step(1), k: () => step(-1), t: turn, "?": () => help.showModal() }[event.key];
    if (does) { event.preventDefault(); does(); }
  });
})();
