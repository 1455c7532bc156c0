import { createWriteStream, openAsBlob } from "node:fs";
import { readFile } from "node:fs/promises";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import type { ReadableStream } from "node:stream/web";
import { errorMessage, KeelsonError } from "@keelson/service";
import type { S3mini } from "s3mini";
import type { ObjectStore, S3Config } from "./object-store.ts";
import { parseSnapshotName, type Snapshot } from "./snapshot-name.ts";
import { tlsFetch } from "./tls-fetch.ts";

/** Object metadata that says which server a snapshot is of; its name alone does not tell. */
const nodeHeader = "x-amz-meta-node-name";

/** Snapshots in a bucket of any S3-compatible store. The client library is loaded with the first call. */
export class S3Store implements ObjectStore {
  readonly #config: S3Config;
  readonly #nodeName: string;
  #loaded: Promise<S3mini> | undefined;

  constructor(config: S3Config, nodeName: string) {
    this.#config = config;
    this.#nodeName = nodeName;
  }

  async upload(path: string, snapshot: Snapshot): Promise<Snapshot> {
    await this.#try("upload", async (client) => {
      const content = await openAsBlob(path);
      await client.putAnyObject(this.#key(snapshot.name), content, "application/octet-stream", undefined, {
        [nodeHeader]: snapshot.nodeName,
      });
    });
    return { ...snapshot, location: this.#location(snapshot.name) };
  }

  async download(name: string, path: string): Promise<void> {
    const response = await this.#try("download", (client) => client.getObjectResponse(this.#key(name)));
    if (response?.body == null) {
      throw new KeelsonError("snapshot/not-found", `there is no snapshot "${name}" at ${this.#location("")}`, {
        hint: "see keelson etcd-snapshot ls",
        status: 404,
      });
    }
    const content = Readable.fromWeb(response.body as ReadableStream);
    await this.#try("download", () => pipeline(content, createWriteStream(path, { mode: 0o600 })));
  }

  async list(): Promise<Snapshot[]> {
    const objects = await this.#try("list", (client) => client.listObjects("/", this.#key("")));
    return (objects ?? []).flatMap((object): Snapshot[] => {
      const name = object.Key.slice(this.#key("").length);
      const parsed = parseSnapshotName(name, this.#nodeName);
      if (parsed === undefined) return [];
      return [
        {
          name,
          nodeName: parsed.nodeName,
          location: this.#location(name),
          sizeBytes: Number(object.Size),
          createdAtMs: parsed.createdAtMs,
          compressed: parsed.compressed,
        },
      ];
    });
  }

  async delete(name: string): Promise<void> {
    await this.#try("delete", (client) => client.deleteObject(this.#key(name)));
  }

  #key(name: string): string {
    const folder = this.#config.folder?.replace(/^\/+|\/+$/g, "") ?? "";
    return folder === "" ? name : `${folder}/${name}`;
  }

  #location(name: string): string {
    return `s3://${this.#config.bucket}/${this.#key(name)}`;
  }

  async #try<T>(what: string, action: (client: S3mini) => Promise<T>): Promise<T> {
    try {
      this.#loaded ??= this.#load();
      return await action(await this.#loaded);
    } catch (error) {
      const { endpoint, bucket } = this.#config;
      throw new KeelsonError(
        "snapshot/s3",
        `cannot ${what} at bucket ${bucket} of ${endpoint}: ${errorMessage(error)}`,
        {
          hint: "check --etcd-s3-endpoint, --etcd-s3-endpoint-ca, --etcd-s3-bucket, --etcd-s3-region and the keys",
          cause: error,
        },
      );
    }
  }

  async #load(): Promise<S3mini> {
    const { S3mini } = await import("s3mini");
    const { endpoint, bucket, region, accessKey, secretKey, insecure, timeoutMs, endpointCa, skipVerify } =
      this.#config;
    const ca = endpointCa === undefined ? undefined : await caPem(endpointCa);
    const hasOwnTrust = !insecure && (ca !== undefined || skipVerify);
    return new S3mini({
      accessKeyId: accessKey,
      secretAccessKey: secretKey,
      endpoint: `${insecure ? "http" : "https"}://${endpoint}/${bucket}`,
      region,
      requestAbortTimeout: timeoutMs ?? 300_000,
      ...(hasOwnTrust
        ? { fetch: tlsFetch({ ...(ca === undefined ? {} : { ca }), skipVerify: skipVerify ?? false }) }
        : {}),
    });
  }
}

/** K3s takes the path of a file or base64. */
async function caPem(endpointCa: string): Promise<string> {
  const decoded = Buffer.from(endpointCa, "base64").toString();
  return decoded.includes("-----BEGIN CERTIFICATE-----") ? decoded : readFile(endpointCa, "utf8");
}
