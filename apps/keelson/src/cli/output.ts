import { defineOptions } from "@keelson/service";
import { formatTable } from "./table.ts";

/** `-o` of commands that list something. */
export const outputOptions = defineOptions({
  output: {
    type: "string",
    short: "o",
    default: "table",
    oneOf: ["table", "json", "yaml"],
    placeholder: "format",
    help: "table, json or yaml",
  },
});

/** Prints a list in the wanted form; `toRow` makes the table's row of an item. */
export async function printList<T>(
  print: (line: string) => void,
  format: "table" | "json" | "yaml",
  items: readonly T[],
  headings: readonly string[],
  toRow: (item: T) => readonly string[],
): Promise<void> {
  switch (format) {
    case "table":
      return print(formatTable(headings, items.map(toRow)));
    case "json":
      return print(JSON.stringify(items, undefined, 2));
    case "yaml":
      return print((await import("yaml")).stringify(items).trimEnd());
  }
}

/** Prints one object in a machine's form. */
export async function printObject(
  print: (line: string) => void,
  format: "json" | "yaml",
  object: unknown,
): Promise<void> {
  print(format === "json" ? JSON.stringify(object, undefined, 2) : (await import("yaml")).stringify(object).trimEnd());
}
