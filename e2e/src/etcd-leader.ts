import type { Node } from "./node.ts";

/** Which of the nodes runs the etcd member that leads now. `flags` are etcdctl's way in (certificates, endpoint). */
export async function etcdLeader(nodes: readonly Node[], flags: readonly string[] = []): Promise<Node> {
  for (const node of nodes) {
    const text = await node.exec("etcdctl", ...flags, "endpoint", "status", "--write-out=json");
    const [{ Status: status }] = JSON.parse(quoteIds(text)) as [
      { Status: { header: { member_id: string }; leader: string } },
    ];
    if (status.leader === status.header.member_id) return node;
  }
  throw new Error("etcd has no leader");
}

/** Member ids are 64-bit numbers, which JSON.parse would round. */
function quoteIds(text: string): string {
  return text.replace(/"(member_id|leader)":(\d+)/g, '"$1":"$2"');
}
