#!/usr/bin/env node
// @ts-check
// Logs in (and registers before, with an address that is new), follows the live rates of BTC_USD over Socket.IO, and,
// as an administrator, sets a spread, sees it arrive and takes it back. Node 18 or later, and `npm i socket.io-client`.
//
//   RATEBUS_EMAIL=you@example.com RATEBUS_PASSWORD=… node examples/client.mjs
//   node examples/client.mjs URL EMAIL PASSWORD

/**
 * @typedef {{ buy: number, sell: number }} Sides What a customer pays, and what a customer gets.
 * @typedef {object} Rate One pair of `rates:live`. These are JSON numbers, for clients of the original project; where
 *   every digit counts, take the strings of `/v1/ws` or `/v1/rates`.
 * @property {Sides} original Before the spread.
 * @property {Sides} withSpread The customer's prices.
 * @property {Sides} currentSpread The difference: `withSpread` less `original`.
 * @property {'fresh' | 'stale'} status
 * @property {string} updatedAt
 * @typedef {Record<string, Rate>} Rates By pair.
 * @typedef {{ unit: 'absolute' | 'percent' | 'bps', value: string }} Markup
 * @typedef {{ scope: string, buy: Markup, sell: Markup, revision: number }} Spread
 * @typedef {{ email: string, role: 'user' | 'admin' }} Account
 */

const PAIR = 'BTC_USD';
const DEADLINE_MS = 30_000;

const [url = process.env.RATEBUS_URL ?? 'http://localhost:3334', ...given] = process.argv.slice(2);
const [email = process.env.RATEBUS_EMAIL, password = process.env.RATEBUS_PASSWORD] = given;

/** @type {string | undefined} */
let token;

class Refused extends Error {
  /**
   * @param {number} status
   * @param {string} text
   */
  constructor(status, text) {
    super(`${status} ${text}`);
    this.status = status;
  }
}

/**
 * @param {string} method
 * @param {string} path
 * @param {object} [body]
 * @returns {Promise<any>} The answer's JSON; `undefined` if it has none.
 */
async function call(method, path, body) {
  const answer = await fetch(url + path, {
    method,
    headers: { 'content-type': 'application/json', ...(token && { authorization: `Bearer ${token}` }) },
    body: body && JSON.stringify(body),
    signal: AbortSignal.timeout(10_000),
  });
  const text = await answer.text();
  if (!answer.ok) throw new Refused(answer.status, text);
  return text ? JSON.parse(text) : undefined;
}

async function login() {
  token = (await call('POST', '/login', { email, password })).data.token.token;
}

/** @returns {Promise<Account>} */
async function loginOrRegister() {
  try {
    await login();
  } catch (error) {
    if (!(error instanceof Refused && error.status === 401)) throw error;
    console.log('No such account, or another password: registering');
    const names = { firstName: 'An', lastName: 'Example' };
    await call('POST', '/register', { ...names, email, password, confirmPassword: password });
    await login();
  }
  return call('GET', '/v1/me');
}

/** The official client: as installed, or that of this project's tests. */
async function socketIo() {
  try {
    return await import('socket.io-client');
  } catch {
    return import('../tests/clients/node_modules/socket.io-client-4/build/esm/index.js').catch(() => {
      throw new Error('there is no Socket.IO client: npm i socket.io-client');
    });
  }
}

/**
 * Prints the rates of the pair that come, until one is wanted.
 *
 * @param {import('socket.io-client').Socket} socket
 * @param {(rate: Rate) => boolean} wanted
 * @returns {Promise<void>}
 */
function follow(socket, wanted) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error(`not within ${DEADLINE_MS} ms`)), DEADLINE_MS);
    socket.on('rates:live', function show(/** @type {Rates} */ rates) {
      const rate = rates[PAIR];
      if (!rate) return;
      console.log(`  ${PAIR} ${rate.status}: buy ${rate.withSpread.buy}, sell ${rate.withSpread.sell}`, rate.currentSpread);
      if (!wanted(rate)) return;
      clearTimeout(timer);
      socket.off('rates:live', show);
      resolve();
    });
  });
}

/** @param {import('socket.io-client').Socket} socket */
async function setAndTakeBack(socket) {
  /** @type {Spread | undefined} */
  const before = await call('GET', `/v1/spreads/${PAIR}`).catch((error) => {
    if (error.status !== 404) throw error;
  });
  const markup = { unit: 'absolute', value: '5' };
  const arrived = follow(socket, ({ currentSpread }) => currentSpread.buy === 5 && currentSpread.sell === -5);
  /** @type {Spread} */
  const spread = await call('PUT', `/v1/spreads/${PAIR}`, { buy: markup, sell: markup, reason: 'examples/client.mjs' });
  console.log(`Set 5 on each side, revision ${spread.revision}`);
  try {
    await arrived;
  } finally {
    if (before) await call('POST', `/v1/spreads/${PAIR}/rollback`, { revision: before.revision });
    else await call('DELETE', `/v1/spreads/${PAIR}`);
    console.log(before ? 'The spread is what it was' : 'Removed it again');
  }
}

async function main() {
  if (!email || !password) throw new Error('usage: client.mjs URL EMAIL PASSWORD');
  const { role } = await loginOrRegister();
  console.log(`Logged in as ${email}, role ${role}`);

  const { io } = await socketIo();
  const socket = io(url);
  try {
    console.log('Three events:');
    let events = 0;
    await follow(socket, () => ++events === 3);
    if (role === 'admin') await setAndTakeBack(socket);
    else console.log(`Spreads are for administrators; 'ratebus admin promote --email ${email}' makes one`);
  } finally {
    socket.disconnect();
  }
}

main().catch((error) => {
  console.error(`failed: ${error.message}`);
  process.exit(1);
});
