// The one box: it takes words, and pictures that are dropped, pasted, chosen or photographed.
import { useCallback, useRef, useState } from "preact/hooks";
import { Examples, Terms } from "./chips.js";
import { html } from "./html.js";
import { Icon, IconButton } from "./icons.js";
import { picturesIn, termOf, useOffering } from "./offering.js";
import { EMPTY, isEmpty, signed } from "./question.js";
import { recent } from "./recent.js";
import { sentenceOf } from "./states.js";
import { useStore } from "./store.js";
import { t } from "./words.js";

const TOUCHED = matchMedia("(hover: none)"); // where nothing can be dropped
const MOST_FILES = 4; // each adds its vector to the address

// `onAsk(changes, {replace})` puts changes to the question into the address; `onEnter` is called when it is meant.
export function Box({ question, onAsk, onEnter }) {
  const input = useRef();
  const latest = useRef();
  latest.current = { question, onAsk };
  const typing = useRef(false); // the first letter is a step in the history, the others belong to it
  const [reading, setReading] = useState(false);
  const [problem, setProblem] = useState(null);
  const searches = useStore(recent);

  const addTerms = useCallback((terms) => {
    const now = latest.current.question;
    const values = new Set(terms.map(({ value }) => value));
    latest.current.onAsk({ terms: [...now.terms.filter(({ value }) => !values.has(value)), ...terms] });
  }, []);
  const addFiles = useCallback(async (files) => {
    if (!files.length) return setProblem(t("box.no-picture"));
    if (files.length > MOST_FILES) return setProblem(t("box.too-many", { n: MOST_FILES }));
    setProblem(null);
    setReading(true);
    try { addTerms(await Promise.all(files.map(termOf))); }
    catch (error) { setProblem(sentenceOf(error)); }
    return setReading(false);
  }, []);
  const addTerm = useCallback((term) => addTerms([term]), []);
  const over = useOffering({ onFiles: addFiles, onTerm: addTerm });

  const type = (event) => {
    setProblem(null);
    onAsk({ text: event.target.value }, { replace: typing.current });
    typing.current = true;
  };
  const rest = () => { typing.current = false; };
  const addWords = () => { rest(); onAsk({ text: "", terms: [...question.terms, ...signed(question.text)] }); input.current.focus(); };
  const submit = (event) => { event.preventDefault(); rest(); onEnter(); };
  const clear = () => { rest(); onAsk(EMPTY); input.current.focus(); };
  const choose = (event) => { addFiles(picturesIn(event.target.files)); event.target.value = ""; };
  const erase = (event) => {
    if (event.key === "Backspace" && !question.text && question.terms.length) onAsk({ terms: question.terms.slice(0, -1) });
  };

  return html`
    <form class=${`box ${over ? "over" : ""}`} role="search" onSubmit=${submit}>
      <div class="field">
        <${Icon} name="search" />
        <div class="terms"><${Terms} terms=${question.terms} onChange=${(terms) => onAsk({ terms }, { replace: terms.length === question.terms.length })} />
        <${Examples} ids=${question.liked} kind="like" onRemove=${(id) => onAsk({ liked: question.liked.filter((each) => each !== id) })} />
        <${Examples} ids=${question.disliked} kind="dislike" onRemove=${(id) => onAsk({ disliked: question.disliked.filter((each) => each !== id) })} /></div>
        <input id="words" ref=${input} type="text" value=${question.text} maxlength="1000" autocomplete="off" enterkeyhint="search"
          list="recent" aria-label=${t("box.label")} placeholder=${t(question.terms.length ? "box.and" : TOUCHED.matches ? "box.label" : "box.placeholder")}
          onInput=${type} onBlur=${rest} onKeyDown=${erase} />
        <datalist id="recent">${searches.filter(({ search }) => /^q=[^&]*$/.test(search)).map(({ label }) => html`<option value=${label} />`)}</datalist>
        <div class="tools">
        ${question.text && html`<${IconButton} icon="plus" label=${t("box.add")} onClick=${addWords} />`}
        ${!isEmpty(question) && html`<${IconButton} icon="close" label=${t("box.clear")} onClick=${clear} />`}
        <input id="file" class="unseen" type="file" accept="image/*" multiple aria-label=${t("box.picture")} onChange=${choose} />
        <label class="icon-button" for="file" title=${t("box.picture")} aria-hidden="true"><${Icon} name="picture" /></label>
        </div>
      </div>
      <p class=${`note ${problem ? "bad" : "dim"}`} role="status">${problem ?? (reading ? t("box.reading") : "")}</p>
      ${over && html`<div class="drop-here"><p>${t("box.drop")}</p></div>`}
    </form>`;
}
