import { request } from "node:https";
import { errorMessage, KeelsonError } from "@keelson/service";

export interface HttpsAnswer {
  status: number;
  body: Buffer;
  /** The Date header, for clock comparison. */
  date: string | undefined;
}

const timeoutMs = 15_000;
const maxBodyBytes = 1024 * 1024;

/**
 * One GET. Without `ca` the server is not verified: only for `/cacerts`, whose answer the token's pin decides about. Throws
 * `server/unreachable`.
 */
export function httpsGet(
  url: string,
  path: string,
  trust: { ca?: string; authorization?: string } = {},
): Promise<HttpsAnswer> {
  const { ca, authorization } = trust;
  return new Promise((resolve, reject) => {
    const fail = (cause: unknown): void =>
      reject(
        new KeelsonError("server/unreachable", `${url} does not answer: ${errorMessage(cause)}`, {
          hint: "check the address and that the server runs",
          status: 503,
          cause,
        }),
      );
    const req = request(
      new URL(path, url),
      {
        agent: false,
        signal: AbortSignal.timeout(timeoutMs),
        ...(ca === undefined ? { rejectUnauthorized: false } : { ca }),
        headers: authorization === undefined ? {} : { authorization },
      },
      (res) => {
        const chunks: Buffer[] = [];
        let length = 0;
        res.on("data", (chunk: Buffer) => {
          length += chunk.length;
          if (length > maxBodyBytes) req.destroy(new Error("the answer is too large"));
          chunks.push(chunk);
        });
        res.on("end", () =>
          resolve({ status: res.statusCode ?? 0, body: Buffer.concat(chunks), date: res.headers.date }),
        );
        res.on("error", fail);
      },
    );
    req.on("error", fail);
    req.end();
  });
}

/** The bytes of `/cacerts`, not verified yet. */
export async function downloadCa(url: string): Promise<string> {
  const { status, body } = await httpsGet(url, "/cacerts");
  if (status === 200) return body.toString("utf8");
  throw new KeelsonError("server/no-ca", `${url} does not hand out its CA (status ${status})`, {
    hint: "check that the address is that of a K3s or Keelson server",
  });
}
