// The wizard: one step at a time, each looked at by the controller before the next; the last shows what would happen.
// Fields are the options of `wainwright deployment create`: the controller reads them by that command's own rules.
import { call, problemOf } from "./actions.js";
import { dress } from "./times.js";
import { watch } from "./filter.js";

const form = document.getElementById("wizard");
const review = document.getElementById("review");
const complaint = document.getElementById("wizard-error");
const [back, next, submit] = ["back", "next", "submit"].map((id) => document.getElementById(id));
const steps = [...form.querySelectorAll(".step")].map((step) => step.dataset.step);
const part = (name) => form.querySelector(`[data-part=${name}]`)?.value.trim() ?? "";
const choice = (name) => form.querySelector(`[name=${name}]:checked`)?.value ?? "";
const now = () => (steps.includes(location.hash.slice(1)) ? location.hash.slice(1) : steps[0]);

// What is hidden because something else was chosen is not sent.
function fields() {
  const given = {};
  for (const input of form.elements) {
    if (!input.name || input.closest("[hidden][data-when]")) continue;
    if (["checkbox", "radio"].includes(input.type) ? input.checked : input.value.trim()) given[input.name] = input.value;
  }
  if (given.target === "all") given.all = "yes";
  const { kind } = given;
  if (kind === "canary") given.canary = part("canary-size") + (part("canary-then") && "+" + part("canary-after"));
  if (kind === "rolling") given.batch = part("batch-size") + part("batch-then") + (part("batch-then") === "+" ? part("batch-after") : "");
  if (part("at")) given.at = new Date(part("at")).toISOString();
  return given;
}

function arrange() {
  for (const some of form.querySelectorAll("[data-when]")) {
    const [name, values] = some.dataset.when.split("=");
    const value = form.querySelector(`[data-part=${name}]`) ? part(name) : choice(name);
    some.hidden = !values.split(",").includes(value);
  }
}

function show(step, isFirst = false) {
  for (const one of form.querySelectorAll(".step")) one.hidden = one.dataset.step !== step;
  for (const link of document.querySelectorAll(".steps a")) {
    if (link.dataset.step === step) link.setAttribute("aria-current", "step");
    else link.removeAttribute("aria-current");
  }
  back.hidden = step === steps[0];
  next.hidden = step === "review";
  submit.hidden = step !== "review";
  submit.disabled = true;
  complain("");
  if (!isFirst) form.querySelector(`#step-${step} h2`).focus({ preventScroll: true });
  if (step === "review") plan();
}

function complain(text, field = "") {
  complaint.textContent = text;
  complaint.hidden = !text;
  for (const input of form.querySelectorAll("[aria-invalid]")) input.removeAttribute("aria-invalid");
  const wrong = field && form.querySelector(`[data-of="${field}"] :is(input, select, textarea)`);
  if (!text || !wrong) return;
  wrong.setAttribute("aria-invalid", "true");
  wrong.focus();
}

let asked = 0;
async function ask() {
  const number = ++asked;
  const answer = await call("POST", "/deployments/new/plan", fields()).catch(() => undefined);
  if (number !== asked) return undefined; // a later question is under way
  const holder = document.createElement("template");
  if (answer?.ok) holder.innerHTML = await answer.text();
  else {
    const error = Object.assign(document.createElement("p"), { className: "error" });
    error.textContent = answer ? await problemOf(answer) : "The controller cannot be reached: try again.";
    error.dataset.step = now();
    error.dataset.field = "";
    holder.content.append(error);
  }
  dress(holder.content);
  return holder.content;
}

async function plan() {
  review.setAttribute("aria-busy", "true");
  const found = await ask();
  if (!found || now() !== "review") return;
  const wrong = found.querySelector("[data-field]");
  if (wrong?.dataset.step) {
    const link = Object.assign(document.createElement("a"), { href: "#" + wrong.dataset.step, textContent: " Change it" });
    link.addEventListener("click", () => setTimeout(() => complain(wrong.firstChild.textContent, wrong.dataset.field), 50));
    wrong.append(link);
  }
  submit.disabled = !found.querySelector("[data-order]");
  const open = review.querySelector("details")?.open;
  review.replaceChildren(found);
  if (open) review.querySelector("details")?.setAttribute("open", "");
  review.removeAttribute("aria-busy");
}

// Forward only past what the controller can use; what later steps lack is not this step's fault.
async function forward() {
  const here = now();
  next.disabled = true;
  const found = await ask();
  next.disabled = false;
  const wrong = found?.querySelector("[data-field]");
  const at = wrong ? steps.indexOf(wrong.dataset.step) : -1;
  if (at >= 0 && at <= steps.indexOf(here)) {
    if (at < steps.indexOf(here)) location.hash = steps[at];
    setTimeout(() => complain(wrong.textContent, wrong.dataset.field), 50);
    return;
  }
  location.hash = steps[steps.indexOf(here) + 1];
}

next.addEventListener("click", forward);
// To the step before, whichever came before on the screen: the browser's own button goes there.
back.addEventListener("click", () => (location.hash = steps[steps.indexOf(now()) - 1]));
addEventListener("hashchange", () => show(now()));
form.addEventListener("input", arrange);
form.addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || event.target.matches("textarea, button")) return;
  event.preventDefault();
  if (now() !== "review") forward();
});

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const order = review.querySelector("[data-order]")?.dataset.order;
  if (!order || submit.disabled) return;
  submit.disabled = true;
  const answer = await call("POST", "/api/v1/deployments", JSON.parse(order)).catch(() => undefined);
  if (answer?.ok) {
    const made = await answer.json();
    sessionStorage.setItem("said", `Created ${made.name}.`);
    location.assign("/deployments/" + encodeURIComponent(made.id));
    return;
  }
  complain(answer ? await problemOf(answer) : "The controller cannot be reached: try again.");
  submit.disabled = false;
});

document.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-copies]");
  if (!button) return;
  const place = document.getElementById(button.dataset.copies);
  try {
    await navigator.clipboard.writeText(place.textContent);
    button.textContent = "Copied";
  } catch { // without HTTPS browsers give no clipboard: what is selected can be copied by hand
    getSelection().selectAllChildren(place);
    button.textContent = "Selected: copy it";
  }
});

// More releases than the list begins with.
let typing;
const release = form.elements.release;
release.addEventListener("input", () => {
  clearTimeout(typing);
  typing = setTimeout(async () => {
    const answer = await fetch("/api/v1/releases?" + new URLSearchParams({ q: release.value, limit: 50 })).catch(() => undefined);
    if (!answer?.ok) return;
    const list = document.getElementById("releases");
    const known = new Set([...list.options].map((option) => option.value));
    for (const { name } of (await answer.json()).items) if (!known.has(name)) list.append(new Option("", name));
  }, 250);
});

const filter = form.elements.where;
watch(filter, document.getElementById("where-found"));
setInterval(() => now() === "review" && document.visibilityState === "visible" && plan(), 15_000); // the fleet moves on
arrange();
show(now(), true);
