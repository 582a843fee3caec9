// The API's page in a real browser: it shows every operation, asks nothing of other hosts, and complains of nothing.
//
//   node docs.mjs --url http://127.0.0.1:3334 [--chromium PATH] [--screenshot FILE]

import assert from 'node:assert/strict';
import { parseArgs } from 'node:util';
import { assertStrict, launch, watch } from './browser.mjs';

const { values: options } = parseArgs({
  options: { url: { type: 'string' }, chromium: { type: 'string' }, screenshot: { type: 'string' } },
});
assert(options.url, 'usage: docs.mjs --url URL');
const origin = new URL(options.url).origin;
const document = await (await fetch(`${origin}/openapi.json`)).json();
const operations = Object.values(document.paths).flatMap(Object.values);

const strayRequests = [];
const complaints = [];
const browser = await launch(options.chromium);
try {
  const page = await browser.newPage();
  page.setDefaultTimeout(20_000);
  watch(page, origin, strayRequests, complaints);
  assertStrict((await page.goto(`${origin}/docs/`)).headers());
  await page.locator('.opblock').nth(operations.length - 1).waitFor();
  assert.equal(await page.locator('.opblock').count(), operations.length);
  assert.match(await page.locator('.info .title').textContent(), /ratebus/);

  await page.locator('.opblock-summary-control').first().click();
  await page.locator('.opblock.is-open .responses-wrapper').waitFor();
  await page.getByRole('button', { name: 'Try it out' }).click();
  await page.getByRole('button', { name: 'Execute' }).click();
  await page.locator('.live-responses-table .response-col_status').first().waitFor();
  if (options.screenshot) await page.screenshot({ path: options.screenshot });

  assert.deepEqual(strayRequests, []);
  assert.deepEqual(complaints, []);
  console.log(`${operations.length} operations are shown at ${origin}/docs/.`);
} finally {
  await browser.close();
}
