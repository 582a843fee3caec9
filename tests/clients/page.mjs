// The page in a real browser, twice: one of an administrator, one of somebody who only looks on.
//
//   node page.mjs --url http://127.0.0.1:3334 --email E --password P [--screenshot FILE] [--chromium PATH] [--private]
//
// With --private, that it shows live rates to who is logged in alone, of a server that asks for it.
// Needs a server whose rates move. Leaves the spreads as it found them, save for that of the first pair: unset.

import assert from 'node:assert/strict';
import { parseArgs, stripVTControlCharacters } from 'node:util';
import { assertStrict, launch, watch } from './browser.mjs';

const DEADLINE_MS = 20_000;
const { values: options } = parseArgs({
  options: {
    url: { type: 'string' },
    email: { type: 'string' },
    password: { type: 'string' },
    screenshot: { type: 'string' },
    chromium: { type: 'string' },
    private: { type: 'boolean' },
  },
});
assert(options.url && options.email && options.password, 'usage: page.mjs --url URL --email E --password P');
const origin = new URL(options.url).origin;

// What the browser must not do: leave the origin, or complain of anything but the refusals this test provokes.
const strayRequests = [];
const complaints = [];
// (A client that is not let in, or is sent away, may be about to change its transport, or have a request on its way.)
const PROVOKED = options.private
  ? /status of 400|closed before the connection is established/
  : /status of (412|422)|ERR_INTERNET_DISCONNECTED/;

const browser = await launch(options.chromium);
let step = 'start';
try {
  if (options.private) await showsRatesToWhoIsLoggedIn();
  else await showsRatesAndSpreads();

  enter('nothing left the origin, and nothing was complained of');
  assert.deepEqual(strayRequests, []);
  assert.deepEqual(complaints.filter((text) => !PROVOKED.test(text)), []);
} catch (error) {
  console.error(`Failed while checking that ${step}:\n${stripVTControlCharacters(error.message)}`);
  if (complaints.length > 0) console.error(`The browser's console: ${complaints.join('\n')}`);
  process.exitCode = 1;
} finally {
  await browser.close();
}

async function showsRatesToWhoIsLoggedIn() {
  const page = await open('the page opens', 'private');
  await logIn(page);
  await isLive(page);
  await ratesMove(page);
  enter('logging out ends the live rates');
  await page.getByTestId('logout').click();
  await connection(page, 'private');
}

async function showsRatesAndSpreads() {
  const admin = await open('the page opens for the administrator');
  const viewer = await open('the page opens for somebody else');
  await ratesMove(viewer);
  await logIn(admin);

  const pair = await admin.getByTestId('scope').inputValue();
  const spreadShown = (side) => viewer.locator(`[data-pair="${pair}"]`).getByTestId(`spread-${side}`);
  await clearSpread(admin);
  const defaultSpread = await spreadShown('buy').textContent();

  await refuseWrongAmount(admin);
  await preview(admin, pair);
  await setSpread(admin, '450', '25');
  await seeSpread(viewer, pair, '450');
  await noticeConflict(admin, pair);
  await reconnect(viewer);
  await fitNarrowScreen(viewer);
  if (options.screenshot) await admin.screenshot({ path: options.screenshot, fullPage: true });

  enter('removing the spread brings the default back, on the other page too');
  await clearSpread(admin);
  await spreadShown('buy').filter({ hasText: new RegExp(`^${escape(defaultSpread)}$`) }).waitFor();

  enter('logging out ends the session');
  await admin.getByTestId('logout').click();
  await admin.getByTestId('login-form').waitFor();

  enter('nothing was reloaded');
  assert.equal(await viewer.evaluate(() => window.sinceTheStart), true);
  console.log(`The page works: ${pair} followed by two browsers at ${origin}.`);
}

function enter(name) {
  step = name;
}

async function open(name, state = 'live') {
  enter(name);
  const context = await browser.newContext({ locale: 'en-GB', viewport: { width: 1100, height: 900 } });
  const page = await context.newPage();
  page.setDefaultTimeout(DEADLINE_MS);
  watch(page, origin, strayRequests, complaints);
  page.on('dialog', (dialog) => dialog.accept());

  assertStrict((await page.goto(`${origin}/ws-test/`)).headers());
  await page.evaluate(() => (window.sinceTheStart = true));
  if (state === 'live') await isLive(page);
  else await connection(page, state);
  return page;
}

async function connection(page, state) {
  await page.locator(`[data-testid=connection][data-state=${state}]`).waitFor();
}

async function isLive(page) {
  await connection(page, 'live');
  await page.locator('[data-pair][data-status=fresh]').first().waitFor();
}

async function ratesMove(page) {
  enter('prices move');
  const before = await page.getByTestId('original-buy').allTextContents();
  await page.waitForFunction((before) => {
    const now = [...document.querySelectorAll('[data-testid=original-buy]')];
    return now.some((cell, index) => cell.textContent !== before[index]);
  }, before);
}

async function logIn(page) {
  enter('the administrator logs in, with the keyboard alone');
  await page.getByTestId('email').focus();
  await page.keyboard.type(options.email);
  await page.keyboard.press('Tab');
  await page.keyboard.type(options.password);
  await page.keyboard.press('Enter');
  await page.getByTestId('spread-form').waitFor();
}

async function clearSpread(page) {
  const remove = page.getByTestId('remove');
  if (await remove.isDisabled()) return;
  await remove.click();
  await said(page, /^Removed/);
}

async function refuseWrongAmount(page) {
  enter('a wrong amount is explained beside its field');
  await fill(page, '1,5', '25');
  await page.getByTestId('set').click();
  await page.getByTestId('buy-error').filter({ hasText: 'decimal' }).waitFor();
  assert.equal(await page.getByTestId('buy-value').getAttribute('aria-invalid'), 'true');
  assert.equal(await page.getByTestId('sell-error').textContent(), '');
}

async function preview(page, pair) {
  enter('a preview shows the prices before and after');
  await fill(page, '450', '25');
  await page.getByTestId('preview').click();
  const row = page.getByTestId('preview-result').locator(`[data-pair="${pair}"]`);
  await row.waitFor();
  const [market, , after] = await row.locator('td.number').allTextContents();
  assert.equal(digits(after) - digits(market), digits('450'), `${market} and 450 make ${after}`);
  assert.match(await row.textContent(), /bps/);
}

async function setSpread(page, buy, sell) {
  enter('the administrator sets a spread');
  await fill(page, buy, sell);
  await page.getByTestId('set').click();
  await said(page, /^Set/);
}

async function seeSpread(page, pair, buy) {
  enter('the other page has the new prices without a reload');
  const row = page.locator(`[data-pair="${pair}"]`);
  await row.getByTestId('spread-buy').filter({ hasText: new RegExp(`^\\+${buy}(\\.0+)?$`) }).waitFor();
  const shown = await row.evaluate((row) => {
    const text = (name) => row.querySelector(`[data-testid="${name}"]`).textContent.replace('market ', '');
    return { buy: text('buy'), sell: text('sell'), marketBuy: text('original-buy'), marketSell: text('original-sell') };
  });
  assert.equal(digits(shown.buy) - digits(shown.marketBuy), digits(buy), JSON.stringify(shown));
  assert(digits(shown.sell) < digits(shown.marketSell), JSON.stringify(shown));
}

async function noticeConflict(page, pair) {
  enter('a change by someone else is noticed, and the second try replaces it');
  const login = await post('/login', { email: options.email, password: options.password });
  const headers = { Authorization: `Bearer ${login.data.token.token}` };
  await post(`/v1/spreads/${pair}`, { buy: { value: '7' }, sell: { value: '7' } }, { method: 'PUT', headers });
  await fill(page, '460', '25');
  await page.getByTestId('set').click();
  await said(page, /^Someone changed/);
  await page.getByTestId('current').filter({ hasText: 'buy 7 ' }).waitFor();
  assert.equal(await page.getByTestId('buy-value').inputValue(), '460');
  await page.getByTestId('set').click();
  await said(page, /^Set/);
}

async function reconnect(page) {
  enter('a lost connection is shown, and comes back by itself');
  await page.context().setOffline(true);
  await page.locator('[data-testid=connection]:not([data-state=live])').waitFor();
  await page.locator('[data-pair][data-status=unknown]').first().waitFor();
  await page.context().setOffline(false);
  await page.locator('[data-testid=connection][data-state=live]').waitFor();
  await page.locator('[data-pair][data-status=fresh]').first().waitFor();
}

async function fitNarrowScreen(page) {
  enter('a narrow screen needs no sideways scrolling');
  await page.setViewportSize({ width: 360, height: 800 });
  assert.equal(await page.evaluate(() => document.documentElement.scrollWidth), 360);
}

async function fill(page, buy, sell) {
  await page.getByTestId('buy-value').fill(buy);
  await page.getByTestId('buy-unit').selectOption('absolute');
  await page.getByTestId('sell-value').fill(sell);
  await page.getByTestId('sell-unit').selectOption('bps');
}

async function said(page, words) {
  await page.getByTestId('message').filter({ hasText: words }).waitFor();
}

async function post(path, body, { method = 'POST', headers = {} } = {}) {
  const response = await fetch(origin + path, {
    method,
    headers: { 'Content-Type': 'application/json', ...headers },
    body: JSON.stringify(body),
    signal: AbortSignal.timeout(DEADLINE_MS),
  });
  assert(response.ok, `${method} ${path} answered ${response.status}`);
  return response.json();
}

// A decimal as a whole number of 1e-18, to compare exactly.
function digits(text) {
  const [whole, fraction = ''] = text.split('.');
  return BigInt(whole + fraction.padEnd(18, '0'));
}

function escape(text) {
  return text.replace(/[.+]/g, '\\$&');
}
