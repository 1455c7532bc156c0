import { readFileSync } from "node:fs";
import { errorMessage, KeelsonError } from "@keelson/service";
import type { EtcdTls, EtcdTlsSource } from "./grpc-connection.ts";

/** Paths of PEM files. */
export interface EtcdTlsFiles {
  ca: string;
  cert?: string | undefined;
  key?: string | undefined;
}

/**
 * TLS material in files, read anew at each connect, so that whoever renews them needs no restart. Throws
 * `etcd/tls-files` when they cannot be read now; later the last that could be read are used.
 */
export function tlsFromFiles({ ca, cert, key }: EtcdTlsFiles): EtcdTlsSource {
  if ((cert === undefined) !== (key === undefined)) {
    throw new KeelsonError(
      "etcd/tls-files",
      "a client certificate for the datastore needs its key, and the key its certificate",
      {
        hint: "give both files, or neither",
      },
    );
  }
  const read = (): EtcdTls => ({
    ca: readFileSync(ca, "utf8"),
    ...(cert === undefined || key === undefined
      ? {}
      : { cert: readFileSync(cert, "utf8"), key: readFileSync(key, "utf8") }),
  });
  let last: EtcdTls;
  try {
    last = read();
  } catch (cause) {
    throw new KeelsonError("etcd/tls-files", `the datastore's TLS files cannot be read: ${errorMessage(cause)}`, {
      hint: "check the paths and their permissions",
      cause,
    });
  }
  return () => {
    try {
      last = read();
    } catch {
      // In the middle of being replaced: what was good a moment ago still is.
    }
    return last;
  };
}
