import { readFile, stat } from "node:fs/promises";
import { type BootstrapData, type BootstrapPieceName, bootstrapPieces } from "@keelson/secret-format";
import { errorCode, KeelsonError, type Logger, writeFileAtomic } from "@keelson/service";
import type { ServerPaths } from "../server-paths.ts";

/** A file that is younger than the shared copy by this much is not overwritten: someone edited it on purpose. */
const newerToleranceMs = 3_000;

const publicPieces = new Set<BootstrapPieceName>([
  "ClientCA",
  "ServerCA",
  "RequestHeaderCA",
  "ETCDServerCA",
  "ETCDPeerCA",
]);

/** Reads every bootstrap file that exists. */
export async function readBootstrapFiles(paths: ServerPaths): Promise<BootstrapData> {
  const names = Object.keys(bootstrapPieces) as BootstrapPieceName[];
  const read = await Promise.all(names.map(async (name) => [name, await readPiece(paths.file(bootstrapPieces[name]))]));
  return Object.fromEntries(read.filter(([, piece]) => piece !== undefined)) as BootstrapData;
}

/**
 * Brings the files in line with the cluster's copy: what is missing or older is written. A file that differs and is newer
 * stops the start, because one side of the cluster would use it and the other would not. Answers the files written.
 */
export async function writeBootstrapFiles(paths: ServerPaths, data: BootstrapData, log: Logger): Promise<string[]> {
  const pending: { file: string; content: Buffer; mode: number }[] = [];
  for (const [name, piece] of Object.entries(data) as [BootstrapPieceName, NonNullable<BootstrapData["ClientCA"]>][]) {
    const file = paths.file(bootstrapPieces[name]);
    const local = await readPiece(file);
    if (local?.content.equals(piece.content)) continue;
    if (
      local !== undefined &&
      piece.modifiedMs !== undefined &&
      local.modifiedMs! - piece.modifiedMs >= newerToleranceMs
    ) {
      throw new KeelsonError(
        "bootstrap/newer-file",
        `${file} is newer than datastore and could cause a cluster outage`,
        {
          hint: "restore the file from another server, or remove it to take the cluster's copy",
        },
      );
    }
    pending.push({ file, content: piece.content, mode: publicPieces.has(name) ? 0o644 : 0o600 });
  }
  for (const { file, content, mode } of pending) {
    await writeFileAtomic(file, content, mode);
    log.debug({ file }, "took the cluster's copy");
  }
  return pending.map(({ file }) => file);
}

/** Whether two sets of pieces have the same contents, whatever their times. */
export function sameBootstrapContents(a: BootstrapData, b: BootstrapData): boolean {
  const names = new Set([...Object.keys(a), ...Object.keys(b)] as BootstrapPieceName[]);
  return [...names].every((name) => {
    const [left, right] = [a[name]?.content, b[name]?.content];
    return left !== undefined && right !== undefined && left.equals(right);
  });
}

async function readPiece(file: string): Promise<{ content: Buffer; modifiedMs: number } | undefined> {
  try {
    const [content, { mtimeMs }] = await Promise.all([readFile(file), stat(file)]);
    return { content, modifiedMs: mtimeMs };
  } catch (error) {
    if (errorCode(error) === "ENOENT") return undefined;
    throw error;
  }
}
