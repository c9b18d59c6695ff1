// Text documents: whatever was typed where, in the end everybody reads the same.

import assert from 'node:assert/strict';
import { after, before } from 'node:test';

import { scenario } from './lib/deadline.mjs';
import { FugueText } from './lib/fugue.mjs';
import { Random } from './lib/random.mjs';
import { RawClient, unique } from './lib/raw.mjs';
import { Sdk030 } from './lib/sdk030.mjs';
import { Server } from './lib/server.mjs';
import { vectors } from './lib/vectors.mjs';

/** The SDK's first delay only slows the test. */
const RECONNECT_MS = 50;

const TYPISTS = 4;
const EDITS = 25;
const OFFLINE_SHARE = 0.1;
const DELETE_SHARE = 0.3;
const DELETED_CLUSTERS_MAX = 4;

const WORDS = ['Hello', ' ', 'é', 'e\u0301', '👩‍👩‍👧', '中文', '🇩🇪🇫🇷', 'नमस्ते', '\n', '"\\', '\u0000'];

const context = {};

before(async () => {
  context.server = await Server.onNewDatabase();
});

after(() => context.server?.stop());

function connect() {
  return RawClient.connect(context.server.wsUrl);
}

async function typist(t, documentId) {
  const client = await Sdk030.connect(context.server.wsUrl, { reconnectMs: RECONNECT_MS });
  t.after(() => client.dispose());
  const text = client.replica(documentId, 'text');
  await client.synced(documentId);
  return { client, text };
}

/** What a late joiner is given. */
async function given(documentId) {
  const reader = await connect();
  const { body } = await reader.subscribe(documentId);
  await reader.close();
  assert.equal(typeof body.textClock, 'number');
  return FugueText.parse(body.textState);
}

async function untilEqual(typists, expected) {
  for (const { client, text } of typists) {
    await client.until(`reads ${JSON.stringify(expected)}`, () => text.get() === expected);
    assert.deepEqual(client.faults, []);
  }
}

const textState = (fugue, more = {}) => ({ type: 'text-state', state: fugue.state(), ...more });

scenario(context, 'two who type at the same time, and one who comes later, read the same', async (t) => {
  const documentId = unique('document');
  const [alice, bob] = [await typist(t, documentId), await typist(t, documentId)];
  alice.text.insert(0, 'Grüße 👩‍👩‍👧');
  bob.text.insert(0, '中文 e\u0301');
  await Promise.all([alice.client.settled(), bob.client.settled()]);

  const expected = (await given(documentId)).text();
  assert.ok(expected.includes('Grüße 👩‍👩‍👧') && expected.includes('中文 e\u0301'), expected);
  await untilEqual([alice, bob], expected);
  const carol = await typist(t, documentId);
  assert.equal(carol.text.get(), expected);
  carol.text.delete(0, 2);
  await carol.client.settled();
  await untilEqual([alice, bob, carol], (await given(documentId)).text());
});

async function type({ client, text }, random) {
  for (let edit = 0; edit < EDITS; edit += 1) {
    if (random.chance(OFFLINE_SHARE)) {
      await client.settled();
      await client.goOffline();
    }
    const length = text.fugue.length();
    if (length > 0 && random.chance(DELETE_SHARE)) {
      const position = random.below(length);
      text.delete(position, 1 + random.below(Math.min(DELETED_CLUSTERS_MAX, length - position)));
    } else {
      text.insert(random.pick(text.fugue.boundaries()), random.pick(WORDS));
    }
    if (!client.isWanted) {
      client.goOnline();
    }
    // Some edits share a batch, others do not.
    if (random.chance(0.5)) {
      await client.settled();
    }
  }
  await client.settled();
}

scenario(context, 'random edits of four typists, partly without a link, converge and outlive the server', async (t) => {
  const random = Random.forTest(t);
  const documentId = unique('document');
  const typists = await Promise.all(Array.from({ length: TYPISTS }, () => typist(t, documentId)));
  await Promise.all(typists.map((each) => type(each, random.fork())));
  const written = await given(documentId);
  await untilEqual(typists, written.text());

  await context.server.kill9();
  await context.server.start();
  assert.deepEqual(JSON.parse((await given(documentId)).state()), JSON.parse(written.state()));
  await Promise.all(typists.map(({ client }) => client.synced(documentId)));
  typists[0].text.insert(0, 'still here');
  await typists[0].client.settled();
  await untilEqual(typists, (await given(documentId)).text());
});

for (const { name, a, b, expected_join: joined, expected_text: expected } of vectors.fugue_join) {
  for (const [order, states] of [['in this order', [a, b]], ['the other way round', [b, a]]]) {
    scenario(context, `${name}, ${order}, is joined as agreed`, async () => {
      const documentId = unique('document');
      const writer = await connect();
      for (const state of states) {
        await writer.apply(documentId, [{ type: 'text-state', state: JSON.stringify(state) }]);
      }
      const { body } = await writer.read(documentId);
      const { blocks, clock } = JSON.parse(body.textState);
      assert.deepEqual({ blocks, clock }, { blocks: joined.blocks, clock: joined.clock });
      assert.equal(FugueText.parse(body.textState).text(), expected);
      await writer.close();
    });
  }
}

scenario(context, 'a joined text goes to everybody, its writer too, in the name of the server', async () => {
  const documentId = unique('document');
  const [writer, reader] = [await connect(), await connect()];
  await reader.subscribe(documentId);
  const fugue = new FugueText(writer.clientId);
  fugue.insert(0, 'Hallo');
  const timestamp = Date.now();
  await writer.apply(documentId, [textState(fugue, { timestamp })]);
  for (const client of [writer, reader]) {
    const { body } = await client.expect({ type: 'delta_batch', documentId });
    assert.equal(body.isTextOperation, true);
    const [{ state, clock, ...rest }] = body.deltas;
    assert.deepEqual(rest, { type: 'text-state', documentId, clientId: 'server', timestamp });
    assert.equal(FugueText.parse(state).text(), 'Hallo');
    assert.ok(clock.server > 0);
  }
  const { body } = await reader.read(documentId);
  assert.equal(body.textClock, timestamp);
  assert.deepEqual(body.state, {});
});

scenario(context, 'a document may have fields and a text', async (t) => {
  const documentId = unique('document');
  const { client, text } = await typist(t, documentId);
  client.replica(documentId, 'fields').set('title', 'x');
  text.insert(0, 'body');
  await client.settled();
  const late = await connect();
  const { body } = await late.subscribe(documentId);
  assert.deepEqual(body.state, { title: 'x' });
  assert.equal(FugueText.parse(body.textState).text(), 'body');
  assert.deepEqual(client.faults, []);
});

scenario(context, 'a text that is sent again is acknowledged and brings nothing back', async () => {
  const documentId = unique('document');
  const writer = await connect();
  const fugue = new FugueText(writer.clientId);
  fugue.insert(0, 'gone');
  const first = textState(fugue, { clock: { [writer.clientId]: 1 }, timestamp: Date.now() });
  await writer.apply(documentId, [first]);
  fugue.delete(0, 4);
  await writer.apply(documentId, [textState(fugue, { clock: { [writer.clientId]: 2 } })]);
  await writer.apply(documentId, [first]);
  assert.equal((await given(documentId)).text(), '');
});

const nodeId = (client_id, clock, offset = 0) => ({ client_id, clock, offset });

function stateOf(entries, value = 9) {
  const blocks = entries.map(({ key, id = nodeId('c', 2), text = 'ab', ...rest }) => [
    key ?? id,
    { id, text, left_origin: null, right_origin: null, deleted: false, ...rest },
  ]);
  return JSON.stringify({ blocks, clock: { value }, client_id: 'c' });
}

const FAULTY = {
  'no JSON': '{"blocks":',
  'no object': '[]',
  'no blocks': '{"clock":{"value":1},"client_id":"c"}',
  'a key that is not the id of its block': stateOf([{ key: nodeId('c', 3) }]),
  'an offset': stateOf([{ id: nodeId('c', 2, 1) }]),
  'a block without text': stateOf([{ text: '' }]),
  'more clusters than its clock counts': stateOf([{ text: 'abc' }]),
  'blocks that overlap': stateOf([{ id: nodeId('c', 2) }, { id: nodeId('c', 3) }]),
  'a clock above what is counted exactly': stateOf([{}], 2 ** 53),
};

for (const [what, state] of Object.entries(FAULTY)) {
  scenario(context, `a text with ${what} is refused, and nothing of its batch is applied`, async () => {
    const documentId = unique('document');
    const client = await connect();
    const messageId = client.writeBatch(documentId, [
      { type: 'set', field: 'a', value: 1 },
      { type: 'text-state', state },
    ]);
    const { body } = await client.expect({ type: 'error' });
    assert.equal(body.details.code, 'INVALID_OPERATION');
    assert.equal(body.details.messageId, messageId);
    const answer = await client.read(documentId);
    assert.deepEqual(answer.body.state, {});
    assert.equal(answer.body.textState, undefined);
    assert.ok(!client.history.some(({ type: sent }) => sent === 'ack'));
    await client.close();
  });
}

scenario(context, 'a text whose clock would leave the others no numbers is refused', async () => {
  const documentId = unique('document');
  const client = await connect();
  client.writeBatch(documentId, [{ type: 'text-state', state: stateOf([{}], 2 ** 48 + 1) }]);
  const { body } = await client.expect({ type: 'error' });
  assert.equal(body.details.code, 'INVALID_CLOCK');
  assert.equal((await client.read(documentId)).body.textState, undefined);
  await client.close();
});

const UNSUPPORTED = {
  'an insertion by position': { type: 'text', operation: 'insert', position: 0, value: 'x' },
  'a deletion by position': { type: 'text', operation: 'delete', position: 0, value: 1 },
  'an operation of an unknown type': { type: 'dance', value: 1 },
};

for (const [what, operation] of Object.entries(UNSUPPORTED)) {
  scenario(context, `${what} is refused as not supported`, async () => {
    const documentId = unique('document');
    const client = await connect();
    client.writeBatch(documentId, [{ type: 'set', field: 'a', value: 1 }, operation]);
    const { body } = await client.expect({ type: 'error' });
    assert.equal(body.details.code, 'UNSUPPORTED_OPERATION');
    assert.deepEqual((await client.read(documentId)).body.state, {});
    assert.ok(!client.history.some(({ type: sent }) => sent === 'ack'));
    await client.close();
  });
}
