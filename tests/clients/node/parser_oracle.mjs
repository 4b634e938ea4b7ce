// `eventsource-parser` as a judge: for each stream on standard input, cut as it is told, what it says.
// In: one JSON array a line, the pieces in base64. Tells [[data, event, id], …] for each.
import { createInterface } from "node:readline";
import { createParser } from "eventsource-parser";
import { tell } from "./talk.mjs";

for await (const line of createInterface({ input: process.stdin })) {
  const events = [];
  const parser = createParser({ onEvent: ({ data, event, id }) => events.push([data, event ?? null, id ?? null]) });
  const decoder = new TextDecoder("utf-8", { ignoreBOM: true }); // the parser drops the one mark itself
  for (const piece of JSON.parse(line)) {
    parser.feed(decoder.decode(Buffer.from(piece, "base64"), { stream: true }));
  }
  tell(events);
}
