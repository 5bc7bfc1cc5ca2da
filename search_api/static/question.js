// A question: what is typed, what is beside it, and what is asked of the pictures. It lives in the address.
import { decode, encode } from "./vectors.js";

const PARAMS = ["q", "with", "like", "unlike", "in", "from", "to", "min", "format", "fold", "cut"];
export const PAGE = 60;
const ID = /^[0-9a-f]{64}$/;

// From the address. A term is `weight:kind:value`; `kind` is text, id or picture, whose value is `id.vector`.
export function read(href) {
  const params = new URL(href).searchParams;
  const cut = params.get("cut");
  return {
    text: params.get("q") ?? "",
    terms: params.getAll("with").map(term).filter(Boolean),
    liked: params.getAll("like").filter((id) => ID.test(id)),
    disliked: params.getAll("unlike").filter((id) => ID.test(id)),
    folder: params.get("in") ?? "",
    from: day(params.get("from")),
    to: day(params.get("to")),
    minSide: /^\d+$/.test(params.get("min")) ? params.get("min") : "",
    formats: params.getAll("format"),
    fold: params.get("fold") !== "no",
    cut: cut === "auto" ? "auto" : cut === null || !Number.isFinite(+cut) ? null : +cut,
  };
}

// To parameters of the address, for `withParams`.
export function write(question) {
  return {
    q: question.text,
    with: question.terms.map(({ kind, value, weight }) => `${weight}:${kind}:${value}`),
    like: question.liked,
    unlike: question.disliked,
    in: question.folder,
    from: question.from,
    to: question.to,
    min: question.minSide,
    format: question.formats,
    fold: question.fold ? null : "no",
    cut: question.cut,
    view: null,
  };
}

function term(param) {
  const [, weight, kind, value] = param.match(/^(-?[\d.]+):(text|id|picture):(.+)$/s) ?? [];
  return value && Number.isFinite(+weight) && isSound(kind, value) && { kind, value, weight: +weight };
}

const day = (param) => /^\d{4}-\d\d-\d\d$/.test(param) && Date.parse(param) ? param : "";

// Addresses are typed, cut short and mangled on their way: what is no id or vector is left out.
function isSound(kind, value) {
  if (kind === "text") return true;
  if (kind === "id") return ID.test(value);
  try { return ID.test(idOf(value)) && decode(value.split(".")[1]).length > 0; } catch { return false; }
}

export const idOf = (value) => value.split(".")[0];

export const EMPTY = read("http://x/");
export const isEmpty = (question) => !signed(question.text).length && !question.terms.length && !question.liked.length;
export const nFilters = ({ folder, from, to, minSide, formats }) => [folder, from, to, minSide, formats.length].filter(Boolean).length;

// Two questions with the same key have the same answer; where the line is drawn by hand is not the service's business.
export function keyOf(question) {
  const { cut, ...rest } = question;
  return JSON.stringify([rest, cut === "auto"]);
}

// What is looked for; how the answer is narrowed and shown aside.
export const meaningOf = ({ text, terms, liked, disliked }) => JSON.stringify([text, terms, liked, disliked]);

// The question alone, for recent searches.
export const searchOf = (href) => {
  const params = new URL(href).searchParams;
  for (const name of [...params.keys()]) if (!PARAMS.includes(name)) params.delete(name);
  return params.toString();
};

// "a dog + beach - people" are three texts, the last one unwanted.
export function signed(text) {
  const parts = text.split(/(?:^|\s)([+−-])\s*(?=\S)/);
  return parts.flatMap((part, i) => {
    if (i % 2) return [];
    const words = part.trim();
    const minus = i > 0 && parts[i - 1] !== "+";
    return words ? [{ kind: "text", value: words, weight: minus ? -1 : 1 }] : [];
  });
}

// What is sent to the service.
export function body(question, { limit = PAGE, cursor } = {}) {
  const terms = [...signed(question.text), ...question.terms].filter(({ weight }) => weight !== 0);
  const asked = { limit };
  if (terms.length === 1 && terms[0].weight === 1) Object.assign(asked, wire(terms[0]));
  else if (terms.length) asked.query = terms.map((each) => ({ ...wire(each), weight: each.weight }));
  if (question.liked.length) asked.liked = question.liked;
  if (question.disliked.length) asked.disliked = question.disliked;
  if (nFilters(question)) asked.where = where(question);
  if (question.fold) asked.collapse = "near";
  if (question.cut === "auto") asked.cut = "auto";
  if (cursor) asked.cursor = cursor;
  return asked;
}

// Without a question: the newest pictures that pass the filters.
export function browsing(question, { limit = PAGE, cursor } = {}) {
  return { limit, ...cursor && { before: cursor }, ...nFilters(question) && { where: where(question) } };
}

function wire({ kind, value }) {
  return kind === "picture" ? { vector: decode(value.split(".")[1]) } : { [kind]: value };
}

function where({ folder, from, to, minSide, formats }) {
  return {
    ...folder && { path: folder },
    ...from && { modified_from: new Date(`${from}T00:00:00`).toISOString() },
    ...to && { modified_to: new Date(`${to}T23:59:59.999`).toISOString() },
    ...minSide && { width_min: +minSide, height_min: +minSide },
    ...formats.length && { format: formats },
  };
}

// A picture that was dropped, as a term: its vector goes into the address, so that even this can be shared.
export const pictureTerm = ({ id, feature }) => ({ kind: "picture", value: `${id}.${encode(feature)}`, weight: 1 });
export const idTerm = (id) => ({ kind: "id", value: id, weight: 1 });
