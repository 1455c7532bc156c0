import { represent, representList, sendObject } from "../http/respond.ts";
import type { ApiObject } from "../kinds/kind.ts";
import type { Call } from "./call.ts";

/** Answers with one object, in the format and version that was asked for. */
export function answer({ response, info, kind, format, context }: Call, status: number, object: ApiObject): void {
  const include = info.query.get("includeObject");
  const body = represent(object, kind, info.version, format.as, context.clock.now(), include);
  sendObject(response, status, body, format.encoding);
}

/** Answers with a list. */
export function answerList(
  { response, info, kind, format, context }: Call,
  items: readonly ApiObject[],
  metadata: Record<string, unknown>,
): void {
  const include = info.query.get("includeObject");
  const body = representList(items, kind, info.version, format.as, metadata, context.clock.now(), include);
  sendObject(response, 200, body, format.encoding);
}

/** Answers that something was done, where there is no object to show. */
export function answerSuccess({ response, format }: Call, status: number, details?: object): void {
  const body = { kind: "Status", apiVersion: "v1", metadata: {}, status: "Success", ...(details && { details }) };
  sendObject(response, status, body, format.encoding);
}
