// Two and more published clients in sync through the server.

import assert from 'node:assert/strict';
import { after, before } from 'node:test';

import { scenario } from './lib/deadline.mjs';
import { Proxy } from './lib/proxy.mjs';
import { RawClient, unique } from './lib/raw.mjs';
import { SdkClient, closeAllSockets, untilShown } from './lib/sdk.mjs';
import { Server } from './lib/server.mjs';

const context = {};
const clients = [];

before(async () => {
  context.server = await Server.onNewDatabase();
});

after(async () => {
  clients.forEach((client) => client.close());
  closeAllSockets();
  await context.server?.stop();
});

async function connect(name, url = context.server.wsUrl) {
  const client = await SdkClient.connect(url, unique(name));
  clients.push(client);
  return client;
}

/** Opens one document with two clients. */
async function pair() {
  const documentId = unique('document');
  const [alice, bob] = [await connect('alice'), await connect('bob')];
  return { documentId, alice, bob, hers: await alice.open(documentId), his: await bob.open(documentId) };
}

function untilEqual(document, expected) {
  return untilShown(document, JSON.stringify(expected), (state) => {
    try {
      assert.deepEqual(state, expected);
      return true;
    } catch {
      return false;
    }
  });
}

scenario(context, 'a field set by one client appears at the other, in both directions', async () => {
  const { hers, his } = await pair();
  await hers.set('title', 'Hello');
  await untilEqual(his, { title: 'Hello' });
  await his.set('answer', 42);
  await untilEqual(hers, { title: 'Hello', answer: 42 });
});

scenario(context, 'fields written in one update all arrive', async () => {
  const { hers, his } = await pair();
  const fields = { one: 1, two: 'two', three: [3] };
  await hers.update(fields);
  await untilEqual(his, fields);
});

scenario(context, 'every kind of value arrives as it was written', async () => {
  const { hers, his } = await pair();
  const values = {
    nested: { list: [1, { deep: [null, true, { er: 'x' }] }], empty: {}, none: [] },
    unicode: 'é 😀 中文 \u0000 "quoted" \\ \n \u2028',
    nothing: null,
    yes: true,
    no: false,
    zero: 0,
    negative: -1.5,
    tiny: 5e-324,
    large: Number.MAX_SAFE_INTEGER,
    huge: 1.7976931348623157e308,
    text: '',
    list: [[], [[1]], 'mixed', null],
    'a field.with/strange "name" 😀': 'found',
  };
  for (const [field, value] of Object.entries(values)) {
    await hers.set(field, value);
  }
  await untilEqual(his, values);
});

scenario(context, 'a field written again shows its last value everywhere', async () => {
  const { hers, his } = await pair();
  for (let round = 0; round < 3; round += 1) {
    await hers.set('turn', `hers ${round}`);
    await untilEqual(his, { turn: `hers ${round}` });
    await his.set('turn', `his ${round}`);
    await untilEqual(hers, { turn: `his ${round}` });
  }
});

scenario(context, 'clients that write one field at the same time end up with the same value', async () => {
  const { documentId, hers, his } = await pair();
  const writes = [];
  for (let round = 0; round < 10; round += 1) {
    writes.push(hers.set('contested', `hers ${round}`), his.set('contested', `his ${round}`));
  }
  await Promise.all(writes);

  const observer = await RawClient.connect(context.server.wsUrl);
  const { body } = await observer.read(documentId);
  await observer.close();
  await untilEqual(hers, body.state);
  await untilEqual(his, body.state);
});

scenario(context, 'a late joiner sees everything that was written before it came', async () => {
  const { documentId, hers, his } = await pair();
  await hers.update({ first: 1, second: { nested: true } });
  await his.set('third', null);

  const carol = await connect('carol');
  const late = await carol.open(documentId);
  await untilEqual(late, { first: 1, second: { nested: true }, third: null });

  await late.set('first', 'changed');
  await untilEqual(hers, { first: 'changed', second: { nested: true }, third: null });
});

scenario(context, 'documents do not leak into each other', async () => {
  const { alice, hers, his } = await pair();
  const other = await alice.open(unique('document'));
  await other.set('secret', true);
  await hers.set('public', true);
  await untilEqual(his, { public: true });
});

scenario(context, 'edits made offline on both sides converge after the link is back', async () => {
  const documentId = unique('document');
  const proxy = await Proxy.to(context.server.port);
  const alice = await connect('alice', `ws://127.0.0.1:${proxy.port}/ws`);
  const bob = await connect('bob');
  const [hers, his] = [await alice.open(documentId), await bob.open(documentId)];
  await hers.set('shared', 'before');
  await untilEqual(his, { shared: 'before' });

  proxy.cut();
  await alice.untilOffline();
  await hers.set('hers', 'written offline');
  await hers.set('shared', 'hers, written first');
  const written = Date.now();
  // The later write wins; two writes in one millisecond would leave that to the client ids.
  while (Date.now() <= written) {
    await new Promise(setImmediate);
  }
  await his.set('his', 'written online');
  await his.set('shared', 'his, written later');

  proxy.restore();
  await alice.untilSent();
  const merged = { shared: 'his, written later', hers: 'written offline', his: 'written online' };
  await untilEqual(hers, merged);
  await untilEqual(his, merged);

  alice.close();
  await proxy.close();
});

scenario(context, 'clients go on by themselves after the server was restarted', async () => {
  const { hers, his, alice, bob } = await pair();
  await hers.set('before', 1);
  await untilEqual(his, { before: 1 });

  await context.server.terminate();
  await Promise.all([alice.untilOffline(), bob.untilOffline()]);
  await hers.set('meanwhile', 2);
  await context.server.start();

  await Promise.all([alice.untilSent(), bob.untilSent()]);
  await untilEqual(his, { before: 1, meanwhile: 2 });
  await his.set('after', 3);
  await untilEqual(hers, { before: 1, meanwhile: 2, after: 3 });
});
