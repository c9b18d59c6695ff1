// Random runs that can be repeated.

const SEED_MAX = 2 ** 32;

/** A small generator with the state in one number (mulberry32). */
function numbersFrom(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / SEED_MAX;
  };
}

export class Random {
  /** From the seed in the environment, else from a new one; the report says how to run it again. */
  static forTest(t) {
    const given = process.env.SYNCKIT_E2E_SEED;
    const seed = given === undefined ? Math.floor(Math.random() * SEED_MAX) : Number(given);
    t.diagnostic(`replay with: SYNCKIT_E2E_SEED=${seed} scripts/test --e2e`);
    return new Random(seed);
  }

  constructor(seed) {
    this.next = numbersFrom(seed);
  }

  /** An integer from 0 to `end - 1`. */
  below(end) {
    return Math.floor(this.next() * end);
  }

  pick(list) {
    return list[this.below(list.length)];
  }

  /** True in `share` of all cases. */
  chance(share) {
    return this.next() < share;
  }

  /** A generator of its own for one of several actors, whose steps interleave as time has it. */
  fork() {
    return new Random(this.below(SEED_MAX));
  }
}
