import { KeelsonError } from "./errors.ts";
import { defineOptions } from "./options.ts";

/** Where a process answers its operators, for commands that can be asked for it. */
export const opsListenOption = defineOptions({
  "ops-listen": {
    type: "string",
    placeholder: "host:port",
    help: "Address of this process's own health checks and metrics, in plain HTTP; none by default",
  },
});

export interface ListenAddress {
  host: string;
  port: number;
}

/** The value of an option that says where to listen: `127.0.0.1:9443`, `[::]:9443`. Throws `option/invalid` naming the option. */
export function parseListenAddress(option: string, text: string): ListenAddress {
  const match = /^(.*):(\d{1,5})$/.exec(text);
  if (match === null || Number(match[2]) > 65_535) {
    throw new KeelsonError("option/invalid", `--${option} must be host:port, got ${JSON.stringify(text)}`, {
      hint: "for example 127.0.0.1:9443",
    });
  }
  return { host: match[1]!.replace(/^\[|\]$/g, ""), port: Number(match[2]) };
}
