// Something asked of the service for as long as a part of the page is shown.
import { useCallback, useEffect, useState } from "preact/hooks";
import * as api from "./api.js";
import { useStore } from "./store.js";

// {value, error, again}: `ask(signal)` is called now, whenever `depends` change, with each new key, and by `again()`.
export function useLoaded(ask, depends = []) {
  const [state, setState] = useState({ value: undefined, error: null });
  const [n, setN] = useState(0);
  const visit = useStore(api.visit);
  const reached = useStore(api.online);
  useEffect(() => {
    const controller = new AbortController();
    ask(controller.signal).then(
      (value) => setState({ value, error: null }),
      (error) => { if (!controller.signal.aborted) setState((before) => ({ ...before, error })); },
    );
    return () => controller.abort();
  }, [...depends, n, visit, reached]);
  return { ...state, again: useCallback(() => setN((before) => before + 1), []) };
}

// A deed that the service is asked for, and what came of it: {run, isRunning, error}.
export function useDeed(deed, onDone) {
  const [state, setState] = useState({ isRunning: false, error: null });
  const run = async (...args) => {
    setState({ isRunning: true, error: null });
    try {
      const answer = await deed(...args);
      setState({ isRunning: false, error: null });
      onDone?.(answer);
    } catch (error) {
      setState({ isRunning: false, error });
    }
  };
  return { ...state, run };
}
