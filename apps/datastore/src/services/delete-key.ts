import type { Core } from "../core.ts";
import { evaluateDelete } from "../engine/txn-evaluate.ts";

/**
 * Deletes one key, if it is there and, when given, still of that creation. Resolves with the store's revision, and throws
 * what `orElse` gives when the key is of another creation.
 */
export function deleteKey(core: Core, key: string, createRevision?: number, orElse?: () => Error): Promise<number> {
  return core.write((scope) => {
    const head = core.store.index.get(key)?.head;
    const alive = head !== undefined && head.version !== 0;
    if (createRevision !== undefined && (!alive || head.createRevision !== createRevision)) {
      if (orElse !== undefined) throw orElse();
      return;
    }
    evaluateDelete(scope, { kind: "delete", key, rangeEnd: "", prevKv: false });
  });
}
