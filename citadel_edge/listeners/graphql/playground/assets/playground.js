// The page: a key field above GraphiQL. Nothing is asked before a key is given; it is kept as long as the tab.
import { NO_KEY, asker, post } from "./asking.js";

const { createElement, useState } = React;
const STORED = "citadel-edge.key";
const EXAMPLES = JSON.parse(document.querySelector("#examples").textContent);
const WHO = { query: "query Who { viewer { name role tier } }" };

const form = document.querySelector("form");
const field = document.querySelector("#key");
const forget = document.querySelector("#forget");
const notice = document.querySelector("#notice");
const link = document.querySelector("header a");
const nobody = { ask: async () => NO_KEY, schema: async () => NO_KEY, close() {} };
let asking = nobody;

function Page({ ask, known }) {
  const [query, setQuery] = useState();
  const explorer = GraphiQLPluginExplorer.useExplorerPlugin({ query, onEdit: setQuery, showAttribution: false });
  return createElement(GraphiQL, {
    fetcher: ask,
    schema: known ? undefined : null, // null: do not ask for it
    schemaDescription: true,
    inputValueDeprecation: true,
    query,
    onEditQuery: setQuery,
    defaultTabs: EXAMPLES,
    plugins: [explorer],
    isHeadersEditorEnabled: false,
    shouldPersistHeaders: false,
  });
}

function show(next, words, state) {
  asking.close();
  asking = next;
  const known = next !== nobody;
  forget.hidden = !known;
  notice.textContent = words;
  notice.dataset.state = state;
  ReactDOM.render(createElement(Page, { ask: next.ask, known }), document.querySelector("main"));
}

function leave(words, state) {
  sessionStorage.removeItem(STORED);
  show(nobody, words, state);
}

const refused = (words) => {
  leave(words, "refused");
  field.select();
};

// Whether a key is accepted, and whose it is, before GraphiQL asks anything with it.
async function enter(key) {
  notice.textContent = "…";
  const { data, errors } = await post(key, WHO, refused);
  if (!data?.viewer) {
    if (notice.dataset.state !== "refused") leave(errors[0].message, "refused");
    return;
  }
  sessionStorage.setItem(STORED, key);
  const { name, role, tier } = data.viewer;
  show(asker(key, refused), `${name} · ${role.toLowerCase()} · tier ${tier}`, "known");
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  const key = field.value.trim();
  if (key) enter(key);
});
forget.addEventListener("click", () => {
  field.value = "";
  leave("The key is forgotten.", "none");
  field.focus();
});

// The schema is read with the key, too, so it is not the link that the browser follows.
link.addEventListener("click", async (event) => {
  event.preventDefault();
  const { file, errors } = await asking.schema();
  if (file) save(file, link.textContent);
  else notice.textContent = errors[0].message;
});

function save(file, name) {
  const saved = Object.assign(document.createElement("a"), { href: URL.createObjectURL(file), download: name });
  saved.click();
  URL.revokeObjectURL(saved.href);
}

show(nobody, "Paste a key and press Enter.", "none");
const stored = sessionStorage.getItem(STORED);
if (stored) {
  field.value = stored;
  enter(stored);
} else {
  field.focus();
}
