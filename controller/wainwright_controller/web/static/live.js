// Keeps an open page as the controller has it: puts the regions that its stream brings into their places.
import { dress } from "./times.js";
import { morph } from "./morph.js";

const RETRY_MS = [500, 1000, 2000, 5000]; // after a stream that was refused; one that was cut the browser opens again itself

let source;
let attempts = 0;
let timer;

export function follow(address) {
  const state = document.getElementById("live-state");
  const say = (text, tone) => {
    state.hidden = false;
    if (state.textContent !== text) state.textContent = text;
    state.dataset.tone = tone;
  };

  const open = () => {
    clearTimeout(timer);
    source?.close();
    source = new EventSource(address);
    source.addEventListener("hello", (event) => {
      attempts = 0;
      say("Live", "good");
      const pages = document.querySelector("meta[name=pages]")?.content;
      if (JSON.parse(event.data).pages !== pages && !document.querySelector("dialog[open]")) location.reload();
    });
    source.addEventListener("region", (event) => put(JSON.parse(event.data), true));
    source.addEventListener("rows", (event) => put(JSON.parse(event.data), false));
    source.addEventListener("gone", (event) => {
      source.close();
      say(JSON.parse(event.data).text, "warn");
    });
    source.addEventListener("reload", () => location.reload());
    source.addEventListener("signed-out", () => {
      source.close();
      location.assign("/sign-in?next=" + encodeURIComponent(location.pathname + location.search));
    });
    source.addEventListener("error", () => {
      say("Reconnecting…", "warn");
      if (source.readyState !== EventSource.CLOSED) return;
      timer = setTimeout(open, RETRY_MS[Math.min(attempts++, RETRY_MS.length - 1)]);
      if (attempts === 1) check();
    });
  };

  // A stream that is refused says nothing of why: a plain request does.
  const check = async () => {
    const answer = await fetch("/api/v1/me", { headers: { Accept: "application/json" } }).catch(() => undefined);
    if (answer?.status === 401) location.assign("/sign-in?next=" + encodeURIComponent(location.pathname + location.search));
  };

  // A page that nobody sees needs no stream: browsers have six connections for all pages of one controller.
  document.addEventListener("visibilitychange", () => {
    if (document.visibilityState === "hidden") {
      clearTimeout(timer);
      source?.close();
    } else open();
  });
  addEventListener("pageshow", (event) => event.persisted && open());
  addEventListener("pagehide", () => source?.close());
  if (document.visibilityState !== "hidden") open();
}

function put(changed, isWithin) {
  for (const [id, html] of Object.entries(changed)) {
    const place = document.getElementById(id);
    if (!place) continue;
    const holder = document.createElement("template");
    holder.innerHTML = html;
    if (isWithin) {
      dress(holder.content);
      morph(place, holder.content);
    } else if (holder.content.firstElementChild) {
      dress(holder.content);
      morph(place, holder.content.firstElementChild, true);
    }
  }
}
