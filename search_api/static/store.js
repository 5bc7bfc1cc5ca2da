// A value that many parts of the page look at.
import { useEffect, useState } from "preact/hooks";

export function store(value) {
  const watchers = new Set();
  return {
    get: () => value,
    set(next) {
      if (Object.is(next, value)) return;
      value = next;
      for (const watcher of [...watchers]) watcher(value);
    },
    watch(watcher) {
      watchers.add(watcher);
      return () => watchers.delete(watcher);
    },
  };
}

export function useStore(source) {
  const [value, setValue] = useState(source.get());
  useEffect(() => {
    setValue(source.get()); // it may have changed between the first drawing and now
    return source.watch(setValue);
  }, [source]);
  return value;
}
