// The address bar is the page's memory: reload, back and share work because nothing else remembers where we are.
import { atMostEvery } from "./pace.js";
import { store } from "./store.js";

const EVERY_MS = 350; // browsers let a page change its address some hundred times in half a minute: a slider moves more often

export const address = store(location.href);

const writeSoon = atMostEvery(EVERY_MS, write);
const places = new Map(); // what was looked at -> how far it was scrolled

addEventListener("pagehide", write);
addEventListener("scroll", () => places.set(pageOf(address.get()), scrollY), { passive: true });

// The browser cannot go back to a place that is drawn only later.
history.scrollRestoration = "manual";
addEventListener("popstate", () => {
  const before = pageOf(address.get()), now = pageOf(location.href);
  const y = places.get(now) ?? 0;
  address.set(location.href);
  if (now !== before) goTo(y);
});

function goTo(y, nFrames = 30) {
  scrollTo(0, y);
  if (scrollY < y - 1 && nFrames) requestAnimationFrame(() => goTo(y, nFrames - 1));
}

// A picture that is opened lies over its page.
function pageOf(href) {
  const url = new URL(href);
  url.searchParams.delete("view");
  return url.href;
}

// Go to an address of this page; `replace` for what should not become a step of its own, such as each letter typed.
// `state` is the browser's to keep with a new step.
export function go(url, { replace = false, state = null } = {}) {
  const before = address.get(), next = new URL(url, before);
  if (next.href === before) return;
  if (!replace) {
    write();
    history.pushState(state, "", next);
    if (next.pathname !== new URL(before).pathname) scrollTo(0, 0);
  }
  address.set(next.href);
  if (replace) writeSoon();
}

// The bar follows.
function write() {
  if (location.href !== address.get()) history.replaceState(history.state, "", address.get());
}

// The present address with some parameters changed; null or "" takes one away.
export function withParams(changes) {
  const url = new URL(address.get());
  for (const [name, value] of Object.entries(changes)) {
    url.searchParams.delete(name);
    for (const each of [value].flat()) if (each !== null && each !== "") url.searchParams.append(name, each);
  }
  return url.href;
}

// For links: a plain click stays in this page, any other is the browser's.
export function follow(event) {
  if (event.button || event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) return;
  event.preventDefault();
  go(event.currentTarget.href);
}
