import type {
  AgentCertificateKind,
  Credentials,
  Identity,
  NodeClaims,
  RegistrationClient,
} from "@keelson/protocol/supervisor";
import { KeelsonError } from "@keelson/service";
import type { Method } from "./wire.ts";

/** Calls one method with the arguments of a message, after checking their shape. */
export type Call = (client: RegistrationClient, args: unknown) => Promise<unknown>;

/** Every method of the internal API. */
export const calls: Readonly<Record<Method, Call>> = {
  authenticate: (client, args) => client.authenticate(readCredentials(record(args))),
  issueCertificate: (client, args) => {
    const { kind, caller, node, csrDer } = record(args);
    return client.issueCertificate({
      kind: readKind(kind),
      caller: readIdentity(record(caller)),
      node: readClaims(record(node)),
      ...(csrDer === undefined ? {} : { csrDer: bytes(csrDer, "csrDer") }),
    });
  },
  signListener: (client, args) => {
    const { csrDer, names } = record(args);
    return client.signListener({ csrDer: bytes(csrDer, "csrDer"), names: strings(names, "names") });
  },
  caBundles: (client) => client.caBundles(),
  clusterConfig: (client) => client.clusterConfig(),
  apiServers: (client) => client.apiServers(),
  readiness: (client) => client.readiness(),
  serverBootstrap: (client) => client.serverBootstrap(),
  rotateToken: (client, args) => client.rotateToken(text(record(args).newToken, "newToken")),
  replaceCas: (client, args) => {
    const { bootstrapJson, force } = record(args);
    return client.replaceCas(text(bootstrapJson, "bootstrapJson"), force === true);
  },
  leafStatus: (client) => client.leafStatus(),
  renewLeaf: (client, args) => client.renewLeaf(text(record(args).name, "name")),
};

const kinds: readonly AgentCertificateKind[] = [
  "serving-kubelet",
  "client-kubelet",
  "client-kube-proxy",
  "client-k3s-controller",
];

function readKind(value: unknown): AgentCertificateKind {
  const kind = kinds.find((candidate) => candidate === value);
  if (kind === undefined) throw bad("kind");
  return kind;
}

function readCredentials({ authorization, clientCertificates }: Record<string, unknown>): Credentials {
  return {
    ...(authorization === undefined ? {} : { authorization: text(authorization, "authorization") }),
    ...(clientCertificates === undefined
      ? {}
      : {
          clientCertificates: list(clientCertificates, "clientCertificates").map((item) => bytes(item, "certificate")),
        }),
  };
}

function readIdentity({ user, groups, method }: Record<string, unknown>): Identity {
  if (method !== "basic" && method !== "bootstrap-token" && method !== "client-certificate") throw bad("method");
  return { user: text(user, "user"), groups: strings(groups, "groups"), method };
}

function readClaims({ name, password, ips }: Record<string, unknown>): NodeClaims {
  return {
    ...(name === undefined ? {} : { name: text(name, "name") }),
    ...(password === undefined ? {} : { password: text(password, "password") }),
    ...(ips === undefined ? {} : { ips: text(ips, "ips") }),
  };
}

/** The fields of a JSON object. */
export function record(value: unknown): Record<string, unknown> {
  if (typeof value !== "object" || value === null || Array.isArray(value)) throw bad("message");
  return value as Record<string, unknown>;
}

export function text(value: unknown, field: string): string {
  if (typeof value !== "string") throw bad(field);
  return value;
}

export function bytes(value: unknown, field: string): Uint8Array {
  if (!(value instanceof Uint8Array)) throw bad(field);
  return value;
}

function list(value: unknown, field: string): unknown[] {
  if (!Array.isArray(value)) throw bad(field);
  return value;
}

export function strings(value: unknown, field: string): string[] {
  return list(value, field).map((item) => text(item, field));
}

function bad(field: string): KeelsonError {
  return new KeelsonError("registration/bad-message", `"${field}" is missing or of the wrong type`, { status: 400 });
}
