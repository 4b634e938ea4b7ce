// Asks the graph in the name of a key: queries and mutations over HTTP, subscriptions over graphql-transport-ws.

const ADDRESS = new URL("graphql", document.baseURI).href;
const SCHEMA = new URL("schema.graphql", document.baseURI).href;
const TYPES = "application/graphql-response+json, application/json";
const REFUSED = "This key is not accepted.";
const UNAUTHORIZED = 401;
const FORBIDDEN = 4403; // graphql-transport-ws closes so
const SHOWN = 30; // events of a subscription

const failed = (message, extensions) => ({ errors: [{ message, ...(extensions && { extensions }) }] });

export const NO_KEY = failed("Enter a key above: nothing is asked without one.");

// What GraphiQL asks with. `refused` is told in words when the key is not accepted, now or any more.
export function asker(key, refused) {
  const client = graphqlWs.createClient({
    url: ADDRESS.replace(/^http/, "ws"),
    connectionParams: { Authorization: `Bearer ${key}` },
    retryAttempts: 0, // what was lost is said, not begun anew
  });
  return {
    ask: ({ query, variables, operationName }) => {
      const { kind, name } = operation(query, operationName);
      const asked = { query, variables, operationName: name };
      return kind === "subscription" ? events(client, asked, refused) : post(key, asked, refused);
    },
    schema: () => schema(key, refused),
    close: () => client.dispose(),
  };
}

// One answer: the graph's own, or errors of the same shape for whatever else came.
export async function post(key, asked, refused) {
  if (!/^[\x21-\x7e]+$/.test(key)) return refuse(refused);
  let answer;
  try {
    const headers = { Authorization: `Bearer ${key}`, "Content-Type": "application/json", Accept: TYPES };
    answer = await fetch(ADDRESS, { method: "POST", headers, body: JSON.stringify(asked) });
  } catch {
    return failed("The service does not answer.");
  }
  if (answer.status === UNAUTHORIZED) return refuse(refused);
  const body = await answer.json().catch(() => ({}));
  if (body.data !== undefined || body.errors) return body;
  return failed(body.detail ?? `The service answered ${answer.status}.`, body);
}

// The schema as it is written, in a file to be saved, or why it may not be read.
async function schema(key, refused) {
  try {
    const answer = await fetch(SCHEMA, { headers: { Authorization: `Bearer ${key}` } });
    if (answer.ok) return { file: await answer.blob() };
    if (answer.status === UNAUTHORIZED) return refuse(refused);
    const { detail } = await answer.json().catch(() => ({}));
    return failed(detail ?? `The service answered ${answer.status}.`);
  } catch {
    return failed("The service does not answer.");
  }
}

function refuse(refused) {
  refused(REFUSED);
  return failed(REFUSED);
}

// A subscription as GraphiQL takes it: what has come so far, the latest first.
function events(client, asked, refused) {
  return {
    subscribe(sink) {
      let shown = {};
      let over = false;
      const end = (failure) => {
        if (over) return;
        over = true;
        if (failure) sink.next({ ...failure, ...shown });
        sink.complete();
      };
      const leave = client.subscribe(asked, {
        next({ extensions, ...event }) {
          if (over) return;
          const { events = 0, latest = [] } = shown;
          shown = { events: events + 1, latest: [event, ...latest].slice(0, SHOWN), extensions };
          sink.next(shown);
        },
        error: (error) => end(told(error, refused)),
        complete: () => end(),
      });
      return {
        unsubscribe() {
          over = true;
          leave();
        },
      };
    },
  };
}

// Why a subscription failed: the graph's errors, a close of the connection, or no connection.
function told(error, refused) {
  if (Array.isArray(error)) return { errors: error };
  if (error.code === FORBIDDEN) return refuse(refused);
  if (error.code) return failed(`The connection was closed: ${error.code} ${error.reason}`.trim());
  return failed("The connection failed.");
}

// The operation that is meant. For a moment after a change of tabs GraphiQL still names the other tab's.
function operation(query, name) {
  let operations;
  try {
    operations = GraphiQL.GraphQL.parse(query).definitions.filter(({ kind }) => kind === "OperationDefinition");
  } catch {
    return { name }; // the service says what is wrong with it
  }
  const meant = operations.length === 1 ? operations[0] : operations.find((each) => each.name?.value === name);
  return { kind: meant?.operation, name: meant ? meant.name?.value : name };
}
