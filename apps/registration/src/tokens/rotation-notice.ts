import { openBootstrap, sealBootstrap } from "@keelson/secret-format";
import { errorCode } from "@keelson/service";
import type { EnvelopeStore } from "../bootstrap/envelope-store.ts";

/** Where a server that rotates the token tells the others, for as long as they may need to hear of it. */
export const rotationNoticeKey = "/keelson/token-rotation";
const ttlSeconds = 600;

/** Leaves word of the new token, encrypted under the one that ends. */
export async function leaveRotationNotice(store: EnvelopeStore, oldToken: string, newToken: string): Promise<void> {
  for (const stale of await store.list(rotationNoticeKey)) await store.delete(stale.key, stale.revision);
  await store.create(rotationNoticeKey, sealBootstrap(oldToken, newToken), ttlSeconds);
}

/** The token that a notice tells of; undefined when none of these tokens opens it. */
export function openRotationNotice(sealed: string, tokens: readonly string[]): string | undefined {
  for (const token of tokens) {
    try {
      return openBootstrap(token, sealed);
    } catch (error) {
      if (errorCode(error) !== "bootstrap/wrong-token") throw error;
    }
  }
  return undefined;
}
