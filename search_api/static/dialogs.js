// Help, and the question for the key.
import { useLayoutEffect, useRef } from "preact/hooks";
import { keyWanted, useKey } from "./api.js";
import { html } from "./html.js";
import { IconButton } from "./icons.js";
import { useDeed } from "./loading.js";
import { sentenceOf } from "./states.js";
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
      <p><a href="/api/docs">${t("help.api")}</a></p>
  <//>`;

export function KeyDialog() {
  const wanted = useStore(keyWanted);
  return wanted && html`<${KeyForm} key=${wanted} wanted=${wanted} />`;
}

// The key's name is for password managers: they keep no password without one.
function KeyForm({ wanted }) {
  const giving = useDeed(useKey);
  const submit = (event) => { event.preventDefault(); giving.run(new FormData(event.target).get("key")); };
  const isWrong = giving.error ? giving.error.status === 401 : wanted === "wrong";
  const said = isWrong ? t("key.wrong") : giving.error ? sentenceOf(giving.error) : t(wanted === "admin" ? "key.why.admin" : "key.why");
  return html`
    <${Dialog} label=${t(wanted === "admin" ? "key.wanted.admin" : "key.wanted")} onClose=${wanted === "admin" && (() => keyWanted.set(""))}>
      <form class="key" onSubmit=${submit}>
        <p class=${isWrong || giving.error ? "bad" : "dim"} role="alert">${said}</p>
        <input name="username" autocomplete="username" value=${wanted === "admin" ? "lookalike admin" : "lookalike"} hidden readonly />
        <label>${t("key")} <input name="key" type="password" autocomplete="current-password" spellcheck=${false} required autofocus /></label>
        <button class="primary" disabled=${giving.isRunning}>${t("key.send")}</button>
      </form>
    <//>`;
}
