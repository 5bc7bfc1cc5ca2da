// The search page: words, or a picture dropped, pasted or chosen. Everything from the service is shown as text.
const LIMIT = 60;
const $ = (id) => document.getElementById(id);
let latest = 0;

async function ask(what, request) {
  const mine = ++latest;
  say(`Searching ${what} …`);
  try {
    const response = await request();
    const answer = await response.json();
    if (mine !== latest) return; // a newer question is on its way
    if (!response.ok) return say(answer.detail ?? answer.title, true);
    show(answer.hits);
    const count = answer.hits.length;
    say(count ? `${count} of ${answer.index.count} pictures, ${answer.took_ms.total.toFixed(0)} ms, like ${what}`
      : "Nothing is indexed yet: drop pictures into the watched folder.");
  } catch {
    if (mine === latest) say("The service does not answer.", true);
  }
}

const byWords = (text) => ask(`“${text}”`, () => fetch("/api/search", {
  method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify({ text, limit: LIMIT }),
}));

const byFile = (file) => ask(file.name || "the picture", () => fetch(`/api/search/image?limit=${LIMIT}`, {
  method: "POST", headers: { "content-type": "application/octet-stream" }, body: file,
}));

const byHit = (hit) => ask(nameOf(hit), () => fetch(`/api/images/${hit.id}/similar?limit=${LIMIT}`));

const nameOf = (hit) => hit.path.split(/[\\/]/).pop();

function show(hits) {
  $("hits").replaceChildren(...hits.map((hit) => {
    const image = Object.assign(new Image(hit.width, hit.height), { src: hit.thumbnail_url, alt: nameOf(hit), loading: "lazy" });
    const button = Object.assign(document.createElement("button"), { type: "button", title: `More like ${hit.path}` });
    button.append(image);
    button.addEventListener("click", () => { scrollTo(0, 0); byHit(hit); });
    const caption = document.createElement("figcaption");
    caption.append(text(nameOf(hit)), text(hit.score.toFixed(3), "dim"));
    const figure = document.createElement("figure");
    figure.append(button, caption);
    const item = document.createElement("li");
    item.append(figure);
    return item;
  }));
}

function text(content, kind = "") {
  return Object.assign(document.createElement("span"), { textContent: content, className: kind });
}

function say(message, bad = false) {
  $("status").textContent = message;
  $("status").className = bad ? "bad" : "dim";
}

$("ask").addEventListener("submit", (event) => {
  event.preventDefault();
  const words = $("words").value.trim();
  history.replaceState(null, "", words ? `?q=${encodeURIComponent(words)}` : "/");
  if (words) byWords(words);
});

$("file").addEventListener("change", () => {
  if ($("file").files[0]) byFile($("file").files[0]);
  $("file").value = ""; // so that the same file can be chosen again
});

addEventListener("paste", (event) => {
  const file = [...event.clipboardData.files].find((each) => each.type.startsWith("image/"));
  if (file) { event.preventDefault(); byFile(file); }
});

let depth = 0; // enter and leave come in pairs for every element that is crossed
addEventListener("dragenter", () => { depth++; document.body.classList.add("drop"); });
addEventListener("dragleave", () => { if (--depth <= 0) endDrag(); });
addEventListener("dragover", (event) => event.preventDefault());
addEventListener("drop", (event) => {
  event.preventDefault();
  endDrag();
  if (event.dataTransfer.files[0]) byFile(event.dataTransfer.files[0]);
});
function endDrag() { depth = 0; document.body.classList.remove("drop"); }

async function state() {
  try {
    const stats = await (await fetch("/api/stats")).json();
    const busy = stats.pending ? `, ${stats.pending} waiting` : "";
    $("state").textContent = `${stats.indexed} pictures in ${stats.files} files${busy} · ${stats.model} on ${stats.device}`;
  } catch {
    $("state").textContent = "";
  }
}
state();
setInterval(() => { if (!document.hidden) state(); }, 3000);

const asked = new URLSearchParams(location.search).get("q");
if (asked) { $("words").value = asked; byWords(asked); }
