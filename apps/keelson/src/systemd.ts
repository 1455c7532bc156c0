import { spawn } from "node:child_process";
import { type ReportStep, reportStepToParent, type Step } from "./steps.ts";

/**
 * Tells whoever started us how far we are: a parent over IPC, and systemd (`Type=notify`), for which the service is ready
 * with `lastStep`.
 */
export function stepReporter(lastStep: Step): ReportStep {
  return (step, detail) => {
    reportStepToParent(step, detail);
    notifySystemd(step === lastStep ? ["READY=1", `--status=${detail}`] : [`--status=${step}: ${detail}`]);
  };
}

/**
 * Speaks to systemd where it listens. Node has no datagram sockets of the Unix kind, so systemd's own tool speaks for us
 * (`NotifyAccess=all`). A failure is only systemd's time-out to report.
 */
function notifySystemd(words: readonly string[]): void {
  if (process.env.NOTIFY_SOCKET === undefined) return;
  const child = spawn("systemd-notify", [`--pid=${process.pid}`, ...words], { stdio: "ignore" });
  child.on("error", () => {});
  child.unref();
}
