// Pictures that are dropped, pasted or chosen become terms of the question.
import { useEffect, useState } from "preact/hooks";
import * as api from "./api.js";
import { keepPreview } from "./recent.js";
import { idTerm, pictureTerm } from "./question.js";

export const DRAGGED_ID = "application/x-lookalike-id";

// A file as a term. The service encodes it once; sliders and paging then work with its vector.
export async function termOf(file) {
  const embedded = await api.embed(file);
  await keepPreview(embedded.id, file).catch(() => { /* the browser cannot show it, the service could read it */ });
  return pictureTerm(embedded);
}

export const picturesIn = (files) => [...files ?? []].filter(({ type }) => !type || type.startsWith("image/"));

// Whether something is being dragged over the page; `onFiles` and `onTerm` are told what is dropped or pasted.
export function useOffering({ onFiles, onTerm }) {
  const [over, setOver] = useState(false);
  useEffect(() => {
    let depth = 0; // enter and leave come in pairs for every element that is crossed
    const turn = (change) => { depth = Math.max(0, depth + change); setOver(depth > 0); };
    const listeners = {
      dragenter: () => turn(1),
      dragleave: () => turn(-1),
      dragover: (event) => event.preventDefault(),
      drop: (event) => {
        event.preventDefault();
        turn(-Infinity);
        const id = event.dataTransfer.getData(DRAGGED_ID);
        if (id) onTerm(idTerm(id)); else onFiles(picturesIn(event.dataTransfer.files));
      },
      paste: (event) => {
        const files = picturesIn(event.clipboardData?.files);
        if (files.length) { event.preventDefault(); onFiles(files); }
      },
    };
    for (const [name, listener] of Object.entries(listeners)) addEventListener(name, listener);
    return () => { for (const [name, listener] of Object.entries(listeners)) removeEventListener(name, listener); };
  }, [onFiles, onTerm]);
  return over;
}
