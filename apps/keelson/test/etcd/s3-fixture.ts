import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import { createServer as createSecureServer } from "node:https";
import type { AddressInfo } from "node:net";

/** As much of S3's API as snapshots need, refusing requests that are not signed for its bucket and region. */
export class TestBucket implements AsyncDisposable {
  readonly name = "backups";
  readonly region = "eu-1";
  readonly accessKey = "AK";
  readonly secretKey = "SK";
  /** Contents by key. */
  readonly objects = new Map<string, Buffer>();
  readonly #server: ReturnType<typeof createServer>;

  private constructor(tls: { cert: string; key: string } | undefined) {
    const answer = (req: IncomingMessage, res: ServerResponse): void => void this.#answer(req, res);
    this.#server = tls === undefined ? createServer(answer) : createSecureServer(tls, answer);
  }

  /** Listens on a free port of loopback. */
  static async start(tls?: { cert: string; key: string }): Promise<TestBucket> {
    const bucket = new TestBucket(tls);
    await new Promise<void>((resolve) => bucket.#server.listen(0, "127.0.0.1", resolve));
    return bucket;
  }

  get endpoint(): string {
    return `127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.closeAllConnections();
    this.#server.close();
  }

  async #answer(req: IncomingMessage, res: ServerResponse): Promise<unknown> {
    const chunks: Buffer[] = [];
    for await (const chunk of req) chunks.push(chunk as Buffer);
    const url = new URL(req.url ?? "/", "http://s3");
    if (!/^AWS4-HMAC-SHA256 Credential=AK\/\d{8}\/eu-1\/s3\/aws4_request/.test(req.headers.authorization ?? "")) {
      return res.writeHead(403).end("<Error><Code>SignatureDoesNotMatch</Code><Message>no</Message></Error>");
    }
    const key = decodeURIComponent(url.pathname.replace(/^\/backups\/?/, ""));
    if (req.method === "PUT") {
      this.objects.set(key, Buffer.concat(chunks));
      return res.writeHead(200, { etag: '"x"' }).end();
    }
    if (req.method === "DELETE") return res.writeHead(this.objects.delete(key) ? 204 : 404).end();
    const content = this.objects.get(key);
    if (key !== "") return content === undefined ? res.writeHead(404).end() : res.end(content);
    const prefix = url.searchParams.get("prefix") ?? "";
    const entries = [...this.objects]
      .filter(([name]) => name.startsWith(prefix))
      .map(([name, value]) => {
        return `<Contents><Key>${name}</Key><Size>${value.length}</Size><LastModified>2026-01-01T00:00:00Z</LastModified></Contents>`;
      });
    return res.end(
      `<?xml version="1.0"?><ListBucketResult><IsTruncated>false</IsTruncated><KeyCount>${entries.length}</KeyCount>${entries.join("")}</ListBucketResult>`,
    );
  }
}
