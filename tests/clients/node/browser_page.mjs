// A page in headless Chromium. told: program, origin, call (a function of page.html), args for it.
// Tells what the page tells, and {name: "failed"} for what went wrong in it. Ends when its standard input does.
import { readFile } from "node:fs/promises";
import { chromium } from "playwright-core";
import { stay, tell, told } from "./talk.mjs";

const QUIET = "--disable-gpu --disable-quic --no-first-run --disable-background-networking --disable-component-update --disable-sync";

const browser = await chromium.launch({ executablePath: told.program, args: ["--no-sandbox", ...QUIET.split(" ")] });
stay(() => browser.close());
const page = await browser.newPage();
page.on("pageerror", (error) => tell({ name: "failed", message: `${error}` }));
await page.exposeFunction("tell", tell);
await page.goto(`${told.origin}/health`); // the page lives where the service does, as behind a gateway
await page.setContent(await readFile(new URL("page.html", import.meta.url), "utf8"));
await page.evaluate(([call, args]) => window[call](args), [told.call, told.args]);
