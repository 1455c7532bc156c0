import { Lifecycle, type Logger, type Service } from "@keelson/service";
import { FollowedKind } from "../controllers/followed-kind.ts";
import { type ApiObject, listAt, textAt } from "../kinds/kind.ts";
import type { ApiContext } from "../verbs/call.ts";
import { type Attributes, authorize, type Decision, type PolicyRule, tableRulesOf } from "./authorize.ts";
import { groups, nodeOf, type User } from "./user.ts";

const rbacGroup = "rbac.authorization.k8s.io";

/** The status of a SelfSubjectRulesReview. */
export interface RulesOf {
  resourceRules: PolicyRule[];
  nonResourceRules: PolicyRule[];
  /** The user may do more than the rules say. */
  incomplete: boolean;
}

/**
 * Decides by the fixed table first, then by the RBAC objects of the cluster, followed in memory. Roles can only be written by
 * who the fixed table allows: there is no escalation check, so no role may hand that right on.
 * Source: kubernetes plugin/pkg/auth/authorizer/rbac.
 */
export class Authorizer implements Service {
  readonly #lifecycle: Lifecycle;
  readonly #context: ApiContext;
  readonly #log: Logger;
  readonly #roles = new Map<string, readonly PolicyRule[]>();
  readonly #bindings = new Map<string, ApiObject>();

  constructor(context: ApiContext, log: Logger) {
    this.#context = context;
    this.#log = log;
    this.#lifecycle = new Lifecycle(log);
  }

  async start(): Promise<void> {
    for (const plural of ["clusterroles", "roles"]) {
      await this.#follow(plural, (key, role) => {
        if (role === undefined) this.#roles.delete(key);
        else this.#roles.set(key, listAt(role, "rules"));
      });
    }
    for (const plural of ["clusterrolebindings", "rolebindings"]) {
      await this.#follow(plural, (key, binding) => {
        if (binding === undefined) this.#bindings.delete(key);
        else this.#bindings.set(key, binding);
      });
    }
  }

  stop(): Promise<void> {
    return this.#lifecycle.stop();
  }

  decide(attributes: Attributes): Decision {
    const decision = authorize(attributes);
    if (decision.allowed || !this.#grants(attributes)) return decision;
    return { allowed: true, reason: "" };
  }

  async #follow(plural: string, store: (key: string, object: ApiObject | undefined) => void): Promise<void> {
    const kind = this.#context.catalog.require(plural, rbacGroup);
    const onObject = (object: ApiObject | undefined, previous: ApiObject | undefined): void => {
      const named = object ?? previous;
      if (named !== undefined) store(keyOf(kind.kind, named.metadata.namespace, named.metadata.name), object);
    };
    await this.#lifecycle.run(plural, new FollowedKind(this.#context, kind, onObject, this.#log));
  }

  /** All that a user may do in a namespace, as far as rules can say it. */
  rulesOf(user: User, namespace: string): RulesOf {
    const table = tableRulesOf(user);
    return {
      resourceRules: [...table, ...this.#roleRules(user, namespace)].filter(({ resources }) =>
        Array.isArray(resources),
      ),
      nonResourceRules: [...table, ...this.#roleRules(user, namespace, true)]
        .filter(({ nonResourceURLs }) => Array.isArray(nonResourceURLs))
        .map(({ verbs, nonResourceURLs }) => ({ verbs, nonResourceURLs })),
      incomplete: nodeOf(user) !== undefined,
    };
  }

  #grants(attributes: Attributes): boolean {
    if (attributes.group === rbacGroup && !["get", "list", "watch"].includes(attributes.verb)) return false;
    for (const rule of this.#roleRules(attributes.user, attributes.namespace, attributes.path !== undefined))
      if (ruleAllows(rule, attributes)) return true;
    return false;
  }

  /** The rules of all roles bound to a user in a namespace. A RoleBinding grants nothing about what is no resource. */
  *#roleRules(user: User, wanted: string, isAboutPath = false): Generator<PolicyRule> {
    for (const binding of this.#bindings.values()) {
      const { namespace } = binding.metadata;
      if (namespace !== undefined && (namespace !== wanted || isAboutPath)) continue;
      if (!listAt(binding, "subjects").some((subject) => isSubject(subject, user, namespace))) continue;
      const kind = textAt(binding, "roleRef.kind");
      const name = textAt(binding, "roleRef.name");
      yield* this.#roles.get(keyOf(kind, kind === "Role" ? namespace : undefined, name)) ?? [];
    }
  }
}

function keyOf(kind: string, namespace: string | undefined, name: string): string {
  return `${kind}/${namespace ?? ""}/${name}`;
}

function isSubject(subject: Record<string, unknown>, user: User, namespace: string | undefined): boolean {
  switch (subject.kind) {
    case "User":
      return subject.name === user.name;
    case "Group":
      return user.groups.includes(String(subject.name));
    case "ServiceAccount":
      return user.name === `${groups.serviceAccountPrefix}${subject.namespace ?? namespace ?? ""}:${subject.name}`;
    default:
      return false;
  }
}

function ruleAllows(rule: PolicyRule, { verb, path, group, resource, subresource, name }: Attributes): boolean {
  if (!has(rule.verbs, verb)) return false;
  if (path !== undefined)
    return (
      Array.isArray(rule.nonResourceURLs) && rule.nonResourceURLs.some((pattern) => pathMatches(String(pattern), path))
    );
  const full = subresource === "" ? resource : `${resource}/${subresource}`;
  const isResource = has(rule.resources, full) || (subresource !== "" && has(rule.resources, `*/${subresource}`));
  if (!isResource || !has(rule.apiGroups, group)) return false;
  const { resourceNames } = rule;
  return !Array.isArray(resourceNames) || resourceNames.length === 0 || resourceNames.includes(name);
}

function has(list: readonly string[] | undefined, wanted: string): boolean {
  return Array.isArray(list) && list.some((entry) => entry === "*" || entry === wanted);
}

function pathMatches(pattern: string, path: string): boolean {
  return pattern.endsWith("*") ? path.startsWith(pattern.slice(0, -1)) : pattern === path;
}
