// graphql-ws, unchanged: operations over one WebSocket, and one that is refused.
// told: url, key, operations [{query, variables}], wrong. Tells {results: [[payload]], refused, closed}.
import { createClient } from "graphql-ws";
import { tell, told } from "./talk.mjs";

let closed;
const client = createClient({
  url: told.url,
  connectionParams: { Authorization: `Bearer ${told.key}` },
  retryAttempts: 0,
  on: { closed: (event) => (closed = { code: event.code, reason: event.reason }) },
});

async function all(operation) {
  const payloads = [];
  for await (const payload of client.iterate(operation)) payloads.push(payload);
  return payloads;
}

const results = await Promise.all(told.operations.map(all)).catch((error) => ({ error }));
const refused = await all(told.wrong).catch((errors) => errors);
await client.dispose();
tell({ results, refused, closed: closed ?? null });
