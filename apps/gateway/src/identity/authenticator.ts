import type { IncomingMessage } from "node:http";
import type { TLSSocket } from "node:tls";
import { type Authentication, groups, type RegistrationClient } from "@keelson/protocol/supervisor";
import type { RemoteUser } from "../upstream/headers.ts";
import type { PeerIdentities } from "./peer-identities.ts";

/** Whom a request to the Kubernetes API is forwarded for. */
export type KubeCaller =
  | { outcome: "user"; user: RemoteUser }
  /** A bearer token that only the Kubernetes API can judge. */
  | { outcome: "bearer" }
  | { outcome: "anonymous" }
  | { outcome: "refused"; reason: string };

/** Finds out who calls. Supervisor routes and the Kubernetes API accept different credentials, as in stock K3s. */
export class Authenticator {
  readonly #registration: RegistrationClient;
  readonly #peers: PeerIdentities;

  constructor(registration: RegistrationClient, peers: PeerIdentities) {
    this.#registration = registration;
    this.#peers = peers;
  }

  /**
   * For supervisor routes: Basic credentials and bootstrap tokens, then the client certificate. The first that is
   * accepted wins, a wrong one does not stop the next; only when none is accepted does a wrong one count.
   */
  async supervisorCaller(req: IncomingMessage, peer: TLSSocket): Promise<Authentication> {
    const { authorization } = req.headers;
    let refused = false;
    if (authorization !== undefined) {
      const answer = await this.#registration.authenticate({ authorization });
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

  /** For everything else: the client certificate, or a bearer token. Basic credentials mean nothing to Kubernetes. */
  kubeCaller(req: IncomingMessage, peer: TLSSocket): KubeCaller {
    const verdict = this.#peers.of(peer);
    if (verdict !== undefined && "identity" in verdict) {
      const { user, groups: held } = verdict.identity;
      return { outcome: "user", user: { user, groups: [...held, groups.authenticated] } };
    }
    if (isBearer(req)) return { outcome: "bearer" };
    if (verdict !== undefined) return { outcome: "refused", reason: verdict.rejected };
    return req.headers.authorization === undefined
      ? { outcome: "anonymous" }
      : { outcome: "refused", reason: "not a bearer token" };
  }
}

/** An Authorization header, or the subprotocol in which browsers send a token with a WebSocket. */
function isBearer(req: IncomingMessage): boolean {
  if (/^bearer\s+\S/i.test(req.headers.authorization ?? "")) return true;
  const offered = req.headers["sec-websocket-protocol"];
  return req.headers.authorization === undefined && /base64url\.bearer\.authorization\.k8s\.io\./.test(offered ?? "");
}
