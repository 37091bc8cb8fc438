// Requests to the server that the page comes from, and their errors as sentences.

const KEPT = "xfm-key";

function headers(more = {}) {
  const key = sessionStorage.getItem(KEPT);
  return key ? { ...more, authorization: `Bearer ${key}` } : more;
}

async function answered(path, options) {
  let response;
  for (;;) {
    try {
      response = await fetch(path, { ...options, headers: headers(options.headers) });
    } catch {
      throw new Error("The server does not answer. Check that xfm demo still runs.");
    }
    if (response.status !== 401) return response;
    await askKey();
  }
}

/** The answer of a route; raises an Error whose message is a sentence for people. */
export async function ask(path, body) {
  const options = body === undefined ? {} : {
    method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body),
  };
  const response = await answered(path, options);
  if (response.ok) return response.json();
  let reason = "";
  try {
    reason = (await response.json()).error.message;
  } catch {
    reason = `the server gave status ${response.status}`;
  }
  if (response.status === 429) reason = "the server is busy; try again in a moment";
  throw new Error(`${reason.charAt(0).toUpperCase()}${reason.slice(1)}${/[.!?]$/.test(reason) ? "" : "."}`);
}

/** The answers of a task to one input. */
export async function task(name, model, input, options = {}) {
  const { answers: [answer] } = await ask(`/v1/tasks/${name}`, { model, input, options });
  if (answer && answer.error) throw new Error(`${answer.error.charAt(0).toUpperCase()}${answer.error.slice(1)}.`);
  return answer;
}

/** How well texts fit a picture, from 0 to 1 each. */
export async function fits(model, image, texts) {
  if (!model || !texts.length) return [];
  const { data } = await ask("/score", { model, text_1: { image }, text_2: texts.map((text) => ({ text })) });
  return data.map((one) => one.score);
}

/** A picture of the server, as bytes that an element can show. */
export async function picture(path) {
  const response = await answered(path, {});
  if (!response.ok) throw new Error("A picture cannot be had from the server.");
  return response.blob();
}

let asking = null;

function askKey() {
  asking ??= new Promise((resolve) => {
    const dialog = document.getElementById("key");
    const field = document.getElementById("key-field");
    const form = dialog.querySelector("form");
    if (sessionStorage.getItem(KEPT)) {
      document.getElementById("key-why").textContent = "That key is not one of the server's. Try another one.";
      sessionStorage.removeItem(KEPT);
    }
    field.value = "";
    const taken = (event) => {
      event.preventDefault();
      form.removeEventListener("submit", taken);
      sessionStorage.setItem(KEPT, field.value.replace(/[^\x21-\x7e]/g, "")); // what a header can hold
      dialog.close();
      asking = null;
      resolve();
    };
    form.addEventListener("submit", taken);
    dialog.addEventListener("cancel", (event) => event.preventDefault());
    dialog.showModal();
    field.focus();
  });
  return asking;
}
