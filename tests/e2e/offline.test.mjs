// What the published client wrote without a link, or got no ack for, it sends again: once is what counts.

import assert from 'node:assert/strict';
import { after, before } from 'node:test';
import { isDeepStrictEqual } from 'node:util';

import { scenario } from './lib/deadline.mjs';
import { Proxy } from './lib/proxy.mjs';
import { RawClient, unique } from './lib/raw.mjs';
import { SdkClient, closeAllSockets, untilShown } from './lib/sdk.mjs';
import { Server } from './lib/server.mjs';

/** The SDK sends them one after the other, each when the one before is acknowledged. */
const OFFLINE_WRITES = 8;

/** When this one is stored no ack comes back any more: its own, or that of the next. */
const LAST_SEEN = 3;

const context = {};

before(async () => {
  context.server = await Server.onNewDatabase();
});

after(async () => {
  closeAllSockets();
  await context.server?.stop();
});

/** A published client behind a link that can be cut, and a raw one that sees what the server says. */
async function open(t) {
  const documentId = unique('document');
  const proxy = await Proxy.to(context.server.port);
  const alice = await SdkClient.connect(`ws://127.0.0.1:${proxy.port}/ws`, unique('alice'));
  const hers = await alice.open(documentId);
  const witness = await RawClient.connect(context.server.wsUrl);
  await witness.subscribe(documentId);
  t.after(async () => {
    alice.close();
    await Promise.all([witness.close(), proxy.close()]);
  });
  return { documentId, proxy, alice, hers, witness };
}

/** What is stored, in order, as pairs of author and counter. */
async function stored(documentId) {
  const rows = await context.server.database.rows(
    'SELECT client_id, vector_clock FROM deltas WHERE document_id = $1 ORDER BY seq',
    [documentId],
  );
  return rows.map(({ client_id, vector_clock }) => [client_id, vector_clock[client_id]]);
}

async function assertEverywhere({ documentId, hers, witness }, expected) {
  const { body } = await witness.read(documentId);
  assert.deepEqual(body.state, expected);
  await untilShown(hers, JSON.stringify(expected), (state) => isDeepStrictEqual({ ...state }, expected));
}

scenario(context, 'writes made offline are stored once each and in their order', async (t) => {
  const opened = await open(t);
  const { documentId, proxy, alice, hers, witness } = opened;
  proxy.cut();
  await alice.untilOffline();
  for (let write = 1; write <= OFFLINE_WRITES; write += 1) {
    await hers.set('last', write);
  }
  proxy.restore();
  await alice.untilSent();

  const counters = Array.from({ length: OFFLINE_WRITES }, (_, index) => index + 1);
  assert.deepEqual(await stored(documentId), counters.map((counter) => [alice.clientId, counter]));
  await witness.expect({ type: 'delta', field: 'last', value: OFFLINE_WRITES });
  await assertEverywhere(opened, { last: OFFLINE_WRITES });
});

scenario(context, 'a replay that is cut goes on with the next link, and nothing counts twice', async (t) => {
  const opened = await open(t);
  const { documentId, proxy, alice, hers, witness } = opened;
  proxy.cut();
  await alice.untilOffline();
  const expected = {};
  for (let write = 1; write <= OFFLINE_WRITES; write += 1) {
    expected[`field ${write}`] = write;
    await hers.set(`field ${write}`, write);
  }
  proxy.restore();
  await witness.expect({ type: 'delta', field: `field ${LAST_SEEN}` });
  proxy.holdReplies();
  proxy.cut();
  await alice.untilOffline();
  proxy.releaseReplies();
  proxy.restore();
  await alice.untilSent();

  assert.equal((await stored(documentId)).length, OFFLINE_WRITES);
  await assertEverywhere(opened, expected);
});

scenario(context, 'a write whose ack comes too late is sent again, acknowledged again, and stored once', async (t) => {
  const opened = await open(t);
  const { documentId, proxy, alice, hers, witness } = opened;
  proxy.holdReplies();
  const unanswered = [hers.set('kept', 'hers'), hers.set('overtaken', 'hers')];
  const rejected = Promise.all(unanswered.map((write) => assert.rejects(write, /ACK timeout/)));
  for (const field of ['kept', 'overtaken']) {
    await witness.expect({ type: 'delta', field, value: 'hers' });
  }
  await witness.set(documentId, 'overtaken', 'written since');
  await witness.expect({ type: 'delta', field: 'overtaken', value: 'written since' });
  await rejected;
  const before = await stored(documentId);
  assert.equal(before.length, 3);

  proxy.releaseReplies();
  proxy.cut();
  await alice.untilOffline();
  proxy.restore();
  await alice.untilSent();
  assert.deepEqual(await stored(documentId), before);
  assert.equal(alice.kit.getNetworkStatus().failedOperations, 0);
  await assertEverywhere(opened, { kept: 'hers', overtaken: 'written since' });
});

scenario(context, 'who sends a write again is told the present value, and nobody else is', async (t) => {
  const { documentId, witness } = await open(t);
  const author = await RawClient.connect(context.server.wsUrl);
  const write = { documentId, field: 'a', value: 'first', clientId: unique('author'), timestamp: Date.now() };
  const send = (messageId) => author.send('delta', { ...write, clock: { [write.clientId]: 1 }, messageId });
  send('original');
  await author.expect({ type: 'ack', messageId: 'original' });
  await author.expect({ type: 'delta', field: 'a', value: 'first' });
  await witness.set(documentId, 'a', 'since');
  await author.expect({ type: 'delta', field: 'a', value: 'since' });
  await witness.expect({ type: 'delta', field: 'a', value: 'since' });

  send('again');
  await author.expect({ type: 'ack', messageId: 'again' });
  await author.expect({ type: 'delta', field: 'a', value: 'since' });
  await witness.set(documentId, 'b', 1);
  await witness.expect({ type: 'delta', field: 'b' });
  const told = witness.history.filter(({ type, body }) => type === 'delta' && body.field === 'a');
  assert.deepEqual(told.map(({ body }) => body.value), ['first', 'since']);
  assert.equal((await stored(documentId)).length, 3);
  await author.close();
});
