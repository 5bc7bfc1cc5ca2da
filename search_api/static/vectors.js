// A unit vector as text for the address: 16 bits a number, whose error is far below what a score shows.
const SCALE = 32767;

export function encode(vector) {
  const numbers = Int16Array.from(vector, (value) => Math.round(Math.max(-1, Math.min(1, value)) * SCALE));
  const text = String.fromCharCode(...new Uint8Array(numbers.buffer));
  return btoa(text).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
}

export function decode(text) {
  const raw = atob(text.replaceAll("-", "+").replaceAll("_", "/"));
  const numbers = new Int16Array(Uint8Array.from(raw, (letter) => letter.charCodeAt(0)).buffer);
  return Array.from(numbers, (value) => value / SCALE);
}
