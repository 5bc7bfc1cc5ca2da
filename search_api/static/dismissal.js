// Closes what has opened over the page when something else is pointed at, or Esc is pressed in it.
import { useEffect } from "preact/hooks";

// `place` is the element around it and around what opened it; the answer goes there as `onKeyDown`.
export function useDismissal(place, isOpen, close) {
  useEffect(() => {
    if (!isOpen) return undefined;
    const look = (event) => { if (!place.current.contains(event.target)) close(); };
    addEventListener("pointerdown", look);
    return () => removeEventListener("pointerdown", look);
  }, [isOpen]);
  return (event) => {
    if (event.key !== "Escape" || !isOpen) return;
    event.stopPropagation();
    place.current.querySelector("[aria-expanded]").focus();
    close();
  };
}
