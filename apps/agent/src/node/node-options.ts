import { accessSync, constants } from "node:fs";
import { isIP } from "node:net";
import { delimiter, join } from "node:path";
import { defineOptions, KeelsonError, type OptionValues } from "@keelson/service";
import type { AgentConfig } from "../config.ts";

/** Options of the node itself, which a server that is a node too has as well; names are K3s's where the meaning is the same. */
export const nodeOptions = defineOptions({
  "node-external-ip": { type: "list", placeholder: "ip", help: "External addresses of the node." },
  "node-label": { type: "list", placeholder: "key=value", help: "Labels to register the node with." },
  "node-taint": { type: "list", placeholder: "key=value:effect", help: "Taints to register the node with." },
  "kubelet-path": {
    type: "string",
    placeholder: "file",
    help: 'kubelet to run (the one in PATH; without any, or with "", the agent keeps the Node itself).',
  },
  "kubelet-arg": { type: "list", keepCommas: true, placeholder: "name=value", help: "Extra flags for the kubelet." },
  "container-runtime-endpoint": { type: "string", placeholder: "url", help: "Socket of the container runtime." },
});

export type NodeOptionValues = OptionValues<typeof nodeOptions>;

/**
 * What `values` say of the node. `bindAddress`: where its kubelet listens (all); `findKubelet`: whether the one in PATH is
 * taken when none is named. Throws `option/invalid`.
 */
export function nodeConfig(
  values: NodeOptionValues,
  dataDir: string,
  { bindAddress, findKubelet }: { bindAddress?: string | undefined; findKubelet: boolean },
): Pick<AgentConfig, "nodeExternalIps" | "nodeLabels" | "nodeTaints" | "kubelet"> {
  const path = values["kubelet-path"] ?? (findKubelet ? findProgram("kubelet") : undefined);
  return {
    nodeExternalIps: values["node-external-ip"],
    nodeLabels: Object.fromEntries(values["node-label"].map(parseLabel)),
    nodeTaints: values["node-taint"].map(parseTaint),
    kubelet:
      path === undefined || path === ""
        ? undefined
        : {
            path,
            args: [...addressArgument(bindAddress), ...values["kubelet-arg"]],
            runtimeEndpoint: values["container-runtime-endpoint"],
            rootDir: join(dataDir, "agent"),
          },
  };
}

/** What is given to the kubelet word for word comes after it, and so wins. */
function addressArgument(bindAddress: string | undefined): readonly string[] {
  if (bindAddress === undefined) return [];
  if (isIP(bindAddress) === 0) throw invalid("bind-address", bindAddress, "an IP address");
  return [`address=${bindAddress}`];
}

/** The path of a program in PATH, if it is there. */
function findProgram(name: string): string | undefined {
  const paths = (process.env.PATH ?? "").split(delimiter).map((directory) => join(directory, name));
  return paths.find((path) => {
    try {
      accessSync(path, constants.X_OK);
      return true;
    } catch {
      return false; // not in this folder
    }
  });
}

function parseLabel(text: string): [string, string] {
  const equals = text.indexOf("=");
  if (equals < 1) throw invalid("node-label", text, "key=value");
  return [text.slice(0, equals), text.slice(equals + 1)];
}

function parseTaint(text: string): { key: string; value?: string; effect: string } {
  const match = /^([^=:]+)(?:=([^:]*))?:(NoSchedule|PreferNoSchedule|NoExecute)$/.exec(text);
  if (match === null) throw invalid("node-taint", text, "key=value:NoSchedule");
  return { key: match[1]!, ...(match[2] === undefined ? {} : { value: match[2] }), effect: match[3]! };
}

function invalid(option: string, text: string, expected: string): KeelsonError {
  return new KeelsonError("option/invalid", `--${option} must be ${expected}, got ${JSON.stringify(text)}`);
}
