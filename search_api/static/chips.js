// What stands beside the typed words: each with a weight to slide, and a way out.
import { useRef, useState } from "preact/hooks";
import { useDismissal } from "./dismissal.js";
import { html } from "./html.js";
import { Icon, IconButton } from "./icons.js";
import { Picture } from "./picture.js";
import { previewOf } from "./recent.js";
import { idOf } from "./question.js";
import { rate, t } from "./words.js";

// `terms` and what becomes of them: `onChange(terms)`.
export function Terms({ terms, onChange }) {
  const change = (i, weight) => onChange(terms.map((each, j) => j === i ? { ...each, weight } : each));
  const remove = (i) => onChange(terms.filter((_, j) => j !== i));
  return terms.map((term, i) => html`
    <${Chip} key=${`${term.kind}:${term.value}`} term=${term} onWeight=${(weight) => change(i, weight)} onRemove=${() => remove(i)} />`);
}

function Chip({ term, onWeight, onRemove }) {
  const [open, setOpen] = useState(false);
  const chip = useRef();
  const escape = useDismissal(chip, open, () => setOpen(false));
  const name = term.kind === "text" ? term.value : t("chip.picture");
  return html`
    <span class=${`chip ${term.weight < 0 ? "unwanted" : ""}`} ref=${chip} onKeyDown=${escape}>
      <button type="button" class="chip-name" aria-expanded=${open} onClick=${() => setOpen(!open)}
        title=${t("chip.weigh")} aria-label=${t("chip.named", { name, weight: rate(term.weight) })}>
        ${term.kind === "text" ? html`<span>${term.weight < 0 ? "− " : ""}${term.value}</span>` : html`<${Preview} term=${term} />`}
        ${Math.abs(term.weight) !== 1 && html`<small>×${rate(Math.abs(term.weight))}</small>`}
      </button>
      <${IconButton} icon="close" label=${t("chip.remove", { name })} onClick=${onRemove} />
      ${open && html`
        <label class="popover weight">
          <span>${t("chip.weight")} <b>${rate(term.weight)}</b></span>
          <input type="range" min="-2" max="2" step="0.1" value=${term.weight} onInput=${(event) => onWeight(+event.target.value)} />
          <span class="ends"><small>${t("chip.without")}</small><small>${t("chip.more")}</small></span>
        </label>`}
    </span>`;
}

function Preview({ term }) {
  if (term.kind === "id") return html`<${Picture} id=${term.value} px=${48} alt="" eager />`;
  const preview = previewOf(idOf(term.value));
  return preview ? html`<img src=${preview} alt="" />` : html`<span class="no-preview"><${Icon} name="picture" /></span>`;
}

// Pictures that were liked or not, to refine the answer.
export function Examples({ ids, kind, onRemove }) {
  return ids.map((id) => html`
    <span class=${`chip example ${kind}`} key=${id}>
      <${Picture} id=${id} px=${48} alt="" eager /><${Icon} name=${kind} />
      <${IconButton} icon="close" label=${t(`chip.forget.${kind}`)} onClick=${() => onRemove(id)} />
    </span>`);
}
