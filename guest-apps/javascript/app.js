// A small web app: what it answers is in `route`, how it says so to the server in `application`.

import io from "wsgi:gateway/io@0.1.0";

const BLOCK = 64 * 1024;
const LONGEST_STREAM = 2 ** 40;
const PATTERN = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-_";
const HTML = "text/html; charset=utf-8";
const TEXT = "text/plain; charset=utf-8";
const BINARY = "application/octet-stream";

const INDEX = `<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>A web app in JavaScript</title>
</head>
<body>
<h1>A web app in JavaScript</h1>
<ul>
<li><a href="hello/world">GET /hello/NAME</a></li>
<li><a href="environ">GET /environ</a></li>
<li><a href="stream/1000000">GET /stream/N</a></li>
<li><a href="fail">GET /fail</a></li>
</ul>
<form method="post" enctype="text/plain">
<input name="text" value="hello" aria-label="Text to send">
<button formaction="echo">POST /echo</button>
<button formaction="count">POST /count</button>
</form>
</body>
</html>
`;

const ROUTES = [
  [/^\/$/, "GET, HEAD", () => response(200, HTML, INDEX)],
  [/^\/hello\/([^/]+)$/, "GET, HEAD", (_, name) => response(200, TEXT, `Hello, ${name}!\n`)],
  [/^\/environ$/, "GET, HEAD", environ],
  [/^\/echo$/, "POST", echo],
  [/^\/count$/, "POST", count],
  [/^\/stream\/([0-9]+)$/, "GET, HEAD", stream],
  [/^\/fail$/, "GET, HEAD", fail],
];

function route(request) {
  const path = request.vars.get("PATH_INFO") ?? "";
  for (const [pattern, methods, view] of ROUTES) {
    const match = pattern.exec(path);
    if (!match) continue;
    if (!methods.split(", ").includes(request.vars.get("REQUEST_METHOD"))) {
      return response(405, TEXT, "Method Not Allowed\n", ["Allow", methods]);
    }
    return view(request, ...match.slice(1));
  }
  return notFound();
}

function notFound() {
  return response(404, TEXT, "Not Found\n");
}

function environ({ vars }) {
  const lines = [...vars.keys()].sort().map((key) => `${key}: ${vars.get(key)}\n`);
  return response(200, TEXT, lines.join(""));
}

function echo({ vars, input }) {
  return response(200, vars.get("CONTENT_TYPE") || BINARY, blocks(input));
}

function count({ input }) {
  let size = 0;
  for (const block of blocks(input)) size += block.length;
  return response(200, TEXT, `${size} bytes\n`);
}

function stream(_, digits) {
  const size = Number(digits);
  if (size > LONGEST_STREAM) return notFound();
  return response(200, BINARY, pattern(size), ["Content-Length", `${size}`]);
}

function fail() {
  throw new Error("deliberate failure");
}

/** The request body, block by block as it arrives. */
function* blocks({ tag, val }) {
  if (tag === "bytes") {
    yield val;
    return;
  }
  for (let block = val.read(BLOCK); block.length > 0; block = val.read(BLOCK)) yield block;
  val[Symbol.dispose]();
}

/** `size` bytes of the repeated pattern. */
function pattern(size) {
  const block = bytes(PATTERN.repeat(BLOCK / PATTERN.length));
  let sent = 0;
  // Not a generator: `return` of one that was never started would not run its `finally`.
  return {
    next() {
      const value = block.subarray(0, size - sent);
      sent += value.length;
      return { done: value.length === 0, value };
    },
    return() {
      io.errors(`stream closed after ${sent} of ${size} bytes\n`);
      return { done: true };
    },
  };
}

/** The bytes that a native string stands for. */
function bytes(text) {
  return Uint8Array.from(text, (char) => char.charCodeAt(0));
}

/** `body` is a native string, or an iterator of blocks. */
function response(status, contentType, body, ...headers) {
  return {
    status,
    reason: "",
    headers: [["Content-Type", contentType], ...headers],
    body:
      typeof body === "string"
        ? { tag: "bytes", val: bytes(body) }
        : { tag: "chunks", val: new Chunks(body) },
  };
}

/** An error's own text, as the server gave it, or else what a person needs to find its cause. */
function reason(error) {
  return error.payload ?? `${error}\n${error.stack ?? ""}`;
}

/** Any iterator of blocks, as the iterable that the server asks for one block after the other. */
class Chunks {
  constructor(iterator) {
    this.iterator = iterator;
  }

  next() {
    try {
      const { done, value } = this.iterator.next();
      return done ? null : value;
    } catch (error) {
      throw reason(error);
    }
  }

  close() {
    this.iterator.return();
  }
}

export const application = {
  Chunks,

  call({ vars, input }) {
    try {
      return route({ vars: new Map(vars), input });
    } catch (error) {
      throw { tag: "exception", val: reason(error) };
    }
  },
};
