// Devices that are chosen in a list, for the dialogs that do something with them.
//   [data-choice]        a row's checkbox; its value is the device's id
//   [data-choose-all]    all rows of this page
//   [data-chosen]        in a dialog: filled with the ids that are sent, and with which they are
//   select[data-group]   the group whose name the call of its form has
import "./actions.js";
import "./filter.js";

const NAMED = 8;
const all = document.querySelector("[data-choose-all]");
const count = document.querySelector("[data-choice-count]");
const boxes = () => [...document.querySelectorAll("[data-choice]")];
const places = [...document.querySelectorAll("dialog [data-chosen]")];
const plural = (n) => (n === 1 ? "1 device" : `${n} devices`);

function refresh() {
  const every = boxes();
  const ids = every.filter((box) => box.checked).map((box) => box.value);
  if (all) {
    all.checked = ids.length > 0 && ids.length === every.length;
    all.indeterminate = ids.length > 0 && ids.length < every.length;
  }
  const said = ids.length ? `${plural(ids.length)} chosen` : "none chosen";
  if (count && count.textContent !== said) count.textContent = said;
  for (const place of places) {
    const opener = document.querySelector(`[data-opens="${place.closest("dialog").id}"]`);
    opener.toggleAttribute("data-refused", false);
    if (ids.length) opener.removeAttribute("aria-disabled");
    else {
      opener.dataset.refused = "Choose devices first, by the boxes at the left.";
      opener.setAttribute("aria-disabled", "true");
    }
    place.replaceChildren(...named(ids), ...ids.map(field));
  }
}

function named(ids) {
  if (!ids.length) return [];
  const text = document.createElement("p");
  const more = ids.length > NAMED ? ` and ${ids.length - NAMED} more` : "";
  text.textContent = `${plural(ids.length)}: ${ids.slice(0, NAMED).join(", ")}${more}.`;
  return [text];
}

function field(id) {
  const input = document.createElement("input");
  input.type = "hidden";
  input.name = "ids";
  input.value = id;
  input.setAttribute("data-list", "");
  return input;
}

all?.addEventListener("change", () => {
  for (const box of boxes()) box.checked = all.checked;
  refresh();
});

document.addEventListener("change", (event) => {
  if (event.target.matches("[data-choice]")) refresh();
  if (event.target.matches("select[data-group]")) aim(event.target);
});

// Rows come and go while the page is open; what a dialog says is what it sends.
document.addEventListener("click", (event) => event.target.closest("[data-opens]") && refresh(), true);
const list = document.getElementById("list");
if (list) new MutationObserver(() => !document.querySelector("dialog[open]") && refresh()).observe(list, { childList: true, subtree: true });

const aim = (select) => (select.form.dataset.call = `POST /api/v1/groups/${encodeURIComponent(select.value)}/add`);
document.querySelectorAll("select[data-group]").forEach(aim);

// How many a request changed is in its answer: those that were so already are not among them.
document.addEventListener("done", (event) => {
  const form = event.target;
  const changed = event.detail.changed?.length;
  form.dataset.saysOf ??= form.dataset.said; // such as "{devices} accepted."
  if (changed !== undefined) form.dataset.said = changed ? form.dataset.saysOf.replace("{devices}", plural(changed)) : "Nothing to do: they were so already.";
  for (const box of boxes()) box.checked = false;
  refresh();
});

// The filter is shown when it is finished: by Enter, or by the button.
document.querySelector("input[name=where]")?.addEventListener("change", (event) => event.stopPropagation());

refresh();
