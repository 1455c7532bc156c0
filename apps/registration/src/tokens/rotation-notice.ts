import { openBootstrap, sealBootstrap } from "@keelson/secret-format";
import { errorCode } from "@keelson/service";

/** Where a server that rotates the token tells the others, for as long as they may need to hear of it. */
export const rotationNoticeKey = "/keelson/token-rotation";
export const rotationNoticeTtlSeconds = 600;

/** Word of the new token, which only the one that ends opens. */
export function sealRotationNotice(oldToken: string, newToken: string): string {
  return sealBootstrap(oldToken, newToken);
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
