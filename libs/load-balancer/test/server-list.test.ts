import fc from "fast-check";
import { expect, test } from "vitest";
import { type ListEffect, ServerList } from "../src/index.ts";

type Event =
  | { kind: "listed"; addresses: string[] }
  | { kind: "open" | "close" | "refused"; address: string }
  | { kind: "check"; address: string; result: "ok" | "failed" | "leaving" | "unknown" }
  | { kind: "wait"; ms: number };

const address = fc.constantFrom("a", "b", "c", "d");
const event: fc.Arbitrary<Event> = fc.oneof(
  fc.record({ kind: fc.constant("listed" as const), addresses: fc.uniqueArray(address, { maxLength: 4 }) }),
  fc.record({ kind: fc.constantFrom("open" as const, "close" as const, "refused" as const), address }),
  fc.record({
    kind: fc.constant("check" as const),
    address,
    result: fc.constantFrom("ok" as const, "failed" as const, "leaving" as const, "unknown" as const),
  }),
  fc.record({ kind: fc.constant("wait" as const), ms: fc.integer({ min: 1, max: 90_000 }) }),
);

test("whatever happens: at most one active server, a last resort, and closed connections are gone", () => {
  fc.assert(
    fc.property(fc.array(event, { maxLength: 200 }), (events) => {
      let nowMs = 0;
      const list = new ServerList(() => nowMs);
      const open = new Map<string, number>();
      list.setRegistration(["a"]);
      const apply = (effects: readonly ListEffect[]): void => {
        for (const effect of effects) {
          if (effect.kind !== "close-connections") continue;
          // As the owner does: every closed connection is reported back.
          for (let left = open.get(effect.address) ?? 0; left > 0; left--) {
            open.set(effect.address, left - 1);
            apply(list.connectionClosed(effect.address));
          }
        }
      };
      for (const step of events) {
        if (step.kind === "wait") nowMs += step.ms;
        else if (step.kind === "listed") apply(list.setListed(step.addresses));
        else if (step.kind === "check") apply(list.checked(step.address, step.result, "said so"));
        else if (step.kind === "refused") apply(list.dialFailed(step.address, "refused"));
        else if (step.kind === "open" && list.candidates().includes(step.address)) {
          open.set(step.address, (open.get(step.address) ?? 0) + 1);
          apply(list.connectionOpened(step.address));
        } else if (step.kind === "close" && (open.get(step.address) ?? 0) > 0) {
          open.set(step.address, open.get(step.address)! - 1);
          apply(list.connectionClosed(step.address));
        }
        const status = list.status();
        expect(status.filter(({ state }) => state === "active").length).toBeLessThanOrEqual(1);
        expect(list.candidates().length).toBeGreaterThan(0);
        expect(status.find((server) => server.address === "a")?.state).not.toBe("invalid");
        for (const server of status) expect(server.connections).toBe(open.get(server.address) ?? 0);
      }
    }),
    { numRuns: 300 },
  );
});
