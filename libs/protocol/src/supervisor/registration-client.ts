import type { Authentication, Credentials, Identity } from "./identity.ts";
import type { NodeClaims } from "./node-headers.ts";
import type { Answer } from "./refusal.ts";
import type { ServerConfig } from "./server-config.ts";

/** The certificates that agents ask for, named as their routes. */
export type AgentCertificateKind = "serving-kubelet" | "client-kubelet" | "client-kube-proxy" | "client-k3s-controller";

export interface CertificateRequest {
  kind: AgentCertificateKind;
  /** Who asks, after the role check of the route. */
  caller: Identity;
  /** The node headers; checked for the two kubelet kinds only. */
  node: NodeClaims;
  /**
   * The body of a POST: a PKCS#10 request in DER, of which only the public key counts. Left out (any other method), or
   * not parsable, the answer is in the legacy form that carries the cluster's shared private key.
   */
  csrDer?: Uint8Array;
}

export interface ListenerRequest {
  /** PKCS#10 request in DER for the listener's key; the key itself stays with its owner. */
  csrDer: Uint8Array;
  /** DNS names and IP literals seen on connections so far, beyond the configured ones. */
  names: readonly string[];
}

export interface ListenerCertificate {
  /** Leaf, then the server CA bundle. */
  chainPem: string;
  /** The names that the certificate carries: the configured ones and those of the request that passed the guard. */
  names: readonly string[];
  /** Wall-clock milliseconds at which to ask for the next one. */
  renewAtMs: number;
}

/** The public halves of the cluster's CAs, as exact file contents: the token pins their bytes. */
export interface CaBundles {
  /** Body of `/cacerts` and of `/v1-k3s/server-ca.crt`. */
  serverCaPem: string;
  /** Body of `/v1-k3s/client-ca.crt`; verifies TLS client certificates. */
  clientCaPem: string;
  /** Verifies the front proxy's client certificate at the Kubernetes API. */
  requestHeaderCaPem: string;
}

/** A leaf that a server keeps for itself, as `/v1-k3s/cert/status` shows it. */
export interface LeafSummary {
  /** File below `server/tls`, without ending. */
  name: string;
  commonName: string;
  /** RFC 3339. */
  notBefore: string;
  notAfter: string;
  /** When it is renewed, and why at once, if so. */
  renewAt: string;
  reason?: string;
}

/**
 * What the gateway asks of registration: a function call in one process, mutual TLS when scaled apart. CA keys and
 * tokens stay on the other side of it.
 */
export interface RegistrationClient {
  /** Basic and bootstrap tokens, then the client certificate. Never throws for a wrong credential. */
  authenticate(credentials: Credentials): Promise<Authentication>;
  /** PEM body of the answer: leaf, CA bundle and, in the legacy form, the shared key. */
  issueCertificate(request: CertificateRequest): Promise<Answer<string>>;
  /** Signs (or renews, or extends) the listener certificate of a gateway. */
  signListener(request: ListenerRequest): Promise<Answer<ListenerCertificate>>;
  caBundles(): Promise<CaBundles>;
  /** The document behind `/v1-k3s/config`. */
  clusterConfig(): Promise<ServerConfig>;
  /** `host:port` of every live API server; empty while none is known. */
  apiServers(): Promise<readonly string[]>;
  /** Behind `/v1-k3s/readyz`; refused with 503 until the API answers. */
  readiness(): Promise<Answer<"ok">>;
  /** The bootstrap pieces in clear, as the JSON that joining servers read. */
  serverBootstrap(): Promise<Answer<string>>;
  /** Replaces the server token everywhere; an empty one is drawn at random. Resolves to nothing that is secret. */
  rotateToken(newToken: string): Promise<Answer<void>>;
  /** Installs new CAs from bootstrap-format JSON; without `force` only if existing certificates stay valid. */
  replaceCas(bootstrapJson: string, force: boolean): Promise<Answer<void>>;
  /** Every leaf of the server that registration runs on. */
  leafStatus(): Promise<readonly LeafSummary[]>;
  /** Reissues one of them now, by its name. */
  renewLeaf(name: string): Promise<Answer<void>>;
}
