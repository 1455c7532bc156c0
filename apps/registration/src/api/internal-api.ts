import { createPublicKey } from "node:crypto";
import type { IncomingMessage, ServerResponse } from "node:http";
import { createServer, type Server } from "node:https";
import type { AddressInfo, Socket } from "node:net";
import type { TLSSocket } from "node:tls";
import { addressOf, DerError, exportPrivateKey, generateEcKey, isDnsName, readCertificateRequest } from "@keelson/pki";
import { type Authentication, groups, type Identity, type RegistrationClient } from "@keelson/protocol/supervisor";
import { type Clock, errorMessage, KeelsonError, type Logger, readFileIfExists, type Service } from "@keelson/service";
import type { ServerPki } from "../certificates/server-pki.ts";
import { bytes, calls, record, strings, text } from "./calls.ts";
import { componentBundles, componentCertificates } from "./component-certificates.ts";
import {
  bundlesPath,
  type ComponentName,
  componentGroups,
  decodeMessage,
  encodeMessage,
  enrolPath,
  isComponentName,
  type Method,
  maxMessageBytes,
  methodPath,
} from "./wire.ts";

export interface InternalApiOptions {
  host: string;
  /** 0 takes any free port. */
  port: number;
  /** Names of its certificate. */
  names: readonly string[];
}

const requestTimeoutMs = 15_000;
const methodsByPath = new Map((Object.keys(calls) as Method[]).map((method) => [methodPath(method), method]));

/**
 * Registration for parts that run on other hosts: HTTPS with client certificates. A part first enrols with the server token
 * and gets the certificates of its role; from then on only gateways may call the methods, and each part may renew its own.
 */
export class InternalApi implements Service {
  readonly #options: InternalApiOptions;
  readonly #registration: RegistrationClient;
  readonly #pki: ServerPki;
  readonly #clock: Clock;
  readonly #log: Logger;
  #server: Server | undefined;

  constructor(
    options: InternalApiOptions,
    registration: RegistrationClient,
    pki: ServerPki,
    clock: Clock,
    log: Logger,
  ) {
    this.#options = options;
    this.#registration = registration;
    this.#pki = pki;
    this.#clock = clock;
    this.#log = log;
  }

  get port(): number {
    return (this.#server?.address() as AddressInfo | null)?.port ?? this.#options.port;
  }

  async start(): Promise<void> {
    const server = createServer(
      {
        ...(await this.#ownCertificate()),
        // Verified below, so that a part without a certificate can still enrol.
        requestCert: true,
        rejectUnauthorized: false,
        minVersion: "TLSv1.2",
        maxHeaderSize: 16_384,
        requestTimeout: requestTimeoutMs,
        headersTimeout: requestTimeoutMs,
      },
      (req, res) => void this.#serve(req, res),
    );
    server.on("tlsClientError", (error, socket: Socket) => {
      this.#log.debug({ reason: errorMessage(error) }, "TLS handshake failed");
      socket.destroy();
    });
    await new Promise<void>((resolve, reject) => {
      server.once("error", reject);
      server.listen(this.#options.port, this.#options.host, resolve);
    });
    this.#server = server;
  }

  async stop(): Promise<void> {
    const server = this.#server;
    this.#server = undefined;
    if (server === undefined) return;
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  }

  /** Serves a fresh certificate from now on, after a renewal or a new CA. */
  async reloadCertificate(): Promise<void> {
    const certificate = await this.#ownCertificate();
    this.#server?.setSecureContext(certificate);
  }

  async #ownCertificate(): Promise<{ cert: string; key: string }> {
    const key = await generateEcKey();
    const profile = { commonName: "keelson-registration", purposes: ["server"], names: this.#options.names } as const;
    const cert = this.#pki
      .authority("server")
      .issue(profile, createPublicKey(key), this.#clock.now(), this.#pki.leafLifetimeMs);
    return { cert, key: exportPrivateKey(key) };
  }

  async #serve(req: IncomingMessage, res: ServerResponse): Promise<void> {
    try {
      const path = req.url?.split("?")[0] ?? "";
      if (path === "/cacerts") {
        res.writeHead(200, { "content-type": "text/plain" }).end((await this.#registration.caBundles()).serverCaPem);
        return;
      }
      const identity = await this.#identify(req);
      send(res, 200, await this.#answer(path, identity, req));
    } catch (error) {
      const status = error instanceof KeelsonError ? (error.status ?? 500) : 500;
      if (status === 500) this.#log.error({ err: error, path: req.url }, "internal request failed");
      const message = status === 500 ? "internal error" : errorMessage(error);
      if (!res.headersSent) send(res, status, { error: message });
      else res.destroy();
    }
  }

  async #answer(path: string, identity: Identity, req: IncomingMessage): Promise<unknown> {
    switch (path) {
      case enrolPath:
        return this.#enrol(identity, req);
      case bundlesPath:
        return this.#bundlesFor(identity);
      default:
        return this.#call(path, identity, req);
    }
  }

  async #call(path: string, identity: Identity, req: IncomingMessage): Promise<unknown> {
    const method = methodsByPath.get(path);
    if (method === undefined || req.method !== "POST") throw refusal(404, "there is no such method");
    if (!identity.groups.includes(componentGroups.gateway)) throw refusal(403, "only a gateway may call this");
    return calls[method](this.#registration, decodeMessage(await readBody(req)));
  }

  /** Signs the certificates of a component for its key. With the server token for any, with a certificate for its own. */
  async #enrol(identity: Identity, req: IncomingMessage): Promise<unknown> {
    if (req.method !== "POST") throw refusal(405, "enrolment is a POST");
    const message = record(decodeMessage(await readBody(req)));
    const { component } = message;
    if (!isComponentName(component)) throw refusal(400, "there is no such component");
    const mayEnrol = [groups.server, componentGroups[component]].some((group) => identity.groups.includes(group));
    if (!mayEnrol) throw refusal(403, `these credentials do not enrol a ${component}`);
    const name = text(message.name, "name");
    const names = strings(message.names, "names");
    if (
      !isDnsName(name) ||
      names.length > 64 ||
      !names.every((item) => isDnsName(item) || addressOf(item) !== undefined)
    ) {
      throw refusal(400, "a name of the request is neither a DNS name nor an address");
    }
    return this.#issue(component, name, names, bytes(message.csrDer, "csrDer"));
  }

  async #issue(component: ComponentName, name: string, names: string[], csrDer: Uint8Array): Promise<unknown> {
    const key = readKey(csrDer);
    const nowMs = this.#clock.now();
    const certificates = componentCertificates[component].map(({ file, authority, profile }) => [
      file,
      this.#pki.authority(authority).issue(profile({ name, names }), key, nowMs, this.#pki.leafLifetimeMs),
    ]);
    this.#log.info({ part: component, name }, "a part of the control plane enrolled");
    return {
      certificates: Object.fromEntries(certificates),
      bundles: this.#bundles(),
      // The API signs service-account tokens, so it is the one part that needs this key.
      ...(component === "kube-api" ? { serviceKeyPem: await readFileIfExists(this.#pki.paths.serviceKey) } : {}),
    };
  }

  #bundlesFor(identity: Identity): Record<string, string> {
    if (!Object.values(componentGroups).some((group) => identity.groups.includes(group))) {
      throw refusal(403, "only a part of the control plane may ask this");
    }
    return this.#bundles();
  }

  #bundles(): Record<string, string> {
    const bundles = componentBundles.map(({ file, authority }) => [file, this.#pki.authority(authority).bundlePem]);
    return Object.fromEntries(bundles);
  }

  async #identify(req: IncomingMessage): Promise<Identity> {
    const { authorization } = req.headers;
    const der = (req.socket as TLSSocket).getPeerCertificate(false)?.raw as Buffer | undefined;
    const authentication: Authentication = await this.#registration.authenticate({
      ...(authorization === undefined ? {} : { authorization }),
      ...(der === undefined ? {} : { clientCertificates: [der] }),
    });
    if (authentication.outcome === "authenticated") return authentication.identity;
    throw refusal(401, "not authorized");
  }
}

function readKey(csrDer: Uint8Array): ReturnType<typeof readCertificateRequest> {
  try {
    return readCertificateRequest(csrDer);
  } catch (error) {
    if (error instanceof DerError) throw refusal(400, `invalid certificate request: ${error.message}`);
    throw error;
  }
}

async function readBody(req: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  let length = 0;
  for await (const chunk of req as AsyncIterable<Buffer>) {
    length += chunk.length;
    if (length > maxMessageBytes) throw refusal(413, "the message is too large");
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString("utf8");
}

function send(res: ServerResponse, status: number, message: unknown): void {
  res.writeHead(status, { "content-type": "application/json" }).end(encodeMessage(message));
}

function refusal(status: number, message: string): KeelsonError {
  return new KeelsonError("registration/refused", message, { status });
}
