import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { createServer, type Server } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { S3Store } from "../../src/etcd/snapshots/s3-store.ts";
import type { Snapshot } from "../../src/etcd/snapshots/snapshot-name.ts";

/** As much of S3's API as snapshots need, refusing requests that are not signed for its bucket and region. */
const objects = new Map<string, Buffer>();
let server: Server;
let directory: string;
let endpoint: string;

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "keelson-s3-"));
  server = createServer(async (req, res) => {
    const chunks: Buffer[] = [];
    for await (const chunk of req) chunks.push(chunk as Buffer);
    const url = new URL(req.url ?? "/", "http://s3");
    if (!/^AWS4-HMAC-SHA256 Credential=AK\/\d{8}\/eu-1\/s3\/aws4_request/.test(req.headers.authorization ?? "")) {
      return res.writeHead(403).end("<Error><Code>SignatureDoesNotMatch</Code><Message>no</Message></Error>");
    }
    const key = decodeURIComponent(url.pathname.replace(/^\/backups\/?/, ""));
    if (req.method === "PUT") {
      objects.set(key, Buffer.concat(chunks));
      return res.writeHead(200, { etag: '"x"' }).end();
    }
    if (req.method === "DELETE") return res.writeHead(objects.delete(key) ? 204 : 404).end();
    const content = objects.get(key);
    if (key !== "") return content === undefined ? res.writeHead(404).end() : res.end(content);
    const prefix = url.searchParams.get("prefix") ?? "";
    const entries = [...objects]
      .filter(([name]) => name.startsWith(prefix))
      .map(([name, value]) => {
        return `<Contents><Key>${name}</Key><Size>${value.length}</Size><LastModified>2026-01-01T00:00:00Z</LastModified></Contents>`;
      });
    res.end(
      `<?xml version="1.0"?><ListBucketResult><IsTruncated>false</IsTruncated><KeyCount>${entries.length}</KeyCount>${entries.join("")}</ListBucketResult>`,
    );
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = server.address();
  endpoint = typeof address === "object" && address !== null ? `127.0.0.1:${address.port}` : "";
});

afterAll(async () => {
  server.closeAllConnections();
  server.close();
  await rm(directory, { recursive: true });
});

const snapshot: Snapshot = {
  name: "on-demand-server-1-1700000000",
  nodeName: "server-1",
  location: "file:///x",
  sizeBytes: 5,
  createdAtMs: 1_700_000_000_000,
  compressed: false,
};

function store(secret: { accessKey: string }): S3Store {
  const config = {
    endpoint,
    bucket: "backups",
    folder: "/cluster-a/",
    region: "eu-1",
    secretKey: "SK",
    insecure: true,
  };
  return new S3Store({ ...config, ...secret }, "server-1");
}

test("a snapshot goes to the bucket's folder and comes back the same", async () => {
  const bucket = store({ accessKey: "AK" });
  await writeFile(join(directory, "source"), "hello");
  const uploaded = await bucket.upload(join(directory, "source"), snapshot);
  expect(uploaded.location).toBe("s3://backups/cluster-a/on-demand-server-1-1700000000");
  objects.set("cluster-a/notes.txt", Buffer.from("not a snapshot"));
  expect(await bucket.list()).toEqual([uploaded]);
  await bucket.download(snapshot.name, join(directory, "back"));
  expect(await readFile(join(directory, "back"), "utf8")).toBe("hello");
  await bucket.delete(snapshot.name);
  expect(await bucket.list()).toEqual([]);
});

test("what is not there, and keys that are wrong, are said so", async () => {
  const bucket = store({ accessKey: "AK" });
  await expect(bucket.download("gone-server-1-1700000000", join(directory, "x"))).rejects.toMatchObject({
    code: "snapshot/not-found",
  });
  await expect(store({ accessKey: "XX" }).list()).rejects.toMatchObject({
    code: "snapshot/s3",
    hint: expect.stringContaining("--etcd-s3-region"),
  });
});
