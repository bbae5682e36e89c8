// Uploads artifacts: chosen in a dialog or dropped anywhere on the page, a few at once, each with its progress.
import { problemOf, toast } from "./actions.js";

const AT_ONCE = 2; // the controller takes three of one person at once: one is left for another page of his
const section = document.getElementById("uploads");
const list = section.querySelector("ul");
const said = document.getElementById("uploads-said");
const drop = document.getElementById("drop");
const chooser = document.getElementById("files");
const refused = section.dataset.lacks;
const waiting = [];
let active = 0;

class Upload {
  constructor(file) {
    this.file = file;
    this.row = document.getElementById("upload").content.cloneNode(true).firstElementChild;
    this.row.querySelector(".name").textContent = file.name;
    this.bar = this.row.querySelector("progress");
    this.bar.setAttribute("aria-label", `Upload of ${file.name}`);
    this.cancel = this.row.querySelector("[data-do=cancel]");
    this.again = this.row.querySelector("[data-do=again]");
    this.cancel.setAttribute("aria-label", `Cancel the upload of ${file.name}`);
    this.again.setAttribute("aria-label", `Upload ${file.name} again`);
    this.cancel.addEventListener("click", () => this.stop());
    this.again.addEventListener("click", () => this.queue());
    list.append(this.row);
  }

  queue() {
    this.again.hidden = true;
    this.cancel.hidden = this.bar.hidden = false;
    this.bar.value = 0;
    this.row.dataset.state = "waiting";
    this.say(`${bytes(this.file.size)}, waits for its turn`);
    waiting.push(this);
    startNext();
  }

  start() {
    active += 1;
    this.row.dataset.state = "busy";
    this.say(`0 % of ${bytes(this.file.size)}`);
    this.request = new XMLHttpRequest();
    const { request } = this;
    request.upload.addEventListener("progress", (event) => {
      const part = event.total ? Math.floor((100 * event.loaded) / event.total) : 100;
      this.bar.value = part;
      this.say(part < 100 ? `${part} % of ${bytes(event.total)}` : "is being examined…");
    });
    request.addEventListener("load", () => this.answered());
    request.addEventListener("error", () => this.fail("The connection to the controller was lost: try again."));
    request.addEventListener("abort", () => this.fail("Cancelled: nothing of it was kept.", "off"));
    request.addEventListener("loadend", () => {
      active -= 1;
      startNext();
    });
    request.open("POST", "/api/v1/artifacts");
    request.setRequestHeader("Content-Type", "application/octet-stream");
    request.setRequestHeader("Accept", "application/json");
    request.setRequestHeader("X-CSRF-Token", document.querySelector("meta[name=csrf]")?.content ?? "");
    request.send(this.file);
  }

  async answered() {
    const { status, statusText, responseText } = this.request;
    const answer = new Response(responseText || null, { status: status === 204 ? 200 : status, statusText });
    if (status !== 201) return this.fail(await problemOf(answer));
    const made = await answer.json();
    const link = document.createElement("a");
    link.href = "/releases/" + encodeURIComponent(made.name);
    link.dir = "auto";
    link.textContent = made.name;
    this.over("good", "Stored: an artifact of release ", link);
  }

  fail(text, tone = "bad") {
    this.over(tone, text);
    this.again.hidden = false;
  }

  stop() {
    const place = waiting.indexOf(this);
    if (place < 0) return this.request?.abort();
    waiting.splice(place, 1);
    return this.fail("Cancelled before it began.", "off");
  }

  over(tone, ...nodes) {
    this.row.dataset.state = tone;
    this.cancel.hidden = this.bar.hidden = true;
    this.say(...nodes);
    said.textContent = `${this.file.name}: ${this.row.querySelector(".state").textContent}`;
  }

  say(...nodes) {
    this.row.querySelector(".state").replaceChildren(...nodes);
  }
}

function startNext() {
  while (active < AT_ONCE && waiting.length) waiting.shift().start();
}

function bytes(n) {
  const units = ["B", "kB", "MB", "GB", "TB"];
  let at = 0;
  for (; n >= 1000 && at < units.length - 1; at += 1) n /= 1000;
  return `${at ? n.toFixed(1) : n} ${units[at]}`;
}

function take(files) {
  if (refused) return toast(refused, "warn");
  if (!files.length) return undefined;
  section.hidden = false;
  for (const file of files) new Upload(file).queue();
  return undefined;
}

document.getElementById("choose-files")?.addEventListener("click", () => chooser.click());
chooser?.addEventListener("change", () => {
  take([...chooser.files]);
  chooser.value = ""; // so that the same file can be chosen again
});
document.getElementById("clear-uploads").addEventListener("click", () => {
  for (const row of [...list.children]) if (!["waiting", "busy"].includes(row.dataset.state)) row.remove();
  section.hidden = !list.children.length;
});

// Entering and leaving an element within the page come in pairs; what is over the page is what has not left.
let over = 0;
const hasFiles = (event) => event.dataTransfer?.types.includes("Files");
const show = (depth) => {
  over = Math.max(depth, 0);
  drop.hidden = !over;
};
addEventListener("dragenter", (event) => hasFiles(event) && show(over + 1));
addEventListener("dragleave", (event) => hasFiles(event) && show(over - 1));
addEventListener("dragover", (event) => {
  if (!hasFiles(event)) return;
  event.preventDefault();
  event.dataTransfer.dropEffect = refused ? "none" : "copy";
});
addEventListener("drop", (event) => {
  if (!hasFiles(event)) return;
  event.preventDefault(); // or the browser leaves the page for the file
  show(0);
  take([...event.dataTransfer.files]);
});
addEventListener("beforeunload", (event) => {
  if (active || waiting.length) event.preventDefault();
});
