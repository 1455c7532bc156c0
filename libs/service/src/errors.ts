/**
 * An error a person can act on: a stable `code`, the sentence that says what is wrong, the `hint` that says what to do
 * next, and the `cause` it came from. Every error that reaches a user or crosses a part's edge is one of these.
 */
export class KeelsonError extends Error {
  readonly code: string;
  readonly hint: string | undefined;
  /** HTTP or process status that fits, when the error has a natural one. */
  readonly status: number | undefined;

  constructor(code: string, message: string, options: { hint?: string; cause?: unknown; status?: number } = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = "KeelsonError";
    this.code = code;
    this.hint = options.hint;
    this.status = options.status;
  }
}

/** The one-line text of anything that was thrown, with the messages of its causes, without stack traces. */
export function errorMessage(error: unknown): string {
  const parts: string[] = [];
  let current: unknown = error;
  for (let depth = 0; depth < 5 && current !== undefined && current !== null; depth++) {
    const text = messageOf(current);
    if (text !== "" && !parts.some((part) => part.includes(text))) parts.push(text);
    current = current instanceof Error ? current.cause : undefined;
  }
  return parts.join(": ");
}

function messageOf(error: unknown): string {
  if (error instanceof AggregateError && error.message === "") return error.errors.map(messageOf).join("; ");
  if (error instanceof Error) return error.message;
  return String(error);
}

/** The system error code (`ECONNREFUSED`, `ENOENT`, …) or Keelson code of an error, if it has one. */
export function errorCode(error: unknown): string | undefined {
  if (typeof error !== "object" || error === null || !("code" in error)) return undefined;
  return typeof error.code === "string" ? error.code : undefined;
}
