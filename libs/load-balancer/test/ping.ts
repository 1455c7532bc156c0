import { connect } from "node:net";
import type { HealthProbe } from "../src/index.ts";
import { splitAddress } from "../src/index.ts";

/** Connects, says `ping` and resolves with the name that comes back. */
export function ping(port: number, signal: AbortSignal, host = "127.0.0.1"): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect({ host, port, signal });
    socket.once("connect", () => socket.write("ping\n"));
    socket.once("data", (data) => {
      resolve(String(data).trim());
      socket.destroy();
    });
    socket.once("error", reject);
    socket.once("close", () => reject(new Error("closed without an answer")));
  });
}

/** A probe over plain TCP: an answer to `ping` is health. */
export const pingProbe: HealthProbe = {
  async check(address, signal) {
    const { host, port } = splitAddress(address);
    await ping(port, signal, host);
  },
  close: () => {},
};
