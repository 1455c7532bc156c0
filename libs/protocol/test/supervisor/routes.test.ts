import { readFileSync } from "node:fs";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  type Authentication,
  allowedGroups,
  checkRole,
  clockSkew,
  findRoute,
  nodeNameOf,
  type RoleClass,
  readNodeClaims,
  statusBody,
  supervisorRoutes,
} from "../../src/supervisor/index.ts";

const as = (user: string, groups: string[]): Authentication => ({
  outcome: "authenticated",
  identity: { user, groups: [...groups, "system:authenticated"], method: "basic" },
});

/** Who asks, and the classes that open to them; everything else is 403. */
const callers: Record<string, { authentication: Authentication; opens: RoleClass[] }> = {
  "an agent token": { authentication: as("node", ["k3s:agent"]), opens: ["agent"] },
  "a bootstrap token": { authentication: as("system:bootstrap:abcdef", ["system:bootstrappers"]), opens: ["agent"] },
  "a node certificate": { authentication: as("system:node:a", ["system:nodes"]), opens: ["agent", "node"] },
  "the server token": { authentication: as("server", ["k3s:server"]), opens: ["server"] },
  "the administrator": { authentication: as("system:admin", ["system:masters"]), opens: ["system"] },
  "kube-proxy": { authentication: as("system:kube-proxy", []), opens: [] },
};

describe("who may call what", () => {
  for (const [name, { authentication, opens }] of Object.entries(callers)) {
    it.each(supervisorRoutes)(`${name} at $name ($role)`, ({ role }) => {
      const allowed = role === "public" || opens.includes(role);
      expect(checkRole(role, authentication)).toBe(allowed ? undefined : 403);
    });
  }

  it("answers 403 to no credential and 401 to a wrong one, everywhere but in public", () => {
    for (const { role } of supervisorRoutes) {
      expect(checkRole(role, { outcome: "anonymous" })).toBe(role === "public" ? undefined : 403);
      expect(checkRole(role, { outcome: "refused" })).toBe(role === "public" ? undefined : 401);
    }
  });
});

describe("finding a route", () => {
  it("matches exact paths, the static prefix and CONNECT, and leaves the rest to the Kubernetes API", () => {
    expect(findRoute("GET", "/v1-k3s/config")?.name).toBe("config");
    expect(findRoute("POST", "/v1-k3s/client-kubelet.crt")).toMatchObject({ role: "agent", nodePassword: true });
    expect(findRoute("GET", "/static/charts/x.tgz")?.name).toBe("static");
    expect(findRoute("CONNECT", "node-1:10250")?.role).toBe("system");
    for (const path of ["/static", "/v1-k3s/config/", "/v1-k3s/nosuch", "/api", "/", "", "//v1-k3s/config"]) {
      expect(findRoute("GET", path), path).toBeUndefined();
    }
  });

  it("has each name and path once", () => {
    expect(new Set(supervisorRoutes.map(({ name }) => name)).size).toBe(supervisorRoutes.length);
    expect(new Set(supervisorRoutes.map(({ path }) => path)).size).toBe(supervisorRoutes.length);
  });
});

describe("what a request says about itself", () => {
  it("names a node only with the group and the prefix", () => {
    const identity = (user: string, groups: string[]) => nodeNameOf({ user, groups, method: "client-certificate" });
    expect(identity("system:node:a", ["system:nodes"])).toBe("a");
    expect(identity("system:node:a", [])).toBeUndefined();
    expect(identity("system:node:", ["system:nodes"])).toBeUndefined();
    expect(identity("a", ["system:nodes"])).toBeUndefined();
  });

  it("takes an empty node header for a missing one", () => {
    expect(readNodeClaims({ "k3s-node-name": "a", "k3s-node-password": "", "k3s-node-ip": ["192.0.2.1"] })).toEqual({
      name: "a",
      ips: "192.0.2.1",
    });
  });
});

describe("answers", () => {
  it("are Kubernetes Status objects", () => {
    expect(JSON.stringify(statusBody(403, "forbidden"))).toBe(
      '{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"forbidden","reason":"Forbidden","code":403}',
    );
  });

  it("tell the clock's difference as well as their Date header can", () => {
    const sentAtMs = Date.parse("Sun, 22 Nov 2026 21:54:41 GMT");
    expect(clockSkew("Sun, 22 Nov 2026 21:54:41 GMT", sentAtMs, sentAtMs + 200)).toEqual({ skewMs: 0, errorMs: 600 });
    expect(clockSkew("Sun, 22 Nov 2026 21:49:41 GMT", sentAtMs, sentAtMs + 200)?.skewMs).toBe(299_600);
    expect(clockSkew("Sun, 22 Nov 2026 22:54:41 GMT", sentAtMs, sentAtMs)?.skewMs).toBe(-3_600_500);
    expect(clockSkew(undefined, 0, 0)).toBeUndefined();
    fc.assert(fc.property(fc.string(), (header) => clockSkew(header, 0, 0)?.errorMs !== 0));
  });
});

describe("the table in docs/joining.md", () => {
  it("is what the routes say", () => {
    const row = ({ name, path, role, methods, nodePassword }: (typeof supervisorRoutes)[number]): string => {
      const request = `${methods === undefined ? "" : `${methods.join(", ")} `}${path}`.trim();
      const groups = role === "public" ? "everybody" : allowedGroups[role].map((group) => `\`${group}\``).join(", ");
      return `| ${name} | \`${request}\` | ${role}${nodePassword ? " + node password" : ""} | ${groups} |`;
    };
    const docs = readFileSync(new URL("../../../../docs/joining.md", import.meta.url), "utf8");
    expect(docs).toContain(`|---|---|---|---|\n${supervisorRoutes.map(row).join("\n")}\n`);
  });
});
