// The server binary as an operator runs it, on a database of its own.

import { spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { dirname, resolve } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

import pg from 'pg';

import { within } from './deadline.mjs';

const REPOSITORY = resolve(dirname(fileURLToPath(import.meta.url)), '../../..');
const TARGET = resolve(REPOSITORY, process.env.CARGO_TARGET_DIR ?? 'target');
const BINARY = process.env.SYNCKIT_SERVER_BIN ?? resolve(TARGET, 'debug/synckit-server');

const READY_PREFIX = 'listening on http://';

/** A first start creates the schema; a restart after a kill may have to outwait the old connections. */
const READY_MS = 30_000;

/** Above the sum of the server's own shutdown deadlines. */
const EXIT_MS = 60_000;

/** Enough to see what led to a failure. */
const LOG_LINES_MAX = 200;

const running = new Set();

/** An empty database, reached directly or through a proxy. */
export class Database {
  static async create() {
    const url = process.env.SYNCKIT_TEST_POSTGRES;
    if (!url) {
      throw new Error('SYNCKIT_TEST_POSTGRES is not set: run scripts/test --e2e, which starts a server');
    }
    const name = `synckit_e2e_${randomUUID().replaceAll('-', '')}`;
    await execute(url, `CREATE DATABASE ${name}`);
    return new Database(new URL(url), name);
  }

  constructor(server, name) {
    this.server = server;
    this.name = name;
  }

  get host() {
    return this.server.hostname;
  }

  get port() {
    return Number(this.server.port || 5432);
  }

  /** `through` is another place where the same server can be reached. */
  connectionString(through = this) {
    const parts = {
      Host: through.host,
      Port: through.port,
      Database: this.name,
      Username: decodeURIComponent(this.server.username),
      Password: decodeURIComponent(this.server.password),
    };
    return Object.entries(parts)
      .map(([key, value]) => `${key}=${value}`)
      .join(';');
  }

  /** The rows of a query on this database. */
  async rows(sql, values = []) {
    const url = new URL(this.server.href);
    url.pathname = `/${this.name}`;
    return (await execute(url.href, sql, values)).rows;
  }

  async drop() {
    await execute(this.server.href, `DROP DATABASE IF EXISTS ${this.name} WITH (FORCE)`);
  }
}

async function execute(url, sql, values = []) {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    return await client.query(sql, values);
  } finally {
    await client.end();
  }
}

/** The settings every test server has; a test adds or removes some. */
export function settings(connectionString, more = {}) {
  return {
    SYNCKIT_AUTH_REQUIRED: 'false',
    SHUTDOWN__DELAY_MS: '0',
    STORAGE__PROVIDER: 'postgresql',
    STORAGE__POSTGRESQL__CONNECTIONSTRING: connectionString,
    ...more,
  };
}

/** What servers that share a database need besides, to tell each other of edits and presence. */
export function cluster() {
  const redis = process.env.SYNCKIT_TEST_REDIS;
  if (!redis) {
    throw new Error('SYNCKIT_TEST_REDIS is not set: run scripts/test --e2e, which starts a server');
  }
  return {
    STORAGE__REDIS__ENABLED: 'true',
    STORAGE__REDIS__CONNECTIONSTRING: redis,
    STORAGE__REDIS__CHANNELPREFIX: `e2e-${randomUUID()}:`,
  };
}

export class Server {
  /** Starts a server on a new database; `stop` ends both. */
  static async onNewDatabase(more = {}) {
    const database = await Database.create();
    const server = new Server(settings(database.connectionString(), more), database);
    await server.start();
    return server;
  }

  constructor(environment, database = null) {
    this.environment = environment;
    this.database = database;
    this.port = 0;
    this.lines = [];
  }

  /** Starts the process; a second start takes the port of the first, as a restarted service would. */
  async start() {
    this.run = new Run(this.environment, ['serve', '--urls', `http://127.0.0.1:${this.port}`], this.lines);
    const address = await within(this.run.ready, 'the server is ready', () => this.log(), READY_MS);
    this.port = Number(address.split(':')[1]);
  }

  get url() {
    return `http://127.0.0.1:${this.port}`;
  }

  get wsUrl() {
    return `ws://127.0.0.1:${this.port}/ws`;
  }

  log() {
    return this.lines.join('\n');
  }

  async kill9() {
    this.run.process.kill('SIGKILL');
    await this.exited();
  }

  /** SIGTERM; returns the exit code. */
  async terminate() {
    this.run.process.kill('SIGTERM');
    return this.exited();
  }

  async exited() {
    const { code } = await within(this.run.exited, 'the server ends', () => this.log(), EXIT_MS);
    return code;
  }

  async stop() {
    await this.kill9();
    await this.database?.drop();
  }
}

/** Runs the binary until it ends by itself. */
export async function runToExit(environment, commandLine = ['serve', '--urls', 'http://127.0.0.1:0']) {
  const lines = [];
  const run = new Run(environment, commandLine, lines);
  // It is expected to refuse its settings, so nobody waits for the ready line.
  run.ready.catch(() => {});
  try {
    return await within(run.exited, 'the command ends', () => lines.join('\n'));
  } finally {
    run.process.kill('SIGKILL');
  }
}

class Run {
  constructor(environment, commandLine, lines) {
    this.process = spawn(BINARY, commandLine, {
      env: { PATH: process.env.PATH, ...environment },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    running.add(this.process);
    this.process.on('exit', () => running.delete(this.process));
    const output = { stdout: [], stderr: [] };
    for (const stream of ['stdout', 'stderr']) {
      createInterface({ input: this.process[stream] }).on('line', (line) => {
        output[stream].push(line);
        lines.push(line);
        lines.splice(0, lines.length - LOG_LINES_MAX);
        if (stream === 'stdout' && line.startsWith(READY_PREFIX)) {
          this.process.emit('ready', line.slice(READY_PREFIX.length));
        }
      });
    }
    const failed = once(this.process, 'error').then(([error]) => {
      throw new Error(`cannot run ${BINARY}: ${error.message}`);
    });
    const closed = once(this.process, 'close').then(([code, signal]) => ({ code, signal, ...output }));
    this.exited = Promise.race([closed, failed]);
    this.ready = Promise.race([
      once(this.process, 'ready').then(([address]) => address),
      this.exited.then(({ code }) => {
        throw new Error(`the server ended with ${code} before it was ready:\n${lines.join('\n')}`);
      }),
    ]);
    // Only the promise a test waits for may fail it.
    for (const promise of [failed, this.exited, this.ready]) {
      promise.catch(() => {});
    }
  }
}

// A failed or interrupted test file must not leave servers behind.
process.on('exit', () => running.forEach((child) => child.kill('SIGKILL')));
for (const signal of ['SIGINT', 'SIGTERM']) {
  process.once(signal, () => process.exit(1));
}
