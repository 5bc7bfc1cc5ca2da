// A picture of the collection, as small as its place. With a key it is fetched by hand, for <img> cannot send one.
import { useEffect, useRef, useState } from "preact/hooks";
import { hasKey, open, visit } from "./api.js";
import { html } from "./html.js";
import { useStore } from "./store.js";

const SIDES = [128, 256, 512, 1024];
const KEPT = 400;
const AGAIN_MS = 2000;
const fetched = new Map(); // address -> promise of a blob's address; the oldest are let go

const sideFor = (px) => SIDES.find((side) => side >= px * Math.min(2, devicePixelRatio) * 0.9) ?? SIDES.at(-1);
const addressOf = (id, px) => `/api/images/${id}/thumbnail?side=${sideFor(px)}`;

// `px` is the longer side of its place. What does not come is asked for once more: the service may have been busy.
export function Picture({ id, px, alt, eager, onLoad, ...rest }) {
  const url = addressOf(id, px);
  const visited = useStore(visit);
  const [src, setSrc] = useState(hasKey() ? null : url);
  const [failures, setFailures] = useState(0);
  const place = useRef();
  const fail = () => setTimeout(() => setFailures((before) => before + 1), failures ? 0 : AGAIN_MS);
  useEffect(() => { setFailures(0); }, [url, visited]);
  useEffect(() => {
    if (!hasKey()) { setSrc(url); return undefined; }
    let wanted = true;
    const show = () => blobOf(url).then((blob) => wanted && setSrc(blob), () => wanted && fail());
    const stop = whenNear(place.current, show);
    return () => { wanted = false; stop(); };
  }, [url, visited, failures > 0]);
  return html`<img key=${failures > 0} ref=${place} src=${src} alt=${alt} class=${failures > 1 ? "gone" : ""} loading=${eager ? "eager" : "lazy"}
    decoding="async" onLoad=${onLoad} onError=${() => src && fail()} ...${rest} />`;
}

// Has the browser fetch it, for it will be looked at soon.
export function fetchSoon(id, px) {
  if (hasKey()) blobOf(addressOf(id, px)).catch(() => { /* it is asked for again when it is looked at */ });
  else new Image().src = addressOf(id, px);
}

function blobOf(url) {
  if (!fetched.has(url)) {
    const address = open(url).then((response) => response.blob()).then((blob) => URL.createObjectURL(blob));
    address.catch(() => fetched.delete(url));
    fetched.set(url, address);
    if (fetched.size > KEPT) forgetOldest();
  }
  return fetched.get(url);
}

function forgetOldest() {
  const [oldest, address] = fetched.entries().next().value;
  fetched.delete(oldest);
  address.then((blob) => URL.revokeObjectURL(blob), () => {});
}

// Calls `work` once when the element comes near the visible part of the page.
export function whenNear(element, work) {
  const observer = new IntersectionObserver((entries) => {
    if (!entries.some((entry) => entry.isIntersecting)) return;
    observer.disconnect();
    work();
  }, { rootMargin: "600px" });
  observer.observe(element);
  return () => observer.disconnect();
}
