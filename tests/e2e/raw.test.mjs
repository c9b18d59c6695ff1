// What the protocol has and the published client never uses.

import assert from 'node:assert/strict';
import { after, before } from 'node:test';

import { scenario } from './lib/deadline.mjs';
import { memberText, members } from './lib/json-text.mjs';
import { CODES, RawClient, frame, stateText, unique } from './lib/raw.mjs';
import { Server } from './lib/server.mjs';

const TOMBSTONE = { __deleted: true };

/** The older code of delta_batch, which servers of other makes use. */
const OLD_BATCH_CODE = 0x22;

const context = {};

before(async () => {
  context.server = await Server.onNewDatabase();
});

after(() => context.server?.stop());

function connect(framing) {
  return RawClient.connect(context.server.wsUrl, framing);
}

/** A writer and a reader that has subscribed to a new document. */
async function pair(writerFraming, readerFraming) {
  const documentId = unique('document');
  const [writer, reader] = [await connect(writerFraming), await connect(readerFraming)];
  const { body } = await reader.subscribe(documentId);
  assert.deepEqual(body.state, {});
  assert.deepEqual(body.clock, {});
  return { documentId, writer, reader };
}

scenario(context, 'a deleted field reaches subscribers and is absent for late joiners', async () => {
  const { documentId, writer, reader } = await pair();
  await writer.set(documentId, 'kept', 1);
  await writer.set(documentId, 'gone', 1);
  await writer.set(documentId, 'gone', TOMBSTONE);
  await reader.expect({ type: 'delta', field: 'gone', value: TOMBSTONE });

  const late = await connect();
  assert.deepEqual((await late.subscribe(documentId)).body.state, { kept: 1 });
  await late.expect({ type: 'delta', field: 'kept' });
  await late.ping();
  assert.ok(!late.history.some(({ body }) => body.field === 'gone'), 'the tombstone is not replayed');

  await writer.set(documentId, 'gone', 'back');
  await late.expect({ type: 'delta', field: 'gone', value: 'back' });
});

scenario(context, 'a subscription is answered with the state, then one delta for each field', async () => {
  const { documentId, writer } = await pair();
  await writer.set(documentId, 'a', 1);
  await writer.set(documentId, 'b', null);

  const late = await connect();
  const { body } = await late.subscribe(documentId);
  assert.deepEqual(body.state, { a: 1, b: null });
  assert.deepEqual(body.deltas, []);
  await late.expect({ type: 'delta', documentId, field: 'a', value: 1 });
  await late.expect({ type: 'delta', documentId, field: 'b', value: null });
  assert.equal(late.history[0].type, 'sync_response');
  for (const { body: delta } of late.history.slice(1)) {
    assert.equal(Math.max(...Object.values(delta.clock)), Math.max(...Object.values(body.clock)));
    assert.equal(delta.clientId, 'server');
  }
});

scenario(context, 'a sync_request is answered under its id', async () => {
  const { documentId, writer, reader } = await pair();
  await writer.set(documentId, 'a', [1, 2]);
  reader.send('sync_request', { id: 'request-7', documentId, vectorClock: {} });
  const { body } = await reader.expect({ type: 'sync_response', requestId: 'request-7' });
  assert.deepEqual(body.state, { a: [1, 2] });
  assert.ok(body.clock.server > 0);
});

scenario(context, 'reading an unknown document is no error', async () => {
  const client = await connect();
  const { body } = await client.read(unique('never-written'));
  assert.deepEqual(body.state, {});
});

scenario(context, 'an ack names the message it is for', async () => {
  const { documentId, writer } = await pair();
  writer.send('delta', { documentId, field: 'a', value: 1, clock: {}, messageId: 'by-message-id' });
  await writer.expect({ type: 'ack', messageId: 'by-message-id' });
  writer.send('delta', { id: 'by-id', documentId, field: 'b', value: 1 });
  await writer.expect({ type: 'ack', messageId: 'by-id' });
});

scenario(context, 'every subscriber gets a change, its writer too', async () => {
  const { documentId, writer, reader } = await pair();
  await writer.set(documentId, 'a', 1);
  for (const client of [writer, reader]) {
    const { body } = await client.expect({ type: 'delta', documentId, field: 'a', value: 1 });
    assert.ok(body.clock.server > 0);
    assert.equal(body.clientId, 'server');
  }
});

scenario(context, 'stamps never go back and never exceed the server entry', async () => {
  const { documentId, writer, reader } = await pair();
  for (let value = 0; value < 10; value += 1) {
    await writer.set(documentId, 'a', value);
  }
  await reader.expect({ type: 'delta', field: 'a', value: 9 });
  const stamps = reader.history.filter(({ type }) => type === 'delta').map(({ body }) => body.clock);
  stamps.forEach((clock, index) => {
    assert.equal(Math.max(...Object.values(clock)), clock.server);
    assert.ok(index === 0 || clock.server >= stamps[index - 1].server);
  });
});

scenario(context, 'after unsubscribe nothing more arrives', async () => {
  const { documentId, writer, reader } = await pair();
  reader.send('unsubscribe', { documentId });
  await reader.ping();
  await writer.set(documentId, 'a', 1);
  await reader.ping();
  assert.ok(!reader.history.some(({ type }) => type === 'delta'));
});

scenario(context, 'an older write loses, whenever it arrives, and is acknowledged', async () => {
  const { documentId, writer, reader } = await pair();
  const now = Date.now();
  const newer = writer.write(documentId, 'a', 'newer', { timestamp: now });
  await writer.expect({ type: 'ack', messageId: newer });
  const older = writer.write(documentId, 'a', 'older', { timestamp: now - 1000 });
  await writer.expect({ type: 'ack', messageId: older });
  assert.deepEqual((await reader.read(documentId)).body.state, { a: 'newer' });
});

for (const framing of ['text', 'json-in-binary']) {
  scenario(context, `${framing} is answered with JSON text frames of flat members`, async () => {
    const { documentId, writer, reader } = await pair(framing, framing);
    await writer.set(documentId, 'a', { b: 1 });
    await reader.expect({ type: 'delta', documentId, field: 'a', value: { b: 1 } });
    await reader.ping();
    for (const { kind, body } of [...writer.history, ...reader.history]) {
      assert.equal(kind, 'text');
      assert.equal(typeof body.id, 'string');
      assert.equal(typeof body.timestamp, 'number');
      assert.equal(body.payload, undefined);
    }
  });
}

scenario(context, 'JSON with the members in a payload object is understood', async () => {
  const { documentId, reader } = await pair();
  const writer = await connect('text');
  const payload = { type: 'set', documentId, field: 'a', value: 1, clock: { c: 7 }, clientId: 'c', messageId: 'm' };
  writer.sendFrame(JSON.stringify({ type: 'delta', id: 'outer', timestamp: Date.now(), payload }));
  await writer.expect({ type: 'ack', messageId: 'm' });
  await reader.expect({ type: 'delta', field: 'a', value: 1 });
});

scenario(context, 'JSON without an id and with a zero timestamp is understood', async () => {
  const client = await connect('text');
  client.sendFrame('{"type":"ping"}');
  await client.expect({ type: 'pong' });
  client.sendFrame(' \n{"type":"ping","timestamp":0}');
  await client.expect({ type: 'pong' });
});

scenario(context, 'clients of all framings share one document', async () => {
  const documentId = unique('document');
  const clients = await Promise.all(['binary', 'text', 'json-in-binary'].map(connect));
  for (const client of clients) {
    await client.subscribe(documentId);
  }
  for (const writer of clients) {
    await writer.set(documentId, writer.framing, 'é😀');
    for (const reader of clients) {
      await reader.expect({ type: 'delta', field: writer.framing, value: 'é😀' });
    }
  }
});

scenario(context, 'the answers follow the framing of the last message', async () => {
  const client = await connect();
  assert.equal((await client.ping()).kind, 'binary');
  client.framing = 'text';
  assert.equal((await client.ping()).kind, 'text');
  client.framing = 'binary';
  assert.equal((await client.ping()).kind, 'binary');
});

scenario(context, 'the server says nothing before the client does', async () => {
  const client = await connect();
  assert.equal((await client.ping()).kind, 'binary');
  assert.equal(client.history.length, 1);
});

scenario(context, 'a delta with several fields changes all of them', async () => {
  const { documentId, writer, reader } = await pair();
  await writer.set(documentId, 'c', 'old');
  const delta = { a: 1, b: { nested: [true] }, c: TOMBSTONE };
  writer.send('delta', { id: 'several', documentId, delta, vectorClock: {} });
  await writer.expect({ type: 'ack', messageId: 'several' });
  for (const [field, value] of Object.entries(delta)) {
    await reader.expect({ type: 'delta', field, value });
  }
  assert.deepEqual((await reader.read(documentId)).body.state, { a: 1, b: { nested: [true] } });
});

for (const code of [CODES.delta_batch, OLD_BATCH_CODE]) {
  scenario(context, `a delta_batch with code 0x${code.toString(16)} is applied in its order`, async () => {
    const { documentId, writer, reader } = await pair();
    const timestamp = Date.now();
    const op = (count, field, value) => ({
      type: 'set',
      documentId,
      field,
      value,
      clock: { c: count },
      clientId: 'c',
      timestamp,
    });
    const deltas = [op(1, 'a', 'first'), op(2, 'b', 2), op(3, 'a', 'last')];
    writer.sendFrame(frame(code, JSON.stringify({ documentId, deltas, messageId: 'batch' })));
    await writer.expect({ type: 'ack', messageId: 'batch' });
    await reader.expect({ type: 'delta', field: 'a', value: 'last' });
    await reader.expect({ type: 'delta', field: 'b', value: 2 });
    assert.deepEqual((await reader.read(documentId)).body.state, { a: 'last', b: 2 });
  });
}

scenario(context, 'a write that is sent again is acknowledged and changes nothing', async () => {
  const { documentId, writer, reader } = await pair();
  const op = { documentId, field: 'a', value: 'once', clock: { c: 1 }, clientId: 'c', timestamp: Date.now() };
  writer.send('delta', { ...op, messageId: 'first' });
  await writer.expect({ type: 'ack', messageId: 'first' });
  await writer.set(documentId, 'b', 'between');
  writer.send('delta', { ...op, messageId: 'again' });
  await writer.expect({ type: 'ack', messageId: 'again' });
  assert.deepEqual((await reader.read(documentId)).body.state, { a: 'once', b: 'between' });
});

scenario(context, 'sync_step1 is answered with an empty sync_step2', async () => {
  const client = await connect();
  const documentId = unique('document');
  client.send('sync_step1', { documentId, stateVector: {} });
  const { body } = await client.expect({ type: 'sync_step2', documentId });
  assert.deepEqual(body.operations, []);
});

scenario(context, 'bytes after the announced payload are ignored', async () => {
  const client = await connect();
  client.sendFrame(Buffer.concat([frame(CODES.ping, '{}'), Buffer.from('garbage')]));
  await client.expect({ type: 'pong' });
});

scenario(context, 'the path / takes clients that were configured without one', async () => {
  const client = await RawClient.connect(context.server.wsUrl.replace(/\/ws$/, '/'));
  await client.ping();
});

const EXACT_VALUES = {
  'an escaped NUL': '"\\u0000"',
  'a lone high surrogate': '"\\ud800"',
  'a lone low surrogate': '"x\\udfffx"',
  'escapes as they were spelled': '"\\u00e9\\/\\u0041"',
  'a number beyond the range of a double': '1e400',
  'an integer beyond 64 bits of sign': '9223372036854775808',
  'an integer no double can hold': '9007199254740993',
  'a number with needless digits': '0.1e-7',
  'a decimal with trailing zeros': '1.10',
  'a negative zero': '-0',
  'the members in their order': '{"z":1,"a":2,"10":3,"9":4}',
  'repeated members': '{"a":1,"a":2}',
  'a member called __proto__': '{"__proto__":{"polluted":true},"constructor":1}',
  'a nested mixture': '[{"__proto__":null},1e400,"\\u0000",{"a":-0,"a":1.0}]',
};

scenario(context, 'values keep the exact text in which they were written', async () => {
  const { documentId, writer, reader } = await pair();
  for (const [what, valueText] of Object.entries(EXACT_VALUES)) {
    await writer.setText(documentId, what, valueText);
    const delta = await reader.expect({ type: 'delta', field: what });
    assert.equal(memberText(delta.text, 'value'), valueText, `${what}, to subscribers`);
  }
  // From memory and, after a restart, from the database.
  for (const when of ['live', 'restarted']) {
    const late = await connect();
    const response = await late.subscribe(documentId);
    for (const [what, valueText] of Object.entries(EXACT_VALUES)) {
      assert.equal(stateText(response, what), valueText, `${what}, in the state, ${when}`);
      const delta = await late.expect({ type: 'delta', field: what });
      assert.equal(memberText(delta.text, 'value'), valueText, `${what}, replayed, ${when}`);
    }
    if (when === 'live') {
      await context.server.terminate();
      await context.server.start();
    }
  }
});

scenario(context, 'JSON framing keeps the exact text too', async () => {
  const { documentId, writer, reader } = await pair('text', 'text');
  for (const [what, valueText] of Object.entries(EXACT_VALUES)) {
    await writer.setText(documentId, what, valueText);
    const delta = await reader.expect({ type: 'delta', field: what });
    assert.equal(memberText(delta.text, 'value'), valueText, what);
  }
});

scenario(context, 'a field may have any name', async () => {
  const { documentId, writer, reader } = await pair();
  const names = ['', '__proto__', 'constructor', 'a.b', 'ä 😀', '"', 'toString'];
  for (const name of names) {
    await writer.setText(documentId, name, `"value of ${names.indexOf(name)}"`);
    await reader.expect({ type: 'delta', field: name, value: `value of ${names.indexOf(name)}` });
  }
  const response = await reader.read(documentId);
  const state = members(memberText(response.text, 'state'));
  const expected = names.map((name, index) => [name, `"value of ${index}"`]);
  assert.deepEqual(state.sort(), expected.sort());
});
