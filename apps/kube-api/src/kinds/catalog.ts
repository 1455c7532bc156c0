import type { Kind } from "./kind.ts";
import { kinds } from "./table.ts";

/** Finds kinds by what appears in a URL. */
export class KindCatalog {
  readonly #byResource = new Map<string, Kind>();
  readonly all: readonly Kind[];

  constructor(all: readonly Kind[] = kinds) {
    this.all = all;
    for (const kind of all) {
      for (const version of kind.versions) this.#byResource.set(`${kind.group}/${version}/${kind.plural}`, kind);
    }
  }

  find(group: string, version: string, plural: string): Kind | undefined {
    return this.#byResource.get(`${group}/${version}/${plural}`);
  }

  /** Finds the kind of an object, for owner references and apply. */
  findByKind(group: string, kindName: string): Kind | undefined {
    return this.all.find((kind) => kind.group === group && kind.kind === kindName);
  }

  /** The kind named by its plural in the core group or, failing that, any group. */
  require(plural: string, group = ""): Kind {
    const kind = this.all.find((candidate) => candidate.plural === plural && candidate.group === group);
    if (kind === undefined) throw new RangeError(`no kind ${plural} in group "${group}"`);
    return kind;
  }

  /** Groups in the order of the table, each with its versions, preferred first. */
  groups(): { group: string; versions: string[] }[] {
    const result = new Map<string, Set<string>>();
    for (const kind of this.all) {
      const versions = result.get(kind.group) ?? new Set<string>();
      for (const version of kind.versions) versions.add(version);
      result.set(kind.group, versions);
    }
    return [...result].map(([group, versions]) => ({ group, versions: [...versions] }));
  }

  resourcesOf(group: string, version: string): Kind[] {
    return this.all.filter((kind) => kind.group === group && kind.versions.includes(version));
  }
}
