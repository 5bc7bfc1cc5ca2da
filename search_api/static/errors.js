// Files that cannot be searched, and why; and the question why a file cannot be found.
import { useState } from "preact/hooks";
import { follow } from "./address.js";
import * as api from "./api.js";
import { html } from "./html.js";
import { useDeed, useLoaded } from "./loading.js";
import { Failure, Loading, Notice, sentenceOf } from "./states.js";
import { say } from "./toast.js";
import { bytes, count, moment, t, tOr } from "./words.js";

const STEP = 100, MOST = 1000; // the service tells no more at once

export function Page({ stats }) {
  const [n, setN] = useState(STEP);
  const { value, error, again } = useLoaded((signal) => api.refused(n, 0, signal), [n, stats?.errors]);
  const retry = useDeed(api.retry, ({ n: taken }) => { say(t("retry.taken", { n: taken })); again(); });
  return html`
    <h1 class="unseen">${t("page.errors")}</h1>
    <${Why} />
    <section class="panel card" aria-labelledby="refused">
      <header>
        <h2 id="refused">${value?.total > 0 ? t("errors.count", { n: value.total }) : t("page.errors")}</h2>
        ${value?.total > 0 && html`<button type="button" disabled=${retry.isRunning} onClick=${() => retry.run()}>${t("retry.all")}</button>`}
      </header>
      ${retry.error && html`<p class="bad" role="alert">${sentenceOf(retry.error)}</p>`}
      ${error ? html`<${Failure} error=${error} onRetry=${again} />` : !value ? html`<${Loading} />`
        : value.total === 0 ? html`<${Notice} icon="check" title=${t("errors.none")}><p>${t("errors.none.todo")}</p><//>`
        : html`<${Refused} files=${value.errors} onRetry=${(path) => retry.run(path)} isBusy=${retry.isRunning} />`}
      ${value && value.total > value.errors.length && (n < MOST
        ? html`<p><button type="button" onClick=${() => setN(Math.min(MOST, n + STEP))}>${t("results.more")}</button></p>`
        : html`<p class="dim">${t("results.most", { n: MOST })}</p>`)}
    </section>`;
}

function Refused({ files, onRetry, isBusy }) {
  return html`
    <div class="scroll" tabindex="0" role="group" aria-labelledby="refused">
      <table class="list stacks">
        <thead><tr><th>${t("errors.path")}</th><th>${t("errors.reason")}</th><th class="number">${t("errors.size")}</th><th>${t("errors.when")}</th><th><span class="unseen">${t("retry")}</span></th></tr></thead>
        <tbody>${files.map(({ path, reason, detail, size_bytes: size, recorded, retried }) => html`
          <tr key=${path}>
            <td><code>${path}</code></td><td>${tOr(`reason.${reason}`, reason)}<br /><span class="dim">${detail}${retried && ` · ${t("errors.retried")}`}</span></td>
            <td class="number">${bytes(size)}</td><td class="when">${moment(recorded)}</td>
            <td><button type="button" disabled=${isBusy} onClick=${() => onRetry(path)} aria-label=${t("retry.one", { path })}>${t("retry")}</button></td>
          </tr>`)}
        </tbody>
      </table>
    </div>`;
}

function Why() {
  const [answer, setAnswer] = useState(null);
  const why = useDeed(api.why, setAnswer);
  const submit = (event) => { event.preventDefault(); setAnswer(null); why.run(new FormData(event.target).get("path").trim()); };
  return html`
    <section class="panel card" aria-labelledby="why">
      <h2 id="why">${t("why")}</h2>
      <form class="row" onSubmit=${submit}>
        <input name="path" required aria-label=${t("why.path")} placeholder=${t("why.example")} spellcheck=${false} />
        <button>${t("why.ask")}</button>
      </form>
      <p role="status" class=${why.error ? "bad" : ""}>${why.error ? sentenceOf(why.error) : answer?.sentence}</p>
    </section>`;
}

// For the dashboard: how many for which reason.
export function ErrorSummary({ stats }) {
  const retry = useDeed(api.retry, ({ n }) => say(t("retry.taken", { n })));
  const reasons = Object.entries(stats.errors_by_reason).sort(([, a], [, b]) => b - a);
  return html`
    <section class="panel card" aria-labelledby="error-summary">
      <header>
        <h2 id="error-summary">${t("errors.count", { n: stats.errors })}</h2>
        ${stats.errors > 0 && html`<button type="button" disabled=${retry.isRunning} onClick=${() => retry.run()}>${t("retry.all")}</button>`}
      </header>
      ${retry.error && html`<p class="bad" role="alert">${sentenceOf(retry.error)}</p>`}
      ${reasons.length > 0 && html`
        <table class="list"><tbody>${reasons.map(([reason, n]) => html`
          <tr><td>${tOr(`reason.${reason}`, reason)}</td><td class="number">${count(n)}</td></tr>`)}</tbody></table>
        <p><a href="/errors" onClick=${follow}>${t("errors.each")}</a></p>`}
      ${!reasons.length && html`<p class="dim">${t("errors.none.todo")}</p>`}
    </section>`;
}
