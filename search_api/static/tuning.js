// Measured batch sizes, and the button that measures them.
import * as api from "./api.js";
import { html } from "./html.js";
import { useDeed, useLoaded } from "./loading.js";
import { isLacking, sentenceOf } from "./states.js";
import { askStats } from "./stats.js";
import { bytes, count, duration, moment, rate, t } from "./words.js";

export function Tuning({ stats }) {
  const isTuning = stats?.progress.some(({ task, running }) => running && task.startsWith("tun")) ?? false;
  const { value, error } = useLoaded(api.tuning, [isTuning]);
  const tune = useDeed(api.tune, askStats);
  return html`
    <section class="panel card" aria-labelledby="tuning">
      <header>
        <h2 id="tuning">${t("tuning")}</h2>
        <button type="button" disabled=${isTuning || tune.isRunning} onClick=${() => tune.run()}>${t(isTuning ? "tuning.running" : "tuning.run")}</button>
      </header>
      ${tune.error && html`<p class="bad" role="alert">${isLacking(tune.error) ? t("tuning.by-hand") : sentenceOf(tune.error)}</p>`}
      ${error && html`<p class="dim">${error.kind === "not-tuned" ? t("tuning.none") : sentenceOf(error)}</p>`}
      ${value && !error && html`<${Rows} tuning=${value} />`}
    </section>`;
}

function Rows({ tuning: { rows, size, device, measured } }) {
  return html`
    <div class="scroll" tabindex="0" role="group" aria-label=${t("tuning")}>
      <table class="list">
        <thead><tr><th>${t("tuning.size")}</th><th class="number">${t("tuning.rate")}</th><th class="number">${t("tuning.memory")}</th><th class="number">${t("tuning.latency")}</th></tr></thead>
        <tbody>${rows.map((row) => html`
          <tr class=${row.size === size ? "chosen" : ""} aria-current=${row.size === size ? "true" : undefined}>
            <td>${count(row.size)}${row.size === size && html` <small>${t("tuning.chosen")}</small>`}</td><td class="number">${rate(row.images_per_s)}</td>
            <td class="number">${bytes(row.memory_bytes)}</td><td class="number">${duration(row.latency_ms / 1000)}</td>
          </tr>`)}
        </tbody>
      </table>
    </div>
    <p class="dim">${device} · ${moment(measured)}</p>`;
}
