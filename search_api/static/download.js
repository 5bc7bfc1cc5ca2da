// The answer as a file.
const COLUMNS = ["rank", "score", "relevance", "id", "path", "width", "height", "format", "size_bytes", "modified", "n_alike"];

export function download(hits, kind) {
  const [text, type] = kind === "json" ? [JSON.stringify(hits, null, 1), "application/json"] : [csv(hits), "text/csv"];
  const href = URL.createObjectURL(new Blob([text], { type }));
  Object.assign(document.createElement("a"), { href, download: `lookalike.${kind}` }).click();
  setTimeout(() => URL.revokeObjectURL(href));
}

// RFC 4180. No cell can be taken for a formula: a path is absolute and begins with "/".
export function csv(hits) {
  const cell = (value) => typeof value === "number" ? String(value) : `"${String(value ?? "").replaceAll('"', '""')}"`;
  const rows = hits.map((hit, i) => COLUMNS.map((name) => cell(name === "rank" ? i + 1 : hit[name])));
  return [COLUMNS, ...rows].map((row) => row.join(",")).join("\r\n") + "\r\n";
}
