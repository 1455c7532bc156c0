import type { IncomingMessage } from "node:http";
import { type Clock, KeelsonError } from "@keelson/service";

/**
 * Reads a whole request body of a supervisor route.
 * Throws `gateway/body-too-large` (413), `gateway/body-timeout` (408) or `gateway/body-aborted` (400).
 */
export function readBody(req: IncomingMessage, limitBytes: number, timeoutMs: number, clock: Clock): Promise<Buffer> {
  const announced = Number(req.headers["content-length"] ?? 0);
  if (announced > limitBytes) return Promise.reject(tooLarge(limitBytes));
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = [];
    let size = 0;
    const timer = clock.setTimeout(() => {
      fail(
        new KeelsonError("gateway/body-timeout", `request body not received within ${timeoutMs} ms`, { status: 408 }),
      );
    }, timeoutMs);
    const fail = (error: unknown): void => {
      timer.cancel();
      req.off("data", onData);
      req.resume();
      reject(error);
    };
    const onData = (chunk: Buffer): void => {
      size += chunk.length;
      if (size > limitBytes) fail(tooLarge(limitBytes));
      else chunks.push(chunk);
    };
    req.on("data", onData);
    req.once("end", () => {
      timer.cancel();
      resolve(Buffer.concat(chunks, size));
    });
    req.once("close", () => {
      if (!req.complete) fail(new KeelsonError("gateway/body-aborted", "request body ended early", { status: 400 }));
    });
    req.once("error", fail);
  });
}

function tooLarge(limitBytes: number): KeelsonError {
  return new KeelsonError("gateway/body-too-large", `request body is larger than ${limitBytes} bytes`, { status: 413 });
}
