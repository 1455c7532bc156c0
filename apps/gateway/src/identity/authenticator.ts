import type { IncomingMessage } from "node:http";
import type { TLSSocket } from "node:tls";
import { type Authentication, groups, type RegistrationClient } from "@keelson/protocol/supervisor";
import { type Clock, KeelsonError } from "@keelson/service";
import { InFlight } from "../limits/in-flight.ts";
import type { RemoteUser } from "../upstream/headers.ts";
import type { PeerIdentities } from "./peer-identities.ts";

/** Who calls the Kubernetes API, as far as this gateway can tell. */
export type KubeCaller =
  | { outcome: "user"; user: RemoteUser }
  /** A bearer token that only the Kubernetes API can judge. */
  | { outcome: "bearer"; token: string }
  | { outcome: "anonymous" }
  | { outcome: "refused" };

/**
 * Credentials that are looked at and that wait for it: nobody has proven anything yet, and registration may be on another
 * host. In one process an answer takes no time, and nobody waits.
 */
const judging = { limit: 64, waiting: 2_000, maxWaitMs: 3_000 };

/** Finds out who calls. Supervisor routes and the Kubernetes API accept different credentials, as in stock K3s. */
export class Authenticator {
  readonly #registration: RegistrationClient;
  readonly #peers: PeerIdentities;
  readonly #judging: InFlight;

  constructor(registration: RegistrationClient, peers: PeerIdentities, clock: Clock) {
    this.#registration = registration;
    this.#peers = peers;
    this.#judging = new InFlight(judging, clock);
  }

  /**
   * For supervisor routes: Basic credentials and bootstrap tokens, then the client certificate. The first that is
   * accepted wins, a wrong one does not stop the next; only when none is accepted does a wrong one count. Throws
   * `gateway/busy` (429) when too many wait.
   */
  async supervisorCaller(req: IncomingMessage, peer: TLSSocket): Promise<Authentication> {
    const { authorization } = req.headers;
    let refused = false;
    if (authorization !== undefined) {
      const answer = await this.#judge(authorization);
      if (answer.outcome === "authenticated") return answer;
      refused = answer.outcome === "refused";
    }
    const verdict = this.#peers.of(peer);
    if (verdict === undefined) return { outcome: refused ? "refused" : "anonymous" };
    if ("rejected" in verdict) return { outcome: "refused" };
    const { user, groups: held } = verdict.identity;
    return {
      outcome: "authenticated",
      identity: { user, groups: [...held, groups.authenticated], method: "client-certificate" },
    };
  }

  async #judge(authorization: string): Promise<Authentication> {
    const release = await this.#judging.enter();
    if (release === undefined) {
      throw new KeelsonError("gateway/busy", "Too many requests, please try again later.", { status: 429 });
    }
    try {
      return await this.#registration.authenticate({ authorization });
    } finally {
      release();
    }
  }

  /** For everything else: the client certificate, or a bearer token. Basic credentials mean nothing to Kubernetes. */
  kubeCaller(req: IncomingMessage, peer: TLSSocket): KubeCaller {
    const verdict = this.#peers.of(peer);
    if (verdict !== undefined && "identity" in verdict) {
      const { user, groups: held } = verdict.identity;
      return { outcome: "user", user: { user, groups: [...held, groups.authenticated] } };
    }
    const token = bearerToken(req);
    if (token !== undefined) return { outcome: "bearer", token };
    const presented = verdict !== undefined || req.headers.authorization !== undefined;
    return { outcome: presented ? "refused" : "anonymous" };
  }
}

const subprotocolPrefix = "base64url.bearer.authorization.k8s.io.";
/** RFC 6750's b64token: what a bearer token may consist of. */
const tokenPattern = /^[A-Za-z0-9._~+/-]+=*$/;

/** The token of the Authorization header, or of the subprotocol in which browsers send one with a WebSocket. */
function bearerToken(req: IncomingMessage): string | undefined {
  const { authorization } = req.headers;
  const offered = req.headers["sec-websocket-protocol"] ?? "";
  const fromHeader = /^bearer +(\S+)$/i.exec(authorization ?? "")?.[1];
  const encoded = offered
    .split(",")
    .map((protocol) => protocol.trim())
    .find((protocol) => protocol.startsWith(subprotocolPrefix));
  const fromProtocol =
    encoded === undefined ? undefined : Buffer.from(encoded.slice(subprotocolPrefix.length), "base64url").toString();
  const token = authorization === undefined ? fromProtocol : fromHeader;
  return token !== undefined && tokenPattern.test(token) ? token : undefined;
}
