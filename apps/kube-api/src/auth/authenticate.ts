import { X509Certificate } from "node:crypto";
import type { IncomingMessage } from "node:http";
import type { TLSSocket } from "node:tls";
import { apiErrors } from "../http/api-error.ts";
import type { BootstrapTokens } from "./bootstrap-tokens.ts";
import type { ServiceAccountTokens } from "./service-account-tokens.ts";
import { admin, anonymous, groups, type User } from "./user.ts";

export interface AuthenticatorConfig {
  /** PEM bundle that verifies client certificates: CN is the user, O the groups. */
  clientCaPem: string;
  /** PEM bundle that verifies the front proxy, whose X-Remote-* headers are believed. */
  requestHeaderCaPem: string;
  /** Common names a front-proxy certificate may have. */
  requestHeaderNames: readonly string[];
  tokens: ServiceAccountTokens | undefined;
  bootstrapTokens: BootstrapTokens;
}

/**
 * Finds out who asks. On the Unix socket, which only its owner can open, the peer is believed: it names the user in
 * X-Remote-* headers or is the administrator. On TLS: front proxy, client certificate, bearer token, else anonymous.
 */
export class RequestAuthenticator {
  readonly #clientCas: readonly X509Certificate[];
  readonly #proxyCas: readonly X509Certificate[];
  readonly #config: AuthenticatorConfig;
  readonly #peers = new WeakMap<object, { user: User | undefined; isProxy: boolean }>();

  constructor(config: AuthenticatorConfig) {
    this.#config = config;
    this.#clientCas = parseBundle(config.clientCaPem);
    this.#proxyCas = parseBundle(config.requestHeaderCaPem);
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

  /** The identity of a connection, found once. */
  #peer(socket: TLSSocket): { user: User | undefined; isProxy: boolean } {
    const known = this.#peers.get(socket);
    if (known !== undefined) return known;
    const certificate = socket.getPeerX509Certificate?.();
    const result = certificate === undefined ? { user: undefined, isProxy: false } : this.#identify(certificate);
    this.#peers.set(socket, result);
    return result;
  }

  #identify(certificate: X509Certificate): { user: User | undefined; isProxy: boolean } {
    const subject = subjectOf(certificate);
    const isProxy =
      isIssuedBy(certificate, this.#proxyCas) && this.#config.requestHeaderNames.includes(subject.commonName);
    if (!isIssuedBy(certificate, this.#clientCas)) return { user: undefined, isProxy };
    return { user: { name: subject.commonName, groups: [...subject.organizations, groups.authenticated] }, isProxy };
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

function parseBundle(pem: string): X509Certificate[] {
  const blocks = pem.match(/-----BEGIN CERTIFICATE-----[\s\S]*?-----END CERTIFICATE-----/g) ?? [];
  return blocks.map((block) => new X509Certificate(block));
}

function isIssuedBy(certificate: X509Certificate, authorities: readonly X509Certificate[]): boolean {
  const now = Date.now();
  if (now < Date.parse(certificate.validFrom) || now > Date.parse(certificate.validTo)) return false;
  return authorities.some((ca) => certificate.checkIssued(ca) && certificate.verify(ca.publicKey));
}

function subjectOf(certificate: X509Certificate): { commonName: string; organizations: string[] } {
  const organizations: string[] = [];
  let commonName = "";
  for (const line of certificate.subject.split("\n")) {
    if (line.startsWith("CN=")) commonName = line.slice(3);
    if (line.startsWith("O=")) organizations.push(line.slice(2));
  }
  return { commonName, organizations };
}
