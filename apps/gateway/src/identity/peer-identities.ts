import { createHash } from "node:crypto";
import type { TLSSocket } from "node:tls";
import { type CertificateInfo, presentedChain, readTrustBundle, verifyChain } from "@keelson/pki";
import type { Clock } from "@keelson/service";

/** Who a verified client certificate speaks for: CN is the user, every O a group. */
export interface PeerIdentity {
  user: string;
  groups: readonly string[];
  /** The identity is void from this time on (milliseconds since the epoch), even on an open connection. */
  notAfterMs: number;
}

export type PeerVerdict = { identity: PeerIdentity } | { rejected: string };

interface Peer {
  /** DER, leaf first; undefined when the client sent no certificate. */
  chain: readonly Uint8Array[] | undefined;
  verdict: PeerVerdict | undefined;
  /** The trust bundle that the verdict was made with. */
  generation: number;
}

/** Certificates whose verification is remembered, and for how long: an agent opens a connection for every request. */
const maxRemembered = 4_096;
const rememberedMs = 600_000;

/**
 * The identity of each connection. Its client certificate is verified once, when first asked for (TLS itself only
 * proves that the peer holds the key), and again only after the client CA has changed. A certificate that expires
 * takes the identity from the open connection too.
 */
export class PeerIdentities {
  readonly #clock: Clock;
  readonly #peers = new WeakMap<TLSSocket, Peer>();
  /** Accepted chains by digest, oldest first. */
  readonly #accepted = new Map<string, { verdict: PeerVerdict; untilMs: number }>();
  #trusted: readonly CertificateInfo[] = [];
  #generation = 0;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Certificates are from now on verified against this bundle. */
  trust(clientCaPem: string): void {
    this.#trusted = readTrustBundle(clientCaPem);
    this.#accepted.clear();
    this.#generation++;
  }

  /** Undefined when the client sent no certificate. */
  of(socket: TLSSocket): PeerVerdict | undefined {
    const peer = this.#peers.get(socket) ?? this.#read(socket);
    if (peer.generation !== this.#generation) {
      peer.verdict = peer.chain === undefined ? undefined : this.#judge(peer.chain);
      peer.generation = this.#generation;
    }
    const { verdict } = peer;
    if (verdict !== undefined && "identity" in verdict && verdict.identity.notAfterMs < this.#clock.now()) {
      return { rejected: "expired" };
    }
    return verdict;
  }

  /** Node hands out a peer's certificate only once per connection. */
  #read(socket: TLSSocket): Peer {
    const leaf = socket.getPeerX509Certificate();
    const peer = { chain: leaf === undefined ? undefined : presentedChain(leaf), verdict: undefined, generation: -1 };
    this.#peers.set(socket, peer);
    return peer;
  }

  #judge(chain: readonly Uint8Array[]): PeerVerdict {
    const digest = createHash("sha256");
    for (const der of chain) digest.update(der);
    const key = digest.digest("base64");
    const nowMs = this.#clock.now();
    const known = this.#accepted.get(key);
    if (known !== undefined && known.untilMs > nowMs) return known.verdict;
    const verdict = this.#verify(chain, nowMs);
    if ("identity" in verdict) {
      this.#accepted.delete(key);
      const [oldest] = this.#accepted.keys();
      if (oldest !== undefined && this.#accepted.size >= maxRemembered) this.#accepted.delete(oldest);
      this.#accepted.set(key, { verdict, untilMs: nowMs + rememberedMs });
    }
    return verdict;
  }

  #verify(chain: readonly Uint8Array[], nowMs: number): PeerVerdict {
    const outcome = verifyChain(chain, this.#trusted, "client", nowMs);
    if (!outcome.ok) return { rejected: outcome.reason };
    const { commonName: user, organizations: groups, notAfterMs } = outcome.certificate;
    if (user === "") return { rejected: "no-common-name" };
    if (![user, ...groups].every(survivesHeader)) return { rejected: "name-not-forwardable" };
    return { identity: { user, groups, notAfterMs } };
  }
}

/** Blanks at the ends and control characters would not arrive as sent in an HTTP header: another name would. */
function survivesHeader(name: string): boolean {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what is looked for
  return name === name.trim() && !/[\0-\x1f\x7f]/.test(name);
}
