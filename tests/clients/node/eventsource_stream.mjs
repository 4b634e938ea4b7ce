// npm's `eventsource`, unchanged: reads a stream until the server says that there is no more. It is never closed by us.
// told: url, key. Tells each event as {name, id, data}, each connection as {name: "open"}, the end as {name: "closed"}.
import { EventSource } from "eventsource";
import { stay, tell, told } from "./talk.mjs";

const NAMES = ["message", "recovered", "lost", "moved", "done", "error", "truncated", "cancelled"];

const authorised = (address, options) =>
  fetch(address, { ...options, headers: { ...options.headers, authorization: `Bearer ${told.key}` } });

stay(); // its timer for coming back keeps no process alive
const source = new EventSource(told.url, { fetch: authorised });
source.addEventListener("open", () => tell({ name: "open" }));
for (const name of NAMES) {
  source.addEventListener(name, ({ data, lastEventId, code }) => {
    if (data !== undefined) {
      tell({ name, id: lastEventId, data });
    } else if (source.readyState === EventSource.CLOSED) {
      tell({ name: "closed", code: code ?? null });
    }
  });
}
