// Buttons that do something by the API: they ask first, say what went wrong where it was asked, and what was done.
//   <button data-opens="ID">                      opens the dialog of that id
//     data-sets="NAME=VALUE"                       fills its field of that name first
//   <form data-call="POST /api/v1/…" data-to="…">  sends its named fields as JSON; then goes there, if anywhere
//     data-list                                    a field of several of its name, sent as a list
//     data-split                                   a field whose words are sent as a list
//     data-key="ID"                                sent as { what the field of that id has: its value }
//   aria-disabled with data-refused                says why it is not possible

export function call(method, path, body) {
  const csrf = document.querySelector("meta[name=csrf]")?.content ?? "";
  const headers = { "X-CSRF-Token": csrf, Accept: "application/json" };
  if (body !== undefined) headers["Content-Type"] = "application/json";
  return fetch(path, { method, headers, body: body === undefined ? undefined : JSON.stringify(body) });
}

// The sentence of a problem (RFC 9457), or what a person can do when there is none.
export async function problemOf(answer) {
  const problem = await answer.json().catch(() => undefined);
  if (answer.status === 401) return "You are signed out: open the page again in another tab, sign in, and try again.";
  return problem?.detail ?? `The controller answered ${answer.status} ${answer.statusText}: try again.`;
}

export function toast(text, tone = "good") {
  const note = document.createElement("p");
  note.className = tone;
  note.textContent = text;
  document.getElementById("toasts").append(note);
  setTimeout(() => note.remove(), 8000);
}

// An action that goes to another page says there that it is done.
const kept = sessionStorage.getItem("said");
if (kept) {
  sessionStorage.removeItem("said");
  toast(kept); // a module runs when the page has been read
}

export function fieldsOf(form) {
  const fields = {};
  for (const input of form.elements) {
    if (!input.name || input.disabled || (["radio", "checkbox"].includes(input.type) && !input.checked)) continue;
    const value = input.type === "checkbox" && input.value === "on" ? true : input.type === "number" ? input.valueAsNumber : input.value;
    if (value === "" || Number.isNaN(value)) continue;
    if (input.hasAttribute("data-list")) (fields[input.name] ??= []).push(value);
    else if (input.hasAttribute("data-split")) fields[input.name] = value.split(/[\s,;]+/).filter(Boolean);
    else if (input.dataset.key) (fields[input.name] ??= {})[document.getElementById(input.dataset.key).value] = value;
    else fields[input.name] = value;
  }
  return fields;
}

async function send(form) {
  const [method, path] = form.dataset.call.split(" ");
  const buttons = form.querySelectorAll("button");
  const error = form.querySelector(".error");
  error.hidden = true;
  buttons.forEach((button) => (button.disabled = true));
  try {
    const fields = fieldsOf(form);
    const answer = await call(method, path, method === "DELETE" || form.hasAttribute("data-no-body") ? undefined : fields);
    if (!answer.ok) throw new Error(await problemOf(answer));
    form.closest("dialog")?.close();
    const made = answer.status === 204 ? {} : await answer.json().catch(() => ({}));
    form.dispatchEvent(new CustomEvent("done", { bubbles: true, detail: made }));
    const to = form.dataset.to?.replace("{id}", encodeURIComponent(made.id ?? "")).replace("{name}", encodeURIComponent(made.name ?? ""));
    if (to) {
      sessionStorage.setItem("said", form.dataset.said);
      location.assign(to);
    } else toast(form.dataset.said);
  } catch (problem) {
    error.textContent = problem instanceof TypeError ? "The controller cannot be reached: try again." : problem.message;
    error.hidden = false;
  } finally {
    buttons.forEach((button) => (button.disabled = false));
  }
}

function ask(dialog, sets) {
  const [name, value] = sets?.split("=") ?? [];
  if (name) dialog.querySelector(`[name=${name}]`).value = value;
  dialog.showModal();
}

document.addEventListener("click", (event) => {
  const refused = event.target.closest("[data-refused]");
  if (refused) {
    event.preventDefault();
    toast(refused.dataset.refused, "warn");
    return;
  }
  const opener = event.target.closest("[data-opens]");
  if (opener) ask(document.getElementById(opener.dataset.opens), opener.dataset.sets);
  const dialog = event.target.closest("dialog");
  if (event.target.closest("[data-closes]") || event.target === dialog) dialog?.close();
});

document.addEventListener("submit", (event) => {
  const form = event.target.closest("form[data-call]");
  if (!form) return;
  event.preventDefault();
  send(form);
});

document.addEventListener("input", (event) => {
  const field = event.target.closest("[data-confirm]");
  if (field) field.setCustomValidity(field.value === field.dataset.confirm ? "" : `Type ${field.dataset.confirm}`);
});
