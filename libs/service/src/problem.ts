/** Something that is wrong, in words for people who do not know the parts. */
export interface Problem {
  /** What is wrong, as a sentence without a full stop. */
  what: string;
  /** When it began, ISO 8601; left out when nobody saw it begin. */
  since?: string;
  /** What it means for users, and what to do about it. */
  advice: string;
}

/** The `since` of something that began `ageMs` ago. */
export function sinceAgo(ageMs: number, nowMs: number): string {
  return new Date(nowMs - ageMs).toISOString();
}
