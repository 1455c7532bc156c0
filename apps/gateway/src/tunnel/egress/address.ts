import { isIP } from "node:net";

/**
 * An address as tables write it, so that whoever spells it otherwise finds the same entry: IPv6 in its short form, and IPv4
 * behind `::ffff:` as what it is. Names stay as they are.
 */
export function canonicalAddress(host: string): string {
  if (isIP(host) !== 6) return host;
  const [withoutZone] = host.split("%");
  const short = new URL(`http://[${withoutZone}]`).hostname.slice(1, -1);
  const mapped = /^::ffff:([0-9a-f]{1,4}):([0-9a-f]{1,4})$/.exec(short);
  if (mapped === null) return short;
  return [mapped[1]!, mapped[2]!]
    .map((group) => Number.parseInt(group, 16))
    .flatMap((pair) => [pair >> 8, pair & 0xff])
    .join(".");
}
