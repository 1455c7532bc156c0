import { once } from "node:events";
import { type AddressInfo, connect, createServer } from "node:net";
import { forkPart } from "./fork-part.ts";

const chunk = Buffer.alloc(256 * 1024, 0x62);

/** Sends whatever number of MiB the client asks for, as fast as a plain socket can: the yardstick of the tunnel. */
export async function runRawPart(): Promise<number> {
  const server = createServer({ noDelay: true }, (socket) => {
    socket.on("error", () => {});
    socket.once("data", (data) => {
      let left = Number(String(data)) * 1024 * 1024;
      const more = (): void => {
        while (left > 0) {
          left -= chunk.length;
          if (!socket.write(chunk)) {
            socket.once("drain", more);
            return;
          }
        }
        socket.end();
      };
      more();
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  process.send!((server.address() as AddressInfo).port);
  return new Promise(() => {});
}

/** Downloads from a raw part in another process; the best of `rounds` in MiB/s. */
export async function rawDownload(mebibytes: number, rounds: number): Promise<number> {
  const child = forkPart("--part=raw");
  const [port] = (await once(child, "message")) as [number];
  const speeds: number[] = [];
  for (let round = 0; round < rounds; round++) {
    const started = performance.now();
    const socket = connect({
      port,
      host: "127.0.0.1",
      onread: { buffer: Buffer.allocUnsafe(256 * 1024), callback: () => true },
    });
    socket.write(String(mebibytes));
    await once(socket, "close");
    speeds.push(mebibytes / ((performance.now() - started) / 1_000));
  }
  child.kill("SIGKILL");
  return Math.max(...speeds);
}
