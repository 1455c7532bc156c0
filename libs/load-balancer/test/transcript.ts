import { type CheckResult, type ListEffect, ServerList } from "../src/index.ts";

/**
 * Plays a story against the server list. Lines that begin with `> ` are what happens, the lines below each are what the
 * list asks for; the result is the story as it really went, so that a test compares two texts.
 */
export function play(story: string): string {
  let nowMs = 0;
  const list = new ServerList(() => nowMs);
  const out: string[] = [];
  for (const line of story.trim().split("\n")) {
    if (!line.trim().startsWith("> ")) continue;
    const command = line.trim().slice(2);
    out.push(`> ${command}`);
    const [verb = "", first = "", ...rest] = command.split(" ");
    const addresses = [first, ...rest].filter((word) => word !== "");
    const effects = ((): readonly ListEffect[] => {
      switch (verb) {
        case "registration":
          return list.setRegistration(addresses);
        case "listed":
          return list.setListed(addresses);
        case "connect":
          return list.connectionOpened(first);
        case "disconnect":
          return list.connectionClosed(first);
        case "refused":
          return list.dialFailed(first, rest.join(" ") || "connection refused");
        case "check":
          return list.checked(first, rest[0] as CheckResult, rest.slice(1).join(" ") || `check ${rest[0]}`);
        case "wait":
          nowMs += Number(first) * 1_000;
          return [];
        case "order":
          out.push(
            `  ${
              list
                .candidates()
                .map((address) => describe(list, address))
                .join(", ") || "nothing"
            }`,
          );
          return [];
        default:
          throw new Error(`the story says ${JSON.stringify(command)}, which means nothing`);
      }
    })();
    for (const effect of effects) out.push(`  ${tell(effect)}`);
  }
  return out.join("\n");
}

function describe(list: ServerList, address: string): string {
  const server = list.status().find((candidate) => candidate.address === address)!;
  return `${address} ${server.state}${server.connections > 0 ? ` with ${server.connections}` : ""}`;
}

function tell(effect: ListEffect): string {
  if (effect.kind === "addresses") return `remember ${effect.addresses.join(" ")}`;
  if (effect.kind === "close-connections") {
    const when = effect.graceMs === 0 ? "close" : `after ${effect.graceMs / 1_000} s close`;
    return `${when} connections of ${effect.address}: ${effect.reason}`;
  }
  return `${effect.address} ${effect.from} -> ${effect.to}: ${effect.reason}`;
}
