// A phrase, and its box.

import { fits, task } from "/page/api.js";
import { capital, el, percent, place } from "/page/dom.js";
import { bars, foot, matchNote, surety, verdict } from "/page/parts.js";
import { pictureTab } from "/page/picture_tab.js";

export function view(context) {
  const form = {
    label: "What to look for", placeholder: "the cat on the left", button: "Find",
    waiting: "Click a suggestion, or write what is to be found.", empty: "Write what is to be found first.",
  };
  return pictureTab(context, form, async (picture, text) => {
    const image = picture.url;
    const [located, [match]] = await Promise.all([
      task("grounding", context.model.name, { image, text }),
      fits(context.matching?.name, image, [text]),
    ]);
    const { box } = located;
    const unsure = match !== undefined && match < 0.5;
    if (picture.url === image) picture.box(box, text, unsure);
    const where = place((box.xmin + box.xmax) / 2 / picture.width, (box.ymin + box.ymax) / 2 / picture.height);
    const edges = ["xmin", "ymin", "xmax", "ymax"].map((name) => Math.round(box[name]));
    const shown = [el("p", { class: "said" }, unsure ? "Probably not there" : capital(where))];
    if (match !== undefined) {
      const [kind, words] = surety(match);
      shown.push(unsure
        ? verdict(kind, "No such thing seems to be in the picture.", `“${text}” fits it with ${percent(match)}. The dashed box is the best guess all the same.`)
        : verdict(kind, `The model is ${words}.`, `“${text}” fits the picture with ${percent(match)}.`));
      shown.push(bars([{ text: "Fits the picture", share: match }]));
    }
    return [...shown,
      el("p", { class: "muted small" }, `Box: left ${edges[0]}, top ${edges[1]}, right ${edges[2]}, bottom ${edges[3]} of ${picture.width} × ${picture.height} pixels.`),
      foot(`The box is ${context.model.name}'s. Every phrase gets one; whether it is true of the picture, the matching head says.`, match === undefined ? null : matchNote(context.matching)),
    ];
  });
}
