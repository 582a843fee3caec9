// Chromium, watched: what a page asks of other hosts, and what it complains of.

import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { chromium } from 'playwright-core';

// With the browser at this path, or the one that is installed.
export function launch(executablePath = installed()) {
  return chromium.launch({
    executablePath,
    args: ['--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
      '--disable-component-update', '--disable-sync'],
  });
}

// Keeps the addresses of requests that leave `origin` in `strayRequests`, and warnings and errors in `complaints`.
export function watch(page, origin, strayRequests, complaints) {
  page.on('console', (message) => ['error', 'warning'].includes(message.type()) && complaints.push(message.text()));
  page.on('pageerror', (error) => complaints.push(String(error)));
  const isElsewhere = (url) => /^(https?|wss?):/.test(url) && new URL(url).host !== new URL(origin).host;
  const note = (url) => isElsewhere(url) && strayRequests.push(url);
  page.on('request', (request) => note(request.url()));
  page.on('websocket', (socket) => note(socket.url()));
}

// Nothing inline, nothing from elsewhere, in nobody's frame.
export function assertStrict(headers) {
  const policy = headers['content-security-policy'] ?? '';
  assert.match(policy, /default-src 'self'/);
  assert.match(policy, /frame-ancestors 'none'/);
  assert.doesNotMatch(policy, /unsafe/);
  assert.equal(headers['x-content-type-options'], 'nosniff');
}

function installed() {
  const names = ['chromium', 'chromium-browser', 'google-chrome'];
  const found = names.flatMap((name) => process.env.PATH.split(delimiter).map((folder) => join(folder, name))).find(existsSync);
  return found ?? assert.fail('no Chromium found: tests/run installs it');
}
