// Help, and the question for the key.
import { useLayoutEffect, useRef } from "preact/hooks";
import { html } from "./html.js";
import { keyWanted, useKey } from "./api.js";
import { IconButton } from "./icons.js";
import { useStore } from "./store.js";
import { t } from "./words.js";

const KEYS = ["/", "arrows", "enter", "enter2", "esc", "likes", "copy", "?"];

function Dialog({ label, onClose, children }) {
  const dialog = useRef();
  useLayoutEffect(() => {
    const shown = dialog.current;
    shown.showModal();
    return () => shown.close();
  }, []);
  return html`
    <dialog ref=${dialog} class="card" aria-label=${label} onCancel=${(event) => { event.preventDefault(); onClose?.(); }}>
      <header><h2>${label}</h2>${onClose && html`<${IconButton} icon="close" label=${t("close")} onClick=${onClose} />`}</header>
      ${children}
    </dialog>`;
}

export const Help = ({ onClose }) => html`
  <${Dialog} label=${t("help")} onClose=${onClose}>
    <p>${t("help.words")}</p><p>${t("help.pictures")}</p><p>${t("help.weights")}</p>
    <dl class="keys">${KEYS.map((key) => html`<div><dt><kbd>${t(`key.${key}`)}</kbd></dt><dd>${t(`key.${key}.does`)}</dd></div>`)}</dl>
  <//>`;

export function KeyDialog() {
  const wanted = useStore(keyWanted);
  if (!wanted) return null;
  const submit = (event) => { event.preventDefault(); useKey(new FormData(event.target).get("key")); };
  return html`
    <${Dialog} label=${t("key.wanted")}>
      <form class="key" onSubmit=${submit}>
        <p class=${wanted === "wrong" ? "bad" : "dim"} role="alert">${t(wanted === "wrong" ? "key.wrong" : "key.why")}</p>
        <label>${t("key")} <input name="key" type="password" autocomplete="off" required autofocus /></label>
        <button class="primary">${t("key.send")}</button>
      </form>
    <//>`;
}
