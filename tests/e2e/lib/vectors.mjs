// The examples of the protocol that the engine's tests use too.

import { readFileSync } from 'node:fs';

const file = new URL('../../../crates/engine/tests/vectors.json', import.meta.url);

export const vectors = JSON.parse(readFileSync(file, 'utf8'));
