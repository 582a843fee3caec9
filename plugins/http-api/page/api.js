// The HTTP API, as the page uses it. The token lives in this module's memory: a reload logs out.

let token = null;
let loggedIn = () => {};

/** A refused request: what the server said of it, in whole and by field. */
export class ApiError extends Error {
  constructor(status, message, fields = []) {
    super(message);
    this.status = status;
    this.fields = fields;
  }
}

export const pairs = async () => (await call('GET', '/v1/pairs')).pairs;
export const rates = async () => (await call('GET', '/v1/rates')).rates;

export async function logIn(email, password) {
  const { data } = await call('POST', '/login', { body: { email, password } });
  token = data.token.token;
  loggedIn();
}

/** Who is logged in, for the live rates where they are for such people alone. */
export const credentials = () => (token ? { token } : {});
export const onLogin = (callback) => (loggedIn = callback);

export async function logOut() {
  try {
    if (token) await call('DELETE', '/logout');
  } finally {
    forget();
  }
}

export function forget() {
  token = null;
}

/** The spread of a scope, or null when none is set. Refused for everyone but an administrator. */
export async function spread(scope) {
  const { spreads } = await call('GET', '/v1/spreads');
  return spreads.find((spread) => spread.scope === scope) ?? null;
}

export const preview = async (scope, markups) =>
  (await call('POST', `${spreadPath(scope)}/preview`, { body: markups })).pairs;

/** Sets the spread if it still is the one of `known` (null: none). */
export const setSpread = (scope, markups, known) =>
  call('PUT', spreadPath(scope), { body: markups, headers: unchanged(known) });

export const removeSpread = (scope, known) => call('DELETE', spreadPath(scope), { headers: unchanged(known) });

const spreadPath = (scope) => `/v1/spreads/${encodeURIComponent(scope)}`;
const unchanged = (known) => (known ? { 'If-Match': `"${known.revision}"` } : { 'If-None-Match': '*' });

// How far this clock is ahead of the server's, by the Date header of its answers (whole seconds).
let clockAhead = 0;

/** Now, by the server's clock. */
export const serverNow = () => Date.now() - clockAhead;

async function call(method, path, { body, headers = {} } = {}) {
  const request = { method, headers: { Accept: 'application/json', ...headers }, cache: 'no-store', credentials: 'omit' };
  if (token) request.headers.Authorization = `Bearer ${token}`;
  if (body !== undefined) {
    request.headers['Content-Type'] = 'application/json';
    request.body = JSON.stringify(body);
  }
  let response;
  try {
    response = await fetch(path, request);
  } catch {
    throw new ApiError(0, 'The server cannot be reached.');
  }
  const date = Date.parse(response.headers.get('Date') ?? '');
  if (!Number.isNaN(date)) clockAhead = Date.now() - date - 500;

  const answer = await response.json().catch(() => null);
  if (!response.ok) throw refusal(response, answer);
  return answer;
}

const sentence = (words) => words.charAt(0).toUpperCase() + words.slice(1) + (/[.!?]$/.test(words) ? '' : '.');

// Errors come as problem documents under /v1, and in the envelope of the older routes.
function refusal(response, answer) {
  const fields = answer?.errors ?? answer?.data?.errors ?? [];
  let message = sentence(answer?.detail ?? answer?.message ?? answer?.title ?? `The server answered ${response.status}`);
  const wait = response.headers.get('Retry-After');
  if (wait && !/try again/i.test(message)) message += ` Try again in ${wait} s.`;
  return new ApiError(response.status, message, fields);
}
