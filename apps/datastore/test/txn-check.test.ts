import { expect, it } from "vitest";
import type { Operation } from "../src/engine/operations.ts";
import { checkTxn, maxTxnOps } from "../src/engine/txn-check.ts";

const put = (key: string): Operation => ({
  kind: "put",
  key,
  value: Buffer.alloc(0),
  lease: 0n,
  prevKv: false,
  ignoreValue: false,
  ignoreLease: false,
});
const remove = (key: string, rangeEnd = ""): Operation => ({ kind: "delete", key, rangeEnd, prevKv: false });
const txn = (success: Operation[], failure: Operation[] = []): Operation => ({
  kind: "txn",
  compares: [],
  success,
  failure,
});

/** What etcd 3.4.23 answers to each. */
it.each<[string, Operation[], "accepted" | "duplicate key"]>([
  ["a nested put, then a sibling's delete of it", [txn([put("a")]), txn([remove("a", "b")])], "accepted"],
  ["a nested delete, then a sibling's put of it", [txn([remove("a", "b")]), txn([put("a")])], "duplicate key"],
  ["the same in branches for failure", [txn([], [put("a")]), txn([], [remove("a")])], "accepted"],
  ["a deeper put, then a delete", [txn([txn([put("a")])]), txn([remove("a", "b")])], "accepted"],
  ["a deeper delete, then a put", [txn([txn([remove("a", "b")])]), txn([put("a")])], "duplicate key"],
  ["a nested delete, and a put beside the transaction", [txn([remove("a", "b")]), put("a")], "duplicate key"],
  ["a nested put, and a delete beside the transaction", [txn([put("a")]), remove("a", "b")], "duplicate key"],
  ["a put in one branch and a delete in the other", [txn([put("a")], [remove("a")])], "accepted"],
  ["the same put in both branches", [txn([put("a")], [put("a")])], "accepted"],
  ["the same put in siblings", [txn([put("a")]), txn([put("b")], [put("a")])], "duplicate key"],
  ["the same put twice", [put("a"), put("a")], "duplicate key"],
  ["overlapping deletes", [remove("a", "c"), remove("b")], "accepted"],
])("%s", (_name, success, expected) => {
  const check = (): void => checkTxn({ kind: "txn", compares: [], success, failure: [] }, maxTxnOps);
  if (expected === "accepted") expect(check).not.toThrow();
  else expect(check).toThrow("etcdserver: duplicate key given in txn request");
});
