// A text document as clients of SDK 0.3.0 keep and send it: runs of grapheme clusters in a Fugue tree.

import { isDeepStrictEqual } from 'node:util';

const segmenter = new Intl.Segmenter('en', { granularity: 'grapheme' });

function clustersOf(text) {
  return Array.from(segmenter.segment(text), ({ segment }) => segment);
}

function compareIds(one, other) {
  return one.clock - other.clock || Buffer.compare(Buffer.from(one.client_id), Buffer.from(other.client_id));
}

function nodeId(client_id, clock) {
  return { client_id, clock, offset: 0 };
}

/** The id of the first cluster of a block; the block's own id is that of the last one. */
function firstId(block) {
  return nodeId(block.id.client_id, block.id.clock - block.clusters.length + 1);
}

function contains(block, id) {
  const { client_id, clock } = block.id;
  return client_id === id.client_id && firstId(block).clock <= id.clock && id.clock <= clock;
}

export class FugueText {
  constructor(clientId) {
    this.clientId = clientId;
    this.clock = 0;
    this.blocks = [];
  }

  static parse(state, clientId) {
    const parsed = JSON.parse(state);
    const text = new FugueText(clientId ?? parsed.client_id);
    text.clock = parsed.clock.value;
    text.blocks = parsed.blocks.map(([, { id, text: characters, left_origin, right_origin, deleted }]) => ({
      id,
      clusters: clustersOf(characters),
      left_origin,
      right_origin,
      deleted,
    }));
    return text;
  }

  /** The document as it goes over the wire. */
  state() {
    const blocks = this.blocks.map(({ id, clusters, left_origin, right_origin, deleted }) => [
      id,
      { id, text: clusters.join(''), left_origin, right_origin, deleted },
    ]);
    return JSON.stringify({ blocks, clock: { value: this.clock }, client_id: this.clientId });
  }

  /** What a user sees. */
  text() {
    return this.visible()
      .map(({ clusters }) => clusters.join(''))
      .join('');
  }

  /** How many clusters a user sees. */
  length() {
    return this.visible().reduce((sum, { clusters }) => sum + clusters.length, 0);
  }

  /** The positions at which `insert` is possible, the end included. */
  boundaries() {
    const positions = [0];
    for (const { clusters } of this.visible()) {
      positions.push(positions.at(-1) + clusters.length);
    }
    return positions;
  }

  /** Inserts before the cluster at `position`, which must begin a block, or at the end. */
  insert(position, characters) {
    const visible = this.visible();
    const index = this.boundaries().indexOf(position);
    if (index < 0) {
      throw new Error(`no block of ${JSON.stringify(this.text())} begins at ${position}`);
    }
    const [left, right] = [visible[index - 1], visible[index]];
    const clusters = clustersOf(characters);
    this.clock += clusters.length;
    this.blocks.push({
      id: nodeId(this.clientId, this.clock),
      clusters,
      left_origin: left ? left.id : null,
      right_origin: right ? firstId(right) : null,
      deleted: false,
    });
    this.sort();
  }

  /** Deletes `length` clusters from `position` on; a block that is deleted in part is split. */
  delete(position, length) {
    const end = position + length;
    let start = 0;
    for (const block of this.visible()) {
      const from = Math.max(position - start, 0);
      const to = Math.min(end - start, block.clusters.length);
      start += block.clusters.length;
      if (from < to) {
        this.deleteWithin(block, from, to);
      }
    }
    this.sort();
  }

  deleteWithin(block, from, to) {
    const { id, clusters } = block;
    const first = firstId(block).clock;
    const piece = (begin, end, deleted) => ({
      ...block,
      id: nodeId(id.client_id, first + end - 1),
      clusters: clusters.slice(begin, end),
      deleted,
    });
    const pieces = [piece(0, from, false), piece(from, to, true), piece(to, clusters.length, false)];
    this.blocks.splice(this.blocks.indexOf(block), 1, ...pieces.filter((part) => part.clusters.length > 0));
  }

  /** Joins with another state: what either knows is known, and what either deleted is gone. */
  merge(state) {
    const other = FugueText.parse(state);
    const runs = new Map();
    for (const block of [...this.blocks, ...other.blocks]) {
      takeApart(block, runs);
    }
    this.blocks = [...runs].flatMap(([client, cells]) => putTogether(client, cells));
    this.clock = Math.max(this.clock, other.clock);
    this.sort();
  }

  sort() {
    this.blocks.sort((one, other) => compareIds(one.id, other.id));
  }

  visible() {
    return this.inOrder().filter(({ deleted }) => !deleted);
  }

  /** All blocks in the order of the text. */
  inOrder() {
    const root = { left: [], right: [], parent: null, block: null };
    const nodes = [];
    const nodeWith = (id) => (id === null ? undefined : nodes.find(({ block }) => contains(block, id)));
    for (const block of this.blocks) {
      nodes.push({ block, left: [], right: [], parent: null });
    }
    // Parents before children: what an origin names is older than the block.
    for (const node of nodes) {
      const left = nodeWith(node.block.left_origin);
      const right = nodeWith(node.block.right_origin);
      const isLeft = right !== undefined && (left === undefined || isAncestor(left, right));
      node.parent = (isLeft ? right : left) ?? root;
      // Blocks are sorted, so the children are too.
      (isLeft ? node.parent.left : node.parent.right).push(node);
    }
    return traverse(root);
  }
}

function isAncestor(node, other) {
  for (let at = other; at !== null; at = at.parent) {
    if (at === node) {
      return true;
    }
  }
  return false;
}

/** Left children, the block, right children; a text typed in sequence is too deep for recursion. */
function traverse(root) {
  const found = [];
  const stack = [{ node: root, isOpen: false }];
  while (stack.length > 0) {
    const { node, isOpen } = stack.pop();
    if (isOpen) {
      found.push(node.block);
      continue;
    }
    const later = [...node.left.map(closed)];
    if (node.block !== null) {
      later.push({ node, isOpen: true });
    }
    later.push(...node.right.map(closed));
    stack.push(...later.reverse());
  }
  return found;
}

function closed(node) {
  return { node, isOpen: false };
}

/** Adds the clusters of a block to what is known per client and clock. */
function takeApart(block, runs) {
  const { client_id } = block.id;
  const cells = runs.get(client_id) ?? new Map();
  runs.set(client_id, cells);
  const first = firstId(block).clock;
  block.clusters.forEach((cluster, index) => {
    const known = cells.get(first + index);
    const { left_origin, right_origin } = known ?? block;
    if (known !== undefined && known.cluster !== cluster) {
      throw new Error(`two texts for ${client_id} at ${first + index}: ${known.cluster} and ${cluster}`);
    }
    if (!isDeepStrictEqual([left_origin, right_origin], [block.left_origin, block.right_origin])) {
      throw new Error(`two origins for ${client_id} at ${first + index}`);
    }
    cells.set(first + index, {
      cluster,
      left_origin,
      right_origin,
      deleted: block.deleted || known?.deleted === true,
      isLast: index === block.clusters.length - 1 || known?.isLast === true,
    });
  });
}

/** The blocks of one client, cut wherever either side had cut them. */
function putTogether(client, cells) {
  const blocks = [];
  let clusters = [];
  for (const clock of [...cells.keys()].sort((one, other) => one - other)) {
    const { cluster, left_origin, right_origin, deleted, isLast } = cells.get(clock);
    clusters.push(cluster);
    if (isLast) {
      blocks.push({ id: nodeId(client, clock), clusters, left_origin, right_origin, deleted });
      clusters = [];
    }
  }
  return blocks;
}
