// The page: what the server has, the tabs, and what is said of the models.

import { ask } from "/page/api.js";
import { drawn, el } from "/page/dom.js";
import { describeModels } from "/page/models.js";
import { tried } from "/page/trials.js";

const ICONS = {
  search: ["M9 15.5a6.5 6.5 0 1 0 0-13 6.5 6.5 0 0 0 0 13z", "M14 14l4 4"],
  ask: ["M3 4h14v10h-7l-4 3.5V14H3z", "M8.3 7.6a1.8 1.8 0 1 1 2.4 1.7c-.5.2-.7.5-.7 1"],
  find: ["M3 7V3h4", "M13 3h4v4", "M17 13v4h-4", "M7 17H3v-4", "M8 8h4v4H8z"],
  compare: ["M2.5 5h6.5v10H2.5z", "M11 5h6.5v10H11z"],
  caption: ["M3 3h14v8H3z", "M3 14.5h14", "M3 17.5h9"],
  classify: ["M3 3h7l7 7-7 7-7-7z", "M6.8 6.8h.01"],
  fill: ["M3 6h14", "M3 10h3", "M14 10h3", "M8 12.5h4", "M3 14.5h14"],
  look: ["M2 10s3-5.5 8-5.5 8 5.5 8 5.5-3 5.5-8 5.5S2 10 2 10z", "M10 12.3a2.3 2.3 0 1 0 0-4.6 2.3 2.3 0 0 0 0 4.6z"],
};

const tabList = document.getElementById("tabs");
const panels = document.getElementById("panels");
const narrow = matchMedia("(max-width: 900px)");

start();

async function start() {
  const loading = document.getElementById("loading");
  let about;
  try {
    about = await ask("/page/about");
  } catch (error) {
    loading.textContent = `${error.message} Then load this page again.`;
    return;
  }
  loading.remove();
  describeModels(about);
  const tabs = about.tabs.map((tab) => tabOf(tab, about));
  tabList.append(...tabs.map((tab) => tab.button));
  panels.append(...tabs.map((tab) => tab.panel));
  const turned = () => tabList.setAttribute("aria-orientation", narrow.matches ? "horizontal" : "vertical");
  narrow.addEventListener("change", turned);
  turned();
  tabList.addEventListener("keydown", (event) => onKey(event, tabs));
  const asked = () => tabs.find((tab) => `#${tab.name}` === location.hash);
  addEventListener("hashchange", () => { const tab = asked(); if (tab) select(tabs, tab); });
  addEventListener("paste", (event) => onPaste(event, tabs));
  await select(tabs, asked() ?? tabs[0]);
  document.body.dataset.ready = "true";
}

/** A tab and its panel; what is in the panel is made when it is first shown. */
function tabOf(told, about) {
  const off = told.model === null;
  const button = el("button", {
    type: "button", role: "tab", id: `tab-${told.name}`, class: "tab", "aria-controls": `panel-${told.name}`,
    "aria-selected": "false", tabindex: "-1", "aria-disabled": off ? "true" : null,
  }, drawn("svg", { viewBox: "0 0 20 20", "aria-hidden": "true" },
    ICONS[told.name].map((d) => drawn("path", { d }))), told.title, off ? el("span", { class: "off" }, "off") : null);
  const panel = el("section", {
    role: "tabpanel", id: `panel-${told.name}`, class: "panel", "aria-labelledby": `tab-${told.name}`,
    tabindex: "0", hidden: true,
  }, el("header", {}, el("h2", {}, told.title), el("p", {}, told.does)));
  return { name: told.name, told, about, off, button, panel, filled: false, view: null };
}

async function select(tabs, chosen, focus = false) {
  for (const tab of tabs) {
    const own = tab === chosen;
    tab.button.setAttribute("aria-selected", String(own));
    tab.button.tabIndex = own ? 0 : -1;
    tab.panel.hidden = !own;
  }
  if (focus) chosen.button.focus();
  chosen.button.scrollIntoView({ block: "nearest", inline: "nearest" });
  if (location.hash !== `#${chosen.name}`) history.replaceState(null, "", `#${chosen.name}`);
  document.title = `${chosen.told.title} - xfm demo`;
  if (chosen.filled) return;
  chosen.filled = true;
  if (chosen.off) {
    chosen.panel.append(offCard(chosen.told));
    return;
  }
  const module = await import(`/page/tabs/${chosen.name}.js`);
  const given = context(chosen);
  const note = el("p", { class: "muted", role: "status" }, "The model is trying what will be suggested here…");
  chosen.panel.querySelector("header").append(note);
  const found = await tried(given).catch(() => ({ told: "" })); // a busy server: all are suggested
  note.textContent = found.told;
  note.hidden = !found.told;
  chosen.view = module.view({ ...given, ...found });
  chosen.panel.append(chosen.view.element);
}

/** What a tab's module is given. */
function context({ told, about }) {
  const named = (name) => about.models.find((one) => one.name === name) ?? null;
  return {
    tab: told,
    model: named(told.model),
    matching: named(about.matching),
    examples: (about.examples?.tabs[told.name] ?? []).map((one, number) => ({ ...one, number })),
    about,
  };
}

function offCard(told) {
  const lines = told.commands.map((command) => {
    const copy = el("button", { type: "button", class: "quiet", "aria-label": `Copy: ${command}` }, "Copy");
    copy.addEventListener("click", async () => {
      try {
        await navigator.clipboard.writeText(command);
        copy.textContent = "Copied";
      } catch {
        copy.textContent = "Select it";
      }
    });
    return el("div", { class: "command" }, el("pre", {}, command), copy);
  });
  return el("div", { class: "card" }, el("p", {}, told.why), lines);
}

function onKey(event, tabs) {
  const at = tabs.findIndex((tab) => tab.button === document.activeElement);
  const steps = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 };
  let to = null;
  if (event.key in steps && at >= 0) to = (at + steps[event.key] + tabs.length) % tabs.length;
  if (event.key === "Home") to = 0;
  if (event.key === "End") to = tabs.length - 1;
  if (to === null) return;
  event.preventDefault();
  select(tabs, tabs[to], true);
}

/** A picture from the clipboard goes to the tab that is open. */
function onPaste(event, tabs) {
  const file = [...(event.clipboardData?.files ?? [])].find((one) => one.type.startsWith("image/"));
  const open = tabs.find((tab) => !tab.panel.hidden);
  if (file && open?.view?.paste) {
    event.preventDefault();
    open.view.paste(file);
  }
}

tabList.addEventListener("click", (event) => {
  const name = event.target.closest("[role=tab]")?.id.replace("tab-", "");
  if (name && location.hash !== `#${name}`) location.hash = name;
});
