// Who is here, as the others are told.

import assert from 'node:assert/strict';
import { after, before } from 'node:test';

import { scenario } from './lib/deadline.mjs';
import { RawClient, unique } from './lib/raw.mjs';
import { Sdk030 } from './lib/sdk030.mjs';
import { Server } from './lib/server.mjs';

/** The SDK's first delay only slows the test. */
const RECONNECT_MS = 50;

const context = {};

before(async () => {
  context.server = await Server.onNewDatabase();
});

after(() => context.server?.stop());

/** A raw client in one document. */
class Person {
  static async enter(documentId, framing = 'binary', clientId = undefined) {
    const client = await RawClient.connect(context.server.wsUrl, framing);
    client.clientId = clientId ?? client.clientId;
    return new Person(client, documentId);
  }

  constructor(client, documentId) {
    this.client = client;
    this.documentId = documentId;
  }

  /** The message by which the others hear of a state. */
  update(state, clock) {
    return { documentId: this.documentId, clientId: this.client.clientId, state, clock };
  }

  say(state, clock) {
    this.client.send('awareness_update', this.update(state, clock));
  }

  /** Subscribes; returns who is there. */
  async watch() {
    this.client.send('awareness_subscribe', { documentId: this.documentId });
    return this.told();
  }

  async told() {
    return (await this.client.expect({ type: 'awareness_state', documentId: this.documentId })).body.states;
  }

  async sees(update) {
    await this.client.expect({ type: 'awareness_update', ...update });
  }

  /** All states anybody was announced with, in order. */
  seen() {
    return this.client.history.filter(({ type }) => type === 'awareness_update').map(({ body }) => body.state);
  }
}

for (const framing of ['binary', 'text']) {
  scenario(context, `subscribers see who comes, what changes, and who leaves, in ${framing} framing`, async () => {
    const documentId = unique('document');
    const [alice, bob] = [await Person.enter(documentId, framing), await Person.enter(documentId, framing)];
    assert.deepEqual(await alice.watch(), []);
    alice.say({ user: 'Alice' }, 1);
    await alice.sees(alice.update({ user: 'Alice' }, 1));

    const [hers] = await bob.watch();
    assert.deepEqual(hers, { clientId: alice.client.clientId, state: { user: 'Alice' }, clock: 1 });
    bob.say({ cursor: { x: 1, y: 2 } }, 1);
    await alice.sees(bob.update({ cursor: { x: 1, y: 2 } }, 1));
    bob.say(null, 2);
    await alice.sees(bob.update(null, 2));
    assert.deepEqual(await alice.watch(), [hers]);

    bob.say({ back: true }, 3);
    await alice.sees(bob.update({ back: true }, 3));
    await bob.client.vanish();
    await alice.sees(bob.update(null, 4));
    assert.deepEqual(await alice.watch(), [hers]);
  });
}

scenario(context, 'an update that is not newer than the last one is not passed on', async () => {
  const documentId = unique('document');
  const [alice, bob] = [await Person.enter(documentId), await Person.enter(documentId)];
  await alice.watch();
  bob.say({ at: 5 }, 5);
  await alice.sees(bob.update({ at: 5 }, 5));
  bob.say({ at: 4 }, 4);
  bob.say({ at: 'again 5' }, 5);
  bob.say(null, 3);
  bob.say({ at: 6 }, 6);
  await alice.sees(bob.update({ at: 6 }, 6));
  assert.deepEqual(alice.seen(), [{ at: 5 }, { at: 6 }]);
});

scenario(context, 'a tab that was loaded again starts to count anew and owns its presence', async () => {
  const documentId = unique('document');
  const alice = await Person.enter(documentId);
  await alice.watch();
  const before = await Person.enter(documentId);
  before.say({ tab: 'before' }, 7);
  await alice.sees(before.update({ tab: 'before' }, 7));

  const again = await Person.enter(documentId, 'binary', before.client.clientId);
  again.say({ tab: 'again' }, 1);
  await alice.sees(again.update({ tab: 'again' }, 8));
  await before.client.close();
  again.say({ tab: 'goes on' }, 2);
  await alice.sees(again.update({ tab: 'goes on' }, 9));
  assert.ok(!alice.seen().includes(null), 'the old connection took nothing with it');
  again.say(null, 3);
  await alice.sees(again.update(null, 10));
});

scenario(context, 'who comes back at once was never gone', async () => {
  const documentId = unique('document');
  const [alice, bob] = [await Person.enter(documentId), await Person.enter(documentId)];
  await alice.watch();
  bob.say({ here: 1 }, 1);
  await alice.sees(bob.update({ here: 1 }, 1));
  await bob.client.vanish();
  const again = await Person.enter(documentId, 'binary', bob.client.clientId);
  again.say({ here: 2 }, 2);
  await alice.sees(again.update({ here: 2 }, 2));
  again.say(null, 3);
  await alice.sees(again.update(null, 3));
  assert.deepEqual(alice.seen(), [{ here: 1 }, { here: 2 }, null]);
});

scenario(context, 'who speaks without having asked is told who is there, and hears the others from then on', async () => {
  const documentId = unique('document');
  const [alice, bob] = [await Person.enter(documentId), await Person.enter(documentId)];
  alice.say({ user: 'Alice' }, 1);
  assert.deepEqual(await alice.told(), []);

  bob.say({ user: 'Bob' }, 1);
  const states = await bob.told();
  assert.deepEqual(states, [{ clientId: alice.client.clientId, state: { user: 'Alice' }, clock: 1 }]);
  alice.say({ user: 'Alice', typing: true }, 2);
  await bob.sees(alice.update({ user: 'Alice', typing: true }, 2));
});

scenario(context, 'unsubscribe takes the own presence back and ends the news of others', async () => {
  const documentId = unique('document');
  const [alice, bob] = [await Person.enter(documentId), await Person.enter(documentId)];
  await alice.watch();
  await bob.watch();
  bob.say({ user: 'Bob' }, 1);
  await alice.sees(bob.update({ user: 'Bob' }, 1));
  bob.client.send('unsubscribe', { documentId });
  await alice.sees(bob.update(null, 2));

  alice.say({ user: 'Alice' }, 1);
  await alice.sees(alice.update({ user: 'Alice' }, 1));
  await bob.client.ping();
  assert.ok(!bob.seen().some((state) => state?.user === 'Alice'));
});

scenario(context, 'presence in one document is none in another', async () => {
  const [alice, bob] = [await Person.enter(unique('document')), await Person.enter(unique('document'))];
  await alice.watch();
  bob.say({ user: 'Bob' }, 1);
  await bob.told();
  alice.say({ user: 'Alice' }, 1);
  await alice.sees(alice.update({ user: 'Alice' }, 1));
  assert.deepEqual(alice.seen(), [{ user: 'Alice' }]);
});

/** A client of SDK 0.3.0 in the document. */
async function enter(t, documentId) {
  const client = await Sdk030.connect(context.server.wsUrl, { reconnectMs: RECONNECT_MS });
  t.after(() => client.dispose());
  await client.synced(documentId);
  return client;
}

/** The SDK drops what comes too soon after its last update; a person would move again. */
async function say(client, documentId, state) {
  while (!client.awareness(documentId).setLocalState(state)) {
    await new Promise(setImmediate);
  }
}

async function untilSees(client, documentId, what, holds) {
  await client.until(what, () => holds(client.awareness(documentId).get()));
}

scenario(context, 'SDK 0.3.0 sees who was there before its application wanted to know', async (t) => {
  const documentId = unique('document');
  const alice = await enter(t, documentId);
  await say(alice, documentId, { user: 'Alice' });
  const bob = await enter(t, documentId);
  // The answer to its only question has come, and there was nothing yet to take it.
  await bob.until('presence was told', () => bob.heard.has('awareness_state'));
  assert.deepEqual(bob.awareness(documentId).get(), {});

  await say(bob, documentId, { user: 'Bob' });
  await untilSees(bob, documentId, 'sees Alice', (others) => others[alice.clientId]?.user === 'Alice');
  await untilSees(alice, documentId, 'sees Bob', (others) => others[bob.clientId]?.user === 'Bob');
});

scenario(context, 'SDK 0.3.0 sees the others again after a reconnect, though it does not ask', async (t) => {
  const documentId = unique('document');
  const [alice, bob] = [await enter(t, documentId), await enter(t, documentId)];
  await say(alice, documentId, { user: 'Alice', at: 1 });
  await say(bob, documentId, { user: 'Bob', at: 1 });
  await untilSees(bob, documentId, 'sees Alice', (others) => others[alice.clientId]?.at === 1);
  await bob.goOffline();
  await say(alice, documentId, { user: 'Alice', at: 2 });
  bob.goOnline();
  await bob.synced(documentId);
  await say(bob, documentId, { user: 'Bob', at: 2 });
  await untilSees(bob, documentId, 'sees where Alice is now', (others) => others[alice.clientId]?.at === 2);
  await untilSees(alice, documentId, 'sees where Bob is now', (others) => others[bob.clientId]?.at === 2);
});

scenario(context, 'SDK 0.3.0 is gone when it is disposed of', async (t) => {
  const documentId = unique('document');
  const [alice, bob] = [await enter(t, documentId), await enter(t, documentId)];
  await say(alice, documentId, { user: 'Alice' });
  await say(bob, documentId, { user: 'Bob' });
  await untilSees(alice, documentId, 'sees Bob', (others) => bob.clientId in others);
  bob.dispose();
  await untilSees(alice, documentId, 'sees Bob leave', (others) => !(bob.clientId in others));
});
