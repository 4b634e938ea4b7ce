// The OpenAI SDK, unchanged: one streamed chat.
// told: base, key, request, headers. Tells {chunks, text, usage} or {error: {name, code, message}, text}.
import OpenAI from "openai";
import { tell, told } from "./talk.mjs";

const sdk = new OpenAI({ baseURL: told.base, apiKey: told.key, maxRetries: 0, defaultHeaders: told.headers });
const heard = { chunks: 0, text: "", usage: null };
try {
  for await (const chunk of await sdk.chat.completions.create({ ...told.request, stream: true })) {
    heard.chunks += 1;
    heard.text += chunk.choices?.[0]?.delta?.content ?? "";
    heard.usage = chunk.usage ?? heard.usage;
  }
} catch (error) {
  heard.error = { name: error.constructor.name, code: error.code ?? null, message: error.message };
}
tell(heard);
