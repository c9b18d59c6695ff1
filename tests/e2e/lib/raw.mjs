// A client that says exactly what a test wants said, in every framing the protocol knows.

import { once } from 'node:events';
import { isDeepStrictEqual } from 'node:util';

import WebSocket from 'ws';

import { within } from './deadline.mjs';
import { memberText } from './json-text.mjs';

export const CODES = {
  auth: 0x01,
  auth_success: 0x02,
  auth_error: 0x03,
  subscribe: 0x10,
  unsubscribe: 0x11,
  sync_request: 0x12,
  sync_response: 0x13,
  sync_step1: 0x14,
  sync_step2: 0x15,
  delta: 0x20,
  ack: 0x21,
  delta_batch_chunk: 0x23,
  delta_batch: 0x50,
  ping: 0x30,
  pong: 0x31,
  awareness_update: 0x40,
  awareness_subscribe: 0x41,
  awareness_state: 0x42,
  error: 0xff,
};

const HEADER_BYTES = 13;

/** How many messages an error shows, and how much of each. */
const SHOWN_MESSAGES = 20;
const SHOWN_CHARACTERS = 400;

let identities = 0;

/** A name nobody else in this test run has. */
export function unique(prefix) {
  identities += 1;
  return `${prefix}-${process.pid}-${identities}`;
}

/** A frame of the binary framing; `json` is the text of the payload. */
export function frame(code, json, timestamp = Date.now()) {
  const payload = Buffer.from(json, 'utf8');
  const header = Buffer.alloc(HEADER_BYTES);
  header.writeUInt8(code, 0);
  header.writeBigInt64BE(BigInt(timestamp), 1);
  header.writeUInt32BE(payload.length, 9);
  return Buffer.concat([header, payload]);
}

export class RawClient {
  /** `framing` is one of `binary`, `text`, and `json-in-binary`. */
  static async connect(url, framing = 'binary') {
    const client = new RawClient(url, framing);
    await within(once(client.socket, 'open'), `a connection to ${url}`);
    return client;
  }

  constructor(url, framing) {
    this.framing = framing;
    this.clientId = unique('raw');
    this.count = 0;
    /** Everything that arrived, and the part of it that no `expect` has taken yet. */
    this.history = [];
    this.unread = [];
    this.waiters = new Set();
    this.socket = new WebSocket(url, { perMessageDeflate: false });
    this.socket.on('message', (data, isBinary) => this.receive(data, isBinary));
    // What matters about a broken connection is that it closes.
    this.socket.on('error', () => {});
    this.closed = once(this.socket, 'close').then(([code, reason]) => ({ code, reason: String(reason) }));
    this.closed.then(({ code }) => this.wake(new Error(`the connection was closed with ${code}`)));
  }

  /** Sends a message; `payload` is an object, or the text of one when its spelling matters. */
  send(type, payload = {}, framing = this.framing) {
    const text = typeof payload === 'string' ? payload : JSON.stringify(payload);
    if (framing === 'binary') {
      this.socket.send(frame(CODES[type], text));
      return;
    }
    const rest = text.slice(1) === '}' ? '}' : `,${text.slice(1)}`;
    const flat = `{"type":"${type}","id":"${unique('id')}","timestamp":${Date.now()}${rest}`;
    this.socket.send(framing === 'text' ? flat : Buffer.from(flat));
  }

  /** Sends what need not be a message at all: a string as a text frame, a buffer as a binary one. */
  sendFrame(data) {
    this.socket.send(data);
  }

  /** Writes one field without waiting for the ack; returns the message id. */
  write(documentId, field, value, more = {}) {
    this.count += 1;
    const messageId = unique('message');
    this.send('delta', {
      // The published client's op type; flat JSON has no room for it beside the message type.
      ...(this.framing === 'binary' ? { type: 'set' } : {}),
      documentId,
      field,
      value,
      clock: { [this.clientId]: this.count },
      clientId: this.clientId,
      timestamp: Date.now(),
      messageId,
      ...more,
    });
    return messageId;
  }

  /** Writes one field and waits for the ack. */
  async set(documentId, field, value) {
    const messageId = this.write(documentId, field, value);
    await this.expect({ type: 'ack', messageId });
  }

  /** Sends operations in one batch without waiting for the ack; what they lack is added. Returns the message id. */
  writeBatch(documentId, operations) {
    const messageId = unique('message');
    const deltas = operations.map((operation) => {
      this.count += 1;
      const clock = { [this.clientId]: this.count };
      return { documentId, clientId: this.clientId, clock, timestamp: Date.now(), ...operation };
    });
    this.send('delta_batch', { documentId, deltas, messageId });
    return messageId;
  }

  /** Sends operations in one batch and waits for the ack. */
  async apply(documentId, operations) {
    const messageId = this.writeBatch(documentId, operations);
    await this.expect({ type: 'ack', messageId });
  }

  /** Writes a value whose exact text matters and waits for the ack. */
  async setText(documentId, field, valueText) {
    this.count += 1;
    const messageId = unique('message');
    const clock = JSON.stringify({ [this.clientId]: this.count });
    this.send(
      'delta',
      `{"documentId":${JSON.stringify(documentId)},"field":${JSON.stringify(field)},"value":${valueText},` +
        `"clock":${clock},"clientId":"${this.clientId}","timestamp":${Date.now()},"messageId":"${messageId}"}`,
    );
    await this.expect({ type: 'ack', messageId });
  }

  /** Subscribes and returns the sync_response. */
  async subscribe(documentId) {
    this.send('subscribe', { documentId });
    return this.expect({ type: 'sync_response', documentId });
  }

  /** What a client that asks now is told about a document. */
  async read(documentId) {
    const id = unique('request');
    this.send('sync_request', { id, documentId });
    return this.expect({ type: 'sync_response', requestId: id, documentId });
  }

  /** Shows that the connection works, and that all that was sent before has been dealt with. */
  async ping() {
    this.send('ping');
    return this.expect({ type: 'pong' });
  }

  /**
   * The first message not taken by an earlier `expect` that matches: `wanted` is a predicate, or an object
   * whose members the message must have.
   */
  async expect(wanted, what = describe(wanted)) {
    const matches = typeof wanted === 'function' ? wanted : (message) => hasMembers(message.body, wanted);
    const found = new Promise((resolve, reject) => {
      const waiter = { matches, resolve, reject };
      this.waiters.add(waiter);
      this.serve(waiter);
      if (this.socket.readyState >= WebSocket.CLOSING) {
        reject(new Error(`the connection is closed; waited for ${what}\n${this.shown()}`));
      }
    });
    return within(found, what, () => this.shown());
  }

  /** Closes the connection and waits until the server has closed it too. */
  async close() {
    this.socket.close();
    await within(this.closed, 'the server answers a close frame');
  }

  /** Ends the connection as a crash would. */
  async vanish() {
    this.socket.terminate();
    await within(this.closed, 'the socket is closed');
  }

  receive(data, isBinary) {
    const message = decode(data, isBinary);
    this.history.push(message);
    this.unread.push(message);
    for (const waiter of this.waiters) {
      this.serve(waiter);
    }
  }

  serve(waiter) {
    const index = this.unread.findIndex((message) => waiter.matches(message));
    if (index >= 0) {
      this.waiters.delete(waiter);
      waiter.resolve(this.unread.splice(index, 1)[0]);
    }
  }

  wake(error) {
    for (const waiter of this.waiters) {
      waiter.reject(error);
    }
    this.waiters.clear();
  }

  shown() {
    const texts = this.history
      .slice(-SHOWN_MESSAGES)
      .map(({ type, text }) => `  ${type} ${text.slice(0, SHOWN_CHARACTERS)}`);
    return `${this.clientId} received ${this.history.length} messages, the last ones:\n${texts.join('\n')}`;
  }
}

/** `kind` is the kind of WebSocket frame, `body` the parsed members, `text` the JSON as it arrived. */
export function decode(data, isBinary) {
  if (!isBinary) {
    const text = data.toString('utf8');
    const body = JSON.parse(text);
    return { kind: 'text', type: body.type, body, text };
  }
  const code = data.readUInt8(0);
  const [type] = Object.entries(CODES).find(([, known]) => known === code) ?? [`code ${code}`];
  const length = data.readUInt32BE(9);
  if (HEADER_BYTES + length !== data.length) {
    throw new Error(`a frame of ${data.length} bytes announces ${length} bytes of payload`);
  }
  const text = data.subarray(HEADER_BYTES).toString('utf8');
  // The type of the message is the code, whatever member of that name a payload has.
  return { kind: 'binary', type, body: { ...JSON.parse(text), type }, text };
}

function hasMembers(body, wanted) {
  return Object.entries(wanted).every(([key, value]) => isDeepStrictEqual(body[key], value));
}

function describe(wanted) {
  return typeof wanted === 'function' ? `a message with ${wanted}` : `a message ${JSON.stringify(wanted)}`;
}

/** The text of a field's value in a sync_response. */
export function stateText(response, field) {
  return memberText(memberText(response.text, 'state'), field);
}
