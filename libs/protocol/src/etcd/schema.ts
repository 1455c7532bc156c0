import type { AnyCodec, Codec } from "./codec.ts";

/** Scalar types as they appear in etcd's protos, by the JavaScript type that carries them. */
export interface ScalarTypes {
  /** int64 that stays within 2^53: revisions, versions, counts, TTLs. */
  int64: number;
  /** int64 whose 64 bits matter: lease ids. */
  lease: bigint;
  /** uint64 identifiers. */
  uint64: bigint;
  /** uint64 counters that stay within 2^53: raft term and index. */
  counter: number;
  uint32: number;
  bool: boolean;
  bytes: Buffer;
  string: string;
  enum: number;
}

export type Scalar = keyof ScalarTypes;

/** A field: its number and type, `repeated` lists, `oneof` members, the proto's own name where it is not snake_case. */
export interface Field {
  number: number;
  type: Scalar | (() => AnyCodec);
  repeated?: boolean;
  /** Member of a oneof: absent is undefined, and a default value that is present is sent. */
  optional?: boolean;
  protoName?: string;
  /** Names of an enum's values, for JSON. */
  names?: readonly string[];
}

export type Fields = Readonly<Record<string, Field>>;

type FieldValue<F extends Field> = F["type"] extends Scalar
  ? ScalarTypes[F["type"]]
  : F["type"] extends () => Codec<infer T>
    ? T
    : never;

type IsOptional<F extends Field> = F extends { optional: true }
  ? true
  : F extends { repeated: true }
    ? false
    : F["type"] extends Scalar
      ? false
      : true;

/** The type of a message described by `F`: scalars always there, messages and oneof members possibly undefined. */
export type MessageOf<F extends Fields> = {
  -readonly [K in keyof F as IsOptional<F[K]> extends true ? never : K]: F[K] extends { repeated: true }
    ? FieldValue<F[K]>[]
    : FieldValue<F[K]>;
} & {
  -readonly [K in keyof F as IsOptional<F[K]> extends true ? K : never]?: FieldValue<F[K]> | undefined;
};

/** What may be left out when a message is built: everything. */
export type Input<T> = { [K in keyof T]?: InputValue<T[K]> | undefined };
type InputValue<V> = V extends Buffer
  ? Uint8Array
  : V extends (infer Item)[]
    ? readonly InputValue<Item>[]
    : V extends object
      ? Input<V>
      : V;

const field = (number: number, type: Field["type"], extra: Omit<Field, "number" | "type"> = {}): Field => ({
  number,
  type,
  ...extra,
});

type Declared<N extends number, T extends Field["type"], E> = { number: N; type: T } & E;

/** `int64(3)`: field 3 of that type. The second argument names the proto field where the rule does not. */
function scalar<const T extends Scalar>(type: T) {
  return <const N extends number>(number: N, protoName?: string): Declared<N, T, unknown> =>
    field(number, type, protoName === undefined ? {} : { protoName }) as Declared<N, T, unknown>;
}

export const int64 = scalar("int64");
export const lease = scalar("lease");
export const uint64 = scalar("uint64");
export const counter = scalar("counter");
export const uint32 = scalar("uint32");
export const bool = scalar("bool");
export const bytes = scalar("bytes");
export const string = scalar("string");

export function enumeration<const N extends number>(number: N, names: readonly string[]): Declared<N, "enum", unknown> {
  return field(number, "enum", { names }) as Declared<N, "enum", unknown>;
}

/** A message field; the codec is behind a function so that messages may refer to each other. */
export function message<const N extends number, T>(
  number: N,
  codec: () => Codec<T>,
): Declared<N, () => Codec<T>, unknown> {
  return field(number, codec as () => AnyCodec) as unknown as Declared<N, () => Codec<T>, unknown>;
}

export function repeated<F extends Field>(one: F): F & { repeated: true } {
  return { ...one, repeated: true };
}

export function optional<F extends Field>(one: F): F & { optional: true } {
  return { ...one, optional: true };
}
