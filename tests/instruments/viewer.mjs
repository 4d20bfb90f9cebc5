#!/usr/bin/env node
// A viewer: opens a page in headless Chromium and reports what its <video> shows (viewer_probe.js).
//
//   viewer.mjs [--seconds 60] [--warm 8] [--size 800x600] [--screenshot FILE] [--insecure] http://127.0.0.1:8080/live/show/
//
// prints one JSON report after --seconds. As `viewer.mjs --drive` it obeys JSON commands instead, one a line on stdin, and answers each
// with a line {"ok": value} or {"error": text}; tests/e2e/viewer.py is the other end:
//
//   {"do": "open", "url": URL, "size": "800x600", "insecure": false}   answers with the number of the new page, which shares nothing with
//                   others but the browser. All that follows takes it as "page": 1
//   {"do": "report", "warm": 8}                      {"do": "evaluate", "script": "window.weir.stats()"}
//   {"do": "network", "offline": true}               {"do": "network", "kbps": 500, "latency_ms": 50}   (nothing: as it is)
//   {"do": "screenshot", "path": FILE}               {"do": "click", "selector": "#mute"}
//   {"do": "press", "key": "m"}                      {"do": "resize", "width": 320, "height": 640}
//   {"do": "media", "colorScheme": "dark"}           {"do": "select", "selector": "#quality", "value": "audio"}
//   {"do": "requests"}                               {"do": "reload"}                {"do": "close"}   (the page)
//
// Faults, to be had from the beginning by starting at about:blank:
//
//   {"do": "init", "script": "delete window.MediaSource"}   runs in every page before the page's own scripts
//   {"do": "route", "url": "**/index.m3u8", "status": 503}  answers instead of the server, until {"do": "unroute", "url": …}; with
//                   "headers", "base64" and "type" (of request, such as "media") as wanted; without "status" the connection fails
//   {"do": "goto", "url": URL}
//
// A warmed-up browser opens a new page: the start of the browser isn't the page's.
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';

const { chromium } = createRequire(new URL('../e2e/package.json', import.meta.url))('playwright-core');
const probe = readFileSync(new URL('viewer_probe.js', import.meta.url), 'utf8');

const BROWSER = process.env.CHROMIUM ?? '/usr/bin/chromium';
const BROWSER_FLAGS = [
  '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--mute-audio',
  '--disable-background-networking', '--disable-component-update', '--disable-sync', '--disable-default-apps',
  '--disable-background-timer-throttling', '--disable-renderer-backgrounding', '--disable-backgrounding-occluded-windows',
  '--disable-features=Translate,OptimizationHints,MediaRouter,DialMediaRouteProvider',
];
const CONSOLE_MAX = 200;

const { values: options, positionals: [url] } = parseArgs({
  allowPositionals: true,
  options: {
    seconds: { type: 'string', default: '60' },
    warm: { type: 'string', default: '8' },
    size: { type: 'string', default: '800x600' },
    screenshot: { type: 'string' },
    drive: { type: 'boolean', default: false },
    insecure: { type: 'boolean', default: false }, // any certificate will do
  },
});
if (!url && !options.drive) {
  console.error('usage: viewer.mjs [--seconds S] [--warm S] [--size WxH] [--screenshot FILE] [--insecure] URL\n       viewer.mjs --drive');
  process.exit(2);
}

const browser = await chromium.launch({ executablePath: BROWSER, headless: true, args: BROWSER_FLAGS });
const blank = await browser.newPage(); // keeps the browser warm
await blank.goto('data:text/html,<video>');

async function openView({ url, size = '800x600', insecure = false }) {
  const [width, height] = size.split('x').map(Number);
  const context = await browser.newContext({ viewport: { width, height }, ignoreHTTPSErrors: insecure });
  const page = await context.newPage();
  const network = await context.newCDPSession(page);
  await network.send('Network.enable');
  await page.addInitScript({ content: probe });
  const consoleErrors = [];
  page.on('console', (message) => {
    if (message.type() === 'error' && consoleErrors.length < CONSOLE_MAX) consoleErrors.push(message.text());
  });
  const responses = {};
  page.on('response', (response) => { responses[response.status()] = (responses[response.status()] ?? 0) + 1; });
  await page.goto(url, { waitUntil: 'commit' });
  return { context, page, network, consoleErrors, responses };
}

const report = async ({ page, consoleErrors, responses }, warm) => ({
  ...await page.evaluate((seconds) => window.weirProbe.report(seconds), warm),
  console_errors: consoleErrors,
  responses,
});

const commands = {
  report: (view, { warm = 0 }) => report(view, warm),
  evaluate: ({ page }, { script }) => page.evaluate(script),
  network: ({ network }, { offline = false, kbps, latency_ms = 0 }) => network.send('Network.emulateNetworkConditions', {
    offline, latency: latency_ms, downloadThroughput: kbps ? kbps * 125 : -1, uploadThroughput: -1,
  }).then(() => null),
  screenshot: ({ page }, { path }) => page.screenshot({ path }).then(() => null),
  click: ({ page }, { selector }) => page.click(selector, { timeout: 5000 }),
  press: ({ page }, { key }) => page.keyboard.press(key),
  select: ({ page }, { selector, value }) => page.selectOption(selector, value, { timeout: 5000 }),
  resize: ({ page }, { width, height }) => page.setViewportSize({ width, height }),
  media: ({ page }, { colorScheme }) => page.emulateMedia({ colorScheme }),
  requests: ({ responses }) => responses,
  init: ({ page }, { script }) => page.addInitScript({ content: script }).then(() => null),
  route: ({ page }, { url, type, status, headers, base64 = '' }) => page.route(url, (route) => {
    if (type && route.request().resourceType() !== type) return route.fallback();
    return status ? route.fulfill({ status, headers, body: Buffer.from(base64, 'base64') }) : route.abort('connectionrefused');
  }).then(() => null),
  unroute: ({ page }, { url }) => page.unroute(url),
  goto: ({ page }, { url }) => page.goto(url, { waitUntil: 'commit' }).then(() => null),
  reload: ({ page }) => page.reload({ waitUntil: 'commit' }).then(() => null),
};

const views = new Map();
let opened = 0;

async function obey(line) {
  try {
    const command = JSON.parse(line);
    if (command.do === 'open') {
      views.set(opened += 1, await openView(command));
      return { ok: opened };
    }
    const view = views.get(command.page);
    if (command.do === 'close') {
      views.delete(command.page);
      await view.context.close();
      return { ok: null };
    }
    return { ok: await commands[command.do](view, command) ?? null };
  } catch (error) {
    return { error: error.message };
  }
}

async function drive() {
  for await (const line of createInterface({ input: process.stdin })) console.log(JSON.stringify(await obey(line)));
}

let status = 0;
try {
  if (options.drive) {
    await drive();
  } else {
    const view = await openView({ url, size: options.size, insecure: options.insecure });
    await sleep(Number(options.seconds) * 1000);
    const result = await report(view, Number(options.warm));
    if (options.screenshot) await view.page.screenshot({ path: options.screenshot });
    console.log(JSON.stringify(result));
    status = result.first_frame_ms === null ? 1 : 0;
  }
} catch (error) {
  console.error(`viewer: ${error.message}`);
  status = 2;
}
await browser.close();
process.exit(status);
