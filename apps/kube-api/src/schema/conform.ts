import { isMap } from "../patch/merge-patch.ts";
import { apiSchema } from "./kinds.ts";
import { type Field, type Message, scalarTypes } from "./message.ts";

/** A value that does not have the type of its field, in the words of Go's JSON decoder, which people know from Kubernetes. */
export class TypeMismatch extends Error {}

export interface Conformed {
  /** A copy with the fields of the schema only, and without nulls: what a typed server would have understood. */
  object: Record<string, unknown>;
  /** Paths of the fields that the schema does not have. */
  unknown: string[];
}

/** Where the walk is: for the paths in its findings. */
interface Place {
  message: Message;
  path: string;
  unknown: string[];
}

/**
 * Reads an object of a message as a typed server would. What gets past here is stored, and read by clients for whom one
 * value of a wrong type makes a whole list unreadable. Throws {@link TypeMismatch} on such a value.
 */
export function conform(object: Readonly<Record<string, unknown>>, message: Message): Conformed {
  const unknown: string[] = [];
  const { apiVersion, kind, ...rest } = object;
  const type = { ...(apiVersion === undefined ? {} : { apiVersion }), ...(kind === undefined ? {} : { kind }) };
  return { object: { ...type, ...readMap(rest, { message, path: "", unknown }) }, unknown };
}

function readMap(object: Readonly<Record<string, unknown>>, place: Place): Record<string, unknown> {
  const { message, path, unknown } = place;
  const entries: [string, unknown][] = [];
  for (const [name, value] of Object.entries(object)) {
    const at = path === "" ? name : `${path}.${name}`;
    const field = apiSchema().fieldOf(message, name);
    if (field !== undefined) {
      if (value !== null && value !== undefined) entries.push([name, readField(value, field, { ...place, path: at })]);
    } else if (embedded.has(message.name) && (name === "apiVersion" || name === "kind")) {
      entries.push([name, readText(value, place)]);
    } else {
      unknown.push(at);
    }
  }
  return Object.fromEntries(entries);
}

/** Kinds that stand inside others and may say there what they are. */
const embedded = new Set(["core.PersistentVolumeClaim"]);

function readField(value: unknown, field: Field, place: Place): unknown {
  if (field.isMap) {
    if (!isMap(value)) throw mismatch(value, `map[string]${goType(field.type)}`, place);
    return Object.fromEntries(
      Object.entries(value).map(([key, item]) => [
        key,
        readValue(item, field, { ...place, path: `${place.path}.${key}` }),
      ]),
    );
  }
  if (field.isList) {
    if (!Array.isArray(value)) throw mismatch(value, `[]${goType(field.type)}`, place);
    return value.map((item, index) => readValue(item, field, { ...place, path: `${place.path}[${index}]` }));
  }
  return readValue(value, field, place);
}

const zeroValues: Readonly<Record<string, unknown>> = {
  string: "",
  bytes: "",
  int32: 0,
  int64: 0,
  bool: false,
  Quantity: "0",
  IntOrString: 0,
};

function readValue(value: unknown, { type }: Field, place: Place): unknown {
  // Among the items of a list or map, null is the zero value.
  if (value === null) return type in zeroValues ? zeroValues[type] : type in readers ? null : {};
  const reader = readers[type];
  if (reader !== undefined) return reader(value, place);
  const message = apiSchema().find(type);
  if (message === undefined) throw new RangeError(`the schema has no message ${type}`);
  // Extra values are a list in JSON and a message with one list on the wire.
  if (type.endsWith(".ExtraValue")) return readField(value, message.fields[0]!, place);
  if (!isMap(value)) throw mismatch(value, goType(type), place);
  return readMap(value, { ...place, message });
}

const readers: Readonly<Record<string, (value: unknown, place: Place) => unknown>> = {
  string: readText,
  bytes: readBase64,
  bool: (value, place) => {
    if (typeof value !== "boolean") throw mismatch(value, "bool", place);
    return value;
  },
  int32: (value, place) => readInteger(value, "int32", 2 ** 31, place),
  int64: (value, place) => readInteger(value, "int64", 2 ** 63, place),
  Time: readTime,
  MicroTime: readTime,
  Quantity: readQuantity,
  IntOrString: (value, place) =>
    typeof value === "string" ? value : readInteger(value, "intstr.IntOrString", 2 ** 31, place),
  RawExtension: (value) => value,
  FieldsV1: (value, place) => {
    if (!isMap(value)) throw mismatch(value, "v1.FieldsV1", place);
    return value;
  },
};

function readText(value: unknown, place: Place): string {
  if (typeof value !== "string") throw mismatch(value, "string", place);
  return value;
}

function readBase64(value: unknown, place: Place): string {
  if (typeof value !== "string") throw mismatch(value, "[]uint8", place);
  const bare = value.replace(/[\r\n]/g, "");
  if (bare.length % 4 === 0 && /^[A-Za-z0-9+/]*={0,2}$/.test(bare)) return value;
  const at = /[^A-Za-z0-9+/]/.exec(bare)?.index ?? bare.length;
  throw new TypeMismatch(`${place.path}: illegal base64 data at input byte ${at}`);
}

function readInteger(value: unknown, type: string, bound: number, place: Place): number {
  if (typeof value === "number" && Number.isInteger(value) && value >= -bound && value <= bound) {
    if (value < bound || bound > Number.MAX_SAFE_INTEGER) return value;
  }
  throw mismatch(value, type, place, true);
}

function readTime(value: unknown, place: Place): string {
  const text = readText(value, place);
  const isTime = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)$/.test(text);
  if (isTime && !Number.isNaN(Date.parse(text))) return text;
  throw new TypeMismatch(
    `${place.path}: parsing time ${JSON.stringify(text)} as "2006-01-02T15:04:05Z07:00": cannot parse it`,
  );
}

function readQuantity(value: unknown, place: Place): string {
  const text = typeof value === "number" ? String(value) : readText(value, place).trim();
  if (/^[+-]?(\d+\.?\d*|\.\d+)([KMGTPE]i|[numkMGTPE]|[eE][+-]?\d+)?$/.test(text)) return text;
  throw new TypeMismatch(
    `${place.path}: quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'`,
  );
}

function mismatch(value: unknown, type: string, { message, path }: Place, showsValue = false): TypeMismatch {
  const name = message.name.split(".").at(-1)!;
  const kind = Array.isArray(value) ? "array" : typeof value === "boolean" ? "bool" : typeof value;
  const what = showsValue && kind === "number" ? `number ${value}` : kind;
  return new TypeMismatch(`json: cannot unmarshal ${what} into Go struct field ${name}.${path} of type ${type}`);
}

/** A type as Go names it: `v1.Container`, `string`. */
function goType(type: string): string {
  if (type === "bytes") return "[]uint8";
  return scalarTypes.has(type) ? type : `v1.${type.split(".").at(-1)}`;
}
