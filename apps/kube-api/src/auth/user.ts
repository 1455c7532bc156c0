/** Who makes a request. */
export interface User {
  name: string;
  groups: readonly string[];
  uid?: string;
  extra?: Readonly<Record<string, readonly string[]>>;
}

export const groups = {
  masters: "system:masters",
  nodes: "system:nodes",
  authenticated: "system:authenticated",
  unauthenticated: "system:unauthenticated",
  serviceAccounts: "system:serviceaccounts",
  /** Before `<namespace>:<name>` in the name of a service account's user. */
  serviceAccountPrefix: "system:serviceaccount:",
  bootstrappers: "system:bootstrappers",
} as const;

export const admin: User = { name: "system:admin", groups: [groups.masters, groups.authenticated] };
export const anonymous: User = { name: "system:anonymous", groups: [groups.unauthenticated] };

const nodePrefix = "system:node:";

/** The node a user speaks for, or undefined. */
export function nodeOf(user: User): string | undefined {
  if (!user.groups.includes(groups.nodes) || !user.name.startsWith(nodePrefix)) return undefined;
  return user.name.slice(nodePrefix.length);
}
