// The live stream: what is on the wire, and what the npm client of Server-Sent Events makes of it while its connection
// breaks again and again.
//
//   node events.mjs --url http://127.0.0.1:3334 [--silent MS]
//
// With --silent, the stream is watched for twice as long, and must never say nothing for longer than that.

import assert from 'node:assert/strict';
import http from 'node:http';
import net from 'node:net';
import { parseArgs } from 'node:util';
import { EventSource } from 'eventsource';

const QUOTES = 5;
const BREAKS = 2;

const { values: options } = parseArgs({ options: { url: { type: 'string' }, silent: { type: 'string' } } });
assert(options.url, 'usage: events.mjs --url URL [--silent MS]');
const stream = new URL('/v1/rates/stream', options.url);

// No caches, no guesses about type or length, and nothing but fields that the standard knows.
const first = await read(stream, {}, (events) => quotes(events).length >= QUOTES);
assert.equal(first.status, 200);
assert.match(first.headers['content-type'], /^text\/event-stream(; *charset="?utf-8"?)?$/i);
assert.match(first.headers['cache-control'], /no-store|no-cache/);
assert.equal(first.headers['content-length'], undefined);
assert.equal(first.headers['content-encoding'], undefined);
assert.notEqual(first.text[0], '\ufeff');
for (const line of first.text.split('\n')) assert.match(line, /^(|:.*|(data|event|id): .*|retry: \d+)$/);
assert.equal(first.events[0].event, 'snapshot');
for (const { event, id, data } of first.events) {
  assert(['snapshot', 'quote'].includes(event), event);
  assert(id && !id.includes('\0'), id);
  assert.doesNotThrow(() => JSON.parse(data));
}
assertDistinct(first.events.map(({ id }) => id));

// Who shows the id of the last event is not sent a snapshot, nor anything it had.
const had = first.events.map(({ id }) => id);
const again = await read(stream, { 'last-event-id': had.at(-1) }, (events) => events.length >= QUOTES);
assert(again.events.every(({ event, id }) => event === 'quote' && !had.includes(id)));
const other = await read(stream, { 'last-event-id': 'of-another-server' }, (events) => events.length >= 1);
assert.equal(other.events[0].event, 'snapshot');

// The same with the client that browsers have, which knows nothing of ids or of us.
const relay = await relayTo(stream);
const source = new EventSource(relay.url);
const seen = { snapshots: 0, ids: [], pairs: new Map(), opened: 0 };
await new Promise((resolve, reject) => {
  const fail = (error) => reject(error);
  let left = QUOTES;
  source.addEventListener('open', () => {
    seen.opened += 1;
    left = QUOTES;
  });
  source.addEventListener('snapshot', (event) => {
    seen.snapshots += 1;
    seen.ids.push(event.lastEventId);
    JSON.parse(event.data).quotes.forEach((quote) => take(quote, fail));
  });
  source.addEventListener('quote', (event) => {
    seen.ids.push(event.lastEventId);
    take(JSON.parse(event.data), fail);
    left -= 1;
    if (left > 0) return;
    if (seen.opened > BREAKS) resolve();
    else relay.cut();
  });
});
source.close();
relay.close();
assert.equal(seen.snapshots, 1, 'a client that comes back has had its snapshot');
assertDistinct(seen.ids);

if (options.silent) {
  const watched = await read(stream, {}, () => false, 2 * Number(options.silent));
  assert(watched.longest <= Number(options.silent), `silent for ${watched.longest} ms`);
}

function take({ pair, epoch, sequence }, fail) {
  const before = seen.pairs.get(pair);
  if (before?.epoch === epoch && before.sequence >= sequence) fail(new Error(`${pair}: ${sequence} after ${before.sequence}`));
  seen.pairs.set(pair, { epoch, sequence });
}

function quotes(events) {
  return events.filter(({ event }) => event === 'quote');
}

function assertDistinct(ids) {
  assert.equal(new Set(ids).size, ids.length, 'an id is there twice');
}

/** Reads until there is enough, or for `millis`. */
function read(url, headers, isEnough, millis = Infinity) {
  return new Promise((resolve, reject) => {
    const request = http.get(url, { headers: { accept: 'text/event-stream', ...headers } }, (answer) => {
      const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
      let [text, longest, heard] = ['', 0, Date.now()];
      const note = () => {
        longest = Math.max(longest, Date.now() - heard);
        heard = Date.now();
      };
      const finish = () => {
        note();
        request.destroy();
        const whole = text.slice(0, text.lastIndexOf('\n\n') + 1);
        resolve({ status: answer.statusCode, headers: answer.headers, text: whole, events: parse(whole), longest });
      };
      if (millis < Infinity) setTimeout(finish, millis);
      answer.on('data', (chunk) => {
        note();
        text += decoder.decode(chunk, { stream: true });
        if (isEnough(parse(text.slice(0, text.lastIndexOf('\n\n') + 1)))) finish();
      });
      answer.on('end', () => reject(new Error('the stream has ended')));
      answer.on('error', reject);
    });
    request.on('error', reject);
  });
}

/** The events of a text of whole blocks. */
function parse(text) {
  const blocks = text.split('\n\n').map((block) => block.split('\n').filter((line) => line && !line.startsWith(':')));
  return blocks.filter((lines) => lines.length > 0).map((lines) => Object.fromEntries(lines.map((line) => line.split(/: (.*)/s, 2))));
}

/** A way to the stream that can be cut. */
async function relayTo({ hostname, port, pathname }) {
  const open = new Set();
  const server = net.createServer((near) => {
    const far = net.connect(Number(port), hostname);
    for (const [from, to] of [[near, far], [far, near]]) {
      open.add(from);
      from.on('error', () => {}).on('close', () => {
        open.delete(from);
        to.destroy();
      });
      from.pipe(to);
    }
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  const cut = () => open.forEach((socket) => socket.destroy());
  const close = () => {
    server.close();
    cut();
  };
  return { url: `http://127.0.0.1:${server.address().port}${pathname}`, cut, close };
}
