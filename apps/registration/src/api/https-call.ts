import { request } from "node:https";
import { errorMessage, KeelsonError } from "@keelson/service";

export interface HttpsCall {
  /** `https://host:port`. */
  url: string;
  path: string;
  method?: "GET" | "PUT";
  body?: string;
  /** Without it the server is not verified: only for `/cacerts`, whose answer the token's pin decides about. */
  ca?: string;
  authorization?: string;
}

export interface HttpsAnswer {
  status: number;
  body: Buffer;
  /** The Date header, for clock comparison. */
  date: string | undefined;
}

const timeoutMs = 15_000;
const maxBodyBytes = 1024 * 1024;

/** One call to a server's supervisor API. Throws `server/unreachable`; any status is an answer. */
export function httpsCall({ url, path, method = "GET", body, ca, authorization }: HttpsCall): Promise<HttpsAnswer> {
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
        method,
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
    req.end(body);
  });
}

/** The bytes of `/cacerts`, not verified yet. */
export async function downloadCa(url: string): Promise<string> {
  const { status, body } = await httpsCall({ url, path: "/cacerts" });
  if (status === 200) return body.toString("utf8");
  if (status === 503) throw new KeelsonError("server/unreachable", `${url} is not ready yet`, { status });
  throw new KeelsonError("server/no-ca", `${url} does not hand out its CA (status ${status})`, {
    hint: "check that the address is that of a K3s or Keelson server",
  });
}

/** `Basic user:password`. */
export function basicAuthorization(user: string, password: string): string {
  return `Basic ${Buffer.from(`${user}:${password}`).toString("base64")}`;
}
