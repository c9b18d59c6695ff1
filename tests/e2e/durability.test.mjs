// What was acknowledged is there after the server died.

import assert from 'node:assert/strict';
import { after, before } from 'node:test';

import { scenario, within } from './lib/deadline.mjs';
import { Random } from './lib/random.mjs';
import { RawClient, unique } from './lib/raw.mjs';
import { SdkClient, closeAllSockets, untilShown } from './lib/sdk.mjs';
import { Server } from './lib/server.mjs';

const WRITERS = 4;

/** Enough for the server to have commits in flight whenever it is killed. */
const UNACKNOWLEDGED_MAX = 64;

const KILLS = 3;

/** After how many acks the server dies: early and late, but not so late that the test gets slow. */
const ACKS_MIN = 50;
const ACKS_MAX = 1500;

/** A small document for the published client, which takes long to show a large one. */
const FEW_FIELDS = 5;

const context = {};

before(async () => {
  context.server = await Server.onNewDatabase();
});

after(async () => {
  closeAllSockets();
  await context.server?.stop();
});

/** Writes as fast as the server acknowledges, and keeps what was acknowledged. */
class Writer {
  constructor(client, documents) {
    this.client = client;
    this.documents = documents;
    this.count = 0;
    this.pending = new Map();
    this.acknowledged = [];
    this.refused = [];
  }

  run(onAck) {
    this.client.socket.on('message', () => {
      const { type, body } = this.client.history.at(-1);
      if (type === 'error') {
        this.refused.push(body);
      }
      if (type === 'ack') {
        this.acknowledged.push(this.pending.get(body.messageId));
        this.pending.delete(body.messageId);
        onAck();
        this.fill();
      }
    });
    this.fill();
  }

  stop() {
    this.stopped = true;
  }

  fill() {
    while (!this.stopped && this.pending.size < UNACKNOWLEDGED_MAX) {
      const number = this.count;
      this.count += 1;
      // One field of its own for each number, and one that every second write overwrites.
      const { clientId } = this.client;
      const write =
        number % 2 === 0
          ? { documentId: this.documents.shared, field: `${clientId}-${number}`, value: { number } }
          : { documentId: this.documents.few, field: `last-${clientId}`, value: number };
      const messageId = this.client.write(write.documentId, write.field, write.value);
      this.pending.set(messageId, write);
    }
  }
}

/** Lets the writers write until `acks` edits are acknowledged; then `end` ends the server. */
async function writeUntil(acks, documents, end) {
  const writers = [];
  for (let index = 0; index < WRITERS; index += 1) {
    writers.push(new Writer(await RawClient.connect(context.server.wsUrl), documents));
  }
  let count = 0;
  let reached;
  const enough = new Promise((resolve) => {
    reached = resolve;
  });
  const onAck = () => {
    count += 1;
    if (count === acks) {
      reached();
    }
  };
  writers.forEach((writer) => writer.run(onAck));
  await within(enough, `${acks} acks`, () => `${count} arrived\n${writers[0].client.shown()}`);
  const result = await end();
  writers.forEach((writer) => writer.stop());
  await within(Promise.all(writers.map(({ client }) => client.closed)), 'the connections end');
  return { result, writers };
}

async function assertAcknowledgedIsThere(documents, writers) {
  const reader = await RawClient.connect(context.server.wsUrl);
  const shared = (await reader.read(documents.shared)).body.state;
  const few = (await reader.read(documents.few)).body.state;
  await reader.close();
  const lost = [];
  for (const { acknowledged } of writers) {
    for (const { documentId, field, value } of acknowledged) {
      const kept =
        documentId === documents.shared
          ? shared[field]?.number === value.number
          : // A later write that was not acknowledged any more may have been stored too.
            few[field] >= value;
      if (!kept) {
        lost.push({ field, value });
      }
    }
  }
  assert.deepEqual(lost, [], 'these acknowledged edits are lost');
  return few;
}

async function assertPublishedClientShows(documentId, expected) {
  const client = await SdkClient.connect(context.server.wsUrl, unique('sdk'));
  const fields = Object.entries(expected).slice(0, FEW_FIELDS);
  await untilShown(await client.open(documentId), JSON.stringify(fields), (state) =>
    fields.every(([field, value]) => state[field] === value),
  );
  client.close();
}

scenario(context, 'no acknowledged edit is lost when the server is killed while it writes', async (t) => {
  const random = Random.forTest(t);
  const documents = { shared: unique('shared'), few: unique('few') };
  const all = [];
  for (let kill = 0; kill < KILLS; kill += 1) {
    const acks = ACKS_MIN + random.below(ACKS_MAX - ACKS_MIN);
    const { writers } = await writeUntil(acks, documents, () => context.server.kill9());
    all.push(...writers);
    await context.server.start();
    const few = await assertAcknowledgedIsThere(documents, all);
    await assertPublishedClientShows(documents.few, few);
  }
});

scenario(context, 'SIGTERM ends the server with code 0 and nothing acknowledged is lost', async () => {
  const documents = { shared: unique('shared'), few: unique('few') };
  const { result, writers } = await writeUntil(ACKS_MIN, documents, () => context.server.terminate());
  assert.equal(result, 0);
  await context.server.start();
  const few = await assertAcknowledgedIsThere(documents, writers);
  await assertPublishedClientShows(documents.few, few);
});
