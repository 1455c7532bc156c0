/** A range as requests name it: no end is the one key, an end of one NUL byte everything from the key on. */
export interface KeyRange {
  key: Buffer;
  rangeEnd: Buffer;
}

export function covers({ key, rangeEnd }: KeyRange, candidate: Buffer): boolean {
  if (rangeEnd.length === 0) return candidate.equals(key);
  if (candidate.compare(key) < 0) return false;
  return (rangeEnd.length === 1 && rangeEnd[0] === 0) || candidate.compare(rangeEnd) < 0;
}
