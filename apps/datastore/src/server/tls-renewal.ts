import { readFileSync, statSync } from "node:fs";
import type { Logger } from "@keelson/service";
import type { ListenTls } from "./listener.ts";

/** Paths of the PEM files that {@link ListenTls} was read from. */
export interface ListenTlsFiles {
  cert: string;
  key: string;
  clientCa?: string;
}

/** Finds out that certificate files were renewed; asked before each handshake, as etcd looks at its files then. */
export class TlsRenewal {
  readonly #files: ListenTlsFiles;
  readonly #log: Logger;
  #seen = "";

  constructor(files: ListenTlsFiles, log: Logger) {
    this.#files = files;
    this.#log = log;
  }

  /**
   * Gives `serve` what the files hold if they have changed since the last call. When they cannot be read or served, as while
   * only one of two is replaced, the former certificate stays in use until they change again.
   */
  check(serve: (tls: ListenTls) => void): void {
    const { cert, key, clientCa } = this.#files;
    const stamp = [cert, key, ...(clientCa === undefined ? [] : [clientCa])].map(stampOf).join();
    if (stamp === this.#seen) return;
    this.#seen = stamp;
    try {
      serve({
        cert: readFileSync(cert, "utf8"),
        key: readFileSync(key, "utf8"),
        ...(clientCa === undefined ? {} : { clientCa: readFileSync(clientCa, "utf8") }),
      });
    } catch (error) {
      this.#log.warn(
        { err: error, cert, key },
        "the renewed certificate cannot be served: the former stays in use; see that certificate and key fit together",
      );
    }
  }
}

/** What differs when a file was written or replaced, also behind a link. */
function stampOf(path: string): string {
  try {
    const { ino, size, ctimeNs } = statSync(path, { bigint: true });
    return `${ino}:${size}:${ctimeNs}`;
  } catch {
    return "unreadable";
  }
}
