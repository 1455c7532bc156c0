/** What a starting server or agent tells a person who watches: the stations on the way to a Ready node. */
export const steps = [
  "certificates",
  "datastore",
  "api",
  "registration",
  "gateway",
  "agent",
  "tunnel",
  "node",
  "ready",
] as const;

export type Step = (typeof steps)[number];

export interface StepMessage {
  step: Step;
  /** What came up, in a few words. */
  detail: string;
}

export type ReportStep = (step: Step, detail: string) => void;

/** Sends steps to the parent process when there is one that listens (`keelson dev`). */
export const reportStepToParent: ReportStep = (step, detail) => {
  if (process.send !== undefined && process.connected) process.send({ step, detail } satisfies StepMessage);
};

export function isStepMessage(message: unknown): message is StepMessage {
  return typeof message === "object" && message !== null && "step" in message && "detail" in message;
}
