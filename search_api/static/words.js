// What the page says, in the language of the person who looks at it: one plain file for each.
import { store } from "./store.js";

export const LANGUAGES = { en: "English", zh: "中文" };
export const language = store("");

let said = {};
let plural = new Intl.PluralRules("en");
let locale = "en"; // the language as it is written where the visitor is

export async function speak(code) {
  const response = await fetch(`/static/languages/${code}.json`);
  said = await response.json();
  plural = new Intl.PluralRules(code);
  locale = navigator.languages.find((each) => each.startsWith(code)) ?? code;
  document.documentElement.lang = code;
  language.set(code);
}

export function preferred() {
  const wanted = [kept(), ...navigator.languages].map((each) => each?.slice(0, 2));
  return wanted.find((each) => each in LANGUAGES) ?? "en";
}

export function choose(code) {
  localStorage.setItem("language", code);
  return speak(code);
}

const kept = () => localStorage.getItem("language");

// The sentence named `key`; `{name}` in it stands for a value. One that depends on `n` is given for each plural form.
export function t(key, values = {}) {
  const entry = said[key] ?? key;
  const sentence = typeof entry === "string" ? entry : entry[plural.select(values.n)] ?? entry.other;
  return sentence.replace(/\{(\w+)\}/g, (_, name) => {
    const value = values[name];
    return typeof value === "number" ? count(value) : value;
  });
}

// The sentence named `key`, or `instead` where there is none: for words that the service may add to.
export const tOr = (key, instead) => key in said ? t(key) : instead;

// ---------------------------------------------------------------- figures

const number = (value, options) => new Intl.NumberFormat(locale, options).format(value);

export const count = (value) => number(value, { maximumFractionDigits: 0 });
export const rate = (value) => number(value, { maximumSignificantDigits: 3 });
export const score = (value) => number(value, { minimumFractionDigits: 3, maximumFractionDigits: 3 });
export const percent = (value) => number(value, { style: "percent", maximumFractionDigits: 0 });

export function bytes(value, digits = 1) {
  const steps = ["B", "kB", "MB", "GB", "TB"];
  let step = 0;
  for (; Math.abs(value) >= 999.5 && step < steps.length - 1; step++) value /= 1000;
  return `${number(value, { maximumFractionDigits: step && value < 99.5 ? digits : 0 })} ${steps[step]}`;
}

export function duration(seconds) {
  if (seconds < 1) return `${number(seconds * 1000, { maximumFractionDigits: 0 })} ms`;
  if (seconds < 90) return `${number(seconds, { maximumFractionDigits: seconds < 10 ? 1 : 0 })} s`;
  if (seconds < 5400) return `${number(seconds / 60, { maximumFractionDigits: 0 })} min`;
  return `${number(seconds / 3600, { maximumFractionDigits: seconds < 36000 ? 1 : 0 })} h`;
}

export const moment = (time) => new Date(time).toLocaleString(locale, { dateStyle: "medium", timeStyle: "short" });
export const clock = (seconds, options) => new Date(seconds * 1000).toLocaleTimeString(locale, { hour: "2-digit", minute: "2-digit", ...options });
export const nameOf = (path) => path.split("/").pop();
