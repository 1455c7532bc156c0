import { expect, test } from "vitest";
import { boundAddress, kubeletArguments, portArgument } from "../src/kubelet/kubelet-arguments.ts";
import { AgentLayout } from "../src/layout.ts";

test("the kubelet's flags, with the user's in place of ours", () => {
  const flags = kubeletArguments({
    nodeName: "node-a",
    nodeIps: ["192.0.2.7"],
    labels: { zone: "a" },
    taints: [{ key: "dedicated", value: "db", effect: "NoSchedule" }],
    layout: new AgentLayout("/data"),
    config: { ClusterDNS: "10.43.0.10", ClusterDNSs: ["10.43.0.10"], ClusterDomain: "cluster.local", DisableCCM: true },
    runtimeEndpoint: "unix:///run/containerd/containerd.sock",
    minorVersion: 31,
    extra: ["fail-swap-on=true", "port=10251", "--v=4"],
  });
  expect(flags).toEqual([
    "--address=0.0.0.0",
    "--anonymous-auth=false",
    "--authentication-token-webhook=true",
    "--authorization-mode=Webhook",
    "--client-ca-file=/data/agent/client-ca.crt",
    "--cluster-dns=10.43.0.10",
    "--cluster-domain=cluster.local",
    "--container-runtime-endpoint=unix:///run/containerd/containerd.sock",
    "--eviction-hard=imagefs.available<5%,nodefs.available<5%",
    "--eviction-minimum-reclaim=imagefs.available=10%,nodefs.available=10%",
    "--fail-swap-on=true",
    "--healthz-bind-address=127.0.0.1",
    "--hostname-override=node-a",
    "--kubeconfig=/data/agent/kubelet.kubeconfig",
    "--node-ip=192.0.2.7",
    "--node-labels=zone=a",
    "--pod-manifest-path=/data/agent/pod-manifests",
    "--port=10251",
    "--read-only-port=0",
    "--register-with-taints=dedicated=db:NoSchedule",
    "--serialize-image-pulls=false",
    "--tls-cert-file=/data/agent/serving-kubelet.crt",
    "--tls-private-key-file=/data/agent/serving-kubelet.key",
    "--v=4",
  ]);
  expect(portArgument(["port=10251"], "port", 10_250)).toBe(10_251);
  expect(portArgument(["healthz-port=1"], "port", 10_250)).toBe(10_250);
  expect(boundAddress(["address=192.0.2.7"])).toBe("192.0.2.7");
  expect(boundAddress(["address=0.0.0.0"])).toBeUndefined();
});

test("a kubelet that would take Docker for its runtime is told not to", () => {
  const runtimeFlags = (minorVersion: number | undefined): string[] =>
    kubeletArguments({
      nodeName: "node-a",
      nodeIps: [],
      labels: {},
      taints: [],
      layout: new AgentLayout("/data"),
      config: { ClusterDNS: "", ClusterDNSs: [], ClusterDomain: "cluster.local", DisableCCM: true },
      runtimeEndpoint: "unix:///containerd.sock",
      minorVersion,
      extra: [],
    }).filter((flag) => flag.startsWith("--container-runtime"));
  const endpoint = "--container-runtime-endpoint=unix:///containerd.sock";
  expect(runtimeFlags(23)).toEqual(["--container-runtime=remote", endpoint]);
  expect(runtimeFlags(24)).toEqual([endpoint]);
  expect(runtimeFlags(undefined)).toEqual([endpoint]);
});
