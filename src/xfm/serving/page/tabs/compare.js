// A sentence about two pictures.

import { task } from "/page/api.js";
import { el, percent } from "/page/dom.js";
import { Answer, bars, foot, line, Suggestions, thumbs, verdict } from "/page/parts.js";
import { Picker } from "/page/picture.js";

const TRUE = { true: "True", false: "False" };

export function view(context) {
  const answer = new Answer("Click a suggestion, or say something about the two pictures.");
  const own = () => { examples.release(); suggestions.show([]); answer.clear(); };
  const [left, right] = [new Picker("Left picture", own), new Picker("Right picture", own)];
  const field = line("Your sentence", "the left picture shows a cat", "Compare", () => send());
  const suggestions = new Suggestions((text) => { field.input.value = text; send(); });
  const examples = thumbs(context.examples, async (example) => {
    await Promise.all([left.choose(example.images[0]), right.choose(example.images[1])]);
    suggestions.show(example.texts);
    field.input.value = "";
    answer.clear();
  });

  function send() {
    const text = field.input.value.trim();
    if (!left.url || !right.url) return answer.show(el("p", { class: "wait" }, "Choose both pictures first."));
    if (!text) {
      field.input.focus();
      return answer.show(el("p", { class: "wait" }, "Write a sentence first."));
    }
    return answer.run(field.go, async () => {
      const found = await task("reasoning", context.model.name, { images: [left.url, right.url], text }, { top_k: 0 });
      const [best] = found;
      const kind = best.score < 0.7 ? "warn" : best.label === "true" ? "good" : best.label === "false" ? "bad" : "plain";
      return [
        el("p", { class: "said" }, TRUE[best.label] ?? best.label),
        verdict(kind, best.score < 0.7 ? "The model is not sure." : "The model is rather sure.",
          `This answer has a probability of ${percent(best.score)}; an even chance would be ${percent(1 / found.length)}.`),
        bars(found.map((one) => ({ text: TRUE[one.label] ?? one.label, share: one.score }))),
        foot(`Answered by ${context.model.name}. The shares are the head's own, and not calibrated.`),
      ];
    });
  }

  suggestions.show([]);
  examples.first();
  const side = (title, picker) => el("div", {}, el("h3", {}, title), picker.element);
  const element = el("div", { class: "two compare" },
    el("div", { class: "card" }, el("div", { class: "halves" }, side("Left", left), side("Right", right)), examples.element),
    el("div", { class: "picker" }, el("div", { class: "card" }, field.element, suggestions.element), answer.element));
  return { element, paste: (file) => (left.url && !right.url ? right : left).take(file) };
}
