// One picture, large. The dialog is the browser's own: it keeps the focus inside and gives it back.
import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";
import * as api from "./api.js";
import { html } from "./html.js";
import { Icon, IconButton } from "./icons.js";
import { fetchSoon, Picture } from "./picture.js";
import { Toast } from "./toast.js";
import { bytes, count, moment, nameOf, percent, score, t } from "./words.js";

const SIDE_PX = 1024; // the largest that the service draws
const SWIPE_PX = 60;

// `hits` are what the arrows go through; a shared address may name a picture that is not among them. `more` is called
// before they end.
export function Lightbox({ id, hits, more, act, liked, disliked }) {
  const dialog = useRef();
  const hit = useHit(id, hits);
  const at = hits.findIndex((each) => each.id === id);
  const [before, after] = at < 0 ? [] : [hits[at - 1], hits[at + 1]];
  useLayoutEffect(() => {
    const shown = dialog.current;
    shown.showModal();
    shown.focus(); // not its first button: nothing is chosen yet
    return () => { shown.close(); };
  }, []);
  useEffect(() => () => document.querySelector(`.open[data-id="${CSS.escape(id)}"]`)?.focus(), [id]);
  useEffect(() => {
    for (const each of [after, before]) if (each) fetchSoon(each.id, SIDE_PX);
    if (at >= hits.length - 3) more?.();
  }, [id, hits.length]);

  const step = (to) => to && act.view(to.id, { replace: true });
  const swipe = useSwipe(() => step(before), () => step(after));
  const keys = {
    ArrowLeft: () => step(before), ArrowRight: () => step(after), Enter: () => act.similar(id),
    l: () => act.like(id), d: () => act.dislike(id), c: () => hit && act.copy(hit.path),
  };
  const press = (event) => {
    if (event.target.closest("a, button") && event.key === "Enter") return;
    const deed = keys[event.key];
    if (deed && !event.ctrlKey && !event.metaKey && !event.altKey) { event.preventDefault(); deed(); }
  };
  return html`
    <dialog ref=${dialog} class="lightbox" tabindex="-1" aria-label=${hit ? nameOf(hit.path) : t("lightbox")} onKeyDown=${press}
      onCancel=${(event) => { event.preventDefault(); act.close(); }}>
      <div class="lightbox-bar">
        <span class="name">${hit && nameOf(hit.path)}</span>
        <button type="button" class="quiet more-like" title=${t("lightbox.similar")} onClick=${() => act.similar(id)}><${Icon} name="similar" /><span>${t("lightbox.similar")}</span></button>
        <${IconButton} icon="like" label=${t("lightbox.like")} aria-pressed=${liked.includes(id)} onClick=${() => act.like(id)} />
        <${IconButton} icon="dislike" label=${t("lightbox.dislike")} aria-pressed=${disliked.includes(id)} onClick=${() => act.dislike(id)} />
        <${IconButton} icon="close" label=${t("close")} onClick=${act.close} />
      </div>
      <div class="stage" onClick=${(event) => event.target === event.currentTarget && act.close()} ...${swipe}>
        ${hit ? html`<${Large} key=${id} hit=${hit} />` : html`<p class="dim">${hit === null ? t("lightbox.gone") : ""}</p>`}
        ${before && html`<${IconButton} icon="left" label=${t("lightbox.previous")} class="icon-button side before" onClick=${() => step(before)} />`}
        ${after && html`<${IconButton} icon="right" label=${t("lightbox.next")} class="icon-button side after" onClick=${() => step(after)} />`}
      </div>
      ${hit && html`<${Details} hit=${hit} act=${act} />`}
      <${Toast} />
    </dialog>`;
}

// As large as there is room for and as it is itself. Until it is there, the small one of the grid stands in its place.
function Large({ hit }) {
  const small = document.querySelector(`.open[data-id="${CSS.escape(hit.id)}"] img`)?.currentSrc;
  const shape = hit.width / hit.height || 1;
  const style = { aspectRatio: String(shape), width: `min(100cqw, ${100 * shape}cqh, ${hit.width}px)` };
  return html`
    ${small && html`<img src=${small} alt="" style=${style} />`}
    <${Picture} id=${hit.id} px=${SIDE_PX} alt=${nameOf(hit.path)} style=${style} eager />`;
}

// Handlers of an element that is swiped with one finger, to the right and to the left.
function useSwipe(right, left) {
  const start = useRef(null);
  return {
    onTouchStart: ({ touches }) => { start.current = touches.length === 1 ? touches[0] : null; },
    onTouchEnd: ({ changedTouches: [end] }) => {
      const from = start.current;
      start.current = null;
      if (!from || visualViewport.scale > 1) return; // who has zoomed in looks around
      const x = end.clientX - from.clientX, y = end.clientY - from.clientY;
      if (Math.abs(x) > Math.max(SWIPE_PX, 2 * Math.abs(y))) (x > 0 ? right : left)();
    },
  };
}

function Details({ hit, act }) {
  const facts = [
    `${count(hit.width)} × ${count(hit.height)}`, hit.format.toUpperCase(), bytes(hit.size_bytes), moment(hit.modified),
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
