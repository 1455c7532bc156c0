export {
  type BootstrapData,
  type BootstrapPiece,
  type BootstrapPieceName,
  bootstrapKey,
  bootstrapKeyPrefix,
  bootstrapPieces,
  formatBootstrapData,
  openBootstrap,
  parseBootstrapData,
  sealBootstrap,
} from "./bootstrap-envelope.ts";
export {
  type BootstrapToken,
  type BootstrapTokenUsage,
  bootstrapTokenSecret,
  bootstrapTokenSecretName,
  bootstrapTokenSecretType,
  defaultBootstrapGroup,
  generateBootstrapToken,
  parseBootstrapTokenSecret,
} from "./bootstrap-token-secret.ts";
export { hashCaBundle } from "./ca-hash.ts";
export { secretsEqual } from "./constant-time.ts";
export {
  formatNodePasswordHash,
  hashNodePassword,
  isProvisionalHash,
  type NodePasswordHash,
  parseNodePasswordHash,
  verifyNodePassword,
} from "./node-password.ts";
export {
  nodeOfPasswordSecret,
  nodePasswordHashOf,
  nodePasswordNamespace,
  nodePasswordSecret,
  nodePasswordSecretName,
  nodePasswordSecretType,
  type SecretObject,
} from "./node-password-secret.ts";
export { formatPasswd, type PasswdEntry, parsePasswd } from "./passwd.ts";
export {
  type BootstrapTokenId,
  formatBootstrapToken,
  formatToken,
  normalizeToken,
  parseBootstrapToken,
  parseToken,
  type Token,
} from "./token.ts";
