// Every example of what a client sends, over a real socket: the answer is the one that was agreed.

import assert from 'node:assert/strict';
import { after, before } from 'node:test';

import { scenario } from './lib/deadline.mjs';
import { RawClient } from './lib/raw.mjs';
import { Server } from './lib/server.mjs';
import { vectors } from './lib/vectors.mjs';

const NO_ANSWER = null;

/** What each type is answered with. */
const ANSWERS = {
  ack: NO_ANSWER,
  awareness_subscribe: 'awareness_state',
  awareness_update: NO_ANSWER,
  connect: NO_ANSWER,
  delta: 'ack',
  delta_batch: 'ack',
  ping: 'pong',
  pong: NO_ANSWER,
  subscribe: 'sync_response',
  sync_request: 'sync_response',
  sync_step1: 'sync_step2',
  unsubscribe: NO_ANSWER,
};

/** Frames a parser may refuse, and this server takes. */
const TOLERATED = { invalid_json_no_id: 'pong', invalid_json_zero_timestamp: 'pong' };

const sent = vectors.frames.filter(({ direction }) => direction === 'c2s');
const chunks = sent.filter(({ name }) => name.startsWith('chunk_'));
const logins = sent.filter(({ decoded }) => decoded?.type === 'auth');
const plain = sent.filter((vector) => !chunks.includes(vector) && !logins.includes(vector));

const context = {};

before(async () => {
  context.server = await Server.onNewDatabase();
});

after(() => context.server?.stop());

function connect() {
  return RawClient.connect(context.server.wsUrl);
}

/** The frame as it goes over the wire: a string is a text frame. */
function data({ framing, text, hex }) {
  return framing === 'json-text' ? text : Buffer.from(hex, 'hex');
}

/** The connection still works, and nothing was refused. */
async function assertNoError(client) {
  await client.ping();
  const errors = client.history.filter(({ type }) => type === 'error');
  assert.deepEqual(errors.map(({ text }) => text), []);
  await client.close();
}

for (const vector of plain) {
  const { name, decoded } = vector;
  const answer = decoded === null ? (TOLERATED[name] ?? 'error') : ANSWERS[decoded.type];
  scenario(context, `${name} is answered with ${answer ?? 'nothing'}`, async () => {
    const client = await connect();
    client.sendFrame(data(vector));
    if (answer === 'error') {
      const { body } = await client.expect({ type: 'error' });
      assert.equal(typeof body.details.code, 'string');
      await client.ping();
      await client.close();
      return;
    }
    if (answer === 'ack') {
      await client.expect({ type: answer, messageId: decoded.messageId ?? decoded.id });
    } else if (answer !== NO_ANSWER) {
      const { body } = await client.expect({ type: answer });
      assert.equal(body.documentId, decoded?.documentId);
    }
    await assertNoError(client);
  });
}

for (const vector of logins) {
  // Without authentication a token says nothing.
  scenario(context, `${vector.name} is let in`, async () => {
    const client = await connect();
    client.sendFrame(data(vector));
    const { body } = await client.expect({ type: 'auth_success' });
    assert.equal(body.userId, 'anonymous');
    await assertNoError(client);
  });
}

for (const order of [chunks, [...chunks].reverse()]) {
  const names = order.map(({ name }) => name).join(' and ');
  scenario(context, `${names} are put together and applied as one batch`, async () => {
    const client = await connect();
    order.forEach((vector) => client.sendFrame(data(vector)));
    await client.expect({ type: 'ack', messageId: 'msg-c1' });
    await assertNoError(client);
  });
}
