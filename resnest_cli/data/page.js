// The page of `resnest serve`: images are sent one by one, and each answer or failure has a card.
// Names and labels come from anywhere: they are put on the screen as text only.

const AT_ONCE = 4;  // requests; the server works on their images together
const TINY = 64;  // pixels: such images are shown enlarged, with their pixels

const byId = (id) => document.getElementById(id);
const percent = (share) => `${(100 * share).toFixed(share < 0.9995 ? 1 : 0)}%`;

// What could hide or reorder text is shown as its code.
const visible = (text) => String(text).replace(/[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/gu,
  (c) => `\\u{${c.codePointAt(0).toString(16)}}`);

function element(tag, text = "", kind = "") {
  const made = document.createElement(tag);
  made.textContent = visible(text);
  made.className = kind;
  return made;
}

class Refusal extends Error {
  constructor(message, status) {
    super(message);
    this.status = status;
  }
}

// The token comes behind the # of the address, which browsers send to nobody, and leaves it at once.
function takeToken() {
  if (location.hash.length > 1) keepToken(location.hash.slice(1));
  history.replaceState(null, "", location.pathname + location.search);
}

function keepToken(text) {
  sessionStorage.setItem("token", text.replace(/[^!-~]/g, ""));  // no other characters are in a token, or in a header
}

async function ask(path, request = {}) {
  const token = sessionStorage.getItem("token");
  const headers = token ? { Authorization: `Bearer ${token}` } : {};
  let response;
  try {
    response = await fetch(path, { ...request, headers });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refusal("The server does not answer. Does it still run?", 0);
  }
  if (response.ok) return response;
  if (response.status === 401) lock();
  const said = await response.json().catch(() => ({}));
  throw new Refusal(said.detail ?? `The server answered ${response.status}.`, response.status);
}

async function bytesOf(file) {
  try {
    return await file.arrayBuffer();
  } catch {
    throw new Refusal("The browser cannot read it. Drop images, not folders.", 400);
  }
}

// How sure a calibrated answer is, in the words of the table; classes beyond the listed ones are counted.
function certainty(row) {
  if (!row.abstained) return "sure";
  if (row.set.length === 1) return `strange: stranger than ${(100 * row.strangeness).toFixed(1)}% of the calibration images`;
  const names = row.set.map((index) => row.predictions.find((found) => found.index === index)?.label).filter(Boolean);
  const rest = row.set.length - names.length;
  const last = rest ? `${rest} more` : names.pop();
  return `unsure: ${names.join(", ")} or ${last}`;
}

class Card {
  constructor(file) {
    this.file = file;
    this.name = file.name || "image";
    this.model = byId("model").value;
    this.picture = URL.createObjectURL(file);
    this.maps = new Map();  // class index -> URL of its heat map
    this.end = new AbortController();
    this.item = element("li", "", "card");
    this.figure = element("figure");
    this.words = element("div", "", "words");
    this.item.append(this.figure, this.words);
    this.show(this.picture, "");
    this.say(element("p", "Waiting …", "said"));
  }

  say(...parts) {
    this.words.replaceChildren(element("h2", this.name), ...parts);
  }

  show(url, alt) {
    const image = new Image();
    image.alt = visible(alt);
    image.decoding = "async";
    image.onload = () => { image.className = Math.max(image.naturalWidth, image.naturalHeight) < TINY ? "tiny" : ""; };
    image.onerror = () => this.figure.replaceChildren(element("span", "no preview"));
    image.src = url;
    this.figure.replaceChildren(image);
  }

  async request(path, query) {
    const body = await bytesOf(this.file);
    const asked = new URLSearchParams({ model: this.model, ...query });
    this.item.setAttribute("aria-busy", "true");
    try {
      return await ask(`${path}?${asked}`, { method: "POST", body, signal: this.end.signal });
    } finally {
      this.item.removeAttribute("aria-busy");
    }
  }

  async predict() {
    this.item.classList.remove("failed");
    this.say(element("p", "Asking …", "said"));
    try {
      const row = await (await this.request("predict", {})).json();
      const list = element("ol");
      list.append(...row.predictions.map((prediction) => this.line(prediction)));
      const hint = element("p", "Choose an answer to see where the network looked.", "hint");
      hint.setAttribute("aria-live", "polite");
      const known = "abstained" in row ? [element("p", certainty(row), row.abstained ? "unsure" : "sure")] : [];
      this.say(list, ...known, hint);
      return { failed: false, words: `${row.predictions[0].label}, ${percent(row.predictions[0].probability)}` };
    } catch (error) {
      return this.fail(error);
    }
  }

  fail(error) {
    if (error.name === "AbortError") return { failed: true, words: "" };
    if (!(error instanceof Refusal)) throw error;
    this.item.classList.add("failed");
    const parts = [element("p", error.message, "said")];
    if (error.status === 0 || error.status === 401 || error.status >= 500) {
      const again = element("button", "Try again");
      again.onclick = () => submit([this]);
      parts.push(again);
    }
    this.say(...parts);
    return { failed: true, words: error.message };
  }

  line(prediction) {
    const made = element("li");
    const button = element("button", "", "answer");
    const share = element("b");
    share.style.width = percent(prediction.probability);
    const well = element("i");
    well.append(share);
    button.append(element("span", prediction.label), element("span", percent(prediction.probability), "share"), well);
    button.setAttribute("aria-pressed", "false");
    button.onclick = () => this.toggle(button, prediction);
    made.append(button);
    return made;
  }

  async toggle(button, prediction) {
    const wasPressed = button.getAttribute("aria-pressed") === "true";
    for (const other of this.words.querySelectorAll(".answer")) other.setAttribute("aria-pressed", "false");
    if (wasPressed) return this.show(this.picture, "");
    button.setAttribute("aria-pressed", "true");
    try {
      if (!this.maps.has(prediction.index)) {
        const response = await this.request("explain", { class: prediction.index });
        this.maps.set(prediction.index, URL.createObjectURL(await response.blob()));
      }
      if (button.getAttribute("aria-pressed") !== "true") return;  // another one was chosen meanwhile
      this.show(this.maps.get(prediction.index), `Where the network looked for ${prediction.label}`);
      this.words.querySelector(".hint").textContent = "Bright: what spoke for the answer. Choose it again for the image.";
    } catch (error) {
      if (error.name === "AbortError") return;
      button.setAttribute("aria-pressed", "false");
      this.words.querySelector(".hint").textContent = visible(error.message);
    }
  }

  remove() {
    this.end.abort();
    this.item.remove();
    for (const url of [this.picture, ...this.maps.values()]) URL.revokeObjectURL(url);
  }
}

let cards = [];
let waiting = [];
let asking = 0;
let counts = { asked: 0, answered: 0, failed: 0 };

function submit(more) {
  waiting.push(...more);
  counts.asked += more.length;
  tell("");
  while (asking < AT_ONCE && waiting.length) work();
}

async function work() {
  asking += 1;
  for (let card; (card = waiting.shift());) {
    const { failed, words } = await card.predict();
    if (card.end.signal.aborted) continue;  // it is counted no more
    counts.answered += 1;
    counts.failed += failed ? 1 : 0;
    tell(`${card.name}: ${words}`);
  }
  asking -= 1;
  if (!asking && !waiting.length) counts = { asked: 0, answered: 0, failed: 0 };
}

// Read aloud by screen readers: the answer to one image, or how far several are.
function tell(words) {
  const failed = counts.failed ? `, ${counts.failed} failed` : "";
  const many = `${counts.answered} of ${counts.asked} answered${failed}`;
  byId("status").textContent = counts.asked === 1 ? visible(words) : many;
}

function add(files) {
  if (byId("ask").hidden || !files.length) return;
  const made = [...files].map((file) => new Card(file));
  cards.push(...made);
  byId("cards").prepend(...made.map((card) => card.item));
  byId("clear").hidden = false;
  submit(made);
}

function clear() {
  for (const card of cards) card.remove();
  cards = [];
  waiting = [];
  counts = { asked: 0, answered: 0, failed: 0 };
  byId("status").textContent = "";
  byId("clear").hidden = true;
  byId("files").focus();
}

function lock() {
  byId("refused").textContent = sessionStorage.getItem("token") ? "The server does not know this token." : "";
  sessionStorage.removeItem("token");
  byId("door").hidden = false;
  byId("token").focus();
}

async function open() {
  let said;
  try {
    said = await (await ask("models")).json();
  } catch (error) {
    if (error.status !== 401) byId("about").textContent = visible(error.message);
    return;
  }
  byId("door").hidden = true;
  byId("ask").hidden = false;
  byId("about").textContent = visible(said.models.map((model) => `${model.name}, ${model.classes} classes`).join(" · "));
  byId("model").replaceChildren(...said.models.map((model) => element("option", model.name)));
  for (const [n, option] of [...byId("model").options].entries()) option.value = said.models[n].name;
  byId("which").hidden = said.models.length === 1;
}

byId("door").addEventListener("submit", (event) => {
  event.preventDefault();
  keepToken(byId("token").value);
  byId("token").value = "";
  open();
});
for (const id of ["files", "camera"]) {
  byId(id).addEventListener("change", (event) => {
    add(event.target.files);
    event.target.value = "";  // the same file may be chosen again
  });
}
byId("clear").addEventListener("click", clear);
addEventListener("paste", (event) => add(event.clipboardData.files));
for (const [type, inside] of [["dragenter", true], ["dragover", true], ["dragleave", false], ["drop", false]]) {
  addEventListener(type, (event) => {
    event.preventDefault();  // or the browser would open the file
    document.body.classList.toggle("dragging", inside);
    if (type === "drop") add(event.dataTransfer.files);
  });
}
takeToken();
open();
