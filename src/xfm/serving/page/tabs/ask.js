// A question about a picture.

import { task } from "/page/api.js";
import { el, percent } from "/page/dom.js";
import { bars, foot } from "/page/parts.js";
import { pictureTab } from "/page/picture_tab.js";

export function view(context) {
  const form = {
    label: "Your question", placeholder: "What is at the top left?", button: "Ask",
    waiting: "Click a suggestion, or ask a question of your own.", empty: "Write a question first.",
  };
  return pictureTab(context, form, async (picture, question) => {
    const found = await task("vqa", context.model.name, { image: picture.url, question }, { top_k: 5 });
    if (!found.length) return [el("p", {}, "The model has no answer.")];
    const [best] = found;
    return [
      el("p", { class: "said" }, best.answer),
      el("p", { class: "muted" }, best.score >= 0.5
        ? `This answer has a probability of ${percent(best.score)}.`
        : `The model is not sure: its best answer has a probability of ${percent(best.score)}.`),
      bars(found.map((one) => ({ text: one.answer, share: one.score }))),
      foot(`Answered by ${context.model.name}. The shares are the probabilities of whole answers, as the model has them; answers are those that it was fine-tuned on.`),
    ];
  });
}
