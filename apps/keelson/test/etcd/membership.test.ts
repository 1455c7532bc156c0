import { describe, expect, test } from "vitest";
import { formatDbInfo, parseDbInfo } from "../../src/etcd/db-info.ts";
import { formatProgress, judgeLearner, learnerStallMs, parseProgress } from "../../src/etcd/learners.ts";
import {
  type EtcdMember,
  initialCluster,
  newMemberName,
  nodeOfMember,
  planJoin,
  quorumWarning,
} from "../../src/etcd/membership.ts";

const self = { nodeName: "server-3", memberName: "server-3-0123abcd", peerUrl: "https://10.0.0.3:2380" };

function member(id: number, name: string, address: string, extra: Partial<EtcdMember> = {}): EtcdMember {
  return {
    id: BigInt(id),
    name,
    peerUrls: [`https://${address}:2380`],
    clientUrls: name === "" ? [] : [`https://${address}:2379`],
    isLearner: false,
    ...extra,
  };
}

const two = [member(1, "server-1-aaaaaaaa", "10.0.0.1"), member(2, "server-2-bbbbbbbb", "10.0.0.2")];

describe("joining", () => {
  test("a new server is added", () => {
    expect(planJoin(two, self)).toEqual({ kind: "add" });
    expect(initialCluster(two, self)).toBe(
      "server-1-aaaaaaaa=https://10.0.0.1:2380,server-2-bbbbbbbb=https://10.0.0.2:2380,server-3-0123abcd=https://10.0.0.3:2380",
    );
  });

  test("a member that was added and never started is ours when it has our address", () => {
    const added = [...two, member(3, "", "10.0.0.3", { isLearner: true })];
    expect(planJoin(added, self)).toEqual({ kind: "start", id: 3n });
    expect(initialCluster(added, self)).toMatch(/server-3-0123abcd=https:\/\/10\.0\.0\.3:2380$/);
  });

  test("another server of the same node name is refused, and the way out is named", () => {
    const plan = planJoin([...two, member(4, "server-3-ffffffff", "10.0.0.9")], self);
    expect(plan).toMatchObject({ kind: "refuse", hint: expect.stringContaining("kubectl delete node server-3") });
  });

  test("an address that is taken is refused", () => {
    const plan = planJoin([...two, member(4, "other-ffffffff", "10.0.0.3")], self);
    expect(plan).toMatchObject({ kind: "refuse", reason: expect.stringContaining("already uses") });
  });

  test("member names carry the node name", () => {
    expect(nodeOfMember(newMemberName("a-b"))).toBe("a-b");
    expect(nodeOfMember("plain")).toBe("plain");
  });
});

describe("quorum", () => {
  test.each([
    [1, 1, undefined],
    [2, 2, /NOT highly available/],
    [3, 3, undefined],
    [3, 2, /edge of its quorum/],
    [3, 1, /no quorum: 1 of 3/],
    [4, 4, /odd number/],
    [5, 5, undefined],
  ])("%i voters, %i healthy", (voters, healthy, expected) => {
    const warning = quorumWarning(voters, healthy);
    if (expected === undefined) expect(warning).toBeUndefined();
    else expect(warning).toMatch(expected);
  });
});

describe("/db/info", () => {
  test("keeps all digits of a member id and omits empty fields", () => {
    const members = [
      member(0, "server-1-aaaaaaaa", "10.0.0.1", { id: 18446744073709551615n }),
      member(0, "", "10.0.0.2", { id: 9223372036854775809n, isLearner: true }),
    ];
    const text = formatDbInfo(members);
    expect(text).toBe(
      '{"members":[{"ID":18446744073709551615,"name":"server-1-aaaaaaaa","peerURLs":["https://10.0.0.1:2380"],"clientURLs":["https://10.0.0.1:2379"]},{"ID":9223372036854775809,"peerURLs":["https://10.0.0.2:2380"],"isLearner":true}]}',
    );
    expect(parseDbInfo(text)).toEqual(members);
  });

  test.each(["", "[]", '{"members":[{}]}', '{"members":{"ID":1}}'])("refuses %j", (text) => {
    expect(() => parseDbInfo(text)).toThrow(/list of etcd members/);
  });
});

describe("a learner", () => {
  const learner = { id: 7n, name: "server-3-0123abcd" };

  test("that moves is waited for; one that stalls for five minutes is removed", () => {
    let action = judgeLearner(undefined, { ...learner, appliedIndex: 10 }, 1_000);
    expect(action.kind).toBe("wait");
    action = judgeLearner(action.progress, { ...learner, appliedIndex: 20 }, 100_000);
    expect(action.progress.lastProgressMs).toBe(100_000);
    action = judgeLearner(action.progress, { ...learner, appliedIndex: undefined }, 100_000 + learnerStallMs - 1);
    expect(action.kind).toBe("wait");
    action = judgeLearner(action.progress, { ...learner, appliedIndex: 20 }, 100_000 + learnerStallMs);
    expect(action.kind).toBe("remove");
  });

  test("starts its own clock, whatever the one before did", () => {
    const before = { id: 6n, name: "x", raftAppliedIndex: 99, lastProgressMs: 0 };
    expect(judgeLearner(before, { ...learner, appliedIndex: 1 }, learnerStallMs * 2).kind).toBe("wait");
  });

  test("has its progress stored as K3s stores it", () => {
    const progress = { id: 18446744073709551615n, name: "a", raftAppliedIndex: 5, lastProgressMs: 1_700_000_000_000 };
    const text = formatProgress(progress);
    expect(text).toBe(
      '{"id":18446744073709551615,"name":"a","raftAppliedIndex":5,"lastProgress":"2023-11-14T22:13:20Z"}',
    );
    expect(parseProgress(text)).toEqual(progress);
    expect(parseProgress("{}")).toBeUndefined();
  });
});
