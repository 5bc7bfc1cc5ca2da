// GPU memory over time by component, what leaks, and how many pictures still fit. Without a GPU: the process's memory.
import { useEffect, useMemo, useState } from "preact/hooks";
import * as api from "./api.js";
import { colourOf, Stack } from "./chart.js";
import { html } from "./html.js";
import { useDeed, useLoaded } from "./loading.js";
import { Failure, sentenceOf } from "./states.js";
import { say } from "./toast.js";
import { bytes, clock, t, tOr } from "./words.js";

const SPANS = [600, 86400];
const MOST_POINTS = 1500;

// `live` is the newest state, as the service tells it each second.
export function Memory({ live }) {
  const [span, setSpan] = useState(SPANS[0]);
  const history = useLoaded((signal) => api.memoryHistory(span, signal), [span]);
  const asked = useLoaded(api.memory);
  const state = live ?? asked.value;
  const grown = useGrown(history.value, live);
  const free = useDeed(api.release, ({ freed_bytes: freed }) => say(t("memory.released", { bytes: bytes(freed) })));
  return html`
    <section class="panel card wide" aria-labelledby="memory">
      <header>
        <h2 id="memory">${t(state && !state.available ? "memory.process" : "memory")}</h2>
        <select aria-label=${t("memory.span")} value=${span} onChange=${(event) => setSpan(+event.target.value)}>
          ${SPANS.map((seconds) => html`<option value=${seconds}>${t(`memory.span.${seconds}`)}</option>`)}
        </select>
        ${state?.available && html`<button type="button" disabled=${free.isRunning} onClick=${() => free.run()} title=${t("memory.release.why")}>${t("memory.release")}</button>`}
      </header>
      ${state && !state.available && html`<p>${t("memory.none")} <span class="dim">${state.reason}</span></p>`}
      ${history.error && !history.value && html`<${Failure} error=${history.error} />`}
      ${(free.error ?? asked.error) && html`<p class="bad">${sentenceOf(free.error ?? asked.error)}</p>`}
      ${grown.filter(({ device }) => (device === "process") !== Boolean(state?.available)).map((device) => html`<${Device} key=${device.device} ...${device} state=${state} />`)}
      ${state && html`<${Outlook} state=${state} />`}
    </section>`;
}

function Device({ device, times, series, state }) {
  const ledger = state?.ledger?.find((each) => each.device === device);
  const [point, setPoint] = useState(null);
  const at = (values) => values.at(point ?? -1) ?? 0;
  const now = series.reduce((sum, { bytes: values }) => sum + (values.at(-1) ?? 0), 0);
  const name = ledger?.name ?? "";
  return html`
    <div>
      ${ledger && html`<p class="dim">${t("memory.device", { name, used: bytes(now), total: bytes(ledger.total_bytes) })}</p>`}
      <${Stack} times=${times} series=${series} label=${t("memory.chart", { now: bytes(now) })} onPoint=${setPoint} />
      <ul class="legend">${series.map(({ name: part, bytes: values }, i) => html`
        <li><${Swatch} i=${i} />${tOr(`part.${part}`, part)} <b>${bytes(at(values))}</b></li>`)}
        ${point !== null && html`<li class="dim">${clock(times[point], { second: "2-digit" })}</li>`}</ul>
    </div>`;
}

const Swatch = ({ i }) => html`<svg class="swatch" viewBox="0 0 8 8" aria-hidden="true"><rect width="8" height="8" fill=${colourOf(i)} /></svg>`;

function Outlook({ state: { forecast, leaks } }) {
  return html`
    ${forecast && html`<p data-forecast>${t("memory.forecast", { n: roughly(forecast.exact_images) })}${
      forecast.compressed_images ? ` ${t("memory.forecast.compressed", { n: roughly(forecast.compressed_images) })}` : ""}</p>`}
    ${leaks && (leaks.length
      ? leaks.map(({ sentence }) => html`<p class="bad" role="alert">${sentence}</p>`)
      : html`<p class="dim">${t("memory.no-leak")}</p>`)}`;
}

// Two figures: a forecast knows no more.
const roughly = (n) => Number(n.toPrecision(2));

// The history with what came since, by device: [{device, times, series: [{name, bytes}]}].
function useGrown(history, live) {
  const [points, setPoints] = useState([]);
  useEffect(() => { setPoints([]); }, [history]);
  useEffect(() => { if (live) setPoints((before) => [...before, pointOf(live)].slice(-MOST_POINTS)); }, [live]);
  return useMemo(() => {
    if (!history && !points.length) return [];
    const { times, series } = history ?? { times: [], series: [] };
    const later = points.filter(({ time }) => time > (times.at(-1) ?? 0));
    const all = new Map(series.map((each) => [`${each.device} ${each.name}`, each]));
    for (const { parts } of later) {
      for (const [key, part] of parts) if (!all.has(key)) all.set(key, { ...part, bytes: times.map(() => 0) });
    }
    const grown = [...all].map(([key, each]) => ({ ...each, bytes: [...each.bytes, ...later.map(({ parts }) => parts.get(key)?.bytes ?? 0)] }));
    const allTimes = [...times, ...later.map(({ time }) => time)];
    return [...new Set(grown.map(({ device }) => device))].map((device) => ({
      device, times: allTimes, series: grown.filter((each) => each.device === device),
    }));
  }, [history, points]);
}

function pointOf({ ledger = [], process }) {
  const parts = new Map();
  for (const { device, parts: own } of ledger) for (const { name, bytes: n } of own) parts.set(`${device} ${name}`, { device, name, bytes: n });
  for (const { name, bytes: n } of process?.parts ?? []) parts.set(`process ${name}`, { device: "process", name, bytes: n });
  return { time: Date.now() / 1000, parts };
}
