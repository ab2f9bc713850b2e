"use strict";
// The page's controls. Without them, or without a script at all, the still picture and the tables stand as they are.
(async () => {
  const at = (id) => document.getElementById(id);
  const canvas = at("film"), stage = at("stage");
  let painter;
  try {
    const pixels = await unpackFilm(at("packed").textContent, canvas.width, canvas.height);
    painter = new FilmPainter(canvas, pixels, Number(canvas.dataset.depth));
  } catch (fault) {
    console.error("The film cannot be unpacked; the still picture stays.", fault);
    return;
  }
  document.documentElement.classList.add("live");
  canvas.hidden = at("tools").hidden = false;
  const place = new FilmPlacement(stage, at("plate"), canvas.width, canvas.height);
  const view = { level: 0.5, width: 1, inverted: false };

  let waiting = false;
  const show = () => {
    at("level").value = view.level * 100;
    at("width").value = view.width * 100;
    at("invert").setAttribute("aria-pressed", view.inverted);
    at("readout").textContent =
      `L ${(view.level * 100).toFixed(0)} %  W ${(view.width * 100).toFixed(0)} %  ${place.zoom.toFixed(1)}×`;
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => { waiting = false; painter.paint(view); });
  };
  const setWindow = (level, width) => {
    view.level = Math.min(1, Math.max(0, level));
    view.width = Math.min(1, Math.max(0.01, width));
    show();
  };
  const reset = () => {
    Object.assign(view, { level: 0.5, width: 1, inverted: false });
    place.reset();
    show();
  };
  const invert = () => { view.inverted = !view.inverted; show(); };
  const zoom = (factor, x = stage.clientWidth / 2, y = stage.clientHeight / 2) => { place.zoomAbout(factor, x, y); show(); };

  at("level").addEventListener("input", (e) => setWindow(e.target.value / 100, view.width));
  at("width").addEventListener("input", (e) => setWindow(view.level, e.target.value / 100));
  at("invert").addEventListener("click", invert);
  at("reset").addEventListener("click", reset);
  at("in").addEventListener("click", () => zoom(1.4));
  at("out").addEventListener("click", () => zoom(1 / 1.4));

  // What a drag does: window (right wider, down brighter, as on a workstation) or pan. Shift, other buttons and fingers pan.
  let panning = false;
  const choose = (pan) => {
    panning = pan;
    at("drag-pan").setAttribute("aria-pressed", pan);
    at("drag-window").setAttribute("aria-pressed", !pan);
    stage.classList.toggle("pans", pan);
  };
  at("drag-pan").addEventListener("click", () => choose(true));
  at("drag-window").addEventListener("click", () => choose(false));
  stage.addEventListener("contextmenu", (e) => e.preventDefault());
  stage.addEventListener("pointerdown", (e) => {
    const pans = panning || e.shiftKey || e.button !== 0 || e.pointerType === "touch";
    stage.setPointerCapture(e.pointerId);
    const move = (m) => {
      if (pans) place.shift(m.movementX, m.movementY);
      else setWindow(view.level - m.movementY / 500, view.width + m.movementX / 400);
    };
    const stop = () => {
      stage.removeEventListener("pointermove", move);
      stage.removeEventListener("pointerup", stop);
      stage.removeEventListener("pointercancel", stop);
    };
    stage.addEventListener("pointermove", move);
    stage.addEventListener("pointerup", stop);
    stage.addEventListener("pointercancel", stop);
  });
  stage.addEventListener("wheel", (e) => {
    if (!e.ctrlKey && !e.metaKey) return; // a plain wheel scrolls the page; Ctrl or a pinch zooms
    e.preventDefault();
    const box = stage.getBoundingClientRect();
    zoom(Math.exp(-e.deltaY / 300), e.clientX - box.left, e.clientY - box.top);
  }, { passive: false });

  // Lungs and boxes
  const switches = {};
  for (const what of ["lungs", "boxes"]) {
    const button = at(`show-${what}`), layer = at(what);
    if (!button) continue;
    const set = (on) => { layer.toggleAttribute("hidden", !on); button.setAttribute("aria-pressed", on); };
    switches[what] = () => set(layer.hasAttribute("hidden"));
    button.addEventListener("click", switches[what]);
    set(button.getAttribute("aria-pressed") === "true");
  }

  // Heatmaps: the chosen finding stands in the address, so that a view can be linked.
  const heat = at("heat"), links = [...document.querySelectorAll("[data-finding]")];
  let chosen = null;
  const select = (id) => {
    const link = links.find((l) => l.dataset.finding === id);
    chosen = link ? id : null;
    for (const l of links) {
      l.closest("tr").classList.toggle("chosen", l === link);
      if (l === link) l.setAttribute("aria-current", "true");
      else l.removeAttribute("aria-current");
    }
    heat.hidden = !link;
    if (link) heat.src = link.dataset.heat;
    at("label").textContent = link ? `Heatmap: ${link.dataset.name}` : "";
  };
  const toggle = (id) => {
    select(chosen === id ? null : id);
    try {
      history.replaceState(null, "", chosen ? `#finding=${encodeURIComponent(chosen)}` : "#");
    } catch { /* a page in a notebook's frame has no address of its own */ }
  };
  const fade = () => { heat.style.opacity = at("opacity").value / 100; };
  if (at("opacity")) { at("opacity").addEventListener("input", fade); fade(); }
  for (const link of links) {
    const row = link.closest("tr");
    row.classList.add("mapped");
    row.addEventListener("click", (e) => { e.preventDefault(); toggle(link.dataset.finding); });
  }

  const keys = {
    ArrowUp: () => setWindow(view.level - 0.02, view.width), ArrowDown: () => setWindow(view.level + 0.02, view.width),
    ArrowLeft: () => setWindow(view.level, view.width - 0.02), ArrowRight: () => setWindow(view.level, view.width + 0.02),
    "+": () => zoom(1.25), "=": () => zoom(1.25), "-": () => zoom(0.8), 0: reset, i: invert,
    l: () => switches.lungs?.(), b: () => switches.boxes?.(), Escape: () => toggle(chosen),
  };
  stage.addEventListener("keydown", (e) => {
    const act = keys[e.key.length === 1 ? e.key.toLowerCase() : e.key];
    if (!act || e.ctrlKey || e.metaKey || e.altKey) return;
    e.preventDefault();
    act();
  });

  // The address: #finding=<id>, and &lungs to start with the outline.
  const follow = () => {
    const state = new URLSearchParams(location.hash.slice(1));
    select(state.get("finding"));
    if (state.has("lungs") && at("lungs").hasAttribute("hidden")) switches.lungs?.();
  };
  window.addEventListener("hashchange", follow);
  window.addEventListener("resize", () => place.lay());
  place.reset();
  follow();
  show();
})();
