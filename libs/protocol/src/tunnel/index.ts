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
export { joinConnections } from "./join.ts";
export {
  keelsonDeadlineMs,
  legacyDeadlineMs,
  type SessionClock,
  type SessionEnd,
  type SessionStats,
  TunnelSession,
  type TunnelSessionOptions,
} from "./session.ts";
export { TunnelStream } from "./tunnel-stream.ts";
export { readBigVarint, writeBigVarint } from "./varint.ts";
export { acceptKey } from "./websocket.ts";
