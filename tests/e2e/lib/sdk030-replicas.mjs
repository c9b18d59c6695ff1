// What a client of SDK 0.3.0 holds of a document, and by which rules it changes.

import { FugueText } from './fugue.mjs';

/** At most one presence update in this time; what comes in between is never sent. */
const AWARENESS_THROTTLE_MS = 100;

export class VectorClock {
  constructor(own) {
    this.own = own;
    this.counts = new Map();
  }

  /** Counts one operation of the client itself. */
  tick() {
    this.counts.set(this.own, (this.counts.get(this.own) ?? 0) + 1);
    return this.counts.get(this.own);
  }

  merge(clock) {
    for (const [client, count] of Object.entries(clock)) {
      this.counts.set(client, Math.max(this.counts.get(client) ?? 0, count));
    }
  }

  toJSON() {
    return Object.fromEntries(this.counts);
  }
}

/** Fields with JSON values; a write, its own ones too, has to beat what is there. */
export class FieldReplica {
  constructor(document) {
    this.document = document;
    this.fields = new Map();
  }

  get() {
    return Object.fromEntries([...this.fields].map(([field, { value }]) => [field, value]));
  }

  set(field, value) {
    const { client, clock } = this.document;
    this.accept(field, value, clock.tick(), client.clientId);
    client.push(this.document, { type: 'set', field, value });
  }

  accept(field, value, count, clientId) {
    const held = this.fields.get(field);
    if (held === undefined || isGreater({ value, count, clientId }, held)) {
      this.fields.set(field, { value, count, clientId });
    }
  }
}

function isGreater(one, other) {
  if (one.count !== other.count) {
    return one.count > other.count;
  }
  const order = Buffer.compare(Buffer.from(one.clientId), Buffer.from(other.clientId));
  return order > 0 || (order === 0 && JSON.stringify(one.value) > JSON.stringify(other.value));
}

export class TextReplica {
  constructor(document) {
    this.document = document;
    this.fugue = new FugueText(document.client.clientId);
    this.lastMerged = null;
  }

  get() {
    return this.fugue.text();
  }

  insert(position, characters) {
    this.fugue.insert(position, characters);
    this.push();
  }

  delete(position, length) {
    this.fugue.delete(position, length);
    this.push();
  }

  /** Every edit sends the whole document. */
  push() {
    const { client, clock } = this.document;
    clock.tick();
    client.push(this.document, { type: 'text-state', state: this.fugue.state() });
  }

  accept({ state, clientId }) {
    if (clientId !== this.document.client.clientId && state !== this.lastMerged) {
      this.fugue.merge(state);
      this.lastMerged = state;
    }
  }
}

/** Adds whatever it is told, as often as it is told. */
export class CounterReplica {
  constructor(document) {
    this.document = document;
    this.value = 0;
  }

  get() {
    return this.value;
  }

  increment(value = 1) {
    this.change('increment', value);
  }

  decrement(value = 1) {
    this.change('decrement', value);
  }

  change(operation, value) {
    const { client, clock } = this.document;
    clock.tick();
    const op = { type: 'counter', operation, value };
    this.accept(op);
    client.push(this.document, op);
  }

  accept({ operation, value }) {
    this.value += operation === 'increment' ? value : -value;
  }
}

/** Members are told apart by their value. */
export class SetReplica {
  constructor(document) {
    this.document = document;
    this.members = new Map();
  }

  /** The members, sorted by their JSON text. */
  get() {
    return [...this.members.keys()].sort().map((text) => JSON.parse(text));
  }

  add(value) {
    this.change({ type: 'set', operation: 'add', value });
  }

  remove(value) {
    this.change({ type: 'set', operation: 'remove', value });
  }

  clear() {
    this.change({ type: 'set', operation: 'clear' });
  }

  change(op) {
    const { client, clock } = this.document;
    clock.tick();
    this.accept(op);
    client.push(this.document, op);
  }

  accept({ operation, value }) {
    if (operation === 'clear') {
      this.members.clear();
    } else if (operation === 'add') {
      this.members.set(JSON.stringify(value), value);
    } else {
      this.members.delete(JSON.stringify(value));
    }
  }
}

export class Awareness {
  constructor(document) {
    this.document = document;
    this.clock = 0;
    this.others = new Map();
    this.lastSent = -Infinity;
  }

  /** The presence of the others. */
  get() {
    return Object.fromEntries(this.others);
  }

  /** Whether it was sent; if not, it never will be. */
  setLocalState(state) {
    this.clock += 1;
    const now = performance.now();
    if (now - this.lastSent < AWARENESS_THROTTLE_MS) {
      return false;
    }
    this.lastSent = now;
    this.send(state);
    return true;
  }

  leave() {
    this.clock += 1;
    this.send(null);
  }

  send(state) {
    const { client, documentId } = this.document;
    client.post('awareness_update', { documentId, clientId: client.clientId, state, clock: this.clock });
  }

  applyAll(states) {
    states.forEach((entry) => this.apply(entry));
  }

  /** Whatever arrives counts, older or not. */
  apply({ clientId, state, clock }) {
    if (clientId === this.document.client.clientId) {
      return;
    }
    this.clock = Math.max(this.clock, clock);
    if (state === null) {
      this.others.delete(clientId);
    } else {
      this.others.set(clientId, state);
    }
  }
}
