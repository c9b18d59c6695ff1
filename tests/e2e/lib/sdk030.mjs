// A client that behaves on the wire as SDK 0.3.0 does, which is not published as a package. Where the SDK
// is careless, so is this: the server has to live with it.

import { EventEmitter } from 'node:events';

import WebSocket from 'ws';

import { within } from './deadline.mjs';
import { CODES, decode, frame, unique } from './raw.mjs';
import { Awareness, CounterReplica, FieldReplica, SetReplica, TextReplica, VectorClock } from './sdk030-replicas.mjs';

/** The SDK's own numbers. */
const BATCH_MS = 50;
const BATCH_OPS_MAX = 50;
const QUEUE_FRAMES_MAX = 1000;
const RECONNECT_MS = 1000;
const RECONNECT_GROWTH = 1.5;
const RECONNECT_MS_MAX = 30_000;
const RECONNECT_JITTER = 0.1;
const PING_MS = 30_000;

/** The kinds of documents there are. */
const REPLICAS = { fields: FieldReplica, text: TextReplica, counter: CounterReplica, set: SetReplica };

export class Sdk030 {
  /** `reconnectMs` is the first delay of the SDK's schedule; the others grow from it. */
  static async connect(url, options = {}) {
    const client = new Sdk030(url, options);
    await client.until('connected', () => client.isConnected());
    return client;
  }

  constructor(url, { clientId = unique('sdk030'), reconnectMs = RECONNECT_MS, token } = {}) {
    this.url = url;
    this.clientId = clientId;
    this.reconnectMs = reconnectMs;
    this.token = token;
    this.documents = new Map();
    this.queue = [];
    this.attempts = 0;
    this.isWanted = true;
    /** What the server refused and what could not be understood; the SDK only logs both. */
    this.faults = [];
    /** The SDK does not look at acks. A test must know when a link may be cut without losing a frame. */
    this.unacknowledged = new Set();
    /** The types of messages that have come. */
    this.heard = new Set();
    this.changes = new EventEmitter().setMaxListeners(0);
    this.open();
  }

  /** The replica of one kind: `fields`, `text`, `counter`, or `set`. */
  replica(documentId, kind) {
    const document = this.document(documentId);
    document.replicas[kind] ??= new REPLICAS[kind](document);
    return document.replicas[kind];
  }

  awareness(documentId) {
    const document = this.document(documentId);
    document.awareness ??= new Awareness(document);
    return document.awareness;
  }

  /** Waits until the server has answered the subscription. */
  async synced(documentId) {
    const document = this.document(documentId);
    await this.until(`${documentId} is synced`, () => document.isSynced);
  }

  /** Waits until everything written has been acknowledged. */
  async settled() {
    const isSettled = () =>
      this.unacknowledged.size === 0 && [...this.documents.values()].every(({ batch }) => batch.length === 0);
    await this.until('nothing is on its way', isSettled);
  }

  /** Cuts the link; it comes back by the SDK's schedule. */
  drop() {
    this.socket.terminate();
  }

  /** Cuts the link until `goOnline`. */
  async goOffline() {
    this.isWanted = false;
    clearTimeout(this.reconnectTimer);
    this.socket.terminate();
    await this.until('offline', () => !this.isOpen);
  }

  goOnline() {
    this.isWanted = true;
    this.open();
  }

  /** Says goodbye in every document and ends. */
  dispose() {
    for (const { awareness } of this.documents.values()) {
      awareness?.leave();
    }
    this.isWanted = false;
    clearTimeout(this.reconnectTimer);
    this.documents.forEach(({ timer }) => clearTimeout(timer));
    this.socket.close();
  }

  isConnected() {
    return this.socket.readyState === WebSocket.OPEN && this.isOpen;
  }

  /** Waits until a condition holds that only what arrives, or a change of the link, can make true. */
  async until(what, holds) {
    if (holds()) {
      return;
    }
    let check;
    const reached = new Promise((resolve) => {
      check = () => holds() && resolve();
      this.changes.on('change', check);
    });
    try {
      await within(reached, `${this.clientId}: ${what}`, () => this.shown());
    } finally {
      this.changes.off('change', check);
    }
  }

  shown() {
    const documents = [...this.documents].map(([id, { replicas }]) => {
      const values = Object.entries(replicas).map(([kind, replica]) => `${kind} ${JSON.stringify(replica.get())}`);
      return `  ${id}: ${values.join(', ')}`;
    });
    const faults = this.faults.map((fault) => `  fault: ${fault}`);
    return [`connected: ${this.isConnected()}, heard ${[...this.heard]}`, ...documents, ...faults].join('\n');
  }

  // The documents.

  document(documentId) {
    if (!this.documents.has(documentId)) {
      const clock = new VectorClock(this.clientId);
      const document = { documentId, client: this, clock, replicas: {}, batch: [], isSynced: false };
      this.documents.set(documentId, document);
      if (this.isConnected()) {
        this.post('subscribe', { documentId });
      }
    }
    return this.documents.get(documentId);
  }

  /** Adds an op to the document's next batch. */
  push(document, op) {
    const { documentId, batch } = document;
    const full = { ...op, documentId, clock: document.clock.toJSON(), clientId: this.clientId, timestamp: Date.now() };
    const earlier = batch.findIndex(({ type }) => type === 'text-state');
    if (op.type === 'text-state' && earlier >= 0) {
      batch[earlier] = full;
    } else {
      batch.push(full);
    }
    clearTimeout(document.timer);
    if (batch.length >= BATCH_OPS_MAX) {
      this.flush(document);
    } else {
      document.timer = setTimeout(() => this.flush(document), BATCH_MS);
    }
  }

  flush(document) {
    const { documentId } = document;
    clearTimeout(document.timer);
    const deltas = document.batch.splice(0);
    if (deltas.length > 0) {
      const messageId = unique('msg');
      this.unacknowledged.add(messageId);
      this.post('delta_batch', { documentId, deltas, messageId });
    }
  }

  // The link.

  open() {
    const socket = new WebSocket(this.url, { perMessageDeflate: false });
    this.socket = socket;
    this.isOpen = false;
    socket.on('open', () => this.opened());
    socket.on('message', (data, isBinary) => this.receive(data, isBinary));
    socket.on('close', () => socket === this.socket && this.closed());
    // What matters about a broken connection is that it closes.
    socket.on('error', () => {});
  }

  opened() {
    this.attempts = 0;
    this.isOpen = true;
    this.pings = setInterval(() => this.post('ping', {}), PING_MS);
    for (const documentId of this.documents.keys()) {
      this.post('subscribe', { documentId });
    }
    for (const queued of this.queue.splice(0)) {
      this.socket.send(queued);
    }
    if (this.token !== undefined) {
      this.post('auth', { token: this.token });
    }
    this.changes.emit('change');
  }

  closed() {
    clearInterval(this.pings);
    this.isOpen = false;
    this.documents.forEach((document) => {
      document.isSynced = false;
    });
    if (this.isWanted) {
      const delay = Math.min(this.reconnectMs * RECONNECT_GROWTH ** this.attempts, RECONNECT_MS_MAX);
      this.attempts += 1;
      this.reconnectTimer = setTimeout(() => this.open(), delay * (1 + RECONNECT_JITTER * Math.random()));
    }
    this.changes.emit('change');
  }

  /** Sends a message, or keeps it for the next connection. */
  post(type, payload) {
    const message = frame(CODES[type], JSON.stringify(payload));
    if (this.isConnected()) {
      this.socket.send(message);
    } else if (this.queue.length < QUEUE_FRAMES_MAX) {
      this.queue.push(message);
    } else {
      this.faults.push(`the queue is full; lost: ${type}`);
    }
  }

  receive(data, isBinary) {
    try {
      const { type, body } = decode(data, isBinary);
      this.heard.add(type);
      this.handle(type, body);
    } catch (error) {
      this.faults.push(error.stack);
    }
    this.changes.emit('change');
  }

  handle(type, body) {
    const document = this.documents.get(body.documentId);
    switch (type) {
      case 'sync_response':
        return document && this.synchronise(document, body);
      case 'delta':
        return document && this.applyField(document, body);
      case 'delta_batch':
        return document && this.applyBatch(document, body);
      case 'awareness_state':
        // Nobody asks again for what came before the application wanted it.
        return document?.awareness?.applyAll(body.states);
      case 'awareness_update':
        return document?.awareness?.apply(body);
      case 'ack':
        return this.unacknowledged.delete(body.messageId);
      case 'error':
      case 'auth_error':
        return this.faults.push(JSON.stringify(body));
      default:
        return undefined;
    }
  }

  synchronise(document, { state, clock, textState, textClock }) {
    if (Object.keys(state).length > 0 && Object.keys(clock ?? {}).length === 0) {
      throw new Error('a state without a clock, which the SDK cannot apply');
    }
    document.clock.merge(clock);
    for (const [field, value] of Object.entries(state)) {
      const greatest = Math.max(...Object.values(clock));
      document.replicas.fields?.accept(field, value, greatest, 'server');
    }
    if (textState !== undefined) {
      document.replicas.text?.accept({ state: textState, clientId: 'server', timestamp: textClock });
    }
    document.isSynced = true;
    if (!document.hasAskedForAwareness) {
      document.hasAskedForAwareness = true;
      this.post('awareness_subscribe', { documentId: document.documentId });
    }
  }

  applyField(document, { field, value, clock, clientId }) {
    if (Object.keys(clock).length === 0) {
      throw new Error(`a field without a clock, which the SDK cannot apply: ${field}`);
    }
    document.clock.merge(clock);
    document.replicas.fields?.accept(field, value, Math.max(...Object.values(clock)), clientId);
  }

  applyBatch(document, { deltas, isTextOperation }) {
    for (const op of deltas) {
      const isText = op.type === 'text-state';
      if (isText !== (isTextOperation === true)) {
        throw new Error(`${op.type} in a batch with isTextOperation ${isTextOperation}`);
      }
      document.clock.merge(op.clock ?? {});
      if (isText) {
        document.replicas.text?.accept(op);
      } else if (op.type === 'counter') {
        document.replicas.counter?.accept(op);
      } else if (op.type === 'set' && op.field === undefined) {
        document.replicas.set?.accept(op);
      } else if (op.type === 'set') {
        this.applyField(document, op);
      }
    }
  }
}
