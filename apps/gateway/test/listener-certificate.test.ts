import { once } from "node:events";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { connect } from "node:tls";
import { certificateNames, readCertificate } from "@keelson/pki";
import { expect, test } from "vitest";
import { createFakeRegistration } from "./support/fake-registration.ts";
import { type Harness, startHarness } from "./support/harness.ts";

/** Connects and reads the certificate, which Node hands out only once. */
async function handshake(harness: Harness, servername?: string) {
  const ca = harness.registration.serverCa.bundlePem;
  const name = servername === undefined ? {} : { servername, checkServerIdentity: () => undefined };
  const socket = connect({ host: "127.0.0.1", port: harness.port, ca, ...name });
  await once(socket, "secureConnect");
  const certificate = socket.getPeerX509Certificate()!;
  return { socket, publicKey: certificate.publicKey, names: certificateNames(readCertificate(certificate.raw)) };
}

test("a server name the guard admits is on the certificate of the very handshake that brought it", async () => {
  await using harness = await startHarness();
  harness.registration.serverNames.add("api.example.test");
  const first = await handshake(harness);
  const second = await handshake(harness, "API.example.test");
  expect(first.names).not.toContain("api.example.test");
  expect(second.names).toContain("api.example.test");
  first.socket.write("GET /ping HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
  expect(String((await once(first.socket, "data"))[0])).toContain("200 OK");
  second.socket.destroy();
});

test("a name the guard refuses is asked for once, and never waited for again", async () => {
  await using harness = await startHarness();
  for (let round = 0; round < 5; round++) (await handshake(harness, "evil.example.test")).socket.destroy();
  const asked = harness.registration.listenerRequests.filter((names) => names.includes("evil.example.test"));
  expect(asked.length).toBe(1);
});

test("a flood of different names costs one signature a second, not one each", async () => {
  await using harness = await startHarness();
  const peers = await Promise.all(
    Array.from({ length: 50 }, (_, index) => handshake(harness, `host${index}.example.test`)),
  );
  expect(harness.registration.listenerRequests.length).toBeLessThan(5);
  for (const { socket } of peers) socket.destroy();
});

test("an IP Host header is learned, but not from browsers", async () => {
  await using harness = await startHarness();
  harness.registration.serverNames.add("192.0.2.7").add("192.0.2.8");
  await harness.call("/ping", { headers: { Host: "192.0.2.8:6443", "User-Agent": "Mozilla/5.0" } });
  await harness.call("/ping", { headers: { Host: "192.0.2.7:6443" } });
  await expect
    .poll(async () => {
      const { socket, names } = await handshake(harness);
      socket.destroy();
      return names;
    })
    .toContain("192.0.2.7");
  expect(harness.registration.listenerRequests.flat()).not.toContain("192.0.2.8");
});

test("key and names survive a restart, unless a new key is asked for", async () => {
  const registration = await createFakeRegistration();
  registration.serverNames.add("api.example.test");
  await using first = await startHarness({ registration });
  (await handshake(first, "api.example.test")).socket.destroy();
  const file = join(first.directory, "dynamic-cert.json");
  await expect
    .poll(async () => JSON.parse(await readFile(file, "utf8")).metadata.annotations)
    .toMatchObject({
      "listener.cattle.io/cn-api.example.test": "api.example.test",
      "listener.cattle.io/cn-__1-eff8e7": "::1",
      "listener.cattle.io/fingerprint": expect.stringMatching(/^SHA1=[0-9A-F]{40}$/),
    });
  const before = await handshake(first);
  const config = { listenerDirectory: first.directory };
  {
    await using second = await startHarness({ registration, config });
    const again = await handshake(second);
    expect(again.names).toContain("api.example.test");
    expect(again.publicKey.equals(before.publicKey)).toBe(true);
  }
  await writeFile(join(first.directory, "dynamic-cert-regenerate"), "");
  await using third = await startHarness({ registration, config });
  expect((await handshake(third)).publicKey.equals(before.publicKey)).toBe(false);
});
