import type { KubeObject } from "@keelson/kube-client";
import { describe, expect, test } from "vitest";
import { finalizerPatch, memberFinalizer, ownNodePatch, planNode } from "../../src/etcd/node-marks.ts";

const member = { name: "server-1-0123abcd", address: "10.0.0.1" };
const marks = {
  labels: { "node-role.kubernetes.io/etcd": "true", "node-role.kubernetes.io/control-plane": "true" },
  annotations: {
    "etcd.k3s.cattle.io/node-name": member.name,
    "etcd.k3s.cattle.io/node-address": member.address,
  },
};

function node(metadata: Partial<KubeObject["metadata"]>): KubeObject {
  return { metadata: { name: "server-1", resourceVersion: "7", ...metadata } };
}

describe("the leader", () => {
  test("holds every node with a member", () => {
    expect(planNode(node(marks))).toEqual({ kind: "hold" });
    expect(planNode(node({ ...marks, finalizers: [memberFinalizer] }))).toEqual({ kind: "none" });
    expect(planNode(node({}))).toEqual({ kind: "none" });
  });

  test("removes the member of a node that is being deleted, then lets the node go", () => {
    const deleted = node({
      ...marks,
      finalizers: ["other", memberFinalizer],
      deletionTimestamp: "2026-01-01T00:00:00Z",
    });
    expect(planNode(deleted)).toEqual({ kind: "release", member });
    expect(finalizerPatch(deleted, false)).toEqual({ metadata: { resourceVersion: "7", finalizers: ["other"] } });
  });

  test("leaves a node alone that is held by others", () => {
    const deleted = node({ ...marks, finalizers: ["other"], deletionTimestamp: "2026-01-01T00:00:00Z" });
    expect(planNode(deleted)).toEqual({ kind: "none" });
  });

  test("removes only the member where that is asked for, once", () => {
    const asked = { ...marks.annotations, "etcd.k3s.cattle.io/remove": "true" };
    expect(planNode(node({ ...marks, annotations: asked }))).toEqual({ kind: "evict", member });
    const done = { ...asked, "etcd.k3s.cattle.io/removed-node-name": member.name };
    expect(planNode(node({ annotations: done }))).toEqual({ kind: "none" });
  });
});

describe("a server", () => {
  test("writes its member's name on its own node", () => {
    expect(ownNodePatch(node({}), member)).toEqual({ metadata: marks });
    expect(ownNodePatch(node(marks), member)).toBeUndefined();
  });

  test("that came back as a new member takes back what was said to the old one", () => {
    const old = { ...marks.annotations, "etcd.k3s.cattle.io/remove": "true" };
    const patch = ownNodePatch(node({ ...marks, annotations: old }), { ...member, name: "server-1-ffffffff" });
    expect(patch).toMatchObject({ metadata: { annotations: { "etcd.k3s.cattle.io/remove": null } } });
  });
});
