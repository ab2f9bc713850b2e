"use strict";
// The film in its true greyscale: unpacked from the page itself, windowed by a lookup table, never resampled before that.

// The inverse of `pack_film` in pictures.py: the pixels as integers of `depth` bits.
async function unpackFilm(text, width, height) {
  const coded = atob(text.trim());
  const bytes = new Uint8Array(coded.length);
  for (let i = 0; i < coded.length; i++) bytes[i] = coded.charCodeAt(i);
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  const planes = new Uint8Array(await new Response(stream).arrayBuffer());
  const n = width * height;
  const pixels = new Uint16Array(n);
  for (let i = 0; i < n; i++) {
    const folded = planes[i] | (planes[n + i] << 8);
    const rest = (folded >> 1) ^ -(folded & 1);
    const column = i % width;
    let foretold = 0;
    if (i >= width) foretold = column ? (pixels[i - 1] + pixels[i - width]) >> 1 : pixels[i - width];
    else if (column) foretold = pixels[i - 1];
    pixels[i] = foretold + rest;
  }
  return pixels;
}

// Draws `pixels` through a window: `level` and `width` are shares of the film's range, 0 to 1.
class FilmPainter {
  constructor(canvas, pixels, depth) {
    this.context = canvas.getContext("2d", { alpha: false });
    this.image = this.context.createImageData(canvas.width, canvas.height);
    this.words = new Uint32Array(this.image.data.buffer);
    this.pixels = pixels;
    this.table = new Uint32Array(2 ** depth);
  }

  paint({ level, width, inverted }) {
    const top = this.table.length - 1;
    for (let v = 0; v <= top; v++) {
      let grey = Math.round(255 * Math.min(1, Math.max(0, (v / top - level) / width + 0.5)));
      if (inverted) grey = 255 - grey;
      this.table[v] = (0xff000000 | (grey << 16) | (grey << 8) | grey) >>> 0;
    }
    const { words, pixels, table } = this;
    for (let i = 0; i < words.length; i++) words[i] = table[pixels[i]];
    this.context.putImageData(this.image, 0, 0);
  }
}

// Where the film lies on its stage: fitted to it, then zoomed about a point and shifted, never off the stage altogether.
class FilmPlacement {
  constructor(stage, plate, width, height) {
    Object.assign(this, { stage, plate, width, height });
    this.reset();
  }

  reset() {
    Object.assign(this, { zoom: 1, x: 0, y: 0 });
    this.lay();
  }

  fit() {
    const room = Math.max(260, Math.min(window.innerHeight * 0.82, 1200));
    const scale = Math.min(this.stage.clientWidth / this.width, room / this.height);
    this.stage.style.height = `${Math.round(this.height * scale)}px`;
    return { w: this.width * scale, h: this.height * scale };
  }

  zoomAbout(factor, px, py) {
    const next = Math.min(12, Math.max(1, this.zoom * factor));
    this.x = px - ((px - this.x) * next) / this.zoom;
    this.y = py - ((py - this.y) * next) / this.zoom;
    this.zoom = next;
    this.lay();
  }

  shift(dx, dy) {
    this.x += dx;
    this.y += dy;
    this.lay();
  }

  lay() {
    const { w, h } = this.fit();
    const roomX = this.stage.clientWidth, roomY = this.stage.clientHeight;
    const held = (at, size, room) => (size <= room ? (room - size) / 2 : Math.min(0, Math.max(room - size, at)));
    this.x = held(this.x, w * this.zoom, roomX);
    this.y = held(this.y, h * this.zoom, roomY);
    this.plate.style.width = `${w}px`;
    this.plate.style.height = `${h}px`;
    this.plate.style.transform = `translate(${this.x}px, ${this.y}px) scale(${this.zoom})`;
    this.stage.classList.toggle("zoomed", this.zoom > 1);
  }
}
