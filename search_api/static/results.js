// The answer to the question in the address: asked while it is typed, the stale dropped, page by page, kept for "back".
import { useCallback, useEffect, useRef, useState } from "preact/hooks";
import * as api from "./api.js";
import { body, browsing, isEmpty, keyOf } from "./question.js";
import { useStore } from "./store.js";

const TYPING_MS = 120;
const MOST = 1000;
const N_KEPT = 12;
const kept = new Map(); // key of a question -> its answer; the oldest goes first

const NOTHING = { hits: [], cursor: null, answer: null };

export function useResults(question) {
  const key = keyOf(question);
  const visit = useStore(api.visit);
  const reached = useStore(api.online);
  const [results, setResults] = useState({ key: null, ...NOTHING });
  const [state, setState] = useState({ loading: true, error: null });
  const shown = useRef();
  const wanted = useRef();
  const waiting = useRef(null);
  const before = useRef(question);
  shown.current = results;
  wanted.current = key;

  const settle = useCallback((next) => {
    keep(next.key, next);
    setResults(next);
  }, []);

  useEffect(() => {
    const controller = new AbortController();
    const known = kept.get(key);
    if (known) setResults(known);
    const typing = question.text !== before.current.text;
    before.current = question;
    setState({ loading: !known, error: null });
    const timer = setTimeout(() => ask(question, {}, controller.signal).then((answer) => {
      settle(joined({ key, ...NOTHING }, answer));
      setState({ loading: false, error: null });
    }, (error) => {
      if (!controller.signal.aborted) setState({ loading: false, error });
    }), typing ? TYPING_MS : 0);
    waiting.current = null;
    return () => { clearTimeout(timer); controller.abort(); };
  }, [key, visit, reached]);

  // The next page; one at a time.
  const more = useCallback(() => {
    const { cursor, key: of } = shown.current;
    if (!cursor || waiting.current === cursor) return;
    waiting.current = cursor;
    ask(question, { cursor }).then((answer) => {
      if (shown.current.key === of && shown.current.cursor === cursor) settle(joined(shown.current, answer));
    }, (error) => setState({ loading: false, error })).finally(() => { waiting.current = null; });
  }, [key]);

  // The same question anew, as long as the answer shown: the collection has changed.
  const refresh = useCallback(() => {
    if (waiting.current || document.hidden) return;
    waiting.current = "refresh";
    const limit = Math.min(MOST, Math.max(60, shown.current.hits.length));
    ask(question, { limit }).then((answer) => {
      if (wanted.current !== key) return;
      settle(joined({ key, ...NOTHING }, answer));
      setState({ loading: false, error: null });
    }, () => { /* what is shown stays; the next event comes */ }).finally(() => { waiting.current = null; });
  }, [key]);

  const isStale = results.key !== key;
  return { ...results, ...state, loading: state.loading || (isStale && !state.error), isStale, more, refresh };
}

function ask(question, options, signal) {
  return isEmpty(question) ? api.newest(browsing(question, options), signal) : api.search(body(question, options), signal);
}

function joined(before, answer) {
  const known = new Set(before.hits.map(({ id }) => id));
  const hits = [...before.hits, ...(answer.hits ?? answer.images).filter(({ id }) => !known.has(id))];
  performance.mark("answer");
  return { key: before.key, hits, cursor: answer.cursor ?? answer.before ?? null, answer };
}

function keep(key, results) {
  kept.delete(key);
  kept.set(key, results);
  if (kept.size > N_KEPT) kept.delete(kept.keys().next().value);
}
