// How the machine is doing, at a glance.
import { useState } from "preact/hooks";
import * as api from "./api.js";
import { ErrorSummary } from "./errors.js";
import { useEvents } from "./events.js";
import { html } from "./html.js";
import { useLoaded } from "./loading.js";
import { Memory } from "./memory.js";
import { Task } from "./states.js";
import { Tuning } from "./tuning.js";
import { Verification } from "./verification.js";
import { bytes, count, duration, percent, rate, t, tOr } from "./words.js";

export function Page({ stats }) {
  const [queue, setQueue] = useState(null);
  const [gpu, setGpu] = useState(null);
  useEvents({ queue: setQueue, gpu: setGpu });
  return html`
    <h1 class="unseen">${t("page.dashboard")}</h1>
    <${Figures} stats=${stats} queue=${queue} />
    <div class="panels">
      <${Memory} live=${gpu} />
      ${stats && html`<${Progress} progress=${stats.progress} notices=${stats.notices} />`}
      <${Encoders} devices=${(queue ?? stats?.queue)?.devices ?? []} />
      <${Tuning} stats=${stats} />
      ${stats && html`<${Folders} stats=${stats} />`}
      ${stats && html`<${ErrorSummary} stats=${stats} />`}
      ${stats && html`<${Verification} stats=${stats} />`}
    </div>`;
}

function Figures({ stats, queue }) {
  if (!stats) return null;
  const known = stats.encoded_total + stats.cache_hits_total;
  const limit = queue?.limited_by ?? stats.limited_by;
  const figures = [
    ["indexed", count(stats.indexed), t("figure.files", { n: stats.files })],
    ["rate", t("figure.per-second", { rate: rate(queue?.images_per_s ?? stats.images_per_s) }),
      queue?.busy_share !== undefined && t("figure.busy", { percent: percent(queue.busy_share) })],
    ["queue", count(queue?.depth ?? stats.pending), t("figure.oldest", { age: duration(queue?.oldest_s ?? stats.oldest_pending_s) })],
    ["limit", tOr(`stage.${limit}`, limit), stats.pending > 0 && t("state.pending", { n: stats.pending })],
    ["batch", count(queue?.busy_share ? queue.batch_size : stats.batch_size), stats.batch_size_from && tOr(`batch.${stats.batch_size_from}`, stats.batch_size_from)],
    ["cache", known ? percent(stats.cache_hits_total / known) : "–", t("figure.hits", { n: stats.cache_hits_total })],
    ["index", bytes(stats.index_bytes), t("figure.generation", { number: String(stats.generation) })],
  ];
  return html`
    <dl class="figures">${figures.map(([name, value, note]) => html`
      <div class="card" data-figure=${name}><dt>${t(`figure.${name}`)}</dt><dd>${value}${note && html`<small>${note}</small>`}</dd></div>`)}
    </dl>
    <p class="dim">${stats.model} · ${stats.precision} · ${stats.device}</p>`;
}

function Progress({ progress, notices }) {
  const running = progress.filter((each) => each.running);
  if (!running.length && !notices.length) return null;
  return html`
    <section class="panel card wide" aria-labelledby="now">
      <h2 id="now">${t("now")}</h2>
      ${notices.map((notice) => html`<p>${notice}</p>`)}
      ${running.map((progress) => html`<${Task} progress=${progress} />`)}
    </section>`;
}

// One that works needs no more than the figures; several, or one that is lost, are told apart.
function Encoders({ devices }) {
  if (devices.length < 2 && !devices.some(({ state }) => state === "lost")) return null;
  return html`
    <section class="panel card wide" aria-labelledby="encoders">
      <h2 id="encoders">${t("encoders")}</h2>
      <table class="list">
        <thead><tr><th>${t("encoders.device")}</th><th>${t("encoders.state")}</th><th class="number">${t("tuning.rate")}</th><th class="number">${t("encoders.busy")}</th></tr></thead>
        <tbody>${devices.map(({ device, state, images_per_s: pace, busy_share: busy, trouble }) => html`
          <tr><td>${device}</td><td class=${state === "lost" ? "bad" : ""}>${tOr(`encoder.${state}`, state)}${trouble && html`<br /><span class="dim">${trouble}</span>`}</td>
            <td class="number">${rate(pace)}</td><td class="number">${percent(busy)}</td></tr>`)}
        </tbody>
      </table>
    </section>`;
}

function Folders({ stats: { watching, indexed } }) {
  const folders = Object.keys(watching);
  const countIn = (path, signal) => api.newest({ limit: 1, where: { path } }, signal).then(({ matching }) => matching, () => null);
  const { value: counts } = useLoaded((signal) => Promise.all(folders.map((path) => countIn(path, signal))), [folders.join(), indexed]);
  return html`
    <section class="panel card" aria-labelledby="folders-title">
      <h2 id="folders-title">${t("folders")}</h2>
      <table class="list">
        <thead><tr><th>${t("folders.path")}</th><th>${t("folders.watched")}</th><th class="number">${t("folders.files")}</th></tr></thead>
        <tbody>${folders.map((path, i) => html`
          <tr><td><code>${path}</code></td><td>${tOr(`watched.${watching[path]}`, watching[path])}</td><td class="number">${Number.isInteger(counts?.[i]) ? count(counts[i]) : "–"}</td></tr>`)}
        </tbody>
      </table>
    </section>`;
}
