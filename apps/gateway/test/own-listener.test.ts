import { type AddressInfo, createServer, type Server } from "node:net";
import { networkInterfaces } from "node:os";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { leadsToListener } from "../src/tunnel/egress/own-listener.ts";
import { type Harness, startHarness } from "./support/harness.ts";
import { connectEgress } from "./support/tunnel-agent.ts";

const interfaceAddresses = Object.values(networkInterfaces()).flatMap((all) => (all ?? []).map((one) => one.address));

describe("what leads to a listener of our own", () => {
  test.each(["127.0.0.1", "127.0.0.2", "::1", "0.0.0.0", "::", "::ffff:127.0.0.1", ...interfaceAddresses])(
    "%s, when it is bound to every address",
    (host) => {
      expect(leadsToListener(host, "0.0.0.0")).toBe(true);
      expect(leadsToListener(host, "::")).toBe(true);
    },
  );

  test.each(["127.0.0.1", "::ffff:127.0.0.1", "::ffff:7f00:1", "0.0.0.0", "0:0:0:0:0:0:0:0"])(
    "%s, when it is bound to 127.0.0.1",
    (host) => expect(leadsToListener(host, "127.0.0.1")).toBe(true),
  );

  test("nothing else: other machines, and our addresses that it is not bound to", () => {
    expect(leadsToListener("192.0.2.1", "0.0.0.0")).toBe(false);
    expect(leadsToListener("2001:db8::1", "::")).toBe(false);
    expect(leadsToListener("127.0.0.2", "127.0.0.1")).toBe(false);
    expect(leadsToListener("0.0.0.0", "192.0.2.1")).toBe(false);
  });
});

describe("CONNECT to the server itself", () => {
  let listener: Server;
  let port: number;
  let harness: Harness;

  beforeAll(async () => {
    listener = createServer((socket) => socket.on("error", () => {}));
    await new Promise<void>((resolve) => listener.listen(0, "0.0.0.0", resolve));
    ({ port } = listener.address() as AddressInfo);
    harness = await startHarness({
      config: {
        tunnel: {
          ownListeners: () => [{ host: "0.0.0.0", port }],
          // The one name that is dialled as it is: our own node's, while the API does not say where it is.
          ownNode: { name: "localhost", bindAddress: "127.0.0.1" },
        },
      },
    });
  });

  afterAll(async () => {
    await harness[Symbol.asyncDispose]();
    listener.close();
  });

  test.each(["127.0.0.1", "127.0.0.2", "[::ffff:127.0.0.1]", "0.0.0.0", "localhost"])("%s", async (host) => {
    const { statusLine } = await connectEgress(harness, `${host}:${port}`);
    expect(statusLine).toMatch(/^HTTP\/1.1 403 Forbidden: .* is this server itself$/);
  });
});
