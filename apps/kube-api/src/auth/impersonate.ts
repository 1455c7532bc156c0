import { apiErrors } from "../http/api-error.ts";
import type { Attributes, Decision } from "./authorize.ts";
import { anonymous, groups, type User } from "./user.ts";

/** What the Impersonate-* headers of a request ask for. */
interface Wanted {
  user: string | undefined;
  uid: string | undefined;
  groups: string[];
  extra: Record<string, string[]>;
}

const prefix = "impersonate-";
const extraPrefix = "impersonate-extra-";
const authenticationGroup = "authentication.k8s.io";

/**
 * The user that a request is to be judged as: the one its Impersonate-* headers name, if whoever sent it may impersonate each
 * part of it, else the sender. A header that is not understood is refused, so that nobody acts as himself who meant not to.
 * Source: k8s.io/apiserver pkg/endpoints/filters/impersonation.go. Throws 400, 403 or 500.
 */
export function impersonated(
  rawHeaders: readonly string[],
  sender: User,
  decide: (attributes: Attributes) => Decision,
): User {
  const wanted = readHeaders(rawHeaders);
  if (wanted === undefined) return sender;
  const { user, uid, groups: named, extra } = wanted;
  if (user === undefined) {
    throw apiErrors.internal(new Error("requested groups, uid or extra information without impersonating a user"));
  }
  const check = (resource: string, name: string, more: Partial<Attributes> = {}): void => {
    const about = { verb: "impersonate", group: "", resource, subresource: "", namespace: "", name, ...more };
    const { allowed, reason } = decide({ user: sender, ...about });
    if (!allowed) throw apiErrors.forbidden(reason, { name, kind: resource });
  };
  const account = serviceAccountOf(user);
  if (account === undefined) check("users", user);
  else check("serviceaccounts", account.name, { namespace: account.namespace });
  for (const group of named) check("groups", group);
  for (const [key, values] of Object.entries(extra)) {
    for (const value of values) check("userextras", value, { group: authenticationGroup, subresource: key });
  }
  if (uid !== undefined) check("uids", uid, { group: authenticationGroup });
  const implied = account === undefined || named.length > 0 ? [] : serviceAccountGroups(account.namespace);
  return {
    name: user,
    groups: withBasicGroup(user, [...named, ...implied]),
    ...(uid === undefined ? {} : { uid }),
    extra,
  };
}

function readHeaders(rawHeaders: readonly string[]): Wanted | undefined {
  let wanted: Wanted | undefined;
  for (let at = 0; at < rawHeaders.length; at += 2) {
    const header = rawHeaders[at]!.toLowerCase();
    const value = rawHeaders[at + 1]!;
    if (!header.startsWith(prefix)) continue;
    wanted ??= { user: undefined, uid: undefined, groups: [], extra: {} };
    if (header === "impersonate-user") wanted.user ??= value === "" ? undefined : value;
    else if (header === "impersonate-uid") wanted.uid ??= value === "" ? undefined : value;
    else if (header === "impersonate-group") wanted.groups.push(value);
    else if (header.startsWith(extraPrefix)) {
      const key = unescaped(header.slice(extraPrefix.length));
      wanted.extra[key] = [...(wanted.extra[key] ?? []), value];
    } else throw apiErrors.badRequest(`the header ${rawHeaders[at]} is not known`);
  }
  return wanted;
}

function serviceAccountOf(user: string): { namespace: string; name: string } | undefined {
  if (!user.startsWith(groups.serviceAccountPrefix)) return undefined;
  const [namespace, name, ...rest] = user.slice(groups.serviceAccountPrefix.length).split(":");
  return namespace && name && rest.length === 0 ? { namespace, name } : undefined;
}

function serviceAccountGroups(namespace: string): string[] {
  return [groups.serviceAccounts, `${groups.serviceAccounts}:${namespace}`];
}

/** Everybody is authenticated or not, whatever else is named. */
function withBasicGroup(user: string, named: readonly string[]): string[] {
  if (named.includes(groups.authenticated) || named.includes(groups.unauthenticated)) return [...named];
  return [...named, user === anonymous.name ? groups.unauthenticated : groups.authenticated];
}

function unescaped(key: string): string {
  try {
    return decodeURIComponent(key);
  } catch {
    return key; // not encoded after all
  }
}
