// The address bar is the page's memory: reload, back and share work because nothing else remembers where we are.
import { store } from "./store.js";

export const address = store(location.href);

addEventListener("popstate", () => address.set(location.href));

// Go to an address of this page; `replace` for what should not become a step of its own, such as each letter typed.
export function go(url, { replace = false } = {}) {
  const next = new URL(url, location.href);
  if (next.href === location.href) return;
  history[replace ? "replaceState" : "pushState"](null, "", next);
  if (!replace && next.pathname !== new URL(address.get()).pathname) scrollTo(0, 0);
  address.set(next.href);
}

// The present address with some parameters changed; null or "" takes one away.
export function withParams(changes) {
  const url = new URL(location.href);
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
