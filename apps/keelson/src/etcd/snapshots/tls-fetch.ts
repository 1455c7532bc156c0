import { once } from "node:events";
import type { IncomingMessage } from "node:http";
import { request } from "node:https";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import type { ReadableStream } from "node:stream/web";

export interface TlsTrust {
  /** PEM of the CAs to trust in place of the well-known ones. */
  ca?: string;
  /** Trust whoever answers. */
  skipVerify?: boolean;
}

/** As much of `fetch` as an S3 client needs, over HTTPS connections with a trust of their own, which the built-in one lacks. */
export function tlsFetch({ ca, skipVerify = false }: TlsTrust): typeof fetch {
  return async (input, { method = "GET", headers, body, signal } = {}) => {
    const req = request(String(input), {
      method,
      headers: Object.fromEntries(new Headers(headers)),
      rejectUnauthorized: !skipVerify,
      ...(ca === undefined ? {} : { ca }),
      ...(signal == null ? {} : { signal }),
    });
    const answered = once(req, "response") as Promise<[IncomingMessage]>;
    const content = body == null ? null : new Response(body).body;
    const [[res]] = await Promise.all([
      answered,
      pipeline(content === null ? Readable.from([]) : Readable.fromWeb(content as ReadableStream), req),
    ]);
    const status = res.statusCode ?? 0;
    const answer = {
      status,
      headers: Object.entries(res.headers).map(([name, value]): [string, string] => [name, String(value)]),
    };
    if (status !== 204) return new Response(Readable.toWeb(res) as ConstructorParameters<typeof Response>[0], answer);
    res.resume();
    return new Response(null, answer);
  };
}
