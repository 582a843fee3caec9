#!/usr/bin/env node
// Logs in (and registers before, with an address that is new), follows the live rates of BTC_USD over Socket.IO, and,
// as an administrator, sets a spread, sees it arrive and takes it back. Needs `npm i socket.io-client`.
//
//   RATEBUS_EMAIL=you@example.com RATEBUS_PASSWORD=… node examples/client.ts      (Node 22.18 or later)
//   node examples/client.ts URL EMAIL PASSWORD

import { io, type Socket } from 'socket.io-client';

/** What a customer pays, and what a customer gets. */
type Sides = { buy: number; sell: number };

/**
 * One pair of `rates:live`. These are JSON numbers, for clients of the original project; where every digit counts, take
 * the strings of `/v1/ws` or `/v1/rates`.
 */
type Rate = {
  /** Before the spread. */
  original: Sides;
  /** The customer's prices. */
  withSpread: Sides;
  /** The difference: `withSpread` less `original`. */
  currentSpread: Sides;
  status: 'fresh' | 'stale';
  updatedAt: string;
};

type Events = { 'rates:live': (rates: Record<string, Rate>) => void };
type Live = Socket<Events, Record<string, never>>;

type Markup = { unit: 'absolute' | 'percent' | 'bps'; value: string };
type Spread = { scope: string; buy: Markup; sell: Markup; revision: number };
type Account = { email: string; role: 'user' | 'admin' };
type Login = { data: { token: { token: string } } };

const PAIR = 'BTC_USD';
const DEADLINE_MS = 30_000;

const [url = process.env['RATEBUS_URL'] ?? 'http://localhost:3334', ...given] = process.argv.slice(2);
const [email = process.env['RATEBUS_EMAIL'], password = process.env['RATEBUS_PASSWORD']] = given;

let token: string | undefined;

class Refused extends Error {
  readonly status: number;

  constructor(status: number, text: string) {
    super(`${status} ${text}`);
    this.status = status;
  }
}

/** The answer's JSON; `undefined` if it has none. */
async function call<T = void>(method: string, path: string, body?: object): Promise<T> {
  const answer = await fetch(url + path, {
    method,
    headers: { 'content-type': 'application/json', ...(token && { authorization: `Bearer ${token}` }) },
    ...(body && { body: JSON.stringify(body) }),
    signal: AbortSignal.timeout(10_000),
  });
  const text = await answer.text();
  if (!answer.ok) throw new Refused(answer.status, text);
  return (text ? JSON.parse(text) : undefined) as T;
}

async function login(): Promise<void> {
  token = (await call<Login>('POST', '/login', { email, password })).data.token.token;
}

async function loginOrRegister(): Promise<Account> {
  try {
    await login();
  } catch (error) {
    if (!(error instanceof Refused && error.status === 401)) throw error;
    console.log('No such account, or another password: registering');
    const names = { firstName: 'An', lastName: 'Example' };
    await call('POST', '/register', { ...names, email, password, confirmPassword: password });
    await login();
  }
  return call<Account>('GET', '/v1/me');
}

/** Prints the rates of the pair that come, until one is wanted. */
function follow(socket: Live, wanted: (rate: Rate) => boolean): Promise<void> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error(`not within ${DEADLINE_MS} ms`)), DEADLINE_MS);
    socket.on('rates:live', function show(rates) {
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

/** The spread that is set; `undefined` if there is none. */
async function current(): Promise<Spread | undefined> {
  try {
    return await call<Spread>('GET', `/v1/spreads/${PAIR}`);
  } catch (error) {
    if (error instanceof Refused && error.status === 404) return undefined;
    throw error;
  }
}

async function setAndTakeBack(socket: Live): Promise<void> {
  const before = await current();
  const markup: Markup = { unit: 'absolute', value: '5' };
  const arrived = follow(socket, ({ currentSpread }) => currentSpread.buy === 5 && currentSpread.sell === -5);
  const change = { buy: markup, sell: markup, reason: 'examples/client.ts' };
  const spread = await call<Spread>('PUT', `/v1/spreads/${PAIR}`, change);
  console.log(`Set 5 on each side, revision ${spread.revision}`);
  try {
    await arrived;
  } finally {
    if (before) await call('POST', `/v1/spreads/${PAIR}/rollback`, { revision: before.revision });
    else await call('DELETE', `/v1/spreads/${PAIR}`);
    console.log(before ? 'The spread is what it was' : 'Removed it again');
  }
}

async function main(): Promise<void> {
  if (!email || !password) throw new Error('usage: client.ts URL EMAIL PASSWORD');
  const { role } = await loginOrRegister();
  console.log(`Logged in as ${email}, role ${role}`);

  const socket: Live = io(url);
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

main().catch((error: Error) => {
  console.error(`failed: ${error.message}`);
  process.exit(1);
});
