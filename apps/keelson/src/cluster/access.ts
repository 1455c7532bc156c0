import { KubeClusterApi, PinnedServer, serverPaths } from "@keelson/registration";
import {
  dataDirOption,
  defineOptions,
  KeelsonError,
  type OptionValues,
  readFileIfExists,
  silentLogger,
  systemClock,
} from "@keelson/service";
import { type ClusterAccess, readClusterAccess } from "./kubeconfig.ts";

/** Options of commands that talk to the Kubernetes API. */
export const accessOptions = defineOptions({
  kubeconfig: {
    type: "string",
    placeholder: "file",
    help: "Administrator's kubeconfig ($KUBECONFIG, the one of the server on this host, ~/.kube/config)",
  },
  "data-dir": { ...dataDirOption, help: "Data directory of the server on this host" },
});

/** Options of commands that ask a server as a server does. */
export const serverAccessOptions = defineOptions({
  "data-dir": accessOptions["data-dir"],
  server: {
    type: "string",
    short: "s",
    env: "K3S_URL",
    default: "https://127.0.0.1:6443",
    placeholder: "url",
    help: "Any server of the cluster",
  },
  token: {
    type: "string",
    short: "t",
    env: "K3S_TOKEN",
    secret: true,
    help: "Server token (the file server/token on this host)",
  },
});

/** Runs one piece of work with the Kubernetes API and closes the connection after it. */
export async function withClusterApi<T>(
  options: OptionValues<typeof accessOptions>,
  work: (api: KubeClusterApi, access: ClusterAccess) => Promise<T>,
): Promise<T> {
  const access = await readClusterAccess(options.kubeconfig, options["data-dir"]);
  const api = new KubeClusterApi(access, { log: silentLogger, clock: systemClock });
  try {
    return await work(api, access);
  } finally {
    await api.stop();
  }
}

/** Sends a change to a server with the server token. Throws with the server's own words unless it is accepted. */
export async function putToServer(
  options: OptionValues<typeof serverAccessOptions>,
  path: string,
  body: string,
): Promise<void> {
  const token = options.token ?? (await readFileIfExists(serverPaths(options["data-dir"]).token))?.trim();
  if (token === undefined) {
    throw new KeelsonError("token/required", `there is no server token in ${serverPaths(options["data-dir"]).token}`, {
      hint: "run this on a server, or give --token",
    });
  }
  const server = new PinnedServer(options.server, token, silentLogger);
  const answer = await server.call("server", { path, method: "PUT", body });
  if (answer.status === 200 || answer.status === 204) return;
  throw new KeelsonError("server/refused", `${options.server} refused: ${reasonOf(answer)}`, {
    ...(answer.status === 401 || answer.status === 403
      ? { hint: "give the server token, as in server/token on a server; an agent token is not enough" }
      : {}),
    status: answer.status,
  });
}

function reasonOf({ status, body }: { status: number; body: Buffer }): string {
  const text = body.toString("utf8");
  try {
    const { message } = JSON.parse(text) as { message?: unknown };
    if (typeof message === "string") return `${message} (${status})`;
  } catch {
    // Not a Status object: its text is the reason.
  }
  return text.trim() === "" ? `status ${status}` : `${text.trim().slice(0, 300)} (${status})`;
}
