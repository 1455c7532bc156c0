/**
 * How far the local clock is from the server's, from the Date header of an answer: positive means that ours is ahead.
 * The header has whole seconds and the answer took `receivedAtMs - sentAtMs`, so the result is only as good as
 * `errorMs`; a skew within it reads as zero. Undefined when the header is missing or unreadable.
 */
export function clockSkew(
  dateHeader: string | null | undefined,
  sentAtMs: number,
  receivedAtMs: number,
): { skewMs: number; errorMs: number } | undefined {
  const serverMs = typeof dateHeader === "string" ? Date.parse(dateHeader) : Number.NaN;
  if (Number.isNaN(serverMs)) return undefined;
  const errorMs = (receivedAtMs - sentAtMs) / 2 + 500;
  const difference = (sentAtMs + receivedAtMs) / 2 - (serverMs + 500);
  return { skewMs: Math.abs(difference) <= errorMs ? 0 : Math.round(difference), errorMs: Math.ceil(errorMs) };
}
