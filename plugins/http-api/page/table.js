// The table of rates: one row per pair, from the map of `rates:live` and, for pairs that are not in it, from /v1.

import { serverNow } from './api.js';
import { decimalsOf, price, signed } from './money.js';

const SIDES = ['buy', 'sell'];
const FLASH = { duration: 900, easing: 'ease-out' };
const reducedMotion = matchMedia('(prefers-reduced-motion: reduce)');

export class RateTable {
  #rows = new Map(); // by pair: { cells, live, quote, known }
  #connected = false;

  constructor(table, empty) {
    this.body = table.tBodies[0];
    this.empty = empty;
  }

  /** The whole map of `rates:live`. A pair that left it has no customer price any more: true when some did. */
  showLive(map) {
    for (const pair of Object.keys(map)) this.#row(pair);
    let someLeft = false;
    for (const [pair, row] of this.#rows) {
      const before = row.live;
      row.live = map[pair] ?? null;
      row.seen ||= row.live !== null;
      this.#render(row);
      if (before && row.live) flashChanges(row, before);
      someLeft ||= before !== null && row.live === null;
    }
    return someLeft;
  }

  /** What /v1 knows: every configured pair with its price step, and every quote, also those nobody may trade on. */
  showKnown(pairs, quotes) {
    const quoteOf = new Map(quotes.map((quote) => [quote.pair, quote]));
    const knownOf = new Map(pairs.map((known) => [known.pair, known]));
    for (const pair of [...knownOf.keys(), ...quoteOf.keys()]) this.#row(pair);
    for (const [pair, row] of this.#rows) {
      row.quote = quoteOf.get(pair) ?? null;
      row.known = knownOf.get(pair) ?? null;
      this.#render(row);
    }
  }

  /** Without a connection, what is shown is the past: say so in every row. */
  setConnected(connected) {
    if (connected === this.#connected) return;
    this.#connected = connected;
    for (const row of this.#rows.values()) this.#render(row);
  }

  /** Lets the ages grow. */
  tick() {
    for (const row of this.#rows.values()) showAge(row);
  }

  /** Whether something is missing that only /v1 can tell. */
  get incomplete() {
    const rows = [...this.#rows.values()];
    return rows.length === 0 || rows.some(({ live, known }) => live?.status !== 'fresh' || !known?.priceStep);
  }

  #row(pair) {
    const known = this.#rows.get(pair);
    if (known) return known;
    const row = { cells: buildRow(pair), live: null, quote: null, known: null, seen: false };
    const after = [...this.#rows.keys()].filter((other) => other > pair).sort()[0];
    this.body.insertBefore(row.cells.row, after ? this.#rows.get(after).cells.row : null);
    this.#rows.set(pair, row);
    this.empty.hidden = true;
    return row;
  }

  #render(row) {
    const { cells, live, quote } = row;
    const decimals = decimalsOf(row.known?.priceStep);
    const customer = live?.withSpread ?? null;
    const original = live?.original ?? quote?.original ?? null;
    for (const side of SIDES) {
      setText(cells[side], customer ? price(customer[side], decimals) : '—');
      setText(cells[`original-${side}`], original?.[side] ? `market ${price(original[side], decimals)}` : '');
      setText(cells[`spread-${side}`], live?.currentSpread ? signed(live.currentSpread[side], decimals) : '');
    }
    const [status, reason] = this.#connected ? condition(row) : ['unknown', ''];
    cells.row.dataset.status = status;
    setText(cells.status, status);
    setText(cells.reason, reason);
    showAge(row);
  }
}

/** The state of a pair in a word, and why in a sentence. */
function condition({ live, quote, known, seen }) {
  if (live) return [live.status ?? 'fresh', live.status === 'stale' ? staleWords(quote) : ''];
  if (quote?.status === 'dead') return ['dead', 'No price: its feed has been silent for too long.'];
  if (quote?.withheld === 'spreads_unknown') return ['withheld', 'No customer price yet: the stored spreads are not read.'];
  if (quote?.withheld === 'no_spread') return ['withheld', 'No customer price: an administrator has to set a spread.'];
  if (quote?.withheld === 'invalid_spread')
    return ['withheld', 'No customer price: at this market price the spread would cross the prices or bring one to zero.'];
  if (quote?.withheld === 'no_quorum') return ['withheld', 'No customer price: too few of its sources have a price to be used.'];
  if (quote?.withheld === 'disagreement') return ['withheld', 'No customer price: its sources are too far apart.'];
  if (quote?.withheld === 'out_of_range') return ['withheld', 'No customer price: the price cannot be written with its step.'];
  const refused = known?.sources.find((source) => source.state === 'refused');
  if (refused) return ['refused', `${refused.source} refuses it${refused.reason ? `: ${refused.reason}` : ''}.`];
  if (seen) return ['gone', 'It is no longer among the live rates.'];
  const pending = known?.sources.map(({ source }) => source).join(', ');
  return ['waiting', pending ? `No rate from ${pending} yet.` : 'Waiting for the first rate.'];
}

function staleWords(quote) {
  if (quote?.market === 'maintenance') return 'The exchange is under maintenance.';
  if (quote?.market === 'not_matching') return 'The exchange is not matching orders.';
  return 'Its feed is silent.';
}

function flashChanges(row, before) {
  for (const side of SIDES) {
    const change = row.live.withSpread[side] - before.withSpread[side];
    if (change === 0) continue;
    const cell = row.cells[side];
    cell.dataset.direction = change > 0 ? 'up' : 'down';
    if (reducedMotion.matches) continue;
    cell.animate({ backgroundColor: [`var(--${cell.dataset.direction}-flash)`, 'transparent'] }, FLASH);
  }
}

function showAge({ cells, live }) {
  setText(cells.age, live?.updatedAt ? ageWords(serverNow() - Date.parse(live.updatedAt)) : '—');
}

function ageWords(milliseconds) {
  const seconds = Math.floor(milliseconds / 1000);
  if (seconds < 1) return 'now';
  if (seconds < 60) return `${seconds} s ago`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ago`;
  return `${Math.floor(seconds / 3600)} h ago`;
}

function buildRow(pair) {
  const cells = { row: element('tr', { role: 'row' }) };
  cells.row.dataset.pair = pair;
  const field = (name, className) => {
    cells[name] = element('span', { className });
    cells[name].dataset.testid = name;
    return cells[name];
  };
  const cell = (className, label, ...content) => {
    const td = element('td', { className, role: 'cell' });
    td.dataset.label = label;
    td.append(...content);
    return td;
  };
  const head = element('th', { scope: 'row', role: 'rowheader', className: 'pair' });
  head.append(element('span', { textContent: pair.replace('_', ' / ') }), field('reason', 'reason'));
  cells.row.append(
    head,
    cell('number', 'Customer buys', field('buy', 'price'), field('original-buy', 'small')),
    cell('number', 'Customer sells', field('sell', 'price'), field('original-sell', 'small')),
    cell('number spread', 'Spread', field('spread-buy', 'buy'), field('spread-sell', 'sell')),
    cell('number age', 'Changed', field('age', '')),
    cell('state', 'Status', field('status', 'badge')),
  );
  return cells;
}

function element(name, properties) {
  const { role, ...rest } = properties;
  const made = Object.assign(document.createElement(name), rest);
  if (role) made.setAttribute('role', role);
  return made;
}

// Leaves the document alone where nothing changed: a busy feed touches only what moved.
function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}
