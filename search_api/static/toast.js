// A short word at the foot of the page, gone after a while.
import { useEffect } from "preact/hooks";
import { html } from "./html.js";
import { store, useStore } from "./store.js";
import { t } from "./words.js";

const SHOWN_MS = 2500;
const said = store("");

export const say = (text) => said.set(text);

export const copy = (text) => written(text).then(() => say(t("copied")), () => say(t("copied.not")));

// Browsers open the clipboard only to pages from this machine or by TLS; the others have the old way.
async function written(text) {
  if (navigator.clipboard) return navigator.clipboard.writeText(text);
  const focused = document.activeElement;
  const field = Object.assign(document.createElement("textarea"), { value: text, className: "unseen" });
  (focused.closest("dialog") ?? document.body).append(field);
  field.select();
  const isDone = document.execCommand("copy");
  field.remove();
  focused.focus();
  return isDone || Promise.reject(new Error("refused"));
}

export function Toast() {
  const text = useStore(said);
  useEffect(() => {
    const timer = setTimeout(() => say(""), SHOWN_MS);
    return () => clearTimeout(timer);
  }, [text]);
  return html`<p class=${`toast ${text ? "" : "unseen"}`} role="status">${text}</p>`;
}
