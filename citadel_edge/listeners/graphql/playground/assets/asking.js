// Asks the graph in the name of a key: queries and mutations over HTTP, subscriptions over graphql-transport-ws.

const ADDRESS = new URL("graphql", document.baseURI).href;
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
    ask: (asked, { documentAST } = {}) =>
      isSubscription(documentAST, asked.operationName) ? events(client, asked, refused) : post(key, asked, refused),
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

function refuse(refused) {
  refused(REFUSED);
  return failed(REFUSED);
}

// A subscription as GraphiQL takes it: what has come so far, the latest first.
function events(client, asked, refused) {
  return {
    subscribe(sink) {
      let latest = [];
      let count = 0;
      let over = false;
      const end = (shown) => {
        if (over) return;
        over = true;
        if (shown) sink.next({ ...shown, ...(count && { events: count, latest }) });
        sink.complete();
      };
      const leave = client.subscribe(asked, {
        next(event) {
          if (over) return;
          latest = [event, ...latest].slice(0, SHOWN);
          count += 1;
          sink.next({ events: count, latest });
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

function isSubscription(document, name) {
  const operations = (document?.definitions ?? []).filter(({ kind }) => kind === "OperationDefinition");
  return operations.find((each) => !name || each.name?.value === name)?.operation === "subscription";
}
