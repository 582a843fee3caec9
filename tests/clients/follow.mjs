// Follows `rates:live` with an official Socket.IO client and prints each event's argument, one line of JSON each:
// the text as it came over the wire, digits and all, once the client has delivered it. Ends when stdin closes.
//
//   node follow.mjs --client 2|3|4 --transport polling|websocket|upgrade --url http://127.0.0.1:3334 [--count N] [--token T]
//     [--query Q]
//
// With --token, the clients show it, and what becomes of them is a line too: {"refused":"why"}, {"disconnected":"why"}. Each line
// on stdin is a newer token, and the answer to it a line: {"answered":{…}}.
//
// With --count, N clients at once; their lines are {"client":0,"event":{…}}. Connections and their troubles go to
// stderr. Fails when an event differs from its text, or when a client did not use the transport asked for.

import { createInterface } from 'node:readline';
import { isDeepStrictEqual, parseArgs } from 'node:util';

const UPGRADE_DEADLINE_MS = 20_000;
const TRANSPORTS = { polling: ['polling'], websocket: ['websocket'], upgrade: ['polling', 'websocket'] };

const { values: options } = parseArgs({
  options: {
    client: { type: 'string', default: '4' },
    transport: { type: 'string', default: 'upgrade' },
    url: { type: 'string' },
    count: { type: 'string' },
    token: { type: 'string' },
    query: { type: 'string', default: '' },
  },
});
const transports = TRANSPORTS[options.transport];
if (!options.url || !transports || !['2', '3', '4'].includes(options.client)) {
  fail('usage: follow.mjs --client 2|3|4 --transport polling|websocket|upgrade --url URL [--count N] [--token T]');
}
const { io, default: before3 } = await import(`socket.io-client-${options.client}`);
const connect = io ?? before3;
const sockets = Array.from({ length: Number(options.count ?? 1) }, (_, index) => follow(index));

process.stdout.on('error', () => process.exit(0)); // The reader has gone.
createInterface({ input: process.stdin }).on('line', renew).on('close', finish);

function follow(index) {
  const auth = options.token === undefined ? {} : { token: options.token };
  const query = Object.fromEntries(new URLSearchParams(options.query));
  const socket = connect(options.url, { transports, forceNew: true, auth, query });
  const wire = []; // Arguments as text that the client has read and not yet delivered.
  socket.io.on('open', () => {
    wire.length = 0;
    socket.io.engine.on('data', (packet) => {
      const argument = /^2\["rates:live",(.*)\]$/s.exec(packet);
      if (argument) wire.push(argument[1]);
    });
  });
  socket.on('connect_error', ({ message }) => {
    console.error(`client ${index}: ${message}`);
    tell({ refused: message });
  });
  socket.on('disconnect', (disconnected) => tell({ disconnected }));
  socket.on('rates:live', (...delivered) => {
    const text = wire.shift();
    if (text === undefined || !isDeepStrictEqual([JSON.parse(text)], delivered)) {
      fail(`client ${index} delivered ${JSON.stringify(delivered)} for ${text}`);
    }
    process.stdout.write(options.count === undefined ? `${text}\n` : `{"client":${index},"event":${text}}\n`);
  });
  return socket;
}

function renew(token) {
  for (const socket of sockets) socket.emit('auth', { token }, (answered) => tell({ answered }));
}

function tell(line) {
  if (options.token !== undefined) process.stdout.write(`${JSON.stringify(line)}\n`);
}

async function finish() {
  const wanted = options.transport === 'polling' ? 'polling' : 'websocket';
  const deadline = Date.now() + UPGRADE_DEADLINE_MS;
  const others = () => sockets.filter((socket) => socket.connected && transportOf(socket) !== wanted);
  while (others().length > 0 && Date.now() < deadline) await new Promise((resolve) => setTimeout(resolve, 10));
  if (others().length > 0) fail(`${others().length} of ${sockets.length} clients are not on ${wanted}`);
  for (const socket of sockets) socket.disconnect();
  process.exit(0);
}

function transportOf(socket) {
  return socket.io.engine.transport.name;
}

function fail(message) {
  console.error(message);
  process.exit(1);
}
