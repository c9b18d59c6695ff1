// However edits, lost links and edits without a link interleave: in the end everybody has the same.

import assert from 'node:assert/strict';
import { after } from 'node:test';
import { isDeepStrictEqual } from 'node:util';

import { scenario } from './lib/deadline.mjs';
import { Proxy } from './lib/proxy.mjs';
import { Random } from './lib/random.mjs';
import { RawClient, unique } from './lib/raw.mjs';
import { SdkClient, closeAllSockets, untilShown } from './lib/sdk.mjs';
import { Sdk030 } from './lib/sdk030.mjs';
import { Database, Server, cluster, settings } from './lib/server.mjs';

/** Of each kind of client. */
const CLIENTS = 10;

/** Few, so that clients contend for each of them. None is empty: the published client ignores that one. */
const FIELDS = ['title', 'body', 'a.b', 'é 😀', 'constructor', 'last'];

const STEPS = 12;
const OFFLINE_SHARE = 0.2;
const OFFLINE_EDITS_MAX = 4;

/** The SDK's first delay only slows the test. */
const RECONNECT_MS = 50;

const context = {};

after(closeAllSockets);

/** The published client behind a link of its own. */
class Published {
  static async open(server, documentId) {
    const actor = new Published();
    actor.proxy = await Proxy.to(server.port);
    actor.client = await SdkClient.connect(`ws://127.0.0.1:${actor.proxy.port}/ws`, unique('sdk011'));
    actor.document = await actor.client.open(documentId);
    return actor;
  }

  get name() {
    return this.client.clientId;
  }

  /** It tells only its log. */
  get faults() {
    return [];
  }

  /** Done when it is acknowledged, or queued for want of a link. */
  set(field, value) {
    return this.document.set(field, value);
  }

  get() {
    return this.document.get();
  }

  async goOffline() {
    await this.client.untilSent();
    this.proxy.cut();
    await this.client.untilOffline();
  }

  goOnline() {
    this.proxy.restore();
  }

  settled() {
    return this.client.untilSent();
  }

  async untilEqual(expected) {
    const what = `${this.name} shows ${JSON.stringify(expected)}`;
    await untilShown(this.document, what, (state) => isDeepStrictEqual({ ...state }, expected));
  }

  async close() {
    this.client.close();
    await this.proxy.close();
  }
}

/** The client of SDK 0.3.0. */
class Newer {
  static async open(server, documentId) {
    const actor = new Newer();
    actor.client = await Sdk030.connect(server.wsUrl, { reconnectMs: RECONNECT_MS });
    actor.document = actor.client.replica(documentId, 'fields');
    await actor.client.synced(documentId);
    return actor;
  }

  get name() {
    return this.client.clientId;
  }

  get faults() {
    return this.client.faults;
  }

  set(field, value) {
    this.document.set(field, value);
  }

  get() {
    return this.document.get();
  }

  /** This client never sends a frame again, so the link is cut when none is on its way. */
  async goOffline() {
    await this.client.settled();
    await this.client.goOffline();
  }

  goOnline() {
    this.client.goOnline();
  }

  settled() {
    return this.client.settled();
  }

  async untilEqual(expected) {
    await this.client.until(`shows ${JSON.stringify(expected)}`, () => isDeepStrictEqual(this.get(), expected));
  }

  close() {
    this.client.dispose();
  }
}

/** Some value nobody else writes, of a random kind. */
function valueFrom(random, author) {
  const mark = `${author} ${random.below(2 ** 30)}`;
  // The published client does not keep every digit of a fraction.
  const number = random.below(2 ** 40) / 16;
  return random.pick([mark, { by: mark, list: [1, null, 'ü'] }, [mark, true], number]);
}

async function edit(actor, random) {
  await actor.set(random.pick(FIELDS), valueFrom(random, actor.name));
}

async function run(actor, random) {
  for (let step = 0; step < STEPS; step += 1) {
    if (!random.chance(OFFLINE_SHARE)) {
      await edit(actor, random);
      continue;
    }
    await actor.goOffline();
    for (let edits = random.below(OFFLINE_EDITS_MAX + 1); edits > 0; edits -= 1) {
      await edit(actor, random);
    }
    actor.goOnline();
    // Half of them go on while the queue is still being sent.
    if (random.chance(0.5)) {
      await actor.settled();
    }
  }
  await actor.settled();
}

async function stateAt(server, documentId) {
  const reader = await RawClient.connect(server.wsUrl);
  const { body } = await reader.read(documentId);
  await reader.close();
  return body.state;
}

/** What the store has: a server that has just started knows nothing else. */
async function storedState(database, documentId) {
  const fresh = new Server(settings(database.connectionString()));
  await fresh.start();
  const state = await stateAt(fresh, documentId);
  await fresh.kill9();
  return state;
}

async function openActors(servers, documentId) {
  const actors = Array.from({ length: 2 * CLIENTS }, (_, index) => {
    const kind = index % 2 === 0 ? Published : Newer;
    return kind.open(servers[(index >> 1) % servers.length], documentId);
  });
  return Promise.all(actors);
}

async function assertConvergence(t, database, servers) {
  const random = Random.forTest(t);
  const documentId = unique('document');
  const actors = await openActors(servers, documentId);
  try {
    await Promise.all(actors.map((actor) => run(actor, random.fork())));
    // All is acknowledged, so what the store has is the end of it.
    const expected = await storedState(database, documentId);
    assert.deepEqual(Object.keys(expected).sort(), [...FIELDS].sort());
    for (const actor of actors) {
      await actor.untilEqual(expected);
    }
    for (const server of servers) {
      assert.deepEqual(await stateAt(server, documentId), expected);
    }
    for (const actor of actors) {
      assert.deepEqual({ ...actor.get() }, expected, `${actor.name} stays with it`);
      assert.deepEqual(actor.faults, [], actor.name);
    }
  } finally {
    // Before the servers stop: each failed attempt of the published client to reconnect begins two more.
    await Promise.all(actors.map((actor) => actor.close()));
  }
}

async function withServers(count, more, body) {
  const database = await Database.create();
  const servers = Array.from({ length: count }, () => new Server(settings(database.connectionString(), more)));
  [context.server] = servers;
  try {
    for (const server of servers) {
      await server.start();
    }
    await body(database, servers);
  } finally {
    await Promise.all(servers.filter(({ run: started }) => started).map((server) => server.stop()));
    await database.drop();
  }
}

scenario(context, 'twenty clients of both kinds, the server and the store end up with the same', async (t) => {
  await withServers(1, {}, (database, servers) => assertConvergence(t, database, servers));
});

scenario(context, 'so do twenty clients of two servers that share a database', async (t) => {
  await withServers(2, cluster(), (database, servers) => assertConvergence(t, database, servers));
});
