import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { play } from "./transcript.ts";

/** `# title`, then what happens (`> `) and below each what the list of servers makes of it. */
const stories = readdirSync(join(import.meta.dirname, "stories")).map((file) => ({
  subject: file.replace(".txt", ""),
  stories: readFileSync(join(import.meta.dirname, "stories", file), "utf8")
    .split(/^# /m)
    .slice(1)
    .map((text) => ({ title: text.slice(0, text.indexOf("\n")), story: text.slice(text.indexOf("\n") + 1).trimEnd() })),
}));

describe.each(stories)("the balancer's stories: $subject", ({ stories }) => {
  test.each(stories)("$title", ({ story }) => {
    expect(play(story)).toBe(story);
  });
});

test("there is no transition of a server's state without a story", () => {
  const told = stories.flatMap(({ stories }) => stories.map(({ story }) => story)).join("\n");
  expect(transitions(told)).toEqual(transitions(play(randomStory(20_000))));
});

/** `unchecked -> recovering` and the like, each once. */
function transitions(story: string): string[] {
  return [...new Set(story.match(/\b\w+ -> \w+(?=:)/g))].sort();
}

/** What may happen to three servers, in any order; the same each time. */
function randomStory(steps: number): string {
  let state = 1;
  const random = (): number => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state / 2 ** 32;
  };
  const some = (): string => ["a", "b", "c"].filter(() => random() < 0.6).join(" ");
  const happenings = [
    () => `wait ${Math.floor(random() * 90)}`,
    () => `listed ${some()}`,
    () => `registration ${some()}`,
    (server: string) => `check ${server} ok`,
    (server: string) => `check ${server} ok`,
    (server: string) => `check ${server} ok`,
    (server: string) => `check ${server} failed`,
    (server: string) => `check ${server} leaving`,
    (server: string) => `refused ${server}`,
    (server: string) => `connect ${server}`,
    (server: string) => `disconnect ${server}`,
  ];
  const pick = <T>(list: readonly T[]): T => list[Math.floor(random() * list.length)]!;
  return Array.from({ length: steps }, () => `> ${pick(happenings)(pick(["a", "b", "c"]))}`).join("\n");
}
