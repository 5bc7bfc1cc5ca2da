// The last verification's report, and the button that runs one.
import * as api from "./api.js";
import { html } from "./html.js";
import { useDeed } from "./loading.js";
import { sentenceOf } from "./states.js";
import { askStats } from "./stats.js";
import { count, duration, moment, t, tOr } from "./words.js";

export function Verification({ stats: { verify: report, progress } }) {
  const isRunning = progress.some(({ task, running }) => running && task === "verify");
  const verify = useDeed(api.verify, askStats);
  return html`
    <section class="panel card" aria-labelledby="verification">
      <header>
        <h2 id="verification">${t("verify")}</h2>
        ${report?.ok === false && html`<button type="button" class="primary" disabled=${isRunning || verify.isRunning} onClick=${() => verify.run(true)}>${t("verify.mend")}</button>`}
        <button type="button" disabled=${isRunning || verify.isRunning} onClick=${() => verify.run(false)}>${t(isRunning ? "verify.running" : "verify.run")}</button>
      </header>
      ${verify.error && html`<p class="bad" role="alert">${sentenceOf(verify.error)}</p>`}
      ${report ? html`<${Report} report=${report} />` : html`<p class="dim">${t("verify.none")}</p>`}
    </section>`;
}

function Report({ report }) {
  const found = Object.entries(report.found);
  return html`
    <p>${t(report.ok ? "verify.ok" : "verify.bad")} <span class="dim">${moment(report.started_at)} · ${duration(report.seconds)}</span></p>
    <table class="list"><tbody>
      ${["files", "contents", "features", "rows", "reencoded"].map((name) => html`
        <tr><td>${t(`verify.${name}`)}</td><td class="number">${count(report[name])}</td></tr>`)}
      ${found.map(([flaw, n]) => html`
        <tr class="bad"><td>${tOr(`flaw.${flaw}`, flaw)}</td><td class="number">${t("verify.found", { found: count(n), mended: count(report.mended[flaw] ?? 0) })}</td></tr>`)}
    </tbody></table>
    ${report.notes.map((note) => html`<p class="dim">${note}</p>`)}`;
}
