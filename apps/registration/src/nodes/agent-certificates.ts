import { createPublicKey, type KeyObject } from "node:crypto";
import {
  addressOf,
  DerError,
  exportPrivateKey,
  type LeafProfile,
  readCertificateRequest,
  uniqueNames,
} from "@keelson/pki";
import {
  type AgentCertificateKind,
  type Answer,
  accepted,
  type CertificateRequest,
  groups,
  nodeUser,
  refused,
} from "@keelson/protocol/supervisor";
import type { Clock, Logger } from "@keelson/service";
import type { ServerPki } from "../certificates/server-pki.ts";
import type { NodePasswords } from "./node-passwords.ts";

/** More addresses than this in one request are a mistake or an attack. */
const maxNodeAddresses = 32;

/** Issues the certificates that agents ask for. Source: supervisor reference 3.3. */
export class AgentCertificates {
  readonly #pki: ServerPki;
  readonly #passwords: NodePasswords;
  readonly #clock: Clock;
  readonly #log: Logger;

  constructor(pki: ServerPki, passwords: NodePasswords, clock: Clock, log: Logger) {
    this.#pki = pki;
    this.#passwords = passwords;
    this.#clock = clock;
    this.#log = log;
  }

  async issue(request: CertificateRequest): Promise<Answer<string>> {
    const key = readRequestKey(request.csrDer);
    if (!key.ok) return key;
    switch (request.kind) {
      case "client-kubelet":
      case "serving-kubelet":
        return this.#issueForNode(request.kind, request, key.value);
      case "client-kube-proxy":
        return this.#issueShared(request.kind, key.value, { commonName: "system:kube-proxy", purposes: ["client"] });
      case "client-k3s-controller":
        return this.#issueShared(request.kind, key.value, {
          commonName: "system:k3s-controller",
          purposes: ["client"],
        });
    }
  }

  async #issueForNode(
    kind: "client-kubelet" | "serving-kubelet",
    request: CertificateRequest,
    key: KeyObject | undefined,
  ): Promise<Answer<string>> {
    const verified = await this.#passwords.verify(request.node, request.caller);
    if (!verified.ok) {
      const { code, hint } = verified.refusal;
      this.#log.debug({ kind, node: request.node.name?.slice(0, 64), code, hint }, "certificate refused");
      return verified;
    }
    const { nodeName } = verified.value;
    const profile =
      kind === "client-kubelet" ? accepted(clientProfile(nodeName)) : servingProfile(nodeName, request.node.ips);
    if (!profile.ok) return profile;
    const authority = this.#pki.authority(kind === "client-kubelet" ? "client" : "server");
    const shared = key === undefined ? this.#pki.sharedKey(kind) : undefined;
    const publicKey = key ?? createPublicKey(shared!);
    const pem = authority.issue(profile.value, publicKey, this.#clock.now(), this.#pki.leafLifetimeMs);
    return accepted(shared === undefined ? pem : pem + exportPrivateKey(shared));
  }

  /** Without a request of its own an agent gets the certificate and key that are the same on all nodes. */
  async #issueShared(
    kind: Exclude<AgentCertificateKind, "client-kubelet" | "serving-kubelet">,
    key: KeyObject | undefined,
    profile: LeafProfile,
  ): Promise<Answer<string>> {
    if (key === undefined) {
      const { certPem, keyPem } = await this.#pki.readPair(kind);
      return accepted(certPem + keyPem);
    }
    return accepted(this.#pki.authority("client").issue(profile, key, this.#clock.now(), this.#pki.leafLifetimeMs));
  }
}

/** The key of a request; undefined when there is none (an empty body), which asks for the legacy form. */
function readRequestKey(csrDer: Uint8Array | undefined): Answer<KeyObject | undefined> {
  if (csrDer === undefined || csrDer.length === 0) return accepted(undefined);
  try {
    return accepted(readCertificateRequest(csrDer));
  } catch (error) {
    if (!(error instanceof DerError)) throw error;
    return refused(400, "csr/invalid", `invalid certificate request: ${error.message}`, {
      hint: "send a PKCS#10 request in DER, not in PEM",
    });
  }
}

function clientProfile(nodeName: string): LeafProfile {
  return { commonName: nodeUser(nodeName), organizations: [groups.nodes], purposes: ["client"] };
}

function servingProfile(nodeName: string, ips: string | undefined): Answer<LeafProfile> {
  const addresses = ips === undefined ? [] : ips.split(",");
  const invalid = addresses.length > maxNodeAddresses || addresses.some((address) => addressOf(address) === undefined);
  if (invalid) return refused(500, "node-ip/invalid", "invalid IP address <nil>");
  return accepted({
    commonName: nodeName,
    purposes: ["server"],
    names: uniqueNames([nodeName, "localhost", "127.0.0.1", ...addresses]),
  });
}
