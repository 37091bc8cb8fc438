// The encoders, beside the page: pictures become vectors, which are kept in IndexedDB, and texts find the nearest.

import * as ort from "./ort.wasm.min.mjs";
import { imagePixels, textIds } from "./prepare.js";
import { Tokenizer } from "./tokenizers.min.mjs";

const TOP = 24, LARGEST = 64 << 20; // pictures of an answer, bytes of a file
const tell = (kind, more = {}) => self.postMessage({ kind, ...more });
const vectors = new Map(); // by key, in the order of the pictures

async function read(name) {
  const response = await fetch(new URL(name, import.meta.url));
  if (!response.ok) throw new Error(`${name} cannot be loaded (${response.status}); export the folder again`);
  return response;
}

async function started() {
  const cores = self.crossOriginIsolated ? navigator.hardwareConcurrency : 1; // threads wait in loops: the page has a core
  ort.env.wasm.numThreads = Math.max(1, Math.min(cores - 1, 4));
  ort.env.logLevel = "error";
  const [settings, words] = await Promise.all(["web.json", "tokenizer.json"].map(async (name) => (await read(name)).json()));
  const [image, text] = await Promise.all(["image.onnx", "text.onnx"].map(async (name) => (await read(name)).arrayBuffer()));
  const encoders = { image: await ort.InferenceSession.create(image), text: await ort.InferenceSession.create(text) };
  tell("ready", { settings, threads: ort.env.wasm.numThreads });
  return { settings, encoders, tokenizer: new Tokenizer(words, {}) };
}
const start = started();
start.catch((error) => tell("failed", { why: error.message }));

let last = Promise.resolve(); // passes share one memory: each begins when the one before has ended
function vectorOf(encoder, inputs) {
  const pass = async () => (await encoder.run(inputs, ["vector"])).vector.data;
  return (last = last.then(pass, pass));
}

async function imageVector(file, { settings, encoders }) {
  if (file.size > LARGEST) throw new Error("the file has more than 64 MiB");
  const bitmap = await createImageBitmap(file, { colorSpaceConversion: "none" });
  try {
    if (bitmap.width * bitmap.height > settings.max_pixels) throw new Error("the picture has too many pixels");
    const { preprocessing } = settings, { image_size: side, image_width } = preprocessing;
    const pixels = new ort.Tensor("float32", imagePixels(bitmap, preprocessing), [1, 3, side, image_width ?? side]);
    return await vectorOf(encoders.image, { pixels });
  } finally {
    bitmap.close();
  }
}

async function textVector(text, { settings, encoders, tokenizer }) {
  const ids = textIds(text, tokenizer, settings), real = ids.length;
  while (ids.length < 2) ids.push(0); // what the graph needs at least, masked
  const shape = [1, ids.length], mask = Uint8Array.from(ids, (_, place) => Number(place < real));
  const inputs = { ids: new ort.Tensor("int64", BigInt64Array.from(ids, BigInt), shape), mask: new ort.Tensor("bool", mask, shape) };
  return vectorOf(encoders.text, inputs);
}

// ---------------------------------------------------------------- vectors of earlier visits
const asked = (request) => new Promise((done, failed) => {
  request.onsuccess = () => done(request.result);
  request.onerror = () => failed(request.error);
});
const opening = indexedDB.open("xfm-web", 1);
opening.onupgradeneeded = () => opening.result.createObjectStore("vectors");
const database = asked(opening);
database.catch(() => {}); // a private window may have none: then nothing is kept

async function kept(mode, use) {
  try {
    return await asked(use((await database).transaction("vectors", mode).objectStore("vectors")));
  } catch {
    return undefined;
  }
}

// ---------------------------------------------------------------- what the page asks
let waiting = [], running = false, total = 0, remembered = 0;

async function embed() {
  running = true;
  const ready = await start;
  while (waiting.length) {
    const { key, file } = waiting.shift(), place = `${ready.settings.weights}/${key}`;
    let skipped = "";
    try {
      let vector = await kept("readonly", (store) => store.get(place));
      remembered += Number(Boolean(vector));
      if (!vector) {
        vector = Float32Array.from(await imageVector(file, ready));
        await kept("readwrite", (store) => store.put(vector, place));
      }
      vectors.set(key, vector);
    } catch (error) {
      skipped = `${file.name}: ${error.message}`;
    }
    tell("progress", { done: vectors.size, total, remembered, skipped });
  }
  running = false;
}

async function search(number, text) {
  const began = performance.now(), query = await textVector(text, await start);
  const hits = [...vectors].map(([key, vector]) => ({ key, score: vector.reduce((sum, one, n) => sum + one * query[n], 0) }));
  hits.sort((one, other) => other.score - one.score);
  tell("answer", { number, text, hits: hits.slice(0, TOP), among: hits.length, took: performance.now() - began });
}

self.onmessage = async ({ data }) => {
  if (data.kind === "add") {
    total += data.files.length;
    waiting.push(...data.files);
    if (!running) await embed().catch(() => {});
  } else if (data.kind === "search") {
    await search(data.number, data.text).catch((error) => tell("failed", { why: error.message }));
  } else {
    await kept("readwrite", (store) => store.clear());
    tell("forgotten");
  }
};
