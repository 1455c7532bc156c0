import type { IncomingMessage } from "node:http";
import { StringDecoder } from "node:string_decoder";
import { KubeError } from "./errors.ts";
import type { KubeObject } from "./types.ts";

export interface WatchEvent<T> {
  type: "ADDED" | "MODIFIED" | "DELETED" | "BOOKMARK";
  object: T;
}

/** Parses a watch response, one JSON object a line. An ERROR event is thrown as the KubeError it describes. */
export async function* watchStream<T extends KubeObject>(
  response: IncomingMessage,
): AsyncGenerator<WatchEvent<T>, void, void> {
  const decoder = new StringDecoder("utf8");
  let rest = "";
  try {
    for await (const chunk of response) {
      const lines = (rest + decoder.write(chunk as Buffer)).split("\n");
      rest = lines.pop() ?? "";
      for (const line of lines) {
        if (line === "") continue;
        const event = JSON.parse(line) as WatchEvent<T> | { type: "ERROR"; object: StatusObject };
        if (event.type === "ERROR") {
          throw new KubeError(
            event.object.code ?? 500,
            event.object.reason ?? "",
            event.object.message ?? "watch failed",
          );
        }
        yield event;
      }
    }
  } catch (error) {
    if (error instanceof KubeError) throw error;
    throw new KubeError(0, "", "the watch was cut off", { cause: error });
  } finally {
    response.destroy();
  }
}

interface StatusObject {
  code?: number;
  reason?: string;
  message?: string;
}
