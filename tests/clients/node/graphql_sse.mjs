// graphql-sse, unchanged, in both modes: operations as Server-Sent Events, and one that is refused.
// told: url, key, single, operations [{query, variables}], wrong. Tells {results: [[payload]], refused}.
import { createClient } from "graphql-sse";
import { tell, told } from "./talk.mjs";

const client = createClient({
  url: told.url,
  singleConnection: told.single,
  headers: { Authorization: `Bearer ${told.key}` },
  retryAttempts: 0,
});

async function all(operation) {
  const payloads = [];
  for await (const payload of client.iterate(operation)) payloads.push(payload);
  return payloads;
}

const results = await Promise.all(told.operations.map(all)).catch((error) => ({ error: String(error) }));
const refused = await all(told.wrong).catch((error) => ({ error: String(error) }));
client.dispose();
tell({ results, refused });
process.exit();
