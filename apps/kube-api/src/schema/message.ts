/**
 * What the API's objects look like: every message with its fields, written down once as text. From it come the protobuf
 * codec, the OpenAPI documents and the merge keys of patches.
 *
 * A text holds `[section]` headings and messages, one after the other, continued on indented lines:
 *
 *     Name = field:number:type field:number:type …
 *
 * `field` is the JSON name; `~` means that the fields of its message appear in place (Go's inline structs). `type` is a
 * scalar, a built-in ({@link builtinTypes}) or a message of the same section, or `section.Message` of another; `[]type` is a
 * list, `map<type>` a map with string keys. A list's `@key` is its merge key (`@key,other` when apply needs both to
 * tell entries apart, `@` alone for a set of plain values), `!` says that zero and false differ from absent.
 */
export interface Field {
  name: string;
  number: number;
  /** Scalar, built-in, or `section.Message`. */
  type: string;
  isList: boolean;
  isMap: boolean;
  isInline: boolean;
  keepsZero: boolean;
  /** Undefined: the list is replaced as a whole; "": a set of plain values. */
  mergeKey: string | undefined;
  /** The fields that together identify an entry of the list; the merge key is the first. */
  listKeys: readonly string[];
}

export interface Message {
  /** `section.Name`. */
  name: string;
  fields: readonly Field[];
  byNumber: ReadonlyMap<number, Field>;
  /** By JSON name; fields of inline messages are found under the inline message. */
  byName: ReadonlyMap<string, Field>;
}

/** Types with a JSON form of their own. Source: apimachinery meta/v1, api/resource, util/intstr, runtime. */
export const builtinTypes = new Set(["Time", "MicroTime", "Quantity", "IntOrString", "RawExtension", "FieldsV1"]);
export const scalarTypes = new Set(["string", "int32", "int64", "bool", "bytes"]);

/** Messages by `section.Name`. */
export class Schema {
  readonly #messages = new Map<string, Message>();

  constructor(texts: readonly string[]) {
    for (const text of texts) this.#read(text);
  }

  find(name: string): Message | undefined {
    return this.#messages.get(name);
  }

  /** The message of a field, or undefined when its type is a scalar or built-in. */
  messageOf(field: Field): Message | undefined {
    return this.#messages.get(field.type);
  }

  /** A field by its JSON name, looked up through inline messages too. */
  fieldOf(message: Message, name: string): Field | undefined {
    const own = message.byName.get(name);
    if (own !== undefined) return own;
    for (const field of message.fields) {
      const inner = field.isInline ? this.messageOf(field) : undefined;
      const found = inner === undefined ? undefined : this.fieldOf(inner, name);
      if (found !== undefined) return found;
    }
    return undefined;
  }

  #read(text: string): void {
    let section = "";
    let name = "";
    let words: string[] = [];
    const finish = (): void => {
      if (name !== "") this.#messages.set(`${section}.${name}`, message(`${section}.${name}`, words, section));
      name = "";
    };
    for (const line of text.split("\n")) {
      const heading = /^\[(.+)\]$/.exec(line)?.[1];
      if (heading !== undefined) {
        finish();
        section = heading;
      } else if (line.startsWith(" ")) {
        words.push(...line.trim().split(" "));
      } else if (line !== "") {
        finish();
        const [first, , ...rest] = line.split(" ");
        name = first!;
        words = rest;
      }
    }
    finish();
  }
}

function message(name: string, words: readonly string[], section: string): Message {
  const fields = words.map((word) => field(word, section));
  return {
    name,
    fields,
    byNumber: new Map(fields.map((each) => [each.number, each])),
    byName: new Map(fields.filter((each) => !each.isInline).map((each) => [each.name, each])),
  };
}

const fieldPattern = /^([^:]+):(\d+):(\[\])?(map<)?([\w.-]+)>?(?:@([\w,]*))?(!)?$/;

function field(word: string, section: string): Field {
  const match = fieldPattern.exec(word);
  if (match === null) throw new SyntaxError(`schema of ${section}: cannot read ${JSON.stringify(word)}`);
  const [, name = "", number, list, map, type = "", keys, zero] = match;
  const listKeys = keys ? keys.split(",") : [];
  const isPlain = scalarTypes.has(type) || builtinTypes.has(type) || type.includes(".");
  return {
    name,
    number: Number(number),
    type: isPlain ? type : `${section}.${type}`,
    isList: list !== undefined,
    isMap: map !== undefined,
    isInline: name === "~",
    keepsZero: zero !== undefined,
    mergeKey: keys === undefined ? undefined : (listKeys[0] ?? ""),
    listKeys,
  };
}
