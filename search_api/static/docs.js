// The API reference, drawn from the OpenAPI document, with a form to try each operation.
let spec;
let key = sessionStorage.getItem("key") ?? "";

const JSON_TYPE = "application/json";
const resolve = (schema) => schema?.$ref ? spec.components.schemas[schema.$ref.split("/").pop()] : schema ?? {};

function el(tag, members = {}, ...children) {
  const node = Object.assign(document.createElement(tag), members);
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

// Text as it is. It may be longer than its place: who has no mouse scrolls it with the arrow keys.
const pre = (textContent) => el("pre", { textContent, tabIndex: 0 });

// Text in which `backticks` mark code.
const prose = (tag, text, className = "") => el(tag, { className }, ...text.split("`").map((part, i) => i % 2 ? el("code", { textContent: part }) : part));

// ---------------------------------------------------------------- schemas as short types

function typeOf(schema) {
  if (!schema) return "";
  if (schema.$ref) return schema.$ref.split("/").pop();
  const either = schema.anyOf ?? (schema.type ? null : schema.oneOf);
  if (either) return either.map(typeOf).join(" | ");
  if (schema.contentMediaType) return "file";
  if (schema.type === "array") return `${typeOf(schema.items)}[]`;
  if (schema.type === "object" && typeof schema.additionalProperties === "object") {
    return `{[name]: ${typeOf(schema.additionalProperties) || "any"}}`;
  }
  return [schema.type ?? "any"].flat().join(" | ");
}

function limitsOf(schema) {
  const part = (schema?.anyOf ?? []).find((each) => each.type !== "null") ?? schema ?? {};
  return [
    part.minimum !== undefined && `≥ ${part.minimum}`, part.maximum !== undefined && `≤ ${part.maximum}`,
    part.maxLength && `at most ${part.maxLength} characters`, part.maxItems && `at most ${part.maxItems}`,
    part.pattern && `matches ${part.pattern}`,
    schema?.default !== undefined && schema.default !== null && `default ${JSON.stringify(schema.default)}`,
  ].filter(Boolean).join(", ");
}

const describe = (schema) => [(schema.anyOf ?? []).find((each) => each.description)?.description, schema.description, limitsOf(schema)]
  .filter(Boolean).join(" · ");

function members(schema, seen = []) {
  const name = typeOf(schema);
  const whole = resolve(schema.type === "array" ? schema.items : schema);
  if (!whole.properties || seen.includes(name)) return null;
  const rows = Object.entries(whole.properties).map(([member, part]) => {
    const options = part.anyOf ?? [part];
    const inner = options.map((each) => members(each, [...seen, name])).find(Boolean);
    return el("tr", {}, el("td", {}, el("code", { textContent: member })), el("td", {}, el("code", { textContent: typeOf(part) })),
      el("td", {}, prose("span", describe(part)), inner));
  });
  return el("div", {}, prose("p", whole.description ?? "", "dim"), el("table", {}, ...rows));
}

// ---------------------------------------------------------------- operations

function operation(path, method, op) {
  const fields = (op.parameters ?? []).map((parameter) => ({ parameter, input: el("input", {
    value: parameter.schema.examples?.[0] ?? parameter.schema.default ?? "", ariaLabel: parameter.name,
  }) }));
  const body = bodyOf(op);
  const result = el("div", { ariaLive: "polite" });
  const send = el("button", { className: "primary", textContent: "Send", type: "button" });
  send.addEventListener("click", () => attempt(path, method, fields, body, result));
  const inside = el("div", { className: "inside" },
    op.description ? prose("p", op.description) : null,
    fields.length ? el("h3", { textContent: "Parameters" }) : null,
    fields.length ? el("table", {}, ...fields.map(row)) : null,
    body?.view, el("p", {}, send), result,
    el("h3", { textContent: "Answers" }), el("table", {}, ...Object.entries(op.responses).sort().map(answer)));
  return el("details", { id: op.operationId }, el("summary", {}, el("span", { className: "method", textContent: method.toUpperCase() }),
    el("code", { textContent: path }), prose("span", op.summary, "dim")), inside);
}

const row = ({ parameter, input }) => el("tr", {}, el("td", {}, el("code", { textContent: parameter.name })),
  el("td", { className: "dim", textContent: `in ${parameter.in}${parameter.required ? ", required" : ""}` }), el("td", {}, input),
  el("td", {}, prose("span", describe({ ...parameter.schema, description: parameter.description }))));

function answer([status, response]) {
  const [type, media] = Object.entries(response.content ?? {})[0] ?? [];
  const problem = type?.includes("problem");
  const example = !problem && media && resolve(media.schema).examples?.[0];
  return el("tr", {}, el("td", {}, el("code", { textContent: status })), el("td", {}, prose("span", response.description),
    problem ? null : el("span", { className: "dim", textContent: type ? ` · ${type} · ${typeOf(media.schema)}` : "" }),
    media && !problem ? members(media.schema) : null,
    example ? pre(JSON.stringify(example, null, 1)) : null));
}

function bodyOf(op) {
  const content = op.requestBody?.content;
  if (!content) return null;
  const schema = content[JSON_TYPE]?.schema;
  if (!schema) {
    const input = el("input", { type: "file", ariaLabel: "Picture" });
    const types = el("span", { className: "dim", textContent: ` ${Object.keys(content).join(" · ")}` });
    return { input, view: el("div", {}, el("h3", { textContent: "Body" }), prose("span", op.requestBody.description), el("p", {}, input, types)) };
  }
  const asked = schema.oneOf?.find((each) => each.$ref) ?? schema;
  const examples = resolve(asked).examples ?? [{}];
  const input = el("textarea", { value: JSON.stringify(examples[0], null, 1), ariaLabel: "Body", spellcheck: false });
  const choice = examples.length > 1 ? el("p", {}, ...examples.map((example) => {
    const button = el("button", { type: "button", textContent: Object.keys(example).join(", ") });
    button.addEventListener("click", () => { input.value = JSON.stringify(example, null, 1); });
    return button;
  })) : null;
  return { input, json: true, view: el("div", {}, el("h3", { textContent: `Body · ${JSON_TYPE} · ${typeOf(asked)}` }), choice, input, members(asked)) };
}

async function attempt(path, method, fields, body, result) {
  const query = new URLSearchParams();
  for (const { parameter, input } of fields) {
    if (parameter.in === "path") path = path.replace(`{${parameter.name}}`, encodeURIComponent(input.value));
    else if (input.value !== "") query.set(parameter.name, input.value);
  }
  const url = query.size ? `${path}?${query}` : path;
  const headers = key ? { authorization: `Bearer ${key}` } : {};
  if (body) headers["content-type"] = body.json ? JSON_TYPE : "application/octet-stream";
  const data = body?.json ? body.input.value : body?.input.files[0];
  const started = performance.now();
  try {
    const response = await fetch(url, { method: method.toUpperCase(), headers, body: data });
    const type = response.headers.get("content-type") ?? "";
    const shown = type.startsWith("image/")
      ? el("p", {}, Object.assign(new Image(), { src: URL.createObjectURL(await response.blob()), alt: "The answer" }))
      : pre(pretty(await response.text()));
    const took = `${response.status} ${response.statusText} · ${(performance.now() - started).toFixed(0)} ms`;
    result.replaceChildren(el("p", { className: response.ok ? "dim" : "bad", textContent: took }),
      pre(curl(url, method, body, data)), shown);
  } catch (error) {
    result.replaceChildren(el("p", { className: "bad", textContent: String(error) }));
  }
}

function pretty(text) {
  try { return JSON.stringify(JSON.parse(text), null, 2); } catch { return text; }
}

function curl(url, method, body, data) {
  const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;
  const sent = !body ? "" : body.json ? ` -H 'Content-Type: ${JSON_TYPE}' -d ${quoted(data)}` : ` --data-binary @${quoted(data?.name ?? "picture.jpg")}`;
  const authorised = key ? " -H \"Authorization: Bearer $KEY\"" : "";
  return `curl${method === "post" && !body ? " -X POST" : ""}${authorised}${sent} ${quoted(location.origin + url)}`;
}

// ---------------------------------------------------------------- the page

// The key is shared with the other pages of this tab.
function keyInput(event, done) {
  const input = el("input", { type: "password", placeholder: "API key", ariaLabel: "API key", autocomplete: "off", value: key });
  input.addEventListener(event, () => { key = input.value.trim(); sessionStorage.setItem("key", key); done(); });
  return input;
}

async function draw() {
  const main = document.getElementById("reference");
  const response = await fetch("/api/openapi.json", { headers: key ? { authorization: `Bearer ${key}` } : {} });
  if (response.status === 401) {
    main.replaceChildren(el("p", { textContent: "This service asks for a key." }), el("p", {}, keyInput("change", draw)));
    return;
  }
  spec = await response.json();
  const operations = Object.entries(spec.paths).flatMap(([path, item]) => Object.entries(item).map(([method, op]) => ({ path, method, op })));
  const parts = spec.info.description.split("\n\n").map((paragraph) => prose("p", paragraph));
  if (spec.components.securitySchemes) {
    parts.push(el("p", {}, keyInput("input", () => {})));
  }
  for (const tag of spec.tags) {
    const tagged = operations.filter(({ op }) => op.tags?.includes(tag.name));
    if (tagged.length) {
      parts.push(el("h2", { textContent: tag.name }), el("p", { className: "dim", textContent: tag.description }));
      parts.push(...tagged.map(({ path, method, op }) => operation(path, method, op)));
    }
  }
  main.replaceChildren(...parts);
  document.getElementById(location.hash.slice(1))?.setAttribute("open", "");
}
draw().catch((error) => { document.getElementById("reference").textContent = `The reference cannot be drawn: ${error}`; });
