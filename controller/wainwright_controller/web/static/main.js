// What every page needs. Pages with more to do have scripts of their own.
import { follow } from "./live.js";
import { dress } from "./times.js";
import "./actions.js";

dress(document);
setInterval(() => dress(document), 10_000);

document.querySelector("[data-theme-toggle]")?.addEventListener("click", () => {
  const root = document.documentElement;
  const isDark = (root.dataset.theme ?? (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) === "dark";
  root.dataset.theme = isDark ? "light" : "dark";
  localStorage.setItem("theme", root.dataset.theme);
});

// Filters act as soon as something is chosen, and a moment after the last letter.
for (const form of document.querySelectorAll("form[data-submits-itself]")) {
  let waiting;
  const submit = () => form.requestSubmit();
  form.addEventListener("change", submit);
  form.addEventListener("input", (event) => {
    clearTimeout(waiting);
    if (event.target.type === "search") waiting = setTimeout(submit, 500);
  });
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    clearTimeout(waiting);
    const given = [...new FormData(form)].filter(([, value]) => value !== "");
    // Not form.action, which is a field where one is called so.
    const wanted = location.origin + location.pathname + (given.length ? "?" + new URLSearchParams(given) : "");
    if (wanted !== location.href) location.assign(wanted);
  });
  const search = form.querySelector("input[type=search]");
  if (search?.value && !document.querySelector("main [autofocus]")) {
    search.focus();
    search.setSelectionRange(search.value.length, search.value.length);
  }
}

const main = document.querySelector("main[data-live]");
if (main) follow(main.dataset.live);
