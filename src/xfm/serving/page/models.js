// What is said of the models: in the head of the page, and at its end.

import { el } from "/page/dom.js";

export function describeModels(about) {
  const main = about.models.find((one) => !one.task) ?? about.models[0];
  const others = about.models.filter((one) => one !== main);
  const chips = document.getElementById("models");
  chips.append(chip(main.name, main.boxed ? "comes with the package" : "the model"));
  if (others.length) chips.append(chip(others.map((one) => one.name).join(", "), "fine-tuned"));
  const trained = main.trained_on;
  document.getElementById("notice").append(
    "Everything here runs on this machine. Small models err, and answer whatever they are asked: this one knows ",
    trained.startsWith("the embedded world") ? "the embedded world of composed emoji pictures" : trained,
    ", and little else. ",
    el("a", { href: "#about" , onclick: toAbout }, "What it was trained on"));
  const licence = about.examples ? el("p", { class: "muted small" },
    `Pictures of the examples: ${about.examples.licence}; composed by the page, and trained on by no model.`)
    : el("p", { class: "muted small" }, about.lacking);
  document.getElementById("about").append(
    el("h2", {}, "About the model"),
    el("div", { class: "models" }, described(main, true), others.map((one) => described(one, false))),
    licence,
    el("p", { class: "muted small" }, `xfm ${about.version}. No request leaves this machine.`));
}

/** Scroll there without changing which tab the address names. */
function toAbout(event) {
  event.preventDefault();
  const about = document.getElementById("about");
  about.tabIndex = -1;
  about.scrollIntoView();
  about.focus({ preventScroll: true });
}

function chip(name, more) {
  return el("span", { class: "chip" }, el("b", {}, name), ` ${more}`);
}

function described(model, open) {
  const trained = el("p", {}, `Trained on ${model.trained_on}.`);
  const sure = el("p", { class: "muted" }, model.calibrated
    ? "Its probability of a match is calibrated."
    : "Its probability of a match is not calibrated: no xfm evaluate has fitted it.");
  const card = el("details", {}, el("summary", {}, "The model card: licences, training, scores"), el("pre", {}, model.card));
  const limits = model.limits ? el("p", {}, model.limits) : null;
  const body = [limits, trained, model.task ? null : sure, card];
  if (open) return el("section", { class: "columns" }, el("h3", {}, model.name), body);
  return el("details", {}, el("summary", {}, `${model.name}, fine-tuned for ${model.task}`), el("div", { class: "columns" }, body));
}
