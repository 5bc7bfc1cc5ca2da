// The pictures. Every place is known before its picture is there, so nothing moves when it comes.
import { memo } from "./memo.js";
import { useCallback, useEffect, useLayoutEffect, useMemo, useRef, useState } from "preact/hooks";
import { html } from "./html.js";
import { Icon, IconButton } from "./icons.js";
import { justify, shapeOf } from "./layout.js";
import { DRAGGED_ID } from "./offering.js";
import { Picture, whenNear } from "./picture.js";
import { Unreachable } from "./api.js";
import { sentenceOf } from "./states.js";
import { nameOf, percent, score, t } from "./words.js";

const IN_SIGHT = 16; // drawn first; the others once the first picture is there, or after a while
const REST_MS = 250;
const EAGER = 8; // the first pictures are asked for at once, the others when they come near
const CAPTION_PX = 30;

// `of`: the question that they answer. `line`: the score from which the service finds hits better than chance, if it knows.
export function Grid({ hits, of, line, fresh, act, liked, disliked }) {
  const [list, width] = useWidth();
  const [whole, setWhole] = useState(null); // the question of whose answer everything is drawn
  const drawAll = useCallback(() => setWhole(of), [of]);
  useEffect(() => {
    const timer = setTimeout(drawAll, REST_MS);
    return () => clearTimeout(timer);
  }, [of]);
  const narrow = width < 600;
  const { boxes, height } = useMemo(() => justify(hits.map(shapeOf), {
    width, rowHeight: narrow ? 132 : 212, gap: narrow ? 6 : 12, caption: CAPTION_PX,
  }), [hits, width]);
  return html`
    <ul class="grid" ref=${list} style=${{ height: `${height}px` }} onKeyDown=${(event) => move(event, boxes)} aria-label=${t("results")}>
      ${width > 0 && hits.slice(0, whole === of ? hits.length : IN_SIGHT).map((hit, i) => html`
        <${Tile} key=${hit.id} hit=${hit} box=${boxes[i]} eager=${i < EAGER} onLoad=${i === 0 ? drawAll : undefined} isFresh=${fresh.has(hit.id)} act=${act} isWeak=${hit.score < (line ?? -Infinity)}
          isLiked=${liked.includes(hit.id)} isDisliked=${disliked.includes(hit.id)} />`)}
    </ul>`;
}

function useWidth() {
  const list = useRef();
  const [width, setWidth] = useState(0);
  useLayoutEffect(() => {
    const element = list.current;
    const observer = new ResizeObserver(() => setWidth(element.clientWidth));
    setWidth(element.clientWidth);
    observer.observe(element);
    return () => observer.disconnect();
  }, []);
  return [list, width];
}

const Tile = memo(({ hit, box, eager, onLoad, isFresh, isWeak, isLiked, isDisliked, act }) => {
  const name = nameOf(hit.path);
  const place = { left: `${box.left}px`, top: `${box.top}px`, width: `${box.width}px`, height: `${box.height + CAPTION_PX}px` };
  const drag = (event) => event.dataTransfer.setData(DRAGGED_ID, hit.id);
  return html`
    <li class=${`tile ${isFresh ? "fresh" : ""}`} style=${place}>
      <button type="button" class="open" data-id=${hit.id} style=${{ height: `${box.height}px` }} onClick=${() => act.view(hit.id)}
        draggable="true" onDragStart=${drag}>
        <${Picture} id=${hit.id} px=${Math.max(box.width, box.height)} alt=${name} eager=${eager} onLoad=${onLoad} />
      </button>
      ${hit.n_alike > 0 && html`
        <button type="button" class="alike" title=${t("tile.alike", { n: hit.n_alike })} aria-label=${t("tile.alike", { n: hit.n_alike })}
          onClick=${() => act.unfold(hit.id)}><${Icon} name="fold" />+${hit.n_alike}</button>`}
      <div class="deeds">
        <${IconButton} icon="similar" label=${t("tile.similar", { name })} onClick=${() => act.similar(hit.id)} />
        <${IconButton} icon="like" label=${t("tile.like", { name })} aria-pressed=${isLiked} onClick=${() => act.like(hit.id)} />
        <${IconButton} icon="dislike" label=${t("tile.dislike", { name })} aria-pressed=${isDisliked} onClick=${() => act.dislike(hit.id)} />
        <${IconButton} icon="copy" label=${t("tile.copy", { name })} onClick=${() => act.copy(hit.path)} />
      </div>
      <${Caption} hit=${hit} name=${name} isWeak=${isWeak} />
    </li>`;
});

function Caption({ hit, name, isWeak }) {
  return html`
    <p class="caption">
      <span class="name" title=${hit.path}>${name}</span>
      ${hit.score !== undefined && html`<span class="dim" title=${t("tile.score")}>${score(hit.score)}</span>`}
      ${Number.isFinite(hit.relevance) && html`
        <span class=${`relevance ${isWeak ? "weak" : ""}`} title=${t(isWeak ? "tile.relevance.weak" : "tile.relevance")}><${Meter} value=${hit.relevance} />${percent(hit.relevance)}</span>`}
    </p>`;
}

const Meter = ({ value }) => html`
  <svg class="meter" viewBox="0 0 24 4" aria-hidden="true"><rect width="24" height="4" rx="2" /><rect width=${24 * value} height="4" rx="2" /></svg>`;

// Arrow keys go to the picture that lies there; Home and End to the first and the last.
function move(event, boxes) {
  const tiles = [...event.currentTarget.querySelectorAll(".open")];
  const at = tiles.indexOf(document.activeElement);
  const next = at < 0 ? -1 : neighbour(event.key, at, boxes);
  if (next < 0 || next >= tiles.length) return;
  event.preventDefault();
  tiles[next].focus();
}

function neighbour(key, at, boxes) {
  if (key === "ArrowLeft") return at - 1;
  if (key === "ArrowRight") return at + 1;
  if (key === "Home") return 0;
  if (key === "End") return boxes.length - 1;
  if (key !== "ArrowUp" && key !== "ArrowDown") return -1;
  const middle = (box) => box.left + box.width / 2;
  const row = key === "ArrowUp"
    ? boxes.findLast((box) => box.top < boxes[at].top)?.top
    : boxes.find((box) => box.top > boxes[at].top)?.top;
  const inRow = boxes.map((box, i) => [Math.abs(middle(box) - middle(boxes[at])), i]).filter(([, i]) => boxes[i].top === row);
  return inRow.length ? inRow.sort(([a], [b]) => a - b)[0][1] : -1;
}

// Loads the next page when the end comes near; the button is for those who cannot or will not scroll.
export function More({ results, hidden }) {
  const end = useRef();
  const wanted = results.cursor && !hidden && !results.isStale;
  useEffect(() => wanted ? whenNear(end.current, results.more) : undefined, [wanted, results.cursor]);
  const { error } = results;
  return html`<div ref=${end} class="more">
    ${error && !(error instanceof Unreachable) && html`<p class="bad" role="alert">${sentenceOf(error)}</p>`}
    ${wanted && html`<button type="button" onClick=${results.more}>${t("results.more")}</button>`}
  </div>`;
}
