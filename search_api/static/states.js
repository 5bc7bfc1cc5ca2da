// When there are no pictures to show: what that means, and what to do next.
import { Unreachable } from "./api.js";
import { html } from "./html.js";
import { Icon } from "./icons.js";
import { count, duration, t, tOr } from "./words.js";

export function Notice({ icon = "picture", title, children }) {
  return html`<div class="notice" role="status"><${Icon} name=${icon} /><h2>${title}</h2>${children}</div>`;
}

export const isLacking = (error) => LACKING.includes(error.kind);

const LACKING = ["no-route", "method-not-allowed"]; // a service that is older than this page

// What went wrong, in a sentence.
export function sentenceOf(error) {
  if (error instanceof Unreachable) return t("offline.short");
  return isLacking(error) ? t("no-route") : error.message;
}

export function Failure({ error, onRetry }) {
  if (error instanceof Unreachable) return html`<${Notice} icon="alert" title=${t("offline")}><p>${t("offline.todo")}</p><//>`;
  if (error.kind === "no-text-tower") return html`<${Notice} icon="picture" title=${t("no-text")}><p>${t("no-text.todo")}</p><//>`;
  if (error.status === 401) return html`<${Notice} icon="alert" title=${t("key.wanted")} />`;
  if (isLacking(error)) return html`<${Notice} icon="alert" title=${t("no-route")}><p>${t("no-route.todo")}</p><//>`;
  return html`
    <${Notice} icon="alert" title=${t("failed")}>
      <p>${error.message}</p>
      ${onRetry && html`<button type="button" onClick=${onRetry}>${t("failed.retry")}</button>`}
    <//>`;
}

// A long task that is under way; `name` where nothing else has told it.
export const Task = ({ progress: { task, n_done: done, n_total: total, eta_s: eta }, name = tOr(`task.${task}`, task) }) => html`
  <p><label>${name} <span class="dim">${count(done)} / ${count(total)}${Number.isFinite(eta) && ` · ${duration(eta)}`}</span>
    <progress value=${done} max=${Math.max(1, total)} /></label></p>`;

export const Loading = () => html`<div class="loading" role="status"><span class="unseen">${t("loading")}</span>${
  [1.5, 0.8, 1.3, 1, 1.6, 0.7, 1.4].map((shape) => html`<i style=${{ flexGrow: shape }} />`)}</div>`;
