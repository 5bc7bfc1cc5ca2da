// The answer to the question in the address: asked while it is typed, the stale dropped, page by page, kept for "back".
import { useCallback, useEffect, useMemo, useRef, useState } from "preact/hooks";
import * as api from "./api.js";
import { body, browsing, isEmpty, keyOf, PAGE } from "./question.js";
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
  const shown = useRef(results);
  const wanted = useRef();
  const before = useRef(question);
  wanted.current = key;

  const show = useCallback((next) => { shown.current = next; setResults(next); }, []);
  const settle = useCallback((next) => {
    keep(next.key, next);
    show(next);
    setState({ loading: false, error: null });
  }, []);

  useEffect(() => {
    const typing = question.text !== before.current.text;
    before.current = question;
    setState({ loading: !kept.has(key), error: null });
    if (kept.has(key)) {
      show(kept.get(key));
      refresh();
      return undefined;
    }
    const controller = new AbortController();
    const timer = setTimeout(() => ask(question, {}, controller.signal).then((answer) => settle(joined({ key, ...NOTHING }, answer)), (error) => {
      if (!controller.signal.aborted) setState({ loading: false, error });
    }), typing ? TYPING_MS : 0);
    return () => { clearTimeout(timer); controller.abort(); };
  }, [key, visit, reached]);

  // What is asked later of the same question: one after the other, each once however often it is wanted meanwhile.
  const inTurn = useMemo(turns, [key]);
  const isShown = () => wanted.current === key && shown.current.key === key;

  const more = useCallback(() => inTurn("more", async () => {
    const { cursor } = shown.current;
    if (!cursor || !isShown()) return;
    try {
      const answer = await ask(question, { cursor });
      if (isShown()) settle(joined(shown.current, answer));
    } catch (error) {
      setState({ loading: false, error });
    }
  }), [key]);

  // The same question anew, as long as the answer shown: the collection has changed.
  const refresh = useCallback(() => inTurn("refresh", async () => {
    if (document.hidden) return; // it is called again when the page is looked at
    const { hits, cursor } = isShown() ? shown.current : NOTHING;
    try {
      const answer = await ask(question, { limit: Math.min(MOST, Math.max(PAGE, hits.length)) });
      if (wanted.current !== key) return;
      const whole = joined({ key, ...NOTHING }, answer);
      settle(hits.length > MOST ? { ...joined(whole, { hits: hits.slice(MOST) }), cursor, answer } : whole);
    } catch (error) {
      if (!isShown()) setState({ loading: false, error }); // else what is shown stays, and the next event comes
    }
  }), [key]);

  const isStale = results.key !== key;
  return { ...results, ...state, loading: state.loading || (isStale && !state.error), isStale, more, refresh };
}

function turns() {
  const due = new Set();
  let last = Promise.resolve();
  return (name, work) => {
    if (due.has(name)) return;
    due.add(name);
    last = last.then(() => { due.delete(name); return work(); });
  };
}

function ask(question, options, signal) {
  return isEmpty(question) ? api.newest(browsing(question, options), signal) : api.search(body(question, options), signal);
}

function joined(before, answer) {
  const known = new Set(before.hits.map(({ id }) => id));
  const hits = [...before.hits, ...(answer.hits ?? answer.images).filter(({ id }) => !known.has(id))];
  return { key: before.key, hits, cursor: answer.cursor ?? answer.before ?? null, answer };
}

function keep(key, results) {
  kept.delete(key);
  kept.set(key, results);
  if (kept.size > N_KEPT) kept.delete(kept.keys().next().value);
}
