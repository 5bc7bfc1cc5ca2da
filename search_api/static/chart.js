// Memory over time, stacked by component (uPlot).
import { useEffect, useRef } from "preact/hooks";
import uPlot from "uplot";
import { html } from "./html.js";
import { useStore } from "./store.js";
import { bytes, language } from "./words.js";

// Told apart also by those who see few colours: hue and lightness both change from one to the next.
const COLOURS = ["#4c6fe0", "#e0a33a", "#2f9e8f", "#c75a7b", "#8d72d1", "#7fa63c", "#9aa0ab", "#b98560"];
const HEIGHT_PX = 240;

export const colourOf = (i) => COLOURS[i % COLOURS.length];

// `times` in seconds, `series` [{name, bytes: [..]}], the first lowest.
export function Stack({ times, series, label }) {
  const place = useRef();
  const chart = useRef();
  const code = useStore(language);
  const names = series.map(({ name }) => name).join();
  useEffect(() => {
    const element = place.current;
    const drawn = chart.current = new uPlot(optionsOf(series, element.clientWidth, code), [[]], element);
    const observer = new ResizeObserver(() => drawn.setSize({ width: element.clientWidth, height: HEIGHT_PX }));
    observer.observe(element);
    return () => { observer.disconnect(); drawn.destroy(); };
  }, [names, code]);
  useEffect(() => { chart.current.setData(stacked(times, series)); }, [times, series]);
  return html`<div class="chart" ref=${place} role="img" aria-label=${label} />`;
}

// uPlot draws what is lower over what is higher, so each is given with all below it, the highest first.
function stacked(times, series) {
  const sums = [];
  let below = times.map(() => 0);
  for (const { bytes: values } of series) {
    below = below.map((sum, i) => sum + (values[i] ?? 0));
    sums.unshift(below);
  }
  return [times, ...sums];
}

function optionsOf(series, width, code) {
  const ink = resolved("--dim"), line = resolved("--line");
  const axis = { stroke: ink, grid: { stroke: line, width: 1 }, ticks: { show: false }, font: "12px system-ui, sans-serif" };
  const clock = (second) => new Intl.DateTimeFormat(code, { hour: "2-digit", minute: "2-digit", second });
  const timeOf = (ticks) => clock(ticks.some((each) => each % 60) ? "2-digit" : undefined);
  return {
    width, height: HEIGHT_PX, legend: { show: false }, cursor: { show: false }, padding: [8, 8, 0, 0],
    scales: { y: { range: (_, low, high) => [0, (high || 1) * 1.08] } },
    axes: [
      { ...axis, space: 90, values: (_, ticks) => ticks.map((each) => timeOf(ticks).format(each * 1000)) },
      { ...axis, size: 70, values: (_, ticks) => ticks.map(bytes) },
    ],
    series: [{}, ...series.map((_, i) => ({
      stroke: colourOf(series.length - 1 - i), fill: colourOf(series.length - 1 - i), width: 0, points: { show: false },
    }))],
  };
}

// A custom property as the colour that it stands for now; a canvas does not know light-dark().
function resolved(name) {
  const probe = document.body.appendChild(document.createElement("i"));
  probe.style.color = `var(${name})`;
  const colour = getComputedStyle(probe).color;
  probe.remove();
  return colour;
}
