// The page's one script: the worklist's keys and uploads, and the reading view. No library, no other network than this server.

const $ = (selector, from = document) => from.querySelector(selector);
const $$ = (selector, from = document) => [...from.querySelectorAll(selector)];
const csrf = $('meta[name="csrf"]')?.content ?? "";
const clamp = (value, low, high) => Math.min(high, Math.max(low, value));

async function post(url, body, type) {
  const answer = await fetch(url, { method: "POST", body, headers: { "content-type": type, "x-csrf-token": csrf } });
  const told = await answer.json().catch(() => ({ fault: `the server answered ${answer.status}` }));
  if (!answer.ok) throw new Error([told.fault, told.mend].filter(Boolean).join(". "));
  return told;
}

async function picture(url) {
  const answer = await fetch(url);
  if (!answer.ok) throw new Error("there is none");
  return createImageBitmap(await answer.blob(), { colorSpaceConversion: "none", premultiplyAlpha: "none" });
}

// A grey picture as colour and opacity: `paint(value, x, y, values, width)` gives [red, green, blue, alpha].
async function painted(url, paint) {
  const bitmap = await picture(url);
  const canvas = new OffscreenCanvas(bitmap.width, bitmap.height);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(bitmap, 0, 0);
  const image = context.getImageData(0, 0, bitmap.width, bitmap.height);
  const { width } = bitmap, values = new Uint8Array(image.data.length / 4);
  for (let i = 0; i < values.length; i++) values[i] = image.data[4 * i];
  for (let i = 0; i < values.length; i++) image.data.set(paint(values[i], i, values, width), 4 * i);
  context.putImageData(image, 0, 0);
  return canvas;
}

const RAMP = [[70, 0, 110], [200, 40, 90], [255, 140, 40], [255, 240, 130]];
const HEAT = Array.from({ length: 256 }, (_, v) => {
  const at = (v / 255) * (RAMP.length - 1), low = Math.min(RAMP.length - 2, Math.floor(at)), share = at - low;
  return [...RAMP[low].map((c, k) => Math.round(c + (RAMP[low + 1][k] - c) * share)), v];
});
const outline = (colour) => (value, i, values, width) => {
  if (!value) return [0, 0, 0, 0];
  const reach = Math.max(1, Math.round(width / 500));
  const inside = values[i - reach] && values[i + reach] && values[i - reach * width] && values[i + reach * width];
  return [...colour, inside ? 26 : 255];
};

// A film on a canvas. Window: `centre` and `width` over [0, 1]; view: a film pixel (x, y) lies at left + x * scale.
export class Viewer {
  constructor(canvas, caption) {
    Object.assign(this, { canvas, caption, layers: [], centre: 0.5, width: 1, inverted: false, left: 0, top: 0, scale: 1 });
    this.context = canvas.getContext("2d", { willReadFrequently: true });
    new ResizeObserver(() => this.resize()).observe(canvas);
  }

  async load(url) {
    const answer = await fetch(`${url}/pixels?form=raw`);
    if (!answer.ok) throw new Error((await answer.json()).fault);
    const head = (name) => Number(answer.headers.get(`x-hilum-${name}`));
    this.first = [head("centre"), head("window")];
    this.size = [head("film-width"), head("film-height")];
    const [width, height] = [head("width"), head("height")];
    this.pixels = new Uint16Array(await answer.arrayBuffer());
    this.buffer = new OffscreenCanvas(width, height);
    this.image = new ImageData(width, height);
    this.reset();
    this.canvas.dataset.ready = "yes";
  }

  reset() {
    [this.centre, this.width] = this.first;
    this.inverted = false;
    this.resize();
    this.fit();
    this.shade();
  }

  // The server's `frames.windowed`, number for number.
  shade() {
    const table = new Uint32Array(65536), low = this.centre - this.width / 2;
    for (let i = 0; i < 65536; i++) {
      let y = Math.floor(clamp((i / 65535 - low) / this.width, 0, 1) * 255 + 0.5);
      if (this.inverted) y = 255 - y;
      table[i] = (0xff000000 | (y << 16) | (y << 8) | y) >>> 0;
    }
    const out = new Uint32Array(this.image.data.buffer);
    for (let i = 0; i < out.length; i++) out[i] = table[this.pixels[i]];
    this.buffer.getContext("2d").putImageData(this.image, 0, 0);
    this.draw();
  }

  resize() {
    const ratio = devicePixelRatio || 1, { clientWidth, clientHeight } = this.canvas;
    const [width, height] = [Math.round(clientWidth * ratio), Math.round(clientHeight * ratio)];
    if (!width || !height || (width === this.canvas.width && height === this.canvas.height)) return;
    const whole = this.fitted;
    [this.canvas.width, this.canvas.height] = [width, height];
    if (whole) this.fit();
    this.draw();
  }

  fit() {
    const [width, height] = this.size ?? [1, 1];
    this.scale = Math.min(this.canvas.width / width, this.canvas.height / height);
    this.left = (this.canvas.width - width * this.scale) / 2;
    this.top = (this.canvas.height - height * this.scale) / 2;
    this.fitted = true;
    this.draw();
  }

  zoom(factor, x = this.canvas.width / 2, y = this.canvas.height / 2) {
    const scale = clamp(this.scale * factor, 0.02, 40), real = scale / this.scale;
    this.left = Math.round(x - (x - this.left) * real);
    this.top = Math.round(y - (y - this.top) * real);
    this.scale = scale;
    this.fitted = false;
    this.draw();
  }

  pan(dx, dy) {
    this.left += dx;
    this.top += dy;
    this.fitted = false;
    this.draw();
  }

  window(centre, width) {
    this.centre = clamp(centre, -0.5, 1.5);
    this.width = clamp(width, 0.005, 3);
    this.soon(() => this.shade());
  }

  soon(what) {
    cancelAnimationFrame(this.waiting);
    this.waiting = requestAnimationFrame(what);
  }

  toFilm(x, y) {
    return [(x - this.left) / this.scale, (y - this.top) / this.scale];
  }

  draw() {
    const { context, canvas } = this;
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.fillStyle = "#000";
    context.fillRect(0, 0, canvas.width, canvas.height);
    if (!this.buffer) return;
    const [width, height] = this.size, place = [this.left, this.top, width * this.scale, height * this.scale];
    context.imageSmoothingEnabled = this.scale !== 1 && this.scale < 3;
    context.imageSmoothingQuality = "high";
    context.drawImage(this.buffer, ...place);
    context.imageSmoothingEnabled = true;
    for (const layer of this.layers) layer(context, place, this);
    if (this.caption) {
      const percent = (value) => Math.round(value * 100);
      this.caption.textContent = `level ${percent(this.centre)}  window ${percent(this.width)}  zoom ${percent(this.scale)} %${this.inverted ? "  inverted" : ""}`;
    }
  }

  pointer(event) {
    const box = this.canvas.getBoundingClientRect(), ratio = this.canvas.width / box.width;
    return [(event.clientX - box.left) * ratio, (event.clientY - box.top) * ratio];
  }

  // Drags with the tool that `tool()` names; `box(phase, x, y)` has the drags of the tool `box`, in film pixels.
  listen(tool, box) {
    const down = new Map();
    let spread = 0;
    this.canvas.addEventListener("pointerdown", (event) => {
      this.canvas.focus({ preventScroll: true });
      this.canvas.setPointerCapture(event.pointerId);
      down.set(event.pointerId, this.pointer(event));
      if (down.size === 1 && tool() === "box" && event.button === 0) box?.("down", ...this.toFilm(...this.pointer(event)));
      event.preventDefault();
    });
    this.canvas.addEventListener("pointermove", (event) => {
      const before = down.get(event.pointerId);
      if (!before) return;
      const [x, y] = this.pointer(event), dx = x - before[0], dy = y - before[1];
      down.set(event.pointerId, [x, y]);
      if (down.size === 2) {
        const [[ax, ay], [bx, by]] = [...down.values()], now = Math.hypot(ax - bx, ay - by);
        if (spread) this.zoom(now / spread, (ax + bx) / 2, (ay + by) / 2);
        spread = now;
        this.pan(dx / 2, dy / 2);
      } else if (tool() === "pan" || event.shiftKey || event.buttons & 6) this.pan(dx, dy);
      else if (tool() === "box") box?.("move", ...this.toFilm(x, y));
      else this.window(this.centre - (dy / this.canvas.height) * 1.2, this.width + (dx / this.canvas.width) * 2);
    });
    const up = (event) => {
      if (down.delete(event.pointerId) && !down.size && tool() === "box") box?.("up", ...this.toFilm(...this.pointer(event)));
      spread = 0;
    };
    this.canvas.addEventListener("pointerup", up);
    this.canvas.addEventListener("pointercancel", up);
    this.canvas.addEventListener("contextmenu", (event) => event.preventDefault());
    this.canvas.addEventListener("wheel", (event) => {
      event.preventDefault();
      this.zoom(Math.exp(-event.deltaY / 500), ...this.pointer(event));
    }, { passive: false });
  }
}

class Reading {
  constructor(film) {
    Object.assign(this, { film, tool: "window", chosen: -1, box: -1, opacity: 0.45, heats: new Map(), changed: false });
    this.shown = { lungs: false, boxes: true, heat: false };
    this.me = $(".who span").textContent;
    this.verdicts = { ...(film.verdicts[this.me] ?? {}) };
    this.kept = { ...this.verdicts };
    this.boxes = structuredClone(film.drawn[this.me] ?? film.boxes).map(({ name, box, score }) => ({ name, box, score }));
    this.boxesChanged = false;
    this.viewer = new Viewer($("#canvas"), $("#state"));
    this.viewer.layers = [(...of) => this.overlay(...of)];
    this.viewer.listen(() => this.tool, (...drag) => this.drag(...drag));
    this.viewer.load(`${film.api}/${film.id}`).catch((error) => ($("#state").textContent = error.message));
    for (const button of $$("[data-tool]")) button.onclick = () => this.use(button.dataset.tool);
    for (const button of $$("[data-do]")) button.onclick = () => this.do(button.dataset.do);
    for (const button of $$("[data-choose]")) button.onclick = () => this.choose(Number(button.dataset.choose), true);
    for (const button of $$("[data-verdict]"))
      button.onclick = () => this.judge(Number(button.closest("tr").dataset.finding), button.dataset.verdict);
    $("#opacity").oninput = (event) => this.fade(event.target.value / 100);
    if ($("#prior")) $("#prior").onchange = (event) => this.beside(event.target.value);
    if ($("#save")) $("#save").onclick = () => this.save();
    document.addEventListener("keydown", (event) => this.key(event));
    addEventListener("beforeunload", (event) => this.changed && event.preventDefault());
    this.list();
    this.mark();
    const first = film.findings.findIndex((finding) => finding.heatmap && finding.positive);
    if (film.findings.length) this.choose(Math.max(0, first));
  }

  get review() { return Boolean($("#save")); }
  id(finding) { return `${finding.bundle}|${finding.name}`; }

  use(tool) {
    if (tool === "box" && !this.review) return;
    this.tool = tool;
    for (const button of $$("[data-tool]")) button.setAttribute("aria-pressed", button.dataset.tool === tool);
  }

  do(what) {
    const { viewer } = this;
    if (what === "fit") viewer.fit();
    else if (what === "one") viewer.zoom(1 / viewer.scale);
    else if (what === "reset") { viewer.reset(); this.pressed("invert", false); }
    else if (what === "invert") { viewer.inverted = !viewer.inverted; this.pressed("invert", viewer.inverted); viewer.shade(); }
    else if (what === "help") $("#help").showModal();
    else this.toggle(what);
  }

  pressed(what, on) { $(`[data-do="${what}"]`).setAttribute("aria-pressed", on); }

  async toggle(what, on = !this.shown[what]) {
    if (what === "lungs" && !this.film.lungs) return;
    if (what === "heat" && !this.film.findings[this.chosen]?.heatmap) on = false;
    this.shown[what] = on;
    this.pressed(what, on);
    if (what === "lungs" && on && !this.lungs) {
      const side = (name, colour) => painted(`${this.film.api}/${this.film.id}/lungs.png?side=${name}`, outline(colour));
      this.lungs = await Promise.all([side("right", [108, 199, 255]), side("left", [127, 224, 162])]).catch(() => []);
    }
    const finding = this.film.findings[this.chosen];
    if (what === "heat" && on && !this.heats.has(this.chosen)) {
      const heat = await painted(finding.heatmap, (value) => HEAT[value]).catch(() => null);
      if (heat) this.heats.set(this.film.findings.indexOf(finding), heat);
    }
    this.viewer.draw();
  }

  fade(opacity) {
    this.opacity = clamp(opacity, 0, 1);
    $("#opacity").value = Math.round(this.opacity * 100);
    this.viewer.draw();
  }

  choose(index, heat = false) {
    const findings = this.film.findings;
    if (!findings.length) return;
    this.chosen = (index + findings.length) % findings.length;
    for (const row of $$("#findings tbody tr")) {
      const on = Number(row.dataset.finding) === this.chosen;
      row.classList.toggle("chosen", on);
      $("[data-choose]", row).setAttribute("aria-pressed", on);
      if (on) row.scrollIntoView({ block: "nearest" });
    }
    const there = Boolean(findings[this.chosen].heatmap);
    $('[data-do="heat"]').disabled = !there;
    this.toggle("heat", there && (heat || this.shown.heat));
    if ($("#box-name")) $("#box-name").value = findings[this.chosen].name;
  }

  judge(index, verdict) {
    const finding = this.film.findings[index];
    if (!finding || !this.review) return;
    this.verdicts[this.id(finding)] = this.verdicts[this.id(finding)] === verdict ? "withdrawn" : verdict;
    this.mark();
    this.touch();
  }

  mark() {
    for (const row of $$("#findings tbody tr"))
      for (const button of $$("[data-verdict]", row))
        button.setAttribute("aria-pressed", this.verdicts[this.id(this.film.findings[row.dataset.finding])] === button.dataset.verdict);
  }

  touch() {
    this.changed = true;
    this.say("not saved yet");
  }

  say(text, fault = false) {
    $("#said").textContent = text;
    $("#said").classList.toggle("fault", fault);
  }

  list() {
    const list = $("#boxes");
    if (!list) return;
    list.replaceChildren(...this.boxes.map((box, index) => {
      const item = document.createElement("li"), name = document.createElement("button"), place = document.createElement("span");
      item.classList.toggle("chosen", index === this.box);
      name.className = "plain";
      name.textContent = box.score == null ? box.name : `${box.name} ${Math.round(box.score * 100)} %`;
      name.onclick = () => this.pick(index);
      place.className = "place";
      place.textContent = box.box.map(Math.round).join(" ");
      item.append(name, place);
      if (this.review) {
        const remove = document.createElement("button");
        remove.textContent = "Delete";
        remove.setAttribute("aria-label", `Delete the box ${box.name}`);
        remove.onclick = () => this.remove(index);
        item.append(remove);
      }
      return item;
    }));
    if (!this.boxes.length) list.innerHTML = '<li class="quiet">none</li>';
  }

  pick(index) {
    this.box = index;
    this.list();
    this.viewer.draw();
  }

  remove(index) {
    if (!this.review || !this.boxes[index]) return;
    this.boxes.splice(index, 1);
    this.redone(-1);
  }

  redone(index) {
    this.boxesChanged = true;
    this.touch();
    this.pick(index);
  }

  placed([x1, y1, x2, y2]) {
    const [width, height] = this.viewer.size, two = (value) => Math.round(value * 100) / 100;
    const [a, b] = [Math.min(x1, x2), Math.max(x1, x2)].map((v) => two(clamp(v, 0, width)));
    const [c, d] = [Math.min(y1, y2), Math.max(y1, y2)].map((v) => two(clamp(v, 0, height)));
    return [a, c, b, d];
  }

  drag(phase, x, y) {
    const reach = (12 * (devicePixelRatio || 1)) / this.viewer.scale;
    if (phase === "down") {
      const near = (box) => {
        const [x1, y1, x2, y2] = box.box, ends = [[x1, y1, x2, y2], [x2, y1, x1, y2], [x1, y2, x2, y1], [x2, y2, x1, y1]];
        return ends.find(([cx, cy]) => Math.hypot(cx - x, cy - y) < reach);
      };
      const inside = ({ box: [x1, y1, x2, y2] }) => x > x1 && x < x2 && y > y1 && y < y2;
      const order = [...this.boxes.keys()].sort((a, b) => (b === this.box) - (a === this.box));
      const corner = order.find((index) => near(this.boxes[index])), within = order.find((index) => inside(this.boxes[index]));
      if (corner !== undefined) {
        const [, , fx, fy] = near(this.boxes[corner]);
        this.dragged = { index: corner, kind: "size", from: [fx, fy] };
      } else if (within !== undefined && within === this.box)
        this.dragged = { index: within, kind: "move", from: [x, y], box: this.boxes[within].box };
      else if (within !== undefined) return this.pick(within);
      else {
        this.boxes.push({ name: $("#box-name").value, box: [x, y, x, y] });
        this.dragged = { index: this.boxes.length - 1, kind: "size", from: [x, y], fresh: true };
      }
      this.box = this.dragged.index;
    } else if (this.dragged) {
      const { index, kind, from, box, fresh } = this.dragged, moved = kind === "move" && [x - from[0], y - from[1]];
      if (moved) this.shift(index, box, ...moved);
      else this.boxes[index].box = this.placed([...from, x, y]);
      this.boxes[index].score = null;
      if (phase === "up") {
        const [x1, y1, x2, y2] = this.boxes[index].box;
        this.dragged = null;
        if (fresh && Math.min(x2 - x1, y2 - y1) < 3) { this.boxes.pop(); return this.pick(-1); }
        return this.redone(index);
      }
      this.viewer.soon(() => this.viewer.draw());
    }
  }

  shift(index, [x1, y1, x2, y2], dx, dy) {
    const [width, height] = this.viewer.size;
    const [ox, oy] = [clamp(dx, -x1, width - x2), clamp(dy, -y1, height - y2)];
    this.boxes[index].box = this.placed([x1 + ox, y1 + oy, x2 + ox, y2 + oy]);
  }

  overlay(context, place, viewer) {
    if (this.shown.heat && this.heats.has(this.chosen)) {
      context.globalAlpha = this.opacity;
      context.drawImage(this.heats.get(this.chosen), ...place);
    }
    if (this.shown.lungs) {
      context.globalAlpha = clamp(this.opacity * 2, 0, 1);
      for (const lung of this.lungs ?? []) context.drawImage(lung, ...place);
    }
    context.globalAlpha = 1;
    if (!this.shown.boxes) return;
    const ratio = devicePixelRatio || 1;
    context.font = `${13 * ratio}px system-ui, sans-serif`;
    this.boxes.forEach((box, index) => {
      const [x1, y1, x2, y2] = box.box, at = [viewer.left + x1 * viewer.scale, viewer.top + y1 * viewer.scale];
      const size = [(x2 - x1) * viewer.scale, (y2 - y1) * viewer.scale];
      context.lineWidth = (index === this.box ? 3 : 1.6) * ratio;
      context.strokeStyle = box.score == null ? "#ffbe5c" : "#6cc7ff";
      context.strokeRect(...at, ...size);
      const text = box.score == null ? box.name : `${box.name} ${Math.round(box.score * 100)} %`;
      context.fillStyle = "#000d";
      context.fillRect(at[0], at[1] - 18 * ratio, context.measureText(text).width + 8 * ratio, 18 * ratio);
      context.fillStyle = context.strokeStyle;
      context.fillText(text, at[0] + 4 * ratio, at[1] - 5 * ratio);
      if (index === this.box)
        for (const [cx, cy] of [[0, 0], [1, 0], [0, 1], [1, 1]])
          context.fillRect(at[0] + cx * size[0] - 4 * ratio, at[1] + cy * size[1] - 4 * ratio, 8 * ratio, 8 * ratio);
    });
  }

  async beside(id) {
    $("#prior").value = id;
    $("#beside").hidden = !id;
    if (!id) return;
    this.prior ??= new Viewer($("#canvas-prior"), null);
    if (!this.prior.heard) {
      this.prior.heard = true;
      this.prior.listen(() => (this.tool === "box" ? "window" : this.tool));
    }
    const prior = this.film.priors.find((each) => each.id === Number(id));
    const found = prior.leading ? `${prior.leading} ${Math.round(prior.risk * 100)} %` : "nothing over its threshold";
    $("#canvas-prior").setAttribute("aria-label", `Prior film ${prior.id}`);
    $("#state-prior").textContent = `prior film ${prior.id}, received ${prior.received}: ${found}`;
    await this.prior.load(`${this.film.api}/${id}`).catch((error) => ($("#state-prior").textContent = error.message));
  }

  async save() {
    const said = Object.entries(this.verdicts).filter(([id, verdict]) => this.kept[id] !== verdict);
    const findings = this.film.findings.flatMap((finding) =>
      said.filter(([id]) => id === this.id(finding)).map(([, verdict]) => ({ name: finding.name, bundle: finding.bundle, verdict })));
    const boxes = this.boxesChanged ? this.boxes.map(({ name, box }) => ({ name, box })) : null;
    if (!findings.length && !boxes) return this.say("nothing to save");
    const body = JSON.stringify({ result: this.film.result, findings, boxes });
    try {
      const kept = await post(`${this.film.api}/${this.film.id}/reviews`, body, "application/json");
      Object.assign(this, { kept: { ...this.verdicts }, boxesChanged: false, changed: false });
      const item = document.createElement("li"), signs = { agree: "✓", disagree: "✗", withdrawn: "–" };
      const words = kept.findings.map(({ name, verdict }) => `${signs[verdict]} ${name}`);
      if (kept.boxes) words.push(`${kept.boxes.length} box${kept.boxes.length === 1 ? "" : "es"}`);
      item.textContent = `${kept.who} ${kept.time.slice(0, 16).replace("T", " ")} UTC ${words.join(", ")}`;
      $("#reviews > li.quiet:only-child")?.remove();
      $("#reviews").append(item);
      this.say(`saved at ${kept.time.slice(11, 16)} UTC`);
    } catch (error) {
      this.say(error.message, true);
    }
  }

  key(event) {
    if (event.ctrlKey || event.metaKey || $("#help").open || event.target.matches("input, select, textarea")) return;
    const { viewer } = this, arrow = { ArrowUp: [0, -1], ArrowDown: [0, 1], ArrowLeft: [-1, 0], ArrowRight: [1, 0] }[event.key];
    if (arrow && this.box >= 0 && this.review && !event.shiftKey) {
      const box = this.boxes[this.box], step = Math.max(...viewer.size) / 200, [dx, dy] = arrow.map((v) => v * step);
      if (event.altKey) box.box = this.placed([box.box[0], box.box[1], Math.max(box.box[0] + 3, box.box[2] + dx), Math.max(box.box[1] + 3, box.box[3] + dy)]);
      else this.shift(this.box, box.box, dx, dy);
      box.score = null;
      this.redone(this.box);
    } else if (arrow && event.shiftKey) viewer.pan(-arrow[0] * 60, -arrow[1] * 60);
    else if (arrow) viewer.window(viewer.centre - arrow[1] * 0.02, viewer.width + arrow[0] * 0.04);
    else {
      const keys = {
        "+": () => viewer.zoom(1.2), "=": () => viewer.zoom(1.2), "-": () => viewer.zoom(1 / 1.2),
        0: () => this.do("fit"), 1: () => this.do("one"), i: () => this.do("invert"), r: () => this.do("reset"),
        l: () => this.toggle("lungs"), b: () => this.toggle("boxes"), h: () => this.toggle("heat"),
        "[": () => this.fade(this.opacity - 0.1), "]": () => this.fade(this.opacity + 0.1),
        j: () => this.choose(this.chosen + 1, this.shown.heat), k: () => this.choose(this.chosen - 1, this.shown.heat),
        a: () => this.judge(this.chosen, "agree"), x: () => this.judge(this.chosen, "disagree"),
        w: () => this.use("window"), m: () => this.use("pan"), d: () => this.use("box"), n: () => this.fresh(),
        Delete: () => this.remove(this.box), Backspace: () => this.remove(this.box), Escape: () => this.pick(-1),
        s: () => this.review && this.save(), p: () => this.nextPrior(), "?": () => $("#help").showModal(), u: () => location.assign("/"),
      };
      const act = keys[event.key] ?? keys[event.key.toLowerCase()];
      if (!act) return;
      act();
    }
    event.preventDefault();
  }

  fresh() {
    if (!this.review || !viewerReady(this.viewer)) return;
    const [width, height] = this.viewer.size;
    const name = $("#box-name").value;
    let box, aside = 0;
    do { // beside one that lies there already: the same box twice would be none more
      box = this.placed([0.4, 0.4, 0.6, 0.6].map((share, side) => (share + aside) * (side % 2 ? height : width)));
      aside += 0.02;
    } while (aside < 0.4 && this.boxes.some((other) => other.name === name && `${other.box}` === `${box}`));
    this.boxes.push({ name, box });
    this.redone(this.boxes.length - 1);
  }

  nextPrior() {
    if (!$("#prior")) return;
    const there = ["", ...this.film.priors.map((prior) => String(prior.id))];
    this.beside(there[(there.indexOf($("#prior").value) + 1) % there.length]);
  }
}

const viewerReady = (viewer) => Boolean(viewer.size);

function worklist() {
  const links = $$("#worklist tbody th a"), at = () => links.indexOf(document.activeElement);
  document.addEventListener("keydown", (event) => {
    if (event.target.matches("input, select") || event.ctrlKey || event.metaKey) return;
    if (event.key === "j") links[Math.min(links.length - 1, at() + 1)]?.focus();
    else if (event.key === "k") links[Math.max(0, at() - 1)]?.focus();
    else if (event.key === "/") $(".filters [name=text]").focus();
    else return;
    event.preventDefault();
  });
  for (const row of $$("#worklist tbody tr")) {
    row.addEventListener("click", (event) => {
      if (!event.target.closest("a, button, input, select") && String(getSelection()) === "") $("th a", row).click();
    });
  }
  const input = $("#upload");
  const send = async (films) => {
    const said = [];
    for (const film of films) {
      $("#said").textContent = [...said, `${film.name}: on its way`].join("\n");
      try {
        const told = await post("/api/v1/films", film, "application/octet-stream");
        said.push(`${film.name}: ${told.films.map(({ kind, id }) => `${kind}, film ${id}`).join("; ")}`);
      } catch (error) {
        said.push(`${film.name}: ${error.message}`);
      }
      $("#said").textContent = said.join("\n");
    }
    if (said.length) setTimeout(() => location.reload(), 2500);
  };
  if (input) {
    input.onchange = () => send(input.files);
    addEventListener("dragover", (event) => { event.preventDefault(); document.body.classList.add("dropping"); });
    addEventListener("dragleave", () => document.body.classList.remove("dropping"));
    addEventListener("drop", (event) => { event.preventDefault(); document.body.classList.remove("dropping"); send(event.dataTransfer.files); });
  }
  if ($("#worklist")?.dataset.moving === "yes")
    setInterval(() => document.activeElement?.matches("input, select, #worklist a") || $("#said").textContent || location.reload(), 4000);
}

const film = $("#film");
if (film) globalThis.hilum = new Reading(JSON.parse(film.textContent));
else worklist();
