// The service's state, asked for now and then while somebody looks, and at once when something was set going.
import { useEffect } from "preact/hooks";
import * as api from "./api.js";
import { store, useStore } from "./store.js";

const EVERY_MS = 4000;
const known = store(null);

export const askStats = () => api.stats().then(known.set, () => { /* the banner says it */ });

export function useStats() {
  const visit = useStore(api.visit);
  useEffect(() => {
    const ask = () => { if (!document.hidden) askStats(); };
    ask();
    const timer = setInterval(ask, EVERY_MS);
    document.addEventListener("visibilitychange", ask);
    return () => { clearInterval(timer); document.removeEventListener("visibilitychange", ask); };
  }, [visit]);
  return useStore(known);
}
