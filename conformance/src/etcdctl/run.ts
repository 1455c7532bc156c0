import { spawn } from "node:child_process";
import { once } from "node:events";
import { requireBinary } from "../host-binaries.ts";
import type { EtcdctlCommand } from "./commands.ts";

/** What a command printed and how it ended, with what differs from server to server replaced. */
export interface Outcome {
  command: string;
  exitCode: number | null;
  stdout: string;
  stderr: string;
}

const timeoutMs = 15_000;
const meanwhileDelayMs = 400;

/** Runs etcdctl commands against one server, one after the other. */
export class Etcdctl {
  readonly #url: string;
  #lease = "none";

  constructor(url: string) {
    this.#url = url;
  }

  async run(command: EtcdctlCommand): Promise<Outcome> {
    const args = command.args.map((argument) => argument.replace("$LEASE", this.#lease));
    const child = spawn(requireBinary("etcdctl"), ["--endpoints", this.#url, ...args], {
      env: { PATH: process.env.PATH, ETCDCTL_API: "3" },
      stdio: ["pipe", "pipe", "pipe"],
    });
    let stdout = "";
    let stderr = "";
    const isEnough = (): boolean =>
      (stdout.match(/\n/g)?.length ?? 0) >= (command.interruptAfterLines ?? Number.POSITIVE_INFINITY);
    child.stdout.on("data", (chunk: Buffer) => {
      stdout += chunk.toString("latin1");
      if (isEnough()) child.kill("SIGINT");
    });
    child.stderr.on("data", (chunk: Buffer) => {
      stderr += chunk.toString("latin1");
    });
    // A command that reads nothing may end before this arrives.
    child.stdin.on("error", () => {});
    child.stdin.end(command.stdin ?? "");
    const timeout = setTimeout(() => child.kill("SIGKILL"), timeoutMs);
    const close = once(child, "close");
    if (command.meanwhile !== undefined) {
      await new Promise((done) => setTimeout(done, meanwhileDelayMs));
      for (const other of command.meanwhile) await this.run(other);
    }
    const [code] = (await close) as [number | null];
    clearTimeout(timeout);
    const granted = /^lease ([0-9a-f]+) granted/.exec(stdout)?.[1];
    if (granted !== undefined) this.#lease = granted;
    return {
      command: command.args.join(" "),
      exitCode: command.interruptAfterLines === undefined ? code : null,
      stdout: this.#comparable(stdout, command),
      stderr: this.#comparable(stderr, command),
    };
  }

  /** Replaces ids, addresses, times and sizes. */
  #comparable(text: string, command: EtcdctlCommand): string {
    let comparable = text
      .replaceAll(this.#url, "<url>")
      .replaceAll(new URL(this.#url).host, "<host>")
      .replaceAll(new RegExp(`\\b${this.#lease}\\b`, "g"), "<lease>")
      // Output is read as latin1: there the micro sign of Go's durations is two characters.
      .replace(/[\d.]+(\u00c2?\u00b5s|ms|s)\b/g, "<time>")
      .replace(/remaining\(\d+s\)/g, "remaining(<time>)")
      .replace(/"(cluster_id|member_id|lease|took)":"?[^,}"]+"?/g, '"$1":<id>')
      .replace(/"raft_term":\d+/g, '"raft_term":<term>')
      .replace(
        /"(ClusterID|MemberID|RaftTerm|RaftIndex|RaftAppliedIndex|RaftIndexApplied|Leader|DBSize|DBSizeInUse|Hash|ID|Lease|Version)" : .*/g,
        '"$1" : <own>',
      )
      .replace(
        /"(Name|PeerURL|ClientURL|StorageVersion|DBSizeQuota|DowngradeTargetVersion|DowngradeEnabled)" : .*\n/g,
        "",
      )
      .replace(/\b[0-9a-f]{15,16}\b/g, "<id>")
      .replace(/^\{"level".*?\}$/gm, "<log>")
      .replace(/rpc error: code = Unavailable desc = .*/g, "unavailable");
    // In protobuf the header comes first, as field 1 with its length, and differs by its ids.
    if (command.args.includes("protobuf")) comparable = comparable.slice(2 + comparable.charCodeAt(1));
    return comparable;
  }
}
