// One picture, large. The dialog is the browser's own: it keeps the focus inside and gives it back.
import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";
import * as api from "./api.js";
import { html } from "./html.js";
import { IconButton } from "./icons.js";
import { Picture } from "./picture.js";
import { bytes, count, moment, nameOf, percent, score, t } from "./words.js";

// `hits` are what the arrows go through; a shared address may name a picture that is not among them.
export function Lightbox({ id, hits, act, liked, disliked }) {
  const dialog = useRef();
  const hit = useHit(id, hits);
  const at = hits.findIndex((each) => each.id === id);
  useLayoutEffect(() => {
    const shown = dialog.current;
    shown.showModal();
    shown.focus(); // not its first button: nothing is chosen yet
    return () => { shown.close(); };
  }, []);
  useEffect(() => () => document.querySelector(`.open[data-id="${CSS.escape(id)}"]`)?.focus(), [id]);

  const step = (by) => { const next = hits[at + by]; if (next) act.view(next.id, { replace: true }); };
  const keys = {
    ArrowLeft: () => step(-1), ArrowRight: () => step(1), Enter: () => act.similar(id),
    l: () => act.like(id), d: () => act.dislike(id), c: () => hit && act.copy(hit.path),
  };
  const press = (event) => {
    if (event.target.closest("a, .lightbox-bar button") && event.key === "Enter") return;
    const deed = keys[event.key];
    if (deed && !event.ctrlKey && !event.metaKey && !event.altKey) { event.preventDefault(); deed(); }
  };
  return html`
    <dialog ref=${dialog} class="lightbox" tabindex="-1" aria-label=${hit ? nameOf(hit.path) : t("lightbox")} onKeyDown=${press}
      onCancel=${(event) => { event.preventDefault(); act.close(); }} onClick=${(event) => event.target === event.currentTarget && act.close()}>
      <div class="lightbox-bar">
        <span class="name">${hit && nameOf(hit.path)}</span>
        <${IconButton} icon="similar" label=${t("lightbox.similar")} onClick=${() => act.similar(id)} />
        <${IconButton} icon="like" label=${t("lightbox.like")} aria-pressed=${liked.includes(id)} onClick=${() => act.like(id)} />
        <${IconButton} icon="dislike" label=${t("lightbox.dislike")} aria-pressed=${disliked.includes(id)} onClick=${() => act.dislike(id)} />
        <${IconButton} icon="close" label=${t("close")} onClick=${act.close} />
      </div>
      <div class="stage">
        ${hit ? html`<${Picture} key=${id} id=${id} px=${1024} alt=${nameOf(hit.path)} eager />` : html`<p class="dim">${hit === null ? t("lightbox.gone") : ""}</p>`}
        ${at > 0 && html`<${IconButton} icon="left" label=${t("lightbox.previous")} class="icon-button side before" onClick=${() => step(-1)} />`}
        ${at >= 0 && at < hits.length - 1 && html`<${IconButton} icon="right" label=${t("lightbox.next")} class="icon-button side after" onClick=${() => step(1)} />`}
      </div>
      ${hit && html`<${Details} hit=${hit} act=${act} />`}
    </dialog>`;
}

function Details({ hit, act }) {
  const facts = [
    `${count(hit.width)} × ${count(hit.height)}`, hit.format, bytes(hit.size_bytes), moment(hit.modified),
    hit.score !== undefined && t("lightbox.score", { score: score(hit.score) }),
    Number.isFinite(hit.relevance) && t("lightbox.relevance", { percent: percent(hit.relevance) }),
  ].filter(Boolean);
  return html`
    <div class="details">
      <p class="dim">${facts.join(" · ")}</p>
      ${hit.paths.map((path) => html`
        <p class="path"><code>${path}</code><${IconButton} icon="copy" label=${t("lightbox.copy", { path })} onClick=${() => act.copy(path)} /></p>`)}
    </div>`;
}

// The hit with this id; undefined while it is looked for, null when there is none.
function useHit(id, hits) {
  const known = hits.find((each) => each.id === id);
  const [asked, setAsked] = useState({});
  useEffect(() => {
    if (known) return undefined;
    const controller = new AbortController();
    api.image(id, controller.signal).then((image) => setAsked({ id, image }), () => controller.signal.aborted || setAsked({ id, image: null }));
    return () => controller.abort();
  }, [id, !known]);
  return known ?? (asked.id === id ? asked.image : undefined);
}
