import {
  type BootstrapToken,
  type BootstrapTokenUsage,
  bootstrapTokenSecret,
  bootstrapTokenSecretName,
  defaultBootstrapGroup,
  generateBootstrapToken,
  parseBootstrapToken,
  parseBootstrapTokenSecret,
} from "@keelson/secret-format";
import { KeelsonError } from "@keelson/service";
import type { ClusterApi } from "../cluster/cluster-api.ts";

export interface NewBootstrapToken {
  /** `id.secret`; drawn when left out. */
  token?: string;
  description?: string;
  groups?: readonly string[];
  usages?: readonly BootstrapTokenUsage[];
  /** 24 hours; 0 never expires. */
  ttlMs?: number;
}

const dayMs = 86_400_000;

/** Stores a bootstrap token, with which agents can join until it expires. */
export async function createBootstrapToken(
  api: ClusterApi,
  options: NewBootstrapToken,
  nowMs: number,
): Promise<BootstrapToken> {
  const parts = options.token === undefined ? generateBootstrapToken() : parseBootstrapToken(options.token);
  if (parts === undefined) {
    throw new KeelsonError("token/invalid", "a bootstrap token has the form abcdef.0123456789abcdef", {
      hint: 'leave it out, or take one from "keelson token generate"',
    });
  }
  const groups = options.groups ?? [defaultBootstrapGroup];
  const foreign = groups.find((group) => !/^system:bootstrappers:[a-z0-9:-]{0,255}[a-z0-9]$/.test(group));
  if (foreign !== undefined) {
    throw new KeelsonError("token/invalid-group", `"${foreign}" is not a group for bootstrap tokens`, {
      hint: "groups begin with system:bootstrappers:",
    });
  }
  const ttlMs = options.ttlMs ?? dayMs;
  const token: BootstrapToken = {
    ...parts,
    description: options.description ?? "",
    groups,
    usages: options.usages ?? ["signing", "authentication"],
    expiresAtMs: ttlMs === 0 ? undefined : nowMs + ttlMs,
  };
  if ((await api.createSecret(bootstrapTokenSecret(token))) === "exists") {
    throw new KeelsonError("token/exists", `there is already a bootstrap token with id ${token.id}`, {
      hint: `delete it first: keelson token delete ${token.id}`,
    });
  }
  return token;
}

/** Every stored bootstrap token, expired ones included until they are swept. */
export async function listBootstrapTokens(api: ClusterApi): Promise<BootstrapToken[]> {
  const tokens = (await api.listSecrets()).map(parseBootstrapTokenSecret);
  return tokens.filter((token) => token !== undefined).sort((a, b) => a.id.localeCompare(b.id));
}

/** Deletes a token by its id or its whole text. */
export async function deleteBootstrapToken(api: ClusterApi, idOrToken: string): Promise<void> {
  const id = parseBootstrapToken(idOrToken)?.id ?? idOrToken;
  if (!/^[a-z0-9]{6}$/.test(id)) {
    throw new KeelsonError("token/invalid", "that is neither a bootstrap token nor the id of one (six characters)");
  }
  if (!(await api.deleteSecret(bootstrapTokenSecretName(id)))) {
    throw new KeelsonError("token/not-found", `there is no bootstrap token with id ${id}`, {
      hint: 'see "keelson token list"',
    });
  }
}

/** Deletes the tokens whose time is over; answers their ids. */
export async function sweepBootstrapTokens(api: ClusterApi, nowMs: number): Promise<string[]> {
  const expired = (await listBootstrapTokens(api)).filter(
    ({ expiresAtMs }) => expiresAtMs !== undefined && expiresAtMs <= nowMs,
  );
  for (const { id } of expired) await api.deleteSecret(bootstrapTokenSecretName(id));
  return expired.map(({ id }) => id);
}
