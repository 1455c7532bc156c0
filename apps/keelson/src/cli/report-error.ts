import { errorMessage, KeelsonError } from "@keelson/service";

/** Exit code of a failure the user can mend: wrong flag, busy port, unreadable file, refused token. */
const failureExitCode = 1;

/**
 * Prints one error the way a person reads it: what is wrong, then the next step. A programming error keeps its stack,
 * since there the stack is the next step. Returns the exit code.
 */
export function reportError(
  error: unknown,
  write: (text: string) => void = (text) => process.stderr.write(text),
): number {
  if (error instanceof KeelsonError) {
    write(`keelson: ${errorMessage(error)}\n`);
    if (error.hint !== undefined) write(`  ${error.hint}\n`);
    return failureExitCode;
  }
  const system = describeSystemError(error);
  if (system !== undefined) {
    write(`keelson: ${system}\n`);
    return failureExitCode;
  }
  write(`keelson: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}\n`);
  return failureExitCode;
}

/** The sentence for the errors of the operating system that users meet at start-up; undefined for anything else. */
export function describeSystemError(error: unknown): string | undefined {
  if (!(error instanceof Error) || !("code" in error)) return undefined;
  const { code, path, address, port } = error as NodeJS.ErrnoException & { address?: string; port?: number };
  switch (code) {
    case "EADDRINUSE":
      return `${address}:${port} is in use by another process; stop it or choose another port`;
    case "EADDRNOTAVAIL":
      return `this host has no address ${address}; choose another --bind-address`;
    case "EACCES":
    case "EPERM":
      return path === undefined
        ? `no permission to listen on ${address}:${port}`
        : `no permission for ${path}; choose another --data-dir or run as its owner`;
    case "EROFS":
      return `${path} is on a read-only file system; choose another --data-dir`;
    case "ENOSPC":
      return `the disk that holds ${path ?? "the data directory"} is full`;
    case "ENOTDIR":
    case "EISDIR":
      return `${path} is not ${code === "ENOTDIR" ? "a directory" : "a file"}; move it away or choose another --data-dir`;
    default:
      return undefined;
  }
}
