// A picture described, and whether the description fits.

import { fits, task } from "/page/api.js";
import { capital, el, percent } from "/page/dom.js";
import { bars, foot, matchNote, surety, verdict } from "/page/parts.js";
import { pictureTab } from "/page/picture_tab.js";

export function view(context) {
  const form = { button: "Describe the picture", waiting: "Choose a picture, and have it described." };
  return pictureTab(context, form, async (picture) => {
    const image = picture.url;
    const found = await task("captioning", context.model.name, { image }, { texts: 3, beams: 4 });
    const texts = [...new Set(found.map((one) => one.generated_text).filter(Boolean))];
    if (!texts.length) return [el("p", {}, "The model wrote nothing.")];
    const scores = await fits(context.matching?.name, image, texts);
    const shown = [el("p", { class: "said long" }, capital(texts[0]))];
    if (scores.length) {
      const [kind] = surety(scores[0]);
      shown.push(verdict(kind, `The caption fits the picture with ${percent(scores[0])}.`,
        scores[0] < 0.5 ? "It is probably wrong in something." : ""));
    }
    if (texts.length > 1) {
      shown.push(el("h3", {}, "Other ways to say it"), scores.length
        ? bars(texts.slice(1).map((text, number) => ({ text, share: scores[number + 1] })))
        : el("p", {}, texts.slice(1).join("; ")));
    }
    return [...shown, foot(`Written by ${context.model.name}${scores.length ? `, checked by ${context.matching.name}` : ""}.`, scores.length ? matchNote(context.matching) : null)];
  });
}
