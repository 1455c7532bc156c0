import { rename } from "node:fs/promises";
import { join } from "node:path";
import { readBundle } from "@keelson/pki";
import {
  type BootstrapData,
  bootstrapKey,
  bootstrapKeyPrefix,
  normalizeToken,
  openBootstrap,
  parseBootstrapData,
} from "@keelson/secret-format";
import { type Dependencies, errorCode, KeelsonError, readFileIfExists, withDefaults } from "@keelson/service";
import { writeBootstrapFiles } from "./bootstrap/bootstrap-files.ts";
import type { StoredValue } from "./bootstrap/envelope-store.ts";
import { createRegistration } from "./create-registration.ts";
import { type ServerPaths, serverPaths } from "./server-paths.ts";
import { openRotationNotice, rotationNoticeKey } from "./tokens/rotation-notice.ts";

/** A server whose files are gone, or never were, or are of another cluster. */
export interface RestoredServer {
  dataDir: string;
  nodeName: string;
  nodeIps: readonly string[];
  /** Tokens that the cluster may have had, in full or the password alone; without one the file `server/token` is read. */
  tokens: readonly string[];
}

/** What the servers of a saved cluster have in common. */
export interface SavedIdentity {
  /** Whether this server has CAs that have nothing in common with these: whoever trusts the one trusts not the other. */
  readonly isOfOtherCluster: boolean;
  /** Makes this server one of that cluster: its files, and certificates issued anew. What was there is set aside. */
  take(): Promise<void>;
}

/** Port in kubeconfigs that the next start writes anew. */
const usualPort = 6443;

/**
 * Opens the envelope among the saved keys of a datastore. Writes nothing yet; throws `bootstrap/missing`, `token/required` or
 * `bootstrap/other-token` when it cannot be opened.
 */
export async function openSavedIdentity(
  server: RestoredServer,
  savedKeys: (prefix: string) => readonly StoredValue[],
  deps: Partial<Dependencies> = {},
): Promise<SavedIdentity> {
  const { log, clock } = withDefaults(deps);
  const { dataDir, nodeName, nodeIps } = server;
  const paths = serverPaths(dataDir);
  const stored = (await readFileIfExists(paths.token))?.trim();
  const tokens = server.tokens.length > 0 ? server.tokens : stored === undefined ? [] : [stored];
  const { token, contents } = open(savedKeys, tokens);
  return {
    isOfOtherCluster: await haveNothingInCommon(paths, contents),
    async take() {
      const second = Math.floor(clock.now() / 1_000);
      for (const folder of [paths.tls, paths.kubeconfigs]) await setAside(folder, `${folder}-${second}`);
      await writeBootstrapFiles(paths, contents, log);
      // A token that opened the envelope is this cluster's, whatever CA it names.
      const identity = { dataDir, nodeName, nodeIps, token: normalizeToken(token) };
      const kube = { socketPath: join(paths.root, "none") };
      const registration = createRegistration({ ...identity, httpsPort: usualPort, kube }, deps);
      try {
        await registration.prepare();
      } finally {
        await registration.stop();
      }
      log.info({ files: paths.root }, "took the cluster's CAs, keys and tokens from the snapshot");
    },
  };
}

function open(
  savedKeys: (prefix: string) => readonly StoredValue[],
  tokens: readonly string[],
): { token: string; contents: BootstrapData } {
  const envelopes = savedKeys(bootstrapKeyPrefix).filter(({ value }) => value !== "");
  const found = envelopes.map(({ key }) => key).join(", ");
  if (envelopes.length === 0) {
    throw new KeelsonError(
      "bootstrap/missing",
      "the cluster's CAs are neither on this host nor in the snapshot, which was taken before a server had stored them",
      { hint: "choose another snapshot, or copy server/tls and server/cred of one of the cluster's servers here" },
    );
  }
  if (tokens.length === 0) {
    throw new KeelsonError(
      "token/required",
      `the cluster's CAs are not on this host, and those in the snapshot (${found}) open with the server token alone`,
      {
        hint: "give --token or --token-file (or K3S_TOKEN) with the server token that the cluster had; nothing was changed",
      },
    );
  }
  const [notice] = savedKeys(rotationNoticeKey);
  // A rotation that was still being told of when the snapshot was taken.
  const rotated = notice === undefined ? undefined : openRotationNotice(notice.value, tokens);
  for (const token of rotated === undefined ? tokens : [...tokens, rotated]) {
    const envelope = envelopes.find(({ key }) => key === bootstrapKey(token));
    if (envelope !== undefined) return { token, contents: parseBootstrapData(openBootstrap(token, envelope.value)) };
  }
  throw new KeelsonError(
    "bootstrap/other-token",
    `the token does not open the cluster's CAs and keys in the snapshot (${found})`,
    { hint: "give the server token that the cluster had when the snapshot was taken; nothing was changed" },
  );
}

/** A CA that was rotated since keeps a key of the old one in its bundle, so that agents go on trusting it. */
async function haveNothingInCommon(paths: ServerPaths, { ServerCA }: BootstrapData): Promise<boolean> {
  const ours = await readFileIfExists(paths.certificate("server-ca"));
  if (ours === undefined || ServerCA === undefined) return false;
  const theirs = new Set(publicKeys(ServerCA.content.toString()));
  return !publicKeys(ours).some((key) => theirs.has(key));
}

function publicKeys(bundlePem: string): string[] {
  return readBundle(bundlePem).map(({ publicKeyDer }) => publicKeyDer.toString("hex"));
}

async function setAside(folder: string, target: string): Promise<void> {
  try {
    await rename(folder, target);
  } catch (error) {
    if (errorCode(error) !== "ENOENT") throw error;
  }
}
