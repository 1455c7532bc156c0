/** The version that an agent reports of a Node that it keeps by itself; a kubelet reports its own. */
export const agentVersion = "v0.1.0+keelson";

/** On Nodes that an agent keeps without a kubelet: nothing could run there. */
export const noKubeletTaint = { key: "keelson.io/no-kubelet", effect: "NoSchedule" } as const;

/** Whether an agent keeps the Node that reports this version; undefined while nobody has reported one. */
export function isKeptByAgent(kubeletVersion: string | undefined): boolean | undefined {
  return kubeletVersion === undefined || kubeletVersion === "" ? undefined : kubeletVersion.endsWith("+keelson");
}
