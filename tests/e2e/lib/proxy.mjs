// A TCP link that can be cut.

import { once } from 'node:events';
import net from 'node:net';

export class Proxy {
  static async to(port, host = '127.0.0.1') {
    const proxy = new Proxy(port, host);
    proxy.listener.listen(0, '127.0.0.1');
    await once(proxy.listener, 'listening');
    return proxy;
  }

  constructor(targetPort, targetHost) {
    this.target = { port: targetPort, host: targetHost };
    this.sockets = new Set();
    this.waiting = [];
    this.links = new Map();
    this.holdsReplies = false;
    this.state = 'open';
    this.listener = net.createServer({ allowHalfOpen: true }, (socket) => this.accept(socket));
  }

  get host() {
    return '127.0.0.1';
  }

  get port() {
    return this.listener.address().port;
  }

  /** Cuts all connections; new ones are held until the link is back, as by a network that drops packets. */
  cut() {
    this.state = 'held';
    this.destroyAll();
  }

  /** Cuts all connections; new ones fail, as those to a process that has ended. */
  refuse() {
    this.state = 'refusing';
    this.destroyAll();
  }

  restore() {
    this.state = 'open';
    for (const socket of this.waiting.splice(0)) {
      this.connect(socket);
    }
  }

  /** From now on nothing comes back over the link; what goes there still arrives. */
  holdReplies() {
    this.holdsReplies = true;
    this.links.forEach((socket, upstream) => upstream.unpipe(socket));
  }

  releaseReplies() {
    this.holdsReplies = false;
    this.links.forEach((socket, upstream) => upstream.pipe(socket));
  }

  async close() {
    this.listener.close();
    this.destroyAll();
    await once(this.listener, 'close');
  }

  accept(socket) {
    this.keep(socket);
    if (this.state === 'refusing') {
      socket.resetAndDestroy();
    } else if (this.state === 'held') {
      this.waiting.push(socket);
    } else {
      this.connect(socket);
    }
  }

  connect(socket) {
    const upstream = net.connect({ ...this.target, allowHalfOpen: true });
    this.keep(upstream);
    this.links.set(upstream, socket);
    socket.pipe(upstream);
    if (!this.holdsReplies) {
      upstream.pipe(socket);
    }
    socket.on('close', () => upstream.destroy());
    upstream.on('close', () => {
      this.links.delete(upstream);
      socket.destroy();
    });
  }

  keep(socket) {
    this.sockets.add(socket);
    socket.on('close', () => this.sockets.delete(socket));
    // A broken link is what this is for; both ends notice by themselves.
    socket.on('error', () => {});
  }

  destroyAll() {
    this.waiting.length = 0;
    for (const socket of this.sockets) {
      socket.destroy();
    }
  }
}
