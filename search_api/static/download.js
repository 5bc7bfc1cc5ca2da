// The answer as a file.
const COLUMNS = ["rank", "score", "relevance", "id", "path", "width", "height", "format", "size_bytes", "modified", "n_alike"];

export function download(hits, kind) {
  const [text, type] = kind === "json" ? [JSON.stringify(hits, null, 1), "application/json"] : [csv(hits), "text/csv"];
  const href = URL.createObjectURL(new Blob([text], { type }));
  Object.assign(document.createElement("a"), { href, download: `lookalike.${kind}` }).click();
  setTimeout(() => URL.revokeObjectURL(href));
}

// RFC 4180. A cell that a spreadsheet would run as a formula gets an apostrophe before it.
export function csv(hits) {
  const cell = (value) => {
    if (typeof value === "number") return String(value);
    const text = String(value ?? "");
    return `"${(/^[=+\-@\t\r]/.test(text) ? `'${text}` : text).replaceAll('"', '""')}"`;
  };
  const rows = hits.map((hit, i) => COLUMNS.map((name) => cell(name === "rank" ? i + 1 : hit[name])));
  return [COLUMNS, ...rows].map((row) => row.join(",")).join("\r\n") + "\r\n";
}
