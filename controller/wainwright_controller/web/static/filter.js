// A filter as somebody writes it: how many devices it chooses now, the first of them, and where it cannot be read.
//
//   import { watch } from "./filter.js";
//   const stop = watch(textarea, output, { onChange });
//
// `textarea` is a <textarea> or <input> that a filter is typed into (docs/filters.md). `output` is an empty element below
// it, which is filled with: attribute names that go on with the word at the caret, as buttons; what the filter chooses,
// or the sentence of what is wrong, with the place marked. A mistake also sets `aria-invalid` and the field's validity,
// so that its form is not sent; `output` becomes the field's description, and is read out when it changes.
//
// `onChange(found)` is told what the controller said last: { where, devices, unknown, first }, where `where` is the filter
// in canonical form, `devices` how many accepted devices meet it, `unknown` the names that no device has, `first` some ids;
// or undefined while there is no filter, or none that can be read. `stop()` ends it, and empties `output`.
//
// Both come from web/filters.py, which answers a mistake as something found, not as an error: typing makes mistakes.
//
// `filter_parts.html: editor(id)` makes such a field with its label, its help and its output; a field with
// data-filter="ID of the output" is watched without a script of the page's own.
import { problemOf } from "./actions.js";

const PAUSE_MS = 250; // after the last letter
const OFFERED = 8; // names
const WORD = /[A-Za-z_][A-Za-z0-9_.:-]*$/;
let made = 0;
let known; // the names, which are asked for once, when somebody first types

const allNames = () =>
  (known ??= fetch("/filters/names")
    .then((answer) => (answer.ok ? answer.json() : []))
    .catch(() => []));

export function watch(field, output, { onChange = () => {} } = {}) {
  const offer = element("div", "buttons offer");
  const said = element("div");
  said.setAttribute("role", "status");
  output.replaceChildren(offer, said);
  output.id ||= `filter-output-${++made}`;
  const described = (field.getAttribute("aria-describedby") ?? "").split(" ").filter(Boolean);
  if (!described.includes(output.id)) field.setAttribute("aria-describedby", [...described, output.id].join(" "));
  let timer;
  let asking;

  const say = (found, wrong, ...nodes) => {
    field.setCustomValidity(wrong ?? "");
    if (wrong && !nodes[0].matches(".quiet")) field.setAttribute("aria-invalid", "true");
    else field.removeAttribute("aria-invalid");
    said.replaceChildren(...nodes);
    onChange(found);
  };

  const ask = async () => {
    asking?.abort();
    const where = field.value;
    if (!where.trim()) return say(undefined, undefined);
    asking = new AbortController();
    const { signal } = asking;
    try {
      const answer = await fetch("/filters?" + new URLSearchParams({ where }), { signal, headers: { Accept: "application/json" } });
      if (!answer.ok) return say(undefined, undefined, element("p", "error", await problemOf(answer)));
      const found = await answer.json();
      if (found.wrong) return say(undefined, found.wrong, ...mistake(where, found.wrong, found.column));
      return say(found, undefined, ...matches(found));
    } catch (error) {
      if (error.name === "AbortError") return undefined;
      return say(undefined, undefined, element("p", "error", "The controller cannot be reached: type on to try again."));
    }
  };

  const complete = async () => {
    const names = await allNames();
    const typed = WORD.exec(field.value.slice(0, field.selectionStart))?.[0];
    const fitting = typed ? names.filter((name) => name !== typed && fits(name, typed)).slice(0, OFFERED) : [];
    offer.replaceChildren(...fitting.map((name) => choice(field, name)));
  };

  const onInput = () => {
    field.setCustomValidity(""); // what was wrong may be right now, and Enter may come before the answer
    clearTimeout(timer);
    timer = setTimeout(ask, PAUSE_MS);
    complete();
  };
  field.addEventListener("input", onInput);
  field.addEventListener("keyup", complete);
  field.addEventListener("click", complete);
  ask();
  return () => {
    clearTimeout(timer);
    asking?.abort();
    field.removeEventListener("input", onInput);
    field.removeEventListener("keyup", complete);
    field.removeEventListener("click", complete);
    field.setCustomValidity("");
    output.replaceChildren();
  };
}

// What is typed begins a name, or one of the parts after its dots: "si" fits tags.site.
const fits = (name, typed) => name.startsWith(typed) || name.split(/[."]/).some((part) => part && part.startsWith(typed));

function choice(field, name) {
  const button = element("button", "chip", name);
  button.type = "button";
  button.dir = "auto";
  button.addEventListener("mousedown", (event) => event.preventDefault()); // the field keeps the caret
  button.addEventListener("click", () => {
    const end = field.selectionStart;
    const begin = end - (WORD.exec(field.value.slice(0, end))?.[0].length ?? 0);
    field.setRangeText(name + " ", begin, end, "end");
    field.focus();
    field.dispatchEvent(new Event("input", { bubbles: true }));
  });
  return button;
}

function matches(found) {
  const count = element("p", found.devices ? "good" : "warn");
  count.append(element("strong", "", found.devices.toLocaleString("en")), ` accepted ${found.devices === 1 ? "device meets" : "devices meet"} it now`);
  const nodes = [count];
  if (found.unknown.length) {
    const text = `No device has ${found.unknown.join(", ")}: is that how it is written?`;
    nodes.push(element("p", "warn", text));
  }
  if (found.first.length) {
    const first = element("p", "quiet");
    found.first.forEach((id, place) => {
      const link = element("a", "", id);
      link.href = "/devices/" + encodeURIComponent(id);
      first.append(place ? ", " : "", link);
    });
    const more = found.devices - found.first.length;
    if (more > 0) first.append(` and ${more.toLocaleString("en")} more`);
    nodes.push(first);
  }
  return nodes;
}

// The API counts characters; a text here is made of code units, of which a character may have two.
function mistake(where, wrong, column) {
  const characters = [...where];
  const at = column - 1;
  const isUnfinished = at >= characters.length; // what is missing may be about to be typed
  const nodes = [element("p", isUnfinished ? "quiet" : "error", wrong)];
  const place = element("pre", "mistake");
  place.setAttribute("aria-hidden", "true"); // the sentence names the column
  place.append(characters.slice(0, at).join(""), element("mark", "", characters[at]?.trim() ? characters[at] : "␣"), characters.slice(at + 1).join(""));
  nodes.push(place);
  return nodes;
}

function element(name, className = "", text = undefined) {
  const made = document.createElement(name);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}

for (const field of document.querySelectorAll("[data-filter]")) watch(field, document.getElementById(field.dataset.filter));
