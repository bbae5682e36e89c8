// Times in the viewer's zone: how long ago, or the time itself; the exact value on hover.
const exact = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "long" });
const day = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });
const relative = new Intl.RelativeTimeFormat("en", { numeric: "always", style: "short" });
const DAY_S = 86_400;

function told(at) {
  const seconds = Math.round((at - Date.now()) / 1000);
  const size = Math.abs(seconds);
  if (size >= 2 * DAY_S) return day.format(at);
  if (size < 5) return "now";
  if (size < 100) return relative.format(seconds, "second");
  if (size < 6000) return relative.format(Math.round(seconds / 60), "minute");
  return relative.format(Math.round(seconds / 3600), "hour");
}

export function dress(root) {
  for (const time of root.querySelectorAll("time[datetime]")) {
    const at = new Date(time.dateTime);
    if (Number.isNaN(at.valueOf())) continue;
    const text = time.hasAttribute("data-exact") ? exact.format(at) : told(at);
    if (time.textContent !== text) time.textContent = text;
    time.title = `${exact.format(at)} (${time.dateTime})`;
  }
}
