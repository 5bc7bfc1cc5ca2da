// A short word at the foot of the page, gone after a while.
import { useEffect } from "preact/hooks";
import { html } from "./html.js";
import { store, useStore } from "./store.js";
import { t } from "./words.js";

const SHOWN_MS = 2500;
const said = store("");

export const say = (text) => said.set(text);

export const copy = (text) => navigator.clipboard.writeText(text).then(() => say(t("copied")), () => say(t("copied.not")));

export function Toast() {
  const text = useStore(said);
  useEffect(() => {
    const timer = setTimeout(() => say(""), SHOWN_MS);
    return () => clearTimeout(timer);
  }, [text]);
  return html`<p class=${`toast ${text ? "" : "unseen"}`} role="status">${text}</p>`;
}
