import { isIPv6 } from "node:net";

/** An address range as Go encodes a net.IPNet. */
export interface GoCidr {
  IP: string;
  /** Base64 of the 4 or 16 mask bytes. */
  Mask: string;
}

/**
 * The document of `/v1-k3s/config`: Go field names, nothing omitted, nil lists and maps as null. Only what agents and
 * joining servers read is typed; `Datastore` and S3 credentials, which v1.21 leaked here, are left out as newer releases do.
 */
export interface ServerConfig {
  AdvertiseIP: string;
  AdvertisePort: number;
  HTTPSPort: number;
  /** Equal to HTTPSPort, or an agent opens a second local balancer. */
  SupervisorPort: number;
  ClusterIPRange: GoCidr | null;
  ClusterIPRanges: readonly GoCidr[] | null;
  ServiceIPRange: GoCidr | null;
  ServiceIPRanges: readonly GoCidr[] | null;
  ServiceNodePortRange: { Base: number; Size: number };
  ClusterDNS: string;
  ClusterDNSs: readonly string[] | null;
  ClusterDomain: string;
  FlannelBackend: string;
  FlannelIPv6Masq: boolean;
  FlannelExternalIP: boolean;
  FlannelIPMasqDisableRandomFully: boolean;
  EgressSelectorMode: string;
  IPSECPSK: string;
  SystemDefaultRegistry: string;
  DisableCCM: boolean;
  DisableNPC: boolean;
  DisableKubeProxy: boolean;
  DisableHelmController: boolean;
  DisableServiceLB: boolean;
  EmbeddedRegistry: boolean;
  SupervisorMetrics: boolean;
  EncryptSecrets: boolean;
  EncryptProvider: string;
  MinTLSVersion: string;
  CipherSuites: readonly string[] | null;
  [other: string]: unknown;
}

/** Turns `10.42.0.0/16` into Go's form; the address is masked. Throws a RangeError on anything but a CIDR. */
export function toGoCidr(text: string): GoCidr {
  const match = /^([0-9a-fA-F:.]+)\/(\d{1,3})$/.exec(text.trim());
  const bytes = match === null ? undefined : addressBytes(match[1]!);
  const bits = Number(match?.[2]);
  if (bytes === undefined || bits > bytes.length * 8) throw new RangeError(`"${text}" is not an address range`);
  const mask = Buffer.alloc(bytes.length);
  for (let bit = 0; bit < bits; bit++) mask[bit >> 3]! |= 0x80 >> (bit & 7);
  const network = bytes.map((byte, index) => byte & mask[index]!);
  return { IP: formatAddress(network), Mask: mask.toString("base64") };
}

/** Turns Go's form back into `10.42.0.0/16`. */
export function fromGoCidr(cidr: GoCidr): string {
  const bits = [...Buffer.from(cidr.Mask, "base64")].reduce(
    (sum, byte) => sum + byte.toString(2).replaceAll("0", "").length,
    0,
  );
  return `${cidr.IP}/${bits}`;
}

/** Turns `30000-32767` into Go's form. */
export function toGoPortRange(text: string): { Base: number; Size: number } {
  const match = /^(\d{1,5})-(\d{1,5})$/.exec(text.trim());
  const [from, to] = [Number(match?.[1]), Number(match?.[2])];
  if (match === null || to < from || to > 65_535) throw new RangeError(`"${text}" is not a port range`);
  return { Base: from, Size: to - from + 1 };
}

/** The address `offset` places after the start of a range: 1 is the API server's Service, 10 the cluster DNS. */
export function addressInRange(cidr: string, offset: number): string {
  const { IP } = toGoCidr(cidr);
  const bytes = [...addressBytes(IP)!];
  let carry = offset;
  for (let index = bytes.length - 1; index >= 0 && carry > 0; index--) {
    const sum = bytes[index]! + carry;
    bytes[index] = sum & 0xff;
    carry = sum >>> 8;
  }
  return formatAddress(Buffer.from(bytes));
}

/** The 4 or 16 bytes of an IP literal, undefined when it is none. */
export function addressBytes(text: string): Buffer | undefined {
  if (/^\d{1,3}(\.\d{1,3}){3}$/.test(text)) {
    const parts = text.split(".").map(Number);
    return parts.every((part) => part <= 255) ? Buffer.from(parts) : undefined;
  }
  if (!isIPv6(text) || text.includes("%")) return undefined;
  let expanded = text;
  const dotted = /(.*:)(\d+\.\d+\.\d+\.\d+)$/.exec(text);
  if (dotted !== null) {
    const tail = addressBytes(dotted[2]!)!;
    expanded = `${dotted[1]}${tail.readUInt16BE(0).toString(16)}:${tail.readUInt16BE(2).toString(16)}`;
  }
  const [head = "", rest] = expanded.split("::");
  const left = head === "" ? [] : head.split(":");
  const right = rest === undefined || rest === "" ? [] : rest.split(":");
  const middle = rest === undefined ? [] : new Array<string>(8 - left.length - right.length).fill("0");
  const out = Buffer.alloc(16);
  for (const [index, group] of [...left, ...middle, ...right].entries()) {
    out.writeUInt16BE(Number.parseInt(group, 16), index * 2);
  }
  return out;
}

/** The usual text of 4 or 16 address bytes; IPv6 in its shortest form (RFC 5952). */
export function formatAddress(bytes: Uint8Array): string {
  if (bytes.length === 4) return bytes.join(".");
  const view = Buffer.from(bytes);
  const groups = Array.from({ length: 8 }, (_, index) => view.readUInt16BE(index * 2));
  let best = { start: -1, length: 1 };
  for (let start = 0; start < 8; start++) {
    let length = 0;
    while (start + length < 8 && groups[start + length] === 0) length++;
    if (length > best.length) best = { start, length };
  }
  const hex = groups.map((group) => group.toString(16));
  if (best.start < 0) return hex.join(":");
  return `${hex.slice(0, best.start).join(":")}::${hex.slice(best.start + best.length).join(":")}`;
}

/**
 * Fields in which all servers of a cluster must agree; a joining server compares them one by one.
 * `EgressSelectorMode` is accepted when the older side does not send it.
 */
export const criticalConfigFields = [
  "ClusterDNSs",
  "ClusterIPRanges",
  "ClusterDNS",
  "ClusterDomain",
  "ClusterIPRange",
  "DisableCCM",
  "DisableHelmController",
  "DisableNPC",
  "DisableServiceLB",
  "EncryptSecrets",
  "EncryptProvider",
  "EmbeddedRegistry",
  "FlannelBackend",
  "FlannelIPv6Masq",
  "FlannelIPMasqDisableRandomFully",
  "FlannelExternalIP",
  "EgressSelectorMode",
  "ServiceIPRange",
  "ServiceIPRanges",
  "SupervisorMetrics",
] as const;

export interface ConfigDifference {
  field: string;
  ours: string;
  theirs: string;
}

/** Every critical field that differs; a field that the other (older) server does not know is not compared. */
export function compareCriticalConfig(
  ours: ServerConfig,
  theirs: Readonly<Record<string, unknown>>,
): ConfigDifference[] {
  const differences: ConfigDifference[] = [];
  for (const field of criticalConfigFields) {
    const other = theirs[field];
    if (other === undefined || (field === "EgressSelectorMode" && other === "")) continue;
    const [a, b] = [canonical(ours[field]), canonical(other)];
    if (a !== b) differences.push({ field, ours: a, theirs: b });
  }
  return differences;
}

function canonical(value: unknown): string {
  if (Array.isArray(value)) return value.length === 0 ? "null" : `[${value.map(canonical).join(", ")}]`;
  if (typeof value === "object" && value !== null) {
    return "Mask" in value && "IP" in value ? fromGoCidr(value as GoCidr) : JSON.stringify(value);
  }
  return value === undefined ? "null" : String(value);
}
