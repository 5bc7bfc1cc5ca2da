// Above the pictures: how many, where the line is drawn, filters, and the answer as a file.
import { useRef, useState } from "preact/hooks";
import { useDismissal } from "./dismissal.js";
import { download } from "./download.js";
import { html } from "./html.js";
import { Icon } from "./icons.js";
import { nFilters } from "./question.js";
import { count, duration, score, t } from "./words.js";

export function Toolbar({ question, results, shown, isFiltering, onFilter, onAsk }) {
  const filters = nFilters(question);
  return html`
    <div class="toolbar">
      <p class="dim" role="status" aria-live="polite">${summary(question, results, shown)}</p>
      <${Cut} question=${question} results=${results} onAsk=${onAsk} />
      <button type="button" aria-expanded=${isFiltering} aria-controls="filters" onClick=${onFilter} class=${filters ? "active" : ""}>
        <${Icon} name="filter" /> ${t("filters")}${filters > 0 && html` <span class="badge">${count(filters)}</span>`}
      </button>
      ${shown.length > 0 && html`<${Download} hits=${shown} />`}
    </div>`;
}

function Download({ hits }) {
  const [open, setOpen] = useState(false);
  const menu = useRef();
  const escape = useDismissal(menu, open, () => setOpen(false));
  const take = (kind) => { download(hits, kind); setOpen(false); };
  return html`
    <div class="menu" ref=${menu} onKeyDown=${escape}>
      <button type="button" aria-expanded=${open} aria-label=${t("download")} title=${t("download")} onClick=${() => setOpen(!open)}><${Icon} name="download" /></button>
      ${open && html`
        <div class="popover">${["json", "csv"].map((kind) => html`
          <button type="button" class="quiet" onClick=${() => take(kind)}>${kind.toUpperCase()}</button>`)}
        </div>`}
    </div>`;
}

function summary(question, { loading, isStale, hits, answer, cursor }, shown) {
  if (isStale && loading) return t("results.searching");
  if (!answer) return "";
  const n = shown.length;
  const more = cursor && n === hits.length ? "+" : "";
  const total = answer.index?.count;
  const newest = { n, more: more && t("results.of", { total: answer.matching }) };
  const took = answer.took_ms ? ` · ${duration(answer.took_ms.total / 1000)}` : "";
  return (total === undefined ? t("results.newest", newest) : t("results.count", { n, more, total })) + took;
}

// Slides over the scores of what is loaded and acts at once, without asking the service again.
function Cut({ question, results, onAsk }) {
  const scores = results.hits.map((hit) => hit.score).filter((each) => each !== undefined);
  if (scores.length < 2) return null;
  const least = Math.floor(1000 * Math.min(...scores)) / 1000, most = Math.ceil(1000 * Math.max(...scores)) / 1000;
  const auto = results.answer?.cut_score;
  const at = question.cut === "auto" ? auto ?? least : question.cut ?? least;
  const slide = (event) => onAsk({ cut: +event.target.value <= least ? null : +event.target.value }, { replace: true });
  return html`
    <div class="cut">
      <label>${t("cut")} <input type="range" min=${least} max=${most} step="0.001" value=${at} onInput=${slide}
        aria-valuetext=${score(at)} /></label>
      <button type="button" class=${question.cut === "auto" ? "active" : ""} aria-pressed=${question.cut === "auto"} title=${t("cut.auto.why")}
        onClick=${() => onAsk({ cut: question.cut === "auto" ? null : "auto" })}>${t("cut.auto")}</button>
    </div>`;
}

// What is above the line. The service draws it itself when it is asked for "auto".
export function above(hits, cut) {
  return typeof cut === "number" ? hits.filter((hit) => hit.score === undefined || hit.score >= cut) : hits;
}
