import { createPrivateKey, createPublicKey, createSign, createVerify, type KeyObject } from "node:crypto";
import type { Clock } from "@keelson/service";
import { groups, type User } from "./user.ts";

export interface ServiceAccountClaims {
  namespace: string;
  name: string;
  uid: string;
  audiences: readonly string[];
  expirationSeconds: number;
  pod?: { name: string; uid: string };
}

/** Signs and verifies service-account tokens (RS256), as kube-apiserver's bound tokens are. */
export class ServiceAccountTokens {
  readonly #privateKey: KeyObject;
  readonly #publicKey: KeyObject;
  readonly #issuer: string;
  readonly #clock: Clock;
  /** Whether the account still exists with that uid; a deleted account's tokens end with it. */
  readonly #isCurrent: (namespace: string, name: string, uid: string) => Promise<boolean>;

  constructor(
    options: { privateKeyPem: string; issuer: string },
    clock: Clock,
    isCurrent: (namespace: string, name: string, uid: string) => Promise<boolean>,
  ) {
    this.#privateKey = createPrivateKey(options.privateKeyPem);
    this.#publicKey = createPublicKey(this.#privateKey);
    this.#issuer = options.issuer;
    this.#clock = clock;
    this.#isCurrent = isCurrent;
  }

  get defaultAudience(): string {
    return this.#issuer;
  }

  sign(claims: ServiceAccountClaims): { token: string; expiresAtMs: number } {
    const now = Math.floor(this.#clock.now() / 1_000);
    const payload = {
      aud: claims.audiences.length === 0 ? [this.#issuer] : claims.audiences,
      exp: now + claims.expirationSeconds,
      iat: now,
      nbf: now,
      iss: this.#issuer,
      sub: `system:serviceaccount:${claims.namespace}:${claims.name}`,
      "kubernetes.io": {
        namespace: claims.namespace,
        serviceaccount: { name: claims.name, uid: claims.uid },
        ...(claims.pod === undefined ? {} : { pod: claims.pod }),
      },
    };
    const head = `${encode({ alg: "RS256", typ: "JWT" })}.${encode(payload)}`;
    const signature = createSign("RSA-SHA256").update(head).sign(this.#privateKey, "base64url");
    return { token: `${head}.${signature}`, expiresAtMs: payload.exp * 1_000 };
  }

  /** The account behind a token, or undefined when the token is not ours, has expired or its account is gone. */
  async verify(token: string, audiences: readonly string[] = [this.#issuer]): Promise<User | undefined> {
    const [header, body, signature, ...more] = token.split(".");
    if (header === undefined || body === undefined || signature === undefined || more.length > 0) return undefined;
    if (decode(header)?.alg !== "RS256") return undefined;
    const isGenuine = createVerify("RSA-SHA256")
      .update(`${header}.${body}`)
      .verify(this.#publicKey, signature, "base64url");
    const payload = isGenuine ? decode(body) : undefined;
    if (payload === undefined || payload.iss !== this.#issuer) return undefined;
    const now = this.#clock.now() / 1_000;
    if (typeof payload.exp !== "number" || payload.exp <= now || Number(payload.nbf ?? 0) > now + 5) return undefined;
    const offered = Array.isArray(payload.aud) ? (payload.aud as string[]) : [];
    if (!offered.some((audience) => audiences.includes(audience))) return undefined;
    const about = payload["kubernetes.io"] as { namespace: string; serviceaccount: { name: string; uid: string } };
    const { namespace, serviceaccount } = about;
    if (!(await this.#isCurrent(namespace, serviceaccount.name, serviceaccount.uid))) return undefined;
    return {
      name: `system:serviceaccount:${namespace}:${serviceaccount.name}`,
      uid: serviceaccount.uid,
      groups: [groups.serviceAccounts, `${groups.serviceAccounts}:${namespace}`, groups.authenticated],
    };
  }
}

function encode(value: object): string {
  return Buffer.from(JSON.stringify(value)).toString("base64url");
}

function decode(part: string): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(Buffer.from(part, "base64url").toString("utf8"));
    return typeof value === "object" && value !== null ? (value as Record<string, unknown>) : undefined;
  } catch {
    return undefined; // not a token; the caller answers 401
  }
}
