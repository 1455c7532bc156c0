import type { Snapshot } from "./snapshot-name.ts";

/** A place outside this server that keeps snapshots. */
export interface ObjectStore {
  upload(path: string, snapshot: Snapshot): Promise<Snapshot>;
  download(name: string, path: string): Promise<void>;
  list(): Promise<Snapshot[]>;
  delete(name: string): Promise<void>;
}

/** `--etcd-s3-*`. Keys may also come from the AWS environment variables, which the caller resolves. */
export interface S3Config {
  /** Host, with port where it is not 443 (`s3.amazonaws.com`). */
  endpoint: string;
  bucket: string;
  /** Prefix of the object names. */
  folder?: string;
  region: string;
  accessKey: string;
  secretKey: string;
  /** Plain HTTP. */
  insecure?: boolean;
  /** File of the CAs that the store's certificate is of, or their PEM in base64; the well-known ones without it. */
  endpointCa?: string;
  /** Take any certificate of the store for its own. */
  skipVerify?: boolean;
  /** Milliseconds a request may take (300000). */
  timeoutMs?: number;
}
