/** One thing that the background client saw. Times are wall-clock milliseconds. */
export type Observation =
  | { kind: "acknowledged"; name: string; revision: number; atMs: number; attempts: number }
  | { kind: "refused"; name: string; reason: string; atMs: number }
  | { kind: "watched"; type: string; name: string; revision: number; atMs: number }
  | { kind: "listed"; name: string; atMs: number }
  /** The watch could not go on from where it was and started over with a list. */
  | { kind: "expired"; atMs: number }
  | { kind: "final"; names: string[]; atMs: number };
