// Which suggestions the models get right: each is asked once, of scenes whose truth is known, before it is suggested.

import { ask } from "/page/api.js";
import { example, overlap } from "/page/picture.js";

const WHAT = {
  search: "searches", ask: "questions", find: "phrases", compare: "comparisons (chance: half)",
  classify: "pictures", fill: "gaps", look: "texts",
};

async function answers(name, model, input, options = {}) {
  return (await ask(`/v1/tasks/${name}`, { model: model.name, input, options })).answers;
}

async function matches({ matching }, cases) {
  if (!matching) return cases.map(() => null);
  const [text_1, text_2] = [cases.map((one) => ({ image: one.images[0] })), cases.map(({ text }) => ({ text }))];
  return (await ask("/score", { model: matching.name, text_1, text_2 })).data.map((one) => one.score);
}

/** By tab: whether each case (pictures, text, truth) gets the right answer. */
const RIGHT = {
  async ask({ model }, cases) {
    const found = await answers("vqa", model, cases.map(({ images, text }) => ({ image: images[0], question: text })));
    return found.map((one, n) => one[0]?.answer === cases[n].truth);
  },
  async find(context, cases) {
    const found = await answers("grounding", context.model, cases.map(({ images, text }) => ({ image: images[0], text })));
    const scores = await matches(context, cases);
    return found.map(({ box }, n) => (cases[n].truth
      ? (scores[n] ?? 1) >= 0.5 && overlap(Object.values(box), cases[n].truth) >= 0.5
      : scores[n] !== null && scores[n] < 0.5));
  },
  async compare({ model }, cases) {
    const found = await answers("reasoning", model, cases.map(({ images, text }) => ({ images, text })));
    return found.map((one, n) => one[0]?.label === cases[n].truth);
  },
  async classify({ model }, cases) {
    return Promise.all(cases.map(async ({ images, text, truth }) => {
      const options = { candidate_labels: text.split(", "), hypothesis_template: ["a {}", "a picture of a {}"] };
      const [found] = await answers("zero-shot-image-classification", model, [{ image: images[0] }], options);
      return found[0].label === truth;
    }));
  },
  async fill({ model }, cases) {
    const input = cases.map(({ images, text }) => ({ image: images[0], text: text.replace("{mask}", model.mask) }));
    return (await answers("fill-mask", model, input, { top_k: 1 })).map((one, n) => one[0]?.token_str.trim() === cases[n].truth);
  },
  async look(context, cases) {
    return (await matches(context, cases)).map((score) => score >= 0.5);
  },
  async search(_, cases) {
    return Promise.all(cases.map(async ({ text, truth }) => {
      const { fits, hits } = await ask("/search", { text, top_k: 1 });
      return truth.length ? fits && truth.includes(hits[0].key) : !fits;
    }));
  },
};

/** The examples with the texts that are answered rightly (all where none is), and a sentence that says how many are. */
export async function tried(context) {
  const { examples, tab: { name } } = context;
  const cases = [];
  for (const one of RIGHT[name] ? examples : []) {
    const images = await Promise.all(one.images.map(async (path) => (await example(path)).url));
    const texts = name === "classify" ? [one.texts.join(", ")] : one.texts;
    cases.push(...texts.map((text, n) => ({ one, images, text, truth: one.truths[n] })));
  }
  if (!cases.length) return { examples, told: "" };
  const verdicts = await RIGHT[name](context, cases);
  const good = cases.filter((_, n) => verdicts[n]);
  const passed = examples.map((one) => {
    const own = good.filter((each) => each.one === one).map(({ text }) => text);
    return { ...one, texts: name === "classify" && own.length ? one.texts : own };
  }).filter((one) => one.texts.length);
  const count = `Tried before they are suggested: this model gets ${good.length || "none"} of ${cases.length} such ${WHAT[name]} right`;
  if (!good.length) return { examples, told: `${count}, and these stand here all the same.` };
  return { examples: passed, told: good.length < cases.length ? `${count}; only those stand here.` : "" };
}
