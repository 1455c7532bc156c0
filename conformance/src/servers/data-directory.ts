import { execFileSync } from "node:child_process";
import { chown, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** A server's folder under the temporary directory; `remove` takes it away. */
export interface DataDirectory {
  path: string;
  /** Who owns it, when the program must not run as root. */
  user: { uid: number; gid: number } | undefined;
  remove(): Promise<void>;
}

/** Makes a folder. Under root it belongs to the first of `users` that exists: databases refuse to run as root. */
export async function makeDataDirectory(name: string, ...users: string[]): Promise<DataDirectory> {
  const path = await mkdtemp(join(tmpdir(), `keelson-${name}-`));
  const user = process.getuid?.() === 0 && users.length > 0 ? lookUp([...users, "nobody"]) : undefined;
  if (user !== undefined) await chown(path, user.uid, user.gid);
  return { path, user, remove: () => rm(path, { recursive: true, force: true, maxRetries: 3 }) };
}

function lookUp(users: string[]): { uid: number; gid: number } {
  for (const user of users) {
    try {
      const id = (flag: string): number =>
        Number(execFileSync("id", [flag, user], { stdio: ["ignore", "pipe", "ignore"] }));
      return { uid: id("-u"), gid: id("-g") };
    } catch {
      // no such user on this host: the next
    }
  }
  throw new Error(`none of the users ${users.join(", ")} exists on this host`);
}
