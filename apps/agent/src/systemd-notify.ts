import { spawn } from "node:child_process";

/**
 * Tells systemd that the service is ready (`Type=notify`, `NotifyAccess=all`). Node has no datagram sockets of the Unix
 * kind, so systemd's own tool speaks for us. Does nothing elsewhere; a failure is only systemd's time-out to report.
 */
export function notifySystemd(state: "READY=1" | "STOPPING=1", status: string): void {
  if (process.env.NOTIFY_SOCKET === undefined) return;
  const child = spawn("systemd-notify", [`--pid=${process.pid}`, `--status=${status}`, state], { stdio: "ignore" });
  child.on("error", () => {});
  child.unref();
}
