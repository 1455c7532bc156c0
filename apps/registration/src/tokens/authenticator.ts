import { createHash } from "node:crypto";
import { type CertificateInfo, readTrustBundle, verifyChain } from "@keelson/pki";
import { type Authentication, type Credentials, groups, type Identity } from "@keelson/protocol/supervisor";
import { type BootstrapToken, type BootstrapTokenId, parseBootstrapToken, secretsEqual } from "@keelson/secret-format";
import type { Clock } from "@keelson/service";
import type { CredentialStore } from "./credentials.ts";

/** Finds a stored bootstrap token by its id; undefined when there is none, or when the API cannot be asked. */
export type FindBootstrapToken = (id: string) => Promise<BootstrapToken | undefined>;

/** Looks closer at a password that nobody has: true when it is somebody's now. */
export type ReconsiderPassword = (password: string) => Promise<boolean>;

/** A longer header is not read: nobody's token is that long, and work before authentication is bounded. */
const maxHeaderLength = 8_192;
const maxCachedCertificates = 4_096;

type Attempt = { kind: "none" } | { kind: "wrong" } | { kind: "ok"; identity: Identity };

/**
 * Who a request comes from: Basic against passwd, Bearer against bootstrap tokens, then the TLS client certificate. The
 * first success wins; a credential that fails does not stop the next one from being tried. Source: K3s supervisor auth.
 */
export class Authenticator {
  readonly #credentials: CredentialStore;
  readonly #findBootstrapToken: FindBootstrapToken;
  readonly #reconsider: ReconsiderPassword;
  readonly #clock: Clock;
  #trusted: readonly CertificateInfo[] = [];
  /** Verified certificates by fingerprint, oldest first: a node's connections all present the same one. */
  readonly #verified = new Map<string, { identity: Identity; notAfterMs: number }>();

  constructor(
    credentials: CredentialStore,
    findBootstrapToken: FindBootstrapToken,
    reconsider: ReconsiderPassword,
    clock: Clock,
  ) {
    this.#credentials = credentials;
    this.#findBootstrapToken = findBootstrapToken;
    this.#reconsider = reconsider;
    this.#clock = clock;
  }

  /** Client certificates are verified against this bundle from now on. */
  trust(clientCaPem: string): void {
    this.#trusted = readTrustBundle(clientCaPem);
    this.#verified.clear();
  }

  async authenticate(credentials: Credentials): Promise<Authentication> {
    const byHeader = await this.#tryHeader(credentials.authorization);
    if (byHeader.kind === "ok") return { outcome: "authenticated", identity: byHeader.identity };
    const byCertificate = this.#tryCertificate(credentials.clientCertificates ?? []);
    if (byCertificate.kind === "ok") return { outcome: "authenticated", identity: byCertificate.identity };
    const wrong = byHeader.kind === "wrong" || byCertificate.kind === "wrong";
    return { outcome: wrong ? "refused" : "anonymous" };
  }

  async #tryHeader(header: string | undefined): Promise<Attempt> {
    if (header === undefined || header === "") return { kind: "none" };
    const space = header.indexOf(" ");
    const scheme = header.slice(0, Math.max(0, space)).toLowerCase();
    if (scheme === "basic")
      return this.#tryBasic(header.length > maxHeaderLength ? undefined : header.slice(space + 1));
    // Any bearer token counts as a credential: one that nobody knows is wrong, not missing.
    if (scheme === "bearer") return this.#tryBearer(header.slice(space + 1, maxHeaderLength).trim());
    return { kind: "none" };
  }

  async #tryBasic(encoded: string | undefined): Promise<Attempt> {
    if (encoded === undefined) return { kind: "wrong" };
    // Go's decoder is strict; what it does not read counts as no credential at all.
    if (!/^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/.test(encoded)) return { kind: "none" };
    const text = Buffer.from(encoded, "base64").toString("utf8");
    const colon = text.indexOf(":");
    if (colon < 0) return { kind: "none" };
    const [name, password] = [text.slice(0, colon), text.slice(colon + 1)];
    let entry = this.#credentials.check(name, password);
    if (entry === undefined && (await this.#reconsider(password))) entry = this.#credentials.check(name, password);
    if (entry === undefined) return { kind: "wrong" };
    return success(entry.name, entry.groups, "basic");
  }

  async #tryBearer(text: string): Promise<Attempt> {
    const presented = parseBootstrapToken(text);
    if (presented === undefined) return { kind: "wrong" };
    const stored = await this.#findBootstrapToken(presented.id);
    if (stored === undefined || !this.#isUsable(stored, presented)) return { kind: "wrong" };
    const extra = stored.groups.filter((group) => group.startsWith(`${groups.bootstrappers}:`));
    return success(`system:bootstrap:${stored.id}`, [groups.bootstrappers, ...extra], "bootstrap-token");
  }

  #isUsable(stored: BootstrapToken, presented: BootstrapTokenId): boolean {
    const same = secretsEqual(stored.secret, presented.secret);
    const fresh = stored.expiresAtMs === undefined || stored.expiresAtMs > this.#clock.now();
    return same && fresh && stored.usages.includes("authentication");
  }

  #tryCertificate(presented: readonly Uint8Array[]): Attempt {
    const [leaf] = presented;
    if (leaf === undefined) return { kind: "none" };
    const nowMs = this.#clock.now();
    const fingerprint = createHash("sha256").update(leaf).digest("base64");
    const known = this.#verified.get(fingerprint);
    if (known !== undefined && known.notAfterMs > nowMs) return { kind: "ok", identity: known.identity };
    const verified = verifyChain(presented, this.#trusted, "client", nowMs);
    if (!verified.ok) return { kind: "wrong" };
    const { commonName, organizations, notAfterMs } = verified.certificate;
    if (commonName === "") return { kind: "wrong" };
    const result = success(commonName, organizations, "client-certificate");
    if (this.#verified.size >= maxCachedCertificates) this.#verified.delete(this.#verified.keys().next().value!);
    this.#verified.set(fingerprint, { identity: result.identity, notAfterMs });
    return result;
  }
}

function success(
  user: string,
  held: readonly string[],
  method: Identity["method"],
): { kind: "ok"; identity: Identity } {
  return { kind: "ok", identity: { user, groups: [...held, groups.authenticated], method } };
}
