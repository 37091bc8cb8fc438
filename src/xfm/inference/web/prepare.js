// What Python does in front of the encoders, number for number: captions to ids, pictures to pixels.

const SIGNS = /[,.'!?"()*#:;~\-/]/g;
const SPACES = /[\t-\r\x1c-\x20\x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]+/u; // as Python splits
const STRIP = 256; // rows of a picture that are read at once, so that a large one costs little memory

/** Ids of a text between those that stand around every one, as `Tokenizer.encode_batch` gives them. */
export function textIds(text, tokenizer, settings) {
  const words = text.toLowerCase().replace(SIGNS, " ").split(SPACES).filter(Boolean);
  const read = settings.written ? text : words.slice(0, settings.caption_words).join(" ");
  const { frame, longest } = settings;
  const ids = read ? tokenizer.encode(read, { add_special_tokens: false }).ids : [];
  return [...frame.slice(0, -1), ...ids.slice(0, longest - frame.length), ...frame.slice(-1)];
}

/** Normalised pixels [3, H, W] of a picture; white where it is transparent. */
export function imagePixels(bitmap, preprocessing) {
  const small = resized(bitmap, preprocessing), size = small.length / 3, { mean, std } = preprocessing;
  const found = new Float32Array(3 * size);
  for (let channel = 0; channel < 3; channel += 1) {
    const scale = Math.fround(1 / (255 * std[channel]));
    const shift = Math.fround(-mean[channel] / std[channel]);
    for (let place = 0; place < size; place += 1) {
      found[channel * size + place] = Math.fround(small[3 * place + channel] * scale) + shift;
    }
  }
  return found;
}

/** [H, W, 3] of 0 to 255, antialiased by the filter of torch's `interpolate`: columns first, whole numbers. */
export function resized(bitmap, { image_size: height, image_width, interpolation }) {
  const width = image_width ?? height;
  const columns = filters(bitmap.width, width, interpolation), rows = filters(bitmap.height, height, interpolation);
  const narrow = new Uint8ClampedArray(bitmap.height * width * 3), found = new Uint8ClampedArray(height * width * 3);
  const canvas = new OffscreenCanvas(bitmap.width, Math.min(STRIP, bitmap.height));
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.fillStyle = "white";
  for (let top = 0; top < bitmap.height; top += STRIP) {
    const count = Math.min(STRIP, bitmap.height - top);
    context.fillRect(0, 0, canvas.width, canvas.height);
    context.drawImage(bitmap, 0, -top);
    const { data } = context.getImageData(0, 0, bitmap.width, count);
    for (let row = 0; row < count; row += 1) {
      filtered(data, 4 * row * bitmap.width, 4, columns, narrow, 3 * (top + row) * width, 3);
    }
  }
  for (let column = 0; column < width; column += 1) {
    filtered(narrow, 3 * column, 3 * width, rows, found, 3 * column, 3 * width);
  }
  return found;
}

/** One line of three channels: from `start`, `step` numbers a pixel, to `place`, `stride` a pixel. */
function filtered(data, start, step, { firsts, weights, bits }, out, place, stride) {
  const half = 2 ** (bits - 1);
  for (let to = 0; to < firsts.length; to += 1) {
    const own = weights[to];
    let red = half, green = half, blue = half;
    for (let tap = 0, at = start + step * firsts[to]; tap < own.length; tap += 1, at += step) {
      red += own[tap] * data[at];
      green += own[tap] * data[at + 1];
      blue += own[tap] * data[at + 2];
    }
    out[place + stride * to] = red >> bits;
    out[place + stride * to + 1] = green >> bits;
    out[place + stride * to + 2] = blue >> bits;
  }
}

const KERNELS = {
  bilinear: [1, (x) => Math.max(0, 1 - x)],
  bicubic: [2, (x) => (x < 1 ? (1.5 * x - 2.5) * x * x + 1 : x < 2 ? ((-0.5 * x + 2.5) * x - 4) * x + 2 : 0)],
};

/** For each pixel of a resized line its first source, and weights as 16-bit numbers with `bits` behind the point. */
function filters(from, to, interpolation) {
  const [reach, kernel] = KERNELS[interpolation.replace("pillow-", "")], scale = from / to;
  const support = reach * Math.max(scale, 1), closer = scale >= 1 ? 1 / scale : 1, firsts = [], shares = [];
  for (let place = 0; place < to; place += 1) {
    const centre = scale * (place + 0.5);
    const first = Math.max(Math.trunc(centre - support + 0.5), 0);
    const count = Math.min(Math.trunc(centre + support + 0.5), from) - first;
    const own = Array.from({ length: count }, (_, tap) => kernel(Math.abs((tap + first - centre + 0.5) * closer)));
    const sum = own.reduce((all, one) => all + one, 0);
    firsts.push(first);
    shares.push(own.map((one) => one / sum));
  }
  const most = shares.reduce((all, own) => Math.max(all, ...own), 0);
  let bits = 0;
  while (bits < 22 && Math.trunc(0.5 + most * 2 ** (bits + 1)) < 2 ** 15) bits += 1;
  const weights = shares.map((own) => Int32Array.from(own, (one) => one * 2 ** bits + (one < 0 ? -0.5 : 0.5)));
  return { firsts, weights, bits };
}
