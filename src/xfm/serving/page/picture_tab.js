// The form of most tabs: a picture on the left, something written about it, and the answer on the right.

import { el } from "/page/dom.js";
import { Answer, line, Suggestions, thumbs } from "/page/parts.js";
import { Picker } from "/page/picture.js";

/**
 * @param {object} context of the tab
 * @param {object} form label, placeholder and button of the line; waiting, what stands in the empty answer; `extra`,
 *   elements below the line; `written`, turns an example's text into what the line holds
 * @param {(picture: Picker, text: string) => Promise<Node[]>} answered gives what the answer shows
 */
export function pictureTab(context, form, answered) {
  const answer = new Answer(form.waiting);
  const written = form.written ?? ((text) => text);
  const picker = new Picker("Picture", () => { examples.release(); suggestions.show([]); answer.clear(); });
  const field = form.label ? line(form.label, form.placeholder, form.button, () => send()) : null;
  const alone = field ? null : el("button", { type: "button", class: "primary", onclick: () => send() }, form.button);
  const suggestions = new Suggestions((text) => { field.input.value = written(text); send(); });
  const examples = thumbs(context.examples, async (example) => {
    await picker.choose(example.images[0]);
    if (form.chosen) form.chosen(example, field);
    else if (field) { suggestions.show(example.texts.map(written)); field.input.value = ""; }
    answer.clear();
    if (!field) send();
  });

  function send() {
    const text = field?.input.value.trim() ?? "";
    if (!picker.url) return answer.show(el("p", { class: "wait" }, "Choose a picture first."));
    if (field && !text) {
      field.input.focus();
      return answer.show(el("p", { class: "wait" }, form.empty ?? "Write something first."));
    }
    return answer.run(field?.go ?? alone, () => answered(picker, text));
  }

  const left = el("div", { class: "card" }, picker.element, examples.element);
  const right = el("div", { class: "picker" },
    el("div", { class: "card" }, field?.element ?? alone, field ? suggestions.element : null, form.extra ?? null),
    answer.element);
  suggestions.show([]);
  examples.first();
  return { element: el("div", { class: "two" }, left, right), paste: (file) => picker.take(file), send, answer, picker };
}
