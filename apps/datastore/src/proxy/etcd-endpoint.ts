import type { EtcdTls } from "@keelson/etcd-client";
import { KeelsonError } from "@keelson/service";
import { type DatabaseTlsFiles, readTlsFiles } from "../log/sql/tls-files.ts";

/** An endpoint that names a real etcd; those are comma lists of URLs. */
export const etcdEndpoint = /^(https?|unix):\/\//;

export function parseEtcdEndpoints(endpoint: string): string[] {
  const urls = endpoint.split(",").map((part) => part.trim());
  for (const url of urls) {
    if (!etcdEndpoint.test(url) || !URL.canParse(url)) {
      throw new KeelsonError(
        "datastore/endpoint",
        `the datastore endpoint ${JSON.stringify(url)} is not a URL of an etcd`,
        {
          hint: "use http://host:2379 or https://host:2379, several separated by commas",
        },
      );
    }
  }
  return urls;
}

/**
 * TLS towards the etcd, read anew for each connection, and now, so that a file that is missing is known at the start:
 * throws a KeelsonError that names it. Without files the system's authorities are not enough: etcd's are private.
 */
export function etcdTls(files: DatabaseTlsFiles | undefined): (() => EtcdTls) | undefined {
  if (files === undefined) return undefined;
  const read = (): EtcdTls => {
    const { ca, cert, key, rejectUnauthorized } = readTlsFiles(files, "full");
    return {
      rejectUnauthorized,
      ca: ca?.toString("utf8") ?? "",
      ...(cert === undefined ? {} : { cert: cert.toString("utf8") }),
      ...(key === undefined ? {} : { key: key.toString("utf8") }),
    };
  };
  read();
  return read;
}
