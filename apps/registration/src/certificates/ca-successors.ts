import { join } from "node:path";
import {
  Authority,
  type AuthorityName,
  authorityFiles,
  exportPrivateKey,
  generateEcKey,
  importPrivateKey,
} from "@keelson/pki";
import {
  type BootstrapData,
  type BootstrapPieceName,
  bootstrapPieces,
  formatBootstrapData,
} from "@keelson/secret-format";
import { KeelsonError, readFileIfExists } from "@keelson/service";
import { serverPaths } from "../server-paths.ts";
import { caPieces } from "./ca-rotation.ts";

/**
 * New CAs for a cluster, each signed by the one that it succeeds, in the form that `PUT /v1-k3s/cert/cacerts` takes. What
 * trusts the old CA accepts what the new one signs, and the other way round, so nothing is cut off.
 */
export async function createSuccessorCas(dataDir: string, nowMs: number): Promise<string> {
  const paths = serverPaths(dataDir);
  const data: BootstrapData = {};
  for (const name of Object.keys(authorityFiles) as AuthorityName[]) {
    const { prefix, file } = authorityFiles[name];
    const [bundlePem, keyPem] = await Promise.all([
      readFileIfExists(paths.certificate(file)),
      readFileIfExists(paths.key(file)),
    ]);
    if (bundlePem === undefined || keyPem === undefined) throw missing(paths.certificate(file));
    const key = await generateEcKey();
    const successor = new Authority(bundlePem, importPrivateKey(keyPem)).issueSuccessor(prefix, key, nowMs);
    setPiece(data, caPieces[name].certificate, successor, nowMs);
    setPiece(data, caPieces[name].key, exportPrivateKey(key), nowMs);
  }
  return formatBootstrapData(data);
}

/** CAs that an administrator laid out below `directory` as K3s lays them out (`tls/server-ca.crt`, …); any subset. */
export async function readCas(directory: string): Promise<string> {
  const data: BootstrapData = {};
  for (const { certificate, key } of Object.values(caPieces)) {
    for (const piece of [certificate, key]) {
      const text = await readFileIfExists(join(directory, bootstrapPieces[piece]));
      if (text !== undefined) setPiece(data, piece, text, Date.now());
    }
  }
  if (Object.keys(data).length === 0) throw missing(join(directory, bootstrapPieces.ServerCA));
  return formatBootstrapData(data);
}

function setPiece(data: BootstrapData, name: BootstrapPieceName, text: string, modifiedMs: number): void {
  data[name] = { content: Buffer.from(text), modifiedMs };
}

function missing(file: string): KeelsonError {
  return new KeelsonError("ca/missing", `${file} and its key are not there`, {
    hint: "run this on a server, or name a folder that holds the new CAs with --path",
  });
}
