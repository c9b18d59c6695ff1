// Counters, sets and formats: each operation counts once, and late joiners get what can be told late.

import assert from 'node:assert/strict';
import { after, before } from 'node:test';
import { isDeepStrictEqual } from 'node:util';

import { scenario } from './lib/deadline.mjs';
import { Random } from './lib/random.mjs';
import { RawClient, unique } from './lib/raw.mjs';
import { Sdk030 } from './lib/sdk030.mjs';
import { Server } from './lib/server.mjs';

/** The SDK's first delay only slows the test. */
const RECONNECT_MS = 50;

const CLIENTS = 4;
const EDITS = 25;
const OFFLINE_SHARE = 0.1;
const VALUES = ['a', 'é 😀', '', 1, null, true, { deep: [1] }];

const context = {};

before(async () => {
  context.server = await Server.onNewDatabase();
});

after(() => context.server?.stop());

function connect() {
  return RawClient.connect(context.server.wsUrl);
}

async function member(t, documentId, kind) {
  const client = await Sdk030.connect(context.server.wsUrl, { reconnectMs: RECONNECT_MS });
  t.after(() => client.dispose());
  const replica = client.replica(documentId, kind);
  await client.synced(documentId);
  return { client, replica };
}

/** A writer and a reader, both subscribed. */
async function pair() {
  const documentId = unique('document');
  const [writer, reader] = [await connect(), await connect()];
  await writer.subscribe(documentId);
  await reader.subscribe(documentId);
  return { documentId, writer, reader };
}

/** Everything said after a field that `author` writes now was said before it. */
async function upToNow(documentId, author, client) {
  const mark = unique('mark');
  await author.set(documentId, 'mark', mark);
  await client.expect({ type: 'delta', field: 'mark', value: mark });
}

function operationsOf(client, type) {
  const batches = client.history.filter((message) => message.type === 'delta_batch');
  return batches.flatMap(({ body }) => body.deltas).filter((op) => op.type === type);
}

const brief = ({ operation, value }) => (value === undefined ? [operation] : [operation, value]);

// Counters.

scenario(context, 'counters of clients that count at the same time agree', async (t) => {
  const documentId = unique('document');
  const members = await Promise.all(Array.from({ length: CLIENTS }, () => member(t, documentId, 'counter')));
  members.forEach(({ replica }, index) => {
    replica.increment(10 ** index);
    replica.increment(10 ** index);
    replica.decrement(10 ** index * 5);
  });
  await Promise.all(members.map(({ client }) => client.settled()));
  const expected = -3 * members.reduce((sum, _, index) => sum + 10 ** index, 0);
  for (const { client, replica } of members) {
    await client.until(`counts ${expected}`, () => replica.get() === expected);
  }
  // The last field of all has come, so nothing is on its way that would count again.
  members.forEach(({ client }) => client.replica(documentId, 'fields'));
  members[0].client.replica(documentId, 'fields').set('end', true);
  for (const { client, replica } of members) {
    await client.until('hears the end', () => client.replica(documentId, 'fields').get().end === true);
    assert.equal(replica.get(), expected);
    assert.deepEqual(client.faults, []);
  }
});

scenario(context, 'a count goes once to every other subscriber, and never to its writer or a late joiner', async () => {
  const { documentId, writer, reader } = await pair();
  const timestamp = Date.now();
  const increment = { type: 'counter', operation: 'increment', value: 2, timestamp };
  await writer.apply(documentId, [{ ...increment, clock: { [writer.clientId]: 1 } }]);
  const { body } = await reader.expect({ type: 'delta_batch', documentId });
  const [{ clock, ...rest }] = body.deltas;
  assert.deepEqual(rest, { ...increment, documentId, clientId: writer.clientId });
  assert.equal(clock[writer.clientId], 1);

  const late = await connect();
  await late.subscribe(documentId);
  await reader.subscribe(documentId);
  for (const client of [writer, reader, late]) {
    await upToNow(documentId, writer, client);
  }
  assert.deepEqual([writer, reader, late].map((client) => operationsOf(client, 'counter').length), [0, 1, 0]);
});

scenario(context, 'a count that is sent again is acknowledged and counts once, after a crash too', async () => {
  const { documentId, writer, reader } = await pair();
  const clock = { [writer.clientId]: 1 };
  const count = { type: 'counter', operation: 'decrement', value: 3, timestamp: Date.now(), clock };
  await writer.apply(documentId, [count]);
  await writer.apply(documentId, [count]);
  await reader.expect({ type: 'delta_batch', documentId });
  await upToNow(documentId, writer, reader);
  assert.equal(operationsOf(reader, 'counter').length, 1);

  await context.server.kill9();
  await context.server.start();
  const [again, witness] = [await connect(), await connect()];
  await witness.subscribe(documentId);
  await again.apply(documentId, [{ ...count, clientId: writer.clientId }]);
  await again.apply(documentId, [{ ...count, clientId: writer.clientId, clock: { [writer.clientId]: 2 } }]);
  await witness.expect({ type: 'delta_batch', documentId });
  await upToNow(documentId, again, witness);
  assert.deepEqual(operationsOf(witness, 'counter').map((op) => op.clock[writer.clientId]), [2]);
});

// Sets.

async function edit({ client, replica }, random) {
  for (let count = 0; count < EDITS; count += 1) {
    if (random.chance(OFFLINE_SHARE)) {
      await client.settled();
      await client.goOffline();
    }
    const kind = random.below(10);
    if (kind === 0) {
      replica.clear();
    } else if (kind < 4) {
      replica.remove(random.pick(VALUES));
    } else {
      replica.add(random.pick(VALUES));
    }
    if (!client.isWanted) {
      client.goOnline();
    }
    if (random.chance(0.5)) {
      await client.settled();
    }
  }
  await client.settled();
}

scenario(context, 'sets of four clients, partly without a link, agree with that of a late joiner', async (t) => {
  const random = Random.forTest(t);
  const documentId = unique('document');
  const members = await Promise.all(Array.from({ length: CLIENTS }, () => member(t, documentId, 'set')));
  await Promise.all(members.map((each) => edit(each, random.fork())));
  members[0].replica.add('the last');
  await members[0].client.settled();

  const late = await member(t, documentId, 'set');
  await late.client.until('has the last', () => late.replica.get().includes('the last'));
  const expected = late.replica.get();
  for (const { client, replica } of members) {
    await client.until(`has ${JSON.stringify(expected)}`, () => isDeepStrictEqual(replica.get(), expected));
    assert.deepEqual(client.faults, []);
  }

  await context.server.kill9();
  await context.server.start();
  const later = await member(t, documentId, 'set');
  await later.client.until('has the same', () => isDeepStrictEqual(later.replica.get(), expected));
});

scenario(context, 'of the operations on a value the newest decides, and everybody is told the outcome', async () => {
  const { documentId, writer, reader } = await pair();
  const now = Date.now();
  const set = (operation, value, timestamp) => ({ type: 'set', operation, value, timestamp });
  await writer.apply(documentId, [set('add', 'x', now)]);
  await writer.apply(documentId, [set('remove', 'x', now - 1000)]);
  await writer.apply(documentId, [set('add', 'y', now - 1000)]);
  await writer.apply(documentId, [set('clear', undefined, now - 500)]);
  await writer.apply(documentId, [set('remove', 'x', now + 1)]);
  const last = (message) => message.body.deltas?.some((op) => op.operation === 'remove' && op.value === 'x');
  for (const client of [writer, reader]) {
    await client.expect(last, 'x is removed');
    await upToNow(documentId, writer, client);
    // What each has after applying all it was told, in order.
    const members = new Set();
    for (const { operation, value, clientId } of operationsOf(client, 'set')) {
      assert.equal(clientId, 'server');
      if (operation === 'clear') {
        members.clear();
      } else {
        members[operation === 'add' ? 'add' : 'delete'](value);
      }
    }
    assert.deepEqual([...members], []);
  }
});

scenario(context, 'an operation that loses is answered to its writer with what holds', async () => {
  const { documentId, writer, reader } = await pair();
  const now = Date.now();
  await writer.apply(documentId, [{ type: 'set', operation: 'remove', value: 'x', timestamp: now }]);
  await reader.apply(documentId, [{ type: 'set', operation: 'add', value: 'x', timestamp: now - 1000 }]);
  await upToNow(documentId, writer, reader);
  assert.deepEqual(brief(operationsOf(reader, 'set').at(-1)), ['remove', 'x']);
});

scenario(context, 'a clear is told as a clear with those that are newer', async () => {
  const { documentId, writer, reader } = await pair();
  const now = Date.now();
  await writer.apply(documentId, [
    { type: 'set', operation: 'add', value: 'old', timestamp: now - 1000 },
    { type: 'set', operation: 'add', value: 'new', timestamp: now },
  ]);
  await writer.apply(documentId, [{ type: 'set', operation: 'clear', timestamp: now - 500 }]);
  const isClear = (message) => message.body.deltas?.[0].operation === 'clear';
  for (const client of [writer, reader]) {
    const { body } = await client.expect(isClear, 'a clear');
    assert.deepEqual(body.deltas.map(brief), [['clear'], ['add', 'new']]);
  }
});

scenario(context, 'a late joiner is told the set as one batch after the state and its fields', async () => {
  const { documentId, writer } = await pair();
  await writer.set(documentId, 'field', 1);
  await writer.apply(documentId, VALUES.map((value) => ({ type: 'set', operation: 'add', value })));
  await writer.apply(documentId, [{ type: 'set', operation: 'remove', value: VALUES[0] }]);
  const late = await connect();
  await late.subscribe(documentId);
  const { body } = await late.expect({ type: 'delta_batch', documentId });
  assert.deepEqual(late.history.map(({ type }) => type), ['sync_response', 'delta', 'delta_batch']);
  const [clear, ...adds] = body.deltas.map(brief);
  assert.deepEqual(clear, ['clear']);
  const sorted = (list) => list.map((entry) => JSON.stringify(entry)).sort();
  assert.deepEqual(sorted(adds), sorted(VALUES.slice(1).map((value) => ['add', value])));
});

// Formats.

scenario(context, 'a format goes to the others, and to late joiners as it was written', async () => {
  const { documentId, writer, reader } = await pair();
  const format = {
    type: 'richtext',
    operation: 'format',
    documentId,
    clientId: writer.clientId,
    timestamp: Date.now(),
    opId: unique('fmt'),
    start: 0,
    end: 5,
    attributes: { bold: true, color: '#fff' },
    clock: { [writer.clientId]: 1 },
  };
  await writer.apply(documentId, [format]);
  await writer.apply(documentId, [format]);
  await reader.expect({ type: 'delta_batch', documentId });
  await upToNow(documentId, writer, reader);
  await context.server.kill9();
  await context.server.start();
  const late = await connect();
  await late.subscribe(documentId);
  await late.expect({ type: 'delta_batch', documentId });
  assert.deepEqual([writer, reader, late].map((client) => operationsOf(client, 'richtext')), [[], [format], [format]]);
});

// What is refused.

const INVALID = {
  'a count that is text': { type: 'counter', operation: 'increment', value: '1' },
  'a count beyond 2^53': { type: 'counter', operation: 'increment', value: 2 ** 53 },
  'a count that is neither up nor down': { type: 'counter', operation: 'reset', value: 1 },
  'an addition without a value': { type: 'set', operation: 'add' },
  'a set operation of an unknown kind': { type: 'set', operation: 'toggle', value: 1 },
  'a rich-text operation that is no format': { type: 'richtext', operation: 'paint' },
};

for (const [what, operation] of Object.entries(INVALID)) {
  scenario(context, `${what} is refused, and nothing of its batch is applied`, async () => {
    const { documentId, writer, reader } = await pair();
    writer.writeBatch(documentId, [
      { type: 'set', field: 'a', value: 1 },
      { type: 'counter', operation: 'increment', value: 1 },
      { type: 'set', operation: 'add', value: 'x' },
      operation,
    ]);
    const { body } = await writer.expect({ type: 'error' });
    assert.equal(body.details.code, 'INVALID_OPERATION');
    assert.ok(!writer.history.some(({ type }) => type === 'ack'));
    await upToNow(documentId, writer, reader);
    assert.deepEqual(reader.history.map(({ type }) => type), ['sync_response', 'delta']);
    assert.deepEqual(Object.keys((await reader.read(documentId)).body.state), ['mark']);
  });
}
