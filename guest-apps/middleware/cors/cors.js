// Cross-origin resource sharing (the fetch standard, 3.3): answers preflight requests by itself, and tells browsers
// which responses another site's pages may read.

import * as inner from "wsgi:gateway/application@0.1.0";
import { getEnvironment } from "wasi:cli/environment@0.2.0";

// What holds unless the environment says otherwise: CORS_ORIGINS, CORS_CREDENTIALS, ... Lists are separated by spaces.
const DEFAULTS = {
  // "*" is every site, and never gets credentials.
  ORIGINS: "*",
  // 1: pages of the listed sites may send cookies along.
  CREDENTIALS: "",
  METHODS: "GET HEAD POST PUT PATCH DELETE",
  // Empty: whichever the page wants to send.
  HEADERS: "",
  // What pages may read besides the harmless ones.
  EXPOSE: "",
  // How long a browser may remember the answer, in seconds.
  MAX_AGE: "600",
};

const TOKENS = /^[!#$%&'*+.^_`|~0-9A-Za-z-]+(\s*,\s*[!#$%&'*+.^_`|~0-9A-Za-z-]+)*$/;

let settings;

// Not when the module is loaded: that is at build time.
function setting(name) {
  settings ??= new Map(getEnvironment());
  return settings.get(`CORS_${name}`) ?? DEFAULTS[name];
}

function list(name) {
  return setting(name).split(/[\s,]+/).filter(Boolean);
}

/** The headers that allow this origin, or none; and whether another origin would have got others. */
function permission(origin) {
  const origins = list("ORIGINS");
  if (origins.includes("*")) {
    return { headers: [["Access-Control-Allow-Origin", "*"]], varies: false };
  }
  const headers = [];
  if (origins.includes(origin)) {
    headers.push(["Access-Control-Allow-Origin", origin]);
    if (setting("CREDENTIALS") === "1") headers.push(["Access-Control-Allow-Credentials", "true"]);
  }
  return { headers, varies: true };
}

function preflight(vars, origin) {
  const vary = ["Vary", "Origin, Access-Control-Request-Method, Access-Control-Request-Headers"];
  const { headers } = permission(origin);
  if (headers.length === 0) return respond(403, [vary], "This origin is not allowed\n");
  headers.push(vary, ["Access-Control-Allow-Methods", list("METHODS").join(", ")]);
  const wanted = vars.get("HTTP_ACCESS_CONTROL_REQUEST_HEADERS") ?? "";
  const allowed = list("HEADERS").join(", ") || (TOKENS.test(wanted) ? wanted : "");
  if (allowed) headers.push(["Access-Control-Allow-Headers", allowed]);
  headers.push(["Access-Control-Max-Age", setting("MAX_AGE")]);
  return respond(204, headers, "");
}

function respond(status, headers, text) {
  if (text) headers.push(["Content-Type", "text/plain; charset=utf-8"]);
  const val = Uint8Array.from(text, (char) => char.charCodeAt(0));
  return { status, reason: "", headers, body: { tag: "bytes", val } };
}

/** What the app says on its own of who may read its response would only contradict. */
function isOurs([name]) {
  return /^access-control-(allow-origin|allow-credentials|expose-headers)$/i.test(name);
}

function addVary(headers) {
  const all = headers.filter(([name]) => /^vary$/i.test(name));
  if (all.some(([, value]) => /(^|,)\s*(\*|origin)\s*(,|$)/i.test(value))) return;
  if (all.length > 0) all[0][1] += ", Origin";
  else headers.push(["Vary", "Origin"]);
}

function decorate(response, origin) {
  const { headers, varies } = permission(origin);
  const exposed = list("EXPOSE").join(", ");
  if (headers.length > 0 && exposed) headers.push(["Access-Control-Expose-Headers", exposed]);
  const all = response.headers.filter((header) => !isOurs(header));
  if (varies) addVary(all);
  if (origin !== undefined) all.push(...headers);
  return { ...response, headers: all };
}

function route(environ) {
  const vars = new Map(environ.vars);
  const origin = vars.get("HTTP_ORIGIN");
  const isPreflight =
    vars.get("REQUEST_METHOD") === "OPTIONS" && vars.has("HTTP_ACCESS_CONTROL_REQUEST_METHOD");
  if (origin !== undefined && isPreflight) return preflight(vars, origin);
  const response = decorate(inner.call(environ), origin);
  const { tag, val } = response.body;
  return tag === "bytes" ? response : { ...response, body: { tag, val: new Chunks(val) } };
}

/** The inner iterable, passed on. */
class Chunks {
  constructor(chunks) {
    this.chunks = chunks;
  }

  next() {
    return this.chunks.next();
  }

  close() {
    this.chunks.close();
    this.chunks[Symbol.dispose]();
  }
}

export const application = {
  Chunks,

  call(environ) {
    try {
      return route(environ);
    } catch (error) {
      // A failure of what is inside goes on outward as it is.
      throw error.payload ?? { tag: "exception", val: `${error}\n${error.stack ?? ""}` };
    }
  },
};
