// The page as a whole: which page it is, what stands above all of them, and the keys that work everywhere.
import { render } from "preact";
import { useEffect, useState } from "preact/hooks";
import { address, follow } from "./address.js";
import * as api from "./api.js";
import { Help, KeyDialog } from "./dialogs.js";
import { html } from "./html.js";
import { Icon, IconButton } from "./icons.js";
import { SearchPage } from "./search.js";
import { Loading } from "./states.js";
import { useStats } from "./stats.js";
import { useStore } from "./store.js";
import { Toast } from "./toast.js";
import { choose, count, language, LANGUAGES, preferred, speak, t } from "./words.js";

const PAGES = [
  { path: "/", name: "search", icon: "search" },
  { path: "/duplicates", name: "duplicates", icon: "pairs", load: () => import("./duplicates.js") },
  { path: "/errors", name: "errors", icon: "alert", load: () => import("./errors.js") },
  { path: "/dashboard", name: "dashboard", icon: "gauge", load: () => import("./dashboard.js") },
];

function App() {
  const href = useStore(address);
  const code = useStore(language);
  const stats = useStats();
  const [isHelping, setHelping] = useState(false);
  const page = PAGES.find(({ path }) => path === new URL(href).pathname) ?? PAGES[0];
  useKeys({ "?": () => setHelping(true), "/": () => document.getElementById("words")?.focus() });
  return html`
    <${Head} page=${page} stats=${stats} onHelp=${() => setHelping(true)} key=${code} />
    <${Offline} />
    <main id="main" key=${`${page.name} ${code}`}>
      ${page.load ? html`<${Later} page=${page} href=${href} stats=${stats} />` : html`<${SearchPage} href=${href} stats=${stats} />`}
    </main>
    ${isHelping && html`<${Help} onClose=${() => setHelping(false)} />`}
    <${KeyDialog} />
    <${Toast} />`;
}

function Head({ page, stats, onHelp }) {
  return html`
    <header class="head">
      <a class="skip" href="#main">${t("skip")}</a>
      <a class="brand" href="/" onClick=${follow}><img src="/static/favicon.svg" alt="" width="24" height="24" />lookalike</a>
      <nav aria-label=${t("pages")}>
        ${PAGES.map(({ path, name, icon }) => html`
          <a href=${path} onClick=${follow} aria-current=${name === page.name ? "page" : undefined}><${Icon} name=${icon} /><span>${t(`page.${name}`)}</span>
            ${name === "errors" && stats?.errors > 0 && html`<span class="badge">${count(stats.errors)}</span>`}</a>`)}
      </nav>
      <p class="state dim">${stats && t("state", { n: stats.indexed })}${stats?.pending > 0 && ` · ${t("state.pending", { n: stats.pending })}`}</p>
      <select class="language" aria-label=${t("language")} value=${language.get()} onChange=${(event) => choose(event.target.value)}>
        ${Object.entries(LANGUAGES).map(([code, name]) => html`<option value=${code} lang=${code}>${name}</option>`)}
      </select>
      <${IconButton} icon="help" label=${t("help")} onClick=${onHelp} />
    </header>`;
}

function Offline() {
  const reached = useStore(api.online);
  return html`<p class=${`offline ${reached ? "unseen" : ""}`} role="alert">${!reached && t("offline.banner")}</p>`;
}

// A page whose module is fetched when it is looked at: the search page need not wait for the charts.
function Later({ page, href, stats }) {
  const [module, setModule] = useState(null);
  useEffect(() => { page.load().then(setModule); }, [page]);
  useEffect(() => { document.title = `${t(`page.${page.name}`)} · lookalike`; }, [page]);
  return module ? html`<${module.Page} href=${href} stats=${stats} />` : html`<${Loading} />`;
}

// Keys that mean something wherever nothing is being typed.
function useKeys(keys) {
  useEffect(() => {
    const press = (event) => {
      const typed = event.target.closest?.("input:not([type=range]), textarea, select");
      const deed = keys[event.key];
      if (!deed || typed || event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
      event.preventDefault();
      deed();
    };
    addEventListener("keydown", press);
    return () => removeEventListener("keydown", press);
  }, []);
}

await speak(preferred());
render(html`<${App} />`, document.getElementById("app"));
