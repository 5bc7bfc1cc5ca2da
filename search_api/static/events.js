// What the service tells unasked (server-sent events). Read by `fetch`, since EventSource cannot send a key.
import { useEffect, useRef } from "preact/hooks";
import { open, online, Problem, visit } from "./api.js";
import { useStore } from "./store.js";

const FIRST_WAIT_MS = 500;
const LONGEST_WAIT_MS = 15000;

// Calls `handlers[topic](data)` for each event. `handlers.again`, if given, is called when a stream that ended has
// begun anew: something may have been missed.
export function useEvents(handlers) {
  const latest = useRef(handlers);
  latest.current = handlers;
  const topics = Object.keys(handlers).filter((name) => name !== "again").join(",");
  const key = useStore(visit);
  useEffect(() => listen(topics, latest), [topics, key]);
}

function listen(topics, handlers) {
  let controller, isFirst = true;
  const start = () => {
    if (document.hidden || controller) return; // a browser opens six connections in all: hidden tabs give theirs back
    controller = new AbortController();
    const opened = () => { if (!isFirst) handlers.current.again?.(); isFirst = false; };
    follow(topics, handlers, opened, controller.signal).catch(() => { /* ended by us */ });
  };
  const stop = () => { controller?.abort(); controller = undefined; };
  const turn = () => document.hidden ? stop() : start();
  document.addEventListener("visibilitychange", turn);
  start();
  return () => { document.removeEventListener("visibilitychange", turn); stop(); };
}

async function follow(topics, handlers, opened, signal) {
  for (let wait = FIRST_WAIT_MS; ; wait = Math.min(2 * wait, LONGEST_WAIT_MS)) {
    try {
      const response = await open(`/api/events?topics=${topics}`, { signal });
      wait = FIRST_WAIT_MS;
      opened();
      for await (const { event, data } of messages(response.body)) handlers.current[event]?.(data);
      online.set(false); // it ends only when the service does
    } catch (error) {
      if (signal.aborted || (error instanceof Problem && error.status < 500 && error.status !== 429)) return;
      if (!(error instanceof Problem)) online.set(false); // one that is too busy for more listeners still answers
    }
    await pause(wait, signal);
  }
}

// Until the time is over, or the browser says that the network is back.
function pause(ms, signal) {
  return new Promise((resolve, reject) => {
    const end = () => { clearTimeout(timer); removeEventListener("online", end); resolve(); };
    const timer = setTimeout(end, ms);
    addEventListener("online", end);
    signal.addEventListener("abort", () => { end(); reject(signal.reason); });
  });
}

async function* messages(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const blocks = (rest + value).replaceAll("\r\n", "\n").split("\n\n");
    rest = blocks.pop();
    for (const block of blocks) {
      const message = parse(block);
      if (message) yield message;
    }
  }
}

function parse(block) {
  let event = "message", data = "";
  for (const line of block.split("\n")) {
    if (line.startsWith("event:")) event = line.slice(6).trim();
    else if (line.startsWith("data:")) data += line.slice(5).trim();
  }
  return data && { event, data: JSON.parse(data) };
}
