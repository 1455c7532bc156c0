import { checkCertificates, createSuccessorCas, readCas, requestRotation } from "@keelson/registration";
import { defineOptions, KeelsonError } from "@keelson/service";
import { defineCommand } from "../cli/command.ts";
import { outputOptions, printList } from "../cli/output.ts";
import { formatDuration } from "../cli/table.ts";
import { accessOptions, putToServer, serverAccessOptions } from "../cluster/access.ts";

const hostOptions = defineOptions({ "data-dir": accessOptions["data-dir"] });

/** Exit code 1 when a certificate has expired or cannot be read, so that a monitor can tell. */
export const checkCommand = defineCommand({
  options: { ...hostOptions, ...outputOptions },
  async run({ options, print }) {
    const nowMs = Date.now();
    const found = await checkCertificates(options["data-dir"], nowMs);
    if (found.length === 0) {
      throw new KeelsonError("certificate/none", `there are no certificates below ${options["data-dir"]}`, {
        hint: "name the data directory of this host's server or agent with --data-dir",
      });
    }
    const rows = found.map(({ notAfterMs, ...certificate }) => ({
      ...certificate,
      ...(notAfterMs === 0 ? {} : { expires: new Date(notAfterMs).toISOString() }),
    }));
    const headings = ["FILE", "SUBJECT", "USAGES", "EXPIRES", "LEFT", "STATUS"];
    await printList(print, options.output, rows, headings, ({ file, subject, usages, expires, status }) => [
      file,
      subject || "<unknown>",
      usages.join(","),
      expires ?? "<unknown>",
      expires === undefined ? "" : formatDuration(Date.parse(expires) - nowMs),
      status,
    ]);
    return found.some(({ status }) => status === "expired" || status === "unreadable") ? 1 : 0;
  },
});

export const rotateCommand = defineCommand({
  options: hostOptions,
  usage: "[certificate]...",
  async run({ options, args, print }) {
    const files = await requestRotation(options["data-dir"], args);
    print(`${files.join(", ")}: renewed by the running server within seconds, or when it starts`);
    return 0;
  },
});

const rotateCaOptions = defineOptions({
  ...serverAccessOptions,
  path: {
    type: "string",
    placeholder: "dir",
    help: "Folder with the new CAs as K3s lays them out, tls/server-ca.crt and so on (successors of today's are made)",
  },
  force: { type: "boolean", help: "Accept CAs that today's do not vouch for; every node must then join anew" },
});

export const rotateCaCommand = defineCommand({
  options: rotateCaOptions,
  async run({ options, print }) {
    const json =
      options.path === undefined
        ? await createSuccessorCas(options["data-dir"], Date.now())
        : await readCas(options.path);
    await putToServer(options, `/v1-k3s/cert/cacerts?force=${options.force}`, json);
    print("certificate authorities replaced; the servers' certificates are already of the new ones");
    print("agents take them over when they start again, with the token in server/token");
    return 0;
  },
});
