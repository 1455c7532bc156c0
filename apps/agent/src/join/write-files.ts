import { writeFileAtomic } from "@keelson/service";
import { type AgentLayout, leafNames } from "../layout.ts";
import type { Joined } from "./join.ts";

/** Writes CA files, certificates, keys and kubeconfigs, all at once; each is replaced whole. */
export async function writeJoinFiles(joined: Joined, layout: AgentLayout, serverUrl: string): Promise<void> {
  const files: [path: string, text: string][] = [
    [layout.serverCa, joined.serverCaPem],
    [layout.clientCa, joined.clientCaPem],
    ...leafNames.flatMap((leaf): [string, string][] => [
      [layout.certificate(leaf), joined.leaves[leaf].certPem],
      [layout.key(leaf), joined.leaves[leaf].keyPem],
    ]),
    ...layout.kubeconfigs.map(({ path, leaf }): [string, string] => [path, layout.kubeconfig(serverUrl, leaf)]),
  ];
  await Promise.all(files.map(([path, text]) => writeFileAtomic(path, text, 0o600)));
}
