// `eventsource-parser` behind fetch, as the AI toolkits of the web use it: one streamed chat.
// told: url, key, request, headers. Tells {events: [{event, id, data}], comments, retries, errors}.
import { createParser } from "eventsource-parser";
import { tell, told } from "./talk.mjs";

const heard = { events: [], comments: [], retries: [], errors: [] };
const parser = createParser({
  onEvent: ({ event, id, data }) => heard.events.push({ event: event ?? null, id: id ?? null, data }),
  onComment: (comment) => heard.comments.push(comment),
  onRetry: (retry) => heard.retries.push(retry),
  onError: (error) => heard.errors.push(`${error}`),
});
const answer = await fetch(told.url, {
  method: "POST",
  headers: { authorization: `Bearer ${told.key}`, "content-type": "application/json", ...told.headers },
  body: JSON.stringify(told.request),
});
heard.status = answer.status;
for await (const text of answer.body.pipeThrough(new TextDecoderStream())) {
  parser.feed(text);
}
tell(heard);
