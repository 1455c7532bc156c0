import { isIPv6 } from "node:net";
import type { Advertised } from "./live-servers.ts";

/** Who serves `default/kubernetes`, as its Endpoints and its EndpointSlice say it. */
export interface ServiceEndpoints {
  subsets: { addresses: { ip: string }[]; ports: EndpointPort[] }[];
  /** Addresses of one family; the fields are the same in `discovery.k8s.io/v1` and `v1beta1`. */
  slice: {
    addressType: "IPv4" | "IPv6";
    endpoints: { addresses: string[]; conditions: { ready: true } }[];
    ports: EndpointPort[];
  };
}

interface EndpointPort {
  name: string;
  port: number;
  protocol: string;
}

/** The Endpoints have a slice of their own: no other shall be made from them. Source: kube-apiserver's reconcilers. */
export const endpointsLabels = { "endpointslice.kubernetes.io/skip-mirror": "true" };

/** The slice's label, by which it belongs to the service. */
export const sliceLabels = { "kubernetes.io/service-name": "kubernetes" };

export function endpointsOf(servers: readonly Advertised[], family: string): ServiceEndpoints {
  const byPort = new Map<number, string[]>();
  for (const { address, port } of servers) byPort.set(port, [...(byPort.get(port) ?? []), address]);
  const httpsPort = (port: number): EndpointPort => ({ name: "https", port, protocol: "TCP" });
  return {
    subsets: [...byPort].map(([port, addresses]) => ({
      addresses: addresses.sort().map((ip) => ({ ip })),
      ports: [httpsPort(port)],
    })),
    slice: {
      addressType: isIPv6(family) ? "IPv6" : "IPv4",
      endpoints: servers.map(({ address }) => ({ addresses: [address], conditions: { ready: true } })),
      ports: [...byPort.keys()].slice(0, 1).map(httpsPort),
    },
  };
}
