// Whatever a client sends, it gets an answer it can act on, and nobody else notices.

import assert from 'node:assert/strict';
import { after, before } from 'node:test';

import { scenario, within } from './lib/deadline.mjs';
import { CODES, RawClient, frame, unique } from './lib/raw.mjs';
import { Server } from './lib/server.mjs';

/** The default limit of the server for one message. */
const FRAME_BYTES_MAX = 16 * 1024 * 1024;

const TOO_LARGE = 1009;

/** What a client sees when the connection ended before the close frame could be read. */
const NO_CLOSE_FRAME = 1006;

const context = {};

before(async () => {
  context.server = await Server.onNewDatabase();
});

after(() => context.server?.stop());

function connect() {
  return RawClient.connect(context.server.wsUrl);
}

const document = () => unique('document');

function delta(members) {
  return frame(CODES.delta, JSON.stringify({ documentId: document(), field: 'a', value: 1, ...members }));
}

function subscribe(documentId) {
  return frame(CODES.subscribe, JSON.stringify({ documentId }));
}

function batch(deltas) {
  return frame(CODES.delta_batch, JSON.stringify({ documentId: 'envelope', deltas, messageId: 'batch' }));
}

/** A header that announces `announced` bytes in front of a payload of another length. */
function lyingFrame(announced) {
  const lie = frame(CODES.ping, '{}');
  lie.writeUInt32BE(announced, 9);
  return lie;
}

const deep = (levels) => '['.repeat(levels) + ']'.repeat(levels);

const REFUSED = {
  'an unknown type code': frame(0x77, '{}'),
  'a type code only a server uses': frame(CODES.auth_success, '{"userId":"me"}'),
  'broken JSON in a frame': frame(CODES.ping, '{x}'),
  'a payload that is no object': frame(CODES.subscribe, '["documentId"]'),
  'a payload that is not UTF-8': Buffer.concat([lyingFrame(4).subarray(0, 13), Buffer.from([0x7b, 0x22, 0xff, 0x7d])]),
  'an empty frame': Buffer.alloc(0),
  'a header that ends too early': frame(CODES.ping, '').subarray(0, 12),
  'a length beyond the frame': lyingFrame(50),
  'the longest length there is': lyingFrame(0xffffffff),
  'broken JSON in a text frame': 'not json',
  'JSON text without a type': '{"id":"a","timestamp":1}',
  'JSON text of an unknown type': '{"type":"dance","id":"a","timestamp":1}',
  'JSON text that is no object': '["ping"]',
  'broken JSON after a brace in a binary frame': Buffer.from('{"type":'),
  'a subscribe without documentId': frame(CODES.subscribe, '{}'),
  'a sync_request without documentId': frame(CODES.sync_request, '{}'),
  'a delta without documentId': delta({ documentId: undefined }),
  'a documentId that is a number': subscribe(5),
  'a documentId that is null': subscribe(null),
  'a delta for a documentId that is a number': delta({ documentId: 5 }),
  'an empty documentId': subscribe(''),
  'a documentId with a space': subscribe('a b'),
  'a documentId with a slash': subscribe('../etc'),
  'a documentId beyond ASCII': subscribe('dokumént'),
  'a documentId of 257 bytes': subscribe('x'.repeat(257)),
  'a delta with a documentId outside the rule': delta({ documentId: 'a b' }),
  'a delta without a field': delta({ field: undefined, value: undefined }),
  'a field that is a number': delta({ field: 5 }),
  'a field name of 501 bytes': delta({ field: 'x'.repeat(501) }),
  'a field name with a NUL': delta({ field: 'a\u0000b' }),
  'an empty delta object': delta({ field: undefined, value: undefined, delta: {} }),
  'a delta that is an array': delta({ field: undefined, value: undefined, delta: [1] }),
  'a clock that is a number': delta({ clock: 5, clientId: 'c' }),
  'a counter above 2^48': delta({ clock: { c: 2 ** 48 + 1 }, clientId: 'c' }),
  'a negative counter': delta({ clock: { c: -1 }, clientId: 'c' }),
  'a fractional counter': delta({ clock: { c: 1.5 }, clientId: 'c' }),
  'a counter that is text': delta({ clock: { c: '1' }, clientId: 'c' }),
  'a clientId that is a number': delta({ clientId: 5 }),
  'a value nested 65 deep': frame(
    CODES.delta,
    `{"documentId":"${document()}","field":"a","value":${deep(65)}}`,
  ),
  'nesting that would exhaust a stack': frame(
    CODES.delta,
    `{"documentId":"${document()}","field":"a","value":${deep(100_000)}}`,
  ),
  'an empty delta_batch': batch([]),
  'a delta_batch without deltas': batch(undefined),
  'a delta_batch whose deltas are no array': batch({ 0: {} }),
  'a delta_batch with an op that is no object': batch([5]),
  'a delta_batch with an op for another document': batch([
    { type: 'set', documentId: 'another', field: 'a', value: 1, clock: { c: 1 }, clientId: 'c', timestamp: 1 },
  ]),
  'presence without documentId': frame(CODES.awareness_subscribe, '{}'),
  'presence whose state is text': frame(
    CODES.awareness_update,
    JSON.stringify({ documentId: document(), clientId: 'c', state: 'here', clock: 1 }),
  ),
};

for (const [what, sent] of Object.entries(REFUSED)) {
  scenario(context, `${what} is refused with a code, and the connection goes on`, async () => {
    const [client, witness] = [await connect(), await connect()];
    await witness.subscribe('envelope');

    client.sendFrame(sent);
    const { body } = await client.expect({ type: 'error' });
    assert.equal(typeof body.error, 'string');
    assert.equal(typeof body.details?.code, 'string', JSON.stringify(body));
    assert.notEqual(body.details.code, '');

    await client.ping();
    assert.ok(!client.history.some(({ type }) => type === 'ack'), 'what was refused is not acknowledged');
    await witness.ping();
    assert.deepEqual(witness.history.map(({ type }) => type), ['sync_response', 'pong']);
    await Promise.all([client.close(), witness.close()]);
  });
}

scenario(context, 'a batch with one bad op changes nothing', async () => {
  const client = await connect();
  const documentId = document();
  const op = (field, counter) => ({
    type: 'set',
    documentId,
    field,
    value: 1,
    clock: { c: counter },
    clientId: 'c',
    timestamp: Date.now(),
  });
  client.send('delta_batch', { documentId, deltas: [op('good', 1), op('bad', -1)], messageId: 'batch' });
  await client.expect({ type: 'error' });
  assert.deepEqual((await client.read(documentId)).body.state, {});
  await client.close();
});

scenario(context, 'the largest values within the limits are accepted', async () => {
  const client = await connect();
  const documentId = 'x'.repeat(256);
  await client.set(documentId, 'n'.repeat(500), 'v'.repeat(1_000_000));
  const messageId = client.write(documentId, 'a', 1, { clock: { c: 2 ** 48 }, clientId: 'c' });
  await client.expect({ type: 'ack', messageId });
  await client.close();
});

scenario(context, 'an oversized message is refused as soon as its length is known', async () => {
  const [client, witness] = [await connect(), await connect()];
  // The header of a masked binary WebSocket frame that announces one byte too many.
  const header = Buffer.alloc(14);
  header[0] = 0x82;
  header[1] = 0xff;
  header.writeBigUInt64BE(BigInt(FRAME_BYTES_MAX + 1), 2);
  client.socket._socket.write(header);
  const { code } = await within(client.closed, 'the connection is closed');
  assert.equal(code, TOO_LARGE);
  await witness.ping();
  await witness.close();
});

scenario(context, 'an oversized message that is sent to its end closes that connection only', async () => {
  const [client, witness] = [await connect(), await connect()];
  client.sendFrame(Buffer.alloc(FRAME_BYTES_MAX + 1));
  const { code } = await within(client.closed, 'the connection is closed');
  // The reset of a connection that still sends can overtake the close frame.
  assert.ok([TOO_LARGE, NO_CLOSE_FRAME].includes(code), `closed with ${code}`);
  await witness.ping();
  assert.equal(witness.history.length, 1);
  await witness.close();
});
