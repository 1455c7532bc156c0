import type { IncomingMessage } from "node:http";
import type { TLSSocket } from "node:tls";
import { type CertificateInfo, presentedChain, readTrustBundle, verifyChain } from "@keelson/pki";
import { apiErrors } from "../http/api-error.ts";
import type { BootstrapTokens } from "./bootstrap-tokens.ts";
import type { ServiceAccountTokens } from "./service-account-tokens.ts";
import { admin, anonymous, groups, type User } from "./user.ts";

/** Whose certificates are believed. */
export interface TrustedCas {
  /** PEM bundle that verifies client certificates: CN is the user, O the groups. */
  clientCaPem: string;
  /** PEM bundle that verifies the front proxy, whose X-Remote-* headers are believed. */
  requestHeaderCaPem: string;
}

export interface AuthenticatorConfig extends TrustedCas {
  /** Common names a front-proxy certificate may have. */
  requestHeaderNames: readonly string[];
  tokens: ServiceAccountTokens | undefined;
  bootstrapTokens: BootstrapTokens;
}

/** Who is at the other end of a TLS connection. */
interface Peer {
  /** DER, leaf first; empty without a certificate. */
  chain: readonly Uint8Array[];
  user: User | undefined;
  isProxy: boolean;
  /** The verdict holds until then (milliseconds since the epoch). */
  untilMs: number;
  /** The CAs that it was found with. */
  generation: number;
}

/**
 * Finds out who asks. On the Unix socket, which only its owner can open, the peer is believed: it names the user in
 * X-Remote-* headers or is the administrator. On TLS: front proxy, client certificate, bearer token, else anonymous.
 */
export class RequestAuthenticator {
  readonly #config: AuthenticatorConfig;
  #clientCas: readonly CertificateInfo[] = [];
  #proxyCas: readonly CertificateInfo[] = [];
  /** Goes up when other CAs are trusted: every connection is then judged again. */
  #generation = 0;
  readonly #peers = new WeakMap<object, Peer>();

  constructor(config: AuthenticatorConfig) {
    this.#config = config;
    this.trust(config);
  }

  /** Believes the certificates of these CAs from now on, on open connections too. */
  trust({ clientCaPem, requestHeaderCaPem }: TrustedCas): void {
    this.#clientCas = readTrustBundle(clientCaPem);
    this.#proxyCas = readTrustBundle(requestHeaderCaPem);
    this.#generation++;
  }

  async authenticate(request: IncomingMessage, isTrustedSocket: boolean): Promise<User> {
    if (isTrustedSocket) return remoteUser(request) ?? (await this.#bearer(request)) ?? localAdmin(request);
    const peer = this.#peer(request.socket as TLSSocket);
    if (peer.isProxy) {
      const remote = remoteUser(request);
      if (remote !== undefined) return remote;
    }
    if (peer.user !== undefined) return peer.user;
    return (await this.#bearer(request)) ?? anonymous;
  }

  /** The identity of a connection: found once, until its certificate ends or other CAs are trusted. */
  #peer(socket: TLSSocket): Peer {
    const known = this.#peers.get(socket);
    const nowMs = Date.now();
    if (known !== undefined && known.generation === this.#generation && known.untilMs >= nowMs) return known;
    const chain = known?.chain ?? chainOf(socket);
    const peer = { chain, generation: this.#generation, ...this.#identify(chain, nowMs) };
    this.#peers.set(socket, peer);
    return peer;
  }

  #identify(chain: readonly Uint8Array[], nowMs: number): Omit<Peer, "chain" | "generation"> {
    const nobody = { user: undefined, isProxy: false, untilMs: Number.POSITIVE_INFINITY };
    if (chain.length === 0) return nobody;
    const asProxy = verifyChain(chain, this.#proxyCas, "client", nowMs);
    const asClient = verifyChain(chain, this.#clientCas, "client", nowMs);
    const certificate = asProxy.ok ? asProxy.certificate : asClient.ok ? asClient.certificate : undefined;
    if (certificate === undefined) return nobody;
    const { commonName: name, organizations, notAfterMs: untilMs } = certificate;
    const isProxy = asProxy.ok && this.#config.requestHeaderNames.includes(name);
    const isUser = asClient.ok && name !== "";
    return { user: isUser ? { name, groups: [...organizations, groups.authenticated] } : undefined, isProxy, untilMs };
  }

  async #bearer(request: IncomingMessage): Promise<User | undefined> {
    const token = /^Bearer\s+(\S+)$/i.exec(request.headers.authorization ?? "")?.[1];
    if (token === undefined) return undefined;
    const { tokens, bootstrapTokens } = this.#config;
    const user = (await tokens?.verify(token)) ?? (await bootstrapTokens.verify(token));
    if (user === undefined) throw apiErrors.unauthorized();
    return user;
  }
}

/**
 * A request on the trusted socket that names nobody is the administrator's own. One that tried to name somebody, in a way
 * that cannot be read, must not become one of those.
 */
function localAdmin({ headers }: IncomingMessage): User {
  const names =
    Object.keys(headers).some((name) => name.startsWith("x-remote-")) || headers.authorization !== undefined;
  if (names) throw apiErrors.unauthorized();
  return admin;
}

/** The user that a front proxy names, or undefined when it names none. */
function remoteUser(request: IncomingMessage): User | undefined {
  const name = request.headers["x-remote-user"];
  if (typeof name !== "string" || name === "") return undefined;
  const named: string[] = [];
  const extra: Record<string, string[]> = {};
  const raw = request.rawHeaders;
  for (let index = 0; index < raw.length; index += 2) {
    const header = raw[index]!.toLowerCase();
    if (header === "x-remote-group") named.push(raw[index + 1]!);
    else if (header.startsWith("x-remote-extra-")) {
      const key = decoded(header.slice("x-remote-extra-".length));
      extra[key] = [...(extra[key] ?? []), raw[index + 1]!];
    }
  }
  if (!named.includes(groups.authenticated) && !named.includes(groups.unauthenticated))
    named.push(groups.authenticated);
  return { name, groups: named, extra };
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text; // not encoded after all
  }
}

/** Node hands out a peer's certificates only once per connection. */
function chainOf(socket: TLSSocket): readonly Uint8Array[] {
  const leaf = socket.getPeerX509Certificate?.();
  return leaf === undefined ? [] : presentedChain(leaf);
}
