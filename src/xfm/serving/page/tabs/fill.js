// A word left out: guessed from the text alone, and again with the picture.

import { task } from "/page/api.js";
import { el, percent } from "/page/dom.js";
import { bars, foot } from "/page/parts.js";
import { pictureTab } from "/page/picture_tab.js";

const GAP = "___";

export function view(context) {
  const mask = context.model.mask ?? "<mask>";
  const add = el("button", { type: "button", class: "quiet" }, `Put a gap ${GAP}`);
  const form = {
    label: `A sentence with a gap (${GAP})`, placeholder: `a ___ left of a dog`, button: "Fill in",
    waiting: `Click a suggestion, or write a sentence with ${GAP} for the word that is left out.`,
    empty: "Write a sentence with a gap first.", written: (text) => text.replaceAll("{mask}", GAP),
    extra: el("div", {}, add),
  };
  const tab = pictureTab(context, form, async (picture, written) => {
    const text = written.replace(/_{2,}/g, mask);
    if (!text.includes(mask)) throw new Error(`The sentence has no gap. Write ${GAP} in the place of a word.`);
    const [alone, seeing] = await Promise.all([
      task("fill-mask", context.model.name, { text }, { top_k: 5 }),
      task("fill-mask", context.model.name, { text, image: picture.url }, { top_k: 5 }),
    ]);
    const [without, within] = [alone, seeing].map((one) => (Array.isArray(one[0]) ? one : [one]));
    const word = (one) => one.token_str.trim() || "(space)";
    const side = (title, gaps) => el("div", {}, el("h3", {}, title), gaps.flatMap((rows, number) => [
      gaps.length > 1 ? el("p", { class: "muted small" }, `Gap ${number + 1}`) : null,
      bars(rows.map((one) => ({ text: word(one), share: one.score }))),
    ]));
    const best = within.map((rows) => rows[0]);
    const before = without[0].find((one) => one.token === best[0].token);
    return [
      el("p", { class: "said" }, best.map(word).join(", ")),
      el("p", { class: "muted" }, best.length === 1
        ? `With the picture the model gives this word ${percent(best[0].score)}${before ? `, from the text alone ${percent(before.score)}` : "; from the text alone it is not among the first five"}.`
        : "The likeliest word for each gap, with the picture."),
      el("div", { class: "halves" }, side("From the text alone", without), side("With the picture", within)),
      foot(`Answered by ${context.model.name}: the language encoder alone on the left, the fusion encoder on the right. A gap is one entry of the vocabulary, which may be a part of a word.`),
    ];
  });
  add.addEventListener("click", () => {
    const input = tab.element.querySelector("input[type=text]");
    const at = input.selectionStart ?? input.value.length;
    input.setRangeText(GAP, at, input.selectionEnd ?? at, "end");
    input.focus();
  });
  return tab;
}
