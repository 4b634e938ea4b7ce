// urql's core, unchanged: a query, a mutation, an answer in parts and a subscription, all by its fetch exchange.
// told: url, key, query, mutation, parts, subscription; each {query, variables}. Tells [{data, error, hasNext}] of each.
import { Client, fetchExchange } from "@urql/core";
import { tell, told } from "./talk.mjs";

const client = new Client({
  url: told.url,
  exchanges: [fetchExchange],
  preferGetMethod: false,
  fetchSubscriptions: true,
  fetchOptions: { headers: { Authorization: `Bearer ${told.key}` } },
});

function all(source) {
  return new Promise((resolve) => {
    const seen = [];
    const { unsubscribe } = source.subscribe((result) => {
      seen.push({
        data: structuredClone(result.data ?? null),
        error: result.error?.message ?? null,
        hasNext: result.hasNext,
      });
      if (!result.hasNext) {
        resolve(seen);
        setTimeout(() => unsubscribe());
      }
    });
  });
}

tell({
  query: await all(client.query(told.query.query, told.query.variables)),
  mutation: await all(client.mutation(told.mutation.query, told.mutation.variables)),
  parts: await all(client.query(told.parts.query, told.parts.variables)),
  subscription: await all(client.subscription(told.subscription.query, told.subscription.variables)),
});
