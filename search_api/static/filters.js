// Which pictures may answer at all: folder, date, size and format. And how the answer is shown.
import { html } from "./html.js";
import { t } from "./words.js";

const FORMATS = ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF"];
const SIDES = [480, 1080, 2160];

export function Filters({ question, folders, onAsk }) {
  const set = (name) => (event) => onAsk({ [name]: event.target.value });
  const toggle = (format) => onAsk({
    formats: question.formats.includes(format) ? question.formats.filter((each) => each !== format) : [...question.formats, format],
  });
  const reset = () => onAsk({ folder: "", from: "", to: "", minSide: "", formats: [] });
  return html`
    <section class="filters card" id="filters" aria-label=${t("filters")}>
      <label>${t("filters.folder")}
        <input type="text" list="folders" value=${question.folder} placeholder=${t("filters.folder.any")} onChange=${set("folder")} />
        <datalist id="folders">${folders.map((folder) => html`<option value=${folder} />`)}</datalist>
      </label>
      <label>${t("filters.from")}<input type="date" value=${question.from} max=${question.to || undefined} onChange=${set("from")} /></label>
      <label>${t("filters.to")}<input type="date" value=${question.to} min=${question.from || undefined} onChange=${set("to")} /></label>
      <label>${t("filters.size")}
        <select value=${question.minSide} onChange=${set("minSide")}>
          <option value="">${t("filters.size.any")}</option>
          ${SIDES.map((side) => html`<option value=${side}>${t("filters.size.from", { side: String(side) })}</option>`)}
        </select>
      </label>
      <fieldset><legend>${t("filters.format")}</legend>
        ${FORMATS.map((format) => html`
          <label class="choice"><input type="checkbox" checked=${question.formats.includes(format)} onChange=${() => toggle(format)} />${format}</label>`)}
      </fieldset>
      <div class="row">
        <label class="choice"><input type="checkbox" checked=${question.fold} onChange=${() => onAsk({ fold: !question.fold })} />${t("filters.fold")}</label>
        <button type="button" class="quiet" onClick=${reset}>${t("filters.reset")}</button>
      </div>
    </section>`;
}
