// The published SDK, as a browser would run it.

import { register } from 'node:module';
import { format } from 'node:util';

import WebSocket from 'ws';

import { within } from './deadline.mjs';

/** The SDK waits a second before it reconnects, which only slows the tests. */
const RECONNECT_MS = 50;

/** Enough of what the SDK says to see what it did before a failure. */
const SAID_LINES_MAX = 60;

const said = [];
const openSockets = new Set();

// The SDK logs every step. It is shown with a failure and does not drown the report of the tests.
for (const level of ['log', 'warn', 'error']) {
  console[level] = (...parts) => {
    said.push(format(...parts));
    said.splice(0, said.length - SAID_LINES_MAX);
  };
}

// Node has no WebSocket before version 22, and the SDK keeps its own out of reach.
globalThis.WebSocket = class extends WebSocket {
  constructor(url) {
    super(url);
    openSockets.add(this);
    this.on('close', () => openSockets.delete(this));
  }
};

register('./sdk-loader.mjs', import.meta.url);
const { SyncKit } = await import('@synckit-js/sdk');

export class SdkClient {
  /** A client that is connected. */
  static async connect(url, clientId) {
    const client = new SdkClient(url, clientId);
    await within(client.kit.init(), 'the SDK initialises', sdkLog);
    await client.untilStatus('connected', (status) => status.connectionState === 'connected');
    return client;
  }

  constructor(url, clientId) {
    this.clientId = clientId;
    this.kit = new SyncKit({
      serverUrl: url,
      clientId,
      storage: 'memory',
      network: { reconnect: { initialDelay: RECONNECT_MS, maxDelay: RECONNECT_MS } },
    });
  }

  /** Opens a document and waits until the server has answered the subscription. */
  async open(documentId) {
    const document = this.kit.document(documentId);
    let stop;
    const synced = new Promise((resolve) => {
      const check = (state) => state.state === 'synced' && resolve();
      stop = this.kit.onSyncStateChange(documentId, check);
      check(this.kit.getSyncState(documentId));
    });
    await within(synced, `${this.clientId} has ${documentId} in sync`, sdkLog);
    stop();
    return document;
  }

  async untilOffline() {
    await this.untilStatus('offline', (status) => status.connectionState !== 'connected');
  }

  /** Waits until the SDK is connected and has sent, and had acknowledged, all it wrote while it was not. */
  async untilSent() {
    await this.untilStatus(
      'connected with an empty queue',
      (status) => status.connectionState === 'connected' && status.queueSize === 0,
    );
  }

  async untilStatus(what, holds) {
    let stop;
    const reached = new Promise((resolve) => {
      const check = (status) => holds(status) && resolve();
      stop = this.kit.onNetworkStatusChange(check);
      check(this.kit.getNetworkStatus());
    });
    await within(reached, `${this.clientId} is ${what}`, sdkLog);
    stop();
  }

  close() {
    this.kit.dispose();
  }
}

/** Waits until what the SDK shows of a document fulfils a condition; returns it. */
export async function untilShown(document, what, holds) {
  let stop;
  const shown = new Promise((resolve) => {
    stop = document.subscribe((state) => holds(state) && resolve(state));
  });
  const details = () => `it shows ${JSON.stringify(document.get())}\n${sdkLog()}`;
  try {
    return await within(shown, what, details);
  } finally {
    stop();
  }
}

/** The end of what the SDK said. */
export function sdkLog() {
  return `the SDK said:\n${said.join('\n')}`;
}

/** The SDK waits for a close frame; at the end of a test file nobody does. */
export function closeAllSockets() {
  for (const socket of openSockets) {
    socket.terminate();
  }
}
