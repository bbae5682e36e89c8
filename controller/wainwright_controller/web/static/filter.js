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
// `onChange(found)` is told what the controller said last: { where, devices, unknown } of GET /api/v1/filters, or
// undefined while there is no filter, or none that can be read. `stop()` ends it, and empties `output`.
//
// The names come from <datalist id="attribute-names">, which `filter_parts.html: names(names)` writes into a page, with
// `attribute_store.attribute_names(connection, web.groups.NAMES_MAX)`; without one none are offered.
//
// <textarea data-filter="ID of the output"> is watched without a script of the page's own.
import { problemOf } from "./actions.js";

const PAUSE_MS = 250; // after the last letter
const SHOWN = 5; // devices
const OFFERED = 8; // names
const WORD = /[A-Za-z_][A-Za-z0-9_.:-]*$/;
let made = 0;

export function watch(field, output, { onChange = () => {} } = {}) {
  const names = [...(document.getElementById("attribute-names")?.options ?? [])].map((one) => one.value);
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
    if (wrong) field.setAttribute("aria-invalid", "true");
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
      const answer = await fetch("/api/v1/filters?" + new URLSearchParams({ where }), { signal });
      if (!answer.ok) {
        const problem = await answer.clone().json().catch(() => ({}));
        const wrong = problem.code === "bad-filter" ? problem.detail.split("\n")[0] : await problemOf(answer);
        return say(undefined, wrong, ...mistake(field, wrong, problem.column));
      }
      const found = await answer.json();
      const which = new URLSearchParams({ where, state: "accepted", limit: SHOWN });
      const devices = await fetch("/api/v1/devices?" + which, { signal });
      return say(found, undefined, ...matches(found, devices.ok ? (await devices.json()).items : []));
    } catch (error) {
      if (error.name === "AbortError") return undefined;
      return say(undefined, undefined, element("p", "error", "The controller cannot be reached: type on to try again."));
    }
  };

  const complete = () => {
    const typed = WORD.exec(field.value.slice(0, field.selectionStart))?.[0];
    const fitting = typed ? names.filter((name) => name !== typed && fits(name, typed)).slice(0, OFFERED) : [];
    offer.replaceChildren(...fitting.map((name) => choice(field, name)));
  };

  const onInput = () => {
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
  button.addEventListener("click", () => {
    const end = field.selectionStart;
    const begin = end - (WORD.exec(field.value.slice(0, end))?.[0].length ?? 0);
    field.setRangeText(name + " ", begin, end, "end");
    field.focus();
    field.dispatchEvent(new Event("input", { bubbles: true }));
  });
  return button;
}

function matches(found, items) {
  const count = element("p", found.devices ? "good" : "warn");
  count.append(element("strong", "", found.devices.toLocaleString("en")), ` accepted ${found.devices === 1 ? "device meets" : "devices meet"} it now`);
  const nodes = [count];
  if (found.unknown.length) {
    const text = `No device has ${found.unknown.join(", ")}: is that how it is written?`;
    nodes.push(element("p", "warn", text));
  }
  if (items.length) {
    const first = element("p", "quiet");
    items.forEach((device, place) => {
      const link = element("a", "", device.id);
      link.href = "/devices/" + encodeURIComponent(device.id);
      first.append(place ? ", " : "", link);
    });
    if (found.devices > items.length) first.append(` and ${(found.devices - items.length).toLocaleString("en")} more`);
    nodes.push(first);
  }
  return nodes;
}

// The API counts characters; a text here is made of code units, of which a character may have two.
function mistake(field, wrong, column) {
  const nodes = [element("p", "error", wrong)];
  if (!column) return nodes;
  const characters = [...field.value];
  const at = column - 1;
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
