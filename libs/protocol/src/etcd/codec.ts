import type { Field, Fields, Input, MessageOf, Scalar } from "./schema.ts";
import { DecodeError, Reader, Writer, wireTypes } from "./wire.ts";

/** Encodes and decodes one message type. `decode` throws {@link DecodeError} and nothing else. */
export interface Codec<T> {
  /** Full proto name, `etcdserverpb.RangeRequest`. */
  readonly name: string;
  readonly fields: Fields;
  encode(message: Input<T>): Buffer;
  decode(bytes: Uint8Array): T;
}

/** A codec whose message type does not matter. `encode` is a method, so that variance lets every codec pass. */
// biome-ignore lint/suspicious/noExplicitAny: a table of codecs of different messages has no common message type
export type AnyCodec = Codec<any>;

/** The message that a codec reads and writes. */
export type MessageType<C> = C extends Codec<infer T> ? T : never;

/** How deep messages may nest: nested transactions are the only recursion, and etcd's op budget ends them sooner. */
const maxDepth = 64;

type Values = Record<string, unknown>;

/** Makes the codec of a message from its fields; closures per field are built on first use. */
export function defineMessage<const F extends Fields>(name: string, fields: F): Codec<MessageOf<F>> {
  return new TableCodec(name, fields) as unknown as Codec<MessageOf<F>>;
}

class TableCodec implements Codec<Values> {
  readonly name: string;
  readonly fields: Fields;
  readonly #entries: readonly FieldPlan[];
  readonly #byNumber: (FieldPlan | undefined)[] = [];

  constructor(name: string, fields: Fields) {
    this.name = name;
    this.fields = fields;
    this.#entries = Object.entries(fields)
      .map(([key, field]) => new FieldPlan(key, field))
      .sort((a, b) => a.field.number - b.field.number);
    for (const entry of this.#entries) this.#byNumber[entry.field.number] = entry;
  }

  encode(message: Values): Buffer {
    const writer = new Writer();
    this.encodeInto(writer, message);
    return writer.finish();
  }

  encodeInto(writer: Writer, message: Values): void {
    for (const entry of this.#entries) entry.write(writer, message[entry.key]);
  }

  decode(bytes: Uint8Array): Values {
    return this.decodeAt(bytes, 0);
  }

  decodeAt(bytes: Uint8Array, depth: number): Values {
    if (depth > maxDepth) throw new DecodeError("messages nest too deeply", 0);
    const message: Values = {};
    for (const entry of this.#entries) message[entry.key] = entry.initial();
    const reader = new Reader(bytes);
    while (reader.at < reader.length) {
      const tag = reader.uint32();
      const number = tag >>> 3;
      if (number === 0) throw new DecodeError("field number 0", reader.at);
      const entry = this.#byNumber[number];
      if (entry === undefined) reader.skip(tag & 7);
      else entry.read(reader, tag & 7, message, depth);
    }
    return message;
  }
}

const scalarWireTypes: Record<Scalar, number> = {
  int64: wireTypes.varint,
  lease: wireTypes.varint,
  uint64: wireTypes.varint,
  counter: wireTypes.varint,
  uint32: wireTypes.varint,
  bool: wireTypes.varint,
  enum: wireTypes.varint,
  bytes: wireTypes.bytes,
  string: wireTypes.bytes,
};

const emptyBytes = Buffer.alloc(0);

/** One field of a message: how it starts out, how it is read and written. */
class FieldPlan {
  readonly key: string;
  readonly field: Field;
  readonly #wireType: number;

  constructor(key: string, field: Field) {
    this.key = key;
    this.field = field;
    this.#wireType = typeof field.type === "function" ? wireTypes.bytes : scalarWireTypes[field.type];
  }

  initial(): unknown {
    const { type, repeated, optional } = this.field;
    if (repeated) return [];
    if (optional || typeof type === "function") return undefined;
    return zeroOf(type);
  }

  read(reader: Reader, wireType: number, message: Values, depth: number): void {
    if (wireType === this.#wireType) {
      const value = this.#readOne(reader, depth);
      if (this.field.repeated) (message[this.key] as unknown[]).push(value);
      else message[this.key] = value;
    } else if (this.field.repeated && wireType === wireTypes.bytes) {
      this.#readPacked(reader.bytes(), message[this.key] as unknown[], depth);
    } else {
      throw new DecodeError(`field ${this.key} has wire type ${wireType}`, reader.at);
    }
  }

  #readPacked(packed: Buffer, list: unknown[], depth: number): void {
    const inner = new Reader(packed);
    while (inner.at < inner.length) list.push(this.#readOne(inner, depth));
  }

  #readOne(reader: Reader, depth: number): unknown {
    const { type } = this.field;
    if (typeof type !== "function") return readScalar(reader, type);
    return (type() as unknown as TableCodec).decodeAt(reader.bytes(), depth + 1);
  }

  write(writer: Writer, value: unknown): void {
    if (value === undefined || value === null) return;
    if (this.field.repeated) {
      for (const item of value as readonly unknown[]) this.#writeOne(writer, item);
    } else if (this.field.optional || typeof this.field.type === "function" || !isZero(value)) {
      this.#writeOne(writer, value);
    }
  }

  #writeOne(writer: Writer, value: unknown): void {
    const { type, number } = this.field;
    writer.uint32((number << 3) | this.#wireType);
    if (typeof type !== "function") {
      writeScalar(writer, type, value);
      return;
    }
    const start = writer.beginMessage();
    (type() as unknown as TableCodec).encodeInto(writer, value as Values);
    writer.endMessage(start);
  }
}

function zeroOf(type: Scalar): unknown {
  switch (type) {
    case "lease":
    case "uint64":
      return 0n;
    case "bool":
      return false;
    case "bytes":
      return emptyBytes;
    case "string":
      return "";
    default:
      return 0;
  }
}

function isZero(value: unknown): boolean {
  if (value instanceof Uint8Array) return value.length === 0;
  return value === 0 || value === 0n || value === false || value === "";
}

function readScalar(reader: Reader, type: Scalar): unknown {
  switch (type) {
    case "int64":
    case "counter":
    case "enum":
      return reader.int64();
    case "lease":
      return reader.bigint64();
    case "uint64":
      return reader.biguint64();
    case "uint32":
      return reader.uint32();
    case "bool":
      return reader.bool();
    case "bytes":
      return reader.bytes();
    case "string":
      return reader.bytes().toString("utf8");
  }
}

function writeScalar(writer: Writer, type: Scalar, value: unknown): void {
  switch (type) {
    case "int64":
    case "counter":
    case "enum":
      writer.int64(value as number);
      break;
    case "lease":
    case "uint64":
      writer.bigint(value as bigint);
      break;
    case "uint32":
      writer.uint32(value as number);
      break;
    case "bool":
      writer.uint32(value === true ? 1 : 0);
      break;
    case "bytes":
      writer.bytes(value as Uint8Array);
      break;
    case "string":
      writer.string(value as string);
      break;
  }
}
