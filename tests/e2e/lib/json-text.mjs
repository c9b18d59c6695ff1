// Looks into JSON without parsing its values: JSON.parse loses number text, repeated keys and the order
// of some keys, and these tests are about just that.

const STRING = /"(?:[^"\\]|\\.)*"/y;
const OTHER_TOKEN = /[{}[\],:]|[^\s{}[\],:"]+/y;
const SPACE = /\s*/y;

function* tokens(text) {
  let at = 0;
  for (;;) {
    SPACE.lastIndex = at;
    SPACE.exec(text);
    at = SPACE.lastIndex;
    if (at >= text.length) {
      return;
    }
    const pattern = text[at] === '"' ? STRING : OTHER_TOKEN;
    pattern.lastIndex = at;
    const match = pattern.exec(text);
    if (match === null) {
      throw new Error(`not JSON at ${at}: ${text}`);
    }
    yield { text: match[0], start: at, end: pattern.lastIndex };
    at = pattern.lastIndex;
  }
}

/** The members of a JSON object as `[key, text of the value]`, in order, repeated keys included. */
export function members(text) {
  const found = [];
  let depth = 0;
  let key = null;
  let valueStart = null;
  for (const token of tokens(text)) {
    const closes = token.text === '}' || token.text === ']';
    if (depth === 1 && (token.text === ',' || closes) && valueStart !== null) {
      found.push([key, text.slice(valueStart, token.start).trimEnd()]);
      key = null;
      valueStart = null;
    } else if (depth === 1 && key === null && token.text.startsWith('"')) {
      key = JSON.parse(token.text);
    } else if (depth === 1 && valueStart === null && token.text !== ':' && token.text !== ',' && !closes) {
      valueStart = token.start;
    }
    if (token.text === '{' || token.text === '[') {
      depth += 1;
    } else if (closes) {
      depth -= 1;
    }
  }
  return found;
}

/** The text of one member of a JSON object, or undefined. */
export function memberText(text, name) {
  return members(text).find(([key]) => key === name)?.[1];
}
