import { describe, expect, test } from "vitest";
import { play, told } from "./transcript.ts";

/** Each story is played and must read the same afterwards. */
function story(text: string): void {
  expect(play(text)).toBe(told(text));
}

describe("the balancer's stories", () => {
  test("a first server: registration address, then listed, confirmed, in use", () => {
    story(`
      > registration a
        a invalid -> standby: registration address
      > connect a
      > disconnect a
      > listed a
        a standby -> unchecked: listed by the cluster
        remember a
      > connect a
        a unchecked -> recovering: a connection succeeded
      > check a ok health check passed
        a recovering -> active: serves new connections
      > order
        a active with 1
    `);
  });

  test("an unused server that answers becomes preferred, and healthy after a minute", () => {
    story(`
      > listed a
        a invalid -> unchecked: listed by the cluster, not tried yet
        remember a
      > check a ok answers
        a unchecked -> recovering: answers
      > check a ok answers
        a recovering -> preferred: answers
      > wait 59
      > check a ok answers
      > wait 1
      > check a ok answers
        a preferred -> healthy: confirmed for a minute
      > connect a
        a healthy -> active: serves new connections
    `);
  });

  test("the active server fails its check: its connections move to the next", () => {
    story(`
      > listed a b
        a invalid -> unchecked: listed by the cluster, not tried yet
        b invalid -> unchecked: listed by the cluster, not tried yet
        remember a b
      > check a ok
        a unchecked -> recovering: check ok
      > check b ok
        b unchecked -> recovering: check ok
      > check a ok
        a recovering -> preferred: check ok
      > check b ok
        b recovering -> preferred: check ok
      > connect a
        a preferred -> active: serves new connections
      > connect a
      > check a failed no answer within 1500 ms
        a active -> failed: no answer within 1500 ms
        close connections of a: no answer within 1500 ms
      > order
        b preferred, a failed with 2
      > disconnect a
      > disconnect a
      > connect b
        b preferred -> active: serves new connections
      > check a ok
        a failed -> recovering: check ok
      > check a ok
        a recovering -> preferred: check ok
      > order
        b active with 1, a preferred
    `);
  });

  test("alternating outages do not move connections back and forth", () => {
    story(`
      > listed a b
        a invalid -> unchecked: listed by the cluster, not tried yet
        b invalid -> unchecked: listed by the cluster, not tried yet
        remember a b
      > connect b
        b unchecked -> recovering: a connection succeeded
      > check b ok
        b recovering -> active: serves new connections
      > check a ok
        a unchecked -> recovering: check ok
      > check a failed
        a recovering -> failed: check failed
      > check a ok
        a failed -> recovering: check ok
      > check a ok
        a recovering -> preferred: check ok
      > check a failed
        a preferred -> failed: check failed
      > check a ok
        a failed -> recovering: check ok
      > check a ok
        a recovering -> preferred: check ok
      > order
        b active with 1, a preferred
    `);
  });

  test("a server that leaves the cluster may finish, and is forgotten with its last connection", () => {
    story(`
      > listed a b
        a invalid -> unchecked: listed by the cluster, not tried yet
        b invalid -> unchecked: listed by the cluster, not tried yet
        remember a b
      > connect a
        a unchecked -> recovering: a connection succeeded
      > listed b
        a recovering -> invalid: the cluster no longer lists this server
        after 5 s close connections of a: the cluster no longer lists this server
        remember b
      > order
        b unchecked
      > disconnect a
      > order
        b unchecked
    `);
  });

  test("a server that is down when it leaves the cluster loses its connections at once", () => {
    story(`
      > listed a b
        a invalid -> unchecked: listed by the cluster, not tried yet
        b invalid -> unchecked: listed by the cluster, not tried yet
        remember a b
      > connect a
        a unchecked -> recovering: a connection succeeded
      > check a failed no answer
        a recovering -> failed: no answer
        close connections of a: no answer
      > listed b
        a failed -> invalid: the cluster no longer lists this server
        close connections of a: the cluster no longer lists this server
        remember b
    `);
  });

  test("a registration address that leaves the list stays as the last resort", () => {
    story(`
      > registration a
        a invalid -> standby: registration address
      > listed a b
        a standby -> unchecked: listed by the cluster
        b invalid -> unchecked: listed by the cluster, not tried yet
        remember a b
      > listed b
        a unchecked -> standby: registration address that the cluster does not list
        remember b
      > order
        b unchecked, a standby
      > refused b
        b unchecked -> failed: connection refused
      > order
        a standby, b failed
    `);
  });

  test("a server that accepts connections and never answers is down, whatever it was before", () => {
    story(`
      > listed a b
        a invalid -> unchecked: listed by the cluster, not tried yet
        b invalid -> unchecked: listed by the cluster, not tried yet
        remember a b
      > connect a
        a unchecked -> recovering: a connection succeeded
      > check a unknown
      > check a failed no answer within 1500 ms
        a recovering -> failed: no answer within 1500 ms
        close connections of a: no answer within 1500 ms
      > order
        b unchecked, a failed with 1
    `);
  });

  test("two servers that both serve become one: the one with more connections wins", () => {
    story(`
      > listed a b
        a invalid -> unchecked: listed by the cluster, not tried yet
        b invalid -> unchecked: listed by the cluster, not tried yet
        remember a b
      > connect a
        a unchecked -> recovering: a connection succeeded
      > connect a
      > check a ok
        a recovering -> active: serves new connections
      > connect b
        b unchecked -> recovering: a connection succeeded
      > check b ok
        close connections of b: a serves already
        b recovering -> preferred: a serves already
      > disconnect a
      > connect b
        a active -> preferred: b took over
        close connections of a: b took over
        b preferred -> active: serves new connections
    `);
  });

  test("a server that shuts down gets no new connections, and keeps those it has", () => {
    story(`
      > listed a b
        a invalid -> unchecked: listed by the cluster, not tried yet
        b invalid -> unchecked: listed by the cluster, not tried yet
        remember a b
      > connect a
        a unchecked -> recovering: a connection succeeded
      > check a ok
        a recovering -> active: serves new connections
      > check a leaving it is shutting down
        a active -> failed: it is shutting down
      > order
        b unchecked, a failed with 1
    `);
  });

  test("the connections of the only server survive its pause", () => {
    story(`
      > listed a
        a invalid -> unchecked: listed by the cluster, not tried yet
        remember a
      > connect a
        a unchecked -> recovering: a connection succeeded
      > check a ok
        a recovering -> active: serves new connections
      > check a failed no answer
        a active -> failed: no answer
      > order
        a failed with 1
      > check a ok
        a failed -> recovering: check ok
      > check a ok
        a recovering -> active: serves new connections
    `);
  });

  test("an empty list is not believed", () => {
    story(`
      > listed a
        a invalid -> unchecked: listed by the cluster, not tried yet
        remember a
      > listed
      > order
        a unchecked
    `);
  });
});
