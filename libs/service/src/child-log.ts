/** One line of a child's output, as it goes into our own log. */
export interface ChildLogLine {
  level: "debug" | "info" | "warn" | "error";
  message: string;
}

const klogLevels: Record<string, ChildLogLine["level"]> = { I: "info", W: "warn", E: "error", F: "error" };
const klogLine = /^([IWEF])\d{4} \d{2}:\d{2}:\d{2}\.\d+\s+\d+ ([^\]]+)\] (.*)$/;
const capnslogLine = /^\d{4}[-/]\d{2}[-/]\d{2} \d{2}:\d{2}:\d{2}(?:\.\d+)? ([DIWNEC]) \| (.*)$/;
const capnslogLevels: Record<string, ChildLogLine["level"]> = {
  D: "debug",
  I: "info",
  N: "info",
  W: "warn",
  E: "error",
  C: "error",
};

/**
 * Reads the log formats of the programs we run, so that their level is kept and their time stamp is not printed twice:
 * klog (kubelet, kube-apiserver), capnslog and zap's JSON (etcd). Any other line is `info`, as it is.
 */
export function parseChildLog(line: string): ChildLogLine {
  const klog = klogLine.exec(line);
  if (klog !== null) return { level: klogLevels[klog[1]!]!, message: `${klog[2]}: ${klog[3]}` };
  const capnslog = capnslogLine.exec(line);
  if (capnslog !== null) return { level: capnslogLevels[capnslog[1]!]!, message: capnslog[2]! };
  if (line.startsWith("{")) return parseZap(line) ?? { level: "info", message: line };
  return { level: "info", message: line };
}

function parseZap(line: string): ChildLogLine | undefined {
  let entry: Record<string, unknown>;
  try {
    entry = JSON.parse(line) as Record<string, unknown>;
  } catch {
    return undefined;
  }
  const { level, msg, ts: _ts, caller: _caller, ...fields } = entry;
  if (typeof level !== "string" || typeof msg !== "string") return undefined;
  const details = Object.entries(fields).map(([key, value]) => ` ${key}=${JSON.stringify(value)}`);
  const known = level === "debug" || level === "info" || level === "warn" ? level : "error";
  return { level: known, message: `${msg}${details.join("")}` };
}

/** Cuts a stream of bytes into lines; a line longer than the bound is cut, so that a child cannot fill our memory. */
export class LineSplitter {
  readonly #onLine: (line: string) => void;
  readonly #maxLength: number;
  readonly #decoder = new TextDecoder();
  #rest = "";
  #skipping = false;

  constructor(onLine: (line: string) => void, maxLength = 8_192) {
    this.#onLine = onLine;
    this.#maxLength = maxLength;
  }

  push(chunk: Uint8Array): void {
    const lines = (this.#rest + this.#decoder.decode(chunk, { stream: true })).split("\n");
    this.#rest = lines.pop() ?? "";
    for (const line of lines) this.#emit(line);
    if (this.#rest.length > this.#maxLength) {
      if (!this.#skipping) this.#onLine(`${this.#rest.slice(0, this.#maxLength)}…`);
      this.#skipping = true;
      this.#rest = "";
    }
  }

  /** Emits what came after the last line break. */
  end(): void {
    if (this.#rest !== "") this.#emit(this.#rest);
    this.#rest = "";
  }

  #emit(line: string): void {
    const text = line.endsWith("\r") ? line.slice(0, -1) : line;
    if (!this.#skipping && text !== "") {
      this.#onLine(text.length > this.#maxLength ? `${text.slice(0, this.#maxLength)}…` : text);
    }
    this.#skipping = false;
  }
}
