// bench/client.bench.ts
import { fork } from "node:child_process";
import { once } from "node:events";

// src/errors.ts
var BRAND = "fairlead.error.code";
var AmqpError = class extends Error {
  static code = "ERR_AMQP";
  /** The condition exchanged with the peer, e.g. `amqp:link:detach-forced`; `undefined` where none was. §2.8.15–18 */
  condition;
  scope;
  constructor(message, details = {}) {
    super(message, details.cause === void 0 ? void 0 : { cause: details.cause });
    this.condition = details.condition;
    this.scope = details.scope;
    Object.defineProperty(this, Symbol.for(BRAND), { value: new.target.code });
  }
  /**
   * Compares by code, so an error from a second copy of this package still matches. A class derived by a user has no
   * `code` of its own and falls back to the prototype chain.
   */
  static [Symbol.hasInstance](value) {
    if (typeof value !== "object" || value === null) return false;
    const code = value[Symbol.for(BRAND)];
    if (code === void 0 || !Object.hasOwn(this, "code"))
      return Function.prototype[Symbol.hasInstance].call(this, value);
    return this.code === "ERR_AMQP" || this.code === code;
  }
};
var UsageError = class extends AmqpError {
  static code = "ERR_AMQP_USAGE";
  name = "UsageError";
  code = "ERR_AMQP_USAGE";
  /** The section that forbids it, e.g. `2.6.7`, where one does. */
  section;
  constructor(message, section) {
    super(section === void 0 ? message : `${message} (\xA7${section})`);
    this.section = section;
  }
};
var EncodeError = class _EncodeError extends AmqpError {
  static code = "ERR_AMQP_ENCODE";
  name = "EncodeError";
  code = "ERR_AMQP_ENCODE";
  /** Where in the value, e.g. `applicationProperties.retries`. Empty for the value itself. */
  path;
  /** The message without the path. */
  reason;
  constructor(reason2, path = "") {
    super(path === "" ? reason2 : `${path}: ${reason2}`);
    this.reason = reason2;
    this.path = path;
  }
  /** The same fault seen from one level up. Anything else than an `EncodeError` passes through. */
  static within(segment, error2) {
    if (!(error2 instanceof _EncodeError)) return error2;
    return new _EncodeError(error2.reason, error2.path === "" ? `${segment}` : `${segment}.${error2.path}`);
  }
};
var DecodeError = class extends AmqpError {
  static code = "ERR_AMQP_DECODE";
  name = "DecodeError";
  code = "ERR_AMQP_DECODE";
  /** Byte offset of the fault, from the start of the bytes given. */
  offset;
  constructor(message, offset) {
    super(`${message} at byte ${offset}`, { condition: AmqpCondition.decodeError });
    this.offset = offset;
  }
};
var ProtocolError = class extends AmqpError {
  static code = "ERR_AMQP_PROTOCOL";
  name = "ProtocolError";
  code = "ERR_AMQP_PROTOCOL";
  section;
  constructor(message, condition, scope, section, cause) {
    super(section === void 0 ? message : `${message} (\xA7${section})`, { condition, scope, cause });
    this.section = section;
  }
};
var RemoteError = class extends AmqpError {
  static code = "ERR_AMQP_REMOTE";
  name = "RemoteError";
  code = "ERR_AMQP_REMOTE";
  description;
  /** The error's info map, keys as sent. §2.8.14 */
  info;
  constructor(what2, scope, error2) {
    super(`${what2}: ${error2.condition}${error2.description ? ` (${error2.description})` : ""}`, {
      condition: error2.condition,
      scope
    });
    this.description = error2.description;
    this.info = error2.info;
  }
};
var SaslError = class extends AmqpError {
  static code = "ERR_AMQP_SASL";
  name = "SaslError";
  code = "ERR_AMQP_SASL";
  /** What the peer answered; `undefined` when no mechanism fitted or the exchange broke off. */
  outcome;
  constructor(message, outcome, cause) {
    super(message, { scope: "connection", cause });
    this.outcome = outcome;
  }
};
var TransportError = class extends AmqpError {
  static code = "ERR_AMQP_TRANSPORT";
  name = "TransportError";
  code = "ERR_AMQP_TRANSPORT";
  constructor(message, cause) {
    super(message, { scope: "connection", cause });
  }
};
var IdleTimeoutError = class extends AmqpError {
  static code = "ERR_AMQP_IDLE_TIMEOUT";
  name = "IdleTimeoutError";
  code = "ERR_AMQP_IDLE_TIMEOUT";
  idleMs;
  constructor(idleMs) {
    super(`peer silent for ${idleMs} ms, past the idle time-out`, {
      condition: AmqpCondition.resourceLimitExceeded,
      scope: "connection"
    });
    this.idleMs = idleMs;
  }
};
var ClosedError = class extends AmqpError {
  static code = "ERR_AMQP_CLOSED";
  name = "ClosedError";
  code = "ERR_AMQP_CLOSED";
  constructor(what2, scope, cause) {
    const why = cause instanceof Error ? `: ${cause.message}` : "";
    super(`${what2} is closed${why}`, {
      scope,
      cause,
      condition: cause instanceof AmqpError ? cause.condition : void 0
    });
  }
};
var AmqpCondition = {
  internalError: "amqp:internal-error",
  notFound: "amqp:not-found",
  unauthorizedAccess: "amqp:unauthorized-access",
  decodeError: "amqp:decode-error",
  resourceLimitExceeded: "amqp:resource-limit-exceeded",
  notAllowed: "amqp:not-allowed",
  invalidField: "amqp:invalid-field",
  notImplemented: "amqp:not-implemented",
  resourceLocked: "amqp:resource-locked",
  preconditionFailed: "amqp:precondition-failed",
  resourceDeleted: "amqp:resource-deleted",
  illegalState: "amqp:illegal-state",
  frameSizeTooSmall: "amqp:frame-size-too-small"
};
var ConnectionCondition = {
  connectionForced: "amqp:connection:forced",
  framingError: "amqp:connection:framing-error",
  redirect: "amqp:connection:redirect"
};
var SessionCondition = {
  windowViolation: "amqp:session:window-violation",
  errantLink: "amqp:session:errant-link",
  handleInUse: "amqp:session:handle-in-use",
  unattachedHandle: "amqp:session:unattached-handle"
};
var LinkCondition = {
  detachForced: "amqp:link:detach-forced",
  transferLimitExceeded: "amqp:link:transfer-limit-exceeded",
  messageSizeExceeded: "amqp:link:message-size-exceeded",
  redirect: "amqp:link:redirect",
  stolen: "amqp:link:stolen"
};

// src/io/socket.ts
async function connectSocket(target2) {
  const { host, port, tls, signal } = target2;
  signal?.throwIfAborted();
  const socket = tls ? await openTls(host, port, tls) : (await import("node:net")).connect({ host, port, noDelay: true });
  await new Promise((resolve, reject) => {
    const ready = tls ? "secureConnect" : "connect";
    const settle = (finish2) => {
      socket.off(ready, onReady).off("error", onError).off("close", onClose);
      signal?.removeEventListener("abort", onAbort);
      finish2();
    };
    const onReady = () => settle(resolve);
    const onError = (error2) => settle(() => reject(new TransportError(`cannot connect to ${host}:${port}: ${error2.message}`, error2)));
    const onClose = () => onError(new Error("the socket closed during the handshake"));
    const onAbort = () => {
      settle(() => reject(signal?.reason));
      socket.on("error", ignore).destroy();
    };
    socket.on(ready, onReady).on("error", onError).on("close", onClose);
    signal?.addEventListener("abort", onAbort);
  });
  return socketTransport(socket);
}
var ignore = () => {
};
async function openTls(host, port, options) {
  const [net, tls] = await Promise.all([import("node:net"), import("node:tls")]);
  const servername = net.isIP(host) ? {} : { servername: host };
  return tls.connect({ host, port, ...servername, ...options }).setNoDelay(true);
}
function socketTransport(socket) {
  return new Socket(socket);
}
var Socket = class {
  #socket;
  #error;
  constructor(socket) {
    this.#socket = socket;
    socket.on("error", (error2) => {
      this.#error ??= error2;
    });
  }
  get peerCertificate() {
    const socket = this.#socket;
    const raw = socket.getPeerCertificate?.(false)?.raw;
    return raw && raw.length > 0 ? raw : void 0;
  }
  start(sink) {
    const socket = this.#socket;
    socket.on("data", (bytes) => sink.data(bytes));
    socket.on("drain", () => sink.drain());
    let ended = false;
    const end2 = () => {
      if (!ended) sink.end(this.#error);
      ended = true;
    };
    socket.on("end", end2);
    socket.on("close", end2);
    if (socket.destroyed) queueMicrotask(end2);
  }
  write(chunks) {
    const socket = this.#socket;
    if (!socket.writable) return true;
    socket.cork();
    for (const chunk of chunks) socket.write(chunk);
    socket.uncork();
    return !socket.writableNeedDrain;
  }
  end() {
    if (this.#socket.writable) this.#socket.end();
  }
  destroy(error2) {
    this.#socket.destroy(error2);
  }
  ref() {
    this.#socket.ref();
  }
  unref() {
    this.#socket.unref();
  }
};
async function listenSocket(options, accepted2, failed) {
  const { host, port, tls } = options;
  const server = tls ? (await import("node:tls")).createServer(tls).on("secureConnection", (socket) => accepted2(socketTransport(socket.setNoDelay(true)))) : (await import("node:net")).createServer({ noDelay: true }, (socket) => accepted2(socketTransport(socket)));
  if (tls)
    server.on(
      "tlsClientError",
      (error2) => failed(new TransportError(`TLS handshake failed: ${error2.message}`, error2))
    );
  await new Promise((resolve, reject) => {
    const onError = (error2) => reject(new TransportError(`cannot listen on ${host}:${port}: ${error2.message}`, error2));
    server.once("error", onError);
    server.listen(port, host, () => {
      server.off("error", onError);
      server.on("error", failed);
      resolve();
    });
  });
  const address = server.address();
  return {
    port: typeof address === "object" && address ? address.port : 0,
    close: () => new Promise((resolve) => server.close(() => resolve()))
  };
}

// src/types/constructors.ts
var typeOfCode = {
  0: "described",
  64: "null",
  65: "boolean",
  // true
  66: "boolean",
  // false
  67: "uint",
  // uint0
  68: "ulong",
  // ulong0
  69: "list",
  // list0
  80: "ubyte",
  81: "byte",
  82: "uint",
  // smalluint
  83: "ulong",
  // smallulong
  84: "int",
  // smallint
  85: "long",
  // smalllong
  86: "boolean",
  96: "ushort",
  97: "short",
  112: "uint",
  113: "int",
  114: "float",
  115: "char",
  116: "decimal32",
  128: "ulong",
  129: "long",
  130: "double",
  131: "timestamp",
  132: "decimal64",
  148: "decimal128",
  152: "uuid",
  160: "binary",
  // vbin8
  161: "string",
  // str8-utf8
  163: "symbol",
  // sym8
  176: "binary",
  // vbin32
  177: "string",
  // str32-utf8
  179: "symbol",
  // sym32
  192: "list",
  // list8
  193: "map",
  // map8
  208: "list",
  // list32
  209: "map",
  // map32
  224: "array",
  // array8
  240: "array"
  // array32
};
function fixedWidth(code) {
  if (typeOfCode[code] === void 0 || code === 0) return -1;
  const category = code >> 4;
  return category >= 4 && category <= 9 ? [0, 1, 2, 4, 8, 16][category - 4] ?? -1 : -1;
}

// src/types/values.ts
var AmqpSymbol = class {
  name;
  /** @param name  ASCII only, checked when encoded */
  constructor(name) {
    this.name = name;
  }
  toString() {
    return this.name;
  }
  toJSON() {
    return this.name;
  }
};
var Described = class {
  descriptor;
  value;
  constructor(descriptor, value) {
    this.descriptor = descriptor;
    this.value = value;
  }
};
var Typed = class {
  type;
  value;
  constructor(type, value) {
    this.type = type;
    this.value = value;
  }
};
var hexOf = (bytes) => Array.from(bytes, (byte2) => byte2.toString(16).padStart(2, "0")).join("");
var Uuid = class _Uuid {
  /** 16 bytes. A view of the bytes given, not a copy. */
  bytes;
  /** @throws {EncodeError} unless there are 16 bytes */
  constructor(bytes) {
    if (bytes.length !== 16) throw new EncodeError(`a uuid has 16 bytes, not ${bytes.length}`);
    this.bytes = bytes;
  }
  /** @param text  8-4-4-4-12 hex digits, any case. @throws {EncodeError} for any other text */
  static parse(text) {
    if (!/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i.test(text)) throw new EncodeError("not the text of a uuid");
    const digits = text.replaceAll("-", "");
    return new _Uuid(Uint8Array.from({ length: 16 }, (_, i) => Number.parseInt(digits.slice(2 * i, 2 * i + 2), 16)));
  }
  toString() {
    return hexOf(this.bytes).replace(/^(.{8})(.{4})(.{4})(.{4})/, "$1-$2-$3-$4-");
  }
  toJSON() {
    return this.toString();
  }
};
var Decimal = class {
  width;
  /** 4, 8 or 16 bytes, big-endian. A view of the bytes given, not a copy. */
  bytes;
  /** @throws {EncodeError} unless there are 4, 8 or 16 bytes */
  constructor(bytes) {
    const width = bytes.length * 8;
    if (width !== 32 && width !== 64 && width !== 128)
      throw new EncodeError(`a decimal has 4, 8 or 16 bytes, not ${bytes.length}`);
    this.width = width;
    this.bytes = bytes;
  }
};
var refuse = (type, value) => {
  throw new EncodeError(`${typeof value === "object" ? "this value" : String(value)} is not a ${type}`);
};
var integer = (type, min, max) => (value) => Number.isInteger(value) && value >= min && value <= max ? new Typed(type, value) : refuse(type, value);
var wide = (type, min, max) => (value) => typeof value === "bigint" && value >= min && value <= max ? new Typed(type, value) : refuse(type, value);
var ubyte = /* @__PURE__ */ integer("ubyte", 0, 255);
var ushort = /* @__PURE__ */ integer("ushort", 0, 65535);
var uint = /* @__PURE__ */ integer("uint", 0, 4294967295);
var byte = /* @__PURE__ */ integer("byte", -128, 127);
var short = /* @__PURE__ */ integer("short", -32768, 32767);
var int = /* @__PURE__ */ integer("int", -2147483648, 2147483647);
var ulong = /* @__PURE__ */ wide("ulong", 0n, 2n ** 64n - 1n);
var long = /* @__PURE__ */ wide("long", -(2n ** 63n), 2n ** 63n - 1n);
var real = (type) => (value) => typeof value === "number" ? new Typed(type, value) : refuse(type, value);
var double = /* @__PURE__ */ real("double");
function char(value) {
  const code = value.codePointAt(0);
  if (code === void 0 || value.length !== (code > 65535 ? 2 : 1) || code >= 55296 && code <= 57343)
    return refuse("char", value);
  return new Typed("char", value);
}
var timestamp = /* @__PURE__ */ wide(
  "timestamp",
  -(2n ** 63n),
  2n ** 63n - 1n
);
var symbol = (name) => new AmqpSymbol(name);
var array = (of, elements, descriptors = []) => new Typed("array", { of, descriptors, elements });

// src/types/short-text.ts
var SHORT = 24;
var char2 = String.fromCharCode;
function shortText(b, i, end2) {
  switch (end2 - i) {
    case 1:
      return char2(b[i]);
    case 2:
      return char2(b[i], b[i + 1]);
    case 3:
      return char2(b[i], b[i + 1], b[i + 2]);
    case 4:
      return char2(b[i], b[i + 1], b[i + 2], b[i + 3]);
    case 5:
      return char2(b[i], b[i + 1], b[i + 2], b[i + 3], b[i + 4]);
    case 6:
      return char2(b[i], b[i + 1], b[i + 2], b[i + 3], b[i + 4], b[i + 5]);
    case 7:
      return char2(b[i], b[i + 1], b[i + 2], b[i + 3], b[i + 4], b[i + 5], b[i + 6]);
    case 8:
      return char2(b[i], b[i + 1], b[i + 2], b[i + 3], b[i + 4], b[i + 5], b[i + 6], b[i + 7]);
    case 9:
      return char2(b[i], b[i + 1], b[i + 2], b[i + 3], b[i + 4], b[i + 5], b[i + 6], b[i + 7], b[i + 8]);
    case 10:
      return char2(b[i], b[i + 1], b[i + 2], b[i + 3], b[i + 4], b[i + 5], b[i + 6], b[i + 7], b[i + 8], b[i + 9]);
    case 11:
      return char2(b[i], b[i + 1], b[i + 2], b[i + 3], b[i + 4], b[i + 5], b[i + 6], b[i + 7], b[i + 8], b[i + 9], b[i + 10]);
    case 12:
      return char2(b[i], b[i + 1], b[i + 2], b[i + 3], b[i + 4], b[i + 5], b[i + 6], b[i + 7], b[i + 8], b[i + 9], b[i + 10], b[i + 11]);
    case 13:
      return char2(b[i], b[i + 1], b[i + 2], b[i + 3], b[i + 4], b[i + 5], b[i + 6], b[i + 7], b[i + 8], b[i + 9], b[i + 10], b[i + 11], b[i + 12]);
    case 14:
      return char2(b[i], b[i + 1], b[i + 2], b[i + 3], b[i + 4], b[i + 5], b[i + 6], b[i + 7], b[i + 8], b[i + 9], b[i + 10], b[i + 11], b[i + 12], b[i + 13]);
    case 15:
      return char2(b[i], b[i + 1], b[i + 2], b[i + 3], b[i + 4], b[i + 5], b[i + 6], b[i + 7], b[i + 8], b[i + 9], b[i + 10], b[i + 11], b[i + 12], b[i + 13], b[i + 14]);
    case 16:
      return char2(b[i], b[i + 1], b[i + 2], b[i + 3], b[i + 4], b[i + 5], b[i + 6], b[i + 7], b[i + 8], b[i + 9], b[i + 10], b[i + 11], b[i + 12], b[i + 13], b[i + 14], b[i + 15]);
    case 17:
      return char2(b[i], b[i + 1], b[i + 2], b[i + 3], b[i + 4], b[i + 5], b[i + 6], b[i + 7], b[i + 8], b[i + 9], b[i + 10], b[i + 11], b[i + 12], b[i + 13], b[i + 14], b[i + 15], b[i + 16]);
    case 18:
      return char2(b[i], b[i + 1], b[i + 2], b[i + 3], b[i + 4], b[i + 5], b[i + 6], b[i + 7], b[i + 8], b[i + 9], b[i + 10], b[i + 11], b[i + 12], b[i + 13], b[i + 14], b[i + 15], b[i + 16], b[i + 17]);
    case 19:
      return char2(b[i], b[i + 1], b[i + 2], b[i + 3], b[i + 4], b[i + 5], b[i + 6], b[i + 7], b[i + 8], b[i + 9], b[i + 10], b[i + 11], b[i + 12], b[i + 13], b[i + 14], b[i + 15], b[i + 16], b[i + 17], b[i + 18]);
    case 20:
      return char2(b[i], b[i + 1], b[i + 2], b[i + 3], b[i + 4], b[i + 5], b[i + 6], b[i + 7], b[i + 8], b[i + 9], b[i + 10], b[i + 11], b[i + 12], b[i + 13], b[i + 14], b[i + 15], b[i + 16], b[i + 17], b[i + 18], b[i + 19]);
    case 21:
      return char2(b[i], b[i + 1], b[i + 2], b[i + 3], b[i + 4], b[i + 5], b[i + 6], b[i + 7], b[i + 8], b[i + 9], b[i + 10], b[i + 11], b[i + 12], b[i + 13], b[i + 14], b[i + 15], b[i + 16], b[i + 17], b[i + 18], b[i + 19], b[i + 20]);
    case 22:
      return char2(b[i], b[i + 1], b[i + 2], b[i + 3], b[i + 4], b[i + 5], b[i + 6], b[i + 7], b[i + 8], b[i + 9], b[i + 10], b[i + 11], b[i + 12], b[i + 13], b[i + 14], b[i + 15], b[i + 16], b[i + 17], b[i + 18], b[i + 19], b[i + 20], b[i + 21]);
    case 23:
      return char2(b[i], b[i + 1], b[i + 2], b[i + 3], b[i + 4], b[i + 5], b[i + 6], b[i + 7], b[i + 8], b[i + 9], b[i + 10], b[i + 11], b[i + 12], b[i + 13], b[i + 14], b[i + 15], b[i + 16], b[i + 17], b[i + 18], b[i + 19], b[i + 20], b[i + 21], b[i + 22]);
    case 24:
      return char2(b[i], b[i + 1], b[i + 2], b[i + 3], b[i + 4], b[i + 5], b[i + 6], b[i + 7], b[i + 8], b[i + 9], b[i + 10], b[i + 11], b[i + 12], b[i + 13], b[i + 14], b[i + 15], b[i + 16], b[i + 17], b[i + 18], b[i + 19], b[i + 20], b[i + 21], b[i + 22], b[i + 23]);
    default:
      return "";
  }
}

// src/types/utf8.ts
var native = /* @__PURE__ */ (() => typeof Buffer === "undefined" ? void 0 : Buffer.prototype)();
var SHORT_WRITE = /* @__PURE__ */ (() => native === void 0 ? 64 : 26)();
var strict;
var encoder;
function decodeUtf8(bytes, start, end2) {
  if (end2 - start <= SHORT && isAscii(bytes, start, end2)) return shortText(bytes, start, end2);
  if (native) {
    const text = native.utf8Slice.call(bytes, start, end2);
    if (!text.includes("\uFFFD")) return text;
  }
  try {
    strict ??= new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
    return strict.decode(bytes.subarray(start, end2));
  } catch {
    return void 0;
  }
}
function decodeAscii(bytes, start, end2) {
  if (!isAscii(bytes, start, end2)) return void 0;
  if (end2 - start <= SHORT) return shortText(bytes, start, end2);
  if (native) return native.latin1Slice.call(bytes, start, end2);
  let text = "";
  for (let i = start; i < end2; i += SHORT) text += shortText(bytes, i, Math.min(i + SHORT, end2));
  return text;
}
function isAscii(bytes, start, end2) {
  let i = start;
  let all = 0;
  for (; i + 4 <= end2; i += 4)
    all |= bytes[i] | bytes[i + 1] | bytes[i + 2] | bytes[i + 3];
  for (; i < end2; i++) all |= bytes[i];
  return all < 128;
}
var utf8Room = (text) => text.length * 3;
function writeUtf8(bytes, offset, text) {
  const length = text.length;
  if (length < SHORT_WRITE) {
    let i = 0;
    for (; i < length; i++) {
      const code = text.charCodeAt(i);
      if (code > 127) break;
      bytes[offset + i] = code;
    }
    if (i === length) return length;
  }
  const written = writeAny(bytes, offset, text);
  return written === length || text.isWellFormed() ? written : -1;
}
function writeAny(bytes, offset, text) {
  if (native) return native.utf8Write.call(bytes, text, offset, bytes.length - offset);
  encoder ??= new TextEncoder();
  return encoder.encodeInto(text, bytes.subarray(offset)).written;
}
function writeAscii(bytes, offset, text) {
  const length = text.length;
  if (length >= SHORT_WRITE) return writeAny(bytes, offset, text) === length;
  for (let i = 0; i < length; i++) {
    const code = text.charCodeAt(i);
    if (code > 127) return false;
    bytes[offset + i] = code;
  }
  return true;
}
function encodeUtf8(text) {
  const bytes = new Uint8Array(utf8Room(text));
  const length = writeUtf8(bytes, 0, text.isWellFormed() ? text : text.toWellFormed());
  return bytes.slice(0, length);
}

// src/types/writer.ts
var words = /* @__PURE__ */ new Uint32Array(2);
var asUlong = /* @__PURE__ */ new BigUint64Array(words.buffer);
var asDouble = /* @__PURE__ */ new Float64Array(words.buffer);
var asFloat = /* @__PURE__ */ new Float32Array(words.buffer);
var LOW = /* @__PURE__ */ (() => new Uint8Array(Uint16Array.of(1).buffer)[0] === 1 ? 0 : 1)();
var HIGH = 1 - LOW;
var FIXED = 17;
function refuse2(expected, value) {
  throw new EncodeError(`expected a ${expected}, not a ${value === null ? "null" : typeof value}`);
}
function refuseSymbol() {
  throw new EncodeError("a symbol is ASCII");
}
function refuseSurrogate() {
  throw new EncodeError("a string with a lone surrogate has no UTF-8 form");
}
var Writer = class {
  bytes;
  offset = 0;
  /** Start of the unit being written. */
  mark = 0;
  /** Smallest size of the buffer that follows when this one is full. */
  slabSize;
  constructor(size = 256, slabSize = 0) {
    this.bytes = new Uint8Array(size);
    this.slabSize = slabSize;
  }
  /** Makes room for `width` more bytes. */
  ensure(width) {
    if (width > this.bytes.length - this.offset) this.#grow(width);
  }
  #grow(width) {
    const used = this.offset - this.mark;
    const bytes = new Uint8Array(Math.max(this.slabSize, 2 * used + width, 64));
    bytes.set(this.bytes.subarray(this.mark, this.offset));
    this.bytes = bytes;
    this.offset = used;
    this.mark = 0;
  }
  /** What was written since `mark`. BORROWS: a view, valid for ever as long as `mark` is moved past it. */
  written() {
    return new Uint8Array(this.bytes.buffer, this.bytes.byteOffset + this.mark, this.offset - this.mark);
  }
  /** What was written since `mark`, as bytes of its own. */
  copy() {
    return this.bytes.slice(this.mark, this.offset);
  }
  u8(value) {
    this.ensure(1);
    this.bytes[this.offset++] = value;
  }
  u16(value) {
    this.ensure(2);
    this.bytes[this.offset++] = value >>> 8;
    this.bytes[this.offset++] = value;
  }
  u32(value) {
    this.ensure(4);
    const { bytes, offset } = this;
    bytes[offset] = value >>> 24;
    bytes[offset + 1] = value >>> 16;
    bytes[offset + 2] = value >>> 8;
    bytes[offset + 3] = value;
    this.offset = offset + 4;
  }
  /** The low 64 bits, two's complement. */
  u64(value) {
    asUlong[0] = value;
    this.u32(words[HIGH]);
    this.u32(words[LOW]);
  }
  f32(value) {
    asFloat[0] = value;
    this.u32(words[0]);
  }
  f64(value) {
    asDouble[0] = value;
    this.u32(words[HIGH]);
    this.u32(words[LOW]);
  }
  /** Bytes as they are, copied. */
  raw(bytes) {
    this.ensure(bytes.length);
    this.bytes.set(bytes, this.offset);
    this.offset += bytes.length;
  }
  /** §1.6.1 */
  writeNull() {
    this.u8(64);
  }
  /** @throws {EncodeError} for anything but a boolean. §1.6.2 */
  writeBoolean(value) {
    if (typeof value !== "boolean") refuse2("boolean", value);
    this.u8(value ? 65 : 66);
  }
  /** 0 … 255, checked by the caller. §1.6.3 */
  writeUbyte(value) {
    this.u8(80);
    this.u8(value);
  }
  /** §1.6.4 */
  writeUshort(value) {
    this.u8(96);
    this.u16(value);
  }
  /** 0 … 2^32 − 1. §1.6.5 */
  writeUint(value) {
    this.ensure(FIXED);
    if (value === 0) this.bytes[this.offset++] = 67;
    else if (value < 256) {
      this.bytes[this.offset++] = 82;
      this.bytes[this.offset++] = value;
    } else {
      this.bytes[this.offset++] = 112;
      this.u32(value);
    }
  }
  /** §1.6.6 */
  writeUlong(value) {
    this.ensure(FIXED);
    if (value === 0n) this.bytes[this.offset++] = 68;
    else if (value < 0x100n) {
      this.bytes[this.offset++] = 83;
      this.bytes[this.offset++] = Number(value);
    } else {
      this.bytes[this.offset++] = 128;
      this.u64(value);
    }
  }
  /** §1.6.7 */
  writeByte(value) {
    this.u8(81);
    this.u8(value);
  }
  /** §1.6.8 */
  writeShort(value) {
    this.u8(97);
    this.u16(value);
  }
  /** §1.6.9 */
  writeInt(value) {
    if (value >= -128 && value <= 127) {
      this.u8(84);
      this.u8(value);
    } else {
      this.u8(113);
      this.u32(value);
    }
  }
  /** §1.6.10 */
  writeLong(value) {
    if (value >= -0x80n && value <= 0x7fn) {
      this.u8(85);
      this.u8(Number(value));
    } else {
      this.u8(129);
      this.u64(value);
    }
  }
  /** §1.6.11 */
  writeFloat(value) {
    this.u8(114);
    this.f32(value);
  }
  /** §1.6.12 */
  writeDouble(value) {
    this.u8(130);
    this.f64(value);
  }
  /** A Unicode scalar value. §1.6.16 */
  writeChar(value) {
    this.u8(115);
    this.u32(value.codePointAt(0) ?? 0);
  }
  /** @throws {EncodeError} for an invalid Date, or none at all. §1.6.17 */
  writeTimestamp(value) {
    if (!(value instanceof Date)) refuse2("Date", value);
    const ms = value.getTime();
    if (Number.isNaN(ms)) throw new EncodeError("an invalid Date is no timestamp");
    this.ensure(FIXED);
    this.u8(131);
    this.u32(Math.floor(ms / 4294967296));
    this.u32(ms);
  }
  /** 16 bytes. §1.6.18 */
  writeUuid(bytes) {
    this.u8(152);
    this.raw(bytes);
  }
  /** @throws {EncodeError} for anything but a Uint8Array, or one of 4 GiB. §1.6.19 */
  writeBinary(bytes) {
    if (!(bytes instanceof Uint8Array)) refuse2("Uint8Array", bytes);
    this.binaryHeader(bytes.length);
    this.raw(bytes);
  }
  /** The constructor and size of a binary of `length` bytes, which the caller writes. @throws {EncodeError} from 4 GiB on */
  binaryHeader(length) {
    if (length < 256) {
      this.u8(160);
      this.u8(length);
    } else {
      if (length > 4294967295) throw new EncodeError(`a binary has less than 4 GiB, not ${length} bytes`);
      this.u8(176);
      this.u32(length);
    }
  }
  /** @throws {EncodeError} when the text holds a lone surrogate, or is no string. §1.6.20 */
  writeString(text) {
    if (typeof text !== "string") refuse2("string", text);
    this.ensure(5 + utf8Room(text));
    if (text.length >= 256) return this.#longString(text);
    const { bytes, offset } = this;
    const length = writeUtf8(bytes, offset + 2, text);
    if (length < 0) refuseSurrogate();
    if (length < 256) {
      bytes[offset] = 161;
      bytes[offset + 1] = length;
      this.offset = offset + 2 + length;
    } else {
      bytes.copyWithin(offset + 5, offset + 2, offset + 2 + length);
      this.#longHeader(offset, 177, length);
    }
  }
  #longString(text) {
    const start = this.offset;
    this.#longHeader(start, 177, this.utf8(text, start + 5));
  }
  #longHeader(start, code, length) {
    this.offset = start;
    this.u8(code);
    this.u32(length);
    this.offset = start + 5 + length;
  }
  /** Writes text at `offset`, where there is room. @returns the number of bytes. @throws {EncodeError} */
  utf8(text, offset) {
    const length = writeUtf8(this.bytes, offset, text);
    if (length < 0) refuseSurrogate();
    return length;
  }
  /** @throws {EncodeError} unless the name is a string of ASCII. §1.6.21 */
  writeSymbol(name) {
    if (typeof name !== "string") refuse2("string", name);
    const length = name.length;
    this.ensure(5 + utf8Room(name));
    const { bytes, offset } = this;
    if (length < 256) {
      bytes[offset] = 163;
      bytes[offset + 1] = length;
      if (!writeAscii(bytes, offset + 2, name)) refuseSymbol();
      this.offset = offset + 2 + length;
    } else {
      this.u8(179);
      this.u32(length);
      this.ascii(name);
    }
  }
  /** @throws {EncodeError} unless the name is ASCII */
  ascii(name) {
    this.ensure(utf8Room(name));
    if (!writeAscii(this.bytes, this.offset, name)) refuseSymbol();
    this.offset += name.length;
  }
  /** Descriptor of a composite of the standard: 0x00 and a code below 256. §1.2.1 */
  writeDescriptor(code) {
    this.ensure(3);
    const { bytes, offset } = this;
    bytes[offset] = 0;
    bytes[offset + 1] = 83;
    bytes[offset + 2] = code;
    this.offset = offset + 3;
  }
  /** Starts a list or map; the elements follow, then `close`. @returns what `close` needs */
  open() {
    this.ensure(3);
    const start = this.offset - this.mark;
    this.offset += 3;
    return start;
  }
  /** Ends a list of `count` elements begun at `start`. §1.6.22 */
  closeList(start, count) {
    if (count === 0) {
      this.offset = this.mark + start;
      this.u8(69);
    } else this.#close(start, count, 192);
  }
  /** Ends a map; `count` counts keys and values. §1.6.23 */
  closeMap(start, count) {
    this.#close(start, count, 193);
  }
  #close(begun, count, code8) {
    const start = this.mark + begun;
    const size = this.offset - start - 3;
    if (size < 255 && count <= 255) {
      const bytes = this.bytes;
      bytes[start] = code8;
      bytes[start + 1] = size + 1;
      bytes[start + 2] = count;
    } else this.widen(begun, size, count, code8 + 16);
  }
  /** Moves content up behind a four-byte header: constructor, size, count. */
  widen(begun, size, count, code32) {
    this.ensure(6);
    const start = this.mark + begun;
    this.bytes.copyWithin(start + 9, start + 3, start + 3 + size);
    this.offset = start;
    this.u8(code32);
    this.u32(size + 4);
    this.u32(count);
    this.offset = start + 9 + size;
  }
};

// src/types/array.ts
function readArray(reader, wide2, content, descriptor) {
  const size = wide2 ? reader.u32() : reader.u8();
  const least = wide2 ? 5 : 2;
  if (size < least) reader.fail(`a size of ${size} leaves no room for the count and the constructor`);
  reader.need(size);
  const count = wide2 ? reader.u32() : reader.u8();
  const outer = reader.enterSized(count, size - (wide2 ? 4 : 1));
  const descriptors = [];
  let code = reader.u8();
  while (code === 0) {
    reader.descend();
    descriptors.push(descriptor(reader));
    code = reader.u8();
  }
  const of = typeOfCode[code];
  if (of === void 0) reader.unexpected(code, "an element constructor");
  checkCount(reader, code, count);
  const elements = [];
  for (let i = 0; i < count; i++) elements.push(content(reader, code));
  for (let i = 0; i < descriptors.length; i++) reader.ascend();
  reader.leave(outer);
  return { of, descriptors, elements };
}
function checkCount(reader, code, count) {
  const fixed2 = fixedWidth(code);
  const least = fixed2 >= 0 ? fixed2 : code & 16 ? 4 : 1;
  if (count * least > reader.end - reader.offset)
    reader.fail(`${count} elements of at least ${least} bytes do not fit in ${reader.end - reader.offset} bytes`);
}
function writeArray(writer, array2, write) {
  const { of, descriptors, elements } = array2;
  const scratch = new Writer(64);
  const encoded2 = elements.map((element, i) => {
    try {
      return encodeElement(scratch, element, of, write);
    } catch (error2) {
      throw EncodeError.within(i, error2);
    }
  });
  const begun = writer.open();
  for (const descriptor of descriptors) {
    writer.u8(0);
    write(writer, descriptor);
  }
  writeElements(writer, of, encoded2);
  closeArray(writer, begun, elements.length);
}
function closeArray(writer, begun, count) {
  const start = writer.mark + begun;
  const size = writer.offset - start - 3;
  if (size < 255 && count <= 255) {
    writer.bytes[start] = 224;
    writer.bytes[start + 1] = size + 1;
    writer.bytes[start + 2] = count;
  } else writer.widen(begun, size, count, 240);
}
function encodeElement(scratch, element, of, write) {
  scratch.offset = 0;
  write(scratch, toElement(element, of));
  const bytes = scratch.copy();
  const found = typeOfCode[bytes[0]];
  if (found !== of) throw new EncodeError(`an array of ${of} cannot hold a ${found}`);
  return bytes;
}
function toElement(element, of) {
  if (of === "symbol" && typeof element === "string") return new AmqpSymbol(element);
  if (element instanceof Typed || typeof element === "object" && of !== "list" && of !== "map" && of !== "array")
    return element;
  if (of === "null" || of === "list" || of === "map" || of === "array" || of === "string") return element;
  return new Typed(of, element);
}
function writeElements(writer, of, encoded2) {
  switch (of) {
    case "boolean":
      return fixed(writer, 86, encoded2, 1, (bytes) => bytes[0] === 65 ? [1] : bytes[0] === 66 ? [0] : void 0);
    case "uint":
      return number(writer, encoded2, 82, 112, 4);
    case "ulong":
      return number(writer, encoded2, 83, 128, 8);
    case "int":
      return number(writer, encoded2, 84, 113, 4);
    case "long":
      return number(writer, encoded2, 85, 129, 8);
    case "binary":
      return variable(writer, encoded2, 160);
    case "string":
      return variable(writer, encoded2, 161);
    case "symbol":
      return variable(writer, encoded2, 163);
    case "list":
      return compound(writer, encoded2, 192);
    case "map":
      return compound(writer, encoded2, 193);
    case "array":
      return compound(writer, encoded2, 224);
    case "described":
      throw new EncodeError("a described array names the type below its descriptors");
    default: {
      writer.u8(ONLY_CODE[of]);
      for (const bytes of encoded2) writer.raw(bytes.subarray(1));
    }
  }
}
var ONLY_CODE = {
  null: 64,
  ubyte: 80,
  byte: 81,
  ushort: 96,
  short: 97,
  float: 114,
  char: 115,
  decimal32: 116,
  double: 130,
  timestamp: 131,
  decimal64: 132,
  decimal128: 148,
  uuid: 152
};
function fixed(writer, code, encoded2, width, special) {
  writer.u8(code);
  for (const bytes of encoded2) {
    const content = special(bytes) ?? bytes.subarray(1);
    writer.ensure(width);
    for (const byte2 of content) writer.u8(byte2);
  }
}
function number(writer, encoded2, small, full, width) {
  if (encoded2.every((bytes) => bytes.length <= 2))
    return fixed(writer, small, encoded2, 1, (b) => b.length === 1 ? [0] : void 0);
  const signed = small === 84 || small === 85;
  fixed(writer, full, encoded2, width, (bytes) => {
    if (bytes.length > 2) return void 0;
    const low = bytes[1] ?? 0;
    const fill2 = signed && low > 127 ? 255 : 0;
    return [...new Array(width - 1).fill(fill2), low];
  });
}
function variable(writer, encoded2, code8) {
  const narrow = encoded2.every((bytes) => bytes[0] === code8);
  writer.u8(narrow ? code8 : code8 + 16);
  for (const bytes of encoded2) {
    const content = bytes.subarray(bytes[0] === code8 ? 2 : 5);
    if (narrow) writer.u8(content.length);
    else writer.u32(content.length);
    writer.raw(content);
  }
}
function compound(writer, encoded2, code8) {
  const narrow = encoded2.every((bytes) => bytes[0] === code8 || bytes[0] === 69);
  writer.u8(narrow ? code8 : code8 + 16);
  for (const bytes of encoded2) {
    const empty = bytes[0] === 69;
    const short2 = bytes[0] === code8;
    const count = empty ? 0 : short2 ? bytes[2] : new DataView(bytes.buffer, bytes.byteOffset).getUint32(5);
    const content = bytes.subarray(empty ? 1 : short2 ? 3 : 9);
    if (narrow) {
      writer.u8(content.length + 1);
      writer.u8(count);
    } else {
      writer.u32(content.length + 4);
      writer.u32(count);
    }
    writer.raw(content);
  }
}

// src/types/key-cache.ts
var SLOTS = 512;
var LONGEST = 40;
var WORDS = LONGEST / 4;
var texts = /* @__PURE__ */ new Array(SLOTS);
var symbols = /* @__PURE__ */ new Array(SLOTS);
var textWords = /* @__PURE__ */ new Int32Array(SLOTS * WORDS);
var symbolWords = /* @__PURE__ */ new Int32Array(SLOTS * WORDS);
function slotOf(bytes, start, length) {
  const first = bytes[start];
  const middle = bytes[start + (length >> 1)];
  const last = bytes[start + length - 1];
  return length * 37 + first * 5 + middle * 193 + last * 1031 & SLOTS - 1;
}
function wordAt(bytes, at, end2) {
  if (at + 4 <= end2)
    return bytes[at] | bytes[at + 1] << 8 | bytes[at + 2] << 16 | bytes[at + 3] << 24;
  let word = 0;
  for (let i = end2 - 1; i >= at; i--) word = word << 8 | bytes[i];
  return word;
}
function matches(words3, slot, bytes, start, length) {
  const end2 = start + length;
  let word = slot * WORDS;
  for (let at = start; at < end2; at += 4) if (words3[word++] !== wordAt(bytes, at, end2)) return false;
  return true;
}
function fill(words3, slot, bytes, start, length) {
  const end2 = start + length;
  let word = slot * WORDS;
  for (let at = start; at < end2; at += 4) words3[word++] = wordAt(bytes, at, end2);
}
function cachedText(bytes, start, length) {
  if (length === 0 || length > LONGEST) return void 0;
  const slot = slotOf(bytes, start, length);
  const have = texts[slot];
  if (have !== void 0 && have.length === length && matches(textWords, slot, bytes, start, length)) return have;
  const text = decodeAscii(bytes, start, start + length);
  if (text === void 0) return void 0;
  texts[slot] = text;
  fill(textWords, slot, bytes, start, length);
  return text;
}
function cachedSymbol(bytes, start, length) {
  if (length === 0 || length > LONGEST) return void 0;
  const slot = slotOf(bytes, start, length);
  const have = symbols[slot];
  if (have !== void 0 && have.name.length === length && matches(symbolWords, slot, bytes, start, length)) return have;
  const text = decodeAscii(bytes, start, start + length);
  if (text === void 0) return void 0;
  const made = new AmqpSymbol(text);
  symbols[slot] = made;
  fill(symbolWords, slot, bytes, start, length);
  return made;
}

// src/types/map.ts
var INDEX_ABOVE = 16;
var NONE = [];
var AmqpMap = class _AmqpMap {
  static {
    const inspect = /* @__PURE__ */ Symbol.for("nodejs.util.inspect.custom");
    Object.defineProperty(_AmqpMap.prototype, inspect, {
      value() {
        return new Map(this);
      }
    });
  }
  /** key, value, key, value … */
  #flat = NONE;
  #index;
  /** @param entries  kept in order. Of two equal keys `get` finds the first; encoding refuses both. */
  constructor(entries) {
    if (!entries) return;
    this.#flat = [];
    for (const [key, value] of entries) this.#flat.push(key, value);
  }
  /** Takes over a flat array of keys and values; the caller gives it up. */
  static fromFlat(flat) {
    const map = new _AmqpMap();
    map.#flat = flat;
    return map;
  }
  get size() {
    return this.#flat.length >> 1;
  }
  get(key) {
    const at = this.#find(key);
    return at < 0 ? void 0 : this.#flat[at + 1];
  }
  has(key) {
    return this.#find(key) >= 0;
  }
  forEach(callback, thisArg) {
    for (const [key, value] of this) callback.call(thisArg, value, key, this);
  }
  *entries() {
    const flat = this.#flat;
    for (let i = 0; i < flat.length; i += 2) yield [flat[i], flat[i + 1]];
  }
  *keys() {
    for (let i = 0; i < this.#flat.length; i += 2) yield this.#flat[i];
  }
  *values() {
    for (let i = 1; i < this.#flat.length; i += 2) yield this.#flat[i];
  }
  [Symbol.iterator]() {
    return this.entries();
  }
  /** The flat entries themselves, for encoders: not to be changed. */
  get flat() {
    return this.#flat;
  }
  /** An object with the keys as text; where two keys have the same text the first stands. */
  toJSON() {
    const out = /* @__PURE__ */ Object.create(null);
    for (const [key, value] of this) {
      const name = keyText(key);
      if (!(name in out)) out[name] = typeof value === "bigint" ? value.toString() : value;
    }
    return out;
  }
  #find(key) {
    const flat = this.#flat;
    if (flat.length > 2 * INDEX_ABOVE) return this.#findIndexed(key);
    if (typeof key === "string") {
      for (let i = 0; i < flat.length; i += 2) {
        const have = flat[i];
        if (have === key || have instanceof AmqpSymbol && have.name === key) return i;
      }
      return -1;
    }
    for (let i = 0; i < flat.length; i += 2) if (matches2(flat[i], key)) return i;
    return -1;
  }
  #findIndexed(key) {
    if (!this.#index) {
      const index = /* @__PURE__ */ new Map();
      for (let i = 0; i < this.#flat.length; i += 2) {
        const have = this.#flat[i];
        for (const text of [keyIdentity(have), looseIdentity(have)])
          if (text !== void 0 && !index.has(text)) index.set(text, i);
      }
      this.#index = index;
    }
    return this.#index.get(looseQuery(key) ?? keyIdentity(key)) ?? -1;
  }
};
function matches2(have, asked) {
  const loose = looseQuery(asked);
  return loose === void 0 ? keyIdentity(have) === keyIdentity(asked) : looseIdentity(have) === loose;
}
function looseQuery(asked) {
  if (typeof asked === "string") return `text:${asked}`;
  if (typeof asked === "number" || typeof asked === "bigint") return `number:${asked}`;
  return void 0;
}
function looseIdentity(have) {
  if (typeof have === "string") return `text:${have}`;
  if (have instanceof AmqpSymbol) return `text:${have.name}`;
  const value = have instanceof Typed ? have.value : have;
  return typeof value === "number" || typeof value === "bigint" ? `number:${value}` : void 0;
}
function keyIdentity(key) {
  if (key === null) return "null";
  switch (typeof key) {
    case "string":
      return `string:${key}`;
    case "boolean":
      return `boolean:${key}`;
    case "bigint":
      return `long:${key}`;
    case "number":
      return `${numberType(key)}:${Object.is(key, -0) ? "-0" : key}`;
  }
  if (key instanceof AmqpSymbol) return `symbol:${key.name}`;
  if (key instanceof Date) return `timestamp:${key.getTime()}`;
  if (key instanceof Uuid) return `uuid:${key}`;
  if (key instanceof Uint8Array) return `binary:${key.join()}`;
  if (key instanceof Decimal) return `decimal${key.width}:${key.bytes.join()}`;
  if (key instanceof Described) return `described:${keyIdentity(key.descriptor)}:${keyIdentity(key.value)}`;
  if (key instanceof Typed) return typedIdentity(key);
  if (key instanceof AmqpMap || key instanceof Map)
    return `map:[${[...key].map((entry) => entry.map(keyIdentity).join("=")).join()}]`;
  if (Array.isArray(key)) return `list:[${key.map(keyIdentity).join()}]`;
  return "unknown";
}
function typedIdentity({ type, value }) {
  if (value instanceof Uint8Array) return `${type}:${value.join()}`;
  if (value instanceof Uuid || value instanceof Decimal) return keyIdentity(value);
  if (type === "described") {
    const { descriptor, value: inner } = value;
    return `described:${keyIdentity(descriptor)}:${keyIdentity(inner)}`;
  }
  if (type === "array") {
    const { of, descriptors, elements } = value;
    return `array:${of}[${descriptors.map(keyIdentity).join()}][${elements.map(keyIdentity).join()}]`;
  }
  if (type === "map")
    return `map:[${value.map((entry) => entry.map(keyIdentity).join("=")).join()}]`;
  if (Array.isArray(value)) return `${type}:[${value.map(keyIdentity).join()}]`;
  return `${type}:${Object.is(value, -0) ? "-0" : String(value)}`;
}
function numberType(value) {
  if (!Number.isInteger(value) || Object.is(value, -0)) return "double";
  if (value >= -2147483648 && value <= 2147483647) return "int";
  return Number.isSafeInteger(value) ? "long" : "double";
}
function keyText(key) {
  if (key instanceof Typed) return String(key.value);
  return key instanceof Uint8Array ? keyIdentity(key) : String(key);
}

// src/types/reader.ts
var DEFAULT_DECODE_LIMITS = { maxNesting: 64, maxElements: 1 << 20 };
var words2 = /* @__PURE__ */ new Uint32Array(2);
var asUlong2 = /* @__PURE__ */ new BigUint64Array(words2.buffer);
var asLong = /* @__PURE__ */ new BigInt64Array(words2.buffer);
var asDouble2 = /* @__PURE__ */ new Float64Array(words2.buffer);
var asFloat2 = /* @__PURE__ */ new Float32Array(words2.buffer);
var LOW2 = /* @__PURE__ */ (() => new Uint8Array(Uint16Array.of(1).buffer)[0] === 1 ? 0 : 1)();
var HIGH2 = 1 - LOW2;
var DATE_MAX = 864e13;
var Reader = class {
  bytes;
  offset;
  /** Where reading must stop; inside a list or map, the end of that. */
  end;
  /** Elements in the list or map just entered. */
  count = 0;
  limits;
  #depth = 0;
  #elements = 0;
  /** Added to offsets in errors, when `bytes` is a part of something larger. */
  base = 0;
  constructor(bytes, offset = 0, end2 = bytes.length, limits = DEFAULT_DECODE_LIMITS) {
    this.bytes = bytes;
    this.offset = offset;
    this.end = end2;
    this.limits = limits;
  }
  /** Starts over on other bytes, with a full budget. */
  reset(bytes, offset, end2) {
    this.bytes = bytes;
    this.offset = offset;
    this.end = end2;
    this.#depth = 0;
    this.#elements = 0;
  }
  fail(message, offset = this.offset) {
    throw new DecodeError(message, this.base + offset);
  }
  /** The constructor at the cursor is not one of `expected`. */
  unexpected(code, expected) {
    const found = typeOfCode[code] ?? `unknown constructor 0x${code.toString(16).padStart(2, "0")}`;
    return this.fail(`expected ${expected}, found ${found}`, this.offset - 1);
  }
  need(width) {
    if (width > this.end - this.offset) this.fail(`${width} bytes needed, ${this.end - this.offset} left`);
  }
  /** The constructor byte at the cursor, left in place. */
  peek() {
    if (this.offset >= this.end) this.fail("a value needed, no bytes left");
    return this.bytes[this.offset];
  }
  u8() {
    if (this.offset >= this.end) this.fail("1 byte needed, none left");
    return this.bytes[this.offset++];
  }
  u16() {
    this.need(2);
    const { bytes, offset } = this;
    this.offset = offset + 2;
    return bytes[offset] << 8 | bytes[offset + 1];
  }
  u32() {
    return this.i32() >>> 0;
  }
  i32() {
    const offset = this.offset;
    if (this.end - offset < 4) this.need(4);
    const bytes = this.bytes;
    this.offset = offset + 4;
    return bytes[offset] << 24 | bytes[offset + 1] << 16 | bytes[offset + 2] << 8 | bytes[offset + 3];
  }
  #word() {
    this.need(8);
    words2[HIGH2] = this.i32();
    words2[LOW2] = this.i32();
  }
  u64() {
    this.#word();
    return asUlong2[0];
  }
  i64() {
    this.#word();
    return asLong[0];
  }
  f64() {
    this.#word();
    return asDouble2[0];
  }
  f32() {
    words2[0] = this.i32();
    return asFloat2[0];
  }
  /** The next `width` bytes as a view. BORROWS */
  view(width) {
    this.need(width);
    const { bytes, offset } = this;
    this.offset = offset + width;
    return new Uint8Array(bytes.buffer, bytes.byteOffset + offset, width);
  }
  /** Whether the next value is null, consumed if so. §1.6.1 */
  takeNull() {
    if (this.peek() !== 64) return false;
    this.offset++;
    return true;
  }
  /** §1.6.2 */
  readBoolean() {
    const code = this.u8();
    if (code === 65) return true;
    if (code === 66) return false;
    if (code !== 86) this.unexpected(code, "boolean");
    return this.booleanByte();
  }
  /** The byte of a one-byte boolean: 0 or 1, nothing else. §1.6.2 */
  booleanByte() {
    const byte2 = this.u8();
    if (byte2 > 1) this.fail(`a boolean is 0 or 1, not ${byte2}`, this.offset - 1);
    return byte2 === 1;
  }
  /** §1.6.3 */
  readUbyte() {
    const code = this.u8();
    if (code !== 80) this.unexpected(code, "ubyte");
    return this.u8();
  }
  /** §1.6.4 */
  readUshort() {
    const code = this.u8();
    if (code !== 96) this.unexpected(code, "ushort");
    return this.u16();
  }
  /** §1.6.5 */
  readUint() {
    const code = this.u8();
    switch (code) {
      case 67:
        return 0;
      case 82:
        return this.u8();
      case 112:
        return this.u32();
      default:
        return this.unexpected(code, "uint");
    }
  }
  /** §1.6.6 */
  readUlong() {
    const code = this.u8();
    switch (code) {
      case 68:
        return 0n;
      case 83:
        return BigInt(this.u8());
      case 128:
        return this.u64();
      default:
        return this.unexpected(code, "ulong");
    }
  }
  /** Milliseconds as a Date, clamped to what a Date can hold. §1.6.17 DEVIATES D-003 */
  readTimestamp() {
    const code = this.u8();
    if (code !== 131) this.unexpected(code, "timestamp");
    return this.date();
  }
  date() {
    this.need(8);
    const ms = this.i32() * 4294967296 + this.u32();
    return new Date(Math.max(Math.min(ms, DATE_MAX), -DATE_MAX));
  }
  /** A code point, checked to be a scalar value. §1.6.16 */
  char() {
    const code = this.u32();
    if (code > 1114111 || code >= 55296 && code <= 57343)
      this.fail(`0x${code.toString(16)} is not a Unicode scalar value`, this.offset - 4);
    return String.fromCodePoint(code);
  }
  /** BORROWS §1.6.18 */
  readUuid() {
    const code = this.u8();
    if (code !== 152) this.unexpected(code, "uuid");
    return new Uuid(this.view(16));
  }
  /** BORROWS §1.6.13–15 */
  decimal(width) {
    return new Decimal(this.view(width));
  }
  /** BORROWS §1.6.19 */
  readBinary() {
    const code = this.u8();
    if (code === 160) return this.view(this.u8());
    if (code === 176) return this.view(this.u32());
    return this.unexpected(code, "binary");
  }
  /** §1.6.20 */
  readString() {
    const code = this.u8();
    if (code === 161) return this.text(this.u8());
    if (code === 177) return this.text(this.u32());
    return this.unexpected(code, "string");
  }
  /** `width` bytes of UTF-8. */
  text(width) {
    this.need(width);
    const start = this.offset;
    const text = decodeUtf8(this.bytes, start, start + width);
    if (text === void 0) this.fail("invalid UTF-8", start);
    this.offset = start + width;
    return text;
  }
  /** The name of a symbol. §1.6.21 */
  readSymbol() {
    const code = this.u8();
    if (code === 163) return this.symbolName(this.u8());
    if (code === 179) return this.symbolName(this.u32());
    return this.unexpected(code, "symbol");
  }
  /** `width` bytes of ASCII. */
  symbolName(width) {
    this.need(width);
    const start = this.offset;
    const text = cachedText(this.bytes, start, width) ?? decodeAscii(this.bytes, start, start + width);
    if (text === void 0) this.fail("a symbol is ASCII", start);
    this.offset = start + width;
    return text;
  }
  symbolOf(width) {
    return new AmqpSymbol(this.symbolName(width));
  }
  /**
   * Enters the list at the cursor: `count` is its number of elements, `end` its end.
   *
   * @param code  its constructor, if that is read already: elements of an array share one
   * @returns the end of what encloses it, for `leave`. §1.6.22
   */
  enterList(code = this.u8()) {
    switch (code) {
      case 69:
        return this.enter(0, 0);
      case 192:
        return this.enter8();
      case 208:
        return this.enter32();
      default:
        return this.unexpected(code, "list");
    }
  }
  /** Enters the map at the cursor: `count` counts keys and values. `code` and result as for `enterList`. §1.6.23 */
  enterMap(code = this.u8()) {
    if (code !== 193 && code !== 209) return this.unexpected(code, "map");
    const outer = code === 193 ? this.enter8() : this.enter32();
    if (this.count % 2 !== 0) this.fail(`a map holds pairs, not ${this.count} items`);
    return outer;
  }
  /** Behind a one-byte constructor: size and count of one byte each. */
  enter8() {
    const size = this.u8();
    if (size < 1) this.fail("a size of 0 leaves no room for the count", this.offset - 1);
    this.need(size);
    return this.enter(this.u8(), size - 1);
  }
  /** Behind a four-byte constructor: size and count of four bytes each. */
  enter32() {
    const size = this.u32();
    if (size < 4) this.fail(`a size of ${size} leaves no room for the count`, this.offset - 4);
    this.need(size);
    return this.enter(this.u32(), size - 4);
  }
  /** Elements of a list or map have a constructor each, so there are at most as many as bytes. */
  enter(count, size) {
    if (count > size) this.fail(`${count} elements do not fit in ${size} bytes`);
    return this.enterSized(count, size);
  }
  /** As `enter`, for arrays, whose elements may be zero bytes wide: only the budget bounds those. §1.6.24 */
  enterSized(count, size) {
    this.spend(count);
    this.descend();
    const outer = this.end;
    this.end = this.offset + size;
    this.count = count;
    return outer;
  }
  /** Ends a list, map or array, which must have been read to its last byte. */
  leave(outer) {
    if (this.offset !== this.end) this.fail(`${this.end - this.offset} bytes left over inside a compound value`);
    this.end = outer;
    this.#depth--;
  }
  /** One level down; `ascend` or `leave` comes back up. */
  descend() {
    if (++this.#depth > this.limits.maxNesting) this.fail(`nested deeper than ${this.limits.maxNesting} levels`);
  }
  ascend() {
    this.#depth--;
  }
  /** Takes elements from the budget that one top-level value has. */
  spend(count) {
    this.#elements += count;
    if (this.#elements > this.limits.maxElements)
      this.fail(`more than ${this.limits.maxElements} elements in one value`);
  }
  /** The descriptor of a composite: its code, its symbol, or `undefined` for any other. Behind the 0x00. §1.2.1 */
  readDescriptor() {
    const code = this.u8();
    switch (code) {
      case 68:
        return 0;
      case 83:
        return this.u8();
      case 128: {
        const high = this.u32();
        const low = this.u32();
        return high === 0 ? low : void 0;
      }
      case 163:
        return this.symbolName(this.u8());
      case 179:
        return this.symbolName(this.u32());
      default:
        return this.unexpected(code, "a descriptor");
    }
  }
};

// src/types/any-reader.ts
function readValue(reader) {
  return readContent(reader, reader.u8());
}
function readContent(reader, code) {
  switch (code) {
    case 64:
      return null;
    case 65:
      return true;
    case 66:
      return false;
    case 86:
      return reader.booleanByte();
    case 80:
    // ubyte
    case 82:
      return reader.u8();
    case 67:
      return 0;
    case 96:
      return reader.u16();
    case 112:
      return reader.u32();
    case 81:
    // byte
    case 84:
      return reader.u8() << 24 >> 24;
    case 97:
      return reader.u16() << 16 >> 16;
    case 113:
      return reader.i32();
    case 68:
      return 0n;
    case 83:
      return BigInt(reader.u8());
    case 128:
      return reader.u64();
    case 85:
      return BigInt(reader.u8() << 24 >> 24);
    case 129:
      return reader.i64();
    case 114:
      return reader.f32();
    case 130:
      return reader.f64();
    case 116:
      return reader.decimal(4);
    case 132:
      return reader.decimal(8);
    case 148:
      return reader.decimal(16);
    case 115:
      return new Typed("char", reader.char());
    case 131:
      return reader.date();
    case 152:
      return new Uuid(reader.view(16));
    case 160:
      return reader.view(reader.u8());
    case 176:
      return reader.view(reader.u32());
    case 161:
      return reader.text(reader.u8());
    case 177:
      return reader.text(reader.u32());
    case 163:
      return readSymbolKey(reader, reader.u8());
    case 179:
      return readSymbolKey(reader, reader.u32());
    case 69:
    // list0
    case 192:
    // list8
    case 208:
      return readList(reader, code);
    case 193:
    // map8
    case 209:
      return readMap(reader, code);
    case 224:
    // array8
    case 240:
      return new Typed("array", readArray(reader, code === 240, readContent, readValue));
    case 0:
      return readDescribed(reader);
    default:
      return reader.unexpected(code, "a value");
  }
}
function readDescribed(reader) {
  reader.descend();
  const descriptor = readValue(reader);
  const value = readValue(reader);
  reader.ascend();
  return new Described(descriptor, value);
}
function readList(reader, code = reader.u8()) {
  const outer = reader.enterList(code);
  const items = [];
  for (let left = reader.count; left > 0; left--) items.push(readValue(reader));
  reader.leave(outer);
  return items;
}
function readMap(reader, code = reader.u8()) {
  const outer = reader.enterMap(code);
  const start = reader.offset;
  const count = reader.count;
  const flat = [];
  for (let i = 0; i < count; i += 2) {
    flat.push(readKey(reader));
    flat.push(readValue(reader));
  }
  const twice = duplicateKey(flat);
  if (twice !== void 0) reader.fail("a map holds the same key twice", start);
  reader.leave(outer);
  return AmqpMap.fromFlat(flat);
}
function readKey(reader) {
  const code = reader.u8();
  if (code === 161) return readTextKey(reader, reader.u8());
  if (code === 163) return readSymbolKey(reader, reader.u8());
  const key = readContent(reader, code);
  const type = typeOfCode[code];
  if (typeof key === "number") return type === numberType(key) ? key : new Typed(type, key);
  if (typeof key === "bigint") return type === "long" ? key : new Typed("ulong", key);
  return key;
}
function readTextKey(reader, length) {
  reader.need(length);
  const text = cachedText(reader.bytes, reader.offset, length);
  if (text === void 0) return reader.text(length);
  reader.offset += length;
  return text;
}
function readSymbolKey(reader, length) {
  reader.need(length);
  const made = cachedSymbol(reader.bytes, reader.offset, length);
  if (made === void 0) return reader.symbolOf(length);
  reader.offset += length;
  return made;
}
var PAIRWISE = 8;
function duplicateKey(flat) {
  if (flat.length <= 2 * PAIRWISE) {
    for (let i = 2; i < flat.length; i += 2)
      for (let j = 0; j < i; j += 2) if (sameKey(flat[i], flat[j])) return flat[i];
    return void 0;
  }
  const seen = /* @__PURE__ */ new Set();
  for (let i = 0; i < flat.length; i += 2) {
    const identity = keyIdentity(flat[i]);
    if (seen.has(identity)) return flat[i];
    seen.add(identity);
  }
  return void 0;
}
function sameKey(a, b) {
  if (typeof a === "string") return typeof b === "string" && a.length === b.length && a === b;
  if (typeof b === "string") return false;
  if (a === b && typeof a !== "number") return true;
  if (a instanceof AmqpSymbol) return b instanceof AmqpSymbol && a.name.length === b.name.length && a.name === b.name;
  if (b instanceof AmqpSymbol) return false;
  return keyIdentity(a) === keyIdentity(b);
}

// src/types/any-writer.ts
var MAX_NESTING = 64;
function writeValue(writer, value, depth = 0) {
  switch (typeof value) {
    case "string":
      return writer.writeString(value);
    case "number":
      return writeNumber(writer, value);
    case "boolean":
      return writer.writeBoolean(value);
    case "bigint":
      return writer.writeLong(long(value).value);
    case "object":
      return writeObject(writer, value, depth);
    default:
      throw new EncodeError(`a ${typeof value} has no AMQP type`);
  }
}
function writeNumber(writer, value) {
  const type = numberType(value);
  if (type === "int") writer.writeInt(value);
  else if (type === "long") writer.writeLong(BigInt(value));
  else writer.writeDouble(value);
}
function writeObject(writer, value, depth) {
  if (value === null) return writer.writeNull();
  if (depth > MAX_NESTING) throw new EncodeError(`nested deeper than ${MAX_NESTING} levels, or circular`);
  if (value instanceof Uint8Array) return writer.writeBinary(value);
  if (value instanceof AmqpSymbol) return writer.writeSymbol(value.name);
  if (value instanceof Date) return writer.writeTimestamp(value);
  if (Array.isArray(value)) return writeList(writer, value, depth);
  if (value instanceof AmqpMap) return writeFlat(writer, value.flat, depth);
  if (value instanceof Map) return writeFlat(writer, [...value].flat(1), depth);
  if (value instanceof Typed) return writeTyped(writer, value, depth);
  if (value instanceof Described) return writeDescribed(writer, value.descriptor, value.value, depth);
  if (value instanceof Uuid) return writer.writeUuid(value.bytes);
  if (value instanceof Decimal) return writeDecimal(writer, value);
  throw new EncodeError("a plain object has no AMQP type: use a Map for a map, an array for a list");
}
function writeDescribed(writer, descriptor, value, depth) {
  writer.u8(0);
  writeValue(writer, descriptor, depth + 1);
  writeValue(writer, value, depth + 1);
}
function writeDecimal(writer, value) {
  writer.u8(value.width === 32 ? 116 : value.width === 64 ? 132 : 148);
  writer.raw(value.bytes);
}
function writeList(writer, items, depth = 0) {
  const begun = writer.open();
  for (let i = 0; i < items.length; i++) {
    try {
      writeValue(writer, items[i], depth + 1);
    } catch (error2) {
      throw EncodeError.within(i, error2);
    }
  }
  writer.closeList(begun, items.length);
}
function writeFlat(writer, flat, depth = 0) {
  if (duplicateKey(flat) !== void 0) throw new EncodeError("a map holds the same key twice");
  const begun = writer.open();
  for (let i = 0; i < flat.length; i += 2) {
    try {
      writeValue(writer, flat[i], depth + 1);
      writeValue(writer, flat[i + 1], depth + 1);
    } catch (error2) {
      throw EncodeError.within(String(flat[i]), error2);
    }
  }
  writer.closeMap(begun, flat.length);
}
function writeTyped(writer, { type, value }, depth) {
  switch (type) {
    case "null":
      return writer.writeNull();
    case "boolean":
      return writer.writeBoolean(expect("boolean", typeof value === "boolean", value));
    case "ubyte":
      return writer.writeUbyte(ubyte(value).value);
    case "ushort":
      return writer.writeUshort(ushort(value).value);
    case "uint":
      return writer.writeUint(uint(value).value);
    case "ulong":
      return writer.writeUlong(ulong(value).value);
    case "byte":
      return writer.writeByte(byte(value).value);
    case "short":
      return writer.writeShort(short(value).value);
    case "int":
      return writer.writeInt(int(value).value);
    case "long":
      return writer.writeLong(long(value).value);
    case "float":
      return writer.writeFloat(expect("float", typeof value === "number", value));
    case "double":
      return writer.writeDouble(expect("double", typeof value === "number", value));
    case "decimal32":
    case "decimal64":
    case "decimal128":
      return writeDecimal(writer, expect(type, value instanceof Decimal && type === `decimal${value.width}`, value));
    case "char":
      return writer.writeChar(char(String(value)).value);
    case "timestamp":
      if (value instanceof Date) return writer.writeTimestamp(value);
      writer.u8(131);
      return writer.u64(timestamp(value).value);
    case "uuid":
      return writer.writeUuid(expect("uuid", value instanceof Uuid, value).bytes);
    case "binary":
      return writer.writeBinary(expect("binary", value instanceof Uint8Array, value));
    case "string":
      return writer.writeString(expect("string", typeof value === "string", value));
    case "symbol":
      return writer.writeSymbol(String(value));
    case "list":
      return writeList(writer, expect("list", Array.isArray(value), value), depth);
    case "map":
      return writeFlat(writer, value.flat(1), depth);
    case "array":
      return writeArray(writer, value, (w, element) => writeValue(w, element, depth + 1));
    case "described": {
      const { descriptor, value: inner } = value;
      return writeDescribed(writer, descriptor, inner, depth);
    }
  }
}
function expect(type, holds, value) {
  if (!holds) throw new EncodeError(`this value is not a ${type}`);
  return value;
}

// src/types/composite.ts
var PLAIN_STYLE = { complete: false, arrays: false };
var optional = (type) => ({
  type,
  mandatory: false,
  absent: void 0
});
var mandatory = (type) => ({
  type,
  mandatory: true,
  absent: void 0
});
var defaulted = (type, absent) => ({
  type,
  mandatory: false,
  absent
});
var NOTHING = /* @__PURE__ */ Object.freeze([]);
var symbols2 = /* @__PURE__ */ (() => {
  const type = {
    name: "symbol",
    read(reader) {
      const code = reader.peek();
      if (code !== 224 && code !== 240) return [reader.readSymbol()];
      reader.offset++;
      const { of, descriptors, elements } = readArray(
        reader,
        code === 240,
        (r, element) => element === 163 ? r.symbolName(r.u8()) : element === 179 ? r.symbolName(r.u32()) : r.unexpected(element, "symbol"),
        readValue
      );
      if (of !== "symbol" || descriptors.length > 0) reader.fail("expected an array of plain symbols");
      return elements;
    },
    write(writer, names) {
      if (names.length === 1) writer.writeSymbol(names[0]);
      else writeValue(writer, array("symbol", names));
    }
  };
  return { type, mandatory: false, absent: NOTHING };
})();
var mandatorySymbols = /* @__PURE__ */ (() => ({ ...symbols2, mandatory: true }))();
function composite(table) {
  const { name, code, section } = table;
  const fields3 = Object.entries(table.fields).map(([key, field]) => ({
    key,
    ...field
  }));
  return {
    name,
    code,
    symbol: `amqp:${name}:list`,
    section,
    fields: fields3,
    read(reader) {
      const outer = reader.enterList();
      const count = reader.count;
      if (count > fields3.length) reader.fail(`${name} has ${fields3.length} fields, not ${count}`);
      const out = { type: name };
      for (let i = 0; i < fields3.length; i++) {
        const field = fields3[i];
        if (i < count && !reader.takeNull()) out[field.key] = field.type.read(reader);
        else if (field.mandatory) reader.fail(`${name} lacks the mandatory ${field.key}`);
        else out[field.key] = field.absent;
      }
      reader.leave(outer);
      return out;
    },
    write(writer, value, style = PLAIN_STYLE) {
      writer.writeDescriptor(code);
      const given = value;
      const begun = writer.open();
      const count = style.complete ? fields3.length : presentFields(name, fields3, given);
      for (let i = 0; i < count; i++) {
        const field = fields3[i];
        try {
          writeField(writer, field, given[field.key] ?? (style.complete ? field.absent : void 0), style);
        } catch (error2) {
          throw EncodeError.within(field.key, error2);
        }
      }
      writer.closeList(begun, count);
    }
  };
}
function presentFields(name, fields3, given) {
  let count = 0;
  for (let i = 0; i < fields3.length; i++) {
    const field = fields3[i];
    const value = given[field.key];
    if (value === void 0 || value === null) {
      if (field.mandatory) throw new EncodeError(`${name} needs ${field.key}`, field.key);
    } else if (field.mandatory || value !== field.absent && !isEmptyMultiple(field, value)) count = i + 1;
  }
  return count;
}
var isEmptyMultiple = (field, value) => field.absent === NOTHING && value.length === 0;
function writeField(writer, field, value, style) {
  if (value === void 0 || value === null || isEmptyMultiple(field, value)) return writer.writeNull();
  if (!style.complete && !field.mandatory && value === field.absent) return writer.writeNull();
  if (style.arrays && field.type === symbols2.type)
    return writeValue(writer, array("symbol", value));
  field.type.write(writer, value);
}
var bounded = (name, max, read, write) => ({
  name,
  read,
  write(writer, value) {
    if (!Number.isInteger(value) || value < 0 || value > max) throw new EncodeError(`${value} is not a ${name}`);
    write(writer, value);
  }
});
var stringField = {
  name: "string",
  read: (r) => r.readString(),
  write: (w, v) => w.writeString(v)
};
var symbolField = {
  name: "symbol",
  read: (r) => r.readSymbol(),
  write: (w, v) => w.writeSymbol(v)
};
var booleanField = {
  name: "boolean",
  read: (r) => r.readBoolean(),
  write: (w, v) => w.writeBoolean(v)
};
var binaryField = {
  name: "binary",
  read: (r) => r.readBinary(),
  write: (w, v) => w.writeBinary(v)
};
var timestampField = {
  name: "timestamp",
  read: (r) => r.readTimestamp(),
  write: (w, v) => w.writeTimestamp(v)
};
var ubyteField = /* @__PURE__ */ bounded(
  "ubyte",
  255,
  (r) => r.readUbyte(),
  (w, v) => w.writeUbyte(v)
);
var ushortField = /* @__PURE__ */ bounded(
  "ushort",
  65535,
  (r) => r.readUshort(),
  (w, v) => w.writeUshort(v)
);
var uintField = /* @__PURE__ */ bounded(
  "uint",
  4294967295,
  (r) => r.readUint(),
  (w, v) => w.writeUint(v)
);
var ulongField = {
  name: "ulong",
  read: (r) => r.readUlong(),
  write(writer, value) {
    if (typeof value !== "bigint" || value < 0n || value >= 1n << 64n) throw new EncodeError(`${value} is not a ulong`);
    writer.writeUlong(value);
  }
};
var mapField = {
  name: "map",
  read(reader) {
    const value = readValue(reader);
    return value instanceof AmqpMap ? value : reader.fail("expected map");
  },
  write: (writer, value) => writeValue(writer, value)
};
var fieldsField = {
  name: "fields",
  read(reader) {
    const start = reader.offset;
    const value = mapField.read(reader);
    for (const key of value.keys())
      if (!(key instanceof AmqpSymbol)) reader.fail("the keys of fields are symbols", start);
    return value;
  },
  write(writer, value) {
    for (const key of value.keys())
      if (!(key instanceof AmqpSymbol)) throw new EncodeError("the keys of fields are symbols", String(key));
    writeValue(writer, value);
  }
};
var fields = (record2) => new AmqpMap(Object.entries(record2).map(([key, value]) => [new AmqpSymbol(key), value]));
var compositeField = (type) => ({
  name: type.name,
  read(reader) {
    const start = reader.offset;
    if (reader.u8() !== 0) reader.unexpected(reader.bytes[start], type.name);
    reader.descend();
    const descriptor = reader.readDescriptor();
    if (descriptor !== type.code && descriptor !== type.symbol) reader.fail(`expected ${type.name}`, start);
    const value = type.read(reader);
    reader.ascend();
    return value;
  },
  write: (writer, value) => type.write(writer, value)
});
function archetype(name, members) {
  const list = members;
  const byDescriptor = /* @__PURE__ */ new Map();
  const byName = /* @__PURE__ */ new Map();
  for (const member of list) {
    byDescriptor.set(member.code, member).set(member.symbol, member);
    byName.set(member.name, member);
  }
  const named = (type) => {
    const found = byName.get(type);
    if (!found) throw new EncodeError(`${type} is not a ${name}`);
    return found;
  };
  return {
    name,
    find: (descriptor) => byDescriptor.get(descriptor),
    named,
    read(reader) {
      const start = reader.offset;
      if (reader.u8() !== 0) reader.unexpected(reader.bytes[start], name);
      reader.descend();
      const found = byDescriptor.get(reader.readDescriptor());
      if (!found) return reader.fail(`expected a ${name}`, start);
      const value = found.read(reader);
      reader.ascend();
      return value;
    },
    write: (writer, value) => named(value.type).write(writer, value)
  };
}

// src/definitions/error.ts
var error = /* @__PURE__ */ composite({
  name: "error",
  code: 29,
  section: "2.8.14",
  fields: {
    condition: mandatory(symbolField),
    description: optional(stringField),
    info: optional(fieldsField)
  }
});

// src/definitions/delivery-state.ts
var received = /* @__PURE__ */ composite({
  name: "received",
  code: 35,
  section: "3.4.1",
  fields: { sectionNumber: mandatory(uintField), sectionOffset: mandatory(ulongField) }
});
var accepted = /* @__PURE__ */ composite({
  name: "accepted",
  code: 36,
  section: "3.4.2",
  fields: {}
});
var rejected = /* @__PURE__ */ composite({
  name: "rejected",
  code: 37,
  section: "3.4.3",
  fields: { error: optional(/* @__PURE__ */ compositeField(error)) }
});
var released = /* @__PURE__ */ composite({
  name: "released",
  code: 38,
  section: "3.4.4",
  fields: {}
});
var modified = /* @__PURE__ */ composite({
  name: "modified",
  code: 39,
  section: "3.4.5",
  fields: {
    deliveryFailed: defaulted(booleanField, false),
    undeliverableHere: defaulted(booleanField, false),
    messageAnnotations: optional(fieldsField)
  }
});
var outcomeField = /* @__PURE__ */ archetype("outcome", [
  accepted,
  rejected,
  released,
  modified
]);
var txnIdField = binaryField;
var declared = /* @__PURE__ */ composite({
  name: "declared",
  code: 51,
  section: "4.5.5",
  fields: { txnId: mandatory(txnIdField) }
});
var transactionalState = /* @__PURE__ */ composite({
  name: "transactional-state",
  code: 52,
  section: "4.5.6",
  fields: { txnId: mandatory(txnIdField), outcome: optional(outcomeField) }
});
var deliveryStateField = /* @__PURE__ */ archetype("delivery-state", [
  received,
  accepted,
  rejected,
  released,
  modified,
  declared,
  transactionalState
]);
var ACCEPTED = /* @__PURE__ */ Object.freeze({ type: "accepted" });
var RELEASED = /* @__PURE__ */ Object.freeze({ type: "released" });

// src/definitions/restricted.ts
var choice = (name, source2, choices) => ({
  name,
  read(reader) {
    const start = reader.offset;
    const value = source2.read(reader);
    return choices[value] ?? reader.fail(`${value} is not a ${name}`, start);
  },
  write(writer, value) {
    const index = choices.indexOf(value);
    if (index < 0) throw new EncodeError(`${value} is not a ${name}`);
    source2.write(writer, index);
  }
});
var roleField = {
  name: "role",
  read: (reader) => reader.readBoolean() ? "receiver" : "sender",
  write: (writer, role) => writer.writeBoolean(role === "receiver")
};
var senderSettleModeField = /* @__PURE__ */ choice(
  "sender-settle-mode",
  ubyteField,
  ["unsettled", "settled", "mixed"]
);
var receiverSettleModeField = /* @__PURE__ */ choice(
  "receiver-settle-mode",
  ubyteField,
  ["first", "second"]
);
var durabilityField = /* @__PURE__ */ choice("terminus-durability", uintField, [
  "none",
  "configuration",
  "unsettled-state"
]);
var EXPIRY_POLICIES = ["link-detach", "session-end", "connection-close", "never"];
var expiryPolicyField = {
  name: "terminus-expiry-policy",
  read(reader) {
    const start = reader.offset;
    const name = reader.readSymbol();
    if (!EXPIRY_POLICIES.includes(name)) reader.fail("not a terminus-expiry-policy", start);
    return name;
  },
  write: (writer, value) => writer.writeSymbol(value)
};
var addressField = {
  name: "address",
  // Some peers write addresses as symbols.
  read: (reader) => reader.peek() === 163 || reader.peek() === 179 ? reader.readSymbol() : reader.readString(),
  write: stringField.write
};
var messageIdField = {
  name: "message-id",
  read(reader) {
    switch (reader.peek()) {
      case 161:
      case 177:
        return reader.readString();
      case 68:
      case 83:
      case 128:
        return reader.readUlong();
      case 152:
        return reader.readUuid();
      case 160:
      case 176:
        return reader.readBinary();
      default:
        return reader.fail("expected a message-id: string, ulong, uuid or binary");
    }
  },
  write(writer, id) {
    if (typeof id === "bigint") writer.writeUlong(ulong(id).value);
    else if (typeof id === "string") writer.writeString(id);
    else if (id instanceof Uuid) writer.writeUuid(id.bytes);
    else if (id instanceof Uint8Array) writer.writeBinary(id);
    else throw new EncodeError("a message-id is a string, bigint, Uuid or Uint8Array");
  }
};
var deliveryTagField = {
  name: "delivery-tag",
  read(reader) {
    const start = reader.offset;
    const tag = reader.readBinary();
    if (tag.length > 32) reader.fail(`a delivery-tag has at most 32 bytes, not ${tag.length}`, start);
    return tag;
  },
  write(writer, tag) {
    if (tag.length > 32) throw new EncodeError(`a delivery-tag has at most 32 bytes, not ${tag.length}`);
    writer.writeBinary(tag);
  }
};
var MIN_MAX_FRAME_SIZE = 512;

// src/definitions/hot-paths.ts
var optionalUint = (reader) => reader.takeNull() ? void 0 : reader.readUint();
var flag = (reader) => !reader.takeNull() && reader.readBoolean();
function readState(reader) {
  const { bytes, offset } = reader;
  if (offset + 4 <= reader.end && bytes[offset] === 0 && bytes[offset + 1] === 83 && bytes[offset + 3] === 69) {
    const code = bytes[offset + 2];
    if (code === 36 || code === 38) {
      reader.offset = offset + 4;
      return code === 36 ? ACCEPTED : RELEASED;
    }
  }
  return deliveryStateField.read(reader);
}
function readTransfer(reader) {
  const outer = reader.enterList();
  const count = reader.count;
  if (count > 11) reader.fail(`transfer has 11 fields, not ${count}`);
  if (count < 1 || reader.takeNull()) reader.fail("transfer lacks the mandatory handle");
  const value = {
    type: "transfer",
    handle: reader.readUint(),
    deliveryId: count > 1 ? optionalUint(reader) : void 0,
    deliveryTag: count > 2 && !reader.takeNull() ? deliveryTagField.read(reader) : void 0,
    messageFormat: count > 3 ? optionalUint(reader) : void 0,
    settled: count > 4 && !reader.takeNull() ? reader.readBoolean() : void 0,
    more: count > 5 && flag(reader),
    rcvSettleMode: count > 6 && !reader.takeNull() ? receiverSettleModeField.read(reader) : void 0,
    state: count > 7 && !reader.takeNull() ? readState(reader) : void 0,
    resume: count > 8 && flag(reader),
    aborted: count > 9 && flag(reader),
    batchable: count > 10 && flag(reader)
  };
  reader.leave(outer);
  return value;
}
function readDisposition(reader) {
  const outer = reader.enterList();
  const count = reader.count;
  if (count > 6) reader.fail(`disposition has 6 fields, not ${count}`);
  if (count < 1 || reader.takeNull()) reader.fail("disposition lacks the mandatory role");
  const role = reader.readBoolean() ? "receiver" : "sender";
  if (count < 2 || reader.takeNull()) reader.fail("disposition lacks the mandatory first");
  const value = {
    type: "disposition",
    role,
    first: reader.readUint(),
    last: count > 2 ? optionalUint(reader) : void 0,
    settled: count > 3 && flag(reader),
    state: count > 4 && !reader.takeNull() ? readState(reader) : void 0,
    batchable: count > 5 && flag(reader)
  };
  reader.leave(outer);
  return value;
}
function readFlow(reader) {
  const outer = reader.enterList();
  const count = reader.count;
  if (count > 11) reader.fail(`flow has 11 fields, not ${count}`);
  if (count < 4) reader.fail("flow lacks a mandatory field");
  const nextIncomingId = optionalUint(reader);
  const value = {
    type: "flow",
    nextIncomingId,
    incomingWindow: reader.readUint(),
    nextOutgoingId: reader.readUint(),
    outgoingWindow: reader.readUint(),
    handle: count > 4 ? optionalUint(reader) : void 0,
    deliveryCount: count > 5 ? optionalUint(reader) : void 0,
    linkCredit: count > 6 ? optionalUint(reader) : void 0,
    available: count > 7 ? optionalUint(reader) : void 0,
    drain: count > 8 && flag(reader),
    echo: count > 9 && flag(reader),
    properties: count > 10 && !reader.takeNull() ? fieldsField.read(reader) : void 0
  };
  reader.leave(outer);
  return value;
}
function writeDisposition(writer, receiver, first, last, settled, state) {
  writer.writeDescriptor(21);
  const begun = writer.open();
  writer.writeBoolean(receiver);
  writer.writeUint(first);
  let count = 2;
  if (last !== first || settled || state) {
    if (last === first) writer.writeNull();
    else writer.writeUint(last);
    count = 3;
  }
  if (settled || state) {
    if (settled) writer.writeBoolean(true);
    else writer.writeNull();
    count = 4;
  }
  if (state) {
    deliveryStateField.write(writer, state);
    count = 5;
  }
  writer.closeList(begun, count);
}
var uintWidth = (value) => value === 0 ? 1 : value < 256 ? 2 : 5;
var TRANSFER_ROOM = 72;
function transferWidth(t) {
  let width = 3 + 3 + uintWidth(t.handle);
  const count = fieldCount(t);
  if (t.deliveryId >= 0)
    width += uintWidth(t.deliveryId) + 2 + (typeof t.deliveryTag === "number" ? 4 : t.deliveryTag.length) + uintWidth(t.messageFormat);
  else if (count > 1) width += 3;
  return width + Math.max(count - 4, 0);
}
var fieldCount = (t) => t.more ? 6 : t.settled ? 5 : t.deliveryId >= 0 ? 4 : 1;
function putUint(bytes, offset, value) {
  if (value === 0) {
    bytes[offset] = 67;
    return offset + 1;
  }
  if (value < 256) {
    bytes[offset] = 82;
    bytes[offset + 1] = value;
    return offset + 2;
  }
  bytes[offset] = 112;
  return putU32(bytes, offset + 1, value);
}
function putU32(bytes, offset, value) {
  bytes[offset] = value >>> 24;
  bytes[offset + 1] = value >>> 16;
  bytes[offset + 2] = value >>> 8;
  bytes[offset + 3] = value;
  return offset + 4;
}
function putTransfer(bytes, offset, t) {
  const count = fieldCount(t);
  bytes[offset] = 0;
  bytes[offset + 1] = 83;
  bytes[offset + 2] = 20;
  bytes[offset + 3] = 192;
  bytes[offset + 5] = count;
  let at = putUint(bytes, offset + 6, t.handle);
  if (t.deliveryId >= 0) {
    at = putUint(bytes, at, t.deliveryId);
    at = putTag(bytes, at, t.deliveryTag);
    at = putUint(bytes, at, t.messageFormat);
  } else if (count > 1) {
    bytes[at++] = 64;
    bytes[at++] = 64;
    bytes[at++] = 64;
  }
  if (count > 4) bytes[at++] = t.settled ? 65 : 64;
  if (count > 5) bytes[at++] = 65;
  bytes[offset + 4] = at - offset - 5;
  return at;
}
function putTag(bytes, offset, tag) {
  bytes[offset] = 160;
  if (typeof tag === "number") {
    bytes[offset + 1] = 4;
    return putU32(bytes, offset + 2, tag);
  }
  bytes[offset + 1] = tag.length;
  bytes.set(tag, offset + 2);
  return offset + 2 + tag.length;
}

// src/definitions/terminus.ts
var source = /* @__PURE__ */ composite({
  name: "source",
  code: 40,
  section: "3.5.3",
  fields: {
    address: optional(addressField),
    durable: defaulted(durabilityField, "none"),
    expiryPolicy: defaulted(expiryPolicyField, "session-end"),
    timeout: defaulted(uintField, 0),
    dynamic: defaulted(booleanField, false),
    dynamicNodeProperties: optional(fieldsField),
    distributionMode: optional(symbolField),
    filter: optional(mapField),
    defaultOutcome: optional(outcomeField),
    outcomes: symbols2,
    capabilities: symbols2
  }
});
var target = /* @__PURE__ */ composite({
  name: "target",
  code: 41,
  section: "3.5.4",
  fields: {
    address: optional(addressField),
    durable: defaulted(durabilityField, "none"),
    expiryPolicy: defaulted(expiryPolicyField, "session-end"),
    timeout: defaulted(uintField, 0),
    dynamic: defaulted(booleanField, false),
    dynamicNodeProperties: optional(fieldsField),
    capabilities: symbols2
  }
});
var coordinator = /* @__PURE__ */ composite({
  name: "coordinator",
  code: 48,
  section: "4.5.1",
  fields: { capabilities: symbols2 }
});
var sourceField = /* @__PURE__ */ archetype("source", [source]);
var targetField = /* @__PURE__ */ archetype("target", [
  target,
  coordinator
]);

// src/definitions/performatives.ts
var MAX_UINT = 4294967295;
var open = /* @__PURE__ */ composite({
  name: "open",
  code: 16,
  section: "2.7.1",
  fields: {
    containerId: mandatory(stringField),
    hostname: optional(stringField),
    maxFrameSize: defaulted(uintField, MAX_UINT),
    channelMax: defaulted(ushortField, 65535),
    idleTimeOut: optional(uintField),
    outgoingLocales: symbols2,
    incomingLocales: symbols2,
    offeredCapabilities: symbols2,
    desiredCapabilities: symbols2,
    properties: optional(fieldsField)
  }
});
var begin = /* @__PURE__ */ composite({
  name: "begin",
  code: 17,
  section: "2.7.2",
  fields: {
    remoteChannel: optional(ushortField),
    nextOutgoingId: mandatory(uintField),
    incomingWindow: mandatory(uintField),
    outgoingWindow: mandatory(uintField),
    handleMax: defaulted(uintField, MAX_UINT),
    offeredCapabilities: symbols2,
    desiredCapabilities: symbols2,
    properties: optional(fieldsField)
  }
});
var attach = /* @__PURE__ */ composite({
  name: "attach",
  code: 18,
  section: "2.7.3",
  fields: {
    name: mandatory(stringField),
    handle: mandatory(uintField),
    role: mandatory(roleField),
    sndSettleMode: defaulted(senderSettleModeField, "mixed"),
    rcvSettleMode: defaulted(receiverSettleModeField, "first"),
    source: optional(sourceField),
    target: optional(targetField),
    unsettled: optional(mapField),
    incompleteUnsettled: defaulted(booleanField, false),
    initialDeliveryCount: optional(uintField),
    maxMessageSize: optional(ulongField),
    offeredCapabilities: symbols2,
    desiredCapabilities: symbols2,
    properties: optional(fieldsField)
  }
});
var flow = /* @__PURE__ */ composite({
  name: "flow",
  code: 19,
  section: "2.7.4",
  fields: {
    nextIncomingId: optional(uintField),
    incomingWindow: mandatory(uintField),
    nextOutgoingId: mandatory(uintField),
    outgoingWindow: mandatory(uintField),
    handle: optional(uintField),
    deliveryCount: optional(uintField),
    linkCredit: optional(uintField),
    available: optional(uintField),
    drain: defaulted(booleanField, false),
    echo: defaulted(booleanField, false),
    properties: optional(fieldsField)
  }
});
var transfer = /* @__PURE__ */ composite({
  name: "transfer",
  code: 20,
  section: "2.7.5",
  fields: {
    handle: mandatory(uintField),
    deliveryId: optional(uintField),
    deliveryTag: optional(deliveryTagField),
    messageFormat: optional(uintField),
    settled: optional(booleanField),
    more: defaulted(booleanField, false),
    rcvSettleMode: optional(receiverSettleModeField),
    state: optional(deliveryStateField),
    resume: defaulted(booleanField, false),
    aborted: defaulted(booleanField, false),
    batchable: defaulted(booleanField, false)
  }
});
var disposition = /* @__PURE__ */ composite({
  name: "disposition",
  code: 21,
  section: "2.7.6",
  fields: {
    role: mandatory(roleField),
    first: mandatory(uintField),
    last: optional(uintField),
    settled: defaulted(booleanField, false),
    state: optional(deliveryStateField),
    batchable: defaulted(booleanField, false)
  }
});
var detach = /* @__PURE__ */ composite({
  name: "detach",
  code: 22,
  section: "2.7.7",
  fields: {
    handle: mandatory(uintField),
    closed: defaulted(booleanField, false),
    error: optional(/* @__PURE__ */ compositeField(error))
  }
});
var end = /* @__PURE__ */ composite({
  name: "end",
  code: 23,
  section: "2.7.8",
  fields: { error: optional(/* @__PURE__ */ compositeField(error)) }
});
var close = /* @__PURE__ */ composite({
  name: "close",
  code: 24,
  section: "2.7.9",
  fields: { error: optional(/* @__PURE__ */ compositeField(error)) }
});

// src/definitions/registry.ts
var frameBody = /* @__PURE__ */ archetype("performative", [
  open,
  begin,
  attach,
  flow,
  transfer,
  disposition,
  detach,
  end,
  close
]);

// src/definitions/sasl.ts
var CODES = ["ok", "auth", "sys", "sys-perm", "sys-temp"];
var saslCodeField = {
  name: "sasl-code",
  read(reader) {
    const code = ubyteField.read(reader);
    return CODES[code] ?? "sys";
  },
  write: (writer, code) => writer.writeUbyte(CODES.indexOf(code))
};
var saslMechanisms = /* @__PURE__ */ composite({
  name: "sasl-mechanisms",
  code: 64,
  section: "5.3.3.1",
  fields: { saslServerMechanisms: mandatorySymbols }
});
var saslInit = /* @__PURE__ */ composite({
  name: "sasl-init",
  code: 65,
  section: "5.3.3.2",
  fields: {
    mechanism: mandatory(symbolField),
    initialResponse: optional(binaryField),
    hostname: optional(stringField)
  }
});
var saslChallenge = /* @__PURE__ */ composite({
  name: "sasl-challenge",
  code: 66,
  section: "5.3.3.3",
  fields: { challenge: mandatory(binaryField) }
});
var saslResponse = /* @__PURE__ */ composite({
  name: "sasl-response",
  code: 67,
  section: "5.3.3.4",
  fields: { response: mandatory(binaryField) }
});
var saslOutcome = /* @__PURE__ */ composite({
  name: "sasl-outcome",
  code: 68,
  section: "5.3.3.5",
  fields: { code: mandatory(saslCodeField), additionalData: optional(binaryField) }
});
var saslFrame = /* @__PURE__ */ archetype("sasl-frame", [
  saslMechanisms,
  saslInit,
  saslChallenge,
  saslResponse,
  saslOutcome
]);

// src/framing/frame-reader.ts
var FramingFault = class extends Error {
};
var NO_BYTES = /* @__PURE__ */ new Uint8Array(0);
var TRANSFER = 20;
var PEEK = 15;
var FrameReader = class {
  /** Largest frame that is accepted, in bytes. */
  maxFrameSize;
  /** Whether the next eight bytes are a protocol header. */
  expectHeader = true;
  /** 0 AMQP, 1 SASL: any other type is a fault. */
  expectType = 0;
  /** After `next` returned `header`: its bytes. */
  header = NO_BYTES;
  /** After `next` returned `frame`. */
  channel = 0;
  body;
  /** After `frame`, the first piece of payload, or undefined; after `payload`, the next piece. BORROWS */
  payload;
  /** Bytes of the frame's payload still to come after this piece. */
  payloadLeft = 0;
  #chunk = NO_BYTES;
  #at = 0;
  #reader;
  /** The beginning of an item that its chunk cut off. */
  #held = NO_BYTES;
  #heldLength = 0;
  constructor(maxFrameSize, limits) {
    this.maxFrameSize = maxFrameSize;
    this.#reader = new Reader(NO_BYTES, 0, 0, limits);
  }
  /** Hands in the next chunk, which must not change any more. */
  push(chunk) {
    if (this.#at === this.#chunk.length) {
      this.#chunk = chunk;
      this.#at = 0;
      return;
    }
    const joined2 = new Uint8Array(this.#chunk.length - this.#at + chunk.length);
    joined2.set(this.#chunk.subarray(this.#at));
    joined2.set(chunk, this.#chunk.length - this.#at);
    this.#chunk = joined2;
    this.#at = 0;
  }
  /** Bytes handed in and not yet read. */
  get unread() {
    return this.#chunk.length - this.#at + this.#heldLength;
  }
  /**
   * Reads the next item.
   * @returns `undefined` when more bytes are needed
   * @throws {FramingFault} the frame is malformed. §2.3.1
   * @throws {DecodeError} its body is
   */
  next() {
    if (this.payloadLeft > 0) return this.#nextPiece();
    if (this.#heldLength > 0) return this.#nextHeld();
    const left = this.#chunk.length - this.#at;
    if (left < 8) return left === 0 ? void 0 : this.#hold(8);
    if (this.expectHeader) {
      this.header = this.#chunk.subarray(this.#at, this.#at + 8);
      this.#at += 8;
      return "header";
    }
    const size = this.#checkLayout(this.#chunk, this.#at);
    if (size > left) return this.#hold(Math.min(size, 64));
    const start = this.#at;
    this.#at += size;
    this.#decode(this.#chunk, start, start + size);
    return "frame";
  }
  #nextPiece() {
    const width = Math.min(this.payloadLeft, this.#chunk.length - this.#at);
    if (width === 0) return void 0;
    this.payloadLeft -= width;
    this.payload = this.#take(width);
    return "payload";
  }
  #take(width) {
    const view = new Uint8Array(this.#chunk.buffer, this.#chunk.byteOffset + this.#at, width);
    this.#at += width;
    return view;
  }
  /** Starts putting together an item that ends in a later chunk. */
  #hold(size) {
    this.#held = new Uint8Array(size);
    return this.#nextHeld();
  }
  /** Moves bytes from the chunk until `width` are held. */
  #fill(width) {
    if (width > this.#held.length) {
      const larger = new Uint8Array(width);
      larger.set(this.#held.subarray(0, this.#heldLength));
      this.#held = larger;
    }
    const moved = Math.min(width - this.#heldLength, this.#chunk.length - this.#at);
    if (moved > 0) {
      this.#held.set(this.#chunk.subarray(this.#at, this.#at + moved), this.#heldLength);
      this.#heldLength += moved;
      this.#at += moved;
    }
    return this.#heldLength >= width;
  }
  #nextHeld() {
    if (!this.#fill(8)) return void 0;
    if (this.expectHeader) {
      this.header = this.#release().subarray(0, 8);
      return "header";
    }
    const size = this.#checkLayout(this.#held, 0);
    const bodyStart = this.#held[4] * 4;
    if (this.expectType === 0 && size - bodyStart > PEEK) {
      if (!this.#fill(bodyStart + PEEK)) return void 0;
      const listEnd = transferEnd(this.#held, bodyStart);
      if (listEnd > 0 && listEnd < size) return this.#heldTransfer(listEnd, size);
    }
    if (!this.#fill(size)) return void 0;
    this.#decode(this.#release(), 0, size);
    return "frame";
  }
  /** A transfer whose list is complete while its payload is not. */
  #heldTransfer(listEnd, size) {
    if (!this.#fill(listEnd)) return void 0;
    const heldLength = this.#heldLength;
    const held = this.#release();
    this.#decode(held, 0, listEnd);
    if (heldLength > listEnd) {
      this.payload = held.subarray(listEnd, heldLength);
      this.payloadLeft = size - heldLength;
    } else {
      const width = Math.min(size - listEnd, this.#chunk.length - this.#at);
      this.payload = width > 0 ? this.#take(width) : void 0;
      this.payloadLeft = size - listEnd - width;
    }
    return "frame";
  }
  #release() {
    const held = this.#held;
    this.#held = NO_BYTES;
    this.#heldLength = 0;
    return held;
  }
  /** Checks the eight bytes of a frame header. @returns the frame's size. §2.3.1 */
  #checkLayout(bytes, at) {
    const size = (bytes[at] << 24 | bytes[at + 1] << 16 | bytes[at + 2] << 8 | bytes[at + 3]) >>> 0;
    const dataOffset = bytes[at + 4];
    if (size < 8) throw new FramingFault(`a frame has at least 8 bytes, not ${size}`);
    if (size > this.maxFrameSize)
      throw new FramingFault(`frame of ${size} bytes, where ${this.maxFrameSize} are allowed`);
    if (dataOffset < 2 || dataOffset * 4 > size)
      throw new FramingFault(`data offset of ${dataOffset} words in a frame of ${size} bytes`);
    const type = bytes[at + 5];
    if (type !== this.expectType) throw new FramingFault(`frame of type ${type}, where ${this.expectType} is expected`);
    return size;
  }
  /** Decodes the body of the frame that begins at `start`; what follows it is payload. §2.3.2 */
  #decode(bytes, start, end2) {
    const reader = this.#reader;
    this.channel = bytes[start + 6] << 8 | bytes[start + 7];
    this.payload = void 0;
    this.payloadLeft = 0;
    const at = start + bytes[start + 4] * 4;
    if (at === end2) {
      this.body = void 0;
      return;
    }
    reader.reset(bytes, at, end2);
    reader.base = -start;
    if (this.expectType === 1) {
      this.body = saslFrame.read(reader);
      if (reader.offset !== end2) reader.fail(`${end2 - reader.offset} bytes behind a SASL frame's body`);
      return;
    }
    const body = readPerformative(reader);
    this.body = body;
    if (reader.offset === end2) return;
    if (body.type !== "transfer") reader.fail(`${end2 - reader.offset} bytes behind ${body.type}, which has no payload`);
    this.payload = reader.view(end2 - reader.offset);
  }
};
function readPerformative(reader) {
  const { bytes, offset } = reader;
  if (bytes[offset] === 0 && bytes[offset + 1] === 83 && offset + 3 <= reader.end) {
    reader.offset = offset + 3;
    switch (bytes[offset + 2]) {
      case TRANSFER:
        return readTransfer(reader);
      case 21:
        return readDisposition(reader);
      case 19:
        return readFlow(reader);
    }
    reader.offset = offset;
  }
  return frameBody.read(reader);
}
function transferEnd(bytes, start) {
  if (bytes[start] !== 0) return 0;
  let at;
  if (bytes[start + 1] === 83 && bytes[start + 2] === TRANSFER) at = start + 3;
  else if (bytes[start + 1] === 128 && isLongCode(bytes, start + 2)) at = start + 10;
  else return 0;
  if (bytes[at] === 192) return at + 2 + bytes[at + 1];
  if (bytes[at] !== 208) return 0;
  const size = new DataView(bytes.buffer, bytes.byteOffset + at + 1, 4).getUint32(0);
  return at + 5 + size;
}
function isLongCode(bytes, at) {
  for (let i = 0; i < 7; i++) if (bytes[at + i] !== 0) return false;
  return bytes[at + 7] === TRANSFER;
}

// src/framing/protocol-header.ts
var AMQP_ID = 0;
var SASL_ID = 3;
var encodeHeader = (id) => Uint8Array.of(65, 77, 81, 80, id, 1, 0, 0);
function decodeHeader(bytes, offset) {
  if (bytes[offset] !== 65 || bytes[offset + 1] !== 77 || bytes[offset + 2] !== 81 || bytes[offset + 3] !== 80)
    return void 0;
  const [id = 0, major = 0, minor = 0, revision = 0] = bytes.subarray(offset + 4, offset + 8);
  return { id, major, minor, revision };
}
var isSupported = (header2, id) => header2.id === id && header2.major === 1 && header2.minor === 0 && header2.revision === 0;
var formatHeader = (h) => `AMQP ${h.id} ${h.major}.${h.minor}.${h.revision}`;

// src/framing/frame-writer.ts
var SLAB_SIZE = 64 << 10;
var FRAME_HEADER = 8;
function putFrameHeader(bytes, at, size, type, channel) {
  bytes[at] = size >>> 24;
  bytes[at + 1] = size >>> 16;
  bytes[at + 2] = size >>> 8;
  bytes[at + 3] = size;
  bytes[at + 4] = 2;
  bytes[at + 5] = type;
  bytes[at + 6] = channel >>> 8;
  bytes[at + 7] = channel;
}
var FrameWriter = class {
  /** Where messages are encoded and frames built. `mark` is the start of what is not yet committed. */
  slab = new Writer(0, SLAB_SIZE);
  /** Bytes written and not yet taken. */
  pending = 0;
  /** Frames written, ever. */
  frames = 0;
  #chunks = [];
  /** The run of slab that is being extended. */
  #bytes;
  #start = 0;
  #end = 0;
  /** Takes what was written. The chunks are the caller's; they are never written to again. */
  take() {
    this.#flushRun();
    const chunks = this.#chunks;
    this.#chunks = [];
    this.pending = 0;
    return chunks;
  }
  /** Bytes as they are: protocol headers, payload by reference. */
  raw(bytes) {
    if (bytes.length === 0) return;
    this.#flushRun();
    this.#chunks.push(bytes);
    this.pending += bytes.length;
  }
  /**
   * A frame whose body `write` puts into the slab; nothing for an empty frame. §2.3.2
   *
   * @param maxFrameSize  what the peer takes
   * @throws {UsageError} when the frame is larger; whatever `write` throws. Nothing is written then.
   */
  frame(type, channel, maxFrameSize, write) {
    const slab2 = this.slab;
    slab2.ensure(FRAME_HEADER);
    slab2.mark = slab2.offset;
    slab2.offset += FRAME_HEADER;
    try {
      write?.(slab2);
      const size = slab2.offset - slab2.mark;
      if (size > maxFrameSize)
        throw new UsageError(`a frame of ${size} bytes is too large for the peer, which takes ${maxFrameSize}`, "2.4.1");
    } catch (error2) {
      slab2.offset = slab2.mark;
      throw error2;
    }
    putFrameHeader(slab2.bytes, slab2.mark, slab2.offset - slab2.mark, type, channel);
    this.#append(slab2.bytes, slab2.mark, slab2.offset);
    slab2.mark = slab2.offset;
    this.frames++;
  }
  /** The payload that fits in one frame of at most `maxFrameSize` bytes behind this transfer. */
  capacity(t, maxFrameSize) {
    return maxFrameSize - FRAME_HEADER - transferWidth(t);
  }
  /** A transfer whose payload lies in a slab, with headroom in front, from `start` to `end`. §2.7.5 */
  transferInPlace(channel, t, bytes, start, end2) {
    const at = start - transferWidth(t);
    putTransfer(bytes, at, t);
    putFrameHeader(bytes, at - FRAME_HEADER, end2 - at + FRAME_HEADER, 0, channel);
    this.#append(bytes, at - FRAME_HEADER, end2);
    this.frames++;
  }
  /** A transfer in front of `size` bytes of payload, which the caller hands to `raw` next. §2.7.5 */
  transferBefore(channel, t, size) {
    const slab2 = this.slab;
    slab2.ensure(TRANSFER_ROOM);
    const start = slab2.offset;
    const end2 = putTransfer(slab2.bytes, start + FRAME_HEADER, t);
    putFrameHeader(slab2.bytes, start, end2 - start + size, 0, channel);
    slab2.offset = end2;
    slab2.mark = end2;
    this.#append(slab2.bytes, start, end2);
    this.frames++;
  }
  #append(bytes, start, end2) {
    this.pending += end2 - start;
    if (this.#bytes === bytes && this.#end === start) {
      this.#end = end2;
      return;
    }
    this.#flushRun();
    this.#bytes = bytes;
    this.#start = start;
    this.#end = end2;
  }
  #flushRun() {
    if (!this.#bytes) return;
    this.#chunks.push(new Uint8Array(this.#bytes.buffer, this.#bytes.byteOffset + this.#start, this.#end - this.#start));
    this.#bytes = void 0;
  }
};

// src/engine/connection-states.ts
var connectionTransitions = {
  START: { "R:HDR": "HDR_RCVD", "S:HDR": "HDR_SENT" },
  HDR_RCVD: { "S:HDR": "HDR_EXCH" },
  HDR_SENT: { "R:HDR": "HDR_EXCH", "S:OPEN": "OPEN_PIPE" },
  HDR_EXCH: { "R:OPEN": "OPEN_RCVD", "S:OPEN": "OPEN_SENT" },
  OPEN_PIPE: { "R:HDR": "OPEN_SENT", "S:CLOSE": "OC_PIPE", "S:CLOSE(ERROR)": "OC_PIPE" },
  OC_PIPE: { "R:HDR": "CLOSE_PIPE" },
  // R:CLOSE: the peer pipelines open and close. D-011
  OPEN_RCVD: { "S:OPEN": "OPENED", "R:CLOSE": "OPEN_RCVD" },
  OPEN_SENT: { "R:OPEN": "OPENED", "S:CLOSE": "CLOSE_PIPE", "S:CLOSE(ERROR)": "DISCARDING" },
  CLOSE_PIPE: { "R:OPEN": "CLOSE_SENT" },
  OPENED: { "R:CLOSE": "CLOSE_RCVD", "S:CLOSE": "CLOSE_SENT", "S:CLOSE(ERROR)": "DISCARDING" },
  CLOSE_RCVD: { "S:CLOSE": "END", "S:CLOSE(ERROR)": "END" },
  CLOSE_SENT: { "R:CLOSE": "END" },
  DISCARDING: { "R:CLOSE": "END", "R:OPEN": "DISCARDING" },
  END: {}
};
var legalSends = {
  START: "HDR",
  HDR_RCVD: "HDR",
  HDR_SENT: "OPEN",
  HDR_EXCH: "OPEN",
  OPEN_RCVD: "OPEN",
  OPEN_SENT: "**",
  OPEN_PIPE: "**",
  CLOSE_PIPE: "-",
  OC_PIPE: "-",
  OPENED: "*",
  CLOSE_RCVD: "*",
  CLOSE_SENT: "-",
  DISCARDING: "-",
  END: "-"
};
var legalReceives = {
  START: "HDR",
  HDR_RCVD: "OPEN",
  HDR_SENT: "HDR",
  HDR_EXCH: "OPEN",
  OPEN_RCVD: "*",
  OPEN_SENT: "OPEN",
  OPEN_PIPE: "HDR",
  CLOSE_PIPE: "OPEN",
  OC_PIPE: "HDR",
  OPENED: "*",
  CLOSE_RCVD: "-",
  CLOSE_SENT: "*",
  DISCARDING: "*",
  END: "-"
};

// src/engine/fifo.ts
var Fifo = class {
  #items = [];
  #head = 0;
  get length() {
    return this.#items.length - this.#head;
  }
  push(item) {
    this.#items.push(item);
  }
  peek() {
    return this.#items[this.#head];
  }
  shift() {
    const items = this.#items;
    if (this.#head === items.length) return void 0;
    const item = items[this.#head];
    items[this.#head] = void 0;
    if (++this.#head === items.length) {
      if (items.length > 1024) this.#items = [];
      else items.length = 0;
      this.#head = 0;
    } else if (this.#head > 1024 && this.#head * 2 > items.length) {
      this.#items = items.slice(this.#head);
      this.#head = 0;
    }
    return item;
  }
  /** Takes everything out, in order. */
  drain() {
    const items = this.#items.slice(this.#head);
    this.#items = [];
    this.#head = 0;
    return items;
  }
  /** Takes out one item, wherever it stands. @returns whether it was there */
  remove(item) {
    const at = this.#items.indexOf(item, this.#head);
    if (at < 0) return false;
    this.#items.splice(at, 1);
    return true;
  }
  *[Symbol.iterator]() {
    for (let i = this.#head; i < this.#items.length; i++) yield this.#items[i];
  }
};

// src/engine/numbering.ts
var Numbering = class {
  /** Highest number that may be assigned. */
  max;
  #items = [];
  /** Below this, nothing is free. */
  #full = 0;
  #count = 0;
  constructor(max) {
    this.max = max;
  }
  get count() {
    return this.#count;
  }
  /** Assigns the lowest free number. @returns −1 when all up to `max` are taken */
  assign(item) {
    let number2 = this.#full;
    while (this.#items[number2] !== void 0) number2++;
    if (number2 > this.max) return -1;
    this.set(number2, item);
    this.#full = number2 + 1;
    return number2;
  }
  get(number2) {
    return this.#items[number2];
  }
  /** Takes a number that the peer chose. */
  set(number2, item) {
    while (this.#items.length < number2) this.#items.push(void 0);
    if (this.#items[number2] === void 0) this.#count++;
    this.#items[number2] = item;
  }
  release(number2) {
    if (this.#items[number2] === void 0) return;
    this.#items[number2] = void 0;
    this.#count--;
    if (number2 < this.#full) this.#full = number2;
  }
  *[Symbol.iterator]() {
    for (const item of this.#items) if (item !== void 0) yield item;
  }
};

// src/engine/incoming-delivery.ts
var NO_BYTES2 = /* @__PURE__ */ new Uint8Array(0);
var IncomingDelivery = class {
  link;
  deliveryId;
  /** BORROWS from the chunk that it came in. */
  deliveryTag;
  messageFormat;
  /** The payload in the pieces in which it came. BORROWS */
  chunks = [];
  /** Bytes of all chunks. */
  size = 0;
  /** The sender has settled it. */
  remoteSettled;
  /** The last state that the sender told. */
  remoteState;
  /** What we have decided, once we have. */
  localState;
  localSettled = false;
  /** For the owner. */
  context;
  constructor(link, deliveryId, deliveryTag, messageFormat, remoteSettled, remoteState) {
    this.link = link;
    this.deliveryId = deliveryId;
    this.deliveryTag = deliveryTag ?? NO_BYTES2;
    this.messageFormat = messageFormat;
    this.remoteSettled = remoteSettled;
    this.remoteState = remoteState;
    this.context = void 0;
  }
};

// src/engine/serial.ts
var serialAdd = (a, count) => a + count >>> 0;
var serialDistance = (a, b) => a - b | 0;
var serialLess = (a, b) => (a - b | 0) < 0;
var serialMax = (a, b) => serialLess(a, b) ? b : a;

// src/engine/link-credit.ts
var SenderCredit = class {
  /** Deliveries sent, as a serial number. */
  deliveryCount;
  initialDeliveryCount;
  /** Deliveries that the receiver still allows. */
  linkCredit = 0;
  /** The receiver wants unused credit back. */
  drain = false;
  constructor(initialDeliveryCount = 0) {
    this.deliveryCount = initialDeliveryCount;
    this.initialDeliveryCount = initialDeliveryCount;
  }
  /** The receiver's flow. Without link-credit it changes nothing. */
  onFlow(flow2) {
    if (flow2.linkCredit === void 0) return;
    const ahead = serialDistance(this.deliveryCount, flow2.deliveryCount ?? this.initialDeliveryCount);
    this.linkCredit = Math.max(flow2.linkCredit - ahead, 0);
    this.drain = flow2.drain;
  }
  /** One delivery begins. */
  onSend() {
    this.deliveryCount = serialAdd(this.deliveryCount, 1);
    this.linkCredit--;
  }
  /** Nothing is left to send while the receiver drains: all credit is used up at once. @returns how much there was */
  consume() {
    const unused = this.linkCredit;
    this.deliveryCount = serialAdd(this.deliveryCount, unused);
    this.linkCredit = 0;
    return unused;
  }
};
var ReceiverCredit = class {
  /** What the sender said last, plus what has arrived since; unknown until its attach. */
  deliveryCount = 0;
  /** Deliveries that may still arrive. */
  linkCredit = 0;
  /** Messages the sender says it has. */
  available = 0;
  drain = false;
  /** Deliveries to keep coming; `undefined` leaves credit to `grant`. */
  window;
  /** Deliveries that have arrived and are not yet consumed; they take up the window. */
  held = 0;
  constructor(window) {
    this.window = window;
  }
  /** The sender's attach. §2.6.7 */
  onAttach(initialDeliveryCount) {
    this.deliveryCount = initialDeliveryCount;
  }
  /** A delivery begins to arrive. @returns false when it has no credit */
  onDelivery() {
    if (this.linkCredit <= 0) return false;
    this.deliveryCount = serialAdd(this.deliveryCount, 1);
    this.linkCredit--;
    if (this.available > 0) this.available--;
    this.held++;
    return true;
  }
  /** The sender's flow; its own notion of link-credit is not a grant. @returns whether a drain has come to its end */
  onFlow(flow2) {
    if (flow2.available !== void 0) this.available = flow2.available;
    if (flow2.deliveryCount === void 0) return false;
    const used = serialDistance(flow2.deliveryCount, this.deliveryCount);
    if (used > 0) {
      this.deliveryCount = flow2.deliveryCount;
      this.linkCredit = Math.max(this.linkCredit - used, 0);
    }
    if (!this.drain || this.linkCredit > 0) return false;
    this.drain = false;
    return true;
  }
  /** A delivery was consumed: it no longer takes up the window. */
  consumed() {
    if (this.held > 0) this.held--;
  }
  /** Whether half of the window is free: time to tell the sender. Never while draining. */
  get isLow() {
    return this.window !== void 0 && !this.drain && (this.linkCredit + this.held) * 2 <= this.window;
  }
  /** Fills the window, to be told in the flow that is being framed. */
  refill() {
    if (this.window !== void 0 && !this.drain) this.linkCredit = Math.max(this.window - this.held, 0);
  }
  /** Allows `count` more deliveries. */
  grant(count) {
    this.linkCredit = Math.min(this.linkCredit + count, 2147483647);
  }
};

// src/engine/link-states.ts
var linkTransitions = {
  UNATTACHED: { "S:ATTACH": "ATTACH_SENT", "R:ATTACH": "ATTACH_RCVD" },
  ATTACH_SENT: {
    "R:ATTACH": "ATTACHED",
    "S:DETACH": "DETACH_SENT",
    "S:CLOSE": "CLOSE_SENT",
    "S:CLOSE(ERROR)": "DISCARDING"
  },
  ATTACH_RCVD: { "S:ATTACH": "ATTACHED", "R:DETACH": "ATTACH_RCVD", "R:CLOSE": "ATTACH_RCVD" },
  ATTACHED: {
    "S:DETACH": "DETACH_SENT",
    "S:CLOSE": "CLOSE_SENT",
    "S:CLOSE(ERROR)": "DISCARDING",
    "R:DETACH": "DETACH_RCVD",
    "R:CLOSE": "CLOSE_RCVD"
  },
  DETACH_SENT: { "R:ATTACH": "DETACH_SENT", "R:DETACH": "DETACHED", "R:CLOSE": "CLOSED" },
  CLOSE_SENT: { "R:ATTACH": "CLOSE_SENT", "R:DETACH": "CLOSED", "R:CLOSE": "CLOSED" },
  DISCARDING: { "R:ATTACH": "DISCARDING", "R:DETACH": "CLOSED", "R:CLOSE": "CLOSED" },
  DETACH_RCVD: { "S:DETACH": "DETACHED", "S:CLOSE": "CLOSED", "S:CLOSE(ERROR)": "CLOSED" },
  CLOSE_RCVD: { "S:CLOSE": "CLOSED", "S:CLOSE(ERROR)": "CLOSED" },
  DETACHED: {},
  CLOSED: {}
};

// src/engine/transitions.ts
var advance = (table, state, input) => table[state][input];

// src/engine/link-endpoint.ts
var LinkEndpoint = class {
  session;
  /** §2.6.1 */
  name;
  initiated;
  state = "UNATTACHED";
  /** Our handle, from our attach on; −1 before and after. §2.6.2 */
  handle = -1;
  /** The peer's handle; −1 before and after. */
  remoteHandle = -1;
  sndSettleMode = "mixed";
  rcvSettleMode = "first";
  /** The peer's termini and limits, from its attach. */
  remoteSource;
  remoteTarget;
  /** 0: no limit. */
  remoteMaxMessageSize = 0n;
  /** The peer refused the link: its terminus is null, and a detach follows. §2.6.3 */
  refused = false;
  flowDue = false;
  /** For the owner. */
  context;
  #pendingDetach;
  #ended = false;
  /** The end has been reported, or is about to be. */
  get hasEnded() {
    return this.#ended;
  }
  constructor(session, name, initiated) {
    this.session = session;
    this.name = name;
    this.initiated = initiated;
  }
  /** For messages: `link 'q1'`. */
  get label() {
    return `link '${this.name}'`;
  }
  /** Whether frames other than attach and detach may be sent and are expected. */
  get isAttached() {
    return this.state === "ATTACHED" && this.#pendingDetach === void 0;
  }
  /** Sends our attach. @throws {UsageError} when it has been sent, or no handle is free. §2.6.3 */
  attach(init) {
    const next = this.#check("S:ATTACH", "attach");
    const handle = this.session.assignHandle(this);
    if (handle < 0) throw new UsageError(`no handle left for ${this.label}`, "2.6.2");
    try {
      this.session.control("attach", {
        ...init,
        source: init.source && { ...init.source, type: "source" },
        target: init.target && { type: "target", ...init.target },
        type: "attach",
        name: this.name,
        handle,
        role: this.role,
        ...this.attachFields(init)
      });
    } catch (error2) {
      this.session.releaseLink({ handle, name: this.name, role: this.role });
      throw error2;
    }
    this.handle = handle;
    this.state = next;
    if (init.sndSettleMode) this.sndSettleMode = init.sndSettleMode;
    if (init.rcvSettleMode) this.rcvSettleMode = init.rcvSettleMode;
    this.onAttached();
  }
  /** Refuses a link that the peer has attached: null terminus, then a closing detach with the error. §2.6.3 */
  refuse(error2) {
    this.attach(this.role === "sender" ? { target: this.remoteTarget } : { source: this.remoteSource });
    this.close(error2);
  }
  /** Detaches; the terminus lives on. Queued transfers go first. @throws {UsageError} unless attached. §2.6.4 */
  detach() {
    this.#check("S:DETACH", "detach");
    this.#postpone({ closed: false, error: void 0 });
  }
  /**
   * Closes the link. Queued transfers go first, unless there is an error or `abandon` is set.
   * @throws {UsageError} unless attached. §2.6.5 §2.6.6
   */
  close(error2, abandon = false) {
    this.#check("S:CLOSE", "close");
    if (error2 || abandon) this.abandonQueue();
    this.#postpone({ closed: true, error: error2 });
  }
  #postpone(detach2) {
    this.#pendingDetach = detach2;
    this.session.connection.postpone(this);
  }
  /** Writes the postponed detach, if nothing is in its way any more. @returns whether it is off the list */
  frameDetach() {
    const pending = this.#pendingDetach;
    if (!pending) return true;
    if (!this.mayDetach) return false;
    const input = pending.closed ? pending.error ? "S:CLOSE(ERROR)" : "S:CLOSE" : "S:DETACH";
    const next = advance(linkTransitions, this.state, input);
    this.#pendingDetach = void 0;
    if (next === void 0 || !this.session.maySend) return true;
    this.session.control("detach", {
      type: "detach",
      handle: this.handle,
      closed: pending.closed,
      error: pending.error
    });
    this.state = next;
    if (next === "CLOSED" || next === "DETACHED") this.#release();
    return true;
  }
  /** The peer's attach. */
  onRemoteAttach(attach2) {
    const next = advance(linkTransitions, this.state, "R:ATTACH");
    if (next === void 0)
      return this.session.fail("amqp:session:handle-in-use", `attach for ${this.label}, which is attached`, "2.6.3");
    this.state = next;
    this.remoteHandle = attach2.handle;
    this.remoteSource = attach2.source;
    this.remoteTarget = attach2.target;
    this.remoteMaxMessageSize = attach2.maxMessageSize ?? 0n;
    this.refused = this.initiated === "local" && (this.role === "sender" ? !attach2.target : !attach2.source);
    this.onAttachFields(attach2);
    this.session.connection.emit({ type: "link.attached", link: this.self, attach: attach2 });
    this.onAttached();
  }
  /** The peer's detach: always answered, and reported once. §2.6.4 §2.6.6 */
  onRemoteDetach(detach2) {
    const answered = this.state === "DETACH_SENT" || this.state === "CLOSE_SENT" || this.state === "DISCARDING";
    const next = advance(linkTransitions, this.state, detach2.closed ? "R:CLOSE" : "R:DETACH");
    if (next === void 0)
      return this.session.fail(
        "amqp:session:unattached-handle",
        `detach for ${this.label}, which is not attached`,
        "2.6.4"
      );
    this.state = next;
    this.session.releaseRemoteHandle(this);
    this.abandonQueue();
    const error2 = detach2.error && new RemoteError(`${this.label} ${detach2.closed ? "closed" : "detached"} by peer`, "link", detach2.error);
    this.ended(answered ? "local" : "remote", detach2.closed || next === "CLOSED", error2);
    if (answered) return this.#release();
    if (!this.session.maySend) return;
    if (next === "ATTACH_RCVD") {
      this.attach({});
      this.state = detach2.closed ? "CLOSE_RCVD" : "DETACH_RCVD";
    }
    this.#postpone({ closed: detach2.closed, error: void 0 });
  }
  /** The peer broke a rule of this link: it is told so, and the link discards until the peer's detach. §2.6.5 */
  fail(condition, description, section) {
    const error2 = new ProtocolError(`${this.label}: ${description}`, condition, "link", section);
    this.session.connection.emit({ type: "protocol.error", error: error2 });
    this.abandonQueue();
    this.#pendingDetach = void 0;
    const next = advance(linkTransitions, this.state, "S:CLOSE(ERROR)");
    if (next !== void 0 && this.session.maySend) {
      this.session.control("detach", {
        type: "detach",
        handle: this.handle,
        closed: true,
        error: { type: "error", condition, description: error2.message, info: void 0 }
      });
      this.state = next;
      if (next === "CLOSED") this.#release();
    }
    this.ended("local", true, error2);
  }
  /** Reports the end, the first time: the first cause wins. */
  ended(by, closed, error2) {
    if (this.#ended) return;
    this.#ended = true;
    this.onEnded();
    this.session.connection.emit({ type: "link.detached", link: this.self, by, closed, error: error2 });
  }
  #release() {
    this.session.releaseLink(this);
    this.ended("local", this.state === "CLOSED", void 0);
  }
  #check(input, verb) {
    const next = this.#pendingDetach ? void 0 : advance(linkTransitions, this.state, input);
    if (next === void 0) throw new UsageError(`cannot ${verb} ${this.label} in state ${this.state}`, "2.6");
    if (!this.session.maySend) throw new UsageError(`cannot ${verb} ${this.label}: its session has ended`, "2.5.5");
    return next;
  }
};

// src/engine/receiver-endpoint.ts
var ReceiverEndpoint = class extends LinkEndpoint {
  role = "receiver";
  /** Replaced by `useWindow` before attaching. */
  credit = new ReceiverCredit(void 0);
  /** Largest message that is accepted, in bytes. */
  maxMessageSize;
  /** The delivery whose last frame has not come. */
  #partial;
  /** Memory that its pieces keep alive. */
  #pinned = 0;
  /** The frame being read is the last of its delivery. */
  #lastFrame = false;
  constructor(session, name, initiated) {
    super(session, name, initiated);
    this.maxMessageSize = session.connection.limits.maxMessageSize;
  }
  get self() {
    return this;
  }
  /** Keeps `window` deliveries coming by itself; `undefined` leaves credit to `flow`. Before attaching only. §2.6.7 */
  useWindow(window) {
    this.credit = new ReceiverCredit(window);
  }
  /** Grants credit for `count` more deliveries. @throws {UsageError} when credit is automatic. §2.6.7 */
  flow(count) {
    if (this.credit.window !== void 0) throw new UsageError(`${this.label} keeps its credit by itself`, "2.6.7");
    if (!Number.isInteger(count) || count < 1 || count > 2147483647)
      throw new UsageError(`credit is granted for 1 to 2^31 \u2212 1 deliveries, not ${count}`, "2.6.7");
    this.credit.grant(count);
    this.session.flowDue(this);
  }
  /** Asks the sender to use up or give back its credit; `link.drained` follows. §2.6.7 */
  drain() {
    if (this.credit.linkCredit === 0) {
      this.session.connection.emit({ type: "link.drained", link: this });
      return;
    }
    this.credit.drain = true;
    this.session.flowDue(this);
  }
  /** The owner has taken a delivery: credit for the next may be granted. */
  consumed() {
    this.credit.consumed();
    if (this.credit.isLow && this.isAttached) this.session.flowDue(this);
  }
  /** A transfer with the first piece of its payload; `left` bytes of it follow. §2.7.5 */
  onTransfer(transfer2, payload, left) {
    if (this.state !== "ATTACHED") return;
    const delivery = this.#partial ? this.#continued(this.#partial, transfer2) : this.#begun(transfer2);
    if (!delivery) return;
    if (transfer2.aborted) return this.#aborted(delivery);
    this.#lastFrame = !transfer2.more;
    if (transfer2.settled) delivery.remoteSettled = true;
    if (transfer2.state) delivery.remoteState = transfer2.state;
    this.#partial = delivery;
    if (payload && !this.#add(delivery, payload, transfer2.more || left > 0)) return;
    if (left === 0 && this.#lastFrame) this.#complete(delivery);
  }
  /** A further piece of the payload of the frame being read. */
  onPayload(piece, left) {
    const delivery = this.#partial;
    if (this.state !== "ATTACHED" || !delivery) return;
    if (!this.#add(delivery, piece, true)) return;
    if (left === 0 && this.#lastFrame) this.#complete(delivery);
  }
  #begun(transfer2) {
    const { deliveryId, deliveryTag } = transfer2;
    if (deliveryId === void 0 || deliveryTag === void 0) {
      this.fail(AmqpCondition.invalidField, "the first transfer of a delivery lacks its delivery-id or -tag", "2.7.5");
      return void 0;
    }
    if (!this.session.takeDeliveryId(deliveryId)) return void 0;
    if (!this.credit.onDelivery()) {
      this.fail(LinkCondition.transferLimitExceeded, `delivery ${deliveryId} came without credit`, "2.6.7");
      return void 0;
    }
    const settled = transfer2.settled === true;
    const delivery = new IncomingDelivery(
      this,
      deliveryId,
      deliveryTag,
      transfer2.messageFormat ?? 0,
      settled,
      transfer2.state
    );
    if (!settled) {
      const { incoming, connection } = this.session;
      if (incoming.count >= connection.limits.maxUnsettled) {
        this.session.fail(
          AmqpCondition.resourceLimitExceeded,
          `more than ${connection.limits.maxUnsettled} deliveries unsettled`,
          "2.6.12"
        );
        return void 0;
      }
      incoming.add(deliveryId, delivery);
    }
    return delivery;
  }
  #continued(delivery, transfer2) {
    if (transfer2.deliveryId === void 0 || transfer2.deliveryId === delivery.deliveryId) return delivery;
    this.session.fail(
      SessionCondition.errantLink,
      `delivery ${transfer2.deliveryId} on ${this.label} begins inside delivery ${delivery.deliveryId}`,
      "2.6.14"
    );
    return void 0;
  }
  /** An aborted delivery is settled and forgotten, payload and all. §2.7.5 */
  #aborted(delivery) {
    this.session.incoming.delete(delivery.deliveryId);
    this.#forgetPartial();
    this.consumed();
  }
  #forgetPartial() {
    this.session.connection.incompleteBytes -= this.#pinned;
    this.#pinned = 0;
    this.#partial = void 0;
  }
  /** Keeps a piece of payload. @returns false when it was one too many */
  #add(delivery, piece, incomplete) {
    delivery.size += piece.length;
    if (delivery.size > this.maxMessageSize) {
      this.#forgetPartial();
      this.fail(LinkCondition.messageSizeExceeded, `message larger than ${this.maxMessageSize} bytes`, "2.7.3");
      return false;
    }
    if (!incomplete) {
      delivery.chunks.push(piece);
      return true;
    }
    const kept = piece.length * 2 < piece.buffer.byteLength ? piece.slice() : piece;
    delivery.chunks.push(kept);
    this.#pinned += kept.buffer.byteLength;
    const { connection } = this.session;
    connection.incompleteBytes += kept.buffer.byteLength;
    if (connection.incompleteBytes <= connection.limits.maxIncompleteBytes) return true;
    this.#forgetPartial();
    this.fail(AmqpCondition.resourceLimitExceeded, "unfinished messages hold too much memory", "2.6.14");
    return false;
  }
  #complete(delivery) {
    this.#forgetPartial();
    this.session.connection.deliveries.push(delivery);
  }
  /**
   * Decides on a delivery, once. In mode first it is settled with that; in mode second the sender settles, and
   * `delivery.settled` follows. @throws {UsageError} when it has been decided already. §2.6.12 §2.8.3
   */
  disposition(delivery, state) {
    if (delivery.localState)
      throw new UsageError(`delivery ${delivery.deliveryId} on ${this.label} is decided already`, "2.6.12");
    delivery.localState = state;
    if (delivery.remoteSettled) {
      this.#settled(delivery);
      return;
    }
    const first = this.rcvSettleMode === "first";
    if (first) this.#settled(delivery);
    this.session.dispositionDue(true, delivery.deliveryId, first, state);
  }
  #settled(delivery) {
    delivery.localSettled = true;
    this.session.incoming.delete(delivery.deliveryId);
  }
  /** The sender told its state of a delivery. §2.7.6 */
  onDisposition(delivery, disposition2) {
    if (disposition2.state) delivery.remoteState = disposition2.state;
    if (!disposition2.settled) return;
    delivery.remoteSettled = true;
    this.#settled(delivery);
    this.session.connection.emit({ type: "delivery.settled", delivery });
  }
  /** The sender's flow for this link; what it says of credit is not a grant. §2.6.7 */
  onFlow(flow2) {
    const drained = this.credit.onFlow(flow2);
    if (drained) this.session.connection.emit({ type: "link.drained", link: this });
    if (flow2.echo || drained && this.credit.isLow) this.session.flowDue(this);
  }
  get mayDetach() {
    return true;
  }
  abandonQueue() {
    if (this.#partial) this.#forgetPartial();
  }
  onEnded() {
    const { incoming } = this.session;
    for (const delivery of [...incoming]) if (delivery.link === this) incoming.delete(delivery.deliveryId);
  }
  attachFields(init) {
    if (init.maxMessageSize !== void 0 && init.maxMessageSize > 0n) this.maxMessageSize = Number(init.maxMessageSize);
    return { maxMessageSize: BigInt(this.maxMessageSize) };
  }
  onAttachFields(attach2) {
    if (attach2.initialDeliveryCount === void 0) {
      return this.session.fail(
        AmqpCondition.invalidField,
        `${this.label}: a sender's attach lacks initial-delivery-count`,
        "2.7.3"
      );
    }
    this.credit.onAttach(attach2.initialDeliveryCount);
    this.sndSettleMode = attach2.sndSettleMode;
    if (this.initiated === "remote") this.rcvSettleMode = attach2.rcvSettleMode;
  }
  onAttached() {
    if (this.state === "ATTACHED" && !this.refused && (this.credit.isLow || this.credit.linkCredit > 0))
      this.session.flowDue(this);
  }
};

// src/engine/outgoing-delivery.ts
var NO_BYTES3 = /* @__PURE__ */ new Uint8Array(0);
var OutgoingDelivery = class {
  link;
  /** Assigned when its first frame is written; −1 before. */
  deliveryId = -1;
  /** A number stands for its four bytes. */
  tag;
  messageFormat;
  settled;
  /** Encoded in a slab with headroom in front: from `start` to `end` of `bytes`. */
  bytes;
  start;
  end;
  /** Or in pieces, none of which is ours to change. */
  pieces;
  /** Bytes of payload, and how many of them are framed. */
  size;
  sent = 0;
  /** The transfer-id of its latest frame. §2.5.6 */
  transferId = 0;
  /** The last state that the receiver told. */
  remoteState;
  /** For the owner. */
  context;
  constructor(link, tag, messageFormat, settled, bytes, start, end2, pieces, size, context) {
    this.link = link;
    this.tag = tag;
    this.messageFormat = messageFormat;
    this.settled = settled;
    this.bytes = bytes;
    this.start = start;
    this.end = end2;
    this.pieces = pieces;
    this.size = size;
    this.remoteState = void 0;
    this.context = context;
  }
  get deliveryTag() {
    const { tag } = this;
    return typeof tag === "number" ? Uint8Array.of(tag >>> 24, tag >>> 16, tag >>> 8, tag) : tag;
  }
  /** Lets go of the payload. */
  release() {
    this.bytes = NO_BYTES3;
    this.start = 0;
    this.end = 0;
    this.pieces = void 0;
  }
  /** The next `width` bytes of payload, as views. */
  take(width) {
    if (!this.pieces) {
      const view = this.bytes.subarray(this.start + this.sent, this.start + this.sent + width);
      this.sent += width;
      return [view];
    }
    const views = [];
    let left = width;
    while (left > 0) {
      const piece = this.pieces[0];
      if (piece.length <= left) {
        views.push(piece);
        this.pieces.shift();
        left -= piece.length;
      } else {
        views.push(piece.subarray(0, left));
        this.pieces[0] = piece.subarray(left);
        left = 0;
      }
    }
    this.sent += width;
    return views;
  }
};

// src/engine/sender-endpoint.ts
var COPY_BELOW = 4096;
var fields2 = {
  handle: 0,
  deliveryId: 0,
  deliveryTag: 0,
  messageFormat: 0,
  settled: false,
  more: false
};
var SenderEndpoint = class extends LinkEndpoint {
  role = "sender";
  credit = new SenderCredit();
  queue = new Fifo();
  /** On the connection's list of links that may send. */
  isReady = false;
  /** Waiting for the session's window. */
  isBlocked = false;
  #nextTag = 0;
  #headroom = 0;
  get self() {
    return this;
  }
  /**
   * Starts a message: write its bytes to the writer, then `commitMessage`, or `cancelMessage` when encoding failed.
   * @throws {UsageError} when the link cannot send, or too much is queued
   */
  beginMessage(init) {
    this.checkSendable(init);
    const slab2 = this.session.connection.writer.slab;
    fields2.handle = this.handle < 0 ? 65535 : this.handle;
    fields2.deliveryId = 4294967295;
    fields2.deliveryTag = init.deliveryTag ?? 0;
    fields2.messageFormat = init.messageFormat ?? 0;
    fields2.settled = init.settled === true;
    fields2.more = false;
    this.#headroom = transferWidth(fields2) + 8;
    slab2.ensure(this.#headroom + 256);
    slab2.mark = slab2.offset;
    slab2.offset += this.#headroom;
    return slab2;
  }
  /** Queues what was written since `beginMessage`, with the caller's own bytes spliced in. */
  commitMessage(init, splices) {
    const slab2 = this.session.connection.writer.slab;
    const start = slab2.mark + this.#headroom;
    const end2 = slab2.offset;
    const base = slab2.mark;
    slab2.mark = end2;
    const pieces = splices && splices.length > 0 ? spliced(slab2.bytes, base, start, end2, splices) : void 0;
    return this.#enqueue(init, slab2.bytes, start, end2, pieces);
  }
  /** Takes back what was written since `beginMessage`. */
  cancelMessage() {
    const slab2 = this.session.connection.writer.slab;
    slab2.offset = slab2.mark;
  }
  /**
   * Queues an encoded message.
   *
   * @param payload  copied when it is small, else kept by reference until it is framed: it must not change
   * @throws {UsageError} as `beginMessage`
   */
  transfer(payload, init = {}) {
    const parts = payload instanceof Uint8Array ? [payload] : payload;
    const size = parts.reduce((sum, part) => sum + part.length, 0);
    if (size < COPY_BELOW) {
      const writer = this.beginMessage(init);
      for (const part of parts) writer.raw(part);
      return this.commitMessage(init);
    }
    this.checkSendable(init);
    return this.#enqueue(
      init,
      parts[0],
      0,
      0,
      parts.filter((part) => part.length > 0)
    );
  }
  checkSendable(init) {
    const { connection } = this.session;
    if (this.state !== "ATTACHED" || !this.isAttached)
      throw new UsageError(`${this.label} cannot send in state ${this.state}`, "2.6.12");
    if (connection.pendingBytes >= connection.limits.maxPendingBytes)
      throw new UsageError(`${connection.pendingBytes} bytes are queued on this connection already`);
    if (init.deliveryTag && init.deliveryTag.length > 32)
      throw new UsageError(`a delivery-tag has at most 32 bytes, not ${init.deliveryTag.length}`, "2.8.7");
    const settled = init.settled === true;
    if (this.sndSettleMode === "settled" && !settled) throw new UsageError(`${this.label} sends settled only`, "2.8.2");
    if (this.sndSettleMode === "unsettled" && settled)
      throw new UsageError(`${this.label} sends unsettled only`, "2.8.2");
  }
  #enqueue(init, bytes, start, end2, pieces) {
    const size = pieces ? pieces.reduce((sum, piece) => sum + piece.length, 0) : end2 - start;
    const tag = init.deliveryTag ?? this.#nextTag++ >>> 0;
    const delivery = new OutgoingDelivery(
      this,
      tag,
      init.messageFormat ?? 0,
      init.settled === true,
      bytes,
      start,
      end2,
      pieces,
      size,
      init.context
    );
    this.queue.push(delivery);
    this.session.connection.pendingBytes += size;
    this.wake();
    return delivery;
  }
  /** Joins the links that may send, if it may. */
  wake() {
    if (this.isReady || this.isBlocked || !this.maySend) return;
    this.isReady = true;
    this.session.connection.ready.push(this);
  }
  /** Whether something is queued that credit allows. */
  get maySend() {
    const next = this.queue.peek();
    return next !== void 0 && this.state === "ATTACHED" && (this.credit.linkCredit > 0 || next.deliveryId >= 0);
  }
  /** Frames deliveries until `quantum` bytes are written, or nothing may be sent. */
  frameTransfers(quantum) {
    const { connection, window } = this.session;
    const writer = connection.writer;
    const until = writer.pending + quantum;
    while (this.maySend && writer.pending < until) {
      if (window.remoteIncomingWindow <= 0) {
        this.isBlocked = true;
        this.session.blocked.push(this);
        return;
      }
      this.#frameTransfer(this.queue.peek(), connection.remoteMaxFrameSize);
    }
    if (this.credit.drain && this.queue.length === 0) this.#drained();
  }
  #frameTransfer(delivery, maxFrameSize) {
    const { session } = this;
    const { connection } = session;
    const writer = connection.writer;
    const first = delivery.deliveryId < 0;
    if (first) {
      delivery.deliveryId = session.nextDeliveryId();
      this.credit.onSend();
      if (!delivery.settled) session.outgoing.add(delivery.deliveryId, delivery);
    }
    fields2.handle = this.handle;
    fields2.deliveryId = first ? delivery.deliveryId : -1;
    fields2.deliveryTag = delivery.tag;
    fields2.messageFormat = delivery.messageFormat;
    fields2.settled = delivery.settled;
    fields2.more = false;
    const left = delivery.size - delivery.sent;
    let width = left;
    if (left > writer.capacity(fields2, maxFrameSize)) {
      fields2.more = true;
      width = writer.capacity(fields2, maxFrameSize);
    }
    delivery.transferId = session.window.onTransferSent();
    if (first && !fields2.more && !delivery.pieces) {
      writer.transferInPlace(session.channel, fields2, delivery.bytes, delivery.start, delivery.end);
      delivery.sent = width;
    } else {
      writer.transferBefore(session.channel, fields2, width);
      for (const piece of delivery.take(width)) writer.raw(piece);
    }
    connection.pendingBytes -= width;
    if (connection.tracing) connection.traceTransfer(session.channel, fields2, delivery, width);
    if (fields2.more) return;
    this.queue.shift();
    delivery.release();
    if (delivery.settled) connection.outcomes.push(delivery);
  }
  /** §2.6.7: nothing is left to send while the receiver drains. */
  #drained() {
    this.credit.consume();
    this.credit.drain = false;
    this.session.flowDue(this);
  }
  /** A receiver's flow for this link. §2.6.7 */
  onFlow(flow2) {
    this.credit.onFlow(flow2);
    this.session.connection.emit({ type: "link.flow", link: this });
    if (this.credit.drain && this.queue.length === 0) this.#drained();
    else if (flow2.echo) this.session.flowDue(this);
    this.wake();
  }
  /** The receiver told the state of one delivery. §2.7.6 */
  onDisposition(delivery, disposition2) {
    const { session } = this;
    session.window.acknowledge(delivery.transferId);
    if (disposition2.state) delivery.remoteState = disposition2.state;
    const terminal = disposition2.state !== void 0 && isTerminal(disposition2.state.type);
    if (!disposition2.settled && !terminal) return;
    session.outgoing.delete(delivery.deliveryId);
    if (!disposition2.settled) session.dispositionDue(false, delivery.deliveryId, true, disposition2.state);
    session.connection.outcomes.push(delivery);
  }
  /**
   * Takes back a delivery: one that is queued is removed, one that is partly framed is aborted. §2.7.5
   * @returns what it came to; `sent` means that it is too late
   */
  abort(delivery) {
    if (!this.queue.remove(delivery)) return "sent";
    const { session } = this;
    session.connection.pendingBytes -= delivery.size - delivery.sent;
    delivery.release();
    if (delivery.deliveryId < 0) return "removed";
    session.outgoing.delete(delivery.deliveryId);
    session.window.onTransferSent();
    session.control("transfer", { type: "transfer", handle: this.handle, aborted: true });
    return "aborted";
  }
  /** Deliveries whose outcome was open when the link ended; the owner takes them when it hears of the end. */
  abandoned = [];
  get mayDetach() {
    return this.queue.length === 0 || this.state !== "ATTACHED";
  }
  /** What is queued will not be framed any more. One that is partly framed is unsettled, too, and taken as such. */
  abandonQueue() {
    for (const delivery of this.queue.drain()) {
      this.session.connection.pendingBytes -= delivery.size - delivery.sent;
      delivery.release();
      if (delivery.deliveryId < 0 || delivery.settled) this.abandoned.push(delivery);
    }
  }
  /** Deliveries that are framed, wholly or partly, and not settled. */
  *unsettled() {
    for (const delivery of this.session.outgoing) if (delivery.link === this) yield delivery;
  }
  onEnded() {
    const { outgoing } = this.session;
    this.abandonQueue();
    for (const delivery of [...outgoing]) {
      if (delivery.link !== this) continue;
      outgoing.delete(delivery.deliveryId);
      this.abandoned.push(delivery);
    }
  }
  attachFields() {
    return { initialDeliveryCount: this.credit.initialDeliveryCount };
  }
  onAttachFields(attach2) {
    if (this.initiated === "remote") {
      this.sndSettleMode = attach2.sndSettleMode;
    }
    this.rcvSettleMode = attach2.rcvSettleMode;
  }
  onAttached() {
  }
};
var isTerminal = (type) => type === ACCEPTED.type || type === "rejected" || type === "released" || type === "modified" || type === "declared";
function spliced(bytes, base, start, end2, splices) {
  const pieces = [];
  let from2 = start;
  for (const splice of splices) {
    const at = base + splice.at;
    if (at > from2) pieces.push(bytes.subarray(from2, at));
    if (splice.bytes.length > 0) pieces.push(splice.bytes);
    from2 = at;
  }
  if (end2 > from2) pieces.push(bytes.subarray(from2, end2));
  return pieces;
}

// src/engine/session-states.ts
var sessionTransitions = {
  UNMAPPED: { "S:BEGIN": "BEGIN_SENT", "R:BEGIN": "BEGIN_RCVD" },
  BEGIN_SENT: { "R:BEGIN": "MAPPED", "S:END": "END_SENT", "S:END(ERROR)": "DISCARDING" },
  BEGIN_RCVD: { "S:BEGIN": "MAPPED", "R:END": "BEGIN_RCVD" },
  MAPPED: { "S:END": "END_SENT", "S:END(ERROR)": "DISCARDING", "R:END": "END_RCVD" },
  END_SENT: { "R:END": "ENDED", "R:BEGIN": "END_SENT" },
  END_RCVD: { "S:END": "ENDED", "S:END(ERROR)": "ENDED" },
  DISCARDING: { "R:END": "ENDED", "R:BEGIN": "DISCARDING" },
  ENDED: {}
};

// src/engine/session-window.ts
var OUTGOING_WINDOW = 4294967295;
var SessionWindow = class {
  /** The transfer-id of the next transfer we send. */
  nextOutgoingId;
  initialOutgoingId;
  /** Transfers the peer still takes. */
  remoteIncomingWindow = 0;
  /** The transfer-id of the next transfer we receive; unknown until the peer's begin. */
  nextIncomingId;
  /** Transfers that we let the peer have under way, when nothing is. */
  incomingWindowSize;
  /** Transfers that the peer may still send before we announce more. */
  incomingWindow;
  remoteOutgoingWindow = 0;
  /** The latest transfer-id that the peer is known to have received, plus one. */
  #acknowledged;
  constructor(incomingWindowSize, initialOutgoingId = 0) {
    this.incomingWindowSize = incomingWindowSize;
    this.incomingWindow = incomingWindowSize;
    this.nextOutgoingId = initialOutgoingId;
    this.initialOutgoingId = initialOutgoingId;
    this.#acknowledged = initialOutgoingId;
  }
  /** The peer's begin. §2.7.2 */
  onBegin(begin2) {
    this.nextIncomingId = begin2.nextOutgoingId;
    this.remoteIncomingWindow = begin2.incomingWindow;
    this.remoteOutgoingWindow = begin2.outgoingWindow;
  }
  /** One transfer frame leaves. @returns its transfer-id */
  onTransferSent() {
    const id = this.nextOutgoingId;
    this.nextOutgoingId = serialAdd(id, 1);
    this.remoteIncomingWindow--;
    return id;
  }
  /** One transfer frame arrived. @returns false when the window that we announced had no room for it. */
  onTransferReceived() {
    if (this.incomingWindow <= 0) return false;
    this.nextIncomingId = serialAdd(this.nextIncomingId ?? 0, 1);
    this.incomingWindow--;
    if (this.remoteOutgoingWindow > 0) this.remoteOutgoingWindow--;
    return true;
  }
  /** Whether so much of the announced window is used that it is time to announce more. */
  get isLow() {
    return this.incomingWindow * 2 <= this.incomingWindowSize;
  }
  /** Opens the window to its full size, to be announced in the flow that is being framed. */
  refill() {
    this.incomingWindow = this.incomingWindowSize;
  }
  /** The peer has received the transfer with this id: a disposition covers it. */
  acknowledge(id) {
    this.#acknowledged = serialMax(this.#acknowledged, serialAdd(id, 1));
  }
  /**
   * The peer's flow. Without next-incoming-id the peer is taken at its initial value (§2.5.6) only as far as nothing
   * newer is known: some peers leave the field out for good, and their window would run dry. D-015
   */
  onFlow(flow2) {
    if (flow2.nextIncomingId !== void 0) this.#acknowledged = serialMax(this.#acknowledged, flow2.nextIncomingId);
    const base = flow2.nextIncomingId ?? this.#acknowledged;
    this.remoteIncomingWindow = Math.max(flow2.incomingWindow - serialDistance(this.nextOutgoingId, base), 0);
    this.nextIncomingId = flow2.nextOutgoingId;
    this.remoteOutgoingWindow = flow2.outgoingWindow;
  }
};

// src/engine/unsettled.ts
var UnsettledRing = class {
  #slots;
  #mask;
  /** The oldest id that the ring covers, and the one after the newest. */
  #low = 0;
  #high = 0;
  #inRing = 0;
  #aside = /* @__PURE__ */ new Map();
  /** @param capacity  slots to begin with, a power of two */
  constructor(capacity = 16) {
    this.#slots = new Array(capacity).fill(void 0);
    this.#mask = capacity - 1;
  }
  /** Unsettled deliveries. */
  get count() {
    return this.#inRing + this.#aside.size;
  }
  /** Adds the next delivery. Ids must be added in order, each one after the last. */
  add(id, delivery) {
    if (this.#inRing === 0) {
      this.#low = id;
    } else {
      this.#skipHoles();
      if (serialDistance(id, this.#low) > this.#mask) this.#makeRoom();
    }
    this.#slots[id & this.#mask] = delivery;
    this.#high = serialAdd(id, 1);
    this.#inRing++;
  }
  get(id) {
    if (this.#covers(id)) return this.#slots[id & this.#mask];
    return this.#aside.size > 0 ? this.#aside.get(id) : void 0;
  }
  delete(id) {
    if (!this.#covers(id)) {
      this.#aside.delete(id);
      return;
    }
    const slot = id & this.#mask;
    if (this.#slots[slot] === void 0) return;
    this.#slots[slot] = void 0;
    this.#inRing--;
  }
  /** Calls `visit` for what is unsettled from `first` to `last`, in order; costs what is held, not what is asked. */
  range(first, last, visit) {
    const span = serialDistance(last, first);
    if (span < 0) return;
    if (this.#aside.size > 0) {
      const old = [...this.#aside].filter(([id]) => {
        const at = serialDistance(id, first);
        return at >= 0 && at <= span;
      });
      for (const [id, delivery] of old) visit(delivery, id);
    }
    if (this.#inRing === 0) return;
    const from2 = serialDistance(first, this.#low) < 0 ? this.#low : first;
    const afterLast = serialAdd(last, 1);
    const to2 = serialDistance(afterLast, this.#high) > 0 ? this.#high : afterLast;
    for (let id = from2; serialDistance(to2, id) > 0; id = serialAdd(id, 1)) {
      const delivery = this.#slots[id & this.#mask];
      if (delivery !== void 0) visit(delivery, id);
    }
  }
  /** Everything unsettled, oldest first. */
  *[Symbol.iterator]() {
    yield* [...this.#aside.values()];
    for (let id = this.#low; this.#inRing > 0 && serialDistance(this.#high, id) > 0; id = serialAdd(id, 1)) {
      const delivery = this.#slots[id & this.#mask];
      if (delivery !== void 0) yield delivery;
    }
  }
  clear() {
    this.#slots.fill(void 0);
    this.#inRing = 0;
    this.#low = this.#high;
    this.#aside.clear();
  }
  #covers(id) {
    return this.#inRing > 0 && serialDistance(id, this.#low) >= 0 && serialDistance(this.#high, id) > 0;
  }
  #skipHoles() {
    while (this.#low !== this.#high && this.#slots[this.#low & this.#mask] === void 0)
      this.#low = serialAdd(this.#low, 1);
  }
  /** The ring is full: doubled when it is mostly used, else its older half moves aside. */
  #makeRoom() {
    const capacity = this.#mask + 1;
    if (this.#inRing * 4 > capacity) {
      const slots = new Array(capacity * 2).fill(void 0);
      const mask = capacity * 2 - 1;
      for (let id = this.#low; id !== this.#high; id = serialAdd(id, 1)) slots[id & mask] = this.#slots[id & this.#mask];
      this.#slots = slots;
      this.#mask = mask;
      return;
    }
    const middle = serialAdd(this.#low, capacity >> 1);
    for (; this.#low !== middle; this.#low = serialAdd(this.#low, 1)) {
      const slot = this.#low & this.#mask;
      const delivery = this.#slots[slot];
      if (delivery === void 0) continue;
      this.#aside.set(this.#low, delivery);
      this.#slots[slot] = void 0;
      this.#inRing--;
    }
    this.#skipHoles();
  }
};

// src/engine/session-endpoint.ts
var dispositionOf = ({ receiver, first, last, settled, state }) => ({
  type: "disposition",
  role: receiver ? "receiver" : "sender",
  first,
  last: last === first ? void 0 : last,
  settled,
  state,
  batchable: false
});
var DEFAULT_INCOMING_WINDOW = 2048;
var SessionEndpoint = class {
  connection;
  initiated;
  state = "UNMAPPED";
  /** Our channel, −1 before begin and after end. */
  channel = -1;
  /** The peer's channel. */
  remoteChannel = -1;
  window = new SessionWindow(DEFAULT_INCOMING_WINDOW);
  /** Unsettled deliveries, by delivery-id. §2.6.12 */
  outgoing = new UnsettledRing();
  incoming = new UnsettledRing();
  /** Senders that wait for the peer's window to open. */
  blocked = [];
  /** For the owner. */
  context;
  #handles;
  #remoteHandles;
  /** Links that we initiated and the peer has not answered. */
  #awaiting = /* @__PURE__ */ new Map();
  #nextDeliveryId = 0;
  #expectedDeliveryId;
  #runs = [];
  #flowLinks = [];
  #sessionFlow = false;
  #pendingEnd;
  #ended = false;
  constructor(connection, initiated) {
    this.connection = connection;
    this.initiated = initiated;
    this.#handles = new Numbering(4294967295);
    this.#remoteHandles = new Numbering(connection.limits.maxLinks - 1);
  }
  /** For messages: `session 0`. */
  get label() {
    return `session ${this.channel < 0 ? this.remoteChannel : this.channel}`;
  }
  /** Whether our frames may be sent: begun, and not ended by us. §2.5.5 */
  get maySend() {
    return this.state === "BEGIN_SENT" || this.state === "MAPPED" || this.state === "END_RCVD";
  }
  /** Begins the session, or answers the peer's begin. @throws {UsageError} §2.5.1 */
  begin(init = {}) {
    const next = this.#check("S:BEGIN", "begin");
    this.channel = this.connection.assignChannel(this);
    if (this.channel < 0) throw new UsageError("no channel left for another session", "2.5.1");
    const { nextIncomingId, remoteIncomingWindow, remoteOutgoingWindow } = this.window;
    this.window = new SessionWindow(init.incomingWindow ?? DEFAULT_INCOMING_WINDOW);
    Object.assign(this.window, { nextIncomingId, remoteIncomingWindow, remoteOutgoingWindow });
    this.#remoteHandles.max = Math.min(init.handleMax ?? 4294967295, this.connection.limits.maxLinks - 1);
    try {
      this.control("begin", {
        ...init,
        type: "begin",
        remoteChannel: this.initiated === "remote" ? this.remoteChannel : void 0,
        nextOutgoingId: this.window.nextOutgoingId,
        incomingWindow: this.window.incomingWindow,
        outgoingWindow: OUTGOING_WINDOW,
        handleMax: this.#remoteHandles.max
      });
    } catch (error2) {
      this.connection.releaseChannel(this);
      throw error2;
    }
    this.state = next;
  }
  /** A sender on this session, to be attached. §2.6.3 */
  sender(name) {
    return this.#awaiter(new SenderEndpoint(this, name, "local"));
  }
  /** A receiver on this session, to be attached. §2.6.3 */
  receiver(name) {
    return this.#awaiter(new ReceiverEndpoint(this, name, "local"));
  }
  #awaiter(link) {
    const key = `${link.role} ${link.name}`;
    if (this.#awaiting.has(key)) throw new UsageError(`${link.label} is being attached already`, "2.6.1");
    this.#awaiting.set(key, link);
    return link;
  }
  /** Ends the session when what is queued on it is framed, or at once with an error. @throws {UsageError} §2.5.2 §2.5.4 */
  end(error2) {
    if (this.#pendingEnd) throw new UsageError(`${this.label} is ending already`, "2.5.2");
    this.#check("S:END", "end");
    if (error2) for (const link of this.#handles) link.abandonQueue();
    this.#pendingEnd = { error: error2 };
    this.connection.postpone(this);
  }
  /** Writes the postponed end, if nothing is in its way. @returns whether it is off the list */
  frameDetach() {
    const pending = this.#pendingEnd;
    if (!pending) return true;
    if (!this.isIdle) return false;
    const next = advance(sessionTransitions, this.state, pending.error ? "S:END(ERROR)" : "S:END");
    this.#pendingEnd = void 0;
    if (next === void 0) return true;
    this.control("end", { type: "end", error: pending.error });
    this.state = next;
    this.connection.releaseChannel(this);
    if (next === "ENDED") this.#finish("local", void 0);
    return true;
  }
  // ---- what its links ask of it --------------------------------------------------------------------------------
  /** Writes a frame on our channel, in the order of the calls. */
  control(name, value) {
    this.connection.control(this.channel, name, value);
  }
  assignHandle(link) {
    return this.#handles.assign(link);
  }
  releaseRemoteHandle(link) {
    this.#remoteHandles.release(link.remoteHandle);
    link.remoteHandle = -1;
  }
  releaseLink(link) {
    this.#awaiting.delete(`${link.role} ${link.name}`);
    if (link.handle >= 0) this.#handles.release(link.handle);
    link.handle = -1;
  }
  nextDeliveryId() {
    const id = this.#nextDeliveryId;
    this.#nextDeliveryId = serialAdd(id, 1);
    return id;
  }
  /** Delivery-ids are a sequence over all links of the session. @returns false when this one is out of order. §2.6.12 */
  takeDeliveryId(id) {
    const expected = this.#expectedDeliveryId ?? id;
    if (id !== expected) {
      this.fail(AmqpCondition.invalidField, `delivery-id ${id}, where ${expected} is next`, "2.6.12");
      return false;
    }
    this.#expectedDeliveryId = serialAdd(id, 1);
    return true;
  }
  /** A flow for the link is to be written; its fields are taken when it is. §2.7.4 */
  flowDue(link) {
    if (link.flowDue) return;
    link.flowDue = true;
    this.#flowLinks.push(link);
    this.connection.sessionDue(this);
  }
  /** A disposition is to be written. §2.7.6 */
  dispositionDue(receiver, id, settled, state) {
    const run = this.#runs[this.#runs.length - 1];
    if (run && run.state === state && run.receiver === receiver && run.settled === settled && id === serialAdd(run.last, 1)) {
      run.last = id;
      return;
    }
    this.#runs.push({ receiver, first: id, last: id, settled, state });
    this.connection.sessionDue(this);
  }
  /** Writes the flows and dispositions that are due. */
  frameDue() {
    const { connection, channel } = this;
    if (!this.maySend) {
      this.#flowLinks = [];
      this.#runs = [];
      return;
    }
    const links = this.#flowLinks;
    this.#flowLinks = [];
    for (const link of links) {
      link.flowDue = false;
      if (link.isAttached || link.state === "ATTACH_SENT") this.#frameFlow(link);
    }
    if (this.#sessionFlow) this.#frameFlow(void 0);
    for (const run of this.#runs) {
      connection.writer.frame(
        0,
        channel,
        connection.remoteMaxFrameSize,
        (writer) => writeDisposition(writer, run.receiver, run.first, run.last, run.settled, run.state)
      );
      if (connection.tracing) connection.traceOut(channel, dispositionOf(run), 0);
    }
    this.#runs = [];
  }
  #frameFlow(link) {
    this.window.refill();
    this.#sessionFlow = false;
    const receiver = link?.role === "receiver" ? link : void 0;
    receiver?.credit.refill();
    const known = link?.role === "sender" || receiver && receiver.state !== "ATTACH_SENT";
    this.control("flow", {
      type: "flow",
      nextIncomingId: this.connection.style.omitNextIncomingId ? void 0 : this.window.nextIncomingId,
      incomingWindow: this.window.incomingWindow,
      nextOutgoingId: this.window.nextOutgoingId,
      outgoingWindow: OUTGOING_WINDOW,
      handle: link?.handle,
      deliveryCount: known ? link?.credit.deliveryCount : void 0,
      linkCredit: link?.credit.linkCredit,
      available: link?.role === "sender" ? link.queue.length : void 0,
      drain: link?.credit.drain === true
    });
  }
  // ---- what the peer sends -------------------------------------------------------------------------------------
  /** The peer's begin. §2.7.2 */
  onBegin(channel, begin2) {
    const next = advance(sessionTransitions, this.state, "R:BEGIN");
    if (next === void 0)
      return this.connection.fail(AmqpCondition.illegalState, `begin for ${this.label} in state ${this.state}`, "2.5.5");
    this.state = next;
    this.remoteChannel = channel;
    this.window.onBegin(begin2);
    this.#handles.max = begin2.handleMax;
    if (next === "MAPPED" || next === "BEGIN_RCVD")
      this.connection.emit({ type: "session.begun", session: this, begin: begin2 });
  }
  /** A frame on the peer's channel; `payload` and `left` belong to a transfer. */
  receive(body, payload, left) {
    if (body.type === "end") return this.#onEnd(body);
    if (this.state === "DISCARDING" || this.state === "END_SENT") return;
    switch (body.type) {
      case "transfer":
        return this.#onTransfer(body, payload, left);
      case "disposition":
        return this.#onDisposition(body);
      case "flow":
        return this.#onFlow(body);
      case "attach":
        return this.#onAttach(body);
      case "detach":
        return this.#onDetach(body);
      default:
        return this.connection.fail(AmqpCondition.notAllowed, `${body.type} on the channel of ${this.label}`, "2.5");
    }
  }
  #onTransfer(transfer2, payload, left) {
    this.payloadLink = void 0;
    if (!this.window.onTransferReceived())
      return this.fail(
        SessionCondition.windowViolation,
        `transfer beyond the incoming-window of ${this.window.incomingWindowSize}`,
        "2.5.6"
      );
    if (this.window.isLow) {
      this.#sessionFlow = true;
      this.connection.sessionDue(this);
    }
    const link = this.#remoteHandles.get(transfer2.handle);
    if (!link) return this.#unattached(transfer2.handle, "transfer");
    if (link.role === "sender")
      return this.fail(AmqpCondition.notAllowed, `transfer to ${link.label}, which sends`, "2.7.5");
    if (left > 0) this.payloadLink = link;
    link.onTransfer(transfer2, payload, left);
  }
  /** Where further pieces of the frame being read go. */
  payloadLink;
  #onDisposition(disposition2) {
    const { first } = disposition2;
    const last = disposition2.last ?? first;
    if (disposition2.role === "receiver") {
      this.outgoing.range(first, last, (delivery) => delivery.link.onDisposition(delivery, disposition2));
      return;
    }
    this.incoming.range(first, last, (delivery) => delivery.link.onDisposition(delivery, disposition2));
  }
  #onFlow(flow2) {
    this.window.onFlow(flow2);
    if (flow2.handle !== void 0) {
      const link = this.#remoteHandles.get(flow2.handle);
      if (!link) return this.#unattached(flow2.handle, "flow");
      link.onFlow(flow2);
    } else if (flow2.echo) {
      this.#sessionFlow = true;
      this.connection.sessionDue(this);
    }
    if (this.window.remoteIncomingWindow > 0 && this.blocked.length > 0)
      for (const sender of this.blocked.splice(0)) {
        sender.isBlocked = false;
        sender.wake();
      }
  }
  #onAttach(attach2) {
    if (attach2.handle > this.#remoteHandles.max)
      return this.connection.fail(
        ConnectionCondition.framingError,
        `handle ${attach2.handle} above handle-max ${this.#remoteHandles.max}`,
        "2.7.2"
      );
    if (this.#remoteHandles.get(attach2.handle))
      return this.fail(SessionCondition.handleInUse, `handle ${attach2.handle} is in use`, "2.6.2");
    const role = attach2.role === "sender" ? "receiver" : "sender";
    const key = `${role} ${attach2.name}`;
    let link = this.#awaiting.get(key);
    this.#awaiting.delete(key);
    if (!link || link.state === "UNATTACHED")
      link = role === "sender" ? new SenderEndpoint(this, attach2.name, "remote") : new ReceiverEndpoint(this, attach2.name, "remote");
    this.#remoteHandles.set(attach2.handle, link);
    link.onRemoteAttach(attach2);
  }
  #onDetach(detach2) {
    const link = this.#remoteHandles.get(detach2.handle);
    if (!link) return this.#unattached(detach2.handle, "detach");
    link.onRemoteDetach(detach2);
  }
  #unattached(handle, what2) {
    this.fail(SessionCondition.unattachedHandle, `${what2} for handle ${handle}, to which nothing is attached`, "2.6.2");
  }
  #onEnd(end2) {
    const mine = this.state === "END_SENT" || this.state === "DISCARDING";
    const next = advance(sessionTransitions, this.state, "R:END");
    if (next === void 0)
      return this.connection.fail(AmqpCondition.illegalState, `end for ${this.label} in state ${this.state}`, "2.5.5");
    this.connection.releaseRemoteChannel(this);
    const error2 = end2.error && new RemoteError(`${this.label} ended by peer`, "session", end2.error);
    if (next === "BEGIN_RCVD") this.begin();
    this.state = next === "BEGIN_RCVD" ? "END_RCVD" : next;
    this.#finish(mine ? "local" : "remote", error2);
    if (mine) return;
    this.control("end", { type: "end" });
    this.state = "ENDED";
    this.connection.releaseChannel(this);
  }
  /** The peer broke a rule of the session: it is told so, and the session discards until the peer's end. §2.5.4 */
  fail(condition, description, section) {
    const error2 = new ProtocolError(`${this.label}: ${description}`, condition, "session", section);
    this.connection.emit({ type: "protocol.error", error: error2 });
    this.payloadLink = void 0;
    this.#pendingEnd = void 0;
    if (this.state === "BEGIN_RCVD") this.begin();
    const next = advance(sessionTransitions, this.state, "S:END(ERROR)");
    if (next !== void 0) {
      this.control("end", {
        type: "end",
        error: { type: "error", condition, description: error2.message, info: void 0 }
      });
      this.state = next;
      this.connection.releaseChannel(this);
    }
    this.#finish("local", error2);
  }
  /** Reports the end, the first time. */
  #finish(by, error2) {
    if (this.#ended) return;
    this.#ended = true;
    this.abandon();
    this.connection.emit({ type: "session.ended", session: this, by, error: error2 });
  }
  /** Whether nothing that is queued on it can still be framed. */
  get isIdle() {
    if (this.state !== "MAPPED") return true;
    for (const link of this.#handles) if (!link.mayDetach) return false;
    return true;
  }
  /** Everything queued on the session will not be sent. */
  abandon() {
    for (const link of this.#handles) link.abandonQueue();
    for (const link of this.#remoteHandles) if (link.handle < 0) link.abandonQueue();
  }
  #check(input, verb) {
    const next = advance(sessionTransitions, this.state, input);
    if (next === void 0) throw new UsageError(`cannot ${verb} ${this.label} in state ${this.state}`, "2.5.5");
    return next;
  }
};

// src/engine/connection-endpoint.ts
var QUANTUM = 64 << 10;
var DEFAULT_MAX_FRAME_SIZE = 65536;
var ConnectionEndpoint = class {
  limits;
  style;
  /** Whether frames are reported as events. */
  tracing;
  state = "START";
  writer = new FrameWriter();
  /** Complete deliveries and settled outcomes, to be pulled. */
  deliveries = new Fifo();
  outcomes = new Fifo();
  events = new Fifo();
  /** Senders that have something to send and may. */
  ready = new Fifo();
  /** Bytes of payload queued and not framed. */
  pendingBytes = 0;
  /** Memory that partly received messages keep alive. */
  incompleteBytes = 0;
  /** Our open, and the peer's. */
  localOpen;
  remoteOpen;
  remoteMaxFrameSize = MIN_MAX_FRAME_SIZE;
  /** Why it ended; the first cause wins. */
  cause;
  hasEnded = false;
  #channels;
  #remoteChannels;
  /** Frames encoded before the connection is open. */
  #early = new FrameWriter();
  #earlyTrace = [];
  #due = [];
  #postponed = /* @__PURE__ */ new Set();
  #closing;
  #openSent = false;
  #payloadSession;
  constructor(limits, style, tracing) {
    this.limits = limits;
    this.style = style;
    this.tracing = tracing;
    this.#channels = new Numbering(limits.maxSessions - 1);
    this.#remoteChannels = new Numbering(limits.maxSessions - 1);
  }
  /** Sends our open, as soon as the headers have been exchanged. @throws {UsageError} the second time. §2.4.1 */
  open(init) {
    if (this.localOpen) throw new UsageError("the connection has been opened already", "2.4.1");
    const size = init.maxFrameSize ?? DEFAULT_MAX_FRAME_SIZE;
    if (size < MIN_MAX_FRAME_SIZE)
      throw new UsageError(`max-frame-size is at least ${MIN_MAX_FRAME_SIZE}, not ${size}`, "2.7.1");
    const channelMax = Math.min(init.channelMax ?? 65535, this.limits.maxSessions - 1);
    this.localOpen = { ...init, maxFrameSize: size, channelMax };
    this.#remoteChannels.max = channelMax;
  }
  /** Closes: what is queued goes first, unless there is an error. @throws {UsageError} when it is closing. §2.4.3 */
  close(error2) {
    if (this.#closing || this.hasEnded) throw new UsageError("the connection is closing already", "2.4.3");
    if (error2) this.#abandon();
    this.#closing = { error: error2 };
  }
  /** A session, to be begun. §2.5.1 */
  session() {
    return new SessionEndpoint(this, "local");
  }
  /** Largest frame that we have promised to take. */
  get maxFrameSize() {
    return this.localOpen?.maxFrameSize ?? DEFAULT_MAX_FRAME_SIZE;
  }
  get idleTimeOut() {
    return this.localOpen?.idleTimeOut ?? 0;
  }
  /** Whether nothing more may be written or will be read. */
  get isDone() {
    return this.state === "END";
  }
  /** Whether a close of ours waits, to be framed or to be answered. */
  get isClosing() {
    const { state } = this;
    return this.#closing !== void 0 || state === "CLOSE_SENT" || state === "DISCARDING" || state === "CLOSE_PIPE";
  }
  emit(event) {
    this.events.push(event);
  }
  // ---- writing -------------------------------------------------------------------------------------------------
  /** Writes a frame; before the connection is open it is kept. */
  control(channel, name, value) {
    const writer = this.#maySend ? this.writer : this.#early;
    if (legalSends[this.state] === "-") return;
    const max = this.remoteOpen ? this.remoteMaxFrameSize : 4294967295;
    writer.frame(0, channel, max, (w) => frameBody.named(name).write(w, value, this.style));
    if (!this.tracing) return;
    if (this.#maySend) this.traceOut(channel, value, 0);
    else this.#earlyTrace.push(() => this.traceOut(channel, value, 0));
  }
  get #maySend() {
    return this.state === "OPENED" || this.state === "CLOSE_RCVD";
  }
  /** A session has flows or dispositions to write. */
  sessionDue(session) {
    if (!this.#due.includes(session)) this.#due.push(session);
  }
  /** A detach or end is to be written when nothing is in its way. */
  postpone(what2) {
    this.#postponed.add(what2);
  }
  /** Whether `frameOutput` would write something. */
  get hasOutput() {
    return this.writer.pending > 0 || this.#due.length > 0 || this.ready.length > 0 || this.#postponed.size > 0 || this.#closing !== void 0 || this.localOpen !== void 0 && !this.#openSent;
  }
  /** Frames what is due, until `maxBytes` are pending. */
  frameOutput(maxBytes) {
    this.#frameOpen();
    if (this.#maySend) {
      for (const chunk of this.#early.take()) this.writer.raw(chunk);
      for (const trace of this.#earlyTrace.splice(0)) trace();
      this.#frameDue();
      this.#frameTransfers(maxBytes);
      this.#frameDue();
      for (const what2 of this.#postponed) if (what2.frameDetach()) this.#postponed.delete(what2);
    }
    if (this.#closing) this.#frameClose(this.#closing.error);
  }
  #frameOpen() {
    if (!this.localOpen || this.#openSent) return;
    const legal = legalSends[this.state];
    if (legal !== "OPEN" || this.state === "HDR_SENT") return;
    const next = advance(connectionTransitions, this.state, "S:OPEN");
    if (next === void 0) return;
    const max = this.remoteOpen ? this.remoteMaxFrameSize : 4294967295;
    const value = { ...this.localOpen, type: "open" };
    this.writer.frame(0, 0, max, (w) => frameBody.named("open").write(w, value, this.style));
    if (this.tracing) this.traceOut(0, value, 0);
    this.#openSent = true;
    this.state = next;
    this.#afterOpens();
  }
  #frameDue() {
    const due = this.#due;
    if (due.length === 0) return;
    this.#due = [];
    for (const session of due) session.frameDue();
  }
  #frameTransfers(maxBytes) {
    while (this.ready.length > 0 && this.writer.pending < maxBytes) {
      const sender = this.ready.shift();
      sender.isReady = false;
      sender.frameTransfers(Math.min(QUANTUM, maxBytes - this.writer.pending));
      sender.wake();
    }
  }
  /** Writes our close if nothing queued is in its way. @returns whether it is written */
  #frameClose(error2) {
    if (this.#postponed.size > 0 && !error2 && this.#maySend) return false;
    if (!error2 && this.#maySend) {
      for (const session of this.#channels) if (!session.isIdle) return false;
    }
    const next = advance(connectionTransitions, this.state, error2 ? "S:CLOSE(ERROR)" : "S:CLOSE");
    if (next === void 0) return false;
    this.writer.frame(
      0,
      0,
      4294967295,
      (w) => frameBody.named("close").write(w, { type: "close", error: error2 }, this.style)
    );
    if (this.tracing) this.traceOut(0, { type: "close", error: error2 }, 0);
    this.#closing = void 0;
    this.state = next;
    if (next === "END") this.ended("remote", this.cause);
    return true;
  }
  // ---- reading -------------------------------------------------------------------------------------------------
  /** The headers: `R:HDR` or `S:HDR`. */
  onHeader(input) {
    this.state = advance(connectionTransitions, this.state, input) ?? this.state;
  }
  /** One AMQP frame. */
  receive(channel, body, payload, left) {
    this.#payloadSession = void 0;
    if (body === void 0) return;
    if (body.type === "close") return this.#onClose(body);
    if (body.type === "open") return this.#onOpen(body);
    const legal = legalReceives[this.state];
    if (this.state === "DISCARDING" || legal === "-") return;
    if (legal !== "*") return this.fail(AmqpCondition.illegalState, `${body.type} in state ${this.state}`, "2.4.7");
    if (body.type === "begin") return this.#onBegin(channel, body);
    const session = this.#remoteChannels.get(channel);
    if (!session) {
      this.fail(ConnectionCondition.framingError, `${body.type} on channel ${channel}, on which no session is`, "2.5.1");
      return;
    }
    session.receive(body, payload, left);
    if (left > 0) this.#payloadSession = session;
  }
  /** A further piece of the payload of the frame just received. */
  receivePayload(piece, left) {
    this.#payloadSession?.payloadLink?.onPayload(piece, left);
  }
  #onOpen(open2) {
    const next = advance(connectionTransitions, this.state, "R:OPEN");
    if (next === void 0) return this.fail(AmqpCondition.illegalState, `open in state ${this.state}`, "2.4.7");
    this.state = next;
    if (next === "DISCARDING" || this.remoteOpen) return;
    this.remoteOpen = open2;
    this.remoteMaxFrameSize = Math.max(open2.maxFrameSize, MIN_MAX_FRAME_SIZE);
    this.#channels.max = Math.min(open2.channelMax, this.limits.maxSessions - 1);
    this.emit({ type: "connection.opened", open: open2 });
    this.#afterOpens();
  }
  #afterOpens() {
    if (this.state === "OPENED" && this.#closeReceived) this.#onClose(this.#closeReceived);
  }
  /** A close that came before our open was sent. */
  #closeReceived;
  #onClose(close2) {
    const next = advance(connectionTransitions, this.state, "R:CLOSE");
    if (next === void 0) return this.fail(AmqpCondition.illegalState, `close in state ${this.state}`, "2.4.7");
    this.state = next;
    const error2 = close2.error && new RemoteError("connection closed by peer", "connection", close2.error);
    if (next === "OPEN_RCVD") {
      this.#closeReceived = close2;
      if (!this.localOpen) this.open({ containerId: "" });
      return;
    }
    this.cause ??= error2;
    if (next === "END") return this.ended("local", this.cause);
    this.#abandon();
    this.#postponed.clear();
    this.#closing = void 0;
    this.#frameClose(void 0);
  }
  #onBegin(channel, begin2) {
    if (channel > this.#remoteChannels.max)
      return this.fail(
        ConnectionCondition.framingError,
        `channel ${channel} above channel-max ${this.#remoteChannels.max}`,
        "2.7.1"
      );
    if (this.#remoteChannels.get(channel))
      return this.fail(AmqpCondition.notAllowed, `begin on channel ${channel}, which is in use`, "2.5.1");
    let session;
    if (begin2.remoteChannel === void 0) session = new SessionEndpoint(this, "remote");
    else session = this.#channels.get(begin2.remoteChannel) ?? this.#endedEarly.get(begin2.remoteChannel);
    if (!session)
      return this.fail(
        AmqpCondition.notAllowed,
        `begin answers channel ${begin2.remoteChannel}, on which nothing was begun`,
        "2.5.1"
      );
    this.#remoteChannels.set(channel, session);
    session.onBegin(channel, begin2);
  }
  /** The peer broke a rule of the connection: it is told so, and everything is discarded until its close. §2.4.6 */
  fail(condition, description, section, cause) {
    const error2 = new ProtocolError(description, condition, "connection", section, cause);
    if (this.hasEnded) return;
    this.cause ??= error2;
    this.emit({ type: "protocol.error", error: error2 });
    this.#abandon();
    this.#postponed.clear();
    if (!this.localOpen) this.localOpen = { containerId: "" };
    this.#closing = { error: { type: "error", condition, description: error2.message } };
    this.frameOutput(0);
    this.ended("local", error2);
  }
  /** Reports the end, once. */
  ended(by, error2) {
    if (this.hasEnded) return;
    this.hasEnded = true;
    this.cause ??= error2;
    this.#abandon();
    this.emit({ type: "connection.closed", by, error: this.cause });
  }
  #abandon() {
    for (const session of this.#channels) session.abandon();
    this.ready.drain();
  }
  // ---- channels ------------------------------------------------------------------------------------------------
  assignChannel(session) {
    return this.#channels.assign(session);
  }
  /** Sessions that we have begun and ended before the peer's begin came. */
  #endedEarly = /* @__PURE__ */ new Map();
  releaseChannel(session) {
    if (session.channel < 0) return;
    if (session.remoteChannel < 0 && session.state !== "UNMAPPED" && session.state !== "ENDED") {
      this.#endedEarly.set(session.channel, session);
      return;
    }
    this.#channels.release(session.channel);
  }
  releaseRemoteChannel(session) {
    this.#remoteChannels.release(session.remoteChannel);
    if (this.#endedEarly.delete(session.channel)) this.#channels.release(session.channel);
  }
  // ---- tracing -------------------------------------------------------------------------------------------------
  /** Reports a frame of ours, its fields in the standard's order. */
  traceOut(channel, value, payload) {
    const given = value;
    const body = { type: value.type };
    for (const { key } of frameBody.named(value.type).fields) body[key] = given[key];
    this.emit({ type: "frame", direction: "out", layer: "amqp", channel, body, payload });
  }
  traceTransfer(channel, fields3, delivery, payload) {
    const first = fields3.deliveryId >= 0;
    this.traceOut(
      channel,
      {
        type: "transfer",
        handle: fields3.handle,
        deliveryId: first ? fields3.deliveryId : void 0,
        deliveryTag: first ? delivery.deliveryTag : void 0,
        messageFormat: first ? fields3.messageFormat : void 0,
        settled: fields3.settled || void 0,
        more: fields3.more
      },
      payload
    );
  }
};

// src/engine/idle-timeout.ts
var IdleTimeout = class {
  /** What we announced; 0: we do not watch. */
  announcedMs;
  /** What the peer announced; 0: it does not watch. */
  remoteMs = 0;
  #lastInput;
  #lastOutput;
  constructor(announcedMs, now) {
    this.announcedMs = announcedMs;
    this.#lastInput = now;
    this.#lastOutput = now;
  }
  /** Silence after which the peer is given up: twice what we announced. */
  get limitMs() {
    return 2 * this.announcedMs;
  }
  onInput(now) {
    this.#lastInput = now;
  }
  onOutput(now) {
    this.#lastOutput = now;
  }
  /** Whether an empty frame is due. */
  heartbeatDue(now) {
    return this.remoteMs > 0 && now - this.#lastOutput >= this.remoteMs / 2;
  }
  /** Whether the peer has been silent for too long. */
  expired(now) {
    return this.announcedMs > 0 && now - this.#lastInput >= this.limitMs;
  }
  /** When one of the two is next due; `undefined` for never. */
  deadline() {
    const heartbeat = this.remoteMs > 0 ? this.#lastOutput + this.remoteMs / 2 : Number.POSITIVE_INFINITY;
    const expiry = this.announcedMs > 0 ? this.#lastInput + this.limitMs : Number.POSITIVE_INFINITY;
    const earliest = Math.min(heartbeat, expiry);
    return earliest === Number.POSITIVE_INFINITY ? void 0 : earliest;
  }
};

// src/engine/limits.ts
var DEFAULT_LIMITS = /* @__PURE__ */ Object.freeze({
  maxMessageSize: 64 << 20,
  maxNesting: 64,
  maxElements: 1 << 20,
  saslFrame: 64 << 10,
  maxSessions: 1024,
  maxLinks: 16384,
  maxUnsettled: 1 << 16,
  maxPending: 2048,
  maxPendingBytes: 64 << 20,
  maxIncompleteBytes: 256 << 20,
  preAuthBytes: 256 << 10,
  headerOnlyMs: 1e4,
  handshakeMs: 3e4,
  closeMs: 5e3
});

// src/engine/sasl-states.ts
var saslTransitions = {
  START: { MECHANISMS: "MECHANISMS" },
  MECHANISMS: { INIT: "INIT" },
  INIT: { CHALLENGE: "CHALLENGED", OUTCOME: "DONE" },
  CHALLENGED: { RESPONSE: "RESPONDED" },
  RESPONDED: { CHALLENGE: "CHALLENGED", OUTCOME: "DONE" },
  DONE: {}
};

// src/engine/sasl-endpoint.ts
var SaslEndpoint = class {
  role;
  state = "START";
  /** The outcome, once there is one. §5.3.3.6 */
  code;
  #owner;
  constructor(role, owner) {
    this.role = role;
    this.#owner = owner;
  }
  /** Server: offers mechanisms, in order of preference. §5.3.3.1 @throws {UsageError} */
  mechanisms(names) {
    this.#send("MECHANISMS", { type: "sasl-mechanisms", saslServerMechanisms: names });
  }
  /** Client: chooses a mechanism. §5.3.3.2 @throws {UsageError} */
  init(mechanism, initialResponse, hostname) {
    this.#send("INIT", { type: "sasl-init", mechanism, initialResponse, hostname });
  }
  /** Server: §5.3.3.3 @throws {UsageError} */
  challenge(challenge) {
    this.#send("CHALLENGE", { type: "sasl-challenge", challenge });
  }
  /** Client: §5.3.3.4 @throws {UsageError} */
  respond(response) {
    this.#send("RESPONSE", { type: "sasl-response", response });
  }
  /** Server: ends the exchange; anything but `ok` ends the connection. §5.3.3.5 @throws {UsageError} */
  outcome(code, additionalData) {
    this.#send("OUTCOME", { type: "sasl-outcome", code, additionalData });
    this.code = code;
    if (code === "ok") this.#owner.saslDone();
  }
  #send(input, body) {
    const next = advance(saslTransitions, this.state, input);
    if (next === void 0) throw new UsageError(`cannot send ${body.type} in SASL state ${this.state}`, "5.3.2");
    this.#owner.writer.frame(1, 0, 4294967295, (writer) => saslFrame.write(writer, body));
    this.state = next;
    if (this.#owner.tracing)
      this.#owner.emit({ type: "frame", direction: "out", layer: "sasl", channel: 0, body, payload: 0 });
  }
  /** A SASL frame from the peer. */
  receive(body) {
    if (body === void 0) return this.#owner.saslFailed(AmqpCondition.illegalState, "empty SASL frame", "5.3.1");
    const input = INPUTS[body.type];
    const fromServer = input !== "INIT" && input !== "RESPONSE";
    const next = fromServer === (this.role === "client") ? advance(saslTransitions, this.state, input) : void 0;
    if (next === void 0)
      return this.#owner.saslFailed(AmqpCondition.illegalState, `${body.type} in SASL state ${this.state}`, "5.3.2");
    this.state = next;
    const emit = this.#owner.emit.bind(this.#owner);
    switch (body.type) {
      case "sasl-mechanisms":
        return emit({ type: "sasl.mechanisms", mechanisms: body.saslServerMechanisms });
      case "sasl-init":
        return emit({
          type: "sasl.init",
          mechanism: body.mechanism,
          initialResponse: body.initialResponse,
          hostname: body.hostname
        });
      case "sasl-challenge":
        return emit({ type: "sasl.challenge", challenge: body.challenge });
      case "sasl-response":
        return emit({ type: "sasl.response", response: body.response });
      case "sasl-outcome":
        this.code = body.code;
        emit({ type: "sasl.outcome", code: body.code, additionalData: body.additionalData });
        if (body.code === "ok") this.#owner.saslDone();
    }
  }
};
var INPUTS = {
  "sasl-mechanisms": "MECHANISMS",
  "sasl-init": "INIT",
  "sasl-challenge": "CHALLENGE",
  "sasl-response": "RESPONSE",
  "sasl-outcome": "OUTCOME"
};

// src/engine/engine.ts
var Engine = class {
  connection;
  sasl;
  limits;
  #reader;
  #options;
  #phase;
  #saslHeaderSent = false;
  #amqpHeaderSent = false;
  /** Bytes received before the peer's open. */
  #early = 0;
  #idle;
  #startedAt;
  #closeBy;
  constructor(options = {}) {
    this.#options = options;
    this.limits = { ...DEFAULT_LIMITS, ...withoutUndefined(options.limits) };
    const style = { ...PLAIN_STYLE, omitNextIncomingId: false, ...withoutUndefined(options.style) };
    this.connection = new ConnectionEndpoint(this.limits, style, options.trace === true);
    const role = options.sasl ?? "none";
    this.sasl = role === "none" ? void 0 : new SaslEndpoint(role, this);
    this.#phase = role === "none" ? "amqp-header" : "sasl-header";
    this.#reader = new FrameReader(this.limits.saslFrame, this.limits);
  }
  // ---- the five verbs ------------------------------------------------------------------------------------------
  /**
   * Takes bytes from the peer. Never throws for what is in them.
   *
   * @param bytes  must not change any more: payloads of deliveries are views of it
   * @param now  monotonic milliseconds
   */
  receive(bytes, now) {
    if (this.#phase === "done" || bytes.length === 0) return;
    this.#startedAt ??= now;
    this.#idle?.onInput(now);
    if (!this.connection.remoteOpen) this.#early += bytes.length;
    this.#reader.push(bytes);
    this.#read();
    if (!this.connection.remoteOpen && this.#early > this.limits.preAuthBytes && !this.connection.hasEnded)
      this.#fault(
        AmqpCondition.resourceLimitExceeded,
        `more than ${this.limits.preAuthBytes} bytes before open`,
        "2.4.1"
      );
  }
  /** The transport has ended: nothing more will come. With an error when it broke. */
  receiveEnd(_now, cause) {
    if (this.#phase === "done") return;
    this.#phase = "done";
    const why = cause instanceof Error ? `: ${cause.message}` : "";
    this.connection.ended(
      "transport",
      new TransportError(`the transport ended before the connection was closed${why}`, cause)
    );
    this.connection.state = "END";
  }
  /** The next event, the oldest first. */
  nextEvent() {
    return this.connection.events.shift();
  }
  /** The next complete delivery. Take these before events: a detach comes after what was received before it. */
  nextDelivery() {
    return this.connection.deliveries.shift();
  }
  /** The next outgoing delivery whose outcome is known: settled, or, when it was sent settled, framed. */
  nextOutcome() {
    return this.connection.outcomes.shift();
  }
  /**
   * The bytes to be sent now.
   *
   * @param maxBytes  about how much the transport takes; control frames may exceed it
   * @returns chunks that are the caller's: they will not change
   */
  output(maxBytes, now) {
    this.#startedAt ??= now;
    this.#frameHeaders();
    if (this.#phase === "amqp") {
      this.connection.frameOutput(maxBytes);
      this.#afterOpen(now);
      if (this.writer.pending === 0 && this.#idle?.heartbeatDue(now) && this.connection.state === "OPENED")
        this.writer.frame(0, 0, 8);
    }
    if (this.writer.pending > 0) this.#idle?.onOutput(now);
    return this.writer.take();
  }
  /** Whether `output` would give something, heartbeats aside. */
  get hasOutput() {
    return this.writer.pending > 0 || this.#headersDue || this.#phase === "amqp" && this.connection.hasOutput;
  }
  /**
   * Looks at the clock: gives up a silent peer, a handshake or a close that takes too long.
   * @returns when to call again at the latest, on the clock of `now`; `undefined` for never
   */
  tick(now) {
    if (this.#phase === "done") return void 0;
    this.#startedAt ??= now;
    if (!this.connection.remoteOpen && !this.connection.hasEnded) {
      const header2 = this.#early === 0;
      const limit = header2 ? this.limits.headerOnlyMs : this.limits.handshakeMs;
      if (now - this.#startedAt >= limit) {
        this.#giveUp(new TransportError(`no ${header2 ? "protocol header" : "open"} from the peer within ${limit} ms`));
        return void 0;
      }
      return this.#startedAt + limit;
    }
    if (this.connection.state === "CLOSE_SENT" || this.connection.state === "DISCARDING" || this.connection.state === "CLOSE_PIPE") {
      this.#closeBy ??= now + this.limits.closeMs;
      if (now >= this.#closeBy) {
        this.#giveUp(new TransportError(`no close from the peer within ${this.limits.closeMs} ms`));
        return void 0;
      }
      return this.#closeBy;
    }
    this.#afterOpen(now);
    if (this.#idle?.expired(now)) {
      this.#giveUp(new IdleTimeoutError(this.#idle.limitMs));
      return void 0;
    }
    return this.#idle?.deadline();
  }
  /** Whether the connection is over and everything has been pulled: the transport may be dropped. */
  get isDone() {
    return this.#phase === "done" || this.connection.isDone;
  }
  // ---- layers --------------------------------------------------------------------------------------------------
  get writer() {
    return this.connection.writer;
  }
  get tracing() {
    return this.connection.tracing;
  }
  emit(event) {
    this.connection.emit(event);
  }
  #afterOpen(now) {
    const { localOpen, remoteOpen } = this.connection;
    if (this.#idle || !remoteOpen || !localOpen) return;
    this.#idle = new IdleTimeout(localOpen.idleTimeOut ?? 0, now);
    this.#idle.remoteMs = remoteOpen.idleTimeOut ?? 0;
  }
  get #headersDue() {
    if (this.#phase === "sasl-header") return this.sasl?.role === "client" && !this.#saslHeaderSent;
    return this.#phase === "amqp-header" && !this.#amqpHeaderSent && this.#opensFirst;
  }
  /** Whether we send the AMQP header unasked: a server of SASL waits for its client. */
  get #opensFirst() {
    return this.connection.localOpen !== void 0 && this.sasl?.role !== "server";
  }
  #frameHeaders() {
    if (!this.#headersDue) return;
    if (this.#phase === "sasl-header") this.#sendHeader(SASL_ID);
    else this.#sendHeader(AMQP_ID);
  }
  #sendHeader(id) {
    const bytes = encodeHeader(id);
    this.writer.raw(bytes);
    if (id === SASL_ID) this.#saslHeaderSent = true;
    else {
      this.#amqpHeaderSent = true;
      this.connection.onHeader("S:HDR");
    }
    this.#traceHeader("out", bytes);
  }
  #traceHeader(direction, bytes) {
    const header2 = this.tracing ? decodeHeader(bytes, 0) : void 0;
    if (header2)
      this.emit({ type: "frame", direction, layer: "header", channel: 0, body: formatHeader(header2), payload: 0 });
  }
  /** Reads as far as the bytes go. */
  #read() {
    const reader = this.#reader;
    try {
      while (!this.connection.isDone && this.#phase !== "done") {
        if (this.#phase === "sasl" && this.sasl?.role === "server" && this.#isDeciding) return;
        const item = reader.next();
        if (item === void 0) return;
        if (item === "header") this.#onHeader(reader.header);
        else if (item === "payload") this.connection.receivePayload(reader.payload, reader.payloadLeft);
        else this.#onFrame();
      }
    } catch (error2) {
      if (error2 instanceof FramingFault) this.#fault(ConnectionCondition.framingError, error2.message, "2.3.1", error2);
      else if (error2 instanceof DecodeError) this.#fault(AmqpCondition.decodeError, error2.message, "1.6", error2);
      else throw error2;
    }
  }
  get #isDeciding() {
    const state = this.sasl?.state;
    return state === "INIT" || state === "RESPONDED" || state === "DONE";
  }
  #onFrame() {
    const reader = this.#reader;
    const { channel, body, payload, payloadLeft } = reader;
    if (this.tracing) this.#traceIn();
    if (this.#phase === "sasl") this.sasl?.receive(body);
    else this.connection.receive(channel, body, payload, payloadLeft);
    if (body?.type === "open") reader.maxFrameSize = this.connection.maxFrameSize;
  }
  #traceIn() {
    const { channel, body, payload, payloadLeft } = this.#reader;
    const layer = this.#phase === "sasl" ? "sasl" : "amqp";
    this.emit({ type: "frame", direction: "in", layer, channel, body, payload: (payload?.length ?? 0) + payloadLeft });
  }
  #onHeader(bytes) {
    const header2 = decodeHeader(bytes, 0);
    this.#traceHeader("in", bytes);
    if (header2 && this.#phase === "sasl-header" && isSupported(header2, SASL_ID)) return this.#beginSasl();
    const mayskip = this.sasl?.role === "server" && this.#options.allowNoSasl !== false;
    if (header2 && isSupported(header2, AMQP_ID) && (this.#phase === "amqp-header" || mayskip)) return this.#beginAmqp();
    if (!this.#saslHeaderSent && !this.#amqpHeaderSent)
      this.#sendHeader(this.#phase === "sasl-header" ? SASL_ID : AMQP_ID);
    const expected = this.#phase === "sasl-header" ? "AMQP 3 1.0.0" : "AMQP 0 1.0.0";
    const found = header2 ? formatHeader(header2) : "something that is not an AMQP header";
    this.#giveUp(
      new ProtocolError(
        `peer answered ${found}, where ${expected} is expected`,
        ConnectionCondition.framingError,
        "connection",
        "2.2"
      )
    );
  }
  #beginSasl() {
    if (!this.#saslHeaderSent) this.#sendHeader(SASL_ID);
    this.#phase = "sasl";
    this.#reader.expectHeader = false;
    this.#reader.expectType = 1;
    if (this.sasl?.role === "server") this.sasl.mechanisms(this.#options.mechanisms ?? ["ANONYMOUS"]);
  }
  #beginAmqp() {
    this.connection.onHeader("R:HDR");
    if (!this.#amqpHeaderSent) this.#sendHeader(AMQP_ID);
    this.#phase = "amqp";
    this.#reader.expectHeader = false;
    this.#reader.expectType = 0;
    this.#reader.maxFrameSize = this.connection.maxFrameSize;
  }
  /** For the SASL endpoint: the exchange succeeded. */
  saslDone() {
    this.#phase = "amqp-header";
    this.#reader.expectHeader = true;
    if (this.sasl?.role === "server") this.#read();
  }
  /** For the SASL endpoint: the peer broke its rules. */
  saslFailed(condition, description, section) {
    this.#giveUp(new ProtocolError(description, condition, "connection", section));
  }
  /** Bytes that cannot be understood: above the SASL layer the peer is told. */
  #fault(condition, description, section, cause) {
    if (this.#phase !== "amqp") {
      this.#giveUp(new ProtocolError(description, condition, "connection", section, cause));
      return;
    }
    this.connection.fail(condition, description, section, cause);
    this.#phase = "done";
    this.connection.state = "END";
  }
  /** Ends without a word to the peer: it would not understand, or is not there. */
  #giveUp(error2) {
    if (error2.code === "ERR_AMQP_PROTOCOL") this.emit({ type: "protocol.error", error: error2 });
    this.connection.ended(error2.code === "ERR_AMQP_PROTOCOL" ? "local" : "transport", error2);
    this.#phase = "done";
    this.connection.state = "END";
  }
};
function withoutUndefined(given) {
  return Object.fromEntries(Object.entries(given ?? {}).filter(([, value]) => value !== void 0));
}

// src/io/driver.ts
var BATCH = 256 << 10;
var EAGER = 64 << 10;
var Driver = class {
  engine;
  #transport;
  #owner;
  #scheduled = false;
  #blocked = false;
  #ended = false;
  #inside = false;
  #timer;
  #timerDue = Number.POSITIVE_INFINITY;
  #refed = true;
  constructor(engine, transport, owner) {
    this.engine = engine;
    this.#transport = transport;
    this.#owner = owner;
  }
  /** Starts the transport and sends what is due. */
  start() {
    this.#transport.start({
      data: (bytes) => this.#onData(bytes),
      drain: () => {
        this.#blocked = false;
        this.touch();
      },
      end: (error2) => this.#onEnd(error2)
    });
    this.#rearm();
    this.touch();
  }
  /** Something may be due for sending: it leaves at the end of this turn. Call after every use of the engine. */
  touch() {
    if (this.#ended) return;
    const { pendingBytes, ready } = this.engine.connection;
    if (pendingBytes >= EAGER && ready.length > 0 && !this.#blocked && !this.#inside) {
      this.#flush();
      return;
    }
    if (this.#scheduled) return;
    this.#scheduled = true;
    queueMicrotask(
      () => process.nextTick(() => {
        this.#scheduled = false;
        this.#flush();
      })
    );
  }
  /** Drops the transport without another word. */
  destroy(error2) {
    if (this.#ended) return;
    this.engine.receiveEnd(performance.now(), error2);
    this.#pump();
    this.#ended = true;
    clearTimeout(this.#timer);
    this.#transport.destroy(error2);
  }
  ref() {
    this.#refed = true;
    this.#timer?.ref();
  }
  unref() {
    this.#refed = false;
    this.#timer?.unref();
  }
  #onData(bytes) {
    if (this.#ended) return;
    this.engine.receive(bytes, performance.now());
    this.#pump();
    if (this.engine.hasOutput) this.touch();
    this.#afterwards();
  }
  #onEnd(error2) {
    if (this.#ended) return;
    this.engine.receiveEnd(performance.now(), error2);
    this.#pump();
    this.#finish();
  }
  /** Hands on what the engine has to tell: deliveries and outcomes before the events that may end them. */
  #pump() {
    const { engine } = this;
    const owner = this.#owner;
    this.#inside = true;
    for (let delivery = engine.nextDelivery(); delivery; delivery = engine.nextDelivery()) owner.onDelivery(delivery);
    for (let delivery = engine.nextOutcome(); delivery; delivery = engine.nextOutcome()) owner.onOutcome(delivery);
    for (let event = engine.nextEvent(); event; event = engine.nextEvent()) owner.onEvent(event);
    this.#inside = false;
  }
  #flush() {
    if (this.#ended) return;
    const { engine } = this;
    while (!this.#blocked) {
      const chunks = engine.output(BATCH, performance.now());
      if (chunks.length === 0) break;
      this.#blocked = !this.#transport.write(chunks);
    }
    this.#owner.onFlush();
    this.#pump();
    this.#afterwards();
  }
  #afterwards() {
    if (this.#ended) return;
    if (this.engine.isDone && !this.engine.hasOutput) this.#finish();
    else this.#rearm();
  }
  /** The engine is done: what is written still leaves, then the transport ends. */
  #finish() {
    if (this.#ended) return;
    const rest2 = this.engine.output(Number.MAX_SAFE_INTEGER, performance.now());
    this.#ended = true;
    clearTimeout(this.#timer);
    if (rest2.length > 0) this.#transport.write(rest2);
    this.#transport.end();
    const timer = setTimeout(() => this.#transport.destroy(), this.engine.limits.closeMs);
    timer.unref?.();
  }
  /** One timer, for the earliest deadline. It is only moved when it has to fire earlier. */
  #rearm() {
    const now = performance.now();
    const due = this.engine.tick(now);
    if (this.engine.isDone) {
      this.#pump();
      this.#finish();
      return;
    }
    if (due === void 0 || due >= this.#timerDue) return;
    clearTimeout(this.#timer);
    this.#timerDue = due;
    this.#timer = setTimeout(() => this.#onTimer(), Math.max(Math.ceil(due - now), 1));
    if (!this.#refed) this.#timer.unref?.();
  }
  #onTimer() {
    this.#timerDue = Number.POSITIVE_INFINITY;
    this.#flush();
    if (!this.#ended) this.#rearm();
  }
};

// src/client/authentication.ts
var ClientAuthentication = class {
  #owner;
  #mechanisms;
  #context;
  #insecure;
  #exchange;
  #name = "";
  constructor(owner, mechanisms, context, allowInsecure) {
    this.#owner = owner;
    this.#mechanisms = mechanisms;
    this.#context = context;
    this.#insecure = allowInsecure;
  }
  onEvent(event) {
    this.#run(event).catch((error2) => {
      this.#owner.fail(
        error2 instanceof SaslError ? error2 : new SaslError(`SASL ${this.#name} failed: ${reason(error2)}`, void 0, error2)
      );
    });
  }
  async #run(event) {
    const { sasl: sasl2 } = this.#owner.engine;
    if (event.type === "sasl.mechanisms") {
      const mechanism = this.#choose(event.mechanisms);
      this.#name = mechanism.name;
      this.#exchange = mechanism.start(this.#context);
      const initial = await this.#exchange.initial();
      if (!this.#owner.engine.isDone) sasl2?.init(mechanism.name, initial, this.#context.hostname);
    } else if (event.type === "sasl.challenge") {
      const response = await this.#exchange?.respond(event.challenge);
      if (response && !this.#owner.engine.isDone) sasl2?.respond(response);
    } else if (event.type === "sasl.outcome") {
      if (event.code !== "ok")
        throw new SaslError(`authentication by ${this.#name} failed: the peer answered ${event.code}`, event.code);
      await this.#exchange?.finish(event.additionalData);
    }
    this.#owner.touch();
  }
  /** The first of ours that the server offers. What gives a secret away needs a private transport. */
  #choose(offered) {
    const usable = this.#mechanisms.filter((have) => !have.secret || this.#context.secure || this.#insecure);
    const chosen = usable.find((have) => offered.includes(have.name));
    if (chosen) return chosen;
    const withheld = this.#mechanisms.find((have) => !usable.includes(have) && offered.includes(have.name));
    if (withheld)
      throw new SaslError(
        `${withheld.name} is refused without TLS, since it shows the secret; see \`allowInsecureAuth\``
      );
    throw new SaslError(
      `no common SASL mechanism: the peer offers ${offered.join(", ") || "none"}, we have ${this.#mechanisms.map((have) => have.name).join(", ") || "none"}`
    );
  }
};
var ServerAuthentication = class {
  #owner;
  #mechanisms;
  #context;
  #exchange;
  /** Who the peer is, once it is known. */
  identity;
  constructor(owner, mechanisms, context) {
    this.#owner = owner;
    this.#mechanisms = mechanisms;
    this.#context = context;
  }
  onEvent(event) {
    if (event.type === "sasl.init") {
      const mechanism = this.#mechanisms.find((have) => have.name === event.mechanism);
      if (!mechanism) return this.#refuse("auth", `the peer chose ${event.mechanism}, which is not offered`);
      this.#exchange = mechanism.start(this.#context);
      this.#step(event.initialResponse);
    } else if (event.type === "sasl.response") this.#step(event.response);
  }
  #step(response) {
    this.#next(response).catch((error2) => this.#refuse("sys", `the mechanism failed: ${reason(error2)}`));
  }
  async #next(response) {
    const step = await this.#exchange?.step(response);
    const { engine } = this.#owner;
    if (!step || engine.isDone) return;
    if ("challenge" in step) engine.sasl?.challenge(step.challenge);
    else if (step.outcome === "ok") {
      this.identity = step.identity;
      engine.sasl?.outcome("ok", step.additionalData);
    } else return this.#refuse(step.outcome, "the peer is not authenticated");
    this.#owner.touch();
  }
  #refuse(code, why) {
    const { engine } = this.#owner;
    if (engine.isDone) return;
    engine.sasl?.outcome(code);
    this.#owner.fail(new SaslError(`authentication refused: ${why}`, code));
  }
};
var reason = (error2) => error2 instanceof Error ? error2.message : String(error2);

// src/client/emitter.ts
var Emitter = class {
  #listeners;
  on(type, listener, options = {}) {
    const entry = { type, listener };
    const off = () => {
      this.#listeners = this.#listeners?.filter((have) => have !== entry);
      options.signal?.removeEventListener("abort", off);
    };
    if (options.signal?.aborted) return { [Symbol.dispose]: off };
    this.#listeners = [...this.#listeners ?? [], entry];
    options.signal?.addEventListener("abort", off, { once: true });
    return { [Symbol.dispose]: off };
  }
  /** Whether anybody listens. */
  hears(type) {
    return this.#listeners?.some((entry) => entry.type === type) === true;
  }
  /** A listener that throws does not keep the others from hearing: its error becomes an uncaught exception. */
  emit(type, event) {
    for (const entry of this.#listeners ?? []) {
      if (entry.type !== type) continue;
      try {
        entry.listener(event);
      } catch (error2) {
        queueMicrotask(() => {
          throw error2;
        });
      }
    }
  }
};

// src/client/incoming.ts
var PATIENCE_MS = 1e3;
var IncomingQueue = class {
  #waiting = [];
  #takers = [];
  #iterators = 0;
  #ended = false;
  #listened;
  #refuse;
  /**
   * @param listened  gives the item to listeners; false when there are none
   * @param refuse  what becomes of an item that nobody takes
   */
  constructor(listened, refuse3) {
    this.#listened = listened;
    this.#refuse = refuse3;
  }
  push(item) {
    if (this.#ended || this.#listened(item)) return;
    const taker = this.#takers.shift();
    if (taker) return taker(item);
    this.#waiting.push(item);
    if (this.#iterators > 0) return;
    const timer = setTimeout(() => {
      if (this.#iterators > 0 || this.#ended) return;
      const at = this.#waiting.indexOf(item);
      if (at < 0) return;
      this.#waiting.splice(at, 1);
      this.#refuse(item);
    }, PATIENCE_MS);
    timer.unref?.();
  }
  /** A listener was added: it takes what waits. */
  offer() {
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const item of waiting) this.push(item);
  }
  /** Nothing more will come. */
  end() {
    this.#ended = true;
    this.#waiting = [];
    for (const taker of this.#takers.splice(0)) taker(void 0);
  }
  [Symbol.asyncIterator]() {
    this.#iterators++;
    let done = false;
    return {
      next: async () => {
        if (done) return { done: true, value: void 0 };
        const waiting = this.#waiting.shift();
        if (waiting !== void 0) return { done: false, value: waiting };
        if (this.#ended) return { done: true, value: void 0 };
        const value = await new Promise((resolve) => this.#takers.push(resolve));
        return value === void 0 ? { done: true, value: void 0 } : { done: false, value };
      },
      return: async () => {
        if (!done) this.#iterators--;
        done = true;
        return { done: true, value: void 0 };
      }
    };
  }
};

// src/client/operation.ts
function deferred() {
  let resolve = unset;
  let reject = unset;
  const promise = new Promise((yes, no) => {
    resolve = yes;
    reject = no;
  });
  return { promise, resolve, reject };
}
var unset = () => {
};
function handled(promise) {
  promise.catch(unset);
  return promise;
}
function abortable(operation, signal, cancel) {
  if (!signal) return operation.promise;
  const onAbort = () => {
    operation.reject(signal.reason);
    cancel();
  };
  if (signal.aborted) onAbort();
  else {
    signal.addEventListener("abort", onAbort, { once: true });
    const done = () => signal.removeEventListener("abort", onAbort);
    operation.promise.then(done, done);
  }
  return operation.promise;
}
var throwIfAborted = (options) => options?.signal?.throwIfAborted();

// src/definitions/sections.ts
var Section = {
  header: 112,
  deliveryAnnotations: 113,
  messageAnnotations: 114,
  properties: 115,
  applicationProperties: 116,
  data: 117,
  amqpSequence: 118,
  amqpValue: 119,
  footer: 120
};
var sectionSymbols = {
  "amqp:header:list": 112,
  "amqp:delivery-annotations:map": 113,
  "amqp:message-annotations:map": 114,
  "amqp:properties:list": 115,
  "amqp:application-properties:map": 116,
  "amqp:data:binary": 117,
  "amqp:amqp-sequence:list": 118,
  "amqp:amqp-value:*": 119,
  "amqp:footer:map": 120
};
var header = /* @__PURE__ */ composite({
  name: "header",
  code: Section.header,
  section: "3.2.1",
  fields: {
    durable: defaulted(booleanField, false),
    priority: defaulted(ubyteField, 4),
    ttl: optional(uintField),
    firstAcquirer: defaulted(booleanField, false),
    deliveryCount: defaulted(uintField, 0)
  }
});
var properties = /* @__PURE__ */ composite({
  name: "properties",
  code: Section.properties,
  section: "3.2.4",
  fields: {
    messageId: optional(messageIdField),
    userId: optional(binaryField),
    to: optional(addressField),
    subject: optional(stringField),
    replyTo: optional(addressField),
    correlationId: optional(messageIdField),
    contentType: optional(symbolField),
    contentEncoding: optional(symbolField),
    absoluteExpiryTime: optional(timestampField),
    creationTime: optional(timestampField),
    groupId: optional(stringField),
    groupSequence: optional(uintField),
    replyToGroupId: optional(stringField)
  }
});

// src/types/skip.ts
var DESCRIBED = 252;
var SIZE8 = 253;
var SIZE32 = 254;
var UNKNOWN = 255;
var SMALLEST_MARK = DESCRIBED;
var follows = /* @__PURE__ */ (() => {
  const byCategory = [DESCRIBED, 0, 0, 0, 0, 1, 2, 4, 8, 16, SIZE8, SIZE32, SIZE8, SIZE32, SIZE8, SIZE32];
  return Uint8Array.from(
    { length: 256 },
    (_, code) => typeOfCode[code] === void 0 ? UNKNOWN : byCategory[code >> 4]
  );
})();
function valueEnd(bytes, offset, end2) {
  if (offset + 1 < end2) {
    const width = follows[bytes[offset]];
    const at = width < SMALLEST_MARK ? offset + 1 + width : offset + 2 + bytes[offset + 1];
    if ((width < SMALLEST_MARK || width === SIZE8) && at <= end2) return at;
  }
  return anyEnd(bytes, offset, end2);
}
function anyEnd(bytes, offset, end2) {
  let values2 = 1;
  let at = offset;
  while (values2 > 0) {
    if (at >= end2) throw new DecodeError("a value needed, no bytes left", at);
    const code = bytes[at++];
    const width = follows[code];
    if (width === DESCRIBED) values2++;
    else {
      at = width < SMALLEST_MARK ? at + width : behindSize(bytes, at, end2, width, code);
      values2--;
    }
    if (at > end2) throw new DecodeError(`${at - end2} bytes of the value are missing`, end2);
  }
  return at;
}
function behindSize(bytes, at, end2, width, code) {
  if (width === UNKNOWN)
    throw new DecodeError(`expected a value, found unknown constructor 0x${code.toString(16).padStart(2, "0")}`, at - 1);
  if (width === SIZE8) {
    if (at >= end2) throw new DecodeError("1 byte needed, none left", at);
    return at + 1 + bytes[at];
  }
  if (end2 - at < 4) throw new DecodeError(`4 bytes needed, ${end2 - at} left`, at);
  const size = (bytes[at] << 24 | bytes[at + 1] << 16 | bytes[at + 2] << 8 | bytes[at + 3]) >>> 0;
  return at + 4 + size;
}

// src/message/json.ts
function toJson(value) {
  if (typeof value === "bigint") return value.toString();
  if (typeof value !== "object" || value === null) return value;
  if (value instanceof Uint8Array) return hex(value);
  if (value instanceof Decimal) return hex(value.bytes);
  if (value instanceof Typed) return toJson(value.value);
  if (value instanceof AmqpMap) return mapToJson(value);
  if (Array.isArray(value)) return value.map(toJson);
  if (value instanceof Described) return { descriptor: toJson(value.descriptor), value: toJson(value.value) };
  if ("toJSON" in value) return value;
  return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, toJson(inner)]));
}
function mapToJson(map) {
  const out = /* @__PURE__ */ Object.create(null);
  for (const [name, value] of Object.entries(map.toJSON())) out[name] = toJson(value);
  return out;
}
var hex = (bytes) => Array.from(bytes, (byte2) => byte2.toString(16).padStart(2, "0")).join("");

// src/message/locate.ts
function locate(bytes) {
  const end2 = bytes.length;
  let header2 = 0;
  let deliveryAnnotations = 0;
  let messageAnnotations = 0;
  let properties2 = 0;
  let applicationProperties = 0;
  let bodyCode = 0;
  let bodyCount = 0;
  let body = 0;
  let footer = 0;
  let last = 0;
  let at = 0;
  while (at < end2) {
    const start = at;
    let code = 0;
    if (end2 - at > 3 && bytes[at] === 0 && bytes[at + 1] === 83) {
      code = bytes[at + 2];
      at += 3;
    } else {
      const reader = new Reader(bytes, at);
      code = readSectionCode(reader);
      at = reader.offset;
      if (at >= end2) throw new DecodeError("a section without a value", at);
    }
    if (code <= last || bodyCode !== 0) checkOrder(code, last, start);
    last = code;
    const form = bytes[at];
    switch (code) {
      case Section.header:
        checkList(form, at);
        header2 = at;
        break;
      case Section.deliveryAnnotations:
        checkMap(form, at);
        deliveryAnnotations = at;
        break;
      case Section.messageAnnotations:
        checkMap(form, at);
        messageAnnotations = at;
        break;
      case Section.properties:
        checkList(form, at);
        properties2 = at;
        break;
      case Section.applicationProperties:
        checkMap(form, at);
        applicationProperties = at;
        break;
      case Section.data:
        if (form !== 160 && form !== 176) throw new DecodeError("a data section holds a binary", at);
        if (bodyCount++ === 0) body = at;
        bodyCode = code;
        break;
      case Section.amqpSequence:
        checkList(form, at);
        if (bodyCount++ === 0) body = at;
        bodyCode = code;
        break;
      case Section.amqpValue:
        body = at;
        bodyCount = 1;
        bodyCode = code;
        break;
      case Section.footer:
        checkMap(form, at);
        footer = at;
        break;
      default:
        throw new DecodeError(`0x${code.toString(16).padStart(2, "0")} is not the descriptor of a section`, start);
    }
    at = valueEnd(bytes, at, end2);
  }
  return {
    header: header2,
    deliveryAnnotations,
    messageAnnotations,
    properties: properties2,
    applicationProperties,
    bodyCode,
    bodyCount,
    body,
    footer
  };
}
function readSectionCode(reader) {
  const start = reader.offset;
  if (reader.u8() !== 0) reader.fail("expected a section, which is a described value", start);
  const descriptor = reader.readDescriptor();
  if (typeof descriptor === "number") return descriptor;
  if (descriptor !== void 0 && Object.hasOwn(sectionSymbols, descriptor)) return sectionSymbols[descriptor];
  return reader.fail("not the descriptor of a section", start);
}
function checkOrder(code, last, start) {
  if (code === last && (code === Section.data || code === Section.amqpSequence)) return;
  if (code <= last) throw new DecodeError(`section 0x${code.toString(16)} behind section 0x${last.toString(16)}`, start);
  if (code < Section.footer) throw new DecodeError("body sections of two kinds", start);
}
function checkList(form, at) {
  if (form !== 192 && form !== 208 && form !== 69) throw new DecodeError("this section holds a list", at);
}
function checkMap(form, at) {
  if (form !== 193 && form !== 209) throw new DecodeError("this section holds a map", at);
}

// src/message/read-map.ts
function readAnnotations(reader) {
  const outer = reader.enterMap();
  const start = reader.offset;
  const flat = [];
  for (let left = reader.count; left > 0; left -= 2) {
    const code = reader.peek();
    if (code !== 163 && code !== 179 && code !== 83 && code !== 128 && code !== 68)
      reader.fail(`the keys of annotations are symbols or ulongs, found ${typeOfCode[code] ?? "no value"}`);
    flat.push(readKey(reader));
    const form = reader.u8();
    flat.push(form === 161 ? reader.text(reader.u8()) : readContent(reader, form));
  }
  return finish(reader, outer, start, flat);
}
function readApplicationProperties(reader) {
  const outer = reader.enterMap();
  const start = reader.offset;
  const flat = [];
  for (let left = reader.count; left > 0; left -= 2) {
    const code = reader.peek();
    if (code !== 161 && code !== 177)
      reader.fail(`the keys of application-properties are strings, found ${typeOfCode[code] ?? "no value"}`);
    flat.push(readKey(reader));
    const form = reader.u8();
    if (form >= 192 || form === 69) reader.unexpected(form, "a value of a simple type");
    flat.push(form === 161 ? reader.text(reader.u8()) : readContent(reader, form));
  }
  return finish(reader, outer, start, flat);
}
function finish(reader, outer, start, flat) {
  if (duplicateKey(flat) !== void 0) reader.fail("a map holds the same key twice", start);
  reader.leave(outer);
  return AmqpMap.fromFlat(flat);
}

// src/message/read-properties.ts
function readHeader(reader) {
  const outer = reader.enterList();
  const count = reader.count;
  if (count > 5) reader.fail(`header has 5 fields, not ${count}`);
  const durable = count > 0 && !reader.takeNull() && reader.readBoolean();
  const priority = count > 1 && !reader.takeNull() ? reader.readUbyte() : 4;
  const ttl = count > 2 && !reader.takeNull() ? reader.readUint() : void 0;
  const firstAcquirer = count > 3 && !reader.takeNull() && reader.readBoolean();
  const deliveryCount = count > 4 && !reader.takeNull() ? reader.readUint() : 0;
  reader.leave(outer);
  return { durable, priority, ttl, firstAcquirer, deliveryCount };
}
function readProperties(reader) {
  const outer = reader.enterList();
  const count = reader.count;
  if (count > FIELDS) reader.fail(`properties has ${FIELDS} fields, not ${count}`);
  const messageId = count > 0 && !reader.takeNull() ? readMessageId(reader) : void 0;
  const userId = count > 1 && !reader.takeNull() ? reader.readBinary() : void 0;
  const to2 = count > 2 && !reader.takeNull() ? readAddress(reader) : void 0;
  const subject = count > 3 && !reader.takeNull() ? reader.readString() : void 0;
  const replyTo = count > 4 && !reader.takeNull() ? readAddress(reader) : void 0;
  const correlationId = count > 5 && !reader.takeNull() ? readMessageId(reader) : void 0;
  const contentType = count > 6 && !reader.takeNull() ? reader.readSymbol() : void 0;
  const contentEncoding = count > 7 && !reader.takeNull() ? reader.readSymbol() : void 0;
  const absoluteExpiryTime = count > 8 && !reader.takeNull() ? reader.readTimestamp() : void 0;
  const creationTime = count > 9 && !reader.takeNull() ? reader.readTimestamp() : void 0;
  const groupId = count > 10 && !reader.takeNull() ? reader.readString() : void 0;
  const groupSequence = count > 11 && !reader.takeNull() ? reader.readUint() : void 0;
  const replyToGroupId = count > 12 && !reader.takeNull() ? reader.readString() : void 0;
  reader.leave(outer);
  return {
    messageId,
    userId,
    to: to2,
    subject,
    replyTo,
    correlationId,
    contentType,
    contentEncoding,
    absoluteExpiryTime,
    creationTime,
    groupId,
    groupSequence,
    replyToGroupId
  };
}
var FIELDS = 13;
var readAddress = (reader) => reader.peek() === 161 ? reader.readString() : addressField.read(reader);
var readMessageId = (reader) => {
  const code = reader.peek();
  return code === 161 || code === 177 ? reader.readString() : messageIdField.read(reader);
};
var LazyProperties = class _LazyProperties {
  static {
    Object.defineProperty(_LazyProperties.prototype, /* @__PURE__ */ Symbol.for("nodejs.util.inspect.custom"), {
      value() {
        return this.toInit();
      }
    });
  }
  #reader;
  #start;
  /** Where the list ends. */
  #end;
  /** Where each field is; 0 if it is absent. */
  #at;
  /** @param start  offset of the list's constructor. @throws {DecodeError} unless it is a list of up to 13 values */
  constructor(reader, start) {
    const bytes = reader.bytes;
    reader.reset(bytes, start, bytes.length);
    reader.enterList();
    const { count, end: end2 } = reader;
    if (count > FIELDS) reader.fail(`properties has ${FIELDS} fields, not ${count}`);
    const at = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let offset = reader.offset;
    for (let i = 0; i < count; i++) {
      if (offset < end2 && bytes[offset] !== 64) at[i] = offset;
      offset = valueEnd(bytes, offset, end2);
    }
    if (offset !== end2) reader.fail(`${end2 - offset} bytes left over in properties`, offset);
    this.#reader = reader;
    this.#start = start;
    this.#end = end2;
    this.#at = at;
  }
  /** Puts the cursor on a field. @returns false if that is absent */
  #seek(index) {
    const at = this.#at[index];
    if (at === 0) return false;
    this.#reader.reset(this.#reader.bytes, at, this.#end);
    return true;
  }
  get messageId() {
    return this.#seek(0) ? readMessageId(this.#reader) : void 0;
  }
  get userId() {
    return this.#seek(1) ? this.#reader.readBinary() : void 0;
  }
  get to() {
    return this.#seek(2) ? readAddress(this.#reader) : void 0;
  }
  get subject() {
    return this.#seek(3) ? this.#reader.readString() : void 0;
  }
  get replyTo() {
    return this.#seek(4) ? readAddress(this.#reader) : void 0;
  }
  get correlationId() {
    return this.#seek(5) ? readMessageId(this.#reader) : void 0;
  }
  get contentType() {
    return this.#seek(6) ? this.#reader.readSymbol() : void 0;
  }
  get contentEncoding() {
    return this.#seek(7) ? this.#reader.readSymbol() : void 0;
  }
  get absoluteExpiryTime() {
    return this.#seek(8) ? this.#reader.readTimestamp() : void 0;
  }
  get creationTime() {
    return this.#seek(9) ? this.#reader.readTimestamp() : void 0;
  }
  get groupId() {
    return this.#seek(10) ? this.#reader.readString() : void 0;
  }
  get groupSequence() {
    return this.#seek(11) ? this.#reader.readUint() : void 0;
  }
  get replyToGroupId() {
    return this.#seek(12) ? this.#reader.readString() : void 0;
  }
  /** All fields, decoded, in a plain object. @throws {DecodeError} */
  toInit() {
    this.#reader.reset(this.#reader.bytes, this.#start, this.#reader.bytes.length);
    return readProperties(this.#reader);
  }
  /** The fields that are there, for `JSON.stringify`. @throws {DecodeError} */
  toJSON() {
    return this.toInit();
  }
};

// src/message/decode.ts
function decodeMessage(bytes, limits) {
  return new DecodedMessage(new Reader(bytes, 0, bytes.length, limits), locate(bytes));
}
var DecodedMessage = class _DecodedMessage {
  static {
    Object.defineProperty(_DecodedMessage.prototype, /* @__PURE__ */ Symbol.for("nodejs.util.inspect.custom"), {
      value() {
        return present(this.toInit());
      }
    });
  }
  #reader;
  #at;
  #header;
  #deliveryAnnotations;
  #messageAnnotations;
  #properties;
  #applicationProperties;
  #body;
  #footer;
  constructor(reader, located) {
    this.#reader = reader;
    this.#at = located;
  }
  get header() {
    const at = this.#at.header;
    return at === 0 ? void 0 : this.#header ??= readHeader(this.#seek(at));
  }
  get deliveryAnnotations() {
    const at = this.#at.deliveryAnnotations;
    return at === 0 ? void 0 : this.#deliveryAnnotations ??= readAnnotations(this.#seek(at));
  }
  get messageAnnotations() {
    const at = this.#at.messageAnnotations;
    return at === 0 ? void 0 : this.#messageAnnotations ??= readAnnotations(this.#seek(at));
  }
  get properties() {
    const at = this.#at.properties;
    return at === 0 ? void 0 : this.#properties ??= new LazyProperties(this.#reader, at);
  }
  get applicationProperties() {
    const at = this.#at.applicationProperties;
    return at === 0 ? void 0 : this.#applicationProperties ??= readApplicationProperties(this.#seek(at));
  }
  get body() {
    return this.#body ??= this.#readBody();
  }
  get footer() {
    const at = this.#at.footer;
    return at === 0 ? void 0 : this.#footer ??= readAnnotations(this.#seek(at));
  }
  toInit() {
    const properties2 = this.#at.properties;
    return {
      header: this.header,
      deliveryAnnotations: this.deliveryAnnotations,
      messageAnnotations: this.messageAnnotations,
      properties: properties2 === 0 ? void 0 : readProperties(this.#seek(properties2)),
      applicationProperties: this.applicationProperties,
      body: this.body,
      footer: this.footer
    };
  }
  toJSON() {
    return toJson(present(this.toInit()));
  }
  #seek(at) {
    const reader = this.#reader;
    reader.reset(reader.bytes, at, reader.bytes.length);
    return reader;
  }
  #readBody() {
    const { bodyCode, bodyCount, body } = this.#at;
    if (bodyCode === 0) return new Uint8Array(0);
    const reader = this.#seek(body);
    if (bodyCode === Section.amqpValue) {
      const value = readValue(reader);
      return typeof value === "string" ? value : { value };
    }
    if (bodyCode === Section.amqpSequence) return { sequence: readSections(reader, bodyCount, readList) };
    return bodyCount === 1 ? reader.readBinary() : { data: readSections(reader, bodyCount, readBinary) };
  }
};
var readBinary = (reader) => reader.readBinary();
function readSections(reader, count, read) {
  reader.spend(count);
  const sections = [read(reader)];
  while (sections.length < count) {
    reader.offset = valueEnd(reader.bytes, reader.offset + 1, reader.end);
    sections.push(read(reader));
  }
  return sections;
}
function present(init) {
  const { properties: properties2, ...sections } = init;
  const out = { ...sections, properties: properties2 && definedOf(properties2) };
  return definedOf(out);
}
var definedOf = (object) => Object.fromEntries(Object.entries(object).filter(([, value]) => value !== void 0));

// src/client/outcome.ts
var ACCEPTED_OUTCOME = /* @__PURE__ */ Object.freeze({ outcome: "accepted" });
var RELEASED_OUTCOME = /* @__PURE__ */ Object.freeze({ outcome: "released" });
function outcomeOf(state) {
  switch (state?.type) {
    case "accepted":
      return ACCEPTED_OUTCOME;
    case "released":
      return RELEASED_OUTCOME;
    case "rejected":
      return { outcome: "rejected", error: state.error && rejectionOf(state.error) };
    case "modified":
      return {
        outcome: "modified",
        deliveryFailed: state.deliveryFailed,
        undeliverableHere: state.undeliverableHere,
        messageAnnotations: state.messageAnnotations ?? /* @__PURE__ */ new Map()
      };
    default:
      return void 0;
  }
}
var rejectionOf = (error2) => new RemoteError("delivery rejected by peer", "delivery", error2);

// src/client/termini.ts
var EMPTY = /* @__PURE__ */ new Map();
var orEmpty = (map) => map ?? EMPTY;
var optionalFields = (record2) => record2 && fields(record2);
var errorFields = (error2) => ({
  type: "error",
  condition: error2.condition,
  description: error2.description,
  info: optionalFields(error2.info)
});
function terminusFields(init) {
  const { address, dynamic, nodeProperties, durable, expiryPolicy, timeout, capabilities } = init;
  return {
    address,
    dynamic,
    dynamicNodeProperties: optionalFields(nodeProperties),
    durable,
    expiryPolicy,
    timeout,
    capabilities
  };
}
function targetFields(init) {
  if (init === null || init === void 0) return void 0;
  return { type: "target", ...terminusFields(typeof init === "string" ? { address: init } : init) };
}
function sourceFields(init) {
  if (init === null || init === void 0) return void 0;
  const source2 = typeof init === "string" ? { address: init } : init;
  return {
    ...terminusFields(source2),
    filter: optionalFields(source2.filter),
    distributionMode: source2.distributionMode,
    defaultOutcome: source2.defaultOutcome && stateOf(source2.defaultOutcome),
    outcomes: source2.outcomes
  };
}
function stateOf(outcome) {
  switch (outcome.outcome) {
    case "accepted":
      return { type: "accepted" };
    case "released":
      return { type: "released" };
    case "rejected":
      return { type: "rejected", error: void 0 };
    case "modified":
      return {
        type: "modified",
        deliveryFailed: outcome.deliveryFailed,
        undeliverableHere: outcome.undeliverableHere,
        messageAnnotations: void 0
      };
  }
}
function record(map) {
  if (!map) return void 0;
  const out = /* @__PURE__ */ Object.create(null);
  for (const [key, value] of map) out[key instanceof AmqpSymbol ? key.name : String(key)] = value;
  return out;
}
function terminusInit(terminus) {
  const { address, dynamic, dynamicNodeProperties, durable, expiryPolicy, timeout, capabilities } = terminus;
  return present2({
    address,
    dynamic: dynamic || void 0,
    nodeProperties: record(dynamicNodeProperties),
    durable: durable === "none" ? void 0 : durable,
    expiryPolicy: expiryPolicy === "session-end" ? void 0 : expiryPolicy,
    timeout: timeout || void 0,
    capabilities: capabilities.length > 0 ? capabilities : void 0
  });
}
var present2 = (object) => Object.fromEntries(Object.entries(object).filter(([, value]) => value !== void 0));
function sourceInit(source2) {
  if (!source2) return null;
  const { filter, distributionMode, defaultOutcome, outcomes } = source2;
  return present2({
    ...terminusInit(source2),
    filter: record(filter),
    distributionMode,
    defaultOutcome: outcomeOf(defaultOutcome),
    outcomes: outcomes.length > 0 ? outcomes : void 0
  });
}
function targetInit(target2) {
  if (!target2) return null;
  if (target2.type === "coordinator") return { coordinator: true, capabilities: target2.capabilities };
  return terminusInit(target2);
}

// src/client/delivery.ts
var DONE = /* @__PURE__ */ Promise.resolve();
var ClientDelivery = class {
  receiver;
  #receiver;
  #incoming;
  #bytes;
  #message;
  constructor(receiver, incoming) {
    this.receiver = receiver;
    this.#receiver = receiver;
    this.#incoming = incoming;
  }
  get deliveryTag() {
    return this.#incoming.deliveryTag;
  }
  get messageFormat() {
    return this.#incoming.messageFormat;
  }
  get settled() {
    return this.#incoming.remoteSettled && this.#incoming.localState === void 0;
  }
  get chunks() {
    return this.#incoming.chunks;
  }
  get bytes() {
    this.#bytes ??= joined(this.#incoming.chunks, this.#incoming.size);
    return this.#bytes;
  }
  get message() {
    this.#message ??= decodeMessage(this.bytes, this.#incoming.link.session.connection.limits);
    return this.#message;
  }
  get state() {
    if (this.#incoming.localSettled || this.#incoming.remoteSettled) return "settled";
    return this.#receiver.hasEnded ? "lost" : "live";
  }
  accept() {
    return this.#settle(ACCEPTED);
  }
  release() {
    return this.#settle(RELEASED);
  }
  reject(error2) {
    const value = error2 && { ...errorFields(error2), type: "error" };
    return this.#settle({ type: "rejected", error: value });
  }
  modify(change) {
    return this.#settle({
      type: "modified",
      deliveryFailed: change.deliveryFailed === true,
      undeliverableHere: change.undeliverableHere === true,
      messageAnnotations: optionalFields(change.messageAnnotations)
    });
  }
  #settle(state) {
    const incoming = this.#incoming;
    if (incoming.localState) return this.#settledBefore(incoming.localState, state);
    if (this.state === "lost")
      return handled(Promise.reject(new ClosedError(incoming.link.label, "link", this.#receiver.cause)));
    incoming.link.disposition(incoming, state);
    this.#receiver.touch();
    if (incoming.localSettled) return DONE;
    const settling = deferred();
    incoming.context = settling;
    this.#receiver.settling.add(settling);
    return handled(settling.promise);
  }
  /** Deciding the same again changes nothing. */
  #settledBefore(before, now) {
    if (before.type === now.type) return this.#incoming.context?.promise ?? DONE;
    const { deliveryId, link } = this.#incoming;
    return handled(
      Promise.reject(new UsageError(`delivery ${deliveryId} on ${link.label} was ${before.type} before`, "2.6.12"))
    );
  }
};
function joined(chunks, size) {
  if (chunks.length === 1) return chunks[0];
  const bytes = new Uint8Array(size);
  let at = 0;
  for (const chunk of chunks) {
    bytes.set(chunk, at);
    at += chunk.length;
  }
  return bytes;
}

// src/client/link.ts
var ClientLink = class extends Emitter {
  endpoint;
  owner;
  #closure;
  #closed;
  #attaching;
  #properties;
  constructor(owner, endpoint) {
    super();
    this.owner = owner;
    this.endpoint = endpoint;
    endpoint.context = this;
  }
  get name() {
    return this.endpoint.name;
  }
  get session() {
    return this.owner.api;
  }
  get properties() {
    return this.#properties ?? orEmpty(void 0);
  }
  get remoteMaxMessageSize() {
    return this.endpoint.remoteMaxMessageSize || void 0;
  }
  get closed() {
    this.#closed ??= deferred();
    if (this.#closure) this.#closed.resolve(this.#closure);
    return this.#closed.promise;
  }
  /** Why the link has ended; `undefined` while it lives. */
  get closure() {
    return this.#closure;
  }
  get source() {
    return sourceInit(this.endpoint.remoteSource);
  }
  get target() {
    return targetInit(this.endpoint.remoteTarget);
  }
  /** Waits for the peer's attach. Cancellation closes the link. */
  attached(options) {
    this.#attaching = deferred();
    return abortable(this.#attaching, options.signal, () => {
      this.#closeEndpoint();
    });
  }
  /** The peer's attach has come. */
  onAttached(properties2) {
    this.#properties = properties2;
    if (!this.endpoint.refused) this.#attaching?.resolve();
  }
  /** The link has ended, or what carries it has. The first cause wins. */
  onClosed(closure) {
    if (this.#closure) return;
    this.#closure = closure;
    this.owner.forget(this);
    this.#attaching?.reject(
      closure.error ?? new ClosedError(`${this.endpoint.label}, while it was being attached,`, "link")
    );
    this.#attaching?.promise.catch(() => {
    });
    this.#closed?.resolve(closure);
    this.ended(closure);
    this.emit("closed", closure);
  }
  /** The error for using the link after its end. */
  closedError() {
    return new ClosedError(this.endpoint.label, "link", this.#closure?.error);
  }
  async detach(options = {}) {
    throwIfAborted(options);
    if (this.#closure) return;
    if (this.endpoint.isAttached) this.endpoint.detach();
    await this.#leave(options);
  }
  async close(options = {}) {
    throwIfAborted(options);
    if (this.#closure) return;
    this.#closeEndpoint(options.error);
    await this.#leave(options);
  }
  [Symbol.asyncDispose]() {
    return this.close();
  }
  #closeEndpoint(error2) {
    const { endpoint } = this;
    if (endpoint.isAttached || endpoint.state === "ATTACH_SENT") endpoint.close(error2 && errorFields(error2));
    this.owner.touch();
  }
  /** Waits for the peer's detach, and no longer than a close may take. */
  #leave(options) {
    this.owner.touch();
    const left = deferred();
    this.closed.then(() => left.resolve());
    const timer = setTimeout(() => {
      this.endpoint.abandonQueue();
      this.owner.touch();
      this.onClosed({ by: "local", error: void 0 });
    }, this.owner.closeMs);
    left.promise.then(
      () => clearTimeout(timer),
      () => clearTimeout(timer)
    );
    return abortable(left, options.signal, () => {
      this.endpoint.abandonQueue();
      this.owner.touch();
    });
  }
};

// src/client/receiver.ts
var ClientReceiver = class extends ClientLink {
  #buffer = new Fifo();
  #takers = new Fifo();
  #drains = [];
  /** Settlements that wait for the sender, in mode second. */
  settling = /* @__PURE__ */ new Set();
  constructor(owner, endpoint) {
    super(owner, endpoint);
  }
  /** Whether the link has ended, so that nothing on it can be settled. */
  get hasEnded() {
    return this.closure !== void 0 || this.endpoint.hasEnded;
  }
  get cause() {
    return this.closure?.error;
  }
  touch() {
    this.owner.touch();
  }
  async receive(options = {}) {
    throwIfAborted(options);
    const delivery = this.#take() ?? await this.#wait(options.signal);
    if (!delivery) throw this.closedError();
    return delivery;
  }
  /** The next delivery that is here already. */
  #take() {
    for (let delivery = this.#buffer.shift(); delivery; delivery = this.#buffer.shift()) {
      this.#consumed();
      if (delivery.state !== "lost") return delivery;
    }
    return void 0;
  }
  #consumed() {
    this.endpoint.consumed();
    if (this.endpoint.flowDue) this.owner.touch();
  }
  /** Waits for the next delivery; `undefined` when the link ends first. */
  #wait(signal) {
    if (this.closure) return Promise.resolve(void 0);
    const taker = deferred();
    this.#takers.push(taker);
    return abortable(taker, signal, () => this.#takers.remove(taker));
  }
  /** A complete delivery has come. */
  onDelivery(incoming) {
    const delivery = new ClientDelivery(this, incoming);
    const taker = this.#takers.shift();
    if (!taker) {
      this.#buffer.push(delivery);
      return;
    }
    this.#consumed();
    taker.resolve(delivery);
  }
  addCredit(count) {
    if (this.closure) throw this.closedError();
    this.endpoint.flow(count);
    this.owner.touch();
  }
  async drain(options = {}) {
    throwIfAborted(options);
    if (this.closure) throw this.closedError();
    const drained = deferred();
    this.#drains.push(drained);
    this.endpoint.drain();
    this.owner.touch();
    await abortable(drained, options.signal, () => {
      this.#drains = this.#drains.filter((have) => have !== drained);
    });
  }
  onDrained() {
    for (const drained of this.#drains.splice(0)) drained.resolve();
  }
  /** The sender has settled a delivery that we had decided on. */
  onSettled(incoming) {
    const settling = incoming.context;
    if (!settling) return;
    this.settling.delete(settling);
    settling.resolve();
  }
  ended(closure) {
    for (const taker of this.#takers.drain()) taker.resolve(void 0);
    const error2 = this.closedError();
    for (const waiting of [...this.#drains.splice(0), ...this.settling]) waiting.reject(error2);
    this.settling.clear();
    void closure;
  }
  [Symbol.asyncIterator]() {
    let left = false;
    return {
      next: () => {
        const delivery = left ? void 0 : this.#take();
        if (delivery) return Promise.resolve({ done: false, value: delivery });
        return left ? Promise.resolve({ done: true, value: void 0 }) : this.#waitForNext();
      },
      return: () => {
        left = true;
        return Promise.resolve({ done: true, value: void 0 });
      }
    };
  }
  async #waitForNext() {
    const value = await this.#wait(void 0);
    if (value) return { done: false, value };
    if (this.closure?.error) throw this.closedError();
    return { done: true, value: void 0 };
  }
};

// src/message/write-map.ts
function writeAnnotations(writer, code, entries, name) {
  writer.writeDescriptor(code);
  if (isMap(entries, name)) writeFlat2(writer, flatOf(entries, toAnnotationKey, name), name);
  else writeAnnotationObject(writer, entries, name);
}
function writeApplicationProperties(writer, code, entries) {
  writer.writeDescriptor(code);
  if (isMap(entries, PROPERTIES)) {
    const flat = flatOf(entries, toPropertyKey, PROPERTIES);
    for (let i = 0; i < flat.length; i += 2)
      if (!isSimple(flat[i + 1])) throw within(PROPERTIES, keyText2(flat[i]), notSimple());
    writeFlat2(writer, flat, PROPERTIES);
  } else writePropertyObject(writer, entries);
}
var PROPERTIES = "applicationProperties";
var hasOwn = Object.prototype.hasOwnProperty;
function writeAnnotationObject(writer, entries, name) {
  let key = "";
  try {
    const begun = writer.open();
    let count = 0;
    for (key in entries) {
      if (!hasOwn.call(entries, key)) continue;
      const value = entries[key];
      if (value === void 0) continue;
      writer.writeSymbol(key);
      if (typeof value === "string") writer.writeString(value);
      else writeValue(writer, value);
      count += 2;
    }
    writer.closeMap(begun, count);
  } catch (error2) {
    throw within(name, key, error2);
  }
}
function writePropertyObject(writer, entries) {
  let key = "";
  try {
    const begun = writer.open();
    let count = 0;
    for (key in entries) {
      if (!hasOwn.call(entries, key)) continue;
      const value = entries[key];
      if (value === void 0) continue;
      writer.writeString(key);
      if (typeof value === "string") writer.writeString(value);
      else {
        if (typeof value === "object" && !isSimple(value)) throw notSimple();
        writeValue(writer, value);
      }
      count += 2;
    }
    writer.closeMap(begun, count);
  } catch (error2) {
    throw within(PROPERTIES, key, error2);
  }
}
var within = (section, key, error2) => EncodeError.within(section, EncodeError.within(key, error2));
function isMap(entries, name) {
  if (typeof entries !== "object" || Array.isArray(entries)) throw new EncodeError("expected an object or a map", name);
  return Symbol.iterator in entries;
}
function flatOf(entries, toKey, name) {
  const flat = [];
  for (const [key, value] of entries) {
    const made = toKey(key);
    if (made === void 0)
      throw within(name, keyText2(key), new EncodeError(`a key of this type is not allowed in ${name}`));
    flat.push(made, value);
  }
  const twice = duplicateKey(flat);
  if (twice !== void 0) throw within(name, keyText2(twice), new EncodeError("a map holds the same key twice"));
  return flat;
}
function writeFlat2(writer, flat, name) {
  let i = 0;
  try {
    const begun = writer.open();
    for (; i < flat.length; i += 2) {
      writeValue(writer, flat[i]);
      writeValue(writer, flat[i + 1]);
    }
    writer.closeMap(begun, flat.length);
  } catch (error2) {
    throw within(name, keyText2(flat[i]), error2);
  }
}
var keyText2 = (key) => String(key instanceof Typed ? key.value : key);
function toAnnotationKey(key) {
  if (key instanceof AmqpSymbol) return key;
  if (typeof key === "string") return new AmqpSymbol(key);
  if (!(key instanceof Typed)) return void 0;
  if (key.type === "symbol") return new AmqpSymbol(String(key.value));
  return key.type === "ulong" ? key : void 0;
}
function toPropertyKey(key) {
  if (typeof key === "string") return key;
  return key instanceof Typed && key.type === "string" ? String(key.value) : void 0;
}
function isSimple(value) {
  if (value instanceof Typed)
    return value.type !== "list" && value.type !== "map" && value.type !== "array" && value.type !== "described";
  return !(Array.isArray(value) || value instanceof AmqpMap || value instanceof Map || value instanceof Described);
}
var notSimple = () => new EncodeError("application properties hold values of simple types: no list, map, array or described value");

// src/message/write-properties.ts
function writeHeader(writer, init) {
  try {
    writer.writeDescriptor(Section.header);
    const begun = writer.open();
    writer.closeList(begun, writeHeaderFields(writer, init));
  } catch (error2) {
    throw explain("header", error2, () => header.write(new Writer(), init));
  }
}
function writeProperties(writer, init) {
  try {
    writer.writeDescriptor(Section.properties);
    const begun = writer.open();
    writer.closeList(begun, writePropertiesFields(writer, init));
  } catch (error2) {
    throw explain("properties", error2, () => properties.write(new Writer(), init));
  }
}
function explain(section, error2, write) {
  try {
    write();
  } catch (better) {
    return EncodeError.within(section, better);
  }
  return EncodeError.within(section, error2);
}
function pad(writer, count, index) {
  for (; count < index; count++) writer.u8(64);
  return index + 1;
}
function writeHeaderFields(writer, init) {
  const { durable, priority, ttl, firstAcquirer, deliveryCount } = init;
  let count = 0;
  if (durable !== void 0 && durable !== null && durable !== false) {
    count = 1;
    writer.writeBoolean(durable);
  }
  if (priority !== void 0 && priority !== null && priority !== 4) {
    count = pad(writer, count, 1);
    writer.writeUbyte(checked(priority, 255));
  }
  if (ttl !== void 0 && ttl !== null) {
    count = pad(writer, count, 2);
    writer.writeUint(checked(ttl, 4294967295));
  }
  if (firstAcquirer !== void 0 && firstAcquirer !== null && firstAcquirer !== false) {
    count = pad(writer, count, 3);
    writer.writeBoolean(firstAcquirer);
  }
  if (deliveryCount !== void 0 && deliveryCount !== null && deliveryCount !== 0) {
    count = pad(writer, count, 4);
    writer.writeUint(checked(deliveryCount, 4294967295));
  }
  return count;
}
function writePropertiesFields(writer, init) {
  const { messageId, userId, to: to2, subject, replyTo, correlationId, contentType, contentEncoding } = init;
  const { absoluteExpiryTime, creationTime, groupId, groupSequence, replyToGroupId } = init;
  let count = 0;
  if (messageId !== void 0 && messageId !== null) {
    count = 1;
    writeMessageId(writer, messageId);
  }
  if (userId !== void 0 && userId !== null) {
    count = pad(writer, count, 1);
    writer.writeBinary(userId);
  }
  if (to2 !== void 0 && to2 !== null) {
    count = pad(writer, count, 2);
    writer.writeString(to2);
  }
  if (subject !== void 0 && subject !== null) {
    count = pad(writer, count, 3);
    writer.writeString(subject);
  }
  if (replyTo !== void 0 && replyTo !== null) {
    count = pad(writer, count, 4);
    writer.writeString(replyTo);
  }
  if (correlationId !== void 0 && correlationId !== null) {
    count = pad(writer, count, 5);
    writeMessageId(writer, correlationId);
  }
  if (contentType !== void 0 && contentType !== null) {
    count = pad(writer, count, 6);
    writer.writeSymbol(contentType);
  }
  if (contentEncoding !== void 0 && contentEncoding !== null) {
    count = pad(writer, count, 7);
    writer.writeSymbol(contentEncoding);
  }
  if (absoluteExpiryTime !== void 0 && absoluteExpiryTime !== null) {
    count = pad(writer, count, 8);
    writer.writeTimestamp(absoluteExpiryTime);
  }
  if (creationTime !== void 0 && creationTime !== null) {
    count = pad(writer, count, 9);
    writer.writeTimestamp(creationTime);
  }
  if (groupId !== void 0 && groupId !== null) {
    count = pad(writer, count, 10);
    writer.writeString(groupId);
  }
  if (groupSequence !== void 0 && groupSequence !== null) {
    count = pad(writer, count, 11);
    writer.writeUint(checked(groupSequence, 4294967295));
  }
  if (replyToGroupId !== void 0 && replyToGroupId !== null) {
    count = pad(writer, count, 12);
    writer.writeString(replyToGroupId);
  }
  return count;
}
function writeMessageId(writer, id) {
  if (typeof id === "string") writer.writeString(id);
  else messageIdField.write(writer, id);
}
function checked(value, max) {
  if (!Number.isInteger(value) || value < 0 || value > max) throw new EncodeError(`${value} is out of range`);
  return value;
}

// src/message/encode.ts
var EncodedMessage = class {
  /** As given, not copied: they must not change until the send settles. */
  bytes;
  /** 0 for messages of the standard's format. §2.8.11 */
  messageFormat;
  /** @param messageFormat  0 … 2^32 − 1. Default 0 */
  constructor(bytes, messageFormat = 0) {
    this.bytes = bytes;
    this.messageFormat = messageFormat;
  }
};
var COPY_ONCE = 1024;
var LARGEST_VIEW = 2048;
var SLAB = 16384;
var slab;
function encodeMessage(init) {
  const writer = slab !== void 0 && slab.bytes.length > 0 ? slab : new Writer(SLAB, SLAB);
  slab = void 0;
  writer.mark = writer.offset;
  const splices = writeMessage(writer, init, COPY_ONCE);
  const size = writer.offset - writer.mark;
  let bytes;
  if (splices === void 0 && size <= LARGEST_VIEW) bytes = writer.written();
  else {
    bytes = splices === void 0 ? writer.copy() : join(writer, splices);
    writer.offset = writer.mark;
  }
  if (writer.bytes.length <= SLAB) slab = writer;
  return bytes;
}
function join(writer, splices) {
  const written = writer.written();
  const bytes = new Uint8Array(splices.reduce((size, splice) => size + splice.bytes.length, written.length));
  let from2 = 0;
  let to2 = 0;
  for (const splice of splices) {
    bytes.set(written.subarray(from2, splice.at), to2);
    to2 += splice.at - from2;
    from2 = splice.at;
    bytes.set(splice.bytes, to2);
    to2 += splice.bytes.length;
  }
  bytes.set(written.subarray(from2), to2);
  return bytes;
}
function writeMessage(writer, init, byReference) {
  const { header: header2, deliveryAnnotations, messageAnnotations, properties: properties2, applicationProperties, body, footer } = init;
  if (isGiven(header2)) writeHeader(writer, header2);
  if (isGiven(deliveryAnnotations))
    writeAnnotations(writer, Section.deliveryAnnotations, deliveryAnnotations, "deliveryAnnotations");
  if (isGiven(messageAnnotations))
    writeAnnotations(writer, Section.messageAnnotations, messageAnnotations, "messageAnnotations");
  if (isGiven(properties2)) writeProperties(writer, properties2);
  if (isGiven(applicationProperties))
    writeApplicationProperties(writer, Section.applicationProperties, applicationProperties);
  const splices = writeBody(writer, body, byReference);
  if (isGiven(footer)) writeAnnotations(writer, Section.footer, footer, "footer");
  return splices;
}
var isGiven = (section) => section !== void 0 && section !== null;
function writeBody(writer, body, byReference) {
  if (!isGiven(body)) return writeData(writer, NOTHING2, byReference, void 0);
  if (body instanceof Uint8Array) return writeData(writer, body, byReference, void 0);
  try {
    if (typeof body === "string") writeValueSection(writer, body);
    else if (typeof body !== "object") throw new EncodeError(`a ${typeof body} is no body`);
    else if ("data" in body) return writeDataSections(writer, body.data, byReference);
    else if ("sequence" in body) writeSequences(writer, body.sequence);
    else if ("value" in body) writeValueSection(writer, body.value);
    else throw new EncodeError("a body is bytes, text, or an object with data, sequence or value");
  } catch (error2) {
    throw EncodeError.within("body", error2);
  }
  return void 0;
}
var NOTHING2 = /* @__PURE__ */ new Uint8Array(0);
function writeData(writer, bytes, byReference, splices) {
  writer.writeDescriptor(Section.data);
  if (bytes.length < byReference) {
    writer.writeBinary(bytes);
    return splices;
  }
  writer.binaryHeader(bytes.length);
  const splice = { at: writer.offset - writer.mark, bytes };
  if (splices === void 0) return [splice];
  splices.push(splice);
  return splices;
}
function writeDataSections(writer, data, byReference) {
  if (!Array.isArray(data) || data.length === 0) throw new EncodeError("at least one data section is needed", "data");
  let splices;
  for (let i = 0; i < data.length; i++) {
    const bytes = data[i];
    if (!(bytes instanceof Uint8Array)) throw new EncodeError("a data section is a Uint8Array", `data.${i}`);
    splices = writeData(writer, bytes, byReference, splices);
  }
  return splices;
}
function writeSequences(writer, sequence) {
  if (!Array.isArray(sequence) || sequence.length === 0)
    throw new EncodeError("at least one sequence section is needed", "sequence");
  for (let i = 0; i < sequence.length; i++) {
    const items = sequence[i];
    if (!Array.isArray(items)) throw new EncodeError("a sequence section is an array", `sequence.${i}`);
    writer.writeDescriptor(Section.amqpSequence);
    try {
      writeList(writer, items);
    } catch (error2) {
      throw EncodeError.within("sequence", EncodeError.within(i, error2));
    }
  }
}
function writeValueSection(writer, value) {
  writer.writeDescriptor(Section.amqpValue);
  writeValue(writer, value);
}

// src/client/sender.ts
var UNSAID = { outcome: "released" };
var ClientSender = class extends ClientLink {
  #maxPending;
  #waiters = [];
  constructor(owner, endpoint, maxPending) {
    super(owner, endpoint);
    this.#maxPending = maxPending;
  }
  get linkCredit() {
    return this.endpoint.credit.linkCredit;
  }
  get pending() {
    return this.endpoint.queue.length;
  }
  send(message, options = {}) {
    let delivery;
    try {
      if (this.closure) throw this.closedError();
      if (options.signal?.aborted) throw options.signal.reason;
      if (this.pending >= this.#maxPending)
        throw new UsageError(
          `${this.endpoint.label} has ${this.pending} messages waiting; \`ready()\` tells when there is room`
        );
      delivery = this.#queue(message, options);
    } catch (error2) {
      return Promise.reject(error2);
    }
    this.owner.touch();
    return new Promise((resolve, reject) => {
      const pending = { resolve, reject, detach: void 0 };
      delivery.context = pending;
      if (options.signal) this.#watch(delivery, pending, options.signal);
    });
  }
  /** Encodes a message and queues it, or changes nothing. */
  #queue(message, options) {
    const { endpoint } = this;
    const init = {
      deliveryTag: options.deliveryTag,
      messageFormat: options.messageFormat,
      settled: options.settled ?? endpoint.sndSettleMode === "settled"
    };
    if (message instanceof EncodedMessage) {
      this.#checkSize(message.bytes.length);
      return endpoint.transfer(message.bytes, {
        ...init,
        messageFormat: options.messageFormat ?? message.messageFormat
      });
    }
    const writer = endpoint.beginMessage(init);
    const start = writer.offset - writer.mark;
    try {
      const splices = writeMessage(writer, message, COPY_BELOW);
      let size = writer.offset - writer.mark - start;
      if (splices) for (const splice of splices) size += splice.bytes.length;
      this.#checkSize(size);
      return endpoint.commitMessage(init, splices);
    } catch (error2) {
      endpoint.cancelMessage();
      throw error2;
    }
  }
  #checkSize(size) {
    const max = this.endpoint.remoteMaxMessageSize;
    if (max > 0n && size > max)
      throw new UsageError(
        `a message of ${size} bytes is too large for ${this.endpoint.label}, which takes ${max}`,
        "2.7.3"
      );
  }
  #watch(delivery, pending, signal) {
    const onAbort = () => {
      pending.detach = void 0;
      this.endpoint.abort(delivery);
      this.owner.touch();
      pending.reject(signal.reason);
    };
    signal.addEventListener("abort", onAbort, { once: true });
    pending.detach = () => signal.removeEventListener("abort", onAbort);
  }
  async ready(options = {}) {
    throwIfAborted(options);
    if (this.closure) throw this.closedError();
    if (this.pending * 2 < this.#maxPending) return;
    const waiter = deferred();
    this.#waiters.push(waiter);
    await abortable(waiter, options.signal, () => {
      this.#waiters = this.#waiters.filter((have) => have !== waiter);
    });
  }
  /** A delivery's outcome is known. */
  onOutcome(delivery) {
    const pending = delivery.context;
    if (!pending) return;
    pending.detach?.();
    pending.resolve(delivery.settled ? ACCEPTED_OUTCOME : this.#outcome(delivery));
  }
  #outcome(delivery) {
    return outcomeOf(delivery.remoteState) ?? outcomeOf(this.endpoint.remoteSource?.defaultOutcome) ?? UNSAID;
  }
  /** The receiver's flow has changed the credit. */
  onFlow() {
    if (this.hears("credit")) this.emit("credit", { linkCredit: this.linkCredit, drain: this.endpoint.credit.drain });
  }
  /** The queue may have become shorter. */
  onFlush() {
    if (this.#waiters.length === 0 || this.pending * 2 >= this.#maxPending) return;
    for (const waiter of this.#waiters.splice(0)) waiter.resolve();
  }
  ended() {
    const error2 = this.closedError();
    const { endpoint } = this;
    const open2 = /* @__PURE__ */ new Set([...endpoint.abandoned.splice(0), ...endpoint.queue, ...endpoint.unsettled()]);
    for (const delivery of open2) {
      const pending = delivery.context;
      pending?.detach?.();
      pending?.reject(error2);
    }
    for (const waiter of this.#waiters.splice(0)) waiter.reject(error2);
  }
};

// src/client/session.ts
var DEFAULT_WINDOW = 100;
var ClientSession = class extends Emitter {
  endpoint;
  #owner;
  #links = /* @__PURE__ */ new Set();
  #closed = deferred();
  #closure;
  #beginning;
  #incoming = new IncomingQueue(
    (link) => {
      if (!this.hears("link")) return false;
      this.emit("link", link);
      return true;
    },
    (link) => link.refuse({ condition: AmqpCondition.notFound, description: "nobody here takes links" })
  );
  constructor(owner, endpoint) {
    super();
    this.#owner = owner;
    this.endpoint = endpoint;
    endpoint.context = this;
  }
  get api() {
    return this;
  }
  get connection() {
    return this.#owner.api;
  }
  get closed() {
    return this.#closed.promise;
  }
  get closeMs() {
    return this.#owner.closeMs;
  }
  touch() {
    this.#owner.touch();
  }
  /** Sends our begin; with `wait`, waits for the peer's. */
  async begin(options, wait) {
    this.endpoint.begin({
      incomingWindow: options.incomingWindow,
      handleMax: options.handleMax,
      properties: optionalFields(options.properties)
    });
    this.touch();
    if (!wait) return;
    this.#beginning = deferred();
    await abortable(this.#beginning, options.signal, () => {
      if (this.endpoint.maySend) this.endpoint.end();
      this.touch();
    });
  }
  /** The peer has answered our begin. */
  onBegun() {
    this.#beginning?.resolve();
  }
  async sender(target2, options = {}) {
    this.#checkOpen(options);
    const sender = this.#newSender(this.endpoint.sender(options.name ?? linkName()), options);
    this.#attach(sender, {
      ...attachFields(options),
      sndSettleMode: options.settle ?? "mixed",
      source: sourceFields(options.source ?? {}),
      target: targetFields(target2)
    });
    await sender.attached(options);
    return sender;
  }
  async receiver(source2, options = {}) {
    this.#checkOpen(options);
    const receiver = this.#newReceiver(this.endpoint.receiver(options.name ?? linkName()), options);
    this.#attach(receiver, {
      ...attachFields(options),
      sndSettleMode: options.sndSettleMode,
      rcvSettleMode: options.settle,
      source: sourceFields(source2),
      target: targetFields(options.target ?? {})
    });
    await receiver.attached(options);
    return receiver;
  }
  #newSender(endpoint, options) {
    return this.#adopt(new ClientSender(this, endpoint, options.maxPending ?? this.#owner.maxPending));
  }
  #newReceiver(endpoint, options) {
    const { credit } = options;
    endpoint.useWindow(credit === "manual" ? void 0 : credit?.window ?? DEFAULT_WINDOW);
    return this.#adopt(new ClientReceiver(this, endpoint));
  }
  #adopt(link) {
    this.#links.add(link);
    return link;
  }
  #attach(link, init) {
    try {
      link.endpoint.attach(init);
    } catch (error2) {
      this.#links.delete(link);
      throw error2;
    }
    this.touch();
  }
  #checkOpen(options) {
    throwIfAborted(options);
    if (this.#closure) throw new ClosedError(this.endpoint.label, "session", this.#closure.error);
  }
  incoming() {
    return this.#incoming;
  }
  on(type, listener, options) {
    const subscription = super.on(type, listener, options);
    if (type === "link") this.#incoming.offer();
    return subscription;
  }
  /** The peer's attach: the answer to ours, or a link to be answered. */
  onAttached(endpoint, attach2) {
    const link = endpoint.context;
    if (link) link.onAttached(orEmpty(attach2.properties));
    else this.#incoming.push(this.#incomingLink(endpoint, attach2));
  }
  #incomingLink(endpoint, attach2) {
    const base = {
      session: this,
      name: attach2.name,
      source: sourceInit(attach2.source),
      target: targetInit(attach2.target),
      properties: orEmpty(attach2.properties),
      desiredCapabilities: attach2.desiredCapabilities,
      sndSettleMode: attach2.sndSettleMode,
      rcvSettleMode: attach2.rcvSettleMode,
      refuse: (error2) => {
        if (endpoint.state === "ATTACH_RCVD") endpoint.refuse(errorFields(error2));
        this.touch();
      }
    };
    if (endpoint.role === "receiver")
      return {
        ...base,
        remoteRole: "sender",
        accept: async (options = {}) => {
          this.#checkOpen(options);
          const receiver = this.#newReceiver(endpoint, options);
          this.#accept(receiver, attach2, options, {
            sndSettleMode: attach2.sndSettleMode,
            rcvSettleMode: attach2.rcvSettleMode
          });
          return receiver;
        }
      };
    return {
      ...base,
      remoteRole: "receiver",
      accept: async (options = {}) => {
        this.#checkOpen(options);
        const sender = this.#newSender(endpoint, options);
        const sndSettleMode = options.settle ?? attach2.sndSettleMode;
        this.#accept(sender, attach2, options, { sndSettleMode, rcvSettleMode: attach2.rcvSettleMode });
        return sender;
      }
    };
  }
  /** Attaches our end of a link that the peer has initiated; both termini are echoed unless the reply says otherwise. */
  #accept(link, attach2, options, modes) {
    const { reply = {} } = options;
    this.#attach(link, {
      ...attachFields(options),
      ...modes,
      source: reply.source === void 0 ? attach2.source : sourceFields(reply.source),
      target: reply.target === void 0 ? attach2.target : targetFields(reply.target),
      properties: optionalFields(reply.properties ?? options.properties),
      offeredCapabilities: reply.offeredCapabilities
    });
    link.onAttached(orEmpty(attach2.properties));
  }
  async end(options = {}) {
    throwIfAborted(options);
    if (this.#closure) return;
    if (this.endpoint.maySend) {
      try {
        this.endpoint.end(options.error && errorFields(options.error));
      } catch {
      }
    }
    this.touch();
    const ended = deferred();
    this.closed.then(() => ended.resolve());
    const timer = setTimeout(() => {
      this.endpoint.abandon();
      this.touch();
      this.onClosed({ by: "local", error: void 0 });
    }, this.closeMs);
    this.closed.then(() => clearTimeout(timer));
    await abortable(ended, options.signal, () => {
      this.endpoint.abandon();
      this.touch();
    });
  }
  [Symbol.asyncDispose]() {
    return this.end();
  }
  /** The session has ended, or the connection under it has. */
  onClosed(closure) {
    if (this.#closure) return;
    this.#closure = closure;
    this.#owner.forgetSession(this);
    for (const link of [...this.#links]) link.onClosed(closure);
    this.#beginning?.reject(
      closure.error ?? new ClosedError(`${this.endpoint.label}, while it was being begun,`, "session")
    );
    this.#beginning?.promise.catch(() => {
    });
    this.#incoming.end();
    this.#closed.resolve(closure);
    this.emit("closed", closure);
  }
  forget(link) {
    this.#links.delete(link);
  }
  /** Tells the senders that something was written. */
  onFlush() {
    for (const link of this.#links) if (link instanceof ClientSender) link.onFlush();
  }
};
var attachFields = (options) => ({
  properties: optionalFields(options.properties),
  maxMessageSize: options.maxMessageSize,
  desiredCapabilities: options.desiredCapabilities
});
var linkName = () => `link-${globalThis.crypto.randomUUID()}`;

// src/client/connection.ts
var DEFAULT_IDLE_MS = 3e4;
var ClientConnection = class extends Emitter {
  engine;
  opened;
  #driver;
  #transport;
  #options;
  #opened = deferred();
  #closed = deferred();
  #abort = new AbortController();
  #sessions = /* @__PURE__ */ new Set();
  #authentication;
  #closure;
  #remote;
  #shared;
  #saslError;
  #incoming = new IncomingQueue(
    (session) => {
      if (!this.hears("session")) return false;
      this.emit("session", session);
      return true;
    },
    (session) => session.refuse({ condition: AmqpCondition.notAllowed, description: "nobody here takes sessions" })
  );
  constructor(transport, options, security2, secure) {
    super();
    this.#transport = transport;
    this.#options = options;
    this.engine = new Engine({
      sasl: security2.role,
      mechanisms: security2.role === "server" ? security2.mechanisms.map((have) => have.name) : void 0,
      allowNoSasl: security2.role === "server" ? security2.allowNoSasl : void 0,
      limits: options.limits,
      trace: options.trace !== void 0
    });
    this.#authentication = this.#authenticate(security2, options.hostname ?? options.host, secure);
    this.#driver = new Driver(this.engine, transport, this);
    this.opened = this.#opened.promise;
    this.opened.catch(() => {
    });
  }
  #authenticate(security2, hostname, secure) {
    if (security2.role === "client")
      return new ClientAuthentication(
        this,
        security2.mechanisms,
        { hostname, secure, signal: this.#abort.signal },
        security2.allowInsecure
      );
    if (security2.role === "server")
      return new ServerAuthentication(this, security2.mechanisms, { secure, peerCertificate: this.peerCertificate });
    return void 0;
  }
  /** Starts, and waits for the peer's open. Cancellation drops the transport. */
  async start(options) {
    const { containerId, hostname, maxFrameSize, channelMax, idleTimeOut, desiredCapabilities, offeredCapabilities } = this.#options;
    const announced = idleTimeOut ?? DEFAULT_IDLE_MS;
    this.engine.connection.open({
      containerId: containerId ?? globalThis.crypto.randomUUID(),
      hostname,
      maxFrameSize,
      channelMax,
      idleTimeOut: announced === 0 ? void 0 : announced,
      desiredCapabilities,
      offeredCapabilities,
      properties: optionalFields(this.#options.properties)
    });
    this.#driver.start();
    await abortable(this.#opened, options.signal, () => this.#driver.destroy());
  }
  get api() {
    return this;
  }
  get remote() {
    if (!this.#remote) throw new ClosedError("a connection that is not open", "connection", this.#closure?.error);
    return this.#remote;
  }
  get closed() {
    return this.#closed.promise;
  }
  get identity() {
    return this.#authentication instanceof ServerAuthentication ? this.#authentication.identity : void 0;
  }
  get peerCertificate() {
    return this.#transport.peerCertificate;
  }
  get closeMs() {
    return this.engine.limits.closeMs;
  }
  get maxPending() {
    return this.engine.limits.maxPending;
  }
  touch() {
    this.#driver.touch();
  }
  // ---- sessions ------------------------------------------------------------------------------------------------
  async session(options = {}) {
    throwIfAborted(options);
    this.#checkOpen();
    const session = this.#adopt(this.engine.connection.session());
    await session.begin(options, true);
    return session;
  }
  async sender(target2, options = {}) {
    return (await this.#sharedSession(options)).sender(target2, options);
  }
  async receiver(source2, options = {}) {
    return (await this.#sharedSession(options)).receiver(source2, options);
  }
  /** The session of all links that are opened on the connection itself; begun again after it has ended. */
  #sharedSession(options) {
    throwIfAborted(options);
    if (!this.#shared) {
      const shared = this.session();
      this.#shared = shared;
      const forget = () => {
        if (this.#shared === shared) this.#shared = void 0;
      };
      shared.then((session) => session.closed.then(forget), forget);
    }
    return this.#shared;
  }
  #adopt(endpoint) {
    const session = new ClientSession(this, endpoint);
    this.#sessions.add(session);
    return session;
  }
  forgetSession(session) {
    this.#sessions.delete(session);
  }
  incoming() {
    return this.#incoming;
  }
  on(type, listener, options) {
    const subscription = super.on(type, listener, options);
    if (type === "session") this.#incoming.offer();
    return subscription;
  }
  #checkOpen() {
    if (this.#closure) throw new ClosedError("connection", "connection", this.#closure.error);
  }
  // ---- closing -------------------------------------------------------------------------------------------------
  async close(options = {}) {
    throwIfAborted(options);
    if (this.#closure) return;
    if (!this.engine.connection.isClosing) this.engine.connection.close(options.error && errorFields(options.error));
    this.touch();
    const closed = deferred();
    this.closed.then(() => closed.resolve());
    await abortable(closed, options.signal, () => this.#driver.destroy());
  }
  [Symbol.asyncDispose]() {
    return this.close();
  }
  /** Drops the transport at once; everything that waits fails with the error. */
  destroy(error2) {
    this.#driver.destroy(error2);
  }
  ref() {
    this.#driver.ref();
    this.#transport.ref?.();
  }
  unref() {
    this.#driver.unref();
    this.#transport.unref?.();
  }
  /** Authentication failed. A server's outcome still leaves; a client has nothing more to say. */
  fail(error2) {
    this.#saslError = error2;
    this.engine.connection.ended("local", error2);
    this.engine.receiveEnd(performance.now());
    this.touch();
  }
  // ---- what the engine tells -----------------------------------------------------------------------------------
  onDelivery(delivery) {
    ;
    delivery.link.context?.onDelivery(delivery);
  }
  onOutcome(delivery) {
    ;
    delivery.link.context?.onOutcome(delivery);
  }
  onFlush() {
    for (const session of this.#sessions) session.onFlush();
  }
  onEvent(event) {
    switch (event.type) {
      case "frame":
        return this.#options.trace?.(event);
      case "connection.opened":
        return this.#onOpened(event.open);
      case "connection.closed":
        return this.#onClosed({ by: event.by, error: this.#saslError ?? event.error });
      case "session.begun":
        return this.#onBegun(event.session);
      case "session.ended":
        return event.session.context?.onClosed(event);
      case "link.attached":
        return event.link.session.context?.onAttached(event.link, event.attach);
      case "link.detached":
        return event.link.context?.onClosed({
          by: event.by,
          error: event.error
        });
      case "link.flow":
        return event.link.context?.onFlow();
      case "link.drained":
        return event.link.context?.onDrained();
      case "delivery.settled":
        return event.delivery.link.context?.onSettled(event.delivery);
      case "protocol.error":
        return;
      default:
        this.#authentication?.onEvent(event);
    }
  }
  #onOpened(open2) {
    this.#remote = {
      containerId: open2.containerId,
      hostname: open2.hostname,
      maxFrameSize: open2.maxFrameSize,
      channelMax: open2.channelMax,
      idleTimeOut: open2.idleTimeOut,
      offeredCapabilities: open2.offeredCapabilities,
      desiredCapabilities: open2.desiredCapabilities,
      properties: orEmpty(open2.properties)
    };
    this.#opened.resolve();
  }
  #onBegun(endpoint) {
    const session = endpoint.context;
    if (session) return session.onBegun();
    const incoming = this.#adopt(endpoint);
    this.#incoming.push({
      connection: this,
      accept: async (options = {}) => {
        throwIfAborted(options);
        this.#checkOpen();
        await incoming.begin(options, false);
        return incoming;
      },
      refuse: (error2) => {
        if (endpoint.state === "BEGIN_RCVD") {
          endpoint.begin();
          endpoint.end(errorFields(error2));
        }
        this.touch();
      }
    });
  }
  #onClosed(closure) {
    if (this.#closure) return;
    this.#closure = closure;
    for (const session of [...this.#sessions]) session.onClosed(closure);
    this.#opened.reject(closure.error ?? new ClosedError("connection, before it was open,", "connection"));
    this.#incoming.end();
    this.#abort.abort(closure.error);
    this.#closed.resolve(closure);
    this.emit("closed", closure);
  }
};

// src/client/sasl.ts
var unasked = (name) => () => {
  throw new SaslError(`the server sent a challenge, which ${name} does not have`);
};
var nothing = () => void 0;
var anonymous = (trace) => ({
  name: "ANONYMOUS",
  secret: false,
  start: () => ({
    initial: () => trace === void 0 ? new Uint8Array() : encodeUtf8(trace),
    respond: unasked("ANONYMOUS"),
    finish: nothing
  })
});
var plain = (username, password) => {
  if (username.includes("\0") || password.includes("\0"))
    throw new SaslError("a PLAIN user name or password cannot contain NUL");
  return {
    name: "PLAIN",
    secret: true,
    start: () => ({
      initial: () => encodeUtf8(`\0${username}\0${password}`),
      respond: unasked("PLAIN"),
      finish: nothing
    })
  };
};
var mssbcbs = () => ({
  name: "MSSBCBS",
  secret: false,
  start: () => ({ initial: nothing, respond: unasked("MSSBCBS"), finish: nothing })
});
var sasl = { anonymous, plain, mssbcbs };
var saslServer = {
  anonymous: () => ({ name: "ANONYMOUS", start: () => ({ step: () => ({ outcome: "ok" }) }) }),
  mssbcbs: () => ({ name: "MSSBCBS", start: () => ({ step: () => ({ outcome: "ok" }) }) }),
  plain: (check) => ({ name: "PLAIN", start: () => ({ step: (response) => checkPlain(response, check) }) })
};
async function checkPlain(response, check) {
  if (response === void 0) return { challenge: new Uint8Array() };
  const parts = decodeUtf8(response, 0, response.length)?.split("\0");
  const [authzid, username, password] = parts ?? [];
  if (parts?.length !== 3 || username === void 0 || password === void 0) return { outcome: "auth" };
  if (authzid !== "" && authzid !== username) return { outcome: "auth" };
  const answer = await check(username, password);
  return answer === false ? { outcome: "auth" } : { outcome: "ok", identity: answer === true ? username : answer };
}

// src/client/connect.ts
async function connect(target2, options = {}) {
  const settings = { ...parseTarget(target2), ...options };
  settings.signal?.throwIfAborted();
  const tls = settings.transport ? void 0 : tlsOptions(settings);
  const port = settings.port ?? (tls ? 5671 : 5672);
  const transport = settings.transport ?? await connectSocket({ host: settings.host, port, tls, signal: settings.signal });
  const secure = tls !== void 0 || settings.transport !== void 0;
  const hostname = settings.hostname ?? settings.host;
  const connection = new ClientConnection(transport, { ...settings, hostname }, security(settings), secure);
  await connection.start(settings);
  return connection;
}
function parseTarget(target2) {
  if (typeof target2 !== "string" && !(target2 instanceof URL)) return target2;
  const url = typeof target2 === "string" ? parseUrl(target2) : target2;
  if (url.protocol !== "amqp:" && url.protocol !== "amqps:")
    throw new UsageError(`a target begins with amqp:// or amqps://, not ${url.protocol}//`);
  if (url.hostname === "") throw new UsageError("the target names no host");
  const options = { host: url.hostname.replace(/^\[|\]$/g, ""), tls: url.protocol === "amqps:" };
  if (url.port !== "") options.port = Number(url.port);
  if (url.username !== "") options.sasl = sasl.plain(decodeURIComponent(url.username), decodeURIComponent(url.password));
  return options;
}
function parseUrl(text) {
  try {
    return new URL(text);
  } catch {
    throw new UsageError("the target is not a URL such as amqps://host or amqps://user:password@host:5671");
  }
}
function tlsOptions({ tls, port }) {
  if (typeof tls === "object") return tls;
  return tls ?? port === 5671 ? {} : void 0;
}
function security({ sasl: chosen, allowInsecureAuth }) {
  if (chosen === false) return { role: "none" };
  const mechanisms = chosen === void 0 ? [sasl.anonymous()] : Array.isArray(chosen) ? chosen : [chosen];
  return { role: "client", mechanisms, allowInsecure: allowInsecureAuth === true };
}

// src/client/listen.ts
async function listen(options = {}) {
  options.signal?.throwIfAborted();
  const listener = new PortListener(options);
  await listener.start();
  return listener;
}
var PortListener = class extends Emitter {
  #options;
  #connections = /* @__PURE__ */ new Set();
  #socket;
  #closing;
  #incoming = new IncomingQueue(
    (connection) => {
      if (!this.hears("connection")) return false;
      this.emit("connection", connection);
      return true;
    },
    (connection) => void connection.close()
  );
  constructor(options) {
    super();
    this.#options = options;
  }
  async start() {
    const { host = "127.0.0.1", port = 0, tls, signal } = this.#options;
    this.#socket = await listenSocket(
      { host, port, tls },
      (transport) => {
        this.accept(transport).then(
          (connection) => this.#incoming.push(connection),
          () => {
          }
        );
      },
      (error2) => this.emit("error", error2)
    );
    signal?.addEventListener("abort", () => void this.close(), { once: true });
  }
  get port() {
    return this.#socket?.port ?? 0;
  }
  async accept(accepted2) {
    const options = this.#options;
    const transport = options.transport?.(accepted2) ?? accepted2;
    const security2 = {
      role: "server",
      mechanisms: options.sasl ?? [saslServer.anonymous()],
      allowNoSasl: options.allowNoSasl !== false
    };
    const { signal: _signal, hostname, ...rest2 } = options;
    const connection = new ClientConnection(
      transport,
      { ...rest2, hostname, host: "" },
      security2,
      options.tls !== void 0
    );
    this.#connections.add(connection);
    connection.closed.then(() => this.#connections.delete(connection));
    try {
      await connection.start({});
    } catch (error2) {
      this.emit("error", error2);
      throw error2;
    }
    if (this.#closing) connection.destroy();
    return connection;
  }
  on(type, listener, options) {
    const subscription = super.on(type, listener, options);
    if (type === "connection") this.#incoming.offer();
    return subscription;
  }
  [Symbol.asyncIterator]() {
    return this.#incoming[Symbol.asyncIterator]();
  }
  close(options = {}) {
    this.#closing ??= this.#close(options.graceMs ?? 0);
    return this.#closing;
  }
  async #close(graceMs) {
    const stopped = this.#socket?.close();
    this.#incoming.end();
    if (graceMs > 0 && this.#connections.size > 0) {
      const all = Promise.all([...this.#connections].map((connection) => connection.closed));
      const timer = new Promise((resolve) => setTimeout(resolve, graceMs).unref?.());
      await Promise.race([all, timer]);
    }
    await Promise.all([...this.#connections].map((connection) => connection.close().catch(() => connection.destroy())));
    await stopped;
  }
  [Symbol.asyncDispose]() {
    return this.close();
  }
};

// src/io/memory.ts
function memoryPair(options = {}) {
  const a = new MemoryTransport(options);
  const b = new MemoryTransport(options);
  a.peer = b;
  b.peer = a;
  return [a, b];
}
var MemoryTransport = class {
  peer;
  #options;
  #sink;
  #inbox = [];
  #inboxBytes = 0;
  #scheduled = false;
  #wantsDrain = false;
  #writable = true;
  #peerEnded = false;
  #ended = false;
  constructor(options) {
    this.#options = options;
  }
  start(sink) {
    this.#sink = sink;
    this.#schedule();
  }
  write(chunks) {
    const { peer } = this;
    if (!this.#writable || !peer || peer.#ended) return true;
    for (const chunk of chunks) {
      peer.#inbox.push(...this.#options.cut?.(chunk) ?? [chunk]);
      peer.#inboxBytes += chunk.length;
    }
    peer.#schedule();
    const room = peer.#inboxBytes < (this.#options.highWaterMark ?? 1 << 20);
    if (!room) this.#wantsDrain = true;
    return room;
  }
  end() {
    if (!this.#writable) return;
    this.#writable = false;
    if (!this.peer) return;
    this.peer.#peerEnded = true;
    this.peer.#schedule();
  }
  destroy(error2) {
    this.#writable = false;
    this.#inbox = [];
    this.#finish(error2);
    const { peer } = this;
    if (!peer || peer.#ended) return;
    peer.#peerEnded = true;
    peer.#schedule();
  }
  #schedule() {
    if (this.#scheduled || !this.#sink) return;
    this.#scheduled = true;
    setImmediate(() => {
      this.#scheduled = false;
      this.#deliver();
    });
  }
  #deliver() {
    if (this.#ended) return;
    const inbox = this.#inbox;
    this.#inbox = [];
    this.#inboxBytes = 0;
    for (const chunk of inbox) {
      if (this.#ended) return;
      this.#sink?.data(chunk);
    }
    const { peer } = this;
    peer?.drained();
    if (this.#peerEnded && this.#inbox.length === 0) this.#finish(void 0);
  }
  /** The peer has taken what was under way. */
  drained() {
    if (!this.#wantsDrain || this.#ended) return;
    this.#wantsDrain = false;
    this.#sink?.drain();
  }
  #finish(error2) {
    if (this.#ended) return;
    this.#ended = true;
    setImmediate(() => this.#sink?.end(error2));
  }
};

// bench/corpus.ts
var RING = 4096;
function random(seed) {
  let state = seed >>> 0;
  return () => {
    state = state + 1831565813 >>> 0;
    let t = Math.imul(state ^ state >>> 15, state | 1);
    t ^= t + Math.imul(t ^ t >>> 7, t | 61);
    return (t ^ t >>> 14) >>> 0;
  };
}
function randomBytes(count, seed) {
  const next = random(seed);
  const bytes = new Uint8Array(count);
  for (let i = 0; i < count; i++) bytes[i] = next();
  return bytes;
}
var ring = (make) => Array.from({ length: RING }, (_, i) => make(random(24301 + i * 7919), i));
var hex2 = (n, width) => n.toString(16).padStart(width, "0").slice(-width);
var uuidText = (next) => {
  const all = hex2(next(), 8) + hex2(next(), 8) + hex2(next(), 8) + hex2(next(), 8);
  return `${all.slice(0, 8)}-${all.slice(8, 12)}-${all.slice(12, 16)}-${all.slice(16, 20)}-${all.slice(20)}`;
};
function bodies(size) {
  const stride = size <= 1024 ? size : 257;
  const pool = randomBytes(stride * (RING - 1) + size, size);
  return Array.from({ length: RING }, (_, i) => pool.subarray(i * stride, i * stride + size));
}
var telemetry = () => ring(
  (next, i) => ({
    header: { durable: true, ttl: 6e4 + next() % 6e4 },
    messageAnnotations: {
      "x-opt-device-id": `device-${hex2(next(), 6)}`,
      "x-opt-auth-generation": String(next()),
      "x-opt-message-source": next() % 2 ? "Telemetry" : "twinChangeEvents",
      "x-opt-enqueued-time": new Date(17e11 + next())
    },
    properties: {
      messageId: uuidText(next),
      to: `/devices/device-${hex2(next(), 6)}/messages/events`,
      correlationId: uuidText(next),
      contentType: "application/json",
      contentEncoding: "utf-8",
      creationTime: new Date(17e11 + next())
    },
    applicationProperties: {
      site: `plant-${next() % 97}`,
      line: `line ${next() % 31} / cell ${next() % 11}`,
      firmware: `${next() % 9}.${next() % 20}.${next() % 100}`,
      alert: next() % 5 ? "none" : "temperature",
      operator: next() % 3 ? `user-${next() % 1e3}` : "J\xFCrgen M\xFCller",
      sequence: i,
      temperature: next() % 1e4 / 97,
      online: next() % 7 > 0
    },
    body: randomBytes(256, next())
  })
);
var dataMessages = (size) => bodies(size).map((body) => ({ body }));
var PRIMITIVES_PER_ROW = 12;
var SYMBOLS = ["amqp:accepted:list", "amqp:rejected:list", "x-opt-offset", "x-opt-sequence-number", "com.example:key"];
var primitives = () => ring((next) => ({
  boolean: next() % 2 === 0,
  ubyte: next() & 255,
  uint: next() % 300,
  sequenceNo: next(),
  ulong: BigInt(next()) << BigInt(next() % 32),
  int: next() | 0,
  long: BigInt(next()) * (next() % 2 ? 1n : -1n),
  double: next() / 7,
  timestamp: new Date(17e11 + next()),
  binary: randomBytes(4 + next() % 28, next()),
  string: `value ${hex2(next(), 4 + next() % 5)}`,
  symbol: SYMBOLS[next() % SYMBOLS.length]
}));
var texts2 = () => ring((next) => {
  const length = next() % 10 === 0 ? 60 + next() % 240 : 1 + next() % 40;
  const alphabet = next() % 8 === 0 ? "aeiou\xE4\xF6\xFC\xDF\xE9\xF1\u20AC\u0142\u043A\u6F22\u5B57\u{1F600} " : "abcdefghijklmnopqrstuvwxyzABCDEFGH0123456789-_/.: ";
  const letters = [...alphabet];
  let text = "";
  for (let i = 0; i < length; i++) text += letters[next() % letters.length];
  return text;
});
var values = () => ring(
  (next) => /* @__PURE__ */ new Map([
    ["name", `sensor-${hex2(next(), 5)}`],
    ["id", new Uuid(randomBytes(16, next()))],
    ["count", int(next() | 0)],
    ["big", ulong(BigInt(next()) << 20n)],
    ["ratio", double(next() / 3)],
    ["kind", symbol(SYMBOLS[next() % SYMBOLS.length])],
    ["at", timestamp(1700000000000n + BigInt(next()))],
    ["list", [next() % 100, `s${next() % 100}`, next() % 2 === 0, null]],
    [
      new AmqpSymbol("nested"),
      /* @__PURE__ */ new Map([
        ["a", next() % 1e3],
        ["b", randomBytes(16, next())]
      ])
    ]
  ])
);

// bench/receiving.ts
var Receiving = class {
  #window;
  #count = 0;
  #checksum = 0;
  #target = Number.POSITIVE_INFINITY;
  #done;
  /** @param window  credit that each link keeps open */
  constructor(window) {
    this.#window = window;
  }
  /** Takes the sessions of a connection and the links that send to us. */
  take(connection) {
    connection.on("session", async (incoming) => {
      const session = await incoming.accept();
      session.on("link", async (link) => {
        if (link.remoteRole === "sender") await this.#receive(await link.accept({ credit: { window: this.#window } }));
      });
    });
  }
  /** Waits until `count` messages have come since the last time. */
  next(count) {
    this.#target = count;
    return new Promise((resolve) => {
      this.#done = resolve;
      this.#check();
    });
  }
  async #receive(receiver) {
    for await (const delivery of receiver) {
      const body = delivery.message.body;
      this.#checksum = this.#checksum + body.length + body[body.length - 1] | 0;
      this.#count++;
      await delivery.accept();
      if (this.#count >= this.#target) this.#check();
    }
  }
  #check() {
    if (this.#count < this.#target || !this.#done) return;
    const checksum = this.#checksum;
    this.#count = 0;
    this.#checksum = 0;
    this.#target = Number.POSITIVE_INFINITY;
    this.#done({ checksum });
    this.#done = void 0;
  }
};

// bench/client.bench.ts
var WINDOW = 1e3;
function sendAll(sender, messages, count, settled) {
  return new Promise((resolve, reject) => {
    let left = count;
    const onOutcome = (outcome) => {
      if (outcome.outcome !== "accepted") reject(new Error(`a message was ${outcome.outcome}`));
      else if (--left === 0) resolve();
    };
    const options = { settled };
    const produce = async () => {
      for (let i = 0; i < count; i++) {
        if (sender.pending >= 1024) await sender.ready();
        sender.send(messages[i % RING], options).then(onOutcome, reject);
      }
    };
    produce().catch(reject);
  });
}
async function memoryUnit(settled) {
  const messages = dataMessages(1024);
  const [near, far] = memoryPair();
  const listener = await listen({});
  const accepting = listener.accept(far);
  const connection = await connect({ host: "memory", transport: near });
  const receiving = new Receiving(WINDOW);
  receiving.take(await accepting);
  const sender = await connection.sender("bench");
  const ops = 4 * RING;
  return {
    ops,
    bytesPerOp: 1024,
    pass: async () => {
      const received2 = receiving.next(ops);
      await sendAll(sender, messages, ops, settled);
      return (await received2).checksum;
    },
    close: async () => {
      await connection.close();
      await listener.close();
    }
  };
}
async function loopbackUnit(size, ops, settled) {
  const messages = dataMessages(size);
  const peer = fork(process.argv[1], ["--peer"]);
  const heard = async (type) => {
    const [message] = await once(peer, "message");
    if (message.type !== type) throw new Error(`the peer said ${message.type}, not ${type}`);
    return message;
  };
  const { port } = await heard("listening");
  const connection = await connect(`amqp://127.0.0.1:${port}`);
  const sender = await connection.sender("bench");
  let cpu = { cpuUsSender: 0, cpuUsReceiver: 0 };
  return {
    ops,
    bytesPerOp: size,
    pass: async () => {
      const received2 = heard("received");
      peer.send({ type: "expect", count: ops });
      const before = process.cpuUsage();
      await sendAll(sender, messages, ops, settled);
      const { checksum, cpuUs } = await received2;
      const { user, system } = process.cpuUsage(before);
      cpu = { cpuUsSender: (user + system) / ops, cpuUsReceiver: cpuUs / ops };
      return checksum;
    },
    info: () => cpu,
    close: async () => {
      await connection.close();
      const exit = once(peer, "exit");
      peer.disconnect();
      const timer = setTimeout(() => peer.kill(), 5e3);
      await exit;
      clearTimeout(timer);
    }
  };
}
async function peerMain() {
  const listener = await listen({});
  const receiving = new Receiving(WINDOW);
  listener.on("connection", (connection) => receiving.take(connection));
  const say = (message) => process.send?.(message);
  process.on("message", async (message) => {
    if (message.type !== "expect") return;
    const before = process.cpuUsage();
    const { checksum } = await receiving.next(message.count);
    const { user, system } = process.cpuUsage(before);
    say({ type: "received", checksum, cpuUs: user + system });
  });
  process.on("disconnect", () => void listener.close());
  say({ type: "listening", port: listener.port });
}
var loopback = (size, full, quick, settled) => (setup) => loopbackUnit(size, setup.quick ? quick : full, settled);
var clientCases = {
  "memory-1k.unsettled": () => memoryUnit(false),
  "memory-1k.settled": () => memoryUnit(true),
  "loopback-1k.unsettled": loopback(1024, 2e5, 5e4, false),
  "loopback-1k.settled": loopback(1024, 2e5, 5e4, true),
  "loopback-64k.unsettled": loopback(65536, 2e4, 5e3, false),
  "loopback-64k.settled": loopback(65536, 2e4, 5e3, true)
};

// bench/case.ts
var mix = (sum, value) => Math.imul(sum, 31) + value | 0;

// bench/codec.bench.ts
function writeRow(writer, row) {
  writer.writeBoolean(row.boolean);
  writer.writeUbyte(row.ubyte);
  writer.writeUint(row.uint);
  writer.writeUint(row.sequenceNo);
  writer.writeUlong(row.ulong);
  writer.writeInt(row.int);
  writer.writeLong(row.long);
  writer.writeDouble(row.double);
  writer.writeTimestamp(row.timestamp);
  writer.writeBinary(row.binary);
  writer.writeString(row.string);
  writer.writeSymbol(row.symbol);
}
function readRow(reader) {
  let sum = reader.readBoolean() ? 1 : 2;
  sum = mix(sum, reader.readUbyte());
  sum = mix(sum, reader.readUint());
  sum = mix(sum, reader.readUint());
  sum = mix(sum, Number(reader.readUlong() & 0xffffn));
  sum = mix(sum, readValue(reader));
  sum = mix(sum, Number(readValue(reader) & 0xffffn));
  sum = mix(sum, readValue(reader));
  sum = mix(sum, reader.readTimestamp().getTime() % 65536);
  sum = mix(sum, reader.readBinary().length);
  sum = mix(sum, reader.readString().length);
  return mix(sum, reader.readSymbol().length);
}
function encoding(rows, opsPerRow, write) {
  const writer = new Writer(64 << 10, 64 << 10);
  const pass = () => {
    let sum = 0;
    for (const row of rows) {
      writer.mark = writer.offset;
      write(writer, row);
      sum = mix(sum, writer.offset - writer.mark ^ writer.bytes[writer.offset - 1]);
    }
    return sum;
  };
  return { ops: rows.length * opsPerRow, bytesPerOp: encoded(rows, write).length / rows.length / opsPerRow, pass };
}
function decoding(rows, opsPerRow, write, read) {
  const bytes = encoded(rows, write);
  const reader = new Reader(bytes);
  const pass = () => {
    let sum = 0;
    reader.reset(bytes, 0, bytes.length);
    while (reader.offset < bytes.length) {
      reader.reset(bytes, reader.offset, bytes.length);
      sum = mix(sum, read(reader));
    }
    return sum;
  };
  return { ops: rows.length * opsPerRow, bytesPerOp: bytes.length / rows.length / opsPerRow, pass };
}
function encoded(rows, write) {
  const writer = new Writer();
  for (const row of rows) write(writer, row);
  return writer.copy();
}
var writeText = (writer, text) => writer.writeString(text);
var readText = (reader) => {
  const text = reader.readString();
  return text.length ^ text.charCodeAt(text.length >> 1);
};
var readMapSize = (reader) => readValue(reader).size;
var codecCases = {
  "primitives.encode": () => encoding(primitives(), PRIMITIVES_PER_ROW, writeRow),
  "primitives.decode": () => decoding(primitives(), PRIMITIVES_PER_ROW, writeRow, readRow),
  "strings.encode": () => encoding(texts2(), 1, writeText),
  "strings.decode": () => decoding(texts2(), 1, writeText, readText),
  "values.encode": () => encoding(values(), 1, writeValue),
  "values.decode": () => decoding(values(), 1, writeValue, readMapSize)
};

// bench/engine.bench.ts
var WINDOW2 = 1e3;
var BATCH2 = 64;
function move(from2, to2) {
  const chunks = from2.output(1 << 20, 0);
  for (const chunk of chunks) to2.receive(chunk, 0);
  return chunks.length > 0;
}
function linked() {
  const left = new Engine();
  const right = new Engine();
  left.connection.open({ containerId: "left" });
  right.connection.open({ containerId: "right" });
  const session = left.connection.session();
  session.begin();
  const sender = session.sender("bench");
  sender.attach({ source: { address: "a" }, target: { address: "b" } });
  const settle = () => {
    let moved = true;
    while (moved) {
      const there = move(left, right);
      moved = move(right, left) || there;
    }
  };
  settle();
  for (let event = right.nextEvent(); event; event = right.nextEvent()) {
    if (event.type === "session.begun") event.session.begin();
    if (event.type !== "link.attached") continue;
    const receiver = event.link;
    receiver.useWindow(WINDOW2);
    receiver.attach({ source: event.attach.source, target: event.attach.target });
  }
  settle();
  if (sender.credit.linkCredit !== WINDOW2) throw new Error(`the pair is not linked: ${sender.credit.linkCredit} credit`);
  return { left, right, sender };
}
function pairUnit(settled) {
  const messages = dataMessages(1024);
  const { left, right, sender } = linked();
  const init = { settled };
  const pass = () => {
    let sum = 0;
    let outcomes = 0;
    for (let at = 0; outcomes < messages.length; ) {
      for (const until = Math.min(at + BATCH2, messages.length); at < until; at++) {
        const writer = sender.beginMessage(init);
        sender.commitMessage(init, writeMessage(writer, messages[at], COPY_BELOW));
      }
      move(left, right);
      for (let delivery = right.nextDelivery(); delivery; delivery = right.nextDelivery()) {
        const body = decodeMessage(delivery.chunks[0]).body;
        sum = mix(sum, body[body.length - 1]);
        delivery.link.disposition(delivery, ACCEPTED);
        delivery.link.consumed();
      }
      move(right, left);
      while (left.nextOutcome()) outcomes++;
      while (left.nextEvent()) sum |= 0;
    }
    return sum;
  };
  return { ops: messages.length, bytesPerOp: 1024, pass };
}
var engineCases = {
  "engine-1k.unsettled": () => pairUnit(false),
  "engine-1k.settled": () => pairUnit(true)
};

// bench/framing.bench.ts
var MAX_FRAME = 65536;
var FLUSH = 64;
function encoding2(rows, write) {
  const writer = new FrameWriter();
  const pass = () => {
    let sum = 0;
    for (let i = 0; i < rows.length; i++) {
      write(writer, rows[i]);
      if (i % FLUSH !== FLUSH - 1) continue;
      const chunks = writer.take();
      sum = mix(sum, sizeOf(chunks) + (chunks.at(-1)?.at(-1) ?? 0));
    }
    return sum;
  };
  return { ops: rows.length, bytesPerOp: sizeOf(framed(rows, write)) / rows.length, pass };
}
function decoding2(rows, write) {
  const chunks = rechunked(framed(rows, write), 64 << 10);
  const reader = new FrameReader(MAX_FRAME, DEFAULT_DECODE_LIMITS);
  reader.expectHeader = false;
  const pass = () => {
    let sum = 0;
    for (const chunk of chunks) {
      reader.push(chunk);
      for (let item = reader.next(); item !== void 0; item = reader.next()) {
        if (item === "frame") sum = mix(sum, numberOf(reader.body));
        sum = sum + (reader.payload?.length ?? 0) | 0;
      }
    }
    return sum;
  };
  return { ops: rows.length, bytesPerOp: sizeOf(chunks) / rows.length, pass };
}
function numberOf(body) {
  switch (body?.type) {
    case "transfer":
      return body.deliveryId ?? 0;
    case "disposition":
      return body.first;
    case "flow":
      return body.linkCredit ?? 0;
    case "attach":
      return body.handle + body.name.length;
    default:
      return 0;
  }
}
function framed(rows, write) {
  const writer = new FrameWriter();
  for (const row of rows) write(writer, row);
  return writer.take();
}
var sizeOf = (chunks) => chunks.reduce((sum, chunk) => sum + chunk.length, 0);
function rechunked(chunks, size) {
  const all = new Uint8Array(sizeOf(chunks));
  let at = 0;
  for (const chunk of chunks) {
    all.set(chunk, at);
    at += chunk.length;
  }
  const out = [];
  for (let from2 = 0; from2 < all.length; from2 += size) out.push(all.slice(from2, from2 + size));
  return out;
}
var transfers = () => ring((next, i) => ({
  handle: next() % 4,
  deliveryId: 1e6 + i,
  deliveryTag: next(),
  messageFormat: 0,
  settled: false,
  more: false
}));
var writeTransfer = (writer, row) => writer.transferBefore(1, row, 0);
var writeLoaded = (writer, { fields: fields3, payload }) => {
  writer.transferBefore(1, fields3, payload.length);
  writer.raw(payload);
};
var loaded = () => {
  const payloads = bodies(1024);
  return transfers().map((fields3, i) => ({ fields: fields3, payload: payloads[i % RING] }));
};
var runs = () => ring((next, i) => ({ first: 1e6 + i * 8, last: 1e6 + i * 8 + next() % 8 }));
var writeRun = (writer, { first, last }) => writer.frame(0, 1, MAX_FRAME, (slab2) => writeDisposition(slab2, true, first, last, true, ACCEPTED));
var flows = () => ring((next, i) => ({
  nextIncomingId: 1e6 + i,
  incomingWindow: 2048,
  nextOutgoingId: next(),
  outgoingWindow: 4294967295,
  handle: next() % 4,
  deliveryCount: 1e6 + i,
  linkCredit: next() % 1e3
}));
var writeFlow = (writer, flow2) => writer.frame(
  0,
  1,
  MAX_FRAME,
  (slab2) => frameBody.named("flow").write(slab2, { type: "flow", ...flow2 }, PLAIN_STYLE)
);
var attaches = () => ring((next, i) => ({
  name: `link-${next().toString(16)}`,
  handle: i,
  role: "sender",
  sndSettleMode: "mixed",
  source: { type: "source", address: `queue-${next() % 1e3}`, outcomes: ["amqp:accepted:list"] },
  target: { type: "target", address: `/devices/device-${next() % 1e3}/messages/events` },
  initialDeliveryCount: 0,
  maxMessageSize: BigInt(next())
}));
var writeAttach = (writer, attach2) => writer.frame(
  0,
  1,
  MAX_FRAME,
  (slab2) => frameBody.named("attach").write(slab2, { type: "attach", ...attach2 }, PLAIN_STYLE)
);
var framingCases = {
  "transfer.encode": () => encoding2(transfers(), writeTransfer),
  "transfer.decode": () => decoding2(transfers(), writeTransfer),
  "transfer-1k.decode": () => decoding2(loaded(), writeLoaded),
  "disposition.encode": () => encoding2(runs(), writeRun),
  "disposition.decode": () => decoding2(runs(), writeRun),
  "flow.encode": () => encoding2(flows(), writeFlow),
  "flow.decode": () => decoding2(flows(), writeFlow),
  "attach.encode": () => encoding2(attaches(), writeAttach),
  "attach.decode": () => decoding2(attaches(), writeAttach)
};

// bench/reference.ts
var SIZE = 16 << 10;
var from = /* @__PURE__ */ Uint8Array.from({ length: SIZE }, (_, i) => i * 131 + (i >> 5) & 255);
var to = /* @__PURE__ */ new Uint8Array(SIZE);
function referenceUnit() {
  let hash = 2166136261;
  for (let i = 0; i < SIZE; i++) {
    const byte2 = from[i];
    hash = Math.imul(hash ^ byte2, 16777619);
    to[i] = byte2 ^ hash;
  }
  to.set(from);
  return hash ^ to[hash & SIZE - 1];
}

// bench/measure.ts
var FULL = { stretchMs: 60, warmUpMs: 500, minRounds: 5, maxRounds: 15, budgetMs: 2e3 };
var QUICK = { stretchMs: 30, warmUpMs: 300, minRounds: 3, maxRounds: 11, budgetMs: 800 };
async function measure(unit, plan) {
  const checksum = await unit.pass();
  const passes = await warmUp(unit, plan, checksum);
  const rates = [];
  const references = [];
  const ratios = [];
  const infos = [];
  const begun = performance.now();
  while (rates.length < plan.maxRounds) {
    if (rates.length >= plan.minRounds && performance.now() - begun > plan.budgetMs) break;
    const reference = timeReference(plan.stretchMs);
    const rate = await timePasses(unit, passes, checksum);
    references.push(reference);
    rates.push(rate);
    ratios.push(rate / reference);
    if (unit.info) infos.push(unit.info());
  }
  const opsPerSecond = median(rates);
  return {
    nsPerOp: 1e9 / opsPerSecond,
    opsPerSecond,
    mbPerSecond: opsPerSecond * unit.bytesPerOp / 1e6,
    ratio: median(ratios),
    reference: median(references),
    rounds: rates.length,
    bytesPerOp: unit.bytesPerOp,
    checksum,
    info: medians(infos)
  };
}
async function warmUp(unit, plan, checksum) {
  timeReference(plan.warmUpMs / 4);
  const begun = performance.now();
  let fastest = Number.POSITIVE_INFINITY;
  do {
    const start = performance.now();
    expectSame(await unit.pass(), checksum);
    fastest = Math.min(fastest, performance.now() - start);
  } while (performance.now() - begun < plan.warmUpMs);
  return Math.max(Math.round(plan.stretchMs / fastest), 1);
}
function timeReference(forMs) {
  let sum = referenceUnit();
  let units = 0;
  const start = performance.now();
  let now = start;
  while (now - start < forMs) {
    for (let i = 0; i < 32; i++) sum = sum + referenceUnit() | 0;
    units += 32;
    now = performance.now();
  }
  consumed = sum;
  return units * 1e3 / (now - start);
}
var consumed = 0;
async function timePasses(unit, passes, checksum) {
  const start = performance.now();
  for (let i = 0; i < passes; i++) {
    const sum = unit.pass();
    expectSame(typeof sum === "number" ? sum : await sum, checksum);
  }
  return passes * unit.ops * 1e3 / (performance.now() - start);
}
function expectSame(sum, checksum) {
  if (sum !== checksum) throw new Error(`a pass came to ${sum}, the first one to ${checksum}: not the same work`);
}
function median(numbers) {
  const sorted = [...numbers].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  const upper = sorted[middle] ?? 0;
  return sorted.length % 2 === 1 ? upper : ((sorted[middle - 1] ?? 0) + upper) / 2;
}
function medians(all) {
  const out = {};
  for (const key of Object.keys(all[0] ?? {})) out[key] = median(all.map((one) => one[key] ?? 0));
  return out;
}

// bench/message.bench.ts
function encoding3(messages) {
  const pass = () => {
    let sum = 0;
    for (const message of messages) {
      const bytes = encodeMessage(message);
      sum = mix(sum, bytes.length ^ bytes[bytes.length - 1]);
    }
    return sum;
  };
  return { ops: messages.length, bytesPerOp: averageSize(messages.map(encodeMessage)), pass };
}
function decoding3(messages, read) {
  const encoded2 = messages.map((message) => encodeMessage(message).slice());
  const pass = () => {
    let sum = 0;
    for (const bytes of encoded2) sum = mix(sum, read(decodeMessage(bytes)));
    return sum;
  };
  return { ops: encoded2.length, bytesPerOp: averageSize(encoded2), pass };
}
var averageSize = (all) => all.reduce((sum, b) => sum + b.length, 0) / all.length;
function readAll(message) {
  const { header: header2, messageAnnotations, properties: properties2, applicationProperties, body } = message.toInit();
  let sum = header2?.ttl ?? 0;
  sum = mix(sum, String(messageAnnotations.get("x-opt-device-id")).length);
  sum = mix(sum, properties2?.to?.length ?? 0);
  sum = mix(sum, Number(applicationProperties.get("sequence")));
  return mix(sum, body[17]);
}
var readTo = (message) => message.properties?.to?.length ?? 0;
var readBody = (message) => {
  const body = message.body;
  return mix(body.length, body[body.length - 1]);
};
var messageCases = {
  "telemetry.encode": () => encoding3(telemetry()),
  "telemetry.decode": () => decoding3(telemetry(), readAll),
  "telemetry.route": () => decoding3(telemetry(), readTo),
  "data-1k.encode": () => encoding3(dataMessages(1024)),
  "data-1k.decode": () => decoding3(dataMessages(1024), readBody)
};

// bench/main.ts
var cases = { ...codecCases, ...framingCases, ...messageCases, ...engineCases, ...clientCases };
async function runCase(name, quick) {
  const setUp = cases[name];
  if (!setUp) throw new Error(`there is no case ${name}`);
  const unit = await setUp({ quick });
  try {
    process.stdout.write(`${JSON.stringify(await measure(unit, quick ? QUICK : FULL))}
`);
  } finally {
    await unit.close?.();
  }
}
var [what = "--list", ...rest] = process.argv.slice(2);
if (what === "--list") process.stdout.write(`${JSON.stringify(Object.keys(cases))}
`);
else if (what === "--peer") await peerMain();
else await runCase(what, rest.includes("--quick"));
//# sourceMappingURL=main.mjs.map
