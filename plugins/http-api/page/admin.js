// The administrator's form: log in, look at what a spread would do, set it.

import * as api from './api.js';

const EVERY_PAIR = '*';
const loginForm = document.getElementById('login-form');
const spreadForm = document.getElementById('spread-form');
const { scope, buy, buyUnit, sell, sellUnit } = spreadForm.elements;
const removeButton = document.getElementById('remove');
const previewResult = document.getElementById('preview-result');

// The spread of the chosen scope as last read: what a change is made conditional on.
let known = null;

// Actions under way. Buttons wait for them; they are not disabled, since that would move the focus.
let busy = 0;

export function start() {
  submits(loginForm, logIn);
  submits(spreadForm, setSpread);
  clicks(document.getElementById('preview'), showPreview);
  clicks(removeButton, removeSpread);
  clicks(document.getElementById('logout'), logOut);
  scope.addEventListener('change', () => run(spreadForm, chooseScope));
  spreadForm.addEventListener('input', () => (previewResult.hidden = true));
  setPairs([]);
}

/** The scopes to choose from. The choice made stays. */
export function setPairs(pairs) {
  const scopes = [...pairs, EVERY_PAIR];
  if (scopes.join() === [...scope.options].map(({ value }) => value).join()) return;
  const chosen = spreadForm.hidden ? scopes[0] : scope.value;
  scope.replaceChildren(...scopes.map((value) => new Option(scopeWords(value), value)));
  if (scopes.includes(chosen)) scope.value = chosen;
  else run(spreadForm, chooseScope);
}

async function logIn() {
  const email = loginForm.elements.email.value.trim();
  await api.logIn(email, loginForm.elements.password.value);
  try {
    await chooseScope();
  } catch (error) {
    await api.logOut();
    throw error.status === 401 || error.status === 403 ? new Error('This account is not an administrator.') : error;
  }
  loginForm.reset();
  showSession(email);
}

async function logOut() {
  showSession(null);
  await api.logOut();
}

function showSession(email) {
  const inside = email !== null;
  loginForm.hidden = inside;
  spreadForm.hidden = !inside;
  document.getElementById('session').hidden = !inside;
  document.getElementById('who').textContent = email ?? '';
  (inside ? scope : loginForm.elements.email).focus();
}

async function chooseScope() {
  const chosen = scope.value;
  known = null;
  previewResult.hidden = true;
  nameUnits(chosen);
  showKnown(chosen, await api.spread(chosen));
  if (chosen === scope.value) fill(known);
}

// An answer for a scope that is no longer the chosen one comes too late to be shown.
function showKnown(chosen, spread) {
  if (chosen !== scope.value) return;
  known = spread;
  removeButton.disabled = spread === null;
  document.getElementById('current').textContent = spread
    ? `Now: buy ${markupWords(spread.buy)}, sell ${markupWords(spread.sell)}; revision ${spread.revision}` +
      `${spread.updatedBy ? ` by ${spread.updatedBy}` : ''}, ${new Date(spread.updatedAt).toLocaleString()}.`
    : scope.value === EVERY_PAIR
      ? 'None set: the default of the configuration applies.'
      : 'None of its own: the spread of every pair applies, or the default of the configuration.';
}

function fill(spread) {
  buy.value = spread?.buy.value ?? '';
  sell.value = spread?.sell.value ?? '';
  buyUnit.value = spread?.buy.unit ?? 'absolute';
  sellUnit.value = spread?.sell.unit ?? 'absolute';
}

const markups = () => ({
  buy: { unit: buyUnit.value, value: buy.value.trim() },
  sell: { unit: sellUnit.value, value: sell.value.trim() },
});

async function setSpread() {
  const chosen = scope.value;
  showKnown(chosen, await ifUnchanged(chosen, api.setSpread(chosen, markups(), known)));
  previewResult.hidden = true;
  return `Set for ${scopeWords(chosen)}. Every client has it now.`;
}

async function removeSpread() {
  const chosen = scope.value;
  if (!confirm(`Remove the spread of ${scopeWords(chosen)}?`)) return '';
  await ifUnchanged(chosen, api.removeSpread(chosen, known));
  await chooseScope();
  return `Removed for ${scopeWords(chosen)}.`;
}

// When someone was faster, shows what is set now and keeps what was typed for a second, informed try.
async function ifUnchanged(chosen, change) {
  try {
    return await change;
  } catch (error) {
    if (error.status !== 412) throw error;
    showKnown(chosen, await api.spread(chosen));
    throw new Error('Someone changed this spread meanwhile, so nothing was done. It now is as shown above; try again to replace that.');
  }
}

async function showPreview() {
  const pairs = await api.preview(scope.value, markups());
  previewResult.querySelector('tbody').replaceChildren(...pairs.flatMap(previewRows));
  previewResult.hidden = false;
  if (pairs.length === 0) return 'It would apply to no pair now.';
  if (pairs.some(({ problem }) => problem)) throw new Error('This spread would be refused.');
  if (pairs.some(({ houseLoss }) => houseLoss)) say(spreadForm, 'Careful: the house would lose.', 'warning');
}

// Two rows for each pair, the customer's buy and sell.
function previewRows({ pair, original, before, after, widthBps, houseLoss, problem }) {
  const amount = (prices, side) => element('td', 'number', prices?.[side] ?? '—');
  const [buyRow, sellRow] = ['buy', 'sell'].map((side) => {
    const row = element('tr', houseLoss ? 'loss' : '');
    row.append(element('td', '', side), amount(original, side), amount(before, side), amount(after, side));
    return row;
  });
  const words = problem ?? (houseLoss ? 'better for the customer than the market' : '');
  const head = element('th', 'pair', '');
  head.scope = 'rowgroup';
  head.append(element('span', '', pair.replace('_', ' / ')), element('span', 'reason', words));
  const width = element('td', 'number', widthBps ? `${widthBps} bps` : '—');
  head.rowSpan = width.rowSpan = 2;
  buyRow.prepend(head);
  buyRow.append(width);
  buyRow.dataset.pair = pair;
  return [buyRow, sellRow];
}

const element = (name, className, textContent) => Object.assign(document.createElement(name), { className, textContent });
const scopeWords = (value) => (value === EVERY_PAIR ? 'every pair without its own' : value.replace('_', ' / '));

function nameUnits(chosen) {
  const quoteAsset = chosen === EVERY_PAIR ? 'absolute' : chosen.split('_')[1];
  for (const select of [buyUnit, sellUnit]) select.options[0].textContent = quoteAsset;
}

function markupWords({ unit, value }) {
  const unitWords = { absolute: scope.value === EVERY_PAIR ? '' : ` ${scope.value.split('_')[1]}`, percent: ' %', bps: ' bps' };
  return `${value}${unitWords[unit]}`;
}

function submits(form, action) {
  form.addEventListener('submit', (event) => {
    event.preventDefault();
    if (!busy) run(form, action);
  });
}

function clicks(button, action) {
  button.addEventListener('click', () => {
    if (!busy) run(spreadForm, action);
  });
}

// Does one thing in a form and shows how it went: in words, or as errors beside their fields.
async function run(form, action) {
  busy += 1;
  say(form, '');
  showFieldErrors(form, []);
  try {
    const done = await action();
    if (done) say(form, done);
  } catch (error) {
    const beside = showFieldErrors(form, error.fields ?? []);
    if (error.status === 401 && form === spreadForm) endSession();
    else say(form, beside ? 'Please correct the marked fields.' : error.message, 'error');
  } finally {
    busy -= 1;
  }
}

function endSession() {
  api.forget();
  showSession(null);
  say(loginForm, 'Your session has ended. Please log in again.', 'error');
}

function say(form, words, kind = 'done') {
  const message = form.querySelector('.message');
  message.textContent = words;
  message.dataset.kind = kind;
}

/** Puts each error beside its field; false when some belong to no field of the form, or there are none. */
function showFieldErrors(form, errors) {
  const placed = new Map();
  for (const { field, message } of errors) {
    const input = form.elements[field.split('.')[0]];
    if (input) placed.set(input, message);
  }
  for (const input of form.querySelectorAll('input')) {
    const message = placed.get(input) ?? '';
    document.getElementById(input.getAttribute('aria-describedby')).textContent = message;
    input.setAttribute('aria-invalid', message !== '');
  }
  [...placed.keys()][0]?.focus();
  return placed.size > 0 && placed.size === errors.length;
}
