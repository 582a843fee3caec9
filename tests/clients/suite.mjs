// Runs one of the official suites of socketio/socket.io several times and says how often each of its tests failed.
//
//   node suite.mjs --suite CHECKOUT/docs/socket.io-protocol/v5-test-suite --url http://127.0.0.1:3100 [--repeat 5] [--once]
//
// The suites race timers of 200 ms, and the reference server itself loses one now and then: a test fails when it did in
// more than a fifth of the runs; with --once, in all of them. The checkout is only read.

import { spawnSync } from 'node:child_process';
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';

const { values: options } = parseArgs({
  options: { suite: { type: 'string' }, url: { type: 'string' }, repeat: { type: 'string', default: '5' }, once: { type: 'boolean' } },
});
const repeat = Number(options.repeat);
if (!options.suite || !options.url || !(repeat >= 1)) {
  fail('usage: suite.mjs --suite FOLDER --url URL [--repeat N]');
}

const folder = mkdtempSync(join(tmpdir(), 'ratebus-suite-'));
process.on('exit', () => rmSync(folder, { recursive: true }));
cpSync(options.suite, folder, { recursive: true });
pointAt(options.url);
run('npm', ['ci', '--silent', '--no-audit', '--no-fund']);

const passes = [];
const failures = new Map();
let tests = 0;
for (let round = 0; round < repeat; round += 1) {
  const report = JSON.parse(run('npx', ['mocha', '--exit', '--reporter', 'json', 'test-suite.js'], true));
  tests = report.stats.tests;
  passes.push(report.stats.passes);
  for (const { fullTitle, err } of report.failures) {
    const { times = 0 } = failures.get(fullTitle) ?? {};
    failures.set(fullTitle, { times: times + 1, message: err.message });
  }
}
let failed = 0;
for (const [title, { times, message }] of failures) {
  const often = options.once ? times === repeat : times * 5 > repeat;
  failed += often ? 1 : 0;
  console.log(`${often ? 'failed' : 'unsteady'}, ${times} of ${repeat} times: ${title}: ${message}`);
}
console.log(`${tests - failed} of ${tests} passed; in each run: ${passes.join(' ')}`);
if (failed > 0 || tests === 0) process.exit(1);

function pointAt(url) {
  const file = join(folder, 'test-suite.js');
  const line = 'const URL = "http://localhost:3000";';
  const source = readFileSync(file, 'utf8');
  if (!source.includes(line)) fail(`${options.suite} names its server in another way than expected`);
  writeFileSync(file, source.replace(line, `const URL = ${JSON.stringify(url)};`));
}

// What the command prints. One that may fail says in its output how.
function run(command, args, mayFail = false) {
  const { status, stdout, error } = spawnSync(command, args, { cwd: folder, encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'] });
  if (error || (status !== 0 && !mayFail)) fail(`${command} ${args.join(' ')}: ${error?.message ?? stdout}`);
  return stdout;
}

function fail(message) {
  console.error(message);
  process.exit(1);
}
