// The service's state, asked for now and then while somebody looks.
import { useEffect, useState } from "preact/hooks";
import * as api from "./api.js";
import { useStore } from "./store.js";

const EVERY_MS = 4000;

export function useStats() {
  const [stats, setStats] = useState(null);
  const visit = useStore(api.visit);
  useEffect(() => {
    const ask = () => { if (!document.hidden) api.stats().then(setStats, () => { /* the banner says it */ }); };
    ask();
    const timer = setInterval(ask, EVERY_MS);
    document.addEventListener("visibilitychange", ask);
    return () => { clearInterval(timer); document.removeEventListener("visibilitychange", ask); };
  }, [visit]);
  return stats;
}
