// What the tabs share: examples to click, a line to write in, an answer that says how sure it is.

import { el, fresh, percent } from "/page/dom.js";
import { shown } from "/page/picture.js";

/** A row of example pictures; `taken` is called with the example. */
export function thumbs(examples, taken) {
  const pairs = examples.some((one) => one.images.length > 1);
  const buttons = examples.map((example, place) => el("button", {
    type: "button", class: `thumb${pairs ? " pair" : ""}`, "aria-pressed": "false",
    "aria-label": `${pairs ? "Pair" : "Picture"} ${example.number + 1} of the examples`,
    onclick: () => { press(buttons[place]); taken(example); },
  }, example.images.map((name) => shown(`/page/examples/${name}`, ""))));
  const press = (chosen) => buttons.forEach((one) => one.setAttribute("aria-pressed", String(one === chosen)));
  const element = examples.length
    ? el("div", { class: "field" },
      el("h3", {}, "Examples"), el("div", { class: `thumbs${pairs ? " pairs" : ""}` }, buttons))
    : el("p", { class: "muted small" }, "There are no examples here: take pictures of your own.");
  return { element, release: () => press(null), first: () => buttons[0]?.click() };
}

/** Texts to click; `taken` is called with the text. */
export class Suggestions {
  constructor(taken) {
    this.taken = taken;
    this.element = el("div", { class: "suggestions", role: "group", "aria-label": "Suggestions" });
  }

  show(texts) {
    const buttons = texts.map((text) => el("button", {
      type: "button", class: "suggestion", "aria-pressed": "false",
      onclick: (event) => {
        buttons.forEach((one) => one.setAttribute("aria-pressed", String(one === event.currentTarget)));
        this.taken(text);
      },
    }, text));
    this.element.replaceChildren(...buttons);
    this.element.hidden = !texts.length;
  }
}

/** A labelled line with a button; `sent` is called when it is sent. */
export function line(label, placeholder, button, sent, kind = "text") {
  const id = fresh("line");
  const input = el("input", { id, type: kind, placeholder, autocomplete: "off", maxlength: 2000 });
  const go = el("button", { type: "submit", class: "primary" }, button);
  const form = el("form", {
    class: "field", onsubmit: (event) => { event.preventDefault(); sent(); },
  }, el("label", { for: id }, label), el("div", { class: "line" }, input, go));
  return { element: form, input, go };
}

/** A card that answers appear in, for screen readers too; only the latest question's is shown. */
export class Answer {
  constructor(waiting) {
    this.waiting = waiting;
    this.body = el("div", { class: "results" });
    this.element = el("div", { role: "status", "aria-live": "polite", class: "card answer" }, this.body);
    this.turn = 0;
    this.clear();
  }

  /** Show that a question is awaited; what is at work for an earlier one will not be shown. */
  clear() {
    this.turn += 1;
    this.#rest();
    this.show(el("p", { class: "wait" }, this.waiting));
  }

  #rest() {
    this.element.setAttribute("aria-busy", "false");
    this.button?.removeAttribute("aria-disabled");
  }

  /** Show that there is work, then what it gives, or why it gives nothing. */
  async run(button, work, { quick = false } = {}) {
    this.turn += 1;
    const turn = this.turn;
    const began = performance.now();
    this.button = button;
    button?.setAttribute("aria-disabled", "true");
    this.element.setAttribute("aria-busy", "true");
    const text = el("span", {}, "The model is at work…");
    const note = el("div", { class: "working" }, text, el("progress", { "aria-label": "At work" }));
    const late = setTimeout(() => { if (turn === this.turn && !quick) this.body.replaceChildren(note); }, 180);
    const clock = setInterval(() => {
      const seconds = Math.round((performance.now() - began) / 1000);
      if (seconds > 1) text.textContent = `The model is at work… ${seconds} s`;
    }, 1000);
    try {
      const shownNow = await work();
      if (turn === this.turn) this.show(...[shownNow].flat(), tookNote(performance.now() - began));
    } catch (error) {
      if (turn === this.turn) this.show(verdict("bad", "That did not work.", error.message));
    } finally {
      clearTimeout(late);
      clearInterval(clock);
      if (turn === this.turn) this.#rest();
    }
  }

  show(...children) {
    this.body.replaceChildren(...children.filter(Boolean));
  }
}

function tookNote(milliseconds) {
  const told = milliseconds < 950 ? `${Math.max(1, Math.round(milliseconds / 10)) * 10} ms` : `${(milliseconds / 1000).toFixed(1)} s`;
  return el("p", { class: "hidden-text" }, `Answered in ${told}.`);
}

/** A banner: good, warn, bad or plain. */
export function verdict(kind, title, more = "") {
  return el("div", { class: `verdict ${kind}` }, el("b", {}, title), more ? el("span", {}, more) : null);
}

/** Candidates with their shares, the best first. */
export function bars(rows, more = () => "") {
  return el("ul", { class: "bars" }, rows.map((row, number) => {
    const fill = el("i");
    fill.style.width = `${100 * Math.min(1, Math.max(0, row.share))}%`;
    return el("li", { class: `bar${number === 0 ? " best" : ""}` },
      el("span", { class: "what" }, row.text),
      el("span", { class: "share" }, `${percent(row.share)}${more(row)}`),
      el("span", { class: "track", "aria-hidden": "true" }, fill));
  }));
}

/** Small print below an answer. */
export function foot(...sentences) {
  return el("div", { class: "foot" }, sentences.filter(Boolean).map((one) => el("p", {}, one)));
}

/** How sure a text fits a picture, in words. */
export function surety(share, least = 0.5) {
  if (share >= 0.9) return ["good", "sure"];
  if (share >= least) return ["plain", "rather sure"];
  if (share >= 0.2) return ["warn", "unsure"];
  return ["warn", "it does not seem to be there"];
}

/** What the probability of a match is, for the small print. */
export function matchNote(model) {
  return model?.calibrated
    ? "The probability of a match is calibrated: of pairs that get 80 %, about four in five fit, on pictures like those that it was fitted to."
    : "The probability of a match is the matching head's own. Nobody calibrated it for this model: trust its order more than its height.";
}
