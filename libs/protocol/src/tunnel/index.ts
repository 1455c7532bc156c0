export {
  allCapabilities,
  anyCapability,
  type Capabilities,
  capabilityHeader,
  commonCapabilities,
  formatCapabilities,
  noCapabilities,
  type Offer,
  parseCapabilities,
  type SessionEpoch,
} from "./capabilities.ts";
export { DialError, type DialFailure, TunnelProtocolError, TunnelStreamError } from "./errors.ts";
export {
  type ConnectTarget,
  decodeFrame,
  encodeFrame,
  encodeSyncedIds,
  type Frame,
  frameTypes,
} from "./frame.ts";
export { closeAfter, joinConnections } from "./join.ts";
export { keelsonDeadlineMs, legacyDeadlineMs } from "./liveness.ts";
export { TunnelSession } from "./session.ts";
export type { SessionClock, SessionEnd, SessionStats, TunnelSessionOptions } from "./session-options.ts";
export { TunnelStream } from "./tunnel-stream.ts";
export { readBigVarint, writeBigVarint } from "./varint.ts";
export { acceptKey } from "./websocket.ts";
