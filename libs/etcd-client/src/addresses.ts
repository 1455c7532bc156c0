import type { LookupAddress } from "node:dns";
import { lookup } from "node:dns/promises";
import type { LookupFunction } from "node:net";

/** Every address of a host name. */
export type Resolve = (hostname: string) => Promise<readonly LookupAddress[]>;

export const systemResolve: Resolve = (hostname) => lookup(hostname, { all: true });

/**
 * The addresses behind one name, as of replicas behind the name of a service. A replica that hangs still accepts
 * connections in its kernel, so whichever failed last is tried last.
 */
export class Addresses {
  readonly #resolve: Resolve;
  #failed: string | undefined;

  constructor(resolve: Resolve) {
    this.#resolve = resolve;
  }

  /** The connection to this address could not be made, or was lost. */
  failed(address: string | undefined): void {
    if (address !== undefined) this.#failed = address;
  }

  /** For the `lookup` option of a socket. */
  readonly lookup: LookupFunction = (hostname, options, callback) => {
    this.#resolve(hostname).then(
      (found) => {
        const ordered = [...found].sort(
          (a, b) => Number(a.address === this.#failed) - Number(b.address === this.#failed),
        );
        const [first] = ordered;
        if (options.all) callback(null, ordered);
        else if (first === undefined) callback(notFound(hostname), "");
        else callback(null, first.address, first.family);
      },
      (error: NodeJS.ErrnoException) => callback(error, ""),
    );
  };
}

function notFound(hostname: string): NodeJS.ErrnoException {
  return Object.assign(new Error(`${hostname} has no address`), { code: "ENOTFOUND" });
}
