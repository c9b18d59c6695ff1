// Every wait of these tests has an end and says what it waited for.

import test from 'node:test';

/** A condition that holds at all holds within moments; the rest is room for a busy machine. */
export const WAIT_MS = 15_000;

/** No test needs this long unless one of its waits has no end of its own. */
const TEST_MS = 120_000;

/**
 * Waits for `promise`; rejects after `milliseconds` with `what` and the text of `details`.
 */
export async function within(promise, what, details = () => '', milliseconds = WAIT_MS) {
  let timer;
  const deadline = new Promise((_, reject) => {
    timer = setTimeout(() => {
      reject(new Error(`not within ${milliseconds} ms: ${what}\n${details()}`));
    }, milliseconds);
  });
  try {
    return await Promise.race([promise, deadline]);
  } finally {
    clearTimeout(timer);
  }
}

/** A test with a time limit; its failure shows the end of what the server of `context` wrote. */
export function scenario(context, name, body) {
  test(name, { timeout: TEST_MS }, async (t) => {
    try {
      await body(t);
    } catch (error) {
      t.diagnostic(`server log:\n${context.server?.log() ?? 'no server'}`);
      throw error;
    }
  });
}
