// A picture sorted into classes by their names.

import { fits, task } from "/page/api.js";
import { el, percent } from "/page/dom.js";
import { bars, foot, matchNote, surety, verdict } from "/page/parts.js";
import { pictureTab } from "/page/picture_tab.js";

const SENTENCES = ["a {}", "a picture of a {}"];

export function view(context) {
  const form = {
    label: "Your classes, with commas", placeholder: "cat, dog, boat", button: "Classify",
    waiting: "Write the names of some classes, and see which one fits best.", empty: "Write the names of classes first.",
    chosen: (example, field) => {
      field.input.value = example.texts.join(", ");
      Promise.resolve().then(() => tab.send());
    },
  };
  const tab = pictureTab(context, form, async (picture, text) => {
    const labels = [...new Set(text.split(",").map((one) => one.trim()).filter(Boolean))];
    if (labels.length < 2) throw new Error("Write two classes at least, with a comma between them.");
    const image = picture.url;
    const phrases = new Map(labels.map((label) => [label, /^(an?|the)\s/i.test(label) ? label : `a ${label}`]));
    const [found, scores] = await Promise.all([
      task("zero-shot-image-classification", context.model.name, { image },
        { candidate_labels: labels, hypothesis_template: SENTENCES }),
      fits(context.matching?.name, image, [...phrases.values()]),
    ]);
    const fit = new Map(labels.map((label, number) => [label, scores[number]]));
    const [best] = found;
    const own = fit.get(best.label);
    const shown = [el("p", { class: "said" }, best.label)];
    if (own !== undefined) {
      const [kind] = surety(own);
      const phrase = phrases.get(best.label);
      shown.push(own >= 0.5
        ? verdict(kind, `“${phrase}” fits the picture with ${percent(own)}.`)
        : verdict(kind, "Perhaps none of these.", `The best, “${phrase}”, fits the picture with ${percent(own)} only.`));
    }
    return [...shown,
      el("h3", {}, "Among your classes"),
      bars(found.map((one) => ({ text: one.label, share: one.score }))),
      foot(`Answered by ${context.model.name}. The shares compare your classes with one another: they sum to 100 %, whether one of them is right or not.`,
        own === undefined ? null : `${matchNote(context.matching)}`),
    ];
  });
  return tab;
}
