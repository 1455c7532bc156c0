import {
  Authority,
  type AuthorityName,
  authorityFiles,
  importPrivateKey,
  readTrustBundle,
  verifyChain,
} from "@keelson/pki";
import { type Answer, accepted, refused } from "@keelson/protocol/supervisor";
import type { BootstrapData, BootstrapPieceName } from "@keelson/secret-format";
import { type Clock, errorMessage } from "@keelson/service";
import type { ServerPki } from "./server-pki.ts";

/** Names of each CA's pieces in the bootstrap data. */
export const caPieces: Readonly<Record<AuthorityName, { certificate: BootstrapPieceName; key: BootstrapPieceName }>> = {
  server: { certificate: "ServerCA", key: "ServerCAKey" },
  client: { certificate: "ClientCA", key: "ClientCAKey" },
  "request-header": { certificate: "RequestHeaderCA", key: "RequestHeaderCAKey" },
  "etcd-server": { certificate: "ETCDServerCA", key: "ETCDServerCAKey" },
  "etcd-peer": { certificate: "ETCDPeerCA", key: "ETCDPeerCAKey" },
};

/** A CA that is to replace another. */
export interface NewAuthority {
  name: AuthorityName;
  bundlePem: string;
  keyPem: string;
}

/**
 * The CAs of a request that differ from ours. Without `force` each must continue the old one both ways: whoever trusts the
 * old bundle must accept what the new CA signs, and the new bundle must accept what the old CA signed; else running agents
 * would be cut off. Writes nothing.
 */
export function checkAuthorities(
  pki: ServerPki,
  data: BootstrapData,
  force: boolean,
  clock: Clock,
): Answer<NewAuthority[]> {
  let found: NewAuthority[];
  try {
    found = readAuthorities(data);
  } catch (error) {
    return refused(400, "ca/invalid", errorMessage(error));
  }
  if (found.length === 0) return refused(400, "ca/none", "there is no new CA in the request");
  for (const { name, bundlePem, keyPem } of found) {
    const problem = checkAuthority(pki.authority(name), bundlePem, keyPem, force, clock.now());
    if (problem === undefined) continue;
    return refused(400, "ca/refused", `${authorityFiles[name].file}: ${problem}`, {
      hint: "cross-sign the new CA with the old root, or use --force and restart every agent with a new token",
    });
  }
  return accepted(found.filter(({ name, bundlePem }) => pki.authority(name).bundlePem !== bundlePem));
}

/** The pieces of bootstrap data that new CAs are. */
export function piecesOf(authorities: readonly NewAuthority[], modifiedMs: number): BootstrapData {
  return Object.fromEntries(
    authorities.flatMap(({ name, bundlePem, keyPem }) => [
      [caPieces[name].certificate, { content: Buffer.from(bundlePem), modifiedMs }],
      [caPieces[name].key, { content: Buffer.from(keyPem), modifiedMs }],
    ]),
  );
}

function readAuthorities(data: BootstrapData): NewAuthority[] {
  const found: NewAuthority[] = [];
  for (const name of Object.keys(caPieces) as AuthorityName[]) {
    const [certificate, key] = [data[caPieces[name].certificate], data[caPieces[name].key]];
    if (certificate === undefined && key === undefined) continue;
    if (certificate === undefined || key === undefined) {
      throw new Error(`${caPieces[name].certificate} and ${caPieces[name].key} must come together`);
    }
    found.push({ name, bundlePem: certificate.content.toString(), keyPem: key.content.toString() });
  }
  return found;
}

function checkAuthority(
  old: Authority,
  bundlePem: string,
  keyPem: string,
  force: boolean,
  nowMs: number,
): string | undefined {
  let next: Authority;
  try {
    next = new Authority(bundlePem, importPrivateKey(keyPem));
  } catch (error) {
    return errorMessage(error);
  }
  if (next.certificate.notAfterMs <= nowMs) return "the new CA has expired";
  if (force || next.bundlePem === old.bundlePem) return undefined;
  const chains = (from: string, to: string): boolean => {
    const bundle = readTrustBundle(to);
    const chain = readTrustBundle(from);
    const already = bundle.some((trusted) => trusted.der.equals(chain[0]!.der));
    return (
      already ||
      verifyChain(
        chain.map(({ der }) => der),
        bundle,
        "server",
        nowMs,
      ).ok
    );
  };
  if (!chains(next.bundlePem, old.bundlePem)) return "the new CA is not signed by a certificate of the old bundle";
  if (!chains(old.bundlePem, next.bundlePem)) return "the new bundle does not vouch for the old CA";
  return undefined;
}
