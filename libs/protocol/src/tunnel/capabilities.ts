/**
 * Extensions that two Keelson ends agree on during the handshake. The agent lists what it can, the server answers with what
 * both can; Go peers ignore the header and answer none, and get the plain protocol.
 */
export const capabilityHeader = "x-tunnel-caps";

export interface Capabilities {
  /** DialAck: the opener learns whether the dial succeeded, and why not. */
  ack: boolean;
  /** Credit: a window per stream instead of Pause and Resume. */
  credit: boolean;
  /** EndWrite: one direction of a stream ends, the other goes on. */
  halfclose: boolean;
  /** Drain: the other end is about to leave. */
  drain: boolean;
  /** Probe: round trips measured above the WebSocket layer. */
  probe: boolean;
}

/** Which of an agent's sessions this is: within one instance a higher epoch replaces the lower at once. */
export interface SessionEpoch {
  /** Opaque: one agent process and one of its server addresses. */
  instance: string;
  epoch: number;
}

export interface Offer {
  capabilities: Capabilities;
  epoch?: SessionEpoch;
}

const names = ["ack", "credit", "halfclose", "drain", "probe"] as const;

export const allCapabilities: Capabilities = { ack: true, credit: true, halfclose: true, drain: true, probe: true };
export const noCapabilities: Capabilities = { ack: false, credit: false, halfclose: false, drain: false, probe: false };

/** The header value of an offer or an answer: `ack,credit,…,epoch=<instance>.<number>`. */
export function formatCapabilities({ capabilities, epoch }: Offer): string {
  const parts: string[] = names.filter((name) => capabilities[name]);
  if (epoch !== undefined) parts.push(`epoch=${epoch.instance}.${epoch.epoch}`);
  return parts.join(",");
}

/** Reads a header value; unknown words are somebody's later extension and are skipped. */
export function parseCapabilities(header: string | string[] | undefined): Offer {
  const capabilities: Capabilities = { ...noCapabilities };
  const offer: Offer = { capabilities };
  const text = Array.isArray(header) ? header.join(",") : (header ?? "");
  for (const word of text.split(",").map((part) => part.trim())) {
    const name = names.find((candidate) => candidate === word);
    if (name !== undefined) capabilities[name] = true;
    const epoch = /^epoch=([A-Za-z0-9_-]{1,64})\.(\d{1,16})$/.exec(word);
    if (epoch !== null && Number.isSafeInteger(Number(epoch[2]))) {
      offer.epoch = { instance: epoch[1]!, epoch: Number(epoch[2]) };
    }
  }
  return offer;
}

/** What both ends can. */
export function commonCapabilities(a: Capabilities, b: Capabilities): Capabilities {
  const common = { ...noCapabilities };
  for (const name of names) common[name] = a[name] && b[name];
  return common;
}

/** Whether the other end is a Keelson at all: such peers ping each other and may be declared dead sooner. */
export function anyCapability(capabilities: Capabilities): boolean {
  return names.some((name) => capabilities[name]);
}
