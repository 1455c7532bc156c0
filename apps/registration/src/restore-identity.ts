import { join } from "node:path";
import { bootstrapKeyPrefix, normalizeToken } from "@keelson/secret-format";
import { type Dependencies, errorCode, KeelsonError, readFileIfExists, withDefaults } from "@keelson/service";
import { ClusterBootstrap } from "./bootstrap/cluster-bootstrap.ts";
import type { EnvelopeStore, StoredValue } from "./bootstrap/envelope-store.ts";
import { createRegistration } from "./create-registration.ts";
import { serverPaths } from "./server-paths.ts";

/** A server whose files are gone, or never were. */
export interface RestoredServer {
  dataDir: string;
  nodeName: string;
  nodeIps: readonly string[];
  /** Tokens that the cluster may have had, in full or the password alone; without one the file `server/token` is read. */
  tokens: readonly string[];
}

/** Port in kubeconfigs that the next start writes anew. */
const usualPort = 6443;

/**
 * Makes a server of the cluster whose datastore was saved: what every server has in common comes from the envelope among
 * the saved keys, its certificates are issued anew. Throws `token/required`, `bootstrap/missing` or `bootstrap/other-token`
 * before it writes anything.
 */
export async function restoreIdentity(
  server: RestoredServer,
  savedKeys: (prefix: string) => readonly StoredValue[],
  deps: Partial<Dependencies> = {},
): Promise<void> {
  const { log, clock } = withDefaults(deps);
  const { dataDir, nodeName, nodeIps } = server;
  const paths = serverPaths(dataDir);
  const stored = (await readFileIfExists(paths.token))?.trim();
  const tokens = server.tokens.length > 0 ? server.tokens : stored === undefined ? [] : [stored];
  const envelopes = savedKeys(bootstrapKeyPrefix).filter(({ value }) => value !== "");
  refuseUnopenable(envelopes, tokens, paths.tls);
  const { token } = await new ClusterBootstrap(savedStore(savedKeys), paths, clock, log)
    .obtain(tokens)
    .catch((cause: unknown) => {
      if (errorCode(cause) !== "bootstrap/other-token") throw cause;
      throw new KeelsonError(
        "bootstrap/other-token",
        `the token does not open the cluster's CAs and keys in the snapshot (${envelopes.map(({ key }) => key).join(", ")})`,
        { hint: "give the server token that the cluster had when the snapshot was taken; nothing was changed", cause },
      );
    });
  log.info({ files: paths.root }, "took the cluster's CAs, keys and tokens from the snapshot");
  const registration = createRegistration(
    // A token that opened the envelope is this cluster's, whatever CA it names.
    {
      dataDir,
      nodeName,
      nodeIps,
      token: normalizeToken(token),
      httpsPort: usualPort,
      kube: { socketPath: join(paths.root, "none") },
    },
    deps,
  );
  try {
    await registration.prepare();
  } finally {
    await registration.stop();
  }
}

function refuseUnopenable(envelopes: readonly StoredValue[], tokens: readonly string[], tls: string): void {
  if (envelopes.length === 0) {
    throw new KeelsonError(
      "bootstrap/missing",
      `the cluster's CAs are neither in ${tls} nor in the snapshot, which was taken before a server had stored them`,
      { hint: "choose another snapshot, or copy server/tls and server/cred of one of the cluster's servers here" },
    );
  }
  if (tokens.length === 0) {
    throw new KeelsonError(
      "token/required",
      `the cluster's CAs are not in ${tls}, and those in the snapshot (${envelopes.map(({ key }) => key).join(", ")}) open with the server token alone`,
      {
        hint: "give --token or --token-file (or K3S_TOKEN) with the server token that the cluster had; nothing was changed",
      },
    );
  }
}

/** Saved keys as a datastore; whatever would be changed in it stays as it was saved. */
function savedStore(savedKeys: (prefix: string) => readonly StoredValue[]): EnvelopeStore {
  const unchanged = async (): Promise<boolean> => false;
  return {
    list: async (prefix) => [...savedKeys(prefix)],
    create: unchanged,
    replace: unchanged,
    delete: unchanged,
    commit: unchanged,
    watch: () => () => {},
  };
}
