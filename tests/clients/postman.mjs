// The Postman collection, made from the OpenAPI document of a running ratebus.
//
//   node postman.mjs --url http://127.0.0.1:3334           is the kept one still what comes out?
//   node postman.mjs --url http://127.0.0.1:3334 --write   keeps what comes out
//
// Its requests are in an order that works from an empty database with one administrator, each checks its answer. An
// operation that no step below uses comes last, with its examples.

import { readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

const KEPT = fileURLToPath(new URL('../../docs/postman_collection.json', import.meta.url));
const STREAMS = ['streamQuotes', 'openWebSocket'];
const VARIABLES = {
  baseUrl: 'http://localhost:3334',
  adminEmail: 'admin@example.com',
  adminPassword: '',
  userEmail: 'ann@example.com',
  userPassword: 'correct horse',
  newPassword: 'battery staple correct',
  userId: '',
  scheduledId: '',
  tomorrow: '',
  token: '',
  refreshToken: '',
};

const user = { email: '{{userEmail}}', password: '{{userPassword}}' };
const admin = { email: '{{adminEmail}}', password: '{{adminPassword}}' };
const spread = { scope: 'BTC_USD' };
// What is asked in which order: an operation, the status it answers then, what it is sent beside its examples, and which
// variables are set before, or taken from its answer.
const FOLDERS = [
  ['The service', [
    ['live', 200], ['ready', 200], ['serviceOrPage', 200], ['openapi', 200], ['asyncapi', 200],
  ]],
  ['Rates, for everybody', [
    ['listPairs', 200], ['listQuotes', 200], ['getQuote', 200], ['listOriginalRates', 200], ['getOriginalRate', 200],
  ]],
  ['A new account', [
    ['register', 200, { body: { email: '{{userEmail}}', password: '{{userPassword}}', confirmPassword: '{{userPassword}}' } }],
    ['login', 200, { body: user, save: { token: 'data.token.token' } }],
    ['getMe', 200, { save: { userId: 'id' } }],
    ['patchMe', 200],
    ['changePassword', 204, { body: { currentPassword: '{{userPassword}}', newPassword: '{{newPassword}}' } }],
    ['listSpreads', 403, { name: 'Every spread that is set: for administrators alone' }],
    ['logout', 200],
    ['getMe', 401, { name: "One's own account: nobody's after the logout" }],
  ]],
  ['An administrator', [
    ['logIn', 200, { body: admin, save: { token: 'accessToken', refreshToken: 'refreshToken' } }],
    ['listUsers', 200],
    ['getUser', 200, { path: { id: '{{userId}}' } }],
    ['patchUser', 200, { path: { id: '{{userId}}' }, body: { role: 'user', disabled: false } }],
    ['listLiveClients', 200],
  ]],
  ['Spreads', [
    ['previewSpread', 200, { path: spread }],
    ['putSpread', 201, { path: spread }],
    ['getSpread', 200, { path: spread }],
    ['updateRates', 200],
    ['rollbackSpread', 200, { path: spread }],
    ['getSpreadHistory', 200, { path: spread }],
    ['listSpreads', 200],
    ['putSpread', 202, {
      name: 'Set a spread tomorrow',
      before: { tomorrow: 'new Date(Date.now() + 86_400_000).toISOString()' },
      path: spread,
      body: { effectiveFrom: '{{tomorrow}}' },
      save: { scheduledId: 'id' },
    }],
    ['listScheduledSpreads', 200],
    ['getScheduledSpread', 200, { path: { id: '{{scheduledId}}' } }],
    ['cancelScheduledSpread', 204, { path: { id: '{{scheduledId}}' } }],
    ['deleteSpread', 204, { path: spread }],
  ]],
];
const GOODBYE = ['The end of the session', [
  ['refresh', 200, { body: { refreshToken: '{{refreshToken}}' }, save: { token: 'accessToken', refreshToken: 'refreshToken' } }],
  ['logOut', 204, { body: { refreshToken: '{{refreshToken}}' } }],
]];

const { values: options } = parseArgs({ options: { url: { type: 'string' }, write: { type: 'boolean' } } });
if (!options.url) throw new Error('usage: postman.mjs --url URL [--write]');
const document = await (await fetch(new URL('/openapi.json', options.url))).json();
const operations = new Map(Object.entries(document.paths).flatMap(([path, item]) =>
  Object.entries(item).map(([method, operation]) => [operation.operationId, { ...operation, path, method }])));

const collection = `${JSON.stringify(build(), null, 2)}\n`;
if (options.write) {
  writeFileSync(KEPT, collection);
} else if (readFileSync(KEPT, 'utf8') !== collection) {
  console.error('docs/postman_collection.json is not what the OpenAPI document gives. To make it anew: ' +
    'cargo run -- demo, and node tests/clients/postman.mjs --url http://localhost:3334 --write');
  process.exitCode = 1;
}

function build() {
  const folders = [...FOLDERS, GOODBYE];
  const used = new Set([...STREAMS, ...folders.flatMap(([, steps]) => steps.map(([operation]) => operation))]);
  const rest = [...operations.keys()].filter((name) => !used.has(name)).map((name) => [name]);
  if (rest.length > 0) folders.splice(-1, 0, ['More', rest]);
  return {
    info: {
      name: 'ratebus',
      description: 'Made from /openapi.json by tests/clients/postman.mjs. Set `adminPassword`, or `baseUrl` and the others, and run it from the top: ' +
        'from an empty database with an administrator (`ratebus admin create`).',
      schema: 'https://schema.getpostman.com/json/collection/v2.1.0/collection.json',
    },
    auth: { type: 'bearer', bearer: [{ key: 'token', value: '{{token}}', type: 'string' }] },
    variable: Object.entries(VARIABLES).map(([key, value]) => ({ key, value })),
    item: folders.map(([name, steps]) => ({ name, item: steps.map(([operation, status, more]) => request(operation, status, more)) })),
  };
}

function request(name, status, { name: title, before = {}, body = {}, path = {}, save = {} } = {}) {
  const operation = operations.get(name);
  if (!operation) throw new Error(`the document has no operation ${name}`);
  const segments = operation.path.split('/').slice(1).map((segment) => {
    const parameter = segment.match(/^\{(.*)\}$/)?.[1];
    return parameter ? path[parameter] ?? operation.parameters.find((known) => known.name === parameter).example : segment;
  });
  return {
    name: title ?? operation.summary,
    event: [
      ...(Object.keys(before).length > 0 ? [script('prerequest', set(before))] : []),
      script('test', tests(operation, status, save)),
    ],
    request: {
      method: operation.method.toUpperCase(),
      description: operation.description,
      ...(operation.security ? {} : { auth: { type: 'noauth' } }),
      header: operation.requestBody ? [{ key: 'Content-Type', value: 'application/json' }] : [],
      ...(operation.requestBody ? { body: { mode: 'raw', raw: JSON.stringify(sent(operation, body), null, 2) } } : {}),
      url: { raw: `{{baseUrl}}/${segments.join('/')}`, host: ['{{baseUrl}}'], path: segments },
    },
  };
}

function script(listen, exec) {
  return { listen, script: { type: 'text/javascript', exec } };
}

// Sets variables to the values of expressions.
function set(variables) {
  return Object.entries(variables).map(([name, value]) => `pm.collectionVariables.set('${name}', ${value});`);
}

function sent(operation, body) {
  return { ...example(operation.requestBody.content['application/json'].schema), ...body };
}

// An example of a schema: its own, or put together from those of its required members.
function example(schema) {
  const resolved = resolve(schema);
  if (resolved.example !== undefined) return resolved.example;
  if (resolved.examples) return resolved.examples[0];
  if (resolved.oneOf) return example(resolved.oneOf.find((one) => one.type !== 'null'));
  if (resolved.enum) return resolved.enum[0];
  const members = Object.entries(resolved.properties ?? {}).filter(([name, member]) =>
    resolved.required?.includes(name) || resolve(member).example !== undefined);
  return resolved.type === 'object' ? Object.fromEntries(members.map(([name, member]) => [name, example(member)])) : undefined;
}

function resolve(schema) {
  return schema.$ref ? resolve(document.components.schemas[schema.$ref.split('/').at(-1)]) : schema;
}

// The answer has a documented status, the one expected at this place, and the members its schema requires.
function tests(operation, status, save) {
  const documented = Object.keys(operation.responses).map(Number);
  if (status && !documented.includes(status)) throw new Error(`${operation.operationId} has no ${status}`);
  const expected = status ? [status] : documented.filter((code) => code < 500);
  const lines = [
    `pm.test('${expected.length === 1 ? `answers ${status}` : 'answers as documented'}', () => pm.expect(pm.response.code).to.be.oneOf(${JSON.stringify(expected)}));`,
    "pm.test('names the request', () => pm.response.to.have.header('X-Request-Id'));",
  ];
  const [type, content] = status ? Object.entries(operation.responses[status].content ?? {})[0] ?? [] : [];
  if (content) {
    lines.push(`pm.test('is ${type}', () => pm.expect(pm.response.headers.get('Content-Type')).to.equal('${type}'));`);
    // Of several forms the first is what an ordinary request answers.
    const schema = resolve(content.schema);
    const required = (schema.oneOf ? resolve(schema.oneOf[0]) : schema).required ?? [];
    if (required.length > 0) {
      lines.push(`pm.test('has what it must have', () => pm.expect(pm.response.json()).to.include.all.keys(${JSON.stringify(required)}));`);
    }
  }
  const taken = Object.entries(save).map(([name, path]) => [name, `pm.response.json().${path}`]);
  return [...lines, ...set(Object.fromEntries(taken))];
}
