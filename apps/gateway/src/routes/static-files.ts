import { createReadStream } from "node:fs";
import { readdir, realpath, stat } from "node:fs/promises";
import type { IncomingMessage, ServerResponse } from "node:http";
import { join, sep } from "node:path";
import { errorCode } from "@keelson/service";
import { sendContent } from "../http/content.ts";
import { send } from "../http/status.ts";

const contentTypes: Record<string, string> = {
  ".tgz": "application/x-gzip",
  ".gz": "application/gzip",
  ".json": "application/json",
  ".yaml": "application/yaml",
  ".yml": "application/yaml",
  ".txt": "text/plain; charset=utf-8",
  ".html": "text/html; charset=utf-8",
};

/**
 * `/static/*`: the files below `<data dir>/server/static`, with directory listings, to anybody. `path` is the request
 * path, already clean. Links that lead out of the folder are not followed.
 */
export async function serveStatic(
  root: string | undefined,
  req: IncomingMessage,
  res: ServerResponse,
  path: string,
): Promise<void> {
  const relative = decodeURIComponent(path.slice("/static/".length));
  const file = root === undefined ? undefined : await inside(root, relative);
  if (file === undefined) return notFound(res);
  const info = await stat(file);
  if (info.isDirectory()) {
    if (!path.endsWith("/")) {
      res.writeHead(301, { Location: `${path.split("/").at(-1)}/` }).end();
      return;
    }
    const entries = await readdir(file, { withFileTypes: true });
    const names = entries.map((entry) => (entry.isDirectory() ? `${entry.name}/` : entry.name)).sort();
    const lines = names.map((name) => `<a href="${encodeURI(name)}">${escapeHtml(name)}</a>\n`).join("");
    return send(res, 200, "text/html; charset=utf-8", `<pre>\n${lines}</pre>\n`, {
      "Last-Modified": info.mtime.toUTCString(),
    });
  }
  if (!info.isFile() || path.endsWith("/")) return notFound(res);
  const extension = /\.[a-z]+$/i.exec(file)?.[0].toLowerCase() ?? "";
  sendContent(req, res, {
    contentType: contentTypes[extension] ?? "application/octet-stream",
    sizeBytes: info.size,
    lastModifiedMs: info.mtimeMs,
    read: (start, end) => (info.size === 0 ? new Uint8Array() : createReadStream(file, { start, end })),
  });
}

/** The real path of an existing file below `root`, undefined when there is none there. */
async function inside(root: string, relative: string): Promise<string | undefined> {
  try {
    const base = await realpath(root);
    const file = await realpath(join(base, relative));
    return file === base || file.startsWith(base + sep) ? file : undefined;
  } catch (error) {
    if (["ENOENT", "ENOTDIR", "ENAMETOOLONG", "EACCES", "ELOOP"].includes(errorCode(error) ?? "")) return undefined;
    throw error;
  }
}

function notFound(res: ServerResponse): void {
  send(res, 404, "text/plain; charset=utf-8", "404 page not found\n", { "X-Content-Type-Options": "nosniff" });
}

function escapeHtml(text: string): string {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;").replaceAll('"', "&#34;");
}
