// Recent searches and small previews of dropped pictures, kept in this browser only.
import { store } from "./store.js";

const N_KEPT = 12;
const NAME = "recent";
const PREVIEW_PX = 96;

export const recent = store(load());

function load() {
  try { return JSON.parse(localStorage.getItem(NAME)) ?? []; } catch { return []; }
}

// `label` is what a person sees, `search` the address's parameters.
export function remember(label, search) {
  if (!label || recent.get()[0]?.search === search) return;
  keep([{ label, search }, ...recent.get().filter((each) => each.search !== search)].slice(0, N_KEPT));
}

export const forgetAll = () => keep([]);

function keep(searches) {
  recent.set(searches);
  try { localStorage.setItem(NAME, JSON.stringify(searches)); } catch { /* full: remembered until the page is left */ }
}

// ---------------------------------------------------------------- previews

const previews = new Map(); // id -> data URI

export function previewOf(id) {
  return previews.get(id) ?? sessionStorage.getItem(`preview ${id}`);
}

export async function keepPreview(id, file) {
  const bitmap = await createImageBitmap(file);
  const scale = PREVIEW_PX / Math.max(bitmap.width, bitmap.height);
  const canvas = Object.assign(document.createElement("canvas"), {
    width: Math.max(1, bitmap.width * scale), height: Math.max(1, bitmap.height * scale),
  });
  canvas.getContext("2d").drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  bitmap.close();
  previews.set(id, canvas.toDataURL("image/jpeg", 0.8));
  try { sessionStorage.setItem(`preview ${id}`, previews.get(id)); } catch { /* full: kept until the page is left */ }
}
