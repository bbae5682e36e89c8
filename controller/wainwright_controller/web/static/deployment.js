// Before a rollback, what it would do; after an action, the page's stream shows what it did.
import { problemOf } from "./actions.js";

const place = document.querySelector("[data-extra=rollback-plan]");

function told(plan) {
  const back = Object.entries(plan.releases).map(([name, n]) => `${n} get ${name} back`);
  const lines = [`${plan.restored} of ${plan.devices} devices that have it, or may, can be brought back${back.length ? ": " + back.join(", ") : ""}.`];
  for (const one of plan.not_restored.slice(0, 5)) lines.push(`Not ${one.device_id}: ${one.obstacle}`);
  if (plan.not_restored_count > 5) lines.push(`and ${plan.not_restored_count - 5} more that cannot.`);
  return lines;
}

document.addEventListener("click", async (event) => {
  const opener = event.target.closest("#open-act-rollback[data-opens]");
  if (!opener || !place) return;
  place.textContent = "Asking what it would do…";
  const call = place.closest("form").dataset.call.split(" ")[1];
  const answer = await fetch(call.replace(/\/rollback$/, "/rollback-plan"));
  const lines = answer.ok ? told(await answer.json()) : [await problemOf(answer)];
  place.replaceChildren(...lines.map((line) => Object.assign(document.createElement("p"), { textContent: line })));
});
