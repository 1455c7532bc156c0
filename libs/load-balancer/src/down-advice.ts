/** What a person does about a server that is down: it depends on how the probe or the dial failed. */
export function downAdvice(reason: string): string {
  if (reason.includes("ECONNREFUSED")) {
    return "its host is up but no server runs there: look at its log and start it (systemctl start keelson-server)";
  }
  if (reason.includes("accepts connections but does not answer")) {
    return "its process hangs or is paused: run keelson status on that host, and restart the server";
  }
  if (/no connection|EHOSTUNREACH|ENETUNREACH|ETIMEDOUT|does not answer|no answer/.test(reason)) {
    return "its host is off or hangs, or the network to it is cut: check that this host reaches it";
  }
  if (reason.includes("not of this cluster's CA")) {
    return "the cluster's CAs were replaced, or a server of another cluster has this address: restart the agent, which asks for the CA anew and holds it against its token";
  }
  return "look at the server's log";
}
