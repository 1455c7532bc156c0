import type { Authorizer } from "../auth/authorizer.ts";
import type { ServiceAccountTokens } from "../auth/service-account-tokens.ts";
import type { User } from "../auth/user.ts";
import { apiErrors } from "../http/api-error.ts";
import { textAt } from "../kinds/kind.ts";
import { isMap } from "../patch/merge-patch.ts";

/** Reviews: questions that are posted and answered at once, nothing is stored. By `resource.group`. */
export type Review = (body: Record<string, unknown>, user: User, by: Reviewers) => Promise<object> | object;

/** What knows the answers. */
export interface Reviewers {
  authorizer: Authorizer;
  tokens: ServiceAccountTokens | undefined;
}

interface ResourceAttributes {
  verb?: string;
  group?: string;
  resource?: string;
  subresource?: string;
  namespace?: string;
  name?: string;
}

export const reviews: Readonly<Record<string, { kind: string; version: string; review: Review }>> = {
  "selfsubjectaccessreviews.authorization.k8s.io": {
    kind: "SelfSubjectAccessReview",
    version: "v1",
    review: (body, user, { authorizer }) => decide(body, user, authorizer),
  },
  "subjectaccessreviews.authorization.k8s.io": {
    kind: "SubjectAccessReview",
    version: "v1",
    review: (body, _user, { authorizer }) => decide(body, subjectOf(body), authorizer),
  },
  "localsubjectaccessreviews.authorization.k8s.io": {
    kind: "LocalSubjectAccessReview",
    version: "v1",
    review: (body, _user, { authorizer }) => decide(body, subjectOf(body), authorizer),
  },
  "selfsubjectrulesreviews.authorization.k8s.io": {
    kind: "SelfSubjectRulesReview",
    version: "v1",
    review: (body, user, { authorizer }) => authorizer.rulesOf(user, textAt(body, "spec.namespace")),
  },
  "selfsubjectreviews.authentication.k8s.io": {
    kind: "SelfSubjectReview",
    version: "v1",
    review: (_body, user) => ({ userInfo: userInfo(user) }),
  },
  "tokenreviews.authentication.k8s.io": {
    kind: "TokenReview",
    version: "v1",
    review: async (body, _user, { tokens }) => {
      const spec = specOf(body);
      const audiences = Array.isArray(spec.audiences) ? (spec.audiences as string[]) : undefined;
      const user = typeof spec.token === "string" ? await tokens?.verify(spec.token, audiences) : undefined;
      if (user === undefined) return { authenticated: false, error: "invalid bearer token" };
      return { authenticated: true, user: userInfo(user), audiences: audiences ?? [tokens?.defaultAudience] };
    },
  },
};

/** The group-version resources that exist only as reviews, for discovery. */
export const reviewResources = Object.entries(reviews).map(([qualified, { kind, version }]) => {
  const dot = qualified.indexOf(".");
  return { plural: qualified.slice(0, dot), group: qualified.slice(dot + 1), kind, version };
});

function specOf(body: Record<string, unknown>): Record<string, unknown> {
  if (!isMap(body.spec)) throw apiErrors.badRequest("spec is required");
  return body.spec;
}

function decide(body: Record<string, unknown>, user: User, authorizer: Authorizer): object {
  const spec = specOf(body);
  if (isMap(spec.nonResourceAttributes)) {
    const { path, verb } = spec.nonResourceAttributes as { path?: string; verb?: string };
    return authorizer.decide({
      user,
      verb: verb ?? "get",
      path: path ?? "",
      group: "",
      resource: "",
      subresource: "",
      namespace: "",
      name: "",
    });
  }
  if (!isMap(spec.resourceAttributes))
    throw apiErrors.badRequest("spec.resourceAttributes or spec.nonResourceAttributes is required");
  const { verb, group, resource, subresource, namespace, name } = spec.resourceAttributes as ResourceAttributes;
  return authorizer.decide({
    user,
    verb: verb ?? "",
    group: group ?? "",
    resource: resource ?? "",
    subresource: subresource ?? "",
    namespace: namespace ?? "",
    name: name ?? "",
  });
}

function subjectOf(body: Record<string, unknown>): User {
  const { user, groups: named } = specOf(body) as { user?: string; groups?: string[] };
  return { name: user ?? "", groups: named ?? [] };
}

function userInfo(user: User): object {
  return {
    username: user.name,
    groups: user.groups,
    ...(user.uid && { uid: user.uid }),
    ...(user.extra && { extra: user.extra }),
  };
}
