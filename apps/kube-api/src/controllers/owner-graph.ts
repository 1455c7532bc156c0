import type { KindCatalog } from "../kinds/catalog.ts";
import type { ApiObject, Kind } from "../kinds/kind.ts";
import { isMap } from "../patch/merge-patch.ts";
import { keyOf, type ObjectId } from "../storage/object-store.ts";

/** An object that others name as their owner: where it is, and that it is this one and not a later one of that name. */
export interface Owner extends ObjectId {
  uid: string;
}

/** An owner as one of its dependents names it. */
export interface OwnedBy extends Owner {
  /** A deletion of the owner in the foreground waits for the dependent. */
  isBlocking: boolean;
}

/** The whole identity: a made-up reference with the uid of something else must not touch what that really owns. */
export function ownerKey(owner: Owner): string {
  return `${keyOf(owner)} ${owner.uid}`;
}

/**
 * The owners that an object names. References that cannot be read, to kinds that are not served, or from outside the owner's
 * namespace name nobody.
 */
export function ownersOf(catalog: KindCatalog, { metadata }: ApiObject): OwnedBy[] {
  const references: unknown = metadata.ownerReferences;
  if (!Array.isArray(references)) return [];
  return references.flatMap((reference: unknown) => {
    if (!isMap(reference)) return [];
    const { apiVersion, kind: kindName, name, uid, blockOwnerDeletion } = reference;
    if (typeof apiVersion !== "string" || typeof name !== "string" || typeof uid !== "string") return [];
    const group = apiVersion.includes("/") ? apiVersion.split("/")[0]! : "";
    const kind = catalog.findByKind(group, String(kindName));
    if (kind === undefined || (kind.namespaced && metadata.namespace === undefined)) return [];
    const namespace = kind.namespaced ? metadata.namespace : undefined;
    return [{ kind, namespace, name, uid, isBlocking: blockOwnerDeletion === true }];
  });
}

export function idOfObject(kind: Kind, { metadata }: ApiObject): ObjectId {
  return { kind, namespace: kind.namespaced ? metadata.namespace : undefined, name: metadata.name };
}

/** Who belongs to whom. Holds only objects that name an owner, which most do not. */
export class OwnerGraph {
  readonly #catalog: KindCatalog;
  /** By owner, then by the storage key of the dependent. */
  readonly #dependents = new Map<string, Map<string, ObjectId>>();
  readonly #owners = new Map<string, readonly Owner[]>();

  constructor(catalog: KindCatalog) {
    this.#catalog = catalog;
  }

  /** Takes in an object as it is now. Returns the owners that nothing named before. */
  set(kind: Kind, object: ApiObject): Owner[] {
    const id = idOfObject(kind, object);
    const owners = ownersOf(this.#catalog, object);
    const unheard = owners.filter((owner) => !this.#dependents.has(ownerKey(owner)));
    this.remove(id);
    if (owners.length === 0) return [];
    const key = keyOf(id);
    this.#owners.set(key, owners);
    for (const owner of owners) {
      const known = this.#dependents.get(ownerKey(owner));
      if (known === undefined) this.#dependents.set(ownerKey(owner), new Map([[key, id]]));
      else known.set(key, id);
    }
    return unheard;
  }

  /** Forgets an object as a dependent. Returns the owners that it named. */
  remove(id: ObjectId): readonly Owner[] {
    const key = keyOf(id);
    const owners = this.#owners.get(key) ?? [];
    this.#owners.delete(key);
    for (const owner of owners) {
      const dependents = this.#dependents.get(ownerKey(owner));
      dependents?.delete(key);
      if (dependents?.size === 0) this.#dependents.delete(ownerKey(owner));
    }
    return owners;
  }

  dependentsOf(owner: Owner): ObjectId[] {
    return [...(this.#dependents.get(ownerKey(owner))?.values() ?? [])];
  }

  /** Every owner that is named, with nobody twice. */
  owners(): Owner[] {
    return [...new Map([...this.#owners.values()].flat().map((owner) => [ownerKey(owner), owner])).values()];
  }
}
