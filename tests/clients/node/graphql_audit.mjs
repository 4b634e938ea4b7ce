// The audits of graphql-http, unchanged: whether a server keeps to GraphQL over HTTP.
// told: url, headers. Tells [{id, name, status, reason}].
import { serverAudits } from "graphql-http";
import { tell, told } from "./talk.mjs";

const fetchFn = (url, options = {}) => fetch(url, { ...options, headers: { ...options.headers, ...told.headers } });
const results = await Promise.all(serverAudits({ url: told.url, fetchFn }).map((audit) => audit.fn()));
tell(results.map(({ id, name, status, reason }) => ({ id, name, status, reason })));
