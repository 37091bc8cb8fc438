// Elements made of names and texts. What people write becomes text, and never markup.

const SVG = "http://www.w3.org/2000/svg";

/** An element. Attributes beginning with "on" are listeners; null, undefined and false are left out. */
export function el(name, attributes = {}, ...children) {
  return made(document.createElement(name), attributes, children);
}

/** The same for drawings. */
export function drawn(name, attributes = {}, ...children) {
  return made(document.createElementNS(SVG, name), attributes, children);
}

function made(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return element;
}

let count = 0;

/** An id that no other element has. */
export function fresh(name) {
  count += 1;
  return `${name}-${count}`;
}

/** A probability for people: never a bare 0 or 100 where it is not quite that. */
export function percent(share) {
  const value = 100 * share;
  if (value > 99.5 && value < 100) return "over 99 %";
  if (value > 0 && value < 0.5) return "under 1 %";
  return `${Math.round(value)} %`;
}

/** Which ninth of the picture a point lies in, in words. */
export function place(x, y) {
  const across = x < 1 / 3 ? "left" : x > 2 / 3 ? "right" : "";
  const down = y < 1 / 3 ? "top" : y > 2 / 3 ? "bottom" : "";
  if (!across && !down) return "in the centre";
  if (!down) return `on the ${across}`;
  return `at the ${[down, across].filter(Boolean).join(" ")}`;
}

export function capital(text) {
  return text.charAt(0).toUpperCase() + text.slice(1);
}
