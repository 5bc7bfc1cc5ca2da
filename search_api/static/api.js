// All talk with the service. A key, where one is needed, is kept for this tab only and goes out in the header.
import { store } from "./store.js";

export const online = store(true);
export const keyWanted = store("");      // "": no; "first": the service asks for a key; "wrong": it did not take ours
export const visit = store(0);           // grows with each new key: whoever loads something loads it again

const JSON_TYPE = "application/json";
let key = sessionStorage.getItem("key") ?? "";

// What the service refuses, as RFC 9457 has it.
export class Problem extends Error {
  constructor(status, { detail, title, type = "" }) {
    super(detail ?? title ?? `HTTP ${status}`);
    this.status = status;
    this.kind = type.split(":").pop();
  }
}

export class Unreachable extends Error {}

export function useKey(given) {
  key = given.trim();
  sessionStorage.setItem("key", key);
  keyWanted.set("");
  visit.set(visit.get() + 1);
}

export const hasKey = () => key !== "";

export async function open(path, { headers = {}, ...options } = {}) {
  if (key) headers = { ...headers, authorization: `Bearer ${key}` };
  let response;
  try {
    response = await fetch(path, { ...options, headers });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    online.set(false);
    throw new Unreachable(String(error));
  }
  online.set(true);
  if (response.status === 401) keyWanted.set(key ? "wrong" : "first");
  if (!response.ok) throw new Problem(response.status, await response.json().catch(() => ({})));
  return response;
}

const json = async (path, options) => (await open(path, options)).json();
const get = (path, signal) => json(path, { signal });
const post = (path, body, signal) => json(path, {
  method: "POST", signal, headers: { "content-type": JSON_TYPE }, body: JSON.stringify(body ?? {}),
});

export const search = (question, signal) => post("/api/search", question, signal);
export const embed = (file) => json("/api/embed/image", {
  method: "POST", headers: { "content-type": "application/octet-stream" }, body: file,
});
export const image = (id, signal) => get(`/api/images/${id}`, signal);
export const newest = (asked, signal) => post("/api/images/newest", asked, signal);
export const stats = (signal) => get("/api/stats", signal);
export const refused = (limit, offset, signal) => get(`/api/errors?limit=${limit}&offset=${offset}`, signal);
export const retry = (path) => post("/api/errors/retry", path ? { path } : {});
export const why = (path) => get(`/api/why?path=${encodeURIComponent(path)}`);
export const memory = (signal) => get("/api/gpu/memory", signal);
export const memoryHistory = (seconds, signal) => get(`/api/gpu/memory/history?seconds=${seconds}`, signal);
export const release = () => post("/api/gpu/memory/release");
export const tuning = (signal) => get("/api/tune", signal);
export const tune = () => post("/api/tune");
export const verify = () => post("/api/index/verify", { sample: 32 });
export const rescan = () => post("/api/index/rescan");
export const duplicates = (tier, limit, offset, signal) =>
  get(`/api/duplicates?tier=${tier}&limit=${limit}&offset=${offset}`, signal);
