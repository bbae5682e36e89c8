// Makes one tree like another and keeps what is the same, so that focus, open dialogs and what somebody types stay.

const key = (node) => (node.nodeType === Node.ELEMENT_NODE && node.id ? node.id : undefined);
const alike = (a, b) => a.nodeType === b.nodeType && a.nodeName === b.nodeName && key(a) === key(b);

export function morph(old, wanted, isSelf = false) {
  if (isSelf) attributes(old, wanted);
  const keyed = new Map([...old.children].filter((child) => child.id).map((child) => [child.id, child]));
  let at = old.firstChild;
  for (const next of [...wanted.childNodes]) {
    const known = key(next) ? keyed.get(key(next)) : undefined;
    if (known && known !== at && alike(known, next)) old.insertBefore(known, at);
    const mine = known && alike(known, next) ? known : at;
    if (mine && alike(mine, next)) {
      at = mine.nextSibling;
      update(mine, next);
    } else {
      old.insertBefore(next, at);
    }
  }
  while (at) {
    const rest = at.nextSibling;
    at.remove();
    at = rest;
  }
}

function update(mine, next) {
  if (mine.nodeType !== Node.ELEMENT_NODE) {
    if (mine.nodeValue !== next.nodeValue) mine.nodeValue = next.nodeValue;
    return;
  }
  if (mine.isEqualNode(next) || mine.hasAttribute("data-keep")) return;
  if (mine.nodeName === "DIALOG" && mine.open) return; // somebody is at it
  const isBusy = mine === document.activeElement && mine.matches("input, textarea, select");
  if (isBusy) return;
  attributes(mine, next);
  morph(mine, next);
}

function attributes(mine, next) {
  const stays = mine.nodeName === "DETAILS" || mine.nodeName === "DIALOG" ? "open" : "";
  for (const { name } of [...mine.attributes]) if (name !== stays && !next.hasAttribute(name)) mine.removeAttribute(name);
  for (const { name, value } of next.attributes) {
    if (name !== stays && mine.getAttribute(name) !== value) mine.setAttribute(name, value);
  }
}
