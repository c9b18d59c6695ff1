// What an operator and an orchestrator see.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import net from 'node:net';
import { after, before } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';

import { WAIT_MS, scenario } from './lib/deadline.mjs';
import { Proxy } from './lib/proxy.mjs';
import { RawClient, unique } from './lib/raw.mjs';
import { Database, Server, runToExit, settings } from './lib/server.mjs';

/** How often the readiness of a server is asked for; a probe has no other way to learn of a change. */
const PROBE_GAP_MS = 50;

/** The exit code for settings nobody can start with. */
const EXIT_SETTINGS = 2;

const context = {};

before(async () => {
  context.database = await Database.create();
  context.proxy = await Proxy.to(context.database.port, context.database.host);
  context.connectionString = context.database.connectionString(context.proxy);
  context.server = new Server(settings(context.connectionString));
  await context.server.start();
});

after(async () => {
  await context.server?.stop();
  await context.proxy?.close();
  await context.database?.drop();
});

async function get(path) {
  const response = await fetch(`${context.server.url}${path}`, { signal: AbortSignal.timeout(WAIT_MS) });
  const text = await response.text();
  return { status: response.status, text, body: text.startsWith('{') ? JSON.parse(text) : undefined };
}

async function untilReadyIs(status) {
  const end = Date.now() + WAIT_MS;
  for (;;) {
    const answer = await get('/health/ready');
    if (answer.status === status) {
      return answer.body;
    }
    assert.ok(Date.now() < end, `not within ${WAIT_MS} ms: readiness ${status}; last: ${answer.text}`);
    await pause(PROBE_GAP_MS);
  }
}

scenario(context, 'a healthy server says so on every path', async () => {
  for (const path of ['/', '/health', '/health/live', '/health/ready']) {
    const { status, text } = await get(path);
    assert.equal(status, 200, `${path}: ${text}`);
  }
  const { body } = await get('/health/ready');
  assert.equal(body.status, 'Healthy');
  assert.equal(body.results.postgresql.status, 'Healthy');
  assert.equal((await get('/health')).body.status.toLowerCase(), 'healthy');
});

scenario(context, 'an unknown path is not found', async () => {
  assert.equal((await get('/nowhere')).status, 404);
});

scenario(context, 'a plain GET of the WebSocket path is told to upgrade', async () => {
  const { status } = await get('/ws');
  assert.ok([400, 426].includes(status), `answered with ${status}`);
});

scenario(context, 'readiness follows the database, liveness does not', async () => {
  const client = await RawClient.connect(context.server.wsUrl);
  const documentId = unique('document');
  await client.set(documentId, 'before', 1);

  context.proxy.refuse();
  const body = await untilReadyIs(503);
  assert.equal(body.status, 'Unhealthy');
  assert.equal(body.results.postgresql.status, 'Unhealthy');
  assert.equal(typeof body.results.postgresql.description, 'string');
  assert.notEqual(body.results.postgresql.description, '');
  assert.ok(!body.results.postgresql.description.includes('synckit_test'), 'no password in a probe');
  assert.equal((await get('/health/live')).status, 200);
  await client.ping();

  context.proxy.restore();
  assert.equal((await untilReadyIs(200)).status, 'Healthy');
  await client.set(documentId, 'after', 2);
  assert.deepEqual((await client.read(documentId)).body.state, { before: 1, after: 2 });
  await client.close();
});

const UNUSABLE = {
  'an unknown storage provider': [{ STORAGE__PROVIDER: 'mongodb' }, /storage[._]+provider/i],
  'a missing connection string': [
    { STORAGE__POSTGRESQL__CONNECTIONSTRING: undefined },
    /storage[._]+postgresql[._]+connectionstring/i,
  ],
  'an unknown key': [{ STORAGE__PROVDIER: 'postgresql' }, /STORAGE__PROVDIER/],
  'an authentication nobody decided on': [{ SYNCKIT_AUTH_REQUIRED: undefined }, /SYNCKIT_AUTH_REQUIRED/],
  'a value of the wrong kind': [{ SYNCKIT_AUTH_REQUIRED: 'perhaps' }, /SYNCKIT_AUTH_REQUIRED/],
};

function assertRefused({ code, stdout, stderr }, names) {
  assert.equal(code, EXIT_SETTINGS, stderr.join('\n'));
  assert.deepEqual(stdout, []);
  assert.equal(stderr.length, 1, `one line, not: ${stderr.join('\n')}`);
  assert.match(stderr[0], names);
}

for (const [what, [changes, names]] of Object.entries(UNUSABLE)) {
  scenario(context, `${what} ends the server with code 2 and a line that names it`, async () => {
    const environment = Object.entries({ ...settings(context.connectionString), ...changes });
    const given = Object.fromEntries(environment.filter(([, value]) => value !== undefined));
    assertRefused(await runToExit(given), names);
  });
}

scenario(context, 'a port that is taken ends the server with code 2 and a line that names it', async () => {
  const taken = net.createServer().listen(0, '127.0.0.1');
  await once(taken, 'listening');
  const address = `127.0.0.1:${taken.address().port}`;
  const result = await runToExit(settings(context.connectionString), ['serve', '--urls', `http://${address}`]);
  taken.close();
  assertRefused(result, new RegExp(`urls.*${address}|${address}.*urls`));
});
