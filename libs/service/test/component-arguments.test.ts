import { expect, test } from "vitest";
import { argumentValue, componentArguments } from "../src/index.ts";

const ours = { address: "0.0.0.0", "feature-gates": "A=true", issuer: "https://ours" };

test.each<[why: string, extra: string[], expected: string[]]>([
  ["takes the place of ours", ["address=192.0.2.1"], ["--address=192.0.2.1"]],
  ["may come with dashes, or without a value", ["--v=4", "fast"], ["--address=0.0.0.0", "--fast=true", "--v=4"]],
  ["given twice is passed twice", ["address=b", "address=a"], ["--address=b", "--address=a"]],
  ["with a plus goes behind ours", ["address+=b", "address+=c"], ["--address=0.0.0.0", "--address=b", "--address=c"]],
  ["with a minus goes before ours", ["address-=b"], ["--address=b", "--address=0.0.0.0"]],
  [
    "with a plus has nothing to follow once ours is replaced",
    ["address=a", "address+=b"],
    ["--address=a", "--address=b"],
  ],
  ["may contain the sign that splits it", ["address=a=b"], ["--address=a=b"]],
])("an argument %s", (_why, extra, expected) => {
  expect(componentArguments({ address: ours.address }, extra)).toEqual(expected);
});

test("flags nobody changed stay, by name", () => {
  expect(componentArguments(ours, ["feature-gates=B=true", "feature-gates=C=true"])).toEqual([
    "--address=0.0.0.0",
    "--feature-gates=B=true",
    "--feature-gates=C=true",
    "--issuer=https://ours",
  ]);
});

test("the last value of a flag counts", () => {
  expect(argumentValue(["port=1", "--port=2", "ports=3"], "port")).toBe("2");
  expect(argumentValue(["port=1"], "address")).toBeUndefined();
});
