#!/usr/bin/env node
// A viewer: opens a page in headless Chromium and reports what its <video> shows (viewer_probe.js).
//
//   viewer.mjs [--seconds 60] [--warm 8] [--size 800x600] [--screenshot FILE] [--insecure] http://127.0.0.1:8080/live/show/
//
// prints one JSON report after --seconds. With --drive it obeys JSON commands instead, one a line on stdin, and answers each
// with a line {"ok": value} or {"error": text}; tests/e2e/viewer.py is the other end:
//
//   {"do": "report", "warm": 8}                      {"do": "evaluate", "script": "window.weir.stats()"}
//   {"do": "network", "offline": true}               {"do": "network", "kbps": 500, "latency_ms": 50}   (nothing: as it is)
//   {"do": "screenshot", "path": FILE}               {"do": "click", "selector": "#mute"}
//   {"do": "press", "key": "m"}                      {"do": "resize", "width": 320, "height": 640}
//   {"do": "media", "colorScheme": "dark"}           {"do": "select", "selector": "#quality", "value": "audio"}
//   {"do": "requests"}                               {"do": "reload"}                {"do": "close"}
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
if (!url) {
  console.error('usage: viewer.mjs [--seconds S] [--warm S] [--size WxH] [--screenshot FILE] [--insecure] [--drive] URL');
  process.exit(2);
}

if (options.insecure) BROWSER_FLAGS.push('--ignore-certificate-errors');
const [width, height] = options.size.split('x').map(Number);
const browser = await chromium.launch({ executablePath: BROWSER, headless: true, args: BROWSER_FLAGS });
const context = await browser.newContext({ viewport: { width, height } });
const blank = await context.newPage(); // keeps the browser warm
await blank.goto('data:text/html,<video>');
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

const report = async (warm) => ({
  ...await page.evaluate((seconds) => window.weirProbe.report(seconds), warm),
  console_errors: consoleErrors,
  responses,
});

const commands = {
  report: ({ warm = 0 }) => report(warm),
  evaluate: ({ script }) => page.evaluate(script),
  network: ({ offline = false, kbps, latency_ms = 0 }) => network.send('Network.emulateNetworkConditions', {
    offline, latency: latency_ms, downloadThroughput: kbps ? kbps * 125 : -1, uploadThroughput: -1,
  }).then(() => null),
  screenshot: ({ path }) => page.screenshot({ path }).then(() => null),
  click: ({ selector }) => page.click(selector, { timeout: 5000 }),
  press: ({ key }) => page.keyboard.press(key),
  select: ({ selector, value }) => page.selectOption(selector, value, { timeout: 5000 }),
  resize: (size) => page.setViewportSize({ width: size.width, height: size.height }),
  media: ({ colorScheme }) => page.emulateMedia({ colorScheme }),
  requests: () => responses,
  init: ({ script }) => page.addInitScript({ content: script }).then(() => null),
  route: ({ url, type, status, headers, base64 = '' }) => page.route(url, (route) => {
    if (type && route.request().resourceType() !== type) return route.fallback();
    return status ? route.fulfill({ status, headers, body: Buffer.from(base64, 'base64') }) : route.abort('connectionrefused');
  }).then(() => null),
  unroute: (route) => page.unroute(route.url),
  goto: (target) => page.goto(target.url, { waitUntil: 'commit' }).then(() => null),
  reload: () => page.reload({ waitUntil: 'commit' }).then(() => null),
};

async function obey(line) {
  try {
    const command = JSON.parse(line);
    return { ok: await commands[command.do](command) ?? null };
  } catch (error) {
    return { error: error.message };
  }
}

async function drive() {
  console.log(JSON.stringify({ ok: 'open' }));
  for await (const line of createInterface({ input: process.stdin })) {
    if (JSON.parse(line).do === 'close') break;
    console.log(JSON.stringify(await obey(line)));
  }
}

let status = 0;
try {
  await page.goto(url, { waitUntil: 'commit' });
  if (options.drive) {
    await drive();
  } else {
    await sleep(Number(options.seconds) * 1000);
    const result = await report(Number(options.warm));
    if (options.screenshot) await page.screenshot({ path: options.screenshot });
    console.log(JSON.stringify(result));
    status = result.first_frame_ms === null ? 1 : 0;
  }
} catch (error) {
  console.error(`viewer: ${error.message}`);
  status = 2;
}
await browser.close();
process.exit(status);
