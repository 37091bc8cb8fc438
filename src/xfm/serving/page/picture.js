// A picture that is chosen: an example, or one's own by file, drop or paste; and what is drawn on it.

import { ask, picture } from "/page/api.js";
import { drawn, el, fresh } from "/page/dom.js";

const LARGEST = 20 * 1024 * 1024;
const pictures = new Map();

/** A picture of the server and an address of this document for it; each is asked for once. */
export function local(path) {
  if (!pictures.has(path)) {
    const there = picture(path).then((blob) => ({ blob, address: URL.createObjectURL(blob) }));
    there.catch(() => pictures.delete(path));
    pictures.set(path, there);
  }
  return pictures.get(path);
}

/** An image of the server that appears when it is there. */
export function shown(path, alt) {
  const image = el("img", { alt });
  local(path).then(({ address }) => { image.src = address; }, () => { image.alt = `${alt} (cannot be shown)`; });
  return image;
}

function dataUrl(blob) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.addEventListener("load", () => resolve(reader.result));
    reader.addEventListener("error", () => reject(new Error("The file cannot be read.")));
    reader.readAsDataURL(blob);
  });
}

/** A file as a data URL and an image; raises an Error that says why it is none, in the server's words if it has any. */
export async function opened(file) {
  if (file.size > LARGEST) {
    throw new Error(`The picture has ${Math.round(file.size / 1048576)} MB, and 20 may be sent. Make it smaller.`);
  }
  const url = await dataUrl(file);
  const image = el("img", { alt: "", src: url });
  try {
    await image.decode();
  } catch {
    const why = await ask("/v1/embeddings", { input: [url] }).then(() => "choose a PNG, JPEG, WebP or GIF.", (error) => error.message);
    throw new Error(`The browser cannot show this file: ${why.replace("Input 0: the bytes of the picture: ", "")}`);
  }
  return { url, image };
}

/** An example of the server, by its name. */
export async function example(name) {
  return opened((await local(`/page/examples/${name}`)).blob);
}

/** How much two boxes (left, top, right, bottom) overlap: intersection over union. */
export function overlap(one, other) {
  const area = ([left, top, right, bottom]) => Math.max(0, right - left) * Math.max(0, bottom - top);
  const both = area([0, 1, 2, 3].map((side) => Math[side < 2 ? "max" : "min"](one[side], other[side])));
  return both / (area(one) + area(other) - both);
}

/** A picture with boxes over it; `width` and `height` are those that the boxes are in. */
export function boxed(image, boxes, width, height, unsure = false) {
  const shapes = boxes.flatMap((box) => {
    const size = { x: box.xmin, y: box.ymin, width: box.xmax - box.xmin, height: box.ymax - box.ymin };
    return [drawn("rect", { class: "case", ...size }), drawn("rect", { class: "line", ...size })];
  });
  const overlay = drawn("svg", {
    class: `overlay${unsure ? " unsure" : ""}`, viewBox: `0 0 ${width} ${height}`, preserveAspectRatio: "none",
    "aria-hidden": "true",
  }, shapes);
  return el("span", { class: "shown" }, image, overlay);
}

/** Where a picture is chosen and shown. */
export class Picker {
  /**
   * @param {string} label what the picture is for
   * @param {() => void} changed called when another picture is there, or none
   */
  constructor(label, changed = () => {}) {
    this.label = label;
    this.changed = changed;
    this.url = null;
    this.width = this.height = 0;
    this.image = null;
    const id = fresh("file");
    this.file = el("input", {
      type: "file", id, accept: "image/*", "aria-label": `${label}: choose a file`,
      onchange: () => { if (this.file.files[0]) this.take(this.file.files[0]); },
    });
    this.stage = el("div", { class: "stage" });
    this.error = el("p", { class: "verdict bad", role: "alert", hidden: true });
    this.element = el("div", { class: "picker", role: "group", "aria-label": label },
      this.stage,
      this.error,
      el("div", { class: "own" },
        this.file, el("label", { for: id, class: "quiet button" }, "Choose a picture"),
        el("span", { class: "muted small" }, "or drop or paste one")));
    this.#watch();
    this.#empty();
  }

  #watch() {
    const stage = this.stage;
    stage.addEventListener("dragover", (event) => { event.preventDefault(); stage.classList.add("over"); });
    stage.addEventListener("dragleave", () => stage.classList.remove("over"));
    stage.addEventListener("drop", (event) => {
      event.preventDefault();
      stage.classList.remove("over");
      const [file] = event.dataTransfer.files;
      if (file) this.take(file);
    });
  }

  #empty() {
    this.stage.replaceChildren(el("p", { class: "empty" }, "No picture yet. Choose one, or drop it here."));
  }

  #fail(message) {
    this.error.textContent = message;
    this.error.hidden = false;
  }

  /** One's own picture; of one that cannot be taken, the one before is gone, too. */
  async take(file) {
    this.error.hidden = true;
    try {
      const { url, image } = await opened(file);
      this.#show(url, image, file.name || "your picture");
    } catch (error) {
      this.url = this.image = null;
      this.#empty();
      this.#fail(error.message);
    }
    this.changed();
  }

  /** An example of the server, by its name. */
  async choose(name) {
    this.error.hidden = true;
    try {
      const { url, image } = await example(name);
      this.#show(url, image, "an example");
    } catch (error) {
      this.#fail(error.message);
    }
  }

  #show(url, image, name) {
    image.alt = `${this.label}: ${name}`;
    this.url = url;
    this.image = image;
    this.width = image.naturalWidth;
    this.height = image.naturalHeight;
    this.clear();
  }

  /** On narrow screens the picture may have been scrolled away when something is drawn on it. */
  #reveal() {
    const { top } = this.stage.getBoundingClientRect();
    if (top < 0) this.stage.scrollIntoView({ block: "start" });
  }

  /** The picture alone. */
  clear() {
    this.stage.classList.remove("heated");
    if (this.image) this.#hold(el("span", { class: "shown" }, this.image));
  }

  /** As wide as there is room for, and not taller than the style says. */
  #hold(holder) {
    holder.style.width = `min(100%, calc(var(--tallest) * ${this.width / this.height}))`;
    this.stage.replaceChildren(holder);
  }

  /** A box with its text. */
  box(box, text, unsure) {
    this.clear();
    const holder = boxed(this.image, [box], this.width, this.height, unsure);
    const tag = el("span", { class: "tag", "aria-hidden": "true" }, text);
    const above = box.ymin / this.height > 0.1;
    tag.style.left = `${(100 * box.xmin) / this.width}%`;
    tag.style.maxWidth = `${100 - (100 * box.xmin) / this.width}%`;
    tag.style.top = `${(100 * (above ? box.ymin : box.ymax)) / this.height}%`;
    tag.style.transform = above ? "translateY(calc(-100% - 4px))" : "translateY(4px)";
    holder.append(tag);
    this.#hold(holder);
    this.#reveal();
  }

  /** A heat map, rows of numbers from 0 on. */
  heat(rows, label) {
    this.clear();
    this.stage.classList.add("heated");
    const canvas = el("canvas", { class: "overlay", role: "img", "aria-label": label, width: 288, height: 288 });
    paint(canvas, rows);
    this.#hold(el("span", { class: "shown" }, this.image, canvas));
    this.#reveal();
  }
}

const HEAT = [[255, 247, 188], [254, 217, 98], [251, 140, 40], [216, 48, 31], [128, 0, 38]];

/** The map enlarged smoothly; its largest value is the darkest red, 0 leaves the picture as it is. */
function paint(canvas, rows) {
  const { width, height } = canvas;
  const context = canvas.getContext("2d");
  const out = context.createImageData(width, height);
  const top = Math.max(...rows.flat());
  for (let y = 0; y < height; y += 1) {
    for (let x = 0; x < width; x += 1) {
      const value = top > 0 ? between(rows, x / width, y / height) / top : 0;
      const step = value * (HEAT.length - 1);
      const low = Math.min(Math.floor(step), HEAT.length - 2);
      const spot = 4 * (y * width + x);
      for (let c = 0; c < 3; c += 1) out.data[spot + c] = HEAT[low][c] + (HEAT[low + 1][c] - HEAT[low][c]) * (step - low);
      out.data[spot + 3] = 255 * 0.82 * Math.min(1, 1.25 * value);
    }
  }
  context.putImageData(out, 0, 0);
}

/** A value between the middles of patches, smooth at them. */
function between(rows, x, y) {
  const smooth = (t) => t * t * (3 - 2 * t);
  const along = (share, count) => {
    const at = Math.min(Math.max(share * count - 0.5, 0), count - 1);
    const low = Math.min(Math.floor(at), Math.max(0, count - 2));
    return [low, Math.min(low + 1, count - 1), smooth(at - low)];
  };
  const [up, down, v] = along(y, rows.length);
  const [left, right, u] = along(x, rows[0].length);
  const upper = rows[up][left] * (1 - u) + rows[up][right] * u;
  const lower = rows[down][left] * (1 - u) + rows[down][right] * u;
  return upper * (1 - v) + lower * v;
}
