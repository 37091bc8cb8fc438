// The page: pictures that people choose go to the worker, which gives counts and answers back.

const $ = (id) => document.getElementById(id);
const SUFFIXES = /\.(jpe?g|jfif|png|webp|gif|bmp|avif|tiff?|hei[cf])$/i;
const count = (number) => number.toLocaleString("en");
const pictures = (number) => `${count(number)} ${number === 1 ? "picture" : "pictures"}`;
const files = new Map(); // by key: the file, and its path for people
let number = 0, query = "", settings = null, addresses = [], skips = 0;

// A worker of an address of its own would have no policy: that of a blob has this page's, which allows this origin alone.
const code = `import ${JSON.stringify(new URL("worker.js", location.href).href)};`;
const worker = new Worker(URL.createObjectURL(new Blob([code], { type: "text/javascript" })), { type: "module" });

function el(name, attributes = {}, ...children) {
  const made = Object.assign(document.createElement(name), attributes);
  made.append(...children);
  return made;
}

// ---------------------------------------------------------------- pictures that are chosen
function add(found) {
  const shown = found.filter(({ file, path }) => file.type.startsWith("image/") || SUFFIXES.test(path));
  const fresh = [];
  for (const { file, path } of shown.sort((one, other) => (one.path < other.path ? -1 : 1))) {
    const key = `${path}|${file.size}|${file.lastModified}`;
    if (!files.has(key)) fresh.push({ key, file });
    files.set(key, { file, path });
  }
  if (fresh.length) worker.postMessage({ kind: "add", files: fresh });
  else $("status").textContent = `There are no ${shown.length ? "other " : ""}pictures among ${count(found.length)} files.`;
}

for (const id of ["folder", "pictures"]) {
  $(id).addEventListener("change", () => {
    add([...$(id).files].map((file) => ({ file, path: file.webkitRelativePath || file.name })));
    $(id).value = "";
  });
}

async function below(entry) {
  if (entry.isFile) {
    const file = await new Promise((done, failed) => entry.file(done, failed));
    return [{ file, path: entry.fullPath.slice(1) }];
  }
  const reader = entry.createReader(), found = [];
  for (;;) { // a folder is given in parts
    const part = await new Promise((done, failed) => reader.readEntries(done, failed));
    if (!part.length) return found;
    for (const one of part) found.push(...(await below(one)));
  }
}

addEventListener("dragover", (event) => { event.preventDefault(); $("drop").classList.add("over"); });
addEventListener("dragleave", (event) => { if (!event.relatedTarget) $("drop").classList.remove("over"); });
addEventListener("drop", async (event) => {
  event.preventDefault();
  $("drop").classList.remove("over");
  const entries = [...event.dataTransfer.items].map((item) => item.webkitGetAsEntry()).filter(Boolean);
  try {
    add((await Promise.all(entries.map(below))).flat());
  } catch (error) {
    $("status").textContent = `What was dropped cannot be read: ${error.message}`;
  }
});

// ---------------------------------------------------------------- questions and answers
function ask() {
  number += 1;
  worker.postMessage({ kind: "search", number, text: query });
}

$("form").addEventListener("submit", (event) => {
  event.preventDefault();
  query = $("query").value.trim();
  if (!query) return;
  $("told").textContent = settings ? "Searching…" : "The model is not there yet; the answer comes when it is.";
  ask();
});
$("forget").addEventListener("click", () => worker.postMessage({ kind: "forget" }));

const replies = {
  ready(data) {
    ({ settings } = data);
    const { cosines: [image, text] } = settings;
    if (!files.size) $("status").textContent = "Ready.";
    document.body.dataset.ready = "true";
    const threads = data.threads > 1 ? `${data.threads} threads` : "one thread";
    $("about").textContent = `Model: ${settings.model}, trained on ${settings.trained_on}. Its encoders run here in eight bits, by ${threads}; `
      + `on scenes that were tried their vectors have a cosine of at least ${image} (pictures) and ${text} (texts) with those of the model.`;
  },
  progress({ done, total, remembered, skipped }) {
    if (skipped) {
      skips += 1;
      $("skipped").hidden = false;
      $("skipped").firstElementChild.textContent = `${count(skips)} skipped`;
      $("skipped").lastElementChild.append(el("li", { textContent: skipped }));
    }
    const all = done + skips === total, known = remembered ? `, ${count(remembered)} of them known from before` : "";
    $("progress").hidden = all;
    $("progress").max = total;
    $("progress").value = done + skips;
    if (!all && (done + skips) % 20 !== 1) return; // a screen reader reads every change
    $("status").textContent = all ? `${pictures(done)} can be searched${known}.` : `Reading picture ${count(done + skips)} of ${count(total)}${known}.`;
    document.body.dataset.done = String(all);
    if (query && (all || !$("hits").children.length)) ask(); // what was asked before there was anything, too
  },
  answer({ number: own, text, hits, among, took }) {
    if (own !== number) return; // another one was asked since
    addresses.forEach((one) => URL.revokeObjectURL(one));
    addresses = [];
    $("hits").replaceChildren(...hits.map(({ key, score }) => {
      const { file, path } = files.get(key), address = URL.createObjectURL(file);
      addresses.push(address);
      const name = el("span", { className: "name" }, el("span", { textContent: path }), el("span", { textContent: score.toFixed(3), title: "cosine" }));
      const link = el("a", { href: address, target: "_blank", rel: "noopener" }, el("img", { src: address, alt: "", decoding: "async" }), name);
      return el("li", {}, link);
    }));
    $("told").textContent = among
      ? `The ${count(hits.length)} nearest of ${pictures(among)} to “${text}”, by cosine, in ${Math.ceil(took)} ms. Some are always nearest, even where none fits.`
      : "There are no pictures yet: choose a folder.";
    document.body.dataset.answered = String(own);
  },
  failed({ why }) { $("status").textContent = `This went wrong: ${why}`; },
  forgotten() { $("status").textContent = "All vectors that this browser kept are forgotten; those of this visit go with the page."; },
};
worker.onmessage = ({ data }) => replies[data.kind](data);
worker.onerror = (event) => replies.failed({ why: event.message || "the worker did not start" });
