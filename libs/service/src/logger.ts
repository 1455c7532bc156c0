import { type DestinationStream, type Logger as PinoLogger, pino, stdTimeFunctions } from "pino";

/** Structured logger; pino's call shape: `log.info({ node }, "tunnel open")`. */
export type Logger = PinoLogger;

export type LogLevel = "debug" | "info" | "warn" | "error" | "silent";
export type LogFormat = "plain" | "json";

export interface LoggerOptions {
  /** Component name, printed with each line. */
  name: string;
  level?: LogLevel;
  format?: LogFormat;
  /** Where lines go (standard error, so that standard output stays for answers). */
  destination?: { write(line: string): void };
}

/** Fields that may carry a secret are never printed, whatever object they sit in. */
const redactedPaths = ["token", "password", "authorization", "headers.authorization", "*.token", "*.password"];

/** Creates the root logger of a process or, in tests, one with its own destination. */
export function createLogger(options: LoggerOptions): Logger {
  const sink = options.destination ?? process.stderr;
  const destination: DestinationStream =
    options.format === "json" ? sink : { write: (line: string) => sink.write(formatPlain(line)) };
  return pino(
    {
      name: options.name,
      level: options.level ?? "info",
      base: { component: options.name },
      timestamp: stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
      redact: { paths: redactedPaths, censor: "[redacted]" },
    },
    destination,
  );
}

/** A logger that drops everything; for tests and libraries without a caller's logger. */
export const silentLogger: Logger = pino({ level: "silent" });

const hiddenFields = new Set(["level", "time", "component", "msg", "name", "err", "pid", "hostname"]);

/** Turns one JSON line into `time LEVEL component: message key=value …`, the shape k3s users read in their journal. */
export function formatPlain(line: string): string {
  let entry: Record<string, unknown>;
  try {
    entry = JSON.parse(line) as Record<string, unknown>;
  } catch {
    return line;
  }
  const fields: string[] = [];
  for (const [key, value] of Object.entries(entry)) {
    if (hiddenFields.has(key)) continue;
    fields.push(`${key}=${typeof value === "string" && /^[^\s"=]+$/.test(value) ? value : JSON.stringify(value)}`);
  }
  const error = entry.err;
  if (typeof error === "object" && error !== null && "message" in error) {
    fields.push(`error=${JSON.stringify(error.message)}`);
  }
  const level = String(entry.level).toUpperCase().padEnd(5);
  const suffix = fields.length === 0 ? "" : ` ${fields.join(" ")}`;
  return `${entry.time} ${level} ${entry.component}: ${entry.msg ?? ""}${suffix}\n`;
}
