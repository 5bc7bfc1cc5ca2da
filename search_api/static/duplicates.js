// Pictures that are there more than once, side by side: the same bytes, the same picture, or a similar scene.
import { useEffect, useState } from "preact/hooks";
import { follow } from "./address.js";
import * as api from "./api.js";
import { html } from "./html.js";
import { useLoaded } from "./loading.js";
import { Picture } from "./picture.js";
import { Failure, Loading, Notice, Task } from "./states.js";
import { IconButton } from "./icons.js";
import { copy } from "./toast.js";
import { bytes, count, nameOf, score, t } from "./words.js";

const TIERS = ["same", "variant", "similar"];
const STEP = 30, MOST = 1000; // the service tells no more at once
const AGAIN_MS = 1500;

export function Page({ href }) {
  const asked = new URL(href).searchParams.get("tier");
  const tier = TIERS.includes(asked) ? asked : TIERS[0];
  return html`
    <h1 class="unseen">${t("page.duplicates")}</h1>
    <nav class="tabs" aria-label=${t("tiers")}>${TIERS.map((each) => html`
      <a href=${`/duplicates?tier=${each}`} onClick=${follow} aria-current=${each === tier ? "page" : undefined}>${t(`tier.${each}`)}</a>`)}
    </nav>
    <p class="lead">${t(`tier.${tier}.means`)}</p>
    <${Groups} key=${tier} tier=${tier} />`;
}

function Groups({ tier }) {
  const [n, setN] = useState(STEP);
  const { value, error, again } = useLoaded((signal) => api.duplicates(tier, n, 0, signal), [tier, n]);
  useEffect(() => {
    if (!value?.progress) return undefined;
    const timer = setTimeout(again, AGAIN_MS);
    return () => clearTimeout(timer);
  }, [value]);
  if (error) return html`<${Failure} error=${error} onRetry=${again} />`;
  if (!value) return html`<${Loading} />`;
  if (!value.groups.length) {
    if (value.progress) return html`<${Notice} icon="pairs" title=${t("task.duplicates")}><${Task} progress=${value.progress} name="" /><//>`;
    return html`<${Notice} icon="pairs" title=${t("duplicates.none")}><p>${t("duplicates.none.todo")}</p><//>`;
  }
  return html`
    ${value.progress && html`<${Task} progress=${value.progress} />`}
    <p class="dim" role="status">${t("duplicates.count", { n: value.total })}</p>
    <div class="groups">${value.groups.map((group) => html`<${Group} key=${group.images[0].id} group=${group} tier=${tier} />`)}</div>
    ${value.total > value.groups.length && html`<div class="more">${n < MOST
      ? html`<button type="button" onClick=${() => setN(Math.min(MOST, n + STEP))}>${t("results.more")}</button>`
      : html`<p class="dim">${t("results.most", { n: MOST })}</p>`}</div>`}`;
}

function Group({ group: { images, score: alike }, tier }) {
  const title = tier === "same" ? t("duplicates.files", { n: images[0].paths.length }) : t("duplicates.pictures", { n: images.length });
  const spare = tier === "same" ? images[0].size_bytes * (images[0].paths.length - 1) : 0;
  return html`
    <section class=${`group card ${tier}`}>
      <header><h2>${title}</h2><span class="dim">${spare ? t("duplicates.spare", { bytes: bytes(spare) }) : t("lightbox.score", { score: score(alike) })}</span></header>
      ${images.map((image) => html`
        <figure key=${image.id}>
          <a class="open" href=${`/?with=1:id:${image.id}&view=${image.id}`} onClick=${follow}>
            <${Picture} id=${image.id} px=${240} alt=${nameOf(image.path)} /></a>
          <figcaption>
            <span class="dim">${count(image.width)} × ${count(image.height)} · ${image.format.toUpperCase()} · ${bytes(image.size_bytes)}</span>
            ${image.paths.map((path) => html`<p class="path"><code>${path}</code><${IconButton} icon="copy" label=${t("lightbox.copy", { path })} onClick=${() => copy(path)} /></p>`)}
          </figcaption>
        </figure>`)}
    </section>`;
}
