import { mkdir, mkdtemp, rm } from "node:fs/promises";
import { basename, join } from "node:path";
import { type Dependencies, type OptionValues, withDefaults } from "@keelson/service";
import { resetCluster } from "./cluster-reset.ts";
import type { EmbeddedEtcdConfig } from "./config.ts";
import { etcdLayout } from "./layout.ts";
import { embeddedEtcdConfig, type etcdOptions, objectStore } from "./options.ts";

export interface ServerToReset {
  dataDir: string;
  nodeName: string;
  /** Address at which the other servers will reach this one. */
  address: string;
  /** Server tokens that were given; they open the cluster's CAs in the snapshot where they are not on disk. */
  tokens: readonly string[];
}

/**
 * Carries out `--cluster-reset` as the options say: from this server's own data or from the snapshot `source`, which is a
 * file or, with `--etcd-s3` and without a slash in it, the name of one in the bucket.
 */
export async function resetServer(
  values: OptionValues<typeof etcdOptions>,
  { tokens, ...server }: ServerToReset,
  source: string | undefined,
  deps: Partial<Dependencies> = {},
): Promise<void> {
  const config: EmbeddedEtcdConfig = embeddedEtcdConfig(values, { ...server, origin: { kind: "init" } });
  const store = source === undefined || source.includes("/") ? undefined : objectStore(values, server.nodeName);
  if (source === undefined || store === undefined) {
    return resetCluster(config, { tokens, ...(source === undefined ? {} : { restorePath: source }) }, deps);
  }
  const { db } = etcdLayout(server.dataDir);
  await mkdir(db, { recursive: true, mode: 0o700 });
  // Beside the database that is to hold it: elsewhere there may not be room for it.
  const scratch = await mkdtemp(join(db, "download-"));
  try {
    const restorePath = join(scratch, basename(source));
    withDefaults(deps).log.info({ snapshot: source }, "downloading the etcd snapshot");
    await store.download(source, restorePath);
    await resetCluster(config, { restorePath, tokens }, deps);
  } finally {
    await rm(scratch, { recursive: true });
  }
}
