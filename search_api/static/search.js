// The search page.
import { useCallback, useEffect, useMemo, useRef, useState } from "preact/hooks";
import * as address from "./address.js";
import { Box } from "./box.js";
import { useEvents } from "./events.js";
import { Filters } from "./filters.js";
import { Grid, More } from "./grid.js";
import { html } from "./html.js";
import { IconButton } from "./icons.js";
import { Lightbox } from "./lightbox.js";
import { idTerm, isEmpty, keyOf, meaningOf, nFilters, read, searchOf, write } from "./question.js";
import { forgetAll, recent, remember } from "./recent.js";
import { atMostEvery } from "./pace.js";
import { useResults } from "./results.js";
import { Failure, Loading, Notice } from "./states.js";
import { useStore } from "./store.js";
import { copy } from "./toast.js";
import { above, Toolbar } from "./toolbar.js";
import { t } from "./words.js";

// What can be asked of photographs, and of the demo's drawings. The models know English best: the words that are shown
// are the visitor's, those that are asked are these.
const EXAMPLES = { "example.dog": "a dog on a beach", "example.flowers": "red flowers", "example.city": "a city at night", "example.food": "food on a table" };
const DRAWN = { "example.heart": "an orange heart", "example.stars": "three yellow stars", "example.circles": "blue circles", "example.stripes": "a striped square" };
const REFRESH_MS = 2000;
const NEAR = 0.97; // the cosine from which the service folds
const OVER = "over"; // the state of a step that opened a picture over the page
const MEANT_MS = 2000; // a search looked at for so long was meant

export function SearchPage({ href, stats }) {
  const question = useMemo(() => read(href), [href]);
  const results = useResults(question);
  const shown = useMemo(() => above(results.hits, question.cut), [results.hits, question.cut]);
  const [isFiltering, setFiltering] = useState(nFilters(question) > 0);
  const { fresh, n: news } = useFresh(results.refresh);
  const act = useDeeds(question);
  const view = new URL(href).searchParams.get("view");
  const label = labelOf(question);

  useEffect(() => {
    if (isEmpty(question) || results.isStale || results.error) return undefined;
    const timer = setTimeout(() => remember(label, searchOf(href)), MEANT_MS);
    return () => clearTimeout(timer);
  }, [href, results.isStale]);
  useEffect(() => { document.title = label ? `${label} · lookalike` : "lookalike"; }, [label]);

  const enter = useEntering(!results.isStale && !results.loading);
  return html`
    <h1 class="unseen">${t("page.search")}</h1>
    <${Box} question=${question} onAsk=${act.ask} onEnter=${() => { remember(label, searchOf(href)); enter(); }} />
    ${isEmpty(question) && html`<${Suggestions} stats=${stats} />`}
    ${(!isEmpty(question) || shown.length > 0) && html`
      <${Toolbar} question=${question} results=${results} shown=${shown} isFiltering=${isFiltering}
        onFilter=${() => setFiltering(!isFiltering)} onAsk=${act.ask} />`}
    ${isFiltering && html`<${Filters} question=${question} folders=${foldersOf(stats, results.hits)} onAsk=${act.ask} />`}
    <${Outcome} question=${question} results=${results} shown=${shown} stats=${stats} act=${act} fresh=${fresh} />
    ${news > 0 && html`<button type="button" class="primary news" onClick=${() => scrollTo(0, 0)}>${t("news", { n: news })}</button>`}
    ${view && html`<${Lightbox} id=${view} hits=${shown} more=${shown.length < results.hits.length ? undefined : results.more} act=${act} liked=${question.liked} disliked=${question.disliked} />`}`;
}

function Outcome({ question, results, shown, stats, act, fresh }) {
  const { error, loading, isStale, hits } = results;
  if (stats?.indexed === 0 && !shown.length && !error?.status) return html`<${NoImages} stats=${stats} />`;
  if (error && !(hits.length && !isStale)) {
    if (error.status === 404 && isEmpty(question)) return null;
    return html`<${Failure} error=${error} onRetry=${results.refresh} />`;
  }
  if (loading && !hits.length) return html`<${Loading} />`;
  if (!shown.length && !loading) return html`<${NoHits} question=${question} hits=${hits} act=${act} />`;
  return html`
    <div class=${isStale ? "stale" : ""} aria-busy=${isStale}>
      <${Grid} hits=${shown} of=${results.key} line=${results.answer?.cut_score} fresh=${fresh} act=${act} liked=${question.liked} disliked=${question.disliked} />
      <${More} results=${results} hidden=${shown.length < hits.length} />
    </div>`;
}

function NoImages({ stats }) {
  const folders = Object.keys(stats.watching);
  return html`
    <${Notice} title=${stats.pending ? t("empty.soon", { n: stats.pending }) : t("empty")}>
      <p>${stats.pending ? t("empty.soon.todo") : t("empty.todo")}</p>
      ${folders.map((folder) => html`
        <p class="path"><code>${folder}</code><${IconButton} icon="copy" label=${t("lightbox.copy", { path: folder })} onClick=${() => copy(folder)} /></p>`)}
    <//>`;
}

function NoHits({ question, hits, act }) {
  const cutAll = hits.length > 0 && question.cut !== null;
  if (cutAll) return html`<${Notice} icon="filter" title=${t("none.cut")}><button type="button" onClick=${() => act.ask({ cut: null })}>${t("none.cut.todo")}</button><//>`;
  if (nFilters(question)) {
    const reset = () => act.ask({ folder: "", from: "", to: "", minSide: "", formats: [] });
    return html`<${Notice} icon="filter" title=${t("none.filtered")}><button type="button" onClick=${reset}>${t("filters.reset")}</button><//>`;
  }
  return html`<${Notice} icon="search" title=${t("none")}><p>${t("none.todo")}</p><//>`;
}

function Suggestions({ stats }) {
  const searches = useStore(recent);
  const examples = Object.entries(stats?.model.endsWith("demo") ? DRAWN : EXAMPLES);
  const link = (href, label) => html`<a class="suggestion" href=${href} onClick=${address.follow}>${label}</a>`;
  return html`
    <nav class="suggestions" aria-label=${t("suggestions")}>
      ${searches.length > 0 ? html`<span class="dim">${t("recent")}</span>` : stats?.indexed > 0 && html`<span class="dim">${t("examples")}</span>`}
      ${searches.length
        ? searches.map(({ label, search }) => link(`/?${search}`, label))
        : stats?.indexed > 0 && examples.map(([key, words]) => link(`/?q=${encodeURIComponent(words)}`, t(key)))}
      ${searches.length > 0 && html`<button type="button" class="quiet" onClick=${forgetAll}>${t("recent.forget")}</button>`}
    </nav>`;
}

// What can be done with a question and its pictures; the same functions for as long as the page lives.
function useDeeds(question) {
  const latest = useRef();
  latest.current = question;
  return useMemo(() => {
    const ask = (changes, options) => {
      const before = latest.current, next = { ...before, ...changes };
      if (!("cut" in changes) && next.cut !== "auto" && meaningOf(next) !== meaningOf(before)) next.cut = null; // scores differ
      if (keyOf(next) !== keyOf(before)) scrollTo(0, 0);
      address.go(address.withParams(write(next)), options);
    };
    const view = (id, options) => address.go(address.withParams({ view: id }), { state: OVER, ...options });
    const judge = (to, other) => (id) => ask({
      [to]: latest.current[to].includes(id) ? latest.current[to].filter((each) => each !== id) : [...latest.current[to], id],
      [other]: latest.current[other].filter((each) => each !== id),
    });
    const alone = (id, changes = {}) => ask({ text: "", terms: [idTerm(id)], liked: [], disliked: [], cut: null, fold: true, ...changes });
    return {
      ask, view,
      similar: (id) => alone(id),
      like: judge("liked", "disliked"),
      dislike: judge("disliked", "liked"),
      unfold: (id) => alone(id, { fold: false, cut: NEAR }),
      close: () => history.state === OVER ? history.back() : address.go(address.withParams({ view: null }), { replace: true }),
      copy,
    };
  }, []);
}

// Enter goes to the first picture, as soon as the answer is there.
function useEntering(isAnswered) {
  const [isMeant, setMeant] = useState(false);
  useEffect(() => {
    if (!isMeant || !isAnswered) return;
    setMeant(false);
    document.querySelector(".open")?.focus({ preventScroll: true });
  }, [isMeant, isAnswered]);
  return () => setMeant(true);
}

// Ids that were indexed while the page was open. News ask the question again, now or soon: while much comes in, the
// service has better things to do than to answer the same question four times a second. Nothing is moved under the eyes
// of who has scrolled down: they are told how many pictures are new (`n`), and see them when they come back to the top.
function useFresh(refresh) {
  const [fresh, setFresh] = useState(new Set());
  const [n, setN] = useState(0);
  const latest = useRef();
  const isDue = useRef(false);
  latest.current = refresh;
  const [soon, onScroll] = useMemo(() => {
    const look = () => {
      if (!isDue.current || scrollY > innerHeight / 2) return;
      isDue.current = false;
      setN(0);
      latest.current();
    };
    return [atMostEvery(REFRESH_MS, look), look];
  }, []);
  useEffect(() => {
    addEventListener("scroll", onScroll, { passive: true });
    return () => removeEventListener("scroll", onScroll);
  }, []);
  const onIndex = useCallback(({ added = [], removed = 0 }) => {
    if (!added.length && !removed) return;
    if (added.length) setFresh((before) => new Set([...before, ...added].slice(-500)));
    isDue.current = true;
    if (scrollY > innerHeight / 2) setN((before) => before + added.length);
    soon();
  }, []);
  useEvents({ index: onIndex, again: refresh });
  return { fresh, n };
}

// What the folder may be: those that are watched, and those of the pictures that are shown.
function foldersOf(stats, hits) {
  const folders = hits.map(({ path }) => path.slice(0, path.lastIndexOf("/")));
  return [...new Set([...Object.keys(stats?.watching ?? {}), ...folders.sort()])];
}

// A question in few words, for the title and for recent searches.
function labelOf({ text, terms, liked }) {
  const named = terms.map(({ kind, value, weight }) => (weight < 0 ? "− " : "") + (kind === "text" ? value : t("chip.picture")));
  return [text.trim(), ...named, liked.length ? t("chip.liked") : ""].filter(Boolean).join(" + ").replaceAll("+ −", "−");
}
