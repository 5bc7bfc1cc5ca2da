// Memory over time, stacked by component (uPlot).
import { useEffect, useRef, useState } from "preact/hooks";
import uPlot from "uplot";
import { html } from "./html.js";
import { bytes, clock } from "./words.js";

// Told apart also by those who see few colours: hue and lightness both change from one to the next.
const COLOURS = ["#4c6fe0", "#e0a33a", "#2f9e8f", "#c75a7b", "#8d72d1", "#7fa63c", "#9aa0ab", "#b98560", "#48a9c9", "#d2694f"];
const HEIGHT_PX = 240;
const DARK = matchMedia("(prefers-color-scheme: dark)");

export const colourOf = (i) => COLOURS[i % COLOURS.length];

// `times` in seconds, `series` [{name, bytes: [..]}], the first lowest. `onPoint(i)` is told which time is pointed at, or null.
export function Stack({ times, series, label, onPoint }) {
  const place = useRef();
  const chart = useRef();
  const names = series.map(({ name }) => name).join();
  useEffect(() => {
    const element = place.current;
    const drawn = chart.current = new uPlot(optionsOf(series, element.clientWidth, onPoint), [[]], element);
    const observer = new ResizeObserver(() => drawn.setSize({ width: element.clientWidth, height: HEIGHT_PX }));
    observer.observe(element);
    return () => { observer.disconnect(); drawn.destroy(); };
  }, [names, useIsDark()]);
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

// A canvas keeps the colours that it was drawn with.
function useIsDark() {
  const [isDark, setDark] = useState(DARK.matches);
  useEffect(() => {
    const look = () => setDark(DARK.matches);
    DARK.addEventListener("change", look);
    return () => DARK.removeEventListener("change", look);
  }, []);
  return isDark;
}

function optionsOf(series, width, onPoint) {
  const ink = resolved("--dim"), line = resolved("--line");
  const axis = { stroke: ink, grid: { stroke: line, width: 1 }, ticks: { show: false }, font: "12px system-ui, sans-serif" };
  const second = (ticks) => ticks.some((each) => each % 60) ? { second: "2-digit" } : {};
  return {
    width, height: HEIGHT_PX, legend: { show: false }, padding: [8, 8, 0, 0],
    cursor: { y: false, points: { show: false }, drag: { x: false } },
    hooks: { setCursor: [({ cursor }) => onPoint(cursor.idx ?? null)] },
    scales: { y: { range: (_, low, high) => [0, (high || 1) * 1.08] } },
    axes: [
      { ...axis, space: 90, size: 28, values: (_, ticks) => ticks.map((each) => clock(each, second(ticks))) },
      { ...axis, size: 70, values: (_, ticks) => ticks.map((each) => bytes(each, 2)) },
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
