import type { Node } from "./node.ts";

const timeoutMs = 60_000;

/**
 * Which of the nodes runs the etcd member that leads now. Waits until every member answers, since one that still starts
 * after the fault before leaves no majority for the next. `flags` are etcdctl's way in (certificates, endpoint).
 */
export async function etcdLeader(nodes: readonly Node[], flags: readonly string[] = []): Promise<Node> {
  const deadline = Date.now() + timeoutMs;
  for (;;) {
    try {
      const leads = await Promise.all(nodes.map((node) => isLeader(node, flags)));
      const leader = nodes[leads.indexOf(true)];
      if (leader !== undefined) return leader;
    } catch (error) {
      if (Date.now() > deadline) throw error;
    }
    if (Date.now() > deadline) throw new Error("etcd has no leader");
    await new Promise((resolve) => setTimeout(resolve, 250));
  }
}

async function isLeader(node: Node, flags: readonly string[]): Promise<boolean> {
  const text = await node.exec("etcdctl", ...flags, "endpoint", "status", "--write-out=json");
  const [{ Status: status }] = JSON.parse(quoteIds(text)) as [
    { Status: { header: { member_id: string }; leader: string } },
  ];
  return status.leader === status.header.member_id;
}

/** Member ids are 64-bit numbers, which JSON.parse would round. */
function quoteIds(text: string): string {
  return text.replace(/"(member_id|leader)":(\d+)/g, '"$1":"$2"');
}
