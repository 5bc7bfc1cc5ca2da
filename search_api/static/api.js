// All talk with the service. A key, where one is needed, is kept for this tab only and goes out in the header.
import { store } from "./store.js";

export const online = store(true);
export const keyWanted = store("");      // "": no; "first": the service asks for a key; "wrong": it takes ours no more; "admin": it takes no orders from us
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

// Keeps a key that the service takes.
export async function useKey(given) {
  const tried = given.trim();
  if (!/^[!-~]+$/.test(tried)) throw new Problem(401, {});
  await answered("/api/stats", { headers: authorised({}, tried) });
  key = tried;
  sessionStorage.setItem("key", key);
  keyWanted.set("");
  visit.set(visit.get() + 1);
}

export const hasKey = () => key !== "";

const authorised = (headers, with_) => with_ ? { ...headers, authorization: `Bearer ${with_}` } : headers;

// `isOrder`: it changes something, for which the service may ask for another key than for the rest.
export async function open(path, { headers = {}, isOrder = false, ...options } = {}) {
  const sent = key;
  try {
    return await answered(path, { ...options, headers: authorised(headers, sent) });
  } catch (error) {
    if (error.status === 403 && isOrder && sent) keyWanted.set("admin");
    if (error.status === 401 && sent === key) keyWanted.set(isOrder ? "admin" : sent ? "wrong" : "first");
    throw error;
  }
}

async function answered(path, options) {
  let response;
  try {
    response = await fetch(path, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    online.set(false);
    throw new Unreachable(String(error));
  }
  const isGone = response.status === 502 || response.status === 504; // says a proxy
  online.set(!isGone);
  if (isGone) throw new Unreachable(`HTTP ${response.status}`);
  if (!response.ok) throw new Problem(response.status, await response.json().catch(() => ({})));
  return response;
}

const json = async (path, options) => (await open(path, options)).json();
const get = (path, signal) => json(path, { signal });
const post = (path, body, options) => json(path, {
  ...options, method: "POST", headers: { "content-type": JSON_TYPE }, body: JSON.stringify(body ?? {}),
});
const order = (path, body) => post(path, body, { isOrder: true });

export const search = (question, signal) => post("/api/search", question, { signal });
export const embed = (file) => json("/api/embed/image", {
  method: "POST", headers: { "content-type": "application/octet-stream" }, body: file,
});
export const image = (id, signal) => get(`/api/images/${id}`, signal);
export const newest = (asked, signal) => post("/api/images/newest", asked, { signal });
export const stats = (signal) => get("/api/stats", signal);
export const refused = (limit, offset, signal) => get(`/api/errors?limit=${limit}&offset=${offset}`, signal);
export const retry = (path) => order("/api/errors/retry", path ? { path } : {});
export const why = (path) => get(`/api/why?path=${encodeURIComponent(path)}`);
export const memory = (signal) => get("/api/gpu/memory", signal);
export const memoryHistory = (seconds, signal) => get(`/api/gpu/memory/history?seconds=${seconds}`, signal);
export const release = () => order("/api/gpu/memory/release");
export const tuning = (signal) => get("/api/tune", signal);
export const tune = () => order("/api/tune");
export const verify = (repair) => order("/api/index/verify", { sample: 32, repair });
export const duplicates = (tier, limit, offset, signal) =>
  get(`/api/duplicates?tier=${tier}&limit=${limit}&offset=${offset}`, signal);
