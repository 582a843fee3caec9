// Follows the rates as any client of `rates:live` does: each event carries the whole map.

import { io } from './vendor/socket.io.esm.min.js';
import * as admin from './admin.js';
import * as api from './api.js';
import { RateTable } from './table.js';

const CONNECTION = {
  connecting: 'Connecting…',
  live: 'Live',
  reconnecting: 'Reconnecting…',
  offline: 'Offline, still trying',
  private: 'Log in to see live rates',
};
const OFFLINE_AFTER_ATTEMPTS = 5;
const ASK_AGAIN_MS = 10_000;
const COME_BACK_MS = 1000;

const table = new RateTable(document.getElementById('rates'), document.getElementById('empty'));
const socket = io({ auth: (show) => show(isPrivate ? api.credentials() : {}) });
// Whether the rates are for people who are logged in: only then is the token shown.
let isPrivate = false;

// A busy feed sends more often than a screen paints: only the newest map is drawn.
let newest = null;
socket.on('rates:live', (map) => {
  if (newest === null) requestAnimationFrame(draw);
  newest = map;
});

function draw() {
  const map = newest;
  newest = null;
  if (table.showLive(map)) askWhy();
}

function showConnection(state) {
  const shown = document.getElementById('connection');
  if (shown.dataset.state === state) return;
  shown.dataset.state = state;
  shown.textContent = CONNECTION[state];
  table.setConnected(state === 'live');
}

socket.on('connect', () => {
  showConnection('live');
  askWhy();
});
socket.on('disconnect', (reason) => {
  showConnection(navigator.onLine ? 'reconnecting' : 'offline');
  // The one case in which the client does not come back by itself: the server closed on purpose.
  if (reason === 'io server disconnect') setTimeout(() => socket.connect(), COME_BACK_MS);
});
// The server let nobody in, which the client takes as final.
socket.on('connect_error', ({ data }) => {
  if (socket.active) return;
  isPrivate ||= data?.status === 401;
  if (data?.status === 401) showConnection('private');
  else setTimeout(() => socket.connect(), COME_BACK_MS);
});
api.onLogin(() => isPrivate && socket.disconnect().connect());
socket.io.on('reconnect_attempt', (attempt) => {
  if (attempt >= OFFLINE_AFTER_ATTEMPTS || !navigator.onLine) showConnection('offline');
});

// Pairs without a customer price are not in the map: /v1 has the pairs, their price steps, and the reasons.
let asking = false;
async function askWhy() {
  if (asking) return;
  asking = true;
  try {
    const [pairs, quotes] = await Promise.all([api.pairs(), api.rates()]);
    table.showKnown(pairs, quotes);
    admin.setPairs(pairs.map(({ pair }) => pair));
  } catch {
    // Without it the live rates go on; the next round asks again.
  } finally {
    asking = false;
  }
}

setInterval(() => table.tick(), 1000);
setInterval(() => {
  if (socket.connected && table.incomplete) askWhy();
}, ASK_AGAIN_MS);

admin.start();
