// The playground in headless Chromium, as somebody uses it. told: program, origin, key, wrong (a key), revoked (one that
// is revoked when the step "waiting" is told), folder (for pictures), scheme.
// Tells what was seen at each step, with all that the page asked for and complained of until then.
import { chromium } from "playwright-core";
import { stay, tell, told } from "./talk.mjs";

const QUIET = "--disable-gpu --disable-quic --no-first-run --disable-background-networking --disable-component-update --disable-sync";
const browser = await chromium.launch({ executablePath: told.program, args: ["--no-sandbox", ...QUIET.split(" ")] });
stay(() => browser.close());
const context = await browser.newContext({ viewport: { width: 1280, height: 800 }, colorScheme: told.scheme });
const page = await context.newPage();
page.setDefaultTimeout(10_000);

const asked = [];
const refused = [];
const complaints = [];
page.on("request", (request) => asked.push(request.url()));
page.on("websocket", (socket) => asked.push(socket.url()));
page.on("response", (response) => response.status() >= 400 && refused.push(`${response.status()} ${response.url()}`));
page.on("requestfailed", (request) => refused.push(`${request.failure().errorText} ${request.url()}`));
page.on("pageerror", (error) => complaints.push(`${error}`));
page.on("console", (message) => ["error", "warning"].includes(message.type()) && complaints.push(message.text()));

const NOTICE = "#notice";
const notice = (state) => page.waitForSelector(`${NOTICE}[data-state=${state}]`).then((found) => found.textContent());
const result = () => page.evaluate(() => document.querySelector(".result-window .CodeMirror")?.CodeMirror.getValue());
const query = () => page.evaluate(() => document.querySelector(".graphiql-query-editor .CodeMirror").CodeMirror.getValue());
const until = (text) =>
  page.waitForFunction(
    (wanted) => document.querySelector(".result-window .CodeMirror")?.CodeMirror.getValue().includes(wanted),
    text,
  );
const picture = (name) => page.screenshot({ path: `${told.folder}/${name}.png` });
const type = async (key) => {
  await page.fill("#key", key);
  await page.press("#key", "Enter");
};
const tab = (name) => page.click(`.graphiql-tab button:has-text("${name}")`);
const run = () => page.click(".graphiql-execute-button");

async function seen(name, more) {
  await picture(name);
  tell({ name, asked: asked.splice(0), refused: refused.splice(0), complaints: complaints.splice(0), ...more });
}

await page.goto(told.origin);
await page.waitForSelector(".graphiql-query-editor .CodeMirror");
await page.waitForLoadState("networkidle");
await run();
await until("Enter a key");
await seen("loaded", { tabs: await page.locator(".graphiql-tab-button").allTextContents(), result: await result() });

await type(told.wrong);
await seen("wrong", { notice: await notice("refused"), stored: await page.evaluate(() => ({ ...sessionStorage })) });

await type(told.key);
await seen("known", { notice: await notice("known") });

const [saved] = await Promise.all([page.waitForEvent("download"), page.click("text=schema.graphql")]);
await saved.saveAs(`${told.folder}/schema.graphql`);
await seen("saved", { file: saved.suggestedFilename() });

await run();
await until('"data"');
await seen("models", { result: JSON.parse(await result()) });

await page.click("[aria-label='Show GraphiQL Explorer']");
await page.click(".graphiql-explorer-root .graphiql-explorer-field-view:has-text('fallbacks') >> nth=-1");
await page.waitForFunction(() => document.querySelector(".graphiql-query-editor .CodeMirror").CodeMirror.getValue().includes("fallbacks"));
await seen("explorer", {});
await page.click("[aria-label='Hide GraphiQL Explorer']");

await tab("Tokens");
await run();
await until('"outcome"');
await page.waitForSelector(".graphiql-execute-button[aria-label^=Execute]");
await seen("tokens", { result: JSON.parse(await result()), query: await query() });

await page.click("[aria-label='Show Documentation Explorer']");
await page.waitForSelector(".graphiql-doc-explorer-content >> text=Subscription");
await seen("docs", { text: await page.textContent(".graphiql-doc-explorer-content") });

await page.click("[aria-label='Open settings dialog']");
await page.click("button[data-theme=dark]");
await seen("settings", {});
await page.keyboard.press("Escape");
await page.click("[aria-label='Open short keys dialog']");
await page.waitForSelector("text=Execute query");
await seen("keys", {});
await page.keyboard.press("Escape");

await tab("Figures");
await run();
await until('"at"');
await run(); // stops it
await seen("figures", { result: JSON.parse(await result()) });

await page.reload();
const again = await notice("known");
const kept = await page.evaluate(() => ({ session: { ...sessionStorage }, local: { ...localStorage } }));
await seen("reloaded", { notice: again, kept });

await page.click("#forget");
await seen("forgotten", { notice: await notice("none"), kept: await page.evaluate(() => ({ ...sessionStorage })) });

await type(told.revoked);
await notice("known");
await page.evaluate(() => {
  document.querySelector(".graphiql-query-editor .CodeMirror").CodeMirror.setValue("subscription { limitEvents { at } }");
});
const opened = page.waitForEvent("websocket").then((socket) => socket.waitForEvent("framesent", (frame) => frame.payload.includes("limitEvents")));
await run();
await opened;
await seen("waiting", {}); // until the key is revoked
await seen("revoked", { notice: await notice("refused"), result: JSON.parse(await result()) });
