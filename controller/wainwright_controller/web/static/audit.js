// Has the controller compute the whole chain of hashes, when somebody asks for it.
import { problemOf } from "./actions.js";

const form = document.querySelector("form[data-verifies]");
const place = form?.querySelector("[data-verdict]");

function paragraph(text, className) {
  return Object.assign(document.createElement("p"), { textContent: text, className });
}

function told(found) {
  const entries = found.entries === 1 ? "1 entry" : `${found.entries.toLocaleString("en")} entries`;
  const first = found.whole ? paragraph(`✓ The log is whole: ${entries}.`, "good") : paragraph(`✗ The log is NOT whole. ${found.fault}`, "error");
  const anchor = paragraph(found.whole ? "Anchor to note: " : "Whole up to: ", "");
  anchor.append(Object.assign(document.createElement("code"), { textContent: found.anchor }));
  return [first, anchor];
}

form?.addEventListener("submit", async (event) => {
  event.preventDefault();
  const button = form.querySelector("button");
  const anchor = form.elements.anchor.value.trim();
  button.disabled = true;
  place.replaceChildren(paragraph("Computing the chain…", "quiet"));
  try {
    const answer = await fetch("/api/v1/audit/verify" + (anchor ? "?" + new URLSearchParams({ anchor }) : ""));
    place.replaceChildren(...(answer.ok ? told(await answer.json()) : [paragraph(await problemOf(answer), "error")]));
  } catch {
    place.replaceChildren(paragraph("The controller cannot be reached: try again.", "error"));
  } finally {
    button.disabled = false;
  }
});
