import { readFileSync } from "node:fs";
import { errorMessage, KeelsonError } from "@keelson/service";

/** Certificate files for the connection to the database, as kine's `--ca-file`, `--cert-file`, `--key-file`. */
export interface DatabaseTlsFiles {
  caFile?: string;
  certFile?: string;
  keyFile?: string;
  /** Encrypt, but trust any certificate (kine's `--skip-verify`). */
  skipVerify?: boolean;
}

/** Options for `tls.connect`. They are read anew for each connection, so that renewed files are picked up. */
export interface DatabaseTls {
  ca?: Buffer;
  cert?: Buffer;
  key?: Buffer;
  rejectUnauthorized: boolean;
  /** Present when the certificate's name need not match (verify-ca). */
  checkServerIdentity?: () => undefined;
}

export function hasTlsFiles(files: DatabaseTlsFiles): boolean {
  return Boolean(files.caFile || files.certFile || files.keyFile);
}

/** Reads the files. Throws a KeelsonError that names the one that cannot be read. */
export function readTlsFiles(files: DatabaseTlsFiles, verify: "none" | "ca" | "full"): DatabaseTls {
  const checked = files.skipVerify ? "none" : verify;
  return {
    ...(files.caFile ? { ca: read(files.caFile) } : {}),
    ...(files.certFile ? { cert: read(files.certFile) } : {}),
    ...(files.keyFile ? { key: read(files.keyFile) } : {}),
    rejectUnauthorized: checked !== "none",
    ...(checked === "ca" ? { checkServerIdentity: () => undefined } : {}),
  };
}

function read(path: string): Buffer {
  try {
    return readFileSync(path);
  } catch (error) {
    throw new KeelsonError("datastore/tls-file", `cannot read ${path}: ${errorMessage(error)}`, {
      hint: "check the path and permissions of the datastore's certificate files",
      cause: error,
    });
  }
}
