import { createBootstrapToken, deleteBootstrapToken, listBootstrapTokens } from "@keelson/registration";
import {
  type BootstrapTokenUsage,
  defaultBootstrapGroup,
  formatBootstrapToken,
  generateBootstrapToken,
  hashCaBundle,
} from "@keelson/secret-format";
import { defineOptions, KeelsonError } from "@keelson/service";
import { defineCommand } from "../cli/command.ts";
import { outputOptions, printList } from "../cli/output.ts";
import { formatDuration } from "../cli/table.ts";
import { accessOptions, putToServer, serverAccessOptions, withClusterApi } from "../cluster/access.ts";

const createOptions = defineOptions({
  ...accessOptions,
  description: { type: "string", default: "", help: "What the token is for" },
  groups: { type: "list", default: [defaultBootstrapGroup], help: "Groups of whoever joins with it" },
  ttl: { type: "duration", default: "24h", help: "How long it is valid; 0 never expires" },
  usages: { type: "list", default: ["signing", "authentication"], help: "What it may be used for" },
});

export const createCommand = defineCommand({
  options: createOptions,
  usage: "[token]",
  run: ({ options, args, print }) =>
    withClusterApi(options, async (api, access) => {
      const { description, groups, ttl, usages } = options;
      const [token] = args;
      const created = await createBootstrapToken(
        api,
        {
          ...(token === undefined ? {} : { token }),
          description,
          groups,
          usages: usages.map(parseUsage),
          ttlMs: ttl,
        },
        Date.now(),
      );
      print(formatBootstrapToken(hashCaBundle(access.tls.ca), created));
      return 0;
    }),
});

export const listCommand = defineCommand({
  options: { ...accessOptions, ...outputOptions },
  run: ({ options, print }) =>
    withClusterApi(options, async (api) => {
      const tokens = (await listBootstrapTokens(api)).map(({ secret: _, expiresAtMs, ...token }) => ({
        ...token,
        ...(expiresAtMs === undefined ? {} : { expires: new Date(expiresAtMs).toISOString() }),
      }));
      const headings = ["TOKEN", "TTL", "EXPIRES", "USAGES", "DESCRIPTION", "EXTRA GROUPS"];
      await printList(print, options.output, tokens, headings, ({ id, expires, usages, description, groups }) => [
        id,
        expires === undefined ? "<forever>" : ttlOf(expires),
        expires ?? "<never>",
        usages.join(","),
        description || "<none>",
        groups.join(","),
      ]);
      return 0;
    }),
});

export const deleteCommand = defineCommand({
  options: accessOptions,
  usage: "<id or token>...",
  run: ({ options, args, print }) =>
    withClusterApi(options, async (api) => {
      if (args.length === 0) throw new KeelsonError("command/usage", "name at least one token or id to delete");
      for (const name of args) {
        await deleteBootstrapToken(api, name);
        print(`bootstrap token "${name.slice(0, 6)}" deleted`);
      }
      return 0;
    }),
});

export const generateCommand = defineCommand({
  options: {},
  async run({ print }) {
    const { id, secret } = generateBootstrapToken();
    print(`${id}.${secret}`);
    return 0;
  },
});

const rotateOptions = defineOptions({
  ...serverAccessOptions,
  "new-token": { type: "string", default: "", secret: true, help: "The token from now on (drawn at random)" },
});

export const rotateCommand = defineCommand({
  options: rotateOptions,
  async run({ options, print }) {
    await putToServer(options, "/v1-k3s/token", JSON.stringify({ newToken: options["new-token"] }));
    print("server token rotated: the new one is in server/token on every server, the old one is refused");
    print("agents that joined with the old one go on; give them the new one before they start again");
    return 0;
  },
});

function parseUsage(text: string): BootstrapTokenUsage {
  if (text === "signing" || text === "authentication") return text;
  throw new KeelsonError("option/invalid", `--usages must be signing or authentication, got "${text}"`);
}

function ttlOf(expires: string): string {
  const leftMs = Date.parse(expires) - Date.now();
  return leftMs <= 0 ? "<expired>" : formatDuration(leftMs);
}
