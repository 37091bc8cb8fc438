// Where the fusion encoder looks.

import { ask } from "/page/api.js";
import { el, fresh, percent, place } from "/page/dom.js";
import { bars, foot, matchNote, surety, verdict } from "/page/parts.js";
import { pictureTab } from "/page/picture_tab.js";

export function view(context) {
  const id = fresh("layer");
  const layers = el("select", { id, onchange: () => { if (asked) tab.send(); } },
    el("option", { value: "" }, "the middle one"));
  let asked = false;
  const form = {
    label: "A text", placeholder: "a cat left of a dog", button: "Look",
    waiting: "Click a suggestion, or write a text, and see where the model looks.", empty: "Write a text first.",
    extra: el("div", { class: "field" }, el("label", { for: id }, "Layer of the fusion encoder"), layers),
  };
  const tab = pictureTab(context, form, async (picture, text) => {
    const image = picture.url;
    const layer = layers.value === "" ? null : Number(layers.value);
    const found = await ask("/v1/attention", { model: context.matching.name, image, text, layer });
    asked = true;
    if (layers.options.length === 1) {
      for (let one = 0; one < found.layers; one += 1) layers.append(el("option", { value: one }, `layer ${one}${one === found.layer && layer === null ? " (middle)" : ""}`));
    }
    const all = [["whole text", found.whole], ...found.words.map((word, number) => [word, found.maps[number]])];
    const strongest = el("span");
    const buttons = all.map(([name, map], number) => el("button", {
      type: "button", class: "suggestion", "aria-pressed": String(number === 0), onclick: () => show(number),
    }, name));
    function show(number) {
      const [name, map] = all[number];
      buttons.forEach((one, at) => one.setAttribute("aria-pressed", String(at === number)));
      const [where, any] = peak(map);
      const of = number === 0 ? "For the whole text" : `For “${name}”`;
      strongest.textContent = any
        ? `${of} the model looks most ${where}.`
        : `${of} this layer looks nowhere in particular.`;
      if (picture.url === image) picture.heat(map, strongest.textContent);
    }
    show(0);
    const [kind] = surety(found.match);
    return [
      el("p", { class: "said long" }, strongest),
      el("div", { class: "field" }, el("h3", {}, "Look word by word"),
        el("div", { class: "suggestions", role: "group", "aria-label": "Words" }, buttons)),
      el("div", { class: "legend", "aria-hidden": "true" }, "less", el("i"), "more"),
      verdict(kind, `The text fits the picture with ${percent(found.match)}.`,
        found.match < 0.5 ? "Where nothing fits, the map shows what the model took for it." : ""),
      foot(`Grad-CAM on the cross-attention of layer ${found.layer} of ${context.matching.name}: attention times what the match gains from it, each map by its own maximum. Words of a longer text are told apart less well than phrases by themselves.`, matchNote(context.matching)),
    ];
  });
  return tab;
}

/** Where a map is largest, in words, and whether it is more than zero anywhere. */
function peak(map) {
  let [row, column] = [0, 0];
  map.forEach((line, y) => line.forEach((value, x) => { if (value > map[row][column]) [row, column] = [y, x]; }));
  return [place((column + 0.5) / map[0].length, (row + 0.5) / map.length), map[row][column] > 0];
}
