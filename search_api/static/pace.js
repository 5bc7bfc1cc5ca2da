// Calls `work` at once, but not sooner than so long after the last time: then later, once.
export function atMostEvery(ms, work) {
  let last = -Infinity, timer;
  const now = () => { timer = undefined; last = performance.now(); work(); };
  return () => { timer ??= setTimeout(now, Math.max(0, last + ms - performance.now())); };
}
