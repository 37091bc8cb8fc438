// A search in the gallery.

import { ask } from "/page/api.js";
import { el, fresh, percent } from "/page/dom.js";
import { Answer, foot, line, matchNote, Suggestions, verdict } from "/page/parts.js";
import { boxed, opened, shown } from "/page/picture.js";

const MOST = 24;
const BROWSED = 48;
const LIKELY = 0.5; // a match that is likelier than not

export function view(context) {
  const { gallery } = context.about;
  const answer = new Answer("Asking for the gallery…");
  const field = line("What to search for", "a dog left of a car", "Search", () => send(), "search");
  const suggestions = new Suggestions((text) => { field.input.value = text; send(); });
  const id = fresh("least");
  const told = el("output", { for: id }, "the model's own");
  let chosen = false; // until somebody moves it, the model's own threshold counts
  const least = el("input", {
    type: "range", id, min: 0, max: 99, value: 50,
    oninput: () => { chosen = true; told.textContent = `${least.value} %`; },
    onchange: () => { if (field.input.value.trim()) send(); },
  });
  const like = likePicker(() => send());

  function send() {
    const text = field.input.value.trim();
    if (!text && !like.url) return browse();
    const own = chosen ? { min_score: Number(least.value) / 100 } : {};
    const body = { top_k: MOST, ...own, ...(text ? { text } : {}), ...(like.url ? { image: like.url } : {}) };
    return answer.run(field.go, async () => {
      const result = await ask("/search", body);
      if (!chosen) least.value = 100 * result.min_score;
      if (!chosen) told.textContent = `${percent(result.min_score)}, the model's own`;
      return found(result, text, context);
    });
  }

  function browse() {
    return answer.run(field.go, async () => {
      const { hits } = await ask("/search", { text: "a picture", rerank: 0, top_k: BROWSED });
      const whose = gallery.kind === "examples" ? "of the embedded world, drawn for this page" : `of the collection ${gallery.name}`;
      return [
        el("p", { class: "muted" }, `The gallery: ${gallery.pictures.toLocaleString("en")} pictures ${whose}${hits.length < gallery.pictures ? `; ${hits.length} of them` : ""}.`),
        el("ul", { class: "gallery browse" }, hits.map((hit) => card(hit, false))),
      ];
    }, { quick: true });
  }

  suggestions.show(context.examples.flatMap((one) => one.texts));
  browse();
  const element = el("div", { class: "results" },
    el("div", { class: "card" }, field.element, suggestions.element,
      el("div", { class: "options" },
        el("div", { class: "field" }, el("label", { for: id }, "Something is found from a probability of ", told), least),
        like.element)),
    answer.element);
  return { element, paste: (file) => like.take(file) };
}

/** A picture that the found ones should be like. */
function likePicker(changed) {
  const id = fresh("like");
  const state = { url: null };
  const preview = el("span", { class: "like" });
  const problem = el("span", { role: "alert", class: "small" });
  const file = el("input", { type: "file", id, accept: "image/*", "aria-label": "A picture that the found ones should be like", onchange: () => { if (file.files[0]) state.take(file.files[0]); } });
  const drop = () => { state.url = null; file.value = ""; preview.replaceChildren(); };
  state.take = async (one) => {
    problem.textContent = "";
    try {
      const { url, image } = await opened(one);
      image.alt = "Search by this picture";
      state.url = url;
      preview.replaceChildren(image, el("button", { type: "button", class: "quiet", onclick: () => { drop(); changed(); } }, "Without it"));
      changed();
    } catch (error) {
      drop();
      problem.textContent = error.message;
    }
  };
  state.element = el("div", { class: "like" }, preview, file, el("label", { for: id, class: "quiet button" }, "Search by a picture"), problem);
  return state;
}

/** What a search found, with its verdict. */
function found(answer, text, context) {
  const { hits, fits, best, min_score, searched, fitted } = answer;
  const pictures = `${searched.toLocaleString("en")} pictures`;
  if (!hits.length) return [verdict("warn", `Nothing found among ${pictures}.`)];
  if (fits === null) {
    return [verdict("plain", `The nearest of ${pictures}, by likeness.`, "A picture alone has no match to verify: the order is by cosine."),
      el("ul", { class: "gallery" }, hits.map((hit) => card(hit, false)))];
  }
  const likely = hits.filter((hit) => hit.match >= LIKELY);
  const fitting = !fits ? [] : likely.length ? likely : hits.slice(0, 1);
  const others = hits.filter((hit) => !fitting.includes(hit));
  const count = fitting.length;
  const whence = fitted ? "Whether anything fits was fitted to searches in galleries of many sizes." : "Nothing was fitted to this kind of search: the best match decides.";
  const note = foot(matchNote(context.about.gallery), `The nearest 32 pictures by cosine are looked at again by the fusion encoder, which gives the match and the box; the order is that of both together. ${whence}`);
  if (!fits) {
    return [
      verdict("warn", `Nothing found among ${pictures} for “${text}”.`, `That one fits has a probability of ${percent(best)}; from ${percent(min_score)} on it is an answer.`),
      el("details", {}, el("summary", {}, "Show the nearest all the same"), el("ul", { class: "gallery" }, others.slice(0, 8).map((hit) => card(hit, true, true)))),
      note,
    ];
  }
  const told = count === 1 ? "1 picture fits" : `${count} pictures fit`;
  return [
    verdict("good", `${told} “${text}”.`, `That one of ${pictures} fits has a probability of ${percent(best)}.`),
    el("ul", { class: "gallery" }, fitting.map((hit) => card(hit, true))),
    others.length ? el("details", {}, el("summary", {}, `${others.length} more that are near, and fit less`), el("ul", { class: "gallery" }, others.map((hit) => card(hit, true, true)))) : null,
    note,
  ];
}

/** A picture with its box, how well it fits, and what is known of it. */
function card(hit, matched, unsure = false) {
  const about = hit.metadata.caption ?? hit.metadata.name ?? hit.source;
  const image = shown(`/search/picture?key=${encodeURIComponent(hit.key)}`, about);
  image.loading = "lazy";
  const framed = matched && hit.box ? boxed(image, [hit.box], hit.width, hit.height, unsure) : el("span", { class: "shown" }, image);
  const fill = el("i");
  fill.style.width = `${100 * (hit.match ?? 0)}%`;
  return el("li", { class: "hit" },
    el("div", { class: "frame-picture" }, framed),
    matched && hit.match !== undefined ? el("div", { class: "fits" }, el("span", {}, percent(hit.match)), el("span", { class: "track", "aria-hidden": "true" }, fill)) : null,
    matched ? el("p", { class: "told" }, about) : null);
}
